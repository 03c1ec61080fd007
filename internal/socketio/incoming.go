package socketio

import (
	"bytes"
	"strconv"

	"github.com/zishang520/socket.io/parsers/socket/v3/parser"

	"github.com/heymanito/heymanito/internal/engineio"
)

// maxNameKept is the longest name of an event that is kept for the next one.
const maxNameKept = 64

// partialEvent is an event some of whose attachments are still to come.
type partialEvent struct {
	Event
	drop bool // an answer to the Host: what it brings is dropped
	left int
	size int
}

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
		a := c.admission
		c.mu.Unlock()
		if a != nil { // else it is open by now
			<-a.drained
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
