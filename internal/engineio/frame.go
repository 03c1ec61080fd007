package engineio

// Packet types of Engine.IO 4.
const (
	packetOpen    = '0'
	packetClose   = '1'
	packetPing    = '2'
	packetPong    = '3'
	packetMessage = '4'
	packetUpgrade = '5'
	packetNoop    = '6'
	packetBase64  = 'b' // a message of bytes, as text: on polling always
)

// separator stands between the packets of a polling payload.
const separator = 0x1e

// Frame is one packet to a client, encoded once for both transports and all its
// recipients. It never changes after it was made.
type Frame struct {
	wire []byte // as it goes over a WebSocket

	// The packet goes on with shared, which many frames have in common, and
	// then tail. Both are nil but for frames of TextAround.
	shared, tail []byte

	rolled bool // wire is part of a Roll
}

// Text makes the frame of a text message from the concatenated parts.
func Text(parts ...[]byte) *Frame {
	n := 1
	for _, p := range parts {
		n += len(p)
	}
	wire := append(appendHeader(make([]byte, 0, maxHeader+n), opText, n), packetMessage)
	for _, p := range parts {
		wire = append(wire, p...)
	}
	return &Frame{wire: wire}
}

// Binary makes the frame of a binary message. It copies p.
func Binary(p []byte) *Frame {
	wire := appendHeader(make([]byte, 0, maxHeader+len(p)), opBinary, len(p))
	return &Frame{wire: append(wire, p...)}
}

// TextAround makes the frame of a text message head + shared + tail without a
// copy of shared, which must not change. It does not count against a queue
// either: no one socket is what it is there for.
func TextAround(head string, shared []byte, tail string) *Frame {
	n := 1 + len(head) + len(shared) + len(tail)
	wire := append(appendHeader(make([]byte, 0, maxHeader+1+len(head)), opText, n), packetMessage)
	return &Frame{wire: append(wire, head...), shared: shared, tail: []byte(tail)}
}

// Len returns the bytes the frame takes on a WebSocket.
func (f *Frame) Len() int { return len(f.wire) + len(f.shared) + len(f.tail) }

// cost is what the frame counts against a queue.
func (f *Frame) cost() int {
	n := len(f.wire) + len(f.tail)
	if f.Len() > copied {
		n += segmentOverhead
	}
	return n
}

// packet makes a frame that is no message.
func packet(s string) *Frame {
	return &Frame{wire: append(appendHeader(make([]byte, 0, maxHeader+len(s)), opText, len(s)), s...)}
}

func control(op byte, payload []byte) *Frame {
	return &Frame{wire: append(appendHeader(nil, op, len(payload)), payload...)}
}
