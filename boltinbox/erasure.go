package boltinbox

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/heymanito/heymanito"
)

// What others have of a user is found by going through the places of all
// entries, which are in memory: a tag says whether an entry may be of a peer, and
// all but a few that are not stay unread. That takes some ten milliseconds for a
// million entries, beside everything else, and an account is seldom deleted. An
// index by peer would cost each Append another key somewhere in the file, which the
// layout goes out of its way to avoid, or as much memory again as a place does; and
// files that have none would have to be given one.

const (
	// forgetEntries is how many entries, and marks, Forget erases with a commit:
	// what others append meanwhile waits no longer than for that.
	forgetEntries = 1000
	// forgetUsers is of how many users Forget looks at the state at a time.
	forgetUsers = 1000
)

// Forget implements [heymanito.Inbox]. It erases a thousand entries with a
// commit, and what others ask for is done between them. What it erases is
// overwritten in time, not at once.
func (s *Inbox) Forget(ctx context.Context, user string) error {
	for more := true; more; {
		err := s.do(ctx, func(b *batch) (err error) {
			more, err = b.forget(user)
			return err
		})
		if err != nil {
			return err
		}
	}
	// All that was appended before is in the state by now.
	var suspects []suspect
	erase := func(n int) error {
		some := suspects[:n]
		suspects = suspects[n:]
		return s.do(ctx, func(b *batch) error { return b.eraseOf(user, some) })
	}
	for names := range slices.Chunk(s.state.names(user), forgetUsers) {
		suspects = append(suspects, s.state.suspects(names, user)...)
		for len(suspects) >= forgetEntries {
			if err := erase(forgetEntries); err != nil {
				return err
			}
		}
	}
	if len(suspects) == 0 {
		return nil
	}
	return erase(len(suspects))
}

// suspect is an entry that may be of a peer.
type suspect struct {
	user  string // whose inbox it is in
	order uint64
}

// names is who has something in entries or known, but for one.
func (s *state) names(except string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := make([]string, 0, len(s.users))
	for name := range s.users {
		if name != except {
			names = append(names, name)
		}
	}
	return names
}

// suspects is what is in the inboxes of names that may be of a peer, by user and
// order.
func (s *state) suspects(names []string, peer string) []suspect {
	users := make([]user, len(names))
	s.mu.RLock()
	for i, name := range names {
		if u := s.users[name]; u != nil {
			users[i] = *u
		}
	}
	s.mu.RUnlock()
	var found []suspect
	tag := s.peerTag([]byte(peer))
	for i, u := range users {
		for _, p := range u.known {
			if p.tag>>16 == tag {
				found = append(found, suspect{names[i], p.order})
			}
		}
		for _, p := range u.kept {
			if p.tag>>16 == tag {
				found = append(found, suspect{names[i], p.order})
			}
		}
	}
	return found
}

// forget erases a user's inbox, and the marks that others have of the user, or
// as much of that as one commit may erase. It reports whether there may be more.
func (b *batch) forget(name string) (more bool, err error) {
	d, err := b.of(name)
	if err != nil {
		return false, err
	}
	n, err := b.deleteMarks(b.marks, name, forgetEntries)
	left := forgetEntries - n
	if err != nil || left == 0 {
		return true, err
	}
	if d.exists {
		all := len(d.known) + len(d.kept)
		if all > left { // what is left of it is as if a bound had dropped the rest
			return true, b.eraseFirst(d, left)
		}
		left -= all
		if err := b.eraseFirst(d, all); err != nil {
			return true, err
		}
		if err := b.end(d, false); err != nil {
			return true, err
		}
	}
	n, err = b.deleteMarks(b.peers, name, left)
	return n == left, err
}

// deleteMarks deletes marks that a bucket, marks or peers, has under a name, at
// most n of them. It returns how many.
func (b *batch) deleteMarks(bucket *bbolt.Bucket, name string, n int) (deleted int, err error) {
	for k := range keysOf(bucket, key(name), n) {
		if bucket == b.peers {
			var peer, user, event string
			if !splitKey(k, &peer, &user, &event) {
				return deleted, damaged("%s has the key %q", peersBucket, k)
			}
			k = key(user, event, peer)
		}
		v := b.marks.Get(k)
		if v == nil {
			return deleted, damaged("the mark %q of %q is missing", k, name)
		}
		if err := b.deleteMark(k, v); err != nil {
			return deleted, err
		}
		deleted++
	}
	return deleted, nil
}

// eraseFirst erases the n oldest entries of a user. If those are all, the inbox
// has to be ended.
func (b *batch) eraseFirst(d *draft, n int) error {
	d.changed = d.changed || n > 0
	for ; n > 0 && len(d.known) > 0; n-- {
		p := d.known[0]
		rec, _, err := b.read(p.order)
		if err == nil {
			err = b.eraseKnown(p.order, &rec)
		}
		if err != nil {
			return err
		}
		d.known = d.known[1:]
	}
	if n > 0 && n == len(d.kept) {
		b.inboxes--
	}
	for ; n > 0; n-- {
		p := d.kept[0]
		rec, kept, err := b.read(p.order)
		if err == nil && !kept {
			err = damaged("entry %d is missing", p.order)
		}
		if err == nil {
			b.unlink(p.order, &rec)
			err = b.removeRecord(p.order)
		}
		if err != nil {
			return err
		}
		d.kept = d.kept[1:]
		b.totals.entries--
		b.kept -= rec.size
		d.bytes -= rec.size
	}
	return nil
}

// eraseKnown erases what is known of an entry that was dropped. Whoever calls it
// takes it out of the user's.
func (b *batch) eraseKnown(order uint64, rec *record) error {
	b.totals.known -= rec.size
	b.unlink(order, rec)
	return b.delete(b.known, orderKey(order))
}

// eraseOf erases those of suspects that are of a peer. They are by user and
// order.
func (b *batch) eraseOf(peer string, suspects []suspect) error {
	for len(suspects) > 0 {
		name, n := suspects[0].user, 1
		for n < len(suspects) && suspects[n].user == name {
			n++
		}
		d, err := b.of(name)
		if err == nil {
			err = b.eraseIn(d, peer, suspects[:n])
		}
		if err != nil {
			return err
		}
		suspects = suspects[n:]
	}
	return nil
}

// eraseIn is eraseOf in one inbox. What has gone from it since suspects were
// found is no matter.
func (b *batch) eraseIn(d *draft, peer string, suspects []suspect) error {
	var known []uint64
	shared := true // d.kept is the state's
	for _, s := range suspects {
		at, kept := slices.BinarySearchFunc(d.kept, s.order, func(p place, order uint64) int { return cmp.Compare(p.order, order) })
		if !kept && !d.knows(s.order) {
			continue
		}
		rec, _, err := b.read(s.order)
		switch {
		case err != nil:
			return err
		case string(rec.peer) != peer:
			continue
		case !kept:
			known = append(known, s.order)
			err = b.eraseKnown(s.order, &rec)
		default:
			if shared {
				d.kept, shared = slices.Clone(d.kept), false
			}
			err = b.bury(d, at, &rec)
		}
		if err != nil {
			return err
		}
	}
	if len(known) == 0 {
		return nil
	}
	d.changed = true
	left := make([]knownPlace, 0, len(d.known)-len(known))
	for _, p := range d.known {
		if _, erased := slices.BinarySearch(known, p.order); !erased {
			left = append(left, p)
		}
	}
	if d.known = left; d.active() {
		return nil
	}
	return b.rest(d, known[len(known)-1])
}

// knows reports whether what is at an order was dropped and is known.
func (u *user) knows(order uint64) bool {
	_, known := slices.BinarySearchFunc(u.known, order, func(p knownPlace, order uint64) int { return cmp.Compare(p.order, order) })
	return known
}

// bury puts what Forget leaves of an entry in its place: the record says the same
// of its user's inbox, and nothing of the entry.
func (b *batch) bury(d *draft, at int, rec *record) error {
	if rec.seq != d.dropped()+1+uint64(at) {
		return damaged("entry %d of %q is where %d should be", rec.seq, d.name, d.dropped()+1+uint64(at))
	}
	e := heymanito.Erased(heymanito.Entry{Key: heymanito.Key{User: d.name}, Time: time.UnixMilli(rec.time)})
	head := binary.AppendUvarint(nil, rec.seq)
	head = binary.AppendUvarint(head, rec.seq-rec.given)
	raw, _, scope := appendTail(head, &e)
	p := &d.kept[at]
	b.unlink(p.order, rec)
	if err := b.replaceRecord(p.order, raw); err != nil {
		return err
	}
	size := entryBytes + uint64(len(raw))
	d.bytes += size - rec.size
	b.kept += size - rec.size
	*p = b.state.place(p.order, scope.of(raw), nil, rec.time)
	d.changed = true
	return nil
}

// erased reports whether a record is what Forget has left of an entry.
func (rec *record) erased() bool { return string(rec.event) == heymanito.EventErased }

// linked reports whether the state's ids lead to a record.
func (rec *record) linked() bool { return rec.mark == 0 && !rec.erased() }

// is reports whether a record has the key k.
func (rec *record) is(k []byte) bool { return bytes.Equal(rec.key, k) }
