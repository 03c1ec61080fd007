package engineio_test

import (
	"context"
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

// These tests run in bubbles: their time is exact, and a goroutine that is
// left behind fails them.

// times are an interval and a timeout.
type times struct{ interval, timeout time.Duration }

var heartbeats = []times{
	{20 * time.Second, 20 * time.Second},
	{25 * time.Second, 20 * time.Second},
	{20 * time.Second, 5 * time.Second},
	{5 * time.Second, 20 * time.Second},
	{time.Second, time.Second},
}

func (h times) String() string { return fmt.Sprint(h.interval, "+", h.timeout) }

func (h times) set(c *engineio.Config) {
	c.PingInterval, c.PingTimeout, c.ClientTimeout = h.interval, h.timeout, 2*h.timeout
}

// pings reads a WebSocket until it ends and says when pings came. answer is
// called after each one, and may be nil.
type pings struct {
	mu   sync.Mutex // guards at
	at   []time.Time
	done chan struct{}
}

func watch(ws *wiretest.WS, answer func(n int)) *pings {
	p := &pings{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		for {
			_, payload, err := ws.ReadWithin(0)
			if err != nil {
				return
			}
			if string(payload) != "2" {
				continue
			}
			p.mu.Lock()
			p.at = append(p.at, time.Now())
			n := len(p.at)
			p.mu.Unlock()
			if answer != nil {
				answer(n)
			}
		}
	}()
	return p
}

func (p *pings) all() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.at)
}

func TestHeartbeatPingsComeOnTime(t *testing.T) {
	for _, h := range heartbeats {
		for _, delay := range []time.Duration{0, h.timeout / 3, h.timeout - time.Millisecond} {
			t.Run(fmt.Sprintf("%v/answered after %v", h, delay), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := bubbleBed(t, h.set)
					defer b.finish()
					ws, s := b.openWS()
					begin := time.Now()
					p := watch(ws, func(int) {
						time.Sleep(delay)
						_ = ws.Send("3") // at the end it has gone
					})
					time.Sleep(20 * (h.interval + h.timeout))
					s.expectOpen()
					ws.Close()
					<-p.done
					last := begin
					for i, at := range p.all() {
						// A ping follows the one before, or a late answer to it.
						if gap := at.Sub(last); gap > h.interval+delay || gap < h.interval*9/10 {
							t.Fatalf("ping %d came %v after the one before; the interval is %v", i, gap, h.interval)
						}
						last = at
					}
					if n := len(p.all()); n < 19 {
						t.Errorf("%d pings in all", n)
					}
				})
			})
		}
	}
}

func TestHeartbeatSilentClientIsClosed(t *testing.T) {
	for _, h := range heartbeats {
		for _, transport := range []string{engineio.WebSocket, engineio.Polling} {
			for _, later := range []time.Duration{0, h.interval / 3, h.interval * 9 / 10} {
				t.Run(fmt.Sprintf("%v/%s/its last word %v after a pong", h, transport, later), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { silentClient(t, h, transport, later) })
				})
			}
		}
	}
}

// silentClient answers three pings, says something, and is never heard again.
func silentClient(t *testing.T, h times, transport string, later time.Duration) {
	b := bubbleBed(t, h.set)
	defer b.finish()
	var s *session
	var sawPing func() time.Time // the one that is not answered
	var lastByte time.Time
	word := make(chan struct{})
	if transport == engineio.WebSocket {
		var ws *wiretest.WS
		ws, s = b.openWS()
		defer ws.Close()
		p := watch(ws, func(n int) {
			if n <= 3 {
				_ = ws.Send("3") // if it fails the test does
			}
			if n == 3 {
				time.Sleep(later)
				if later > 0 {
					_ = ws.Send("4bye")
				}
				lastByte = time.Now()
				close(word)
			}
		})
		<-word
		sawPing = func() time.Time {
			<-p.done
			l := p.all()
			if len(l) != 4 {
				t.Errorf("pings at %v", l)
			}
			return l[len(l)-1]
		}
	} else {
		var c *wiretest.Poll
		c, s = b.openPoll()
		defer c.Close()
		for range 3 {
			expectLateGet(t, c, "2")
			expectPost(t, c, "3", 200, "ok")
		}
		time.Sleep(later)
		expectPost(t, c, "6", 200, "ok")
		lastByte = time.Now()
		pending := poll(t.Context(), c)
		sawPing = func() time.Time { return <-arrival(t, pending, "2") }
	}
	at := arrivalOf(sawPing)
	<-s.closed
	end := time.Now()
	if r := s.end(0); r != engineio.PingTimeout {
		t.Errorf("ended with %q", r)
	}
	if after := end.Sub(lastByte); after > h.interval+h.timeout {
		t.Errorf("noticed %v after its last byte; should be within %v", after, h.interval+h.timeout)
	}
	if after := end.Sub(<-at); after < h.timeout {
		t.Errorf("closed %v after the ping; it had %v to answer", after, h.timeout)
	}
}

func arrivalOf(f func() time.Time) <-chan time.Time {
	c := make(chan time.Time, 1)
	go func() { c <- f() }()
	return c
}

// arrival says when a pending poll is answered.
func arrival(t *testing.T, c <-chan polled, body string) <-chan time.Time {
	at := make(chan time.Time, 1)
	go func() {
		p := <-c
		at <- time.Now()
		if p.err != nil || p.answer.Body != body {
			t.Errorf("the poll was answered %q, %v", p.answer.Body, p.err)
		}
	}()
	return at
}

// expectLateGet polls for as long as it takes.
func expectLateGet(t *testing.T, p *wiretest.Poll, body string) {
	t.Helper()
	if a, err := p.Get(t.Context()); err != nil || a.Body != body {
		t.Fatalf("the poll was answered %q, %v, want %q", a.Body, err, body)
	}
}

func TestHeartbeatAnyByteIsLife(t *testing.T) {
	h := times{20 * time.Second, 20 * time.Second}
	const rounds = 40
	pause := 19 * time.Second
	t.Run("a frame that comes byte by byte", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, h.set)
			defer b.finish()
			ws, s := b.openWS()
			p := watch(ws, nil)
			for _, c := range wiretest.Frame(true, wiretest.OpText, []byte("4"+strings.Repeat("x", rounds))) {
				if err := ws.Write([]byte{c}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(pause)
			}
			if got := s.heard(); len(got) != 1 {
				t.Errorf("heard %q", got)
			}
			s.expectOpen()
			ws.Close()
			<-p.done
		})
	})
	t.Run("WebSocket pings", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, h.set)
			defer b.finish()
			ws, s := b.openWS()
			p := watch(ws, nil)
			for range rounds {
				if err := ws.Write(wiretest.Frame(true, wiretest.OpPing, nil)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(pause)
			}
			s.expectOpen()
			ws.Close()
			<-p.done
		})
	})
	t.Run("polls without pongs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, h.set)
			defer b.finish()
			c, s := b.openPoll()
			for range rounds {
				expectLateGet(t, c, "2")
				time.Sleep(pause)
			}
			s.expectOpen()
			c.Close()
		})
	})
	t.Run("a POST that comes byte by byte", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, h.set)
			defer b.finish()
			c, s := b.openPoll()
			r, w := io.Pipe()
			go func() {
				_, _ = io.WriteString(w, "4")
				for range rounds {
					time.Sleep(9 * time.Second) // the write timeout is 10 s
					_, _ = io.WriteString(w, "x")
				}
				_ = w.Close()
			}()
			a, err := c.PostBody(r, "text/plain")
			if err != nil || a.Status != 200 {
				t.Fatalf("answered %v, %v", a, err)
			}
			s.expectOpen()
			c.Close()
		})
	})
	t.Run("a POST that stops is cut", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, h.set)
			defer b.finish()
			c, s := b.openPoll()
			r, w := io.Pipe()
			done := make(chan struct{})
			begin := time.Now()
			go func() {
				defer close(done)
				_, _ = c.PostBody(r, "text/plain")
			}()
			_, _ = io.WriteString(w, "4")
			<-s.closed
			if r, took := s.end(0), time.Since(begin); r != engineio.TransportError || took != b.cfg.WriteTimeout {
				t.Errorf("ended with %q after %v", r, took)
			}
			_ = w.CloseWithError(errors.New("enough"))
			<-done
			c.Close()
		})
	})
}

// A client that reads slowly, and does nothing else, is alive.
func TestHeartbeatSlowLink(t *testing.T) {
	big := strings.Repeat("x", 1_500_000)
	for _, link := range []struct {
		name  string
		piece int // read at a time
		every time.Duration
		write time.Duration // write timeout
		lives bool
	}{
		// What the connection holds, 256 KB, is through within the ping timeout.
		{"16 KB a second", 16 << 10, time.Second, 10 * time.Second, true},
		// Less than what is on its way is given time for: that its writes get
		// through is all that speaks for it.
		{"4 KB a second", 4 << 10, time.Second, 10 * time.Second, true},
		{"no write gets through before its deadline", 4 << 10, 250 * time.Millisecond, 900 * time.Millisecond, true},
		{"stops", 0, time.Second, 10 * time.Second, false},
		{"stops, and writes may take long", 0, time.Second, time.Hour, false},
	} {
		t.Run(link.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bubbleBed(t, func(c *engineio.Config) { c.WriteTimeout = link.write })
				defer b.finish()
				ws, s := b.openWS()
				s.Send(engineio.Text([]byte(big)))
				begin := time.Now()
				if !link.lives {
					if r := s.end(time.Minute); r != engineio.TransportError && r != engineio.PingTimeout {
						t.Errorf("ended with %q", r)
					}
					// What the connection holds is given its time, at 16 KB a second.
					if took := time.Since(begin); took > b.cfg.PingInterval+b.cfg.PingTimeout+16*time.Second {
						t.Errorf("noticed after %v", took)
					}
					ws.Close()
					return
				}
				if err := ws.Net.SetReadDeadline(time.Time{}); err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, link.piece)
				for left := len(big); left > 0; {
					n, err := ws.Net.Read(buf)
					if err != nil {
						t.Fatalf("cut off with %d bytes to go, %v after the beginning: %q", left, time.Since(begin), s.reasonNow())
					}
					left -= n
					time.Sleep(link.every)
				}
				s.expectOpen()
				ws.Close()
			})
		})
	}
}

// While the handler is at work the client cannot be heard. That is not its
// fault, and it still gets its pings.
func TestHeartbeatSlowHandler(t *testing.T) {
	for _, h := range heartbeats {
		t.Run(fmt.Sprint(h, "/websocket"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bubbleBed(t, h.set)
				defer b.finish()
				slow := 10 * (h.interval + h.timeout)
				b.handle = func(s *session, text string) {
					time.Sleep(slow)
					s.Send(engineio.Text([]byte(text)))
				}
				ws, s := b.openWS()
				begin := time.Now()
				if err := ws.Send("4slow"); err != nil {
					t.Fatal(err)
				}
				p := watch(ws, nil)
				time.Sleep(slow - time.Millisecond)
				s.expectOpen()
				last := begin
				for i, at := range p.all() {
					if gap := at.Sub(last); gap > h.interval {
						t.Fatalf("ping %d came after %v", i, gap)
					}
					last = at
				}
				if gap := time.Since(last); gap > h.interval {
					t.Errorf("no ping for %v", gap)
				}
				// From now on it is the client's turn.
				free := time.Now()
				<-s.closed
				if r, took := s.end(0), time.Since(free); r != engineio.PingTimeout || took < h.timeout || took > h.interval+h.timeout+time.Millisecond {
					t.Errorf("ended with %q %v after the handler", r, took)
				}
				ws.Close()
				<-p.done
			})
		})
		t.Run(fmt.Sprint(h, "/polling"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bubbleBed(t, h.set)
				defer b.finish()
				b.handle = func(s *session, text string) {
					time.Sleep(10 * (h.interval + h.timeout))
					s.Send(engineio.Text([]byte(text)))
				}
				c, s := b.openPoll()
				posted := make(chan struct{})
				go func() {
					defer close(posted)
					expectPost(t, c, "4slow", 200, "ok")
				}()
				<-posted
				s.expectOpen()
				a, err := c.Get(t.Context())
				if err != nil || a.Packets[len(a.Packets)-1] != "4slow" {
					t.Errorf("polled %q, %v", a.Body, err)
				}
				c.Close()
			})
		})
	}
}

func TestOpenTimeout(t *testing.T) {
	t.Run("websocket", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, unaccepted)
			defer b.finish()
			ws, s := b.openWS()
			defer ws.Close()
			begin := time.Now()
			time.Sleep(b.cfg.OpenTimeout - time.Millisecond)
			_ = ws.Send("4I am") // being heard is not being accepted
			synctest.Wait()
			s.expectOpen()
			expectText(t, ws, "4I am")
			expectClose(t, ws, 1008, "handshake timeout")
			if took := time.Since(begin); took > b.cfg.OpenTimeout*21/20 {
				t.Errorf("closed after %v", took)
			}
			s.expectEnd(engineio.OpenTimeout)
		})
	})
	t.Run("polling", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, unaccepted)
			defer b.finish()
			c, s := b.openPoll()
			defer c.Close()
			begin := time.Now()
			expectLateGet(t, c, "1")
			if took := time.Since(begin); took < b.cfg.OpenTimeout || took > b.cfg.OpenTimeout*21/20 {
				t.Errorf("closed after %v", took)
			}
			s.expectEnd(engineio.OpenTimeout)
			expectGet(t, c, 400, "")
		})
	})
	t.Run("accepted in time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, unaccepted)
			defer b.finish()
			ws, s := b.openWS()
			p := watch(ws, func(int) { _ = ws.Send("3") })
			time.Sleep(b.cfg.OpenTimeout - time.Millisecond)
			s.Accept()
			time.Sleep(5 * b.cfg.OpenTimeout)
			s.expectOpen()
			ws.Close()
			<-p.done
		})
	})
}

func TestUpgradeTimeout(t *testing.T) {
	for _, first := range []string{"", "2probe"} {
		t.Run("after "+first, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bubbleBed(t)
				defer b.finish()
				c, s := b.openPoll()
				defer c.Close()
				ws := b.ws(s.ID())
				defer ws.Close()
				begin := time.Now()
				if first != "" {
					if err := ws.Send(first); err != nil {
						t.Fatal(err)
					}
					expectText(t, ws, "3probe")
				}
				if _, p, err := ws.ReadWithin(0); err == nil {
					t.Errorf("got %q", p)
				}
				if took := time.Since(begin); took < b.cfg.UpgradeTimeout || took > b.cfg.UpgradeTimeout*21/20 {
					t.Errorf("the WebSocket was closed after %v", took)
				}
				s.expectOpen()
				expectPost(t, c, "4on", 200, "ok")
				expectLateGet(t, c, "4on")
				// and a second attempt may succeed
				ws = b.ws(s.ID())
				defer ws.Close()
				if err := ws.Write(wiretest.Texts("2probe", "5", "4up")); err != nil {
					t.Fatal(err)
				}
				expectText(t, ws, "3probe", "4up")
			})
		})
	}
}

func TestCloseTimeout(t *testing.T) {
	setup := func(c *engineio.Config) { c.CloseTimeout = 3 * time.Second }
	late := 3*time.Second + 3*time.Second/40
	t.Run("polling, the next poll comes in time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, setup)
			defer b.finish()
			c, s := b.openPoll()
			defer c.Close()
			s.Send(engineio.Text([]byte("last")))
			s.Close(engineio.Expired)
			s.expectEnd(engineio.Expired)
			time.Sleep(3*time.Second - time.Millisecond)
			expectPost(t, c, "4too late", 400, "")
			expectGet(t, c, 200, "4last")
			expectGet(t, c, 200, "1")
			expectGet(t, c, 400, "")
			if n := b.Sockets(); n != 0 {
				t.Errorf("%d sockets are left", n)
			}
		})
	})
	t.Run("polling, no poll comes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, setup)
			defer b.finish()
			c, s := b.openPoll()
			defer c.Close()
			s.Close(engineio.Expired)
			s.expectEnd(engineio.Expired)
			time.Sleep(late)
			synctest.Wait()
			if n := b.Sockets(); n != 0 {
				t.Errorf("%d sockets are left", n)
			}
			expectGet(t, c, 400, "")
		})
	})
	t.Run("websocket, the client does not read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, setup)
			defer b.finish()
			ws, s := b.openWS()
			defer ws.Close()
			s.Send(engineio.Binary(make([]byte, 1<<20)))
			s.Close(engineio.Expired)
			s.expectEnd(engineio.Expired)
			time.Sleep(late)
			synctest.Wait()
			if n := b.Sockets(); n != 0 {
				t.Errorf("%d sockets are left", n)
			}
			if _, err := io.Copy(io.Discard, ws.Net); err != nil {
				t.Errorf("the connection is not closed: %v", err)
			}
		})
	})
	t.Run("websocket, the client reads but does not close", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, setup)
			defer b.finish()
			ws, s := b.openWS()
			defer ws.Close()
			s.Send(engineio.Binary(make([]byte, 1<<20)))
			s.Close(engineio.Expired)
			expectClose(t, ws, 1008, "identity expired")
			time.Sleep(late)
			synctest.Wait()
			if n := b.Sockets(); n != 0 {
				t.Errorf("%d sockets are left", n)
			}
			if err := ws.Send("4"); err == nil {
				t.Error("the connection is not closed")
			}
		})
	})
	t.Run("a close that meets a visit of the wheel", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, setup, func(c *engineio.Config) { c.Open = nil })
			defer b.finish()
			const n = 300
			var all []*session
			for range n {
				all = append(all, openPollDirectly(t, b))
			}
			tick := time.Duration(b.Tick())
			time.Sleep(b.cfg.PingInterval - 2*tick) // when the first ping is due
			for range 3 {
				var wg sync.WaitGroup
				for _, s := range all[:n/3] {
					wg.Go(func() { s.Close(engineio.Expired) })
				}
				wg.Wait()
				all = all[n/3:]
				time.Sleep(tick)
			}
			time.Sleep(3 * time.Second)
			synctest.Wait()
			if n := b.Sockets(); n != 0 {
				t.Errorf("%d closed sockets are still there, some time after their CloseTimeout", n)
			}
		})
	})
}

// openPollDirectly opens a session without a network.
func openPollDirectly(t testing.TB, b *bed) *session {
	t.Helper()
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/?"+query(engineio.Polling, ""), nil))
	if w.Code != http.StatusOK {
		t.Fatalf("the handshake was answered %d %s", w.Code, w.Body)
	}
	return b.next()
}

func TestCloseAfter(t *testing.T) {
	for _, d := range []time.Duration{time.Second, time.Minute, time.Hour} {
		t.Run(d.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bubbleBed(t)
				defer b.finish()
				b.handle = func(s *session, _ string) { s.CloseAfter(d) }
				ws, s := b.openWS()
				if err := ws.Send("4end later"); err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				p := watch(ws, func(int) { _ = ws.Send("3") })
				<-s.closed
				if r, took := s.end(0), time.Since(begin); r != engineio.ForcedClose || took < d || took > d+time.Duration(b.Tick())+time.Millisecond {
					t.Errorf("ended with %q after %v", r, took)
				}
				<-p.done
				last := begin
				for i, at := range p.all() {
					if gap := at.Sub(last); gap > b.cfg.PingInterval {
						t.Fatalf("ping %d came after %v", i, gap)
					}
					last = at
				}
				ws.Close()
			})
		})
	}
}

// A socket may be used from anywhere as soon as Open has got it.
func TestSocketIsReadyInOpen(t *testing.T) {
	b := newBed(t, func(c *engineio.Config) {
		c.Open = func(s *engineio.Socket) engineio.Handler {
			go func() {
				s.Accept()
				s.CloseAfter(time.Hour)
				s.Send(engineio.Text([]byte("at once")))
			}()
			return nil
		}
	})
	for range 20 {
		c, _ := b.openPoll()
		expectGet(t, c, 200, "4at once")
		ws, _ := b.openWS()
		expectText(t, ws, "4at once")
	}
}

// A great many sockets that come over time are each served in time.
func TestHeartbeatOfManySockets(t *testing.T) {
	for _, h := range heartbeats {
		t.Run(h.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bubbleBed(t, h.set)
				const n = 1000
				type life struct {
					s     *session
					begin time.Time
				}
				var wg sync.WaitGroup
				for range n {
					l := life{openPollDirectly(t, b), time.Now()}
					wg.Go(func() {
						<-l.s.closed
						took := time.Since(l.begin)
						if r := l.s.end(0); r != engineio.PingTimeout || took < h.timeout || took > h.interval+h.timeout {
							t.Errorf("ended with %q after %v", r, took)
						}
					})
					time.Sleep(3 * h.interval / n)
				}
				wg.Wait()
				if n := b.Sockets(); n != 0 {
					t.Errorf("%d sockets are left", n)
				}
				// The wheel stands still now, and starts again.
				time.Sleep(100 * h.interval)
				s := openPollDirectly(t, b)
				begin := time.Now()
				<-s.closed
				if took := time.Since(begin); took < h.timeout || took > h.interval+h.timeout {
					t.Errorf("ended after %v", took)
				}
				b.finish()
			})
		})
	}
}

// A write that the client takes piece by piece has its deadline from each
// piece on, also in the answer of a poll.
func TestWriteDeadlineRestartsOnProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBed(t)
		defer b.finish()
		c, s := b.openPoll()
		big := strings.Repeat("x", 2_000_000)
		s.Send(engineio.Text([]byte(big)))
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, c.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.HTTP.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		buf := make([]byte, 16<<10)
		n := 0
		for {
			m, err := io.ReadFull(resp.Body, buf)
			n += m
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && n == len("2\x1e4")+len(big) {
				break
			}
			if err != nil {
				t.Fatalf("after %d bytes and %v: %v, %q", n, time.Since(begin), err, s.reasonNow())
			}
			time.Sleep(b.cfg.WriteTimeout / 8) // what the connection buffers takes less than the ping timeout
		}
		_ = resp.Body.Close()
		s.expectOpen()
		if took := time.Since(begin); took < 10*b.cfg.WriteTimeout {
			t.Errorf("this was no slow reader: %v", took)
		}
		c.Close()
	})
}
