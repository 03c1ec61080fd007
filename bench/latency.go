//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// pace is when messages are due, whatever has become of those before: users
// write in turns, one every gap. Who hears his n-th message knows when that was.
type pace struct {
	began   time.Time
	gap     time.Duration
	seats   int // in a turn, taken or not
	missing atomic.Int64
	done    chan struct{}
	took    [][]time.Duration // by seat, from when it was due until it was heard
	late    []time.Duration   // from when it was due until it was written
}

// arrived is a message that a has heard, from his partner.
func (p *pace) arrived(a *talker) {
	due := p.due(a.heard*p.seats + (a.seat ^ 1))
	a.heard++
	p.took[a.seat] = append(p.took[a.seat], time.Since(due))
	p.got()
}

func (p *pace) due(n int) time.Time { return p.began.Add(time.Duration(n) * p.gap) }

func (p *pace) got() {
	if p.missing.Add(-1) == 0 {
		close(p.done)
	}
}

// hold lets the users write at a rate, that of all seats together, while it
// lasts, and returns how long the messages took, and how late they were written,
// both sorted. also is called for the seats that nobody of the talk sits on; it may
// be nil.
func (k *talk) hold(ctx context.Context, rate float64, lasts time.Duration, seats int, also func(seat int)) (took, late []time.Duration, err error) {
	gap := time.Duration(float64(time.Second) / rate)
	p := &pace{gap: gap, seats: seats, done: make(chan struct{}), took: make([][]time.Duration, seats)}
	bySeat := make([]*talker, seats)
	for _, a := range k.all {
		a.heard = 0
		bySeat[a.seat] = a
		p.took[a.seat] = make([]time.Duration, 0, int(lasts/gap)/seats+1)
	}
	turns := max(int(lasts/gap)/seats, 1)
	p.began = time.Now().Add(time.Millisecond)
	p.missing.Store(1) // until all are sent
	k.pace.Store(p)
	defer k.pace.Store(nil)
	if err := p.write(ctx, turns, bySeat, also); err != nil {
		return nil, nil, err
	}
	p.got()
	if err := k.wait(ctx, p.done); err != nil {
		return nil, nil, err
	}
	took = slices.Concat(p.took...)
	slices.Sort(took)
	slices.Sort(p.late)
	return took, p.late, nil
}

// write writes every message when it is due, from a thread of its own: the timers
// of the runtime are a millisecond late.
func (p *pace) write(ctx context.Context, turns int, bySeat []*talker, also func(seat int)) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // without it they are 50 µs late
	for n := range turns * p.seats {
		for left := time.Until(p.due(n)); left > 0; left = time.Until(p.due(n)) {
			nap := unix.NsecToTimespec(int64(left))
			_ = unix.Nanosleep(&nap, nil) // woken early, it goes to sleep again
		}
		if n%p.seats == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		switch a := bySeat[n%p.seats]; {
		case a != nil:
			p.missing.Add(2) // the message and its ack
			p.late = append(p.late, time.Since(p.due(n)))
			if _, err := a.nc.Write(a.letter.next()); err != nil {
				return err
			}
		case also != nil:
			also(n % p.seats)
		}
	}
	return nil
}

// rates is how fast the slowest of the peers can be: found once, by those loads
// that have a pace, which is half of it.
type rates struct{ slowest float64 }

var errNoRate = errors.New("no pace can be found without the rate of every peer")

// half is half the rate of the slowest peer.
func (r *rates) half(ctx context.Context, s *subject, size scale) (float64, error) {
	if r.slowest > 0 {
		return r.slowest / 2, nil
	}
	slowest := math.Inf(1)
	for _, name := range s.among {
		probe := *s
		probe.name = name
		f, err := relayLoad("pace", "example", nil, false, size, 100).run(ctx, &probe)
		if err != nil {
			return 0, fmt.Errorf("%w: %s: %w", errNoRate, name, err)
		}
		slowest = min(slowest, f[figRate])
	}
	r.slowest = slowest
	return slowest / 2, nil
}

const (
	figHalf = "pace"
	figP50  = "p50"
	figP99  = "p99"
	figP999 = "p99.9"
	figLate = "p99 of how late the client wrote" // it is part of the others
)

func microseconds(sorted []time.Duration, q float64) float64 {
	return quantile(sorted, q).Seconds() * 1e6
}

// paced has measure called with a server of that kind which is warm, the users who
// are to talk on it, from the one called first on, and the rate at which they are to.
func (s scale) paced(ctx context.Context, sub *subject, how serve, first int, measure func(*peer, *talk, float64) (figures, error)) (figures, error) {
	rate, err := sub.rates.half(ctx, sub, s)
	if err != nil {
		return nil, err
	}
	p, err := sub.start(ctx, how)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	k, err := chatters(ctx, p.target, first, s.talkers, 100)
	if err != nil {
		return nil, err
	}
	defer k.close()
	if err := k.say(ctx, s.warm, 1); err != nil {
		return nil, fmt.Errorf("warming up: %w", err)
	}
	return measure(p, k, rate)
}

// latencyLoad is how long messages take when they come at a steady pace.
func latencyLoad(s scale) load {
	return load{
		name: "latency", server: "example", peers: []string{ours, node, bare},
		about: fmt.Sprintf("%d users in pairs write at half the rate that the slowest peer is capable of, for %v; "+
			"from when a message is due until it is received", s.talkers, s.open),
		figures: []figure{
			{name: figHalf, unit: "1/s"},
			{name: figP50, unit: "µs"},
			{name: figP99, unit: "µs", demands: []demand{{node, 1}}},
			{name: figP999, unit: "µs"},
			{name: figLate, unit: "µs"},
		},
		run: func(ctx context.Context, sub *subject) (figures, error) {
			return s.paced(ctx, sub, serve{}, 0, func(_ *peer, k *talk, rate float64) (figures, error) {
				took, late, err := k.hold(ctx, rate, s.open, s.talkers, nil)
				if err != nil {
					return nil, err
				}
				return figures{
					figHalf: rate, figP50: microseconds(took, 0.5), figP99: microseconds(took, 0.99), figP999: microseconds(took, 0.999),
					figLate: microseconds(late, 0.99),
				}, nil
			})
		},
	}
}
