package engineio

import (
	"sync"
	"time"
)

// wheel is the one timer behind all sockets: heartbeats, the time to be
// accepted, to upgrade, to close. It ticks while it has entries, and runs
// nothing while it has none.
type wheel struct {
	srv  *Server
	tick time.Duration

	mu    sync.Mutex // guards the rest
	slots [256]*beat
	pos   int   // the slot that fires next
	next  int64 // when it does
	count int
	timer *time.Timer
	armed bool
	done  bool
}

// beat is a socket's place in the wheel.
type beat struct {
	prev, next *beat
	slot       int
	at         int64
	in         bool
	sock       *Socket
}

// The tick is a fraction of the times it serves: deadlines are met within it.
const ticksPerInterval = 40

func (w *wheel) init(s *Server) {
	w.srv = s
	w.tick = min(s.cfg.PingInterval, s.cfg.PingTimeout, s.cfg.OpenTimeout, s.cfg.UpgradeTimeout, s.cfg.CloseTimeout) / ticksPerInterval
	w.tick = max(w.tick, time.Millisecond)
}

// set makes b fire at or up to a tick after at, if it does not fire earlier
// anyway: whoever fires asks what is due next.
func (w *wheel) set(b *beat, at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done || b.in && b.at <= at {
		return
	}
	w.unlink(b)
	b.at = at
	if w.count == 0 {
		w.next = w.srv.now() + int64(w.tick)
	}
	ahead := int64(0)
	if at > w.next {
		ahead = (at - w.next + int64(w.tick) - 1) / int64(w.tick)
	}
	ahead = min(ahead, int64(len(w.slots)-1)) // an early visit does no harm: it asks for the next
	b.slot = (w.pos + int(ahead)) % len(w.slots)
	b.in = true
	if b.next = w.slots[b.slot]; b.next != nil {
		b.next.prev = b
	}
	w.slots[b.slot] = b
	w.count++
	if !w.armed {
		w.arm()
	}
}

func (w *wheel) remove(b *beat) {
	w.mu.Lock()
	w.unlink(b)
	w.mu.Unlock()
}

func (w *wheel) unlink(b *beat) { // with mu
	if !b.in {
		return
	}
	if b.prev != nil {
		b.prev.next = b.next
	} else {
		w.slots[b.slot] = b.next
	}
	if b.next != nil {
		b.next.prev = b.prev
	}
	b.prev, b.next, b.in = nil, nil, false
	w.count--
}

func (w *wheel) arm() { // with mu
	w.armed = true
	d := time.Duration(max(w.next-w.srv.now(), 0))
	if w.timer == nil {
		w.timer = time.AfterFunc(d, w.fire)
		return
	}
	w.timer.Reset(d)
}

// fire visits the sockets of every slot whose time has come.
func (w *wheel) fire() {
	w.mu.Lock()
	now := w.srv.now()
	var due []*Socket
	for ; w.next <= now && w.count > 0; w.next += int64(w.tick) {
		for b := w.slots[w.pos]; b != nil; b = w.slots[w.pos] {
			due = append(due, b.sock)
			w.unlink(b)
		}
		w.pos = (w.pos + 1) % len(w.slots)
	}
	w.armed = false
	w.mu.Unlock()

	for _, s := range due {
		if at := s.beatAt(now); at != 0 {
			w.set(&s.beat, at)
		}
	}

	w.mu.Lock()
	if w.count > 0 && !w.armed && !w.done {
		w.arm()
	}
	w.mu.Unlock()
}

// stop ends the timer. A visit under way may still finish.
func (w *wheel) stop() {
	w.mu.Lock()
	w.done = true
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
}
