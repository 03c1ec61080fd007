package heymanito

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// switchboard owns the calls: whatever changes one goes through it. The store
// decides who changes a call; the switchboard makes the one that did tell of it,
// in the order of the changes.
type switchboard struct {
	srv      *Server
	store    CallStore
	limits   ringLimits
	stopping chan struct{} // closed with closing

	mu      sync.Mutex // guards the rest
	lines   map[string]*line
	clock   callClock
	act     int64          // the last CallDevice.Act
	working sync.WaitGroup // whatever changes calls and is no event; Add only with mu and not closing
	closing bool
	telling sync.WaitGroup // of the hooks; Add only with mu and not closed
	closed  bool
}

func newSwitchboard(s *Server) *switchboard {
	return &switchboard{
		clock: callClock{room: make(chan struct{}, dueAtOnce)},
		srv:   s, store: callGuard{s, s.cfg.calls}, lines: map[string]*line{}, stopping: make(chan struct{}),
		limits: ringLimits{perPair: s.cfg.ringsPerPair, perCaller: s.cfg.ringsPerCaller},
	}
}

// work does something about calls for which no client waits, and reports whether
// it will be done: not when the server stops.
func (b *switchboard) work(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closing {
		b.working.Go(func() { b.srv.background("in the background", f) })
	}
	return !b.closing
}

// later has a hook called about a call, after those that are waiting. Nobody
// waits for it.
func (b *switchboard) later(id string, hook func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	l := b.line(id)
	l.hooks = append(l.hooks, hook)
	if !l.calls {
		l.calls = true
		b.telling.Go(func() { b.call(id, l) })
	}
}

// beside is later for what the hooks of the call need not wait for.
func (b *switchboard) beside(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.telling.Go(f)
	}
}

// call calls the hooks of a line.
func (b *switchboard) call(id string, l *line) {
	for {
		b.mu.Lock()
		if len(l.hooks) == 0 {
			l.calls = false
			b.discard(id, l)
			b.mu.Unlock()
			return
		}
		f := l.hooks[0]
		l.hooks[0] = nil
		l.hooks = l.hooks[1:]
		b.mu.Unlock()
		f()
	}
}

// stop ends the clock, and waits for what is being changed and then for the
// hooks; it reports whether they came to their end by themselves. The calls stay
// in the store.
func (b *switchboard) stop() bool {
	b.mu.Lock()
	if !b.closing {
		close(b.stopping)
	}
	b.closing = true
	if b.clock.timer != nil {
		b.clock.timer.Stop()
	}
	b.mu.Unlock()
	b.working.Wait()
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.telling.Wait()
	return b.srv.ctx.Err() == nil
}

// acts returns the next CallDevice.Act. It goes by the clock, for the sake of
// other servers.
func (b *switchboard) acts() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.act = max(b.act+1, time.Now().UnixNano())
	return b.act
}

// change moves a call on, and tells those whom that concerns. It returns the
// call as it is then; with an error of the step's, as it was.
func (b *switchboard) change(ctx context.Context, id string, m *move) (Call, *Error) {
	t, e := b.turn(ctx, id)
	if e != nil {
		return Call{}, e
	}
	defer t.release()
	return t.change(ctx, m)
}

// lookForDevices takes back what was noted when a side's last device went, and
// reports whether there was anything.
func (b *switchboard) lookForDevices(c *Call) (back bool) {
	take := func(when *time.Time) {
		back = back || !when.IsZero()
		*when = time.Time{}
	}
	for _, user := range []string{c.Caller, c.Callee} {
		if len(b.srv.registry.devices(user)) == 0 {
			continue
		}
		take(&c.Deserted)
		if user == c.Caller {
			take(&c.CallerGone)
		}
		if !c.watched(user) {
			take(c.left(user))
		}
	}
	return back
}

// left takes note that the last device of a user has gone.
func (b *switchboard) left(user string, goodbye bool) {
	for {
		err := b.leftOnce(user, goodbye)
		if err == nil || b.srv.ctx.Err() != nil || len(b.srv.registry.devices(user)) > 0 {
			return
		}
		b.complain(err)
		select {
		case <-time.After(storeRetry):
		case <-b.stopping:
			return
		}
	}
}

func (b *switchboard) leftOnce(user string, goodbye bool) (err error) {
	calls, err := b.store.ByUser(b.srv.ctx, user)
	for i := range calls {
		if calls[i].State == CallEnded {
			continue
		}
		_, e := b.change(b.srv.ctx, calls[i].ID, &move{step: func(c *Call) *Error {
			if len(b.srv.registry.devices(user)) > 0 {
				return errStays
			}
			return b.without(c, user, goodbye)
		}})
		err = orError(err, passing(e))
	}
	return err
}

// without is the step of a call one side of which has no device any more.
func (b *switchboard) without(c *Call, user string, goodbye bool) *Error {
	times := &b.srv.cfg.callTimes
	switch {
	case c.State == CallRinging && user == c.Caller && goodbye:
		return c.cancel(CallCallerGone, now())
	case c.State == CallRinging && user == c.Caller:
		c.CallerGone = now().Add(times.CallerReturn)
	case !c.answered() || !c.Live():
		return errStays
	default:
		return c.absent(user, len(b.srv.registry.devices(c.other(user))) == 0, now().Add(times.absence()))
	}
	return nil
}

// find returns the calls between caller and callee that an event of user's may
// mean, the likeliest first: the one with this id; without one, those of that
// room, or all if there are none, the newest first.
func (b *switchboard) find(ctx context.Context, user, caller, id, room string) ([]Call, *Error) {
	all, err := b.store.ByUser(ctx, user)
	if err != nil {
		return nil, asError(err, CodeUnavailable)
	}
	slices.Reverse(all)
	at := now()
	all = keep(all, func(c *Call) bool {
		asCaller, asCallee := c.has(user)
		return (asCaller || asCallee) && !c.Expires.IsZero() && // or it never rang
			!c.forgotten(&b.srv.cfg.callTimes, at) &&
			(caller == "" || c.Caller == caller) && (id == "" || c.ID == id)
	})
	if id == "" && room != "" && slices.ContainsFunc(all, func(c Call) bool { return c.Room == room }) {
		all = keep(all, func(c *Call) bool { return c.Room == room })
	}
	return all, nil
}

// keep leaves in calls, which are not needed any more, those that are so.
func keep(calls []Call, is func(*Call) bool) []Call {
	n := 0
	for i := range calls {
		if is(&calls[i]) {
			calls[n] = calls[i]
			n++
		}
	}
	return calls[:n]
}

// moveOne changes the first of the calls that an event may mean which is in a
// state that allows it. A silent change only seems to be made.
func (b *switchboard) moveOne(ctx context.Context, calls []Call, silent bool, m *move) (Call, *Error) {
	var first *Error
	for i := range calls {
		c := calls[i]
		var e *Error
		if silent {
			e = m.step(&c)
		} else {
			c, e = b.change(ctx, c.ID, m)
		}
		if e == nil {
			return c, nil
		}
		if e.Code == CodeUnavailable || e.Code == CodeInternal {
			return Call{}, e
		}
		if first == nil { // of the one that it would have been
			first = e
		}
	}
	if first == nil {
		first = errNoCall
	}
	return Call{}, first
}

// create adds a call, unless there is one between the two: then it returns that.
func (b *switchboard) create(ctx context.Context, c Call) (created Call, inTheWay *Call, e *Error) {
	c.plan(&b.srv.cfg.callTimes)
	got, err := b.store.Create(ctx, c)
	switch {
	case errors.Is(err, ErrCallExists) && got.ID == c.ID: // the store's client has asked twice
	case errors.Is(err, ErrCallExists):
		return Call{}, &got, nil
	case err != nil: // it may be there all the same
		b.schedule(c)
		again, ok, lost := b.store.Get(ctx, c.ID)
		if lost != nil || !ok {
			return Call{}, nil, asError(err, CodeUnavailable)
		}
		again.CallerInfo, again.Attachments = c.CallerInfo, c.Attachments
		return again, nil, nil
	}
	b.schedule(got)
	return got, nil, nil
}

// endOlder ends what the user of d has begun and has not gone on with, now that
// there is something newer: of his dials that ring, and his answers without a
// sign of life, only the latest is left, whoever looks. act is what d has just
// done, which may have come to nothing.
func (b *switchboard) endOlder(d *device, act int64) {
	user := d.ChatPath
	calls, err := b.store.ByUser(b.srv.ctx, user)
	last, by := act, d
	for i := range calls {
		if a := calls[i].act(user); a.Act > last {
			last, by = a.Act, nil // somebody else's: all of his devices are told
		}
	}
	for i := range calls {
		older := func(c *Call) bool { a := c.act(user).Act; return a != 0 && a < last }
		if !older(&calls[i]) {
			continue
		}
		_, e := b.change(b.srv.ctx, calls[i].ID, &move{by: by, step: func(c *Call) *Error {
			if !older(c) {
				return errStays
			}
			return c.replace(now())
		}})
		err = orError(err, passing(e))
	}
	if err != nil && b.srv.ctx.Err() == nil {
		b.srv.log.Error("the call store failed: a call goes on that another has replaced", "user", user, "err", err)
	}
}

func orError(err error, e *Error) error {
	if err == nil && e != nil {
		return e
	}
	return err
}
