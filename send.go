package heymanito

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	"github.com/heymanito/heymanito/internal/socketio"
)

// Sent is what became of a message that the host has sent.
type Sent struct {
	ID        json.RawMessage // the Message's, or the one that was made
	Seq       uint64          // of the entry in the sender's inbox; 0 [WithoutInbox]
	Time      time.Time       // the server's clock, whole milliseconds
	Delivery  string          // "sent", "queued" or "offline", see [Delivery].Status
	Duplicate bool            // it was sent before: the rest is the first one's
}

// Send sends a message as if a device of m.From had sent it: to every device of
// m.To, by way of his inbox, and as messageSent to those of m.From, who need not
// ever have connected. What it says is the host's own: neither Authorize nor
// BeforeMessage is asked. OnUndelivered and AfterMessage are told.
//
// m.ID is a JSON string or number; nil, and one is made. A message that is sent
// again with the same From, To and ID, within 24 hours at the least, is handled
// once, whoever sends it. m.Time is ignored. Content and SenderProfile are valid
// JSON, or nil, and Attachments are what placeholders in them number; nobody
// changes these bytes afterwards.
//
// Errors are *[Error]: CodeInvalid, CodeTooLarge ([WithMaxPayload]), or
// CodeUnavailable when the inbox fails, or ctx ends before the message is taken:
// then send it again, with the same ID. It is [ErrClosed] after Shutdown, and before
// its end when there are no connections and calls any more.
//
// A hook that sends passes on the ctx that it was given. With any other, Send
// waits when the AfterMessage and OnUndelivered of m.To's messages are far behind,
// as clients do: a hook would wait for itself; and these two, which Shutdown waits
// for, can send to its end. BeforeMessage cannot send the message that it is asked
// about.
func (s *Server) Send(ctx context.Context, m Message) (Sent, error) {
	if s.ctx.Err() != nil || !s.vigils.begin(ctx.Value(hookKey{}) != nil) {
		return Sent{}, ErrClosed
	}
	defer s.vigils.end()
	if m.ID == nil {
		m.ID = quote(rand.Text())
	}
	e, err := s.eventOf(&m)
	if err != nil {
		return Sent{}, err
	}
	var f [5][]byte
	if e.Object(messageKeys, f[:]) != nil {
		return Sent{}, Errorf(CodeInvalid, "Send: Content or SenderProfile nests too deep, or their placeholders do not number Attachments, each once and 10 at most")
	}
	handled := &mail{known: true}
	handled.fill(e, f, m.From, m.To)
	out, err := s.flights.once(ctx, handled.key, &handled.flight, func() (outcome, *Error) { return s.handleMail(ctx, nil, handled) })
	if err != nil {
		return Sent{}, err
	}
	s.afterwards(ctx, handled)
	return Sent{ID: m.ID, Seq: out.seq, Time: out.time, Delivery: out.delivery, Duplicate: out.again}, nil
}

// eventOf is the event with which a client sends m.
func (s *Server) eventOf(m *Message) (*socketio.Event, *Error) {
	if !ValidChatPath(m.From) || !ValidChatPath(m.To) {
		return nil, Errorf(CodeInvalid, "Send: From is %.80q and To is %.80q, which must both be chatPaths", m.From, m.To)
	}
	b := append([]byte(`,{"senderChatPath":`), quote(m.From)...)
	b = append(append(b, `,"recipientChatPath":`...), quote(m.To)...)
	for _, part := range []struct {
		key   string
		value json.RawMessage
	}{{"id", m.ID}, {"content", m.Content}, {"senderProfile", m.SenderProfile}} {
		if part.value == nil {
			continue
		}
		if !json.Valid(part.value) {
			return nil, Errorf(CodeInvalid, "Send: the message's %s is not JSON", part.key)
		}
		b = append(append(append(b, `,"`...), part.key...), `":`...)
		b = append(b, part.value...)
	}
	b = append(b, '}')
	if err := messageID(m.ID, "Send: ID"); err != nil {
		return nil, err
	}
	size := len(b)
	for _, a := range m.Attachments {
		size += len(a)
	}
	if size > s.cfg.maxPayload {
		return nil, Errorf(CodeTooLarge, "Send: the message has %d bytes, %d are allowed (WithMaxPayload)", size, s.cfg.maxPayload)
	}
	return socketio.NewEvent("sendMessage", b, m.Attachments), nil
}
