package engineio_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/wiretest"
)

func TestShutdownOfNothing(t *testing.T) {
	b := newBed(t)
	for range 2 {
		if err := b.Shutdown(t.Context(), time.Hour); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	}
}

// Clients in every state are told, and nothing of them is left behind: newBed
// looks for goroutines when the test is over.
func TestShutdownLeavesNothing(t *testing.T) {
	b := newBed(t)
	ws, one := b.openWS()
	_, idle := b.openPoll()
	polling, two := b.openPoll()
	pending := poll(t.Context(), polling)
	waitPending(t, two)
	_, three := b.openPoll()
	probe := b.probe(three)
	_, four := b.openPoll()
	silent := b.ws(four.ID())
	posting, five := b.openPoll()
	r, w := io.Pipe()
	posted := make(chan struct{})
	go func() {
		defer close(posted)
		_, _ = posting.PostBody(r, "text/plain")
	}()
	_, _ = io.WriteString(w, "4half")
	upgraded, six := b.openPoll()
	up := b.probe(six)
	if err := up.Write(wiretest.Texts("5", "4up")); err != nil {
		t.Fatal(err)
	}
	expectText(t, up, "4up")
	_, stopped := b.openWS()
	stopped.Send(engineio.Text(make([]byte, 3_000_000)))

	down := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience/5)
		defer cancel()
		down <- b.Shutdown(ctx, 0)
	}()
	expectClose(t, ws, 1012, "server shutting down")
	ws.Close()
	expectClose(t, up, 1012, "server shutting down")
	up.Close()
	expectBody(t, pending, 200, "1")
	for _, s := range []*session{one, idle, two, three, four, five, six, stopped} {
		s.expectEnd(engineio.Draining)
	}
	for _, ws := range []*wiretest.WS{probe, silent} {
		if _, _, err := ws.Read(); err == nil || isTimeout(err) {
			t.Errorf("a probe is kept: %v", err)
		}
	}
	_ = w.Close()
	<-posted
	expectGet(t, upgraded, 400, "")
	if status := b.refusedWS(t, query(engineio.WebSocket, "")); status != 503 {
		t.Errorf("a new client was answered %d", status)
	}
	a := b.raw(t, http.MethodGet, query(engineio.Polling, ""))
	if a.Status != 503 || a.Header.Get("Retry-After") == "" {
		t.Errorf("a new client was answered %d %v", a.Status, a.Header)
	}
	// The one that does not read holds it up until ctx ends.
	if err := <-down; err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
}

// The closes are spread over the drain time, but no wider than the pace.
func TestShutdownSpread(t *testing.T) {
	for _, c := range []struct {
		clients       int
		spread        time.Duration
		atLeast, most time.Duration
	}{
		{1, time.Second, 0, 0},
		{100, 0, 0, 0},
		{100, 100 * time.Millisecond, 90 * time.Millisecond, 100 * time.Millisecond},
		{100, time.Hour, 490 * time.Millisecond, 500 * time.Millisecond}, // 5 ms each
		{2000, time.Second, 990 * time.Millisecond, time.Second},
	} {
		t.Run(fmt.Sprint(c.clients, " over ", c.spread), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bubbleBed(t)
				var all []*session
				for range c.clients {
					all = append(all, openPollDirectly(t, b))
				}
				var mu sync.Mutex
				var ends []time.Duration
				begin := time.Now()
				var wg sync.WaitGroup
				for _, s := range all {
					wg.Go(func() {
						<-s.closed
						mu.Lock()
						defer mu.Unlock()
						ends = append(ends, time.Since(begin))
					})
				}
				if err := b.Shutdown(t.Context(), c.spread); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
				wg.Wait()
				last := ends[len(ends)-1]
				if last < c.atLeast || last > c.most {
					t.Errorf("the last was closed after %v, want %v to %v", last, c.atLeast, c.most)
				}
				// Evenly: at half-time about half are closed.
				half := 0
				for _, e := range ends {
					if e <= last/2 {
						half++
					}
				}
				if c.most > 0 && (half < c.clients*4/10 || half > c.clients*6/10) {
					t.Errorf("at half-time %d of %d are closed", half, c.clients)
				}
				b.finish()
			})
		})
	}
}

// When ctx ends, what is left is cut.
func TestShutdownCuts(t *testing.T) {
	t.Run("clients that do not read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t)
			var all []*wiretest.WS
			for range 20 {
				ws, s := b.openWS()
				s.Send(engineio.Binary(make([]byte, 1<<20)))
				all = append(all, ws)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			begin := time.Now()
			if err := b.Shutdown(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Shutdown: %v", err)
			}
			if took := time.Since(begin); took != time.Second {
				t.Errorf("it took %v", took)
			}
			if n := b.Sockets(); n != 0 {
				t.Errorf("%d sockets are left", n)
			}
			for _, ws := range all {
				if _, err := io.Copy(io.Discard, ws.Net); err != nil {
					t.Errorf("not cut: %v", err)
				}
				ws.Close()
			}
			b.finish()
		})
	})
	t.Run("in the middle of the spread", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t)
			for range 1000 {
				openPollDirectly(t, b)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			begin := time.Now()
			if err := b.Shutdown(ctx, 10*time.Second); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Shutdown: %v", err)
			}
			if took := time.Since(begin); took != time.Second {
				t.Errorf("it took %v", took)
			}
			if n := b.Sockets(); n != 0 {
				t.Errorf("%d sockets are left", n)
			}
			b.finish()
		})
	})
	t.Run("a ctx that has ended before", func(t *testing.T) {
		b := newBed(t)
		ws, s := b.openWS()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Shutdown(ctx, time.Hour); !errors.Is(err, context.Canceled) {
			t.Errorf("Shutdown: %v", err)
		}
		s.expectEnd(engineio.Draining)
		if _, _, err := ws.Read(); err == nil || isTimeout(err) {
			t.Errorf("not closed: %v", err)
		}
	})
}

// Shutdown waits for handlers, which are told through their context.
func TestShutdownWaitsForHandlers(t *testing.T) {
	b := newBed(t)
	var ended atomic.Bool
	b.handle = func(s *session, _ string) {
		<-s.Context().Done()
		time.Sleep(10 * time.Millisecond)
		ended.Store(true)
	}
	ws, s := b.openWS()
	if err := ws.Send("4think"); err != nil {
		t.Fatal(err)
	}
	s.hear(1)
	var background atomic.Bool
	s.Go(func() {
		<-s.Context().Done()
		time.Sleep(10 * time.Millisecond)
		background.Store(true)
	})
	go func() { _, _, _ = ws.Read(); ws.Close() }()
	if err := b.Shutdown(t.Context(), 0); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if !ended.Load() || !background.Load() {
		t.Errorf("Shutdown did not wait: handler %v, Go %v", ended.Load(), background.Load())
	}
	s.expectEnd(engineio.Draining)
}

// Clients that come while the server shuts down are either refused or closed,
// on every transport, and none is forgotten.
func TestShutdownMeetsHandshakes(t *testing.T) {
	for round := range 20 {
		b := newBed(t, func(c *engineio.Config) { c.CloseTimeout = 40 * time.Millisecond })
		var wg sync.WaitGroup
		stop := make(chan struct{})
		refused := make(chan struct{})
		var once sync.Once
		for i := range 8 {
			wg.Go(func() {
				for n := i; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					if n%2 == 0 {
						w := httptest.NewRecorder()
						b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/?"+query(engineio.Polling, ""), nil))
						if w.Code == 503 {
							once.Do(func() { close(refused) })
						}
						continue
					}
					ws, err := b.tryWS(query(engineio.WebSocket, ""))
					if err == nil {
						ws.Close()
					}
				}
			})
		}
		for range round {
			b.next()
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		if err := b.Shutdown(ctx, 0); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		cancel()
		<-refused
		close(stop)
		wg.Wait()
		b.mu.Lock()
		for _, s := range b.all {
			if !s.isClosed() {
				t.Error("a client that came late was forgotten")
			}
		}
		b.mu.Unlock()
		if n, addrs := b.Opening(); n != 0 || addrs != 0 {
			t.Errorf("%d sockets of %d addresses still count as opening", n, addrs)
		}
	}
}

// A panic of a handler is net/http's to report; it must not stop Shutdown.
func TestShutdownAfterAPanic(t *testing.T) {
	b := newBed(t)
	b.handle = func(*session, string) { panic(http.ErrAbortHandler) }
	c, s := b.openPoll()
	if a, err := c.Post("4panic"); err == nil {
		t.Errorf("answered %d", a.Status)
	}
	s.hear(1)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = b.Shutdown(ctx, 0) // that it returns is what counts
	}()
	select {
	case <-done:
	case <-time.After(patience / 2):
		b.wedged = true
		t.Fatal("Shutdown hangs after a handler has panicked")
	}
}
