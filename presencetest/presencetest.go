// Package presencetest checks that a [heymanito.PresenceStore] keeps its
// contract. A store's test calls [Run]:
//
//	func TestPresence(t *testing.T) {
//		presencetest.Run(t, func(t *testing.T) heymanito.PresenceStore {
//			return mystore.New(t.TempDir())
//		})
//	}
//
// A failure quotes the sentence of the contract that was broken.
package presencetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
)

// patience is how long Run waits for a call to return and for the next edge to
// come. It is long, because a store that is merely slow keeps its contract.
const patience = 10 * time.Second

// Run checks the stores that newStore returns against the contract of
// [heymanito.PresenceStore], in subtests of t that run one after another.
//
// newStore is called once for each of the subtests, with that subtest's t, and
// returns a store that knows of no user yet; it registers what has to be
// stopped with t.Cleanup. The store may be slow: nothing fails that happens
// within ten seconds. Run makes some thousands of calls, up to eight at a time,
// which takes well under a second in memory.
//
// One store is checked as one node. What two nodes make of the same user is
// not covered.
func Run(t *testing.T, newStore func(t *testing.T) heymanito.PresenceStore) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(newStore(t), patience); err != nil {
				t.Error(err)
			}
		})
	}
}

// A check is one subtest of Run. It returns what is wrong, not a *testing.T's
// failure, so that the tests of this package can watch it fail.
type check struct {
	name string
	body func(r *rig) error
}

func (c check) run(store heymanito.PresenceStore, patience time.Duration) error {
	r := &rig{store: store, patience: patience}
	err := c.body(r)
	// What the body has not finished, because it failed or because it did not
	// care how its watches end, ends here; a Watch that does not is reported
	// where that is the question.
	late, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, w := range r.watches {
		w.cancel()
	}
	for _, w := range r.watches {
		select {
		case <-w.ended:
		case <-late.Done():
		}
	}
	return err
}

// A rule is a sentence of the contract, word for word; a test compares them
// with presencestore.go.
type rule string

const (
	ruleSocketID   rule = "SocketID is the socket id of the user's newest device; of the last one when it is no longer connected."
	ruleLastSeen   rule = "LastSeen is when the user went offline, by the store's clock, in whole milliseconds; zero while online."
	ruleMoved      rule = "Moved is set when the user stays online and only SocketID changed. When it is false the user just came online or went offline."
	ruleCtx        rule = "All methods honour ctx and return its error when it ends first."
	ruleSet        rule = "Set records this node's view of p.User: Online and SocketID count, LastSeen is ignored."
	ruleIdempotent rule = "It is idempotent: setting what is already so reports no edge."
	ruleVisible    rule = "When Set has returned, Online and Snapshot of this node see the change."
	ruleOnline     rule = "Online returns what is known of each of the users, in their order; a user never seen is a Presence with only User set."
	ruleSnapshot   rule = "Snapshot yields every user who is online, each once, in no order."
	ruleSnapshotE  rule = "An error ends it."
	ruleBeside     rule = "It may run beside Set: a user who changes meanwhile may be yielded as before or after."
	ruleWatch      rule = "Watch calls edge for every change from now on, by any node, until ctx ends, and then returns ctx's error."
	ruleReady      rule = "It calls ready (which may be nil) once it misses nothing any more."
	ruleEdges      rule = "Calls of edge come one at a time and, for one user, in the order of the changes: exactly one with Online for each coming, one without for each going."
	ruleCallback   rule = "edge does not block for long, may call the store, and is not called under a lock of the store's."
	ruleForget     rule = "Forget erases everything about user, last seen included, without an edge unless the user was online: then it is as if it had been set offline first."
)

// broken is the error of a store that did what format says, against the rule.
func (s rule) broken(format string, args ...any) error {
	return fmt.Errorf("%w\n\tbut the contract says: %q", fmt.Errorf(format, args...), string(s))
}

var checks = []check{
	{"SetIsVisible", checkVisible},
	{"LastSeen", checkLastSeenOverTime},
	{"Online", checkOnline},
	{"Names", checkNames},
	{"Snapshot", checkSnapshot},
	{"SnapshotBreak", checkSnapshotBreak},
	{"SnapshotCancelled", checkSnapshotCancelled},
	{"SnapshotCallsStore", checkSnapshotCallsStore},
	{"SnapshotBesideSet", checkSnapshotBesideSet},
	{"Edges", checkEdges},
	{"SetIsIdempotent", checkIdempotent},
	{"EdgesUnderChurn", checkChurn},
	{"WatchReady", checkReady},
	{"WatchFromNowOn", checkFromNowOn},
	{"WatchOneAtATime", checkOneAtATime},
	{"WatchCallsStore", checkCallback},
	{"WatchSlow", checkSlow},
	{"WatchEnds", checkEnds},
	{"WatchLeavesNothing", checkLeavesNothing},
	{"Forget", checkForget},
	{"CancelledContext", checkCancelled},
}

func checkVisible(r *rig) error {
	for _, p := range []heymanito.Presence{
		on("ann", "a1"),
		on("bob", "b1"),
		on("ann", "a2"),
		off("bob", "b1"),
		on("bob", "b2"),
		off("ann", "a2"),
		off("bob", "b2"),
	} {
		if err := r.set(p); err != nil {
			return err
		}
		if err := r.sees(p); err != nil {
			return err
		}
	}
	return nil
}

func checkLastSeenOverTime(r *rig) error {
	w, err := r.watch()
	if err != nil {
		return err
	}
	// LastSeen of the argument is ignored, coming and going.
	stray := on("ann", "a1")
	stray.LastSeen = time.Unix(1, 0)
	if err := r.set(stray); err != nil {
		return err
	}
	if err := r.sees(on("ann", "a1")); err != nil {
		return err
	}
	stray.Online = false
	if err := r.set(stray); err != nil {
		return err
	}
	first, err := r.one("ann")
	if err != nil {
		return err
	}
	if err := samePresence(first, off("ann", "a1")); err != nil {
		return err
	}
	if first.LastSeen.Equal(stray.LastSeen) {
		return ruleSet.broken("LastSeen is what Set was given")
	}

	// Let the store's clock go on, as its last seen of others shows, and set
	// offline again who has gone already.
	for deadline := time.Now().Add(r.patience); ; {
		if err := r.set(on("clock", "c"), off("clock", "c")); err != nil {
			return err
		}
		clock, err := r.one("clock")
		if err != nil {
			return err
		}
		if clock.LastSeen.After(first.LastSeen) {
			break
		}
		if time.Now().After(deadline) {
			return ruleLastSeen.broken("one user was last seen at %v, another %v later at %v", first.LastSeen, r.patience, clock.LastSeen)
		}
	}
	if err := r.set(off("ann", "a1")); err != nil {
		return err
	}
	again, err := r.one("ann")
	if err != nil {
		return err
	}
	if !again.LastSeen.Equal(first.LastSeen) {
		return ruleLastSeen.broken("the user went offline at %v; after another Set offline LastSeen is %v", first.LastSeen, again.LastSeen)
	}

	// Going a second time counts again.
	if err := r.set(on("ann", "a2")); err != nil {
		return err
	}
	if err := r.sees(on("ann", "a2")); err != nil {
		return err
	}
	if err := r.set(off("ann", "a2")); err != nil {
		return err
	}
	second, err := r.one("ann")
	if err != nil {
		return err
	}
	if !second.LastSeen.After(first.LastSeen) {
		return ruleLastSeen.broken("the user went offline at %v and again later; LastSeen is %v", first.LastSeen, second.LastSeen)
	}

	// The edges say the same.
	if err := w.want(ruleEdges, "ann", came("ann", "a1"), went("ann", "a1"), came("ann", "a2"), went("ann", "a2")); err != nil {
		return err
	}
	edges := w.reported("ann")
	for i, p := range []heymanito.Presence{first, second} {
		if e := edges[2*i+1]; !e.LastSeen.Equal(p.LastSeen) {
			return ruleLastSeen.broken("the edge has LastSeen %v, Online has %v", e.LastSeen, p.LastSeen)
		}
	}
	return w.finish()
}

func checkOnline(r *rig) error {
	if err := r.set(on("ann", "a1"), on("bob", "b1"), off("bob", "b1"), on("cid", "c1")); err != nil {
		return err
	}
	// online itself compares the users with the answer's.
	for _, users := range [][]string{
		nil,
		{"ann"},
		{"nobody"},
		{"cid", "nobody", "ann", "bob", "nobody else"},
		{"bob", "ann", "bob", "ann", "ann", "nobody", "nobody"},
	} {
		ps, err := r.online(users...)
		if err != nil {
			return err
		}
		for i, p := range ps {
			var err error
			switch p.User {
			case "ann":
				err = samePresence(p, on("ann", "a1"))
			case "bob":
				err = samePresence(p, off("bob", "b1"))
			case "cid":
				err = samePresence(p, on("cid", "c1"))
			default:
				if p != (heymanito.Presence{User: p.User}) {
					err = ruleOnline.broken("%q was never set, but is %s", p.User, describe(p))
				}
			}
			if err != nil {
				return fmt.Errorf("Online(%q)[%d]: %w", users, i, err)
			}
		}
	}
	// Who was only ever set offline never went offline.
	if err := r.set(off("dan", "d1")); err != nil {
		return err
	}
	dan, err := r.one("dan")
	if err != nil {
		return err
	}
	if dan.Online || !dan.LastSeen.IsZero() {
		return ruleLastSeen.broken("a user who was never online has gone offline: %s, LastSeen %v", describe(dan), dan.LastSeen)
	}
	return nil
}

// checkNames is for stores that build keys and patterns from names. Any name
// is a chatPath, and any two differ.
func checkNames(r *rig) error {
	users := []string{
		"ann", "Ann", "ANN", " ann", "ann ", "a\u00f1n", "an\u0303n", "ann:", ":ann", "ann:1", "ann/1", "ann.1",
		"*", "?", "[ann]", "{ann}", "{", "}", "%", "%61nn", "'ann'", `"ann"`, `\ann`, "ann,bob", "ann|bob", "ann;--",
		"0", "00", "-1", "1e3", "null", "undefined", "true", "__proto__", "user", "online", "\u202eann", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
		strings.Repeat("x", 255), strings.Repeat("x", 256), strings.Repeat("\u00e9", 128),
	}
	w, err := r.watch()
	if err != nil {
		return err
	}
	socket := func(i int) string { return fmt.Sprintf("s:%d|{*}", i) }
	for i, user := range users {
		if err := r.unknown(ruleOnline, user); err != nil {
			return err
		}
		if err := r.set(on(user, socket(i))); err != nil {
			return err
		}
	}
	all, err := r.snapshot()
	if err != nil {
		return err
	}
	ps, err := r.online(users...)
	if err != nil {
		return err
	}
	for i, user := range users {
		if err := samePresence(ps[i], on(user, socket(i))); err != nil {
			return fmt.Errorf("Online: %w", err)
		}
		p, found := all[user]
		if !found {
			return ruleSnapshot.broken("it did not yield %q", user)
		}
		if err := samePresence(p, on(user, socket(i))); err != nil {
			return fmt.Errorf("Snapshot: %w", err)
		}
	}
	if len(all) != len(users) {
		return ruleSnapshot.broken("it yielded %d users, %d are online", len(all), len(users))
	}
	for i, user := range users {
		if i%2 == 0 {
			err = r.set(off(user, socket(i)))
		} else {
			err = r.forget(user)
		}
		if err != nil {
			return err
		}
	}
	for i, user := range users {
		if err := w.want(ruleEdges, user, came(user, socket(i)), went(user, socket(i))); err != nil {
			return err
		}
		if i%2 == 0 {
			err = r.sees(off(user, socket(i)))
		} else {
			err = r.unknown(ruleForget, user)
		}
		if err != nil {
			return err
		}
	}
	return w.finish()
}

// userName is the name of user i of several.
func userName(i int) string { return fmt.Sprintf("user %03d", i) }

// many sets n users online, several at a time.
func (r *rig) many(n int) error {
	return parallel(8, func(worker int) error {
		for i := worker; i < n; i += 8 {
			if err := r.set(on(userName(i), "s")); err != nil {
				return err
			}
		}
		return nil
	})
}

// parallel calls f(0) … f(n-1) at once and waits for all.
func parallel(n int, f func(worker int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkSnapshot(r *rig) error {
	all, err := r.snapshot()
	if err != nil {
		return err
	}
	if len(all) != 0 {
		return ruleSnapshot.broken("it yielded %d users of an empty store", len(all))
	}
	const n = 300
	if err := r.many(n); err != nil {
		return err
	}
	for i := 0; i < n; i += 3 {
		if err := r.set(off(userName(i), "s")); err != nil {
			return err
		}
	}
	all, err = r.snapshot()
	if err != nil {
		return err
	}
	for i := range n {
		user := userName(i)
		p, found := all[user]
		if found != (i%3 != 0) {
			return ruleSnapshot.broken("it yielded %q: %t, who is online: %t", user, found, i%3 != 0)
		}
		if found {
			if err := samePresence(p, on(user, "s")); err != nil {
				return fmt.Errorf("Snapshot: %w", err)
			}
			delete(all, user)
		}
	}
	for user := range all {
		return ruleSnapshot.broken("it yielded %q, who was never set", user)
	}
	return nil
}

// checkSnapshotBreak calls the iterator as a for statement does: the statement
// itself would panic in place of an error.
func checkSnapshotBreak(r *rig) error {
	if err := r.many(20); err != nil {
		return err
	}
	for _, stop := range []int{1, 7} {
		calls := 0
		err := r.call("Snapshot", func(ctx context.Context) (err error) {
			r.store.Snapshot(ctx)(func(_ heymanito.Presence, e error) bool {
				calls++
				err = errors.Join(err, e)
				return calls < stop
			})
			return err
		})
		if err != nil {
			return err
		}
		if calls != stop {
			return ruleSnapshot.broken("the loop's body was called %d times, it broke off after %d", calls, stop)
		}
	}
	// Nothing is held that a complete iteration would have released.
	return r.set(on(userName(0), "another"), off(userName(1), "s"), on("another", "s"))
}

func checkSnapshotCancelled(r *rig) error {
	const n = 300
	if err := r.many(n); err != nil {
		return err
	}
	for _, after := range []int{0, 1, n / 2} {
		users, errs := 0, 0
		var last error
		err := r.call("Snapshot", func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			if after == 0 {
				cancel()
			}
			r.store.Snapshot(ctx)(func(_ heymanito.Presence, err error) bool {
				last = err
				if err != nil {
					errs++
					return true // goes on, but there must be no more
				}
				if users++; users == after {
					cancel()
				}
				return true
			})
			return nil
		})
		if err != nil {
			return err
		}
		switch {
		case errs == 0 && after == 0:
			return ruleCtx.broken("Snapshot with a cancelled ctx yielded %d users and no error", users)
		case errs == 0 && users < n:
			// All n without an error would mean that ctx did not end first.
			return ruleCtx.broken("ctx was cancelled at the %d. user; Snapshot ended after %d of %d without an error", after, users, n)
		case errs > 1 || errs == 1 && last == nil:
			return ruleSnapshotE.broken("Snapshot went on after an error")
		case errs == 1:
			if err := wantCtxErr(ruleCtx, "Snapshot", last, context.Canceled); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkSnapshotCallsStore(r *rig) error {
	const n = 20
	if err := r.many(n); err != nil {
		return err
	}
	seen := 0
	err := r.call("Snapshot whose loop calls the store", func(ctx context.Context) error {
		for p, err := range r.store.Snapshot(ctx) {
			if err != nil {
				return err
			}
			seen++
			if err := r.set(off(p.User, p.SocketID)); err != nil {
				return err
			}
			if err := r.sees(off(p.User, p.SocketID)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return ruleBeside.broken("%w", err)
	}
	if seen != n {
		return ruleSnapshot.broken("it yielded %d of %d users, each of whom went offline only then", seen, n)
	}
	return nil
}

func checkSnapshotBesideSet(r *rig) error {
	const (
		stay  = 50 // online all the time, every second one changing sockets
		flap  = 40 // come and go
		turns = 20
	)
	if err := r.many(stay); err != nil {
		return err
	}
	stop := make(chan struct{})
	const workers = 4
	churn := make(chan error, 1)
	go func() {
		churn <- parallel(workers, func(worker int) error {
			for turn := 0; ; turn++ {
				for i := worker; i < stay+flap; i += workers {
					select {
					case <-stop:
						return nil
					default:
					}
					var err error
					switch socket := fmt.Sprint("turn ", turn); {
					case i < stay && i%2 == 0:
						err = r.set(on(userName(i), socket))
					case i >= stay:
						err = r.set(on(userName(i), socket), off(userName(i), socket))
					}
					if err != nil {
						return err
					}
				}
			}
		})
	}()
	err := func() error {
		for range turns {
			all, err := r.snapshot() // finds who is yielded twice
			if err != nil {
				return err
			}
			for i := range stay {
				if _, found := all[userName(i)]; !found {
					return ruleSnapshot.broken("it did not yield %q, who was online all the time; others came and went", userName(i))
				}
				delete(all, userName(i))
			}
			for i := stay; i < stay+flap; i++ {
				delete(all, userName(i))
			}
			for user := range all {
				return ruleSnapshot.broken("it yielded %q, who was never set", user)
			}
		}
		return nil
	}()
	close(stop)
	if setErr := <-churn; setErr != nil {
		return setErr
	}
	return err
}

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

func checkIdempotent(r *rig) error {
	w, err := r.watch()
	if err != nil {
		return err
	}
	// The edge of the last Set of each user is the proof: what came before it
	// would have been reported before it.
	err = r.set(
		on("ann", "a1"), on("ann", "a1"), on("ann", "a1"), off("ann", "a1"), off("ann", "a1"), off("ann", "a1"), on("ann", "a1"), on("ann", "a1"),
		off("ann", "a1"),
		off("bob", "b1"), off("bob", "b1"),
		on("bob", "b1"),
		on("cid", "c1"), on("cid", "c2"), on("cid", "c2"), on("cid", "c2"),
		off("cid", "c2"),
	)
	if err != nil {
		return err
	}
	if err := w.want(ruleIdempotent, "ann", came("ann", "a1"), went("ann", "a1"), came("ann", "a1"), went("ann", "a1")); err != nil {
		return err
	}
	if err := w.want(ruleIdempotent, "bob", came("bob", "b1")); err != nil {
		return err
	}
	if err := w.want(ruleIdempotent, "cid", came("cid", "c1"), moved("cid", "c2"), went("cid", "c2")); err != nil {
		return err
	}
	return w.finish()
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
				was, next := now[user], heymanito.Presence{}
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

func checkForget(r *rig) error {
	if err := r.set(on("offline", "o1"), off("offline", "o1"), on("online", "n1"), on("other", "x1"), on("gone", "g1"), off("gone", "g1")); err != nil {
		return err
	}
	w, err := r.watch()
	if err != nil {
		return err
	}
	for _, user := range []string{"unknown", "offline", "online", "online"} {
		if err := r.forget(user); err != nil {
			return err
		}
		if err := r.unknown(ruleForget, user); err != nil {
			return err
		}
	}
	all, err := r.snapshot()
	if err != nil {
		return err
	}
	if _, found := all["online"]; found {
		return ruleForget.broken("Snapshot yields a user who was forgotten")
	}
	if len(all) != 1 {
		return ruleForget.broken("Snapshot yields %d users, 1 other is online", len(all))
	}
	// The others are as before.
	if err := r.sees(on("other", "x1")); err != nil {
		return err
	}
	if err := r.sees(off("gone", "g1")); err != nil {
		return err
	}
	// Who is forgotten starts anew, also if he is set offline first.
	if err := r.set(off("online", "n1"), on("online", "n1"), on("offline", "o1"), on("unknown", "u1")); err != nil {
		return err
	}
	if err := w.want(ruleForget, "online", went("online", "n1"), came("online", "n1")); err != nil {
		return err
	}
	if err := w.want(ruleForget, "offline", came("offline", "o1")); err != nil {
		return err
	}
	if err := w.want(ruleForget, "unknown", came("unknown", "u1")); err != nil {
		return err
	}
	if err := r.sees(on("online", "n1")); err != nil {
		return err
	}
	return w.finish()
}

func checkCancelled(r *rig) error {
	if err := r.set(on("ann", "a1")); err != nil {
		return err
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	expired, cancel := context.WithTimeout(context.Background(), -1)
	defer cancel()
	for _, ctx := range []context.Context{cancelled, expired} {
		for _, m := range []struct {
			name string
			call func() error
		}{
			{"Set", func() error { return r.store.Set(ctx, on("bob", "b1")) }},
			{"Online", func() error { _, err := r.store.Online(ctx, []string{"ann"}); return err }},
			{"Forget", func() error { return r.store.Forget(ctx, "nobody") }},
			{"Watch", func() error { return r.store.Watch(ctx, nil, func(heymanito.Edge) {}) }},
			{"Snapshot", func() error {
				for _, err := range r.store.Snapshot(ctx) {
					if err != nil {
						return err
					}
				}
				return nil
			}},
		} {
			var got error
			err := r.call(m.name+" with a ctx that has ended", func(context.Context) error {
				got = m.call()
				return nil
			})
			if err != nil {
				return err
			}
			if err := wantCtxErr(ruleCtx, m.name, got, ctx.Err()); err != nil {
				return err
			}
		}
	}
	// Nothing of that has done harm.
	return r.sees(on("ann", "a1"))
}
