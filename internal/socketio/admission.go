package socketio

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/heymanito/heymanito/internal/engineio"
)

// maxRefusals is how many namespaces a client may ask for in a row that it does not
// get into, and how often it may ask for the main one.
const maxRefusals = 16

type phase uint8

const (
	phaseNew        phase = iota // no CONNECT yet
	phaseConnecting              // Host.Connect is thinking
	phaseDraining                // what was held meanwhile is being handled
	phaseOpen
	phaseOver
)

// admission is what a Conn keeps while Connect decides about its client. One that
// is open costs nothing for it.
type admission struct {
	corked     []*engineio.Frame // sent before Open
	corkedSize int               // bytes
	held       []heldPacket      // received before Connect has answered
	heldEvents int
	heldBytes  int
	kick       []*engineio.Frame // what Disconnect wants to be last, once it is open
	drained    chan struct{}     // closed when held has been handled
}

// next takes the first packet that was held.
func (a *admission) next() heldPacket {
	p := a.held[0]
	a.held = a.held[1:]
	return p
}

// heldPacket is a packet that came too early to be handled.
type heldPacket struct {
	data   []byte
	binary bool
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
	c.admission = &admission{drained: make(chan struct{})}
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

// hold keeps a packet until Connect has answered, within limits: the engine counts
// the bytes only of clients that are in nothing yet.
func (c *Conn) hold(p []byte, binary bool) {
	c.mu.Lock()
	if c.phase != phaseConnecting || c.open.Load() { // it has just answered
		c.mu.Unlock()
		c.receive(p, binary)
		return
	}
	a := c.admission
	if !binary {
		a.heldEvents++
	}
	a.heldBytes += len(p)
	full := a.heldEvents > c.limits.HeldEvents || a.heldBytes > c.limits.MaxPayload ||
		len(a.held) >= (1+maxAttachments)*c.limits.HeldEvents // attachments that nobody announced
	if !full {
		a.held = append(a.held, heldPacket{bytes.Clone(p), binary})
	}
	c.mu.Unlock()
	if full {
		c.sock.Close(engineio.OpenLimit)
	}
}

// settled returns the phase, after what was held has been handled: it goes
// first. If we have ended the connection meanwhile, what has waited is over too.
func (c *Conn) settled() phase {
	c.mu.Lock()
	defer c.mu.Unlock()
	waited := false
	for c.phase == phaseDraining || c.phase == phaseConnecting && c.open.Load() {
		drained := c.admission.drained
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

// connect asks the host, and then handles what was held meanwhile.
func (c *Conn) connect(ctx context.Context, auth []byte) {
	if err := c.host.Connect(ctx, c, auth); err != nil {
		c.turnAway(err)
		return
	}
	c.mu.Lock()
	a := c.admission
	c.let = true
	c.phase = phaseDraining
	for (!c.goodbye || c.others != nil) && !c.ended() && len(a.held) > 0 {
		p := a.next()
		c.mu.Unlock()
		c.handle(p.data, p.binary)
		c.mu.Lock()
	}
	c.admission = nil
	if c.gone {
		c.phase = phaseOver
		reason, goodbye, closed := c.reason, c.goodbye, c.abroad.ended()
		c.mu.Unlock()
		close(a.drained)
		c.host.Closed(c, reason, goodbye)
		c.farewell(closed)
		return
	}
	c.phase = phaseOpen
	c.mu.Unlock()
	close(a.drained)
}

// turnAway answers a CONNECT packet that was refused. What was held for other
// namespaces is handled all the same; the client may try again on this transport.
func (c *Conn) turnAway(err error) {
	refusal, ok := errors.AsType[*Refusal](err)
	c.mu.Lock()
	a := c.admission
	c.phase = phaseDraining // before the client hears of it: its next CONNECT packet is none that was held
	if ok {
		c.Refuse("/", refusal)
	} else {
		c.sock.Close(engineio.Unavailable)
	}
	for c.others != nil && ok && a.kick == nil && !c.ended() && len(a.held) > 0 {
		p := a.next()
		c.mu.Unlock()
		if p.binary || !isMainControl(p.data) {
			c.handle(p.data, p.binary)
		}
		c.mu.Lock()
	}
	if a.kick != nil { // it was in other namespaces, and is to be in none
		c.sock.Close(engineio.ForcedClose, a.kick...)
	}
	c.admission, c.phase = nil, phaseNew
	if c.gone {
		c.phase = phaseOver
	}
	closed := c.abroad.ended()
	c.mu.Unlock()
	close(a.drained)
	c.farewell(closed)
}

// farewell tells the others that the transport has closed while connect was at
// work; empty: it has not.
func (c *Conn) farewell(reason string) {
	if c.others != nil && reason != "" {
		c.others.Closed(reason)
	}
}

// isMainControl reports whether a packet is a CONNECT or DISCONNECT for the main
// namespace.
func isMainControl(p []byte) bool {
	return len(p) > 0 && (p[0] == typeConnect || p[0] == typeDisconnect) && (len(p) == 1 || p[1] != '/' || bytes.HasPrefix(p[1:], []byte("/,")))
}
