package wiretest

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Net is a network in memory with one listener: an http.Server can Serve it,
// and clients Dial it. Nothing of it is known to the kernel, so that server and
// clients fit into a bubble of testing/synctest. Make it inside the bubble.
type Net struct {
	backlog chan net.Conn
	closed  chan struct{}
	close   sync.Once

	mu   sync.Mutex // guards port
	port int        // of the last client
}

// NewNet returns a Net that is listening.
func NewNet() *Net {
	return &Net{backlog: make(chan net.Conn), closed: make(chan struct{}), port: 10_000}
}

// Dial connects to the listener. Both ends hold pipeBuffer bytes each way, as
// sockets do.
func (n *Net) Dial() (net.Conn, error) {
	n.mu.Lock()
	n.port++
	client, server := pipe(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: n.port}, n.Addr())
	n.mu.Unlock()
	select {
	case n.backlog <- server:
		return client, nil
	case <-n.closed:
		return nil, syscall.ECONNREFUSED
	}
}

// Accept implements net.Listener.
func (n *Net) Accept() (net.Conn, error) {
	select {
	case c := <-n.backlog:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (n *Net) Close() error {
	n.close.Do(func() { close(n.closed) })
	return nil
}

// Addr implements net.Listener.
func (*Net) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 80), Port: 80} }

// On makes Connect use the network n instead of the real one.
func On(n *Net) Option { return func(o *options) { o.dial = n.Dial } }

// Header adds a whole line to the handshake's headers.
func Header(line string) Option {
	return func(o *options) { o.headers = append(o.headers, line) }
}

// pipeBuffer is what one direction of a pipe holds before writing waits.
const pipeBuffer = 256 << 10

// pipe returns the two ends of a connection.
func pipe(a, b net.Addr) (net.Conn, net.Conn) {
	there, back := newFlow(), newFlow()
	return &pipeEnd{in: back, out: there, local: a, remote: b}, &pipeEnd{in: there, out: back, local: b, remote: a}
}

// flow is one direction of a pipe.
type flow struct {
	mu      sync.Mutex // guards the rest
	buf     []byte
	ended   bool          // the writer has closed
	refused bool          // the reader has closed
	change  chan struct{} // closed at the next change
	read    deadline
	write   deadline
}

// deadline is a point in time after which one kind of operation fails.
type deadline struct {
	timer  *time.Timer
	passed bool
}

func newFlow() *flow { return &flow{change: make(chan struct{})} }

func (f *flow) changed() { // with mu
	close(f.change)
	f.change = make(chan struct{})
}

func (f *flow) set(d *deadline, t time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.passed = false
	switch left := time.Until(t); {
	case t.IsZero():
	case left <= 0:
		d.passed = true
	default:
		var mine *time.Timer
		mine = time.AfterFunc(left, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			if d.timer == mine {
				d.passed = true
				f.changed()
			}
		})
		d.timer = mine
	}
	f.changed()
}

// pipeEnd is one end of a pipe.
type pipeEnd struct {
	in, out       *flow
	local, remote net.Addr
}

func (c *pipeEnd) Read(p []byte) (int, error) {
	f := c.in
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case f.refused:
			return 0, net.ErrClosed
		case f.read.passed:
			return 0, os.ErrDeadlineExceeded
		case len(f.buf) > 0:
			n := copy(p, f.buf)
			f.buf = f.buf[n:]
			f.changed()
			return n, nil
		case f.ended:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		f.wait()
	}
}

func (c *pipeEnd) Write(p []byte) (int, error) {
	f := c.out
	f.mu.Lock()
	defer f.mu.Unlock()
	written := 0
	for {
		switch {
		case f.ended:
			return written, net.ErrClosed
		case f.refused:
			return written, syscall.EPIPE
		case f.write.passed:
			return written, os.ErrDeadlineExceeded
		case len(p) == 0:
			return written, nil
		}
		if n := min(len(p), pipeBuffer-len(f.buf)); n > 0 {
			f.buf = append(f.buf, p[:n]...)
			p = p[n:]
			written += n
			f.changed()
			continue
		}
		f.wait()
	}
}

func (f *flow) wait() { // with mu, which it gives up meanwhile
	change := f.change
	f.mu.Unlock()
	<-change
	f.mu.Lock()
}

// Close implements net.Conn: the other end may still read what was written.
func (c *pipeEnd) Close() error {
	c.in.mu.Lock()
	closed := c.in.refused
	c.in.refused = true
	c.in.changed()
	c.in.mu.Unlock()
	err := c.CloseWrite()
	for _, set := range []func(time.Time) error{c.SetReadDeadline, c.SetWriteDeadline} {
		err = errors.Join(err, set(time.Time{})) // stops the timers
	}
	if closed {
		return net.ErrClosed
	}
	return err
}

// CloseWrite tells the other end that no more will come, as TCP can.
func (c *pipeEnd) CloseWrite() error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.ended = true
	c.out.changed()
	return nil
}

func (c *pipeEnd) LocalAddr() net.Addr  { return c.local }
func (c *pipeEnd) RemoteAddr() net.Addr { return c.remote }

func (c *pipeEnd) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *pipeEnd) SetReadDeadline(t time.Time) error {
	c.in.set(&c.in.read, t)
	return nil
}

func (c *pipeEnd) SetWriteDeadline(t time.Time) error {
	c.out.set(&c.out.write, t)
	return nil
}
