package heymanito

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// What a MemoryCalls has to do as a CallStore is checked in callstest, which
// runs its suite on it. Here is what it takes, and that its books are in order.

func storedCall(caller, callee string) Call {
	id := randomName("")
	return Call{
		ID: id, Room: "hm_" + id, Caller: caller, Callee: callee, Media: "audio",
		State: CallRinging, Started: now(), Expires: now().Add(45 * time.Second), Due: now().Add(45 * time.Second),
		Dialler: CallDevice{SocketID: randomName("")[:20], DeviceID: randomName("")},
	}
}

func storeCall(t testing.TB, m *MemoryCalls, c Call) Call {
	t.Helper()
	c, err := m.Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// endCall ends a call, which is known for a minute more.
func endCall(t testing.TB, m *MemoryCalls, c Call) Call {
	t.Helper()
	c.end(CallDeclined, now())
	c.Due = c.Ended.Add(time.Minute)
	c, ok, err := m.CompareAndSwap(t.Context(), c)
	if err != nil || !ok {
		t.Fatal(c, ok, err)
	}
	return c
}

// TestMemoryCallsCountsItsBytes compares what is counted with what the heap has
// grown by, for calls of different shapes.
func TestMemoryCallsCountsItsBytes(t *testing.T) {
	const n = 5_000
	for _, tt := range []struct {
		name string
		call func(i int) Call
	}{
		{"between two each", func(i int) Call { return storedCall(fmt.Sprintf("user-%06d", i), fmt.Sprintf("peer-%06d", i)) }},
		{"of many to one", func(i int) Call { return storedCall(fmt.Sprintf("user-%06d", i), "zoe") }},
		{"with what the caller says", func(i int) Call {
			c := storedCall(fmt.Sprintf("user-%06d", i), fmt.Sprintf("peer-%06d", i))
			c.CallerInfo, c.Attachments = make([]byte, 1000), [][]byte{make([]byte, 2000)}
			return c
		}},
		{"with all sessions", func(i int) Call {
			c := storedCall(fmt.Sprintf("user-%06d", i), fmt.Sprintf("peer-%06d", i))
			c.Sessions = make([]CallSession, maxSessions)
			for i := range c.Sessions {
				c.Sessions[i] = CallSession{ID: randomName("PA_"), User: c.Caller}
			}
			return c
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := liveHeap()
			m := NewMemoryCalls()
			for i := range n {
				storeCall(t, m, tt.call(i))
			}
			heap := liveHeap() - before
			t.Logf("each counts %d bytes and takes %d, %.2f", m.bytes/n, heap/n, float64(heap)/float64(m.bytes))
			// A map has room for up to as much again as is in it.
			if heap*4 > m.bytes*5 || heap*5 < m.bytes*4 {
				t.Errorf("%d bytes are counted, the heap has grown by %d", m.bytes, heap)
			}
			runtime.KeepAlive(m)
		})
	}
}

// TestMemoryCallsFull fills a store, and lets the calls end.
func TestMemoryCallsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemoryCalls()
		info := make([]byte, 1<<20) // the same for all: it counts each time
		turn := 0
		fill := func() (calls []Call) {
			turn++
			for i := range 1_000 {
				c := storedCall(fmt.Sprintf("ann %d %d", turn, i), "bob")
				c.CallerInfo = info
				created, err := m.Create(t.Context(), c)
				if err == nil {
					calls = append(calls, created)
					continue
				}
				if !errors.Is(err, ErrCallsFull) || created.ID != "" {
					t.Fatalf("Create returned %+v, %v", created, err)
				}
				if _, ok, _ := m.Get(t.Context(), c.ID); ok {
					t.Error("a call that had no room is there")
				}
				if of, _ := m.ByUser(t.Context(), c.Caller); len(of) > 0 {
					t.Error("a call that had no room is listed")
				}
				return calls
			}
			t.Fatal("1,000 calls with 1 MB each found room")
			return nil
		}
		first := fill()
		if n := len(first); n < 250 || n > 256 || m.bytes > maxCallBytes {
			t.Fatalf("%d calls with 1 MB each found room in 256, they count %d bytes", n, m.bytes)
		}
		if _, err := m.Create(t.Context(), first[0]); !errors.Is(err, ErrCallExists) {
			t.Errorf("a full store says of a call that is there %v", err)
		}
		// What changes is not refused.
		first[0].State = CallConnecting
		var ok bool
		var err error
		if first[0], ok, err = m.CompareAndSwap(t.Context(), first[0]); err != nil || !ok {
			t.Fatal(ok, err)
		}
		for _, c := range first {
			endCall(t, m, c)
		}
		second := fill()
		if len(second) < len(first)-1 {
			t.Errorf("of %d calls that have ended there is room for %d", len(first), len(second))
		}
		for _, c := range second {
			endCall(t, m, c)
		}
		time.Sleep(time.Minute)
		third := fill()
		if len(third) != len(first) {
			t.Errorf("%d calls were forgotten, and there is room for %d", len(first), len(third))
		}
		if err := m.Forget(t.Context(), "bob"); err != nil {
			t.Fatal(err)
		}
		if err := m.audit(); err != nil || m.bytes != 0 {
			t.Errorf("after Forget of all: %d bytes, %v", m.bytes, err)
		}
	})
}

// TestMemoryCallsDropsWhatEndedOnesCarried: who ends a call has it whole, who
// asks later has what it was.
func TestMemoryCallsDropsWhatEndedOnesCarried(t *testing.T) {
	m := NewMemoryCalls()
	c := storedCall("ann", "bob")
	c.CallerInfo, c.Attachments = []byte(`{"_placeholder":true,"num":0}`), [][]byte{{1}}
	c = storeCall(t, m, c)
	if got, _, _ := m.Get(t.Context(), c.ID); !bytes.Equal(got.CallerInfo, c.CallerInfo) || len(got.Attachments) != 1 {
		t.Errorf("while it rings it has %q, %q", got.CallerInfo, got.Attachments)
	}
	ended := endCall(t, m, c)
	if !bytes.Equal(ended.CallerInfo, c.CallerInfo) || len(ended.Attachments) != 1 {
		t.Errorf("whoever ended it has %q, %q", ended.CallerInfo, ended.Attachments)
	}
	of, _ := m.ByUser(t.Context(), "ann")
	got, ok, _ := m.Get(t.Context(), c.ID)
	for _, got := range append(of, got) {
		if !ok || got.State != CallEnded || got.CallerInfo != nil || got.Attachments != nil {
			t.Errorf("then there is %+v", got)
		}
	}
}

// TestMemoryCallsEndedContext: with a ctx that has ended nothing is done.
func TestMemoryCallsEndedContext(t *testing.T) {
	m := NewMemoryCalls()
	c := storeCall(t, m, storedCall("ann", "bob"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	next := c
	next.State = CallConnecting
	for name, call := range map[string]func() error{
		"Create":         func() error { _, err := m.Create(ctx, storedCall("cid", "dan")); return err },
		"Get":            func() error { _, _, err := m.Get(ctx, c.ID); return err },
		"CompareAndSwap": func() error { _, _, err := m.CompareAndSwap(ctx, next); return err },
		"ByUser":         func() error { _, err := m.ByUser(ctx, "ann"); return err },
		"Due":            func() error { _, _, err := m.Due(ctx, c.Due, 1); return err },
		"Forget":         func() error { return m.Forget(ctx, "ann") },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s returned %v", name, err)
		}
	}
	if got, ok, err := m.Get(t.Context(), c.ID); !ok || err != nil || got.Version != c.Version || len(m.byID) != 1 {
		t.Errorf("there are %d calls, and the one is %+v, %v", len(m.byID), got, err)
	}
}

// TestMemoryCallsBooks does everything in any order, and after each step
// compares what the store counts and links with what is there. When all have
// gone nothing is left of them.
func TestMemoryCallsBooks(t *testing.T) {
	const users = 6
	synctest.Test(t, func(t *testing.T) {
		m := NewMemoryCalls()
		random := rand.New(rand.NewPCG(1, 2))
		user := func() string { return strconv.Itoa(random.IntN(users)) }
		for step := range 3_000 {
			switch n := random.IntN(100); {
			case n < 45:
				c := storedCall(user(), user())
				c.CallerInfo = make([]byte, random.IntN(100))
				if random.IntN(3) == 0 {
					c.Withheld = CallRefused
				}
				if c.Caller != c.Callee {
					m.Create(t.Context(), c)
				}
			case n < 85:
				of, err := m.ByUser(t.Context(), user())
				if err != nil || len(of) == 0 {
					continue
				}
				c := of[random.IntN(len(of))]
				switch random.IntN(4) {
				case 0:
					c.joined(CallSession{ID: strconv.Itoa(random.IntN(9)), User: c.Caller}, now())
				case 1:
					c.Withheld = CallUnavailable
				default:
					c.end(CallDeclined, now())
				}
				if c.Due = now().Add(time.Duration(random.IntN(60)) * time.Second); random.IntN(10) == 0 {
					c.Version-- // and is late
				}
				m.CompareAndSwap(t.Context(), c)
			case n < 92:
				m.Due(t.Context(), now().Add(time.Duration(random.IntN(60))*time.Second), random.IntN(10)+1)
			case n < 94:
				m.Forget(t.Context(), user())
			default:
				time.Sleep(time.Duration(random.IntN(30)) * time.Second)
			}
			if err := m.audit(); err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
		}
		if len(m.live) == 0 || len(m.ended) == 0 {
			t.Errorf("at the end %d are live, %d have ended: that is no test", len(m.live), len(m.ended))
		}
		for i := range users {
			of, _ := m.ByUser(t.Context(), strconv.Itoa(i))
			for _, c := range of {
				endCall(t, m, c)
			}
		}
		time.Sleep(time.Minute)
		m.Get(t.Context(), "")
		if err := m.audit(); err != nil || m.bytes != 0 || len(m.byID)+len(m.byUser)+len(m.byPair)+len(m.live)+len(m.ended) != 0 {
			t.Errorf("when all were forgotten %d bytes are left, and %v, %v, %v; %v", m.bytes, m.byID, m.byUser, m.byPair, err)
		}
	})
}

// audit compares the books of m with what is there.
func (m *MemoryCalls) audit() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	size, pairs, listed := 0, 0, 0
	for id, h := range m.byID {
		check(id == h.ID, "%q is known as %q", h.ID, id)
		check(h.size == callSize(&h.Call), "%q counts %d bytes, and takes %d", id, h.size, callSize(&h.Call))
		size += h.size
		check(h.place < len(*m.heapOf(h)) && (*m.heapOf(h))[h.place] == h, "%q is not where it says", id)
		if exclusive(&h.Call) {
			pairs++
			check(m.byPair[pairOf(&h.Call)] == h, "%q is not the one between its two", id)
		}
		listed += 2
	}
	check(size == m.bytes, "%d bytes are counted, there are %d", m.bytes, size)
	check(pairs == len(m.byPair), "%d pairs are taken by %d calls", len(m.byPair), pairs)
	check(len(m.live)+len(m.ended) == len(m.byID), "%d live and %d ended ones, %d in all", len(m.live), len(m.ended), len(m.byID))
	for user, of := range m.byUser {
		check(len(of) > 0, "an empty list of %q", user)
		check(slices.IsSortedFunc(of, func(a, b *heldCall) int { return int(a.Order) - int(b.Order) }), "the calls of %q are in no order", user)
		for _, h := range of {
			check(m.byID[h.ID] == h && (h.Caller == user || h.Callee == user), "%q is none of %q's", h.ID, user)
			listed--
		}
	}
	check(listed == 0, "%d more should be listed", listed)
	return errors.Join(errs...)
}
