package torture

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

// history is everything that all devices have said and heard.
type history struct {
	restarts bool // the server went down and came back: it may have been unavailable
	devices  []*log
}

// log is what one device has said and heard, in order. Connections of one
// device do not overlap here: from the moment a device has begun a new one it
// listens to the old one no more.
type log struct {
	user    string
	device  string
	since   bool // it tells its position when it connects
	acks    bool // it asked for a callback on receiveMessage
	audit   bool // it came at the end, to be told everything that is kept
	settled bool // it was connected at the end, and had nothing left to do
	records []record
}

// record is one thing that a device has said or heard.
type record struct {
	at   uint64 // of clock: which of two things was first, across all devices
	conn int    // the device's connections are numbered
	what what

	event string
	from  string // of a message: its sender. Of a receipt: whose messages it is about
	to    string // of a message: its recipient. Of a receipt: who has read or got them
	id    string // as JSON, of a message; of a receipt: up to which. Empty: all so far
	body  digest // of a message: what it carries
	seq   uint64 // 0: none
	ts    int64

	call      int    // number of the ack that is asked for, or given
	code      string // of an ack: empty if it is ok
	delivery  string // of an ack
	duplicate bool   // of an ack
	epoch     string // of opened, if it has a position, and of ready
	complete  bool   // of ready
	stranger  bool   // emitted a receipt for an id that was never sent
}

type what uint8

const (
	opened   what = iota // CONNECT goes out, with the position epoch, seq
	emitted              // an event goes out
	answered             // an ack has come
	arrived              // an event has come
	called               // the callback of the receiveMessage with seq goes out
	ready                // inboxReady has come
	closed               // the device has turned away from the connection
)

func (w what) String() string {
	return [...]string{"opened", "emitted", "answered", "arrived", "called", "ready", "closed"}[w]
}

// details is everything there is to say about r.
func (r *record) details() string {
	return fmt.Sprintf("%v %v call %d code %q delivery %q duplicate %v epoch %q complete %v %x",
		r.what, r, r.call, r.code, r.delivery, r.duplicate, r.epoch, r.complete, r.body[:4])
}

// What is said and heard.
const (
	sendMessage       = "sendMessage"
	markAsRead        = "markAsRead"
	markAsDelivered   = "markAsDelivered"
	receiveMessage    = "receiveMessage"
	messageSent       = "messageSent"
	messagesDelivered = "messagesDelivered"
	messagesRead      = "messagesRead"
	conversationRead  = "conversationRead"
	onlineUsers       = "online_users"
)

// clock numbers what happens, in the order in which it happens: what a device
// emits before it goes out, and what arrives after it came.
type clock struct{ n atomic.Uint64 }

func (c *clock) tick() uint64 { return c.n.Add(1) }

// digest stands for what a message carries, byte for byte.
type digest [16]byte

// digestOf is the digest of a message; nil is absent, which differs from empty.
func digestOf(content, profile []byte, attachments [][]byte) digest {
	h := sha256.New()
	part := func(b []byte) {
		var n [9]byte
		if b != nil {
			n[0] = 1
		}
		binary.BigEndian.PutUint64(n[1:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	part(content)
	part(profile)
	for _, a := range attachments {
		part(append([]byte{}, a...)) // which may be empty, and is never absent
	}
	return digest(h.Sum(nil)[:16])
}
