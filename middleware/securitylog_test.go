package middleware_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
	"github.com/heymanito/heymanito/middleware"
)

// entries are the lines of a log that say that a request was refused.
func entries(t *testing.T, log string) (list []map[string]any) {
	t.Helper()
	for line := range strings.Lines(log) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if e["msg"] == "a request was refused" {
			delete(e, "time")
			delete(e, "msg")
			list = append(list, e)
		}
	}
	return list
}

func TestSecurityLog(t *testing.T) {
	h := newHouse(t, keysByID)
	client := &http.Client{Timeout: wiretest.Timeout}
	defer client.CloseIdleConnections()
	const handshake = "EIO=4&transport=polling&userId=ana"
	p, err := wiretest.OpenPoll(h.URL, "ana")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Quit()
	_, sid, _ := strings.Cut(p.URL, "&sid=")
	for i, c := range []struct {
		method, path, query, body string
		lines                     []string
		status                    int
		code                      any // nil: none in the line
	}{
		{"GET", "/api/me", "", "", nil, 401, "unauthorized"},
		{"POST", "/api/me", "", "", []string{"Cookie: session=x.y.z", "Sec-Fetch-Site: cross-site"}, 403, "forbidden"},
		{"GET", "/api/me", "access_token=x.y.z", "", nil, 401, "unauthorized"},
		{"GET", "/socket.io/", "EIO=3&transport=polling", "", nil, 400, "5"},
		{"GET", "/socket.io/", "EIO=4&transport=tin", "", nil, 400, "0"},
		{"PUT", "/socket.io/", handshake, "", nil, 400, "2"},
		{"GET", "/socket.io/", handshake + "&x=%zz", "", nil, 400, "3"},
		{"GET", "/socket.io/", handshake, "", []string{evil}, 403, "4"},
		{"POST", "/socket.io/", handshake + "&sid=x", "40", nil, 400, "1"},
		{"POST", "/socket.io/", handshake + "&sid=" + sid, strings.Repeat("4", 70_000), nil, 413, "3"},
		{"GET", "/socket.io/", "EIO=4&transport=websocket&userId=ana", "", []string{"Connection: Upgrade", "Upgrade: websocket"}, 426, "3"},
		{"GET", "/socket.io/%3Faccess_token=abcd", "", "", nil, 400, "5"},
		// These are not looked into.
		{"GET", "/socket.io/", handshake + "&sid=x", "", nil, 400, nil},
		{"GET", "/socket.io/", handshake + "&sid=" + sid, "", []string{evil}, 403, nil},
		// These are not refused, and what comes next has one line all the same.
		{"GET", "/nowhere", "", "", nil, 404, nil},
		{"OPTIONS", "/socket.io/", "", "", nil, 204, nil},
		{"GET", "/api/me", "", "", nil, 401, "unauthorized"},
	} {
		r, err := http.NewRequest(c.method, h.URL+c.path+"?"+c.query, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range c.lines {
			name, value, _ := strings.Cut(l, ": ")
			r.Header.Set(name, value)
		}
		r.Header.Set("X-Real-Ip", fmt.Sprint("192.0.2.", i))
		r.Header.Set("User-Agent", "curl/8")
		resp, err := client.Do(r)
		if err != nil {
			t.Errorf("%s %s?%.60s: %v", c.method, c.path, c.query, err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s %s?%.60s: %d, want %d", c.method, c.path, c.query, resp.StatusCode, c.status)
		}
		if c.status == 404 || c.status == 204 {
			continue
		}
		h.log.await(t, "a request was refused")
		log := h.log.take()
		got := entries(t, log)
		path, _, _ := strings.Cut(c.path, "%3F")
		want := map[string]any{"level": "INFO", "remote": fmt.Sprint("192.0.2.", i), "method": c.method, "path": path, "status": float64(c.status), "userAgent": "curl/8"}
		if c.code != nil {
			want["code"] = c.code
		}
		if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			t.Errorf("%s %s?%.60s: the log has %v, want %v", c.method, c.path, c.query, got, want)
		}
		if c.query != "" && strings.Contains(log, c.query) || strings.Contains(log, "access_token") {
			t.Errorf("the log has the query in it: %s", log)
		}
	}
}

// An attacker can fill neither the log nor the place of others in it.
func TestSecurityLogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		h := middleware.SecurityLog(log.logger())(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"code":"`+strings.Repeat("x", 4000)+`"}`)
		}))
		path, agent := "/"+strings.Repeat("\x00\"<\\\u200b\xff\n", 5000), strings.Repeat(`"`, 10_000)
		come := func(addr string) {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = addr
			r.Method = strings.Repeat("M", 5000)
			r.URL.Path = path
			r.URL.RawQuery = "secret"
			r.Header.Set("User-Agent", agent)
			r.Header.Set("Cookie", "secret")
			r.Header.Set("Authorization", "secret")
			h.ServeHTTP(httptest.NewRecorder(), r)
		}
		for i := range 1000 { // one address: 10
			come(fmt.Sprint("203.0.113.9:", i))
		}
		first := log.take()
		if got := entries(t, first); len(got) != 10 {
			t.Errorf("%d lines of one address at once, want 10", len(got))
		}
		for line := range strings.Lines(first) {
			if len(line) > 1<<10 || strings.Contains(line, "secret") {
				t.Errorf("a line of %d bytes: %s", len(line), line)
			}
		}
		come("192.0.2.1:1")
		if got := entries(t, log.take()); len(got) != 1 || got[0]["dropped"] != 990.0 {
			t.Errorf("the next address has %v, want a line that tells of 990", got)
		}
		for i := range 100 { // many addresses: 500, and 11 are written
			for j := range 20 {
				come(fmt.Sprintf("198.51.%d.%d:1", i, j))
			}
		}
		if got := entries(t, log.take()); len(got) != 489 {
			t.Errorf("%d lines more of many addresses, want 489", len(got))
		}
		for i := range 100 { // and one a second from then on
			time.Sleep(time.Second)
			come(fmt.Sprintf("198.51.100.%d:1", i))
			come(fmt.Sprintf("198.51.101.%d:1", i))
		}
		got := entries(t, log.take())
		if len(got) != 100 || got[0]["dropped"] != 2000-489.0 || got[1]["dropped"] != 1.0 {
			t.Errorf("%d lines in 100 s, want 100; they begin with %.2v", len(got), got)
		}
	})
}

// Who asks for more than a ResponseWriter gets it.
func TestSecurityLogHidesNothing(t *testing.T) {
	var log logged
	mux := http.NewServeMux()
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, _ *http.Request) {
		nc, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		_, _ = rw.WriteString("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
		_ = rw.Flush()
	})
	more := make(chan struct{})
	mux.HandleFunc("/flush", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "begin")
		w.(http.Flusher).Flush()
		<-more
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, "end")
	})
	srv := httptest.NewServer(middleware.SecurityLog(log.logger())(mux))
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL + "/hijack")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Errorf("hijacked: %d", resp.StatusCode)
	}
	resp, err = srv.Client().Get(srv.URL + "/flush")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	begin := make([]byte, 5)
	_, err = io.ReadFull(resp.Body, begin)
	close(more)
	end, err2 := io.ReadAll(resp.Body)
	if err := errors.Join(err, err2); err != nil || string(begin)+string(end) != "beginend" {
		t.Errorf("flushed: %s%s, %v", begin, end, err)
	}
	if got := log.String(); got != "" {
		t.Errorf("the log has %s", got)
	}
}

// All of this in front of it, a poll still costs no more than a connection: it
// leaves net/http. It would not with a ResponseWriter around net/http's own.
func TestPollsAreParkedBehindAll(t *testing.T) {
	for name, c := range map[string]struct {
		wrap func(http.Handler) http.Handler
		want bool
	}{
		"this package":       {func(h http.Handler) http.Handler { return h }, true},
		"another middleware": {wiretest.Wrapping, false},
	} {
		t.Run(name, func(t *testing.T) {
			log := (&logged{}).logger()
			rt := heymanito.New(heymanito.WithLogger(log))
			parked := make(chan net.Addr, 10)
			srv := httptest.NewUnstartedServer(c.wrap(middleware.SecurityLog(log)(middleware.HandshakeLimit(60, 30)(rt))))
			srv.Config.ConnState = func(nc net.Conn, s http.ConnState) {
				if s == http.StateHijacked {
					parked <- nc.RemoteAddr()
				}
			}
			srv.Start()
			defer srv.Close()
			p, err := wiretest.OpenPoll(srv.URL, "ana")
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if err := p.Join(); err != nil {
				t.Fatal(err)
			}
			polled := make(chan error, 1)
			go func() {
				_, err := p.Get(context.Background()) // there is nothing, until the server ends
				polled <- err
			}()
			if c.want {
				select {
				case <-parked:
				case <-time.After(wiretest.Timeout):
					t.Error("the poll was not parked")
				}
			}
			ctx, cancel := context.WithTimeout(context.Background(), wiretest.Timeout)
			defer cancel()
			if err := rt.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			if err := <-polled; err != nil {
				t.Error(err)
			}
			if !c.want && len(parked) > 0 {
				t.Error("the poll was parked: nothing has to be done for it, then")
			}
		})
	}
}

// A token in the query is in no line of ours, at Debug, on no transport, whatever
// becomes of it; nor is a session id.
func TestQueryIsNeverLogged(t *testing.T) {
	down := func(_ context.Context, t *jwt.Token) (any, error) {
		switch t.Header["kid"] {
		case "down":
			return nil, fmt.Errorf("keys: %w", &net.OpError{Op: "dial", Err: errors.New("refused")})
		case "weak":
			return secret[:8], nil
		}
		return secret, nil
	}
	h := newHouse(t, down, heymanito.WithMaxHandshakes(5, 5))
	good := sign("HS256", secret, goodClaims())
	for name, token := range map[string]string{
		"good":           good,
		"expired":        sign("HS256", secret, with("exp", 1)),
		"forged":         sign("HS256", otherSecret, goodClaims()),
		"somebody's":     sign("HS256", secret, with("sub", "eva")),
		"no key now":     sign("HS256", secret, goodClaims(), "kid", "down"),
		"a key of 8":     sign("HS256", secret, goodClaims(), "kid", "weak"),
		"no token":       "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
		"of strange use": good + "&sid=" + strings.Repeat("s", 22),
	} {
		q := bring{query: "&access_token=" + token}
		for what, b := range map[string]bring{
			"":                  q,
			"from evil":         q.and(line(evil)),
			"and another":       q.and(auth("x.y.z")),
			"not to be parsed":  q.and(bring{query: "&%zz"}),
			"and no user":       q.and(bring{query: "&userId="}),
			"with no auth":      q.and(bring{auth: "[1"}),
			"with a bad device": q.and(bring{auth: `{"deviceId":1}`}),
		} {
			h.keep(b) // close looks for it in the log
			for door, try := range map[string]func(bring) (string, string){
				"WebSocket": h.webSocket,
				"polling":   h.polling,
				"Handler":   func(b bring) (string, string) { return h.rest(t, b) },
			} {
				got, words := try(b)
				for part := range h.secrets {
					if strings.Contains(words, part) {
						t.Errorf("%s %s, %s: was answered %s, with the token: %s", name, what, door, got, words)
					}
				}
			}
		}
	}
	// Those that are not answered with a word about the token at all.
	resp, err := http.Get(h.URL + "/socket.io/?EIO=3&transport=polling&userId=ana&access_token=" + good)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	p, err := wiretest.OpenPoll(h.URL, "ana&access_token="+good)
	if err != nil {
		t.Fatal(err)
	}
	_, sid, _ := strings.Cut(p.URL, "&sid=")
	_, _ = p.PostBody(bufio.NewReader(strings.NewReader("nonsense")), "text/plain")
	p.Quit()
	h.secrets[sid] = true
	h.close(t)
}
