package boltinbox

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/heymanito/heymanito"
)

// batch is a transaction that changes the file: on behalf of a group of
// requests, one after the other. What it changes of the state it has apart,
// until it is on the disk.
type batch struct {
	tx     *bbolt.Tx
	state  *state
	bounds heymanito.InboxBounds
	now    time.Time
	totals
	users   map[string]*draft
	drafts  []draft
	linked  []link            // what is in the state's ids already, and what was there before
	gone    []link            // what is to go from there
	blocks  map[uint64]*block // that were looked at
	fresh   []*block          // those that are new
	tail    *block            // the last one, if there may be room in it
	buffers [][]byte          // for more of them
	front   map[string]uint64 // by queue: nothing is before this order
	evict   []byte            // where the next mark is looked for that may go
	drops   uint64
	changed bool

	meta, entries, known, heads, idle, marks, peers *bbolt.Bucket
}

// draft is a user whom a batch has looked at.
type draft struct {
	user
	name    string
	head    head // in the file, if the user is not in the state
	exists  bool // something is known of the user
	changed bool
	saved   bool // given is in the file with this batch
}

// link is what the state's ids have for a hash.
type link struct{ id, order uint64 }

// letter is an entry that is ready to be written, but for its seq.
type letter struct {
	entry      heymanito.Entry // without what it carries
	tail       span            // of its record, in the request's text
	key, scope span            // in the tail
	id         uint64
	place      place
	was        uint64 // what the state's ids had for id
	draft      *draft
}

// address makes letters of entries.
func (s *Inbox) address(r *request, entries []heymanito.Entry) error {
	for i := range entries {
		e := &entries[i]
		if err := checkEntry(e); err != nil {
			return err
		}
		l := letter{entry: *e, tail: span{from: len(r.text)}}
		l.entry.Body, l.entry.Attachments = nil, nil
		r.text, l.key, l.scope = appendTail(r.text, e)
		l.tail.to = len(r.text)
		l.id = s.state.hash(l.key.of(r.text))
		scope := l.scope.of(r.text)
		l.place = s.state.place(0, scope, scope[len(scope)-len(e.Peer):], e.Time.UnixMilli())
		r.letters = append(r.letters, l)
	}
	return nil
}

func newBatch(s *Inbox) *batch {
	return &batch{
		state:  s.state,
		bounds: s.bounds,
		users:  map[string]*draft{},
		front:  map[string]uint64{},
		blocks: map[uint64]*block{},
	}
}

// begin makes b ready for tx.
func (b *batch) begin(tx *bbolt.Tx, now time.Time) {
	clear(b.users)
	clear(b.front)
	clear(b.blocks)
	b.tx, b.now, b.totals = tx, now, b.state.totals
	b.reuse()
	b.drafts = b.drafts[:0]
	b.linked, b.gone = b.linked[:0], b.gone[:0]
	b.drops, b.changed = 0, false
	b.meta = tx.Bucket([]byte(metaBucket))
	b.entries = tx.Bucket([]byte(entriesBucket))
	b.known = tx.Bucket([]byte(knownBucket))
	b.heads = tx.Bucket([]byte(headsBucket))
	b.idle = tx.Bucket([]byte(idleBucket))
	b.marks = tx.Bucket([]byte(marksBucket))
	b.peers = tx.Bucket([]byte(peersBucket))
	b.entries.FillPercent = 1 // it grows at its end
}

func (b *batch) put(bucket *bbolt.Bucket, k, v []byte) error {
	b.changed = true
	return bucket.Put(k, v)
}

func (b *batch) delete(bucket *bbolt.Bucket, k []byte) error {
	b.changed = true
	return bucket.Delete(k)
}

// of returns the draft of a user.
func (b *batch) of(name string) (*draft, error) {
	if d := b.users[name]; d != nil {
		return d, nil
	}
	if len(b.drafts) == cap(b.drafts) {
		b.drafts = make([]draft, 0, max(64, min(2*cap(b.drafts), 4096)))
	}
	b.drafts = append(b.drafts, draft{name: name})
	d := &b.drafts[len(b.drafts)-1]
	b.state.mu.RLock()
	u := b.state.users[name]
	given := b.state.acked[name]
	b.state.mu.RUnlock()
	if u != nil {
		d.user, d.exists = *u, true
		d.given = max(d.given, given)
	} else {
		ok, err := get(b.tx, headsBucket, key(name), d.head.decode)
		if err != nil {
			return nil, err
		}
		d.exists = ok
		d.last, d.given, d.began = d.head.last, d.head.given, d.head.began
	}
	b.users[name] = d
	return d, nil
}

// putHead writes the head of a user.
func (b *batch) putHead(d *draft, idle uint64) error {
	k := key(d.name)
	d.head = head{last: d.last, given: d.given, idle: idle, began: d.began}
	d.changed, d.saved = true, true
	return b.put(b.heads, k, d.head.encode(k))
}

// append appends letters, or none if the first is a duplicate.
func (b *batch) append(r *request) error {
	receipts := make([]heymanito.Receipt, len(r.letters))
	r.receipts = receipts
	before := b.order
	for i := range r.letters {
		receipt, err := b.appendOne(&r.letters[i], r.text, before)
		if err != nil {
			return err
		}
		if receipts[i] = receipt; i == 0 && receipt.Duplicate {
			return nil
		}
	}
	for i := range r.letters {
		if err := b.boundUser(r.letters[i].draft, before); err != nil {
			return err
		}
	}
	return b.boundTotal(before)
}

func (b *batch) appendOne(l *letter, text []byte, before uint64) (r heymanito.Receipt, err error) {
	e := &l.entry
	d, err := b.of(e.User)
	if err != nil {
		return r, err
	}
	l.draft = d
	if e.Mark == 0 {
		l.was = b.state.ids[l.id]
	}
	if d.exists {
		if r, err := b.duplicate(l, text, before); r.Duplicate || err != nil {
			return r, err
		}
	}
	if err := b.wake(d); err != nil {
		return r, err
	}
	b.totals.entries++
	if len(d.kept) == 0 {
		b.inboxes++
	}
	d.last++
	if e.Origin != "" && d.given == d.last-1 {
		d.given = d.last
	}
	size := b.addRecord(d, l.tail.of(text))
	d.bytes += size
	b.kept += size
	l.place.order = b.order
	d.kept = append(d.kept, l.place)
	d.changed, d.saved = true, true
	if e.Mark == 0 {
		b.link(l)
	} else {
		err = b.raise(d, e)
	}
	return heymanito.Receipt{Seq: d.last}, err
}

// wake makes a draft one of a user who has entries.
func (b *batch) wake(d *draft) error {
	switch {
	case !d.exists:
		d.exists = true
		d.user = user{last: b.start.floor, given: b.start.floor, began: b.start.began}
		b.kept += userSize(d.name)
		if d.began > 0 { // which no record says
			return b.putHead(d, 0)
		}
	case d.head.idle != 0:
		at := orderKey(d.head.idle)
		b.totals.idle -= idleSize(d.name)
		b.kept += userSize(d.name)
		// It stays: readers of the state as it was still look for it.
		if err := b.putHead(d, 0); err != nil {
			return err
		}
		return b.delete(b.idle, at)
	}
	return nil
}

// link puts the newest entry into the state's ids. Readers do not look at
// orders that are not in the state yet.
func (b *batch) link(l *letter) {
	b.linked = append(b.linked, link{l.id, l.was})
	b.state.mu.Lock()
	defer b.state.mu.Unlock()
	b.state.ids[l.id] = b.order
}

// undo takes back what link has done.
func (b *batch) undo() {
	b.state.mu.Lock()
	defer b.state.mu.Unlock()
	for _, l := range slices.Backward(b.linked) {
		if l.order != 0 {
			b.state.ids[l.id] = l.order
		} else {
			delete(b.state.ids, l.id)
		}
	}
}

// lookup reads the record of a key, if one is kept or known.
func (b *batch) lookup(l *letter, key []byte) (order uint64, rec record, kept bool, err error) {
	order = l.was
	if order == 0 || slices.Contains(b.gone, link{l.id, order}) {
		return 0, rec, false, nil
	}
	rec, kept, err = b.read(order)
	if err != nil || !bytes.Equal(rec.key, key) {
		return 0, rec, false, err
	}
	return order, rec, kept, nil
}

// read reads a record, and reports whether it is kept.
func (b *batch) read(order uint64) (rec record, kept bool, err error) {
	bl, err := b.block(blockOf(order))
	if err != nil {
		return rec, false, err
	}
	if at, ok := bl.find(order); ok {
		rec, err = decodeRecord(order, bl.records[at].raw)
		return rec, true, err
	}
	ok, err := get(b.tx, knownBucket, orderKey(order), rec.decode)
	if err == nil && !ok {
		err = damaged("entry %d is missing", order)
	}
	return rec, false, err
}

// duplicate returns the Receipt of the first one if a letter is a duplicate.
func (b *batch) duplicate(l *letter, text []byte, before uint64) (r heymanito.Receipt, err error) {
	if l.entry.Mark != 0 {
		var m mark
		ok, err := get(b.tx, marksBucket, l.scope.of(text), m.decode)
		if !ok || err != nil || m.mark < l.entry.Mark {
			return r, err
		}
		return receipt(m.seq, m.time, m.note), nil
	}
	order, rec, kept, err := b.lookup(l, l.key.of(text))
	if err == nil && kept && rec.tooOld(b.bounds.Age, b.now) { // it may be that it is not kept any more
		if err := b.boundAge(l.draft, before); err != nil {
			return r, err
		}
		order, rec, kept, err = b.lookup(l, l.key.of(text))
	}
	switch {
	case order == 0 || err != nil:
		return r, err
	case kept || remembered(&rec, l.draft.last, b.now):
		return rec.receipt(), nil
	}
	return r, b.forgetKnown(l.draft, order, &rec)
}

// raise sets the marks that e raises.
func (b *batch) raise(d *draft, e *heymanito.Entry) error {
	to := &mark{mark: e.Mark, seq: d.last, time: e.Time.UnixMilli(), note: e.Note}
	if err := b.raiseOne(d.name, e.Event, e.Peer, to); err != nil || e.Covers == "" {
		return err
	}
	return b.raiseOne(d.name, e.Covers, e.Peer, to)
}

func (b *batch) raiseOne(user, event, peer string, to *mark) error {
	k := key(user, event, peer)
	var was mark
	raw := b.marks.Get(k)
	if raw != nil {
		if err := open(marksBucket, k, raw, was.decode); err != nil || was.mark >= to.mark {
			return err
		}
		b.totals.marks -= markSize(k, len(raw))
	} else {
		k := key(peer, user, event)
		if err := b.put(b.peers, k, seal(nil, k)); err != nil {
			return err
		}
	}
	v := to.encode(k)
	b.totals.marks += markSize(k, len(v))
	return b.put(b.marks, k, v)
}

// deleteMark deletes the mark with the key k in marks.
func (b *batch) deleteMark(k, v []byte) error {
	var user, event, peer string
	if !splitKey(k, &user, &event, &peer) {
		return damaged("%s has the key %q", marksBucket, k)
	}
	b.totals.marks -= markSize(k, len(v))
	k = bytes.Clone(k)
	if err := b.delete(b.marks, k); err != nil {
		return err
	}
	return b.delete(b.peers, key(peer, user, event))
}

// ackThrough raises the given of a user who is not in the state.
func (b *batch) ackThrough(name string, seq uint64) error {
	d, err := b.of(name)
	if err != nil || !d.exists || min(seq, d.last) <= d.given {
		return err
	}
	d.given = min(seq, d.last)
	return b.putHead(d, d.head.idle)
}

// ackedUsers is of how many users a commit writes what AckThrough has said.
const ackedUsers = 512

// flushAcked writes what AckThrough has said of some users.
func (b *batch) flushAcked() error {
	var names []string
	b.state.mu.Lock()
	for name := range b.state.acked {
		if names = append(names, name); len(names) == ackedUsers {
			b.state.flushAt = b.now // the others with the next commit
			break
		}
	}
	b.state.mu.Unlock()
	for _, name := range names {
		d, err := b.of(name)
		if err == nil && d.exists && !d.saved {
			err = b.putHead(d, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// end ends an inbox of which nothing but the head and marks are left. The next
// ones begin behind it. lost: because of a bound, so that they may be of the
// same user.
func (b *batch) end(d *draft, lost bool) error {
	if d.head.idle != 0 {
		b.totals.idle -= idleSize(d.name)
		if err := b.delete(b.idle, orderKey(d.head.idle)); err != nil {
			return err
		}
	} else {
		b.kept -= userSize(d.name)
	}
	for k := range keysOf(b.marks, key(d.name), math.MaxInt) {
		if err := b.deleteMark(k, b.marks.Get(k)); err != nil {
			return err
		}
	}
	next := start{floor: max(b.start.floor, d.last)}
	if !lost && b.start.began == b.start.floor {
		next.began = next.floor
	}
	if next != b.start {
		b.start = next
		k := []byte(floorKey)
		if err := b.put(b.meta, k, next.encode(k)); err != nil {
			return err
		}
	}
	*d = draft{name: d.name, changed: true}
	return b.delete(b.heads, key(d.name))
}

// keysOf returns the keys that begin with prefix, at most n of them.
func keysOf(bucket *bbolt.Bucket, prefix []byte, n int) func(yield func([]byte) bool) {
	var keys [][]byte
	c := bucket.Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix) && len(keys) < n; k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	return func(yield func([]byte) bool) {
		for _, k := range keys {
			if !yield(k) {
				return
			}
		}
	}
}

// apply puts what is on the disk now, with the transaction tx, into the state.
func (b *batch) apply(tx uint64) {
	s := b.state
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tx, s.totals = tx, b.totals
	for name, d := range b.users {
		if !d.changed {
			continue
		}
		u := s.users[name]
		switch {
		case !d.active():
			delete(s.users, name)
			delete(s.acked, name)
			continue
		case u == nil:
			u = new(user)
			s.users[strings.Clone(name)] = u
		}
		*u = d.user
		if d.saved && s.acked[name] <= d.given {
			delete(s.acked, name)
		}
	}
	for _, l := range b.gone {
		if s.ids[l.id] == l.order {
			delete(s.ids, l.id)
		}
	}
}
