package heymanito

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/seam"
)

// Option configures a [Server]. Of an option that is given twice the last one
// counts; but each On, Relay and RelayVolatile adds an event, and WithOrigins adds
// origins. A wrong literal (a time under a millisecond where zero has no meaning, a
// count below 1, an origin that is none, a name that is taken) makes [New] panic and
// say what is wrong.
type Option func(*config)

// config holds every setting; newConfig has the defaults.
type config struct {
	auth     AuthFunc
	hooks    Hooks
	log      *slog.Logger
	presence PresenceStore
	inbox    Inbox
	keep     bool // what users miss; false: WithoutInbox
	calls    CallStore
	rooms    Rooms       // nil: calls have rooms in name only
	bridge   seam.Bridge // nil: there is only the namespace "/"
	builtin  map[string]func(*Server) handler
	handlers map[string]EventFunc
	relays   map[string]bool // name → volatile

	origins    map[string]bool
	anyOrigin  bool
	remoteAddr func(*http.Request) string
	transports []string

	pingInterval, pingTimeout time.Duration
	clientTimeout             time.Duration
	writeTimeout              time.Duration
	grace                     time.Duration
	drain                     time.Duration
	expiryNotice              time.Duration

	callTimes                    CallTimes
	ringsPerPair, ringsPerCaller int

	deviceRate, userRate Rate

	maxPayload int
	maxQueue   int
	maxDevices int

	handshakeTimeout time.Duration
	handshakeBytes   int
	handshakeEvents  int
	maxHandshakes    int
	maxHandshakesPer int
}

func newConfig(opts []Option) *config {
	c := &config{
		log:              slog.Default(),
		keep:             true,
		builtin:          builtin(),
		handlers:         map[string]EventFunc{},
		relays:           map[string]bool{},
		origins:          map[string]bool{},
		remoteAddr:       func(r *http.Request) string { return r.RemoteAddr },
		transports:       []string{engineio.Polling, engineio.WebSocket},
		pingInterval:     20 * time.Second,
		pingTimeout:      20 * time.Second,
		writeTimeout:     30 * time.Second,
		grace:            5 * time.Second,
		drain:            5 * time.Second,
		expiryNotice:     30 * time.Second,
		ringsPerPair:     6,
		ringsPerCaller:   20,
		deviceRate:       Rate{PerSecond: 100, Burst: 500},
		userRate:         Rate{PerSecond: 200, Burst: 1000},
		maxPayload:       1_000_000,
		maxQueue:         4 << 20,
		maxDevices:       50,
		handshakeTimeout: 10 * time.Second,
		handshakeBytes:   64 << 10,
		handshakeEvents:  16,
		maxHandshakes:    20_000,
		maxHandshakesPer: 10_000,
	}
	for _, o := range opts {
		o(c)
	}
	if c.presence == nil {
		c.presence = NewMemoryPresence()
	}
	if c.inbox == nil {
		c.inbox = NewMemoryInbox(InboxBounds{})
	}
	if c.calls == nil {
		c.calls = NewMemoryCalls()
	}
	c.callTimes = c.callTimes.withDefaults()
	if c.clientTimeout == 0 {
		c.clientTimeout = 2 * c.pingTimeout
	}
	return c
}

// badOption is the one way New, or NewMemoryInbox, refuses a literal.
func badOption(option, format string, args ...any) {
	panic("heymanito: " + option + ": " + fmt.Sprintf(format, args...))
}

func needPositive(option string, ds ...time.Duration) {
	for _, d := range ds {
		if d < time.Millisecond {
			badOption(option, "%v is too short: use at least a millisecond", d)
		}
	}
}

func needCount(option string, ns ...int) {
	for _, n := range ns {
		if n < 1 {
			badOption(option, "%d is too few: use at least 1", n)
		}
	}
}

// WithAuth sets the function that says who a connecting client is. Without it
// the server trusts the userId of the handshake, as the app does today:
// anybody can be anybody. New warns of that once.
func WithAuth(auth AuthFunc) Option {
	return func(c *config) {
		if auth == nil {
			badOption("WithAuth", "the function is nil: leave the option out to trust every userId")
		}
		c.auth = auth
	}
}

// WithHooks sets the host's hooks, all of them together.
func WithHooks(h Hooks) Option {
	return func(c *config) { c.hooks = h }
}

// WithLogger sets where the server logs; the default is slog.Default() at the
// time of New. An error is the host's to mend (a hook panicked, a store failed), a
// warning is about a device that was cut off for what it did, or a setting that is
// not safe; who is not let in is Info, a refused event Debug. Session ids, tokens
// and message contents are never logged.
func WithLogger(l *slog.Logger) Option {
	return func(c *config) {
		if l == nil {
			badOption("WithLogger", "the logger is nil: use slog.New(slog.DiscardHandler) for silence")
		}
		c.log = l
	}
}

// WithPresence sets the store that knows who is online; the default is
// [NewMemoryPresence], which knows this process alone. The store's life is the
// host's: the Server does not close it.
func WithPresence(store PresenceStore) Option {
	return func(c *config) {
		if store == nil {
			badOption("WithPresence", "the store is nil: leave the option out for the memory store")
		}
		c.presence = store
	}
}

// WithInbox sets the store that keeps what users miss; the default is
// [NewMemoryInbox] with its default bounds, which loses it when the process ends;
// package boltinbox has one in a file. The store's life is the host's: the Server
// does not close it, and uses it until Shutdown has returned.
func WithInbox(store Inbox) Option {
	return func(c *config) {
		if store == nil {
			badOption("WithInbox", "the store is nil: leave the option out for the memory store, or say WithoutInbox")
		}
		c.inbox, c.keep = store, true
	}
}

// WithoutInbox keeps nothing: a message to somebody without a device is acked
// "offline" and is the host's ([Hooks].OnUndelivered); what is sent to a
// connection that breaks is lost; receipts are passed on as they come, acks have
// no seq, and clients get no inboxReady. A message that is sent again is handled
// once all the same.
func WithoutInbox() Option {
	return func(c *config) {
		// It knows which messages there were, and has nothing of them.
		c.inbox, c.keep = NewMemoryInbox(InboxBounds{Entries: 1, Total: 64_000_000}), false
	}
}

// EventFunc handles an event of the host's own. Its result is marshalled into the
// member "result" of the ack (nil: there is none), {"status":"ok","result":…}. An
// *[Error] is the ack; any other error is answered as CodeInternal and logged. It
// runs as hooks do, on the goroutine of the connection, and is called whether or
// not the client has asked for an ack. ctx ends with the connection.
type EventFunc func(ctx context.Context, e Event) (result any, err error)

// Event is an event of the host's own. Its byte slices are valid until the
// EventFunc returns: copy what is to outlive it, and change nothing.
type Event struct {
	Name        string
	Device      Device
	Args        [][]byte // JSON values, as the client sent them; may be empty
	Attachments [][]byte // binary data, which {"_placeholder":true,"num":0} in Args stands for; 10 at most
}

func (c *config) register(option, name string) {
	if owner := c.owner(name); owner != "" {
		badOption(option, "%q is an event of %s's own: choose another name, or use Hooks", name, owner)
	}
	_, on := c.handlers[name]
	_, relayed := c.relays[name]
	if on || relayed {
		badOption(option, "%q is registered already", name)
	}
}

// On registers an event of the host's own, which f handles; see [EventFunc]. The
// names that are Socket.IO's or heymanito's own are refused, and so is one that is
// registered already.
func On(name string, f EventFunc) Option {
	return func(c *config) {
		c.register("On", name)
		if f == nil {
			badOption("On", "the function for %q is nil", name)
		}
		c.handlers[name] = f
	}
}

// Relay declares an event that users send each other: its payload, an object
// with senderChatPath and recipientChatPath, is passed on whole, under the
// same name, to every device of the recipient on this server. The sender must be
// the connection's user, and [Hooks].Authorize is asked. It is not kept for
// whoever is away, and its ack, {"status":"ok"}, does not tell whether anybody is
// there. Names are refused as by [On].
func Relay(name string) Option {
	return func(c *config) {
		c.register("Relay", name)
		c.relays[name] = false
	}
}

// RelayVolatile is Relay for events that are worth nothing later, such as
// "typing": they are dropped, not queued, for a device that is behind: for which
// more than 16 KiB are queued, or which is between two polls.
func RelayVolatile(name string) Option {
	return func(c *config) {
		c.register("RelayVolatile", name)
		c.relays[name] = true
	}
}

// WithOrigins lists the origins from which browsers may connect besides the
// server's own host: "https://app.example.com", and for wrapped apps
// "capacitor://localhost" or "null". A page from any other origin is refused with
// 403, whatever cookies it brings. Requests without an Origin header, which most
// native clients send, are allowed, unless a browser says that they come from
// another site and brings a cookie. Swift's client sends the address that it
// connects to, with wss:// for https://: behind a proxy that changes Host, list
// it.
func WithOrigins(origins ...string) Option {
	return func(c *config) {
		for _, o := range origins {
			if o == "*" {
				badOption("WithOrigins", `"*" would let any web page act for its visitor: list the origins, or say WithInsecureAnyOrigin`)
			}
			u, err := url.Parse(o)
			if o != "null" && (err != nil || u.Host == "" || strings.Contains(u.Host, "*") || !strings.EqualFold(o, u.Scheme+"://"+u.Host)) {
				badOption("WithOrigins", "%q is no origin: write scheme://host[:port], without a path and without wildcards", o)
			}
			c.origins[canonicalOrigin(o)] = true
		}
	}
}

// WithInsecureAnyOrigin lets pages of every origin connect. If the identity
// comes from a cookie, any web page can then act for whoever visits it.
func WithInsecureAnyOrigin() Option {
	return func(c *config) { c.anyOrigin = true }
}

// WithRemoteAddr sets how a client's address is found, for [Device].RemoteAddr,
// and for the bounds of [WithMaxHandshakes]; the default is Request.RemoteAddr.
// Behind a proxy, read the header that your proxy sets, and only if it always sets
// it: a client can send the same header.
func WithRemoteAddr(f func(*http.Request) string) Option {
	return func(c *config) {
		if f == nil {
			badOption("WithRemoteAddr", "the function is nil")
		}
		c.remoteAddr = f
	}
}

// WithTransports limits the transports to those named, of "polling" and
// "websocket"; the default is both. Polling needs sticky sessions behind a
// load balancer. Stock clients begin with polling: where there is none they must
// be told so (transports: ["websocket"]).
func WithTransports(names ...string) Option {
	return func(c *config) {
		needCount("WithTransports", len(names))
		for _, n := range names {
			if n != engineio.Polling && n != engineio.WebSocket {
				badOption("WithTransports", `%q is no transport: use "polling" and "websocket"`, n)
			}
		}
		c.transports = names
	}
}

// WithHeartbeat sets how often a client is pinged (default 20 s) and how long
// it may then be silent (default 20 s): a device that is cut off without a
// word is noticed within the sum.
func WithHeartbeat(interval, timeout time.Duration) Option {
	return func(c *config) {
		needPositive("WithHeartbeat", interval, timeout)
		c.pingInterval, c.pingTimeout = interval, timeout
	}
}

// WithClientTimeout sets the pingTimeout that is announced to clients: how long
// beyond the ping interval they wait for a ping before they give the connection
// up. The default is twice the timeout of [WithHeartbeat], because a ping waits
// behind the message in front of it and stock clients take nothing else for a
// sign of life: with 40 s, a megabyte gets through at 20 KB/s.
func WithClientTimeout(d time.Duration) Option {
	return func(c *config) {
		needPositive("WithClientTimeout", d)
		c.clientTimeout = d
	}
}

// WithWriteTimeout sets how long a write may make no progress at all before
// the connection is closed (default 30 s: a proxy on a slow link takes nothing
// until half of what it holds is through).
func WithWriteTimeout(d time.Duration) Option {
	return func(c *config) {
		needPositive("WithWriteTimeout", d)
		c.writeTimeout = d
	}
}

// WithOfflineGrace sets how long a user whose last connection broke still
// counts as online (default 5 s), so that a page refresh or a change of network
// is no news to anyone. Zero: none.
func WithOfflineGrace(d time.Duration) Option {
	return func(c *config) {
		if d < 0 {
			badOption("WithOfflineGrace", "%v is negative", d)
		}
		c.grace = d
	}
}

// WithDrain sets over how much time Shutdown spreads its closes at the most
// (default 5 s), so that the clients do not all come back at once. Zero: no
// spreading.
func WithDrain(d time.Duration) Option {
	return func(c *config) {
		if d < 0 {
			badOption("WithDrain", "%v is negative", d)
		}
		c.drain = d
	}
}

// WithExpiryNotice sets how long before the end of its identity
// ([Identity].Expires) a device is told (default 30 s): the time that a client has
// to fetch a token and send it. One whose identity ends sooner is told at once; after
// a refreshAuth that brought no more than that, when half of it has passed.
func WithExpiryNotice(d time.Duration) Option {
	return func(c *config) {
		needPositive("WithExpiryNotice", d)
		c.expiryNotice = d
	}
}

// WithCalls sets the store that keeps the calls there are; the default is
// [NewMemoryCalls], which forgets them, without a word to anybody, when the process
// ends. The store's life is the host's: the Server does not close it.
//
// Several Servers may have one store: who changes a call is decided there, and
// what is due one of them ends. But each rings, and tells, the devices that are
// connected to itself.
func WithCalls(store CallStore) Option {
	return func(c *config) {
		if store == nil {
			badOption("WithCalls", "the store is nil: leave the option out for the memory store")
		}
		c.calls = store
	}
}

// WithBridge gives the server what package bridge makes: Socket.IO's own API, of
// the library, under the same connections, with rooms, namespaces besides "/" and
// listeners for whatever the server has no handler for. Without it those
// namespaces are refused, and nothing of it is linked.
//
// The auth hook is asked for every namespace that a client wants into; what it
// sends there counts against rates of its own, as high as those of [WithRates].
func WithBridge(b seam.Bridge) Option {
	return func(c *config) {
		if b == nil {
			badOption("WithBridge", "it is nil: leave the option out to have the namespace \"/\" alone")
		}
		c.bridge = b
	}
}

// WithRooms sets what opens the rooms in which calls talk; package livekit has
// one. Without it a call's room is a name that the clients agree on, and the
// server learns from them alone that a call has begun and is over.
func WithRooms(rooms Rooms) Option {
	return func(c *config) {
		if rooms == nil {
			badOption("WithRooms", "it is nil: leave the option out for calls without a media server")
		}
		c.rooms = rooms
	}
}

// WithCallTimes sets how long calls ring, and are waited for. A field of t that is
// zero has its default; no other may be under a millisecond.
func WithCallTimes(t CallTimes) Option {
	return func(c *config) {
		t := t.withDefaults()
		needPositive("WithCallTimes", t.Ring, t.CallerReturn, t.Connect, t.PeerReturn, t.Memory, t.Longest)
		c.callTimes = t
	}
}

// WithRingLimits sets how often a minute one user may call another (default 6),
// and how often all others together (default 20). More is answered "rate_limited".
// To dial again what rings already does not count. The limits are this server's
// own: each node allows as much.
func WithRingLimits(perPair, perCaller int) Option {
	return func(c *config) {
		needCount("WithRingLimits", perPair, perCaller)
		c.ringsPerPair, c.ringsPerCaller = perPair, perCaller
	}
}

// WithRates sets how many events are handled of one device (default 100 a second,
// 500 at once), and of all devices of one user (200, and 1000). What a client
// sends beyond that is read slowly for 10 s, and then answered "rate_limited",
// slowly too, until the client has sent nothing for a second. An event that would
// have to wait for longer than a second is answered so at once. The zero Rate is no
// bound: one client can then take as much of the server as it can send.
func WithRates(device, user Rate) Option {
	return func(c *config) {
		for _, r := range []Rate{device, user} {
			if r != (Rate{}) && (!(r.PerSecond > 0) || math.IsInf(r.PerSecond, 0) || r.Burst < 1) {
				badOption("WithRates", "%v a second and %d at once: both must be above 0, or both 0 for no bound", r.PerSecond, r.Burst)
			}
		}
		c.deviceRate, c.userRate = device, user
	}
}

// WithMaxPayload sets the bytes an event may have, attachments included
// (default 1,000,000). A WebSocket message up to 16 times as big is read past
// and answered "too_large"; beyond that the connection is closed. A polling request
// that is bigger is answered 413.
func WithMaxPayload(bytes int) Option {
	return func(c *config) {
		needCount("WithMaxPayload", bytes)
		c.maxPayload = bytes
	}
}

// WithMaxQueue sets how many bytes may be queued for a device that does not read,
// before it is cut off (default 4 MiB); it finds what it has missed in the inbox.
// Every frame counts with what it takes in memory; the list of who is online, which
// all share, with next to nothing. A device that keeps up is sent a single message
// even if that is bigger.
func WithMaxQueue(bytes int) Option {
	return func(c *config) {
		needCount("WithMaxQueue", bytes)
		c.maxQueue = bytes
	}
}

// WithMaxDevices sets how many devices one user may have connected (default
// 50) to this server. One more, and the oldest is closed; a stock client then comes
// back, and closes the next one.
func WithMaxDevices(n int) Option {
	return func(c *config) {
		needCount("WithMaxDevices", n)
		c.maxDevices = n
	}
}

// WithHandshakeLimits sets what a client may cost before it is let in: the
// time (default 10 s), the bytes it may send (default 64 KiB) and the events
// that are held while it is being let in (default 16). Beyond any of them it is
// closed. The time is also what [AuthFunc] has.
func WithHandshakeLimits(timeout time.Duration, bytes, events int) Option {
	return func(c *config) {
		needPositive("WithHandshakeLimits", timeout)
		needCount("WithHandshakeLimits", bytes, events)
		c.handshakeTimeout, c.handshakeBytes, c.handshakeEvents = timeout, bytes, events
	}
}

// WithMaxHandshakes sets how many connections may be in their handshake at a
// time, per address (default 10,000; an address of IPv6 is a /64) and in all
// (default 20,000). More are answered 503 and come back. The default per
// address suits a server behind a proxy; lower it where WithRemoteAddr tells
// clients apart.
func WithMaxHandshakes(perAddress, total int) Option {
	return func(c *config) {
		needCount("WithMaxHandshakes", perAddress, total)
		c.maxHandshakesPer, c.maxHandshakes = perAddress, total
	}
}
