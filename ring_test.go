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

// A device that comes late rings for the rest of the time; one that comes later
// is told why it does not ring any more; the one that answered is not.
func TestLateDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		phone, tablet := wiretest.Auth(`{"deviceId":"phone"}`), wiretest.Auth(`{"deviceId":"tablet"}`)
		ann, bob := a.join("ann"), a.join("bob", phone)
		call := ann.dial("bob", "r")
		time.Sleep(10 * time.Second)
		late := a.join("bob", tablet)
		ring := fmt.Sprintf(`incomingCall({"roomName":"r","callerId":"ann","callId":"<call>","ts":%d,"expiresAt":%d,"expiresInMs":35000})`, begin, begin+45000)
		if got := late.news(); !slices.Contains(got, ring) {
			t.Errorf("ten seconds late, a device hears %q", got)
		}
		if code := bob.answers(call, "ann"); code != "ok" {
			t.Errorf("answered: %s", code)
		}
		late.hears(cancelled("answered_elsewhere"))
		bob.Cut()
		back, other := a.join("bob", phone), a.join("bob", tablet)
		if got := back.news(); slices.ContainsFunc(got, func(e string) bool { return strings.HasPrefix(e, "call") }) {
			t.Errorf("back, the device that answered hears %q", got)
		}
		if got := other.news(); !slices.Contains(got, cancelled("answered_elsewhere")) {
			t.Errorf("another device hears %q", got)
		}
		time.Sleep(59 * time.Second)
		if got := a.join("bob").news(); !slices.Contains(got, cancelled("answered_elsewhere")) {
			t.Errorf("within the minute a device hears %q", got)
		}
		time.Sleep(time.Second)
		if got := a.join("bob").news(); slices.Contains(got, cancelled("answered_elsewhere")) {
			t.Errorf("after a minute a device hears %q", got)
		}
		// An expired ring is never delivered.
		ann.about("endCall", call)
		ann.dial("bob", "r")
		time.Sleep(45 * time.Second)
		if got := a.join("bob").news(); slices.ContainsFunc(got, func(e string) bool { return strings.HasPrefix(e, "incomingCall") }) {
			t.Errorf("when the time is up a device hears %q", got)
		}
	})
}

// A device is told of calls after what it has missed.
func TestRingAfterReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithInbox(heymanito.NewMemoryInbox(heymanito.InboxBounds{})), heymanito.WithHooks(heymanito.Hooks{
			OnRing: func(context.Context, heymanito.Call, []heymanito.Device) {}, // a host that pushes
		}))
		ann := a.join("ann")
		for i := range 300 {
			ann.EmitAck("sendMessage", mail(fmt.Sprint("m", i), "ann", "bob"))
		}
		ann.dial("bob", "r")
		bob := a.join("bob")
		var names []string
		synctest.Wait()
		for _, e := range bob.Log() {
			if len(names) == 0 || names[len(names)-1] != e.Name {
				names = append(names, e.Name)
			}
		}
		if got := strings.Join(names, " "); got != "online_users receiveMessage inboxReady incomingCall" {
			t.Errorf("bob has heard %s", got)
		}
	})
}

// Every way in which a ring ends, as each of the four devices and the host are
// told it.
func TestRingEnds(t *testing.T) {
	rejected := func(reason string) []string {
		return []string{fmt.Sprintf(`callRejected({"recipientId":"bob","callId":"<call>","reason":%q})`, reason)}
	}
	stopped := func(reason string) []string { return []string{cancelled(reason)} }
	missed := func(stopped []string, reason string) []string {
		return append(stopped, fmt.Sprintf(`missedCall({"callId":"<call>","callerId":"ann","ts":%d,"reason":%q})`, begin, reason))
	}
	accepted := []string{`callAccepted({"roomName":"r","callId":"<call>","recipientId":"bob"})`}
	for name, c := range map[string]struct {
		end                  func(ann, bob *person, call wiretest.Ack)
		ann, ann2, bob, bob2 []string
		noAnn                bool
		reason               string
	}{
		"answered": {
			end: func(_, bob *person, call wiretest.Ack) { bob.answers(call, "ann") },
			ann: accepted, ann2: accepted, bob2: stopped("answered_elsewhere"), reason: "connecting ",
		},
		"declined": {
			end: func(_, bob *person, call wiretest.Ack) { bob.about("endCall", call) },
			ann: rejected("declined"), ann2: rejected("declined"), bob2: stopped("rejected_elsewhere"), reason: "ended declined",
		},
		"cancelled": {
			end:  func(ann, _ *person, call wiretest.Ack) { ann.about("cancelCall", call) },
			ann2: stopped("caller_cancelled"), bob: missed(stopped("caller_cancelled"), "caller_cancelled"),
			bob2: missed(stopped("caller_cancelled"), "caller_cancelled"), reason: "ended caller_cancelled",
		},
		"hung up by the caller": {
			end:  func(ann, _ *person, call wiretest.Ack) { ann.about("endCall", call) },
			ann2: stopped("caller_cancelled"), bob: missed(stopped("caller_cancelled"), "caller_cancelled"),
			bob2: missed(stopped("caller_cancelled"), "caller_cancelled"), reason: "ended caller_cancelled",
		},
		"timeout": {
			end: func(*person, *person, wiretest.Ack) { time.Sleep(45*time.Second + time.Millisecond) },
			ann: rejected("timeout"), ann2: rejected("timeout"), bob: missed(stopped("timeout"), "timeout"),
			bob2: missed(stopped("timeout"), "timeout"), reason: "ended timeout",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n notes
				a := start(t, heymanito.WithHooks(heymanito.Hooks{
					OnCall: func(_ context.Context, c heymanito.Call) { n.add("%s %s", c.State, c.Reason) },
					OnRing: func(_ context.Context, c heymanito.Call, reached []heymanito.Device) {
						n.add("rings at %d as %s", len(reached), c.State)
					},
					OnRingEnd: func(_ context.Context, c heymanito.Call) { n.add("rings no more: %s %s", c.State, c.Reason) },
				}))
				ann, ann2, bob, bob2 := a.join("ann"), a.join("ann"), a.join("bob"), a.join("bob")
				call := ann.dial("bob", "r")
				for _, p := range []*person{ann, ann2, bob, bob2} {
					p.deaf()
				}
				n.want(t, "ringing ", "rings at 2 as ringing")
				c.end(ann, bob, call)
				ann.hears(c.ann...)
				ann2.hears(c.ann2...)
				bob.hears(c.bob...)
				bob2.hears(c.bob2...)
				n.want(t, c.reason, "rings no more: "+c.reason)
				if name == "answered" {
					ann.about("endCall", call)
				}
				synctest.Wait() // the ack comes first
				logged := a.log.Count(`msg="a call has ended"`)
				if logged != 1 {
					t.Errorf("%d lines are logged of its end", logged)
				}
			})
		})
	}
}

// A thousand devices that accept at once: one wins.
func TestThousandAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const devices = 1000
		a := start(t, heymanito.WithMaxDevices(devices), heymanito.WithMaxQueue(64<<20))
		ann := a.join("ann")
		var bobs []*person
		for range devices {
			bobs = append(bobs, a.join("bob"))
		}
		call := ann.dial("bob", "r")
		ann.deaf()
		var mu sync.Mutex
		codes := map[string]int{}
		var all sync.WaitGroup
		for _, b := range bobs {
			all.Go(func() {
				code := b.answers(call, "ann")
				mu.Lock()
				defer mu.Unlock()
				codes[code]++
			})
		}
		all.Wait()
		if codes["ok"] != 1 || codes["conflict"] != devices-1 {
			t.Errorf("%d devices were acked %v", devices, codes)
		}
		ann.hears(`callAccepted({"roomName":"r","callId":"<call>","recipientId":"bob"})`)
	})
}

// Every socket killed at every step of a call, from either side: what the other
// side is told, and when.
func TestKilled(t *testing.T) {
	type end struct {
		after time.Duration
		told  string // to the other side
	}
	const soon = time.Millisecond
	minute := 2 * time.Minute
	for name, c := range map[string]struct {
		caller   bool // it is the caller's
		goodbye  bool
		answered bool
		active   bool
		want     end
	}{
		"the caller's cut while it rings":         {caller: true, want: end{10 * time.Second, cancelled("caller_gone")}},
		"the caller's goodbye while it rings":     {caller: true, goodbye: true, want: end{0, cancelled("caller_gone")}},
		"the callee's cut while it rings":         {want: end{45*time.Second + soon, `callRejected({"recipientId":"bob","callId":"<call>","reason":"timeout"})`}},
		"the callee's goodbye while it rings":     {goodbye: true, want: end{45*time.Second + soon, `callRejected({"recipientId":"bob","callId":"<call>","reason":"timeout"})`}},
		"the caller's cut before media flows":     {caller: true, answered: true, want: end{minute, over("left", 120000)}},
		"the caller's goodbye before media flows": {caller: true, goodbye: true, answered: true, want: end{minute, over("left", 120000)}},
		"the callee's cut before media flows":     {answered: true, want: end{minute, over("left", 120000)}},
		"the callee's goodbye before media flows": {goodbye: true, answered: true, want: end{minute, over("left", 120000)}},
		"the caller's cut in the call":            {caller: true, answered: true, active: true, want: end{minute, over("left", 120000)}},
		"the caller's goodbye in the call":        {caller: true, goodbye: true, answered: true, active: true, want: end{minute, over("left", 120000)}},
		"the callee's cut in the call":            {answered: true, active: true, want: end{minute, over("left", 120000)}},
		"the callee's goodbye in the call":        {goodbye: true, answered: true, active: true, want: end{minute, over("left", 120000)}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, back := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					a := start(t)
					ann, bob := a.join("ann"), a.join("bob")
					call := ann.dial("bob", "r")
					if c.answered {
						bob.answers(call, "ann")
					}
					if c.active {
						ann.about("callConnected", call)
					}
					killed, other := bob, ann
					if c.caller {
						killed, other = ann, bob
					}
					if c.goodbye {
						killed.Goodbye()
					} else {
						killed.Cut()
					}
					calls := func() (heard []string) {
						for _, e := range other.news() {
							if strings.HasPrefix(e, "call") {
								heard = append(heard, e)
							}
						}
						return heard
					}
					if c.want.after > 0 {
						synctest.Wait()
						other.deaf()
						time.Sleep(c.want.after - time.Millisecond)
						if heard := calls(); heard != nil {
							t.Errorf("before the time the other side has heard %q", heard)
						}
						if back { // just in time: it goes on, but for what rings out
							a.join(killed.User)
							time.Sleep(time.Millisecond)
							if heard := calls(); len(heard) > 0 && c.want.after != 45*time.Second+soon {
								t.Errorf("he is back, and the other side has heard %q", heard)
							}
							return
						}
						time.Sleep(time.Millisecond)
					}
					if heard := calls(); !slices.Equal(heard, []string{c.want.told}) && !back {
						t.Errorf("the other side has heard %q, want %q", heard, c.want.told)
					}
				})
			}
		})
	}
}

// A caller in a tunnel hears of the answer, and of the end, when he is back.
func TestTunnel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rooms := &fakeRooms{}
		a := start(t, heymanito.WithRooms(rooms))
		ann, bob := a.join("ann"), a.join("bob")
		call := ann.dial("bob", "r")
		ann.Cut()
		time.Sleep(9 * time.Second)
		if code := bob.answers(call, "ann"); code != "ok" {
			t.Errorf("answered: %s", code)
		}
		first := a.join("ann").deafTo("call")
		if len(first) != 1 || !strings.HasPrefix(first[0], `callAccepted({"roomName":"hm_<call>","callId":"<call>","recipientId":"bob","token":"token`) {
			t.Errorf("his first device back hears %q", first)
		}
		if second := a.join("ann").deafTo("call"); len(second) > 0 {
			t.Errorf("his second device hears %q", second)
		}
		bob.about("endCall", call)

		// The end that he has missed.
		cid := a.join("cid")
		next := cid.dial("bob", "r")
		cid.Cut()
		synctest.Wait()
		bob.code("rejectCall", `{"callerId":"cid","recipientId":"bob"}`)
		time.Sleep(59 * time.Second)
		missed := a.join("cid").deafTo("call")
		if want := `callRejected({"recipientId":"bob","callId":"<call>","reason":"declined"})`; len(missed) != 1 || missed[0] != want {
			t.Errorf("of %s he hears %q, want %q", next.CallID, missed, want)
		}
		if again := a.join("cid").deafTo("call"); len(again) > 0 {
			t.Errorf("his second device hears %q", again)
		}
	})
}

// deafTo returns what of the news begins so.
func (p *person) deafTo(prefix string) (heard []string) {
	for _, e := range p.news() {
		if strings.HasPrefix(e, prefix) {
			heard = append(heard, e)
		}
	}
	return heard
}

// ringCall tells the caller, once.
func TestRingCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann, ann2, bob, bob2 := a.join("ann"), a.join("ann"), a.join("bob"), a.join("bob")
		call := ann.dial("bob", "r")
		for _, p := range []*person{ann, ann2, bob, bob2} {
			p.deaf()
		}
		for _, p := range []*person{bob, bob2} {
			if code := p.about("ringCall", call); code != "ok" {
				t.Errorf("ringCall: %s", code)
			}
		}
		for _, p := range []*person{ann, ann2} {
			p.hears(`callRinging({"callId":"<call>","recipientId":"bob"})`)
		}
		if code := ann.about("ringCall", call); code != "conflict" {
			t.Errorf("the caller: ringCall: %s", code)
		}
		bob.hears()
		bob.answers(call, "ann")
		if code := bob2.about("ringCall", call); code != "conflict" {
			t.Errorf("answered: ringCall: %s", code)
		}
	})
}

// The caller's connection is dead, which nobody knows yet, when the callee declines.
func TestTunnelDeclined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		bob, ann := a.join("bob"), a.join("ann")
		ann.dial("bob", "r")
		ann.Tunnel()
		time.Sleep(5 * time.Second)
		if code := bob.code("rejectCall", `{"callerId":"ann","recipientId":"bob"}`); code != "ok" {
			t.Fatal(code)
		}
		time.Sleep(45 * time.Second) // the server has given the connection up
		back := a.join("ann")
		time.Sleep(time.Second)
		if got := back.deafTo("callRejected"); len(got) != 1 {
			t.Errorf("ann is back 45 s after the end and hears %q", got)
		}
	})
}

// The same when the callee answers.
func TestTunnelAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		bob, ann := a.join("bob"), a.join("ann")
		ann.dial("bob", "r")
		ann.Tunnel()
		time.Sleep(5 * time.Second)
		if code := bob.code("acceptCall", `{"callerId":"ann","roomName":"r"}`); code != "ok" {
			t.Fatal(code)
		}
		time.Sleep(2 * time.Second)
		back := a.join("ann") // the phone has a network again; the old connection is not known to be dead
		time.Sleep(3 * time.Minute)
		if got := back.deafTo("call"); len(got) == 0 {
			t.Errorf("ann, back 2 s after the answer, has heard nothing in 3 minutes")
		}
	})
}

// A device that has yet to arrive is told once that the call was hung up.
func TestHangUpInReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inbox := &heldInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(inbox))
		ann, bob := a.join("ann"), a.join("bob")
		call := ann.dial("bob", "r")
		if code := bob.answers(call, "ann"); code != "ok" {
			t.Fatal(code)
		}
		ann.Cut()
		synctest.Wait()
		bob.EmitAck("sendMessage", mail("m", "bob", "ann"))
		inbox.mu.Lock()
		inbox.hold = make(chan struct{})
		inbox.mu.Unlock()
		ann = a.join("ann")
		if code := bob.code("rejectCall", `{"callerId":"ann","recipientId":"bob"}`); code != "ok" {
			t.Fatal(code)
		}
		close(inbox.hold)
		time.Sleep(time.Second)
		if got := ann.deafTo("callRejected"); len(got) != 1 {
			t.Errorf("ann has heard %d: %q", len(got), got)
		}
	})
}

// The host takes back what it has pushed at once, inbox or not.
func TestRingEndWithoutInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := start(t, heymanito.WithInbox(deadInbox{heymanito.NewMemoryInbox(heymanito.InboxBounds{})}), heymanito.WithHooks(heymanito.Hooks{
			OnRingEnd: func(_ context.Context, c heymanito.Call) { n.add("%s %v later", c.Reason, time.Since(c.Ended)) },
		}))
		ann := a.join("ann")
		a.join("bob")
		call := ann.dial("bob", "r")
		ann.about("cancelCall", call)
		time.Sleep(5 * time.Minute)
		n.want(t, "caller_cancelled 0s later")
	})
}

// heldInbox lets a replay of ann's hang.
type heldInbox struct {
	heymanito.Inbox
	mu   sync.Mutex
	hold chan struct{}
}

func (i *heldInbox) Since(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
	i.mu.Lock()
	hold := i.hold
	i.mu.Unlock()
	if hold != nil && user == "ann" && limit > 0 {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	return i.Inbox.Since(ctx, user, after, limit)
}

// deadInbox keeps nothing.
type deadInbox struct{ heymanito.Inbox }

func (deadInbox) Append(context.Context, ...heymanito.Entry) ([]heymanito.Receipt, error) {
	return nil, errors.New("down")
}

// The device that dialled breaks off, while another of the caller's stays: it hears
// what it has missed when it is back.
func TestDiallerBesideTablet(t *testing.T) {
	for _, how := range []string{"rejectCall", "acceptCall"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := start(t, heymanito.WithRooms(&fakeRooms{}))
				phone, bob := a.join("ann", wiretest.Auth(`{"deviceId":"phone"}`)), a.join("bob")
				a.join("ann", wiretest.Auth(`{"deviceId":"tablet"}`))
				phone.dial("bob", "r")
				phone.Cut()
				synctest.Wait()
				if how == "rejectCall" {
					bob.code(how, `{"callerId":"ann","recipientId":"bob"}`)
				} else {
					bob.code(how, `{"callerId":"ann","roomName":"r"}`)
				}
				time.Sleep(2 * time.Second)
				phone = a.join("ann", wiretest.Auth(`{"deviceId":"phone"}`))
				time.Sleep(time.Second)
				if got := phone.deafTo("call"); len(got) != 1 {
					t.Errorf("the phone that dialled is back after 2 s and hears %q", got)
				}
			})
		})
	}
}

// A caller who has hung up himself hears of no end.
func TestOwnHangUpIsNoRejection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		bob, ann := a.join("bob"), a.join("ann")
		call := ann.dial("bob", "r")
		ann.Tunnel() // she sends, and shows of nothing that she has read it
		if code := bob.code("acceptCall", `{"callerId":"ann","roomName":"r"}`); code != "ok" {
			t.Fatal(code)
		}
		for _, event := range []string{"callConnected", "endCall"} {
			ann.Emit(event, fmt.Sprintf(`{"callId":%q}`, call.CallID))
		}
		synctest.Wait()
		back := a.join("ann")
		time.Sleep(time.Second)
		if got := back.deafTo("call"); len(got) != 0 {
			t.Errorf("ann, who has hung up, hears %q", got)
		}
	})
}
