// Package torture is a test: fifty people with several devices each, whose
// connections break in every way that connections break, write to each other
// through a server that is killed now and then. At the end everything that was
// promised is checked.
//
// link.go is a line that fails, client.go Engine.IO and session.go Socket.IO
// over it. device.go is the life of a device, actions.go what it does, letter.go
// what it writes. storm.go is all of them together. history.go is what they have
// said and heard, and checker.go what has to be true of that. server.go is the
// example, as a process that can be killed.
//
//	go test -race -run Torture -seed 7 -duration 2m
//
// soak.go is the other test: the same storm, calls and floods again and again,
// and what the server takes is the same after each. phone.go is a device that does
// as it is told, scene.go what it is told, and gauge.go what there is to compare.
//
//	go test -run 'Soak$' -soak 10m
//
// A seed decides what people do, not when the network and the scheduler let it
// happen: the same seed makes the same kind of trouble, not the same run.
package torture

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// config is what a storm is like.
type config struct {
	seed      uint64
	users     int
	suffix    string                               // of their names
	addr      func() string                        // of the server; "" while it is down
	life      time.Duration                        // of a connection, on average
	think     time.Duration                        // between two things that a device does, on average
	fates     []fate                               // ends of connections, one as likely as the other
	calm      time.Duration                        // how long everybody may take to come to rest
	mangle    func(d *log) func(net.Conn) net.Conn // what is between a device and the server; may be nil
	restarts  bool                                 // the server goes down and comes back
	websocket bool                                 // nobody polls
}

// everyFate is every way in which a connection ends; the common ones are common.
func everyFate() []fate {
	return []fate{
		fateRequest, fateOpen, fateConnect, fateReplay, fateReplay, fateFrame, fateFrame, fateAcks, fateAcks,
		fateLostAcks, fateLostAcks, fateProbe, fateProbe, fateIdle, fateIdle, fateGoodbye, fateHalfOpen, fateHalfOpen,
		fateRefresh, fateRefresh, fateSlow, fateLift,
	}
}

// storm is all devices of all people.
type storm struct {
	cfg     config
	clock   clock
	people  []*person
	devices []*device
	calm    chan struct{} // closed when the storm is over
	end     chan struct{} // closed when everything is
	running sync.WaitGroup

	mu      sync.Mutex // guards the rest
	counts  map[string]int
	wrongs  []string
	summons int
}

// person is a user.
type person struct {
	name    string
	circle  []string // whom he writes to most
	all     []string
	ids     atomic.Int64
	devices []*device
}

func (p *person) next() int { return int(p.ids.Add(1)) }

// peer is somebody to write to; now and then himself.
func (p *person) peer(random *rand.Rand) string {
	switch n := random.IntN(20); {
	case n == 0:
		return p.name
	case n < 3:
		return p.all[random.IntN(len(p.all))]
	}
	return p.circle[random.IntN(len(p.circle))]
}

// unacked is a message that another device of the user has not been acked yet.
func (p *person) unacked(random *rand.Rand, but *device) *letter {
	other := p.devices[random.IntN(len(p.devices))]
	if other == but {
		return nil
	}
	other.mu.Lock()
	defer other.mu.Unlock()
	if len(other.outbox) == 0 {
		return nil
	}
	return other.outbox[random.IntN(len(other.outbox))]
}

func newStorm(cfg config) *storm {
	s := &storm{cfg: cfg, calm: make(chan struct{}), end: make(chan struct{}), counts: map[string]int{}}
	random := rand.New(rand.NewPCG(cfg.seed, 0))
	var names []string
	for n := range cfg.users {
		names = append(names, chatPath(n)+cfg.suffix)
	}
	for n, name := range names {
		p := &person{name: name, all: names}
		for range 4 {
			p.circle = append(p.circle, names[random.IntN(len(names))])
		}
		s.people = append(s.people, p)
		for i := range 2 + random.IntN(3) {
			since, acks := false, false
			switch n % 5 { // 0: stock
			case 1:
				acks = i%2 == 0
			case 2, 3:
				since, acks = true, i == 2
			case 4:
				since = i%2 == 1
			}
			s.add(p, fmt.Sprint(i), since, acks)
		}
	}
	return s
}

func (s *storm) add(p *person, name string, since, acks bool) *device {
	d := &device{
		storm: s, user: p, jobs: make(chan *device, 1), recent: map[string][]string{},
		random: rand.New(rand.NewPCG(s.cfg.seed, uint64(len(s.devices)+1))),
		log:    &log{user: p.name, device: p.name + "." + name, since: since, acks: acks},
	}
	if s.cfg.mangle != nil {
		d.mangle = s.cfg.mangle(d.log)
	}
	p.devices = append(p.devices, d)
	s.devices = append(s.devices, d)
	return d
}

// start lets the storm loose.
func (s *storm) start() {
	for _, d := range s.devices {
		s.running.Go(d.run)
	}
}

// settle ends the storm, waits until everybody has come to rest, or nothing has
// moved for too long, and returns the history with what is wrong about it.
func (s *storm) settle() (*history, []violation) {
	s.abate()
	// Only now: what an auditor is told need not be told a stock device.
	for _, p := range s.people {
		d := s.add(p, "audit", true, false)
		d.log.audit = true
		s.running.Go(d.run)
	}
	var h *history
	var found []violation
	s.rest(func(now uint64) bool {
		h = s.history(now)
		found = check(h)
		return len(found) == 0
	})
	if h == nil {
		h = s.history(s.clock.n.Load())
		found = check(h)
	}
	for _, w := range s.disperse() {
		found = append(found, violation{ruleUnexpected, w})
	}
	return h, found
}

// abate ends the storm, and waits until everybody has come to rest.
func (s *storm) abate() {
	close(s.calm)
	s.cut()
	s.rest(nil)
}

// disperse has everybody leave, and returns what no client should have seen.
func (s *storm) disperse() []string {
	close(s.end)
	s.cut()
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wrongs
}

// cut cuts the lines of everybody.
func (s *storm) cut() {
	for _, d := range s.devices {
		d.mu.Lock()
		if d.session != nil {
			d.session.client.end(errCut)
		}
		d.mu.Unlock()
	}
}

// rest returns when everybody has come to rest and, if good is not nil, it is
// good; else when that is not so for too long while nothing moves.
func (s *storm) rest(good func(now uint64) bool) {
	last, looked := uint64(0), false
	moved := time.Now()
	for patience := s.cfg.calm; time.Since(moved) < patience; time.Sleep(200 * time.Millisecond) {
		now := s.clock.n.Load()
		if now != last {
			last, looked, moved = now, false, time.Now()
		}
		switch {
		case !s.all((*device).rested):
		case good == nil:
			return
		case !looked && time.Since(moved) > quiet:
			if looked = true; good(now) {
				return
			}
			patience = min(patience, 4*quiet) // there is little hope
		}
	}
}

// quiet is for how long nothing moves before it is worth a look: the server asks
// for a proof of what was read at most once a second.
const quiet = 1200 * time.Millisecond

// history is what was said and heard up to now.
func (s *storm) history(now uint64) *history {
	h := &history{restarts: s.cfg.restarts}
	for _, d := range s.devices {
		d.mu.Lock()
		l := *d.log
		l.settled = d.rested()
		d.mu.Unlock()
		for n := len(l.records); n > 0 && l.records[n-1].at > now; n-- {
			l.records = l.records[:n-1]
		}
		h.devices = append(h.devices, &l)
	}
	return h
}

func (s *storm) all(ok func(*device) bool) bool {
	for _, d := range s.devices {
		d.mu.Lock()
		yes := ok(d)
		d.mu.Unlock()
		if !yes {
			return false
		}
	}
	return true
}

// summon makes some devices send a lot to a slow one.
func (s *storm) summon(victim *device) {
	s.mu.Lock()
	s.summons += 7
	from := s.summons
	s.mu.Unlock()
	for i, n := 0, 0; i < len(s.devices) && n < 3; i++ {
		d := s.devices[(from+i)%len(s.devices)]
		d.mu.Lock()
		there := d.session != nil && !d.session.left && d.session.joined
		d.mu.Unlock()
		if !there || d == victim {
			continue
		}
		select {
		case d.jobs <- victim:
			n++
		default:
		}
	}
}

func (s *storm) fate(random *rand.Rand) fate { return s.cfg.fates[random.IntN(len(s.cfg.fates))] }

func (s *storm) raging() bool {
	select {
	case <-s.calm:
		return false
	default:
		return true
	}
}

func (s *storm) over() bool {
	select {
	case <-s.end:
		return true
	default:
		return false
	}
}

// sleep sleeps while the storm rages.
func (s *storm) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.calm:
	}
}

// nap sleeps while anything runs.
func (s *storm) nap(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.end:
	}
}

// sleepUnless sleeps while the storm rages, and reports false when ctx has ended.
func (s *storm) sleepUnless(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
	case <-s.calm:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

func (s *storm) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

// wrong takes note of something that no client should ever see.
func (s *storm) wrong(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrongs = append(s.wrongs, fmt.Sprintf(format, args...))
}

// summary says how often what has happened.
func (s *storm) summary() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(s.counts)) {
		fmt.Fprintf(&b, "%8d %s\n", s.counts[what], what)
	}
	return b.String()
}
