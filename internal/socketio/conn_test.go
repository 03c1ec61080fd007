package socketio_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/socketio"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// Events that come while the host is thinking are held, and handled in order;
// one too many ends the connection.
func TestHeldEvents(t *testing.T) {
	for _, n := range []int{16, 17} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			b := newBed(t)
			answer := make(chan struct{})
			b.connect = func(ctx context.Context, c *socketio.Conn, _ []byte) error {
				select {
				case <-answer:
					return open(c)
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			ws := b.dial()
			packets, want := []string{"40"}, []string{"connect "}
			for i := range n {
				packets = append(packets, fmt.Sprintf(`42["e%d"]`, i))
				want = append(want, fmt.Sprintf("e%d", i))
			}
			b.send(ws, packets...)
			if n > 16 {
				b.closes(ws, 1008)
				b.noted("connect ")
				return
			}
			// A ping behind them has been answered: they have been read.
			if err := ws.Write(wiretest.Frame(true, wiretest.OpPing, nil)); err != nil {
				t.Fatal(err)
			}
			if op, _, err := ws.Read(); err != nil || op != wiretest.OpPong {
				t.Fatalf("%d %v", op, err)
			}
			b.noted("connect ")
			close(answer)
			b.noted(want...)
		})
	}
}

// When this side ends the connection while what was held is being handled,
// nothing more is: neither what was held, nor what has come behind it.
func TestEndedWhileDraining(t *testing.T) {
	b := newBed(t)
	answer, proceed := make(chan struct{}), make(chan struct{})
	b.connect = func(_ context.Context, c *socketio.Conn, _ []byte) error {
		<-answer
		return open(c)
	}
	b.event = func(c *socketio.Conn, _ *socketio.Event) {
		<-proceed
		c.Close(engineio.SlowReader)
	}
	ws := b.dial()
	b.send(ws, "40", `42["held"]`, `42["held too"]`)
	b.noted("connect ")
	close(answer)
	b.noted("connect ", "held")
	b.send(ws, `42["behind"]`)
	waitsIn(t, "socketio.(*Conn).settled")
	close(proceed)
	b.noted("connect ", "held", "closed: slow reader")
}

// waitsIn returns when some goroutine is in a function.
func waitsIn(t *testing.T, function string) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	for end := time.Now().Add(wiretest.Timeout); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte(function)) {
			return
		}
	}
	t.Fatalf("nobody is in %s", function)
}

// What is sent to a client before it is let in comes right behind the answer
// to its CONNECT and what the host wants first.
func TestCorked(t *testing.T) {
	b := newBed(t)
	b.connect = func(_ context.Context, c *socketio.Conn, _ []byte) error {
		if !c.Send(socketio.NewOutgoing("early", nil, 0).Frames()...) {
			t.Error("not taken")
		}
		return open(c)
	}
	ws := b.dial()
	b.send(ws, "40")
	for _, want := range []string{"40{", `42["welcome"]`, `42["early"]`} {
		b.hear(ws, want)
	}
}

// Whoever has its welcome gets what is volatile, too.
func TestVolatileAtOnce(t *testing.T) {
	b := newBed(t)
	conns := make(chan *socketio.Conn, 1)
	b.connect = func(_ context.Context, c *socketio.Conn, _ []byte) error {
		conns <- c
		return open(c)
	}
	volatile := socketio.NewOutgoing("volatile", nil, 0).Frames()
	for range 1000 {
		ws := b.dial()
		b.send(ws, "40")
		c := <-conns
		b.hear(ws, "40")
		b.hear(ws, `42["welcome"]`)
		if !c.SendVolatile(volatile...) {
			t.Fatal("it was dropped")
		}
		ws.Close()
	}
}

// A client that was refused may try again on the same transport.
func TestRefusedTriesAgain(t *testing.T) {
	b := newBed(t)
	b.connect = func(_ context.Context, c *socketio.Conn, auth []byte) error {
		if auth == nil {
			return &socketio.Refusal{Message: "who"}
		}
		return open(c)
	}
	ws := b.dial()
	b.send(ws, "40")
	b.hear(ws, "44")
	b.send(ws, `40{"me":1}`)
	b.hear(ws, "40")
	b.hear(ws, `42["welcome"]`)
	ws.Close()
	b.noted("connect ", `connect {"me":1}`, "closed: transport close")
}

// Who tries again in the instant in which it hears that it was refused is not
// overheard. (One in some thousands was.)
func TestRefusedTriesAgainAtOnce(t *testing.T) {
	b := newBed(t)
	b.connect = func(_ context.Context, _ *socketio.Conn, auth []byte) error {
		return &socketio.Refusal{Message: "no", Data: json.RawMessage(auth)}
	}
	insist := func(ws *wiretest.WS) {
		defer ws.Close()
		for i := range 16 {
			auth := fmt.Sprintf(`{"n":%d}`, i)
			answer := `44{"data":` + auth + `,"message":"no"}`
			if err := ws.Write(wiretest.Texts("40" + auth)); err != nil {
				t.Error(err)
				return
			}
			if got, err := ws.Text(); got != answer {
				t.Errorf("heard %q, %v; want %q", got, err, answer)
				return
			}
		}
	}
	for range 100 {
		var clients sync.WaitGroup
		for range 8 { // with more of them at a time it is rarer
			ws := b.dial()
			clients.Go(func() { insist(ws) })
		}
		clients.Wait()
	}
}

// A client that leaves while the host is thinking was never there.
func TestLeavesDuringConnect(t *testing.T) {
	b := newBed(t)
	thinking := make(chan struct{})
	b.connect = func(ctx context.Context, c *socketio.Conn, _ []byte) error {
		close(thinking)
		<-ctx.Done()
		if c.Open() {
			t.Error("let in after it had left")
		}
		b.note("thought")
		return ctx.Err()
	}
	ws := b.dial()
	b.send(ws, "40")
	<-thinking
	ws.Close()
	b.noted("connect ", "thought")
}

// Closed comes once and last, however a connection ends.
func TestClosedOnce(t *testing.T) {
	b := newBed(t)
	for range 50 {
		ws := b.join()
		b.send(ws, `42["m"]`, "41")
		ws.Close()
	}
	want := slices.Repeat([]string{"closed: client namespace disconnect (goodbye)", "connect ", "m"}, 50)
	slices.Sort(want)
	for done := false; !done; {
		b.mu.Lock()
		done = len(b.log) >= len(want)
		b.mu.Unlock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Sort(b.log); !slices.Equal(b.log, want) {
		t.Errorf("the host has seen %q", b.log)
	}
}

// A kick reaches whoever is being let in after the answer to its CONNECT.
func TestDisconnectWhileConnecting(t *testing.T) {
	b := newBed(t)
	b.connect = func(_ context.Context, c *socketio.Conn, _ []byte) error {
		c.Disconnect(socketio.NewOutgoing("bye", nil, 0).Frames()...)
		return open(c)
	}
	ws := b.dial()
	b.send(ws, "40")
	for _, want := range []string{"40{", `42["welcome"]`, `42["bye"]`, "41"} {
		b.hear(ws, want)
	}
	b.closes(ws, 1000)
	b.noted("connect ", "closed: forced close")
}
