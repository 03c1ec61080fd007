package engineio

import (
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// flusher writes what is queued, for a part of the sockets on a WebSocket: one
// write for all that has come together. Its goroutine lives while there is
// something to write, and waits for no client.
type flusher struct {
	srv  *Server
	work func() // run, without a closure for each time

	mu      sync.Mutex // guards the rest
	dirty   []*Socket
	spare   []*Socket // the array that was dirty before, empty
	running bool
}

// flusher returns the one of a socket.
func (s *Server) flusher(sock *Socket) *flusher {
	return &s.flushers[sock.number%uint64(len(s.flushers))]
}

// add makes the flusher write what s has queued. s.writing is set by who calls
// it, and stays so until the queue is empty.
func (f *flusher) add(s *Socket) {
	f.mu.Lock()
	f.dirty = append(f.dirty, s)
	start := !f.running
	f.running = true
	f.mu.Unlock()
	if start {
		f.srv.running.Add(1) // as goRun does, and without what that allocates
		go f.work()
	}
}

func (f *flusher) run() {
	defer f.srv.running.Done()
	for f.round() {
		continue
	}
}

// round writes for everyone who waits; it reports whether there was anyone.
func (f *flusher) round() (more bool) {
	// Whoever is ready to read goes first: what comes of it is in the same write.
	runtime.Gosched()
	f.mu.Lock()
	batch := f.dirty
	f.dirty, f.spare = f.spare, nil
	more = len(batch) > 0
	f.running = more
	f.mu.Unlock()
	for i, s := range batch {
		batch[i] = nil
		f.flush(s)
	}
	f.mu.Lock()
	if f.spare == nil && cap(batch) <= maxSpare {
		f.spare = batch[:0]
	}
	f.mu.Unlock()
	return more
}

// maxSpare is how many places a flusher keeps for those who wait.
const maxSpare = 1 << 12

// flush is Socket.flush. A mistake of ours must cost no more than the one who
// has found it.
func (f *flusher) flush(s *Socket) {
	defer func() {
		if r := recover(); r != nil {
			f.srv.cfg.Log.Error("panic while writing to a client", "panic", r, "stack", string(debug.Stack()))
			s.kill(TransportError)
		}
	}()
	s.flush()
}

// flush writes what is queued as far as that goes without waiting. The rest is a
// goroutine's, which waits.
func (s *Socket) flush() {
	batch, c := s.batch()
	if c == nil {
		return
	}
	segments, cost := batch.segments, batch.cost
	if c.raw != nil {
		for len(segments) > 0 && s.tryWrite(c, &segments[0]) {
			segments = segments[1:]
		}
		if len(segments) == 0 && batch.tail != nil {
			tail := segment{batch.tail.b, batch.tail}
			if s.tryWrite(c, &tail) {
				batch.tail = nil
			} else {
				segments, batch.tail = []segment{tail}, nil
			}
		}
	}
	switch {
	case batch.tail != nil:
		segments = append(segments, segment{batch.tail.b, batch.tail})
	case len(segments) == 0 && cost > 0: // all went
		if s.wroteBatch(cost) {
			s.srv.flusher(s).add(s)
		}
		return
	}
	s.srv.goRun(func() { s.write(c, segments, cost) })
}

// tryWrite writes a segment if that goes without waiting, and else what of it
// does. An error is left to a write that waits.
func (s *Socket) tryWrite(c *wsConn, seg *segment) bool {
	n := c.raw.tryWrite(seg.b)
	s.wrote(n)
	if n < len(seg.b) {
		seg.b = seg.b[n:]
		return false
	}
	s.srv.buffers.put(seg.own)
	return true
}

// write is the goroutine that writes and waits, until nothing is queued.
func (s *Socket) write(c *wsConn, segments []segment, cost int) {
	for {
		for _, seg := range segments {
			if !c.write(seg.b) {
				s.kill(TransportError)
				return
			}
			s.srv.buffers.put(seg.own)
		}
		if c.raw != nil && c.nc.SetWriteDeadline(time.Time{}) != nil { // the flusher's writes have none
			s.kill(TransportError)
			return
		}
		if !s.wroteBatch(cost) {
			return
		}
		var batch outbox
		if batch, c = s.batch(); c == nil {
			return
		}
		if batch.empty() {
			c.bye(s.reason.closeCode(), s.reason.String())
			c.halfClose()
			return
		}
		segments, cost = batch.all(), batch.cost
	}
}

// batch takes what is queued for whoever writes. When there is nothing it ends
// the writing, and returns no connection; but while the socket is closing it
// returns nothing and the connection: that has to be closed.
func (s *Socket) batch() (outbox, *wsConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := s.out.take()
	if batch.empty() && s.state != stateClosing {
		s.writing = false
		return batch, nil
	}
	return batch, s.ws
}

// wroteBatch takes note that what counted cost was written, and ends the writing
// if there is nothing more to do.
func (s *Socket) wroteBatch(cost int) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queued = max(s.queued-cost, 0) // kill has set it to 0
	s.drain()
	s.writing = !s.out.empty() || s.state == stateClosing
	return s.writing
}
