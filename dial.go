package heymanito

import (
	"context"
	"time"

	"github.com/heymanito/heymanito/internal/socketio"
)

// attempt is an initiateCall being carried out.
type attempt struct {
	b       *switchboard
	d       *device
	e       *socketio.Event
	c       Call
	known   bool  // the caller may know whether the callee is there, and busy
	silent  bool  // the host has refused it silently
	asked   bool  // BeforeCall was called
	counted *ring // in the limits; nil: not yet
	created bool  // it is in the store: it counts, whatever becomes of it
}

// dial carries out an initiateCall whose shape and identity are right: it rings,
// is the same as one that rings already, or answers the callee, who is calling.
func (b *switchboard) dial(ctx context.Context, d *device, e *socketio.Event, c Call) (fields []byte, err *Error) {
	a := &attempt{b: b, d: d, e: e, c: c}
	defer func() {
		if a.counted != nil && !a.created {
			b.limits.giveBack(c.Caller, a.counted)
		}
	}()
	between, err := b.between(ctx, &a.c)
	if err != nil {
		return nil, err
	}
	if between == nil || between.State != CallRinging {
		if err = a.count(); err != nil {
			return nil, err
		}
	}
	if a.silent, err = b.srv.authorize(ctx, Action{Event: "initiateCall", From: c.Caller, To: c.Callee}); err != nil {
		return nil, err
	}
	if a.known, err = b.srv.known(ctx, c.Caller, c.Callee); err != nil {
		return nil, err
	}
	if a.silent {
		if fields, seems := b.seemToMerge(d, e, &a.c, between); seems {
			return fields, nil
		}
		a.c.Withheld = CallRefused
	}
	for range dialTries {
		if between, err = b.between(ctx, &a.c); err != nil {
			return nil, err
		}
		var again bool
		if between == nil {
			fields, again, err = a.place(ctx)
		} else {
			fields, again, err = a.dialInto(ctx, between)
		}
		if err != nil || !again {
			return fields, err
		}
	}
	return nil, Errorf(CodeUnavailable, "the call could not be placed, try again")
}

// count counts the attempt as a ring, once.
func (a *attempt) count() *Error {
	if a.counted != nil {
		return nil
	}
	counted, wait := a.b.limits.take(a.c.Caller, a.c.Callee, now())
	if wait > 0 {
		return &Error{Code: CodeRateLimited, Message: "too many calls in a minute", RetryAfter: wait}
	}
	a.counted = counted
	return nil
}

// place rings, where there is no call between the two. again: there is one by
// now.
func (a *attempt) place(ctx context.Context) (fields []byte, again bool, err *Error) {
	if err = a.count(); err != nil {
		return nil, false, err
	}
	if before := a.b.srv.cfg.hooks.BeforeCall; before != nil && !a.silent && !a.asked {
		a.asked = true
		told := a.c
		told.State = CallRinging
		told.Expires = told.Started.Add(a.b.srv.cfg.callTimes.Ring)
		began := time.Now()
		a.silent, err = verdict(before(ctx, told), CodeForbidden)
		a.b.srv.numbers.hooks.since("BeforeCall", began)
		if err != nil {
			return nil, false, err
		}
		if a.silent {
			a.c.Withheld = CallRefused
		}
	}
	return a.ring()
}

// dialTries is how often a dial looks again at what has changed under it.
const dialTries = 20

// between is the call that c would be another one of; nil if there is none.
func (b *switchboard) between(ctx context.Context, c *Call) (*Call, *Error) {
	calls, err := b.store.ByUser(ctx, c.Caller)
	if err != nil {
		return nil, asError(err, CodeUnavailable)
	}
	for i := range calls {
		o := &calls[i]
		switch {
		case o.State == CallEnded || o.other(c.Caller) != c.Callee:
		case o.State == CallRinging && !o.rings(now()): // the clock is about to end it
			if e := b.overdue(ctx, o.ID); e != nil {
				return nil, e
			}
		case o.Withheld == "" && c.Withheld == "", o.Withheld != "" && o.Caller == c.Caller:
			return o, nil
		}
	}
	return nil, nil
}

// dialInto dials where there is a call between the two. again: that one has
// changed, or will.
func (a *attempt) dialInto(ctx context.Context, between *Call) (fields []byte, again bool, err *Error) {
	var m *move
	var won answer
	switch {
	case between.State == CallDialling:
		return nil, true, a.b.await(ctx, between.ID)
	case between.State == CallActive:
		return nil, false, Errorf(CodeConflict, "the two are talking")
	case between.State == CallConnecting:
		m = &move{by: a.d, step: func(c *Call) *Error {
			if c.State != CallConnecting {
				return errStays
			}
			return c.replace(now())
		}}
	case between.Caller == a.c.Caller:
		m = &move{by: a.d, step: a.repeat}
	default:
		m = won.move(a.b.srv, a.d, a.e, &a.c)
	}
	c, err := a.b.change(ctx, between.ID, m)
	switch {
	case m.merging && err == nil:
		a.b.endOlder(a.d, won.act)
		return won.fields, false, nil
	case between.State == CallRinging && !m.merging && (err == nil || err == errStays):
		return append(c.appendExpires(c.fields(), now()), `,"duplicate":true`...), false, nil
	}
	return nil, true, passing(err)
}

// repeat is the step of a dial that rings already: the device that dials again
// is the one to be told of the answer, if the one that dialled is gone.
func (a *attempt) repeat(c *Call) *Error {
	if !c.rings(now()) {
		return Errorf(CodeConflict, "it rings no more")
	}
	if c.Dialler.among(a.b.srv.registry.devices(c.Caller)) != nil {
		return errStays
	}
	c.Dialler.SocketID, c.Dialler.DeviceID = a.d.SocketID, a.d.DeviceID
	return nil
}

// seemToMerge answers a dial that was refused silently, and would have answered
// the callee's.
func (b *switchboard) seemToMerge(d *device, e *socketio.Event, c, between *Call) (fields []byte, seems bool) {
	if between == nil || between.State != CallRinging || between.Caller == c.Caller {
		return nil, false
	}
	fields = append(between.appendExpires(between.fields(), now()), `,"merged":true`...)
	b.srv.answer(d, e, fields, nil)
	d.conn.Send(between.accepted(between.Caller, nil)...)
	return fields, true
}

// awaitPause is how long a dial waits for one of another server's.
const awaitPause = 20 * time.Millisecond

// await waits until a call that is being dialled has had its turn. On this
// server that is enough.
func (b *switchboard) await(ctx context.Context, id string) *Error {
	t, e := b.turn(ctx, id)
	if e != nil {
		return e
	}
	t.release()
	c, ok, err := b.store.Get(ctx, id)
	if err != nil {
		return asError(err, CodeUnavailable)
	}
	if ok && c.State == CallDialling {
		select {
		case <-time.After(awaitPause):
		case <-ctx.Done():
		}
	}
	return nil
}

// ring creates the call and lets it ring, if neither of the two has another one
// that is in the way. again: there is one between the two by now. What is begun
// is carried out, whether or not the client is still there.
func (a *attempt) ring() (fields []byte, again bool, err *Error) {
	b, ctx, act := a.b, a.b.srv.ctx, int64(0)
	t, err := b.turn(ctx, a.c.ID)
	if err != nil {
		return nil, false, err
	}
	defer func() {
		t.release()
		if act != 0 {
			b.endOlder(a.d, act)
		}
	}()
	a.c.Started = now() // whatever the host has thought about before
	a.c.Time = a.c.Started
	c, between, err := b.create(ctx, a.c)
	if err != nil || between != nil {
		return nil, between != nil, err
	}
	a.created = true
	refused := b.obstacle(ctx, &c)
	if refused == nil && a.known && !b.reachable(c.Callee) {
		refused = Errorf(CodeOffline, "the callee has no device connected")
	}
	if refused == nil || refused.Code == CodeBusy || refused.Code == CodeOffline {
		act = b.acts()
	}
	_, err = t.change(ctx, &move{
		by: a.d, dialling: true,
		step: func(now *Call) *Error {
			if now.State != CallDialling {
				return Errorf(CodeUnavailable, "the call could not be placed in time, try again")
			}
			now.begin(refused, a.known, b.srv.cfg.callTimes.Ring, act)
			return nil
		},
		answer: func(now Call) {
			if now.State == CallRinging {
				fields = now.appendExpires(now.fields(), now.Time)
				b.srv.answer(a.d, a.e, fields, nil) // before the callee's answer can come
			}
		},
	})
	switch {
	case err != nil:
		act = 0
	case fields == nil:
		err = refused
	}
	return fields, false, err
}

// begin is the first step of a call: it rings, or it is refused.
func (c *Call) begin(refused *Error, known bool, ring time.Duration, act int64) {
	at := now()
	switch {
	case refused == nil:
	case refused.Code == CodeBusy && !known:
		if c.Withheld == "" {
			c.Withheld = CallUnavailable
		}
	default:
		c.end(refusedReason(refused.Code), at)
		return
	}
	c.State, c.Started, c.Expires, c.Dialler.Act = CallRinging, at, at.Add(ring), act
}

// reachable reports whether there is anybody to be rung: a device, one that may
// be back in a moment, or the host's hook, which pushes to the phones.
func (b *switchboard) reachable(user string) bool {
	return b.srv.registry.present(user) || b.srv.cfg.hooks.OnRing != nil
}

// obstacle says why a call that is being dialled cannot ring. Of two that
// exclude each other the one that was created first rings: the other waits to
// see what becomes of it.
func (b *switchboard) obstacle(ctx context.Context, c *Call) *Error {
	for {
		mine, err := b.store.ByUser(ctx, c.Caller)
		var theirs []Call
		if err == nil {
			theirs, err = b.store.ByUser(ctx, c.Callee)
		}
		if err != nil {
			return asError(err, CodeUnavailable)
		}
		var earlier *Call
		for i := range mine {
			switch o := &mine[i]; {
			case o.ID == c.ID:
			case o.State == CallActive:
				return Errorf(CodeConflict, "the caller is in a call")
			case o.State == CallDialling && o.Order < c.Order && o.Caller == c.Caller:
				earlier = o
			}
		}
		busy := false
		for i := range theirs {
			o := &theirs[i]
			if asCaller, asCallee := o.has(c.Callee); o.ID == c.ID || !asCaller && !asCallee {
				continue
			}
			switch {
			case o.rings(now()) && o.other(c.Callee) != c.Caller, o.State == CallActive:
				busy = true
			case o.State == CallDialling && o.Order < c.Order:
				earlier = o
			}
		}
		switch {
		case busy:
			return Errorf(CodeBusy, "the callee rings, or talks with someone else")
		case earlier == nil:
			return nil
		}
		if e := b.await(ctx, earlier.ID); e != nil {
			return e
		}
	}
}
