package heymanito_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// dial is an initiateCall; the call is then called <call>.
func (p *person) dial(to, room string) wiretest.Ack {
	p.app.t.Helper()
	ack := p.EmitAck("initiateCall", fmt.Sprintf(`{"recipientId":%q,"callerId":%q,"roomName":%q}`, to, p.User, room))
	if ack.Status != "ok" {
		p.app.t.Errorf("%s dials %s: %s", p.User, to, ack.Raw)
	}
	p.app.called(ack.CallID, "<call>")
	return ack
}

func incoming(room, from string, at int64) string {
	return fmt.Sprintf(`incomingCall({"roomName":%q,"callerId":%q,"callId":"<call>","ts":%d,"expiresAt":%d,"expiresInMs":45000})`, room, from, at, at+45000)
}

func cancelled(reason string) string {
	return fmt.Sprintf(`callCancelled({"callId":"<call>","reason":%q})`, reason)
}

func TestCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := start(t, heymanito.WithHooks(heymanito.Hooks{
			BeforeCall: func(_ context.Context, c heymanito.Call) error {
				n.add("before %s %s→%s in %s, %s, %s, %s, %d to %d", a0call(c.ID), c.Caller, c.Callee, c.Room, c.CallerInfo, c.Media, c.State, c.Time.UnixMilli(), c.Expires.UnixMilli())
				return nil
			},
			OnCall: func(_ context.Context, c heymanito.Call) {
				n.add("%s %s→%s in %s at %d", c.State, c.Caller, c.Callee, c.Room, c.Time.UnixMilli())
			},
		}))
		ann, ann2, bob, bob2 := a.join("ann"), a.join("ann"), a.join("bob"), a.join("bob")
		all := []*person{ann, ann2, bob, bob2}
		for _, p := range all {
			p.deaf()
		}

		// The fields that are there, as they are; the others not at all.
		ack := ann.EmitAck("initiateCall", `{"media":"video","roomName":"r\u0031","callerInfo":{"z":1.50,"a":"\ud800"},"callerId":"ann","recipientId":"bob","x":1}`)
		a.called(ack.CallID, "<call>")
		if got, want := a.plain(string(ack.Raw)), fmt.Sprintf(`{"status":"ok","callId":"<call>","roomName":"r1","expiresAt":%d,"expiresInMs":45000}`, begin+45000); got != want {
			t.Errorf("initiateCall was acked %s, want %s", got, want)
		}
		for _, d := range []*person{bob, bob2} {
			d.hears(fmt.Sprintf(`incomingCall({"roomName":"r1","callerId":"ann","callerInfo":{"z":1.50,"a":"\ud800"},"callId":"<call>","media":"video","ts":%d,"expiresAt":%d,"expiresInMs":45000})`, begin, begin+45000))
		}
		n.want(t, fmt.Sprintf(`before id ann→bob in r1, {"z":1.50,"a":"\ud800"}, video, ringing, %d to %d`, begin, begin+45000),
			fmt.Sprintf("ringing ann→bob in r1 at %d", begin))
		time.Sleep(2 * time.Second)
		bob2.says(`{"status":"ok","callId":"<call>","roomName":"r1"}`, "acceptCall", `{"callerId":"ann","roomName":"r1"}`)
		for _, d := range []*person{ann, ann2} {
			d.hears(`callAccepted({"roomName":"r1","callId":"<call>","recipientId":"bob"})`)
		}
		bob.hears(cancelled("answered_elsewhere"))
		bob2.hears()
		n.want(t, fmt.Sprintf("connecting ann→bob in r1 at %d", begin+2000))

		// Again from the winner; from the others it is too late for anything.
		bob2.says(`{"status":"ok","callId":"<call>","roomName":"r1","duplicate":true}`, "acceptCall", `{"callerId":"ann","callId":"`+ack.CallID+`"}`)
		bob.says(failed("conflict", "the call is answered already"), "acceptCall", `{"callerId":"ann","roomName":"r1"}`)
		bob.says(failed("conflict", "the call is not this device's to reject"), "rejectCall", `{"callerId":"ann","recipientId":"bob"}`)
		for _, p := range all {
			p.hears()
		}
		n.want(t)
		// From the device that accepted it is the hang-up.
		time.Sleep(3 * time.Second)
		bob2.says(`{"status":"ok","callId":"<call>"}`, "rejectCall", `{"callerId":"ann","recipientId":"bob"}`)
		for _, d := range []*person{ann, ann2} {
			d.hears(over("hangup", 3000), `callRejected({"recipientId":"bob","callId":"<call>","reason":"declined"})`)
		}
		bob.hears(over("hangup", 3000))
		bob2.hears(over("hangup", 3000))
		n.want(t, fmt.Sprintf("ended ann→bob in r1 at %d", begin+5000))
		bob2.says(failed("conflict", "the call is answered already"), "acceptCall", `{"callerId":"ann"}`)
		bob2.says(failed("conflict", "the call is not this device's to reject"), "rejectCall", `{"callerId":"ann","recipientId":"bob"}`)

		// Without a room's name one is made.
		ack = ann.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"ann"}`)
		if !strings.HasPrefix(ack.RoomName, "hm_") || len(ack.RoomName) != 25 {
			t.Errorf("the room is called %q", ack.RoomName)
		}
		a.called(ack.CallID, "<call>")
		bob.hears(incoming("hm_<call>", "ann", begin+5000))
	})
}

func over(reason string, ms int64) string {
	return fmt.Sprintf(`callEnded({"callId":"<call>","reason":%q,"durationMs":%d})`, reason, ms)
}

func a0call(id string) string {
	if len(id) == 22 {
		return "id"
	}
	return id
}

// The device that has answered is still the one when it has reconnected, if it
// says so by its deviceId; nobody else's is.
func TestAnswerSurvivesReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		phone, tablet := wiretest.Auth(`{"deviceId":"phone"}`), wiretest.Auth(`{"deviceId":"tablet"}`)
		ann, bob, other, nameless := a.join("ann"), a.join("bob", phone), a.join("bob", tablet), a.join("bob")
		call := ann.dial("bob", "r")
		if code := bob.code("acceptCall", `{"callerId":"ann","roomName":"r"}`); code != "ok" {
			t.Errorf("acceptCall: %s", code)
		}
		bob.Cut()
		bob = a.join("bob", phone)
		ann.deaf()
		bob.says(`{"status":"ok","callId":"<call>","roomName":"r","duplicate":true}`, "acceptCall", `{"callerId":"ann","callId":"`+call.CallID+`"}`)
		for _, p := range []*person{other, nameless} {
			if code := p.code("acceptCall", `{"callerId":"ann","callId":"`+call.CallID+`"}`); code != "conflict" {
				t.Errorf("another device: acceptCall: %s", code)
			}
			if code := p.code("rejectCall", `{"callerId":"ann","recipientId":"bob"}`); code != "conflict" {
				t.Errorf("another device: rejectCall: %s", code)
			}
		}
		ann.hears()
		bob.says(`{"status":"ok","callId":"<call>"}`, "rejectCall", `{"callerId":"ann","recipientId":"bob"}`)
		ann.hears(over("hangup", 0), `callRejected({"recipientId":"bob","callId":"<call>","reason":"declined"})`)

		// Devices without a deviceId are not all one.
		call = ann.dial("bob", "r2")
		if code := nameless.code("acceptCall", `{"callerId":"ann","callId":"`+call.CallID+`"}`); code != "ok" {
			t.Errorf("acceptCall: %s", code)
		}
		if code := a.join("bob").code("rejectCall", `{"callerId":"ann","recipientId":"bob","callId":"`+call.CallID+`"}`); code != "conflict" {
			t.Errorf("another device: rejectCall: %s", code)
		}
	})
}

// The caller knows the call's id before he hears of its answer.
func TestAckBeforeAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls = 100
		a := start(t, heymanito.WithRingLimits(calls, calls))
		ann, bob := a.join("ann"), a.join("bob")
		var all sync.WaitGroup
		all.Go(func() { // answers as fast as it can
			for range calls {
				e, err := bob.Wait("incomingCall", wiretest.Timeout)
				if err != nil {
					t.Error(err)
					return
				}
				_, id, _ := strings.Cut(string(e.Args[0]), `"callId":"`)
				id, _, _ = strings.Cut(id, `"`)
				bob.Emit("acceptCall", fmt.Sprintf(`{"callerId":"ann","callId":%q}`, id))
			}
		})
		for i := range calls {
			ann.EmitAck("initiateCall", fmt.Sprintf(`{"recipientId":"bob","callerId":"ann","roomName":"r%d"}`, i))
			ann.Expect("callAccepted")
		}
		all.Wait()
		synctest.Wait()
		acked := map[string]bool{}
		for _, e := range ann.Log() {
			for i := range 100 {
				room := fmt.Sprintf(`"roomName":"r%d"`, i)
				switch {
				case len(e.Args) == 0 || !strings.Contains(string(e.Args[0]), room):
				case e.Name == "callAccepted" && !acked[room]:
					t.Errorf("%v before the ack", e)
				default:
					acked[room] = true
				}
			}
		}
		if n := len(ann.Named("callAccepted")); n != 100 || len(acked) != 100 {
			t.Errorf("of 100 calls %d were acked, %d accepted", len(acked), n)
		}
	})
}

func TestReject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithRingLimits(100, 100))
		ann, ann2, bob, bob2 := a.join("ann"), a.join("ann"), a.join("bob"), a.join("bob")
		for reason, told := range map[string]string{
			``: "declined", `,"reason":null`: "declined", `,"reason":"declined"`: "declined",
			`,"reason":"busy"`: "busy", `,"reason":"timeout"`: "declined", `,"reason":"your mother"`: "declined",
		} {
			ack := ann.dial("bob", "r")
			for _, p := range []*person{ann, ann2, bob, bob2} {
				p.deaf()
			}
			bob.says(`{"status":"ok","callId":"<call>"}`, "rejectCall", `{"callerId":"ann","recipientId":"bob","callId":"`+ack.CallID+`"`+reason+`}`)
			for _, d := range []*person{ann, ann2} {
				d.hears(fmt.Sprintf(`callRejected({"recipientId":"bob","callId":"<call>","reason":%q})`, told))
			}
			// A phone that says busy for itself has missed a call; whoever declines
			// has not.
			var missed []string
			if told == "busy" {
				missed = []string{fmt.Sprintf(`missedCall({"callId":"<call>","callerId":"ann","ts":%d,"reason":"busy"})`, begin)}
			}
			bob2.hears(append([]string{cancelled("rejected_elsewhere")}, missed...)...)
			bob.hears(missed...)
			bob2.says(failed("conflict", "the call is answered already"), "acceptCall", `{"callerId":"ann","callId":"`+ack.CallID+`"}`)
		}
	})
}

// Whoever was not called cannot answer, whatever he knows of the call.
func TestNotCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann, bob, eve := a.join("ann"), a.join("bob"), a.join("eve")
		a.join("cid")
		call := ann.dial("bob", "r")
		own := eve.dial("cid", "r2") // she has a call of her own
		for _, p := range []*person{ann, bob, eve} {
			p.deaf()
		}
		a.called(call.CallID, "<call>")
		notThere := failed("not_found", "there is no such call to this user")
		for _, id := range []string{``, `,"roomName":"r"`, `,"callId":"` + call.CallID + `"`, `,"callId":"` + own.CallID + `"`} {
			eve.says(notThere, "acceptCall", `{"callerId":"ann"`+id+`}`)
			eve.says(notThere, "rejectCall", `{"callerId":"ann","recipientId":"eve"`+id+`}`)
			// Nor can the caller, for the callee.
			ann.says(notThere, "acceptCall", `{"callerId":"bob"`+id+`}`)
			ann.says(notThere, "rejectCall", `{"callerId":"bob","recipientId":"ann"`+id+`}`)
		}
		// The id and the caller have to be of one call.
		bob.says(notThere, "acceptCall", `{"callerId":"ann","callId":"`+own.CallID+`"}`)
		bob.says(notThere, "acceptCall", `{"callerId":"eve","callId":"`+call.CallID+`"}`)
		bob.says(notThere, "acceptCall", `{"callerId":"ann","callId":"unheard-of"}`)
		bob.says(notThere, "acceptCall", `{"callerId":"nobody"}`)
		ann.hears()
		eve.hears()
		bob.hears()
		bob.says(`{"status":"ok","callId":"<call>","roomName":"r"}`, "acceptCall", `{"callerId":"ann","callId":"`+call.CallID+`","roomName":"another"}`)
	})
}

// A thousand devices that accept at once: one wins. (A hundred here.)
func TestAcceptRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const devices = 100
		a := start(t, heymanito.WithMaxDevices(devices))
		ann := a.join("ann")
		var bobs []*person
		for range devices {
			bobs = append(bobs, a.join("bob"))
		}
		ann.deaf()
		ack := ann.dial("bob", "r")
		for _, b := range bobs {
			b.deaf()
		}
		var mu sync.Mutex
		answers := map[string]int{}
		var winner *person
		var all sync.WaitGroup
		for i, b := range bobs {
			all.Go(func() {
				payload := `{"callerId":"ann","roomName":"r"}`
				if i%2 == 0 {
					payload = `{"callerId":"ann","callId":"` + ack.CallID + `"}`
				}
				code := b.code("acceptCall", payload)
				mu.Lock()
				defer mu.Unlock()
				answers[code]++
				if code == "ok" {
					winner = b
				}
			})
		}
		all.Wait()
		if answers["ok"] != 1 || answers["conflict"] != devices-1 {
			t.Fatalf("%d devices that accept were acked %v", devices, answers)
		}
		ann.hears(`callAccepted({"roomName":"r","callId":"<call>","recipientId":"bob"})`)
		for _, b := range bobs {
			if b == winner {
				b.hears()
			} else {
				b.hears(cancelled("answered_elsewhere"))
			}
		}
	})
}

// Accept and reject at once: one of the two.
func TestAcceptRejectRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithRingLimits(100, 100))
		ann, bob, bob2 := a.join("ann"), a.join("bob"), a.join("bob")
		for range 100 {
			ack := ann.dial("bob", "r")
			ann.deaf()
			var codes [2]string
			var both sync.WaitGroup
			both.Go(func() { codes[0] = bob.code("acceptCall", `{"callerId":"ann","callId":"`+ack.CallID+`"}`) })
			both.Go(func() {
				codes[1] = bob2.code("rejectCall", `{"callerId":"ann","recipientId":"bob","callId":"`+ack.CallID+`"}`)
			})
			both.Wait()
			heard := ann.news()
			switch {
			case codes == [2]string{"ok", "conflict"} && len(heard) == 1 && strings.HasPrefix(heard[0], "callAccepted"):
			case codes == [2]string{"conflict", "ok"} && len(heard) == 1 && strings.HasPrefix(heard[0], "callRejected"):
			default:
				t.Fatalf("accept: %s, reject: %s; the caller has heard %q", codes[0], codes[1], heard)
			}
		}
	})
}

// Nobody to ring: the ack says so, and, for clients that read none, a
// callRejected to the device that has dialled.
func TestRingNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := start(t, heymanito.WithInbox(heymanito.NewMemoryInbox(heymanito.InboxBounds{})), heymanito.WithHooks(heymanito.Hooks{
			OnCall: func(_ context.Context, c heymanito.Call) { n.add("%s %s", c.State, c.Reason) },
		}))
		ann, ann2 := a.join("ann"), a.join("ann")
		ann.deaf()
		ann2.deaf()
		offline := `{"status":"error","code":"offline","message":"the callee has no device connected","retryable":true}`
		ann.says(offline, "initiateCall", `{"recipientId":"bob","callerId":"ann","roomName":"r"}`)
		ann.hears(`callRejected({"recipientId":"bob","reason":"offline"})`)
		ann2.hears()
		ann.Emit("initiateCall", `{"recipientId":"bob","callerId":"ann","roomName":"r"}`)
		ann.hears(`callRejected({"recipientId":"bob","reason":"offline"})`)
		ann2.hears()
		n.want(t, "ended offline", "ended offline")
		// There is no call to be answered by one who comes later: he has missed
		// two.
		bob := a.join("bob")
		synctest.Wait()
		if missed := bob.Named("missedCall"); len(missed) != 2 || !strings.Contains(string(missed[1].Args[0]), `"callerId":"ann","ts":946684800000,"reason":"offline","seq":2}`) {
			t.Errorf("bob is told of the missed calls %v", missed)
		}
		if code := bob.code("acceptCall", `{"callerId":"ann","roomName":"r"}`); code != "not_found" {
			t.Errorf("a call that never rang was accepted with %s", code)
		}
		// In his grace he is rung, when he is back.
		bob.Cut()
		synctest.Wait()
		ann.deaf()
		ann.dial("bob", "r")
		time.Sleep(3 * time.Second)
		bob = a.join("bob")
		synctest.Wait()
		if rings := bob.Named("incomingCall"); len(rings) != 1 || !strings.HasSuffix(string(rings[0].Args[0]), `"expiresInMs":42000}`) {
			t.Errorf("back, bob hears %v", rings)
		}
		ann.hears()
		n.want(t, "ringing ")
		// A call to oneself.
		ann.says(failed("invalid", "a call to oneself"), "initiateCall", `{"recipientId":"ann","callerId":"ann","roomName":"r"}`)
		ann.hears()
		ann2.deaf()
		ann2.hears()
	})
}

// A call rings for so long, then everybody is told, and nobody can answer it.
func TestRingTimeout(t *testing.T) {
	for _, c := range []struct {
		ring time.Duration
		opts []heymanito.Option
	}{
		{45 * time.Second, nil},
		{10 * time.Second, []heymanito.Option{heymanito.WithCallTimes(heymanito.CallTimes{Ring: 10 * time.Second})}},
	} {
		t.Run(c.ring.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := start(t, c.opts...)
				ann, ann2, bob, cid := a.join("ann"), a.join("ann"), a.join("bob"), a.join("cid")
				late := ann.dial("bob", "too late")
				if !strings.Contains(string(late.Raw), fmt.Sprintf(`"expiresAt":%d,"expiresInMs":%d}`, begin+c.ring.Milliseconds(), c.ring.Milliseconds())) {
					t.Errorf("the call was acked %s", late.Raw)
				}
				dan := a.join("dan")
				inTime := cid.EmitAck("initiateCall", `{"recipientId":"dan","callerId":"cid","roomName":"r"}`)
				time.Sleep(c.ring)
				if code := dan.code("acceptCall", `{"callerId":"cid","callId":"`+inTime.CallID+`"}`); code != "ok" {
					t.Errorf("accepted in the last moment: %s", code)
				}
				for _, p := range []*person{ann, ann2, bob} {
					p.deaf()
				}
				time.Sleep(time.Millisecond)
				for _, p := range []*person{ann, ann2} {
					p.hears(`callRejected({"recipientId":"bob","callId":"<call>","reason":"timeout"})`)
				}
				bob.hears(cancelled("timeout"), fmt.Sprintf(`missedCall({"callId":"<call>","callerId":"ann","ts":%d,"reason":"timeout"})`, begin))
				bob.says(failed("conflict", "the call is answered already"), "acceptCall", `{"callerId":"ann","callId":"`+late.CallID+`"}`)
				// It is remembered for a minute.
				time.Sleep(time.Minute)
				bob.says(failed("not_found", "there is no such call to this user"), "acceptCall", `{"callerId":"ann","callId":"`+late.CallID+`"}`)
				ann.hears()
			})
		})
	}
}

// Which call: that of the callId, else that of the room, else the newest that
// can be meant.
func TestWhichCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann, bob := a.join("ann"), a.join("bob")
		name := map[string]string{}
		dial := func(label, room string) string {
			ack := ann.EmitAck("initiateCall", fmt.Sprintf(`{"recipientId":"bob","callerId":"ann","roomName":%q}`, room))
			name[ack.CallID] = label
			return ack.CallID
		}
		reject := func(members string) heymanito.Code {
			return heymanito.Code(bob.code("rejectCall", `{"callerId":"ann","recipientId":"bob"`+members+`}`))
		}
		one := dial("1", "r1")
		if reject("") != "ok" {
			t.Error("call 1 is not rejected")
		}
		dial("2", "r2")
		for _, c := range []struct {
			members string
			want    heymanito.Code
		}{
			{`,"callId":"` + one + `"`, heymanito.CodeConflict},                 // that one is over
			{`,"callId":"` + one + `","roomName":"r2"`, heymanito.CodeConflict}, // whatever room is named
			{`,"roomName":"r1"`, heymanito.CodeConflict},                        // that was its room
			{`,"callId":"unheard-of","roomName":"r2"`, heymanito.CodeNotFound},  //
			{`,"roomName":"unheard-of"`, "ok"},                                  // the newest that rings
		} {
			if got := reject(c.members); got != c.want {
				t.Errorf("rejectCall{…%s} was acked %s, want %s", c.members, got, c.want)
			}
		}
		dial("3", "r1") // the room of one that is over
		if ack := bob.EmitAck("acceptCall", `{"callerId":"ann","roomName":"r1"}`); name[ack.CallID] != "3" {
			t.Errorf("acceptCall has accepted call %q, want 3", name[ack.CallID])
		}
	})
}

func TestBeforeCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var verdict error
		var n notes
		a := start(t, heymanito.WithHooks(heymanito.Hooks{
			BeforeCall: func(context.Context, heymanito.Call) error {
				if verdict != nil && verdict.Error() == "panic" {
					panic("the hook has a bug")
				}
				return verdict
			},
			OnCall: func(_ context.Context, c heymanito.Call) { n.add("%s", c.State) },
		}))
		a.panics = true // refused, a dial does not count as a ring
		ann, ann2, bob := a.join("ann"), a.join("ann"), a.join("bob")
		ann.deaf()
		ann2.deaf()
		const dial = `{"recipientId":"bob","callerId":"ann","roomName":"r"}`
		rejected := func(reason string) string {
			return fmt.Sprintf(`callRejected({"recipientId":"bob","reason":%q})`, reason)
		}
		for _, v := range verdicts {
			if verdict = v.err; verdict == nil {
				continue
			}
			ann.says(v.ack, "initiateCall", dial)
			reason := "failed"
			if strings.Contains(v.ack, `"forbidden"`) {
				reason = "forbidden"
			}
			ann.hears(rejected(reason))
		}
		verdict = &heymanito.Error{Code: heymanito.CodeBusy, Message: "she talks"}
		ann.says(`{"status":"error","code":"busy","message":"she talks","retryable":true}`, "initiateCall", dial)
		ann.hears(rejected("busy"))
		verdict = errors.New("panic")
		ann.says(internal, "initiateCall", dial)
		ann.hears(rejected("failed"))
		// Silently, it rings out, and nobody but the caller ever knows.
		verdict = heymanito.ErrSilently
		ack := ann.EmitAck("initiateCall", dial)
		if ack.Status != "ok" || ack.CallID == "" {
			t.Errorf("refused silently a dial was acked %s", ack.Raw)
		}
		a.called(ack.CallID, "<call>")
		if code := bob.code("acceptCall", `{"callerId":"ann","callId":"`+ack.CallID+`"}`); code != "not_found" {
			t.Errorf("a call that was refused silently is accepted with %s", code)
		}
		if calls := bob.ask("getCalls"); calls != `{"status":"ok","calls":[]}` {
			t.Errorf("bob's calls are %s", calls)
		}
		if again := ann.EmitAck("initiateCall", dial); again.CallID != ack.CallID || !again.Duplicate {
			t.Errorf("dialled again: %s", again.Raw)
		}
		ann.hears()
		ann2.hears()
		time.Sleep(45*time.Second + time.Millisecond)
		for _, p := range []*person{ann, ann2} {
			p.hears(`callRejected({"recipientId":"bob","callId":"<call>","reason":"timeout"})`)
		}
		bob.hears()
		a.join("bob").deaf().hears()
		n.want(t)
	})
}

// What is sent with a call reaches every device of the callee, photo included.
func TestCallerInfo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann, bob, bob2 := a.join("ann"), a.join("bob"), a.join("bob")
		if err := ann.Send(`452-1["initiateCall",{"x":{"_placeholder":true,"num":0},"recipientId":"bob","callerId":"ann","roomName":"r","callerInfo":{"face":{"_placeholder":true,"num":1}}}]`); err != nil {
			t.Fatal(err)
		}
		_ = ann.WS.SendBinary([]byte("dropped"))
		_ = ann.WS.SendBinary([]byte("face"))
		ann.Expect("ack 1")
		for _, d := range []*person{bob, bob2} {
			heard := d.news()
			i := slices.IndexFunc(heard, func(l string) bool { return strings.HasPrefix(l, "incomingCall") })
			if i < 0 || !strings.Contains(heard[i], `"callerInfo":{"face":{"_placeholder":true,"num":0}}`) || !strings.HasSuffix(heard[i], `})+"face"`) {
				t.Errorf("bob has heard %q", heard)
			}
		}
	})
}

// What a caller said of himself is the same at every step, whatever he says
// meanwhile.
func TestCallerInfoStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := start(t, heymanito.WithHooks(heymanito.Hooks{OnCall: func(_ context.Context, c heymanito.Call) {
			n.add("%s %s", c.State, c.CallerInfo)
		}}))
		ann, bob := a.join("ann"), a.join("bob")
		ann.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"ann","roomName":"r","callerInfo":{"name":"Ann"}}`)
		ann.EmitAck("sendMessage", `{"id":1,"senderChatPath":"ann","recipientChatPath":"bob","content":"`+strings.Repeat("something else ", 20)+`"}`)
		bob.EmitAck("acceptCall", `{"callerId":"ann","roomName":"r"}`)
		bob.EmitAck("rejectCall", `{"callerId":"ann","recipientId":"bob"}`)
		n.want(t, `ringing {"name":"Ann"}`, `connecting {"name":"Ann"}`, `ended {"name":"Ann"}`)
	})
}

// Whoever dials without end is told to wait, and keeps nobody from calling.
func TestDialsWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann, bob, mal, eve := a.join("ann"), a.join("bob"), a.join("mal"), a.join("eve")
		ann.dial("bob", "r")
		mal.deaf()
		codes := map[string]int{}
		for range 100 {
			code := mal.code("initiateCall", `{"recipientId":"eve","callerId":"mal"}`)
			if codes[code]++; code == "ok" {
				eve.code("rejectCall", `{"callerId":"mal","recipientId":"eve"}`)
			}
		}
		if codes["ok"] != 6 || codes["rate_limited"] != 94 {
			t.Errorf("100 dials to one: %v", codes)
		}
		if last := mal.news(); len(last) != 100 || last[99] != `callRejected({"recipientId":"eve","reason":"failed"})` {
			t.Errorf("mal has heard %d endings", len(last))
		}
		for i := range 20 {
			codes[mal.code("initiateCall", fmt.Sprintf(`{"recipientId":"nobody%d","callerId":"mal"}`, i))]++
		}
		if codes["offline"] != 14 {
			t.Errorf("20 dials to others: %v", codes)
		}
		time.Sleep(30 * time.Second)
		ack := mal.EmitAck("initiateCall", `{"recipientId":"eve","callerId":"mal"}`)
		if ack.Code != "rate_limited" || !strings.Contains(string(ack.Raw), `"retryAfterMs":30000`) {
			t.Errorf("after half a minute: %s", ack.Raw)
		}
		if code := bob.code("acceptCall", `{"callerId":"ann","roomName":"r"}`); code != "ok" {
			t.Errorf("bob answers ann: %s", code)
		}
		time.Sleep(30 * time.Second)
		// What rings already is no new ring.
		for i := range 20 {
			if ack := mal.EmitAck("initiateCall", `{"recipientId":"eve","callerId":"mal"}`); ack.Status != "ok" || ack.Duplicate != (i > 0) {
				t.Errorf("dial %d: %s", i, ack.Raw)
			}
		}
	})
}

// The events about one call: their shape, and who may.
func TestAboutACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann, bob, eve := a.join("ann"), a.join("bob"), a.join("eve")
		events := []string{"ringCall", "callConnected", "getCallToken", "cancelCall", "endCall"}
		call := ann.dial("bob", "r")
		for _, p := range []*person{ann, bob, eve} {
			p.deaf()
		}
		for _, event := range events {
			for _, payload := range [][]string{nil, {`null`}, {`"x"`}, {`[]`}, {`{}`}, {`{"callId":null}`}, {`{"callId":""}`}, {`{"callId":5}`}, {`{"callId":` + quoted(257) + `}`}} {
				if code := bob.code(event, payload...); code != "invalid" {
					t.Errorf("%s(%.100s): %s", event, payload, code)
				}
			}
			if event == "getCallToken" {
				continue // without rooms there are none
			}
			if code := bob.code(event, `{"callId":"unheard-of"}`); code != "not_found" {
				t.Errorf("%s of no call: %s", event, code)
			}
			if code := eve.about(event, call); code != "not_found" {
				t.Errorf("%s of others' call: %s", event, code)
			}
		}
		if code := bob.about("getCallToken", call); code != "not_found" {
			t.Errorf("getCallToken without rooms: %s", code)
		}
		if code := bob.about("cancelCall", call); code != "conflict" {
			t.Errorf("cancelled by the callee: %s", code)
		}
		if code := ann.code("acceptCall", fmt.Sprintf(`{"callerId":"ann","callId":%q}`, call.CallID)); code != "conflict" {
			t.Errorf("accepted by the caller: %s", code)
		}
		if code := ann.about("callConnected", call); code != "conflict" {
			t.Errorf("connected while it rings: %s", code)
		}
		for _, p := range []*person{ann, bob, eve} {
			p.hears()
		}
		bob.answers(call, "ann")
		for range 2 {
			for _, p := range []*person{ann, bob} {
				if code := p.about("callConnected", call); code != "ok" {
					t.Errorf("%s is connected: %s", p.User, code)
				}
			}
		}
		if code := ann.about("cancelCall", call); code != "conflict" {
			t.Errorf("cancelled, answered: %s", code)
		}
		bob.about("endCall", call)
		for _, event := range []string{"ringCall", "callConnected", "cancelCall", "endCall"} {
			if code := ann.about(event, call); code != "conflict" {
				t.Errorf("%s of a call that is over: %s", event, code)
			}
		}
	})
}

// Whoever is blocked in the middle of a call can hang up.
func TestBlockedHangUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked := false
		a := start(t, heymanito.WithHooks(heymanito.Hooks{Authorize: func(context.Context, heymanito.Action) error {
			if blocked {
				return heymanito.ErrSilently
			}
			return nil
		}}))
		ann, bob := a.join("ann"), a.join("bob")
		call := ann.dial("bob", "r")
		bob.answers(call, "ann")
		bob.about("callConnected", call)
		blocked = true // bob blocks ann in the middle of the call
		ann.about("endCall", call)
		bob.code("rejectCall", `{"callerId":"ann","recipientId":"bob"}`)
		if ack := bob.EmitAck("getCalls"); len(ack.Raw) > len(`{"status":"ok","calls":[]}`) {
			t.Errorf("hung up by both with ok, and it goes on: %.80s", ack.Raw)
		}
	})
}
