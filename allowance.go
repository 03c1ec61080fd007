package heymanito

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

// Rate bounds how many events are handled. The zero Rate bounds nothing.
type Rate struct {
	PerSecond float64 // in the long run
	Burst     int     // at once, after a time without any
}

// allowance is how many events a device may send. What comes faster is read more
// slowly at first, so that a client with a backlog loses nothing; whoever goes on
// like that is refused, until he has paused. Refusals are slow as well: they are
// not to cost the others anything. Only the device's reading goroutine touches it.
type allowance struct {
	device, user *rate.Limiter // nil: no bound
	slowed       time.Time     // since when reading is slow; zero: it is not
	refused      time.Time     // when an event was refused because it was slow for too long; zero: none is
	pace         *rate.Limiter // of refusals
	refusal      *Error        // of the event under way
}

const (
	// patience is for how long a client is read slowly before it is refused.
	patience = 10 * time.Second
	// longestWait is how long one event may have to wait: meanwhile nothing else
	// of the client is read, not even that it is alive, or has gone.
	longestWait = time.Second
	// pause is for how long a client that is refused has to send nothing.
	pause = time.Second
	// refusals is how many events a second are refused of one device.
	refusals = 1000
)

func (r Rate) limiter() *rate.Limiter {
	if r.PerSecond == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(r.PerSecond), r.Burst)
}

// charge takes an event of d off what it may send, and waits where it comes too
// soon. Whether it is to be refused d.within says, when it is its turn.
func (s *Server) charge(ctx context.Context, d *device) {
	if s.cfg.deviceRate.PerSecond == 0 && s.cfg.userRate.PerSecond == 0 {
		return
	}
	a := d.allowance
	if a == nil {
		a = &allowance{device: s.cfg.deviceRate.limiter(), user: s.registry.limiter(d.ChatPath)}
		d.allowance = a
	}
	a.refusal = nil
	at := time.Now()
	switch {
	case a.slowed.IsZero():
	case !a.refused.IsZero() && at.Sub(a.refused) < pause:
		a.refuse(ctx, at)
		return
	case !a.refused.IsZero(), a.isFull(at):
		a.slowed, a.refused = time.Time{}, time.Time{}
	case at.Sub(a.slowed) > patience:
		a.pace = rate.NewLimiter(refusals, refusals/10)
		a.refuse(ctx, at)
		s.log.Warn("a device sends too much, its events are refused until it pauses", "user", d.ChatPath, "socket", d.SocketID)
		return
	}
	wait := a.take(at)
	switch {
	case wait == 0:
		return
	case wait > longestWait:
		a.refusal = &Error{Code: CodeRateLimited, RetryAfter: wait}
		return
	}
	if a.slowed.IsZero() {
		a.slowed = at
	}
	sleep(ctx, wait)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// refuse refuses the event under way.
func (a *allowance) refuse(ctx context.Context, at time.Time) {
	sleep(ctx, a.pace.ReserveN(at, 1).DelayFrom(at))
	a.refused = time.Now()
	a.refusal = &Error{Code: CodeRateLimited, RetryAfter: pause}
}

// within returns an Error when the event under way is beyond what its device may
// send.
func (d *device) within() *Error {
	if d.allowance == nil {
		return nil
	}
	return d.allowance.refusal
}

// take takes one event off both, and returns how long it has to wait for that. If
// that is longer than longestWait, the event is not handled and what was reserved
// for it is given back; but not what one of the two had at once, since a token that
// AllowN has taken cannot be returned. AllowN is asked first because ReserveN
// allocates, and nearly every event need not wait.
func (a *allowance) take(at time.Time) time.Duration {
	var taken [2]*rate.Reservation
	var wait time.Duration
	for i, l := range []*rate.Limiter{a.device, a.user} {
		if l == nil {
			continue
		}
		if l.AllowN(at, 1) {
			continue
		}
		taken[i] = l.ReserveN(at, 1)
		wait = max(wait, taken[i].DelayFrom(at))
	}
	if wait > longestWait {
		for _, r := range taken {
			if r != nil {
				r.CancelAt(at)
			}
		}
	}
	return wait
}

// isFull reports whether both have their whole burst again.
func (a *allowance) isFull(at time.Time) bool {
	for _, l := range []*rate.Limiter{a.device, a.user} {
		if l != nil && l.TokensAt(at) < float64(l.Burst()) {
			return false
		}
	}
	return true
}
