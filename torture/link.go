package torture

import (
	"errors"
	"net"
	"sync"
	"time"
)

// link is the line between one session and the server. It fails as lines fail:
// it is cut, in the middle of a frame if need be; it stands still and goes on;
// or it goes dead without a word, in one direction or both, while each side
// believes that the other is there.
type link struct {
	addr   string
	narrow bool                    // small buffers: who does not read is felt at once
	mangle func(net.Conn) net.Conn // what a proof puts in between; may be nil
	dead   chan struct{}           // closed when the line is cut

	mu      sync.Mutex // guards the rest
	strands []*strand
	cutDone bool
	in, out flow
	changed chan struct{} // closed when in or out change
	left    int           // bytes that may be written before the line is cut; -1: any number
}

// flow is what one direction of a link does with bytes.
type flow uint8

const (
	flows    flow = iota
	stands        // keeps them back
	swallows      // lets them disappear
)

var errCut = errors.New("the line was cut")

func newLink(addr string) *link {
	return &link{addr: addr, dead: make(chan struct{}), changed: make(chan struct{}), left: -1}
}

// strand is one TCP connection of a link: polling has several.
type strand struct {
	net.Conn
	link *link
}

// open dials the server.
func (l *link) open() (net.Conn, error) {
	nc, err := net.DialTimeout("tcp", l.addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	if t, ok := nc.(*net.TCPConn); ok && l.narrow {
		_ = t.SetReadBuffer(4 << 10) // a hint
	}
	s := &strand{Conn: nc, link: l}
	l.mu.Lock()
	over := l.cutDone
	l.strands = append(l.strands, s)
	l.mu.Unlock()
	if over {
		_ = nc.Close()
		return nil, errCut
	}
	if l.mangle != nil {
		return l.mangle(s), nil
	}
	return s, nil
}

// set changes what the line does from now on.
func (l *link) set(in, out flow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in, l.out = in, out
	close(l.changed)
	l.changed = make(chan struct{})
}

// cutAfter lets n more bytes out, and cuts the line.
func (l *link) cutAfter(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = n
}

// cut ends every connection: with a reset if hard, else properly.
func (l *link) cut(hard bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cutDone {
		return
	}
	l.cutDone = true
	close(l.dead)
	for _, s := range l.strands {
		if t, ok := s.Conn.(*net.TCPConn); ok && hard {
			_ = t.SetLinger(0)
		}
		_ = s.Conn.Close()
	}
}

func (l *link) inbound() (flow, chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.in, l.changed
}

func (l *link) outbound() (flow, chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out, l.changed
}

// allow takes n bytes of what may still be written, or as many as there are.
func (l *link) allow(n int) (allowed int, last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left < 0 {
		return n, false
	}
	allowed = min(n, l.left)
	l.left -= allowed
	return allowed, l.left == 0
}

// pass waits while the flow stands, and reports what it does then.
func (l *link) pass(direction func() (flow, chan struct{})) (flow, error) {
	for {
		f, changed := direction()
		if f != stands {
			return f, nil
		}
		select {
		case <-changed:
		case <-l.dead:
			return f, errCut
		}
	}
}

func (s *strand) Read(p []byte) (int, error) {
	if _, err := s.link.pass(s.link.inbound); err != nil {
		return 0, err
	}
	for {
		n, err := s.Conn.Read(p)
		f, stopped := s.link.pass(s.link.inbound)
		switch {
		case stopped != nil:
			return 0, stopped
		case f == flows:
			return n, err
		case err != nil: // that it has ended is swallowed as well
			<-s.link.dead
			return 0, errCut
		}
	}
}

func (s *strand) Write(p []byte) (int, error) {
	f, err := s.link.pass(s.link.outbound)
	switch {
	case err != nil:
		return 0, err
	case f == swallows:
		return len(p), nil
	}
	n, last := s.link.allow(len(p))
	n, err = s.Conn.Write(p[:n])
	if last {
		s.link.cut(false)
		return n, errCut
	}
	return n, err
}
