package boltinbox

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
)

// fileFactor is how much bigger than the total bound the file may become at the
// most, whatever it is filled with, besides the 16 MB by which it grows. With so
// small a bound it is more than Open's comment says: each of these Appends is a
// good part of all there is, and is written beside it before the old makes room.
const fileFactor = 2.5

// flood is something that would fill a disk.
type flood struct {
	name    string
	entries heymanito.InboxBounds
	entry   func(i int, random *rand.Rand) heymanito.Entry
}

func floods() []flood {
	body := func(n int) []byte { return make([]byte, n) }
	return []flood{
		{"one user", heymanito.InboxBounds{}, func(i int, _ *rand.Rand) heymanito.Entry {
			e := message("absent", i)
			e.Body = body(300)
			return e
		}},
		{"one user with room", heymanito.InboxBounds{Entries: 1 << 30, Bytes: 1 << 30}, func(i int, _ *rand.Rand) heymanito.Entry {
			e := message("absent", i)
			e.Body = body(300)
			return e
		}},
		{"invented users", heymanito.InboxBounds{}, func(i int, _ *rand.Rand) heymanito.Entry {
			e := message(fmt.Sprintf("user %x", uint32(i)*2654435761), i)
			e.Body = body(100)
			return e
		}},
		{"users with few entries", heymanito.InboxBounds{Entries: 20}, func(i int, random *rand.Rand) heymanito.Entry {
			e := message(fmt.Sprint("user ", int(random.ExpFloat64()*50)), i)
			e.Body = body(random.IntN(1000))
			return e
		}},
		{"one in ten stays", heymanito.InboxBounds{Entries: 10}, func(i int, random *rand.Rand) heymanito.Entry {
			e := message("busy", i)
			if i%10 == 0 {
				e = message(fmt.Sprint("quiet ", i), i)
			}
			e.Body = body(300)
			return e
		}},
		{"marks", heymanito.InboxBounds{Entries: 10}, func(i int, random *rand.Rand) heymanito.Entry {
			e := message(fmt.Sprint("user ", random.IntN(100)), i)
			e.Peer, e.Mark = fmt.Sprintf("peer %x", uint32(i)*2654435761), 1
			return e
		}},
		{"photos", heymanito.InboxBounds{}, func(i int, random *rand.Rand) heymanito.Entry {
			e := message(fmt.Sprint("user ", random.IntN(100)), i)
			e.Attachments = [][]byte{body(random.IntN(6000)), body(random.IntN(6000))}
			return e
		}},
	}
}

// fill appends n entries of a flood, so many at a time, and returns how much of
// the file has been in use.
func fill(tb testing.TB, s *Inbox, f flood, from, n, together int) (used int64) {
	tb.Helper()
	random := rand.New(rand.NewPCG(uint64(from), 1))
	for i := from; i < from+n; i += together {
		entries := make([]heymanito.Entry, together)
		for j := range entries {
			entries[j] = f.entry(i+j, random)
		}
		if _, err := s.Append(tb.Context(), entries...); err != nil {
			tb.Fatal(err)
		}
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		tb.Fatal(err)
	}
	defer tx.Rollback()
	return tx.Size()
}

// What is negative is refused, in words, before there is a file.
func TestNegativeBounds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inbox.db")
	for _, tt := range []struct {
		bounds heymanito.InboxBounds
		want   string
	}{
		{heymanito.InboxBounds{Entries: -1}, "Entries is -1"},
		{heymanito.InboxBounds{Bytes: -1_000}, "Bytes is -1000"},
		{heymanito.InboxBounds{Age: -time.Hour}, "Age is -1h0m0s"},
		{heymanito.InboxBounds{Entries: 1, Bytes: 1, Age: 1, Total: -1}, "Total is -1"},
	} {
		s, err := Open(path, WithBounds(tt.bounds))
		if err == nil {
			s.Close()
			t.Fatalf("%+v: it was opened", tt.bounds)
		}
		if !strings.HasPrefix(err.Error(), "boltinbox: WithBounds: InboxBounds."+tt.want) {
			t.Errorf("%+v: %v", tt.bounds, err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%+v: a file is there: %v", tt.bounds, err)
		}
	}
}

func TestFileStopsGrowing(t *testing.T) {
	const total = 600_000
	for _, f := range floods() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			bounds := f.entries
			bounds.Total = total
			s := newInbox(t, WithBounds(bounds), unsynced)
			n := 2400
			if f.name == "photos" {
				n = 480
			}
			first := fill(t, s, f, 0, 2*n, 16)
			second := fill(t, s, f, 2*n, 2*n, 16)
			stats := s.Stats()
			t.Logf("the file is %.2f times the bound, then %.2f; %+v", float64(first)/total, float64(second)/total, stats)
			if stats.Bytes > total {
				t.Errorf("Stats says %d bytes, the bound is %d", stats.Bytes, total)
			}
			if float64(second) > fileFactor*total {
				t.Errorf("the file has %d bytes, the bound is %d", second, total)
			}
			if second > first+first/4 {
				t.Errorf("the file grows: from %d to %d bytes", first, second)
			}
			mustClose(t, s)
			l, err := checkFile(s.path)
			if err != nil {
				t.Fatal(err)
			}
			sameState(t, s.state, l.state)
		})
	}
}

// BenchmarkFlood is a million entries against a total of 400 MB: what it takes of
// the disk and of memory. With -short it is a hundredth of that.
func BenchmarkFlood(b *testing.B) {
	total, entries := 400_000_000, 1<<20
	if testing.Short() {
		total, entries = total/100, entries/100
	}
	for _, f := range floods() {
		if f.name == "photos" {
			continue
		}
		b.Run(f.name, func(b *testing.B) {
			for b.Loop() {
				bounds := f.entries
				bounds.Total = total
				s, err := Open(b.TempDir()+"/inbox.db", WithBounds(bounds), unsynced)
				if err != nil {
					b.Fatal(err)
				}
				before := heap()
				used := fill(b, s, f, 0, entries, 64)
				b.ReportMetric(float64(used)/float64(total), "file/total")
				b.ReportMetric(float64(heap()-before)/float64(total), "memory/total")
				b.ReportMetric(float64(s.Stats().Bytes)/float64(total), "bytes/total")
				b.ReportMetric(float64(s.Stats().Entries), "kept")
				s.Close()
			}
			b.ReportMetric(float64(entries)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
