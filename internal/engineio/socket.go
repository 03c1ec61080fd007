package engineio

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Handler receives what one socket's client sends. Its methods are called one
// at a time, in the order the client sent, OnClose exactly once and last. They
// may block: only this client's own next packet waits. Slices are valid during
// the call.
type Handler interface {
	OnText(p []byte)
	OnBinary(p []byte)
	// OnTooLarge stands for a message of size bytes that was read past; head
	// is its beginning, nil if it was binary.
	OnTooLarge(head []byte, size int)
	// OnProof tells that the client has read everything that was sent with
	// this mark (SendMarked) or a lower one.
	OnProof(mark uint64)
	OnClose(r Reason)
}

// Socket is one client: a session that lives on one transport after the other.
type Socket struct {
	srv     *Server
	id      string
	number  uint64 // of the server's sockets
	remote  string
	capKey  string
	opened  int64
	handler Handler
	request *http.Request // that opened the session; nil once accepted
	beat    beat

	// inbound serialises calls of handler, which polling requests and the
	// WebSocket's reader can both make around an upgrade.
	inbound sync.Mutex
	handles atomic.Bool  // a call of handler is under way
	seen    atomic.Int64 // when the client last showed life
	unheard atomic.Int64 // bytes written since the last byte was read
	known   atomic.Bool  // accepted by the layer above; changes under mu

	mu       sync.Mutex // guards the rest
	state    state
	reason   Reason
	received int // bytes, until accepted
	out      outbox
	queued   int     // bytes counted: out, and what is being written
	big      int     // bytes that do not count against MaxQueue, see overflows
	writing  bool    // somebody writes, or is about to: a flusher, or a goroutine
	farewell bool    // the close packet goes out, to a client that polls
	ws       *wsConn // the transport; nil: polling
	probe    *wsConn // a WebSocket that asks to become it
	probed   bool    // and has proven itself
	probeBy  int64
	poll     *poll // the GET that waits
	brisk    bool  // the last one did not wait long
	posting  bool  // a POST is being read or handled
	pinged   int64 // when the last ping was queued
	proof    proof
	drained  chan struct{} // closed when WaitQueue may go on; nil: it does not wait
	drainTo  int
	pollBy   int64 // when a polling client has to have polled while WaitQueue waits
	answers  bool  // its last poll is being answered
	closeBy  int64
	expires  int64 // when CloseAfter ends the session; 0: never

	over       bool          // the lifetime is
	done       chan struct{} // closed then; nil: nobody has asked for it
	afterwards []*func()     // called then
}

type state uint8

const (
	stateOpen    state = iota
	stateClosing       // takes nothing more, hands out what is queued
	stateClosed
)

// pingAhead is the size from which a frame is preceded by a ping: it may take
// a slow link so long that the client would give up waiting for the next one.
const pingAhead = 128 << 10

// ID returns the session id: a secret between server and client.
func (s *Socket) ID() string { return s.id }

// RemoteAddr returns what Config.RemoteAddr said of the opening request.
func (s *Socket) RemoteAddr() string { return s.remote }

// Request returns the request that opened the session, nil once accepted.
func (s *Socket) Request() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.request
}

// Context returns a context that ends with the session, also while the
// handler is at work.
func (s *Socket) Context() context.Context {
	return (*lifetime)(s)
}

// Closed reports whether the session has ended, or is ending, and why.
func (s *Socket) Closed() (Reason, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason, s.state != stateOpen
}

// Transport returns the name of the current transport.
func (s *Socket) Transport() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ws != nil {
		return WebSocket
	}
	return Polling
}

// Queued returns how many bytes wait for the client.
func (s *Socket) Queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queued
}

// Accept lifts the limits on clients that nobody knows yet.
func (s *Socket) Accept() {
	s.mu.Lock()
	was := s.known.Swap(true)
	s.request = nil
	s.mu.Unlock()
	if !was {
		s.srv.opening.release(s.capKey)
	}
}

// Send queues frames, all together and in order, and never blocks. It reports
// false, and queues none, when the socket no longer takes any: it is closed,
// or this was too much for its queue and has closed it.
func (s *Socket) Send(frames ...*Frame) bool {
	ok := s.queue(frames)
	if ok {
		s.wake()
		s.mu.Unlock()
	}
	return ok
}

// SendBuilt is SendMarked of one text message that nobody else gets: build
// appends it to what it is given, size bytes at most, and calls nothing that
// could wait. Without a mark, 0, it is Send.
func (s *Socket) SendBuilt(mark uint64, size int, build func(b []byte) []byte) bool {
	if size > copied {
		return s.SendMarked(mark, Text(build(make([]byte, 0, size))))
	}
	s.mu.Lock()
	if !s.takes(size) {
		return false
	}
	s.queued -= s.out.cost
	s.out.text(size, build, &s.srv.buffers)
	s.queued += s.out.cost
	s.proof.mark = max(s.proof.mark, mark)
	s.wake()
	s.mu.Unlock()
	return true
}

// queue queues frames, and leaves mu locked if it has.
func (s *Socket) queue(frames []*Frame) bool {
	n := 0
	for _, f := range frames {
		n += f.cost()
	}
	s.mu.Lock()
	if !s.takes(n) {
		return false
	}
	for _, f := range frames {
		if f.Len() >= pingAhead {
			s.ping()
		}
		s.out.add(f, &s.srv.buffers)
	}
	s.queued += n
	return true
}

// takes reports whether n bytes more can be queued. With mu, which it gives up
// if they cannot.
func (s *Socket) takes(n int) bool {
	if s.state != stateOpen {
		s.mu.Unlock()
		return false
	}
	if s.overflows(n) {
		s.mu.Unlock()
		s.kill(SlowReader)
		return false
	}
	return true
}

// overflows reports whether n bytes more are too many for the queue. A client
// that has taken most of what it was sent is sent anything; and if that is big
// for the queue it does not count, until the client has taken most of it again:
// it would else end the client's connection again and again. With mu.
func (s *Socket) overflows(n int) bool {
	limit := s.srv.cfg.MaxQueue
	if s.queued > limit/4 {
		return s.queued+n > limit+s.big
	}
	s.big = 0
	if n > limit/2 {
		s.big = n
	}
	return false
}

// wake gets what is queued on its way. With mu.
func (s *Socket) wake() {
	if s.ws == nil {
		s.poll.wake()
		return
	}
	if !s.writing {
		s.writing = true
		s.srv.flusher(s).add(s)
	}
}

// lightLoad is what may be queued for a client that still gets volatile frames.
const lightLoad = 16 << 10

// SendVolatile is Send for what is worth nothing later: it drops the frames
// when the client cannot take them now.
func (s *Socket) SendVolatile(frames ...*Frame) bool {
	return s.Takes() && s.Send(frames...)
}

// Takes reports whether the client can take volatile frames now.
func (s *Socket) Takes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == stateOpen && s.queued <= lightLoad && (s.ws != nil || s.poll != nil)
}

// Close ends the session: nothing more is handled or queued, what is queued,
// and last behind it, is handed to the client, within Config.CloseTimeout.
func (s *Socket) Close(r Reason, last ...*Frame) {
	s.mu.Lock()
	if s.state != stateOpen {
		s.mu.Unlock()
		return
	}
	if s.ws == nil && s.poll == nil && r == ProtocolError { // its next poll is answered 400
		s.mu.Unlock()
		s.kill(r)
		return
	}
	for _, f := range last {
		s.out.add(f, &s.srv.buffers)
		s.queued += f.cost()
	}
	s.state = stateClosing
	s.reason = r
	s.closeBy = s.srv.now() + int64(s.srv.cfg.CloseTimeout)
	at := s.closeBy
	var probe *wsConn
	if !s.probed { // else the client has stopped to poll, and says "5" any moment
		probe, s.probe = s.probe, nil
	}
	s.drain()
	s.wake()
	s.mu.Unlock()
	if probe != nil {
		probe.abort()
	}
	s.srv.beats.set(&s.beat, at)
	s.left()
}

// kill ends the session at once: what is queued is lost.
func (s *Socket) kill(r Reason) {
	s.mu.Lock()
	was := s.state
	if was == stateClosed {
		s.mu.Unlock()
		return
	}
	s.state = stateClosed
	if was == stateOpen {
		s.reason = r
	}
	ws, probe := s.ws, s.probe
	s.probe = nil
	s.out, s.queued = outbox{}, 0
	s.drain()
	s.poll.wake()
	s.mu.Unlock()
	if ws != nil {
		ws.abort()
	}
	if probe != nil {
		probe.abort()
	}
	s.srv.delist(s)
	s.srv.beats.remove(&s.beat)
	if was == stateOpen {
		s.left()
	}
	s.srv.running.Done() // the other one since enlist
}

// left tells the handler, after whatever it is still handling.
func (s *Socket) left() {
	s.Accept() // gives the place among the opening back, if it still has one
	(*lifetime)(s).end()
	s.srv.goRun(func() {
		defer s.srv.running.Done() // one of the two since enlist
		s.inbound.Lock()
		defer s.inbound.Unlock()
		s.handler.OnClose(s.reason)
	})
}

// stillborn ends a socket that the server has not taken up.
func (s *Socket) stillborn() {
	s.mu.Lock()
	s.state, s.reason = stateClosed, Draining
	s.mu.Unlock()
	(*lifetime)(s).end()
	s.Accept() // gives its place back
	s.handler.OnClose(Draining)
}

// enter begins a call of the handler, in turn; not once the socket is closing.
// leave ends it.
func (s *Socket) enter() bool {
	s.inbound.Lock()
	s.mu.Lock()
	open := s.state == stateOpen
	s.mu.Unlock()
	if !open {
		s.inbound.Unlock()
		return false
	}
	s.handles.Store(true)
	return true
}

func (s *Socket) leave() {
	s.handles.Store(false)
	s.alive()
	s.inbound.Unlock()
}

func (s *Socket) text(p []byte) {
	if s.enter() {
		defer s.leave() // net/http goes on after a panic
		s.handler.OnText(p)
	}
}

func (s *Socket) binary(p []byte) {
	if s.enter() {
		defer s.leave()
		s.handler.OnBinary(p)
	}
}

// alive takes note of a sign of life; heard of one that was read.
func (s *Socket) alive() { s.seen.Store(s.srv.now()) }

func (s *Socket) heard() {
	s.unheard.Store(0)
	s.alive()
}

// wrote takes note of n bytes that went to the client, or only to what stands
// between: the kernel's buffer, a proxy's.
func (s *Socket) wrote(n int) { s.unheard.Add(int64(n)) }

// slowestLink is the bytes a second that what was written is given time for,
// before a client that says nothing counts as gone: its answer to a ping can
// only come after what is on the way to it.
const slowestLink = 16 << 10

// deadAt is when a client that shows no life until then is gone. The first
// second's worth of bytes is within the timeout; more than the largest message
// is hardly on its way all at once. With mu.
func (s *Socket) deadAt() int64 {
	ahead := min(max(s.unheard.Load()-slowestLink, 0), int64(s.srv.cfg.MaxPayload))
	return s.pinged + int64(s.srv.cfg.PingTimeout) + ahead*int64(time.Second)/slowestLink
}

// receive counts bytes that came in; false when they are too many for a client
// that is not accepted.
func (s *Socket) receive(n int) bool {
	s.heard()
	if s.known.Load() {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known.Load() {
		return true
	}
	s.received += n
	return s.received <= s.srv.cfg.OpenBytes
}

// packet handles one packet of type t with the text p, from either transport.
// It reports false when the packet ends the session.
func (s *Socket) packet(t byte, p []byte) bool {
	switch t {
	case packetMessage:
		s.text(p)
	case packetPong:
		s.pong()
	case packetUpgrade, packetNoop:
		// A sign of life; the reference server ignores late upgrades too.
	case packetClose:
		if s.Transport() == WebSocket {
			s.Close(TransportClose)
		} else {
			s.kill(TransportClose) // the pending poll is answered with a noop
		}
		return false
	default: // open and ping are the server's to send, the rest is unknown
		s.Close(ProtocolError)
		return false
	}
	return true
}

// start puts a new socket to work on its first transport; false when the
// server has begun to shut down.
func (s *Socket) start() bool {
	s.beat.sock = s
	s.pinged = s.opened
	s.alive()
	s.handler = s.srv.cfg.Open(s)
	if !s.srv.enlist(s) {
		s.stillborn()
		return false
	}
	s.mu.Lock()
	at := s.nextBeat()
	s.mu.Unlock()
	s.srv.beats.set(&s.beat, at)
	return true
}

// beatAt does what is due at now and returns when to come back; 0: never.
func (s *Socket) beatAt(now int64) int64 {
	cfg := &s.srv.cfg
	s.mu.Lock()
	switch {
	case s.state == stateClosed:
		s.mu.Unlock()
		return 0
	case s.state == stateClosing:
		at := s.closeBy
		s.mu.Unlock()
		if now < at {
			return at
		}
		s.kill(s.reason)
		return 0
	case !s.known.Load() && now >= s.opened+int64(cfg.OpenTimeout):
		s.mu.Unlock()
		s.Close(OpenTimeout)
		return 0 // Close has set the next beat
	case s.expires != 0 && now >= s.expires:
		s.mu.Unlock()
		s.Close(ForcedClose)
		return 0
	}
	var stale *wsConn
	if s.probe != nil && now >= s.probeBy {
		stale, s.probe = s.probe, nil
	}
	if s.handles.Load() {
		s.alive() // what the client says waits for a slow hook: no fault of its own
	}
	silent := s.seen.Load() < s.pinged
	dead := silent && now >= s.deadAt()
	idle := s.idle(now)
	if !silent && now >= s.pinged+s.pingEvery() {
		s.pinged = now
		s.ping()
		s.wake()
	}
	if at := s.askAt(); at != 0 && now >= at {
		s.ask()
		s.wake()
	}
	at := s.nextBeat()
	s.mu.Unlock()
	if stale != nil {
		stale.abort()
	}
	if idle {
		s.kill(SlowReader)
		return 0
	}
	if dead {
		s.kill(PingTimeout)
		return 0
	}
	return at
}

// pingEvery is the interval less what the wheel may be late by, so that a
// silent client is noticed within PingInterval + PingTimeout.
func (s *Socket) pingEvery() int64 {
	return int64(s.srv.cfg.PingInterval - 2*s.srv.beats.tick)
}

// nextBeat is when there may next be something to do. With mu.
func (s *Socket) nextBeat() int64 {
	cfg := &s.srv.cfg
	at := s.pinged + s.pingEvery()
	if s.seen.Load() < s.pinged {
		// The answer may come at any time, and then the next ping is due.
		at = min(max(at, s.srv.now()+s.pingEvery()/4), s.deadAt())
	}
	if !s.known.Load() {
		at = min(at, s.opened+int64(cfg.OpenTimeout))
	}
	if s.probe != nil {
		at = min(at, s.probeBy)
	}
	if s.expires != 0 {
		at = min(at, s.expires)
	}
	if ask := s.askAt(); ask != 0 {
		at = min(at, ask)
	}
	if s.drained != nil && s.ws == nil && !s.answers {
		at = min(at, s.pollBy)
	}
	return max(at, s.srv.now())
}

// openPacket is the handshake answer.
func (s *Socket) openPacket(upgrades string) string {
	cfg := &s.srv.cfg
	return `0{"sid":"` + s.id + `","upgrades":[` + upgrades + `],"pingInterval":` + millis(cfg.PingInterval) +
		`,"pingTimeout":` + millis(cfg.ClientTimeout) + `,"maxPayload":` + itoa(cfg.MaxPayload) + `}`
}

func millis(d time.Duration) string { return itoa(int(d / time.Millisecond)) }

// Stay takes CloseAfter back.
func (s *Socket) Stay() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expires = 0
}

// Go runs f on a goroutine that Server.Shutdown waits for. It is for the
// handler, before its OnClose has returned.
func (s *Socket) Go(f func()) { s.srv.goRun(f) }

// Turn runs f on such a goroutine, in turn with the calls of the handler.
func (s *Socket) Turn(f func()) {
	s.Go(func() {
		s.inbound.Lock()
		defer s.inbound.Unlock()
		f()
	})
}

// CloseAfter closes the session after d, if the client has not done it by
// then.
func (s *Socket) CloseAfter(d time.Duration) {
	at := s.srv.now() + int64(d)
	s.mu.Lock()
	s.expires = at
	s.mu.Unlock()
	s.srv.beats.set(&s.beat, at)
}
