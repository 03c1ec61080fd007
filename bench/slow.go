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

// burden is a user who is sent big messages, and one who goes on writing them.
type burden struct {
	reader, writer *client
	due            chan struct{} // a message
	told           atomic.Int64  // acks that say that a message was sent
	cut            atomic.Bool   // an ack said that it was queued: the other has been cut
	going          sync.WaitGroup
}

// burdenSize of a message: at his share of the messages a queue of 4 MiB, and
// what the kernel holds, are soon full.
const burdenSize = 16_000

// newBurden returns one whose reader reads all of it, or nothing.
func newBurden(ctx context.Context, t target, from, to string, reads bool) (*burden, error) {
	receiveBuffer := 4 << 10
	if reads {
		receiveBuffer = 0 // the system's
	}
	reader, err := dial(ctx, t, to, smallBuffer, receiveBuffer)
	if err != nil {
		return nil, err
	}
	writer, err := dial(ctx, t, from, smallBuffer, 0)
	if err != nil {
		return nil, errors.Join(err, reader.nc.Close())
	}
	s := &burden{reader: reader, writer: writer, due: make(chan struct{}, 1000)}
	letter := newLetter(from, to, burdenSize)
	s.going.Go(s.read)
	if reads {
		s.going.Go(func() {
			for {
				if _, _, err := reader.next(); err != nil {
					return
				}
			}
		})
	}
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
func (s *burden) say() {
	select {
	case s.due <- struct{}{}:
	default:
	}
}

func (s *burden) read() {
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

func (s *burden) close() {
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
	figGrowthWithout = "RSS growth, all read"
	figGrowth        = "RSS growth"
	figCut           = "cut after"
	figWithout       = "p99 of the others, all read"
	figWith          = "p99 of the others"
)

// slowLoad is the latency load with one user who is sent big messages: at first
// he reads them, then another does not.
func slowLoad(s scale) load {
	return load{
		name: "slow", server: "example", peers: []string{ours, node, bare},
		about: fmt.Sprintf("as latency, and one of %d users gets messages of %d bytes: for %v one who reads them, as long again one who does not; "+
			"cut after: so much was sent to him, empty: he never was", s.talkers, burdenSize, s.slow),
		figures: []figure{
			{name: figGrowthWithout, unit: "MB"},
			{name: figGrowth, unit: "MB"},
			{name: figCut, unit: "MB"},
			{name: figWithout, unit: "µs"},
			{name: figWith, unit: "µs"},
		},
		run: func(ctx context.Context, sub *subject) (figures, error) {
			return s.paced(ctx, sub, serve{}, 2, func(p *peer, k *talk, rate float64) (figures, error) {
				without, err := s.burdened(ctx, p, k, rate, s.talkers, true)
				if err != nil {
					return nil, err
				}
				with, err := s.burdened(ctx, p, k, rate, 0, false)
				if err != nil {
					return nil, err
				}
				f := figures{
					figGrowthWithout: without.growth, figGrowth: with.growth,
					figWithout: without.p99, figWith: with.p99,
				}
				if with.cut > 0 {
					f[figCut] = with.cut
				}
				return f, nil
			})
		},
	}
}

// strain is what a burden did to a server.
type strain struct {
	growth float64 // of the resident set, MB
	p99    float64 // of the others, µs
	cut    float64 // MB; 0: was not
}

// burdened has the users write to each other while the first of two further
// users writes to the second.
func (s scale) burdened(ctx context.Context, p *peer, k *talk, rate float64, first int, reads bool) (strain, error) {
	before, err := p.memory()
	if err != nil {
		return strain{}, err
	}
	one, err := newBurden(ctx, p.target, user(first), user(first+1), reads)
	if err != nil {
		return strain{}, err
	}
	defer one.close()
	peak := watch(p)
	took, _, err := k.hold(ctx, rate, s.slow, s.talkers, func(seat int) {
		if seat == 0 {
			one.say()
		}
	})
	most := peak()
	if err != nil {
		return strain{}, err
	}
	got := strain{growth: float64(most-before.resident) / 1e6, p99: microseconds(took, 0.99)}
	if one.cut.Load() {
		got.cut = float64(one.told.Load()) * burdenSize / 1e6
	}
	return got, nil
}
