package engineio

import "encoding/base64"

// Packet types of Engine.IO 4.
const (
	packetOpen    = '0'
	packetClose   = '1'
	packetPing    = '2'
	packetPong    = '3'
	packetMessage = '4'
	packetUpgrade = '5'
	packetNoop    = '6'
)

// separator stands between the packets of a polling payload.
const separator = 0x1e

// Frame is one packet to a client, encoded once for both transports and shared
// by all its recipients. It never changes after it was made.
type Frame struct {
	wire   []byte // WebSocket header, then the packet
	header int    // length of the WebSocket header
	kind   frameKind

	// The packet goes on with shared, which many frames have in common, and
	// then tail. Both are nil but for frames of TextAround.
	shared, tail []byte
}

type frameKind uint8

const (
	kindText frameKind = iota
	kindBinary
	kindControl // a WebSocket control frame: nothing to a polling client
)

// Text makes the frame of a text message from the concatenated parts.
func Text(parts ...[]byte) *Frame {
	n := 1
	for _, p := range parts {
		n += len(p)
	}
	wire := appendHeader(make([]byte, 0, maxHeader+n), opText, n)
	f := &Frame{header: len(wire)}
	wire = append(wire, packetMessage)
	for _, p := range parts {
		wire = append(wire, p...)
	}
	f.wire = wire
	return f
}

// Binary makes the frame of a binary message. It copies p.
func Binary(p []byte) *Frame {
	wire := appendHeader(make([]byte, 0, maxHeader+len(p)), opBinary, len(p))
	f := &Frame{header: len(wire), kind: kindBinary}
	f.wire = append(wire, p...)
	return f
}

// TextAround makes the frame of a text message head + shared + tail without a
// copy of shared, which must not change. It does not count against a queue
// either: no one socket is what it is there for.
func TextAround(head string, shared []byte, tail string) *Frame {
	n := 1 + len(head) + len(shared) + len(tail)
	wire := appendHeader(make([]byte, 0, maxHeader+1+len(head)), opText, n)
	f := &Frame{header: len(wire), shared: shared, tail: []byte(tail)}
	f.wire = append(append(wire, packetMessage), head...)
	return f
}

// Len returns the bytes the frame takes on a WebSocket.
func (f *Frame) Len() int { return len(f.wire) + len(f.shared) + len(f.tail) }

// frameOverhead is what a frame in a queue takes besides its bytes: the Frame,
// its place in the queue, the allocator's rounding. Without it a client that
// asks for small answers would get a queue many times its cap.
const frameOverhead = 96

func (f *Frame) cost() int { return len(f.wire) + len(f.tail) + frameOverhead }

// packet makes a frame that is no message.
func packet(s string) *Frame {
	wire := appendHeader(make([]byte, 0, maxHeader+len(s)), opText, len(s))
	f := &Frame{header: len(wire)}
	f.wire = append(wire, s...)
	return f
}

func control(op byte, payload []byte) *Frame {
	return &Frame{wire: append(appendHeader(nil, op, len(payload)), payload...), kind: kindControl}
}

// appendPayload appends f as a packet of a polling payload, and reports
// whether there is anything of it there.
func (f *Frame) appendPayload(b []byte) []byte {
	switch f.kind {
	case kindBinary:
		b = append(b, 'b')
		return base64.StdEncoding.AppendEncode(b, f.wire[f.header:])
	case kindControl:
		return b
	}
	b = append(b, f.wire[f.header:]...)
	b = append(b, f.shared...)
	return append(b, f.tail...)
}
