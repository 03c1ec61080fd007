package heymanito_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// The tests that attack a server share what is here: a bed is a server on
// loopback that has to come through whatever is done to it. When the test ends
// it is shut down, and the test fails if that does not work, if any goroutine
// of it stays behind, or if anything panicked in it.

// patience is how long a test waits for what has to happen.
const patience = 15 * time.Second

// bed is a server under attack.
type bed struct {
	*heymanito.Server
	URL   string
	Addr  string
	t     testing.TB
	label string // of its goroutines

	mu       sync.Mutex     // guards inFlight
	inFlight map[string]int // requests being served: "GET alice"
}

// ServeHTTP counts the requests on their way to the server.
func (b *bed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Method + " " + r.URL.Query().Get("userId")
	count := func(n int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.inFlight[key] += n; b.inFlight[key] == 0 {
			delete(b.inFlight, key)
		}
	}
	count(1)
	defer count(-1)
	b.Server.ServeHTTP(w, r)
}

// serving reports whether a request with that method and userId has reached
// the server and is not answered yet.
func (b *bed) serving(method, user string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inFlight[method+" "+user] > 0
}

var beds atomic.Int64

func newBed(t testing.TB, opts ...heymanito.Option) *bed {
	t.Helper()
	label := fmt.Sprint(t.Name(), "#", beds.Add(1))
	b := &bed{t: t, label: label, inFlight: map[string]int{}}
	opts = append([]heymanito.Option{heymanito.WithLogger(slog.New(alarm{t})), heymanito.WithDrain(0), heymanito.WithRates(heymanito.Rate{}, heymanito.Rate{})}, opts...)
	var ts *httptest.Server
	// Goroutines inherit labels: whatever the server starts has this one.
	pprof.Do(context.Background(), pprof.Labels("bed", label), func(context.Context) {
		b.Server = heymanito.New(bridged(opts...)...)
		ts = httptest.NewUnstartedServer(wiretest.Handler(b))
		ts.Listener = wiretest.Listener(ts.Listener)
		ts.Config.ErrorLog = log.New(httpAlarm{t}, "", 0)
		ts.Start()
	})
	b.URL = ts.URL
	b.Addr = strings.TrimPrefix(ts.URL, "http://")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if stay := moduleGoroutines(label); stay != "" && !eventually(patience, func() bool { return moduleGoroutines(label) == "" }) {
			t.Errorf("after Shutdown these goroutines of the server are still there:\n%s", stay)
		}
		ts.Close()
		if !eventually(patience, func() bool { return labelled(label) == "" }) {
			t.Errorf("with everything closed these goroutines are still there:\n%s", labelled(label))
		}
	})
	return b
}

// labelled describes the goroutines of a bed, moduleGoroutines those of them
// that are in code of ours.
func labelled(label string) string { return goroutines(fmt.Sprintf("%q:%q", "bed", label), "") }

func moduleGoroutines(label string) string { return inModule(fmt.Sprintf("%q:%q", "bed", label)) }

// inModule describes those in code of the module, but not of its tests: their
// binary's name has neither of these.
func inModule(label string) string {
	const module = "github.com/heymanito/heymanito"
	return goroutines(label, module+".") + goroutines(label, module+"/internal/engineio") + goroutines(label, module+"/internal/socketio")
}

// goroutines describes those whose description has both label and frame in it.
func goroutines(label, frame string) string {
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
		return err.Error()
	}
	var found []string
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(stack, label) && strings.Contains(stack, frame) {
			found = append(found, stack)
		}
	}
	return strings.Join(found, "\n\n")
}

// TestMain looks for goroutines of the module that outlived every test.
func TestMain(m *testing.M) {
	if benchServerProcess() {
		return
	}
	code := m.Run()
	var stay string
	if code == 0 && !eventually(patience, func() bool {
		stay = inModule("")
		return stay == ""
	}) {
		fmt.Printf("FAIL: goroutines that outlived their tests:\n%s\n", stay)
		code = 1
	}
	os.Exit(code)
}

// eventually reports whether f becomes true.
func eventually(within time.Duration, f func() bool) bool {
	for end := time.Now().Add(within); ; time.Sleep(2 * time.Millisecond) {
		if f() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// alarm is a log handler that fails the test when a panic is logged.
type alarm struct{ t testing.TB }

func (alarm) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }
func (a alarm) WithAttrs([]slog.Attr) slog.Handler         { return a }
func (a alarm) WithGroup(string) slog.Handler              { return a }
func (a alarm) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "panic" {
		r.Attrs(func(at slog.Attr) bool {
			a.t.Errorf("panic: %s = %v", at.Key, at.Value)
			return true
		})
	}
	return nil
}

// httpAlarm does the same for what net/http recovers.
type httpAlarm struct{ t testing.TB }

func (a httpAlarm) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("panic")) {
		a.t.Errorf("%s", p)
	}
	return len(p), nil
}

// Clients that may be used from any goroutine: they return errors.

// query is a WebSocket handshake's.
func query(user string) string {
	return url.Values{"EIO": {"4"}, "transport": {"websocket"}, "userId": {user}}.Encode()
}

// open opens a WebSocket and reads the open packet.
func (b *bed) open(user string) (*wiretest.WS, error) {
	ws, err := wiretest.DialWS(b.URL, query(user))
	if err != nil {
		return nil, err
	}
	if p, err := ws.Text(); err != nil || !strings.HasPrefix(p, `0{"sid"`) {
		ws.Close()
		return nil, fmt.Errorf("instead of the open packet: %q, %w", p, err)
	}
	return ws, nil
}

// join opens a WebSocket and connects; it returns after online_users.
func (b *bed) join(user string) (*wiretest.WS, error) {
	ws, err := b.open(user)
	if err != nil {
		return nil, err
	}
	if err := ws.Send("40"); err != nil {
		ws.Close()
		return nil, err
	}
	return ws, joined(ws)
}

// joined reads the answer to CONNECT and the list that follows it.
func joined(ws *wiretest.WS) error {
	p, err := await(ws, "40{")
	if err == nil {
		p, err = await(ws, `42["online_users",`)
	}
	if err != nil {
		ws.Close()
		return fmt.Errorf("connecting, after %.200q: %w", p, err)
	}
	return nil
}

// await reads until a text message that begins with prefix; it answers pings.
func await(ws *wiretest.WS, prefix string) (string, error) {
	for {
		op, p, err := ws.Read()
		switch {
		case err != nil:
			return "", fmt.Errorf("waiting for %s: %w", prefix, err)
		case op != wiretest.OpText:
		case string(p) == "2":
			if err := ws.Send("3"); err != nil {
				return "", err
			}
		case bytes.HasPrefix(p, []byte(prefix)):
			return string(p), nil
		}
	}
}

// message is the payload of a sendMessage.
func message(from, to string, id int, content string) string {
	return fmt.Sprintf(`{"id":%d,"senderChatPath":%q,"recipientChatPath":%q,"content":%s,"senderProfile":{}}`, id, from, to, content)
}

// each calls f(i) for i from 0 to n-1 on several goroutines, and returns the
// first error.
func each(workers, n int, f func(i int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	for range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					once.Do(func() { first = fmt.Errorf("round %d: %w", i, err) })
					next.Store(int64(n))
					return
				}
			}
		})
	}
	wg.Wait()
	return first
}

// pair is two well-behaved clients who talk to each other while somebody else
// does not behave.
type pair struct {
	b        *bed
	ann, bob *wiretest.WS
	quit     chan struct{}
	done     chan struct{}
	n        int
	err      error
}

// chat starts the talk; end it with stop.
func (b *bed) chat() *pair {
	b.t.Helper()
	p := &pair{b: b, quit: make(chan struct{}), done: make(chan struct{})}
	var err error
	if p.ann, err = b.join("ann"); err == nil {
		p.bob, err = b.join("bob")
	}
	for _, ws := range []*wiretest.WS{p.ann, p.bob} { // from there on what is sent to them is sent
		if err == nil {
			_, err = await(ws, `42["inboxReady",`)
		}
	}
	if err != nil {
		b.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		for p.err == nil {
			select {
			case <-p.quit:
				return
			case <-pace.C:
				p.err = p.say()
			}
		}
	}()
	b.t.Cleanup(func() { p.ann.Close(); p.bob.Close() })
	return p
}

// say sends one message there and one back: acked as sent, and received.
func (p *pair) say() error {
	p.n++
	for _, way := range []struct {
		name     string
		from, to *wiretest.WS
		msg      string
	}{
		{"ann", p.ann, p.bob, message("ann", "bob", p.n, `"hola"`)},
		{"bob", p.bob, p.ann, message("bob", "ann", p.n, `"hola"`)},
	} {
		if err := way.from.Send(fmt.Sprintf(`42%d["sendMessage",%s]`, p.n, way.msg)); err != nil {
			return fmt.Errorf("%s sends: %w", way.name, err)
		}
		ack, err := await(way.from, "43")
		if err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		if !strings.HasPrefix(ack, fmt.Sprintf(`43%d[{"status":"ok","id":%d,`, p.n, p.n)) || !strings.Contains(ack, `"delivery":"sent"`) {
			return fmt.Errorf("%s: message %d was acked %s", way.name, p.n, ack)
		}
		got, err := await(way.to, `42["receiveMessage",`)
		if err != nil {
			return fmt.Errorf("the message of %s: %w", way.name, err)
		}
		if !strings.HasPrefix(got, fmt.Sprintf(`42["receiveMessage",{"id":%d,"senderChatPath":"%s",`, p.n, way.name)) {
			return fmt.Errorf("message %d of %s arrived as %.200s", p.n, way.name, got)
		}
	}
	return nil
}

// stop ends the talk with one more message each way, and fails the test if
// anything went wrong on the way.
func (p *pair) stop() {
	p.b.t.Helper()
	close(p.quit)
	<-p.done
	err := p.err
	if err == nil {
		err = p.say()
	}
	if err != nil {
		p.b.t.Errorf("the neighbours were disturbed in round %d: %v", p.n, err)
	}
	p.ann.Close()
	p.bob.Close()
}

// asStatus returns the HTTP answer that refused a handshake.
func asStatus(err error) (*wiretest.ErrStatus, bool) {
	var s *wiretest.ErrStatus
	return s, errors.As(err, &s)
}

// asClose returns the server's close frame.
func asClose(err error) (*wiretest.CloseError, bool) {
	var c *wiretest.CloseError
	return c, errors.As(err, &c)
}

func base64Of(p []byte) string { return base64.StdEncoding.EncodeToString(p) }

// heapNow is what is really in use, in bytes.
func heapNow() int {
	runtime.GC()
	runtime.GC() // pools give up what they hold at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// eager is a connection that sends more on its own: behind the first write (in
// the same segment as the HTTP request), or upon the first read (the moment
// the answer is in).
type eager struct {
	net.Conn
	behind, upon []byte
}

func (e *eager) Write(p []byte) (int, error) {
	n := len(p)
	if len(e.behind) > 0 {
		p = append(p[:n:n], e.behind...)
		e.behind = nil
	}
	m, err := e.Conn.Write(p)
	return min(n, m), err
}

func (e *eager) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	if len(e.upon) > 0 && err == nil {
		_, err = e.Conn.Write(e.upon)
		e.upon = nil
	}
	return n, err
}

// dialEager opens a WebSocket on an eager connection. The open packet is still
// to be read.
func (b *bed) dialEager(user string, behind, upon []byte) (*wiretest.WS, error) {
	nc, err := net.Dial("tcp", b.Addr)
	if err != nil {
		return nil, err
	}
	ws, err := wiretest.HandshakeWS(&eager{Conn: nc, behind: behind, upon: upon}, b.Addr, query(user))
	if err != nil {
		_ = nc.Close() // it failed already
	}
	return ws, err
}

// A server that nobody has talked to starts nothing, and shuts down.
func TestNewStartsNothing(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	if got := inModule(`"bed":"TestNewStartsNothing`); got != "" {
		t.Errorf("New has started goroutines:\n%s", got)
	}
	for range 2 {
		if err := b.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	}
}
