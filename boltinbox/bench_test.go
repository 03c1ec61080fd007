package boltinbox

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/heymanito/heymanito"
)

// inFlight is how many Appends the benchmarks have in flight, and how many puts
// bbolt has in a transaction.
const inFlight = 256

// benchEntry is the i-th entry of the benchmarks: 300 bytes, for one of 2,000
// users.
func benchEntry(i int, body []byte) heymanito.Entry {
	return heymanito.Entry{
		Key: heymanito.Key{
			User:  fmt.Sprintf("user-%06d", (i*7919)%2000),
			Event: "receiveMessage",
			Peer:  "alice-0001",
			ID:    fmt.Sprintf(`"msg-%08d"`, i),
		},
		Time: time.Now(),
		Body: body,
	}
}

func benchBody() []byte {
	body := make([]byte, 300)
	for i := range body {
		body[i] = byte(33 + (i*i*7)%90)
	}
	return body
}

func benchEntries(from, n int, body []byte) []heymanito.Entry {
	entries := make([]heymanito.Entry, n)
	for i := range entries {
		entries[i] = benchEntry(from+i, body)
	}
	return entries
}

// appendAll appends entries with inFlight Appends at a time.
func appendAll(tb testing.TB, s *Inbox, entries []heymanito.Entry) {
	var callers sync.WaitGroup
	for c := range inFlight {
		callers.Go(func() {
			for i := c; i < len(entries); i += inFlight {
				if _, err := s.Append(context.Background(), entries[i]); err != nil {
					tb.Error(err)
				}
			}
		})
	}
	callers.Wait()
}

// BenchmarkAppend compares 256 callers, each of whom appends one entry of 300
// bytes after the other, with bbolt alone, which puts as many values of 300
// bytes under growing keys in each transaction: nothing that could be asked for
// by user, no duplicates, no bounds. Both sync to the disk. They take turns of
// 10,240 entries, and each pair of turns is compared, so that what else the
// machine does hits both; the medians are reported.
func BenchmarkAppend(b *testing.B) {
	const turn = 40 * inFlight
	body := benchBody()
	s, err := Open(filepath.Join(b.TempDir(), "inbox.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "bolt.db"), 0o600, &bbolt.Options{
		NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, NoStatistics: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	alone := func(from, n int) {
		for i := from; i < from+n; i += inFlight {
			err := db.Update(func(tx *bbolt.Tx) error {
				bucket, err := tx.CreateBucketIfNotExists([]byte("bench"))
				for j := range inFlight {
					err = bucket.Put(binary.BigEndian.AppendUint64(nil, uint64(i+j)), body)
				}
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	var inbox, bolt, percent []float64
	timed := func(f func()) float64 {
		began := time.Now()
		f()
		return turn / time.Since(began).Seconds()
	}
	appendAll(b, s, benchEntries(0, turn, body))
	alone(0, turn)
	commits, turns := s.commits.Load(), 0
	for b.Loop() {
		turns++
		entries := benchEntries(turns*turn, turn, body)
		inbox = append(inbox, timed(func() { appendAll(b, s, entries) }))
		bolt = append(bolt, timed(func() { alone(turns*turn, turn) }))
	}
	median := func(values []float64) float64 {
		slices.Sort(values)
		return values[len(values)/2]
	}
	for i := range inbox {
		percent = append(percent, 100*inbox[i]/bolt[i])
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(percent), "%-of-bbolt")
	b.ReportMetric(median(inbox), "entries/s")
	b.ReportMetric(median(bolt), "bbolt-entries/s")
	b.ReportMetric(float64(turns*turn)/float64(s.commits.Load()-commits), "entries/commit")
}

// BenchmarkReplay is what a user who has missed 10,000 entries costs.
func BenchmarkReplay(b *testing.B) {
	s, err := Open(filepath.Join(b.TempDir(), "inbox.db"), unsynced)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	body := benchBody()
	const missed = 10_000
	for i := range missed { // others' entries lie between them
		e := benchEntry(i, body)
		mine := e
		mine.User = "absent"
		if _, err := s.Append(b.Context(), e, mine); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		n := 0
		for after := uint64(0); after < missed; {
			page, err := s.Since(b.Context(), "absent", after, 100)
			if err != nil {
				b.Fatal(err)
			}
			n += len(page.Entries)
			after = page.Entries[len(page.Entries)-1].Seq
		}
		if n != missed {
			b.Fatal(n)
		}
	}
}
