package boltinbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"go.etcd.io/bbolt"

	"github.com/heymanito/heymanito"
)

// What is in the file. Every value ends with a checksum of its key and itself.
//
//	heymanito inbox  version, epoch, floor → start
//	entries  order → record: what is kept, in the order of its coming
//	known    order → the record's beginning: dropped, but a duplicate of it
//	         would still be recognised
//	heads    user → head: what the records do not say
//	idle     order → user: who has nothing in entries and known
//	marks    user, event, peer → mark
//	peers    peer, user, event → nothing: where the marks of a peer are
//
// What Forget has left of an entry is a record like any other, under the order
// of the entry, of [heymanito.Erased]. Nothing else leads to it.
//
// An order is one number for all users, which grows with every entry. So an
// Append writes in one place, at the end of entries, what would otherwise have
// to be written all over the file; where a user's entries and their ids are is
// kept in memory, and found out again by Open.
const layoutVersion = 1

const (
	metaBucket    = "heymanito inbox"
	entriesBucket = "entries"
	knownBucket   = "known"
	headsBucket   = "heads"
	idleBucket    = "idle"
	marksBucket   = "marks"
	peersBucket   = "peers"

	versionKey = "version"
	epochKey   = "epoch"
	floorKey   = "floor"
)

// bucketNames is in the order in which Open reads them.
func bucketNames() []string {
	return []string{metaBucket, knownBucket, entriesBucket, idleBucket, headsBucket, marksBucket, peersBucket}
}

// head is what is kept of a user besides records. It is written when the last
// entry goes, when AckThrough was called, and when an inbox begins whose began
// is not 0; last is only right when there are no entries.
type head struct {
	last, given uint64
	idle        uint64 // where in idle the user is, or 0
	began       uint64
}

func (h *head) encode(k []byte) []byte {
	b := make([]byte, 0, 32)
	for _, v := range []uint64{h.last, h.given, h.idle, h.began} {
		b = binary.AppendUvarint(b, v)
	}
	return seal(b, k)
}

func (h *head) decode(r *reader) {
	h.last, h.given, h.idle, h.began = r.uvarint(), r.uvarint(), r.uvarint(), r.optional()
	if h.given > h.last || h.began > h.last {
		r.bad = true
	}
}

// start is where inboxes begin. began is their Head.Began: floor, or 0 when a
// total bound has ended any.
type start struct{ floor, began uint64 }

func (s *start) encode(k []byte) []byte {
	return seal(binary.AppendUvarint(binary.AppendUvarint(nil, s.floor), s.began), k)
}

func (s *start) decode(r *reader) {
	s.floor, s.began = r.uvarint(), r.optional()
	if s.began != 0 && s.began != s.floor {
		r.bad = true
	}
}

// mark is how far the receipts of one kind reach, and the entry that said so.
type mark struct {
	mark, seq uint64
	time      int64 // Unix milliseconds
	note      string
}

func (m *mark) encode(k []byte) []byte {
	b := make([]byte, 0, 40+len(m.note))
	b = binary.AppendUvarint(b, m.mark)
	b = binary.AppendUvarint(b, m.seq)
	b = binary.AppendVarint(b, m.time)
	b = appendString(b, m.note)
	return seal(b, k)
}

func (m *mark) decode(r *reader) {
	m.mark, m.seq, m.time, m.note = r.uvarint(), r.uvarint(), r.varint(), string(r.part())
}

// record is an entry as it is written. Its slices are parts of the file, good
// until the transaction ends.
type record struct {
	seq   uint64
	given uint64 // the user's Head.Given, when this was appended
	time  int64  // Unix milliseconds
	mark  uint64

	// key is user, event, peer and id: what makes an entry without a mark
	// unique. scope is all but the id.
	key, scope                  []byte
	user, event, peer, id, note []byte

	short []byte // from the beginning to here, which is all that known has
	rest  reader // covers, origin, attachments, body

	size uint64 // what an entry that is written so counts
}

// appendTail appends what a record has behind seq and given. key and scope are
// where those are.
func appendTail(b []byte, e *heymanito.Entry) (text []byte, key, scope span) {
	b = binary.AppendVarint(b, e.Time.UnixMilli())
	b = binary.AppendUvarint(b, e.Mark)
	begin := len(b)
	b = appendString(b, e.User)
	b = appendString(b, e.Event)
	b = appendString(b, e.Peer)
	scope = span{begin, len(b)}
	b = appendString(b, e.ID)
	key = span{begin, len(b)}
	b = appendString(b, e.Note)
	b = appendString(b, e.Covers)
	b = appendString(b, e.Origin)
	b = binary.AppendUvarint(b, uint64(len(e.Attachments)))
	for _, a := range e.Attachments {
		b = binary.AppendUvarint(b, uint64(len(a)))
	}
	for _, a := range e.Attachments {
		b = append(b, a...)
	}
	return append(b, e.Body...), key, scope
}

// span is a part of a text.
type span struct{ from, to int }

func (s span) of(text []byte) []byte { return text[s.from:s.to] }

// tailSize is about how long that is, and not less.
func tailSize(e *heymanito.Entry) int {
	n := 64 + len(e.User) + len(e.Event) + len(e.Peer) + len(e.ID) + len(e.Note) + len(e.Covers) + len(e.Origin) + len(e.Body)
	for _, a := range e.Attachments {
		n += binary.MaxVarintLen32 + len(a)
	}
	return n
}

// decode reads a record up to its note.
func (rec *record) decode(r *reader) {
	all := r.b
	rec.size = entryBytes + uint64(len(all))
	rec.seq = r.uvarint()
	rec.given = rec.seq - r.uvarint()
	if rec.seq == 0 || rec.given > rec.seq {
		r.bad = true
	}
	rec.time, rec.mark = r.varint(), r.uvarint()
	at := r.b
	since := func() []byte { return at[:len(at)-len(r.b)] }
	rec.user = r.part()
	rec.event, rec.peer = r.part(), r.part()
	rec.scope = since()
	rec.id = r.part()
	rec.key = since()
	rec.note = r.part()
	rec.short = all[:len(all)-len(r.b)]
	rec.rest, r.b = *r, nil
}

// entry returns the whole of it, as a copy.
func (rec *record) entry() (heymanito.Entry, bool) {
	e := heymanito.Entry{
		Key:  heymanito.Key{User: string(rec.user), Event: string(rec.event), Peer: string(rec.peer), ID: string(rec.id)},
		Mark: rec.mark,
		Time: time.UnixMilli(rec.time),
		Note: string(rec.note),
		Seq:  rec.seq,
	}
	r := rec.rest
	e.Covers, e.Origin = string(r.part()), string(r.part())
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		return e, false
	}
	sizes := make([]uint64, n)
	for i := range sizes {
		sizes[i] = r.uvarint()
	}
	r.b = append([]byte(nil), r.b...)
	for _, size := range sizes {
		e.Attachments = append(e.Attachments, r.next(size))
	}
	e.Body = r.b
	return e, !r.bad
}

// whole reports whether all of it can be read.
func (rec *record) whole() bool {
	r := rec.rest
	r.part()
	r.part()
	var carried uint64
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		carried += min(r.uvarint(), math.MaxUint32)
	}
	return !r.bad && carried <= uint64(len(r.b))
}

func (rec *record) receipt() heymanito.Receipt { return receipt(rec.seq, rec.time, string(rec.note)) }

// receipt is the Receipt of an entry that is there already.
func receipt(seq uint64, ms int64, note string) heymanito.Receipt {
	return heymanito.Receipt{Seq: seq, Duplicate: true, Time: time.UnixMilli(ms), Note: note}
}

// What things count besides their names and what they carry: bbolt's 16 bytes
// for each key, checksums and numbers, and what is kept of them in memory.
const (
	elementBytes = 16
	entryBytes   = elementBytes + 8 + 4 + 16 + 28 // key, checksum, its place and its id's in memory
	userBytes    = 250                            // in memory
	idleBytes    = 2*elementBytes + 8 + 2*4 + 32
	markBytes    = 2*elementBytes + 2*4 + 40
	maxKey       = bbolt.MaxKeySize / 2 // with room for the lengths
)

func knownSize(rec *record) uint64    { return entryBytes + uint64(len(rec.short)) }
func userSize(user string) uint64     { return uint64(userBytes + len(user)) }
func idleSize(user string) uint64     { return uint64(idleBytes + 2*len(user)) }
func markSize(k []byte, v int) uint64 { return uint64(markBytes + 2*len(k) + v) }

// checkEntry refuses what cannot be written.
func checkEntry(e *heymanito.Entry) error {
	n := len(e.User) + len(e.Event) + len(e.Peer) + len(e.ID) + len(e.Covers)
	if n > maxKey {
		return fmt.Errorf("boltinbox: the names and the id of an entry for %.64q have %d bytes, more than %d", e.User, n, maxKey)
	}
	if size := tailSize(e); size > math.MaxInt32/4 {
		return fmt.Errorf("boltinbox: an entry for %.64q has %d bytes, more than %d", e.User, size, math.MaxInt32/4)
	}
	return nil
}

// key puts names into a key so that no two lists of names are one key, and the
// keys that begin with the same names are next to each other.
func key(names ...string) []byte {
	n := 0
	for _, s := range names {
		n += 3 + len(s)
	}
	b := make([]byte, 0, n)
	for _, s := range names {
		b = appendString(b, s)
	}
	return b
}

// splitKey is the opposite of key.
func splitKey(k []byte, names ...*string) bool {
	r := reader{b: k}
	for _, s := range names {
		*s = string(r.part())
	}
	return !r.bad && len(r.b) == 0
}

func orderKey(order uint64) []byte { return binary.BigEndian.AppendUint64(nil, order) }

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func checksum(k, v []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Update(0, table, k), table, v)
}

// seal ends the value of the key k with its checksum.
func seal(v, k []byte) []byte { return binary.LittleEndian.AppendUint32(v, checksum(k, v)) }

// unseal is the value of the key k without its checksum, and whether that is
// right.
func unseal(k, v []byte) ([]byte, bool) {
	n := len(v) - 4
	if n < 0 || binary.LittleEndian.Uint32(v[n:]) != checksum(k, v[:n]) {
		return nil, false
	}
	return v[:n:n], true
}

// open gives a sealed value to decode, which reads all of it.
func open(bucket string, k, v []byte, decode func(*reader)) error {
	b, ok := unseal(k, v)
	if ok {
		r := reader{b: b}
		decode(&r)
		ok = !r.bad && len(r.b) == 0
	}
	if !ok {
		return damaged("the value of %q in %s is not what was written", k, bucket)
	}
	return nil
}

// errDamaged is what a damaged file is refused with.
var errDamaged = errors.New("the file is damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(format, args...))
}

// reader takes a value apart.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// optional is a number that a file may lack that was written before there was
// such a number: then it is 0.
func (r *reader) optional() uint64 {
	if len(r.b) == 0 {
		return 0
	}
	return r.uvarint()
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) next(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// part is what appendString has appended.
func (r *reader) part() []byte { return r.next(r.uvarint()) }
