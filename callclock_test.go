package heymanito_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
)

// A server that takes over a store ends what is due there, whoever of the two
// comes back.
func TestTakeOver(t *testing.T) {
	for _, back := range [][]string{{"ann", "bob"}, {"bob"}} {
		synctest.Test(t, func(t *testing.T) {
			store := heymanito.NewMemoryCalls()
			one := start(t, heymanito.WithCalls(store))
			ann := one.join("ann")
			one.join("bob")
			ann.dial("bob", "r")
			_ = one.Shutdown(t.Context())
			two := start(t, heymanito.WithCalls(store))
			var heard []string
			var there []*person
			for _, user := range back {
				there = append(there, two.join(user))
			}
			time.Sleep(10 * time.Minute)
			for _, p := range there {
				heard = append(heard, p.deafTo("call")...)
			}
			calls, _ := store.ByUser(t.Context(), "ann")
			if len(calls) > 0 {
				t.Errorf("10 minutes later the call is %s; %v have heard %q", calls[0].State, back, heard)
			}
		})
	}
}

// A server that has no calls of its own ends those of one that has died.
func TestOtherServerDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := heymanito.NewMemoryCalls()
		one, two := start(t, heymanito.WithCalls(store)), start(t, heymanito.WithCalls(store))
		ann := one.join("ann")
		one.join("bob")
		two.join("cid")
		ann.dial("bob", "r")
		_ = one.Shutdown(t.Context())
		time.Sleep(10 * time.Minute)
		calls, _ := store.ByUser(t.Context(), "ann")
		if len(calls) > 0 {
			t.Errorf("10 minutes later the call is %s", calls[0].State)
		}
	})
}

// A Rooms that is slow for one call delays the ending of no other.
func TestSlowToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rooms := &slowRooms{}
		a := start(t, heymanito.WithRooms(rooms), heymanito.WithCallTimes(heymanito.CallTimes{Ring: 45 * time.Second}))
		ann, bob, cid := a.join("ann"), a.join("bob"), a.join("cid")
		a.join("dan")
		call := ann.dial("bob", "r")
		cid.dial("dan", "r")
		cid.deaf()
		time.Sleep(44 * time.Second)
		rooms.slow = time.Minute
		bob.Emit("acceptCall", fmt.Sprintf(`{"callerId":"ann","callId":%q}`, call.CallID))
		time.Sleep(10 * time.Second)
		if got := cid.deafTo("callRejected"); len(got) != 1 {
			t.Errorf("9 s after its time cid's call has not ended: the timer waits for the turn of ann's")
		}
		time.Sleep(3 * time.Minute)
	})
}

// A call that the store cannot read delays the ending of no other.
func TestOneBadRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &oneBad{MemoryCalls: heymanito.NewMemoryCalls()}
		a := start(t, heymanito.WithCalls(store))
		ann, cid := a.join("ann"), a.join("cid")
		a.join("bob")
		a.join("dan")
		store.bad = ann.dial("bob", "r").CallID
		time.Sleep(time.Millisecond)
		cid.dial("dan", "r")
		cid.deaf()
		time.Sleep(10 * time.Minute)
		if got := cid.deafTo("callRejected"); len(got) != 1 {
			t.Errorf("cid's call has not ended; logged %d errors", a.log.Count("level=ERROR"))
		}
	})
}

// slowRooms takes its time for a token.
type slowRooms struct {
	fakeRooms
	slow time.Duration
}

func (r *slowRooms) Token(g heymanito.RoomGrant) (heymanito.RoomToken, error) {
	time.Sleep(r.slow)
	return r.fakeRooms.Token(g)
}

// oneBad cannot read one of its calls.
type oneBad struct {
	*heymanito.MemoryCalls
	bad string
}

func (s *oneBad) Get(ctx context.Context, id string) (heymanito.Call, bool, error) {
	if id == s.bad {
		return heymanito.Call{}, false, heymanito.Errorf(heymanito.CodeUnavailable, "cannot decode")
	}
	return s.MemoryCalls.Get(ctx, id)
}

// A call that hangs in the store delays the ending of no other.
func TestOneHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &hangingCalls{MemoryCalls: heymanito.NewMemoryCalls()}
		a := start(t, heymanito.WithCalls(store))
		ann, cid := a.join("ann"), a.join("cid")
		a.join("bob")
		a.join("dan")
		bad := ann.dial("bob", "r")
		time.Sleep(time.Second)
		cid.dial("dan", "r")
		cid.deaf()
		store.mu.Lock()
		store.id = bad.CallID
		store.mu.Unlock()
		begun := time.Now()
		for len(cid.deafTo("callRejected")) == 0 && time.Since(begun) < 2*time.Minute {
			time.Sleep(100 * time.Millisecond)
		}
		if late := time.Since(begun) - 45*time.Second; late > time.Second {
			t.Errorf("cid's timeout is %v late", late)
		}
	})
}

// hangingCalls is a store in which one call's record hangs.
type hangingCalls struct {
	*heymanito.MemoryCalls
	mu sync.Mutex // guards id
	id string
}

func (s *hangingCalls) Get(ctx context.Context, id string) (heymanito.Call, bool, error) {
	s.mu.Lock()
	bad := s.id == id
	s.mu.Unlock()
	if bad {
		<-ctx.Done()
		return heymanito.Call{}, false, ctx.Err()
	}
	return s.MemoryCalls.Get(ctx, id)
}

// More calls that cannot be looked at than fit a page: they delay no other, and
// the store is not asked without end.
func TestManyBadRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &failingGets{MemoryCalls: heymanito.NewMemoryCalls()}
		a := start(t, heymanito.WithCalls(store), heymanito.WithRingLimits(1000, 1000), heymanito.WithHooks(heymanito.Hooks{
			OnRing: func(context.Context, heymanito.Call, []heymanito.Device) {}, // who is not there is rung too
		}))
		for i := range 150 {
			a.join(fmt.Sprint("mal", i)).calls(fmt.Sprint("away", i))
		}
		time.Sleep(time.Second)
		cid := a.join("cid")
		good := cid.calls("dan")
		store.mu.Lock()
		store.but = good.CallID
		store.mu.Unlock()
		cid.deaf()
		time.Sleep(time.Minute)
		if got := cid.deafTo("callRejected"); len(got) != 1 {
			t.Errorf("cid hears %q", got)
		}
		if n := store.asked(); n > 150*60 {
			t.Errorf("the store was asked for those it cannot read %d times in a minute", n)
		}
	})
}

// failingGets reads no call but one, once that is set.
type failingGets struct {
	*heymanito.MemoryCalls
	mu  sync.Mutex // guards the rest
	but string
	n   int
}

func (s *failingGets) Get(ctx context.Context, id string) (heymanito.Call, bool, error) {
	s.mu.Lock()
	bad := s.but != "" && s.but != id
	if bad {
		s.n++
	}
	s.mu.Unlock()
	if bad {
		return heymanito.Call{}, false, errors.New("cannot decode")
	}
	return s.MemoryCalls.Get(ctx, id)
}

func (s *failingGets) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}
