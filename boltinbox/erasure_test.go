package boltinbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/heymanito/heymanito"
)

// from is a message to a user from a peer.
func from(peer, user string, i int) heymanito.Entry {
	e := message(user, i)
	e.Peer = peer
	e.Body = fmt.Appendf(nil, `{"senderChatPath":%q}`, peer)
	return e
}

// receiptOf is an entry with a Mark, which tells a user of a peer.
func receiptOf(peer, user string) heymanito.Entry {
	e := from(peer, user, 0)
	e.Event, e.Mark, e.Covers = "messagesRead", 3, "messagesDelivered"
	return e
}

func mustForget(t *testing.T, s *Inbox, user string) {
	t.Helper()
	if err := s.Forget(t.Context(), user); err != nil {
		t.Fatal("Forget:", err)
	}
}

// Nothing of who was forgotten is anywhere in the buckets of the file.
func TestForgetLeavesNothing(t *testing.T) {
	const name, secret = "zoe/4711", "what nobody else says"
	s := newInbox(t, WithBounds(heymanito.InboxBounds{Entries: 20}), unsynced)
	hers := func(user string, i int) heymanito.Entry {
		e := from(name, user, i)
		e.ID, e.Note, e.Origin = fmt.Sprintf(`"%s %d"`, name, i), name, name
		e.Body, e.Attachments = fmt.Appendf(nil, `{"content":"%s"}`, secret), [][]byte{[]byte(secret)}
		return e
	}
	for i := range 30 { // of which the first are only known
		mustAppend(t, s, hers("ann", i), from("bob", "ann", i), from("ann", name, i), hers(name, i+100))
	}
	for i := range 10 {
		user := fmt.Sprint("user ", i)
		mustAppend(t, s, receiptOf(name, user), receiptOf(user, name), hers(user, i))
	}
	if err := s.AckThrough(t.Context(), name, 7); err != nil {
		t.Fatal(err)
	}
	found := func() (n int) {
		err := s.db.View(func(tx *bbolt.Tx) error {
			return tx.ForEach(func(bucket []byte, b *bbolt.Bucket) error {
				return b.ForEach(func(k, v []byte) error {
					for _, part := range []string{name, secret} {
						if bytes.Contains(k, []byte(part)) || bytes.Contains(v, []byte(part)) {
							n++
						}
					}
					return nil
				})
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if found() < 50 {
		t.Fatalf("before, the name and what was sent is in %d places", found())
	}
	mustForget(t, s, name)
	if n := found(); n > 0 {
		t.Errorf("the name or what was sent is in %d places", n)
	}
	if s.state.users[name] != nil || s.state.acked[name] != 0 || len(s.state.names("")) != 11 {
		t.Errorf("of who was forgotten there is %+v, given %d; there are %q", s.state.users[name], s.state.acked[name], s.state.names(""))
	}
	page := all(t, s, "ann")
	for _, e := range page.Entries {
		if e.Peer != "bob" && e.Event != heymanito.EventErased {
			t.Errorf("ann has %+v", e)
		}
	}
	if page.Last != 60 || page.Dropped != 40 {
		t.Errorf("ann's inbox is %+v", page.Head)
	}
	mustClose(t, s)
	l, err := checkFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	sameState(t, s.state, l.state)
}

// asked is a context that ends when it was asked so often whether it has.
type asked struct {
	context.Context
	left *atomic.Int64
}

// Err implements context.Context.
func (c asked) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// Wherever Forget is interrupted, what there is is whole, and the next Forget
// does the rest: of the file as it was closed, and as a crash leaves it.
func TestForgetInterrupted(t *testing.T) {
	const own, ofHers, users = 1_500, 800, 1_200
	dir := t.TempDir()
	path := filepath.Join(dir, "inbox.db")
	s := mustOpen(t, path, unsynced)
	want := map[string][]heymanito.Entry{}
	var es []heymanito.Entry
	add := func(e heymanito.Entry) {
		if e.User != "ann" {
			want[e.User] = append(want[e.User], e)
		}
		if es = append(es, e); len(es) == 100 {
			mustAppend(t, s, es...)
			es = es[:0]
		}
	}
	for i := range own {
		add(from("bob", "ann", i))
	}
	for i := range ofHers {
		for j := range 3 {
			add(from("ann", fmt.Sprint("long ", j), i))
			add(from("bob", fmt.Sprint("long ", j), i))
		}
	}
	for i := range users {
		add(receiptOf("ann", fmt.Sprintf("user %06d", i)))
	}
	mustAppend(t, s, es...)
	mustClose(t, s)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string, s *Inbox, done bool) {
		t.Helper()
		for user, es := range want {
			page := all(t, s, user)
			if page.Dropped != 0 || page.Last != uint64(len(es)) || len(page.Entries) != len(es) {
				t.Fatalf("%s: %q has %d entries of %d, and %+v", when, user, len(page.Entries), len(es), page.Head)
			}
			for i, e := range page.Entries {
				left := heymanito.Erased(es[i])
				whole := e.Key == es[i].Key && bytes.Equal(e.Body, es[i].Body)
				erased := e.Key == left.Key && bytes.Equal(e.Body, left.Body) && e.Time.Equal(left.Time)
				if hers := es[i].Peer == "ann"; !whole && !(erased && hers) || whole && hers && done {
					t.Fatalf("%s: entry %d of %q is %+v", when, e.Seq, user, e)
				}
			}
		}
		page := all(t, s, "ann")
		for i, e := range page.Entries {
			if done || e.Seq != page.Dropped+uint64(i+1) || e.Peer != "bob" {
				t.Fatalf("%s: her own entry %d is %+v", when, i, e)
			}
		}
		if done && (page.Last != own || page.Began != own) {
			t.Errorf("%s: her own inbox is %+v", when, page.Head)
		}
	}
	steps := 0
	for forgotten := false; !forgotten; steps++ {
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, path, unsynced)
		ctx := asked{context.Background(), new(atomic.Int64)}
		ctx.left.Store(int64(2 * steps)) // each commit asks twice
		err := s.Forget(ctx, "ann")
		if forgotten = err == nil; !forgotten && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		when := fmt.Sprintf("after %d commits", s.commits.Load())
		if n := s.commits.Load(); n != uint64(steps) && !forgotten {
			t.Errorf("after %d steps there were %d commits", steps, n)
		}
		check(when, s, forgotten)
		crashed, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
		l, err := checkFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sameState(t, s.state, l.state)
		if err := os.WriteFile(path+".crashed", crashed, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{path, path + ".crashed"} {
			s := mustOpen(t, path, unsynced)
			check(when+", opened", s, forgotten)
			mustForget(t, s, "ann")
			check(when+", and again", s, true)
			if r := mustAppend(t, s, receiptOf("ann", "user 000007"))[0]; r.Duplicate {
				t.Errorf("%s: a Mark of hers is still there: %+v", when, r)
			}
			mustClose(t, s)
		}
	}
	if steps < (own+3*ofHers+users)/forgetEntries {
		t.Errorf("%d things were erased with %d commits", own+3*ofHers+users, steps-1)
	}
}

// A commit that erases is in the file before it is in memory: who reads in that
// moment has an entry as it was or what is left of it.
func TestReadDuringForget(t *testing.T) {
	s := newInbox(t, WithBounds(heymanito.InboxBounds{Entries: 4}))
	for i := range 4 {
		mustAppend(t, s, from("ann", "bob", i), from("cid", "bob", i))
	}
	tx, err := s.db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	b := newBatch(s)
	b.begin(tx, time.Now())
	if err := errors.Join(b.eraseOf("ann", s.state.suspects(s.state.names("ann"), "ann")), b.putBlocks(), tx.Commit()); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		page := mustSince(t, s, "bob", 0, 10)
		if page.Last != 8 || page.Dropped != 4 || len(page.Entries) != 4 {
			t.Errorf("%s: %+v", when, page)
		}
		for _, e := range page.Entries {
			if (e.Event == heymanito.EventErased) != (e.Seq%2 == 1) {
				t.Errorf("%s: entry %d is %+v", when, e.Seq, e)
			}
		}
		for i := range 4 {
			if found, ok, err := s.Find(t.Context(), from("ann", "bob", i).Key, 0); ok || err != nil {
				t.Errorf("%s: Find of what was erased: %+v, %v", when, found, err)
			}
			if _, ok, err := s.Find(t.Context(), from("cid", "bob", i).Key, 0); !ok || err != nil {
				t.Errorf("%s: Find of what was not: %v, %v", when, ok, err)
			}
		}
		k := from("ann", "bob", 0).Key
		k.ID = ""
		if found, ok, err := s.Find(t.Context(), k, 8); ok || err != nil {
			t.Errorf("%s: Find of the newest that was erased: %+v, %v", when, found, err)
		}
	}
	check("before")
	b.apply(s.state.tx + 1)
	check("after")
}

// Whose name only looks the same to the tags keeps everything.
func TestForgetSameTag(t *testing.T) {
	s := newInbox(t, unsynced)
	tag := s.state.peerTag([]byte("ann"))
	other := ""
	for i := 0; other == ""; i++ {
		if name := fmt.Sprint("peer ", i); s.state.peerTag([]byte(name)) == tag {
			other = name
		}
	}
	mustAppend(t, s, from(other, "bob", 0), from("ann", "bob", 0), from(other, "bob", 1))
	mustForget(t, s, "ann")
	page := all(t, s, "bob")
	if len(page.Entries) != 3 || page.Entries[0].Peer != other || page.Entries[1].Event != heymanito.EventErased || page.Entries[2].Peer != other {
		t.Errorf("bob has %+v", page.Entries)
	}
}

// BenchmarkSuspects looks for a peer among a million entries of 10,000 users.
func BenchmarkSuspects(b *testing.B) {
	const users, entries = 10_000, 1_000_000
	s := newState()
	for i := range entries {
		name := fmt.Sprint("user ", i%users)
		u := s.users[name]
		if u == nil {
			u = &user{}
			s.users[name] = u
		}
		peer := fmt.Appendf(nil, "peer %d", i%1000)
		u.kept = append(u.kept, s.place(uint64(i), peer, peer, 0))
	}
	found := 0
	for b.Loop() {
		found = len(s.suspects(s.names(""), "peer 7"))
	}
	b.ReportMetric(float64(found), "found")
}
