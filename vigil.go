package heymanito

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// vigils watch over messages until it is known which devices they were given
// to: all that their recipient has, or as many as had shown it within the
// offline grace. Then the hooks that want to know are called.
type vigils struct {
	srv *Server

	mu    sync.Mutex // guards the rest; taken after a vigil's
	of    map[string]*vigil
	under int        // what there is under way that may watch over something, or tells of it
	rest  *sync.Cond // under is 0
	rush  bool       // nothing is watched over any more: the hooks are told at once
	last  bool       // nor sent, but by these hooks
	over  bool       // nor told of
}

// vigil is the messages to one user that are being watched over.
type vigil struct {
	user string

	mu      sync.Mutex // guards the rest
	over    bool       // it has been forgotten
	watched []*watch   // by seq
	timer   *time.Timer
	ripe    []*watch // for the hooks
	telling bool     // a goroutine calls them
	bytes   int      // of all these
	backlog int      // bytes of ripe
	eased   chan struct{}
}

// watch is one message being watched over.
type watch struct {
	m      Message
	seq    uint64 // in the recipient's inbox
	status string // as its sender was told
	due    time.Time
	given  []*device
	first  [1]*device // given, of most
}

const (
	// maxVigil is how many bytes of messages to one user are watched over: as
	// much as an inbox has by default. Beyond it the hooks are told before the
	// grace has passed.
	maxVigil = 16_000_000
	// maxBacklog is how many bytes of them may wait for a slow hook: beyond it
	// senders wait as well.
	maxBacklog = 4 << 20
)

// hookKey is in the context of hooks that are told by a vigil.
type hookKey struct{}

func newVigils(s *Server) *vigils {
	v := &vigils{srv: s, of: map[string]*vigil{}}
	v.rest = sync.NewCond(&v.mu)
	return v
}

// begin is for what finish is to wait for, until end is called. It reports false when
// it is too late for that: while finish waits only what it waits for may begin more,
// lest a host that goes on sending keep it from its end.
func (v *vigils) begin(awaited bool) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	in := !v.over && (awaited || !v.last)
	if in {
		v.under++
	}
	return in
}

func (v *vigils) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.under--; v.under == 0 {
		v.rest.Broadcast()
	}
}

// hurried reports whether the server is about to end. Who asks has a vigil locked,
// which hurry looks at if this is false.
func (v *vigils) hurried() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.rush
}

// wanted reports whether there is a hook to be told.
func (v *vigils) wanted() bool {
	return v.srv.cfg.hooks.AfterMessage != nil || v.srv.cfg.hooks.OnUndelivered != nil
}

// lock returns the vigil of a user, locked; nil if there is none and it is not
// to begin.
func (v *vigils) lock(user string, begin bool) *vigil {
	for {
		v.mu.Lock()
		one := v.of[user]
		if one == nil && begin {
			one = &vigil{user: user}
			v.of[user] = one
		}
		v.mu.Unlock()
		if one == nil {
			return nil
		}
		if one.mu.Lock(); !one.over {
			return one
		}
		one.mu.Unlock()
	}
}

// unlock unlocks a vigil, and forgets one that has nothing to do.
func (v *vigils) unlock(one *vigil) {
	defer one.mu.Unlock()
	if one.eased != nil && one.backlog <= maxBacklog {
		close(one.eased)
		one.eased = nil
	}
	if one.over || len(one.watched) > 0 || one.telling {
		return
	}
	one.over = true
	if one.timer != nil {
		one.timer.Stop()
	}
	v.mu.Lock()
	delete(v.of, one.user)
	v.mu.Unlock()
}

// keep watches over a message. It reports false, and does nothing, when its
// recipient is not there: then it is given to nobody.
func (v *vigils) keep(w *watch) bool {
	if !v.srv.registry.present(w.m.To) {
		return false
	}
	grace := v.srv.cfg.grace
	w.due = time.Now().Add(grace)
	one := v.lock(w.m.To, true)
	defer v.unlock(one)
	one.bytes += w.size()
	devices := v.srv.registry.devices(w.m.To)
	for _, d := range devices { // it may have read it already
		if d.feed.has(w.seq) {
			w.add(d)
		}
	}
	if v.hurried() || v.known(w, devices) {
		v.hand(one, w)
		return true
	}
	i := len(one.watched) // seldom more than a few from its place
	for i > 0 && one.watched[i-1].seq > w.seq {
		i--
	}
	one.watched = slices.Insert(one.watched, i, w)
	for one.bytes-one.backlog > maxVigil && len(one.watched) > 0 {
		v.hand(one, one.watched[0])
		one.drop(0, 1)
	}
	if one.timer == nil && len(one.watched) > 0 {
		one.timer = time.AfterFunc(grace, func() { v.wake(one) })
	}
	return true
}

// wait returns when so much of what is for user was told that there is room for
// more, or when ctx ends: a slow hook slows senders down.
func (v *vigils) wait(ctx context.Context, user string) {
	one := v.lock(user, false)
	if one == nil {
		return
	}
	var eased chan struct{}
	if one.backlog > maxBacklog {
		if one.eased == nil {
			one.eased = make(chan struct{})
		}
		eased = one.eased
	}
	v.unlock(one)
	if eased == nil || ctx.Value(hookKey{}) != nil { // it would wait for itself
		return
	}
	select {
	case <-eased:
	case <-ctx.Done():
	}
}

// watchOverhead is what a watch takes besides the bytes of its message.
const watchOverhead = 256

func (w *watch) size() int {
	n := watchOverhead + len(w.m.ID) + len(w.m.Content) + len(w.m.SenderProfile)
	for _, a := range w.m.Attachments {
		n += len(a)
	}
	return n
}

func (w *watch) add(d *device) {
	if slices.Contains(w.given, d) {
		return
	}
	if w.given == nil {
		w.given = w.first[:0]
	}
	w.given = append(w.given, d)
}

// known reports whether nothing that the hooks want to know of w can change: all
// of devices, and there are some, have shown that they have it; or one, where
// AfterMessage does not ask for all.
func (v *vigils) known(w *watch, devices []*device) bool {
	switch {
	case len(w.given) == 0:
		return false
	case v.srv.cfg.hooks.AfterMessage == nil:
		return true
	}
	for _, d := range devices {
		if !slices.Contains(w.given, d) {
			return false
		}
	}
	return true
}

// drop takes the watched from i to k out. With mu.
func (one *vigil) drop(i, k int) { one.watched = slices.Delete(one.watched, i, k) }

// given takes note that d has what is behind from, up to to.
func (v *vigils) given(d *device, from, to uint64) {
	if !v.wanted() {
		return
	}
	one := v.lock(d.ChatPath, false)
	if one == nil {
		return
	}
	defer v.unlock(one)
	bySeq := func(w *watch, seq uint64) int { return cmp.Compare(w.seq, seq) }
	first, _ := slices.BinarySearchFunc(one.watched, from+1, bySeq)
	end, _ := slices.BinarySearchFunc(one.watched, to+1, bySeq)
	if first == end {
		return
	}
	devices := v.srv.registry.devices(d.ChatPath)
	rest := first
	for _, w := range one.watched[first:end] {
		if w.add(d); v.known(w, devices) {
			v.hand(one, w)
		} else {
			one.watched[rest] = w
			rest++
		}
	}
	one.drop(rest, end)
}

// hand hands one to the hooks. With mu.
func (v *vigils) hand(one *vigil, w *watch) {
	if v.srv.cfg.hooks.AfterMessage == nil && len(w.given) > 0 || // nobody wants to know
		!one.telling && !v.begin(true) { // or nobody has the time
		one.bytes -= w.size()
		return
	}
	one.ripe = append(one.ripe, w)
	one.backlog += w.size()
	if !one.telling {
		one.telling = true
		go func() {
			defer v.end()
			v.tell(one)
		}()
	}
}

// wake hands to the hooks what is due, and comes back for the rest: they become
// due in the order in which they came.
func (v *vigils) wake(one *vigil) {
	one.mu.Lock()
	defer v.unlock(one)
	if one.timer != nil {
		one.timer.Stop()
		one.timer = nil
	}
	now, due := time.Now(), 0
	for due < len(one.watched) && !now.Before(one.watched[due].due) {
		v.hand(one, one.watched[due])
		due++
	}
	one.drop(0, due)
	if len(one.watched) > 0 {
		one.timer = time.AfterFunc(one.watched[0].due.Sub(now), func() { v.wake(one) })
	}
}

// tell calls the hooks about one user's messages, one after the other, until the
// server has no time left.
func (v *vigils) tell(one *vigil) {
	for {
		one.mu.Lock()
		if v.srv.ctx.Err() != nil {
			one.bytes -= one.backlog
			one.ripe, one.backlog = nil, 0
		}
		if len(one.ripe) == 0 {
			one.telling = false
			v.unlock(one)
			return
		}
		w := one.ripe[0]
		one.ripe[0] = nil
		one.ripe = one.ripe[1:]
		one.mu.Unlock()
		v.srv.settled(w)
		one.mu.Lock()
		one.bytes -= w.size()
		one.backlog -= w.size()
		v.unlock(one) // telling, it is not forgotten
	}
}

// hurry has the hooks told about everything that is still being watched over, as it
// is, and of what comes later at once.
func (v *vigils) hurry() {
	v.mu.Lock()
	v.rush = true
	all := slices.Collect(maps.Values(v.of))
	v.mu.Unlock()
	for _, one := range all {
		one.mu.Lock()
		for _, w := range one.watched {
			w.due = time.Time{}
		}
		one.mu.Unlock()
		v.wake(one)
	}
}

// finish, after hurry, waits for the hooks, and for what is being sent: nothing more
// is. It reports false when the server had no time for all of that.
func (v *vigils) finish() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last = true
	for v.under > 0 {
		v.rest.Wait()
	}
	v.over = true
	return v.srv.ctx.Err() == nil
}

// settled tells the hooks what became of a message.
func (s *Server) settled(w *watch) {
	if h := s.cfg.hooks.OnUndelivered; h != nil && len(w.given) == 0 {
		s.hook("OnUndelivered", func() { h(s.hookCtx, w.m) })
	}
	s.afterMessage(w)
}

func (s *Server) afterMessage(w *watch) {
	if h := s.cfg.hooks.AfterMessage; h != nil {
		s.hook("AfterMessage", func() { h(s.hookCtx, w.m, Delivery{Status: w.status, Devices: hosts(w.given)}) })
	}
}

// hosts is devices as hosts see them.
func hosts(devices []*device) []Device {
	l := make([]Device, len(devices))
	for i, d := range devices {
		l[i] = d.seen()
	}
	return l
}
