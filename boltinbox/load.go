package boltinbox

import (
	"encoding/binary"
)

// loader makes the state out of what is in the file, bucket by bucket, and
// checks that it fits together.
type loader struct {
	*state
	version uint64
	epoch   string
	marked  mark
	records []indexed
	headed  int // of users who have something in known alone, the heads
	idlers  int // heads that are not matched by something in idle
	unheld  int // marks that are not matched by something in peers
}

func (l *loader) value(bucket string, k, v []byte) error {
	var err error
	ok := true
	switch bucket {
	case metaBucket:
		err = l.meta(k, v)
	case knownBucket:
		var rec record
		ok = len(k) == 8
		if err = open(bucket, k, v, rec.decode); err == nil && ok {
			err = l.record(l.ordered(k), &rec, false)
		}
	case entriesBucket:
		if ok = len(k) == 8; ok {
			err = l.block(binary.BigEndian.Uint64(k), v)
		}
	case idleBucket:
		ok = len(k) == 8
		err = open(bucket, k, v, func(r *reader) { l.idle += idleSize(string(r.part())) })
		l.ordered(k)
		l.idlers--
	case headsBucket:
		ok, err = l.head(k, v)
	case marksBucket:
		var user, event, peer string
		ok = splitKey(k, &user, &event, &peer)
		err = open(bucket, k, v, l.marked.decode)
		l.marks += markSize(k, len(v))
		l.unheld++
	case peersBucket:
		var user, event, peer string
		ok = splitKey(k, &peer, &user, &event)
		err = open(bucket, k, v, func(*reader) {})
		l.unheld--
	}
	if err == nil && !ok {
		err = damaged("%s has the key %q", bucket, k)
	}
	return err
}

func (l *loader) meta(k, v []byte) error {
	err := open(metaBucket, k, v, func(r *reader) {
		switch string(k) {
		case versionKey:
			l.version = r.uvarint()
		case floorKey:
			l.start.decode(r)
		case epochKey:
			l.epoch = string(r.b)
		}
		r.b = nil
	})
	if err == nil && l.version > layoutVersion {
		err = foreign("it is of version %d, and this program knows %d", l.version, layoutVersion)
	}
	return err
}

// ordered takes note of an order.
func (l *loader) ordered(k []byte) (order uint64) {
	if len(k) == 8 {
		order = binary.BigEndian.Uint64(k)
		l.order = max(l.order, order)
	}
	return order
}

func (l *loader) block(no uint64, v []byte) (err error) {
	bl := block{no: no}
	if l.records, err = decodeBlock(l.records[:0], no, v); err != nil {
		return err
	}
	for _, r := range l.records {
		order := bl.order(r)
		rec, err := decodeRecord(order, r.raw)
		if err == nil {
			l.order = max(l.order, order)
			err = l.record(order, &rec, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) record(order uint64, rec *record, kept bool) error {
	u := l.users[string(rec.user)]
	if u == nil {
		u = &user{}
		l.users[string(rec.user)] = u
		l.kept += userSize(string(rec.user))
	}
	if order == 0 || rec.seq <= u.last || len(u.kept) > 0 && rec.seq != u.last+1 {
		return damaged("entry %d of %q comes after %d", rec.seq, rec.user, u.last)
	}
	u.last, u.given = rec.seq, max(u.given, rec.given)
	if rec.linked() {
		l.ids[l.hash(rec.key)] = order
	}
	if !kept {
		u.known = append(u.known, knownPlace{order: order, seq: rec.seq, tag: l.tag(rec.scope, rec.peer)})
		l.known += knownSize(rec)
		return nil
	}
	if !rec.whole() {
		return damaged("entry %d of %q is not what was written", rec.seq, rec.user)
	}
	if len(u.kept) == 0 {
		l.inboxes++
	}
	u.kept = append(u.kept, l.place(order, rec.scope, rec.peer, rec.time))
	u.bytes += rec.size
	l.kept += rec.size
	l.entries++
	return nil
}

func (l *loader) head(k, v []byte) (bool, error) {
	var name string
	if !splitKey(k, &name) {
		return false, nil
	}
	var h head
	if err := open(headsBucket, k, v, h.decode); err != nil {
		return true, err
	}
	if h.began > l.start.floor {
		return true, damaged("the inbox of %q begins behind %d, and none behind more than %d", name, h.began, l.start.floor)
	}
	u := l.users[name]
	switch {
	case u == nil:
		// Either idle, or Open is the first to see that nothing is left.
		if h.idle == 0 {
			return true, damaged("%q has lost the entries", name)
		}
		l.idlers++
	case h.idle != 0:
		return true, damaged("%q has entries and has none", name)
	case len(u.kept) == 0 && h.last < u.last:
		return true, damaged("entry %d of %q comes after the last", u.last, name)
	case len(u.kept) == 0:
		u.last = h.last
		l.headed++
	}
	if u != nil {
		if h.began > u.dropped() {
			return true, damaged("the inbox of %q begins behind %d, and has entries behind %d", name, h.began, u.dropped())
		}
		u.given = max(u.given, min(h.given, u.last))
		u.began = h.began
	}
	return true, nil
}

// done checks what can be checked at the end.
func (l *loader) done() error {
	if l.version == 0 || l.epoch == "" {
		return damaged("it has no version or no epoch")
	}
	for _, u := range l.users {
		if len(u.kept) == 0 {
			l.headed--
		}
	}
	if l.headed != 0 || l.idlers != 0 || l.unheld != 0 {
		return damaged("something is missing: %d, %d and %d", l.headed, l.idlers, l.unheld)
	}
	return nil
}
