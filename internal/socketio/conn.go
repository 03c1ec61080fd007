package socketio

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
)

// maxExited is how many namespaces are remembered that a client is in no more.
const maxExited = 16

// goodbyeTimeout is how long a client that has disconnected may keep its
// transport: stock clients close it themselves.
const goodbyeTimeout = 10 * time.Second

// Conn is one client's connection: to the main namespace, and to those of Others.
type Conn struct {
	sock   *engineio.Socket
	host   Host
	others Others // nil: there are none
	limits Limits
	id     string

	// Value is the host's own, set in Connect.
	Value any

	open atomic.Bool // Send may go straight to the socket

	mu        sync.Mutex // guards the rest
	phase     phase
	let       bool // Connect has let the client in: Closed is due
	gone      bool // the transport has closed, or this side or the client said goodbye
	goodbye   bool
	reason    string
	admission *admission // while phaseConnecting and phaseDraining, else nil
	abroad    *abroad    // nil: there are no others

	// Only touched while the engine delivers, one packet at a time.
	partial  *partialEvent
	name     string // of the last event: often the next one's
	refused  uint8  // CONNECT packets for other namespaces, in a row
	attempts uint8  // CONNECT packets for the main one
}

// abroad is what a Conn knows of its client and Others; without them it is nil, so
// that a connection costs nothing for it.
type abroad struct {
	closed  string   // why the transport has closed; empty: it has not
	entered []string // the other namespaces that the client is in
	exited  []string // those that it was in last, and may not know that it is not any more
}

func (a *abroad) namespaces() []string {
	if a == nil {
		return nil
	}
	return a.entered
}

// ended returns why the transport has closed; empty: it has not.
func (a *abroad) ended() string {
	if a == nil {
		return ""
	}
	return a.closed
}

// New returns the engineio.Handler of a new client.
func New(sock *engineio.Socket, host Host, limits Limits) engineio.Handler {
	c := &Conn{sock: sock, host: host, limits: limits}
	if c.others = host.Others(c); c.others != nil {
		c.abroad = &abroad{}
	}
	return (*receiver)(c)
}

// ID returns the socket id, public and unrelated to the Engine.IO session id.
// It is set once Connect has been called.
func (c *Conn) ID() string { return c.id }

// Others returns what Host.Others has returned for it.
func (c *Conn) Others() Others { return c.others }

// SetID has the client be told another id than the one that was made for it. It
// is for Connect, before Open.
func (c *Conn) SetID(id string) { c.id = id }

// RemoteAddr returns the client's address.
func (c *Conn) RemoteAddr() string { return c.sock.RemoteAddr() }

// Transport returns the name of the transport that the client is on.
func (c *Conn) Transport() string { return c.sock.Transport() }

// Queued returns how many bytes wait for the client.
func (c *Conn) Queued() int { return c.sock.Queued() }

// Request returns the HTTP request that opened the connection, during Connect
// and before Open or Enter.
func (c *Conn) Request() *http.Request { return c.sock.Request() }

// Open lets the client in: it gets the answer to its CONNECT, then first, then
// whatever was sent to it meanwhile. It reports false when it has gone.
func (c *Conn) Open(first ...*engineio.Frame) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone || c.phase != phaseConnecting || c.open.Load() {
		return false
	}
	frames := append([]*engineio.Frame{connectFrame(c.id)}, first...)
	frames = append(frames, c.admission.corked...)
	c.admission.corked = nil
	c.sock.Accept()
	if !c.sock.Send(frames...) {
		return false
	}
	c.open.Store(true)
	if c.admission.kick != nil {
		c.sock.Close(engineio.ForcedClose, c.admission.kick...)
	}
	return true
}

// Send queues frames for the client, all together, and never blocks. Before
// Open they wait. false: the client has gone, or takes no more.
func (c *Conn) Send(frames ...*engineio.Frame) bool {
	if c.open.Load() {
		return c.sock.Send(frames...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.open.Load():
		return c.sock.Send(frames...)
	case c.gone || c.phase != phaseConnecting:
		return false
	}
	a := c.admission
	for _, f := range frames {
		a.corkedSize += f.Len()
	}
	if a.corkedSize > c.limits.MaxCorked {
		a.corked = nil
		c.sock.Close(engineio.SlowReader)
		return false
	}
	a.corked = append(a.corked, frames...)
	return true
}

// SendMarked is Send on an open connection, after which Host.Read is told of
// mark when the client has shown that it read past frames: Ask makes that soon.
// Marks only grow.
func (c *Conn) SendMarked(mark uint64, frames ...*engineio.Frame) bool {
	return c.open.Load() && c.sock.SendMarked(mark, frames...)
}

// Ask has the client show that it has read what it was sent with a mark, now or
// as soon as it may be asked again.
func (c *Conn) Ask() { c.sock.Ask() }

// SendBuilt is SendMarked, or without a mark, 0, Send, of one packet without
// attachments that nobody else gets: build appends it to what it is given, size
// bytes at most, and calls nothing that could wait.
func (c *Conn) SendBuilt(mark uint64, size int, build func(b []byte) []byte) bool {
	switch {
	case c.open.Load():
		return c.sock.SendBuilt(mark, size, build)
	case mark != 0:
		return false
	}
	return c.Send(engineio.Text(build(make([]byte, 0, size))))
}

// WaitQueue waits until at most below bytes are queued for the client; false:
// it has gone. One call at a time.
func (c *Conn) WaitQueue(below int) bool { return c.sock.WaitQueue(below) }

// SendVolatile is Send for what is worth nothing later.
func (c *Conn) SendVolatile(frames ...*engineio.Frame) bool {
	open := c.open.Load()
	if !open { // perhaps its welcome is on the way already
		c.mu.Lock()
		open = c.open.Load()
		c.mu.Unlock()
	}
	return open && c.sock.SendVolatile(frames...)
}

// Context ends with the connection, also while Host is handling an event of it.
func (c *Conn) Context() context.Context { return c.sock.Context() }

// Disconnect ends the connection so that stock clients do not come back: last
// goes out, then a DISCONNECT packet, then the transport closes. A client that
// is being let in is let in first, or it would take the end for a failure.
func (c *Conn) Disconnect(last ...*engineio.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last = slices.Clip(last) // others get the same
	if c.phase != phaseNew && c.phase != phaseOver {
		last = append(last, disconnectFrame("/"))
	}
	for _, namespace := range c.abroad.namespaces() {
		last = append(last, disconnectFrame(namespace))
	}
	if c.phase == phaseConnecting && !c.open.Load() {
		c.admission.kick = last
		return
	}
	c.sock.Close(engineio.ForcedClose, last...)
}

// Leave is Disconnect of a client that keeps its transport while there are other
// namespaces that it is in.
func (c *Conn) Leave(reason string) {
	c.mu.Lock()
	if !c.open.Load() || len(c.abroad.namespaces()) == 0 {
		c.mu.Unlock()
		c.Disconnect()
		return
	}
	settled := c.phase == phaseOpen // else connect is at work, and tells the host
	if settled {
		c.phase = phaseOver
	}
	c.gone, c.reason = true, reason
	c.open.Store(false)
	c.sock.Send(disconnectFrame("/"))
	if settled {
		c.sock.Turn(func() { c.host.Closed(c, reason, false) }) // with mu: OnClose waits for it, and Turn wants to be before that
	}
	c.mu.Unlock()
}

// Enter lets the client into another namespace: answer, which says so, goes out
// before whatever it gets from there. It does nothing when the client has gone.
func (c *Conn) Enter(namespace string, answer *engineio.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.abroad.closed != "" {
		return
	}
	c.sock.Accept()
	c.sock.Stay()
	c.abroad.entered = append(c.abroad.entered, namespace)
	c.sock.Send(answer)
}

// Exit takes note that the client is not in another namespace any more. One that
// is in none, and not in the main one, does not keep its transport for long.
func (c *Conn) Exit(namespace string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.abroad
	i := slices.Index(a.entered, namespace)
	if i < 0 {
		return
	}
	a.entered = slices.Delete(a.entered, i, i+1)
	a.exited = append(a.exited, namespace)
	a.exited = a.exited[max(len(a.exited)-maxExited, 0):]
	if a.closed == "" && len(a.entered) == 0 && (c.phase == phaseOver || c.phase == phaseNew) {
		c.sock.CloseAfter(goodbyeTimeout)
	}
}

// Refuse answers a CONNECT packet for a namespace.
func (c *Conn) Refuse(namespace string, why *Refusal) {
	c.sock.Send(connectErrorFrame(namespace, why.Message, why.Data))
}

// SendAside is Send in another namespace than the main one.
func (c *Conn) SendAside(frames ...*engineio.Frame) bool { return c.sock.Send(frames...) }

// Takes reports whether what is worth nothing later would be sent now.
func (c *Conn) Takes() bool { return c.sock.Takes() }

// Close closes the transport, after which stock clients reconnect.
func (c *Conn) Close(r engineio.Reason) { c.sock.Close(r) }

// ended reports whether this side has ended the connection: nothing more of it
// is handled then. What a client said before it left is.
func (c *Conn) ended() bool {
	r, closed := c.sock.Closed()
	return closed && r != engineio.TransportClose && r != engineio.TransportError
}

// leave ends the connection, once. While connect is at work it is connect that
// tells the host.
func (c *Conn) leave(reason string, goodbye bool) {
	c.mu.Lock()
	tell := c.part(reason, goodbye)
	c.mu.Unlock()
	if tell {
		c.host.Closed(c, reason, goodbye)
	}
}

// part is leave with mu, and reports whether the host is to be told.
func (c *Conn) part(reason string, goodbye bool) (tell bool) {
	if c.gone {
		if goodbye && c.phase == phaseDraining { // it was said before the transport closed
			c.goodbye, c.reason = true, reason
		}
		return false
	}
	c.gone, c.goodbye, c.reason = true, goodbye, reason
	tell = c.phase == phaseOpen
	if c.phase == phaseOpen || c.phase == phaseNew {
		c.phase = phaseOver
	}
	c.open.Store(false)
	return tell
}

// wasIn reports whether the client was let into the main namespace.
func (c *Conn) wasIn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.let
}

// inMain reports whether the client is in the main namespace, and in no other.
func (c *Conn) inMain() (in, alone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.gone && c.let && (c.phase == phaseOpen || c.phase == phaseDraining), len(c.abroad.namespaces()) == 0
}

// knows reports whether the client is, or may believe that it is, in another
// namespace.
func (c *Conn) knows(namespace string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.abroad != nil && (slices.Contains(c.abroad.entered, namespace) || slices.Contains(c.abroad.exited, namespace))
}

// newID returns a socket id: 20 characters, as stock servers make them.
func newID() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b[:])
}
