package heymanito

import (
	"slices"
	"sync"
	"time"
)

// ringLimits counts the rings of the last minute, so that nobody lets a phone
// ring without end.
type ringLimits struct {
	perPair, perCaller int

	mu      sync.Mutex // guards callers
	callers map[string][]*ring
}

type ring struct {
	callee string
	at     time.Time
}

const ringWindow = time.Minute

// take counts a ring, or returns how long it takes until there may be another.
func (l *ringLimits) take(caller, callee string, at time.Time) (taken *ring, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.callers == nil {
		l.callers = map[string][]*ring{}
	}
	recent := l.recent(caller, at)
	var toHim []*ring
	for _, r := range recent {
		if r.callee == callee {
			toHim = append(toHim, r)
		}
	}
	over := func(rings []*ring, limit int) {
		if len(rings) >= limit {
			wait = max(wait, ringWindow-at.Sub(rings[len(rings)-limit].at))
		}
	}
	over(recent, l.perCaller)
	over(toHim, l.perPair)
	if wait == 0 {
		taken = &ring{callee, at}
		recent = append(recent, taken)
	}
	l.callers[caller] = recent
	// Each ring makes room for others': nobody who calls no more is remembered
	// for ever.
	looked := 0
	for other := range l.callers {
		if other != caller {
			l.keep(other, l.recent(other, at))
		}
		if looked++; looked > 2 {
			break
		}
	}
	return taken, wait
}

// giveBack forgets a ring that was taken and came to nothing.
func (l *ringLimits) giveBack(caller string, taken *ring) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rings := l.callers[caller]
	if i := slices.Index(rings, taken); i >= 0 {
		l.keep(caller, slices.Delete(rings, i, i+1))
	}
}

// forget forgets the rings of a user, and those at his devices.
func (l *ringLimits) forget(user string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.callers, user)
	for caller, rings := range l.callers {
		l.keep(caller, slices.DeleteFunc(rings, func(r *ring) bool { return r.callee == user }))
	}
}

// keep keeps what is left of a caller's rings; of one who has none, nothing. With mu.
func (l *ringLimits) keep(caller string, rest []*ring) {
	if len(rest) == 0 {
		delete(l.callers, caller)
	} else {
		l.callers[caller] = rest
	}
}

// recent returns the rings of a caller that count. With mu.
func (l *ringLimits) recent(caller string, at time.Time) []*ring {
	rings := l.callers[caller]
	for len(rings) > 0 && at.Sub(rings[0].at) >= ringWindow {
		rings = rings[1:]
	}
	return rings
}
