package boltinbox

import (
	"bytes"
	"context"
	"runtime/debug"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/heymanito/heymanito"
)

// pageBytes is about how much Since returns at most.
const pageBytes = 1 << 20

// view is what a read sees: the state of one moment, and a transaction that has
// at least that. It may have more, of a commit that is being written: what that
// one drops is missing already, and what it appends is in no state yet.
type view struct {
	*bbolt.Tx
	state *state
	user  user // who is asked about
	known bool // and is in the state
	early bool // the transaction may have more

	now     time.Time
	entries *bbolt.Bucket
	block   block // the last one that was looked at
}

// view calls read with what there is. id is the id of a record that is asked
// for, or nil; order is where it is, or 0.
func (s *Inbox) view(ctx context.Context, name string, id []byte, read func(v *view, order uint64) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.brokenErr(); err != nil {
		return err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // the file is mapped into memory
	v := &view{state: s.state, now: time.Now()}
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(p, v.Tx)
		}
	}()
	order, err := s.begin(v, name, id)
	if err != nil {
		return s.failed(err)
	}
	if err := read(v, order); err != nil {
		_ = v.Rollback()
		return s.wrap(err)
	}
	return v.Rollback()
}

// begin begins a read.
func (s *Inbox) begin(v *view, name string, id []byte) (order uint64, err error) {
	s.state.mu.RLock()
	defer s.state.mu.RUnlock()
	if v.Tx, err = s.db.Begin(false); err != nil {
		return 0, err
	}
	v.entries = v.Bucket([]byte(entriesBucket))
	v.early = uint64(v.ID()) != s.state.tx
	if u := s.state.users[name]; u != nil {
		v.user, v.known = *u, true
		v.user.given = max(u.given, s.state.acked[name])
	}
	if id != nil {
		if order = s.state.ids[s.state.hash(id)]; order > s.state.order {
			order = 0 // not written yet
		}
	}
	return order, nil
}

// get gives the value of a key to decode, and reports whether there is one.
func get(tx *bbolt.Tx, bucket string, k []byte, decode func(*reader)) (bool, error) {
	raw := tx.Bucket([]byte(bucket)).Get(k)
	if raw == nil {
		return false, nil
	}
	return true, open(bucket, k, raw, decode)
}

// head returns the head of the user who is asked about.
func (v *view) head(name string) (heymanito.Head, error) {
	if u := &v.user; v.known {
		return heymanito.Head{Last: u.last, Given: u.given, Dropped: u.dropped(), Began: u.began}, nil
	}
	var h head
	ok, err := get(v.Tx, headsBucket, key(name), h.decode)
	if !ok && err == nil {
		var s start
		_, err = get(v.Tx, metaBucket, []byte(floorKey), s.decode)
		h = head{last: s.floor, given: s.floor, began: s.began}
	}
	return heymanito.Head{Last: h.last, Given: h.given, Dropped: h.last, Began: h.began}, err
}

// Since implements [heymanito.Inbox].
func (s *Inbox) Since(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
	page := heymanito.Page{}
	err := s.view(ctx, user, nil, func(v *view, _ uint64) (err error) {
		if page.Head, err = v.head(user); err != nil {
			return err
		}
		page.Epoch = s.epoch
		if err := v.skipOld(&page, s.bounds.Age); err != nil {
			return err
		}
		return v.read(&page, after, limit)
	})
	if err != nil {
		return heymanito.Page{}, err
	}
	return page, nil
}

// skipOld leaves out what has become too old since the last commit, which would
// have dropped it.
func (v *view) skipOld(page *heymanito.Page, age time.Duration) error {
	for page.Dropped < page.Last {
		p := v.user.of(page.Dropped + 1)
		if !p.mayBeOld(age, v.now) {
			break
		}
		rec, ok, err := v.kept(p.order)
		if err != nil || ok && !rec.tooOld(age, v.now) {
			return err
		}
		if !ok && !v.early {
			return damaged("entry %d is missing", p.order)
		}
		page.Dropped++
	}
	return nil
}

// read reads what is kept behind after.
func (v *view) read(page *heymanito.Page, after uint64, limit int) error {
	if after >= page.Last || limit <= 0 {
		return nil
	}
	size := 0
	for seq := max(after, page.Dropped) + 1; seq <= page.Last && len(page.Entries) < limit; seq++ {
		p := v.user.of(seq)
		rec, ok, err := v.kept(p.order)
		if err != nil {
			return err
		}
		if !ok && v.early && len(page.Entries) == 0 {
			page.Dropped = seq
			continue
		}
		if size += int(rec.size); size > pageBytes && len(page.Entries) > 0 {
			break
		}
		e, whole := rec.entry()
		if !ok || !whole || e.Seq != seq {
			return damaged("entry %d is where %d should be", e.Seq, seq)
		}
		page.Entries = append(page.Entries, e)
	}
	return nil
}

// Find implements [heymanito.Inbox].
func (s *Inbox) Find(ctx context.Context, k heymanito.Key, through uint64) (found heymanito.Found, ok bool, err error) {
	var id []byte
	if k.ID != "" {
		id = key(k.User, k.Event, k.Peer, k.ID)
	}
	err = s.view(ctx, k.User, id, func(v *view, order uint64) error {
		if !v.known || k.Event == heymanito.EventErased {
			return nil
		}
		var rec record
		if id != nil {
			if order == 0 {
				return nil
			}
			rec, ok, err = v.record(order, v.user.last)
			ok = ok && rec.is(id) // a commit that is being written may have erased it
		} else {
			rec, ok, err = v.newest(k, through)
		}
		if ok {
			found = heymanito.Found{Receipt: rec.receipt(), ID: string(rec.id)}
		}
		return err
	})
	if err != nil {
		return heymanito.Found{}, false, err
	}
	return found, ok, nil
}

// newest finds the newest record of an event and peer up to through.
func (v *view) newest(k heymanito.Key, through uint64) (record, bool, error) {
	scope, u := key(k.User, k.Event, k.Peer), &v.user
	tag := v.state.tag(scope, []byte(k.Peer))
	is := func(order uint64) (record, bool, error) {
		rec, ok, err := v.record(order, u.last)
		return rec, ok && bytes.Equal(rec.scope, scope), err
	}
	for seq := min(through, u.last); seq > u.dropped(); seq-- {
		if p := u.of(seq); p.tag == tag {
			if rec, ok, err := is(p.order); ok || err != nil {
				return rec, ok, err
			}
		}
	}
	for _, p := range slices.Backward(u.known) {
		if p.seq <= through && p.tag == tag {
			if rec, ok, err := is(p.order); ok || err != nil {
				return rec, ok, err
			}
		}
	}
	return record{}, false, nil
}
