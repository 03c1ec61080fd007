// Package heymanito is the real-time back end of the chat app "Hey Manito!" as
// a Go package: presence, one-to-one messages, receipts ("entregado", which is
// delivered, and "leído", which is read) and the signalling that rings a phone. It
// serves stock Socket.IO 4 clients, inside any net/http server:
//
//	rt := heymanito.New(
//		heymanito.WithAuth(tokens.Auth), // who a client is: middleware.NewJWT, or any function
//		heymanito.WithHooks(hooks),      // what he may do, what is stored, what is pushed
//		heymanito.WithOrigins("https://app.example.com"),
//	)
//	r.Mount("/socket.io/", rt) // chi; or mux.Handle("/socket.io/", rt)
//
// # Words
//
// The host is the program that this package is built into: yours. A user is named
// by a chatPath, a string ([ValidChatPath]). A device is one connected socket: a
// user has any number of them, and what is for him reaches all. A stock client is
// a Socket.IO client library as it is, in whatever language, without code that
// knows of this package. An ack is the answer to an event, the callback of
// socket.emit. A node is one process with a [Server].
//
// What clients send and hear is in docs/protocol.md; what is kept for whom, and
// what is never lost, in docs/delivery.md; how to build the package into a
// program, and how to run that, in docs/embedding.md and docs/operations.md.
//
// # What a host says
//
// Everything is an [Option] of [New], and everything has a default. [WithAuth] is
// the one that no program in production goes without. [Hooks] are the host's part
// in what users do: [Hooks].Authorize before it happens, BeforeMessage to store a
// message, OnUndelivered to push it. [On], [Relay] and [RelayVolatile] add events
// of the host's own; [WithBridge] has Socket.IO's own API, with rooms and namespaces
// besides "/". With [WithRooms] calls have rooms at a media server, of which package
// livekit has the tokens.
//
// Whatever a client may cost is bounded: [WithRates], [WithMaxPayload],
// [WithMaxQueue], [WithMaxDevices], [WithHandshakeLimits], [WithMaxHandshakes],
// [WithRingLimits]. So is the time in which it is noticed that one has gone:
// [WithHeartbeat], [WithOfflineGrace].
//
// # What a host does
//
// From its own code it sends ([Server.Send], [Server.Emit]), asks ([Server.Online],
// [Server.Devices], [Server.Stats], [Server.Inspect]) and decides
// ([Server.Disconnect], [Server.ContactsChanged], [Server.Forget]). All of these
// may be called from within hooks. At the end it calls [Server.Shutdown], before
// that of its http.Server.
//
// # What is kept, and where
//
// Three stores have what outlives a connection: a [PresenceStore], an [Inbox] and a
// [CallStore]. They are in memory by default. Package boltinbox has an Inbox in a
// file; packages presencetest, inboxtest and callstest check one that you write.
// Their life is the host's: whoever opens a store closes it, after
// [Server.Shutdown].
//
// A node knows the devices that are connected to itself. Nothing carries a message
// from one node to another yet: run one process.
//
// # Errors
//
// What a client is told is a [Code], and words; a hook that returns an *[Error]
// decides which. What a method of [Server] returns is said at the method; after
// Shutdown it is [ErrClosed].
package heymanito

// The files follow an event from the socket to the host's hook: heymanito.go (the
// server), options.go (its settings), origin.go (which pages may connect),
// identity.go and connect.go (who a connection is), expiry.go (until when),
// events.go (whose an event is, which handler it goes to, and how it is answered),
// allowance.go (how many there may be), chat.go, receipts.go, calls.go and relay.go
// (what the events do), registry.go (a user's devices), presence.go and contacts.go
// (who is told about whom), hooks.go and errors.go (what a host is told, and says).
// What a host does from its own code is in api.go, send.go and forget.go; what he
// looks at, in stats.go (the numbers) and inspect.go (one user).
//
// A message goes from chat.go (once: flight.go) through guard.go to inbox.go
// (where it is kept, in memoryinbox.go by default; doubt.go, when that is not
// sure), letter.go (to whom it goes from there) and feed.go (which device has
// it, and which has yet to get it, from its position.go on), and from there to
// report.go (its sender is told that it has arrived) and vigil.go (the host is
// told who has it).
//
// A call goes from calls.go (or dial.go, where it begins, no more often than
// ringlimit.go lets it) through switchboard.go and callturn.go (who may change it,
// one after the other: call.go says what the changes are, callstore.go keeps it, in
// memorycalls.go by default, behind callguard.go; callclock.go, when its time has
// come) to ring.go (which devices ring, and stop; mark.go, when it matters that they
// know), and to calltoken.go and rooms.go (the room in which it talks).

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/socketio"
)

// readPastFactor is how many times MaxPayload a WebSocket message may have to
// be read past and answered, instead of ending its connection.
const readPastFactor = 16

// Server is the real-time back end. Make one with [New]; the zero Server is of no
// use. It is an [http.Handler] to be mounted under any path; clients expect
// /socket.io/. Its methods are safe for concurrent use, and may be called from
// within hooks, but for Shutdown, which waits for these.
type Server struct {
	cfg      *config
	log      *slog.Logger
	engine   *engineio.Server
	events   map[string]*event // by their names; nobody changes it
	unknown  event             // those that have none of these names
	registry *registry
	roster   *roster
	inbox    guard
	flights  flights
	mails    sync.Pool // of *mail, for the next message
	doubts   doubts
	vigils   *vigils
	calls    *switchboard
	numbers  numbers
	guests   guestbook

	ctx     context.Context // of hooks and stores; ends when Shutdown is done
	hookCtx context.Context // the same, for hooks that senders may have to wait for
	cancel  context.CancelFunc

	watchOnce   sync.Once
	watchedOnce sync.Once
	watched     chan struct{} // closed when presence edges arrive

	mu      sync.Mutex // guards closed, and with it running.Add against running.Wait
	closed  bool
	running sync.WaitGroup // goroutines that are no connection's
}

// New makes a Server. It starts nothing: goroutines come with connections and
// end with Shutdown. It panics on an option that cannot mean anything, and says in
// words what is wrong. Without [WithAuth] it logs a warning.
func New(opts ...Option) *Server {
	cfg := newConfig(opts)
	s := &Server{cfg: cfg, log: cfg.log, watched: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.hookCtx = context.WithValue(s.ctx, hookKey{}, true)
	s.events = s.eventHandlers()
	s.registry = newRegistry(s)
	s.roster = newRoster(s)
	s.inbox = guard{s, cfg.inbox}
	s.vigils = newVigils(s)
	s.calls = newSwitchboard(s)
	if cfg.bridge != nil && !cfg.bridge.Serve(cfg.log) {
		badOption("WithBridge", "this one serves another Server: make one for each")
	}
	if cfg.rooms != nil {
		cfg.rooms.Watch(s.calls.roomEvent)
	}
	s.engine = engineio.NewServer(engineio.Config{
		PingInterval:      cfg.pingInterval,
		PingTimeout:       cfg.pingTimeout,
		ClientTimeout:     cfg.clientTimeout,
		WriteTimeout:      cfg.writeTimeout,
		UpgradeTimeout:    10 * time.Second,
		CloseTimeout:      5 * time.Second,
		MaxPayload:        cfg.maxPayload,
		MaxReadPast:       readPastFactor * cfg.maxPayload,
		MaxQueue:          cfg.maxQueue,
		OpenTimeout:       cfg.handshakeTimeout,
		OpenBytes:         cfg.handshakeBytes,
		MaxOpening:        cfg.maxHandshakes,
		MaxOpeningPerAddr: cfg.maxHandshakesPer,
		Transports:        cfg.transports,
		RemoteAddr:        cfg.remoteAddr,
		Keep:              withOwnRoute,
		Log:               cfg.log,
		Open: func(sock *engineio.Socket) engineio.Handler {
			return socketio.New(sock, (*host)(s), socketio.Limits{
				ConnectTimeout: cfg.handshakeTimeout,
				HeldEvents:     cfg.handshakeEvents,
				MaxPayload:     cfg.maxPayload,
				MaxCorked:      cfg.maxQueue,
			})
		},
	})
	if cfg.auth == nil {
		s.log.Warn("no auth hook: the userId of the handshake is trusted, anybody can be anybody (heymanito.WithAuth)")
	}
	return s
}

// ServeHTTP serves Socket.IO clients. It looks at the query of a request, not at
// its path. It answers preflights, and sets the CORS headers, itself
// ([WithOrigins]): keep other CORS middleware off its path.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.checkOrigin(w, r) {
		s.engine.ServeHTTP(w, r)
	}
}

// withOwnRoute gives the auth hook, which runs after the handshake's request
// has been served, the chi parameters of that request: chi uses the value that
// holds them again for the next one.
func withOwnRoute(r *http.Request) *http.Request {
	route := chi.RouteContext(r.Context())
	if route == nil {
		return r
	}
	own := chi.NewRouteContext()
	own.RoutePath, own.RouteMethod = route.RoutePath, route.RouteMethod
	own.RoutePatterns = slices.Clone(route.RoutePatterns)
	own.URLParams.Keys = slices.Clone(route.URLParams.Keys)
	own.URLParams.Values = slices.Clone(route.URLParams.Values)
	return r.WithContext(context.WithValue(r.Context(), chi.RouteCtxKey, own))
}

// Shutdown refuses new clients with 503, closes every connection (spread over
// the time of [WithDrain], so that the clients reconnect elsewhere one after
// the other), and waits for every goroutine of the Server, and with them for hooks
// that are running. When ctx ends first it cuts what is left, ends the contexts of
// the hooks, waits for them, and returns ctx's error. The Server cannot be used
// again; to call Shutdown twice does no harm.
//
// http.Server.Shutdown does not wait for WebSockets, nor for what was given to
// its RegisterOnShutdown: call this one before it.
func (s *Server) Shutdown(ctx context.Context) error {
	defer context.AfterFunc(ctx, s.cancel)() // a hook that hangs is told
	err := s.engine.Shutdown(ctx, s.cfg.drain)
	s.vigils.hurry()
	called := s.calls.stop() // its hooks may send
	if told := s.vigils.finish(); !(called && told) && err == nil {
		err = ctx.Err()
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.registry.stop()
	s.cancel()
	s.running.Wait()
	return err
}

// goRun starts f on a goroutine that Shutdown waits for. After Shutdown it does
// nothing, and reports false: whatever f was for, it is for a server that is
// gone.
func (s *Server) goRun(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Go(func() { s.background("in the background", f) })
	}
	return !s.closed
}
