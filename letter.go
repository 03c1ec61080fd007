package heymanito

import (
	"strconv"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/socketio"
)

// The events that tell what is in an inbox.
const (
	eventReceive   = "receiveMessage"
	eventSent      = "messageSent"
	eventDelivered = "messagesDelivered"
	eventRead      = "messagesRead"
	eventConvRead  = "conversationRead"
)

// letter is an entry on its way to devices: encoded once for all that take it
// in the same form.
type letter struct {
	Entry
	plain, asking []*engineio.Frame // of a long one, which goes to all from where it is
}

// asks reports whether d is to call back for the letter.
func (l *letter) asks(d *device) bool { return d.acks && l.Event == eventReceive }

// shortBody is the longest Body that is copied to each device: that costs less
// than what is allocated to encode it once.
const shortBody = 3 << 10

// send sends the letter with a mark, and reports false when d has gone.
func (l *letter) send(d *device, mark uint64) bool {
	if len(l.Body) > shortBody || len(l.Attachments) > 0 {
		return d.conn.SendMarked(mark, l.frames(d)...)
	}
	return d.conn.SendBuilt(mark, len(l.Event)+len(l.Body)+64, func(b []byte) []byte {
		b = append(b, '2')
		if l.asks(d) {
			b = strconv.AppendUint(b, l.Seq, 10)
		}
		b = append(append(append(b, `["`...), l.Event...), `",`...) // an event of ours: nothing to escape
		b = append(append(b, l.Body[:len(l.Body)-1]...), `,"seq":`...)
		return append(strconv.AppendUint(b, l.Seq, 10), `}]`...)
	})
}

// frames is the letter as d wants it.
func (l *letter) frames(d *device) []*engineio.Frame {
	if l.asks(d) {
		if l.asking == nil {
			l.asking = l.event().FramesAsking(l.Seq)
		}
		return l.asking
	}
	if l.plain == nil {
		l.plain = l.event().Frames()
	}
	return l.plain
}

// event is the Body with the seq of the inbox that it is in.
func (l *letter) event() *socketio.Outgoing {
	return socketio.NewOutgoing(l.Event, nil, len(l.Body)+32).
		Raw(",").Bytes(l.Body[:len(l.Body)-1]).
		Raw(`,"seq":`).Bytes(strconv.AppendUint(nil, l.Seq, 10)).Raw("}").
		Attach(l.Attachments)
}

func (l *letter) size() int {
	n := len(l.Body)
	for _, a := range l.Attachments {
		n += len(a)
	}
	return n
}

// push offers an entry that was appended to the devices of its user, but for
// except.
func (s *Server) push(e Entry, r Receipt, except *device) {
	e.Seq = r.Seq
	l := &letter{Entry: e}
	for _, d := range s.registry.devices(e.User) {
		if d != except {
			d.feed.offer(l)
		}
	}
}

// nudge makes the devices of a user look into the inbox.
func (s *Server) nudge(user string) {
	for _, d := range s.registry.devices(user) {
		d.feed.nudge()
	}
}
