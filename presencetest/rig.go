package presencetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/heymanito/heymanito"
)

// on and off are what Set is called with.
func on(user, socketID string) heymanito.Presence {
	return heymanito.Presence{User: user, Online: true, SocketID: socketID}
}

func off(user, socketID string) heymanito.Presence {
	return heymanito.Presence{User: user, SocketID: socketID}
}

// came, moved and went are the edges to expect. A going has some LastSeen,
// see sameEdge.
func came(user, socketID string) heymanito.Edge {
	return heymanito.Edge{Presence: on(user, socketID)}
}

func moved(user, socketID string) heymanito.Edge {
	return heymanito.Edge{Presence: on(user, socketID), Moved: true}
}

func went(user, socketID string) heymanito.Edge {
	return heymanito.Edge{Presence: off(user, socketID)}
}

// A rig is a store under test and the watches on it.
type rig struct {
	store    heymanito.PresenceStore
	patience time.Duration
	watches  []*watch
	finished int // watches, by finish
}

// call makes one call of the store, which has to return in time: a store that
// waits for something that cannot happen is to fail its test, not to hang it.
func (r *rig) call(what string, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), r.patience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	case <-ctx.Done():
	}
	// It may be about to return because ctx ended.
	select {
	case err := <-done:
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s took %v: %w", what, r.patience, err)
	case <-time.After(r.patience/4 + 50*time.Millisecond):
		return fmt.Errorf("%s has not returned after %v: it waits for something, perhaps a lock", what, r.patience)
	}
}

// set calls Set for each of ps, in order.
func (r *rig) set(ps ...heymanito.Presence) error {
	for _, p := range ps {
		err := r.call("Set("+describe(p)+")", func(ctx context.Context) error {
			return r.store.Set(ctx, p)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) forget(user string) error {
	return r.call(fmt.Sprintf("Forget(%q)", user), func(ctx context.Context) error {
		return r.store.Forget(ctx, user)
	})
}

// online calls Online and checks the form of the answer.
func (r *rig) online(users ...string) ([]heymanito.Presence, error) {
	var ps []heymanito.Presence
	err := r.call("Online", func(ctx context.Context) (err error) {
		ps, err = r.store.Online(ctx, users)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(ps) != len(users) {
		return nil, ruleOnline.broken("Online(%q) returned %d values, not %d", users, len(ps), len(users))
	}
	for i, p := range ps {
		if p.User != users[i] {
			return nil, ruleOnline.broken("Online(%q)[%d] is of user %q, not of %q", users, i, p.User, users[i])
		}
		if err := checkLastSeen(p); err != nil {
			return nil, fmt.Errorf("Online(%q)[%d]: %w", users, i, err)
		}
	}
	return ps, nil
}

// one is Online for one user.
func (r *rig) one(user string) (heymanito.Presence, error) {
	ps, err := r.online(user)
	if err != nil {
		return heymanito.Presence{}, err
	}
	return ps[0], nil
}

// snapshot collects a Snapshot and checks the form of what it yields.
func (r *rig) snapshot() (map[string]heymanito.Presence, error) {
	found := make(map[string]heymanito.Presence)
	err := r.call("Snapshot", func(ctx context.Context) error {
		for p, err := range r.store.Snapshot(ctx) {
			if err != nil {
				return err
			}
			if _, twice := found[p.User]; twice {
				return ruleSnapshot.broken("it yielded %q twice", p.User)
			}
			if !p.Online {
				return ruleSnapshot.broken("it yielded %s, who is not online", describe(p))
			}
			if err := checkLastSeen(p); err != nil {
				return err
			}
			found[p.User] = p
		}
		return nil
	})
	return found, err
}

// sees checks that Online and Snapshot have p, up to the value of LastSeen.
func (r *rig) sees(p heymanito.Presence) error {
	got, err := r.one(p.User)
	if err != nil {
		return err
	}
	if err := samePresence(got, p); err != nil {
		return fmt.Errorf("Online after Set(%s): %w", describe(p), err)
	}
	all, err := r.snapshot()
	if err != nil {
		return err
	}
	got, found := all[p.User]
	if found != p.Online {
		return ruleVisible.broken("Snapshot after Set(%s): it yields the user: %t", describe(p), found)
	}
	if !found {
		return nil
	}
	if err := samePresence(got, p); err != nil {
		return fmt.Errorf("Snapshot after Set(%s): %w", describe(p), err)
	}
	return nil
}

// unknown checks that nothing is known of user.
func (r *rig) unknown(s rule, user string) error {
	p, err := r.one(user)
	if err != nil {
		return err
	}
	if p != (heymanito.Presence{User: user}) {
		return s.broken("Online knows of %q: %s", user, describe(p))
	}
	return nil
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

func samePresence(got, want heymanito.Presence) error {
	switch {
	case got.User != want.User || got.Online != want.Online:
		return ruleVisible.broken("got %s, want %s", describe(got), describe(want))
	case got.SocketID != want.SocketID:
		return ruleSocketID.broken("got %s, want %s", describe(got), describe(want))
	case !want.Online && got.LastSeen.IsZero():
		return ruleLastSeen.broken("got %s with no LastSeen", describe(got))
	}
	return checkLastSeen(got)
}

// checkLastSeen checks what LastSeen has to be for any Presence.
func checkLastSeen(p heymanito.Presence) error {
	if p.Online && !p.LastSeen.IsZero() {
		return ruleLastSeen.broken("%s has LastSeen %v", describe(p), p.LastSeen)
	}
	if p.LastSeen.Nanosecond()%int(time.Millisecond) != 0 {
		return ruleLastSeen.broken("%s has LastSeen %v", describe(p), p.LastSeen.Format(time.RFC3339Nano))
	}
	return nil
}

// A watch is a running Watch, with all it has reported.
type watch struct {
	r      *rig
	cancel context.CancelFunc
	ended  chan struct{} // closed when Watch has returned
	err    error         // what it returned

	mu     sync.Mutex // guards what follows: the record of what was reported
	edges  map[string][]heymanito.Edge
	count  int           // of edges
	grew   chan struct{} // closed with the next change of the record, then another
	inEdge bool          // a call of edge is under way
	over   bool          // Watch has returned, no edge may come
	wrong  error         // the first thing the watch itself did wrong
	wants  []want
}

// A want is what a watch has to have reported of one user, checked again when
// the watch is finished: there may come more.
type want struct {
	rule  rule
	user  string
	edges []heymanito.Edge
}

// watch starts a Watch and returns when it is ready. Each of also, if given, is
// called with each edge after it has been recorded.
func (r *rig) watch(also ...func(*watch, heymanito.Edge)) (*watch, error) {
	ready := make(chan struct{})
	w := r.start(context.Background(), func(w *watch) {
		select {
		case <-ready:
			w.fault(ruleReady.broken("ready was called twice"))
		default:
			close(ready)
		}
	}, also...)
	select {
	case <-ready:
		return w, nil
	case <-w.ended:
		return nil, ruleWatch.broken("Watch returned before its ctx ended, with error %v", w.err)
	case <-time.After(r.patience):
		return nil, ruleReady.broken("ready has not been called after %v", r.patience)
	}
}

// start starts a Watch; ready may be nil.
func (r *rig) start(ctx context.Context, ready func(*watch), also ...func(*watch, heymanito.Edge)) *watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &watch{
		r:      r,
		cancel: cancel,
		ended:  make(chan struct{}),
		edges:  make(map[string][]heymanito.Edge),
		grew:   make(chan struct{}),
	}
	r.watches = append(r.watches, w)
	var call func()
	if ready != nil {
		call = func() { ready(w) }
	}
	go func() {
		defer close(w.ended)
		err := r.store.Watch(ctx, call, func(e heymanito.Edge) {
			w.enter(e)
			for _, f := range also {
				f(w, e)
			}
			w.leave()
		})
		w.mu.Lock()
		defer w.mu.Unlock()
		w.err, w.over = err, true
	}()
	return w
}

func (w *watch) enter(e heymanito.Edge) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inEdge {
		w.setWrong(ruleEdges.broken("edge was called with %s before an earlier call had returned", describeEdge(e)))
	}
	if w.over {
		w.setWrong(ruleWatch.broken("edge was called with %s after Watch had returned", describeEdge(e)))
	}
	w.inEdge = true
	w.edges[e.User] = append(w.edges[e.User], e)
	w.count++
	w.changed()
}

func (w *watch) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inEdge = false
}

// fault records something wrong that a callback found.
func (w *watch) fault(err error) {
	if err == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setWrong(err)
	w.changed()
}

// fine returns what the watch has done wrong by itself.
func (w *watch) fine() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wrong
}

func (w *watch) setWrong(err error) {
	if w.wrong == nil {
		w.wrong = err
	}
}

func (w *watch) changed() {
	close(w.grew)
	w.grew = make(chan struct{})
}

// until waits until done says so, which is asked under mu after each change of
// the record. It gives up when the record has not changed for too long, and
// then returns errQuiet.
func (w *watch) until(done func() bool) error {
	for {
		w.mu.Lock()
		ok, wrong, grew := done(), w.wrong, w.grew
		w.mu.Unlock()
		if wrong != nil {
			return wrong
		}
		if ok {
			return nil
		}
		select {
		case <-grew:
		case <-w.ended:
			return ruleWatch.broken("Watch returned before its ctx ended, with error %v", w.err)
		case <-time.After(w.r.patience):
			return errQuiet
		}
	}
}

var errQuiet = errors.New("no edge came any more")

// want waits until the watch has reported these edges of user, and no others
// but for Moved edges that were coalesced.
func (w *watch) want(s rule, user string, edges ...heymanito.Edge) error {
	n := want{s, user, edges}
	w.wants = append(w.wants, n)
	var err error
	quiet := w.until(func() bool {
		var complete bool
		complete, err = w.compare(n)
		return complete || err != nil
	})
	if quiet == errQuiet {
		return s.broken("for %v no edge came after these of user %q: %s\n\twant: %s",
			w.r.patience, user, describeEdges(w.reported(user)), describeEdges(edges))
	}
	if quiet != nil {
		return quiet
	}
	return err
}

func (w *watch) reported(user string) []heymanito.Edge {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.edges[user]
}

// compare says whether all of n's edges have been reported; it is an error if
// anything else was. Of several Moved edges in a row a store need report only
// the last, and none before a going.
func (w *watch) compare(n want) (complete bool, err error) {
	got, next := w.edges[n.user], n.edges
	for _, e := range got {
		for len(next) > 1 && next[0].Moved && !sameEdge(e, next[0]) {
			next = next[1:]
		}
		if len(next) == 0 || !sameEdge(e, next[0]) {
			return false, n.rule.broken("the edges of user %q were: %s\n\twant: %s", n.user, describeEdges(got), describeEdges(n.edges))
		}
		if !e.Online && e.LastSeen.IsZero() {
			return false, ruleLastSeen.broken("the edge %s has no LastSeen", describeEdge(e))
		}
		if err := checkLastSeen(e.Presence); err != nil {
			return false, fmt.Errorf("an edge: %w", err)
		}
		next = next[1:]
	}
	return len(next) == 0, nil
}

// sameEdge compares all but LastSeen.
func sameEdge(a, b heymanito.Edge) bool {
	return a.User == b.User && a.Online == b.Online && a.Moved == b.Moved && a.SocketID == b.SocketID
}

// finish ends the watch and checks that it ended as it should, and that it has
// reported what was wanted and no more.
func (w *watch) finish() error {
	// A store that hands on its edges in one order for all users is past every
	// belated one when it comes to that of a user who is new now.
	w.r.finished++
	last := fmt.Sprintf("last user of watch %d", w.r.finished)
	if err := w.r.set(on(last, "last")); err != nil {
		return err
	}
	err := w.until(func() bool { return len(w.edges[last]) > 0 })
	if err == errQuiet {
		return ruleWatch.broken("no edge of %q came for %v", last, w.r.patience)
	}
	if err != nil {
		return err
	}
	w.cancel()
	if err := w.returned(context.Canceled); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.wants {
		if _, err := w.compare(n); err != nil {
			return err
		}
	}
	return w.wrong
}

// returned waits for Watch to return the error of its ctx, which has ended.
func (w *watch) returned(ctxErr error) error {
	select {
	case <-w.ended:
		return wantCtxErr(ruleWatch, "Watch", w.err, ctxErr)
	case <-time.After(w.r.patience):
		return ruleWatch.broken("Watch has not returned %v after its ctx ended", w.r.patience)
	}
}

// wantCtxErr checks what a method returned after its ctx had ended.
func wantCtxErr(s rule, what string, got, want error) error {
	if !errors.Is(got, want) {
		return s.broken("%s returned the error %v, its ctx's is %v", what, got, want)
	}
	return nil
}

func describe(p heymanito.Presence) string {
	state := "offline"
	if p.Online {
		state = "online"
	}
	return fmt.Sprintf("%q %s %q", p.User, state, p.SocketID)
}

func describeEdge(e heymanito.Edge) string {
	return fmt.Sprintf("%q %s", e.User, describeEdges([]heymanito.Edge{e}))
}

// describeEdges describes the edges of one user.
func describeEdges(edges []heymanito.Edge) string {
	if len(edges) == 0 {
		return "none"
	}
	var b strings.Builder
	for i, e := range edges {
		if i > 0 {
			b.WriteString(", ")
		}
		switch {
		case e.Moved && e.Online:
			b.WriteString("moved")
		case e.Moved:
			b.WriteString("moved but offline")
		case e.Online:
			b.WriteString("came")
		default:
			b.WriteString("went")
		}
		fmt.Fprintf(&b, " %q", e.SocketID)
	}
	return b.String()
}
