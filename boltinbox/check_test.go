package boltinbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/heymanito/heymanito"
)

// sample makes a file that has something of everything in it, and returns what
// is in it.
func sample(t *testing.T, path string) (file []byte, inboxes map[string]string) {
	t.Helper()
	s := mustOpen(t, path, WithBounds(heymanito.InboxBounds{Entries: 9, Total: 60_000}), unsynced)
	random := rand.New(rand.NewPCG(5, 5))
	for range 300 {
		anything(t, s, random)
	}
	inboxes = contents(t, s)
	mustClose(t, s)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return file, inboxes
}

// contents is all that can be read of the users of anything.
func contents(t *testing.T, s *Inbox) map[string]string {
	t.Helper()
	inboxes := map[string]string{}
	for i := range 12 {
		name := fmt.Sprint("user ", i)
		inboxes[name] = fmt.Sprintf("%+v", all(t, s, name))
	}
	return inboxes
}

// A file that is damaged anywhere is refused, or it was damaged where nothing
// is. It is neither mended nor changed.
func TestDamagedAnywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "inbox.db")
		file, want := sample(t, path)
		page := os.Getpagesize()
		random := rand.New(rand.NewPCG(1, 2))
		refused := 0
		const trials = 120
		for trial := range trials {
			broken := bytes.Clone(file)
			used := int(usedPages(t, file)) * page
			at := random.IntN(used)
			what := fmt.Sprintf("trial %d: ", trial)
			switch random.IntN(4) {
			case 0:
				broken[at] ^= 1 << random.IntN(8)
				what += fmt.Sprintf("a bit at %d", at)
			case 1: // a page of noise
				at -= at % page
				for i := range page {
					broken[at+i] = byte(random.Uint32())
				}
				what += fmt.Sprintf("noise in page %d", at/page)
			case 2: // a page that was never written
				at -= at % page
				clear(broken[at : at+page])
				what += fmt.Sprintf("zeros in page %d", at/page)
			case 3: // a page in the place of another
				at -= at % page
				from := random.IntN(used) / page * page
				copy(broken[at:at+page], file[from:])
				what += fmt.Sprintf("page %d in the place of page %d", from/page, at/page)
			}
			if err := os.WriteFile(path, broken, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(path, unsynced)
			if err != nil {
				refused++
				if !errors.Is(err, errDamaged) && !errors.Is(err, errForeign) || !strings.Contains(err.Error(), "nothing in it was changed") {
					t.Errorf("%s: %v", what, err)
				}
				if now, _ := os.ReadFile(path); !bytes.Equal(now, broken) {
					t.Errorf("%s: the file was changed", what)
				}
				continue
			}
			for name, got := range contents(t, s) {
				if got != want[name] {
					t.Errorf("%s: no error, but %s has\n\t%.300s, want\n\t%.300s", what, name, got, want[name])
					break
				}
			}
			mustClose(t, s)
		}
		if refused < trials/4 {
			t.Errorf("of %d files only %d were refused", trials, refused)
		}
	})
}

// usedPages is how many pages bbolt uses or has used.
func usedPages(t *testing.T, file []byte) uint64 {
	t.Helper()
	c := &checker{file: bytes.NewReader(file), loader: &loader{state: newState()}}
	if _, _, err := c.heads(); err != nil {
		t.Fatal(err)
	}
	return c.pages
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	var file []byte
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "ours.db")
		s := mustOpen(t, path, WithBounds(heymanito.InboxBounds{Age: time.Hour}))
		mark := message("idle", 0)
		mark.Mark = 1
		mustAppend(t, s, mark)
		time.Sleep(2 * time.Hour)
		for i := range 3 {
			mustAppend(t, s, message("ann", i))
		}
		mustClose(t, s)
		var err error
		if file, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	})
	// edit changes a copy of a file through bbolt.
	edit := func(change func(*bbolt.Tx) error) []byte {
		t.Helper()
		path := filepath.Join(dir, "edited.db")
		os.WriteFile(path, file, 0o600)
		db, err := bbolt.Open(path, 0o600, nil)
		if err == nil {
			err = errors.Join(db.Update(change), db.Close())
		}
		edited, err2 := os.ReadFile(path)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		return edited
	}
	put := func(bucket, k string, v []byte) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucket)).Put([]byte(k), seal(v, []byte(k))) }
	}
	deleteFirst := func(bucket string) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error {
			k, _ := tx.Bucket([]byte(bucket)).Cursor().First()
			return tx.Bucket([]byte(bucket)).Delete(bytes.Clone(k))
		}
	}
	// annBegan puts where ann's inbox began, whose first entry is 1.
	annBegan := func(began, floor uint64) func(*bbolt.Tx) error {
		numbers := func(vs ...uint64) (b []byte) {
			for _, v := range vs {
				b = binary.AppendUvarint(b, v)
			}
			return b
		}
		return func(tx *bbolt.Tx) error {
			return errors.Join(
				put(headsBucket, string(key("ann")), numbers(3, 0, 0, began))(tx),
				put(metaBucket, floorKey, numbers(floor, floor))(tx))
		}
	}
	otherDB := func() []byte {
		path := filepath.Join(dir, "other.db")
		db, err := bbolt.Open(path, 0o600, nil)
		if err == nil {
			err = errors.Join(db.Update(func(tx *bbolt.Tx) error {
				b, err := tx.CreateBucket([]byte("sessions"))
				if err == nil {
					err = b.Put([]byte("k"), []byte("v"))
				}
				return err
			}), db.Close())
		}
		other, err2 := os.ReadFile(path)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		return other
	}
	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "the file is damaged: it is empty"},
		{"a text", []byte(strings.Repeat("Dear diary! ", 10_000)), "not an inbox"},
		{"short", file[:1000], "not an inbox"},
		{"cut off", file[:usedPages(t, file)*uint64(os.Getpagesize())-1], "the file is damaged: it is cut off"},
		{"half", file[:len(file)/2/os.Getpagesize()*os.Getpagesize()], "the file is damaged"},
		{"another program's", otherDB(), "not an inbox of this version: it has other things in it"},
		{"of a newer version", edit(put(metaBucket, versionKey, binary.AppendUvarint(nil, layoutVersion+1))), "it is of version 2, and this program knows 1"},
		{"newer with more in it", edit(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucket([]byte("more"))
			return errors.Join(err, put(metaBucket, versionKey, []byte{9})(tx))
		}), "it is of version 9"},
		{"with more in it", edit(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucket([]byte("more"))
			return err
		}), "the file is damaged: it has strange things in it"},
		{"without a bucket", edit(func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte(marksBucket)) }), "the file is damaged: it has no marks"},
		{"without an epoch", edit(func(tx *bbolt.Tx) error { return tx.Bucket([]byte(metaBucket)).Delete([]byte(epochKey)) }), "the file is damaged: it has no version or no epoch"},
		{"with another value", edit(func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(entriesBucket))
			k, v := b.Cursor().Last()
			v = bytes.Clone(v)
			v[len(v)/2]++
			return b.Put(bytes.Clone(k), v)
		}), "the file is damaged: the value of"},
		{"without someone's second entry", edit(func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(entriesBucket))
			c := b.Cursor()
			c.Last()
			k, _ := c.Prev()
			return b.Delete(bytes.Clone(k))
		}), "the file is damaged: entry"},
		{"without a head", edit(deleteFirst(headsBucket)), "the file is damaged: something is missing"},
		{"with an inbox that began behind its entries", edit(annBegan(1, 9)), `the file is damaged: the inbox of "ann" begins behind 1, and has entries behind 0`},
		{"with an inbox that began behind its last entry", edit(annBegan(4, 9)), "the file is damaged: the value of"},
		{"with an inbox that began behind all others", edit(annBegan(1, 0)), `the file is damaged: the inbox of "ann" begins behind 1, and none`},
		{"with two floors", edit(put(metaBucket, floorKey, []byte{9, 8})), `the file is damaged: the value of "floor"`},
		{"without an idle user", edit(deleteFirst(idleBucket)), "the file is damaged: something is missing"},
		{"without a mark", edit(deleteFirst(marksBucket)), "the file is damaged: something is missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "inbox.db")
			if err := os.WriteFile(path, tt.file, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(path)
			if err == nil {
				s.Close()
				t.Fatal("it was opened")
			}
			for _, part := range []string{path, tt.want, "nothing in it was changed"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v\n\tdoes not say %q", err, part)
				}
			}
			if now, _ := os.ReadFile(path); !bytes.Equal(now, tt.file) {
				t.Error("the file was changed")
			}
		})
	}
}

// What the machine has not written completely when it crashed was the last
// commit, which nobody was told of.
func TestTornHead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inbox.db")
	s := mustOpen(t, path)
	for i := range 5 {
		mustAppend(t, s, message("ann", i))
	}
	file, err := os.ReadFile(path) // as a crash leaves it: not closed
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	newest := int(s.state.tx % 2 * uint64(os.Getpagesize()))
	file[newest+pageHead+20]++
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path)
	if page := all(t, s, "ann"); page.Last != 4 || len(page.Entries) != 4 {
		t.Errorf("without the last commit there are %d entries, the last is %d", len(page.Entries), page.Last)
	}
	mustClose(t, s)
	// A crash does not do more than that.
	clear(file[newest : newest+os.Getpagesize()])
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(path); err == nil {
		s.Close()
		t.Error("a file without its newer head was opened")
	} else if !errors.Is(err, errDamaged) {
		t.Error(err)
	}
}

// A file that was closed does not depend on which of its two heads is damaged.
func TestClosedFileHasTwoHeads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inbox.db")
	s := mustOpen(t, path)
	mustAppend(t, s, message("ann", 0))
	mustAppend(t, s, message("ann", 1))
	mustClose(t, s)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for head := range 2 {
		torn := bytes.Clone(file)
		torn[head*os.Getpagesize()+pageHead+20]++
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, path)
		if page := all(t, s, "ann"); len(page.Entries) != 2 {
			t.Errorf("with head %d torn there are %d entries", head, len(page.Entries))
		}
		mustClose(t, s)
	}
}

// The file may have been in the hands of bbolt's own tools, which leave a list
// of free pages in it.
func TestFreelist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "inbox.db")
		_, want := sample(t, path)
		db, err := bbolt.Open(path, 0o600, nil)
		if err == nil {
			err = errors.Join(db.Update(func(*bbolt.Tx) error { return nil }), db.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, path)
		for name, got := range contents(t, s) {
			if got != want[name] {
				t.Errorf("%s has %s, want %s", name, got, want[name])
			}
		}
		mustClose(t, s)

		// A page that is in the list, and in use, would be overwritten.
		db, err = bbolt.Open(path, 0o600, nil)
		if err == nil {
			err = errors.Join(db.Update(func(*bbolt.Tx) error { return nil }), db.Close())
		}
		file, err2 := os.ReadFile(path)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		c := &checker{file: bytes.NewReader(file), loader: &loader{state: newState()}}
		root, list, err := c.heads()
		if err != nil {
			t.Fatal(err)
		}
		at := int(list) * os.Getpagesize()
		if n := binary.NativeEndian.Uint16(file[at+10:]); n == 0 {
			t.Fatal("no page is free")
		}
		binary.NativeEndian.PutUint64(file[at+pageHead:], root)
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(path); err == nil {
			s.Close()
			t.Error("a file was opened that has a page that is used and free")
		} else if !errors.Is(err, errDamaged) {
			t.Error(err)
		}
	})
}

func TestInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newInbox(t)
		other, err := Open(s.path)
		if err == nil {
			other.Close()
			t.Fatal("a file was opened twice")
		}
		for _, part := range []string{s.path, "in use by another process"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%v\n\tdoes not say %q", err, part)
			}
		}
		mustAppend(t, s, message("ann", 0))
	})
}

func TestNoPlaceForAFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	paths := map[string]string{
		"a directory":                   dir,
		"in a directory that is absent": filepath.Join(dir, "absent", "inbox.db"),
		"in a file":                     filepath.Join(file, "inbox.db"),
	}
	if runtime.GOOS == "linux" {
		paths["where nobody may write"] = "/sys/inbox.db"
	}
	for name, path := range paths {
		t.Run(name, func(t *testing.T) {
			s, err := Open(path)
			if err == nil {
				s.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("%v\n\tdoes not say which file", err)
			}
			t.Log(err)
		})
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("something was left behind: %v, %v", left, err)
	}
}

// Two processes that start at the same time, on no file: both have the same one
// in the end.
func TestCreatedTwice(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "inbox.db")
	errs := make(chan error)
	for range 8 {
		go func() {
			s, err := Open(path)
			if err == nil {
				_, err = s.Append(t.Context(), message("ann", 0))
				err = errors.Join(err, s.Close())
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil && !strings.Contains(err.Error(), "in use") {
			t.Error(err)
		}
	}
	s := mustOpen(t, path)
	if page := all(t, s, "ann"); len(page.Entries) != 1 {
		t.Errorf("there are %d entries", len(page.Entries))
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("more was left behind: %v", left)
	}
}

// Between being read through and being opened, a file can be another's.
func TestChangedWhileOpening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inbox.db")
	mustClose(t, mustOpen(t, path))
	l, err := checkFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := mustOpen(t, path)
	mustAppend(t, other, message("ann", 0))
	mustClose(t, other)
	s := &Inbox{path: path}
	if same, err := s.openDB(l, &config{}); same || err != nil {
		t.Errorf("a file that was changed was opened as it was: %v, %v", same, err)
	}
	mustOpen(t, path) // and was closed again
}
