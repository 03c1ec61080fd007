package engineio_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// patience is how long a test waits for what has to happen at once.
const patience = 10 * time.Second

const underTest = "github.com/heymanito/heymanito/internal/engineio"

// bed is a server whose handler says back what it is told.
type bed struct {
	*engineio.Server
	t    testing.TB
	cfg  engineio.Config
	URL  string
	net  *wiretest.Net // nil: TCP
	tls  *tls.Config   // nil: plain
	stop func()
	// wedged: a test has shown that Shutdown hangs, and failed.
	wedged bool

	opened chan *session
	handle func(s *session, text string) // nil: echo

	mu  sync.Mutex // guards all
	all []*session
}

// session is the handler of one socket. It checks that the engine keeps to the
// contract of engineio.Handler.
type session struct {
	*engineio.Socket
	b      *bed
	busy   atomic.Bool
	closed chan struct{} // closed with OnClose

	mu     sync.Mutex // guards the rest
	got    []string   // "text …", "binary …", "large 512/70000"
	reason engineio.Reason
	more   chan struct{} // closed at the next change
}

func defaults() engineio.Config {
	return engineio.Config{
		PingInterval:      20 * time.Second,
		PingTimeout:       20 * time.Second,
		ClientTimeout:     40 * time.Second,
		WriteTimeout:      10 * time.Second,
		UpgradeTimeout:    10 * time.Second,
		CloseTimeout:      time.Second,
		MaxPayload:        1_000_000,
		MaxReadPast:       16_000_000,
		MaxQueue:          4 << 20,
		OpenTimeout:       10 * time.Second,
		OpenBytes:         64 << 10,
		MaxOpening:        10_000,
		MaxOpeningPerAddr: 10_000,
		Transports:        []string{engineio.Polling, engineio.WebSocket},
		RemoteAddr:        func(r *http.Request) string { return r.RemoteAddr },
		Keep:              func(r *http.Request) *http.Request { return r },
		Log:               slog.New(slog.DiscardHandler),
	}
}

// make builds the server; what it listens on comes from the caller.
func (b *bed) make(change []func(*engineio.Config)) {
	b.cfg = defaults()
	for _, f := range change {
		f(&b.cfg)
	}
	open := b.cfg.Open
	b.cfg.Open = func(sock *engineio.Socket) engineio.Handler {
		s := &session{Socket: sock, b: b, closed: make(chan struct{}), more: make(chan struct{})}
		if open == nil {
			sock.Accept()
		} else {
			open(sock)
		}
		b.mu.Lock()
		b.all = append(b.all, s)
		b.mu.Unlock()
		b.opened <- s
		return s
	}
	b.opened = make(chan *session, 10_000)
	b.Server = engineio.NewServer(b.cfg)
}

// unaccepted leaves clients what they are: unknown.
func unaccepted(c *engineio.Config) {
	c.Open = func(*engineio.Socket) engineio.Handler { return nil }
}

// newBed starts a server on TCP. At the end of the test it is shut down, and
// has to leave nothing behind.
func newBed(t testing.TB, change ...func(*engineio.Config)) *bed {
	t.Helper()
	b := &bed{t: t}
	b.make(change)
	ts := wiretest.Serve(b)
	b.URL, b.stop = ts.URL, ts.Close
	t.Cleanup(b.finish)
	return b
}

// newTLSBed is newBed over TLS.
func newTLSBed(t testing.TB, change ...func(*engineio.Config)) *bed {
	t.Helper()
	b := &bed{t: t}
	b.make(change)
	ts := httptest.NewTLSServer(b)
	b.URL, b.stop = ts.URL, ts.Close
	b.tls = ts.Client().Transport.(*http.Transport).TLSClientConfig
	t.Cleanup(b.finish)
	return b
}

// bubbleBed starts a server on a network in memory, for testing/synctest. The
// caller ends it with finish, inside of the bubble.
func bubbleBed(t testing.TB, change ...func(*engineio.Config)) *bed {
	t.Helper()
	b := &bed{t: t, net: wiretest.NewNet(), URL: "http://192.0.2.80"}
	b.make(change)
	hs := &http.Server{Handler: b}
	done := make(chan error, 1)
	go func() { done <- hs.Serve(b.net) }()
	b.stop = func() {
		_ = hs.Close() // the listener is not asked
		<-done
	}
	return b
}

func (b *bed) finish() {
	if b.wedged {
		return
	}
	b.t.Helper()
	grace := 3 * patience
	if b.net == nil {
		grace = 20 * time.Millisecond // real ones: clients that do not ask for their goodbye are cut
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := b.Shutdown(ctx, 0); err != nil && !(b.net == nil && errors.Is(err, context.DeadlineExceeded)) {
		b.t.Errorf("Shutdown: %v", err)
	}
	b.mu.Lock()
	for i, s := range b.all {
		if !s.isClosed() {
			b.t.Errorf("session %d was not told of its end", i)
		}
	}
	b.mu.Unlock()
	b.stop()
	if b.net == nil { // a bubble does not end before its goroutines have
		wiretest.NoLeaks(b.t, underTest)
	}
}

// OnText implements engineio.Handler.
func (s *session) OnText(p []byte) {
	defer s.call()()
	text := string(p)
	s.note("text " + text)
	switch {
	case s.b.handle != nil:
		s.b.handle(s, text)
	default:
		s.Send(engineio.Text(p))
	}
}

// OnBinary implements engineio.Handler.
func (s *session) OnBinary(p []byte) {
	defer s.call()()
	s.note("binary " + string(p))
	if s.b.handle == nil {
		s.Send(engineio.Binary(p))
	}
}

// OnProof implements engineio.Handler.
func (s *session) OnProof(mark uint64) {
	defer s.call()()
	s.note(fmt.Sprintf("proof %d", mark))
}

// OnTooLarge implements engineio.Handler.
func (s *session) OnTooLarge(head []byte, size int) {
	defer s.call()()
	s.note(fmt.Sprintf("large %d %s", size, head))
}

// OnClose implements engineio.Handler.
func (s *session) OnClose(r engineio.Reason) {
	defer s.call()()
	if s.isClosed() {
		s.b.t.Error("OnClose came twice")
		return
	}
	if s.Context().Err() == nil {
		s.b.t.Error("the context of a closed session goes on")
	}
	s.mu.Lock()
	s.reason = r
	s.mu.Unlock()
	close(s.closed)
}

// call makes sure that calls come one at a time, and none after OnClose.
func (s *session) call() func() {
	if !s.busy.CompareAndSwap(false, true) {
		s.b.t.Error("two calls of a handler at the same time")
	}
	if s.isClosed() {
		s.b.t.Error("a call after OnClose")
	}
	return func() { s.busy.Store(false) }
}

func (s *session) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, what)
	close(s.more)
	s.more = make(chan struct{})
}

func (s *session) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// hear waits until the handler was told n things.
func (s *session) hear(n int) []string {
	s.b.t.Helper()
	got := s.await(n)
	if len(got) < n {
		s.b.t.Fatalf("the handler was told %d things instead of %d: %q", len(got), n, got)
	}
	return got
}

// await is hear for any goroutine.
func (s *session) await(n int) []string {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		got, more := slices.Clone(s.got), s.more
		s.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-more:
		case <-timeout.C:
			return got
		}
	}
}

// end waits for the end of a session.
func (s *session) end(within time.Duration) engineio.Reason {
	s.b.t.Helper()
	if s.isClosed() {
		return s.reasonNow()
	}
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	select {
	case <-s.closed:
		return s.reasonNow()
	case <-timeout.C:
		s.b.t.Fatalf("the session is still open after %v", within)
		return 0
	}
}

func (s *session) reasonNow() engineio.Reason {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

func (s *session) expectEnd(want engineio.Reason) {
	s.b.t.Helper()
	if got := s.end(patience); got != want {
		s.b.t.Errorf("the session ended with %q, want %q", got, want)
	}
}

func (s *session) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

func (s *session) expectOpen() {
	s.b.t.Helper()
	if s.isClosed() {
		s.b.t.Errorf("the session has ended with %q", s.reasonNow())
	}
}

// next returns the session that was opened next.
func (b *bed) next() *session {
	b.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case s := <-b.opened:
		// What is done to a socket that is being started is for one test only.
		for end := time.Now().Add(patience); !s.Started() && !s.isClosed() && time.Now().Before(end); {
			time.Sleep(10 * time.Microsecond)
		}
		return s
	case <-timeout.C:
		b.t.Fatal("no session was opened")
		return nil
	}
}

func (b *bed) dial() (net.Conn, error) {
	host := strings.TrimPrefix(strings.TrimPrefix(b.URL, "http://"), "https://")
	switch {
	case b.net != nil:
		return b.net.Dial()
	case b.tls != nil:
		return tls.Dial("tcp", host, b.tls)
	}
	return net.Dial("tcp", host)
}

func query(transport, sid string) string {
	q := url.Values{"EIO": {"4"}, "transport": {transport}}
	if sid != "" {
		q.Set("sid", sid)
	}
	return q.Encode()
}

// tryWS opens a WebSocket with a query.
func (b *bed) tryWS(query string, headers ...string) (*wiretest.WS, error) {
	nc, err := b.dial()
	if err != nil {
		return nil, err
	}
	ws, err := wiretest.HandshakeWS(nc, "example.org", query, headers...)
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return ws, nil
}

// ws opens a WebSocket for the session sid, which may be "".
func (b *bed) ws(sid string) *wiretest.WS {
	b.t.Helper()
	ws, err := b.tryWS(query(engineio.WebSocket, sid))
	if err != nil {
		b.t.Fatalf("opening a WebSocket: %v", err)
	}
	if b.net == nil {
		b.t.Cleanup(ws.Close)
	}
	return ws
}

// openWS opens a session on a WebSocket.
func (b *bed) openWS() (*wiretest.WS, *session) {
	b.t.Helper()
	ws := b.ws("")
	open, err := ws.Text()
	if err != nil {
		b.t.Fatalf("the open packet: %v", err)
	}
	s := b.next()
	if h := handshake(b.t, open); h.SID != s.ID() {
		b.t.Fatalf("the client was told of session %s, the handler of %s", h.SID, s.ID())
	}
	return ws, s
}

// opening is the payload of an open packet.
type opening struct {
	SID                                   string
	Upgrades                              []string
	PingInterval, PingTimeout, MaxPayload int
}

func handshake(t testing.TB, packet string) opening {
	t.Helper()
	var h opening
	if !strings.HasPrefix(packet, "0") || json.Unmarshal([]byte(packet[1:]), &h) != nil {
		t.Fatalf("%q instead of an open packet", packet)
	}
	return h
}

// client returns an HTTP client whose connections are its own.
func (b *bed) client() *http.Client {
	tr := &http.Transport{DisableCompression: true, TLSClientConfig: b.tls}
	if b.net != nil {
		tr.DialContext = func(context.Context, string, string) (net.Conn, error) { return b.net.Dial() }
	} else {
		b.t.Cleanup(tr.CloseIdleConnections)
	}
	return &http.Client{Transport: tr}
}

// openPoll opens a session on polling.
func (b *bed) openPoll() (*wiretest.Poll, *session) {
	b.t.Helper()
	p, s, err := b.tryPoll()
	if err != nil {
		b.t.Fatalf("opening a session on polling: %v", err)
	}
	<-b.opened
	return p, s
}

// tryPoll is openPoll for any goroutine. The session stays in b.opened.
func (b *bed) tryPoll() (*wiretest.Poll, *session, error) {
	p := &wiretest.Poll{URL: b.URL + "/?" + query(engineio.Polling, ""), HTTP: b.client()}
	a, err := p.Get(context.Background())
	if err != nil {
		return nil, nil, err
	}
	var h opening
	if a.Status != http.StatusOK || !strings.HasPrefix(a.Body, "0") || json.Unmarshal([]byte(a.Body[1:]), &h) != nil {
		return nil, nil, fmt.Errorf("answered %d %q", a.Status, a.Body)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range slices.Backward(b.all) {
		if s.ID() == h.SID {
			p.URL += "&sid=" + url.QueryEscape(h.SID)
			return p, s, nil
		}
	}
	return nil, nil, fmt.Errorf("the handler knows nothing of session %s", h.SID)
}

// polled is a poll on its way.
type polled struct {
	answer wiretest.Answer
	err    error
}

// poll starts a poll.
func poll(ctx context.Context, p *wiretest.Poll) <-chan polled {
	c := make(chan polled, 1)
	go func() {
		a, err := p.Get(ctx)
		c <- polled{a, err}
	}()
	return c
}

// expectBody waits for the answer of a poll.
func expectBody(t testing.TB, c <-chan polled, status int, body string) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case p := <-c:
		if p.err != nil || p.answer.Status != status || body != "" && p.answer.Body != body {
			t.Errorf("the poll was answered %d %q %v, want %d %q", p.answer.Status, p.answer.Body, p.err, status, body)
		}
	case <-timeout.C:
		t.Error("the poll is not answered")
	}
}

// expectGet polls and compares the answer.
func expectGet(t testing.TB, p *wiretest.Poll, status int, body string) {
	t.Helper()
	expectBody(t, poll(t.Context(), p), status, body)
}

// expectPost posts and compares the answer.
func expectPost(t testing.TB, p *wiretest.Poll, payload string, status int, body string) {
	t.Helper()
	a, err := p.Post(payload)
	if err != nil || a.Status != status || body != "" && a.Body != body {
		t.Errorf("POST %.60q was answered %d %q %v, want %d %q", payload, a.Status, a.Body, err, status, body)
	}
}

// expectText reads texts from a WebSocket.
func expectText(t testing.TB, ws *wiretest.WS, want ...string) {
	t.Helper()
	for _, w := range want {
		if got, err := ws.Text(); err != nil || got != w {
			t.Fatalf("the WebSocket brought %.80q, %v; want %.80q", got, err, w)
		}
	}
}

// expectClose reads to the close frame.
func expectClose(t testing.TB, ws *wiretest.WS, code int, reason string) {
	t.Helper()
	for {
		_, _, err := ws.Read()
		if err == nil {
			continue
		}
		var ce *wiretest.CloseError
		if !errors.As(err, &ce) || ce.Code != code || reason != "" && ce.Reason != reason {
			t.Errorf("the WebSocket ended with %v, want %d %q", err, code, reason)
		}
		return
	}
}

// waitPending waits until a poll of s is pending on the server: then its
// volatile frames are taken.
func waitPending(t testing.TB, s *session) {
	t.Helper()
	for end := time.Now().Add(patience); !s.Polled(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no poll arrives at the server")
		}
	}
}

// waitPosting returns when a POST of s is being read.
func waitPosting(t testing.TB, s *session) {
	t.Helper()
	for end := time.Now().Add(patience); !s.Posting(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no POST arrives at the server")
		}
	}
}
