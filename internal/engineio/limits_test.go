package engineio_test

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// eager is a connection that sends more behind its first write, in the same
// segment.
type eager struct {
	net.Conn
	behind []byte
}

func (e *eager) Write(p []byte) (int, error) {
	n := len(p)
	p = append(p[:n:n], e.behind...)
	e.behind = nil
	m, err := e.Conn.Write(p)
	return min(n, m), err
}

func TestQueueCap(t *testing.T) {
	const limit = 100_000
	setup := func(c *engineio.Config) { c.MaxQueue = limit }
	frame := engineio.Text(make([]byte, 10_000))
	t.Run("polling, nobody polls", func(t *testing.T) {
		b := newBed(t, setup)
		c, s := b.openPoll()
		n := 0
		for s.Send(frame) {
			n++
			if s.Queued() > limit {
				t.Fatalf("%d bytes are queued", s.Queued())
			}
		}
		if n != limit/(frame.Len()+frameOverhead) && n != limit/frame.Len() {
			t.Errorf("it took %d frames of %d bytes", n, frame.Len())
		}
		s.expectEnd(engineio.SlowReader)
		if s.Send(frame) || s.Queued() != 0 {
			t.Errorf("a closed socket holds %d bytes", s.Queued())
		}
		expectGet(t, c, 400, "")
	})
	t.Run("polling, each poll makes room", func(t *testing.T) {
		b := newBed(t, setup)
		c, s := b.openPoll()
		for range 20 {
			for range 9 {
				if !s.Send(frame) {
					t.Fatal("a client that polls was cut off")
				}
			}
			a, err := c.Get(t.Context())
			if err != nil || len(a.Packets) != 9 {
				t.Fatalf("%d packets, %v", len(a.Packets), err)
			}
			for end := time.Now().Add(patience); s.Queued() > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d bytes stay queued", s.Queued())
				}
			}
		}
	})
	t.Run("all or nothing", func(t *testing.T) {
		b := newBed(t, setup)
		_, s := b.openPoll()
		for range 3 {
			s.Send(frame)
		}
		if s.Send(slices.Repeat([]*engineio.Frame{frame}, 7)...) {
			t.Error("frames that are too many were taken")
		}
		s.expectEnd(engineio.SlowReader)
	})
	t.Run("one that is bigger than the queue", func(t *testing.T) {
		b := newBed(t, setup)
		c, s := b.openPoll()
		big := engineio.Text(make([]byte, 3*limit))
		for range 2 {
			if !s.Send(big) {
				t.Fatal("a client that has taken everything was cut off")
			}
			if a, err := c.Get(t.Context()); err != nil || len(a.Body) < 3*limit {
				t.Fatalf("%d bytes, %v", len(a.Body), err)
			}
			for end := time.Now().Add(patience); s.Queued() > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d bytes stay queued", s.Queued())
				}
			}
		}
		if !s.Send(big) || !s.Send(frame) {
			t.Error("what came behind it was too much")
		}
		if s.Send(big) {
			t.Error("another one behind it was taken")
		}
		s.expectEnd(engineio.SlowReader)
	})
	t.Run("websocket, the client does not read", func(t *testing.T) {
		b := newBed(t, setup)
		ws, s := b.openWS()
		big := engineio.Binary(make([]byte, 50_000))
		for n := 0; s.Send(big); n++ {
			if n > 2000 {
				t.Fatal("100 MB were taken")
			}
			time.Sleep(time.Millisecond / 2) // lets it write; what counts is that it cannot
		}
		s.expectEnd(engineio.SlowReader)
		if _, err := io.Copy(io.Discard, ws.Net); err != nil && isTimeout(err) {
			t.Errorf("the connection was not cut: %v", err)
		}
	})
	t.Run("websocket, pings without reading the pongs", func(t *testing.T) {
		b := newBed(t, setup)
		ws, s := b.openWS()
		burst := slices.Repeat(wiretest.Frame(true, wiretest.OpPing, make([]byte, 125)), 1000)
		if err := ws.Net.SetWriteDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		for ws.Write(burst) == nil {
		}
		s.expectEnd(engineio.SlowReader)
	})
	t.Run("frames that do not count", func(t *testing.T) {
		b := newBed(t, setup)
		_, s := b.openPoll()
		free := engineio.TextAround("a", make([]byte, 60_000), "b")
		for range 20 {
			if !s.Send(free) {
				t.Fatalf("shared frames count: %d bytes", s.Queued())
			}
		}
		s.expectOpen()
	})
}

const frameOverhead = 96 // what a queued frame takes besides its bytes

func TestSendVolatile(t *testing.T) {
	b := newBed(t)
	c, s := b.openPoll()
	typing := engineio.Text([]byte("typing"))
	if s.SendVolatile(typing) {
		t.Error("no poll is pending: it would come late")
	}
	pending := poll(t.Context(), c)
	waitPending(t, s)
	if !s.SendVolatile(typing) {
		t.Error("a poll is pending")
	}
	expectBody(t, pending, 200, "4typing")

	ws, s := b.openWS()
	if !s.SendVolatile(typing) {
		t.Error("refused")
	}
	expectText(t, ws, "4typing")
	// A client that is behind gets no more of them, and everything else.
	dropped := false
	for range 3000 {
		s.Send(engineio.Binary(make([]byte, 10_000)))
		if dropped = !s.SendVolatile(typing); dropped {
			break
		}
	}
	if !dropped {
		t.Error("a client that does not read is sent volatile frames")
	}
	s.Close(engineio.ForcedClose)
	if s.SendVolatile(typing) {
		t.Error("a closed socket takes more")
	}
}

// A frame that takes a slow link long has a ping before it.
func TestPingAhead(t *testing.T) {
	b := newBed(t)
	ws, s := b.openWS()
	s.Send(engineio.Text([]byte("a")), engineio.Binary(make([]byte, 200_000)), engineio.Text([]byte("b")))
	expectText(t, ws, "4a", "2")
	if op, p, err := ws.Read(); op != wiretest.OpBinary || len(p) != 200_000 || err != nil {
		t.Errorf("op %d, %d bytes, %v", op, len(p), err)
	}
	expectText(t, ws, "4b")
	for end := time.Now().Add(patience); s.Queued() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d bytes stay queued", s.Queued())
		}
	}
}

func TestOpeningCaps(t *testing.T) {
	refused := func(t *testing.T, b *bed) {
		t.Helper()
		a := b.raw(t, http.MethodGet, query(engineio.Polling, ""))
		if a.Status != 503 || a.Header.Get("Retry-After") == "" || !strings.HasPrefix(a.Body, `{"code":`) {
			t.Errorf("answered %d %v %q", a.Status, a.Header, a.Body)
		}
		if status := b.refusedWS(t, query(engineio.WebSocket, "")); status != 503 {
			t.Errorf("the WebSocket was answered %d", status)
		}
	}
	t.Run("in total", func(t *testing.T) {
		b := newBed(t, unaccepted, func(c *engineio.Config) { c.MaxOpening = 4 })
		_, one := b.openPoll()
		_, two := b.openPoll()
		ws, _ := b.openWS()
		b.openWS()
		refused(t, b)
		one.Accept()
		one.Accept() // counts once
		b.openWS()
		refused(t, b)
		two.Close(engineio.ForcedClose)
		two.Accept()
		b.openWS()
		refused(t, b)
		ws.Close() // the third way to give one's place back
		for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			if n, _ := b.Opening(); n < 4 {
				break
			}
			if time.Now().After(end) {
				t.Fatal("a client that has gone keeps its place")
			}
		}
		b.openWS()
		refused(t, b)
	})
	t.Run("per address", func(t *testing.T) {
		var mu sync.Mutex
		addr := "192.0.2.1:1234"
		from := func(a string) {
			mu.Lock()
			defer mu.Unlock()
			addr = a
		}
		b := newBed(t, unaccepted, func(c *engineio.Config) {
			c.MaxOpeningPerAddr = 2
			c.RemoteAddr = func(*http.Request) string {
				mu.Lock()
				defer mu.Unlock()
				return addr
			}
		})
		_, s := b.openPoll()
		if got := s.RemoteAddr(); got != addr {
			t.Errorf("the address is %s", got)
		}
		from("192.0.2.1:99")
		b.openWS()
		refused(t, b)
		from("[::ffff:192.0.2.1]:99")
		refused(t, b)
		from("192.0.2.2:1234")
		b.openWS()
		from("[2001:db8::1]:5")
		b.openWS()
		from("[2001:db8::ffff:1]:5")
		b.openWS()
		refused(t, b)
		from("[2001:db8:0:1::1]:5")
		b.openWS()
		s.Accept()
		from("192.0.2.1:1234")
		b.openWS()
		refused(t, b)
	})
	t.Run("nothing is counted of those that are accepted, refused, or gone", func(t *testing.T) {
		b := newBed(t, unaccepted)
		for i := range 50 {
			ws, s := b.openWS()
			switch i % 4 {
			case 0:
				s.Accept()
			case 1:
				ws.Close()
			case 2:
				s.Close(engineio.ForcedClose)
				s.Accept()
			case 3:
				s.Accept()
				ws.Close()
			}
		}
		if status := b.refusedWS(t, "EIO=3&transport=websocket"); status != 400 {
			t.Errorf("answered %d", status)
		}
		w := httptest.NewRecorder()
		b.ServeHTTP(w, wsRequest(query(engineio.WebSocket, ""))) // cannot be hijacked
		for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			n, addrs := b.Opening()
			if n == 0 && addrs == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%d sockets of %d addresses still count", n, addrs)
			}
		}
	})
	for addr, want := range map[string]string{
		"192.0.2.1:80":          "192.0.2.1",
		"192.0.2.1":             "192.0.2.1",
		"[::ffff:192.0.2.1]:80": "192.0.2.1",
		"[2001:db8:1:2:3::4]:9": "2001:db8:1:2::/64",
		"2001:db8:1:2:3::4":     "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80":     "fe80::/64",
		"@":                     "@",
		"":                      "",
	} {
		if got := engineio.AddrKey(addr); got != want {
			t.Errorf("%q counts as %q, want %q", addr, got, want)
		}
	}
}

func TestOpenBytes(t *testing.T) {
	setup := func(c *engineio.Config) { c.OpenBytes = 2000 }
	t.Run("websocket", func(t *testing.T) {
		b := newBed(t, unaccepted, setup)
		ws, s := b.openWS()
		for range 19 {
			if err := ws.Send("4" + strings.Repeat("x", 90)); err != nil {
				t.Fatal(err)
			}
		}
		s.hear(19)
		_ = ws.Send("4" + strings.Repeat("x", 300)) // it may be cut already
		expectClose(t, ws, 1008, "too much data before the handshake")
		s.expectEnd(engineio.OpenLimit)
		if got := s.heard(); len(got) != 19 {
			t.Errorf("handled %d messages", len(got))
		}
	})
	t.Run("websocket, in the same segment as the handshake", func(t *testing.T) {
		b := newBed(t, unaccepted, setup)
		nc, err := b.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		ws, err := wiretest.HandshakeWS(&eager{Conn: nc, behind: wiretest.Texts("4" + strings.Repeat("x", 2500))}, "x", query(engineio.WebSocket, ""))
		if err != nil {
			t.Fatal(err)
		}
		s := b.next()
		expectClose(t, ws, 1008, "")
		s.expectEnd(engineio.OpenLimit)
		if got := s.heard(); len(got) > 0 {
			t.Errorf("handled %d messages", len(got))
		}
	})
	t.Run("websocket, accepted in time", func(t *testing.T) {
		b := newBed(t, unaccepted, setup)
		b.handle = func(s *session, text string) {
			s.Accept()
			s.Send(engineio.Text([]byte(text)))
		}
		ws, s := b.openWS()
		if err := ws.Send("4first"); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "4first")
		big := strings.Repeat("x", 5000)
		if err := ws.Send("4" + big); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "4"+big)
		s.expectOpen()
		if s.Request() != nil {
			t.Error("the request of an accepted socket is kept")
		}
	})
	t.Run("polling", func(t *testing.T) {
		b := newBed(t, unaccepted, setup)
		c, s := b.openPoll()
		expectPost(t, c, "4"+strings.Repeat("x", 1500), 200, "ok")
		expectPost(t, c, "4"+strings.Repeat("x", 2500), 413, "")
		expectPost(t, c, "4"+strings.Repeat("x", 800), 400, "")
		s.expectEnd(engineio.OpenLimit)
		if got := s.heard(); len(got) != 1 {
			t.Errorf("handled %d messages", len(got))
		}
	})
}

func TestTLS(t *testing.T) {
	b := newTLSBed(t)
	ws, s := b.openWS()
	big := strings.Repeat("x", 900_000)
	if err := ws.Send("4" + big); err != nil {
		t.Fatal(err)
	}
	expectText(t, ws, "2", "4"+big)
	s.Send(engineio.Text([]byte("last")))
	s.Close(engineio.Expired)
	expectText(t, ws, "4last")
	expectClose(t, ws, 1008, "identity expired")
	s.expectEnd(engineio.Expired)
	if _, err := ws.Net.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("TLS is not closed as it should: %v", err)
	}

	ws, s = b.openWS()
	ws.Close()
	s.expectEnd(engineio.TransportClose)

	c, s := b.openPoll()
	expectPost(t, c, "4hello", 200, "ok")
	expectGet(t, c, 200, "4hello")
	ws = b.probe(s)
	if err := ws.Write(wiretest.Texts("5", "4up")); err != nil {
		t.Fatal(err)
	}
	expectText(t, ws, "4up")

	// A reader that has stopped does not hold anything up.
	_, s = b.openWS()
	for s.Send(engineio.Binary(make([]byte, 500_000))) {
	}
	s.expectEnd(engineio.SlowReader)
	b.openWS() // stays, for Shutdown
}

// hijacked is a ResponseWriter in front of any net.Conn.
type hijacked struct {
	*httptest.ResponseRecorder
	conn  net.Conn
	early string
	err   error
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if h.err != nil {
		return nil, nil, h.err
	}
	r := bufio.NewReader(io.MultiReader(strings.NewReader(h.early), h.conn))
	if _, err := r.Peek(len(h.early)); err != nil {
		return nil, nil, err
	}
	return h.conn, bufio.NewReadWriter(r, bufio.NewWriter(h.conn)), nil
}

func wsRequest(q string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/?"+q, nil)
	r.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
	return r
}

// openPipe opens a WebSocket on a net.Pipe, which buffers nothing.
func (b *bed) openPipe(early ...string) (*wiretest.WS, *session) {
	b.t.Helper()
	client, server := net.Pipe()
	b.t.Cleanup(func() { _ = client.Close() })
	served := make(chan struct{})
	go func() {
		defer close(served)
		b.ServeHTTP(&hijacked{ResponseRecorder: httptest.NewRecorder(), conn: server, early: string(wiretest.Texts(early...))}, wsRequest(query(engineio.WebSocket, "")))
	}()
	ws, err := wiretest.HandshakeWS(&deafToRequest{Conn: client}, "x", "")
	if err != nil {
		b.t.Fatal(err)
	}
	if p, err := ws.Text(); err != nil {
		b.t.Fatalf("the open packet: %q, %v", p, err)
	}
	<-served
	return ws, b.next()
}

// deafToRequest drops the HTTP request, which the other side has already.
type deafToRequest struct {
	net.Conn
	done bool
}

func (d *deafToRequest) Write(p []byte) (int, error) {
	if !d.done {
		d.done = true
		return len(p), nil
	}
	return d.Conn.Write(p)
}

func TestNetPipe(t *testing.T) {
	b := newBed(t)
	t.Run("echo", func(t *testing.T) {
		ws, s := b.openPipe()
		for range 10 {
			if err := ws.Send("4hello"); err != nil {
				t.Fatal(err)
			}
			expectText(t, ws, "4hello")
		}
		ws.Close()
		s.expectEnd(engineio.TransportClose)
	})
	t.Run("early frames", func(t *testing.T) {
		ws, _ := b.openPipe("4a", "4b")
		expectText(t, ws, "4a", "4b")
		ws.Close()
	})
	t.Run("closed by the server", func(t *testing.T) {
		ws, s := b.openPipe()
		s.Send(engineio.Text([]byte("last")))
		s.Close(engineio.Replaced)
		expectText(t, ws, "4last")
		expectClose(t, ws, 1008, "too many devices")
		s.expectEnd(engineio.Replaced)
		if _, err := ws.Net.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the pipe is not closed: %v", err)
		}
	})
	t.Run("closed by the client", func(t *testing.T) {
		ws, s := b.openPipe()
		if err := ws.Write(wiretest.Frame(true, wiretest.OpClose, []byte{3, 232})); err != nil {
			t.Fatal(err)
		}
		expectClose(t, ws, 1000, "")
		s.expectEnd(engineio.TransportClose)
	})
	t.Run("a connection that dies during the handshake", func(t *testing.T) {
		client, server := net.Pipe()
		_ = client.Close()
		before, _ := b.Opening()
		b.ServeHTTP(&hijacked{ResponseRecorder: httptest.NewRecorder(), conn: server}, wsRequest(query(engineio.WebSocket, "")))
		if after, _ := b.Opening(); after != before {
			t.Errorf("%d more are counted as opening", after-before)
		}
		if len(b.opened) > 0 {
			t.Error("it became a session")
		}
	})
}

// A ResponseWriter that cannot be hijacked is said so, once, and the client
// stays on polling.
func TestNoHijack(t *testing.T) {
	var mu sync.Mutex
	var log strings.Builder
	b := newBed(t, unaccepted, func(c *engineio.Config) {
		c.Log = slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return log.Write(p)
		}), nil))
	})
	var secrets []string
	for range 3 {
		w := httptest.NewRecorder()
		b.ServeHTTP(w, wsRequest(query(engineio.WebSocket, "")))
		if w.Code != 400 {
			t.Errorf("answered %d", w.Code)
		}
		s := openPollDirectly(t, b)
		secrets = append(secrets, s.ID())
		w = httptest.NewRecorder()
		b.ServeHTTP(w, wsRequest(query(engineio.WebSocket, s.ID())))
		if w.Code != 400 {
			t.Errorf("answered %d", w.Code)
		}
		s.expectOpen()
		w = httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/?EIO=3&transport=polling", nil))
	}
	if n, _ := b.Opening(); n != 3 {
		t.Errorf("%d are counted as opening", n)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := log.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "Engine.IO 3") {
		t.Errorf("logged %q", got)
	} else if slices.ContainsFunc(secrets, func(sid string) bool { return strings.Contains(got, sid) }) {
		t.Error("a session id was logged")
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
