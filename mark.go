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

// sendMarked sends frames, and calls read, which does not block, when the client
// has read past them.
func (d *device) sendMarked(read func(), frames []*engineio.Frame) bool {
	return d.marks.add(mark{read: read}, func(n uint64) bool {
		ok := d.conn.SendMarked(n, frames...)
		d.conn.Ask()
		return ok
	})
}

// sendLetter sends an entry of the inbox. The feed hears when the client has
// read past it, and asks for that.
func (d *device) sendLetter(l *letter) bool {
	return d.marks.add(mark{seq: l.Seq}, func(n uint64) bool { return l.send(d, n) })
}

// add has send send something with the next mark.
func (m *marks) add(k mark, send func(n uint64) bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	k.n = m.last + 1
	if !send(k.n) {
		return false
	}
	m.last = k.n
	m.sent = append(m.sent, k)
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
