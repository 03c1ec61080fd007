// Package bridge has Socket.IO's own API, of the library
// github.com/zishang520/socket.io, under the connections of a heymanito.Server:
//
//	b := bridge.New()
//	rt := heymanito.New(heymanito.WithBridge(b))
//	io := b.IO()
//	io.On("connection", func(args ...any) {
//		socket := args[0].(*socket.Socket)
//		…
//	})
//	r.Mount("/socket.io/", rt)
//
// What a client sends under a name that the Server has no handler for goes to the
// listeners of its socket, if there is one for it, or one for any; the Server's own
// events, and those of its On and Relay, do not. In "/" the socket of a device has
// the socket id of that device; in every namespace a user's sockets are in the room
// of their chatPath. When the listeners of "connection" are called a client of "/"
// has had its online_users, and its user is online; middlewares (Use) run before
// that, once the auth hook has said who it is.
//
// A namespace besides "/" is there when the host has made it, with Of. Its clients
// have passed the auth hook (heymanito.Handshake.Namespace says for which), but are
// no devices there: they have no presence and no messages. A client may be in 16.
// Those that a pattern or a function has made stay when they are empty: have it
// match no more than there is.
//
// Only the Server faces the network, so nobody needs the library's Listen, Attach
// and ServeHandler, and its timeouts have nothing to do: leave SetConnectTimeout
// alone. What goes through the library becomes Go values on the way: numbers are
// float64, and the members of an object lose their order. Who has to keep them uses
// the Server's On and Relay. The adapter is the bridge's: with another one, of
// SetAdapter, the library's defects of rooms are back, and users are in none.
//
// A user chooses how he is called, if the host lets him, and is in the room of that
// name: give rooms of your own names that no user can have ("desk:agents").
//
// Each client costs about 28 KB and a goroutine more than without a bridge, and 17
// KB and a goroutine for each namespace besides "/": see BenchmarkIdle.
package bridge

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/zishang520/socket.io/servers/engine/v3"
	"github.com/zishang520/socket.io/servers/socket/v3"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/seam"
	"github.com/heymanito/heymanito/internal/socketio"
)

// Bridge is the library's server for one heymanito.Server. Make one with New.
type Bridge struct {
	io     *socket.Server
	engine *baseServer
	turns  turns

	log    *slog.Logger // the Server's
	serves atomic.Bool
}

// New makes a Bridge, for heymanito.WithBridge. It starts nothing.
func New() *Bridge {
	b := &Bridge{engine: newEngine()}
	opts := socket.DefaultServerOptions()
	opts.SetServeClient(false)
	opts.SetAdapter(roomsBuilder{})
	// Who connects to nothing is the Server's to close. The library's timer has to
	// have run before a client connects: one that is stopped may leave a goroutine.
	opts.SetConnectTimeout(0)
	b.io = socket.NewServer(nil, opts)
	b.io.Bind(b.engine)
	b.watch(b.io.Sockets())
	_ = b.io.On("new_namespace", func(args ...any) { b.watch(args[0].(socket.Namespace)) }) // On has no errors
	return b
}

// IO returns the library's server. Its listeners and middlewares are called on
// goroutines of their client's own; one that waits delays that client's next event
// there, and nobody else's, and for up to a second whatever else that client sends. A
// middleware of a namespace, and the auth hook that is asked before it, hold up all
// that the client sends until they have decided: for as long as a handshake may take
// (heymanito.WithHandshakeLimits), and one that does not return for longer. What a
// listener panics with is logged.
//
// Its Close ends the connections of all clients, which come back; to stop for good
// is for heymanito.Server.Shutdown.
func (b *Bridge) IO() *socket.Server { return b.io }

// Device returns whose socket this is, as the auth hook has said when it connected;
// false: it is none of a bridge's. In other namespaces than "/" it is no device of
// the Server's.
func Device(s *socket.Socket) (heymanito.Device, bool) {
	c, ok := s.Conn().(*client)
	if !ok {
		return heymanito.Device{}, false
	}
	return c.device(s)
}

// Serve implements what heymanito.WithBridge wants.
func (b *Bridge) Serve(log *slog.Logger) bool {
	if b.serves.Swap(true) {
		return false
	}
	b.log = log
	return true
}

// Client implements what heymanito.WithBridge wants.
func (b *Bridge) Client(c *socketio.Conn, r *http.Request) seam.Client { return newClient(b, c, r) }

// watch has us see every socket of a namespace before its middlewares do.
func (b *Bridge) watch(n socket.Namespace) {
	n.Fns().Unshift(func(s *socket.Socket, next func(*socket.ExtendedError)) {
		if c, ok := s.Conn().(*client); ok {
			c.made(s)
		}
		next(nil)
	})
	if n.Name() == "/" {
		_ = n.On("connect", func(args ...any) { hold(args[0].(*socket.Socket)) })
	}
}

// hold has the listeners of "/", which come behind it, wait until their client is
// welcome.
func hold(s *socket.Socket) {
	if c, ok := s.Conn().(*client); ok {
		c.hold(s)
	}
}

// baseServer is the library's view of the engine: a list of clients.
type baseServer struct {
	engine.BaseServer
	count atomic.Int64
}

func newEngine() *baseServer {
	e := &baseServer{BaseServer: engine.MakeBaseServer()}
	e.Prototype(e)
	e.Construct(nil)
	return e
}

func (e *baseServer) add(c *client) {
	e.count.Add(1)
	e.Clients().Store(c.id, c)
	e.Emit("connection", c)
}

func (e *baseServer) remove(c *client) {
	e.Clients().Delete(c.id)
	e.count.Add(-1)
}

// ClientsCount implements engine.BaseServer: the library counts only handshakes of
// its own.
func (e *baseServer) ClientsCount() uint64 { return uint64(max(e.count.Load(), 0)) }

// turns has what is done under the same name be done one after the other. The zero
// turns has nothing under way.
type turns struct {
	mu sync.Mutex // guards of
	of map[string]*turn
}

type turn struct {
	hold chan struct{} // has room for one
	want int
}

// take waits for its turn; give ends it, and does nothing the second time.
func (t *turns) take(ctx context.Context, name string) (give func(), err error) {
	t.mu.Lock()
	if t.of == nil {
		t.of = map[string]*turn{}
	}
	one := t.of[name]
	if one == nil {
		one = &turn{hold: make(chan struct{}, 1)}
		t.of[name] = one
	}
	one.want++
	t.mu.Unlock()
	done := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if one.want--; one.want == 0 {
			delete(t.of, name)
		}
	}
	select {
	case one.hold <- struct{}{}:
		return sync.OnceFunc(func() {
			<-one.hold
			done()
		}), nil
	case <-ctx.Done():
		done()
		return nil, ctx.Err()
	}
}
