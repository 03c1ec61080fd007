package boltinbox

import (
	"bytes"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"

	"github.com/heymanito/heymanito"
)

// tidyEntries is how many entries are dropped with a commit because of their
// age, totalEntries because of the total bound: more than one Append ever
// displaces, but after Open with a lower bound it may be all of them.
const (
	tidyEntries  = 1000
	totalEntries = 100_000
)

// spareShare is the part of the total bound that may be used for what is known
// of entries that were dropped, of users who have none, and for marks.
const spareShare = 4

func (rec *record) tooOld(age time.Duration, now time.Time) bool {
	return now.Sub(time.UnixMilli(rec.time)) > age
}

// mayBeOld reports whether what is at p may be too old.
func (p place) mayBeOld(age time.Duration, now time.Time) bool {
	return now.Sub(time.Unix(int64(p.seconds), 0)) > age
}

// remembered reports whether an entry that was dropped is still known.
func remembered(rec *record, last uint64, now time.Time) bool {
	return rec.linked() && now.Sub(time.UnixMilli(rec.time)) < heymanito.DuplicateAge && rec.seq+heymanito.DuplicateCount > last
}

// tidy drops what has become too old, and forgets what has been known for long
// enough.
func (b *batch) tidy() error {
	for range tidyEntries {
		done, err := b.dropFirst(func(_ uint64, rec *record) bool { return rec.tooOld(b.bounds.Age, b.now) })
		if err != nil {
			return err
		}
		if !done {
			break
		}
	}
	for range tidyEntries {
		done, err := b.forgetFirstKnown(func(_ uint64, rec *record) bool {
			return b.now.Sub(time.UnixMilli(rec.time)) >= heymanito.DuplicateAge
		})
		if err != nil || !done {
			return err
		}
	}
	return nil
}

// boundAge drops the oldest entries of a user that are too old, without dropping
// what came after the order before.
func (b *batch) boundAge(d *draft, before uint64) error {
	for len(d.kept) > 0 && d.kept[0].order <= before && d.kept[0].mayBeOld(b.bounds.Age, b.now) {
		rec, _, err := b.read(d.kept[0].order)
		if err != nil || !rec.tooOld(b.bounds.Age, b.now) {
			return err
		}
		if err := b.drop(d, &rec); err != nil {
			return err
		}
	}
	return nil
}

// boundUser keeps a user's inbox within its bounds, without dropping what came
// after the order before.
func (b *batch) boundUser(d *draft, before uint64) error {
	for len(d.kept) > b.bounds.Entries || d.bytes > uint64(b.bounds.Bytes) {
		if len(d.kept) == 0 || d.kept[0].order > before {
			break
		}
		rec, _, err := b.read(d.kept[0].order)
		if err == nil {
			err = b.drop(d, &rec)
		}
		if err != nil {
			return err
		}
	}
	// What is not among the last of the user any more is not known either.
	for len(d.known) > 0 && d.known[0].seq+heymanito.DuplicateCount <= d.last {
		rec, _, err := b.read(d.known[0].order)
		if err == nil {
			err = b.forgetKnown(d, d.known[0].order, &rec)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// boundTotal keeps the store within its bound, without dropping what came after
// the order before. The oldest entries go first; but what is not kept goes
// before them when it takes more than its share.
func (b *batch) boundTotal(before uint64) error {
	total := uint64(b.bounds.Total)
	for n := 0; b.bytes() > total && n < totalEntries; n++ {
		done, err := false, error(nil)
		if b.spare() <= total/spareShare {
			done, err = b.dropFirst(func(order uint64, _ *record) bool { return order <= before })
		}
		if !done && err == nil {
			done, err = b.forgetSpare()
		}
		if !done && err == nil {
			done, err = b.dropFirst(func(order uint64, _ *record) bool { return order <= before })
		}
		if !done || err != nil {
			return err
		}
	}
	return nil
}

// forgetSpare forgets something of what is not kept, of the kind that there is
// most of.
func (b *batch) forgetSpare() (bool, error) {
	switch max(b.totals.known, b.totals.idle, b.totals.marks) {
	case 0:
		return false, nil
	case b.totals.known:
		return b.forgetFirstKnown(func(uint64, *record) bool { return true })
	case b.totals.idle:
		return b.endFirst()
	}
	return b.forgetMark()
}

// dropFirst drops the oldest entry of all, if it is beyond a bound.
func (b *batch) dropFirst(beyond func(order uint64, rec *record) bool) (bool, error) {
	order, rec, err := b.firstRecord()
	if err != nil || order == 0 || !beyond(order, &rec) {
		return false, err
	}
	d, err := b.of(string(rec.user))
	if err != nil {
		return false, err
	}
	if len(d.kept) == 0 || d.kept[0].order != order {
		return false, damaged("entry %d of %q is not the oldest", rec.seq, rec.user)
	}
	return true, b.drop(d, &rec)
}

func (b *batch) forgetFirstKnown(beyond func(order uint64, rec *record) bool) (bool, error) {
	var rec record
	order, err := b.first(b.known, knownBucket, rec.decode)
	if err != nil || order == 0 || !beyond(order, &rec) {
		return false, err
	}
	d, err := b.of(string(rec.user))
	if err != nil {
		return false, err
	}
	return true, b.forgetKnown(d, order, &rec)
}

// endFirst ends the inbox that has been empty for longest.
func (b *batch) endFirst() (bool, error) {
	var name string
	order, err := b.first(b.idle, idleBucket, func(r *reader) { name = string(r.part()) })
	if err != nil || order == 0 {
		return false, err
	}
	d, err := b.of(name)
	if err != nil {
		return false, err
	}
	if d.head.idle != order {
		return false, damaged("%q is not in %s", name, idleBucket)
	}
	return true, b.end(d, true)
}

// forgetMark forgets a mark. Which one is the oldest is written nowhere: all
// get their turn.
func (b *batch) forgetMark() (bool, error) {
	c := b.marks.Cursor()
	k, v := c.Seek(b.evict)
	if k == nil {
		k, v = c.First()
	}
	if k == nil {
		return false, nil
	}
	b.evict = bytes.Clone(k)
	return true, b.deleteMark(k, v)
}

// first returns the lowest order in a bucket, or 0.
func (b *batch) first(bucket *bbolt.Bucket, name string, decode func(*reader)) (uint64, error) {
	k, raw := bucket.Cursor().Seek(orderKey(b.front[name]))
	if k == nil {
		return 0, nil
	}
	if len(k) != 8 {
		return 0, damaged("%s has the key %q", name, k)
	}
	order := binary.BigEndian.Uint64(k)
	b.front[name] = order
	return order, open(name, k, raw, decode)
}

// enqueue puts something into a bucket that first looks at.
func (b *batch) enqueue(bucket *bbolt.Bucket, name string, order uint64, v []byte) error {
	b.front[name] = min(b.front[name], order)
	k := orderKey(order)
	return b.put(bucket, k, seal(v, k))
}

// drop drops the oldest entry of a user.
func (b *batch) drop(d *draft, rec *record) error {
	if rec.seq != d.dropped()+1 {
		return damaged("entry %d of %q is where %d should be", rec.seq, d.name, d.dropped()+1)
	}
	p := d.kept[0]
	short := bytes.Clone(rec.short)
	if err := b.removeRecord(p.order); err != nil {
		return err
	}
	d.kept = d.kept[1:]
	d.bytes -= rec.size
	b.kept -= rec.size
	b.totals.entries--
	b.drops++
	d.changed = true
	if remembered(rec, d.last, b.now) {
		d.known = append(d.known, knownPlace{order: p.order, seq: rec.seq, tag: p.tag})
		b.totals.known += knownSize(rec)
		if err := b.enqueue(b.known, knownBucket, p.order, short); err != nil {
			return err
		}
	} else {
		b.unlink(p.order, rec)
	}
	if len(d.kept) > 0 {
		return nil
	}
	b.inboxes--
	if len(d.known) > 0 {
		return b.putHead(d, 0)
	}
	return b.rest(d, p.order)
}

// forgetKnown forgets an entry that was dropped.
func (b *batch) forgetKnown(d *draft, order uint64, rec *record) error {
	at := 0
	for at < len(d.known) && d.known[at].order != order {
		at++
	}
	if at == len(d.known) {
		return damaged("entry %d of %q is known too much", rec.seq, d.name)
	}
	if at == 0 {
		d.known = d.known[1:]
	} else {
		d.known = append(append([]knownPlace(nil), d.known[:at]...), d.known[at+1:]...)
	}
	d.changed = true
	b.totals.known -= rec.size
	b.unlink(order, rec)
	if err := b.delete(b.known, orderKey(order)); err != nil || d.active() {
		return err
	}
	return b.rest(d, order)
}

// unlink removes what leads to a record.
func (b *batch) unlink(order uint64, rec *record) {
	if rec.linked() {
		b.gone = append(b.gone, link{b.state.hash(rec.key), order})
	}
}

// rest puts a user whose last record was at order into idle.
func (b *batch) rest(d *draft, order uint64) error {
	b.kept -= userSize(d.name)
	b.totals.idle += idleSize(d.name)
	if err := b.putHead(d, order); err != nil {
		return err
	}
	return b.enqueue(b.idle, idleBucket, order, appendString(nil, d.name))
}
