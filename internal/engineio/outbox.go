package engineio

import (
	"encoding/base64"
	"encoding/binary"
	"sync"
)

const (
	// copied is the longest frame that is copied into the outboxes of those who
	// get it. What is longer is there once, for all of them: they refer to it.
	copied = 4 << 10
	// outboxPiece is where an outbox begins another buffer: one write takes no
	// more at a time.
	outboxPiece = writePiece
	// outboxBuffer is how long an outbox's buffers begin, and pooledBuffer the
	// longest of any that is kept for the next one to need it.
	outboxBuffer = 512
	pooledBuffer = 16 << 10
	// segmentOverhead is what something that an outbox refers to takes besides
	// its bytes, in the queue and the allocator's rounding.
	segmentOverhead = 64
)

// buffer is one that goes from hand to hand.
type buffer struct{ b []byte }

// buffers are those that nobody needs at the moment.
type buffers struct {
	size int // of a new one
	pool sync.Pool
}

func (p *buffers) get() *buffer {
	if b, ok := p.pool.Get().(*buffer); ok {
		return b
	}
	return &buffer{make([]byte, 0, p.size)}
}

func (p *buffers) put(b *buffer) {
	if b != nil && cap(b.b) <= pooledBuffer {
		b.b = b.b[:0]
		p.pool.Put(b)
	}
}

// outbox is what waits to go to a client, in the form that it has on a
// WebSocket: a client that polls gets it out of that (appendPayload).
type outbox struct {
	segments []segment // in front of the tail
	tail     *buffer   // frames are copied to its end; nil: none
	cost     int       // bytes that it counts
}

// segment is a part of an outbox that is complete.
type segment struct {
	b   []byte
	own *buffer // what b is part of, if nobody else's
}

func (o *outbox) empty() bool { return len(o.segments) == 0 && o.tail == nil }

// room returns the tail, with room for n bytes more.
func (o *outbox) room(n int, pool *buffers) *buffer {
	if o.tail != nil && len(o.tail.b)+n > outboxPiece {
		o.cut()
	}
	if o.tail == nil {
		o.tail = pool.get()
	}
	return o.tail
}

// cut ends the tail.
func (o *outbox) cut() {
	if o.tail != nil {
		o.segments = append(o.segments, segment{o.tail.b, o.tail})
		o.tail = nil
	}
}

// add appends a frame.
func (o *outbox) add(f *Frame, pool *buffers) {
	o.cost += f.cost()
	if f.rolled {
		o.roll(f.wire)
		return
	}
	if n := f.Len(); n <= copied {
		t := o.room(n, pool)
		t.b = append(append(append(t.b, f.wire...), f.shared...), f.tail...)
		return
	}
	o.refer(f.wire, pool)
	o.refer(f.shared, pool)
	o.refer(f.tail, pool)
}

// roll appends a frame of a Roll.
func (o *outbox) roll(b []byte) {
	o.cut()
	if n := len(o.segments); n > 0 {
		if last := &o.segments[n-1]; last.own == nil && follows(last.b, b) {
			last.b = last.b[:len(last.b)+len(b)]
			return
		}
	}
	o.segments = append(o.segments, segment{b: b})
}

// refer appends a part of a frame.
func (o *outbox) refer(b []byte, pool *buffers) {
	if len(b) <= copied {
		t := o.room(len(b), pool)
		t.b = append(t.b, b...)
		return
	}
	o.cut()
	o.segments = append(o.segments, segment{b: b})
}

// text appends a text message that nobody else gets and that build appends to
// what it is given: at most size bytes, which are no more than copied.
func (o *outbox) text(size int, build func([]byte) []byte, pool *buffers) {
	t := o.room(maxHeader+1+size, pool)
	const header = 4
	at := len(t.b)
	b := build(append(t.b, 0, 0, 0, 0, packetMessage))
	n := len(b) - at - header
	if n < 126 { // its header is shorter
		copy(b[at+2:], b[at+header:])
		b = b[:len(b)-2]
	}
	appendHeader(b[:at], opText, n)
	o.cost += len(b) - at
	t.b = b
}

// take empties o and returns what was in it.
func (o *outbox) take() outbox {
	all := *o
	*o = outbox{}
	return all
}

// all returns the segments, the tail as the last of them.
func (o *outbox) all() []segment {
	o.cut()
	return o.segments
}

// payload empties o and returns what was in it as a polling payload.
func (o *outbox) payload(pool *buffers) []byte {
	segments := o.all()
	n := 0
	for _, s := range segments {
		n += len(s.b)
	}
	b := appendPayload(make([]byte, 0, n+n/3), segments)
	for _, s := range segments {
		pool.put(s.own)
	}
	*o = outbox{}
	return b
}

// appendPayload appends what is in segments as a polling payload. A frame's
// header is never divided.
func appendPayload(b []byte, segments []segment) []byte {
	var rest []byte // of the segment
	for i := 0; ; {
		if len(rest) == 0 {
			if i == len(segments) {
				return b
			}
			rest = segments[i].b
			i++
			continue
		}
		op, n, h := rest[0]&0x0f, int(rest[1]), 2
		switch n {
		case 126:
			n, h = int(binary.BigEndian.Uint16(rest[2:])), 4
		case 127:
			n, h = int(binary.BigEndian.Uint64(rest[2:])), 10
		}
		rest = rest[h:]
		if op >= opClose { // nothing to a client that polls
			rest = rest[n:]
			continue
		}
		if len(b) > 0 {
			b = append(b, separator)
		}
		if op == opBinary {
			b = append(b, 'b')
			b = base64.StdEncoding.AppendEncode(b, rest[:n])
			rest = rest[n:]
			continue
		}
		for n > len(rest) {
			b = append(b, rest...)
			n -= len(rest)
			rest = segments[i].b
			i++
		}
		b = append(b, rest[:n]...)
		rest = rest[n:]
	}
}
