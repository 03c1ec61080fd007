package socketio_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/socketio"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// bed is a server whose host says back what it hears: events as "heard" with
// their arguments, acks with the same.
type bed struct {
	t   *testing.T
	URL string

	connect func(ctx context.Context, c *socketio.Conn, auth []byte) error // nil: let in
	event   func(c *socketio.Conn, e *socketio.Event)                      // once it is noted

	mu  sync.Mutex // guards log
	log []string
}

func newBed(t *testing.T, change ...func(*bed, *engineio.Config)) *bed {
	t.Helper()
	b := &bed{t: t}
	cfg := engineio.Config{
		PingInterval: 20 * time.Second, PingTimeout: 20 * time.Second, ClientTimeout: 40 * time.Second,
		WriteTimeout: 10 * time.Second, UpgradeTimeout: 10 * time.Second, CloseTimeout: time.Second,
		MaxPayload: 100_000, MaxReadPast: 1_600_000, MaxQueue: 4 << 20,
		OpenTimeout: 10 * time.Second, OpenBytes: 64 << 10, MaxOpening: 1000, MaxOpeningPerAddr: 1000,
		Transports: []string{engineio.Polling, engineio.WebSocket},
		Log:        slog.New(slog.DiscardHandler),
	}
	cfg.RemoteAddr = func(r *http.Request) string { return r.RemoteAddr }
	cfg.Keep = func(r *http.Request) *http.Request { return r }
	for _, f := range change {
		f(b, &cfg)
	}
	cfg.Open = func(s *engineio.Socket) engineio.Handler {
		return socketio.New(s, b, socketio.Limits{ConnectTimeout: cfg.OpenTimeout, HeldEvents: 16, MaxPayload: cfg.MaxPayload, MaxCorked: cfg.MaxQueue})
	}
	srv := engineio.NewServer(cfg)
	ts := wiretest.Serve(srv)
	b.URL = ts.URL
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), wiretest.Timeout)
		defer stop()
		if err := srv.Shutdown(ctx, 0); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		ts.Close()
		wiretest.NoLeaks(t, "github.com/heymanito/heymanito/internal/socketio", "github.com/heymanito/heymanito/internal/engineio")
	})
	return b
}

// Others implements socketio.Host.
func (b *bed) Others(*socketio.Conn) socketio.Others { return nil }

func (b *bed) note(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, s)
}

// noted waits until the host has seen exactly want.
func (b *bed) noted(want ...string) {
	b.t.Helper()
	var got []string
	for end := time.Now().Add(wiretest.Timeout); time.Now().Before(end); time.Sleep(time.Millisecond) {
		b.mu.Lock()
		got = slices.Clone(b.log)
		b.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
	}
	b.t.Errorf("the host has seen %q, want %q", got, want)
}

// Connect implements socketio.Host.
func (b *bed) Connect(ctx context.Context, c *socketio.Conn, auth []byte) error {
	b.note("connect " + string(auth))
	if b.connect != nil {
		return b.connect(ctx, c, auth)
	}
	return open(c)
}

func open(c *socketio.Conn) error {
	if !c.Open(socketio.NewOutgoing("welcome", nil, 0).Frames()...) {
		return context.Canceled
	}
	return nil
}

// Event implements socketio.Host.
func (b *bed) Event(c *socketio.Conn, e *socketio.Event) {
	args, err := e.Args()
	if err != nil {
		b.note(e.Name + ": " + err.Error())
		e.Ack([]byte(`"refused"`))
		return
	}
	b.note(e.Name)
	if b.event != nil {
		b.event(c, e)
	}
	o := socketio.NewOutgoing("heard", e, 0)
	for _, a := range args {
		o.Raw(",").Value(a)
	}
	c.Send(o.Frames()...)
	e.Ack(bytes.Join(args, []byte(",")))
	e.Ack([]byte(`"once only"`))
}

// Read implements Host.
func (b *bed) Read(_ *socketio.Conn, mark uint64) { b.note("read " + strconv.FormatUint(mark, 10)) }

// Acked implements Host.
func (b *bed) Acked(_ *socketio.Conn, id uint64) { b.note("acked " + strconv.FormatUint(id, 10)) }

// Closed implements socketio.Host.
func (b *bed) Closed(_ *socketio.Conn, reason string, goodbye bool) {
	if goodbye {
		reason += " (goodbye)"
	}
	b.note("closed: " + reason)
}

// dial opens a WebSocket and reads the open packet.
func (b *bed) dial() *wiretest.WS {
	b.t.Helper()
	ws, err := wiretest.DialWS(b.URL, "EIO=4&transport=websocket")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(ws.Close)
	if _, err := ws.Text(); err != nil {
		b.t.Fatal(err)
	}
	return ws
}

// join is dial, and CONNECT.
func (b *bed) join() *wiretest.WS {
	b.t.Helper()
	ws := b.dial()
	b.send(ws, "40")
	b.hear(ws, `40{"sid":`)
	b.hear(ws, `42["welcome"]`)
	return ws
}

func (b *bed) send(ws *wiretest.WS, messages ...string) {
	b.t.Helper()
	if err := ws.Write(wiretest.Texts(messages...)); err != nil {
		b.t.Fatal(err)
	}
}

// hear reads the next message, which has to begin with prefix, and returns it.
func (b *bed) hear(ws *wiretest.WS, prefix string) string {
	b.t.Helper()
	got, err := ws.Text()
	if err != nil || len(got) < len(prefix) || got[:len(prefix)] != prefix {
		b.t.Fatalf("heard %.200q, %v; want %q…", got, err, prefix)
	}
	return got
}

// closes reads on until the server has closed with code.
func (b *bed) closes(ws *wiretest.WS, code int) {
	b.t.Helper()
	for {
		_, _, err := ws.Read()
		if err == nil {
			continue
		}
		ce, ok := errors.AsType[*wiretest.CloseError](err)
		if !ok || ce.Code != code {
			b.t.Fatalf("ended with %v, want close code %d", err, code)
		}
		return
	}
}
