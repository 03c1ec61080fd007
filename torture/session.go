package torture

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// session is one connection of a device, as the app has it: events, acks,
// callbacks.
type session struct {
	d         *device
	number    int
	client    *client
	abandoned bool // left, with its line still there; of the device's goroutine

	// The device's mu guards the rest.
	left     bool // the device listens no more
	joined   bool
	ready    bool
	refused  string
	pos      uint64 // the seq of the last entry
	events   int
	dieAt    int // after so many events the line is cut; 0: not
	lastCall int
	calls    map[int]call
	owed     []owed        // callbacks that were not called
	partial  *partial      // an event that waits for its attachments
	change   chan struct{} // closed at the next change
}

// call is what waits for an ack.
type call struct {
	r record
	m *letter
}

// owed is the callback of a receiveMessage.
type owed struct {
	id  string
	seq uint64
	key mailKey
}

type partial struct {
	head        header
	args        string
	left        int
	attachments [][]byte
}

// header is what a Socket.IO packet says before its arguments.
type header struct {
	kind byte
	ack  string
}

func (s *session) changed() { // with mu
	close(s.change)
	s.change = make(chan struct{})
}

// take takes a packet. It reports false when the device does not listen.
func (s *session) take(p packet) bool {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if s.left {
		return false
	}
	defer s.changed()
	switch {
	case p.binary != nil:
		if s.partial == nil {
			s.d.storm.wrong("%s: an attachment without its event", s.d.log.device)
			return true
		}
		s.partial.attachments = append(s.partial.attachments, p.binary)
		if s.partial.left--; s.partial.left == 0 {
			full := s.partial
			s.partial = nil
			s.packet(full.head, full.args, full.attachments)
		}
	case !strings.HasPrefix(p.text, "4"): // a ping, a noop
	default:
		h, args, n, err := parse(p.text[1:])
		switch {
		case err != nil || s.partial != nil:
			s.d.storm.wrong("%s: %.200q: %v, partial %v", s.d.log.device, p.text, err, s.partial != nil)
		case n > 0:
			s.partial = &partial{head: h, args: args, left: n}
		default:
			s.packet(h, args, nil)
		}
	}
	return !s.left
}

// parse reads the front of a Socket.IO packet.
func parse(p string) (h header, args string, attachments int, err error) {
	if p == "" {
		return h, "", 0, fmt.Errorf("an empty packet")
	}
	h.kind, p = p[0], p[1:]
	if h.kind == '5' || h.kind == '6' {
		n, rest, ok := strings.Cut(p, "-")
		if attachments, err = strconv.Atoi(n); err != nil || !ok {
			return h, "", 0, fmt.Errorf("bad number of attachments: %w", err)
		}
		p = rest
	}
	i := strings.IndexAny(p, "[{")
	if i < 0 {
		return h, "", attachments, nil
	}
	h.ack = p[:i]
	return h, p[i:], attachments, nil
}

// said is what events and acks of the server may carry.
type said struct {
	ID, UpToID, Content, SenderProfile          json.RawMessage
	SenderChatPath, RecipientChatPath, ChatPath string
	Seq                                         uint64
	TS                                          int64
	Epoch                                       string
	Complete                                    bool
	Status, Code, Delivery                      string
	Duplicate                                   bool
}

// packet takes a whole packet. With mu.
func (s *session) packet(h header, args string, attachments [][]byte) {
	d := s.d
	switch h.kind {
	case '0':
		s.joined = true
		return
	case '1', '4':
		s.refused = args
		d.storm.wrong("%s: refused: %c%s", d.log.device, h.kind, args)
		return
	}
	if h.kind == '3' || h.kind == '6' {
		s.ack(h.ack, args)
		return
	}
	name, rest, ok := strings.Cut(strings.TrimPrefix(args, `["`), `"`)
	switch name {
	case "contact_online", "contact_offline":
		return
	case onlineUsers:
		d.note(record{what: arrived, conn: s.number, event: name})
		return
	}
	var what said
	if !ok || !strings.HasPrefix(rest, ",") || json.Unmarshal([]byte(rest[1:len(rest)-1]), &what) != nil {
		d.storm.wrong("%s: %.200q", d.log.device, args)
		return
	}
	s.event(name, h.ack, &what, attachments)
}

// event takes an event that is about messages. With mu.
func (s *session) event(name, ack string, e *said, attachments [][]byte) {
	d := s.d
	r := record{what: arrived, conn: s.number, event: name, seq: e.Seq, ts: e.TS}
	switch name {
	case "inboxReady":
		d.note(record{what: ready, conn: s.number, seq: e.Seq, epoch: e.Epoch, complete: e.Complete})
		s.ready, s.pos = true, e.Seq
		d.epoch, d.pos = e.Epoch, e.Seq
		return
	case receiveMessage, messageSent:
		r.from, r.to, r.id = e.SenderChatPath, e.RecipientChatPath, string(e.ID)
		r.body = digestOf(e.Content, e.SenderProfile, attachments)
	case messagesDelivered, messagesRead:
		r.from, r.to, r.id = d.log.user, e.SenderChatPath, string(e.UpToID)
	case conversationRead:
		r.from, r.to, r.id = e.ChatPath, d.log.user, string(e.UpToID)
	}
	d.note(r)
	if e.Seq > 0 {
		s.pos, d.pos = e.Seq, e.Seq
	}
	if name == receiveMessage {
		if ids := append(d.recent[r.from], r.id); len(ids) > 8 {
			d.recent[r.from] = ids[1:]
		} else {
			d.recent[r.from] = ids
		}
		if ack != "" {
			s.owed = append(s.owed, owed{ack, e.Seq, r.key()})
			d.storm.count("callbacks")
		}
	}
	if s.events++; s.dieAt > 0 && s.events >= s.dieAt {
		s.left = true
		d.note(record{what: closed, conn: s.number})
		if !s.ready {
			d.storm.count("died during the replay")
		}
		s.client.end(errCut)
	}
}

// ack takes an ack. With mu.
func (s *session) ack(id, args string) {
	d := s.d
	n, err := strconv.Atoi(id)
	var as []said
	if err != nil || json.Unmarshal([]byte(args), &as) != nil || len(as) != 1 {
		d.storm.wrong("%s: ack %q %.200s", d.log.device, id, args)
		return
	}
	a := as[0]
	c, asked := s.calls[n]
	delete(s.calls, n)
	r := c.r
	r.what, r.conn, r.call = answered, s.number, n
	r.seq, r.ts, r.delivery, r.duplicate = a.Seq, a.TS, a.Delivery, a.Duplicate
	if a.Status != "ok" {
		r.code = a.Code
		if r.code == "" {
			r.code = "no status"
		}
	}
	d.note(r)
	if !asked || r.code != "" {
		if r.code != "" {
			d.storm.count("refused: " + r.code)
			if d.calm && c.m != nil { // nobody tries for ever
				d.settle(c.m)
			}
		}
		return
	}
	if r.seq > s.pos {
		s.pos, d.pos = r.seq, r.seq
	}
	if c.m != nil {
		if string(a.ID) != c.m.id {
			d.storm.wrong("%s: the ack of %s has id %s", d.log.device, c.m.id, a.ID)
		}
		d.storm.count("acked " + a.Delivery)
		if a.Duplicate {
			d.storm.count("acked duplicates")
		}
		d.settle(c.m)
	}
}

// emit sends a message, and asks for an ack.
func (s *session) emit(m *letter) error {
	return s.client.send(s.prepare(m)...)
}

// prepare takes note of a message that goes out next.
func (s *session) prepare(m *letter) []packet {
	d := s.d
	d.mu.Lock()
	defer d.mu.Unlock()
	s.lastCall++
	r := record{
		what: emitted, conn: s.number, event: sendMessage, call: s.lastCall,
		from: m.from, to: m.to, id: m.id, body: m.body,
	}
	s.calls[s.lastCall] = call{r, m}
	d.note(r)
	return m.packets(s.lastCall)
}

// receipt sends a receipt for what from has sent; id may be empty.
func (s *session) receipt(event, from, id string, stranger bool) error {
	d := s.d
	d.mu.Lock()
	s.lastCall++
	n := s.lastCall
	r := record{
		what: emitted, conn: s.number, event: event, call: n,
		from: from, to: d.log.user, id: id, stranger: stranger,
	}
	s.calls[n] = call{r: r}
	d.note(r)
	d.mu.Unlock()
	upTo := ""
	if id != "" {
		upTo = `,"upToId":` + id
	}
	return s.client.send(packet{text: fmt.Sprintf(`42%d[%q,{"senderChatPath":%q,"recipientChatPath":%q%s}]`, n, event, from, d.log.user, upTo)})
}

// callBack calls the callbacks that are owed.
func (s *session) callBack() error {
	d := s.d
	d.mu.Lock()
	var packets []packet
	for _, o := range s.owed {
		d.note(record{what: called, conn: s.number, event: receiveMessage, from: o.key.from, to: o.key.to, id: o.key.id, seq: o.seq})
		packets = append(packets, packet{text: "43" + o.id + "[]"})
	}
	s.owed = nil
	d.mu.Unlock()
	return s.client.send(packets...)
}
