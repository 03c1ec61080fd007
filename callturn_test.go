package heymanito_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
)

// An answer that the store has taken, and said that it failed.
func TestAcceptInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &oddCalls{MemoryCalls: heymanito.NewMemoryCalls(), after: onceIn(heymanito.CallConnecting)}
		a := start(t, heymanito.WithCalls(store))
		ann, bob, bob2 := a.join("ann"), a.join("bob"), a.join("bob")
		call := ann.dial("bob", "r")
		ann.deaf()
		bob.answers(call, "ann")
		bob.answers(call, "ann") // once more
		time.Sleep(10 * time.Minute)
		heard, laptop := ann.deafTo("call"), bob2.deafTo("call")
		if len(heard) == 0 {
			t.Errorf("ann, whose call was answered, has heard nothing in 10 minutes")
		}
		if len(laptop) != 1 {
			t.Errorf("bob's laptop still rings: %q", laptop)
		}
	})
}

// The same of a ring.
func TestRingInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &oddCalls{MemoryCalls: heymanito.NewMemoryCalls(), after: onceIn(heymanito.CallRinging)}
		a := start(t, heymanito.WithCalls(store))
		ann := a.join("ann")
		a.join("bob")
		ann.deaf()
		ann.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"ann"}`)
		ann.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"ann"}`) // once more
		time.Sleep(time.Minute)
		if got := ann.deafTo("callRejected"); len(got) != 1 {
			t.Errorf("ann has heard %d endings: %q", len(got), got)
		}
	})
}

// The same of an end.
func TestEndInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &oddCalls{MemoryCalls: heymanito.NewMemoryCalls(), after: onceIn(heymanito.CallEnded)}
		var n notes
		a := start(t, heymanito.WithCalls(store), heymanito.WithHooks(heymanito.Hooks{
			OnRingEnd: func(context.Context, heymanito.Call) { n.add("ring end") },
		}))
		ann, bob := a.join("ann"), a.join("bob")
		ann.dial("bob", "r")
		ann.deaf()
		time.Sleep(2 * time.Minute)
		if got := ann.deafTo("callRejected"); len(got) != 1 {
			t.Errorf("timeout: ann has heard %d endings; bob heard %q", len(got), bob.deafTo("callCancelled"))
		}
		n.want(t, "ring end")
	})
}

// onceIn fails the first change to a state.
func onceIn(state heymanito.CallState) func(heymanito.Call) bool {
	done := false
	return func(c heymanito.Call) bool {
		if c.State == state && !done {
			done = true
			return true
		}
		return false
	}
}

// A ring ended just before the store was down for longer than an ended call is known.
func TestEndForgottenInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFallingCalls(heymanito.NewMemoryCalls(), heymanito.CallEnded, 90*time.Second)
		var n notes
		a := start(t, heymanito.WithCalls(store), heymanito.WithHooks(heymanito.Hooks{
			OnRingEnd: func(context.Context, heymanito.Call) { n.add("ring end") },
		}))
		ann, bob := a.join("ann"), a.join("bob")
		ann.dial("bob", "r")
		ann.deaf()
		bob.deaf()
		time.Sleep(10 * time.Minute)
		if got := ann.deafTo("callRejected"); len(got) != 1 {
			t.Errorf("in 10 minutes ann has heard %d endings", len(got))
		}
		if got := bob.deafTo("callCancelled"); len(got) != 1 {
			t.Errorf("in 10 minutes bob has heard %d ends of the ring", len(got))
		}
		n.want(t, "ring end")
	})
}

// A dial that failed, as its caller was told, rings nowhere when the store is back.
func TestExpiredRingInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFallingCalls(heymanito.NewMemoryCalls(), heymanito.CallRinging, 50*time.Second)
		var n notes
		a := start(t, heymanito.WithCalls(store), heymanito.WithHooks(heymanito.Hooks{
			OnRing: func(_ context.Context, c heymanito.Call, _ []heymanito.Device) {
				n.add("rings until %v", c.Expires)
			},
		}))
		ann, bob := a.join("ann"), a.join("bob")
		ann.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"ann"}`)
		bob.deaf()
		time.Sleep(5 * time.Minute)
		if heard := bob.deafTo("call"); len(heard) > 0 {
			t.Errorf("bob has heard %q", heard)
		}
		n.want(t)
	})
}

// An answer in doubt ends the older dial of whoever has answered.
func TestAnswerInDoubtEndsOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFallingCalls(heymanito.NewMemoryCalls(), heymanito.CallConnecting, 5*time.Second)
		a := start(t, heymanito.WithCalls(store))
		ann, bob, cid := a.join("ann"), a.join("bob"), a.join("cid")
		call := bob.dial("ann", "r2")
		ann.dial("cid", "r1")
		ann.deaf()
		cid.deaf()
		ann.answers(call, "bob")
		time.Sleep(8 * time.Second)
		ann.answers(call, "bob") // once more
		time.Sleep(time.Second)
		calls, _ := store.ByUser(t.Context(), "ann")
		live := 0
		for _, c := range calls {
			if c.Live() {
				live++
			}
		}
		if live != 1 {
			t.Errorf("ann has %d live calls", live)
		}
	})
}

// A change that the store has given up, and makes a moment later.
func TestChangeLandsLate(t *testing.T) {
	for _, in := range []heymanito.CallState{heymanito.CallEnded, heymanito.CallConnecting, heymanito.CallRinging} {
		t.Run(string(in), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &lateCalls{MemoryCalls: heymanito.NewMemoryCalls(), in: in}
				var n notes
				a := start(t, heymanito.WithCalls(store), heymanito.WithHooks(heymanito.Hooks{
					OnRing:    func(context.Context, heymanito.Call, []heymanito.Device) { n.add("ring") },
					OnRingEnd: func(context.Context, heymanito.Call) { n.add("ring end") },
				}))
				ann, bob, bob2 := a.join("ann"), a.join("bob"), a.join("bob")
				ann.deaf()
				ack := ann.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"ann"}`)
				if in == heymanito.CallConnecting {
					bob.answers(ack, "ann")
				}
				time.Sleep(30 * time.Second)
				if in == heymanito.CallRinging {
					ann.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"ann"}`) // once more
				}
				time.Sleep(10 * time.Minute)
				heard := ann.deafTo("call")
				var rang, stopped int
				for _, e := range bob2.news() {
					switch {
					case strings.HasPrefix(e, "incomingCall"):
						rang++
					case strings.HasPrefix(e, "callCancelled"):
						stopped++
					}
				}
				want := 1
				if in == heymanito.CallRinging {
					want = 2 // the dial that failed, and the one that was not answered
				}
				if len(heard) != want || rang != 1 || stopped != 1 {
					t.Errorf("ann has heard %q, bob's laptop rings %d and stops %d times", heard, rang, stopped)
				}
				n.want(t, "ring", "ring end")
			})
		})
	}
}

// An answer in doubt at one server, while another moves the call on.
func TestDoubtOnTwoServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := heymanito.NewMemoryCalls()
		store := newFallingCalls(mem, heymanito.CallConnecting, 5*time.Second)
		one, two := start(t, heymanito.WithCalls(store)), start(t, heymanito.WithCalls(mem))
		ann, bob, bob2 := one.join("ann"), one.join("bob"), one.join("bob")
		there := two.join("bob")
		call := ann.dial("bob", "r")
		ann.deaf()
		bob.answers(call, "ann")
		there.about("callConnected", call)
		time.Sleep(time.Minute)
		if got := ann.deafTo("callAccepted"); len(got) != 1 {
			t.Errorf("ann hears %q", got)
		}
		if got := bob2.deafTo("callCancelled"); len(got) != 1 {
			t.Errorf("bob's laptop hears %q", got)
		}
	})
}

// lateCalls answers a change with an error, and makes it a moment later: a command
// that is still on its way when its client has given it up.
type lateCalls struct {
	*heymanito.MemoryCalls
	in   heymanito.CallState
	mu   sync.Mutex // guards done
	done bool
}

func (s *lateCalls) CompareAndSwap(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
	s.mu.Lock()
	late := c.State == s.in && !s.done
	s.done = s.done || late
	s.mu.Unlock()
	if !late {
		return s.MemoryCalls.CompareAndSwap(ctx, c)
	}
	go func() {
		time.Sleep(50 * time.Millisecond)
		_, _, _ = s.MemoryCalls.CompareAndSwap(context.Background(), c)
	}()
	return heymanito.Call{}, false, context.DeadlineExceeded
}
