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

// stuck is a user who reads nothing, and one who goes on writing to him.
type stuck struct {
	reader, writer *client
	due            chan struct{} // a message
	size           int
	told           atomic.Int64 // acks that say that a message was sent
	cut            atomic.Bool  // an ack said that it was queued: the other has been cut
	going          sync.WaitGroup
}

// size of what is written to the user who reads nothing: at his share of the
// messages a queue of 4 MiB, and what the kernel holds, are soon full.
const stuckSize = 16_000

func newStuck(ctx context.Context, t target, from, to string) (*stuck, error) {
	reader, err := dial(ctx, t, to, smallBuffer, 4<<10)
	if err != nil {
		return nil, err
	}
	writer, err := dial(ctx, t, from, smallBuffer, 0)
	if err != nil {
		return nil, errors.Join(err, reader.nc.Close())
	}
	s := &stuck{reader: reader, writer: writer, due: make(chan struct{}, 1000), size: stuckSize}
	letter := newLetter(from, to, s.size)
	s.going.Go(s.read)
	s.going.Go(func() {
		for range s.due {
			if _, err := writer.nc.Write(letter.next()); err != nil {
				return // who does not read may take the one who writes with him
			}
		}
	})
	return s, nil
}

// say has a message sent, unless so many are already waiting for the server.
func (s *stuck) say() {
	select {
	case s.due <- struct{}{}:
	default:
	}
}

func (s *stuck) read() {
	for {
		k, _, err := s.writer.next()
		if err != nil {
			return
		}
		if k != kindAck {
			continue
		}
		ack, err := s.writer.r.Peek(s.writer.rest)
		if err != nil {
			return
		}
		if bytes.Contains(ack, []byte(`"queued"`)) {
			s.cut.Store(true)
		}
		if !s.cut.Load() {
			s.told.Add(1)
		}
	}
}

func (s *stuck) close() {
	close(s.due)
	_, _ = s.reader.nc.Close(), s.writer.nc.Close() // it is over
	s.going.Wait()
}

// watch looks after the memory of a server until it is stopped, and returns how
// much it was at most.
func watch(p *peer) (stop func() int64) {
	end, most := make(chan struct{}), make(chan int64, 1)
	go func() {
		peak := int64(0)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			if m, err := p.memory(); err == nil { // whoever waits for messages notices
				peak = max(peak, m.resident)
			}
			select {
			case <-tick.C:
			case <-end:
				most <- peak
				return
			}
		}
	}()
	return func() int64 {
		close(end)
		return <-most
	}
}

const (
	figGrowth  = "RSS growth"
	figCut     = "cut after"
	figWithout = "p99 of the others before"
	figWith    = "p99 of the others"
)

// slowLoad is the latency load with one user who does not read.
func slowLoad(s scale) load {
	return load{
		name: "slow", server: "example", peers: []string{ours, node, bare},
		about: fmt.Sprintf("as latency, for %v, and one of %d users reads nothing of the messages of %d bytes that he gets; "+
			"cut after: so much was sent to him, empty: he never was", s.slow, s.talkers, stuckSize),
		figures: []figure{
			{name: figGrowth, unit: "MB"},
			{name: figCut, unit: "MB"},
			{name: figWithout, unit: "µs"},
			{name: figWith, unit: "µs"},
		},
		run: func(ctx context.Context, sub *subject) (figures, error) {
			return s.paced(ctx, sub, 2, func(p *peer, k *talk, rate float64) (figures, error) {
				return s.slowly(ctx, p, k, rate)
			})
		},
	}
}

func (s scale) slowly(ctx context.Context, p *peer, k *talk, rate float64) (figures, error) {
	without, _, err := k.hold(ctx, rate, s.slow/5, s.talkers, nil)
	if err != nil {
		return nil, err
	}
	before, err := p.memory()
	if err != nil {
		return nil, err
	}
	one, err := newStuck(ctx, p.target, user(0), user(1))
	if err != nil {
		return nil, err
	}
	defer one.close()
	peak := watch(p)
	with, _, err := k.hold(ctx, rate, s.slow, s.talkers, func(seat int) {
		if seat == 0 {
			one.say()
		}
	})
	most := peak()
	if err != nil {
		return nil, err
	}
	f := figures{
		figGrowth:  float64(most-before.resident) / 1e6,
		figWithout: microseconds(without, 0.99), figWith: microseconds(with, 0.99),
	}
	if one.cut.Load() {
		f[figCut] = float64(one.told.Load()) * float64(one.size) / 1e6
	}
	return f, nil
}
