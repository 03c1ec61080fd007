//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
)

// idleKind is how the users of an idle load are connected.
type idleKind struct {
	name, about string
	demand      demand
	count       func(scale) int
	// connect connects a user, and returns what keeps him there.
	connect func(ctx context.Context, t target, user string) (net.Conn, func() error, error)
}

// stay answers pings until the connection ends.
func (c *client) stay() error {
	for {
		if _, _, err := c.next(); err != nil {
			return err
		}
	}
}

func idleWebSocket() idleKind {
	return idleKind{
		"idle-ws", "WebSockets",
		demand{"", 10},
		func(s scale) int { return s.websockets },
		func(ctx context.Context, t target, user string) (net.Conn, func() error, error) {
			c, err := dial(ctx, t, user, smallBuffer, 0)
			if err != nil {
				return nil, nil, err
			}
			if _, err := c.until(kindSnapshot); err != nil {
				return nil, nil, errors.Join(err, c.nc.Close())
			}
			return c.nc, c.stay, nil
		},
	}
}

func idleUpgraded() idleKind {
	return idleKind{
		"idle-upgraded", "WebSockets that began by polling",
		demand{"", 16},
		func(s scale) int { return s.polls },
		func(ctx context.Context, t target, user string) (net.Conn, func() error, error) {
			p, err := dialPoller(ctx, t, user)
			if err != nil {
				return nil, nil, err
			}
			c, err := p.upgrade(ctx, t)
			if err != nil {
				return nil, nil, err
			}
			return c.nc, c.stay, nil
		},
	}
}

func idlePolling() idleKind {
	return idleKind{
		"idle-polling", "clients that have a poll waiting",
		demand{node, 1},
		func(s scale) int { return s.polls },
		func(ctx context.Context, t target, user string) (net.Conn, func() error, error) {
			p, err := dialPoller(ctx, t, user)
			if err != nil {
				return nil, nil, err
			}
			return p.nc, p.wait, nil
		},
	}
}

// idleLoad is users of a kind who are connected and do nothing, and hear of
// nobody.
func idleLoad(s scale, of idleKind) load {
	n := of.count(s)
	return load{
		name: of.name, server: "host", peers: []string{ours, node},
		about: fmt.Sprintf("%d %s without contacts; memory %v after the last has come", n, of.about, s.rest),
		figures: []figure{
			{name: figResident, unit: "KB", demands: []demand{of.demand}},
			{name: figPeak, unit: "KB"},
			{name: figGoroutines},
			{name: figStorm, unit: "s"},
		},
		run: func(ctx context.Context, sub *subject) (figures, error) {
			p, err := sub.start(ctx, serve{scoped: true})
			if err != nil {
				return nil, err
			}
			defer p.stop()
			return gathered(ctx, p, n, s.rest, func() (func() error, error) { return of.settle(ctx, p.target, n) })
		},
	}
}

// settle connects n users, and returns how they go; it is an error if somebody
// has gone before.
func (of idleKind) settle(ctx context.Context, t target, n int) (leave func() error, err error) {
	conns, gone := make([]net.Conn, n), make([]error, n)
	var staying sync.WaitGroup
	var leaving atomic.Bool
	leave = func() error {
		leaving.Store(true)
		for _, nc := range conns {
			if nc != nil {
				_ = nc.Close() // it is over
			}
		}
		staying.Wait()
		gone = slices.DeleteFunc(gone, func(err error) bool { return err == nil })
		return errors.Join(gone[:min(len(gone), 3)]...)
	}
	err = crowd(n, func(i int) error {
		nc, stay, err := of.connect(ctx, t, user(i))
		if err != nil {
			return err
		}
		conns[i] = nc
		staying.Go(func() {
			if err := stay(); !leaving.Load() {
				gone[i] = fmt.Errorf("%s was not to go: %w", user(i), err)
			}
		})
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, leave())
	}
	return leave, nil
}
