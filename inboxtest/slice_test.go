package inboxtest_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
)

// slice is an Inbox that has nothing in common with MemoryInbox: a log of all
// that was appended, which is read from one end to the other.
//
// It is here to show that the suite asks for the contract and not for one way
// to keep it: Time and bodies are copied, pages are small, what the total bound
// drops is not known any more, and ctx is not looked at.
type slice struct {
	epoch  string
	bounds heymanito.InboxBounds

	mu    sync.Mutex
	of    map[string]*sliceUser
	log   []*sliceEntry // of all users, what is still known
	ids   map[heymanito.Key]*sliceEntry
	marks []*sliceMark
	floor uint64
	lost  bool // a bound has ended inboxes
	stats heymanito.InboxStats
	aged  time.Time // when the log was looked through, and not appended to since
}

type sliceUser struct {
	head  heymanito.Head
	bytes int
}

type sliceEntry struct {
	heymanito.Entry
	kept bool
}

type sliceMark struct {
	k     heymanito.Key // without an ID
	mark  uint64
	first heymanito.Receipt
}

var sliceEpochs atomic.Int64

func newSlice(_ *testing.T, b heymanito.InboxBounds) heymanito.Inbox {
	return &slice{
		epoch:  fmt.Sprint("slice-", sliceEpochs.Add(1)),
		bounds: b.WithDefaults(1 << 30),
		of:     map[string]*sliceUser{},
		ids:    map[heymanito.Key]*sliceEntry{},
	}
}

func (e *sliceEntry) size() int {
	n := 100 + 2*len(e.ID)
	if e.kept {
		n += len(e.Body) + len(e.Origin)
		for _, a := range e.Attachments {
			n += len(a)
		}
	}
	return n
}

func (e *sliceEntry) receipt() heymanito.Receipt {
	return heymanito.Receipt{Seq: e.Seq, Duplicate: true, Time: e.Time, Note: e.Note}
}

// remove takes what is at i of the log out of it.
func (s *slice) remove(i int) {
	e := s.log[i]
	s.drop(e, false)
	s.stats.Bytes -= e.size()
	s.log = slices.Delete(s.log, i, i+1)
	if s.ids[e.Key] == e {
		delete(s.ids, e.Key)
	}
}

func (s *slice) drop(e *sliceEntry, counts bool) {
	if !e.kept {
		return
	}
	u := s.of[e.User]
	s.stats.Bytes -= e.size()
	u.bytes -= e.size()
	s.stats.Entries--
	if u.head.Dropped = e.Seq; u.head.Dropped == u.head.Last {
		s.stats.Users--
	}
	e.kept = false
	e.Body, e.Attachments = nil, nil
	s.stats.Bytes += e.size()
	if counts {
		s.stats.Dropped++
	}
}

// age drops what is too old, and forgets what need not be known any more.
func (s *slice) age() {
	now := time.Now()
	if now.Equal(s.aged) {
		return
	}
	s.aged = now
	for i := 0; i < len(s.log); {
		e := s.log[i]
		if now.Sub(e.Time) > s.bounds.Age {
			s.drop(e, true)
		}
		if !e.kept && (now.Sub(e.Time) >= heymanito.DuplicateAge || e.Seq+heymanito.DuplicateCount <= s.of[e.User].head.Last) {
			s.remove(i)
			continue
		}
		i++
	}
}

func (s *slice) raise(k heymanito.Key, to uint64, first heymanito.Receipt) {
	k.ID = ""
	i := slices.IndexFunc(s.marks, func(m *sliceMark) bool { return m.k == k })
	if i >= 0 {
		if s.marks[i].mark >= to {
			return
		}
		s.marks = slices.Delete(s.marks, i, i+1)
		s.stats.Bytes -= 100
	}
	s.marks = append(s.marks, &sliceMark{k, to, first})
	s.stats.Bytes += 100
}

func (s *slice) duplicate(e heymanito.Entry) (r heymanito.Receipt) {
	if e.Mark == 0 {
		if first := s.ids[e.Key]; first != nil {
			r = first.receipt()
		}
		return r
	}
	k := e.Key
	k.ID = ""
	for _, m := range s.marks {
		if m.k == k && m.mark >= e.Mark {
			r = m.first
		}
	}
	return r
}

func (s *slice) Append(_ context.Context, entries ...heymanito.Entry) ([]heymanito.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age()
	receipts := make([]heymanito.Receipt, len(entries))
	own := map[*sliceEntry]bool{}
	for i, e := range entries {
		if receipts[i] = s.duplicate(e); receipts[i].Duplicate {
			if i == 0 {
				return receipts, nil
			}
			continue
		}
		u := s.of[e.User]
		if u == nil {
			u = &sliceUser{head: s.beginning()}
			s.of[e.User] = u
			s.stats.Bytes += 100
		}
		if u.head.Last == u.head.Dropped {
			s.stats.Users++
		}
		u.head.Last++
		if e.Seq = u.head.Last; e.Origin != "" && u.head.Given == e.Seq-1 {
			u.head.Given = e.Seq
		}
		e.Time = time.UnixMilli(e.Time.UnixMilli()).UTC()
		e.Body = slices.Clone(e.Body)
		entry := &sliceEntry{e, true}
		s.log = append(s.log, entry)
		own[entry] = true
		if e.Mark == 0 {
			s.ids[e.Key] = entry
		}
		s.stats.Entries++
		s.stats.Bytes += entry.size()
		u.bytes += entry.size()
		if e.Mark > 0 {
			s.raise(e.Key, e.Mark, entry.receipt())
			if k := e.Key; e.Covers != "" {
				k.Event = e.Covers
				s.raise(k, e.Mark, entry.receipt())
			}
		}
		receipts[i] = heymanito.Receipt{Seq: e.Seq}
	}
	s.bound(own)
	s.aged = time.Time{}
	return receipts, nil
}

func (s *slice) bound(own map[*sliceEntry]bool) {
	for _, e := range s.log {
		if u := s.of[e.User]; !own[e] && (u.head.Last-u.head.Dropped > uint64(s.bounds.Entries) || u.bytes > s.bounds.Bytes) {
			s.drop(e, true)
		}
	}
	for len(s.log) > 0 && !own[s.log[0]] && s.stats.Bytes > s.bounds.Total {
		s.drop(s.log[0], true)
		s.remove(0)
	}
	if s.stats.Bytes > s.bounds.Total {
		s.stats.Bytes -= 100 * len(s.marks)
		s.marks = nil
		for user, u := range s.of {
			if u.head.Last == u.head.Dropped && !slices.ContainsFunc(s.log, func(e *sliceEntry) bool { return e.User == user }) {
				s.end(user)
				s.lost = true
			}
		}
	}
}

func (s *slice) beginning() heymanito.Head {
	h := heymanito.Head{Epoch: s.epoch, Last: s.floor, Given: s.floor, Dropped: s.floor, Began: s.floor}
	if s.lost {
		h.Began = 0
	}
	return h
}

// end forgets a user who has nothing but a head.
func (s *slice) end(user string) {
	s.floor = max(s.floor, s.of[user].head.Last)
	delete(s.of, user)
	s.stats.Bytes -= 100
}

func (s *slice) Since(_ context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age()
	u := s.of[user]
	if u == nil {
		return heymanito.Page{Head: s.beginning()}, nil
	}
	page := heymanito.Page{Head: u.head}
	size := 0
	for _, e := range s.log {
		if size += e.size(); e.User != user || !e.kept || e.Seq <= after {
			size -= e.size()
		} else if len(page.Entries) < limit && (size < 100_000 || len(page.Entries) == 0) {
			page.Entries = append(page.Entries, e.Entry)
		} else {
			break
		}
	}
	return page, nil
}

func (s *slice) Find(_ context.Context, k heymanito.Key, through uint64) (f heymanito.Found, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age()
	for _, e := range s.log {
		same := e.User == k.User && e.Event == k.Event && e.Peer == k.Peer
		if same && k.Event != heymanito.EventErased && (k.ID == "" && e.Seq <= through || k.ID == e.ID && e.Mark == 0) {
			f, ok = heymanito.Found{Receipt: e.receipt(), ID: e.ID}, true
		}
	}
	return f, ok, nil
}

func (s *slice) AckThrough(_ context.Context, user string, seq uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.of[user]; u != nil {
		u.head.Given = max(u.head.Given, min(seq, u.head.Last))
	}
	return nil
}

func (s *slice) Forget(_ context.Context, user string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; i < len(s.log); {
		e := s.log[i]
		if e.User == user || e.Peer == user && !e.kept {
			s.remove(i)
			continue
		}
		if e.Peer == user {
			size := -e.size()
			if s.ids[e.Key] == e {
				delete(s.ids, e.Key)
			}
			e.Entry = heymanito.Erased(e.Entry)
			size += e.size()
			s.stats.Bytes += size
			s.of[e.User].bytes += size
		}
		i++
	}
	n := len(s.marks)
	s.marks = slices.DeleteFunc(s.marks, func(m *sliceMark) bool { return m.k.User == user || m.k.Peer == user })
	s.stats.Bytes -= 100 * (n - len(s.marks))
	if s.of[user] != nil {
		s.end(user)
	}
	return nil
}

func (s *slice) Stats() heymanito.InboxStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}
