package bridge_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/zishang520/socket.io/servers/socket/v3"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/bridge"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// bed is a Server with a bridge, on the network until the test ends.
type bed struct {
	*heymanito.Server
	t   *testing.T
	IO  *socket.Server
	URL string
	log *wiretest.Log
}

// newBed runs one; set is called before anybody can connect, and may be nil.
func newBed(t *testing.T, set func(b *bed), opts ...heymanito.Option) *bed {
	t.Helper()
	br := bridge.New()
	b := &bed{t: t, IO: br.IO(), log: &wiretest.Log{}}
	b.Server = heymanito.New(append([]heymanito.Option{heymanito.WithBridge(br), heymanito.WithLogger(b.log.Logger()), heymanito.WithDrain(0)}, opts...)...)
	if set != nil {
		set(b)
	}
	ts := httptest.NewUnstartedServer(wiretest.Handler(b.Server))
	ts.Listener = wiretest.Listener(ts.Listener)
	ts.Start()
	b.URL = ts.URL
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), wiretest.Timeout)
		defer stop()
		if err := b.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		ts.Close()
		wiretest.NoLeaks(t, "github.com/heymanito/heymanito", "github.com/zishang520/socket.io")
		if t.Failed() {
			b.log.Show(t)
		}
	})
	return b
}

// onSocket calls f for every socket of a namespace.
func onSocket(n socket.Namespace, f func(s *socket.Socket)) {
	_ = n.On("connection", func(args ...any) { f(args[0].(*socket.Socket)) })
}

// present is how many sockets and rooms a namespace has. (The library's maps count
// themselves, and wrongly: what is deleted twice at once counts twice.)
func present(n socket.Namespace) int {
	return len(n.Sockets().Keys()) + len(n.Adapter().Rooms().Keys()) + len(n.Adapter().Sids().Keys())
}

// join connects a client to another namespace and waits until it is in.
func join(c *wiretest.Client, namespace, auth string) {
	if err := c.Send("40" + namespace + "," + auth); err != nil {
		panic(err)
	}
	c.Expect("connect " + namespace)
}

// ask emits an event with a callback in a namespace, and returns what that is
// called with. n is a number that no other ask of the client has.
func ask(t *testing.T, c *wiretest.Client, namespace, n, event string) string {
	t.Helper()
	prefix := namespace
	if prefix != "" {
		prefix += ","
	}
	if err := c.Send("42" + prefix + n + event); err != nil {
		t.Fatal(err)
	}
	args := c.Expect("ack " + prefix + n).Args
	said := make([]string, len(args))
	for i, a := range args {
		said[i] = string(a)
	}
	return strings.Join(said, ",")
}

// tally counts by name, from any goroutine.
type tally struct {
	mu sync.Mutex // guards of
	of map[string]int
}

func (n *tally) add(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == nil {
		n.of = map[string]int{}
	}
	n.of[name]++
}

func (n *tally) get(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.of[name]
}

func echo(_ context.Context, e heymanito.Event) (any, error) { return e.Args[0], nil }
