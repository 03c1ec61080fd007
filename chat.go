package heymanito

import (
	"context"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/jsonspan"
	"github.com/heymanito/heymanito/internal/socketio"
)

// Where a message is when its sender gets the ack.
const (
	deliverySent    = "sent"    // written to a device of the recipient that is live
	deliveryQueued  = "queued"  // in the recipient's inbox; or nothing that the sender may know is said
	deliveryOffline = "offline" // no device and no inbox: OnUndelivered has it
)

var messageKeys = []string{"id", "senderChatPath", "recipientChatPath", "content", "senderProfile"}

// outcome is what became of a message, as its ack says it.
type outcome struct {
	seq      uint64 // of the sender's entry
	own      bool   // which is this very event's
	time     time.Time
	delivery string
	again    bool // it was handled before
}

// sendMessage carries a message to every device of its recipient, and to the
// other devices of its sender, by way of their inboxes. The same message again
// is handled once.
func (s *Server) sendMessage(ctx context.Context, d *device, e *socketio.Event) ([]byte, *Error) {
	var f [5][]byte
	if err := e.Object(messageKeys, f[:]); err != nil {
		return nil, problem(err)
	}
	if err := messageID(f[0], "id"); err != nil {
		return nil, err
	}
	from, err := d.itself(f[1], "senderChatPath")
	if err != nil {
		return nil, err
	}
	to, err := s.chatPath(f[2], "recipientChatPath")
	if err != nil {
		return nil, err
	}
	if err := d.self(from, "senderChatPath"); err != nil {
		return nil, err
	}
	if err := d.within(); err != nil {
		return nil, err
	}
	silent, err := s.authorize(ctx, Action{Event: e.Name, From: from, To: to})
	if err != nil {
		return nil, err
	}
	known, err := s.known(ctx, from, to)
	if err != nil {
		return nil, err
	}
	m, _ := s.mails.Get().(*mail)
	if m == nil {
		m = new(mail)
	}
	m.fill(e, f, from, to)
	m.silent, m.known = silent, known
	fly := func() (outcome, *Error) { return s.handleMail(ctx, d, m) }
	out, err := s.flights.once(ctx, m.key, &m.flight, fly)
	if err != nil {
		return nil, err
	}
	fields := m.ack(m.fields[:0], out, s.cfg.keep)
	if d.feed == nil {
		s.answer(d, e, fields, nil) // it does not wait for the hooks
	} else {
		d.feed.acted(ctx, out.seq, out.own, e, fields)
	}
	s.afterwards(ctx, m)
	if m.flight.done == nil { // else somebody may look at it still
		*m = mail{fields: fields}
		s.mails.Put(m)
	}
	return nil, nil // it was answered
}

// afterwards has the hooks told of a message that they need not wait to be told
// of, and waits for those that are behind.
func (s *Server) afterwards(ctx context.Context, m *mail) {
	switch {
	case m.watch == nil:
	case m.kept:
		s.vigils.wait(ctx, m.To)
	case !s.cfg.keep: // it was settled at once
		s.afterMessage(m.watch)
	default:
		s.settled(m.watch)
	}
}

// mail is a message being handled.
type mail struct {
	Message
	key      Key // of the sender's entry
	body     []byte
	silent   bool
	known    bool // the sender may know whether the recipient is there
	watch    *watch
	kept     bool // the vigils have it
	flight   flight
	entries  [2]Entry // what the inbox is given
	receipts [2]Receipt
	fields   []byte // of the ack
}

// fill puts the message of an event together once, so that it can be kept: the
// Message's slices are parts of its body.
func (m *mail) fill(e *socketio.Event, f [5][]byte, from, to string) {
	m.Message = Message{From: from, To: to, Time: now()}
	o := socketio.NewValue(e, 128+len(f[0])+len(f[1])+len(f[2])+len(f[3])+len(f[4]))
	var at [5][2]int
	for i, key := range messageKeys {
		if f[i] == nil {
			continue // absent stays absent
		}
		o.Raw(`,"`).Raw(key).Raw(`":`)
		at[i][0] = o.Len()
		o.Value(f[i])
		at[i][1] = o.Len()
	}
	m.body, m.Attachments = o.Raw(`,"ts":`).Int(m.Time.UnixMilli()).Raw("}").Body()
	m.body[0] = '{'
	part := func(i int) []byte {
		if f[i] == nil {
			return nil
		}
		return m.body[at[i][0]:at[i][1]:at[i][1]]
	}
	m.ID, m.Content, m.SenderProfile = part(0), part(3), part(4)
	event := eventSent
	if from == to {
		event = eventReceive // a message to oneself is one entry
	}
	m.key = Key{User: from, Event: event, Peer: to, ID: string(m.ID)}
}

// recipientKey is the key of the recipient's entry.
func (m *mail) recipientKey() Key {
	return Key{User: m.To, Event: eventReceive, Peer: m.From, ID: m.key.ID}
}

func (m *mail) entry(k Key, origin, note string) Entry {
	return Entry{Key: k, Time: m.Time, Body: m.body, Attachments: m.Attachments, Origin: origin, Note: note}
}

func (m *mail) ack(fields []byte, out outcome, keep bool) []byte {
	fields = append(append(fields, `,"id":`...), m.ID...)
	if keep {
		fields = append(fields, `,"seq":`...)
		fields = strconv.AppendUint(fields, out.seq, 10)
	}
	fields = append(fields, `,"ts":`...)
	fields = appendMillis(fields, out.time)
	fields = append(fields, `,"delivery":"`...)
	fields = append(append(fields, out.delivery...), '"')
	if out.again {
		fields = append(fields, `,"duplicate":true`...)
	}
	return fields
}

// handleMail stores a message and hands it on, unless it was before. d is the
// device that it comes from, nil if the host sends it.
func (s *Server) handleMail(ctx context.Context, d *device, m *mail) (out outcome, err *Error) {
	if before := s.cfg.hooks.BeforeMessage; before != nil && !m.silent && d != nil {
		if was, ok, err := s.inbox.Find(ctx, m.key, 0); err != nil {
			return out, asError(err, CodeUnavailable)
		} else if ok {
			return s.again(ctx, m, was.Receipt)
		}
		began := time.Now()
		m.silent, err = verdict(before(ctx, m.Message), CodeUnavailable)
		s.numbers.hooks.since("BeforeMessage", began)
		if err != nil {
			return out, err
		}
	}
	out.time, out.own = m.Time, true
	if !s.cfg.keep {
		return s.relayMail(ctx, d, m, out)
	}
	out.delivery = s.foresee(d, m)
	entries := append(m.entries[:0], m.entry(m.key, d.origin(), out.delivery))
	if m.From != m.To && !m.silent {
		entries = append(entries, m.entry(m.recipientKey(), "", ""))
	}
	d.acts()
	receipts, bad := s.inbox.append(s.ctx, m.receipts[:len(entries)], entries)
	if bad != nil {
		s.doubts.add(m.key)
		d.idles()
		return out, asError(bad, CodeUnavailable)
	}
	if receipts[0].Duplicate {
		if out, err = s.again(ctx, m, receipts[0]); err != nil {
			d.idles()
		}
		return out, err
	}
	s.doubts.settle(m.key)
	out.seq = receipts[0].Seq
	if !m.silent {
		last := len(entries) - 1
		s.watchOver(m, receipts[last].Seq, out.delivery)
		s.push(entries[last], receipts[last], d)
	}
	if m.From != m.To {
		s.push(entries[0], receipts[0], d)
	}
	return out, nil
}

// watchOver sees to it that the hooks learn who has the message. It comes before the
// message does, to whoever can show that he has it.
func (s *Server) watchOver(m *mail, seq uint64, status string) {
	if s.vigils.wanted() {
		m.watch = &watch{m: m.Message, seq: seq, status: status}
		m.kept = s.vigils.keep(m.watch)
	}
}

// again is the outcome of a message that was handled before. If that was by an
// Append that has failed, nobody was told then.
func (s *Server) again(ctx context.Context, m *mail, r Receipt) (outcome, *Error) {
	if s.doubts.settle(m.key) {
		if err := s.recall(ctx, m, r); err != nil {
			s.doubts.add(m.key)
			return outcome{}, asError(err, CodeUnavailable)
		}
		s.nudge(m.From)
		s.nudge(m.To)
	}
	return m.again(r), nil
}

// recall watches over a message that was stored before: as it is stored, not as
// it was sent again. The hooks are told nothing of one that a bound has dropped
// since.
func (s *Server) recall(ctx context.Context, m *mail, r Receipt) error {
	if m.silent || !s.vigils.wanted() {
		return nil
	}
	was, ok, err := s.inbox.Find(ctx, m.recipientKey(), 0)
	if err != nil || !ok {
		return err
	}
	page, err := s.inbox.Since(ctx, m.To, was.Seq-1, 1)
	if err != nil || len(page.Entries) == 0 || page.Entries[0].Seq != was.Seq || page.Entries[0].Event != eventReceive {
		return err // dropped, or erased, meanwhile
	}
	m.stored(&page.Entries[0])
	s.watchOver(m, was.Seq, r.Note)
	return nil
}

// stored makes m what is stored of it.
func (m *mail) stored(e *Entry) {
	var f [5][]byte
	_, err := jsonspan.Object(e.Body, 0, math.MaxInt, messageKeys, f[:])
	if err == nil { // else the store has changed it
		m.Time, m.Content, m.SenderProfile, m.Attachments = e.Time, f[3], f[4], e.Attachments
	}
}

func (m *mail) again(r Receipt) outcome {
	return outcome{seq: r.Seq, time: r.Time, delivery: r.Note, again: true}
}

// foresee says what the ack of a message will say, now and whenever it is sent
// again: it is stored with the message, before that goes to any device. A device
// that breaks off between the two leaves a sent behind that is as true as if it
// had broken off a moment later.
func (s *Server) foresee(d *device, m *mail) string {
	if m.known {
		for _, t := range s.registry.devices(m.To) {
			if t != d && t.feed.live() {
				return deliverySent
			}
		}
	}
	return deliveryQueued
}

// relayMail is handleMail without an inbox: what is not delivered now is not
// delivered.
func (s *Server) relayMail(ctx context.Context, d *device, m *mail, out outcome) (outcome, *Error) {
	if was, ok, err := s.inbox.Find(ctx, m.key, 0); err != nil {
		return out, asError(err, CodeUnavailable)
	} else if ok {
		return m.again(was.Receipt), nil
	}
	var reached []*device
	there := len(others(s.registry.devices(m.To), d)) > 0
	if !m.silent {
		reached = s.relayTo(m, d)
		there = len(reached) > 0
		if m.From != m.To {
			if mine := others(s.registry.devices(m.From), d); len(mine) > 0 {
				frames := m.frames(eventSent)
				for _, t := range mine {
					t.conn.Send(frames...)
				}
			}
		}
		if len(reached) == 0 && s.cfg.hooks.OnUndelivered != nil {
			began := time.Now()
			s.cfg.hooks.OnUndelivered(s.hookCtx, m.Message) // if it panics nobody has the message: the ack has to say so
			s.numbers.hooks.since("OnUndelivered", began)
		}
	}
	switch out.delivery = deliveryOffline; {
	case !m.known:
		out.delivery = deliveryQueued
	case there:
		out.delivery = deliverySent
	}
	if !m.silent {
		m.watch = &watch{m: m.Message, status: out.delivery, given: reached}
	}
	known := Entry{Key: m.key, Time: m.Time, Body: []byte(`{"ts":0}`), Note: out.delivery}
	if _, err := s.inbox.Append(s.ctx, known); err != nil {
		return out, asError(err, CodeUnavailable)
	}
	return out, nil
}

// relayTo sends a message to the devices of its recipient, until one lives, and
// returns those that took it.
func (s *Server) relayTo(m *mail, d *device) (reached []*device) {
	var frames []*engineio.Frame
	var tried []*device
	for more := true; more && len(reached) == 0; {
		more = false
		for _, t := range s.registry.devices(m.To) {
			if t == d || slices.Contains(tried, t) {
				continue
			}
			if frames == nil {
				frames = m.frames(eventReceive)
			}
			if t.conn.Send(frames...) {
				reached = append(reached, t)
			}
			// If none of them lives any more, a device that has connected
			// meanwhile gets it: there may have been one at every moment.
			tried = append(tried, t)
			more = true
		}
	}
	return reached
}

// frames is the message as it goes to devices without an inbox.
func (m *mail) frames(event string) []*engineio.Frame {
	return socketio.NewOutgoing(event, nil, len(m.body)+1).Raw(",").Bytes(m.body).Attach(m.Attachments).Frames()
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
