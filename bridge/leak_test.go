package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zishang520/socket.io/servers/socket/v3"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// What the bridge does about the library's leaks stands on what is private there:
// when that changes this test fails, and the leaks are back.
func TestQueueOfASocket(t *testing.T) {
	s := socket.MakeSocket()
	q := queueOf(s)
	if q == nil {
		t.Fatal("the library's sockets have no taskQueue of the type *queue.Queue: see what holds them now, and end it in peer.go")
	}
	ran := make(chan struct{})
	s.Enqueue(func() { close(ran) })
	<-ran
	q.Close()
	s.Enqueue(func() { t.Error("it is another queue") })
}

// Clients that have gone are freed, goroutines and all. (The bare library keeps
// 19 KB and a goroutine of each.)
func TestHazardLeaks(t *testing.T) {
	b := New()
	b.IO().Of("/chat", nil)
	var made, freed atomic.Int64
	b.IO().Use(func(s *socket.Socket, next func(*socket.ExtendedError)) {
		made.Add(1)
		// What refers to itself is freed only if it has no finalizer; a cleanup has no
		// objection.
		runtime.AddCleanup(queueOf(s), func(n *atomic.Int64) { n.Add(1) }, &freed)
		next(nil)
	})
	rt := heymanito.New(heymanito.WithBridge(b), heymanito.WithLogger(slog.New(slog.DiscardHandler)), heymanito.WithDrain(0), heymanito.WithOfflineGrace(0))
	ts := httptest.NewServer(rt)
	defer ts.Close()
	before := 0
	for i := range 300 {
		c := wiretest.Connect(t, ts.URL, fmt.Sprint("user", i%20))
		if err := c.Send("40/chat,"); err != nil {
			t.Fatal(err)
		}
		c.Expect("connect /chat")
		if i%2 == 0 {
			c.Goodbye()
			_ = c.Closed(wiretest.Timeout)
		}
		c.Cut()
		if i == 20 {
			before = libraryGoroutines()
		}
	}
	for end := time.Now().Add(wiretest.Timeout); freed.Load() < made.Load() || libraryGoroutines() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("of %d sockets %d are freed; the library has %d goroutines, and had %d", made.Load(), freed.Load(), libraryGoroutines(), before)
		}
		runtime.GC()
	}
	ctx, cancel := context.WithTimeout(context.Background(), wiretest.Timeout)
	defer cancel()
	if err := rt.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// libraryGoroutines is how many goroutines the library has.
func libraryGoroutines() (n int) {
	buf := make([]byte, 8<<20)
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "created by github.com/zishang520/") {
			n++
		}
	}
	return n
}
