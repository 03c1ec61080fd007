package engineio

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"reflect"
	"sync"
	"time"
)

// A request that waits costs net/http 25 KB: its buffers, and the stacks of two
// goroutines. So a poll that has nothing to be answered with is parked: its
// connection is taken out of the host's HTTP server (Hijack), waits on a small
// goroutine, and after the answer goes back into that very server, for what the
// client asks next.

// How long a poll waits in net/http before it is parked: parking costs more than
// a short wait, and who is in the middle of a conversation has another soon.
const (
	parkAfter = 50 * time.Millisecond
	briskPoll = time.Second // if the one before was answered within this time
)

// park parks a poll, unless it has something to be answered with, or a middleware
// has a say in its answer. It reports whether it has.
func (s *Socket) park(ctx context.Context, w http.ResponseWriter, r *http.Request, p *poll, brisk bool) bool {
	after := parkAfter
	if brisk {
		after = briskPoll
	}
	soon := time.NewTimer(after)
	defer soon.Stop()
	select {
	case <-p.ready:
		p.signal() // for whoever looks next
		return false
	case <-ctx.Done():
		return false
	case <-soon.C:
	}
	out := takeOut(w, r)
	if out == nil {
		return false
	}
	out.exit = s.srv.parking.enter(out.from, s.srv.cfg.Log)
	s.mu.Lock()
	closed := s.state == stateClosed // then the poll is ready
	if !closed {
		s.srv.goRun(func() { s.waitParked(p, out) })
	}
	s.mu.Unlock()
	if closed {
		s.waitParked(p, out)
	}
	return true
}

// waitParked answers a parked poll when it is ready, or finds that its client
// has gone.
func (s *Socket) waitParked(p *poll, out *parkedPoll) {
	s.mu.Lock()
	ready := len(p.ready) > 0
	if !ready {
		p.parked = out.conn
	}
	s.mu.Unlock()
	gone := false
	if !ready {
		gone = out.gone(p.ready)
	}
	answered := s.answerPoll(out, p, gone)
	s.srv.parking.leave(out.exit, out.conn, answered && !out.ahead)
}

// parkedPoll is a connection that was taken out of net/http, and the
// ResponseWriter of the request that came over it.
type parkedPoll struct {
	from   *http.Server
	exit   *exit
	conn   net.Conn
	header http.Header
	head   []byte // of the answer, not yet written
	ahead  bool   // the client has sent more already: that is lost, and the connection with it
}

// takeOut takes a request's connection out of net/http; nil: that cannot be. A
// ResponseWriter of a middleware's may do more with an answer than to write it.
func takeOut(w http.ResponseWriter, r *http.Request) *parkedPoll {
	from, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	if from == nil || r.ProtoMajor != 1 || r.ProtoMinor < 1 || r.Close || reflect.TypeOf(w).String() != "*http.response" {
		return nil
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	return &parkedPoll{from: from, conn: conn, header: w.Header(), ahead: rw.Reader.Buffered() > 0}
}

// gone waits until the poll is ready, and reports whether its client has gone
// before that.
func (p *parkedPoll) gone(ready <-chan struct{}) bool {
	if !p.ahead {
		n, err := p.conn.Read(make([]byte, 1))
		if err != nil {
			return !errors.Is(err, os.ErrDeadlineExceeded)
		}
		p.ahead = n > 0
	}
	<-ready
	return false
}

// Header implements http.ResponseWriter.
func (p *parkedPoll) Header() http.Header { return p.header }

// WriteHeader implements http.ResponseWriter: the head goes with the body.
func (p *parkedPoll) WriteHeader(status int) {
	p.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	if p.ahead {
		p.header.Set("Connection", "close")
	}
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 " + itoa(status) + " " + http.StatusText(status) + "\r\n")
	_ = p.header.Write(&b) // into memory
	b.WriteString("\r\n")
	p.head = b.Bytes()
}

// Write implements http.ResponseWriter.
func (p *parkedPoll) Write(b []byte) (int, error) {
	n, err := p.conn.Write(append(p.head, b...))
	n = max(n-len(p.head), 0)
	p.head = nil
	return n, err
}

// Flush implements http.Flusher: nothing is held back.
func (p *parkedPoll) Flush() {}

// SetWriteDeadline is for http.ResponseController.
func (p *parkedPoll) SetWriteDeadline(at time.Time) error { return p.conn.SetWriteDeadline(at) }

// parking gives connections back to the HTTP servers that they came from.
type parking struct {
	mu      sync.Mutex // guards exits and closed
	exits   map[*http.Server]*exit
	closed  bool
	running sync.WaitGroup // the exits
}

// exit is a net.Listener whose connections are not new. It is there while polls
// from its server are parked.
type exit struct {
	to     *http.Server
	parked int // guarded by parking.mu
	conns  chan net.Conn
	once   sync.Once
	done   chan struct{} // closed with it
}

// enter returns the exit to a server, for one poll that leaves; nil: there will
// be none any more.
func (k *parking) enter(to *http.Server, log *slog.Logger) *exit {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	e := k.exits[to]
	if e == nil {
		e = &exit{to: to, conns: make(chan net.Conn), done: make(chan struct{})}
		if k.exits == nil {
			k.exits = map[*http.Server]*exit{}
		}
		k.exits[to] = e
		k.running.Go(func() {
			defer func() {
				if r := recover(); r != nil { // the host's BaseContext or ConnContext
					log.Error("the HTTP server has panicked over a connection that was a poll's", "panic", r)
				}
				_ = e.Close() // it returns nothing else
			}()
			_ = to.Serve(e) // it returns when the server ends, or the exit does
		})
	}
	e.parked++
	return e
}

// leave gives a connection back, if it can be of use: its server may have ended.
func (k *parking) leave(e *exit, conn net.Conn, useful bool) {
	left := false
	if useful && e != nil && conn.SetDeadline(time.Time{}) == nil {
		select {
		case e.conns <- conn:
			left = true
		case <-e.done:
		}
	}
	if !left {
		_ = conn.Close() // what was to be said was written
	}
	if e == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if e.parked--; e.parked == 0 {
		delete(k.exits, e.to)
		_ = e.Close() // it returns nothing else
	}
}

// close waits for the exits to end: nothing is parked any more.
func (k *parking) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.running.Wait()
}

// Accept implements net.Listener.
func (e *exit) Accept() (net.Conn, error) {
	select {
	case c := <-e.conns:
		return c, nil
	case <-e.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (e *exit) Close() error {
	e.once.Do(func() { close(e.done) })
	return nil
}

// Addr implements net.Listener.
func (e *exit) Addr() net.Addr { return exitAddr{} }

type exitAddr struct{}

func (exitAddr) Network() string { return "parked" }
func (exitAddr) String() string  { return "a poll that was answered" }
