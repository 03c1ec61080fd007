package bridge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/zishang520/socket.io/parsers/engine/v3/packet"
	"github.com/zishang520/socket.io/servers/engine/v3"
	"github.com/zishang520/socket.io/servers/engine/v3/transports"
	"github.com/zishang520/socket.io/servers/socket/v3"
	"github.com/zishang520/socket.io/v3/pkg/types"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/seam"
	"github.com/heymanito/heymanito/internal/socketio"
)

// client is one of the Server's clients. It implements engine.Socket, as the
// library sees it, and seam.Client.
type client struct {
	types.EventEmitter

	bridge    *Bridge
	conn      *socketio.Conn
	id        string
	http      *types.HttpContext
	transport *transport

	state  atomic.Int32
	looked chan struct{} // closed when the library's timer has seen that this is not open yet
	look   sync.Once     // closes it

	mu      sync.Mutex // guards the rest
	joining *peer      // who wants in now
	peers   map[socket.SocketId]*peer
	out     outgoing
}

// The states of an engine.Socket.
const (
	stateOpening = iota
	stateOpen
	stateClosed
)

func newClient(b *Bridge, c *socketio.Conn, r *http.Request) *client {
	own := &client{
		EventEmitter: types.NewEventEmitter(),
		bridge:       b,
		conn:         c,
		id:           rand.Text(),
		http:         types.NewHttpContext(nowhere{}, r),
		looked:       make(chan struct{}),
		peers:        map[socket.SocketId]*peer{},
	}
	own.http.Flush() // ends its goroutine: the request has been served
	own.transport = &transport{transports.MakeTransport(), c}
	b.engine.add(own)
	return own
}

// nowhere is the response to a request that was answered long ago.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}

// Connect implements seam.Client.
func (c *client) Connect(ctx context.Context, a seam.Admission) (seam.Socket, error) {
	select {
	case <-c.looked:
		c.state.CompareAndSwap(stateOpening, stateOpen)
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("bridge: the library has another connect timeout: leave SetConnectTimeout alone: %w", ctx.Err())
		}
		return nil, ctx.Err()
	}
	p := newPeer(c, a)
	connect := append([]byte{'0'}, a.Auth...)
	give := func() {}
	if a.Namespace != "/" {
		connect = append(append([]byte("0"+a.Namespace), ','), a.Auth...)
		// Two who come at once to a namespace that a pattern makes would each have one.
		var err error
		if give, err = c.bridge.turns.take(ctx, a.Namespace); err != nil {
			return nil, err
		}
	}
	defer give()
	p.found = give
	for _, was := range c.all() { // of a socket that was sent away, and is back before its listeners know
		if was.admission.Namespace == a.Namespace {
			was.over(ctx)
		}
	}
	c.mu.Lock()
	c.joining = p
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.joining = nil
		c.mu.Unlock()
	}()
	c.feed(connect, nil)
	select {
	case <-p.answered:
	case <-ctx.Done(): // a middleware that never goes on, or the client has gone
		return nil, ctx.Err()
	}
	if p.refusal != nil {
		c.mu.Lock()
		if p.socket != nil {
			delete(c.peers, p.socket.Id())
		}
		c.mu.Unlock()
		return nil, p.refusal
	}
	if p.socket == nil {
		return nil, errors.New("bridge: the namespace has just been made: the client has to come again")
	}
	if a.Namespace != "/" {
		p.Enter()
	}
	return p, nil
}

// feed gives the library a packet of the client's.
func (c *client) feed(text []byte, attachments [][]byte) {
	c.Emit("data", types.NewStringBuffer(text))
	for _, a := range attachments {
		c.Emit("data", types.NewBytesBuffer(a))
	}
}

// made takes note of the socket that the library has made for who is joining.
func (c *client) made(s *socket.Socket) {
	c.mu.Lock()
	p := c.joining
	if p != nil {
		c.peers[s.Id()] = p
	}
	c.mu.Unlock()
	if p != nil {
		p.made(s)
	}
}

func (c *client) peer(id socket.SocketId) *peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peers[id]
}

// hold waits until the client is welcome in "/".
func (c *client) hold(s *socket.Socket) {
	if p := c.peer(s.Id()); p != nil {
		select {
		case <-p.enter:
		case <-c.conn.Context().Done():
		}
	}
}

func (c *client) device(s *socket.Socket) (heymanito.Device, bool) {
	p := c.peer(s.Id())
	if p == nil {
		return heymanito.Device{}, false
	}
	d := p.admission.Device.(heymanito.Device)
	d.SocketID = string(s.Id())
	return d, true
}

// answer takes the library's answer to a CONNECT packet.
func (c *client) answer(refusal *socketio.Refusal, frame *engineio.Frame) {
	c.mu.Lock()
	p := c.joining
	c.joining = nil
	c.mu.Unlock()
	if p == nil {
		return // it has come too late
	}
	if refusal == nil && p.admission.Namespace != "/" {
		c.conn.Enter(p.admission.Namespace, frame)
	}
	p.refusal = refusal
	close(p.answered)
}

// Closed implements seam.Client.
func (c *client) Closed(reason string) {
	c.state.Store(stateClosed)
	c.bridge.engine.remove(c)
	<-c.looked // a timer that is stopped before leaves its goroutine
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	peers := c.all()
	// The listeners of "connection" have to be through before they hear of the end,
	// or they listen for it too late.
	for _, p := range peers {
		p.through(ctx)
	}
	c.tell(reason)
	for _, p := range peers {
		p.end(ctx)
	}
}

// tell has the library, and its listeners, hear of the end. One that panics keeps it
// from the next: see peer.end.
func (c *client) tell(reason string) {
	defer c.bridge.recovered("disconnect")
	c.Emit("close", reason, error(nil))
}

// all returns all peers.
func (c *client) all() []*peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.peers))
}

// recovered, deferred, logs what the host's code has panicked with.
func (b *Bridge) recovered(event string) {
	if r := recover(); r != nil {
		b.log.Error("panic", "event", event, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	}
}

// Send implements engine.Socket: what the library sends.
func (c *client) Send(d io.Reader, _ *packet.Options, sent engine.SendCallback) engine.Socket {
	if text, ok := d.(*types.StringBuffer); ok {
		c.text(text.Bytes())
	} else if b, err := io.ReadAll(d); err == nil {
		c.attachment(b)
	}
	if sent != nil {
		sent(c.transport)
	}
	return c
}

// Write implements engine.Socket.
func (c *client) Write(d io.Reader, o *packet.Options, sent engine.SendCallback) engine.Socket {
	return c.Send(d, o, sent)
}

// Close implements engine.Socket. The library lets nobody in any more.
func (c *client) Close(bool) {
	c.state.Store(stateClosed)
	c.conn.Close(engineio.ForcedClose)
}

// ReadyState implements engine.Socket.
func (c *client) ReadyState() string {
	state := c.state.Load() // before the client connects because this has been asked
	c.look.Do(func() { close(c.looked) })
	switch state {
	case stateOpening:
		return "opening"
	case stateOpen:
		return "open"
	}
	return "closed"
}

// SetReadyState implements engine.Socket: only the library's engine does it.
func (c *client) SetReadyState(string) {}

// Construct implements engine.Socket: newClient does that.
func (c *client) Construct(string, engine.BaseServer, transports.Transport, *types.HttpContext, int) {
}

// MaybeUpgrade implements engine.Socket: the Server upgrades.
func (c *client) MaybeUpgrade(t transports.Transport) { t.Close() }

// Protocol implements engine.Socket.
func (c *client) Protocol() int { return 4 }

// Request implements engine.Socket.
func (c *client) Request() *types.HttpContext { return c.http }

// RemoteAddress implements engine.Socket.
func (c *client) RemoteAddress() string { return c.conn.RemoteAddr() }

// Transport implements engine.Socket.
func (c *client) Transport() transports.Transport { return c.transport }

// Id implements engine.Socket. It is not the session id, which is a secret.
func (c *client) Id() string { return c.id } //nolint:revive,staticcheck // the library's name

// Upgraded implements engine.Socket.
func (c *client) Upgraded() bool { return c.transport.Name() != c.http.Query().Peek("transport") }

// Upgrading implements engine.Socket.
func (c *client) Upgrading() bool { return false }

// transport is what the library may know of a client's transport.
type transport struct {
	transports.Transport
	conn *socketio.Conn
}

// Name implements transports.Transport.
func (t *transport) Name() string { return t.conn.Transport() }

// Protocol implements transports.Transport.
func (t *transport) Protocol() int { return 4 }

// HandlesUpgrades implements transports.Transport.
func (t *transport) HandlesUpgrades() bool { return t.Name() == engineio.WebSocket }

// Writable implements transports.Transport: what is volatile is dropped when it is
// not.
func (t *transport) Writable() bool { return t.conn.Takes() }
