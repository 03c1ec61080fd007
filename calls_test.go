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
		n.want(t, fmt.Sprintf("accepted ann→bob in r1 at %d", begin+2000))

		// Again from the winner; from the others it is too late for anything.
		bob2.says(`{"status":"ok","callId":"<call>","roomName":"r1","duplicate":true}`, "acceptCall", `{"callerId":"ann","callId":"`+ack.CallID+`"}`)
		bob.says(failed("conflict", "the call is answered already"), "acceptCall", `{"callerId":"ann","roomName":"r1"}`)
		bob.says(failed("conflict", "the call is not this device's to reject"), "rejectCall", `{"callerId":"ann","recipientId":"bob"}`)
		for _, p := range all {
			p.hears()
		}
		n.want(t)
		// From the device that accepted it is the hang-up.
		bob2.says(`{"status":"ok","callId":"<call>"}`, "rejectCall", `{"callerId":"ann","recipientId":"bob"}`)
		for _, d := range []*person{ann, ann2} {
			d.hears(`callRejected({"recipientId":"bob","callId":"<call>","reason":"declined"})`)
		}
		bob.hears()
		bob2.hears()
		n.want(t, fmt.Sprintf("rejected ann→bob in r1 at %d", begin+2000))
		bob2.says(failed("conflict", "the call is answered already"), "acceptCall", `{"callerId":"ann"}`)
		bob2.says(failed("conflict", "the call is not this device's to reject"), "rejectCall", `{"callerId":"ann","recipientId":"bob"}`)

		// Without a room's name one is made.
		ack = ann.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"ann"}`)
		if !strings.HasPrefix(ack.RoomName, "hm_") || len(ack.RoomName) != 25 {
			t.Errorf("the room is called %q", ack.RoomName)
		}
		a.called(ack.CallID, "<call>")
		bob.hears(incoming(ack.RoomName, "ann", begin+2000))
	})
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
		ann.hears(`callRejected({"recipientId":"bob","callId":"<call>","reason":"declined"})`)

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
		a := start(t)
		ann, bob := a.join("ann"), a.join("bob")
		var all sync.WaitGroup
		all.Go(func() { // answers as fast as it can
			for range 100 {
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
		for i := range 100 {
			if err := ann.Send(fmt.Sprintf(`42%d["initiateCall",{"recipientId":"bob","callerId":"ann","roomName":"r%d"}]`, i, i)); err != nil {
				t.Fatal(err)
			}
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
		a := start(t)
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
			bob2.hears(cancelled("rejected_elsewhere"))
			bob.hears()
			bob2.says(failed("conflict", "the call is answered already"), "acceptCall", `{"callerId":"ann","callId":"`+ack.CallID+`"}`)
		}
	})
}

// Whoever was not called cannot answer, whatever he knows of the call.
func TestNotCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann, bob, eve := a.join("ann"), a.join("bob"), a.join("eve")
		call := ann.dial("bob", "r")
		own := eve.dial("bob", "r2") // she has a call to bob of her own
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
		a := start(t)
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
		a := start(t, heymanito.WithHooks(heymanito.Hooks{
			OnCall: func(_ context.Context, c heymanito.Call) { n.add("%s", c.State) },
		}))
		ann, ann2 := a.join("ann"), a.join("ann")
		offline := `{"status":"error","code":"offline","message":"the callee has no device connected","retryable":true}`
		ann.says(offline, "initiateCall", `{"recipientId":"bob","callerId":"ann","roomName":"r"}`)
		ann.hears(`callRejected({"recipientId":"bob","reason":"offline"})`)
		ann2.hears()
		ann.Emit("initiateCall", `{"recipientId":"bob","callerId":"ann","roomName":"r"}`)
		ann.hears(`callRejected({"recipientId":"bob","reason":"offline"})`)
		ann2.hears()
		// There is no call to be answered by one who comes later.
		bob := a.join("bob")
		if code := bob.code("acceptCall", `{"callerId":"ann","roomName":"r"}`); code != "not_found" {
			t.Errorf("a call that never rang was accepted with %s", code)
		}
		// In his grace he has no device either.
		bob.Cut()
		synctest.Wait()
		ann.deaf()
		ann.says(offline, "initiateCall", `{"recipientId":"bob","callerId":"ann","roomName":"r"}`)
		ann.hears(`callRejected({"recipientId":"bob","reason":"offline"})`)
		n.want(t)
		// A call to oneself.
		ann.says(failed("invalid", "a call to oneself"), "initiateCall", `{"recipientId":"ann","callerId":"ann","roomName":"r"}`)
		ann.hears()
		ann2.deaf()
		ann2.hears()
	})
}

func TestRingTimeout(t *testing.T) {
	for _, c := range []struct {
		ring time.Duration
		opts []heymanito.Option
	}{
		{45 * time.Second, nil},
		{10 * time.Second, []heymanito.Option{heymanito.WithRingTimeout(10 * time.Second)}},
	} {
		t.Run(c.ring.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := start(t, c.opts...)
				ann, bob := a.join("ann"), a.join("bob")
				ack := ann.dial("bob", "in time")
				if !strings.Contains(string(ack.Raw), fmt.Sprintf(`"expiresAt":%d,"expiresInMs":%d}`, begin+c.ring.Milliseconds(), c.ring.Milliseconds())) {
					t.Errorf("the call was acked %s", ack.Raw)
				}
				late := ann.dial("bob", "too late")
				time.Sleep(c.ring)
				if code := bob.code("acceptCall", `{"callerId":"ann","callId":"`+ack.CallID+`"}`); code != "ok" {
					t.Errorf("accepted in the last moment: %s", code)
				}
				time.Sleep(time.Millisecond)
				ann.deaf()
				bob.says(failed("conflict", "the call rings no more"), "acceptCall", `{"callerId":"ann","callId":"`+late.CallID+`"}`)
				ann.hears()
				// What is answered goes on.
				bob.says(`{"status":"ok","callId":"<call>","roomName":"in time","duplicate":true}`, "acceptCall", `{"callerId":"ann","callId":"`+ack.CallID+`"}`)
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
		one := dial("1", "r1")
		dial("2", "r2")
		dial("3", "r1")
		dial("4", "r3")
		for _, c := range []struct{ members, want string }{
			{`,"roomName":"r2"`, "2"},
			{`,"roomName":"r1"`, "3"},
			{`,"roomName":"r2","callId":"` + one + `"`, "1"},
			{`,"roomName":"unheard-of"`, "4"},
		} {
			ack := bob.EmitAck("acceptCall", `{"callerId":"ann"`+c.members+`}`)
			if got := name[ack.CallID]; got != c.want {
				t.Errorf("acceptCall{…%s} has accepted call %q, want %s", c.members, got, c.want)
			}
		}
		dial("5", "r5")
		dial("6", "r1") // the room of one that is answered
		if ack := bob.EmitAck("acceptCall", `{"callerId":"ann","roomName":"r1"}`); name[ack.CallID] != "6" {
			t.Errorf("acceptCall has accepted call %q, want 6", name[ack.CallID])
		}
		dial("7", "r7")
		if ack := bob.EmitAck("rejectCall", `{"callerId":"ann","recipientId":"bob","roomName":"r7"}`); name[ack.CallID] != "7" {
			t.Errorf("rejectCall has rejected call %q, want 7", name[ack.CallID])
		}
		if code := bob.code("rejectCall", `{"callerId":"ann","recipientId":"bob","roomName":"r7"}`); code != "conflict" {
			t.Errorf("a rejected room is rejected again: %s", code)
		}
		if ack := bob.EmitAck("rejectCall", `{"callerId":"ann","recipientId":"bob"}`); name[ack.CallID] != "6" {
			t.Errorf("rejectCall has rejected call %q, want 6", name[ack.CallID])
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
		a.panics = true
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
		verdict = heymanito.ErrSilently
		ack := ann.EmitAck("initiateCall", dial)
		if ack.Status != "ok" || ack.CallID == "" {
			t.Errorf("refused silently a dial was acked %s", ack.Raw)
		}
		if code := bob.code("acceptCall", `{"callerId":"ann","callId":"`+ack.CallID+`"}`); code != "not_found" {
			t.Errorf("a call that was refused silently is accepted with %s", code)
		}
		ann.hears()
		ann2.hears()
		bob.hears()
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
		n.want(t, `ringing {"name":"Ann"}`, `accepted {"name":"Ann"}`)
	})
}

// Whoever dials without end forgets his own calls, nobody else's, and fills no
// memory.
func TestDialsWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann, bob, mal := a.join("ann"), a.join("bob"), a.join("mal")
		ann.dial("bob", "r")
		eve := a.dial("eve") // reads, and keeps nothing
		rung := make(chan struct{})
		go func() {
			defer close(rung)
			for {
				p, err := eve.Text()
				if err != nil {
					return
				}
				if strings.HasPrefix(p, `42["incomingCall"`) {
					rung <- struct{}{}
				}
			}
		}()
		dial := func(info string) {
			if ack := mal.EmitAck("initiateCall", `{"recipientId":"eve","callerId":"mal","callerInfo":"`+info+`"}`); ack.Status != "ok" {
				t.Fatalf("acked %s", ack.Raw)
			}
			<-rung
		}
		if err := eve.Send("40"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before := heapNow()
		info := strings.Repeat("x", 500_000)
		for range 100 {
			dial(info)
		}
		if grown := heapNow() - before; grown > 20<<20 {
			t.Errorf("100 dials of 500 KB by one caller have cost %d MB", grown>>20)
		}
		for range 3000 {
			dial("")
		}
		if grown := heapNow() - before; grown > 3<<20 {
			t.Errorf("3000 dials later it is %d KB", grown>>10)
		}
		if ack := bob.EmitAck("acceptCall", `{"callerId":"ann","roomName":"r"}`); ack.Status != "ok" {
			t.Errorf("bob answers ann: %s", ack.Raw)
		}
		eve.Close()
		<-rung
	})
}
