package heymanito

import (
	"context"
	"slices"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/socketio"
)

// Where a message is when its sender gets the ack.
const (
	deliverySent    = "sent"    // written to a device of the recipient that is live
	deliveryQueued  = "queued"  // nothing that the sender may know is said
	deliveryOffline = "offline" // no device: OnUndelivered has it
)

var messageKeys = []string{"id", "senderChatPath", "recipientChatPath", "content", "senderProfile"}

// sendMessage carries a message to every device of its recipient, and to the
// other devices of its sender.
func (s *Server) sendMessage(ctx context.Context, d *device, e *socketio.Event) ([]byte, *Error) {
	var f [5][]byte
	if err := e.Object(messageKeys, f[:]); err != nil {
		return nil, problem(err)
	}
	id, content, profile := f[0], f[3], f[4]
	if err := messageID(id, "id"); err != nil {
		return nil, err
	}
	from, err := name(f[1], "senderChatPath")
	if err != nil {
		return nil, err
	}
	to, err := chatPath(f[2], "recipientChatPath")
	if err != nil {
		return nil, err
	}
	if err := d.self(from, "senderChatPath"); err != nil {
		return nil, err
	}
	silent, err := s.authorize(ctx, Action{Event: "sendMessage", From: from, To: to})
	if err != nil {
		return nil, err
	}
	known, err := s.known(ctx, from, to)
	if err != nil {
		return nil, err
	}
	m := Message{ID: id, From: from, To: to, Content: content, SenderProfile: profile, Attachments: e.Attachments(), Time: now()}
	if s.cfg.hooks.BeforeMessage != nil && !silent {
		if silent, err = verdict(s.cfg.hooks.BeforeMessage(ctx, m), CodeUnavailable); err != nil {
			return nil, err
		}
	}

	encode := func(event string) []*engineio.Frame {
		o := socketio.NewOutgoing(event, e, 160+len(id)+len(f[1])+len(f[2])+len(content)+len(profile))
		o.Raw(`,{"id":`).Value(id).Raw(`,"senderChatPath":`).Value(f[1]).Raw(`,"recipientChatPath":`).Value(f[2])
		if content != nil {
			o.Raw(`,"content":`).Value(content)
		}
		if profile != nil {
			o.Raw(`,"senderProfile":`).Value(profile)
		}
		return o.Raw(`,"ts":`).Bytes(appendMillis(nil, m.Time)).Raw(`}`).Frames()
	}
	out := Delivery{Status: deliveryOffline}
	var frames []*engineio.Frame
	var tried []*device
	for more := true; more && out.Status != deliverySent; {
		more = false
		for _, t := range s.registry.devices(to) {
			if t == d || slices.Contains(tried, t) {
				continue
			}
			if frames == nil && !silent {
				frames = encode("receiveMessage")
			}
			if silent || t.conn.Send(frames...) {
				out.Status = deliverySent
				out.Devices = append(out.Devices, t.Device)
			}
			// If none of them lives any more, a device that has connected
			// meanwhile gets it: there may have been one at every moment.
			tried = append(tried, t)
			more = true
		}
	}
	if to != from && !silent {
		if mine := others(s.registry.devices(from), d); len(mine) > 0 {
			frames := encode("messageSent")
			for _, t := range mine {
				t.conn.Send(frames...)
			}
		}
	}
	delivered := out.Status == deliverySent
	if !known {
		out.Status = deliveryQueued
	}
	if !silent && !delivered && s.cfg.hooks.OnUndelivered != nil {
		s.cfg.hooks.OnUndelivered(ctx, m) // if it panics nobody has the message: the ack has to say so
	}
	fields := append([]byte(`,"id":`), id...)
	fields = append(fields, `,"ts":`...)
	fields = appendMillis(fields, m.Time)
	fields = append(fields, `,"delivery":"`...)
	fields = append(append(fields, out.Status...), '"')
	if s.cfg.hooks.AfterMessage == nil || silent {
		return fields, nil
	}
	s.answer(d, e, fields, nil) // it does not wait for the hook
	s.hook("AfterMessage", func() { s.cfg.hooks.AfterMessage(ctx, m, out) })
	return nil, nil
}

// known reports whether from may learn whether to is online: with the Contacts
// hook, only if to has him as a contact.
func (s *Server) known(ctx context.Context, from, to string) (bool, *Error) {
	if s.cfg.hooks.Contacts == nil || from == to {
		return true, nil
	}
	if known, loaded := s.roster.hasContact(to, from); loaded {
		return known, nil
	}
	contacts, err := s.contacts(ctx, to)
	if err != nil {
		return false, asError(err, CodeUnavailable)
	}
	return slices.Contains(contacts, from), nil
}

var receiptKeys = []string{"senderChatPath", "recipientChatPath", "upToId"}

// receipt is a markAsRead or markAsDelivered.
type receipt struct {
	sender string // of the messages
	reader string
	upToID []byte // nil: all so far
	at     time.Time
	silent bool
}

func (s *Server) receipt(ctx context.Context, d *device, e *socketio.Event) (r receipt, err *Error) {
	var f [3][]byte
	if err := e.Object(receiptKeys, f[:]); err != nil {
		return r, problem(err)
	}
	if r.sender, err = chatPath(f[0], "senderChatPath"); err != nil {
		return r, err
	}
	if r.reader, err = name(f[1], "recipientChatPath"); err != nil {
		return r, err
	}
	if !absent(f[2]) {
		if err = messageID(f[2], "upToId"); err != nil {
			return r, err
		}
		r.upToID = f[2]
	}
	if err = d.self(r.reader, "recipientChatPath"); err != nil {
		return r, err
	}
	r.at = now()
	r.silent, err = s.authorize(ctx, Action{Event: e.Name, From: r.reader, To: r.sender})
	return r, err
}

// event puts together one of the events that tell of a receipt.
func (r *receipt) event(name, key string, rawPath []byte) []*engineio.Frame {
	o := socketio.NewOutgoing(name, nil, 96+len(rawPath)+len(r.upToID))
	o.Raw(`,{"` + key + `":`).Bytes(rawPath)
	if r.upToID != nil {
		o.Raw(`,"upToId":`).Bytes(r.upToID)
	}
	return o.Raw(`,"ts":`).Bytes(appendMillis(nil, r.at)).Raw(`}`).Frames()
}

// tell sends the sender of the messages, on all his devices, what became of
// them.
func (s *Server) tell(d *device, r *receipt, event string) {
	if devices := others(s.registry.devices(r.sender), d); len(devices) > 0 {
		frames := r.event(event, "senderChatPath", quote(r.reader))
		for _, t := range devices {
			t.conn.Send(frames...)
		}
	}
}

// markAsRead tells the sender that his messages were read, and the reader's
// other devices that the conversation is.
func (s *Server) markAsRead(ctx context.Context, d *device, e *socketio.Event) ([]byte, *Error) {
	r, err := s.receipt(ctx, d, e)
	if err != nil || r.silent {
		return nil, err
	}
	s.tell(d, &r, "messagesRead")
	if r.sender != r.reader {
		if mine := others(s.registry.devices(r.reader), d); len(mine) > 0 {
			frames := r.event("conversationRead", "chatPath", quote(r.sender))
			for _, t := range mine {
				t.conn.Send(frames...)
			}
		}
	}
	if s.cfg.hooks.OnRead != nil {
		s.answer(d, e, nil, nil)
		s.hook("OnRead", func() {
			s.cfg.hooks.OnRead(ctx, Read{Reader: r.reader, Sender: r.sender, UpToID: r.upToID, Time: r.at})
		})
	}
	return nil, nil
}

// markAsDelivered tells the sender that his messages have arrived.
func (s *Server) markAsDelivered(ctx context.Context, d *device, e *socketio.Event) ([]byte, *Error) {
	r, err := s.receipt(ctx, d, e)
	if err != nil || r.silent {
		return nil, err
	}
	s.tell(d, &r, "messagesDelivered")
	return nil, nil
}
