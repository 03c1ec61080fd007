package engineio_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/wiretest"
)

func small(c *engineio.Config) { c.MaxPayload = 1000 }

func TestPollingMalformedPayload(t *testing.T) {
	b := newBed(t)
	for _, payload := range []string{
		"",
		"abc",
		"7",
		"/",
		" 4hello",
		"\x1e",
		"\x1e4hello",
		"4hello\x1e",
		"4a\x1e\x1e4b",
		"4ok\x1eabc",
		"4ok\x1eb!!!!",
		"4ok\x1ebAQID=",
		"4ok\x1ebAQIDBA",
		"4ok\x1e\xff",
		"4\xed\xa0\x80",
	} {
		t.Run(fmt.Sprintf("%q", payload), func(t *testing.T) {
			c, s := b.openPoll()
			expectPost(t, c, payload, 400, "")
			s.expectEnd(engineio.ProtocolError)
			if got := s.heard(); len(got) > 0 {
				t.Errorf("a packet of a malformed payload was handled: %q", got)
			}
		})
	}
	for _, payload := range []string{"0", "0{}", "2", "2probe"} {
		t.Run(fmt.Sprintf("%q is the server's to send", payload), func(t *testing.T) {
			c, s := b.openPoll()
			expectPost(t, c, "4before\x1e"+payload+"\x1e4after", 200, "ok")
			s.expectEnd(engineio.ProtocolError)
			if got := s.heard(); !slices.Equal(got, []string{"text before"}) {
				t.Errorf("handled %q", got)
			}
		})
	}
}

func TestPollingGoodPayloads(t *testing.T) {
	b := newBed(t)
	c, s := b.openPoll()
	n := 0
	expect := func(payload string, want ...string) {
		t.Helper()
		expectPost(t, c, payload, 200, "ok")
		n += len(want)
		if got := s.hear(n)[n-len(want):]; !slices.Equal(got, want) {
			t.Errorf("%q was handled as %q, want %q", payload, got, want)
		}
	}
	expect("4", "text ")
	expect("4hola, ¿qué tal? 👋", "text hola, ¿qué tal? 👋")
	expect("b", "binary ")
	expect("bAQIDBA==", "binary \x01\x02\x03\x04")
	expect("b"+base64.StdEncoding.EncodeToString([]byte{0x1e, 0, 255}), "binary \x1e\x00\xff")
	expect("3")
	expect("6")
	expect("5")
	expect("3probe")
	expect("4a\x1e3\x1ebAQ==\x1e6\x1e4b", "text a", "binary \x01", "text b")
	many := strings.TrimSuffix(strings.Repeat("4x\x1e", 2000), "\x1e")
	expect(many, slices.Repeat([]string{"text x"}, 2000)...)

	a, err := c.Get(t.Context())
	if err != nil || len(a.Packets) != n {
		t.Fatalf("%d packets came back of %d: %v", len(a.Packets), n, err)
	}
	want := []string{"4", "4hola, ¿qué tal? 👋", "b", "bAQIDBA==", "bHgD/", "4a", "bAQ==", "4b", "4x"}
	if got := a.Packets[:len(want)]; !slices.Equal(got, want) {
		t.Errorf("got back %q, want %q", got, want)
	}
	for name, want := range map[string]string{
		"Content-Type":   "text/plain; charset=UTF-8",
		"Content-Length": fmt.Sprint(len(a.Body)),
		"Cache-Control":  "no-store",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestPollingContentTypes(t *testing.T) {
	b := newBed(t)
	for _, typ := range []string{"application/octet-stream", "Application/Octet-Stream; charset=x"} {
		c, s := b.openPoll()
		a, err := c.PostBody(strings.NewReader("4hello"), typ)
		if err != nil || a.Status != 400 {
			t.Errorf("%s was answered %d %q, %v", typ, a.Status, a.Body, err)
		}
		s.expectEnd(engineio.ProtocolError)
		if got := s.heard(); len(got) > 0 {
			t.Errorf("handled %q", got)
		}
	}
	for _, typ := range []string{"", "text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ";;;"} {
		c, s := b.openPoll()
		a, err := c.PostBody(strings.NewReader("4hello"), typ)
		if err != nil || a.Status != 200 || a.Body != "ok" || a.Header.Get("Content-Type") != "text/html" {
			t.Errorf("%q was answered %d %q %v, %v", typ, a.Status, a.Body, a.Header, err)
		}
		if got := s.heard(); !slices.Equal(got, []string{"text hello"}) {
			t.Errorf("%q was handled as %q", typ, got)
		}
	}
}

// onlyReader hides what a reader is, so that its length is unknown.
type onlyReader struct{ io.Reader }

func TestPollingOversizedPayload(t *testing.T) {
	b := newBed(t, small)
	fits := "4" + strings.Repeat("x", 996) + "\x1e6"
	over := "4first\x1e4" + strings.Repeat("x", 994)
	huge := "4first\x1e4" + strings.Repeat("x", 2_000_000)
	for _, length := range []struct {
		name string
		body func(string) io.Reader
	}{
		{"Content-Length", func(s string) io.Reader { return strings.NewReader(s) }},
		{"chunked", func(s string) io.Reader { return onlyReader{strings.NewReader(s)} }},
	} {
		t.Run(length.name, func(t *testing.T) {
			c, s := b.openPoll()
			for _, payload := range []string{over, huge} {
				a, err := c.PostBody(length.body(payload), "text/plain")
				if err != nil && len(payload) > 256<<10 {
					continue // net/http may close before the client has sent it all
				}
				if err != nil || a.Status != http.StatusRequestEntityTooLarge {
					t.Errorf("%d bytes were answered %d %q, %v", len(payload), a.Status, a.Body, err)
				}
			}
			s.expectOpen()
			a, err := c.PostBody(length.body(fits), "text/plain")
			if err != nil || a.Status != 200 {
				t.Errorf("%d bytes were answered %d %q, %v", len(fits), a.Status, a.Body, err)
			}
			if got := s.heard(); len(got) != 1 || len(got[0]) != len("text ")+996 {
				t.Errorf("handled %.80q", got)
			}
		})
	}
	// The answer does not wait for the rest, and a client that never sends it
	// does not hold a goroutine for ever.
	t.Run("chunked, the rest never comes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, small)
			defer b.finish()
			_, s := b.openPoll()
			nc, err := b.dial()
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			if _, err := fmt.Fprintf(nc, "POST /?%s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n4%s\r\n",
				query(engineio.Polling, s.ID()), strings.Repeat("x", 1999)); err != nil {
				t.Fatal(err)
			}
			if err := nc.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Body.Close(); resp.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("answered %v", resp)
			}
			if took := time.Since(begin); took > b.cfg.WriteTimeout {
				t.Errorf("answered after %v", took)
			}
			_ = nc.Close()
		})
	})
}

func TestPollingMethods(t *testing.T) {
	b := newBed(t)
	c, s := b.openPoll()
	for _, m := range []string{http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions, "BREW"} {
		for _, u := range []string{c.URL, b.URL + "/?" + query(engineio.Polling, "")} {
			r, err := http.NewRequest(m, u, nil)
			if err != nil {
				t.Fatal(err)
			}
			if a, err := c.Do(r); err != nil || a.Status != 400 {
				t.Errorf("%s %s was answered %d %q, %v", m, u, a.Status, a.Body, err)
			}
		}
	}
	expectPost(t, c, "4still", 200, "ok")
	expectGet(t, c, 200, "4still")
	s.expectOpen()
}

func TestPollingOverlap(t *testing.T) {
	b := newBed(t)
	t.Run("GET", func(t *testing.T) {
		c, s := b.openPoll()
		first := poll(t.Context(), c)
		waitPending(t, s)
		expectGet(t, c, 400, "")
		expectBody(t, first, 200, "1")
		s.expectEnd(engineio.ProtocolError)
		expectGet(t, c, 400, "")
	})
	t.Run("POST", func(t *testing.T) {
		c, s := b.openPoll()
		r, w := io.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = c.PostBody(r, "text/plain")
		}()
		if _, err := io.WriteString(w, "4fir"); err != nil {
			t.Fatal(err)
		}
		waitPosting(t, s)
		expectPost(t, c, "4second", 400, "")
		s.expectEnd(engineio.ProtocolError)
		_, _ = io.WriteString(w, "st") // the server may have cut it
		_ = w.Close()
		<-done
		if got := s.heard(); len(got) > 0 {
			t.Errorf("handled %q", got)
		}
		if _, err := c.Get(t.Context()); err != nil { // may still be told of the close
			t.Error(err)
		}
		expectGet(t, c, 400, "")
	})
	t.Run("POST while the first is being handled", func(t *testing.T) {
		b := newBed(t)
		release := make(chan struct{})
		b.handle = func(*session, string) { <-release }
		c, s := b.openPoll()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = c.Post("4first\x1e4more")
		}()
		s.hear(1)
		expectPost(t, c, "4second", 400, "")
		select {
		case <-s.closed:
			t.Error("OnClose came while OnText was at work")
		default:
		}
		close(release)
		s.expectEnd(engineio.ProtocolError)
		<-done
		if got := s.heard(); len(got) != 1 {
			t.Errorf("handled %q", got)
		}
	})
	t.Run("GET and POST go together", func(t *testing.T) {
		c, s := b.openPoll()
		first := poll(t.Context(), c)
		waitPending(t, s)
		expectPost(t, c, "4both", 200, "ok")
		expectBody(t, first, 200, "4both")
		s.expectOpen()
	})
}

func TestPollingCutGet(t *testing.T) {
	b := newBed(t)
	t.Run("ends the session at once", func(t *testing.T) {
		c, s := b.openPoll()
		ctx, cut := context.WithCancel(t.Context())
		pending := poll(ctx, c)
		waitPending(t, s)
		cut()
		s.expectEnd(engineio.TransportClose)
		if p := <-pending; p.err == nil {
			t.Errorf("the cut poll was answered %q", p.answer.Body)
		}
		expectGet(t, c, 400, "")
		expectPost(t, c, "4x", 400, "")
	})
	t.Run("and a probe with it", func(t *testing.T) {
		c, s := b.openPoll()
		ctx, cut := context.WithCancel(t.Context())
		pending := poll(ctx, c)
		waitPending(t, s)
		ws := b.ws(s.ID())
		cut()
		s.expectEnd(engineio.TransportClose)
		<-pending
		if _, _, err := ws.Read(); err == nil || isTimeout(err) {
			t.Errorf("the probe: %v", err)
		}
	})
	t.Run("while the handler is at work", func(t *testing.T) {
		b := newBed(t)
		ended := make(chan struct{})
		b.handle = func(s *session, _ string) {
			<-s.Context().Done() // it hears of the end
			close(ended)
		}
		c, s := b.openPoll()
		ctx, cut := context.WithCancel(t.Context())
		pending := poll(ctx, c)
		waitPending(t, s)
		posted := make(chan struct{})
		go func() {
			defer close(posted)
			_, _ = c.Post("4think")
		}()
		s.hear(1)
		cut()
		<-pending
		<-ended
		<-posted
		s.expectEnd(engineio.TransportClose)
	})
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

func TestPollingCutPost(t *testing.T) {
	b := newBed(t)
	for _, head := range []string{"Content-Length: 100\r\n\r\n4hello", "Transfer-Encoding: chunked\r\n\r\n6\r\n4hello\r\n3\r\n\x1e4"} {
		_, s := b.openPoll()
		nc, err := b.dial()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(nc, "POST /?%s HTTP/1.1\r\nHost: x\r\n%s", query(engineio.Polling, s.ID()), head); err != nil {
			t.Fatal(err)
		}
		waitPosting(t, s)
		_ = nc.Close()
		s.expectEnd(engineio.TransportError)
		if got := s.heard(); len(got) > 0 {
			t.Errorf("of a POST that was cut, %q was handled", got)
		}
	}
}

// gate is a ResponseWriter whose Write waits until it is let through.
type gate struct {
	*httptest.ResponseRecorder
	begun, pass chan struct{}
	once        sync.Once
	mu          sync.Mutex
	fail        error
}

func newGate() *gate {
	return &gate{ResponseRecorder: httptest.NewRecorder(), begun: make(chan struct{}), pass: make(chan struct{})}
}

func (g *gate) Write(p []byte) (int, error) {
	g.once.Do(func() { close(g.begun) })
	<-g.pass
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fail != nil {
		return 0, g.fail
	}
	return g.ResponseRecorder.Write(p)
}

func (g *gate) WriteString(s string) (int, error) { return g.Write([]byte(s)) }

func (*gate) SetWriteDeadline(time.Time) error { return nil }
func (*gate) SetReadDeadline(time.Time) error  { return nil }

// A client that has the whole answer may poll again before the server knows
// that it is written.
func TestPollingNextPollBeforeTheAnswerIsWritten(t *testing.T) {
	b := newBed(t)
	_, s := b.openPoll()
	get := func(w http.ResponseWriter) <-chan struct{} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/?"+query(engineio.Polling, s.ID()), nil))
		}()
		return done
	}
	s.Send(engineio.Text([]byte("one")))
	first := newGate()
	firstDone := get(first)
	<-first.begun
	second := httptest.NewRecorder()
	secondDone := get(second)
	waitPending(t, s)
	s.Send(engineio.Text([]byte("two")))
	<-secondDone
	close(first.pass)
	<-firstDone
	s.expectOpen()
	if first.Body.String() != "4one" || second.Body.String() != "4two" {
		t.Errorf("answered %q and %q", first.Body, second.Body)
	}
	if n := s.Queued(); n != 0 {
		t.Errorf("%d bytes are still counted as queued", n)
	}

	// An answer that cannot be written ends the session.
	s.Send(engineio.Text([]byte("three")))
	third := newGate()
	third.fail = errors.New("the client has gone")
	close(third.pass)
	<-get(third)
	s.expectEnd(engineio.TransportError)
}

// And send again before the server knows that its "ok" is.
func TestPollingNextPostBeforeTheAnswerIsWritten(t *testing.T) {
	b := newBed(t)
	_, s := b.openPoll()
	post := func(w http.ResponseWriter, payload string) {
		b.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/?"+query(engineio.Polling, s.ID()), strings.NewReader(payload)))
	}
	first, second := newGate(), httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		post(first, "4one")
	}()
	<-first.begun
	post(second, "4two")
	close(first.pass)
	<-done
	if first.Body.String() != "ok" || second.Body.String() != "ok" {
		t.Errorf("answered %q and %q", first.Body, second.Body)
	}
	if got := s.hear(2); !slices.Equal(got, []string{"text one", "text two"}) {
		t.Errorf("handled %q", got)
	}
	s.expectOpen()
}

func TestPollingCloseAnswersThePendingPoll(t *testing.T) {
	b := newBed(t)
	t.Run("the server's", func(t *testing.T) {
		c, s := b.openPoll()
		pending := poll(t.Context(), c)
		waitPending(t, s)
		s.Close(engineio.ForcedClose)
		expectBody(t, pending, 200, "1")
		s.expectEnd(engineio.ForcedClose)
		expectGet(t, c, 400, "")
	})
	t.Run("the server's, with something to say", func(t *testing.T) {
		c, s := b.openPoll()
		s.Send(engineio.Text([]byte("a")), engineio.Binary([]byte{1}))
		s.Close(engineio.ForcedClose)
		if s.Send(engineio.Text([]byte("b"))) {
			t.Error("a closed socket takes more")
		}
		expectGet(t, c, 200, "4a\x1ebAQ==")
		expectGet(t, c, 200, "1") // stock clients close at once on it
		expectGet(t, c, 400, "")
	})
	t.Run("the client's", func(t *testing.T) {
		c, s := b.openPoll()
		pending := poll(t.Context(), c)
		waitPending(t, s)
		expectPost(t, c, "4bye\x1e1\x1e4what?", 200, "ok")
		expectBody(t, pending, 200, "")
		s.expectEnd(engineio.TransportClose)
		if got := s.heard(); !slices.Equal(got, []string{"text bye"}) {
			t.Errorf("handled %q", got)
		}
		expectGet(t, c, 400, "")
	})
}

// Handshakes that are refused are so in the words of the reference server.
func TestPollingErrors(t *testing.T) {
	b := newBed(t)
	c := &wiretest.Poll{HTTP: b.client()}
	ws, s := b.openWS()
	for _, r := range []struct {
		name, method, query string
		code                int
	}{
		{"no EIO", "GET", "transport=polling", 5},
		{"EIO=3", "GET", "EIO=3&transport=polling", 5},
		{"EIO=5", "GET", "EIO=5&transport=polling", 5},
		{"no transport", "GET", "EIO=4", 0},
		{"transport unknown", "GET", "EIO=4&transport=webtransport", 0},
		{"sid unknown, GET", "GET", "EIO=4&transport=polling&sid=abc", 1},
		{"sid unknown, POST", "POST", "EIO=4&transport=polling&sid=abc", 1},
		{"handshake with POST", "POST", "EIO=4&transport=polling", 2},
		{"handshake with PUT", "PUT", "EIO=4&transport=polling", 2},
		{"query that is none", "GET", "EIO=4&transport=polling&%zz", 3},
		{"polling of a WebSocket session, GET", "GET", query(engineio.Polling, s.ID()), 3},
		{"polling of a WebSocket session, POST", "POST", query(engineio.Polling, s.ID()), 3},
		{"websocket without an upgrade", "GET", query(engineio.WebSocket, ""), 3},
	} {
		req, err := http.NewRequest(r.method, b.URL+"/?"+r.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := c.Do(req)
		if err != nil || a.Status != 400 || a.Header.Get("Content-Type") != "application/json" || !strings.HasPrefix(a.Body, fmt.Sprintf(`{"code":%d,"message":"`, r.code)) {
			t.Errorf("%s: answered %d %q, %v", r.name, a.Status, a.Body, err)
		}
	}
	if err := ws.Send("4still"); err != nil {
		t.Fatal(err)
	}
	expectText(t, ws, "4still")
}

// Deadlines of the host's http.Server do not cut polls.
func TestPollingOutlivesDeadlinesOfTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bed{t: t, net: wiretest.NewNet(), URL: "http://192.0.2.80"}
		b.make(nil)
		hs := &http.Server{Handler: b, ReadTimeout: time.Second, WriteTimeout: time.Second, IdleTimeout: time.Minute}
		done := make(chan error, 1)
		go func() { done <- hs.Serve(b.net) }()
		b.stop = func() { _ = hs.Close(); <-done }
		defer b.finish()
		c, s := b.openPoll()
		for range 5 {
			expectLateGet(t, c, "2")
			expectPost(t, c, "3", 200, "ok")
		}
		s.expectOpen()
		ws, s := b.openWS()
		p := watch(ws, func(int) { _ = ws.Send("3") })
		time.Sleep(10 * time.Minute)
		s.expectOpen()
		ws.Close()
		<-p.done
		c.Close()
	})
}

// Everything that was sent arrives once and in order, whatever the polls do.
func TestPollingOrder(t *testing.T) {
	b := newBed(t)
	c, s := b.openPoll()
	const n = 2000
	go func() {
		for i := range n {
			if i%7 == 0 {
				s.Send(engineio.Text(fmt.Append(nil, i)), engineio.TextAround("", fmt.Append(nil, i), "b"))
			} else {
				s.Send(engineio.Text(fmt.Append(nil, i)))
				s.Send(engineio.Text(fmt.Append(nil, i, "b")))
			}
		}
	}()
	var want, got []string
	for i := range n {
		want = append(want, fmt.Sprint("4", i), fmt.Sprint("4", i, "b"))
	}
	for len(got) < len(want) {
		a, err := c.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.Packets...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("out of order, or something else: %d packets of %d", len(got), len(want))
	}
}

// A POST that is still coming ends with its session, and not when its client
// is pleased to finish it.
func TestPollingPostOutlivesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBed(t)
		defer b.finish()
		c, s := b.openPoll()
		defer c.Close()
		nc, err := b.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := fmt.Fprintf(nc, "POST /?%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n4a", query(engineio.Polling, s.ID())); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !s.Posting() {
			t.Fatal("the POST is not being read")
		}
		begin := time.Now()
		s.Close(engineio.Expired)
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if d := time.Since(begin); resp.StatusCode != http.StatusBadRequest || d > 0 {
			t.Errorf("answered %s after %v", resp.Status, d)
		}
		if s.Posting() {
			t.Error("it is still being read")
		}
		expectGet(t, c, 200, "1")
	})
}
