package presencetest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/pprof"
	"strings"
	"sync"
	"time"

	"github.com/heymanito/heymanito"
)

func checkEdges(r *rig) error {
	w, err := r.watch()
	if err != nil {
		return err
	}
	other, err := r.watch()
	if err != nil {
		return err
	}
	sets := []heymanito.Presence{on("ann", "a1"), on("ann", "a2"), off("ann", "a2"), on("ann", "a2"), off("ann", "a2"), on("ann", "a3"), on("ann", "a4")}
	edges := []heymanito.Edge{came("ann", "a1"), moved("ann", "a2"), went("ann", "a2"), came("ann", "a2"), went("ann", "a2"), came("ann", "a3"), moved("ann", "a4")}
	for i := range sets {
		if err := r.set(sets[i]); err != nil {
			return err
		}
		// Each is waited for, so that none can be coalesced.
		s := ruleEdges
		if edges[i].Moved {
			s = ruleMoved
		}
		for _, w := range []*watch{w, other} {
			if err := w.want(s, "ann", edges[:i+1]...); err != nil {
				return err
			}
		}
	}
	w.wants, other.wants = w.wants[len(sets)-1:], other.wants[len(sets)-1:]
	if err := w.finish(); err != nil {
		return err
	}
	// The other one goes on alone.
	if err := r.set(off("ann", "a4")); err != nil {
		return err
	}
	if err := other.want(ruleWatch, "ann", append(edges, went("ann", "a4"))...); err != nil {
		return err
	}
	return nil
}

// checkChurn lets many users come and go at once and compares every edge with
// what has to come of the Sets of its user.
func checkChurn(r *rig) error {
	const (
		workers = 8
		users   = 16 // of each worker
		sets    = 14 // of each user
	)
	var ws []*watch
	for range 2 {
		w, err := r.watch()
		if err != nil {
			return err
		}
		ws = append(ws, w)
	}
	edges := make([]map[string][]heymanito.Edge, workers)
	err := parallel(workers, func(worker int) error {
		// The same plan in every run.
		random := rand.New(rand.NewPCG(7, uint64(worker)))
		now := make(map[string]heymanito.Presence)
		want := make(map[string][]heymanito.Edge)
		edges[worker] = want
		for range sets {
			for _, i := range random.Perm(users) {
				user := fmt.Sprintf("user %d of worker %d", i, worker)
				was := now[user]
				var next heymanito.Presence
				switch random.IntN(10) {
				case 0, 1: // nothing new
					next = was
					next.User = user
				case 2, 3, 4, 5:
					next = off(user, was.SocketID)
				default:
					next = on(user, fmt.Sprint("socket ", len(want[user])))
				}
				switch {
				case !was.Online && next.Online:
					want[user] = append(want[user], came(user, next.SocketID))
				case was.Online && !next.Online:
					want[user] = append(want[user], went(user, next.SocketID))
				case was.Online && was.SocketID != next.SocketID:
					want[user] = append(want[user], moved(user, next.SocketID))
				}
				now[user] = next
				if err := r.set(next); err != nil {
					return err
				}
				if len(want[user]) == 0 {
					continue // never online so far
				}
				got, err := r.one(user)
				if err != nil {
					return err
				}
				if err := samePresence(got, next); err != nil {
					return fmt.Errorf("Online after Set(%s), beside others: %w", describe(next), err)
				}
			}
		}
		// At the end what Snapshot has of this worker's users is right too.
		all, err := r.snapshot()
		if err != nil {
			return err
		}
		for user, p := range now {
			got, found := all[user]
			if found != p.Online || found && got.SocketID != p.SocketID {
				return ruleVisible.broken("Snapshot after Set(%s), beside others, yields the user: %t, with %q", describe(p), found, got.SocketID)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, w := range ws {
		for _, want := range edges {
			for user, edges := range want {
				if err := w.want(ruleEdges, user, edges...); err != nil {
					return err
				}
			}
		}
	}
	for _, w := range ws {
		if err := w.finish(); err != nil {
			return err
		}
	}
	return nil
}

func checkReady(r *rig) error {
	// What is set as soon as ready is called, and after, is reported. Several
	// times, because a gap may be small.
	for i := range 10 {
		user := userName(i)
		ready := make(chan struct{})
		called := sync.OnceFunc(func() { close(ready) })
		w := r.start(context.Background(), func(w *watch) {
			defer called()
			if err := r.set(on(user, "s")); err != nil {
				w.fault(ruleReady.broken("called by ready: %w", err))
			}
		})
		select {
		case <-ready:
		case <-w.ended:
			return ruleWatch.broken("Watch returned before its ctx ended, with error %v", w.err)
		case <-time.After(r.patience):
			return ruleReady.broken("ready has not been called after %v", r.patience)
		}
		if err := r.set(off(user, "s")); err != nil {
			return err
		}
		if err := w.want(ruleReady, user, came(user, "s"), went(user, "s")); err != nil {
			return err
		}
		if err := w.finish(); err != nil {
			return err
		}
	}
	// Without ready there is no telling when it is, but it will be.
	w := r.start(context.Background(), nil)
	for deadline := time.Now().Add(r.patience); ; {
		if err := r.set(on("ann", "s"), off("ann", "s")); err != nil {
			return err
		}
		if len(w.reported("ann")) > 0 {
			break
		}
		if time.Now().After(deadline) {
			return ruleReady.broken("Watch without ready reports nothing for %v", r.patience)
		}
		select {
		case <-w.ended:
			return ruleReady.broken("Watch without ready returned error %v", w.err)
		case <-time.After(time.Millisecond):
		}
	}
	return w.finish()
}

func checkFromNowOn(r *rig) error {
	if err := r.set(on("ann", "a1"), on("ann", "a2"), on("bob", "b1"), off("bob", "b1"), on("cid", "c1")); err != nil {
		return err
	}
	w, err := r.watch()
	if err != nil {
		return err
	}
	if err := r.set(off("ann", "a2"), on("bob", "b2"), on("cid", "c2")); err != nil {
		return err
	}
	if err := w.want(ruleWatch, "ann", went("ann", "a2")); err != nil {
		return err
	}
	if err := w.want(ruleWatch, "bob", came("bob", "b2")); err != nil {
		return err
	}
	if err := w.want(ruleWatch, "cid", moved("cid", "c2")); err != nil {
		return err
	}
	return w.finish()
}

// checkOneAtATime holds one watch in its first edge until another watch has
// been given all: a store that does not wait for edge calls it again then.
func checkOneAtATime(r *rig) error {
	const n = 40
	all := make(chan struct{})
	first := true // belongs to w.mu
	w, err := r.watch(func(w *watch, _ heymanito.Edge) {
		w.mu.Lock()
		hold := first
		first = false
		w.mu.Unlock()
		if hold {
			<-all
			// Not a proof, but a chance for who is about to call.
			time.Sleep(20 * time.Millisecond)
		}
	})
	if err != nil {
		return err
	}
	release := sync.OnceFunc(func() { close(all) })
	defer release()
	other, err := r.watch()
	if err != nil {
		return err
	}
	if err := r.many(n); err != nil {
		return err
	}
	for i := range n {
		if err := other.want(ruleWatch, userName(i), came(userName(i), "s")); err != nil {
			return err
		}
	}
	release()
	for i := range n {
		if err := w.want(ruleEdges, userName(i), came(userName(i), "s")); err != nil {
			return err
		}
	}
	return w.finish()
}

// checkCallback has edge call the store, so that each edge causes the next.
func checkCallback(r *rig) error {
	if err := r.set(on("dan", "d1"), on("eve", "e1"), off("eve", "e1")); err != nil {
		return err
	}
	// The edges of echo, each of which is set by the callback of the one
	// before. The first Set for echo is a callback's too: otherwise Sets for
	// echo might not come one at a time.
	var want []heymanito.Edge
	for i := range 10 {
		s1, s2 := fmt.Sprint("s", i), fmt.Sprint("t", i)
		want = append(want, came("echo", s1), moved("echo", s2), went("echo", s2))
	}
	next := 0 // belongs to w.mu
	w, err := r.watch(func(w *watch, e heymanito.Edge) {
		if e.User != "start" && e.User != "echo" {
			return
		}
		w.mu.Lock()
		i := next
		next++
		w.mu.Unlock()
		if i >= len(want) {
			return
		}
		p := want[i].Presence
		err := r.set(p)
		if err == nil {
			err = r.sees(p)
		}
		if err == nil {
			err = r.forget([]string{"dan", "eve", "nobody"}[i%3])
		}
		if err != nil {
			w.fault(ruleCallback.broken("called by edge: %w", err))
		}
	})
	if err != nil {
		return err
	}
	other, err := r.watch()
	if err != nil {
		return err
	}
	if err := r.set(on("start", "s")); err != nil {
		return ruleCallback.broken("while edge calls the store: %w", err)
	}
	for _, w := range []*watch{w, other} {
		if err := w.want(ruleCallback, "echo", want...); err != nil {
			return err
		}
		if err := w.want(ruleForget, "dan", went("dan", "d1")); err != nil {
			return err
		}
		if err := w.want(ruleForget, "eve"); err != nil {
			return err
		}
	}
	if err := w.finish(); err != nil {
		return err
	}
	return other.finish()
}

// checkSlow holds one watch in an edge for as long as the others take.
func checkSlow(r *rig) error {
	const n = 240
	held, free := make(chan struct{}), make(chan struct{})
	hold := sync.OnceFunc(func() { close(held) })
	release := sync.OnceFunc(func() { close(free) })
	defer release()
	slow, err := r.watch(func(_ *watch, e heymanito.Edge) {
		if e.User == "ann" && e.Online && !e.Moved {
			hold()
			<-free
		}
	})
	if err != nil {
		return err
	}
	other, err := r.watch()
	if err != nil {
		return err
	}
	if err := r.set(on("ann", "a1")); err != nil {
		return ruleCallback.broken("while its own edge callback is slow: %w", err)
	}
	select {
	case <-held:
	case <-time.After(r.patience):
		return ruleWatch.broken("no edge came for %v", r.patience)
	}
	err = r.many(n)
	if err == nil {
		err = r.set(off("ann", "a1"))
	}
	if err == nil {
		err = r.sees(off("ann", "a1"))
	}
	if err != nil {
		return ruleCallback.broken("while one edge callback is slow: %w", err)
	}
	all := func(w *watch) error {
		for i := range n {
			if err := w.want(ruleEdges, userName(i), came(userName(i), "s")); err != nil {
				return err
			}
		}
		return w.want(ruleEdges, "ann", came("ann", "a1"), went("ann", "a1"))
	}
	if err := all(other); err != nil {
		return fmt.Errorf("while the edge callback of another Watch is slow: %w", err)
	}
	release()
	if err := all(slow); err != nil {
		return fmt.Errorf("after a slow edge callback: %w", err)
	}
	if err := slow.finish(); err != nil {
		return err
	}
	return other.finish()
}

func checkEnds(r *rig) error {
	idle, err := r.watch()
	if err != nil {
		return err
	}
	witness, err := r.watch()
	if err != nil {
		return err
	}

	// Cancelled while nothing happens: returns, and reports nothing after.
	if err := r.set(on("ann", "a1")); err != nil {
		return err
	}
	if err := idle.want(ruleWatch, "ann", came("ann", "a1")); err != nil {
		return err
	}
	idle.cancel()
	if err := idle.returned(context.Canceled); err != nil {
		return err
	}
	if err := r.set(off("ann", "a1")); err != nil {
		return err
	}
	if err := witness.want(ruleWatch, "ann", came("ann", "a1"), went("ann", "a1")); err != nil {
		return err
	}
	if err := idle.fine(); err != nil {
		return err
	}

	// Cancelled by its own callback while more edges wait.
	const n = 20
	all := make(chan struct{})
	release := sync.OnceFunc(func() { close(all) })
	defer release()
	busy, err := r.watch(func(w *watch, _ heymanito.Edge) {
		<-all
		w.cancel()
	})
	if err != nil {
		return err
	}
	if err := r.many(n); err != nil {
		return err
	}
	for i := range n {
		if err := witness.want(ruleWatch, userName(i), came(userName(i), "s")); err != nil {
			return err
		}
	}
	release()
	if err := busy.returned(context.Canceled); err != nil {
		return err
	}
	busy.mu.Lock()
	count := busy.count
	busy.mu.Unlock()
	if count != 1 {
		return ruleWatch.broken("ctx ended in the first call of edge, %d more followed", count-1)
	}

	// A deadline ends it with another error.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	late := r.start(ctx, nil)
	if err := late.returned(context.DeadlineExceeded); err != nil {
		return err
	}
	if err := witness.finish(); err != nil {
		return err
	}
	// Again, for edges that came late.
	for _, w := range []*watch{idle, busy, late} {
		if err := w.fine(); err != nil {
			return err
		}
	}
	return nil
}

// checkLeavesNothing starts and ends a number of watches and looks for what
// they started. Labels tell their goroutines from everyone else's: a goroutine
// inherits those of the one that started it.
func checkLeavesNothing(r *rig) error {
	const (
		rounds = 20
		key    = "presencetest"
	)
	value := fmt.Sprintf("%p", r)
	for i := range rounds {
		var w *watch
		var err error
		pprof.Do(context.Background(), pprof.Labels(key, value), func(context.Context) {
			w, err = r.watch()
		})
		if err != nil {
			return err
		}
		user := userName(i)
		if err := r.set(on(user, "s")); err != nil {
			return err
		}
		if err := w.want(ruleWatch, user, came(user, "s")); err != nil {
			return err
		}
		w.cancel()
		if err := w.returned(context.Canceled); err != nil {
			return err
		}
	}
	// A store may keep what it shares between watches, a pool of connections
	// say: what it must not do is keep something for each.
	for deadline := time.Now().Add(r.patience); ; time.Sleep(5 * time.Millisecond) {
		left, err := labelled(key, value)
		if err != nil {
			return err
		}
		if left < rounds {
			return nil
		}
		if time.Now().After(deadline) {
			return ruleWatch.broken("%d goroutines that Watch started are left, after %d calls that have returned", left, rounds)
		}
	}
}

// labelled counts the goroutines with a profiler label.
func labelled(key, value string) (int, error) {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return 0, err
	}
	label := fmt.Sprintf("%q:%q", key, value)
	total, n := 0, 0
	for line := range strings.Lines(b.String()) {
		// "3 @ 0x… 0x…" begins a group of three with the same stack and labels.
		var count int
		if _, err := fmt.Sscanf(line, "%d @", &count); err == nil {
			n = count
		}
		if strings.HasPrefix(line, "# labels:") && strings.Contains(line, label) {
			total += n
		}
	}
	return total, nil
}
