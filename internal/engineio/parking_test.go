package engineio_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// parkingBed is a server in which polls are parked, whatever the path that the
// other tests take. change may change how it is mounted.
func parkingBed(t *testing.T, change func(ts *httptest.Server), start func(ts *httptest.Server)) (*bed, *httptest.Server) {
	t.Helper()
	b := &bed{t: t}
	b.make(nil)
	ts := httptest.NewUnstartedServer(b)
	if change != nil {
		change(ts)
	}
	start(ts)
	b.URL, b.stop = ts.URL, ts.Close
	if tr := ts.Client().Transport.(*http.Transport); ts.TLS != nil {
		b.tls = tr.TLSClientConfig
	}
	t.Cleanup(b.finish)
	return b, ts
}

// waitParked waits until a poll of s is parked.
func waitParked(t *testing.T, s *session) {
	t.Helper()
	for end := time.Now().Add(patience); !s.Parked(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no poll is parked")
		}
	}
}

// A poll that waits leaves net/http, and its connection comes back to the server
// that it came from: with TLS as well, and as it was.
func TestParkedPollComesBack(t *testing.T) {
	for name, start := range map[string]func(*httptest.Server){"plain": (*httptest.Server).Start, "TLS": (*httptest.Server).StartTLS} {
		t.Run(name, func(t *testing.T) {
			var encrypted atomic.Int32
			b, _ := parkingBed(t, func(ts *httptest.Server) {
				engine := ts.Config.Handler
				ts.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.TLS != nil {
						encrypted.Add(1)
					}
					w.Header().Set("X-Host", "set by a middleware")
					engine.ServeHTTP(w, r)
				})
			}, start)
			c, s := b.openPoll()
			var dials atomic.Int32
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
				if !i.Reused {
					dials.Add(1)
				}
			}})
			for i := range 5 {
				pending := poll(ctx, c)
				waitParked(t, s)
				text := fmt.Sprint("number ", i)
				s.Send(engineio.Text([]byte(text)))
				p := <-pending
				if p.err != nil || p.answer.Status != 200 || p.answer.Body != "4"+text {
					t.Fatalf("answered %d %q, %v", p.answer.Status, p.answer.Body, p.err)
				}
				h := p.answer.Header
				if _, err := http.ParseTime(h.Get("Date")); err != nil || h.Get("X-Host") == "" || h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "text/plain; charset=UTF-8" {
					t.Errorf("the header is %v, %v", h, err)
				}
				expectPost(t, c, "4echo", 200, "ok") // over the same connection
				expectBody(t, poll(ctx, c), 200, "4echo")
				s.Idle()
			}
			if n := dials.Load(); n > 0 {
				t.Errorf("%d of the polls had a connection of their own", n)
			}
			if n := encrypted.Load(); b.tls != nil && n != 1+5*3 {
				t.Errorf("%d of 16 requests were known to be over TLS", n)
			}
			c.Close()
		})
	}
}

// What a client sends while its poll waits is not HTTP as clients speak it. The
// answer is right, and the last one on its connection.
func TestParkedPollWithMoreBehindIt(t *testing.T) {
	b, _ := parkingBed(t, nil, (*httptest.Server).Start)
	c, s := b.openPoll()
	nc, err := b.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	get := "GET " + c.URL[len(b.URL):] + " HTTP/1.1\r\nHost: example.org\r\n\r\n"
	if _, err := io.WriteString(nc, get); err != nil {
		t.Fatal(err)
	}
	waitParked(t, s)
	if _, err := io.WriteString(nc, get); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond) // either way: it may not have been read yet
	s.expectOpen()
	s.Send(engineio.Text([]byte("hello")))
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "4hello" {
		t.Errorf("%q, %v", body, err)
	}
	c.Close()
}

// A ResponseWriter of a middleware's is not passed by.
func TestPollBehindMiddlewareStays(t *testing.T) {
	b, _ := parkingBed(t, func(ts *httptest.Server) { ts.Config.Handler = wiretest.Wrapping(ts.Config.Handler) }, (*httptest.Server).Start)
	c, s := b.openPoll()
	pending := poll(t.Context(), c)
	waitPending(t, s)
	time.Sleep(100 * time.Millisecond) // it would be parked
	if s.Parked() {
		t.Error("it is parked")
	}
	s.Send(engineio.Text([]byte("hello")))
	expectBody(t, pending, 200, "4hello")
	c.Close()
}

// A poll is parked when it has waited for a moment; for a second, if whoever
// polls is in the middle of a conversation.
func TestPollIsParkedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBed(t)
		defer b.finish()
		c, s := b.openPoll()
		wait := func(d time.Duration, parked bool) {
			t.Helper()
			pending := poll(t.Context(), c)
			time.Sleep(d)
			synctest.Wait()
			if s.Parked() != parked {
				t.Errorf("after %v it is parked: %v", d, !parked)
			}
			s.Send(engineio.Text([]byte("x")))
			expectBody(t, pending, 200, "4x")
		}
		wait(1001*time.Millisecond, true) // nothing is known of it
		wait(49*time.Millisecond, false)
		wait(999*time.Millisecond, false) // it was answered soon
		wait(1001*time.Millisecond, true)
		wait(51*time.Millisecond, true)
		s.Send(engineio.Text([]byte("y")))
		expectGet(t, c, 200, "4y") // it did not wait
		wait(51*time.Millisecond, true)
		c.Close()
	})
}

// When the HTTP server has ended the polls that it had are answered all the
// same, and then their connections end as well.
func TestParkedPollOutlivesItsServer(t *testing.T) {
	b, ts := parkingBed(t, nil, (*httptest.Server).Start)
	c, s := b.openPoll()
	pending := poll(t.Context(), c)
	waitParked(t, s)
	if err := ts.Config.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Send(engineio.Text([]byte("hello")))
	expectBody(t, pending, 200, "4hello")
	if _, err := c.Get(t.Context()); err == nil {
		t.Error("the server that has ended answers")
	}
	c.Close()
}

// Polls come and go from two servers that share an engine, while both are at
// work: each connection goes back to its own.
func TestParkedPollsOfTwoServers(t *testing.T) {
	_, first := parkingBed(t, nil, (*httptest.Server).Start)
	second := httptest.NewServer(first.Config.Handler)
	defer second.Close()
	done := make(chan error)
	const clients, rounds = 10, 50
	for i := range clients {
		url := []string{first.URL, second.URL}[i%2]
		go func() { done <- talk(url, rounds) }()
	}
	for range clients {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// talk is a client that hears what it says.
func talk(url string, rounds int) error {
	c, err := wiretest.OpenPoll(url, "someone")
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range rounds {
		got := make(chan error, 1)
		go func() {
			a, err := c.Get(context.Background())
			if err == nil && a.Body != fmt.Sprint("4", i) {
				err = fmt.Errorf("%q", a.Body)
			}
			got <- err
		}()
		if i%3 > 0 {
			time.Sleep(time.Duration(i%3) * time.Millisecond)
		}
		if err := c.Send(fmt.Sprint("4", i)); err != nil {
			return err
		}
		if err := <-got; err != nil {
			return err
		}
	}
	return nil
}
