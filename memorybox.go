package heymanito

import (
	"slices"
	"sort"
	"time"
)

// memoryBox is one user's inbox.
type memoryBox struct {
	user    string
	entries memoryQueue // those that are gone, then those that are kept, without gaps
	last    uint64
	given   uint64
	dropped uint64
	began   uint64
	fresh   uint64 // the first seq of the Append under way, or 0
	bytes   int    // of the entries that are kept
	used    int64  // when it was appended to, Unix milliseconds
	marks   memoryList[memoryMark]
	links   memoryLinks[memoryBox]
	recent  [2]*memoryThread // used last: most have one conversation at a time, which has two sides
}

// memoryThread is what is in one inbox of one event and peer. What Forget has
// left there of others is one, too, without a peer.
type memoryThread struct {
	box         *memoryBox
	event, peer string
	salt        uint64 // of the hashes of its ids
	entries     memoryQueue
	mark        *memoryMark
	links       memoryLinks[memoryThread]
}

type memoryThreadKey struct {
	box         *memoryBox
	event, peer string
}

// memoryEntry is an entry that is kept, or of which is still known that it was
// there. Its id is not copied: the inboxes of the two share it.
type memoryEntry struct {
	thread           *memoryThread
	id, note, origin string
	seq              uint64
	time             int64        // Unix milliseconds
	body             []byte       // nil: it was dropped
	rare             *memoryRare  // what most entries have not; nil: nor has this one
	sameHash         *memoryEntry // the next older one in memoryIDs
	links            memoryLinks[memoryEntry]
}

// memoryRare is what a message without a photo has not.
type memoryRare struct {
	mark        uint64
	covers      string
	attachments [][]byte
}

// memoryMark is how far the Marks of one thread reach, and the Receipt of the
// entry that said so.
type memoryMark struct {
	thread              *memoryThread
	mark, seq           uint64
	time                int64
	note                string
	timeLinks, boxLinks memoryLinks[memoryMark]
}

// What things count, besides the bytes they carry: themselves, and their part
// of the maps and queues they are in. A test compares it with the heap.
const (
	memoryBoxBytes    = 216
	memoryThreadBytes = 255 // as if each were of somebody else
	memoryMarkBytes   = 85
	memoryEntryBytes  = 185
	memoryBodyBytes   = 10
	memoryRareBytes   = 60
	memorySliceBytes  = 24
)

func (b *memoryBox) size() int { return memoryBoxBytes + len(b.user) }

// isIdle reports whether nothing is left but the head.
func (b *memoryBox) isIdle() bool { return len(b.entries.of) == 0 && b.marks.first == nil }

// isFresh reports whether the entry at seq is of the Append under way.
func (b *memoryBox) isFresh(seq uint64) bool { return b.fresh != 0 && seq >= b.fresh }

// oldest is the oldest entry that is kept.
func (b *memoryBox) oldest() *memoryEntry {
	return b.entries.of[uint64(len(b.entries.of))-(b.last-b.dropped)]
}

func (b *memoryBox) byAge() *memoryLinks[memoryBox] { return &b.links }

func (t *memoryThread) size() int { return memoryThreadBytes + len(t.event) + len(t.peer) }

func (t *memoryThread) ofPeer() *memoryLinks[memoryThread] { return &t.links }

// isErased reports whether it is what Forget has left of others.
func (t *memoryThread) isErased() bool { return t.event == EventErased }

// isKept reports whether it has entries that are kept.
func (t *memoryThread) isKept() bool {
	n := len(t.entries.of)
	return n > 0 && t.entries.of[n-1].isKept()
}

// duplicate returns the Receipt of the first one, if e is a duplicate. newest is
// the newest entry with e's hash.
func (t *memoryThread) duplicate(e *Entry, newest *memoryEntry, now int64) (Receipt, bool) {
	if e.Mark > 0 {
		if mark := t.mark; mark != nil && mark.mark >= e.Mark {
			return receiptOf(mark.seq, mark.time, mark.note), true
		}
		return Receipt{}, false
	}
	first := newest.find(t, e.ID)
	if first == nil || !first.known(now) {
		return Receipt{}, false
	}
	return first.receipt(), true
}

func (e *memoryEntry) isKept() bool { return e.body != nil }

func (e *memoryEntry) size() int { return memoryEntryBytes + len(e.id) + len(e.note) }

// known reports whether a duplicate of e is recognised.
func (e *memoryEntry) known(now int64) bool {
	return e.isKept() || !e.thread.isErased() &&
		now-e.time < DuplicateAge.Milliseconds() && e.seq+DuplicateCount > e.thread.box.last
}

func (e *memoryEntry) receipt() Receipt { return receiptOf(e.seq, e.time, e.note) }

// entry is e, which is kept, as it was appended.
func (e *memoryEntry) entry() Entry {
	rare := e.rare
	if rare == nil {
		rare = &memoryRare{}
	}
	return Entry{
		Key:  Key{User: e.thread.box.user, Event: e.thread.event, Peer: e.thread.peer, ID: e.id},
		Mark: rare.mark, Covers: rare.covers, Time: time.UnixMilli(e.time),
		Body: e.body, Attachments: rare.attachments, Origin: e.origin, Note: e.note, Seq: e.seq,
	}
}

func (e *memoryEntry) byAge() *memoryLinks[memoryEntry] { return &e.links }

// contentSize counts what goes when the entry is dropped: what the slices hold on
// to, not only what is in them.
func (e *memoryEntry) contentSize() int {
	n := memoryBodyBytes + len(e.origin) + cap(e.body)
	if e.rare != nil {
		n += memoryRareBytes + len(e.rare.covers)
		for _, a := range e.rare.attachments {
			n += memorySliceBytes + cap(a)
		}
	}
	return n
}

func (k *memoryMark) size() int { return memoryMarkBytes + len(k.note) }

func (k *memoryMark) byTime() *memoryLinks[memoryMark] { return &k.timeLinks }
func (k *memoryMark) inBox() *memoryLinks[memoryMark]  { return &k.boxLinks }

// receiptOf is the Receipt of an entry that is there already.
func receiptOf(seq uint64, at int64, note string) Receipt {
	return Receipt{Seq: seq, Duplicate: true, Time: time.UnixMilli(at), Note: note}
}

// memoryQueue is entries in the order of their seqs.
type memoryQueue struct {
	of     []*memoryEntry
	popped int // since of has moved
}

func (q *memoryQueue) push(e *memoryEntry) { q.of = append(q.of, e) }

// pop takes the first n out.
func (q *memoryQueue) pop(n int) {
	clear(q.of[:n])
	q.of = q.of[n:]
	q.shrink(n)
}

// delete takes out entries of one thread, which are all that it has between the
// first and the last of them.
func (q *memoryQueue) delete(entries []*memoryEntry) {
	first, last := entries[0], entries[len(entries)-1]
	at := func(seq uint64) int { return sort.Search(len(q.of), func(i int) bool { return q.of[i].seq >= seq }) }
	from, to := at(first.seq), at(last.seq)+1
	left := slices.DeleteFunc(q.of[from:to], func(e *memoryEntry) bool { return e.thread == first.thread })
	q.of = slices.Delete(q.of, from+len(left), to)
	q.shrink(len(entries))
}

// shrink takes note that n were taken out, and now and then moves the rest to
// where it takes no more than it needs.
func (q *memoryQueue) shrink(n int) {
	if q.popped += n; q.popped > len(q.of) {
		q.of = slices.Clone(q.of)
		q.popped = 0
	}
}

// merge puts entries, which are in their order, where their seqs belong.
func (q *memoryQueue) merge(entries []*memoryEntry) {
	i, k := len(q.of)-1, len(entries)-1
	q.of = append(q.of, entries...)
	for at := len(q.of) - 1; k >= 0; at-- {
		if i >= 0 && q.of[i].seq > entries[k].seq {
			q.of[at] = q.of[i]
			i--
		} else {
			q.of[at] = entries[k]
			k--
		}
	}
}
