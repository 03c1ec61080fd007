package engineio

import "time"

// Proof that a client has read what it was sent: packets are processed in
// order, so whoever answers a ping has read everything in front of it, and
// whoever polls again what the last poll was answered with. Frames carry a
// mark, a number that only grows; Handler.OnProof is told of the highest one
// that is proven.

const (
	// proofEvery is the least time between two pings that are sent only for
	// the proof.
	proofEvery = time.Second
	// maxUnanswered is how many pings may be unanswered for another one to be
	// sent only for the proof.
	maxUnanswered = 64
)

// proof is the part of a Socket that knows what its client has read. The
// socket's mu guards it.
type proof struct {
	mark     uint64   // the highest that was queued
	asked    uint64   // the highest that a ping or a poll's answer stands behind
	proven   uint64   // the highest that OnProof was told of
	answered uint64   // what the last poll was answered with proves, once the next one comes
	pings    []uint64 // unanswered: the mark that each of them proves
	nextAsk  int64    // when a ping may be sent for the proof
	due      bool     // the wheel was told
}

// SendMarked is Send, after which OnProof is told of mark when the client has
// shown that it read past frames: Ask makes that soon. Marks only grow.
func (s *Socket) SendMarked(mark uint64, frames ...*Frame) bool {
	ok := s.queue(frames)
	if ok {
		s.proof.mark = max(s.proof.mark, mark)
		s.wake()
		s.mu.Unlock()
	}
	return ok
}

// Ask has the client show that it has read what it was sent with a mark, now or
// as soon as it may be asked again.
func (s *Socket) Ask() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ask() {
		s.wake()
	}
}

// ping queues a ping. With mu.
func (s *Socket) ping() {
	s.out.add(s.srv.ping, &s.srv.buffers)
	s.queued += s.srv.ping.cost()
	s.proof.pings = append(s.proof.pings, s.proof.mark)
	s.proof.asked = s.proof.mark
}

// ask pings for the proof of what was queued, now or as soon as it may; a
// polling client proves it by its next poll. It reports whether it has. With mu.
func (s *Socket) ask() bool {
	p := &s.proof
	if p.mark <= p.asked || s.ws == nil || s.state != stateOpen || len(p.pings) >= maxUnanswered {
		return false
	}
	now := s.srv.now()
	if now < p.nextAsk {
		if !p.due {
			p.due = true
			s.srv.beats.set(&s.beat, p.nextAsk)
		}
		return false
	}
	p.due = false
	p.nextAsk = now + int64(proofEvery)
	s.ping()
	if s.seen.Load() >= s.pinged { // else the older ping's time runs
		s.pinged = now
	}
	return true
}

// askAt is when ask has something to do again; 0: not by itself. With mu.
func (s *Socket) askAt() int64 {
	p := &s.proof
	if p.mark <= p.asked || s.ws == nil || len(p.pings) >= maxUnanswered {
		return 0
	}
	return max(p.nextAsk, 1)
}

// pong takes the answer to the oldest ping.
func (s *Socket) pong() {
	s.mu.Lock()
	p := &s.proof
	if len(p.pings) == 0 { // nobody has asked
		s.mu.Unlock()
		return
	}
	mark := p.pings[0]
	p.pings = p.pings[1:]
	news := mark > p.proven
	p.proven = max(p.proven, mark)
	s.mu.Unlock()
	if news && s.enter() {
		defer s.leave()
		s.handler.OnProof(mark)
	}
}

// polled takes a poll for the proof that the last one's answer was read, and so
// does the end of an upgrade. With mu. A call of the handler may be under way
// that waits for this very poll: OnProof has a goroutine of its own.
func (s *Socket) polled() {
	p := &s.proof
	mark := p.answered
	if mark <= p.proven {
		return
	}
	p.proven = mark
	s.srv.goRun(func() {
		if s.enter() {
			defer s.leave()
			s.handler.OnProof(mark)
		}
	})
}

// WaitQueue waits until at most below bytes are queued for the client, and
// reports false when it has gone, or goes, before that. A polling client that
// stops to poll meanwhile is cut off. Where the client itself waits, see entangled,
// it does not. One call at a time.
func (s *Socket) WaitQueue(below int) bool {
	s.mu.Lock()
	if s.state == stateOpen && s.queued > below && !s.entangled() {
		done := make(chan struct{})
		s.drained, s.drainTo = done, below
		s.pollBy = s.srv.now() + int64(s.srv.cfg.PingInterval+s.srv.cfg.PingTimeout)
		at := s.nextBeat()
		s.mu.Unlock()
		s.srv.beats.set(&s.beat, at)
		<-done
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	return s.state == stateOpen
}

// drain tells WaitQueue, if it waits for what is so now. With mu.
func (s *Socket) drain() {
	if s.drained != nil && (s.queued <= s.drainTo || s.state != stateOpen || s.entangled()) {
		close(s.drained)
		s.drained = nil
	}
}

// entangled reports whether the client takes nothing before its POST is answered: its
// WebSocket has proven itself, so it has stopped to poll, and it says "5" when that
// POST has ended. What is handled in it may be what WaitQueue holds up. With mu.
func (s *Socket) entangled() bool {
	return s.posting && s.probed && s.probe != nil && s.ws == nil && s.poll == nil && !s.answers
}

// idle reports whether WaitQueue waits for a client that does not poll. With mu.
func (s *Socket) idle(now int64) bool {
	return s.drained != nil && s.ws == nil && s.poll == nil && !s.answers && now >= s.pollBy
}
