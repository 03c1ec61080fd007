package heymanito

import (
	"slices"
	"sync"

	"github.com/heymanito/heymanito/internal/engineio"
)

// marks knows what a device has been sent for which it matters whether it has
// read it, until it has.
type marks struct {
	mu   sync.Mutex // guards the rest, and is held while something is queued: marks go out in their order
	last uint64
	sent []mark
}

// mark is something that was sent: an entry of the inbox, or else read is to be
// called.
type mark struct {
	n    uint64
	seq  uint64
	read func()
}

// sendMarked sends frames after which it is heard when the client has read past
// them, by read, which does not block, or, if that is nil, by the feed.
func (d *device) sendMarked(seq uint64, read func(), frames []*engineio.Frame) bool {
	d.marks.mu.Lock()
	defer d.marks.mu.Unlock()
	n := d.marks.last + 1
	if !d.conn.SendMarked(n, frames...) {
		return false
	}
	d.marks.last = n
	d.marks.sent = append(d.marks.sent, mark{n, seq, read})
	return true
}

// wasRead takes note that the client has read everything up to a mark.
func (d *device) wasRead(n uint64) {
	var seq uint64
	var read []func()
	m := &d.marks
	m.mu.Lock()
	past := 0
	for ; past < len(m.sent) && m.sent[past].n <= n; past++ {
		if f := m.sent[past].read; f != nil {
			read = append(read, f)
		} else {
			seq = m.sent[past].seq
		}
	}
	m.sent = slices.Delete(m.sent, 0, past)
	m.mu.Unlock()
	if d.feed != nil && seq > 0 {
		d.feed.wasRead(seq)
	}
	for _, f := range read {
		f()
	}
}
