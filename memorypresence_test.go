package heymanito_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
)

// What a MemoryPresence has to do as a PresenceStore is checked in
// presencetest, which runs its suite on it. Here is what it does besides.

func ExampleMemoryPresence() {
	ctx := context.Background()
	store := heymanito.NewMemoryPresence()
	store.KeepLastSeen(10_000)

	_ = store.Set(ctx, heymanito.Presence{User: "ann", Online: true, SocketID: "5yKf"})
	_ = store.Set(ctx, heymanito.Presence{User: "bob", Online: true, SocketID: "Qa81"})
	_ = store.Set(ctx, heymanito.Presence{User: "bob", SocketID: "Qa81"})

	known, _ := store.Online(ctx, []string{"ann", "bob", "cid"})
	for _, p := range known {
		fmt.Println(p.User, p.Online, !p.LastSeen.IsZero())
	}
	// Output:
	// ann true false
	// bob false true
	// cid false false
}

func presenceOn(t testing.TB, m heymanito.PresenceStore, user, socketID string) {
	t.Helper()
	if err := m.Set(t.Context(), heymanito.Presence{User: user, Online: true, SocketID: socketID}); err != nil {
		t.Fatal(err)
	}
}

func presenceOff(t testing.TB, m heymanito.PresenceStore, user string) {
	t.Helper()
	if err := m.Set(t.Context(), heymanito.Presence{User: user}); err != nil {
		t.Fatal(err)
	}
}

// presenceSeen says of which of the users last seen is known.
func presenceSeen(t testing.TB, m heymanito.PresenceStore, users ...string) string {
	t.Helper()
	ps, err := m.Online(t.Context(), users)
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, p := range ps {
		if !p.LastSeen.IsZero() {
			known = append(known, p.User)
		}
	}
	return strings.Join(known, " ")
}

func TestMemoryPresenceForgetsLongestOffline(t *testing.T) {
	m := heymanito.NewMemoryPresence()
	m.KeepLastSeen(3)
	users := []string{"a", "b", "c", "d", "e"}
	expect := func(want string) {
		t.Helper()
		if got := presenceSeen(t, m, users...); got != want {
			t.Errorf("last seen is known of %q, want %q", got, want)
		}
	}
	for _, user := range users {
		presenceOn(t, m, user, "s")
	}
	for _, user := range users[:4] {
		presenceOff(t, m, user)
	}
	expect("b c d")

	// Who comes back is not forgotten, and is the latest when he goes again.
	presenceOn(t, m, "b", "s")
	presenceOff(t, m, "e")
	expect("c d e")
	presenceOff(t, m, "b")
	expect("b d e")
	presenceOn(t, m, "a", "s")
	presenceOff(t, m, "a")
	expect("a b e")

	// Setting offline again makes nobody later.
	presenceOff(t, m, "e")
	presenceOn(t, m, "c", "s")
	presenceOff(t, m, "c")
	expect("a b c")

	// Forget makes room, from anywhere in the order.
	for _, user := range []string{"a", "c", "b"} {
		if err := m.Forget(t.Context(), user); err != nil {
			t.Fatal(err)
		}
	}
	expect("")
	for _, user := range users {
		presenceOn(t, m, user, "s")
		presenceOff(t, m, user)
	}
	expect("c d e")

	m.KeepLastSeen(1)
	expect("e")
	m.KeepLastSeen(0)
	expect("")
	presenceOn(t, m, "a", "s")
	presenceOff(t, m, "a")
	expect("")
	m.KeepLastSeen(-1)
	presenceOn(t, m, "a", "s")
	if err := m.Forget(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	m.KeepLastSeen(2)
	presenceOn(t, m, "a", "s")
	presenceOff(t, m, "a")
	expect("a")
}

// TestMemoryPresenceInventedNames logs in many more users than last seen is
// kept for, and has the documented limits hold.
func TestMemoryPresenceInventedNames(t *testing.T) {
	const (
		keep = 100_000 // as documented
		more = 50_000
		size = 25 << 20 // "about 20 MB", and the garbage of a map that has grown
	)
	name := func(i int) string { return fmt.Sprintf("invented-user-%06d", i) }
	before := heapNow()
	m := heymanito.NewMemoryPresence()
	login := func(from, to int) {
		for i := from; i < to; i++ {
			presenceOn(t, m, name(i), "pVQ7Zr0mX3n-Kb1wAAAB")
			presenceOff(t, m, name(i))
		}
	}
	login(0, keep)
	full := heapNow() - before
	t.Logf("%d users offline take %d bytes, %d each", keep, full, full/keep)
	if full > size {
		t.Errorf("%d users offline take %d bytes, more than %d", keep, full, size)
	}
	if got := presenceSeen(t, m, name(0)); got == "" {
		t.Errorf("the first of %d users is forgotten", keep)
	}
	login(keep, keep+more)
	// The map may grow once more at the same number of users.
	grown := heapNow() - before - full
	t.Logf("%d more take %d bytes", more, grown)
	if grown > 8<<20 {
		t.Errorf("%d more users have taken %d bytes", more, grown)
	}
	if got := presenceSeen(t, m, name(more-1), name(more)); got != name(more) {
		t.Errorf("of the last user to be forgotten and the first not to be, last seen is known of %q", got)
	}
	runtime.KeepAlive(m)
}

// TestMemoryPresenceCopiesNames sets names that are pieces of long strings.
func TestMemoryPresenceCopiesNames(t *testing.T) {
	const users, long = 100, 1 << 20
	before := heapNow()
	m := heymanito.NewMemoryPresence()
	for i := range users {
		request := strconv.Itoa(i) + " s " + strings.Repeat("x", long)
		user, socketID := request[:len(request)-long-3], request[len(request)-long-2:len(request)-long-1]
		presenceOn(t, m, user, socketID)
		if i%2 == 0 {
			presenceOn(t, m, user, request[len(request)-1:])
		}
		if i%3 == 0 {
			presenceOff(t, m, user)
		}
	}
	if got := heapNow() - before; got > users*long/10 {
		t.Errorf("%d users with short names take %d bytes", users, got)
	}
	runtime.KeepAlive(m)
}

func TestMemoryPresenceLastSeenIsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := heymanito.NewMemoryPresence()
		presenceOn(t, m, "ann", "a1")
		time.Sleep(90*time.Minute + 1_999*time.Microsecond)
		want := time.Now().Truncate(time.Millisecond)
		presenceOff(t, m, "ann")
		time.Sleep(time.Hour)
		ps, err := m.Online(t.Context(), []string{"ann"})
		if err != nil {
			t.Fatal(err)
		}
		if p := ps[0]; !p.LastSeen.Equal(want) || p.SocketID != "a1" {
			t.Errorf("got %+v, want last seen %v and the last known socket", p, want)
		}
	})
}

// TestMemoryPresenceWatchInTheMidst starts watches while users come and go: each
// has to see every change from some point on. Every change is numbered by its
// SocketID.
func TestMemoryPresenceWatchInTheMidst(t *testing.T) {
	m := heymanito.NewMemoryPresence()
	stop := make(chan struct{})
	var users, watches sync.WaitGroup
	for worker := range 4 {
		users.Go(func() {
			for n := 0; ; n++ {
				for i := range 8 {
					select {
					case <-stop:
						return
					default:
					}
					user := fmt.Sprint("user ", worker, i)
					// Comes, moves, goes; comes, is forgotten.
					var err error
					switch p := (heymanito.Presence{User: user, SocketID: strconv.Itoa(n)}); n % 5 {
					case 0, 1, 3:
						p.Online = true
						err = m.Set(t.Context(), p)
					case 2:
						err = m.Set(t.Context(), p)
					case 4:
						err = m.Forget(t.Context(), user)
					}
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for range 16 {
		watches.Go(func() {
			for range 8 {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				next := make(map[string]int)
				edges := 0
				err := m.Watch(ctx, nil, func(e heymanito.Edge) {
					n, _ := strconv.Atoi(e.SocketID)
					if n%5 == 3 && !e.Online {
						n++ // Forget has no socket of its own
					}
					if want, ok := next[e.User]; ok && n != want {
						t.Errorf("%s: change %d follows %d", e.User, n, want-1)
					}
					if online, moved := n%5 != 2 && n%5 != 4, n%5 == 1; e.Online != online || e.Moved != moved {
						t.Errorf("%s: change %d is %+v", e.User, n, e)
					}
					next[e.User] = n + 1
					if edges++; edges == 500 {
						cancel()
					}
				})
				cancel()
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}
	watches.Wait()
	close(stop)
	users.Wait()
}

// TestMemoryPresencePanickingEdge shows that a watch that panics is over, and
// that the store and the other watches are not.
func TestMemoryPresencePanickingEdge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m := heymanito.NewMemoryPresence()
		var got []string
		var recovered any
		go func() {
			_ = m.Watch(ctx, nil, func(e heymanito.Edge) { got = append(got, e.User) })
		}()
		go func() {
			defer func() { recovered = recover() }()
			_ = m.Watch(ctx, nil, func(e heymanito.Edge) { panic(e.User) })
		}()
		synctest.Wait()
		presenceOn(t, m, "ann", "s")
		synctest.Wait()
		if recovered != "ann" {
			t.Errorf("recovered %v from Watch", recovered)
		}
		presenceOn(t, m, "bob", "s")
		synctest.Wait()
		if fmt.Sprint(got) != "[ann bob]" {
			t.Errorf("the other watch got %v", got)
		}
		cancel()
	})
}

func BenchmarkMemoryPresenceSet(b *testing.B) {
	for _, watchers := range []int{0, 1, 10} {
		b.Run(fmt.Sprintf("watchers=%d", watchers), func(b *testing.B) {
			m := heymanito.NewMemoryPresence()
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			for range watchers {
				ready := make(chan struct{})
				wg.Go(func() { _ = m.Watch(ctx, func() { close(ready) }, func(heymanito.Edge) {}) })
				<-ready
			}
			presenceFill(b, m, 10_000)
			b.ReportAllocs()
			// One login: online and offline.
			for b.Loop() {
				_ = m.Set(ctx, heymanito.Presence{User: "ann", Online: true, SocketID: "pVQ7Zr0mX3n-Kb1wAAAB"})
				_ = m.Set(ctx, heymanito.Presence{User: "ann", SocketID: "pVQ7Zr0mX3n-Kb1wAAAB"})
			}
			cancel()
			wg.Wait()
		})
	}
}

func BenchmarkMemoryPresenceSetInventedNames(b *testing.B) {
	m := heymanito.NewMemoryPresence()
	for i := range 100_000 {
		user := strconv.Itoa(-i)
		presenceOn(b, m, user, "s")
		presenceOff(b, m, user)
	}
	ctx, i := context.Background(), 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		user := strconv.Itoa(i)
		_ = m.Set(ctx, heymanito.Presence{User: user, Online: true, SocketID: "pVQ7Zr0mX3n-Kb1wAAAB"})
		_ = m.Set(ctx, heymanito.Presence{User: user})
	}
}

func BenchmarkMemoryPresenceSnapshot(b *testing.B) {
	m := heymanito.NewMemoryPresence()
	presenceFill(b, m, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for range m.Snapshot(context.Background()) {
			n++
		}
		if n != 10_000 {
			b.Fatal(n)
		}
	}
}

func BenchmarkMemoryPresenceOnline(b *testing.B) {
	m := heymanito.NewMemoryPresence()
	presenceFill(b, m, 10_000)
	var users []string
	for i := range 100 {
		users = append(users, strconv.Itoa(i*150)) // two thirds are online
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Online(context.Background(), users); err != nil {
			b.Fatal(err)
		}
	}
}

func presenceFill(b *testing.B, m heymanito.PresenceStore, users int) {
	for i := range users {
		presenceOn(b, m, strconv.Itoa(i), "pVQ7Zr0mX3n-Kb1w"+strconv.Itoa(i))
	}
}
