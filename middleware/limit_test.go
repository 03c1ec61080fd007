package middleware_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
	"github.com/heymanito/heymanito/middleware"
)

const opening = "/socket.io/?EIO=4&transport=polling&userId=ana"

// visit sends a request through h.
func visit(h http.Handler, method, target, addr string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = addr
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHandshakeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := 0
		h := middleware.HandshakeLimit(20, 3)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
		come := func(method, target, addr string, want int) *httptest.ResponseRecorder {
			t.Helper()
			before := served
			w := visit(h, method, target, addr)
			if w.Code != want || (served > before) != (want == http.StatusOK) {
				t.Errorf("%s %s from %s: %d %s, want %d", method, target, addr, w.Code, w.Body, want)
			}
			return w
		}
		const mallory = "203.0.113.9:4000"
		for range 3 {
			come("GET", opening, mallory, 200)
		}
		time.Sleep(time.Second / 2)
		w := come("GET", opening, "203.0.113.9:4001", 429)
		for name, want := range map[string]string{"Retry-After": "3", "Content-Type": "application/json", "Cache-Control": "no-store"} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		if got, want := w.Body.String(), `{"code":3,"message":"rate_limited: too many new connections from this address"}`; got != want {
			t.Errorf("body = %s, want %s", got, want)
		}
		// Nor is there another way in.
		for _, target := range []string{opening + "&sid=", opening + "&sid=&sid=x", opening + "&%73id=", "/socket.io/?EIO=4&transport=websocket&userId=ana", "/"} {
			for _, method := range []string{"GET", "POST", "PUT"} {
				come(method, target, mallory, 429)
			}
		}
		// A connection that there is goes on, as do those of others.
		for range 10 {
			come("GET", opening+"&sid=x", mallory, 200)
			come("POST", "/socket.io/?sid=x", mallory, 200)
			come("GET", "/socket.io/?EIO=4&transport=websocket&s%69d=x", mallory, 200)
			come("OPTIONS", opening, mallory, 200)
		}
		come("GET", opening, "203.0.113.10:4000", 200)
		// To be turned away costs no more than to wait.
		time.Sleep(2500*time.Millisecond - time.Nanosecond)
		come("GET", opening, mallory, 429)
		time.Sleep(time.Nanosecond)
		come("GET", opening, mallory, 200)
		come("GET", opening, mallory, 429)
		time.Sleep(time.Minute)
		for range 3 {
			come("GET", opening, mallory, 200)
		}
		come("GET", opening, mallory, 429)
		// A client has a /64 as a whole.
		for range 3 {
			come("GET", opening, "[2001:db8:0:1::1]:1", 200)
		}
		come("GET", opening, "[2001:db8:0:1:f::2]:1", 429)
		come("GET", opening, "[2001:db8:0:2::1]:1", 200)
	})
}

// Behind a proxy the host says whose a request is.
func TestHandshakeLimitBehindAProxy(t *testing.T) {
	h := middleware.HandshakeLimit(1, 1, middleware.WithRemoteAddr(func(r *http.Request) string { return r.Header.Get("X-Real-Ip") }))(
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, c := range []struct {
		addr string
		want int
	}{{"192.0.2.1", 200}, {"192.0.2.2", 200}, {"192.0.2.1", 429}, {"192.0.2.2", 429}} {
		r := httptest.NewRequest("GET", opening, nil)
		r.Header.Set("X-Real-Ip", c.addr)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d", c.addr, w.Code, c.want)
		}
	}
}

// A client that is turned away on either transport can come back, and one that
// was let in notices nothing of the limit.
func TestHandshakeLimitInFrontOfTheServer(t *testing.T) {
	rt := heymanito.New(heymanito.WithLogger(slog.New(slog.DiscardHandler)))
	srv := httptest.NewServer(middleware.HandshakeLimit(1, 2)(rt))
	defer srv.Close()
	defer func() {
		if err := rt.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	p, err := wiretest.OpenPoll(srv.URL, "ana")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Quit()
	ben := wiretest.Connect(t, srv.URL, "ben")
	_, err = wiretest.TryConnect(t, srv.URL, "eva")
	if e, ok := err.(*wiretest.ErrStatus); !ok || e.Status != http.StatusTooManyRequests {
		t.Errorf("the third, on a WebSocket: %v, want 429", err)
	}
	if p, err := wiretest.OpenPoll(srv.URL, "eva"); err == nil {
		t.Error("the third came in on polling")
		p.Quit()
	}
	if err := p.Join(); err != nil {
		t.Errorf("who was let in before: %v", err)
	}
	ben.Sync()
	ben.Cut()
}

// What belongs to a connection that there is passes for nothing.
func TestHandshakeLimitAllocs(t *testing.T) {
	h := middleware.HandshakeLimit(1, 1)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := httptest.NewRequest("GET", opening+"&t=abc&sid=0123456789", nil)
	w := httptest.NewRecorder()
	if n := testing.AllocsPerRun(100, func() { h.ServeHTTP(w, r) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
