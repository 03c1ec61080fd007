package heymanito_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
)

// A store that is down: every event of calls says so, and what was due comes
// when it is back.
func TestCallStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFailingCalls()
		a := start(t, heymanito.WithCalls(store))
		a.panics = true
		ann, bob, cid := a.join("ann"), a.join("bob"), a.join("cid")
		call := ann.dial("bob", "r")
		for _, c := range []struct {
			err    error
			panics bool
		}{{err: errors.New("down")}, {panics: true}} {
			store.mu.Lock()
			store.err, store.panics = c.err, c.panics
			store.mu.Unlock()
			for _, event := range []string{"ringCall", "callConnected", "endCall", "getCallToken", "getCalls"} {
				if code := bob.about(event, call); code != "unavailable" && (event != "getCallToken" || code != "not_found") {
					t.Errorf("%s: %s", event, code)
				}
			}
			if code := bob.answers(call, "ann"); code != "unavailable" {
				t.Errorf("acceptCall: %s", code)
			}
			cid.deaf()
			if ack := cid.calls("bob"); ack.Code != "unavailable" || !ack.Retryable {
				t.Errorf("initiateCall: %s", ack.Raw)
			}
			cid.hears(`callRejected({"recipientId":"bob","reason":"failed"})`)
		}
		ann.deaf()
		bob.deaf()
		time.Sleep(time.Minute)
		ann.hears()
		store.mu.Lock()
		store.err, store.panics = nil, false
		store.mu.Unlock()
		time.Sleep(2 * time.Second)
		ann.hears(`callRejected({"recipientId":"bob","callId":"<call>","reason":"timeout"})`)
		if got := bob.deafTo("call"); len(got) != 1 || got[0] != cancelled("timeout") {
			t.Errorf("bob has heard %q", got)
		}
	})
}

// Two servers with one store: of devices that accept on both at once one wins.
func TestAcceptOnTwoServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := heymanito.NewMemoryCalls()
		slow := &slowCalls{store}
		one := start(t, heymanito.WithCalls(slow), heymanito.WithRingLimits(1000, 1000))
		two := start(t, heymanito.WithCalls(slow))
		ann, bob := one.join("ann"), one.join("bob")
		bob2 := two.join("bob")
		for range 100 {
			call := ann.dial("bob", "r")
			var codes [2]string
			var both sync.WaitGroup
			both.Go(func() { codes[0] = bob.answers(call, "ann") })
			both.Go(func() { codes[1] = bob2.answers(call, "ann") })
			both.Wait()
			if codes != [2]string{"ok", "conflict"} && codes != [2]string{"conflict", "ok"} {
				t.Fatalf("accepted on two servers: %v", codes)
			}
			ann.about("endCall", call)
		}
	})
}

// slowCalls takes its time between the calls of a change, so that others come
// between.
type slowCalls struct{ *heymanito.MemoryCalls }

func (s *slowCalls) Get(ctx context.Context, id string) (heymanito.Call, bool, error) {
	c, ok, err := s.MemoryCalls.Get(ctx, id)
	time.Sleep(time.Millisecond)
	return c, ok, err
}

// A caller who is told of a call's end by the store's clock is told once, by
// whichever of two servers.
func TestExpiryOnTwoServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := heymanito.NewMemoryCalls()
		var n notes
		hooks := heymanito.WithHooks(heymanito.Hooks{OnRingEnd: func(_ context.Context, c heymanito.Call) { n.add("%s", c.Reason) }})
		one, two := start(t, heymanito.WithCalls(&slowCalls{store}), hooks), start(t, heymanito.WithCalls(&slowCalls{store}), hooks)
		ann, bob := one.join("ann"), one.join("bob")
		cid, dan := two.join("cid"), two.join("dan")
		ann.dial(bob.User, "r")
		cid.dial(dan.User, "r")
		time.Sleep(time.Minute)
		n.want(t, "timeout", "timeout")
	})
}

// Without rooms: a call whose caller was gone when it was answered, and does not come
// back, ends although the callee says that media flows.
func TestCallerNeverBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann, bob, cid := a.join("ann"), a.join("bob"), a.join("cid")
		call := ann.dial("bob", "r")
		ann.Cut()
		time.Sleep(time.Second)
		bob.answers(call, "ann")
		bob.about("callConnected", call)
		time.Sleep(time.Hour)
		if ack := cid.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"cid"}`); ack.Status != "ok" {
			t.Errorf("an hour later: %s", ack.Raw)
		}
	})
}

// With rooms: a call in which nobody ever joined ends when both have gone.
func TestNobodyJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithRooms(&fakeRooms{}), heymanito.WithHooks(heymanito.Hooks{OnRing: func(context.Context, heymanito.Call, []heymanito.Device) {}}))
		ann, bob, cid := a.join("ann"), a.join("bob"), a.join("cid")
		call := ann.dial("bob", "r")
		bob.answers(call, "ann")
		ann.about("callConnected", call)
		ann.Goodbye()
		bob.Goodbye()
		time.Sleep(time.Hour)
		if ack := cid.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"cid"}`); ack.Status != "ok" {
			t.Errorf("an hour later: %s", ack.Raw)
		}
	})
}

// A Shutdown that cuts a hook of a call says so.
func TestShutdownCutsHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithDrain(0), heymanito.WithHooks(heymanito.Hooks{
			OnCall: func(ctx context.Context, _ heymanito.Call) { <-ctx.Done() },
		}))
		ann := a.join("ann")
		a.join("bob")
		ann.dial("bob", "r")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := a.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown, which its ctx has cut: %v", err)
		}
	})
}

// oddCalls is a store that is slow, or fails although it has done what it was
// asked for.
type oddCalls struct {
	*heymanito.MemoryCalls
	mu      sync.Mutex                          // guards the rest
	armed   bool                                // the next ByUser of ann's takes a second
	slow    bool                                // the first CompareAndSwap to ringing arms that
	after   func(c heymanito.Call) (fails bool) // called after a CompareAndSwap that was made
	created func(c heymanito.Call)              // called after a Create
}

func (s *oddCalls) Create(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
	got, err := s.MemoryCalls.Create(ctx, c)
	s.mu.Lock()
	f := s.created
	s.mu.Unlock()
	if f != nil && err == nil {
		f(got)
	}
	return got, err
}

func (s *oddCalls) CompareAndSwap(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
	got, ok, err := s.MemoryCalls.CompareAndSwap(ctx, c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slow && c.State == heymanito.CallRinging {
		s.slow, s.armed = false, true
	}
	if ok && s.after != nil && s.after(c) {
		return heymanito.Call{}, false, errors.New("connection reset")
	}
	return got, ok, err
}

func (s *oddCalls) ByUser(ctx context.Context, u string) ([]heymanito.Call, error) {
	s.mu.Lock()
	wait := s.armed && u == "ann"
	if wait {
		s.armed = false
	}
	s.mu.Unlock()
	if wait {
		time.Sleep(time.Second)
	}
	return s.MemoryCalls.ByUser(ctx, u)
}

// Those who go while the store is down fill no log.
func TestLeftLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFailingCalls()
		a := start(t, heymanito.WithCalls(store))
		var all []*person
		for range 10 {
			all = append(all, a.join(strings.Repeat("u", len(all)+1)))
		}
		store.fails(errors.New("down"))
		for _, p := range all {
			p.Cut()
		}
		time.Sleep(10 * time.Minute)
		if n := a.log.Count("level=ERROR"); n > 100 {
			t.Errorf("10 users, 10 minutes: %d ERROR lines", n)
		}
		store.fails(nil)
		time.Sleep(5 * time.Second)
	})
}

// The media server dies: a call that both have left ends all the same.
func TestLostWebhooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rooms := &fakeRooms{}
		a := start(t, heymanito.WithRooms(rooms))
		ann, bob, cid := a.join("ann"), a.join("bob"), a.join("cid")
		call := ann.dial("bob", "r")
		bob.answers(call, "ann")
		rooms.mu.Lock()
		grants := rooms.grants
		rooms.mu.Unlock()
		for i, g := range grants {
			_ = rooms.told(t.Context(), heymanito.RoomEvent{Kind: heymanito.ParticipantJoined, Room: g.Room, Identity: g.Identity, Session: string(rune('a' + i))})
		}
		ann.Goodbye()
		bob.Goodbye()
		time.Sleep(time.Hour)
		a.join("bob")
		if ack := cid.calls("bob"); ack.Status != "ok" {
			t.Errorf("an hour later: %s", ack.Raw)
		}
	})
}
