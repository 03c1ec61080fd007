package heymanito

import (
	"context"
	"math"
	"strconv"
	"time"

	"github.com/heymanito/heymanito/internal/jsonspan"
	"github.com/heymanito/heymanito/internal/socketio"
)

// A receipt reaches up to a message. How far the receipts of a conversation
// reach, their watermarks, are Marks in the inboxes of the two: the seq of the
// message in its recipient's inbox.

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
	if err = d.within(); err != nil {
		return r, err
	}
	r.at = now()
	r.silent, err = s.authorize(ctx, Action{Event: e.Name, From: r.reader, To: r.sender})
	return r, err
}

// reach finds the message that a receipt reaches up to, and sets its upToID.
// mark is 0 when there is none that the device knows of; strange, when there is
// none at all: a conversation older than what is kept.
func (s *Server) reach(ctx context.Context, d *device, r *receipt) (mark uint64, strange bool, e *Error) {
	k := Key{User: r.reader, Event: eventReceive, Peer: r.sender, ID: string(r.upToID)}
	through := d.feed.position() // what is not sent yet is not read
	if k.ID != "" {
		through = math.MaxUint64
	}
	m, ok, err := s.inbox.Find(ctx, k, through)
	switch {
	case err != nil:
		return 0, false, asError(err, CodeUnavailable)
	case ok:
		r.upToID = []byte(m.ID)
		return m.Seq, false, nil
	case k.ID != "":
		return 0, false, Errorf(CodeNotFound, "upToId names no message of that sender that is known here")
	}
	_, ok, err = s.inbox.Find(ctx, k, math.MaxUint64)
	if err != nil {
		return 0, false, asError(err, CodeUnavailable)
	}
	return 0, !ok, nil
}

// body puts together what one of the events that tell of a receipt carries.
func (r *receipt) body(key, path string) []byte {
	b := make([]byte, 0, 64+len(path)+len(r.upToID))
	b = append(append(b, `{"`...), key...)
	b = jsonspan.Append(append(b, `":`...), path)
	if r.upToID != nil {
		b = append(append(b, `,"upToId":`...), r.upToID...)
	}
	return append(appendMillis(append(b, `,"ts":`...), r.at), '}')
}

// told is the event that tells the sender of the messages, as an entry.
func (r *receipt) told(event, covers string, mark uint64) Entry {
	return Entry{
		Key:  Key{User: r.sender, Event: event, Peer: r.reader, ID: string(r.upToID)},
		Mark: mark, Covers: covers, Time: r.at, Body: r.body("senderChatPath", r.reader),
	}
}

// relay sends a receipt to devices as it is, past every inbox.
func (r *receipt) relay(devices []*device, event, key, path string) {
	if len(devices) == 0 {
		return
	}
	body := r.body(key, path)
	frames := socketio.NewOutgoing(event, nil, len(body)+1).Raw(",").Bytes(body).Frames()
	for _, t := range devices {
		t.conn.Send(frames...)
	}
}

// markAsRead tells the sender that his messages were read, and the reader's
// other devices that the conversation is.
func (s *Server) markAsRead(ctx context.Context, d *device, e *socketio.Event) ([]byte, *Error) {
	r, err := s.receipt(ctx, d, e)
	if err != nil {
		return nil, err
	}
	var mark uint64
	if d.feed != nil {
		m, strange, err := s.reach(ctx, d, &r)
		if err != nil || m == 0 && !strange {
			return nil, err
		}
		mark = m
	}
	if mark == 0 { // nothing is known of the conversation: what the client says goes on as it is
		s.relayRead(ctx, d, e, &r)
		return nil, nil
	}
	entries := []Entry{r.told(eventRead, eventDelivered, mark)}
	if r.sender == r.reader {
		entries[0].Origin = d.SocketID
	} else {
		own := Entry{
			Key:  Key{User: r.reader, Event: eventConvRead, Peer: r.sender, ID: string(r.upToID)},
			Mark: mark, Time: r.at, Body: r.body("chatPath", r.sender), Origin: d.SocketID,
		}
		entries = []Entry{own, entries[0]}
		if r.silent {
			entries = entries[:1]
		}
	}
	d.feed.act()
	receipts, bad := s.inbox.Append(s.ctx, entries...)
	if bad != nil {
		s.doubts.add(entries[0].Key)
		d.feed.idle()
		return nil, asError(bad, CodeUnavailable)
	}
	own := !receipts[0].Duplicate
	news := own
	if own {
		s.doubts.settle(entries[0].Key)
		for i := range entries {
			if !receipts[i].Duplicate {
				s.push(entries[i], receipts[i], d)
			}
		}
	} else if news = s.doubts.settle(entries[0].Key); news {
		s.nudge(r.reader)
		s.nudge(r.sender)
	}
	fields := strconv.AppendUint([]byte(`,"seq":`), receipts[0].Seq, 10)
	d.feed.acted(ctx, receipts[0].Seq, own, e, fields)
	if news && !r.silent {
		s.onRead(ctx, &r)
	}
	return fields, nil
}

// relayRead is markAsRead without an inbox, or of messages that none has.
func (s *Server) relayRead(ctx context.Context, d *device, e *socketio.Event, r *receipt) {
	if r.silent {
		return
	}
	r.relay(others(s.registry.devices(r.sender), d), eventRead, "senderChatPath", r.reader)
	if r.sender != r.reader {
		r.relay(others(s.registry.devices(r.reader), d), eventConvRead, "chatPath", r.sender)
	}
	s.answer(d, e, nil, nil) // it does not wait for the hook
	s.onRead(ctx, r)
}

func (s *Server) onRead(ctx context.Context, r *receipt) {
	if h := s.cfg.hooks.OnRead; h != nil {
		s.hook("OnRead", func() { h(ctx, Read{Reader: r.reader, Sender: r.sender, UpToID: r.upToID, Time: r.at}) })
	}
}

// markAsDelivered tells the sender that his messages have arrived. The server
// finds that out by itself where it has an inbox; a client may say it earlier.
func (s *Server) markAsDelivered(ctx context.Context, d *device, e *socketio.Event) ([]byte, *Error) {
	r, err := s.receipt(ctx, d, e)
	if err != nil {
		return nil, err
	}
	if d.feed != nil { // one that is refused silently is answered like any other
		mark, strange, err := s.reach(ctx, d, &r)
		if err != nil || mark == 0 && !strange || r.sender == r.reader {
			return nil, err
		}
		if mark > 0 && !r.silent {
			if err := s.tellDelivered(&r, mark); err != nil {
				return nil, asError(err, CodeUnavailable)
			}
			return nil, nil
		}
	}
	if !r.silent {
		r.relay(others(s.registry.devices(r.sender), d), eventDelivered, "senderChatPath", r.reader)
	}
	return nil, nil
}

// delivered tells sender that a device of recipient has read his message id, at
// seq of the recipient's inbox, and all before it. A sender who may not know
// whether the recipient is there is told nothing.
func (s *Server) delivered(ctx context.Context, recipient, sender, id string, seq uint64) error {
	if known, err := s.known(ctx, sender, recipient); err != nil {
		return err
	} else if !known {
		return nil
	}
	k := Key{User: recipient, Event: eventReceive, Peer: sender, ID: id}
	if erased, err := s.erased(ctx, k, seq); erased || err != nil {
		return err
	}
	return s.tellDelivered(&receipt{sender: sender, reader: recipient, upToID: []byte(id), at: now()}, seq)
}

// erased reports whether what was at seq with the key k has been erased since: to
// tell its sender would put him, who was forgotten, into the inbox again.
func (s *Server) erased(ctx context.Context, k Key, seq uint64) (bool, error) {
	if _, ok, err := s.inbox.Find(ctx, k, 0); ok || err != nil {
		return false, err
	}
	page, err := s.inbox.Since(ctx, k.User, seq-1, 1) // a bound may have dropped it
	if err != nil || len(page.Entries) == 0 {
		return false, err
	}
	e := &page.Entries[0]
	return e.Seq == seq && e.Event == EventErased, nil
}

func (s *Server) tellDelivered(r *receipt, mark uint64) error {
	e := r.told(eventDelivered, "", mark)
	receipts, err := s.inbox.Append(s.ctx, e)
	switch {
	case err != nil:
		s.doubts.add(e.Key)
		return err
	case !receipts[0].Duplicate:
		s.doubts.settle(e.Key)
		s.push(e, receipts[0], nil)
	case s.doubts.settle(e.Key):
		s.nudge(r.sender)
	}
	return nil
}
