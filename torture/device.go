package torture

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// device is a phone, or a tab of a browser: it connects, says and hears this
// and that, and its connection ends one way or the other, for as long as the
// storm lasts. Then it connects once more and comes to rest.
type device struct {
	storm  *storm
	user   *person
	random *rand.Rand   // of the goroutine that lives the device's life
	jobs   chan *device // victims that it is to send a lot to
	mangle func(net.Conn) net.Conn

	mu      sync.Mutex // guards the rest
	log     *log
	epoch   string // with since: the device's position
	pos     uint64
	session *session            // the newest
	number  int                 // of that
	outbox  []*letter           // sent and not acked, oldest first
	done    []*letter           // some that were acked
	recent  map[string][]string // by sender: the newest messages that came
	calm    bool                // the storm is over
}

// fate is how a connection ends.
type fate string

const (
	fateRequest  fate = "cut in the request"
	fateOpen     fate = "cut before CONNECT"
	fateConnect  fate = "cut behind CONNECT"
	fateReplay   fate = "cut during the replay"
	fateFrame    fate = "cut in a frame"
	fateAcks     fate = "cut with acks outstanding"
	fateLostAcks fate = "acks swallowed"
	fateProbe    fate = "cut during the upgrade"
	fateIdle     fate = "cut"
	fateGoodbye  fate = "goodbye"
	fateHalfOpen fate = "half open"
	fateRefresh  fate = "refresh"
	fateSlow     fate = "slow reader"
	fateLift     fate = "stood still, and went on"
	fateLong     fate = "left alone"
)

// plan is what will become of a connection.
type plan struct {
	fate      fate
	websocket bool // from the beginning
	upgrade   bool // from polling
	step      upgradeStep
	hard      bool // it is reset
	lasts     time.Duration
}

func (d *device) draw() plan {
	r := d.random
	p := plan{
		fate:  d.storm.fate(r),
		hard:  r.IntN(2) == 0,
		lasts: time.Duration(r.ExpFloat64() * float64(d.storm.cfg.life)),
		step:  upgradeStep(r.IntN(int(upgradeDone) + 1)),
	}
	switch r.IntN(10) {
	case 0, 1, 2, 3, 4:
		p.websocket = true
	case 5, 6, 7:
		p.upgrade = true
	}
	if p.fate == fateProbe {
		p.websocket, p.upgrade = false, true
	}
	if d.storm.cfg.websocket {
		p.websocket = true
	}
	return p
}

// note adds to the log. With mu.
func (d *device) note(r record) {
	r.at = d.storm.clock.tick()
	d.log.records = append(d.log.records, r)
}

// settle forgets a message that was acked. With mu.
func (d *device) settle(m *letter) {
	if i := slices.Index(d.outbox, m); i >= 0 {
		d.outbox = slices.Delete(d.outbox, i, i+1)
		if d.done = append(d.done, m); len(d.done) > 10 {
			d.done = d.done[1:]
		}
	}
}

// run is the device's life.
func (d *device) run() {
	for d.storm.raging() {
		d.connect(d.draw())
		pause := time.Duration(d.random.IntN(int(d.storm.cfg.life / 4)))
		if d.random.IntN(8) == 0 {
			pause = d.storm.cfg.life + time.Duration(d.random.IntN(int(d.storm.cfg.life)))
		}
		d.storm.sleep(pause)
	}
	d.mu.Lock()
	d.calm = true
	if d.random.IntN(2) == 0 { // the app is asked no more what became of these
		d.outbox = nil
	}
	d.mu.Unlock()
	for !d.storm.over() {
		d.connect(plan{fate: fateLong, websocket: d.storm.cfg.websocket || d.random.IntN(3) > 0, upgrade: d.random.IntN(2) == 0})
		d.storm.nap(50 * time.Millisecond)
	}
}

// connect lives through one connection.
func (d *device) connect(p plan) {
	addr := d.storm.cfg.addr()
	if addr == "" {
		return
	}
	l := newLink(addr)
	l.mangle = d.mangle
	l.narrow = p.fate == fateSlow
	if p.fate == fateRequest {
		l.cutAfter(1 + d.random.IntN(200))
	}
	s := &session{d: d, calls: map[int]call{}, change: make(chan struct{})}
	c, err := dialClient(l, d.log.user, p.websocket, s.take)
	if err != nil {
		if p.fate == fateRequest {
			d.storm.count(string(p.fate))
		}
		return
	}
	s.client = c
	if p.fate == fateRequest || p.fate == fateOpen {
		d.storm.count(string(p.fate))
		l.cut(p.hard)
		c.end(errCut)
		return
	}
	if d.hello(s, p) != nil || p.fate == fateConnect {
		if p.fate == fateConnect {
			d.storm.count(string(p.fate))
		}
		d.leave(s)
		l.cut(p.hard)
		c.end(errCut)
		return
	}
	c.start()
	d.storm.running.Go(func() { <-c.done })
	if p.upgrade && !p.websocket {
		d.storm.running.Go(func() { d.upgrade(s, p) })
	}
	if d.wait(s, func() bool { return s.joined || s.refused != "" }) {
		d.live(s, p)
	}
	d.leave(s)
	if !s.abandoned {
		c.end(errCut)
	}
}

// hello makes s the device's session, and sends CONNECT; now and then with
// messages right behind it.
func (d *device) hello(s *session, p plan) error {
	d.mu.Lock()
	if d.session != nil {
		d.session.left = true
	}
	d.session = s
	d.number++
	s.number = d.number
	if p.fate == fateReplay {
		s.dieAt = 1 + d.random.IntN(12)
	}
	r := record{what: opened, conn: s.number}
	auth := map[string]any{"deviceId": d.log.device}
	if d.log.since {
		auth["since"] = map[string]any{}
		if d.epoch != "" {
			r.epoch, r.seq = d.epoch, d.pos
			auth["since"] = map[string]any{"epoch": d.epoch, "seq": d.pos}
			s.pos = d.pos
		} else {
			d.pos = 0
		}
	}
	if d.log.acks {
		auth["features"] = []string{"acks"}
	}
	d.note(r)
	calm := d.calm
	d.mu.Unlock()
	b, err := json.Marshal(auth)
	if err != nil {
		return err
	}
	packets := []packet{{text: "40" + string(b)}}
	if !calm && d.random.IntN(8) == 0 {
		for range 1 + d.random.IntN(4) {
			packets = append(packets, s.prepare(d.write(d.user.peer(d.random), light))...)
			d.storm.count("sent with CONNECT")
		}
	}
	return s.client.send(packets...)
}

// leave turns away from a session: what comes from now on is not read.
func (d *device) leave(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !s.left {
		s.left = true
		d.note(record{what: closed, conn: s.number})
	}
}

// upgrade moves a session to a WebSocket.
func (d *device) upgrade(s *session, p plan) {
	if !d.wait(s, func() bool { return s.joined }) {
		return
	}
	err := s.client.upgrade(func(step upgradeStep) bool {
		if p.fate == fateProbe && step == p.step {
			s.client.link.cut(p.hard)
			d.storm.count(fmt.Sprintf("%s, step %d", p.fate, step))
			return false
		}
		if step == upgradeDone {
			d.storm.count("upgraded")
		}
		return true
	})
	if err != nil {
		s.client.end(err)
	}
}

// wait waits until ok, which is called with mu, and reports false when the
// session ends before.
func (d *device) wait(s *session, ok func() bool) bool {
	for {
		d.mu.Lock()
		yes, left, change := ok(), s.left, s.change
		d.mu.Unlock()
		switch {
		case yes:
			return true
		case left:
			return false
		}
		select {
		case <-change:
		case <-s.client.ctx.Done():
			return false
		case <-d.storm.end:
			return false
		}
	}
}

// live does what people do, until it is time for the connection to end.
func (d *device) live(s *session, p plan) {
	if p.fate == fateLong {
		d.rest(s)
		return
	}
	d.sendAgain(s)
	end := time.Now().Add(p.lasts)
	if p.fate == fateLift {
		s.client.link.set(stands, stands)
		if !d.storm.sleepUnless(s.client.ctx, time.Duration(d.random.IntN(int(d.storm.cfg.life)))) {
			return
		}
		s.client.link.set(flows, flows)
		d.storm.count(string(p.fate))
	}
	for {
		left := time.Until(end)
		if left <= 0 || !d.storm.raging() {
			break
		}
		if err := d.act(s); err != nil {
			return
		}
		think := time.Duration(d.random.ExpFloat64() * float64(d.storm.cfg.think))
		if !d.storm.sleepUnless(s.client.ctx, min(think, left)) {
			return
		}
	}
	d.finish(s, p)
}

// finish ends a connection as was planned.
func (d *device) finish(s *session, p plan) {
	l := s.client.link
	if p.fate != fateReplay && p.fate != fateProbe {
		d.storm.count(string(p.fate))
	}
	switch p.fate {
	case fateFrame:
		m := d.write(d.user.peer(d.random), weight(d.random.IntN(3)))
		packets := m.packets(1 << 20)
		n := min(len(frames(packets)), len(payload(packets))) // on polling the request's head comes on top
		d.mu.Lock()
		d.outbox = append(d.outbox, m) // but the server cannot have it
		d.mu.Unlock()
		l.cutAfter(1 + d.random.IntN(n-1))
		_ = s.client.send(packets...)
	case fateAcks:
		d.burst(s, 1+d.random.IntN(5))
		l.cut(p.hard)
	case fateLostAcks:
		l.set(swallows, flows)
		d.burst(s, 1+d.random.IntN(5))
		d.storm.sleepUnless(s.client.ctx, time.Duration(d.random.IntN(int(d.storm.cfg.life/4))))
		l.cut(p.hard)
	case fateGoodbye:
		_ = s.client.send(packet{text: "41"})
		l.cut(false)
	case fateHalfOpen:
		in, out := swallows, swallows
		switch d.random.IntN(4) {
		case 0:
			in = flows
		case 1:
			in, out = stands, stands
		}
		l.set(in, out)
		d.burst(s, d.random.IntN(3))
		if d.random.IntN(2) == 0 {
			d.storm.sleepUnless(s.client.ctx, s.client.patience*2)
		} else {
			d.storm.sleepUnless(s.client.ctx, time.Duration(d.random.IntN(int(d.storm.cfg.life/2))))
		}
		d.abandon(s)
	case fateRefresh:
		l.set(stands, stands)
		d.abandon(s)
	case fateSlow:
		l.set(stands, flows)
		d.storm.summon(d)
		d.storm.sleepUnless(s.client.ctx, d.storm.cfg.life)
		l.cut(p.hard)
	default:
		l.cut(p.hard)
	}
}

// abandon leaves a session whose line lives on for a while.
func (d *device) abandon(s *session) {
	d.leave(s)
	s.abandoned = true
	after := time.Duration(d.random.IntN(int(d.storm.cfg.life)))
	d.storm.running.Go(func() {
		d.storm.nap(after)
		s.client.end(errCut)
	})
}

// rest sends again what was not acked, and listens until all is over.
func (d *device) rest(s *session) {
	d.mu.Lock()
	again := slices.Clone(d.outbox)
	d.mu.Unlock()
	for _, m := range again {
		if s.emit(m) != nil {
			return
		}
	}
	if d.log.acks {
		for d.wait(s, func() bool { return len(s.owed) > 0 }) {
			if s.callBack() != nil {
				return
			}
		}
		return
	}
	d.wait(s, func() bool { return false })
}

// rested reports whether the device has nothing left to do, and how far it is.
// With mu.
func (d *device) rested() bool {
	s := d.session
	return d.calm && s != nil && !s.left && s.ready && len(s.calls) == 0 && len(s.owed) == 0 && len(d.outbox) == 0
}

// chatPath is the name of the nth user; some need care.
func chatPath(n int) string {
	names := []string{"ana", "luis", "m/ñ", "José 🌊", "x"}
	return names[n%len(names)] + strings.Repeat("-", n%3) + fmt.Sprint(n)
}
