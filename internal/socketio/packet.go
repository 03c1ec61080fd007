package socketio

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/heymanito/heymanito/internal/jsonspan"
)

// Packet types of Socket.IO 5.
const (
	typeConnect     = '0'
	typeDisconnect  = '1'
	typeEvent       = '2'
	typeAck         = '3'
	typeBinaryEvent = '5'
	typeBinaryAck   = '6'
)

const (
	// maxAttachments is what one event may announce: stock clients' parsers
	// take no more (socket.io-parser 4.2.6 on) and give up their connection
	// over one that has. The frames of an event that announces more are
	// dropped, and it is answered "invalid".
	maxAttachments = 10
	// maxIDDigits is the longest ack id: any number a JavaScript client counts
	// to, and any uint64.
	maxIDDigits = 20
	// maxNamespace is the longest name of a namespace, the library's limit.
	maxNamespace = 512
	// maxDepth is how deep a value of an event may nest.
	maxDepth = 100
)

// errPacket is a packet that is not Socket.IO's: the connection is closed.
var errPacket = errors.New("socketio: malformed packet")

// header is what stands before the payload of a packet on the main namespace.
type header struct {
	kind        byte
	attachments int
	namespace   []byte // nil: the main one
	id          []byte // the ack id's digits, nil without
	payload     []byte // the rest
}

// scanHeader reads the header of an EVENT, ACK or one of their binary forms.
func scanHeader(p []byte) (h header, err error) {
	if len(p) == 0 {
		return h, errPacket
	}
	h.kind = p[0]
	p = p[1:]
	if h.kind == typeBinaryEvent || h.kind == typeBinaryAck {
		dash := bytes.IndexByte(p[:min(len(p), 10)], '-')
		if dash < 1 {
			return h, errPacket
		}
		n, err := strconv.ParseUint(string(p[:dash]), 10, 31)
		if err != nil || p[0] == '+' {
			return h, errPacket
		}
		h.attachments = int(n)
		p = p[dash+1:]
	}
	if len(p) > 0 && p[0] == '/' {
		comma := bytes.IndexByte(p[:min(len(p), maxNamespace+1)], ',')
		if comma < 0 {
			return h, errPacket
		}
		if comma > 1 {
			h.namespace = p[:comma]
		}
		p = p[comma+1:]
	}
	i := 0
	for i < len(p) && p[i] >= '0' && p[i] <= '9' {
		i++
	}
	if i > maxIDDigits {
		return h, errPacket
	}
	if i > 0 {
		h.id = p[:i]
	}
	h.payload = p[i:]
	return h, nil
}

// scanName reads the name of an event from its payload, and returns where the
// arguments go on. A payload that is no array with something in it is
// errPacket, as the protocol demands; a first element that is no name is "". A
// name like the one before needs no copy.
func scanName(payload []byte, before string) (name string, rest int, err error) {
	i := jsonspan.Space(payload, 0)
	if i >= len(payload) || payload[i] != '[' {
		return "", 0, errPacket
	}
	i = jsonspan.Space(payload, i+1)
	if i < len(payload) && payload[i] == ']' {
		return "", 0, errPacket
	}
	end, err := jsonspan.Value(payload, i, maxDepth)
	if err != nil {
		return "", i, nil
	}
	if jsonspan.TextEqual(payload[i:end], before) {
		return before, end, nil
	}
	name, _ = jsonspan.Text(payload[i:end])
	return name, end, nil
}

// isArray reports whether payload is a JSON array.
func isArray(payload []byte) bool {
	i := jsonspan.Space(payload, 0)
	if i >= len(payload) || payload[i] != '[' {
		return false
	}
	end, err := jsonspan.Value(payload, i, maxDepth+1)
	return err == nil && jsonspan.Space(payload, end) == len(payload)
}
