package boltinbox

import (
	"encoding/binary"
	"slices"
)

// blockBytes is how much is put together under one key. Two of these with their
// keys fill two of bbolt's pages, and it never puts less than two into a page.
const blockBytes = 4030

// A block is some entries that came together. It costs about as much as any of
// them would alone.
//
// The value of a block is, for each record: its index in the block, a byte; its
// length, a uvarint; and itself. An order is the number of a block and an
// index.
type block struct {
	no      uint64
	records []indexed
	fresh   []byte // its value, if it is not in the file yet
	changed bool
}

type indexed struct {
	index byte
	raw   []byte
}

func blockOf(order uint64) uint64 { return order >> 8 }

func (bl *block) order(r indexed) uint64 { return bl.no<<8 | uint64(r.index) }

// find returns where the record with an order is.
func (bl *block) find(order uint64) (at int, ok bool) {
	for i, r := range bl.records {
		if bl.order(r) == order {
			return i, true
		}
	}
	return 0, false
}

// decodeBlock appends the records of a block.
func decodeBlock(records []indexed, no uint64, sealed []byte) ([]indexed, error) {
	err := open(entriesBucket, orderKey(no), sealed, func(r *reader) {
		r.bad = len(r.b) == 0
		for at := -1; len(r.b) > 0; {
			index := r.b[0]
			r.b = r.b[1:]
			r.bad = r.bad || int(index) <= at
			at = int(index)
			records = append(records, indexed{index, r.part()})
		}
	})
	return records, err
}

func appendIndexed(b []byte, r indexed) []byte {
	b = append(b, r.index)
	b = binary.AppendUvarint(b, uint64(len(r.raw)))
	return append(b, r.raw...)
}

// decodeRecord reads a record up to its note.
func decodeRecord(order uint64, raw []byte) (rec record, err error) {
	r := reader{b: raw}
	rec.decode(&r)
	if r.bad {
		err = damaged("entry %d is not what was written", order)
	}
	return rec, err
}

// block returns a block; one without records is none, or none any more.
func (b *batch) block(no uint64) (*block, error) {
	if bl := b.blocks[no]; bl != nil {
		return bl, nil
	}
	bl := &block{no: no}
	var err error
	if raw := b.entries.Get(orderKey(no)); raw != nil {
		bl.records, err = decodeBlock(nil, no, raw)
	}
	b.blocks[no] = bl
	return bl, err
}

// addRecord adds the newest entry of a user. It sets b.order.
func (b *batch) addRecord(d *draft, tail []byte) (size uint64) {
	var head [2 * binary.MaxVarintLen64]byte
	h := binary.AppendUvarint(head[:0], d.last)
	h = binary.AppendUvarint(h, d.last-d.given)
	n := len(h) + len(tail)
	bl := b.tail
	if bl == nil || len(bl.records) == 256 || len(bl.fresh)+n+8 > blockBytes {
		bl = &block{no: blockOf(b.order) + 1, fresh: b.buffer(n + 16), changed: true}
		b.order = bl.no << 8
		b.tail = bl
		b.blocks[bl.no] = bl
		b.fresh = append(b.fresh, bl)
	} else {
		b.order++
	}
	bl.fresh = append(bl.fresh, byte(b.order))
	bl.fresh = binary.AppendUvarint(bl.fresh, uint64(n))
	at := len(bl.fresh)
	bl.fresh = append(bl.fresh, h...)
	bl.fresh = append(bl.fresh, tail...)
	bl.records = append(bl.records, indexed{byte(b.order), bl.fresh[at:]})
	b.changed = true
	return entryBytes + uint64(n)
}

// buffer returns room for the value of a block. bbolt has that until the
// transaction ends.
func (b *batch) buffer(n int) []byte {
	if last := len(b.buffers) - 1; last >= 0 && n <= blockBytes {
		buf := b.buffers[last]
		b.buffers = b.buffers[:last]
		return buf
	}
	return make([]byte, 0, max(n, blockBytes+4))
}

// reuse takes back the buffers of the transaction before.
func (b *batch) reuse() {
	for _, bl := range b.fresh {
		if cap(bl.fresh) == blockBytes+4 {
			b.buffers = append(b.buffers, bl.fresh[:0])
		}
	}
	b.buffers = b.buffers[:min(len(b.buffers), groupRequests/8)]
	clear(b.fresh)
	b.fresh, b.tail = b.fresh[:0], nil
}

// removeRecord removes a record.
func (b *batch) removeRecord(order uint64) error {
	bl, err := b.block(blockOf(order))
	if err != nil {
		return err
	}
	at, ok := bl.find(order)
	if !ok {
		return damaged("entry %d is missing", order)
	}
	bl.records = append(bl.records[:at:at], bl.records[at+1:]...)
	bl.fresh, bl.changed, b.changed = nil, true, true
	if bl == b.tail {
		b.tail = nil
	}
	return nil
}

// replaceRecord puts another record in the place of one.
func (b *batch) replaceRecord(order uint64, raw []byte) error {
	bl, err := b.block(blockOf(order))
	if err != nil {
		return err
	}
	at, ok := bl.find(order)
	if !ok {
		return damaged("entry %d is missing", order)
	}
	bl.records = slices.Clone(bl.records)
	bl.records[at].raw = raw
	bl.fresh, bl.changed, b.changed = nil, true, true
	if bl == b.tail {
		b.tail = nil
	}
	return nil
}

// firstRecord returns the oldest record of all, or 0.
func (b *batch) firstRecord() (order uint64, rec record, err error) {
	c := b.entries.Cursor()
	for k, _ := c.Seek(orderKey(b.front[entriesBucket])); k != nil; k, _ = c.Next() {
		if len(k) != 8 {
			return 0, rec, damaged("%s has the key %q", entriesBucket, k)
		}
		bl, err := b.block(binary.BigEndian.Uint64(k))
		if err != nil {
			return 0, rec, err
		}
		b.front[entriesBucket] = bl.no
		if len(bl.records) > 0 {
			return bl.first()
		}
	}
	for _, bl := range b.fresh {
		if len(bl.records) > 0 {
			return bl.first()
		}
	}
	return 0, rec, nil
}

func (bl *block) first() (order uint64, rec record, err error) {
	order = bl.order(bl.records[0])
	rec, err = decodeRecord(order, bl.records[0].raw)
	return order, rec, err
}

// putBlocks writes the blocks that have changed.
func (b *batch) putBlocks() error {
	for _, bl := range b.fresh { // in their order
		if err := b.putBlock(bl); err != nil {
			return err
		}
	}
	for _, bl := range b.blocks {
		if err := b.putBlock(bl); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) putBlock(bl *block) error {
	if !bl.changed {
		return nil
	}
	bl.changed = false
	k, v := orderKey(bl.no), bl.fresh
	if v == nil {
		// What has become smaller may be put together with what is beside it.
		if err := b.entries.Delete(k); err != nil || len(bl.records) == 0 {
			return err
		}
		for _, r := range bl.records {
			v = appendIndexed(v, r)
		}
	}
	return b.entries.Put(k, seal(v, k))
}

// record reads a record that is kept, or else known. Of one that is known alone
// it reports whether a duplicate would be recognised; false also where a commit
// that is being written has erased it.
func (v *view) record(order, last uint64) (rec record, ok bool, err error) {
	if rec, ok, err = v.kept(order); ok || err != nil {
		return rec, ok, err
	}
	ok, err = get(v.Tx, knownBucket, orderKey(order), rec.decode)
	if !ok && err == nil && !v.early {
		err = damaged("entry %d is missing", order)
	}
	return rec, ok && remembered(&rec, last, v.now), err
}

// kept reads a record that is kept.
func (v *view) kept(order uint64) (rec record, ok bool, err error) {
	bl := &v.block
	if bl.records == nil || bl.no != blockOf(order) {
		bl.no, bl.records = blockOf(order), bl.records[:0]
		if raw := v.entries.Get(orderKey(bl.no)); raw != nil {
			bl.records, err = decodeBlock(bl.records, bl.no, raw)
		}
	}
	at, ok := bl.find(order)
	if !ok || err != nil {
		return rec, false, err
	}
	rec, err = decodeRecord(order, bl.records[at].raw)
	return rec, true, err
}
