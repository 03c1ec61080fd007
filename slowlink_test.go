package heymanito_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// bucket lets rate bytes a second through.
type bucket struct {
	rate int
	mu   sync.Mutex // guards free
	free time.Time  // when the next byte may go
}

// pass waits until n more bytes have gone through.
func (b *bucket) pass(n int) {
	b.mu.Lock()
	now := time.Now()
	if b.free.Before(now) {
		b.free = now
	}
	b.free = b.free.Add(time.Duration(n) * time.Second / time.Duration(b.rate))
	wait := b.free.Sub(now)
	b.mu.Unlock()
	time.Sleep(wait)
}

// slowLink is a proxy to addr through which each direction of all connections
// together carries rate bytes a second. It holds little itself, as a modem.
func slowLink(t *testing.T, addr string, rate int) (url string) {
	t.Helper()
	// Small windows on both sides: what a sender has sent is on its way, not in
	// a buffer of the proxy's.
	small := func(_, _ string, c syscall.RawConn) error {
		var err error
		if ctl := c.Control(func(fd uintptr) {
			err = setReceiveBuffer(fd, 8<<10)
		}); ctl != nil {
			return ctl
		}
		return err
	}
	l, err := (&net.ListenConfig{Control: small}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	ended := false
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		ended = true
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	up, down := &bucket{rate: rate}, &bucket{rate: rate}
	carry := func(to, from net.Conn, b *bucket) {
		defer to.Close()
		piece := make([]byte, 1400)
		for {
			n, err := from.Read(piece)
			b.pass(n)
			if _, werr := to.Write(piece[:n]); err != nil || werr != nil {
				return
			}
		}
	}
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{Control: small}).Dial("tcp", addr)
			if err != nil {
				_ = client.Close()
				continue
			}
			mu.Lock()
			if conns = append(conns, client, server); ended {
				_, _ = client.Close(), server.Close()
			}
			mu.Unlock()
			wg.Go(func() { carry(server, client, up) })
			wg.Go(func() { carry(client, server, down) })
		}
	})
	return "http://" + l.Addr().String()
}

// A link that is slow and moves is alive: a message that takes longer than the
// heartbeat's interval and timeout together gets through, either way.
//
// It is the case of the default options, 900 KB at 20 KB/s with 20 s and 20 s,
// ten times as fast; the buffers on the way are as they are.
func TestSlowLink(t *testing.T) {
	t.Parallel()
	const rate, size = 200_000, 900_000
	content := `"` + strings.Repeat("x", size) + `"`
	for _, transport := range []string{"websocket", "polling"} {
		for _, direction := range []string{"down", "up"} {
			t.Run(transport+" "+direction, func(t *testing.T) {
				t.Parallel()
				ended := make(chan string, 1)
				b := newBed(t, heymanito.WithHeartbeat(2*time.Second, 2*time.Second), heymanito.WithWriteTimeout(3*time.Second),
					heymanito.WithHooks(heymanito.Hooks{OnDisconnect: func(_ context.Context, d heymanito.Device, reason string) {
						if d.ChatPath == "slow" {
							ended <- reason
						}
					}}))
				fast, err := b.join("fast")
				if err != nil {
					t.Fatal(err)
				}
				defer fast.Close()
				slow, err := b.slowLine(t, transport, slowLink(t, b.Addr, rate))
				if err != nil {
					t.Fatal(err)
				}
				defer slow.end()
				quick := make(chan string, 100) // what fast gets
				go func() {
					for {
						p, err := await(fast, "4")
						if err != nil {
							return
						}
						quick <- p
					}
				}()
				if direction == "down" {
					if err := fast.Send(`421["sendMessage",` + message("fast", "slow", 1, content) + `]`); err != nil {
						t.Fatal(err)
					}
				} else if err := slow.send(`421["sendMessage",` + message("slow", "fast", 1, content) + `]`); err != nil {
					t.Fatal(err)
				}
				wait := func(what string, got <-chan string) string {
					t.Helper()
					select {
					case p := <-got:
						return p
					case reason := <-ended:
						t.Fatalf("%s: the connection ended first: %s", what, reason)
					case <-time.After(3 * patience):
						t.Fatalf("%s: nothing", what)
					}
					return ""
				}
				pick := func(got <-chan string, prefix string) string {
					t.Helper()
					for {
						if p := wait(prefix, got); strings.HasPrefix(p, prefix) {
							return p
						}
					}
				}
				receive, answer := slow.got, (<-chan string)(quick)
				if direction == "up" {
					receive, answer = quick, slow.got
				}
				if p := pick(answer, "431["); !strings.Contains(p, `"delivery":"sent"`) {
					t.Errorf("acked %s", p)
				}
				if p := pick(receive, `42["receiveMessage"`); !strings.Contains(p, content) {
					t.Errorf("%d bytes arrived: %.100s", len(p), p)
				}
				// And the connection is of use afterwards, past the next pings.
				if err := slow.send(`422["sendMessage",` + message("slow", "fast", 2, "2") + `]`); err != nil {
					t.Fatal(err)
				}
				pick(slow.got, "432[")
				pick(slow.got, "2")
				if err := slow.send(`423["sendMessage",` + message("slow", "fast", 3, "3") + `]`); err != nil {
					t.Fatal(err)
				}
				pick(slow.got, "433[")
			})
		}
	}
}

// slowLine is a client at the far end of a slow link. It reads all the time.
type slowLine struct {
	got  <-chan string // packets, pings too
	send func(packet string) error
	end  func()
}

func (b *bed) slowLine(t *testing.T, transport, url string) (*slowLine, error) {
	got := make(chan string, 1000)
	if transport == "websocket" {
		ws, err := wiretest.DialWS(url, query("slow"))
		if err != nil {
			return nil, err
		}
		if _, err := ws.Text(); err != nil {
			return nil, err
		}
		var mu sync.Mutex // one write at a time
		send := func(packet string) error {
			mu.Lock()
			defer mu.Unlock()
			return ws.Send(packet)
		}
		if err := errors.Join(send("40"), joined(ws)); err != nil {
			return nil, err
		}
		go func() {
			for {
				_ = ws.Net.SetReadDeadline(time.Now().Add(3 * patience))
				op, p, err := ws.Read()
				if err != nil {
					return
				}
				if string(p) == "2" {
					go func() { _ = send("3") }() // reading goes on
				}
				if op == wiretest.OpText {
					got <- string(p)
				}
			}
		}()
		return &slowLine{got, send, ws.Close}, nil
	}
	p, err := wiretest.OpenPoll(url, "slow")
	if err != nil {
		return nil, err
	}
	p.HTTP.Timeout = 3 * patience
	if err := p.Join(); err != nil {
		return nil, err
	}
	var mu sync.Mutex // one POST at a time
	send := func(packet string) error {
		mu.Lock()
		defer mu.Unlock()
		return p.Send(packet)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			a, err := p.Get(ctx)
			if err != nil || a.Status != http.StatusOK {
				return
			}
			for _, packet := range a.Packets {
				if packet == "2" {
					go func() { _ = send("3") }()
				}
				got <- packet
			}
		}
	}()
	return &slowLine{got, send, func() { cancel(); <-done; p.Close() }}, nil
}
