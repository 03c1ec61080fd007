package engineio_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
)

func text(s string) *engineio.Frame { return engineio.Text([]byte(s)) }

// expectHeard is what the handler was told, when everything has happened.
func (s *session) expectHeard(want ...string) {
	s.b.t.Helper()
	synctest.Wait()
	if got := s.heard(); !slices.Equal(got, want) {
		s.b.t.Errorf("the handler was told %q, want %q", got, want)
	}
}

func TestProofByPong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBed(t)
		defer b.finish()
		ws, s := b.openWS()
		s.Send(text("not marked"))
		s.SendMarked(7, text("a"), text("b"))
		s.Ask()
		expectText(t, ws, "4not marked", "4a", "4b", "2")
		s.expectHeard()
		if err := ws.Send("3"); err != nil {
			t.Fatal(err)
		}
		s.expectHeard("proof 7")

		// Within a second nobody is pinged again; then once for all.
		s.SendMarked(8, text("c"))
		s.Ask()
		s.SendMarked(9, text("d"))
		s.Ask()
		expectText(t, ws, "4c", "4d")
		time.Sleep(999 * time.Millisecond)
		begin := time.Now()
		expectText(t, ws, "2")
		if late := time.Since(begin); late > time.Duration(b.Tick())+time.Millisecond {
			t.Errorf("the ping came %v late", late)
		}
		s.SendMarked(10, text("e")) // behind the ping: its answer says nothing of it
		s.Ask()
		expectText(t, ws, "4e")
		if err := ws.Send("3"); err != nil {
			t.Fatal(err)
		}
		s.expectHeard("proof 7", "proof 9")
		expectText(t, ws, "2")
		if err := ws.Send("3"); err != nil {
			t.Fatal(err)
		}
		s.expectHeard("proof 7", "proof 9", "proof 10")

		// Nothing is proven by a pong that nobody asked for.
		time.Sleep(time.Second)
		if err := ws.Send("3"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.SendMarked(11, text("f"))
		s.Ask()
		expectText(t, ws, "4f", "2")
		s.expectHeard("proof 7", "proof 9", "proof 10")
	})
}

// Every ping proves, also those of the heartbeat and those in front of big
// frames, but only what stands in front of it.
func TestProofByAnyPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBed(t)
		defer b.finish()
		ws, s := b.openWS()
		s.SendMarked(1, text("a"))
		s.Ask()
		expectText(t, ws, "4a", "2")
		big := strings.Repeat("x", 200<<10)
		s.SendMarked(2, text(big))
		s.Ask()
		expectText(t, ws, "2", "4"+big)
		for _, want := range []string{"proof 1", "proof 1"} { // the second is the one in front of 2
			if err := ws.Send("3"); err != nil {
				t.Fatal(err)
			}
			s.expectHeard(want)
		}
		expectText(t, ws, "2")
		if err := ws.Send("3"); err != nil {
			t.Fatal(err)
		}
		s.expectHeard("proof 1", "proof 2")
	})
}

// A client that answers no ping, and lives by other signs, is not pinged
// without end.
func TestProofUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBed(t)
		defer b.finish()
		ws, s := b.openWS()
		pings := make(chan int)
		go func() {
			n := 0
			for {
				p, err := ws.Text()
				if err != nil {
					pings <- n
					return
				}
				if p == "2" {
					n++
				}
			}
		}()
		const minutes = 10
		for i := range minutes * 60 {
			s.SendMarked(uint64(i+1), text("x"))
			s.Ask()
			time.Sleep(time.Second)
			if i%10 == 0 {
				if err := ws.Send("6"); err != nil {
					t.Fatal(err)
				}
			}
		}
		s.Close(engineio.ForcedClose)
		ws.Close()
		if n := <-pings; n > 64+minutes*3+2 {
			t.Errorf("it was pinged %d times", n)
		}
	})
}

func TestProofByPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBed(t)
		defer b.finish()
		c, s := b.openPoll()
		defer c.Close()
		s.SendMarked(3, text("a"))
		s.Ask()
		s.SendMarked(4, text("b"))
		s.Ask()
		s.expectHeard()
		expectGet(t, c, 200, "4a\x1e4b") // and no ping
		s.expectHeard()
		pending := poll(t.Context(), c)
		waitPending(t, s)
		s.expectHeard("proof 4")
		s.SendMarked(5, text("c"))
		s.Ask()
		expectBody(t, pending, 200, "4c")
		s.expectHeard("proof 4")
		pending = poll(t.Context(), c)
		waitPending(t, s)
		s.expectHeard("proof 4", "proof 5")
		s.Close(engineio.ForcedClose)
		expectBody(t, pending, 200, "1")
	})
}

// Whoever waits in the handler for a client to poll must not keep that poll
// from being answered.
func TestProofWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBed(t)
		defer b.finish()
		b.handle = func(s *session, _ string) { s.WaitQueue(0) }
		c, s := b.openPoll()
		defer c.Close()
		s.SendMarked(1, text("a"))
		s.Ask()
		expectGet(t, c, 200, "4a")
		s.SendMarked(2, text("b"))
		s.Ask()
		done := make(chan struct{})
		go func() {
			defer close(done)
			expectPost(t, c, "4wait", 200, "ok")
		}()
		synctest.Wait()
		expectGet(t, c, 200, "4b")
		<-done
		s.expectHeard("text wait", "proof 1")
	})
}

// A client that has proven its WebSocket stops to poll, and says "5" when its POST is
// answered: whoever waits in the handler of that for it to take something must not
// wait for ever.
func TestWaitQueueInAnUpgrade(t *testing.T) {
	for _, first := range []string{"POST", "probe"} {
		t.Run(first+" first", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bubbleBed(t)
				defer b.finish()
				b.handle = func(s *session, _ string) {
					if !s.WaitQueue(0) {
						t.Error("the client has gone")
					}
				}
				c, s := b.openPoll()
				defer c.Close()
				s.Send(text("a"))
				ws := b.ws(s.ID())
				posted := make(chan struct{})
				steps := []func(){
					func() {
						go func() {
							defer close(posted)
							expectPost(t, c, "4wait", 200, "ok")
						}()
						synctest.Wait()
					},
					func() {
						if err := ws.Send("2probe"); err != nil {
							t.Fatal(err)
						}
						expectText(t, ws, "3probe")
						synctest.Wait()
					},
				}
				if first == "probe" {
					slices.Reverse(steps)
				}
				for _, step := range steps {
					step()
				}
				select {
				case <-posted:
				default:
					t.Error("the POST is not answered")
				}
				if err := ws.Send("5"); err != nil {
					t.Fatal(err)
				}
				expectText(t, ws, "4a")
				<-posted
			})
		})
	}
}

// What the last poll was answered with is proven by the upgrade; what goes out
// on the WebSocket, by a ping.
func TestProofByUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBed(t)
		defer b.finish()
		c, s := b.openPoll()
		defer c.Close()
		ws := b.ws(s.ID())
		if err := ws.Send("2probe"); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "3probe")
		s.SendMarked(1, text("a"))
		s.Ask()
		expectGet(t, c, 200, "4a")
		s.SendMarked(2, text("b"))
		s.Ask()
		if err := ws.Send("5"); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "4b", "2")
		s.expectHeard("proof 1")
		if err := ws.Send("3"); err != nil {
			t.Fatal(err)
		}
		s.expectHeard("proof 1", "proof 2")
	})
}

func TestWaitQueue(t *testing.T) {
	wait := func(s *session, below int) <-chan bool {
		done := make(chan bool, 1)
		go func() { done <- s.WaitQueue(below) }()
		synctest.Wait()
		return done
	}
	t.Run("polling", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t)
			defer b.finish()
			c, s := b.openPoll()
			defer c.Close()
			if !<-wait(s, 0) {
				t.Error("nothing is queued")
			}
			s.Send(text(strings.Repeat("x", 1000)))
			if !<-wait(s, 2000) {
				t.Error("little is queued")
			}
			done := wait(s, 100)
			select {
			case <-done:
				t.Error("it did not wait")
			default:
			}
			if _, err := c.Get(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !<-done {
				t.Error("the client has taken it")
			}
			s.Send(text(strings.Repeat("x", 1000)))
			done = wait(s, 100)
			s.Close(engineio.Expired)
			if <-done {
				t.Error("the session is over")
			}
			if <-wait(s, 100) {
				t.Error("the session is over still")
			}
			expectPost(t, c, "4x", 400, "")
		})
	})
	t.Run("a client that says it lives, and never polls", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t)
			defer b.finish()
			c, s := b.openPoll()
			defer c.Close()
			s.Send(text(strings.Repeat("x", 1000)))
			done := wait(s, 100)
			begin := time.Now()
			for range 10 {
				if s.isClosed() {
					break
				}
				time.Sleep(5 * time.Second)
				_, _ = c.Post("3")
			}
			if <-done {
				t.Error("it has not taken anything")
			}
			s.expectEnd(engineio.SlowReader)
			if d := time.Since(begin); d < 40*time.Second || d > 46*time.Second {
				t.Errorf("it was cut after %v", d)
			}
		})
	})
	t.Run("websocket", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t)
			defer b.finish()
			ws, s := b.openWS()
			s.Send(text(strings.Repeat("x", 900_000)))
			done := wait(s, 100)
			select {
			case <-done:
				t.Error("it did not wait")
			default:
			}
			for range 2 { // the ping in front of it, and it
				if _, err := ws.Text(); err != nil {
					t.Fatal(err)
				}
			}
			if !<-done {
				t.Error("the client has taken it")
			}
		})
	})
}

// A poll's answer that takes longer than a silent client has, at 10 KB a second,
// is no poll that is missing.
func TestWaitQueueSlowPoll(t *testing.T) {
	for _, waits := range []bool{false, true} {
		t.Run(fmt.Sprint("waits ", waits), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bubbleBed(t)
				defer b.finish()
				c, s := b.openPoll()
				defer c.Close()
				big := strings.Repeat("x", 980_000)
				s.Send(text(big))
				done := make(chan bool, 1)
				if waits {
					go func() { done <- s.WaitQueue(32 << 10) }()
				} else {
					done <- true
				}
				synctest.Wait()
				nc, err := b.net.Dial()
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				path := strings.TrimPrefix(c.URL, b.URL)
				fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
				r := bufio.NewReader(slowReader{nc})
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil || len(body) < len(big) {
					t.Errorf("the answer was cut")
				}
				if !<-done {
					t.Error("WaitQueue: the client has gone")
				}
				if reason, over := s.Closed(); over {
					t.Errorf("the session was ended: %v", reason)
				}
			})
		})
	}
}

type slowReader struct{ r io.Reader }

func (s slowReader) Read(p []byte) (int, error) {
	time.Sleep(200 * time.Millisecond)
	return s.r.Read(p[:min(len(p), 2000)])
}
