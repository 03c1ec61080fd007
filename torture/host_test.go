package torture

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// host is a server in this process, so that its parts can be replaced by
// faulty ones.
type host struct {
	t    *testing.T
	opts []heymanito.Option

	mu     sync.Mutex // guards the rest
	starts int
	addr   string
	rt     *heymanito.Server
	http   *http.Server
}

// newHost starts a server.
func newHost(t *testing.T, inbox heymanito.Inbox, opts ...heymanito.Option) *host {
	h := &host{t: t, opts: append([]heymanito.Option{
		heymanito.WithLogger(slog.New(slog.DiscardHandler)),
		heymanito.WithHeartbeat(2*time.Second, 3*time.Second),
		heymanito.WithClientTimeout(3 * time.Second),
		heymanito.WithWriteTimeout(5 * time.Second),
		heymanito.WithOfflineGrace(500 * time.Millisecond),
		heymanito.WithMaxQueue(128 << 10),
		heymanito.WithDrain(0),
	}, opts...)}
	h.start(inbox)
	t.Cleanup(h.crash)
	return h
}

func (h *host) start(inbox heymanito.Inbox) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Error(err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rt = heymanito.New(append(h.opts, heymanito.WithInbox(inbox), heymanito.WithRates(heymanito.Rate{}, heymanito.Rate{}))...)
	h.http = &http.Server{Handler: h.rt, ReadHeaderTimeout: 10 * time.Second}
	h.addr = ln.Addr().String()
	srv := h.http
	if h.starts++; (h.starts+len(h.t.Name()))%2 == 0 { // about half of them: the path for TLS and other systems
		ln, h.http.Handler = wiretest.Hiding(ln), wiretest.Wrapping(h.rt)
	}
	go func() { _ = srv.Serve(ln) }()
}

func (h *host) where() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.addr
}

// crash ends the server as fast as it can be ended.
func (h *host) crash() {
	h.mu.Lock()
	h.addr = ""
	rt, srv := h.rt, h.http
	h.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = rt.Shutdown(ctx)
	_ = srv.Close()
}

// breeze is a storm of a few people for a few seconds: enough for one fault.
func breeze(seed uint64, h *host) config {
	return config{
		seed: seed, users: 5, addr: h.where, life: time.Second, think: 50 * time.Millisecond,
		fates: everyFate(), calm: 20 * time.Second,
	}
}
