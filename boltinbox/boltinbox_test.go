package boltinbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/inboxtest"
)

func TestInbox(t *testing.T) {
	paths := map[heymanito.Inbox]string{}
	open := func(t *testing.T, path string, b heymanito.InboxBounds) heymanito.Inbox {
		s := mustOpen(t, path, WithBounds(b))
		paths[s] = path
		return s
	}
	inboxtest.Run(t, func(t *testing.T, b heymanito.InboxBounds) heymanito.Inbox {
		return open(t, filepath.Join(t.TempDir(), "inbox.db"), b)
	}, inboxtest.Reopen(func(t *testing.T, s heymanito.Inbox, b heymanito.InboxBounds) heymanito.Inbox {
		mustClose(t, s.(*Inbox))
		return open(t, paths[s], b)
	}))
}

func unsynced(c *config) { c.noSync = true }

func mustOpen(t *testing.T, path string, opts ...Option) *Inbox {
	t.Helper()
	s, err := Open(path, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mustClose(t *testing.T, s *Inbox) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error("Close:", err)
	}
}

func newInbox(t *testing.T, opts ...Option) *Inbox {
	t.Helper()
	return mustOpen(t, filepath.Join(t.TempDir(), "inbox.db"), opts...)
}

// message is a message to a user, whose id is i.
func message(user string, i int) heymanito.Entry {
	return heymanito.Entry{
		Key:  heymanito.Key{User: user, Event: "receiveMessage", Peer: "peer", ID: fmt.Sprintf(`"%d"`, i)},
		Time: time.Now().Truncate(time.Millisecond),
		Body: fmt.Appendf(nil, `{"content":"%s %d"}`, user, i),
	}
}

func mustAppend(t *testing.T, s *Inbox, entries ...heymanito.Entry) []heymanito.Receipt {
	t.Helper()
	receipts, err := s.Append(t.Context(), entries...)
	if err != nil {
		t.Fatal("Append:", err)
	}
	return receipts
}

func mustSince(t *testing.T, s *Inbox, user string, after uint64, limit int) heymanito.Page {
	t.Helper()
	page, err := s.Since(t.Context(), user, after, limit)
	if err != nil {
		t.Fatal("Since:", err)
	}
	return page
}

// all returns all that is kept of a user.
func all(t *testing.T, s *Inbox, user string) heymanito.Page {
	t.Helper()
	page := mustSince(t, s, user, 0, 1<<30)
	for {
		n := len(page.Entries)
		if n == 0 || page.Entries[n-1].Seq == page.Last {
			return page
		}
		page.Entries = append(page.Entries, mustSince(t, s, user, page.Entries[n-1].Seq, 1<<30).Entries...)
	}
}

// What is in memory is what Open finds in the file, whatever was done.
func TestStateIsThatOfTheFile(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				path := filepath.Join(t.TempDir(), "inbox.db")
				bounds := WithBounds(heymanito.InboxBounds{Entries: 12, Bytes: 20_000, Age: 30 * time.Hour, Total: 60_000 >> seed})
				s := mustOpen(t, path, bounds, unsynced)
				for range 6 {
					for range 200 {
						anything(t, s, random)
					}
					mustClose(t, s)
					l, err := checkFile(path)
					if err != nil {
						t.Fatal(err)
					}
					sameState(t, s.state, l.state)
					s = mustOpen(t, path, bounds, unsynced)
				}
			})
		})
	}
}

// anything does something at random with one of a few users.
func anything(t *testing.T, s *Inbox, random *rand.Rand) {
	name := func() string { return fmt.Sprint("user ", random.IntN(12)) }
	entry := func() heymanito.Entry {
		e := message(name(), random.IntN(1000))
		e.Peer = name()
		e.Body = []byte(`{"content":"` + strings.Repeat("x", random.IntN(300)) + `"}`)
		switch random.IntN(8) {
		case 0, 1:
			e.Event, e.Mark, e.Covers = "read", uint64(random.IntN(1000)+1), "delivered"
		case 2:
			e.Body = make([]byte, 5000+random.IntN(5000))
		case 3:
			e.Origin = "socket"
		}
		return e
	}
	var err error
	switch n := random.IntN(100); {
	case n < 60:
		entries := make([]heymanito.Entry, 1+random.IntN(3))
		for i := range entries {
			entries[i] = entry()
		}
		_, err = s.Append(t.Context(), entries...)
	case n < 70: // in one commit
		var calls sync.WaitGroup
		for range 20 {
			e := entry()
			calls.Go(func() {
				if _, err := s.Append(t.Context(), e); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
	case n < 85:
		err = s.AckThrough(t.Context(), name(), uint64(random.IntN(200)))
	case n < 90:
		err = s.Forget(t.Context(), name())
	case n < 95:
		time.Sleep(time.Duration(random.IntN(6)) * time.Hour)
	default:
		_, err = s.Since(t.Context(), name(), 0, 100)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func sameState(t *testing.T, got, want *state) {
	t.Helper()
	same := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s in memory: %+v; in the file: %+v", what, got, want)
		}
	}
	if got.order < want.order {
		t.Errorf("order %d in memory, %d in the file", got.order, want.order)
	}
	a, b := got.totals, want.totals
	a.order, b.order = 0, 0
	same("totals", a, b)
	same("users", slices.Sorted(maps.Keys(got.users)), slices.Sorted(maps.Keys(want.users)))
	for name, u := range got.users {
		if v := want.users[name]; v != nil {
			same(name, untagged(*u), untagged(*v))
		}
	}
	same("ids", slices.Sorted(maps.Values(got.ids)), slices.Sorted(maps.Values(want.ids)))
	same("acked", got.acked, want.acked)
}

// untagged is u without what is different each time that a file is opened.
func untagged(u user) user {
	u.kept, u.known = slices.Clone(u.kept), slices.Clone(u.known)
	for i := range u.kept {
		u.kept[i].tag = 0
	}
	for i := range u.known {
		u.known[i].tag = 0
	}
	if len(u.known) == 0 {
		u.known = nil
	}
	if len(u.kept) == 0 {
		u.kept = nil
	}
	return u
}

func TestManyAppendsAreOneCommit(t *testing.T) {
	s := newInbox(t)
	release := hold(t, s)
	var calls sync.WaitGroup
	for i := range 300 {
		calls.Go(func() { mustAppend(t, s, message(fmt.Sprint("user ", i%7), i)) })
	}
	waitUntil(t, func() bool { return s.waiting() == 300 })
	release()
	calls.Wait()
	mustClose(t, s)
	if s.commits.Load() != 1 {
		t.Errorf("300 Appends at the same time took %d commits", s.commits.Load())
	}
}

// waitUntil waits for something that has to come.
func waitUntil(t *testing.T, come func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !come(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited for a minute")
		}
	}
}

// hold makes a commit wait while its changes are made, until release is called.
// What is asked for in the meantime is a part of it.
func hold(t *testing.T, s *Inbox) (release func()) {
	t.Helper()
	begun, released := make(chan struct{}), make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	go s.do(context.Background(), func(*batch) error {
		begin()
		<-released
		return nil
	})
	<-begun
	release = sync.OnceFunc(func() { close(released) })
	t.Cleanup(release)
	return release
}

func TestReadsDoNotWaitForACommit(t *testing.T) {
	s := newInbox(t)
	mustAppend(t, s, message("ann", 1))
	first := hold(t, s)
	appended := make(chan []heymanito.Receipt)
	go func() {
		receipts, _ := s.Append(context.Background(), message("ann", 2))
		appended <- receipts
	}()
	waitUntil(t, func() bool { return s.waiting() == 1 })
	time.AfterFunc(time.Millisecond, first)
	release := hold(t, s) // behind the Append
	if page := mustSince(t, s, "ann", 0, 10); page.Last != 1 || len(page.Entries) != 1 {
		t.Errorf("an entry that is not written yet is shown: %+v", page)
	}
	if found, ok, err := s.Find(t.Context(), message("ann", 2).Key, 0); ok || err != nil {
		t.Errorf("an entry that is not written yet is found: %+v, %v", found, err)
	}
	if err := s.AckThrough(t.Context(), "ann", 1); err != nil {
		t.Error(err)
	}
	if given := mustSince(t, s, "ann", 0, 0).Given; given != 1 {
		t.Errorf("Given is %d after AckThrough(1)", given)
	}
	release()
	if receipts := <-appended; len(receipts) != 1 || receipts[0].Seq != 2 {
		t.Errorf("the receipts are %+v", receipts)
	}
	if given := mustSince(t, s, "ann", 0, 0).Given; given != 1 {
		t.Errorf("Given is %d after the commit", given)
	}
}

// A commit is in the file before it is in memory: for that moment, readers have
// the one or the other, but nothing that is only half there.
func TestReadDuringCommit(t *testing.T) {
	s := newInbox(t, WithBounds(heymanito.InboxBounds{Entries: 2}))
	for i := range 2 {
		mustAppend(t, s, message("ann", i), message("bob", i), message("cid", i))
	}
	mustAppend(t, s, message("idle", 0))
	tx, err := s.db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	b := newBatch(s)
	b.begin(tx, time.Now())
	r, late := &request{}, &request{}
	forget := func(name string) error {
		_, err := b.forget(name)
		return err
	}
	if err := errors.Join(
		s.address(r, []heymanito.Entry{message("ann", 2)}), b.append(r), forget("bob"),
		s.address(late, []heymanito.Entry{message("dan", 0)}), b.append(late),
		b.putBlocks(), tx.Commit(),
	); err != nil {
		t.Fatal(err)
	}
	check := func(when string, annDropped, annLast, danLast uint64, ann, bob, cid int) {
		t.Helper()
		if h := mustSince(t, s, "dan", 0, 0).Head; h.Began != 2 || h.Dropped != 2 || h.Last != danLast {
			t.Errorf("%s: who begins behind who was forgotten has %+v, Last should be %d", when, h, danLast)
		}
		page := mustSince(t, s, "ann", 0, 10)
		if page.Dropped != annDropped || page.Last != annLast || len(page.Entries) != ann {
			t.Errorf("%s: %+v", when, page)
		}
		if n := len(mustSince(t, s, "bob", 0, 10).Entries); n != bob {
			t.Errorf("%s: %d entries of who was forgotten, want %d", when, n, bob)
		}
		if n := len(mustSince(t, s, "cid", 0, 10).Entries); n != cid {
			t.Errorf("%s: %d entries of another, want %d", when, n, cid)
		}
		for i := range 3 {
			_, ok, err := s.Find(t.Context(), message("ann", i).Key, 0)
			if want := i < int(annLast); ok != want || err != nil {
				t.Errorf("%s: Find of entry %d: %v, %v", when, i, ok, err)
			}
		}
		if _, ok, err := s.Find(t.Context(), message("bob", 0).Key, 0); ok || err != nil {
			t.Errorf("%s: Find of what was forgotten: %v, %v", when, ok, err)
		}
		if _, ok, err := s.Find(t.Context(), heymanito.Key{User: "cid", Event: "receiveMessage", Peer: "peer"}, 9); !ok || err != nil {
			t.Errorf("%s: Find of the newest: %v, %v", when, ok, err)
		}
	}
	check("before", 1, 2, 2, 1, 0, 2)
	b.apply(s.state.tx + 1)
	check("after", 1, 3, 3, 2, 0, 2)
}

func TestCancelled(t *testing.T) {
	s := newInbox(t)
	release := hold(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	for i := range 20 {
		go func() {
			ctx := ctx
			if i%2 == 0 {
				ctx = t.Context()
			}
			_, err := s.Append(ctx, message("ann", i))
			if i%2 == 1 && !errors.Is(err, context.Canceled) {
				t.Errorf("an Append that was cancelled: %v", err)
			} else if i%2 == 0 && err != nil {
				t.Error(err)
			}
			errs <- err
		}()
	}
	waitUntil(t, func() bool { return s.waiting() == 20 })
	cancel()
	for range 10 {
		if err := <-errs; err == nil {
			t.Error("an Append has returned that was not cancelled")
		}
	}
	release()
	for range 10 {
		<-errs
	}
	if page := all(t, s, "ann"); len(page.Entries) != 10 || page.Last != 10 {
		t.Errorf("%d entries, the last is %d", len(page.Entries), page.Last)
	}
	if _, err := s.Append(ctx, message("ann", 100)); !errors.Is(err, context.Canceled) {
		t.Errorf("Append with a context that has ended: %v", err)
	}
	if _, err := s.Since(ctx, "ann", 0, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Since with a context that has ended: %v", err)
	}
}

func TestAckThroughReachesTheDisk(t *testing.T) {
	given := func(t *testing.T, path string) uint64 {
		t.Helper()
		s := mustOpen(t, path)
		defer s.Close()
		return mustSince(t, s, "ann", 0, 0).Given
	}
	copyOf := func(t *testing.T, path string) string {
		t.Helper()
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(t.TempDir(), "copy.db")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "inbox.db")
		s := mustOpen(t, path)
		for i := range 3 {
			mustAppend(t, s, message("ann", i))
		}
		s.AckThrough(t.Context(), "ann", 1)
		commits := s.commits.Load()
		time.Sleep(2 * time.Second)
		if got := given(t, copyOf(t, path)); got != 1 {
			t.Errorf("two seconds later, Given is %d in the file, want 1", got)
		}
		if s.commits.Load() != commits+1 {
			t.Errorf("AckThrough took %d commits", s.commits.Load()-commits)
		}
		s.AckThrough(t.Context(), "ann", 2)
		mustAppend(t, s, message("ann", 3))
		if got := given(t, copyOf(t, path)); got != 2 {
			t.Errorf("with the next entry, Given is %d in the file, want 2", got)
		}
		s.AckThrough(t.Context(), "ann", 3)
		mustClose(t, s)
		if got := given(t, path); got != 3 {
			t.Errorf("after Close, Given is %d, want 3", got)
		}
		if err := s.AckThrough(t.Context(), "ann", 4); !errors.Is(err, ErrClosed) {
			t.Errorf("AckThrough after Close: %v", err)
		}
	})
}

// More users than are written with one commit.
func TestAckThroughOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "inbox.db")
		s := mustOpen(t, path, unsynced)
		const users = 2*ackedUsers + 10
		name := func(i int) string { return fmt.Sprint("user ", i) }
		for i := range users {
			mustAppend(t, s, message(name(i), 0))
		}
		for i := range users {
			s.AckThrough(t.Context(), name(i), 1)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := len(s.state.acked); n != 0 {
			t.Errorf("of %d users it is not written how far AckThrough was called", n)
		}
		mustClose(t, s)
		s = mustOpen(t, path)
		for i := range users {
			if given := mustSince(t, s, name(i), 0, 0).Given; given != 1 {
				t.Fatalf("Given of %s is %d", name(i), given)
			}
		}
	})
}

// A failed commit is nobody's: all who wait for it get the error, and it has
// left nothing behind.
func TestFailedCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inbox.db")
	s := mustOpen(t, path)
	first := message("ann", 0)
	mustAppend(t, s, first)
	s.AckThrough(t.Context(), "ann", 1)
	release := hold(t, s)
	s.db.MaxSize = 1 // from now on there is no room
	big := func(i int) heymanito.Entry {
		e := message("ann", i)
		e.Body = make([]byte, 100_000)
		return e
	}
	var calls sync.WaitGroup
	for i := range 30 {
		calls.Go(func() {
			if receipts, err := s.Append(t.Context(), big(i%15+1)); err == nil {
				t.Errorf("no error, but %+v", receipts)
			} else if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not say which file: %v", err)
			}
		})
	}
	waitUntil(t, func() bool { return s.waiting() == 30 })
	release()
	calls.Wait()
	page := all(t, s, "ann")
	if page.Last != 1 || len(page.Entries) != 1 || page.Given != 1 || s.Stats().Entries != 1 {
		t.Errorf("after a commit that failed: %+v, %+v", page, s.Stats())
	}
	if _, ok, err := s.Find(t.Context(), big(1).Key, 0); ok || err != nil {
		t.Errorf("Find of an entry that was not appended: %v, %v", ok, err)
	}
	s.db.MaxSize = 0
	var receipts []heymanito.Receipt
	waitUntil(t, func() (ok bool) { // the next attempt is not made at once
		var err error
		receipts, err = s.Append(t.Context(), big(1))
		return err == nil
	})
	if receipts[0] != (heymanito.Receipt{Seq: 2}) {
		t.Errorf("when there is room again: %+v", receipts)
	}
	if r := mustAppend(t, s, big(1))[0]; !r.Duplicate || r.Seq != 2 {
		t.Errorf("a duplicate of it: %+v", r)
	}
	mustClose(t, s)
	l, err := checkFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sameState(t, s.state, l.state)
}

// One request that cannot be carried out does not fail the others.
func TestFailedRequest(t *testing.T) {
	s := newInbox(t)
	mustAppend(t, s, message("ann", 0))
	release := hold(t, s)
	odd := errors.New("odd")
	var calls sync.WaitGroup
	for i := range 9 {
		calls.Go(func() {
			err := s.do(t.Context(), func(b *batch) error {
				r := &request{}
				if err := errors.Join(s.address(r, []heymanito.Entry{message("ann", i+1)}), b.append(r)); err != nil || i%3 != 0 {
					return err
				}
				return odd
			})
			if (i%3 == 0) != errors.Is(err, odd) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	waitUntil(t, func() bool { return s.waiting() == 9 })
	release()
	calls.Wait()
	if page := all(t, s, "ann"); page.Last != 7 || len(page.Entries) != 7 {
		t.Errorf("%d entries, the last is %d", len(page.Entries), page.Last)
	}
	for i := range 9 {
		if r := mustAppend(t, s, message("ann", i+1))[0]; r.Duplicate != (i%3 != 0) {
			t.Errorf("%d again: %+v", i, r)
		}
	}
}

func TestClosed(t *testing.T) {
	s := newInbox(t)
	mustAppend(t, s, message("ann", 0))
	mustClose(t, s)
	mustClose(t, s)
	_, appended := s.Append(t.Context(), message("ann", 1))
	_, since := s.Since(t.Context(), "ann", 0, 1)
	_, _, find := s.Find(t.Context(), message("ann", 0).Key, 0)
	for i, err := range []error{appended, since, find, s.AckThrough(t.Context(), "ann", 1), s.AckThrough(t.Context(), "nobody", 1), s.Forget(t.Context(), "ann")} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// Where an inbox began is in the file for as long as the inbox is, whatever is
// left of it.
func TestBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "inbox.db")
		bounds := WithBounds(heymanito.InboxBounds{Age: time.Hour})
		s := mustOpen(t, path, bounds, unsynced)
		check := func(when, name string, began, dropped, last uint64) {
			t.Helper()
			for _, again := range []string{"", ", opened again"} {
				if h := mustSince(t, s, name, 0, 0).Head; h.Began != began || h.Dropped != dropped || h.Last != last {
					t.Errorf("%s%s: %+v, want Began %d, Dropped %d and Last %d", when, again, h, began, dropped, last)
				}
				mustClose(t, s)
				s = mustOpen(t, path, bounds, unsynced)
			}
		}
		forget := func(name string) {
			t.Helper()
			if err := s.Forget(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		mustAppend(t, s, message("gone", 0), message("gone", 1), message("gone", 2))
		check("at 0", "gone", 0, 0, 3)
		forget("gone")
		check("nothing", "ann", 3, 3, 3)
		mustAppend(t, s, message("ann", 0))
		check("an entry", "ann", 3, 3, 4)
		mustAppend(t, s, message("next", 0), message("next", 1))
		forget("next")
		check("when others begin elsewhere", "ann", 3, 3, 4)
		check("nothing, there", "bob", 5, 5, 5)
		time.Sleep(2 * time.Hour)
		mustAppend(t, s, message("dan", 0)) // which drops what is too old
		check("what is known of an entry", "ann", 3, 4, 4)
		time.Sleep(30 * time.Hour)
		mustAppend(t, s, message("dan", 1))
		if s.state.idle == 0 {
			t.Error("nobody is idle")
		}
		check("a head", "ann", 3, 4, 4)
		if err := s.AckThrough(t.Context(), "ann", 4); err != nil {
			t.Fatal(err)
		}
		check("a head that was written again", "ann", 3, 4, 4)
		mustAppend(t, s, message("ann", 1))
		check("an entry, again", "ann", 3, 4, 5)
		if err := s.AckThrough(t.Context(), "ann", 5); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		check("an entry that was acked", "ann", 3, 4, 5)
		forget("ann")
		check("nothing, again", "ann", 5, 5, 5)
	})
}

// A file that was written before there was a Began says nothing of it.
func TestFileWithoutBegan(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inbox.db")
	s := mustOpen(t, path)
	mustAppend(t, s, message("gone", 0), message("gone", 1))
	if err := s.Forget(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, s, message("ann", 0))
	mustClose(t, s)
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		put := func(bucket string, k []byte, v ...byte) error {
			return tx.Bucket([]byte(bucket)).Put(k, seal(v, k))
		}
		return errors.Join(put(metaBucket, []byte(floorKey), 2), put(headsBucket, key("ann"), 3, 2, 0))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path)
	check := func(name string, last uint64) {
		t.Helper()
		if h := mustSince(t, s, name, 0, 0).Head; h.Began != 0 || h.Last != last {
			t.Errorf("%q: %+v, want Began 0 and Last %d", name, h, last)
		}
	}
	check("ann", 3)
	check("bob", 2)
	mustAppend(t, s, message("bob", 0), message("bob", 1))
	check("bob", 4)
	if err := s.Forget(t.Context(), "bob"); err != nil {
		t.Fatal(err)
	}
	check("bob", 4)
	mustClose(t, s)
	s = mustOpen(t, path)
	check("ann", 3)
	check("bob", 4)
}

func TestTooBig(t *testing.T) {
	s := newInbox(t)
	e := message("ann", 0)
	e.ID = strings.Repeat("x", maxKey)
	if _, err := s.Append(t.Context(), e); err == nil {
		t.Error("an id that is too long is no error")
	}
	e.ID = strings.Repeat("x", maxKey-len(e.User+e.Event+e.Peer))
	e.Mark = 1 // it is in three keys
	mustAppend(t, s, e)
	e.Mark = 0
	mustAppend(t, s, e)
	if page := all(t, s, "ann"); len(page.Entries) != 2 || page.Entries[1].ID != e.ID {
		t.Errorf("%d entries", len(page.Entries))
	}
}

func TestEpoch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inbox.db")
	epoch := func(path string) string {
		s := mustOpen(t, path)
		defer s.Close()
		return mustSince(t, s, "ann", 0, 0).Epoch
	}
	first := epoch(path)
	if again := epoch(path); first == "" || again != first {
		t.Errorf("the epoch was %q and is %q", first, again)
	}
	if other := epoch(path + "2"); other == first {
		t.Errorf("two files have the epoch %q", other)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if anew := epoch(path); anew == first {
		t.Errorf("a file that begins anew has the epoch %q, too", anew)
	}
}
