package engineio

import (
	"encoding/binary"
	"unicode/utf8"
)

// WebSocket opcodes, RFC 6455 section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

const (
	maxHeader  = 10  // of a server's frame, which is not masked
	maxControl = 125 // payload of a control frame
	headBytes  = 512 // what is kept of a message that is read past
)

// appendHeader appends the header of an unmasked, unfragmented frame.
func appendHeader(b []byte, op byte, n int) []byte {
	b = append(b, 0x80|op)
	switch {
	case n < 126:
		return append(b, byte(n))
	case n < 1<<16:
		return append(b, 126, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
}

// wsEvents is what a wsParser finds. The slices are valid during the call.
// An error ends parsing and is returned by parse.
type wsEvents interface {
	text(p []byte) error
	binary(p []byte) error
	tooLarge(head []byte, size int) error
	control(op byte, p []byte) error
}

// closeError is a violation that ends the connection.
type closeError struct {
	reason Reason
	text   string
}

func (e *closeError) Error() string { return "websocket: " + e.text }

func violation(text string) error {
	return &closeError{ProtocolError, text}
}

// wsParser takes the bytes a client sends, in pieces of any size, apart into
// messages. It holds no buffer of its own but for fragmented messages and the
// head of a message that it reads past.
type wsParser struct {
	max  int // longest message that is kept
	skip int // longest message that is read past; longer ones end the connection

	op    byte   // of the fragmented message under way, 0 if none
	parts []byte // its fragments so far

	past *pastMessage // the message being read past, nil if none
}

// pastMessage is a message too large to keep: its bytes are counted and
// dropped, but for the head, which tells who waits for an answer.
type pastMessage struct {
	head   []byte
	size   int     // of the message so far, headers aside
	left   int     // bytes still to come of the current frame
	mask   [4]byte // of the current frame
	offset int     // into the current frame
	fin    bool    // the current frame is the last
}

// parse consumes whole frames from b and returns how many bytes it took. b is
// unmasked in place.
func (p *wsParser) parse(b []byte, ev wsEvents) (int, error) {
	taken := 0
	for {
		if p.past != nil && p.past.left > 0 {
			n := p.past.take(b[taken:])
			taken += n
			if p.past.left > 0 {
				return taken, nil
			}
			if err := p.pastFrameDone(ev); err != nil {
				return taken, err
			}
			continue
		}
		n, err := p.frame(b[taken:], ev)
		if n == 0 || err != nil {
			return taken + n, err
		}
		taken += n
	}
}

// frame consumes one frame, or 0 bytes when it is not all there.
func (p *wsParser) frame(b []byte, ev wsEvents) (int, error) {
	if len(b) < 2 {
		return 0, nil
	}
	op, fin := b[0]&0x0f, b[0]&0x80 != 0
	if b[0]&0x70 != 0 {
		return 0, violation("reserved bits are set")
	}
	if b[1]&0x80 == 0 {
		return 0, violation("a frame from the client is not masked")
	}
	n, h := int(b[1]&0x7f), 2
	switch n {
	case 126:
		if len(b) < 4 {
			return 0, nil
		}
		n, h = int(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		if len(b) < 10 {
			return 0, nil
		}
		v := binary.BigEndian.Uint64(b[2:])
		if v > uint64(p.skip) {
			return 0, &closeError{TooLarge, "message too large"}
		}
		n, h = int(v), 10
	}
	if op >= opClose {
		if op > opPong {
			return 0, violation("unknown opcode")
		}
		if !fin || n > maxControl {
			return 0, violation("a control frame is fragmented or too long")
		}
	} else {
		if op > opBinary {
			return 0, violation("unknown opcode")
		}
		if (op == opContinuation) != (p.op != 0) {
			return 0, violation("a fragment is out of place")
		}
		if total := p.total() + n; total > p.max {
			if total > p.skip {
				return 0, &closeError{TooLarge, "message too large"}
			}
			if len(b) < h+4 {
				return 0, nil
			}
			p.readPast(op, fin, n, b[h:h+4])
			if n == 0 {
				return h + 4, p.pastFrameDone(ev)
			}
			return h + 4, nil
		}
	}
	if len(b) < h+4+n {
		return 0, nil
	}
	mask := [4]byte(b[h : h+4])
	body := b[h+4 : h+4+n]
	unmask(body, mask)
	return h + 4 + n, p.whole(op, fin, body, ev)
}

// total is the size so far of the message under way.
func (p *wsParser) total() int {
	if p.past != nil {
		return p.past.size
	}
	return len(p.parts)
}

// whole handles a frame that is there completely.
func (p *wsParser) whole(op byte, fin bool, body []byte, ev wsEvents) error {
	if op >= opClose {
		return ev.control(op, body)
	}
	if op != opContinuation && fin {
		return deliver(op, body, ev)
	}
	if op != opContinuation {
		p.op = op
	}
	p.parts = append(p.parts, body...)
	if !fin {
		return nil
	}
	op, body = p.op, p.parts
	p.op, p.parts = 0, nil
	return deliver(op, body, ev)
}

func deliver(op byte, body []byte, ev wsEvents) error {
	if op == opBinary {
		return ev.binary(body)
	}
	if !utf8.Valid(body) {
		return &closeError{InvalidText, "a text message is not UTF-8"}
	}
	return ev.text(body)
}

// readPast starts, or goes on, with reading past a message.
func (p *wsParser) readPast(op byte, fin bool, n int, mask []byte) {
	if p.past == nil {
		p.past = &pastMessage{head: make([]byte, 0, headBytes), size: len(p.parts)}
		p.past.head = append(p.past.head, p.parts[:min(len(p.parts), headBytes)]...)
		p.parts = nil
	}
	if op != opContinuation {
		p.op = op
	}
	p.past.left, p.past.offset, p.past.fin, p.past.mask = n, 0, fin, [4]byte(mask)
}

// take drops what b has of the current frame and returns how much that was.
func (m *pastMessage) take(b []byte) int {
	n := min(len(b), m.left)
	for i := 0; i < n && len(m.head) < headBytes; i++ {
		m.head = append(m.head, b[i]^m.mask[(m.offset+i)&3])
	}
	m.left -= n
	m.offset += n
	m.size += n
	return n
}

func (p *wsParser) pastFrameDone(ev wsEvents) error {
	m := p.past
	if !m.fin {
		return nil
	}
	binaryMessage := p.op == opBinary
	p.past, p.op = nil, 0
	if binaryMessage {
		return ev.tooLarge(nil, m.size)
	}
	return ev.tooLarge(m.head, m.size)
}

// unmask is the masking of RFC 6455 section 5.3, eight bytes at a time.
func unmask(p []byte, mask [4]byte) {
	m32 := binary.LittleEndian.Uint32(mask[:])
	m64 := uint64(m32)<<32 | uint64(m32)
	i := 0
	for ; i+8 <= len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], binary.LittleEndian.Uint64(p[i:])^m64)
	}
	for ; i < len(p); i++ {
		p[i] ^= mask[i&3]
	}
}
