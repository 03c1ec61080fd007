//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// gathering is users who connect, of whom each has to hear of some of the others.
type gathering struct {
	clients []*client
	left    atomic.Int64 // users who do not know everybody yet
	unknown atomic.Int64 // whom they do not know, in all
	done    chan struct{}
	failed  chan error
	reading sync.WaitGroup
	closing atomic.Bool
}

func newGathering(n, friends int) *gathering {
	g := &gathering{clients: make([]*client, n), done: make(chan struct{}), failed: make(chan error, 1)}
	g.left.Store(int64(n))
	g.unknown.Store(int64(n * friends))
	return g
}

// gather connects n users, returns when each of them knows the friends others,
// or nobody has heard of anybody for a while, and leaves them reading.
func gather(ctx context.Context, t target, n, friends int, silence time.Duration) (*gathering, error) {
	g := newGathering(n, friends)
	err := crowd(n, func(i int) (err error) {
		if g.clients[i], err = dialOpen(ctx, t, user(i), smallBuffer, 0); err != nil {
			return err
		}
		w := &witness{client: g.clients[i], known: make([]uint64, n/64+1), self: i, left: friends, connected: make(chan error, 1)}
		g.keep(w)
		return <-w.connected
	})
	if err == nil {
		err = g.wait(ctx, silence)
	}
	if err != nil {
		_ = g.close() // there is an error already
		return nil, err
	}
	return g, nil
}

// wait returns when everybody knows everybody, or never will: see unknown.
func (g *gathering) wait(ctx context.Context, silence time.Duration) error {
	look := time.NewTicker(silence)
	defer look.Stop()
	for last := int64(-1); ; {
		select {
		case <-g.done:
			return nil
		case err := <-g.failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("%d users do not know everybody: %w", g.left.Load(), ctx.Err())
		case <-look.C:
			now := g.unknown.Load()
			if now == last {
				return nil
			}
			last = now
		}
	}
}

// keep has w read until the gathering closes.
func (g *gathering) keep(w *witness) {
	g.reading.Go(func() {
		err := w.read(g)
		w.come(err)
		if !g.closing.Load() {
			select {
			case g.failed <- fmt.Errorf("%s: %w", user(w.self), err):
			default: // the first will do
			}
		}
	})
}

func (g *gathering) knows() {
	if g.left.Add(-1) == 0 {
		close(g.done)
	}
}

// close lets everybody go, and returns an error if somebody had gone before.
func (g *gathering) close() error {
	g.closing.Store(true)
	for _, c := range g.clients {
		if c != nil {
			_ = c.nc.Close() // it is over
		}
	}
	g.reading.Wait()
	select {
	case err := <-g.failed:
		return err
	default:
		return nil
	}
}

// witness is a user who keeps count of those of whom he was told.
type witness struct {
	*client
	known []uint64 // a bit for each
	self  int
	left  int // whom he does not know

	connected chan error // has the answer to CONNECT, before which some servers tell of others
}

func (w *witness) come(err error) {
	select {
	case w.connected <- err:
	default: // that is known
	}
}

func (w *witness) read(g *gathering) error {
	snapshot := false
	for {
		k, begin, err := w.next()
		if err != nil {
			return err
		}
		before, missing := w.left, w.left
		switch k {
		case kindConnected:
			w.come(nil)
		case kindSnapshot:
			snapshot, before = true, -1
			err = w.walk((&keys{found: w.meet}).piece)
		case kindOnline:
			_, name, _ := bytes.Cut(begin, []byte(`,"u`))
			w.meet(leading(name))
		}
		if err != nil {
			return err
		}
		g.unknown.Add(int64(w.left - missing))
		if snapshot && w.left == 0 && before != 0 {
			g.knows()
		}
	}
}

// meet is called for whom he was told of; -1 is nobody.
func (w *witness) meet(i int) {
	if i < 0 || i == w.self || i >= len(w.known)*64 || w.known[i/64]&(1<<(i%64)) != 0 {
		return
	}
	w.known[i/64] |= 1 << (i % 64)
	w.left--
}

// leading is the number at the beginning of p, -1 if there is none.
func leading(p []byte) int {
	n := -1
	for _, c := range p {
		if c < '0' || c > '9' {
			break
		}
		n = max(n, 0)*10 + int(c-'0')
	}
	return n
}

// keys finds in JSON that comes in pieces the keys of the form "u12": its number.
type keys struct {
	found func(i int)
	state keyState
	n     int
}

type keyState uint8

const (
	outside keyState = iota
	quoted           // after the quote
	letterU
	digits
	closed // after the closing quote: a key if a colon follows
)

func (k *keys) piece(p []byte) {
	for _, c := range p {
		switch {
		case k.state == quoted && c == 'u':
			k.state, k.n = letterU, 0
		case (k.state == letterU || k.state == digits) && c >= '0' && c <= '9':
			k.state, k.n = digits, k.n*10+int(c-'0')
		case k.state == digits && c == '"':
			k.state = closed
		case k.state == closed && c == ':':
			k.found(k.n)
			k.state = outside
		case c == '"':
			k.state = quoted
		default:
			k.state = outside
		}
	}
}

const (
	figStorm      = "CPU"
	figTook       = "time"
	figResident   = "RSS per user"
	figPeak       = "peak RSS per user"
	figGoroutines = "goroutines per user"
)

var errUnknown = errors.New("users were not told of others")

// gathered is what it costs a server that n users connect, and are there: connect
// does it and returns how they go.
func gathered(ctx context.Context, p *peer, n int, rest time.Duration, connect func() (leave func() error, err error)) (f figures, err error) {
	before, err := p.memory()
	if err != nil {
		return nil, err
	}
	cpu, err := p.cpu()
	if err != nil {
		return nil, err
	}
	began, routines := time.Now(), goroutines(ctx, p)
	leave, err := connect()
	if err != nil {
		return nil, p.alive(err)
	}
	defer func() { err = errors.Join(err, leave()) }()
	took := time.Since(began)
	select { // what is still to do belongs to it
	case <-time.After(rest):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	cpuAfter, err := p.cpu()
	if err != nil {
		return nil, err
	}
	after, err := p.memory()
	if err != nil {
		return nil, err
	}
	perUser := func(bytes int64) float64 { return float64(bytes) / 1024 / float64(n) }
	f = figures{
		figStorm: (cpuAfter - cpu).Seconds(), figTook: took.Seconds(),
		figResident: perUser(after.resident - before.resident), figPeak: perUser(after.peak - before.resident),
	}
	if routines >= 0 {
		f[figGoroutines] = float64(goroutines(ctx, p)-routines) / float64(n)
	}
	return f, nil
}

// goroutines is how many the server has, if it is one that says so; else -1.
func goroutines(ctx context.Context, p *peer) int {
	if !p.debug {
		return -1
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.target.addr+"/debug/goroutines", http.NoBody)
	if err != nil {
		return -1
	}
	r.Close = true // a connection that stays would count
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return -1
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, 100))
	n, err2 := strconv.Atoi(string(bytes.TrimSpace(body)))
	if errors.Join(err, err2, answer.Body.Close()) != nil {
		return -1
	}
	return n
}

// stormLoad is everybody connecting at once, and hearing of everybody.
func stormLoad(s scale, n int) load {
	most := 0.08
	if n >= 2000 {
		most = 0.06
	}
	return load{
		name: fmt.Sprint("storm", n), server: "example", peers: []string{ours, node, bare},
		about: fmt.Sprintf("%d users connect, %d at a time, until everybody knows of everybody; memory %v later", n, dialing, s.rest),
		figures: []figure{
			{name: figStorm, unit: "s", demands: []demand{{node, most}}},
			{name: figTook, unit: "s"},
			{name: figResident, unit: "KB", demands: []demand{{"", 14}}},
			{name: figPeak, unit: "KB"},
		},
		run: func(ctx context.Context, sub *subject) (figures, error) {
			return s.storm(ctx, sub, serve{}, n, n-1)
		},
	}
}

// storm has n users connect at once, each of whom has to hear of his friends.
func (s scale) storm(ctx context.Context, sub *subject, how serve, n, friends int) (figures, error) {
	p, err := sub.start(ctx, how)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	unknown := int64(0)
	f, err := gathered(ctx, p, n, s.rest, func() (func() error, error) {
		g, err := gather(ctx, p.target, n, friends, s.silence)
		if err != nil {
			return nil, err
		}
		unknown = g.unknown.Load()
		return g.close, nil
	})
	if err != nil {
		return nil, err
	}
	if unknown > 0 { // then it has not done the work
		return nil, fmt.Errorf("%w: %d in all, and nothing has come for %v", errUnknown, unknown, s.silence)
	}
	return f, nil
}

const (
	figHalfStorm = "CPU, half as many"
	figLinear    = "CPU per user ÷ that of half as many"
)

// scopedLoad is a storm of users who have few contacts.
func scopedLoad(s scale) load {
	contacts := min(50, s.scoped/10)
	return load{
		name: "scoped", server: "host", peers: []string{ours, node},
		about: fmt.Sprintf("%d users with %d contacts each connect, %d at a time, until everybody knows of his contacts", s.scoped, contacts, dialing),
		figures: []figure{
			{name: figStorm, unit: "s"},
			{name: figTook, unit: "s"},
			{name: figHalfStorm, unit: "s"},
			{name: figLinear},
			{name: figResident, unit: "KB"},
			{name: figGoroutines},
		},
		run: func(ctx context.Context, sub *subject) (figures, error) {
			how := serve{scoped: true, contacts: contacts, users: s.scoped / 2}
			half, err := s.storm(ctx, sub, how, s.scoped/2, contacts)
			if err != nil {
				return nil, fmt.Errorf("%d users: %w", s.scoped/2, err)
			}
			how.users = s.scoped
			f, err := s.storm(ctx, sub, how, s.scoped, contacts)
			if err != nil {
				return nil, err
			}
			f[figHalfStorm] = half[figStorm]
			f[figLinear] = f[figStorm] / 2 / math.Max(half[figStorm], 1e-9)
			return f, nil
		},
	}
}
