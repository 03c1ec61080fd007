package heymanito_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/heymanito/heymanito/internal/wiretest"
)

// chain puts a handler behind middlewares, the first in front.
func chain(all ...func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		for _, one := range slices.Backward(all) {
			h = one(h)
		}
		return h
	}
}

// hides gives a handler a ResponseWriter that can nothing but write.
func hides(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(onlyWriter{w}, r) })
}

type onlyWriter struct{ w http.ResponseWriter }

func (o onlyWriter) Header() http.Header         { return o.w.Header() }
func (o onlyWriter) Write(b []byte) (int, error) { return o.w.Write(b) }
func (o onlyWriter) WriteHeader(status int)      { o.w.WriteHeader(status) }

// Whatever a host has in front of the server, its clients connect, wait longer
// than any deadline of the host's, and get what is for them. Where a WebSocket
// cannot be, the server says so once, the client is told, and stays on polling.
func TestBehindAnyMiddleware(t *testing.T) {
	logger := middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: log.New(io.Discard, "", 0)})
	short := func(srv *http.Server) {
		srv.ReadTimeout, srv.ReadHeaderTimeout, srv.WriteTimeout, srv.IdleTimeout = time.Second, time.Second, time.Second, time.Second
	}
	for _, c := range []struct {
		name   string
		before func(http.Handler) http.Handler
		set    func(*http.Server)
		hidden bool // no WebSocket can be
	}{
		{name: "nothing", before: chain()},
		{name: "RequestID", before: middleware.RequestID},
		{name: "RealIP", before: middleware.RealIP}, //nolint:staticcheck // hosts have it, safe or not
		{name: "Logger", before: logger},
		{name: "Recoverer", before: middleware.Recoverer},
		{name: "Compress", before: middleware.Compress(5)},
		{name: "Timeout", before: middleware.Timeout(time.Second)},
		{name: "Throttle", before: middleware.Throttle(10)},
		{name: "CleanPath", before: middleware.CleanPath},
		{name: "StripSlashes", before: middleware.StripSlashes},
		{name: "NoCache", before: middleware.NoCache},
		{name: "all of them", before: chain(middleware.RequestID, logger, middleware.Recoverer, middleware.Compress(5),
			middleware.Timeout(time.Second), middleware.Throttle(10), middleware.CleanPath)},
		{name: "Unwrap alone", before: wiretest.Wrapping},
		{name: "Unwrap alone, and Timeout", before: chain(middleware.Timeout(time.Second), wiretest.Wrapping)},
		{name: "deadlines", before: chain(), set: short},
		{name: "deadlines, and Unwrap alone", before: wiretest.Wrapping, set: short},
		{name: "nothing but Write", before: hides, hidden: true},
		{name: "http.TimeoutHandler", before: func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Second, "late") }, hidden: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if c.set == nil {
					c.set = func(*http.Server) {}
				}
				routed := func(h http.Handler) http.Handler { // CleanPath needs a router
					r := chi.NewRouter()
					r.Use(c.before)
					r.Mount("/socket.io", h)
					return r
				}
				a := startOn(t, routed, c.set)
				for _, path := range []string{"/socket.io/", "/socket.io"} {
					p, err := wiretest.OpenPollAt(host+path, "bob", a.http)
					if err != nil {
						t.Fatal(err)
					}
					gets(t, a, path, p.Send, p.Next)
					if c.hidden {
						a.hidden(t, path)
						p.Quit()
						continue
					}
					ws := a.upgraded(t, path, p)
					gets(t, a, path+", upgraded", func(packets ...string) error { return ws.Write(wiretest.Texts(packets...)) },
						func(prefix string) ([]string, error) { return nextText(ws, prefix) })
					ws.Close()
					ws = a.dialAt(t, path, "transport=websocket&userId=bob")
					gets(t, a, path+", WebSocket", func(packets ...string) error { return ws.Write(wiretest.Texts(packets...)) },
						func(prefix string) ([]string, error) { return nextText(ws, prefix) })
					ws.Close()
				}
				if n := a.log.Count("WebSockets cannot work here"); n > 1 || c.hidden != (n == 1) {
					t.Errorf("that WebSockets cannot work was said %d times", n)
				}
				if n := a.log.Count("level=ERROR"); n > 0 && !c.hidden {
					t.Errorf("errors were logged:\n%s", a.log)
				}
			})
		})
	}
}

// gets connects bob, if he is not, on whatever send and next are, and has him
// wait for a message, which somebody writes after a while.
func gets(t *testing.T, a *app, where string, send func(...string) error, next func(string) ([]string, error)) {
	t.Helper()
	synctest.Wait()
	if len(a.Devices("bob")) == 0 {
		if err := send("40"); err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		if _, err := next(`42["online_users"`); err != nil {
			t.Fatalf("%s: %v", where, err)
		}
	}
	got := make(chan error, 1)
	go func() {
		_, err := next(`42["hint"`)
		got <- err
	}()
	time.Sleep(5 * time.Second) // longer than any deadline in front of the server
	if n, err := a.Emit(t.Context(), "bob", "hint", where); n != 1 || err != nil {
		t.Fatalf("%s: bob has %d devices, %v", where, n, err)
	}
	if err := <-got; err != nil {
		t.Fatalf("%s: bob got nothing: %v", where, err)
	}
	if err := send(`42` + `7["getCalls"]`); err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	if _, err := next(`437[{"status":"ok"`); err != nil {
		t.Fatalf("%s: bob's event was not acked: %v", where, err)
	}
}

// nextText reads until a message that begins with prefix, and answers pings.
func nextText(ws *wiretest.WS, prefix string) (packets []string, err error) {
	for {
		p, err := ws.Text()
		switch {
		case err != nil:
			return packets, err
		case strings.HasPrefix(p, prefix):
			return append(packets, p), nil
		case p == "2":
			if err := ws.Send("3"); err != nil {
				return packets, err
			}
		}
		packets = append(packets, p)
	}
}

// dialAt opens a WebSocket.
func (a *app) dialAt(t *testing.T, path, query string) *wiretest.WS {
	t.Helper()
	nc, err := a.net.Dial()
	if err != nil {
		t.Fatal(err)
	}
	ws, err := wiretest.HandshakeWSAt(nc, "heymanito.test", path, "EIO=4&"+query)
	if err != nil {
		_ = nc.Close()
		t.Fatalf("%s: %v", path, err)
	}
	return ws
}

// upgraded moves a session from polling to a WebSocket.
func (a *app) upgraded(t *testing.T, path string, p *wiretest.Poll) *wiretest.WS {
	t.Helper()
	u, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	ws := a.dialAt(t, path, "transport=websocket&userId=bob&sid="+url.QueryEscape(u.Query().Get("sid")))
	if err = ws.Send("2probe"); err == nil {
		_, err = nextText(ws, "3probe")
	}
	if err == nil {
		err = ws.Send("5")
	}
	if err != nil {
		t.Fatalf("%s: the upgrade: %v", path, err)
	}
	return ws
}

// hidden checks that a WebSocket is refused in words.
func (a *app) hidden(t *testing.T, path string) {
	t.Helper()
	nc, err := a.net.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_, err = wiretest.HandshakeWSAt(nc, "heymanito.test", path, "EIO=4&transport=websocket&userId=eve")
	var status *wiretest.ErrStatus
	if !errors.As(err, &status) || status.Status != http.StatusBadRequest || !strings.Contains(status.Body, "cannot upgrade the connection") {
		t.Errorf("%s: a WebSocket where none can be: %v", path, err)
	}
}

// Over TLS clients may negotiate HTTP/2: polling goes over it, and a WebSocket
// takes a connection of its own.
func TestOverTLS(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %v", http2), func(t *testing.T) {
			b := newBed(t)
			srv := httptest.NewUnstartedServer(b.Server)
			srv.EnableHTTP2 = http2
			srv.StartTLS()
			defer srv.Close()
			client := srv.Client()
			p, err := wiretest.OpenPollAt(srv.URL+"/socket.io/", "bob", client)
			if err != nil {
				t.Fatal(err)
			}
			a, err := p.Post("40")
			if err != nil || a.Body != "ok" {
				t.Fatalf("%+v, %v", a, err)
			}
			r, err := client.Get(p.URL)
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.Copy(io.Discard, r.Body) // a body that is closed unread is a poll that is cut
			_ = r.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if got := r.ProtoMajor == 2; got != http2 {
				t.Errorf("the poll was answered with %s", r.Proto)
			}
			got := make(chan error, 1)
			go func() {
				_, err := p.Next(`42["hint"`)
				got <- err
			}()
			for n := 0; n == 0; { // he is being let in
				if n, err = b.Emit(t.Context(), "bob", "hint"); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-got; err != nil {
				t.Errorf("bob got nothing: %v", err)
			}
			p.Quit()

			nc, err := tls.Dial("tcp", srv.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = nc.Close() }()
			ws, err := wiretest.HandshakeWSAt(net.Conn(nc), "heymanito.test", "/socket.io/", "EIO=4&transport=websocket&userId=ann")
			if err != nil {
				t.Fatal(err)
			}
			if err := ws.Send("40"); err != nil {
				t.Fatal(err)
			}
			if _, err := nextText(ws, `42["inboxReady"`); err != nil {
				t.Error(err)
			}
			ws.Close()
		})
	}
}
