package socketio

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zishang520/socket.io/parsers/socket/v3/parser"

	"github.com/heymanito/heymanito/internal/engineio"
)

// Host is the layer above: it decides who may connect and what events mean.
type Host interface {
	// Connect decides about a CONNECT packet whose payload was auth (nil:
	// none). To let the client in it calls c.Open and returns nil. A *Refusal
	// is told to the client; any other error closes the transport for the
	// reason engineio.Unavailable. ctx ends with the connection and after the
	// handshake timeout. It runs on a goroutine of this client's own.
	Connect(ctx context.Context, c *Conn, auth []byte) error
	// Event handles one event of an open connection. Calls for one
	// connection, of Event, Read and Acked, come one at a time, in the order
	// the client sent.
	Event(c *Conn, e *Event)
	// Read tells that the client has read everything that was sent with this
	// mark (SendMarked) or a lower one.
	Read(c *Conn, mark uint64)
	// Acked tells that the client has called the callback of the event that
	// asked for this ack (Outgoing.FramesAsking).
	Acked(c *Conn, id uint64)
	// Closed is called once, after the last Event, for every connection that
	// Connect has let in. goodbye: the client said so itself.
	Closed(c *Conn, reason string, goodbye bool)
	// Others returns what has the rest of what a new client sends; nil: there
	// is only the main namespace.
	Others(c *Conn) Others
}

// Others has what of a client's packets is not its Host's: the other namespaces.
// Its methods are called in turn with the Host's, Closed last.
type Others interface {
	// Connect decides about a CONNECT packet for a namespace that the client is
	// not in: Enter lets it in, Refuse does not.
	Connect(namespace string, auth []byte)
	// Event handles an event of a namespace, or what a callback has answered
	// that was asked with an id from OthersAcks on in the main one.
	Event(e *Event)
	// Leave takes a DISCONNECT packet.
	Leave(namespace string)
	// Closed tells that the client has gone.
	Closed(reason string)
}

// OthersAcks is the first id with which Others ask for acks in the main
// namespace; the Host's stay below. There are clients that count no further than
// to twice as much.
const OthersAcks = 1 << 30

// Refusal is an error of Host.Connect that becomes a CONNECT_ERROR packet,
// after which stock clients do not try again.
type Refusal struct {
	Message string // err.message at the client
	Data    any    // err.data, as JSON; nil: none
}

func (r *Refusal) Error() string { return "socketio: refused: " + r.Message }

// Limits of a connection; all are required.
type Limits struct {
	ConnectTimeout time.Duration // from the CONNECT packet to Host's answer
	HeldEvents     int           // taken between the CONNECT packet and its answer
	MaxPayload     int           // bytes of an event, its attachments included
	MaxCorked      int           // bytes sent to a client that is being let in
}

// maxRefusals is how many namespaces a client may ask for in a row that it does not
// get into, and how often it may ask for the main one.
const maxRefusals = 16

// maxExited is how many namespaces are remembered that a client is in no more.
const maxExited = 16

// maxNameKept is the longest name of an event that is kept for the next one.
const maxNameKept = 64

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

	mu         sync.Mutex // guards the rest
	phase      phase
	corked     []*engineio.Frame // sent before Open
	corkedSize int               // bytes
	held       []heldPacket      // received before Connect has answered
	heldEvents int
	heldBytes  int
	kick       []*engineio.Frame // what Disconnect wants to be last, once it is open
	drained    chan struct{}     // closed when held has been handled
	let        bool              // Connect has let the client in: Closed is due
	gone       bool              // the transport has closed, or this side or the client said goodbye
	goodbye    bool
	reason     string
	abroad     *abroad // nil: there are no others

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

type phase uint8

const (
	phaseNew        phase = iota // no CONNECT yet
	phaseConnecting              // Host.Connect is thinking
	phaseDraining                // what was held meanwhile is being handled
	phaseOpen
	phaseOver
)

// heldPacket is a packet that came too early to be handled.
type heldPacket struct {
	data   []byte
	binary bool
}

// partialEvent is an event some of whose attachments are still to come.
type partialEvent struct {
	Event
	drop bool // an answer to the Host: what it brings is dropped
	left int
	size int
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
	frames = append(frames, c.corked...)
	c.corked = nil
	c.sock.Accept()
	if !c.sock.Send(frames...) {
		return false
	}
	c.open.Store(true)
	if c.kick != nil {
		c.sock.Close(engineio.ForcedClose, c.kick...)
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
	for _, f := range frames {
		c.corkedSize += f.Len()
	}
	if c.corkedSize > c.limits.MaxCorked {
		c.corked = nil
		c.sock.Close(engineio.SlowReader)
		return false
	}
	c.corked = append(c.corked, frames...)
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
		c.kick = last
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

// receiver is the engine's view of a Conn.
type receiver Conn

// OnText implements engineio.Handler: a packet without attachments, or the
// head of one that has them.
func (r *receiver) OnText(p []byte) { (*Conn)(r).receive(p, false) }

// OnBinary implements engineio.Handler: an attachment.
func (r *receiver) OnBinary(p []byte) { (*Conn)(r).receive(p, true) }

// OnTooLarge implements engineio.Handler: an event that was read past.
func (r *receiver) OnTooLarge(head []byte, size int) { (*Conn)(r).tooLarge(head, size) }

// OnProof implements engineio.Handler.
func (r *receiver) OnProof(mark uint64) {
	if c := (*Conn)(r); c.settled() == phaseOpen {
		c.host.Read(c, mark)
	}
}

// OnClose implements engineio.Handler.
func (r *receiver) OnClose(reason engineio.Reason) {
	c := (*Conn)(r)
	c.mu.Lock()
	busy := c.phase == phaseConnecting || c.phase == phaseDraining // connect is at work, and tells them
	if c.abroad != nil {
		c.abroad.closed = reason.String()
	}
	tell := c.part(reason.String(), false)
	c.mu.Unlock()
	if tell {
		c.host.Closed(c, reason.String(), false)
	}
	if c.others != nil && !busy {
		c.others.Closed(reason.String())
	}
}

// receive takes a packet: it is handled here and now once the connection is
// open, held while Connect is thinking.
func (c *Conn) receive(p []byte, binary bool) {
	switch c.settled() {
	case phaseNew:
		c.first(p, binary)
	case phaseConnecting:
		c.hold(p, binary)
	case phaseOpen:
		c.handle(p, binary)
	case phaseOver:
		if c.others == nil || c.ended() {
			c.sock.Close(engineio.ProtocolError)
			return
		}
		c.handle(p, binary)
	case phaseDraining:
		c.sock.Close(engineio.ProtocolError)
	}
}

// settled returns the phase, after what was held has been handled: it goes
// first. If we have ended the connection meanwhile, what has waited is over too.
func (c *Conn) settled() phase {
	c.mu.Lock()
	defer c.mu.Unlock()
	waited := false
	for c.phase == phaseDraining || c.phase == phaseConnecting && c.open.Load() {
		drained := c.drained
		c.mu.Unlock()
		<-drained
		c.mu.Lock()
		waited = true
	}
	if waited && c.ended() {
		return phaseOver
	}
	return c.phase
}

// hold keeps a packet until Connect has answered, within limits: the engine counts
// the bytes only of clients that are in nothing yet.
func (c *Conn) hold(p []byte, binary bool) {
	c.mu.Lock()
	if c.phase != phaseConnecting || c.open.Load() { // it has just answered
		c.mu.Unlock()
		c.receive(p, binary)
		return
	}
	if !binary {
		c.heldEvents++
	}
	c.heldBytes += len(p)
	full := c.heldEvents > c.limits.HeldEvents || c.heldBytes > c.limits.MaxPayload
	if !full {
		c.held = append(c.held, heldPacket{bytes.Clone(p), binary})
	}
	c.mu.Unlock()
	if full {
		c.sock.Close(engineio.OpenLimit)
	}
}

// first takes what comes before the connection is open: CONNECT, or nothing.
func (c *Conn) first(p []byte, binary bool) {
	if binary || len(p) == 0 || p[0] != typeConnect {
		if _, alone := c.inMain(); alone {
			c.sock.Close(engineio.ProtocolError)
			return
		}
		c.handle(p, binary) // of another namespace
		return
	}
	packet, err := decodeControl(p)
	if err != nil {
		c.sock.Close(engineio.ProtocolError)
		return
	}
	if packet.namespace != "/" {
		c.elsewhere(packet)
		return
	}
	if c.attempts = min(c.attempts+1, maxRefusals+1); c.attempts > maxRefusals {
		c.sock.Close(engineio.ProtocolError)
		return
	}
	// Not a child of the socket's: that would be left with what it has for children.
	ctx, cancel := context.WithTimeout(context.Background(), c.limits.ConnectTimeout)
	still := c.sock.AfterFunc(cancel)
	auth := bytes.Clone(packet.auth)
	c.mu.Lock()
	if c.gone {
		c.mu.Unlock()
		still()
		cancel()
		return
	}
	c.phase = phaseConnecting
	c.drained = make(chan struct{})
	c.id = newID()
	c.mu.Unlock()
	c.sock.Go(func() {
		defer cancel()
		defer still()
		c.connect(ctx, auth)
	})
}

// elsewhere takes a CONNECT packet for another namespace.
func (c *Conn) elsewhere(packet control) {
	c.mu.Lock()
	known := slices.Contains(c.abroad.namespaces(), packet.namespace)
	c.mu.Unlock()
	if c.refused = min(c.refused+1, maxRefusals+1); known || c.refused > maxRefusals {
		c.sock.Close(engineio.ProtocolError)
		return
	}
	if c.others == nil {
		c.Refuse(packet.namespace, &Refusal{Message: "Invalid namespace"})
		return
	}
	c.others.Connect(packet.namespace, bytes.Clone(packet.auth))
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Contains(c.abroad.entered, packet.namespace) {
		c.refused = 0
	}
}

// connect asks the host, and then handles what was held meanwhile.
func (c *Conn) connect(ctx context.Context, auth []byte) {
	err := c.host.Connect(ctx, c, auth)
	c.mu.Lock()
	drained := c.drained
	if err != nil {
		c.corked, c.corkedSize = nil, 0
		c.mu.Unlock()
		c.turnAway(err)
		return
	}
	c.let = true
	c.phase = phaseDraining
	for (!c.goodbye || c.others != nil) && !c.ended() && len(c.held) > 0 {
		p := c.held[0]
		c.held = c.held[1:]
		c.mu.Unlock()
		c.handle(p.data, p.binary)
		c.mu.Lock()
	}
	c.held, c.heldBytes = nil, 0
	if c.gone {
		c.phase = phaseOver
		reason, goodbye, closed := c.reason, c.goodbye, c.abroad.ended()
		c.mu.Unlock()
		close(drained)
		c.host.Closed(c, reason, goodbye)
		c.farewell(closed)
		return
	}
	c.phase, c.drained = phaseOpen, nil
	c.mu.Unlock()
	close(drained)
}

// turnAway answers a CONNECT packet that was refused. What was held for other
// namespaces is handled all the same; the client may try again on this transport.
func (c *Conn) turnAway(err error) {
	refusal, ok := errors.AsType[*Refusal](err)
	if ok {
		c.Refuse("/", refusal)
	} else {
		c.sock.Close(engineio.Unavailable)
	}
	c.mu.Lock()
	c.phase = phaseDraining
	for c.others != nil && ok && c.kick == nil && !c.ended() && len(c.held) > 0 {
		p := c.held[0]
		c.held = c.held[1:]
		c.mu.Unlock()
		if p.binary || !isMainControl(p.data) {
			c.handle(p.data, p.binary)
		}
		c.mu.Lock()
	}
	if c.kick != nil { // it was in other namespaces, and is to be in none
		c.sock.Close(engineio.ForcedClose, c.kick...)
	}
	c.held, c.heldEvents, c.heldBytes = nil, 0, 0
	c.phase = phaseNew
	if c.gone {
		c.phase = phaseOver
	}
	drained, closed := c.drained, c.abroad.ended()
	c.mu.Unlock()
	close(drained)
	c.farewell(closed)
}

// isMainControl reports whether a packet is a CONNECT or DISCONNECT for the main
// namespace.
func isMainControl(p []byte) bool {
	return len(p) > 0 && (p[0] == typeConnect || p[0] == typeDisconnect) && (len(p) == 1 || p[1] != '/' || bytes.HasPrefix(p[1:], []byte("/,")))
}

// farewell tells the others that the transport has closed while connect was at
// work; empty: it has not.
func (c *Conn) farewell(reason string) {
	if c.others != nil && reason != "" {
		c.others.Closed(reason)
	}
}

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

// handle takes a packet of an open connection.
func (c *Conn) handle(p []byte, binary bool) {
	if binary {
		c.attachment(p)
		return
	}
	if c.partial != nil || len(p) == 0 {
		c.sock.Close(engineio.ProtocolError)
		return
	}
	switch p[0] {
	case typeEvent, typeBinaryEvent, typeAck, typeBinaryAck:
		c.event(p)
		return
	case typeConnect, typeDisconnect:
	default: // CONNECT_ERROR is the server's to send, the rest is unknown
		c.sock.Close(engineio.ProtocolError)
		return
	}
	packet, err := decodeControl(p)
	switch {
	case err != nil:
		c.sock.Close(engineio.ProtocolError)
	case packet.namespace == "/":
		c.again(packet.kind)
	case packet.kind == parser.CONNECT:
		c.elsewhere(packet)
	case c.others != nil:
		c.others.Leave(packet.namespace)
	}
}

// again takes a CONNECT or DISCONNECT packet for the main namespace, after its
// first CONNECT packet or before.
func (c *Conn) again(kind parser.PacketType) {
	in, alone := c.inMain()
	switch {
	case kind == parser.DISCONNECT && !c.wasIn(): // of what it was never in
	case kind == parser.DISCONNECT: // also if its transport has closed since
		c.leave("client namespace disconnect", true)
		if alone {
			c.sock.CloseAfter(goodbyeTimeout)
		}
	case in, alone:
		c.sock.Close(engineio.ProtocolError)
	default: // back, on a transport that others have kept: stock clients come back on another one
		c.sock.Close(engineio.ForcedClose)
	}
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

// event takes the text of an event or ack. It is handled at once, or when its
// last attachment is there.
func (c *Conn) event(p []byte) {
	h, err := scanHeader(p)
	if err != nil || h.namespace != nil && !c.knows(string(h.namespace)) {
		c.sock.Close(engineio.ProtocolError)
		return
	}
	e := &Event{
		conn: c, id: h.id, payload: h.payload, binary: h.kind == typeBinaryEvent || h.kind == typeBinaryAck,
		answer: h.kind == typeAck || h.kind == typeBinaryAck,
	}
	if h.namespace != nil {
		e.Namespace = string(h.namespace)
	}
	if e.answer && !isArray(h.payload) {
		c.sock.Close(engineio.ProtocolError)
		return
	}
	if !e.answer {
		if e.Name, e.rest, err = scanName(h.payload, c.name); err != nil {
			c.sock.Close(engineio.ProtocolError)
			return
		}
		if len(e.Name) <= maxNameKept {
			c.name = e.Name
		}
	}
	if h.attachments == 0 {
		c.deliver(e)
		return
	}
	e.id = bytes.Clone(h.id)
	part := &partialEvent{Event: *e, drop: e.answer && !c.aside(e), left: h.attachments, size: len(p)}
	if h.attachments > maxAttachments {
		part.Problem = ErrShape
	}
	if part.Problem == nil && !part.drop {
		part.payload = bytes.Clone(h.payload)
		part.buffers = make([][]byte, 0, h.attachments)
	}
	c.partial = part
}

// attachment takes one of the buffers that an event has announced.
func (c *Conn) attachment(p []byte) {
	part := c.partial
	if part == nil {
		c.sock.Close(engineio.ProtocolError)
		return
	}
	part.left--
	part.size += len(p)
	if part.size > c.limits.MaxPayload && part.Problem == nil {
		part.Problem = ErrTooLarge
		part.payload, part.buffers = nil, nil
	}
	if part.Problem == nil && !part.drop {
		part.buffers = append(part.buffers, bytes.Clone(p))
	}
	if part.left > 0 {
		return
	}
	c.partial = nil
	c.deliver(&part.Event)
}

// aside reports whether an event, or an answer, is for the others.
func (c *Conn) aside(e *Event) bool {
	if c.others == nil || e.Namespace != "" || !e.answer {
		return e.Namespace != ""
	}
	id, ok := e.AckID()
	return ok && id >= OthersAcks
}

// deliver hands over what is complete.
func (c *Conn) deliver(e *Event) {
	aside := c.aside(e)
	if c.others != nil && e.Namespace == "" {
		if in, _ := c.inMain(); !in { // it has left, and may not know yet
			return
		}
		if id, ok := e.AckID(); aside && ok {
			e.id = strconv.AppendUint(nil, id-OthersAcks, 10)
		}
	}
	if aside {
		c.others.Event(e)
		return
	}
	if e.answer {
		c.acked(e)
		return
	}
	c.host.Event(c, e)
}

// acked takes an ack by its id. One that is no number of ours, or none, is of
// no interest.
func (c *Conn) acked(e *Event) {
	if id, ok := e.AckID(); ok {
		c.host.Acked(c, id)
	}
}

// tooLarge takes an event of which only the head is left, or an attachment of
// which nothing is.
func (c *Conn) tooLarge(head []byte, _ int) {
	phase := c.settled()
	_, alone := c.inMain()
	if phase == phaseConnecting && !alone { // what is held goes first
		c.mu.Lock()
		drained := c.drained
		c.mu.Unlock()
		if drained != nil { // else it is open by now
			<-drained
		}
		phase = c.settled()
	}
	switch {
	case phase != phaseOpen && alone:
		c.sock.Close(engineio.OpenLimit)
	case head == nil && c.partial != nil:
		c.partial.Problem = ErrTooLarge
		c.partial.payload, c.partial.buffers = nil, nil
		c.attachment(nil)
	case head == nil || c.partial != nil:
		c.sock.Close(engineio.ProtocolError)
	default:
		h, err := scanHeader(head)
		if err != nil || h.kind != typeEvent && h.kind != typeBinaryEvent || h.namespace != nil && !c.knows(string(h.namespace)) {
			c.sock.Close(engineio.TooLarge)
			return
		}
		e := Event{Problem: ErrTooLarge, Namespace: string(h.namespace), conn: c, id: h.id}
		e.Name, _, _ = scanName(h.payload, "") // for the log
		if h.attachments == 0 {
			c.deliver(&e)
			return
		}
		e.id = bytes.Clone(h.id)
		c.partial = &partialEvent{Event: e, left: h.attachments}
	}
}

// newID returns a socket id: 20 characters, as stock servers make them.
func newID() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b[:])
}
