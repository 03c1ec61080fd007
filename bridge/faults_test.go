package bridge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zishang520/socket.io/servers/socket/v3"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/bridge"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// What clients do at the wrong moment, and what hosts do in their listeners.

// bouncer is an auth hook that lets everybody into other namespaces, and into "/"
// nobody, and says so when it is told to.
type bouncer struct{ asked, speak chan struct{} }

func newBouncer() *bouncer {
	return &bouncer{asked: make(chan struct{}, 100), speak: make(chan struct{})}
}

func (d *bouncer) auth(ctx context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
	if h.Namespace != "/" {
		return heymanito.Identity{ChatPath: h.UserID}, nil
	}
	d.asked <- struct{}{}
	select {
	case <-d.speak:
	case <-ctx.Done():
	}
	return heymanito.Identity{}, heymanito.Errorf(heymanito.CodeUnauthorized, "not in here")
}

// raw is ann, packet by packet.
type raw struct {
	*wiretest.WS
	t *testing.T
}

func dialRaw(t *testing.T, b *bed) *raw {
	t.Helper()
	ws, err := wiretest.DialWS(b.URL, "EIO=4&transport=websocket&userId=ann")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ws.Close)
	return &raw{ws, t}
}

// dialPending is a client that is in /chat, and asks for "/" as well: the auth hook
// has yet to say whether she may.
func dialPending(t *testing.T, b *bed, door *bouncer) *raw {
	t.Helper()
	ann := dialRaw(t, b)
	ann.send("40/chat,")
	ann.next("40/chat,")
	ann.send("40")
	<-door.asked
	return ann
}

func (r *raw) send(packets ...string) {
	r.t.Helper()
	if err := r.Write(wiretest.Texts(packets...)); err != nil {
		r.t.Fatal(err)
	}
}

// next returns the next packet that begins so.
func (r *raw) next(prefix string) string {
	r.t.Helper()
	for {
		text, err := r.Text()
		if err != nil {
			r.t.Fatalf("no %s: %v", prefix, err)
		}
		if strings.HasPrefix(text, prefix) {
			return text
		}
	}
}

// ends reads until the server has closed the connection, and fails if there is
// something that begins so.
func (r *raw) ends(never string) {
	r.t.Helper()
	for {
		text, err := r.Text()
		if err != nil {
			if end := (*wiretest.CloseError)(nil); !errors.As(err, &end) {
				r.t.Errorf("the connection ended with %v", err)
			}
			return
		}
		if strings.HasPrefix(text, never) {
			r.t.Errorf("ann is told %s", text)
		}
	}
}

// openChat makes a namespace that answers.
func openChat(b *bed) {
	onSocket(b.IO.Of("/chat", nil), func(s *socket.Socket) {
		_ = s.On("n", func(args ...any) { args[1].(socket.Ack)(args[:1], nil) })
	})
}

// Who is sent away while "/" is pending is in no other namespace any more, either.
func TestSentAwayWhileMainIsPending(t *testing.T) {
	for _, forget := range []bool{false, true} {
		t.Run(fmt.Sprintf("forgotten %v", forget), func(t *testing.T) {
			door := newBouncer()
			b := newBed(t, openChat, heymanito.WithAuth(door.auth))
			ann := dialPending(t, b, door)
			if forget {
				if err := b.Forget(t.Context(), "ann"); err != nil {
					t.Fatal(err)
				}
			} else if n := b.Disconnect("ann", "banned"); n != 1 {
				t.Errorf("%d connections", n)
			}
			close(door.speak)
			ann.next("41/chat,")
			ann.ends("43")
		})
	}
}

// Who is sent away while a middleware decides about her is not let in.
func TestSentAwayWhileInMiddleware(t *testing.T) {
	for _, namespace := range []string{"/chat", "/"} {
		t.Run(namespace, func(t *testing.T) {
			at, open := make(chan struct{}, 1), make(chan struct{})
			b := newBed(t, func(b *bed) {
				openChat(b)
				b.IO.Of(namespace, nil).Use(func(_ *socket.Socket, next func(*socket.ExtendedError)) {
					at <- struct{}{}
					<-open
					next(nil)
				})
			})
			ann := dialRaw(t, b)
			ann.send(strings.Replace("40/chat,", "/chat,", map[string]string{"/": "", "/chat": "/chat,"}[namespace], 1))
			<-at
			if n := b.Disconnect("ann", "banned"); n != 1 {
				t.Errorf("%d connections", n)
			}
			close(open)
			ann.ends("43")
		})
	}
}

// What comes for other namespaces while "/" is pending is handled, whatever "/" says.
func TestHeldWhileMainIsPending(t *testing.T) {
	door := newBouncer()
	b := newBed(t, openChat, heymanito.WithAuth(door.auth), heymanito.WithMaxPayload(10_000))
	both := dialRaw(t, b) // what a stock client with both at once does
	both.send("40", "40/chat,")
	<-door.asked
	ann := dialPending(t, b, door)
	ann.send(`42/chat,1["n",7]`, `42/chat,2["n","`+strings.Repeat("x", 20_000)+`"]`, `42/chat,3["n",8]`)
	close(door.speak)
	both.next("44{")
	both.next("40/chat,")
	ann.next("44{")
	for _, want := range []string{`43/chat,1[7]`, `43/chat,2[{"status":"error","code":"too_large"`, `43/chat,3[8]`} {
		if got := ann.next("43/chat,"); !strings.HasPrefix(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for range 15 { // refused at once: the door is open now
		ann.send("40")
		ann.next("44{")
	}
	ann.send("40") // the 17th
	ann.ends("44{")
}

// An auth hook that panics for another namespace ends its client's connection, also
// when that was asked for while "/" was pending, and nothing else.
func TestPanicForWhatWasHeld(t *testing.T) {
	open := make(chan struct{})
	var gone tally
	b := newBed(t, openChat, heymanito.WithAuth(func(_ context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
		if h.Namespace != "/" {
			panic("the host's")
		}
		<-open
		return heymanito.Identity{ChatPath: h.UserID}, nil
	}), heymanito.WithHooks(heymanito.Hooks{
		OnDisconnect: func(context.Context, heymanito.Device, string) { gone.add("gone") },
	}))
	ann := dialRaw(t, b)
	ann.send("40", "40/chat,", `421["x"]`)
	close(open)
	ann.next("40{")
	ann.ends("40/chat,")
	wiretest.Eventually(t, "ann has gone", func() bool { return gone.get("gone") == 1 })
}

// What is held is bounded in packets, too: those of no bytes are none that anybody
// announced.
func TestHeldIsBoundedInPackets(t *testing.T) {
	door := newBouncer()
	defer close(door.speak)
	b := newBed(t, openChat, heymanito.WithAuth(door.auth))
	ann := dialPending(t, b, door)
	if err := ann.Write(bytes.Repeat(wiretest.Frame(true, wiretest.OpBinary, nil), 1000)); err != nil {
		t.Fatal(err)
	}
	_, err := ann.Text()
	if end := (*wiretest.CloseError)(nil); !errors.As(err, &end) || end.Reason != "too much data before the handshake" {
		t.Errorf("a client that has sent 1000 packets is told %v", err)
	}
}

// What is held is bounded in bytes as well.
func TestHeldIsBounded(t *testing.T) {
	door := newBouncer()
	defer close(door.speak)
	b := newBed(t, openChat, heymanito.WithAuth(door.auth))
	ann := dialPending(t, b, door)
	junk := make([]byte, 60<<10)
	for range 1500 {
		if ann.SendBinary(junk) != nil {
			return
		}
	}
	t.Error("a client has 90 MB held")
}

// A listener that panics leaves nobody behind, in no namespace.
func TestPanicWhenItEnds(t *testing.T) {
	names := []string{"/", "/chat", "/other"}
	b := newBed(t, func(b *bed) {
		for _, name := range names {
			onSocket(b.IO.Of(name, nil), func(s *socket.Socket) {
				_ = s.On("disconnecting", func(...any) { panic("the host's " + name) })
			})
		}
	})
	ann := wiretest.Connect(t, b.URL, "ann")
	join(ann, "/chat", "")
	join(ann, "/other", "")
	ann.Cut()
	wiretest.Eventually(t, "she is nowhere", func() bool {
		left := 0
		for _, name := range names {
			n := b.IO.Of(name, nil)
			left += present(n)
		}
		return left == 0 && b.Disconnect("ann", "x") == 0
	})
}

// A listener of "connection" that runs until "disconnect" hears of that, and holds
// up nobody.
func TestListenerUntilDisconnect(t *testing.T) {
	heard := make(chan struct{})
	b := newBed(t, func(b *bed) {
		onSocket(b.IO.Of("/ticks", nil), func(s *socket.Socket) {
			_ = s.On("disconnect", func(...any) { close(heard) })
			_ = s.Emit("tick")
			<-heard
		})
	})
	ann := dialRaw(t, b)
	ann.send("40/ticks,")
	ann.next(`42/ticks,["tick"`)
	ann.Close()
	select {
	case <-heard:
	case <-time.After(wiretest.Timeout):
		t.Error("it was not told")
	}
}

// A host may remove all listeners of a socket: ours is not among them.
func TestRemoveAllListeners(t *testing.T) {
	sockets := make(chan *socket.Socket, 1)
	b := newBed(t, func(b *bed) {
		onSocket(b.IO.Of("/chat", nil), func(s *socket.Socket) {
			s.RemoveAllListeners("disconnect")
			sockets <- s
		})
	})
	ann := wiretest.Connect(t, b.URL, "ann")
	join(ann, "/chat", "")
	(<-sockets).Disconnect(false)
	ann.Expect("disconnect /chat")
	join(ann, "/chat", "")
	ann.Sync()
}

// Whoever is sent away from a namespace, and is back before its listeners know.
func TestBackAtOnce(t *testing.T) {
	sockets, release := make(chan *socket.Socket, 2), make(chan struct{})
	b := newBed(t, func(b *bed) {
		onSocket(b.IO.Of("/chat", nil), func(s *socket.Socket) {
			_ = s.On("disconnecting", func(...any) { <-release })
			sockets <- s
		})
	})
	ann := wiretest.Connect(t, b.URL, "ann")
	join(ann, "/chat", "")
	var kicked sync.WaitGroup
	first := <-sockets
	kicked.Go(func() { first.Disconnect(false) })
	ann.Expect("disconnect /chat")
	if err := ann.Send("40/chat,"); err != nil {
		t.Fatal(err)
	}
	close(release)
	kicked.Wait()
	ann.Expect("connect /chat")
	ann.Sync()
}

// Device knows whose a socket was until all listeners have heard of its end.
func TestDeviceInDisconnect(t *testing.T) {
	said := make(chan string, 1)
	b := newBed(t, func(b *bed) {
		onSocket(b.IO.Of("/chat", nil), func(s *socket.Socket) {
			_ = s.On("disconnect", func(args ...any) {
				d, ok := bridge.Device(s)
				said <- fmt.Sprint(args[0], ": ", d.ChatPath, " ", ok)
			})
		})
	})
	ann := wiretest.Connect(t, b.URL, "ann")
	for _, end := range []struct {
		how  func()
		want string
	}{
		{func() { _ = ann.Send("41/chat,") }, "client namespace disconnect: ann true"},
		{func() { b.IO.Of("/chat", nil).DisconnectSockets(false) }, "server namespace disconnect: ann true"},
		{func() { b.Disconnect("ann", "x") }, "forced close: ann true"},
	} {
		join(ann, "/chat", "")
		end.how()
		if got := <-said; got != end.want {
			t.Errorf("got %q, want %q", got, end.want)
		}
	}
}

// A listener of "connection" may send its client away from "/" alone.
func TestDisconnectInConnection(t *testing.T) {
	b := newBed(t, func(b *bed) {
		openChat(b)
		onSocket(b.IO.Sockets(), func(s *socket.Socket) { s.Disconnect(false) })
	})
	ann := dialRaw(t, b)
	ann.send("40/chat,")
	ann.next("40/chat,")
	ann.send("40")
	ann.next("41")
	ann.send(`42/chat,1["n",7]`)
	ann.next("43/chat,1[7]")
	wiretest.Eventually(t, "she is no device", func() bool { return len(b.Devices("ann")) == 0 })
}

// Sockets that are sent away while they come leave nothing behind.
func TestSentAwayWhileTheyCome(t *testing.T) {
	b := newBed(t, openChat, heymanito.WithOfflineGrace(0))
	stop := make(chan struct{})
	var away sync.WaitGroup
	away.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				b.IO.Of("/chat", nil).DisconnectSockets(true)
			}
		}
	})
	for range 40 {
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				ws, err := wiretest.DialWS(b.URL, fmt.Sprintf("EIO=4&transport=websocket&userId=user%d", i))
				if err != nil {
					t.Error(err)
					return
				}
				defer ws.Close()
				if ws.Write(wiretest.Texts("40/chat,", "40")) != nil {
					return
				}
				for range 5 {
					if _, err := ws.Text(); err != nil {
						return
					}
				}
			})
		}
		all.Wait()
	}
	close(stop)
	away.Wait()
	wiretest.Eventually(t, "nobody is there", func() bool {
		left := 0
		for _, n := range []socket.Namespace{b.IO.Sockets(), b.IO.Of("/chat", nil)} {
			left += present(n)
		}
		return left == 0 && b.IO.Engine().ClientsCount() == 0
	})
}

// Who is named like somebody's socket does not get what that one is sent.
func TestNamedLikeASocket(t *testing.T) {
	b := newBed(t, nil)
	ann := wiretest.Connect(t, b.URL, "ann")
	eve := wiretest.Connect(t, b.URL, ann.SID)
	b.IO.To(socket.Room(ann.SID)).Emit("secret")
	ann.Expect("secret")
	eve.Sync()
	if got := eve.Named("secret"); len(got) > 0 {
		t.Errorf("eve has heard %v", got)
	}
}
