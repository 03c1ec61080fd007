package heymanito

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What a MemoryInbox has to do as an Inbox is checked in inboxtest, which runs
// its suite on it. Here is what it takes, and that its books are in order.

func inboxMessage(user, peer, id string) Entry {
	return Entry{
		Key:  Key{User: user, Event: eventReceive, Peer: peer, ID: id},
		Time: time.Now().Truncate(time.Millisecond),
		Body: fmt.Appendf(nil, `{"id":%s,"senderChatPath":%q,"recipientChatPath":%q,"content":"hola, ¿qué tal?","ts":1}`, id, peer, user),
	}
}

func inboxMark(user, event, peer string, mark uint64) Entry {
	return Entry{
		Key:  Key{User: user, Event: event, Peer: peer, ID: strconv.FormatUint(mark, 10)},
		Mark: mark,
		Time: time.Now().Truncate(time.Millisecond),
		Body: fmt.Appendf(nil, `{"senderChatPath":%q,"upToId":%d,"ts":1}`, peer, mark),
	}
}

func inboxAppend(t testing.TB, m *MemoryInbox, entries ...Entry) []Receipt {
	t.Helper()
	receipts, err := m.Append(t.Context(), entries...)
	if err != nil {
		t.Fatal(err)
	}
	return receipts
}

// liveHeap is the bytes on the heap that are in use.
func liveHeap() int {
	runtime.GC()
	runtime.GC() // pools give up what they hold at the second
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int(s.HeapAlloc)
}

// TestMemoryInboxCountsItsBytes compares what is counted with what the heap has
// grown by, for inboxes of different shapes.
func TestMemoryInboxCountsItsBytes(t *testing.T) {
	const uuid = `"3f1c9a52-6f0d-4d0e-9a57-7d8e1c2b3a4f"`
	user := func(i int) string { return fmt.Sprintf("user-%06d", i) }
	huge := InboxBounds{Entries: 1 << 30, Bytes: 1 << 30}
	for _, tt := range []struct {
		name   string
		bounds InboxBounds
		n      int
		entry  func(i int) Entry
	}{
		{"messages to one user", huge, 30_000, func(i int) Entry { return inboxMessage("ann", "bob", strconv.Itoa(i)) }},
		{"a message to each of many", huge, 15_000, func(i int) Entry { return inboxMessage(user(i), "bob", uuid) }},
		{"a message of each of many", huge, 15_000, func(i int) Entry { return inboxMessage("ann", user(i), uuid) }},
		{"ten messages to each of many", huge, 30_000, func(i int) Entry { return inboxMessage(user(i%3_000), "bob", strconv.Itoa(i)) }},
		{"ids of dropped messages", InboxBounds{Entries: 1}, 30_000, func(i int) Entry { return inboxMessage(user(i%20), "bob", strconv.Itoa(i)) }},
		{"a dropped message to each of many", InboxBounds{Age: time.Second}, 15_000, func(i int) Entry {
			e := inboxMessage(user(i), "bob", uuid)
			e.Time = e.Time.Add(-time.Minute)
			return e
		}},
		{"Marks of many peers", InboxBounds{Entries: 1}, 15_000, func(i int) Entry { return inboxMark("ann", eventRead, user(i), 1) }},
		{"a Mark in each of many", huge, 15_000, func(i int) Entry { return inboxMark(user(i), eventRead, "ann", 1) }},
		{"attachments", huge, 3_000, func(i int) Entry {
			e := inboxMessage(user(i%100), "bob", strconv.Itoa(i))
			e.Attachments = [][]byte{make([]byte, 100), make([]byte, 1000), make([]byte, 0, 3000)}
			return e
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := liveHeap()
			m := NewMemoryInbox(tt.bounds)
			for i := range tt.n {
				inboxAppend(t, m, tt.entry(i))
			}
			s, heap := m.Stats(), liveHeap()-before
			t.Logf("%+v: each counts %d bytes and takes %d, %.2f", s, s.Bytes/tt.n, heap/tt.n, float64(heap)/float64(s.Bytes))
			// A map has room for up to as much again as is in it.
			if heap*4 > s.Bytes*5 || heap*5 < s.Bytes*4 {
				t.Errorf("%d bytes are counted, the heap has grown by %d", s.Bytes, heap)
			}
			runtime.KeepAlive(m)
		})
	}
}

// underRace reports whether the test was built with the race detector.
func underRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// TestMemoryInboxStaysWithinItsTotal sends a million messages: to one user who
// is not there, and to a million who do not exist. Under the race detector,
// which takes five times as long, it sends a quarter of them: some 30 times what
// there is room for.
func TestMemoryInboxStaysWithinItsTotal(t *testing.T) {
	const group, total = 100, 8_000_000
	million := 1_000_000
	if underRace() {
		million /= 4
	}
	one := NewMemoryInbox(InboxBounds{})
	inboxAppend(t, one, inboxMessage("1000000", "ann", "1000000"))
	for _, tt := range []struct {
		name string
		user func(i int) string
		kept int // at least
	}{
		{"one user", func(int) string { return "absent" }, 10_000},
		{"invented users", strconv.Itoa, total * 7 / 10 / one.Stats().Bytes},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := liveHeap()
			m := NewMemoryInbox(InboxBounds{Total: total})
			e := inboxMessage("1000000", "ann", "1000000")
			entries := make([]Entry, group)
			for i := 0; i < million; i += group {
				for j := range entries {
					e.User, e.ID = tt.user(i+j), strconv.Itoa(i+j)
					entries[j] = e
				}
				inboxAppend(t, m, entries...)
				if s := m.Stats(); s.Bytes > total {
					t.Fatalf("after %d messages %d bytes are counted, more than %d", i, s.Bytes, total)
				}
			}
			s, heap := m.Stats(), liveHeap()-before
			t.Logf("%+v; the heap has grown by %d", s, heap)
			if heap > total*5/4 {
				t.Errorf("the heap has grown by %d bytes, the bound is %d", heap, total)
			}
			if s.Entries < tt.kept || s.Entries+int(s.Dropped) != million {
				t.Errorf("%d messages are kept and %d were dropped, at least %d could be kept", s.Entries, s.Dropped, tt.kept)
			}
			runtime.KeepAlive(m)
		})
	}
}

// TestMemoryInboxShrinks empties inboxes: what maps and queues had grown to goes,
// too.
func TestMemoryInboxShrinks(t *testing.T) {
	const users, each = 20, 5_000
	synctest.Test(t, func(t *testing.T) {
		before := liveHeap()
		m := NewMemoryInbox(InboxBounds{})
		user := func(i int) string { return "user " + strconv.Itoa(i) }
		for i := range users * each {
			inboxAppend(t, m, inboxMessage(user(i%users), user(i%1000), strconv.Itoa(i)))
		}
		full := liveHeap() - before
		time.Sleep(31 * 24 * time.Hour)
		for i := range users {
			m.Since(t.Context(), user(i), 0, 0)
		}
		s, heap := m.Stats(), liveHeap()-before
		t.Logf("the heap had grown by %d, and then by %d; %+v", full, heap, s)
		if s.Bytes > users*300 || s.Dropped != users*each || heap > 300_000 {
			t.Errorf("%+v, and the heap has grown by %d, before by %d", s, heap, full)
		}
		runtime.KeepAlive(m)
	})
}

// TestMemoryInboxKnowsADroppedQuarter: a quarter of the total is for what is
// known of what was dropped, and no more.
func TestMemoryInboxKnowsADroppedQuarter(t *testing.T) {
	const total = 400_000
	m := NewMemoryInbox(InboxBounds{Total: total})
	var entries []Entry
	for i := range 3_000 {
		entries = append(entries, inboxMessage("ann", "bob", strconv.Itoa(i)))
		inboxAppend(t, m, entries[i])
	}
	if spare := m.stats.Bytes - m.keptBytes; spare > total/4+1_000 || spare < total/5 {
		t.Errorf("%d bytes of %d are spare, want about a quarter", spare, total)
	}
	dropped := 3_000 - m.Stats().Entries
	if r := inboxAppend(t, m, entries[dropped-100])[0]; !r.Duplicate {
		t.Errorf("of %d that were dropped the last but 100 is not known any more: %+v", dropped, r)
	}
	if r := inboxAppend(t, m, entries[dropped-1_000])[0]; r.Duplicate {
		t.Errorf("of %d that were dropped the last but 1,000 is known: %+v", dropped, r)
	}
}

// TestMemoryInboxEndedContext: with a ctx that has ended nothing is done.
func TestMemoryInboxEndedContext(t *testing.T) {
	m := NewMemoryInbox(InboxBounds{})
	e := inboxMessage("ann", "bob", "1")
	inboxAppend(t, m, e)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	next := inboxMessage("ann", "bob", "2")
	for name, call := range map[string]func() error{
		"Append":     func() error { _, err := m.Append(ctx, next); return err },
		"Since":      func() error { _, err := m.Since(ctx, "ann", 0, 1); return err },
		"Find":       func() error { _, _, err := m.Find(ctx, e.Key, 0); return err },
		"AckThrough": func() error { return m.AckThrough(ctx, "ann", 1) },
		"Forget":     func() error { return m.Forget(ctx, "ann") },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s returned %v", name, err)
		}
	}
	page, err := m.Since(t.Context(), "ann", 0, 10)
	if err != nil || len(page.Entries) != 1 || page.Given != 0 {
		t.Errorf("the inbox is %+v, %v", page, err)
	}
}

// TestMemoryInboxCopiesNames appends for users and peers whose names are pieces
// of long strings.
func TestMemoryInboxCopiesNames(t *testing.T) {
	const n, long = 50, 1 << 20
	before := liveHeap()
	m := NewMemoryInbox(InboxBounds{})
	for i := range n {
		request := strconv.Itoa(i) + " " + eventRead + " " + strings.Repeat("x", long)
		names := strings.SplitN(request, " ", 3)
		e := inboxMark(names[0], names[1], names[2][:10], 1)
		e.Covers = eventDelivered
		inboxAppend(t, m, e)
	}
	if heap := liveHeap() - before; heap > n*long/10 {
		t.Errorf("%d users with short names take %d bytes", n, heap)
	}
	runtime.KeepAlive(m)
}

// TestMemoryInboxNegativeBounds: what is negative is refused, in words.
func TestMemoryInboxNegativeBounds(t *testing.T) {
	for _, tt := range []struct {
		bounds InboxBounds
		want   string
	}{
		{InboxBounds{Entries: -1}, "Entries is -1"},
		{InboxBounds{Bytes: -1_000}, "Bytes is -1000"},
		{InboxBounds{Age: -time.Hour}, "Age is -1h0m0s"},
		{InboxBounds{Entries: 1, Bytes: 1, Age: 1, Total: -1}, "Total is -1"},
	} {
		said := func() (said any) {
			defer func() { said = recover() }()
			NewMemoryInbox(tt.bounds)
			return nil
		}()
		text, _ := said.(string)
		if !strings.HasPrefix(text, "heymanito: NewMemoryInbox: InboxBounds."+tt.want) {
			t.Errorf("%+v: NewMemoryInbox panics with %v", tt.bounds, said)
		}
	}
}

// TestMemoryInboxWithoutRoom: what an Append has raised is known behind it, even
// if there is no room for anything.
func TestMemoryInboxWithoutRoom(t *testing.T) {
	m := NewMemoryInbox(InboxBounds{Total: 1})
	for mark := range uint64(3) {
		e := inboxMark("ann", eventRead, "bob", mark+1)
		e.Covers = eventDelivered
		if r := inboxAppend(t, m, e)[0]; r.Duplicate || r.Seq != mark+1 {
			t.Errorf("Mark %d got %+v", mark+1, r)
		}
		for _, event := range []string{eventRead, eventDelivered} {
			if r := inboxAppend(t, m, inboxMark("ann", event, "bob", mark+1))[0]; !r.Duplicate || r.Seq != mark+1 {
				t.Errorf("%s %d again got %+v", event, mark+1, r)
			}
		}
	}
}

// TestMemoryInboxTidies: what is too old goes when anybody is appended to, a
// little at a time.
func TestMemoryInboxTidies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemoryInbox(InboxBounds{})
		for i := range 1_000 {
			inboxAppend(t, m, inboxMessage(strconv.Itoa(i), "bob", "1"))
		}
		full := m.Stats()
		time.Sleep(31 * 24 * time.Hour)
		for i := range 10 {
			inboxAppend(t, m, inboxMessage("ann", "bob", strconv.Itoa(i)))
		}
		if s := m.Stats(); s.Entries != 10 || s.Users != 1 || s.Dropped != 1_000 || s.Bytes > full.Bytes/2 {
			t.Errorf("after a month %+v, before %+v", s, full)
		}
		// Of what a bound has dropped less is left after a day.
		m = NewMemoryInbox(InboxBounds{Entries: 1})
		for i := range 1_000 {
			inboxAppend(t, m, inboxMessage("ann", "bob", strconv.Itoa(i)))
		}
		full = m.Stats()
		time.Sleep(25 * time.Hour)
		for range 10 {
			inboxAppend(t, m, inboxMessage("cid", "bob", "1"))
		}
		if s := m.Stats(); s.Bytes > full.Bytes/20 {
			t.Errorf("after a day %+v, before %+v", s, full)
		}
	})
}

// TestMemoryInboxForgetsInParts: the books are in order between two parts of a
// Forget as well, and what it leaves takes what it counts.
func TestMemoryInboxForgetsInParts(t *testing.T) {
	const each = 4_000
	before := liveHeap()
	m := NewMemoryInbox(InboxBounds{Entries: each / 2})
	for i := range each { // of which a half is only known
		for _, user := range []string{"bob", "cid"} {
			e := inboxMessage(user, []string{"ann", "dan"}[i%2], strconv.Itoa(i))
			e.Attachments = [][]byte{make([]byte, 100)}
			inboxAppend(t, m, e)
		}
		if i < each/4 {
			inboxAppend(t, m, inboxMark(fmt.Sprintf("user-%06d", i), eventRead, "ann", 1))
		}
	}
	full, parts := m.Stats(), 0
	for more := true; more; parts++ {
		more = m.forgetSome("ann")
		if err := m.audit(); err != nil {
			t.Fatalf("after part %d: %v", parts, err)
		}
	}
	s, heap := m.Stats(), liveHeap()-before
	t.Logf("%d parts: %+v, and then %+v, of which the heap has %d", parts, full, s, heap)
	if want := (2*each/2 + 2*each/4) / memoryForget; parts < want {
		t.Errorf("it took %d parts, want %d at least", parts, want)
	}
	if s.Entries != full.Entries || s.Users != full.Users || s.Dropped != full.Dropped || s.Bytes > full.Bytes*3/4 {
		t.Errorf("it was %+v, and is %+v", full, s)
	}
	if heap*4 > s.Bytes*5 || heap*5 < s.Bytes*4 {
		t.Errorf("%d bytes are counted, the heap has grown by %d", s.Bytes, heap)
	}
	page, err := m.Since(t.Context(), "bob", each/2, each)
	if err != nil || len(page.Entries) != each/2 || page.Dropped != each/2 {
		t.Fatalf("%d entries, %+v, %v", len(page.Entries), page.Head, err)
	}
	for _, e := range page.Entries {
		if (e.Event == EventErased) != (e.Seq%2 == 1) {
			t.Fatalf("entry %d is %+v", e.Seq, e.Key)
		}
	}
	runtime.KeepAlive(m)
}

// TestMemoryInboxBooks does everything in any order, and after each step
// compares what the store counts and links with what is there.
func TestMemoryInboxBooks(t *testing.T) {
	for _, bounds := range []InboxBounds{
		{Entries: 5},
		{Bytes: 3_000},
		{Age: 10 * time.Hour},
		{Total: 8_000},
		{Entries: 20, Bytes: 6_000, Age: 48 * time.Hour, Total: 15_000},
	} {
		t.Run(fmt.Sprintf("%+v", bounds), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMemoryInbox(bounds)
				random := rand.New(rand.NewPCG(1, 2))
				user := func() string { return strconv.Itoa(random.IntN(8)) }
				for step := range 2_500 {
					var entries []Entry
					switch n := random.IntN(100); {
					default:
						for range 1 + random.IntN(3) {
							e := inboxMessage(user(), user(), strconv.Itoa(random.IntN(100)))
							if random.IntN(3) == 0 {
								e = inboxMark(user(), eventRead, user(), uint64(step/4+random.IntN(10)))
								if random.IntN(2) == 0 {
									e.Covers = eventDelivered
								}
							}
							if random.IntN(30) == 0 {
								e.Attachments = [][]byte{make([]byte, 500)}
							}
							e.Note = strings.Repeat("n", random.IntN(32))
							entries = append(entries, e)
						}
						inboxAppend(t, m, entries...)
					case n < 5:
						m.Forget(t.Context(), user())
					case n < 15:
						m.Since(t.Context(), user(), 0, 10)
					case n < 20:
						m.Find(t.Context(), Key{User: user(), Event: eventReceive, Peer: user()}, 1<<63)
					case n < 25:
						time.Sleep(time.Duration(random.IntN(5)) * time.Hour)
					}
					if err := m.audit(); err != nil {
						t.Fatalf("step %d, after %d entries: %v", step, len(entries), err)
					}
				}
				t.Logf("%+v", m.Stats())
				for i := range 8 {
					m.Forget(t.Context(), strconv.Itoa(i))
				}
				if err := m.audit(); err != nil || m.stats.Bytes != 0 {
					t.Errorf("after Forget of all: %+v, %v", m.stats, err)
				}
			})
		})
	}
}

// audit compares the books of m with what is there.
func (m *MemoryInbox) audit() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	var is InboxStats
	is.Dropped = m.stats.Dropped
	kept, ids, idle, peers, threads := 0, 0, 0, map[string]int{}, map[*memoryThread]int{}
	inKept, inGone, inIdle := listed(&m.kept, (*memoryEntry).byAge), listed(&m.gone, (*memoryEntry).byAge), listed(&m.idle, (*memoryBox).byAge)
	marks := listed(&m.marks, (*memoryMark).byTime)
	byID := map[*memoryEntry]bool{}
	for h, e := range m.ids.of {
		for ; e != nil; e = e.sameHash {
			check(!byID[e] && m.ids.hash(e.thread, e.id) == h, "%q is by another id", e.id)
			byID[e] = true
		}
	}
	for name, box := range m.users.of {
		check(name == box.user && box.fresh == 0, "box %q of %q, fresh %d", box.user, name, box.fresh)
		check(box.began <= box.dropped && box.dropped <= box.last, "it began behind %d, %d is dropped, the last is %d", box.began, box.dropped, box.last)
		bytes, n := 0, len(box.entries.of)
		for i, e := range box.entries.of {
			check(e.thread.box == box, "an entry of another box")
			next := box.entries.of[min(i+1, n-1)] // of what was dropped, some may be erased
			check(i == n-1 || next.seq == e.seq+1 || next.seq > e.seq && !e.isKept(), "behind %d comes %d", e.seq, next.seq)
			check(e.isKept() == (e.seq > box.dropped), "%d is kept: %t, dropped: %d", e.seq, e.isKept(), box.dropped)
			is.Bytes += e.size()
			if e.isKept() {
				is.Entries++
				is.Bytes += e.contentSize()
				bytes += e.size() + e.contentSize()
				check(inKept[e], "a kept entry is not in the list")
			} else {
				check(inGone[e], "one that was dropped is not in the list")
			}
			at := threads[e.thread]
			check(at < len(e.thread.entries.of) && e.thread.entries.of[at] == e, "%d is not in its thread", e.seq)
			threads[e.thread]++
			if byID[e] {
				ids++
			}
		}
		check(n == 0 || box.entries.of[n-1].seq == box.last || box.dropped == box.last, "the last is not %d", box.last)
		check(uint64(n) >= box.last-box.dropped, "of %d that are kept %d are there", box.last-box.dropped, n)
		check(box.bytes == bytes, "box.bytes %d, is %d", box.bytes, bytes)
		is.Bytes += box.size()
		kept += bytes
		if bytes > 0 {
			is.Users++
			kept += box.size()
		}
		check(inIdle[box] == (n == 0 && box.marks.first == nil), "idle: %t, with %d entries", inIdle[box], n)
		if inIdle[box] {
			idle++
		}
		for mark := range listed(&box.marks, (*memoryMark).inBox) {
			check(marks[mark] && mark.thread.mark == mark && mark.thread.box == box, "a mark of another")
			is.Bytes += mark.size()
			threads[mark.thread] += 0
			delete(marks, mark)
		}
	}
	for thread, n := range threads {
		check(n == len(thread.entries.of), "%d entries in a thread, %d are there", len(thread.entries.of), n)
		check(m.threads.of[memoryThreadKey{thread.box, thread.event, thread.peer}] == thread, "a thread is not in the map")
		is.Bytes += thread.size()
		if thread.isKept() {
			kept += thread.size()
		}
		if !thread.isErased() {
			peers[thread.peer]++
		}
	}
	for peer, list := range m.peers.of {
		check(len(listed(&list, (*memoryThread).ofPeer)) == peers[peer] && peers[peer] > 0, "threads of %q: %d", peer, peers[peer])
	}
	check(len(marks) == 0, "%d marks of nobody", len(marks))
	check(len(m.peers.of) == len(peers), "%d peers, are %d", len(m.peers.of), len(peers))
	check(len(m.threads.of) == len(threads), "%d threads, are %d", len(m.threads.of), len(threads))
	check(len(byID) == ids, "%d entries by their ids, are %d", len(byID), ids)
	check(len(inIdle) == idle, "%d idle, are %d", len(inIdle), idle)
	check(len(inKept) == is.Entries, "%d kept, are %d", len(inKept), is.Entries)
	check(m.stats == is, "counted %+v, is %+v", m.stats, is)
	check(m.keptBytes == kept, "counted %d bytes of what is kept, is %d", m.keptBytes, kept)
	return errors.Join(errs...)
}

// listed is what is in a list.
func listed[T any](l *memoryList[T], links func(*T) *memoryLinks[T]) map[*T]bool {
	in := map[*T]bool{}
	var last *T
	for x := l.first; x != nil && !in[x] && links(x).prev == last; x = links(x).next {
		in[x] = true
		last = x
	}
	if last != l.last {
		return nil
	}
	return in
}

// BenchmarkMemoryInboxAppend appends one new message at a time.
func BenchmarkMemoryInboxAppend(b *testing.B) {
	for _, users := range []int{1, 10_000, 1_000_000} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			m := NewMemoryInbox(InboxBounds{Total: 2_000_000_000}) // room for all of them
			e := inboxMessage("", "ann", "")
			names := make([]string, users)
			for i := range names {
				names[i] = fmt.Sprintf("user-%07d", i)
				e.User = names[i]
				inboxAppend(b, m, e)
			}
			i, ctx := 0, context.Background()
			b.ReportAllocs()
			for b.Loop() {
				i++
				e.User, e.ID = names[i*7919%users], strconv.Itoa(i)
				if _, err := m.Append(ctx, e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMemoryInboxAppendInventedUsers appends a message to somebody new each
// time, for whom the oldest have to go.
func BenchmarkMemoryInboxAppendInventedUsers(b *testing.B) {
	m := NewMemoryInbox(InboxBounds{})
	e := inboxMessage("", "ann", "1")
	for i := range 500_000 {
		e.User = strconv.Itoa(-i)
		inboxAppend(b, m, e)
	}
	i, ctx := 0, context.Background()
	b.ReportAllocs()
	for b.Loop() {
		i++
		e.User = strconv.Itoa(i)
		if _, err := m.Append(ctx, e); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMemoryInboxSince reads 10,000 messages.
func BenchmarkMemoryInboxSince(b *testing.B) {
	const messages, page = 10_000, 100
	m := NewMemoryInbox(InboxBounds{})
	for i := range messages {
		inboxAppend(b, m, inboxMessage("ann", "bob", strconv.Itoa(i)))
	}
	b.ReportAllocs()
	for b.Loop() {
		for after := uint64(0); after < messages; after += page {
			if p, _ := m.Since(context.Background(), "ann", after, page); len(p.Entries) != page {
				b.Fatal(p.Head)
			}
		}
	}
}

// BenchmarkMemoryInboxFind finds the oldest of 10,000 messages without its id.
func BenchmarkMemoryInboxFind(b *testing.B) {
	m := NewMemoryInbox(InboxBounds{})
	for i := range 10_000 {
		inboxAppend(b, m, inboxMessage("ann", "bob", strconv.Itoa(i)))
	}
	k := inboxMessage("ann", "bob", "").Key
	b.ReportAllocs()
	for b.Loop() {
		if found, ok, _ := m.Find(context.Background(), k, 1); !ok || found.Seq != 1 {
			b.Fatal(found)
		}
	}
}
