package heymanito

import (
	"context"
	"crypto/rand"
	"hash/maphash"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

// memoryInboxTotal is the default of a MemoryInbox's InboxBounds.Total.
const memoryInboxTotal = 256_000_000

// MemoryInbox is the [Inbox] of a single process. Make one with [NewMemoryInbox]. A
// restart loses everything: each MemoryInbox has an epoch of its own, so that
// clients notice.
//
// [InboxBounds].Total is 256 MB by default. It counts the heap that the inboxes take, maps
// and links included: a short message counts about 320 bytes, the first one to
// somebody new 880. The process may take up to twice that, by the garbage
// collector's default. A message between two users counts in both inboxes,
// although its body is in memory once.
//
// A quarter of Total may go to what is known beyond the entries that are kept:
// the keys of those that were dropped, Marks, and the heads of users who have
// none. When it takes more, or there is nothing else to drop, the oldest of it
// is forgotten: a message that is sent again then counts as new, a receipt may
// come twice, and an inbox of which nothing is left begins anew.
//
// What is too old goes when its user's inbox is used, or any is appended to.
type MemoryInbox struct {
	epoch  string
	bounds InboxBounds

	// mu guards the rest. There is one for all users, because the total bound
	// is theirs together, and nobody waits for anything under it.
	mu      sync.Mutex
	users   memoryMap[string, *memoryBox]
	threads memoryMap[memoryThreadKey, *memoryThread]
	ids     memoryIDs                                   // of entries without a Mark
	peers   memoryMap[string, memoryList[memoryThread]] // what is in any inbox of them

	kept  memoryList[memoryEntry] // oldest first, as the others are
	gone  memoryList[memoryEntry] // dropped, but known
	marks memoryList[memoryMark]
	idle  memoryList[memoryBox] // of which nothing is left but the head

	floor     uint64 // new inboxes begin behind it
	lost      bool   // a total bound has ended inboxes, of users of whom nothing is known now
	stats     InboxStats
	keptBytes int          // of stats.Bytes: entries that are kept, and what they are in
	fresh     []*memoryBox // those that the Append under way has appended to
}

var _ Inbox = (*MemoryInbox)(nil)

// memoryTidy is how many entries that are too old an Append drops, and how many
// it forgets: more than it appends, and not so many that others wait.
const memoryTidy = 100

// memoryForget is how many entries of others Forget erases while they wait.
const memoryForget = 1000

// NewMemoryInbox returns an empty MemoryInbox. It starts nothing and needs no
// closing. It panics if a bound is negative.
func NewMemoryInbox(b InboxBounds) *MemoryInbox {
	if err := b.Check(); err != nil {
		badOption("NewMemoryInbox", "%v", err)
	}
	return &MemoryInbox{epoch: rand.Text(), bounds: b.WithDefaults(memoryInboxTotal), ids: memoryIDs{seed: maphash.MakeSeed()}}
}

// Stats returns the numbers of the store.
func (m *MemoryInbox) Stats() InboxStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// Append implements [Inbox].
func (m *MemoryInbox) Append(ctx context.Context, entries ...Entry) ([]Receipt, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	receipts := make([]Receipt, len(entries))
	m.appendAll(entries, receipts)
	return receipts, nil
}

// appendAll appends entries, and sets receipts, which are as many and zero.
func (m *MemoryInbox) appendAll(entries []Entry, receipts []Receipt) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now().UnixMilli()
	m.tidy(now)
	for i := range entries {
		receipts[i] = m.append(&entries[i], now)
		if i == 0 && receipts[i].Duplicate {
			break
		}
	}
	m.bound(now)
}

// Since implements [Inbox].
func (m *MemoryInbox) Since(ctx context.Context, user string, after uint64, limit int) (Page, error) {
	if err := ctx.Err(); err != nil {
		return Page{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	box := m.users.of[user]
	if box == nil {
		return Page{Head: m.beginning()}, nil
	}
	m.expire(box, time.Now().UnixMilli())
	page := Page{Head: Head{Epoch: m.epoch, Last: box.last, Given: box.given, Dropped: box.dropped, Began: box.began}}
	if after >= box.last || limit <= 0 {
		return page, nil
	}
	left := box.last - max(after, box.dropped)
	entries := box.entries.of[uint64(len(box.entries.of))-left:]
	page.Entries = make([]Entry, min(len(entries), limit))
	for i := range page.Entries {
		page.Entries[i] = entries[i].entry()
	}
	return page, nil
}

// Find implements [Inbox]. What is found may have been dropped, as long as a
// duplicate of it would be recognised.
func (m *MemoryInbox) Find(ctx context.Context, k Key, through uint64) (Found, bool, error) {
	if err := ctx.Err(); err != nil {
		return Found{}, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	box := m.users.of[k.User]
	if box == nil {
		return Found{}, false, nil
	}
	now := time.Now().UnixMilli()
	m.expire(box, now)
	thread := m.known(box, k.Event, k.Peer)
	if thread == nil || thread.isErased() {
		return Found{}, false, nil
	}
	if k.ID != "" {
		if e := m.ids.place(thread, k.ID).newest.find(thread, k.ID); e != nil && e.known(now) {
			return Found{e.receipt(), e.id}, true, nil
		}
		return Found{}, false, nil
	}
	entries := thread.entries.of
	n := sort.Search(len(entries), func(i int) bool { return entries[i].seq > through })
	for _, e := range slices.Backward(entries[:n]) {
		if e.known(now) {
			return Found{e.receipt(), e.id}, true, nil
		}
	}
	return Found{}, false, nil
}

// AckThrough implements [Inbox].
func (m *MemoryInbox) AckThrough(ctx context.Context, user string, seq uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if box := m.users.of[user]; box != nil {
		box.given = max(box.given, min(seq, box.last))
	}
	return nil
}

// Forget implements [Inbox]. Others wait while it erases a thousand entries of
// theirs, or the whole inbox of the user.
func (m *MemoryInbox) Forget(ctx context.Context, user string) error {
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		more = m.forgetSome(user)
	}
	return nil
}

// forgetSome erases some of what there is of a user, and reports whether there
// may be more.
func (m *MemoryInbox) forgetSome(user string) (more bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if box := m.users.of[user]; box != nil {
		for len(box.entries.of) > 0 {
			e := box.entries.of[0]
			if e.isKept() {
				m.empty(e)
			}
			m.forget(e)
		}
		for box.marks.first != nil {
			m.unmark(box.marks.first)
		}
		m.end(box)
	}
	for left := memoryForget; left > 0; {
		thread := m.peers.of[user].first
		if thread == nil {
			return false
		}
		left -= m.erase(thread, left)
	}
	return true
}

// erase erases a thread that another user has of somebody: the Mark, and the
// oldest entries, at most n of them. It returns how many things that were.
func (m *MemoryInbox) erase(thread *memoryThread, n int) (erased int) {
	if thread.mark != nil {
		m.unmark(thread.mark)
		erased++
	}
	entries := thread.entries.of[:min(n, len(thread.entries.of))]
	if len(entries) == 0 { // without its Mark it is no more
		return erased
	}
	known := 0
	for ; known < len(entries) && !entries[known].isKept(); known++ {
		m.gone.remove(entries[known], (*memoryEntry).byAge)
		m.stats.Bytes -= entries[known].size()
	}
	for _, e := range entries {
		m.ids.remove(e)
	}
	if known > 0 {
		thread.box.entries.delete(entries[:known])
	}
	if kept := entries[known:]; len(kept) > 0 {
		m.bury(kept)
	}
	wasKept := known < len(entries)
	thread.entries.pop(len(entries))
	if wasKept && !thread.isKept() {
		m.keptBytes -= thread.size()
	}
	m.settle(thread)
	return erased + len(entries)
}

// bury leaves of entries that one inbox keeps, and no id leads to, what Forget
// leaves of them. Whoever calls it takes them out of the thread they were in.
func (m *MemoryInbox) bury(entries []*memoryEntry) {
	box := entries[0].thread.box
	to := m.thread(box, EventErased, "")
	if !to.isKept() {
		m.keptBytes += to.size()
	}
	body := Erased(Entry{}).Body // counts for each of them, as everywhere
	for _, e := range entries {
		size := -e.size() - e.contentSize()
		e.thread, e.id, e.note, e.origin, e.body, e.rare = to, "", "", "", body, nil
		size += e.size() + e.contentSize()
		box.bytes += size
		m.keptBytes += size
		m.stats.Bytes += size
	}
	to.entries.merge(entries)
}

// append appends e, unless it is a duplicate.
func (m *MemoryInbox) append(e *Entry, now int64) Receipt {
	box := m.users.of[e.User]
	if box == nil {
		box = m.begin(e.User)
	} else if box.fresh == 0 {
		m.expire(box, now)
	}
	thread := m.thread(box, e.Event, e.Peer)
	var place memoryPlace
	if e.Mark == 0 {
		place = m.ids.place(thread, e.ID)
	}
	if r, ok := thread.duplicate(e, place.newest, now); ok {
		return r
	}
	if box.isIdle() {
		m.idle.remove(box, (*memoryBox).byAge)
	}
	if box.fresh == 0 {
		box.fresh = box.last + 1
		m.fresh = append(m.fresh, box)
	}
	if box.dropped == box.last {
		m.stats.Users++
		m.keptBytes += box.size()
	}
	if !thread.isKept() {
		m.keptBytes += thread.size()
	}
	box.last++
	if e.Origin != "" && box.given == box.last-1 {
		box.given = box.last
	}
	entry := &memoryEntry{
		thread: thread, id: e.ID, note: e.Note, seq: box.last, time: e.Time.UnixMilli(),
		body: e.Body, origin: e.Origin,
	}
	if e.Body == nil {
		entry.body = []byte{}
	}
	if e.Mark > 0 || e.Covers != "" || e.Attachments != nil {
		entry.rare = &memoryRare{mark: e.Mark, covers: e.Covers, attachments: e.Attachments}
	}
	box.used = entry.time
	box.entries.push(entry)
	thread.entries.push(entry)
	m.kept.push(entry, (*memoryEntry).byAge)
	if e.Mark == 0 {
		m.ids.add(entry, place)
	} else {
		m.raise(thread, e.Mark, entry)
		if e.Covers != "" {
			m.raise(m.thread(box, e.Covers, e.Peer), e.Mark, entry)
		}
	}
	size := entry.size() + entry.contentSize()
	box.bytes += size
	m.keptBytes += size
	m.stats.Bytes += size
	m.stats.Entries++
	return Receipt{Seq: entry.seq}
}

// beginning is the Head of a user of whom nothing is known.
func (m *MemoryInbox) beginning() Head {
	h := Head{Epoch: m.epoch, Last: m.floor, Given: m.floor, Dropped: m.floor}
	if !m.lost {
		h.Began = m.floor
	}
	return h
}

// begin makes an inbox.
func (m *MemoryInbox) begin(user string) *memoryBox {
	h := m.beginning()
	box := &memoryBox{user: strings.Clone(user), last: h.Last, given: h.Given, dropped: h.Dropped, began: h.Began}
	m.users.set(box.user, box)
	m.idle.push(box, (*memoryBox).byAge)
	m.stats.Bytes += box.size()
	return box
}

// known returns the thread of an event and a peer, nil if there is none.
func (m *MemoryInbox) known(box *memoryBox, event, peer string) *memoryThread {
	for _, t := range box.recent {
		if t != nil && t.peer == peer && t.event == event {
			return t
		}
	}
	thread := m.threads.of[memoryThreadKey{box, event, peer}]
	if thread != nil {
		box.recent = [2]*memoryThread{thread, box.recent[0]}
	}
	return thread
}

// thread returns the thread of an event and a peer, which it makes if there is
// none.
func (m *MemoryInbox) thread(box *memoryBox, event, peer string) *memoryThread {
	if thread := m.known(box, event, peer); thread != nil {
		return thread
	}
	k := memoryThreadKey{box, event, peer}
	names := event + peer // a copy: they may be parts of something bigger
	k.event, k.peer = names[:len(event)], names[len(event):]
	thread := &memoryThread{box: box, event: k.event, peer: k.peer, salt: maphash.Comparable(m.ids.seed, k)}
	m.threads.set(k, thread)
	if !thread.isErased() {
		of := m.peers.of[k.peer]
		of.push(thread, (*memoryThread).ofPeer)
		m.peers.set(k.peer, of)
	}
	m.stats.Bytes += thread.size()
	return thread
}

// raise raises the Mark of a thread to that of e, if it is lower.
func (m *MemoryInbox) raise(thread *memoryThread, to uint64, e *memoryEntry) {
	mark := thread.mark
	switch {
	case mark == nil:
		mark = &memoryMark{thread: thread}
		thread.mark = mark
		thread.box.marks.push(mark, (*memoryMark).inBox)
	case mark.mark >= to:
		return
	default:
		m.marks.remove(mark, (*memoryMark).byTime)
		m.stats.Bytes -= mark.size()
	}
	mark.mark, mark.seq, mark.time, mark.note = to, e.seq, e.time, e.note
	m.marks.push(mark, (*memoryMark).byTime)
	m.stats.Bytes += mark.size()
}

// bound ends an Append: what is beyond a bound goes, but nothing of its own. One
// that has appended nothing needs no room.
func (m *MemoryInbox) bound(now int64) {
	if len(m.fresh) == 0 {
		return
	}
	for _, box := range m.fresh {
		for box.dropped+1 < box.fresh && (box.last-box.dropped > uint64(m.bounds.Entries) || box.bytes > m.bounds.Bytes) {
			m.drop(box.oldest(), now)
		}
	}
	for m.stats.Bytes > m.bounds.Total {
		spare := m.stats.Bytes - m.keptBytes
		if spare > m.bounds.Total/4 && m.forgetOldest() {
			continue
		}
		if e := m.kept.first; e != nil && !e.thread.box.isFresh(e.seq) {
			m.drop(e, now)
		} else if !m.forgetOldest() {
			break
		}
	}
	for _, box := range m.fresh {
		box.fresh = 0
	}
	clear(m.fresh)
	m.fresh = m.fresh[:0]
}

// forgetOldest forgets the oldest of what is known beyond the entries that are
// kept. It reports false when there is nothing.
func (m *MemoryInbox) forgetOldest() bool {
	const none = math.MaxInt64
	var entry, mark, box int64 = none, none, none
	if e := m.gone.first; e != nil {
		entry = e.time
	}
	if k := m.marks.first; k != nil && !k.thread.box.isFresh(k.seq) {
		mark = k.time
	}
	if b := m.idle.first; b != nil {
		box = b.used
	}
	switch min(entry, mark, box) {
	case none:
		return false
	case entry:
		m.forget(m.gone.first)
	case mark:
		m.unmark(m.marks.first)
	default:
		m.end(m.idle.first)
		m.lost = true
	}
	return true
}

// tidy drops and forgets what is too old, whoever's it is.
func (m *MemoryInbox) tidy(now int64) {
	for range memoryTidy {
		e := m.kept.first
		if e == nil || !m.isOld(e, now) {
			break
		}
		m.drop(e, now)
	}
	for range memoryTidy {
		e := m.gone.first
		if e == nil || e.known(now) {
			break
		}
		m.forget(e)
	}
}

// expire drops and forgets what is too old in one inbox.
func (m *MemoryInbox) expire(box *memoryBox, now int64) {
	for box.last > box.dropped && m.isOld(box.oldest(), now) {
		m.drop(box.oldest(), now)
	}
	m.forgetUnknown(box, now)
}

func (m *MemoryInbox) isOld(e *memoryEntry, now int64) bool {
	return now-e.time > m.bounds.Age.Milliseconds()
}

// drop drops the oldest entry of an inbox to stay within a bound.
func (m *MemoryInbox) drop(e *memoryEntry, now int64) {
	m.empty(e)
	m.stats.Dropped++
	m.forgetUnknown(e.thread.box, now)
}

// forgetUnknown forgets the entries of an inbox that were dropped and of which
// a duplicate would not be recognised any more.
func (m *MemoryInbox) forgetUnknown(box *memoryBox, now int64) {
	for len(box.entries.of) > 0 && !box.entries.of[0].known(now) {
		m.forget(box.entries.of[0])
	}
}

// empty takes the oldest entry of an inbox out of those that are kept.
func (m *MemoryInbox) empty(e *memoryEntry) {
	thread := e.thread
	box := thread.box
	size := e.contentSize()
	m.stats.Bytes -= size
	size += e.size()
	box.bytes -= size
	m.keptBytes -= size
	m.stats.Entries--
	e.body, e.rare, e.origin = nil, nil, ""
	m.kept.remove(e, (*memoryEntry).byAge)
	m.gone.push(e, (*memoryEntry).byAge)
	if !thread.isKept() {
		m.keptBytes -= thread.size()
	}
	if box.dropped = e.seq; box.dropped == box.last {
		m.stats.Users--
		m.keptBytes -= box.size()
	}
}

// forget forgets the first entry of an inbox, which was dropped.
func (m *MemoryInbox) forget(e *memoryEntry) {
	thread := e.thread
	box := thread.box
	m.gone.remove(e, (*memoryEntry).byAge)
	box.entries.pop(1)
	thread.entries.pop(1)
	m.ids.remove(e)
	m.stats.Bytes -= e.size()
	m.settle(thread)
}

// unmark forgets a Mark.
func (m *MemoryInbox) unmark(mark *memoryMark) {
	thread := mark.thread
	m.marks.remove(mark, (*memoryMark).byTime)
	thread.box.marks.remove(mark, (*memoryMark).inBox)
	thread.mark = nil
	m.stats.Bytes -= mark.size()
	m.settle(thread)
}

// settle takes note that something of a thread was forgotten.
func (m *MemoryInbox) settle(thread *memoryThread) {
	if len(thread.entries.of) == 0 && thread.mark == nil {
		m.threads.delete(memoryThreadKey{thread.box, thread.event, thread.peer})
		thread.box.recent = [2]*memoryThread{}
		m.stats.Bytes -= thread.size()
		if !thread.isErased() {
			m.unlist(thread)
		}
	}
	if thread.box.isIdle() {
		m.idle.push(thread.box, (*memoryBox).byAge)
	}
}

// unlist takes a thread out of those of its peer.
func (m *MemoryInbox) unlist(thread *memoryThread) {
	of := m.peers.of[thread.peer]
	if of.remove(thread, (*memoryThread).ofPeer); of.first == nil {
		m.peers.delete(thread.peer)
	} else {
		m.peers.set(of.first.peer, of) // which does not hold on to the name of the one that goes
	}
}

// end forgets an idle inbox.
func (m *MemoryInbox) end(box *memoryBox) {
	m.floor = max(m.floor, box.last)
	m.idle.remove(box, (*memoryBox).byAge)
	m.users.delete(box.user)
	m.stats.Bytes -= box.size()
}
