//go:build linux || darwin

package boltinbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
)

// fullDisk is set, in the environment of a test process, to how its disk is
// full.
const fullDisk = "BOLTINBOX_FULL_DISK"

// A full disk fails Appends, and nothing else. A limit on the size of files
// stands for it, which is the process's: so there is one of its own.
func TestFullDisk(t *testing.T) {
	for _, how := range []string{"grow", "write"} {
		t.Run(how, func(t *testing.T) {
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFullDiskChild$", "-test.v")
			child.Env = append(os.Environ(), fullDisk+"="+how)
			out, err := child.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS: TestFullDiskChild") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestFullDiskChild is not a test of its own: TestFullDisk runs it.
func TestFullDiskChild(t *testing.T) {
	how := os.Getenv(fullDisk)
	if how == "" {
		t.Skip("TestFullDisk runs this")
	}
	signal.Ignore(syscall.SIGXFSZ)
	path := filepath.Join(t.TempDir(), "inbox.db")
	s := mustOpen(t, path)
	for i := range 50 {
		mustAppend(t, s, bigMessage(i))
	}
	var was, limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	limit = was
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	limit.Cur = uint64(info.Size()) // the file cannot become longer
	if how == "write" {
		limit.Cur -= 64 << 10 // and not even its end can be written
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	checkFull(t, s, func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
			t.Fatal(err)
		}
	})
}

func bigMessage(i int) heymanito.Entry {
	e := message("ann", i)
	e.Body = fmt.Appendf(nil, `{"content":"%s"}`, strings.Repeat("x", i%10*1000))
	return e
}

// checkFull fills a disk that is nearly full; free makes room. s has 50 entries
// of ann's already.
func checkFull(t *testing.T, s *Inbox, free func()) {
	t.Helper()
	var mu sync.Mutex
	acked := map[int]uint64{}
	for i := range 50 {
		acked[i] = uint64(i + 1)
	}
	failed := map[int]error{}
	var callers sync.WaitGroup
	for c := range 8 {
		callers.Go(func() {
			for i := 50 + c; i < 20_000; i += 8 {
				receipts, err := s.Append(context.Background(), bigMessage(i))
				mu.Lock()
				if err != nil {
					failed[i] = err
				} else {
					acked[i] = receipts[0].Seq
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	callers.Wait()
	if len(failed) != 8 {
		t.Fatalf("the disk was full for %d of 8 callers, after %d messages", len(failed), len(acked))
	}
	for _, err := range failed {
		if !strings.Contains(err.Error(), s.path) {
			t.Errorf("the error does not say which file: %v", err)
		}
		t.Log(err)
		break
	}
	check := func(when string, s *Inbox) {
		t.Helper()
		page := all(t, s, "ann")
		if page.Last != uint64(len(acked)) || len(page.Entries) != len(acked) {
			t.Errorf("%s: %d were acked, there are %d, the last is %d", when, len(acked), len(page.Entries), page.Last)
			return
		}
		for i, seq := range acked {
			if e := page.Entries[seq-1]; e.ID != bigMessage(i).ID || len(e.Body) != len(bigMessage(i).Body) {
				t.Errorf("%s: %d was acked as %d, which is %s", when, i, seq, e.ID)
			}
		}
	}
	check("while the disk is full", s)
	if err := s.AckThrough(t.Context(), "ann", 7); err != nil {
		t.Errorf("AckThrough while the disk is full: %v", err)
	}
	if _, err := s.Append(t.Context(), bigMessage(3)); err != nil && errors.Is(err, errUncertain) {
		t.Errorf("while the disk is full: %v", err)
	}
	free()
	for i := range failed {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			receipts, err := s.Append(t.Context(), bigMessage(i))
			if err == nil {
				if acked[i] = receipts[0].Seq; receipts[0].Duplicate {
					t.Errorf("%d failed, and was appended all the same", i)
				}
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("there is room again: %v", err)
			}
		}
	}
	check("when there is room again", s)
	mustClose(t, s)
	s = mustOpen(t, s.path)
	check("opened again", s)
	if given := mustSince(t, s, "ann", 0, 0).Given; given != 7 {
		t.Errorf("Given is %d, want 7", given)
	}
}

// What the disk has failed to sync, nobody knows.
func TestFailedSync(t *testing.T) {
	for _, tt := range []struct {
		err  error
		ends bool
	}{
		{syscall.EIO, true},
		{&fs.PathError{Op: "sync", Path: "inbox.db", Err: syscall.EIO}, true},
		{&fs.PathError{Op: "write", Path: "inbox.db", Err: syscall.ENOSPC}, false},
		{errors.New("file resize error"), false},
	} {
		s := newInbox(t)
		mustAppend(t, s, message("ann", 0))
		err := s.failed(tt.err)
		if errors.Is(err, errUncertain) != tt.ends {
			t.Errorf("%v: %v", tt.err, err)
		}
		_, appended := s.Append(t.Context(), message("ann", 1))
		_, since := s.Since(t.Context(), "ann", 0, 1)
		for _, err := range []error{appended, since, s.AckThrough(t.Context(), "ann", 1)} {
			if errors.Is(err, errUncertain) != tt.ends {
				t.Errorf("after %v: %v", tt.err, err)
			}
		}
		mustClose(t, s)
	}
}

// The file is mapped into memory: who cuts it off must not crash the process.
func TestCutOffWhileOpen(t *testing.T) {
	s := newInbox(t)
	for i := range 200 {
		mustAppend(t, s, bigMessage(i))
	}
	if err := os.Truncate(s.path, 2*int64(os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	_, since := s.Since(t.Context(), "ann", 0, 1000)
	_, appended := s.Append(t.Context(), bigMessage(200))
	_, _, found := s.Find(t.Context(), bigMessage(0).Key, 0)
	for i, err := range []error{since, appended, found} {
		if !errors.Is(err, errDamaged) {
			t.Errorf("%d: %v", i, err)
		}
	}
	t.Log(since)
	s.Close() // comes to an end
}
