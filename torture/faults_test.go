package torture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// once counts opportunities, and takes one of them, or all from there on; or one in
// at, where one alone might go unseen.
type once struct {
	at    int64
	seen  atomic.Int64
	fired atomic.Int64
}

// now reports whether this opportunity is the one.
func (o *once) now() bool {
	if o.seen.Add(1) != o.at {
		return false
	}
	o.fired.Add(1)
	return true
}

// store is an Inbox in memory with a fault.
type store struct {
	heymanito.Inbox
	append func(ctx context.Context, next appender, entries []heymanito.Entry) ([]heymanito.Receipt, error)
	since  func(page *heymanito.Page, after uint64, limit int)

	mu sync.Mutex // a fault has one thing happen at a time
}

type appender = func(context.Context, ...heymanito.Entry) ([]heymanito.Receipt, error)

func (s *store) Append(ctx context.Context, entries ...heymanito.Entry) ([]heymanito.Receipt, error) {
	if s.append == nil {
		return s.Inbox.Append(ctx, entries...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.append(ctx, s.Inbox.Append, entries)
}

func (s *store) Since(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
	p, err := s.Inbox.Since(ctx, user, after, limit)
	if err == nil && s.since != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		p.Entries = slices.Clone(p.Entries)
		s.since(&p, after, limit)
	}
	return p, err
}

// last is the newest seq of a user.
func (s *store) last(user string) uint64 {
	p, _ := s.Inbox.Since(context.Background(), user, 0, 0)
	return p.Last
}

// isNew reports whether entries are a message from one user to another that was
// not sent before.
func (s *store) isNew(entries []heymanito.Entry) bool {
	if !isMail(entries) {
		return false
	}
	_, known, _ := s.Find(context.Background(), entries[0].Key, 0)
	return !known
}

// isMail reports whether entries are a message from one user to another.
func isMail(entries []heymanito.Entry) bool {
	return len(entries) == 2 && entries[1].Event == receiveMessage
}

// without stores entries without the recipient's, and says that it was stored.
func (s *store) without(ctx context.Context, next appender, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
	r, err := next(ctx, entries[0])
	return append(r, heymanito.Receipt{Seq: s.last(entries[1].User), Time: entries[1].Time}), err
}

// drops loses one message, which is acked.
func drops(o *once) *store {
	s := &store{}
	s.append = func(ctx context.Context, next appender, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
		if s.isNew(entries) && o.now() {
			return s.without(ctx, next, entries)
		}
		return next(ctx, entries...)
	}
	return s
}

// doubles keeps one message twice.
func doubles(o *once) *store {
	s := &store{}
	s.append = func(ctx context.Context, next appender, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
		fault := s.isNew(entries) && o.now()
		r, err := next(ctx, entries...)
		if err == nil && fault {
			again := entries[1]
			again.ID += " "
			_, err = next(ctx, again)
		}
		return r, err
	}
	return s
}

// swaps keeps a message behind the next one of the same device to the same user.
func swaps(o *once) *store {
	s := &store{}
	var held []heymanito.Entry
	s.append = func(ctx context.Context, next appender, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
		switch {
		case !s.isNew(entries):
		case held == nil && o.now():
			o.fired.Store(0) // not before there is a next one
			held = slices.Clone(entries)
			return s.without(ctx, next, entries)
		case o.fired.Load() == 0 && held != nil && entries[0].Origin == held[0].Origin && entries[1].User == held[1].User:
			r, err := next(ctx, entries...)
			if err == nil {
				_, err = next(ctx, held[1])
			}
			o.fired.Store(1)
			return r, err
		}
		return next(ctx, entries...)
	}
	return s
}

// forgets takes a message that is sent again for a new one.
func forgets(o *once) *store {
	return &store{append: func(ctx context.Context, next appender, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
		r, err := next(ctx, entries...)
		if err == nil && r[0].Duplicate && isMail(entries) && o.now() {
			again := slices.Clone(entries)
			for i := range again {
				again[i].ID += " "
			}
			return next(ctx, again...)
		}
		return r, err
	}}
}

// skips leaves an entry out of a replay, now and then.
func skips(o *once) *store {
	return &store{since: func(p *heymanito.Page, _ uint64, _ int) {
		if len(p.Entries) > 2 && o.seen.Add(1)%o.at == 0 {
			o.fired.Add(1)
			p.Entries = slices.Delete(p.Entries, 1, 2)
		}
	}}
}

// assumes takes for given whatever was stored.
func assumes(o *once) *store {
	s := &store{}
	s.append = func(ctx context.Context, next appender, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
		r, err := next(ctx, entries...)
		for _, e := range entries {
			o.fired.Add(1)
			_ = s.AckThrough(ctx, e.User, s.last(e.User))
		}
		return r, err
	}
	return s
}

// returns has receipts that go back.
func returns(o *once) *store {
	high := uint64(1 << 40)
	return &store{append: func(ctx context.Context, next appender, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
		entries = slices.Clone(entries)
		for i := range entries {
			if entries[i].Mark > 0 {
				high++
				o.fired.Add(1)
				entries[i].Mark = high
			}
		}
		return next(ctx, entries...)
	}}
}

// promises says that messages were delivered when they are stored.
func promises(o *once) *store {
	s := &store{}
	s.append = func(ctx context.Context, next appender, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
		fault := s.isNew(entries)
		r, err := next(ctx, entries...)
		if err == nil && fault {
			e := entries[1]
			o.fired.Add(1)
			_, err = next(ctx, heymanito.Entry{
				Key:  heymanito.Key{User: e.Peer, Event: messagesDelivered, Peer: e.User, ID: e.ID},
				Mark: r[1].Seq, Time: e.Time,
				Body: fmt.Appendf(nil, `{"senderChatPath":%q,"upToId":%s,"ts":%d}`, e.User, e.ID, e.Time.UnixMilli()),
			})
		}
		return r, err
	}
	return s
}

// hushes never tells one user that his messages were delivered.
func hushes(o *once) *store {
	return &store{append: func(ctx context.Context, next appender, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
		if entries[0].Event == messagesDelivered && entries[0].User == chatPath(2) {
			o.fired.Add(1)
			return []heymanito.Receipt{{Seq: 1, Duplicate: true}}, nil
		}
		return next(ctx, entries...)
	}}
}

// fails refuses a message for no reason, now and then: of one that it refuses the
// client may never hear, because its line is cut just then.
func fails(o *once) *store {
	return &store{append: func(ctx context.Context, next appender, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
		if isMail(entries) && o.seen.Add(1)%o.at == 0 {
			o.fired.Add(1)
			return nil, errors.New("a fault")
		}
		return next(ctx, entries...)
	}}
}

// changes gives the inboxes another epoch.
func changes(o *once) *store {
	return &store{since: func(p *heymanito.Page, _ uint64, limit int) {
		if o.fired.Load() > 0 || limit == 0 && o.now() {
			p.Epoch = "another"
		}
	}}
}

// disk is an Inbox of which a copy survives a crash. The copy gets what was
// appended with the next append but lag: with a lag it acks before it stores.
type disk struct {
	heymanito.Inbox
	copy *copied
	lag  int

	mu      sync.Mutex // guards the rest, and the order of the two
	pending [][]heymanito.Entry
	stopped bool
}

// copied has the epoch of the disk it was copied from.
type copied struct {
	heymanito.Inbox
	epoch string
}

func newDisk(lag int) *disk {
	d := &disk{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{}), lag: lag}
	p, _ := d.Since(context.Background(), "", 0, 0)
	d.copy = &copied{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{}), epoch: p.Epoch}
	return d
}

func (d *disk) Append(ctx context.Context, entries ...heymanito.Entry) ([]heymanito.Receipt, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return nil, errors.New("the disk has stopped")
	}
	r, err := d.Inbox.Append(ctx, entries...)
	if err != nil || r[0].Duplicate {
		return r, err
	}
	for d.pending = append(d.pending, slices.Clone(entries)); len(d.pending) > d.lag; d.pending = d.pending[1:] {
		if _, err := d.copy.Inbox.Append(context.WithoutCancel(ctx), d.pending[0]...); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (d *disk) AckThrough(ctx context.Context, user string, seq uint64) error {
	_ = d.copy.AckThrough(ctx, user, seq)
	return d.Inbox.AckThrough(ctx, user, seq)
}

// stop takes nothing more, if something that the copy has not was acked; a disk
// that never has such a thing stops as well.
func (d *disk) stop(acked func(mailKey) bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = d.lag == 0 || slices.ContainsFunc(d.pending, func(e []heymanito.Entry) bool {
		return isMail(e) && acked(mailKey{e[0].User, e[0].Peer, e[0].ID})
	})
	return d.stopped
}

func (c *copied) Since(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
	p, err := c.Inbox.Since(ctx, user, after, limit)
	p.Epoch = c.epoch
	return p, err
}

// mangler reads what a server sends, and changes it on the way.
type mangler struct {
	net.Conn
	change func(frame []byte) [][]byte // what becomes of a text frame
	raw    []byte                      // read, and not looked at
	out    []byte                      // looked at
	head   bool                        // the HTTP answer is through
}

func (m *mangler) Read(p []byte) (int, error) {
	for len(m.out) == 0 {
		buf := make([]byte, 32<<10)
		n, err := m.Conn.Read(buf)
		m.raw = append(m.raw, buf[:n]...)
		m.look()
		if err != nil && len(m.out) == 0 {
			return 0, err
		}
	}
	n := copy(p, m.out)
	m.out = m.out[n:]
	return n, nil
}

func (m *mangler) look() {
	if !m.head {
		i := bytes.Index(m.raw, []byte("\r\n\r\n"))
		if i < 0 {
			return
		}
		m.out, m.raw, m.head = append(m.out, m.raw[:i+4]...), m.raw[i+4:], true
	}
	for {
		n := frameSize(m.raw)
		if n == 0 || n > len(m.raw) {
			return
		}
		frame := slices.Clone(m.raw[:n])
		m.raw = m.raw[n:]
		if frame[0]&0x0f != wiretest.OpText {
			m.out = append(m.out, frame...)
			continue
		}
		for _, f := range m.change(frame) {
			m.out = append(m.out, f...)
		}
	}
}

// frameSize is the size of the frame at the beginning of b; 0: not yet known.
func frameSize(b []byte) int {
	switch {
	case len(b) < 2:
		return 0
	case b[1] < 126:
		return 2 + int(b[1])
	case b[1] == 126 && len(b) >= 4:
		return 4 + int(binary.BigEndian.Uint16(b[2:]))
	case b[1] == 127 && len(b) >= 10:
		return 10 + int(binary.BigEndian.Uint64(b[2:]))
	}
	return 0
}

// isEvent reports whether a frame is an event of that name, without attachments
// that would have to follow it.
func isEvent(frame []byte, name string) bool {
	return bytes.Contains(frame[:min(len(frame), 60)], []byte(`["`+name+`"`)) && bytes.Contains(frame[:8], []byte("42"))
}

func isAck(frame []byte) bool { return bytes.Contains(frame[:min(len(frame), 8)], []byte("43")) }
