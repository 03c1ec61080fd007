package boltinbox

import (
	"hash/maphash"
	"math"
	"sync"
	"time"

	"github.com/heymanito/heymanito"
)

// state is what is kept in memory: where things are in the file. It says what
// was on the disk after the last commit.
type state struct {
	mu    sync.RWMutex
	users map[string]*user  // who have something in entries or known
	ids   map[uint64]uint64 // hash of a record's key → its order, of those without a mark
	// acked is how far AckThrough was called for, of those in users of whom
	// the file does not say so yet.
	acked   map[string]uint64
	flushAt time.Time // when it is written
	sealed  bool      // nothing is added to it any more
	tx      uint64    // the last transaction
	totals

	seed maphash.Seed
}

func newState() *state {
	return &state{
		users: map[string]*user{},
		ids:   map[uint64]uint64{},
		acked: map[string]uint64{},
		seed:  maphash.MakeSeed(),
	}
}

// user is what is known of a user. A copy of it stays as it is: a commit
// appends to its slices and takes from their beginnings, or makes new ones.
type user struct {
	last, given uint64
	began       uint64  // Head.Began
	kept        []place // of the seqs up to last, without gaps
	known       []knownPlace
	bytes       uint64 // of kept
}

func (u *user) dropped() uint64 { return u.last - uint64(len(u.kept)) }
func (u *user) active() bool    { return len(u.kept)+len(u.known) > 0 }

// of returns the place of a seq that is kept.
func (u *user) of(seq uint64) place { return u.kept[seq-u.dropped()-1] }

// place is where an entry is, and what is asked before it is read.
type place struct {
	order   uint64
	tag     uint32 // of its peer, user and event
	seconds uint32 // of its time, rounded down
}

// knownPlace is where what is still known of an entry is that was dropped.
type knownPlace struct {
	order, seq uint64
	tag        uint32
}

// totals are the numbers of the whole store. What is not kept has a share of
// its own (see boundTotal).
type totals struct {
	order   uint64 // the last one given
	start   start
	inboxes int // users that have entries
	entries int
	kept    uint64 // bytes of entries, and of users in memory
	known   uint64 // bytes of known
	idle    uint64 // bytes of users in idle
	marks   uint64 // bytes of marks
}

func (t *totals) spare() uint64 { return t.known + t.idle + t.marks }
func (t *totals) bytes() uint64 { return t.kept + t.spare() }

func (t *totals) stats(dropped uint64) *heymanito.InboxStats {
	return &heymanito.InboxStats{Users: t.inboxes, Entries: t.entries, Bytes: int(t.bytes()), Dropped: dropped}
}

// hash is what ids has for a record's key. Two keys that have the same are one
// in a million million at ten million entries; then a duplicate of the first is
// not recognised. Nobody can look for such, because it is another hash each
// time the file is opened.
func (s *state) hash(key []byte) uint64 { return maphash.Bytes(s.seed, key) }

// tag tells events and peers of a user apart, nearly always. Its upper half is
// the peerTag.
func (s *state) tag(scope, peer []byte) uint32 {
	return s.peerTag(peer)<<16 | uint32(s.hash(scope))&0xFFFF
}

// peerTag tells a peer from 65,535 in 65,536 others.
func (s *state) peerTag(peer []byte) uint32 { return uint32(s.hash(peer)) & 0xFFFF }

func (s *state) place(order uint64, scope, peer []byte, ms int64) place {
	return place{order: order, tag: s.tag(scope, peer), seconds: uint32(min(max(ms/1000, 0), math.MaxUint32))}
}
