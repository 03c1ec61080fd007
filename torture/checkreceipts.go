package torture

import "slices"

// mark is a receipt that a user gave.
type mark struct {
	at   uint64
	read bool
	seq  uint64 // up to which message, in the user's own inbox
	all  bool   // all so far
}

// evidence finds out when users had shown what they have.
func (c *checker) evidence(h *history) {
	for _, l := range h.devices {
		b := c.boxes[l.user]
		b.acknowledged(l)
		for i := range l.records {
			r := &l.records[i]
			switch {
			case r.what == arrived && r.seq > 0 && r.seq <= uint64(len(b.entries)):
				b.heard[r.seq-1] = min(b.heard[r.seq-1], r.at)
				if !l.acks || l.since || r.event != receiveMessage {
					b.given[r.seq-1] = min(b.given[r.seq-1], r.at)
				}
			case r.what == called && r.seq > 0 && r.seq <= uint64(len(b.entries)):
				b.given[r.seq-1] = min(b.given[r.seq-1], r.at)
			case r.what == emitted && (r.event == markAsRead || r.event == markAsDelivered) && !r.stranger:
				b.marks[r.from] = append(b.marks[r.from], mark{
					at: r.at, read: r.event == markAsRead,
					seq: b.place[r.key()], all: r.id == "",
				})
			}
		}
	}
}

// acknowledged finds out what was acked of the receipts that a device gave.
func (b *box) acknowledged(l *log) {
	last := map[string]uint64{} // by sender: the newest message that came in this connection
	said := map[int]uint64{}    // by call
	for i := range l.records {
		r := &l.records[i]
		switch {
		case r.what == opened:
			clear(last)
			clear(said)
		case r.what == arrived && r.event == receiveMessage:
			last[r.from] = r.seq
		case r.what == emitted && r.event == markAsRead && r.id == "":
			said[r.call] = last[r.from]
		case r.what == emitted && r.event == markAsRead:
			said[r.call] = b.place[r.key()]
		case r.what == answered && r.event == markAsRead && r.code == "":
			b.due[r.from] = max(b.due[r.from], said[r.call])
		}
	}
}

// said reports whether the user has said, before at, that he has, or has read,
// what is at seq.
func (b *box) said(from string, seq, at uint64, read bool) bool {
	return slices.ContainsFunc(b.marks[from], func(m mark) bool {
		return m.at < at && (m.read || !read) && (m.all || m.seq >= seq)
	})
}

// receipts checks what a user was told of the messages that he has sent, or read.
func (c *checker) receipts(b *box) {
	delivered, read, own := map[string]uint64{}, map[string]uint64{}, map[string]uint64{}
	for i, r := range b.entries {
		if r.event != messagesDelivered && r.event != messagesRead && r.event != conversationRead {
			continue
		}
		reader := c.boxes[r.to]
		if reader == nil {
			c.broken(ruleTrue, "%s: %v: there is no such user", b.user, r)
			continue
		}
		seq := reader.place[r.key()]
		if seq == 0 {
			c.broken(ruleTrue, "%s: %v: there is no such message", b.user, r)
			continue
		}
		at := b.heard[i]
		forward := func(high map[string]uint64, peer string) {
			if seq <= high[peer] {
				c.broken(ruleForward, "%s: %v is for #%d, the one before it was for #%d", b.user, r, seq, high[peer])
			}
			high[peer] = seq
		}
		switch r.event {
		case messagesDelivered:
			delivered[r.to] = max(delivered[r.to], read[r.to])
			forward(delivered, r.to)
			if reader.given[seq-1] > at && !reader.said(r.from, seq, at, false) {
				c.broken(ruleTrue, "%s: %v: it was given to no device by then", b.user, r)
			}
		case messagesRead:
			forward(read, r.to)
			if !reader.said(r.from, seq, at, true) {
				c.broken(ruleTrue, "%s: %v: nobody had said so", b.user, r)
			}
		case conversationRead:
			forward(own, r.from)
			if !reader.said(r.from, seq, at, true) {
				c.broken(ruleTrue, "%s: %v: he has not said so", b.user, r)
			}
		}
	}
	c.ticks(b, delivered, read)
}

// ticks checks that the sender of every message has come to know that it was
// delivered, and read where it was.
func (c *checker) ticks(b *box, delivered, read map[string]uint64) {
	for peer, reader := range c.boxes {
		if peer == b.user {
			continue
		}
		last := uint64(0)
		for key, seq := range reader.place {
			if key.from == b.user {
				last = max(last, seq)
			}
		}
		if got := max(delivered[peer], read[peer]); got < last {
			c.broken(ruleTick, "%s was told that %s has up to #%d, who has up to #%d", b.user, peer, got, last)
		}
		if due := reader.due[b.user]; read[peer] < due {
			c.broken(ruleTick, "%s was told that %s has read up to #%d, who was acked up to #%d", b.user, peer, read[peer], due)
		}
	}
}
