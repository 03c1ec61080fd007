package heymanito_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// calls is an initiateCall whose ack may be anything.
func (p *person) calls(to string) wiretest.Ack {
	p.app.t.Helper()
	return p.EmitAck("initiateCall", fmt.Sprintf(`{"recipientId":%q,"callerId":%q,"roomName":"r"}`, to, p.User))
}

func (p *person) answers(call wiretest.Ack, caller string) string {
	p.app.t.Helper()
	return p.code("acceptCall", fmt.Sprintf(`{"callerId":%q,"callId":%q}`, caller, call.CallID))
}

func (p *person) about(event string, call wiretest.Ack) string {
	p.app.t.Helper()
	return p.code(event, fmt.Sprintf(`{"callId":%q}`, call.CallID))
}

// Whoever rings, or talks, is busy for others; whoever talks cannot call; a call
// without a sign of life is in nobody's way.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann, bob, cid, dan := a.join("ann"), a.join("bob"), a.join("cid"), a.join("dan")
		everybody := []*person{ann, bob, cid, dan}
		for _, p := range everybody {
			p.deaf()
		}
		busy := func(p *person, to, name string) {
			t.Helper()
			if got := p.calls(to).Code; got != "busy" {
				t.Errorf("%s calls %s: %q, want busy", p.User, to, got)
			}
			p.hears(fmt.Sprintf(`callRejected({"recipientId":%q,"reason":"busy"})`, to))
		}
		call := ann.dial("bob", "r")
		bob.deaf()
		// To be rung is to be busy, and so is to ring.
		busy(cid, "bob", "bob")
		if missed := bob.news(); len(missed) != 1 || !strings.Contains(missed[0], `"callerId":"cid"`) || !strings.Contains(missed[0], `"reason":"busy"`) {
			t.Errorf("bob has heard %q", missed)
		}
		busy(cid, "ann", "ann")
		ann.deaf()
		// Being rung keeps nobody from calling.
		out := bob.calls("dan")
		if out.Status != "ok" || bob.about("cancelCall", out) != "ok" {
			t.Errorf("bob, who is being rung, calls dan: %s", out.Raw)
		}
		if code := bob.answers(call, "ann"); code != "ok" {
			t.Errorf("bob answers: %s", code)
		}
		// Answered, without a sign of life: in nobody's way.
		other := cid.calls("dan")
		if other.Status != "ok" || dan.answers(other, "cid") != "ok" {
			t.Errorf("cid calls dan: %s", other.Raw)
		}
		third := cid.calls("bob")
		if third.Status != "ok" {
			t.Errorf("cid, whose call is silent, calls bob, whose call is silent: %s", third.Raw)
		}
		// His own silent call ends by it, behind the ack; bob's does not.
		synctest.Wait()
		if code := dan.about("endCall", other); code != "conflict" {
			t.Errorf("the call that cid has left behind is ended with %s", code)
		}
		if ended := dan.Named("callEnded"); len(ended) != 1 || !strings.Contains(string(ended[0].Args[0]), `"reason":"replaced"`) {
			t.Errorf("dan was told %v", ended)
		}
		cid.about("cancelCall", third)
		if code := ann.about("callConnected", call); code != "ok" {
			t.Errorf("ann and bob are connected: %s", code)
		}
		for _, p := range everybody {
			p.deaf()
		}
		busy(dan, "ann", "ann")
		busy(dan, "bob", "bob")
		for _, p := range []*person{ann, bob} {
			for _, to := range []string{"cid", map[string]string{"ann": "bob", "bob": "ann"}[p.User]} {
				if got := p.calls(to).Code; got != "conflict" {
					t.Errorf("%s, who talks, calls %s: %q", p.User, to, got)
				}
			}
		}
		ann.about("endCall", call)
		if next := dan.calls("bob"); next.Status != "ok" {
			t.Errorf("bob has hung up, dan calls him: %s", next.Raw)
		}
	})
}

// A second call to somebody else cancels the one that rings.
func TestSecondCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann, ann2, bob, cid := a.join("ann"), a.join("ann"), a.join("bob"), a.join("cid")
		first := ann.dial("bob", "r")
		for _, p := range []*person{ann, ann2, bob, cid} {
			p.deaf()
		}
		if again := ann2.calls("bob"); again.CallID != first.CallID || !again.Duplicate {
			t.Errorf("dialled again on another device: %s", again.Raw)
		}
		second := ann.calls("cid")
		if second.Status != "ok" {
			t.Errorf("dialled somebody else: %s", second.Raw)
		}
		ann.hears()
		ann2.hears(cancelled("caller_cancelled"))
		bob.hears(cancelled("caller_cancelled"), fmt.Sprintf(`missedCall({"callId":"<call>","callerId":"ann","ts":%d,"reason":"caller_cancelled"})`, begin))
		if code := bob.answers(first, "ann"); code != "conflict" {
			t.Errorf("bob answers: %s", code)
		}
		if code := cid.answers(second, "ann"); code != "ok" {
			t.Errorf("cid answers: %s", code)
		}
	})
}

// Who calls somebody who is calling has answered.
func TestGlare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann, ann2, bob, bob2 := a.join("ann"), a.join("ann"), a.join("bob"), a.join("bob")
		ack := ann.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"ann","roomName":"r","media":"video"}`)
		a.called(ack.CallID, "<call>")
		all := []*person{ann, ann2, bob, bob2}
		for _, p := range all {
			p.deaf()
		}
		time.Sleep(5 * time.Second)
		bob.says(fmt.Sprintf(`{"status":"ok","callId":"<call>","roomName":"r","expiresAt":%d,"expiresInMs":40000,"merged":true}`, begin+45000),
			"initiateCall", `{"recipientId":"ann","callerId":"bob","roomName":"mine","media":"audio"}`)
		for _, p := range []*person{ann, ann2} {
			p.hears(`callAccepted({"roomName":"r","callId":"<call>","recipientId":"bob"})`)
		}
		merged := `callAccepted({"roomName":"r","callId":"<call>","recipientId":"ann"})`
		bob.hears(merged)
		bob2.hears(merged, cancelled("answered_elsewhere"))
		if calls := ann.ask("getCalls"); !strings.Contains(calls, `"media":"audio","state":"connecting"`) {
			t.Errorf("the calls are %s", calls)
		}
		if code := bob2.about("endCall", ack); code != "ok" {
			t.Errorf("endCall: %s", code)
		}
		for _, p := range all {
			p.hears(over("hangup", 0))
		}
	})
}

// A thousand pairs who call each other at once: a thousand calls.
func TestThousandGlares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pairs = 1000
		var n notes
		a := start(t, heymanito.WithHooks(heymanito.Hooks{
			OnCall:   func(_ context.Context, c heymanito.Call) { n.add("%s", c.State) },
			Contacts: func(context.Context, string) ([]string, error) { return nil, nil }, // nobody is told of 2,000
			Authorize: func(context.Context, heymanito.Action) error {
				time.Sleep(time.Millisecond) // so that both have looked before either has dialled
				return nil
			},
		}))
		var all sync.WaitGroup
		acks := make([][2]wiretest.Ack, pairs)
		for i := range pairs {
			one, two := fmt.Sprint("one", i), fmt.Sprint("two", i)
			first, second := a.join(one), a.join(two)
			all.Go(func() { acks[i][0] = first.calls(two) })
			all.Go(func() { acks[i][1] = second.calls(one) })
		}
		all.Wait()
		synctest.Wait()
		for i, pair := range acks {
			merged := 0
			for _, ack := range pair {
				if strings.Contains(string(ack.Raw), `"merged":true`) {
					merged++
				}
			}
			if pair[0].CallID == "" || pair[0].CallID != pair[1].CallID || merged != 1 {
				t.Errorf("pair %d: %s, %s", i, pair[0].Raw, pair[1].Raw)
			}
		}
		steps := map[string]int{}
		for _, s := range n.read() {
			steps[s]++
		}
		if steps["ringing"] != pairs || steps["connecting"] != pairs || len(steps) != 2 {
			t.Errorf("the steps of %d calls are %v", pairs, steps)
		}
	})
}

// Of many who call one at once, one rings; so of many calls of one, and of a
// ring of callers.
func TestManyDials(t *testing.T) {
	const many = 50
	dials := map[string]func(i int) (from, to string){
		"to one":    func(i int) (string, string) { return fmt.Sprint("u", i), "one" },
		"in a ring": func(i int) (string, string) { return fmt.Sprint("u", i), fmt.Sprint("u", (i+1)%many) },
	}
	for name, dial := range dials {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := start(t)
				a.join("one")
				var all sync.WaitGroup
				codes := make([]string, many)
				people := make([]*person, many)
				for i := range many {
					from, _ := dial(i)
					people[i] = a.join(from)
				}
				for i, p := range people {
					_, to := dial(i)
					all.Go(func() { codes[i] = p.calls(to).Code })
				}
				all.Wait()
				rings := 0
				for _, code := range codes {
					switch code {
					case "":
						rings++
					case "busy":
					default:
						t.Errorf("acked %s", code)
					}
				}
				if name == "to one" && rings != 1 || rings < 1 {
					t.Errorf("%d calls ring", rings)
				}
			})
		})
	}
}

// Towards a stranger a busy callee rings out like any other.
func TestBusyForStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := contacts("ann: bob", "bob: ann", "cid: bob")
		a := start(t, b.option())
		ann, bob, cid := a.join("ann"), a.join("bob"), a.join("cid")
		call := ann.dial("bob", "r")
		bob.deaf()
		cid.deaf()
		hidden := cid.calls("bob")
		if hidden.Status != "ok" {
			t.Fatalf("a stranger's call to somebody who is busy: %s", hidden.Raw)
		}
		a.called(hidden.CallID, "<hidden>")
		bob.hears()
		for _, event := range []string{"ringCall", "endCall", "getCallToken"} {
			if code := bob.about(event, hidden); code != "not_found" {
				t.Errorf("bob: %s of a call that he does not know is acked %s", event, code)
			}
		}
		// It is in nobody's way.
		if code := bob.answers(call, "ann"); code != "ok" {
			t.Errorf("bob answers ann: %s", code)
		}
		if back := bob.calls("cid"); back.Status != "ok" || back.CallID == hidden.CallID {
			t.Errorf("bob calls cid: %s", back.Raw)
		} else {
			bob.about("cancelCall", back)
		}
		cid.deaf()
		bob.deaf()
		time.Sleep(45*time.Second + time.Millisecond)
		cid.hears(`callRejected({"recipientId":"bob","callId":"<hidden>","reason":"timeout"})`)
		bob.hears(fmt.Sprintf(`missedCall({"callId":"<hidden>","callerId":"cid","ts":%d,"reason":"busy"})`, begin))
	})
}

// Dials that are refused count, once they have left something in the store.
func TestDialFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &oddCalls{MemoryCalls: heymanito.NewMemoryCalls()}
		a := start(t, heymanito.WithCalls(store))
		mal, moll := a.join("mal"), a.join("moll")
		a.join("bob")
		call := mal.dial("moll", "r")
		moll.answers(call, "mal")
		moll.about("callConnected", call)
		codes := map[string]int{}
		for range 200 {
			codes[mal.code("initiateCall", `{"recipientId":"bob","callerId":"mal"}`)]++
		}
		kept, _ := store.MemoryCalls.ByUser(t.Context(), "bob")
		if codes["rate_limited"] == 0 {
			t.Errorf("200 dials: %v; the store has %d calls of bob, who was never rung", codes, len(kept))
		}
	})
}

// Two devices of one user dial two others at once: one of them rings.
func TestLatestDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &oddCalls{MemoryCalls: heymanito.NewMemoryCalls(), slow: true}
		a := start(t, heymanito.WithCalls(store))
		ann, ann2 := a.join("ann"), a.join("ann")
		bob, cid := a.join("bob"), a.join("cid")
		_, _ = bob, cid
		ann.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"ann"}`)
		ann2.EmitAck("initiateCall", `{"recipientId":"cid","callerId":"ann"}`)
		time.Sleep(5 * time.Second)
		calls, _ := store.MemoryCalls.ByUser(t.Context(), "ann")
		live := 0
		for _, c := range calls {
			if c.Live() {
				live++
			}
		}
		if live != 1 {
			t.Errorf("%d calls of ann's live, want the second; ann heard %q, ann2 heard %q", live, ann.deafTo("call"), ann2.deafTo("call"))
		}
	})
}

// A user answers on one device and dials on another at once: one of the two calls is left.
func TestLatestAct(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &oddCalls{MemoryCalls: heymanito.NewMemoryCalls()}
		a := start(t, heymanito.WithCalls(store))
		bob, ann, ann2 := a.join("bob"), a.join("ann"), a.join("ann")
		a.join("cid")
		call := bob.dial("ann", "r")
		store.mu.Lock()
		store.after = func(c heymanito.Call) bool {
			if c.State == heymanito.CallConnecting {
				store.armed = true
			}
			return false
		}
		store.mu.Unlock()
		ann.answers(call, "bob") // its ack is there; endOthers is slow
		ann2.EmitAck("initiateCall", `{"recipientId":"cid","callerId":"ann"}`)
		time.Sleep(5 * time.Second)
		calls, _ := store.MemoryCalls.ByUser(t.Context(), "ann")
		live := 0
		for _, c := range calls {
			if c.Live() {
				live++
			}
		}
		if live != 1 {
			t.Errorf("%d calls of ann's live", live)
		}
	})
}

// A dial is carried out although its connection is closed meanwhile: nobody waits
// for what became of it. Not in a bubble: the closing waits for the handler's lock.
func TestDialOfClosed(t *testing.T) {
	store := &oddCalls{MemoryCalls: heymanito.NewMemoryCalls()}
	rt := heymanito.New(heymanito.WithLogger(slog.New(slog.DiscardHandler)), heymanito.WithDrain(0), heymanito.WithCalls(store), heymanito.WithMaxDevices(1))
	srv := httptest.NewServer(rt)
	defer srv.Close()
	defer func() { _ = rt.Shutdown(context.Background()) }()
	ann, cid := wiretest.Connect(t, srv.URL, "ann"), wiretest.Connect(t, srv.URL, "cid")
	wiretest.Connect(t, srv.URL, "bob")
	in := make(chan struct{})
	cut := make(chan struct{})
	store.mu.Lock()
	store.created = func(c heymanito.Call) {
		if c.Caller == "ann" {
			close(in)
			<-cut
		}
	}
	store.mu.Unlock()
	ann.Emit("initiateCall", `{"recipientId":"bob","callerId":"ann"}`)
	<-in
	wiretest.Connect(t, srv.URL, "ann") // the cap closes the first
	time.Sleep(300 * time.Millisecond)
	close(cut)
	time.Sleep(100 * time.Millisecond)
	calls, _ := store.MemoryCalls.ByUser(t.Context(), "ann")
	begun := time.Now()
	got := make(chan wiretest.Ack, 1)
	go func() { got <- cid.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"cid"}`) }()
	select {
	case ack := <-got:
		t.Logf("%s; after %v: %s", calls[0].State, time.Since(begun), ack.Raw)
	case <-time.After(3 * time.Second):
		t.Errorf("ann's dial is left %s; cid's dial to bob has no answer after 3 s", calls[0].State)
		<-got
		t.Logf("but after %v", time.Since(begun))
	}
}

// A dial that came to nothing gives back its own ring, and no other of that time.
func TestLimitGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithHooks(heymanito.Hooks{Authorize: func(_ context.Context, x heymanito.Action) error {
			if x.To == "eve" {
				return heymanito.Errorf(heymanito.CodeForbidden, "no")
			}
			return nil
		}}))
		mal, bob := a.join("mal"), a.join("bob")
		rang := 0
		for range 20 {
			ack := mal.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"mal"}`)
			if ack.Status == "ok" {
				rang++
			}
			bob.code("rejectCall", `{"callerId":"mal","recipientId":"bob"}`)
			mal.code("initiateCall", `{"recipientId":"eve","callerId":"mal"}`)
		}
		if rang > 6 {
			t.Errorf("bob was rung %d times in a minute by one", rang)
		}
	})
}

// A dial that was a repetition when it began, and rings anew, counts.
func TestLimitCountsRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithHooks(heymanito.Hooks{Authorize: func(_ context.Context, x heymanito.Action) error {
			if x.Event == "initiateCall" {
				time.Sleep(5 * time.Millisecond)
			}
			return nil
		}}))
		one, two, bob := a.join("mal"), a.join("mal"), a.join("bob")
		const dial = `{"recipientId":"bob","callerId":"mal"}`
		bob.deaf()
		call := one.EmitAck("initiateCall", dial)
		for i := range 30 {
			p, q := one, two
			if i%2 == 1 {
				p, q = two, one
			}
			got := make(chan wiretest.Ack)
			go func() { got <- q.EmitAck("initiateCall", dial) }()
			time.Sleep(time.Millisecond)
			p.about("cancelCall", call)
			call = <-got
			if call.Status != "ok" {
				t.Log(i, string(call.Raw))
				break
			}
		}
		if got := bob.deafTo("incomingCall"); len(got) > 6 {
			t.Errorf("bob was rung %d times in a second by one", len(got))
		}
	})
}

// A host may think about a call for longer than a dial may take.
func TestSlowBeforeCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithHooks(heymanito.Hooks{BeforeCall: func(context.Context, heymanito.Call) error {
			time.Sleep(15 * time.Second)
			return nil
		}}))
		ann, bob := a.join("ann"), a.join("bob")
		ann.Emit("initiateCall", `{"recipientId":"bob","callerId":"ann"}`)
		time.Sleep(20 * time.Second)
		if got := bob.deafTo("incomingCall"); len(got) != 1 {
			t.Errorf("bob hears %q, and ann %q", got, ann.news())
		}
	})
}

// A client of the store that asks again finds the call that it has made.
func TestCreateSentTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &askingTwice{heymanito.NewMemoryCalls()}
		a := start(t, heymanito.WithCalls(store))
		ann, bob := a.join("ann"), a.join("bob")
		begun := time.Now()
		ack := ann.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"ann"}`)
		if ack.Status != "ok" {
			calls, _ := store.ByUser(t.Context(), "ann")
			t.Errorf("after %v: %s; the call is %s", time.Since(begun), ack.Raw, calls[0].State)
		}
		_ = bob
	})
}

// askingTwice is a client of a store that sends a Create again whose answer was lost.
type askingTwice struct{ *heymanito.MemoryCalls }

func (s *askingTwice) Create(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
	if got, err := s.MemoryCalls.Create(ctx, c); err != nil {
		return got, err
	}
	return s.MemoryCalls.Create(ctx, c)
}
