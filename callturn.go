package heymanito

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// line is what this server is doing about one call.
type line struct {
	// turn is held by whoever changes the call, until those whom that concerns
	// are told: they hear of the changes in their order.
	turn   chan struct{}
	doubts []*doubtful // of the same Version: at most one of them is made; the turn's holder's
	// What follows the switchboard's mu guards.
	users int      // that hold the turn or wait for it
	look  bool     // the call was due while somebody had the turn
	hooks []func() // to be called, in this order
	calls bool     // a goroutine calls them
}

// doubtful is a change that the store has failed to answer: it may have been
// made all the same, or may yet be.
type doubtful struct {
	was, c Call
	m      move
	until  time.Time // when it is too late for that
}

// turn is the right to change one call.
type turn struct {
	b    *switchboard
	id   string
	line *line
}

// turn waits for the turn of a call. Whoever holds one waits for no other, but
// for a dial, which waits for those of calls that were created before its own.
func (b *switchboard) turn(ctx context.Context, id string) (*turn, *Error) {
	t := b.enter(id)
	select {
	case t.line.turn <- struct{}{}:
		return t, nil
	case <-ctx.Done():
		t.leave()
		return nil, &Error{Code: CodeUnavailable, Err: ctx.Err()}
	}
}

// tryTurn is turn without waiting. If somebody else has it the call is looked at
// when he has given it up.
func (b *switchboard) tryTurn(id string) (t *turn, ok bool) {
	t = b.enter(id)
	select {
	case t.line.turn <- struct{}{}:
		return t, true
	default:
	}
	b.mu.Lock()
	t.line.look = true
	b.mu.Unlock()
	select { // he may have given it up before he could see that
	case t.line.turn <- struct{}{}:
		return t, true
	default:
		t.leave()
		return nil, false
	}
}

func (b *switchboard) enter(id string) *turn {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.line(id)
	l.users++
	return &turn{b, id, l}
}

func (t *turn) leave() {
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	t.line.users--
	t.b.discard(t.id, t.line)
}

// release gives up the turn.
func (t *turn) release() {
	<-t.line.turn
	t.b.mu.Lock()
	look := t.line.look
	t.line.look = false
	t.b.mu.Unlock()
	t.leave()
	if look {
		t.b.work(func() { t.b.look(t.id) })
	}
}

func (b *switchboard) line(id string) *line { // with mu
	l := b.lines[id]
	if l == nil {
		l = &line{turn: make(chan struct{}, 1)}
		b.lines[id] = l
	}
	return l
}

func (b *switchboard) discard(id string, l *line) { // with mu
	if l.users == 0 && !l.calls && len(l.doubts) == 0 {
		delete(b.lines, id)
	}
}

// move is a change of a call being carried out.
type move struct {
	by        *device    // whose event it is; nil: nobody's
	step      callStep   // makes the change
	answer    func(Call) // the event's answer, before anybody is told; may be nil
	rejecting bool       // the caller is told with callRejected although the call was answered: S has no other hang-up
	merging   bool       // by has called the caller back
	dialling  bool       // it is a dial's, which was answered by the event or has failed
}

// callStep changes a call; with an Error it changes nothing.
type callStep func(c *Call) *Error

var errNoCall = Errorf(CodeNotFound, "there is no such call to this user")

// errStays is a step's that has nothing to change.
var errStays = Errorf(CodeConflict, "the call stays as it is")

// passing is err, unless it says that the call has changed meanwhile.
func passing(err *Error) *Error {
	if err != nil && (err.Code == CodeConflict || err.Code == CodeNotFound) {
		return nil
	}
	return err
}

// call returns the call as it is, when those whom its last change concerns have
// been told.
func (t *turn) call(ctx context.Context) (Call, *Error) {
	c, ok, err := t.b.store.Get(ctx, t.id)
	if err != nil {
		return Call{}, asError(err, CodeUnavailable)
	}
	if d := t.settle(&c, ok); d != nil {
		if e := t.resolve(d); e != nil {
			return Call{}, e
		}
		return t.call(ctx)
	}
	if !ok {
		return Call{}, errNoCall
	}
	return c, nil
}

// settle returns the doubtful change that was made, now that the store has
// answered c, and gives up what cannot be made any more.
func (t *turn) settle(c *Call, ok bool) *doubtful {
	for _, d := range t.line.doubts {
		if d.made(c, ok) {
			t.line.doubts = nil
			return d
		}
	}
	t.line.doubts = slices.DeleteFunc(t.line.doubts, func(d *doubtful) bool {
		return c.Version != d.was.Version || time.Now().After(d.until)
	})
	return nil
}

// made reports whether the change was made, now that the store has answered; ok:
// the call is there. It may have gone on from there, at another server, or be
// forgotten.
func (d *doubtful) made(c *Call, ok bool) bool {
	switch {
	case ok && c.Change == d.c.Change:
		return true
	case d.c.State == CallEnded:
		return !ok || c.State == CallEnded
	case d.c.State == CallConnecting && d.was.State == CallRinging:
		return c.Answerer.Act == d.c.Answerer.Act
	}
	return false
}

// resolve carries on with a change that was made, as is known only now.
func (t *turn) resolve(d *doubtful) *Error {
	m := d.m
	m.answer = nil // the event was answered without it
	if m.dialling && d.c.State == CallRinging {
		return t.unring()
	}
	if d.c.State == CallEnded {
		m.by = nil // who does not know that he has ended it
	}
	t.made(&d.was, &d.c, d.c, &m)
	if m.by != nil && d.c.State == CallConnecting {
		t.b.work(func() { t.b.endOlder(m.by, d.c.Answerer.Act) })
	}
	return nil
}

// unring ends a call of which nobody has heard but its caller, who was told that
// it does not ring.
func (t *turn) unring() *Error {
	_, e := t.change(t.b.srv.ctx, &move{dialling: true, step: func(c *Call) *Error {
		if c.State != CallRinging {
			return errStays
		}
		c.end(CallFailed, now())
		c.Owed, c.Expires = "", time.Time{} // as one that never rang
		return nil
	}})
	return passing(e)
}

// change moves the call on, and tells those whom that concerns. It returns the
// call as it is then; with an error of the step's, as it was.
func (t *turn) change(ctx context.Context, m *move) (Call, *Error) {
	c, e := t.call(ctx)
	for {
		if e != nil {
			return Call{}, e
		}
		was := c
		if e := m.step(&c); e != nil {
			return was, e
		}
		if c.State != was.State {
			c.Time = now()
		}
		if m.rejecting {
			c.Owed = CallOwesEnd
		}
		c.Change = rand.Uint64()
		c.plan(&t.b.srv.cfg.callTimes)
		// What is begun is carried out, whether or not the client is still there.
		swapped, ok, err := t.b.store.CompareAndSwap(t.b.srv.ctx, c)
		switch {
		case err != nil:
			return t.inDoubt(&was, &c, m, err)
		case ok:
			return t.made(&was, &c, swapped, m), nil
		}
		c, e = t.call(t.b.srv.ctx) // somebody was quicker, or what was in doubt
	}
}

// made tells of a change that the store has made: c is what it was given, and
// got what it has. It returns that, with what the store may have dropped.
func (t *turn) made(was, c *Call, got Call, m *move) Call {
	t.line.doubts = nil // from that Version there is no other change
	t.b.schedule(got)
	if got.State == CallEnded && was.State != CallEnded {
		t.b.srv.numbers.ended.add(string(got.Reason))
	}
	got.CallerInfo, got.Attachments = c.CallerInfo, c.Attachments
	if m.answer != nil {
		m.answer(got)
	}
	t.b.tell(was, &got, m)
	return got
}

// inDoubt looks whether a change that the store has failed to answer was made;
// if that is not sure, it is found out later.
func (t *turn) inDoubt(was, c *Call, m *move, failed error) (Call, *Error) {
	d := &doubtful{*was, *c, *m, time.Now().Add(doubtTimeout)}
	got, ok, err := t.b.store.Get(t.b.srv.ctx, t.id)
	if err == nil && ok && got.Change == c.Change {
		return t.made(was, c, got, m), nil
	}
	if err != nil || d.made(&got, ok) || ok && got.Version == was.Version { // it may be on its way still
		t.line.doubts = append(t.line.doubts, d)
		t.b.schedule(*c)
		t.b.work(func() { t.b.findOut(t.id) })
	}
	return Call{}, asError(failed, CodeUnavailable)
}

// doubtTimeout is for how long a change that the store has given up may yet be
// made.
const doubtTimeout = 2 * storeTimeout

// findOut asks the store what has become of a change until that is sure, or the
// server stops.
func (b *switchboard) findOut(id string) {
	for known, last := false, false; !known && !last; {
		select {
		case <-time.After(storeRetry):
		case <-b.stopping:
			last = true
		}
		t, e := b.turn(b.srv.ctx, id)
		if e != nil {
			return
		}
		if t.line.doubts != nil {
			_, _ = t.call(b.srv.ctx) // an error leaves the doubt
		}
		known = len(t.line.doubts) == 0
		t.release()
	}
}
