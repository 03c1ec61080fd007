package torture

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// violation is a broken promise.
type violation struct {
	rule rule
	text string
}

// rule is one promise of docs/protocol.md.
type rule string

const (
	ruleSettled    rule = "everybody comes to rest"              // at the end all have all, and nothing moves
	ruleAck        rule = "every event is acked once, in order"  // of one connection
	ruleError      rule = "what is right is not refused"         //
	ruleDuplicate  rule = "sent again is acked as the first was" // seq, ts, delivery
	ruleStored     rule = "acked is stored"                      // in both inboxes, where the ack says
	ruleOnce       rule = "handled once"                         // one entry for an id
	ruleSent       rule = "nothing that was never sent"          //
	ruleContent    rule = "byte for byte"                        // the same for all
	ruleSeq        rule = "seq grows by one"                     // at a device, from its position
	ruleReplay     rule = "inboxReady ends the replay"           //
	ruleEpoch      rule = "one epoch, nothing dropped"           //
	ruleOrder      rule = "in the order sent"                    // by one sender
	ruleExactly    rule = "since: exactly once"                  //
	ruleAtLeast    rule = "stock: at least once"                 // on some device of the user
	ruleTrue       rule = "receipts are true"                    //
	ruleForward    rule = "receipts only go forward"             //
	ruleTick       rule = "ticks become true"                    // at the end
	ruleUnexpected rule = "only events that we know"             //
)

// check reports what in h breaks a promise. In every history that it is given
// each user has one audit log: a device with since that was new at the end, and
// was told everything that is kept.
func check(h *history) []violation {
	c := &checker{restarts: h.restarts, boxes: map[string]*box{}, mail: map[mailKey]*mail{}}
	for _, l := range h.devices {
		c.collect(l)
	}
	for _, l := range h.devices {
		if l.audit {
			c.open(l)
		}
	}
	for _, l := range h.devices {
		if c.boxes[l.user] == nil {
			c.broken(ruleSettled, "%s: nobody knows what is in the inbox of %s", l.device, l.user)
			return c.found
		}
	}
	for _, l := range h.devices {
		c.connections(l)
		c.told(l)
	}
	c.evidence(h)
	for key, m := range c.mail {
		c.message(key, m)
	}
	for _, l := range h.devices {
		c.sentInOrder(l)
	}
	c.ackedInOrder(h)
	for _, b := range c.boxes {
		c.receipts(b)
	}
	c.completeness(h)
	slices.SortStableFunc(c.found, func(a, b violation) int {
		return cmp.Or(cmp.Compare(a.rule, b.rule), cmp.Compare(a.text, b.text))
	})
	return c.found
}

type checker struct {
	restarts bool
	boxes    map[string]*box // by user
	mail     map[mailKey]*mail
	epoch    string
	found    []violation
}

// mailKey is what makes a message unique.
type mailKey struct{ from, to, id string }

func (k mailKey) String() string { return fmt.Sprintf("%s→%s %s", k.from, k.to, k.id) }

// mail is what was said of one message.
type mail struct {
	emitted []*record // in no order
	first   uint64    // when it was first emitted
	acks    []*record // ok
	ackers  []string  // the devices that had them
	acked   uint64    // when the first ok came; never: MaxUint64
	failed  bool      // an ack was an error
}

// box is a user's inbox, as the auditor was told of it.
type box struct {
	user    string
	entries []*record          // by seq-1
	place   map[mailKey]uint64 // the seq of receiveMessage
	sent    map[mailKey]uint64 // the seq of messageSent; of a message to oneself, of receiveMessage
	heard   []uint64           // by seq-1: when a device was first told of it
	given   []uint64           // by seq-1: when a device had first shown that it has it
	marks   map[string][]mark  // by the sender of the messages: what the user said of them
	due     map[string]uint64  // by the sender: up to where that was read, as was acked
}

const never = uint64(math.MaxUint64)

func (c *checker) broken(r rule, format string, args ...any) {
	c.found = append(c.found, violation{r, fmt.Sprintf(format, args...)})
}

func (r *record) key() mailKey { return mailKey{r.from, r.to, r.id} }

func (r *record) String() string {
	return fmt.Sprintf("%s #%d (%s→%s %s, ts %d)", r.event, r.seq, r.from, r.to, r.id, r.ts)
}

// collect indexes what was said of messages.
func (c *checker) collect(l *log) {
	for i := range l.records {
		r := &l.records[i]
		if r.event != sendMessage || r.what != emitted && r.what != answered {
			continue
		}
		m := c.mail[r.key()]
		if m == nil {
			m = &mail{first: never, acked: never}
			c.mail[r.key()] = m
		}
		switch {
		case r.what == emitted:
			m.emitted = append(m.emitted, r)
			m.first = min(m.first, r.at)
		case r.code != "":
			m.failed = true
		default:
			m.acks = append(m.acks, r)
			m.ackers = append(m.ackers, l.device)
			m.acked = min(m.acked, r.at)
		}
	}
}

// open takes an auditor's word for what is in an inbox.
func (c *checker) open(l *log) {
	b := &box{user: l.user, place: map[mailKey]uint64{}, sent: map[mailKey]uint64{}, marks: map[string][]mark{}, due: map[string]uint64{}}
	for i := range l.records {
		r := &l.records[i]
		if r.what != arrived || r.seq == 0 {
			continue
		}
		if r.seq != uint64(len(b.entries))+1 {
			continue // connections says so
		}
		b.entries = append(b.entries, r)
		places := []map[mailKey]uint64(nil)
		switch {
		case r.event == receiveMessage && r.from == r.to:
			places = []map[mailKey]uint64{b.place, b.sent}
		case r.event == receiveMessage:
			places = []map[mailKey]uint64{b.place}
		case r.event == messageSent:
			places = []map[mailKey]uint64{b.sent}
		}
		for _, p := range places {
			if was := p[r.key()]; was != 0 && was != r.seq {
				c.broken(ruleOnce, "%s: %v is there already as #%d", l.user, r, was)
			}
			p[r.key()] = r.seq
		}
	}
	b.heard = slices.Repeat([]uint64{never}, len(b.entries))
	b.given = slices.Clone(b.heard)
	c.boxes[l.user] = b
}

// told checks what a device was told against what is in the inbox.
func (c *checker) told(l *log) {
	b := c.boxes[l.user]
	for i := range l.records {
		r := &l.records[i]
		switch {
		case r.what != arrived || r.event == onlineUsers:
			continue
		case r.event == receiveMessage && r.to == l.user,
			r.event == messageSent && r.from == l.user,
			r.event == messagesDelivered && r.from == l.user,
			r.event == messagesRead && r.from == l.user,
			r.event == conversationRead && r.to == l.user:
		default:
			c.broken(ruleUnexpected, "%s/%d: %v", l.device, r.conn, r)
		}
		if r.event == receiveMessage || r.event == messageSent {
			m := c.mail[r.key()]
			switch {
			case m == nil || m.first > r.at:
				c.broken(ruleSent, "%s/%d: %v", l.device, r.conn, r)
			case !m.carries(r.body):
				c.broken(ruleContent, "%s/%d: %v carries something else", l.device, r.conn, r)
			}
		}
		if r.seq == 0 || l.audit {
			continue
		}
		if r.seq > uint64(len(b.entries)) {
			c.broken(ruleStored, "%s/%d: %v was told, and is not in the inbox", l.device, r.conn, r)
			continue
		}
		if e := b.entries[r.seq-1]; e.event != r.event || e.key() != r.key() || e.ts != r.ts || e.body != r.body {
			c.broken(ruleContent, "%s/%d: was told %v, the inbox has %v", l.device, r.conn, r, e)
		}
	}
}

// carries reports whether a message may carry body: what it was first sent
// with, or one of them where it is not known which was first.
func (m *mail) carries(body digest) bool {
	return slices.ContainsFunc(m.emitted, func(r *record) bool { return r.body == body && r.at < m.acked })
}

// message checks what was acked, against where it is.
func (c *checker) message(key mailKey, m *mail) {
	if len(m.acks) == 0 {
		return
	}
	to, from := c.boxes[key.to], c.boxes[key.from]
	first := m.acks[0]
	news := 0
	for i, a := range m.acks {
		if a.seq != first.seq || a.ts != first.ts || a.delivery != first.delivery {
			c.broken(ruleDuplicate, "%s: %v was acked #%d, ts %d, %s; and to %s #%d, ts %d, %s", m.ackers[i], key,
				a.seq, a.ts, a.delivery, m.ackers[0], first.seq, first.ts, first.delivery)
		}
		if !a.duplicate {
			news++
		} else if len(m.emitted) == 1 {
			c.broken(ruleDuplicate, "%s: %v was acked as a duplicate, and was sent once", m.ackers[i], key)
		}
		if a.delivery != "sent" && a.delivery != "queued" {
			c.broken(ruleStored, "%s: %v was acked %q", m.ackers[i], key, a.delivery)
		}
	}
	if news > 1 {
		c.broken(ruleOnce, "%v was acked as new %d times", key, news)
	}
	switch at := from.sent[key]; {
	case at == 0:
		c.broken(ruleStored, "%v was acked, and is not in the inbox of its sender", key)
	case at != first.seq || from.entries[at-1].ts != first.ts:
		c.broken(ruleStored, "%v was acked as #%d, ts %d, and is %v", key, first.seq, first.ts, from.entries[at-1])
	}
	switch at := to.place[key]; {
	case at == 0:
		c.broken(ruleStored, "%v was acked, and is not in the inbox of its recipient", key)
	case to.entries[at-1].ts != first.ts:
		c.broken(ruleContent, "%v was acked with ts %d, and is %v", key, first.ts, to.entries[at-1])
	}
}

// sentInOrder checks that what one connection sent is in the inboxes in the
// order in which it was sent, and without holes.
func (c *checker) sentInOrder(l *log) {
	conn := 0
	var last map[string]uint64 // by recipient, and "" for the sender's own inbox
	var lost []*record         // sent in this connection, and nowhere
	type call struct{ conn, call int }
	news := map[call]bool{} // that were acked as new
	for i := range l.records {
		if r := &l.records[i]; r.what == answered && r.code == "" && !r.duplicate {
			news[call{r.conn, r.call}] = true
		}
	}
	for i := range l.records {
		r := &l.records[i]
		if r.what != emitted || r.event != sendMessage {
			continue
		}
		if r.conn != conn || last == nil {
			conn, last, lost = r.conn, map[string]uint64{}, nil
		}
		m := c.mail[r.key()]
		own, there := c.boxes[r.from].sent[r.key()], c.boxes[r.to].place[r.key()]
		if own == 0 && there == 0 {
			if !m.failed {
				lost = append(lost, r)
			}
			continue
		}
		if len(m.emitted) == 1 || news[call{r.conn, r.call}] { // it was handled here, and all before it
			if there != 0 && there < last[r.to] || own != 0 && own < last[""] {
				c.broken(ruleOrder, "%s/%d: %v is in front of what was sent before it", l.device, r.conn, r.key())
			}
			for _, was := range lost {
				c.broken(ruleOrder, "%s/%d: %v has arrived, and not %v, which was sent before it", l.device, r.conn, r.key(), was.key())
			}
			lost = nil
		}
		last[r.to] = max(last[r.to], there)
		last[""] = max(last[""], own)
	}
}

// ackedInOrder checks that what was sent after an ack, from whichever device of
// the sender, is behind what was acked.
func (c *checker) ackedInOrder(h *history) {
	byUser := map[string][]*record{}
	for _, l := range h.devices {
		for i := range l.records {
			r := &l.records[i]
			if r.event != sendMessage || r.what == answered && r.code != "" {
				continue
			}
			if r.what == answered || r.what == emitted && c.mail[r.key()].first == r.at {
				byUser[l.user] = append(byUser[l.user], r)
			}
		}
	}
	for user, records := range byUser {
		slices.SortFunc(records, func(a, b *record) int { return cmp.Compare(a.at, b.at) })
		last := map[string]uint64{}
		for _, r := range records {
			own, there := c.boxes[user].sent[r.key()], c.boxes[r.to].place[r.key()]
			switch {
			case r.what == answered:
				last[r.to] = max(last[r.to], there)
				last[""] = max(last[""], own)
			case there != 0 && there < last[r.to] || own != 0 && own < last[""]:
				c.broken(ruleOrder, "%v is in front of what was acked before it was sent", r.key())
			}
		}
	}
}

// completeness checks that all have all.
func (c *checker) completeness(h *history) {
	has := map[string][]bool{} // of users without a device with since
	for _, l := range h.devices {
		b := c.boxes[l.user]
		if !l.settled {
			c.broken(ruleSettled, "%s was not up to date at the end", l.device)
		}
		if l.since {
			c.exactly(l, b)
			continue
		}
		if has[l.user] == nil {
			has[l.user] = make([]bool, len(b.entries))
		}
		for i := range l.records {
			r := &l.records[i]
			if r.seq == 0 || r.seq > uint64(len(b.entries)) {
				continue
			}
			if r.what == called || r.what == arrived && (!l.acks || r.event != receiveMessage) {
				has[l.user][r.seq-1] = true
			}
		}
	}
	for _, l := range h.devices {
		if l.since && !l.audit { // what such a device has need not be sent to a stock one
			delete(has, l.user)
		}
	}
	for user, has := range has {
		for i, e := range c.boxes[user].entries {
			switch {
			case has[i]:
			case e.event == messageSent, e.event == conversationRead, e.event == receiveMessage && e.from == e.to,
				e.event == messagesRead && e.from == e.to:
				// one of his devices has done that
			default:
				c.broken(ruleAtLeast, "%s has no device that was told %v", user, e)
			}
		}
	}
}

// exactly checks that a device with since was told of every entry once, or
// acted for it.
func (c *checker) exactly(l *log, b *box) {
	has := make([]bool, len(b.entries))
	for i := range l.records {
		r := &l.records[i]
		if r.what == opened && r.epoch == "" {
			clear(has) // without an epoch what came is worth nothing
		}
		if r.seq == 0 || r.seq > uint64(len(has)) || r.code != "" {
			continue
		}
		switch {
		case r.what == arrived && has[r.seq-1]:
			c.broken(ruleExactly, "%s/%d: %v came again", l.device, r.conn, r)
		case r.what == arrived, r.what == answered:
			has[r.seq-1] = true
		}
	}
	for i, ok := range has {
		if !ok {
			c.broken(ruleExactly, "%s has never been told %v", l.device, b.entries[i])
		}
	}
}
