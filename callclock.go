package heymanito

import (
	"context"
	"time"
)

// callClock looks at calls when their time has come. The switchboard's mu
// guards it.
type callClock struct {
	begun      bool          // there has been a connection
	timer      *time.Timer   // until a call is due
	next       time.Time     // when it fires; zero: it does not
	complained time.Time     // when it was last logged that calls cannot be looked at
	room       chan struct{} // for those that are being looked at
}

const (
	// duePage is how many calls are looked at before the store is asked for more.
	duePage = 100
	// dueAtOnce is how many of them at a time.
	dueAtOnce = 16
	// lookEvery is how often the store is asked at least: calls of a server that
	// has died are nobody's.
	lookEvery = 10 * time.Second
	// complainEvery is how often it is logged that a call cannot be looked at.
	complainEvery = time.Minute
)

// begin starts the clock.
func (b *switchboard) begin() {
	b.mu.Lock()
	begun := b.clock.begun
	b.clock.begun = true
	b.mu.Unlock()
	if !begun {
		b.wakeAt(now())
	}
}

// schedule sees to it that a call is looked at when it is due.
func (b *switchboard) schedule(c Call) {
	if c.State != CallEnded {
		b.wakeAt(c.Due)
	}
}

func (b *switchboard) wakeAt(at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := &b.clock
	if b.closing || at.IsZero() || !k.next.IsZero() && !at.Before(k.next) {
		return
	}
	if k.timer != nil {
		k.timer.Stop()
	}
	k.next = at
	k.timer = time.AfterFunc(time.Until(at), func() { b.work(b.wake) })
}

// wake looks at the calls that are due. One that cannot be looked at, or hangs,
// keeps no other from it.
func (b *switchboard) wake() {
	b.mu.Lock()
	b.clock.next = time.Time{}
	b.mu.Unlock()
	for seen := map[string]bool{}; ; {
		limit := duePage + len(seen)
		due, next, err := b.store.Due(b.srv.ctx, now(), limit)
		if err != nil {
			b.complain(err)
			b.wakeAt(now().Add(storeRetry))
			return
		}
		news := false
		for i := range due {
			if id := due[i].ID; !seen[id] {
				news, seen[id] = true, true
				b.startLook(id)
			}
		}
		if !news || len(due) < limit {
			again := now().Add(lookEvery)
			if !next.IsZero() && next.Before(again) {
				again = next
			}
			b.wakeAt(again)
			return
		}
	}
}

// startLook looks at a call beside the others.
func (b *switchboard) startLook(id string) {
	b.clock.room <- struct{}{}
	done := func() { <-b.clock.room }
	if !b.work(func() { defer done(); b.look(id) }) {
		done()
	}
}

// complain logs that calls cannot be looked at, once in a while.
func (b *switchboard) complain(err error) {
	b.mu.Lock()
	again := time.Since(b.clock.complained) >= complainEvery
	if again {
		b.clock.complained = time.Now()
	}
	b.mu.Unlock()
	if again && b.srv.ctx.Err() == nil {
		b.srv.log.Error("the call store failed, trying again: calls end late", "err", err)
	}
}

// look is overdue where nobody waits for it. If somebody has the turn, he who
// looks at a call that hangs for one, it is looked at after that.
func (b *switchboard) look(id string) {
	t, ok := b.tryTurn(id)
	if !ok {
		return
	}
	defer t.release()
	if e := t.overdue(b.srv.ctx); e != nil {
		b.complain(e)
		b.wakeAt(now().Add(storeRetry))
	}
}

// overdue ends a call whose time has come, or puts it off.
func (b *switchboard) overdue(ctx context.Context, id string) *Error {
	t, e := b.turn(ctx, id)
	if e != nil {
		return e
	}
	defer t.release()
	return t.overdue(ctx)
}

func (t *turn) overdue(ctx context.Context) *Error {
	_, e := t.change(ctx, &move{step: func(c *Call) *Error {
		if c.State == CallEnded {
			return errStays
		}
		due := c.Due
		seen := t.b.lookForDevices(c)
		if c.overdue(&t.b.srv.cfg.callTimes, now()) || seen {
			return nil
		}
		if c.plan(&t.b.srv.cfg.callTimes); c.Due.Equal(due) {
			return errStays
		}
		return nil
	}})
	return passing(e)
}
