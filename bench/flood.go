//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// flood is a client that sends all it can, and reads what comes of it.
type flood struct {
	*client
	acked   atomic.Int64
	refused atomic.Int64 // of those
	ended   atomic.Bool
	full    chan struct{} // closed with the first refusal
	once    sync.Once
	going   sync.WaitGroup
}

// floodPiece is how many events a flood sends at a time.
const floodPiece = 50

func newFlood(ctx context.Context, t target, from, to string) (*flood, error) {
	c, err := dial(ctx, t, from, largeBuffer, 0)
	if err != nil {
		return nil, err
	}
	f := &flood{client: c, full: make(chan struct{})}
	letter := newLetter(from, to, 100)
	f.going.Go(f.read)
	f.going.Go(func() {
		var piece []byte
		for !f.ended.Load() {
			piece = piece[:0]
			for range floodPiece {
				piece = append(piece, letter.next()...)
			}
			if _, err := c.nc.Write(piece); err != nil {
				return // the server has had enough
			}
		}
	})
	return f, nil
}

func (f *flood) read() {
	for {
		if f.skip() != nil {
			return
		}
		op, err := f.header()
		if err != nil {
			return
		}
		said, err := f.r.Peek(min(f.rest, 100))
		switch {
		case err != nil:
			return
		case op == opText && string(said) == "2":
			if f.send("3") != nil {
				return
			}
		case !bytes.HasPrefix(said, []byte("43")):
		case bytes.Contains(said, []byte(`"rate_limited"`)):
			f.once.Do(func() { close(f.full) })
			f.refused.Add(1)
			fallthrough
		default:
			f.acked.Add(1)
		}
	}
}

func (f *flood) close() {
	f.ended.Store(true)
	_ = f.nc.Close() // it is over
	f.going.Wait()
}

const (
	figFlooded = "events of the flood, answered"
	figRefused = "of these rate_limited"
	figCalm    = "p99 of the others before"
	figInFlood = "p99 of the others"
	figFactor  = "p99 ÷ p99 before"
)

var errCalm = errors.New("the server has refused nothing of a flood")

// floodLoad is the latency load beside one client that sends all it can. Ours
// refuses what it sends; then what the others notice is looked at.
func floodLoad(s scale) load {
	return load{
		name: "flood", server: "example", peers: []string{ours, node},
		about: fmt.Sprintf("as latency, for %v and again beside one client that sends messages as fast as the server takes them; "+
			"with us from its first rate_limited on", s.flood),
		figures: []figure{
			{name: figFlooded, unit: ""},
			{name: figRefused, unit: ""},
			{name: figCalm, unit: "µs"},
			{name: figInFlood, unit: "µs"},
			{name: figFactor, unit: "", demands: []demand{{"", 2}}},
		},
		run: func(ctx context.Context, sub *subject) (figures, error) {
			return s.paced(ctx, sub, serve{limits: true}, 2, func(p *peer, k *talk, rate float64) (figures, error) {
				return s.flooded(ctx, sub, p, k, rate)
			})
		},
	}
}

func (s scale) flooded(ctx context.Context, sub *subject, p *peer, k *talk, rate float64) (figures, error) {
	calm, _, err := k.hold(ctx, rate, s.flood, s.talkers, nil)
	if err != nil {
		return nil, err
	}
	f, err := newFlood(ctx, p.target, user(0), user(1))
	if err != nil {
		return nil, err
	}
	defer f.close()
	if sub.name == ours || sub.name == other {
		select {
		case <-f.full:
		case <-time.After(time.Minute):
			return nil, errCalm
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	before, refused := f.acked.Load(), f.refused.Load()
	in, _, err := k.hold(ctx, rate, s.flood, s.talkers, nil)
	if err != nil {
		return nil, err
	}
	without, with := microseconds(calm, 0.99), microseconds(in, 0.99)
	return figures{
		figFlooded: float64(f.acked.Load() - before), figRefused: float64(f.refused.Load() - refused),
		figCalm: without, figInFlood: with, figFactor: with / without,
	}, nil
}
