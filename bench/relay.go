//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// window is how many messages of one sender are on the way.
const window = 4

// talk is users who write to each other.
type talk struct {
	all     []*talker
	left    atomic.Int64 // messages that are still to be sent
	missing atomic.Int64 // acks and messages that are still to come
	done    chan struct{}
	failed  chan error
	pace    atomic.Pointer[pace] // not nil: the load is open, see latency.go
	reading sync.WaitGroup
	closing atomic.Bool
}

// talker is a connection that writes, or reads, or both.
type talker struct {
	*client
	talk *talk
	seat int // what the pace knows it by

	mu     sync.Mutex // guards the letter, between the start and the reader
	letter *letter    // nil: it only reads

	heard int // messages at the present pace; the reader's own
}

func newTalk() *talk { return &talk{failed: make(chan error, 1)} }

// chatters is the users from first to n, of whom each writes to his partner.
func chatters(ctx context.Context, t target, first, n, size int) (*talk, error) {
	k := newTalk()
	k.all = make([]*talker, n-first)
	err := crowd(len(k.all), func(i int) (err error) {
		seat := first + i
		k.all[i], err = k.connect(ctx, t, user(seat))
		if err == nil {
			k.all[i].seat, k.all[i].letter = seat, newLetter(user(seat), user(seat^1), size)
		}
		return err
	})
	if err != nil {
		k.close()
		return nil, err
	}
	k.read()
	return k, nil
}

func user(i int) string { return fmt.Sprint("u", i) }

func (k *talk) connect(ctx context.Context, t target, name string) (*talker, error) {
	c, err := dial(ctx, t, name, largeBuffer, 0)
	if err != nil {
		return nil, err
	}
	if _, err := c.until(kindSnapshot); err != nil {
		return nil, errors.Join(fmt.Errorf("%s was not told who is online: %w", name, err), c.nc.Close())
	}
	return &talker{client: c, talk: k}, nil
}

// read starts reading.
func (k *talk) read() {
	for _, a := range k.all {
		k.reading.Go(func() {
			if err := a.read(); !k.closing.Load() {
				select {
				case k.failed <- err:
				default: // the first will do
				}
			}
		})
	}
}

func (k *talk) close() {
	k.closing.Store(true)
	for _, a := range k.all {
		if a != nil {
			_ = a.nc.Close() // it is over
		}
	}
	k.reading.Wait()
}

func (a *talker) read() error {
	for {
		kind, _, err := a.next()
		if err != nil {
			return err
		}
		switch kind {
		case kindMessage:
			if p := a.talk.pace.Load(); p != nil {
				p.arrived(a)
			} else {
				a.talk.got()
			}
		case kindAck:
			if p := a.talk.pace.Load(); p != nil {
				p.got()
				break
			}
			if err := a.write(1); err != nil {
				return err
			}
			a.talk.got()
		}
	}
}

// write sends up to n of the messages that are left.
func (a *talker) write(n int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for range n {
		if a.talk.left.Add(-1) < 0 {
			return nil
		}
		if _, err := a.nc.Write(a.letter.next()); err != nil {
			return err
		}
	}
	return nil
}

// got is called for each ack and each message.
func (k *talk) got() {
	if k.missing.Add(-1) == 0 {
		close(k.done)
	}
}

// say has n messages sent, of which each arrives at so many connections, and
// returns when they have, and all acks.
func (k *talk) say(ctx context.Context, n, copies int) error {
	k.done = make(chan struct{})
	k.missing.Store(int64(n * (1 + copies)))
	k.left.Store(int64(n))
	for _, a := range k.all {
		if a.letter == nil {
			continue
		}
		if err := a.write(window); err != nil {
			return err
		}
	}
	return k.wait(ctx, k.done)
}

func (k *talk) wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case err := <-k.failed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%d messages and acks have not come: %w", k.missing.Load(), ctx.Err())
	}
}

// Figures of the loads that relay.
const (
	figCPU  = "CPU per message"
	figCore = "messages per core"
	figRate = "messages as measured"
)

func relayFigures(d ...demand) []figure {
	return []figure{{name: figCPU, unit: "µs", demands: d}, {name: figCore, unit: "1/s"}, {name: figRate, unit: "1/s"}}
}

// relayed is a run in which senders wrote to copies connections each.
func relayed(ctx context.Context, p *peer, k *talk, warm, n, copies int) (figures, error) {
	if err := k.say(ctx, warm, copies); err != nil {
		return nil, fmt.Errorf("warming up: %w", err)
	}
	before, err := p.cpu()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := k.say(ctx, n, copies); err != nil {
		return nil, err
	}
	took := time.Since(began)
	after, err := p.cpu()
	if err != nil {
		return nil, err
	}
	return figures{
		figCPU:  (after - before).Seconds() * 1e6 / float64(n),
		figCore: float64(n) / (after - before).Seconds(),
		figRate: float64(n) / took.Seconds(),
	}, nil
}

// relayLoad is 100 users in pairs, of whom each writes to his partner.
func relayLoad(name, server string, peers []string, secure bool, s scale, size int, demands ...demand) load {
	return load{
		name: name, server: server, peers: peers, figures: relayFigures(demands...),
		about: fmt.Sprintf("%d users in pairs, %d messages of %d bytes on the way per sender", s.talkers, window, size),
		run: func(ctx context.Context, s2 *subject) (figures, error) {
			p, err := s2.start(ctx, serve{secure: secure})
			if err != nil {
				return nil, err
			}
			defer p.stop()
			k, err := chatters(ctx, p.target, 0, s.talkers, size)
			if err != nil {
				return nil, err
			}
			defer k.close()
			return relayed(ctx, p, k, s.warm, s2.slower(s.messages), 1)
		},
	}
}

// fanLoad is one user with many devices, and one who writes to him.
func fanLoad(s scale) load {
	return load{
		name: "fan", server: "example", peers: []string{ours, "node", "bare"}, figures: relayFigures(),
		about: fmt.Sprintf("one sender, %d messages of 100 bytes on the way, a recipient with %d devices", window, s.devices),
		run: func(ctx context.Context, s2 *subject) (figures, error) {
			p, err := s2.start(ctx, serve{})
			if err != nil {
				return nil, err
			}
			defer p.stop()
			k := newTalk()
			k.all = make([]*talker, s.devices+1)
			defer k.close()
			err = crowd(len(k.all), func(i int) (err error) {
				k.all[i], err = k.connect(ctx, p.target, user(min(i, 1)))
				return err
			})
			if err != nil {
				return nil, err
			}
			k.all[0].letter = newLetter(user(0), user(1), 100)
			k.read()
			return relayed(ctx, p, k, s.warm/10, s2.slower(s.messages)/10, s.devices)
		},
	}
}

// crowd calls connect for each of n, so many at a time, until one fails.
func crowd(n int, connect func(i int) error) error {
	gate := make(chan struct{}, dialing)
	failed := make(chan error, 1)
	var going sync.WaitGroup
	for i := 0; i < n && len(failed) == 0; i++ {
		gate <- struct{}{}
		going.Go(func() {
			if err := connect(i); err != nil {
				select {
				case failed <- err:
				default: // the first will do
				}
			}
			<-gate
		})
	}
	going.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// dialing is how many connect at a time: more than that overflow the backlog of
// a listener in Node, and wait for the SYN that is sent again.
const dialing = 200
