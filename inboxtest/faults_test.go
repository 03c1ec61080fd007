package inboxtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/inboxtest"
	"github.com/heymanito/heymanito/internal/suite"
)

// fault is a store whose methods can be replaced one by one.
type fault struct {
	heymanito.Inbox
	bounds   func(*heymanito.InboxBounds)
	append   func(context.Context, []heymanito.Entry) ([]heymanito.Receipt, error)
	since    func(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error)
	find     func(context.Context, heymanito.Key, uint64) (heymanito.Found, bool, error)
	ack      func(ctx context.Context, user string, seq uint64) error
	forget   func(ctx context.Context, user string) error
	counts   func(*heymanito.InboxStats)
	reopened func()
}

func (f *fault) Append(ctx context.Context, entries ...heymanito.Entry) ([]heymanito.Receipt, error) {
	if f.append != nil {
		return f.append(ctx, entries)
	}
	return f.Inbox.Append(ctx, entries...)
}

func (f *fault) Since(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
	if f.since != nil {
		return f.since(ctx, user, after, limit)
	}
	return f.Inbox.Since(ctx, user, after, limit)
}

func (f *fault) Find(ctx context.Context, k heymanito.Key, through uint64) (heymanito.Found, bool, error) {
	if f.find != nil {
		return f.find(ctx, k, through)
	}
	return f.Inbox.Find(ctx, k, through)
}

func (f *fault) AckThrough(ctx context.Context, user string, seq uint64) error {
	if f.ack != nil {
		return f.ack(ctx, user, seq)
	}
	return f.Inbox.AckThrough(ctx, user, seq)
}

func (f *fault) Forget(ctx context.Context, user string) error {
	if f.forget != nil {
		return f.forget(ctx, user)
	}
	return f.Inbox.Forget(ctx, user)
}

func (f *fault) Stats() heymanito.InboxStats {
	s := f.Inbox.(*heymanito.MemoryInbox).Stats()
	if f.counts != nil {
		f.counts(&s)
	}
	return s
}

// head is the true one.
func (f *fault) head(user string) heymanito.Head {
	page, _ := f.Inbox.Since(context.Background(), user, 0, 0)
	return page.Head
}

// The faults are put together from these.

// stored changes what is appended, each entry by itself.
func stored(change func(f *fault, e *heymanito.Entry)) func(*fault) {
	return func(f *fault) {
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			entries = slices.Clone(entries)
			for i := range entries {
				change(f, &entries[i])
			}
			return f.Inbox.Append(ctx, entries...)
		}
	}
}

// receipts changes the answer of Append.
func receipts(change func(f *fault, e heymanito.Entry, r *heymanito.Receipt)) func(*fault) {
	return func(f *fault) {
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			rs, err := f.Inbox.Append(ctx, entries...)
			for i := range rs {
				change(f, entries[i], &rs[i])
			}
			return rs, err
		}
	}
}

// unknown appends duplicates all the same, if new says so.
func unknown(isNew func(f *fault, e heymanito.Entry, first heymanito.Receipt) bool) func(*fault) {
	var n int
	return func(f *fault) {
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			rs, err := f.Inbox.Append(ctx, entries...)
			for i := range rs {
				if e := entries[i]; rs[i].Duplicate && isNew(f, e, rs[i]) {
					n++
					e.Event += fmt.Sprint(" again ", n)
					again, _ := f.Inbox.Append(ctx, e)
					rs[i] = again[0]
				}
			}
			return rs, err
		}
	}
}

// keyed is a store that tells entries apart by another key.
func keyed(key func(e heymanito.Entry) heymanito.Key) func(*fault) {
	return func(f *fault) {
		stored(func(_ *fault, e *heymanito.Entry) { e.Key = key(*e) })(f)
		f.find = func(ctx context.Context, k heymanito.Key, through uint64) (heymanito.Found, bool, error) {
			return f.Inbox.Find(ctx, key(heymanito.Entry{Key: k}), through)
		}
	}
}

// pages changes the answer of Since.
func pages(change func(f *fault, page *heymanito.Page, user string, limit int)) func(*fault) {
	return func(f *fault) {
		f.since = func(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
			page, err := f.Inbox.Since(ctx, user, after, limit)
			if err == nil {
				change(f, &page, user, limit)
			}
			return page, err
		}
	}
}

// read changes each entry that Since returns.
func read(change func(*heymanito.Entry)) func(*fault) {
	return pages(func(_ *fault, page *heymanito.Page, _ string, _ int) {
		for i := range page.Entries {
			change(&page.Entries[i])
		}
	})
}

// left changes what Forget has left of entries in the inboxes of others; was is
// what was appended.
func left(change func(e *heymanito.Entry, was heymanito.Entry)) func(*fault) {
	return func(f *fault) {
		var mu sync.Mutex
		appended := map[string]heymanito.Entry{}
		receipts(func(_ *fault, e heymanito.Entry, r *heymanito.Receipt) {
			mu.Lock()
			defer mu.Unlock()
			if !r.Duplicate {
				appended[fmt.Sprint(e.User, " ", r.Seq)] = e
			}
		})(f)
		read(func(e *heymanito.Entry) {
			mu.Lock()
			defer mu.Unlock()
			if e.Event == heymanito.EventErased {
				change(e, appended[fmt.Sprint(e.User, " ", e.Seq)])
			}
		})(f)
	}
}

// whole undoes what Forget has done to an entry.
func whole(e *heymanito.Entry, was heymanito.Entry) {
	was.Seq = e.Seq
	*e = was
}

// forgotten plants a fault when somebody is forgotten.
func forgotten(plant func(*fault)) func(*fault) {
	return func(f *fault) {
		f.forget = func(ctx context.Context, user string) error {
			plant(f)
			return f.Inbox.Forget(ctx, user)
		}
	}
}

// heads changes the Head that Since returns.
func heads(change func(f *fault, h *heymanito.Head, user string)) func(*fault) {
	return pages(func(f *fault, page *heymanito.Page, user string, _ int) { change(f, &page.Head, user) })
}

// found changes what Find looks for and finds.
func found(change func(f *fault, k *heymanito.Key, through *uint64), answer func(*heymanito.Found, *bool)) func(*fault) {
	return func(f *fault) {
		f.find = func(ctx context.Context, k heymanito.Key, through uint64) (heymanito.Found, bool, error) {
			if change != nil {
				change(f, &k, &through)
			}
			was, ok, err := f.Inbox.Find(ctx, k, through)
			if answer != nil && ok {
				answer(&was, &ok)
			}
			return was, ok, err
		}
	}
}

// bounded opens the store with other bounds.
func bounded(change func(*heymanito.InboxBounds)) func(*fault) {
	return func(f *fault) { f.bounds = change }
}

// counted changes what Stats says.
func counted(change func(*heymanito.InboxStats)) func(*fault) {
	return func(f *fault) { f.counts = change }
}

// forEach appends each entry by itself.
func forEach(f *fault) {
	f.append = func(ctx context.Context, entries []heymanito.Entry) (rs []heymanito.Receipt, err error) {
		for _, e := range entries {
			r, err := f.Inbox.Append(ctx, e)
			if err != nil {
				return nil, err
			}
			rs = append(rs, r...)
		}
		return rs, nil
	}
}

// onItsOwn gives each user a store of his own, which Forget replaces by a new
// one. Nobody would see it in the epoch.
func onItsOwn(f *fault) {
	var mu sync.Mutex
	of := map[string]heymanito.Inbox{}
	store := func(user string) heymanito.Inbox {
		mu.Lock()
		defer mu.Unlock()
		if of[user] == nil {
			of[user] = heymanito.NewMemoryInbox(heymanito.InboxBounds{Entries: 20})
		}
		return of[user]
	}
	f.append = func(ctx context.Context, entries []heymanito.Entry) (rs []heymanito.Receipt, err error) {
		for i, e := range entries {
			r, err := store(e.User).Append(ctx, e)
			if err != nil {
				return nil, err
			}
			if rs = append(rs, r...); i == 0 && r[0].Duplicate {
				return append(rs, make([]heymanito.Receipt, len(entries)-1)...), nil
			}
		}
		return rs, nil
	}
	f.since = func(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
		page, err := store(user).Since(ctx, user, after, limit)
		page.Epoch = "the-same"
		return page, err
	}
	f.find = func(ctx context.Context, k heymanito.Key, through uint64) (heymanito.Found, bool, error) {
		return store(k.User).Find(ctx, k, through)
	}
	f.ack = func(ctx context.Context, user string, seq uint64) error {
		return store(user).AckThrough(ctx, user, seq)
	}
	f.forget = func(_ context.Context, user string) error {
		mu.Lock()
		defer mu.Unlock()
		delete(of, user)
		for _, other := range of {
			_ = other.Forget(context.Background(), user)
		}
		return nil
	}
}

// swapped hands out seqs as if each two entries of a user had come the other
// way round: neither receipts nor pages show it.
func swapped(f *fault) {
	swap := func(seq, last uint64) uint64 {
		if other := (seq - 1) ^ 1 + 1; other <= last {
			return other
		}
		return seq
	}
	const last = math.MaxUint64 // what comes is counted on
	receipts(func(_ *fault, _ heymanito.Entry, r *heymanito.Receipt) {
		if r.Seq > 0 {
			r.Seq = swap(r.Seq, last)
		}
	})(f)
	f.since = func(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
		all, err := f.Inbox.Since(ctx, user, 0, math.MaxInt)
		for i := range all.Entries {
			all.Entries[i].Seq = swap(all.Entries[i].Seq, all.Last)
		}
		slices.SortFunc(all.Entries, func(a, b heymanito.Entry) int { return int(a.Seq) - int(b.Seq) })
		all.Entries = all.Entries[min(after, uint64(len(all.Entries))):]
		all.Entries = all.Entries[:min(limit, len(all.Entries))]
		return all, err
	}
}

// nth changes every nth answer or so.
func nth(n int) func() bool {
	var mu sync.Mutex
	i := 0
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		i++
		return i%n == 0
	}
}

const day = 24 * time.Hour

// faults are planted in a correct store; each is found by the check, which
// quotes the rule.
var faults = []struct {
	name  string
	check string
	rule  inboxtest.Rule // empty: it has nothing to quote
	plant func(*fault)
}{
	{"a receipt is missing", "Append", inboxtest.RuleAppend, func(f *fault) {
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			rs, err := f.Inbox.Append(ctx, entries...)
			return rs[:min(len(rs), 1)], err
		}
	}},
	{"a receipt too many", "Append", inboxtest.RuleAppend, func(f *fault) {
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			rs, err := f.Inbox.Append(ctx, entries...)
			return append(rs, heymanito.Receipt{}), err
		}
	}},
	{"the last entry is lost", "Append", inboxtest.RuleSeqs, func(f *fault) {
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			n := max(len(entries)-1, min(len(entries), 1))
			rs, err := f.Inbox.Append(ctx, entries[:n]...)
			return append(rs, make([]heymanito.Receipt, len(entries)-n)...), err
		}
	}},
	{"the caller's Seq", "Append", inboxtest.RuleSeq, receipts(func(_ *fault, e heymanito.Entry, r *heymanito.Receipt) {
		if e.Seq > 0 {
			r.Seq = e.Seq
		}
	})},
	{"seqs from 0", "Append", inboxtest.RuleSeqs, receipts(func(_ *fault, _ heymanito.Entry, r *heymanito.Receipt) { r.Seq-- })},
	{"a gap", "Append", inboxtest.RuleSeqs, receipts(func(_ *fault, _ heymanito.Entry, r *heymanito.Receipt) {
		if r.Seq > 2 {
			r.Seq++
		}
	})},
	{"one seq for all users", "Append", inboxtest.RuleSeqs, receipts(func(f *fault, _ heymanito.Entry, r *heymanito.Receipt) {
		r.Seq = f.head("ann").Last + f.head("bob").Last
	})},
	{"bodies are made compact", "Append", inboxtest.RuleKeep, read(func(e *heymanito.Entry) {
		e.Body = bytes.ReplaceAll(e.Body, []byte(", "), []byte(","))
	})},
	{"bodies become UTF-8", "Append", inboxtest.RuleKeep, read(func(e *heymanito.Entry) {
		e.Body = []byte(strings.ToValidUTF8(string(e.Body), "\ufffd"))
	})},
	{"attachments become UTF-8", "Append", inboxtest.RuleKeep, read(func(e *heymanito.Entry) {
		e.Attachments = slices.Clone(e.Attachments)
		for i, a := range e.Attachments {
			e.Attachments[i] = []byte(strings.ToValidUTF8(string(a), "\ufffd"))
		}
	})},
	{"no empty attachments", "Append", inboxtest.RuleKeep, read(func(e *heymanito.Entry) {
		e.Attachments = slices.DeleteFunc(slices.Clone(e.Attachments), func(a []byte) bool { return len(a) == 0 })
	})},
	{"attachments in one", "Append", inboxtest.RuleKeep, read(func(e *heymanito.Entry) {
		if len(e.Attachments) > 0 {
			e.Attachments = [][]byte{bytes.Join(e.Attachments, nil)}
		}
	})},
	{"64 KB are enough", "Append", inboxtest.RuleKeep, read(func(e *heymanito.Entry) { e.Body = e.Body[:min(len(e.Body), 1<<16)] })},
	{"Time in seconds", "Append", inboxtest.RuleKeep, read(func(e *heymanito.Entry) { e.Time = e.Time.Truncate(time.Second) })},
	{"Time is that of the Append", "Append", inboxtest.RuleKeep, stored(func(_ *fault, e *heymanito.Entry) { e.Time = time.Now() })},
	{"Mark of 63 bits", "Append", inboxtest.RuleKeep, read(func(e *heymanito.Entry) { e.Mark &^= 1 << 63 })},
	{"no Covers", "Append", inboxtest.RuleKeep, read(func(e *heymanito.Entry) { e.Covers = "" })},
	{"no Origin", "Append", inboxtest.RuleKeep, read(func(e *heymanito.Entry) { e.Origin = "" })},
	{"a short Note", "Append", inboxtest.RuleKeep, read(func(e *heymanito.Entry) { e.Note = e.Note[:min(len(e.Note), 31)] })},
	{"another ID", "Append", inboxtest.RuleKeep, read(func(e *heymanito.Entry) { e.ID = strings.ReplaceAll(e.ID, `\u0000`, "\x00") })},
	{"keeps the caller's slice", "Append", "", func(f *fault) {
		kept := map[string]*heymanito.Entry{}
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			rs, err := f.Inbox.Append(ctx, entries...)
			for i := range rs {
				kept[fmt.Sprint(entries[i].User, rs[i].Seq)] = &entries[i]
			}
			return rs, err
		}
		pages(func(_ *fault, page *heymanito.Page, user string, _ int) {
			for i, e := range page.Entries {
				page.Entries[i] = *kept[fmt.Sprint(user, e.Seq)]
				page.Entries[i].Seq = e.Seq
			}
		})(f)
	}},
	{"shares its pages", "Append", "", func(f *fault) {
		shared := map[string]heymanito.Page{}
		pages(func(_ *fault, page *heymanito.Page, user string, limit int) {
			if was, ok := shared[user]; ok && len(page.Entries) > 0 && page.Last == was.Last {
				*page = was
			} else if len(page.Entries) > 0 {
				shared[user] = *page
			}
		})(f)
	}},

	{"names run together", "Names", inboxtest.RuleFind, keyed(func(e heymanito.Entry) heymanito.Key {
		return heymanito.Key{User: e.User, ID: e.Event + e.Peer + e.ID}
	})},
	{"ids by value", "Names", inboxtest.RuleFind, keyed(func(e heymanito.Entry) heymanito.Key {
		e.ID = strings.Trim(e.ID, `"`)
		return e.Key
	})},
	{"case folded", "Names", inboxtest.RuleFind, keyed(func(e heymanito.Entry) heymanito.Key {
		e.Peer = strings.ToLower(e.Peer)
		return e.Key
	})},
	{"users case folded", "Names", inboxtest.RuleFind, func(f *fault) {
		keyed(func(e heymanito.Entry) heymanito.Key {
			e.User = strings.ToLower(e.User)
			return e.Key
		})(f)
		f.since = func(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
			return f.Inbox.Since(ctx, strings.ToLower(user), after, limit)
		}
	}},
	{"names of 255 bytes", "Names", inboxtest.RuleFind, keyed(func(e heymanito.Entry) heymanito.Key {
		e.Peer = e.Peer[:min(len(e.Peer), 254)]
		return e.Key
	})},
	{"ids of 1,500 bytes", "Names", inboxtest.RuleFind, keyed(func(e heymanito.Entry) heymanito.Key {
		e.ID = e.ID[:min(len(e.ID), 1500)]
		return e.Key
	})},

	{"one in 5 duplicates is new", "Duplicates", inboxtest.RuleKey, func(f *fault) {
		lucky := nth(5)
		unknown(func(*fault, heymanito.Entry, heymanito.Receipt) bool { return lucky() })(f)
	}},
	{"ids by value", "Duplicates", inboxtest.RuleID, keyed(func(e heymanito.Entry) heymanito.Key {
		e.ID = strings.Trim(e.ID, `"`)
		return e.Key
	})},
	{"a duplicate is not called one", "Duplicates", inboxtest.RuleKey, receipts(func(_ *fault, _ heymanito.Entry, r *heymanito.Receipt) {
		r.Duplicate = false
	})},
	{"a duplicate gets the seq of the newest", "Duplicates", inboxtest.RuleDuplicate, receipts(func(f *fault, e heymanito.Entry, r *heymanito.Receipt) {
		if r.Duplicate {
			r.Seq = f.head(e.User).Last
		}
	})},
	{"a duplicate gets its own Note", "Duplicates", inboxtest.RuleDuplicate, receipts(func(_ *fault, e heymanito.Entry, r *heymanito.Receipt) {
		if r.Duplicate {
			r.Note = e.Note
		}
	})},
	{"a duplicate gets its own Time", "Duplicates", inboxtest.RuleDuplicate, receipts(func(_ *fault, _ heymanito.Entry, r *heymanito.Receipt) {
		if r.Duplicate {
			r.Time = time.Now()
		}
	})},
	{"a duplicate raises Given", "Duplicates", inboxtest.RuleDuplicate, receipts(func(f *fault, e heymanito.Entry, r *heymanito.Receipt) {
		if r.Duplicate && e.Origin != "" {
			_ = f.Inbox.AckThrough(context.Background(), e.User, r.Seq)
		}
	})},
	{"the second of two replaces the first", "Duplicates", inboxtest.RuleKeep, func(f *fault) {
		other := map[string]heymanito.Entry{}
		receipts(func(_ *fault, e heymanito.Entry, r *heymanito.Receipt) {
			if r.Duplicate {
				other[fmt.Sprint(e.User, r.Seq)] = e
			}
		})(f)
		pages(func(_ *fault, page *heymanito.Page, user string, _ int) {
			for i, e := range page.Entries {
				if o, ok := other[fmt.Sprint(user, e.Seq)]; ok {
					page.Entries[i].Body = o.Body
				}
			}
		})(f)
	}},
	{"twice in one Append", "Duplicates", "", func(f *fault) {
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			entries = slices.Clone(entries)
			for i := 1; i < len(entries); i++ {
				if entries[i].Key == entries[i-1].Key {
					entries[i].Event += " again"
				}
			}
			return f.Inbox.Append(ctx, entries...)
		}
	}},

	{"goes on behind a duplicate", "FirstIsDuplicate", inboxtest.RuleFirst, forEach},
	{"stops at any duplicate", "FirstIsDuplicate", inboxtest.RuleAppend, func(f *fault) {
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			for i, e := range entries {
				if was, ok, _ := f.Inbox.Find(ctx, e.Key, 0); ok && e.Mark == 0 {
					rs := make([]heymanito.Receipt, len(entries))
					rs[i] = was.Receipt
					return rs, nil
				}
			}
			return f.Inbox.Append(ctx, entries...)
		}
	}},
	{"says what the others were", "FirstIsDuplicate", inboxtest.RuleFirst, func(f *fault) {
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			rs, err := f.Inbox.Append(ctx, entries...)
			for i := 1; i < len(rs); i++ {
				if was, ok, _ := f.Inbox.Find(ctx, entries[i].Key, 0); ok && rs[i].Seq == 0 {
					rs[i] = was.Receipt
				}
			}
			return rs, err
		}
	}},
	{"goes on behind a Mark that is none", "FirstIsDuplicate", inboxtest.RuleFirst, func(f *fault) {
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			rs, err := f.Inbox.Append(ctx, entries...)
			if len(rs) > 1 && rs[0].Duplicate && entries[0].Mark > 0 {
				rest, _ := f.Inbox.Append(ctx, entries[1:]...)
				copy(rs[1:], rest)
			}
			return rs, err
		}
	}},

	{"ids go with their entries", "DuplicatesOfDropped", inboxtest.RuleKey, unknown(func(f *fault, e heymanito.Entry, first heymanito.Receipt) bool {
		return first.Seq <= f.head(e.User).Dropped
	})},
	{"of what was dropped only the seq is known", "DuplicatesOfDropped", inboxtest.RuleDuplicate, receipts(func(f *fault, e heymanito.Entry, r *heymanito.Receipt) {
		if r.Duplicate && r.Seq <= f.head(e.User).Dropped {
			r.Note = ""
		}
	})},
	{"Find finds what is kept", "DuplicatesOfDropped", inboxtest.RuleFind, func(f *fault) {
		f.find = func(ctx context.Context, k heymanito.Key, through uint64) (heymanito.Found, bool, error) {
			was, ok, err := f.Inbox.Find(ctx, k, through)
			if was.Seq <= f.head(k.User).Dropped {
				return heymanito.Found{}, false, err
			}
			return was, ok, err
		}
	}},

	{"ids for 12 hours", "DuplicatesByAge", inboxtest.RuleKey, unknown(func(f *fault, e heymanito.Entry, first heymanito.Receipt) bool {
		return first.Seq <= f.head(e.User).Dropped && time.Since(first.Time) > 12*time.Hour
	})},
	{"ids for ever", "DuplicatesByAge", inboxtest.RuleKey, idsForEver},
	{"ids for 24 hours, and not for what is kept", "DuplicatesByAge", inboxtest.RuleKey, unknown(func(_ *fault, _ heymanito.Entry, first heymanito.Receipt) bool {
		return time.Since(first.Time) > day
	})},
	{"the last 5,000", "DuplicatesByCount", inboxtest.RuleKey, unknown(func(f *fault, e heymanito.Entry, first heymanito.Receipt) bool {
		return first.Seq+5000 <= f.head(e.User).Last
	})},
	{"the last 9,999", "DuplicatesByCount", inboxtest.RuleKey, unknown(func(f *fault, e heymanito.Entry, first heymanito.Receipt) bool {
		return first.Seq+9999 <= f.head(e.User).Last
	})},
	{"all there ever were", "DuplicatesByCount", inboxtest.RuleKey, idsForEver},
	{"the last 10,000, and not what is kept", "DuplicatesByCount", inboxtest.RuleKey, unknown(func(f *fault, e heymanito.Entry, first heymanito.Receipt) bool {
		return first.Seq+10_000 <= f.head(e.User).Last
	})},

	{"the same Mark is higher", "Marks", inboxtest.RuleMark, unknown(func(_ *fault, e heymanito.Entry, _ heymanito.Receipt) bool {
		return e.Mark == 3
	})},
	{"a lower Mark is appended", "Marks", inboxtest.RuleMark, unknown(func(_ *fault, e heymanito.Entry, _ heymanito.Receipt) bool {
		return e.Mark == 2
	})},
	{"Marks of each id", "Marks", inboxtest.RuleMark, unknown(func(_ *fault, e heymanito.Entry, _ heymanito.Receipt) bool {
		return e.ID == `"other"`
	})},
	{"Marks of all peers", "Marks", inboxtest.RuleMark, keyed(func(e heymanito.Entry) heymanito.Key {
		e.Peer = ""
		return e.Key
	})},
	{"Marks of all events", "Marks", inboxtest.RuleMark, keyed(func(e heymanito.Entry) heymanito.Key {
		e.Event = ""
		return e.Key
	})},
	{"Marks by their lower bits", "Marks", inboxtest.RuleMark, stored(func(_ *fault, e *heymanito.Entry) { e.Mark &= 7 })},
	{"the receipt of the first Mark of all", "Marks", inboxtest.RuleDuplicate, receipts(func(_ *fault, e heymanito.Entry, r *heymanito.Receipt) {
		if r.Duplicate && e.Mark == 7 {
			r.Seq = 1
		}
	})},
	{"Covers does nothing", "Covers", inboxtest.RuleMark, stored(func(_ *fault, e *heymanito.Entry) { e.Covers = "" })},
	{"Covers both ways", "Covers", inboxtest.RuleMark, stored(func(_ *fault, e *heymanito.Entry) {
		if e.Event == "messagesDelivered" {
			e.Covers = "messagesRead"
		}
	})},
	{"what Covers is not the first's", "Covers", inboxtest.RuleDuplicate, receipts(func(_ *fault, e heymanito.Entry, r *heymanito.Receipt) {
		if r.Duplicate && e.Event == "messagesDelivered" && r.Note == "nine" {
			r.Seq, r.Note = 1, ""
		}
	})},
	{"Covers lowers", "Covers", inboxtest.RuleMark, unknown(func(_ *fault, e heymanito.Entry, _ heymanito.Receipt) bool {
		return e.Mark == 20 || e.Mark == 16
	})},
	{"Marks go with their entries", "MarksStay", inboxtest.RuleMark, unknown(func(f *fault, e heymanito.Entry, first heymanito.Receipt) bool {
		return e.Mark > 0 && first.Seq <= f.head(e.User).Dropped
	})},
	{"Marks for a year", "MarksStayForYears", inboxtest.RuleMark, unknown(func(_ *fault, e heymanito.Entry, first heymanito.Receipt) bool {
		return e.Mark > 0 && time.Since(first.Time) > 365*day
	})},

	{"from after on", "Since", inboxtest.RuleSince, func(f *fault) {
		f.since = func(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
			return f.Inbox.Since(ctx, user, after-min(after, 1), limit)
		}
	}},
	{"one more", "Since", inboxtest.RuleSince, func(f *fault) {
		f.since = func(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
			if limit > 0 && limit < 1000 {
				limit++
			}
			return f.Inbox.Since(ctx, user, after, limit)
		}
	}},
	{"limit 0 is no limit", "Since", inboxtest.RuleHead, func(f *fault) {
		f.since = func(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
			if limit == 0 {
				limit = 1000
			}
			return f.Inbox.Since(ctx, user, after, limit)
		}
	}},
	{"newest first", "Since", inboxtest.RuleSince, pages(func(_ *fault, page *heymanito.Page, _ string, _ int) { slices.Reverse(page.Entries) })},
	{"one in 100 is lost", "Since", inboxtest.RuleSince, pages(func(_ *fault, page *heymanito.Page, _ string, _ int) {
		page.Entries = slices.DeleteFunc(page.Entries, func(e heymanito.Entry) bool { return e.Seq%100 == 99 })
	})},
	{"one is doubled", "Since", inboxtest.RuleSince, pages(func(_ *fault, page *heymanito.Page, _ string, _ int) {
		if n := len(page.Entries); n > 1 {
			page.Entries[n-1] = page.Entries[n-2]
		}
	})},
	{"two bodies are swapped", "Since", inboxtest.RuleSince, pages(func(_ *fault, page *heymanito.Page, _ string, _ int) {
		if n := len(page.Entries); n > 1 {
			page.Entries[n-1].Body, page.Entries[n-2].Body = page.Entries[n-2].Body, page.Entries[n-1].Body
		}
	})},
	{"pages of 50", "Since", inboxtest.RuleSince, func(f *fault) {
		f.since = func(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
			return f.Inbox.Since(ctx, user, after, min(limit, 50))
		}
	}},
	{"everybody has one", "Since", inboxtest.RuleNobody, heads(func(_ *fault, h *heymanito.Head, _ string) { h.Last = max(h.Last, 1) })},
	{"Last is of the page", "Since", inboxtest.RuleSince, pages(func(_ *fault, page *heymanito.Page, _ string, _ int) {
		if n := len(page.Entries); n > 0 {
			page.Last = page.Entries[n-1].Seq
		}
	})},
	{"nothing that is big", "SinceBig", inboxtest.RuleSince, pages(func(_ *fault, page *heymanito.Page, _ string, _ int) {
		for i, e := range page.Entries {
			if len(e.Body) > 400_000 {
				page.Entries = page.Entries[:i]
				return
			}
		}
	})},
	{"big ones are skipped", "SinceBig", inboxtest.RuleSince, pages(func(_ *fault, page *heymanito.Page, _ string, limit int) {
		page.Entries = slices.DeleteFunc(page.Entries, func(e heymanito.Entry) bool { return e.Seq == 5 && limit > 1 })
	})},

	{"through counts with an id, too", "Find", inboxtest.RuleFind, func(f *fault) {
		f.find = func(ctx context.Context, k heymanito.Key, through uint64) (heymanito.Found, bool, error) {
			was, ok, err := f.Inbox.Find(ctx, k, through)
			return was, ok && was.Seq <= through, err
		}
	}},
	{"through does not count", "Find", inboxtest.RuleNewest, found(func(_ *fault, _ *heymanito.Key, through *uint64) { *through = math.MaxUint64 }, nil)},
	{"before through", "Find", inboxtest.RuleNewest, found(func(_ *fault, _ *heymanito.Key, through *uint64) {
		*through -= min(*through, 1)
	}, nil)},
	{"the oldest", "Find", inboxtest.RuleNewest, func(f *fault) {
		f.find = func(ctx context.Context, k heymanito.Key, through uint64) (was heymanito.Found, ok bool, err error) {
			if k.ID != "" {
				return f.Inbox.Find(ctx, k, through)
			}
			for seq := uint64(1); seq <= min(through, 200) && !ok; seq++ {
				was, ok, err = f.Inbox.Find(ctx, k, seq)
			}
			return was, ok, err
		}
	}},
	{"of any peer", "Find", inboxtest.RuleFind, func(f *fault) {
		f.find = func(ctx context.Context, k heymanito.Key, through uint64) (heymanito.Found, bool, error) {
			was, ok, err := f.Inbox.Find(ctx, k, through)
			if !ok && k.Peer == "cid" {
				k.Peer = "ann"
				was, ok, err = f.Inbox.Find(ctx, k, through)
			}
			if !ok && k.Peer == "bob" {
				k.Peer = "cid"
				return f.Inbox.Find(ctx, k, through)
			}
			return was, ok, err
		}
	}},
	{"without its ID", "Find", inboxtest.RuleFind, found(nil, func(was *heymanito.Found, _ *bool) { was.ID = "" })},
	{"without its Time", "Find", inboxtest.RuleFind, found(nil, func(was *heymanito.Found, _ *bool) { was.Time = time.Time{} })},
	{"without its Note", "Find", inboxtest.RuleFind, found(nil, func(was *heymanito.Found, _ *bool) { was.Note = "" })},
	{"Find fails when there is none", "Find", "", func(f *fault) {
		f.find = func(ctx context.Context, k heymanito.Key, through uint64) (heymanito.Found, bool, error) {
			was, ok, err := f.Inbox.Find(ctx, k, through)
			if !ok && err == nil {
				err = errors.New("not found")
			}
			return was, ok, err
		}
	}},

	{"lowers", "AckThrough", inboxtest.RuleAck, func(f *fault) {
		acked := map[string]uint64{}
		f.ack = func(ctx context.Context, user string, seq uint64) error {
			acked[user] = min(seq, f.head(user).Last)
			return f.Inbox.AckThrough(ctx, user, seq)
		}
		heads(func(_ *fault, h *heymanito.Head, user string) { h.Given = acked[user] })(f)
	}},
	{"beyond Last", "AckThrough", inboxtest.RuleAck, func(f *fault) {
		acked := map[string]uint64{}
		f.ack = func(_ context.Context, user string, seq uint64) error {
			acked[user] = max(acked[user], seq)
			return nil
		}
		heads(func(_ *fault, h *heymanito.Head, user string) { h.Given = acked[user] })(f)
	}},
	{"beyond Last, later", "AckThrough", inboxtest.RuleAck, func(f *fault) {
		acked := map[string]uint64{}
		f.ack = func(_ context.Context, user string, seq uint64) error {
			acked[user] = max(acked[user], seq)
			return nil
		}
		heads(func(_ *fault, h *heymanito.Head, user string) { h.Given = min(acked[user], h.Last) })(f)
	}},
	{"more than Last is nothing", "AckThrough", inboxtest.RuleAck, func(f *fault) {
		f.ack = func(ctx context.Context, user string, seq uint64) error {
			if seq > f.head(user).Last {
				return nil
			}
			return f.Inbox.AckThrough(ctx, user, seq)
		}
	}},
	{"for all users", "AckThrough", inboxtest.RuleAck, func(f *fault) {
		f.ack = func(ctx context.Context, user string, seq uint64) error {
			_ = f.Inbox.AckThrough(ctx, "bob", seq)
			return f.Inbox.AckThrough(ctx, user, seq)
		}
	}},
	{"fails for who is not known", "AckThrough", "", func(f *fault) {
		f.ack = func(ctx context.Context, user string, seq uint64) error {
			if f.head(user).Last == 0 {
				return errors.New("no such user")
			}
			return f.Inbox.AckThrough(ctx, user, seq)
		}
	}},
	{"Origin does nothing", "Given", inboxtest.RuleGiven, stored(func(_ *fault, e *heymanito.Entry) { e.Origin = "" })},
	{"Origin from anywhere", "Given", inboxtest.RuleGiven, receipts(func(f *fault, e heymanito.Entry, r *heymanito.Receipt) {
		if e.Origin != "" && !r.Duplicate {
			_ = f.Inbox.AckThrough(context.Background(), e.User, r.Seq)
		}
	})},
	{"without an Origin", "Given", inboxtest.RuleGiven, stored(func(_ *fault, e *heymanito.Entry) { e.Origin = "some" })},
	{"Origin of duplicates", "Given", inboxtest.RuleGiven, receipts(func(f *fault, e heymanito.Entry, r *heymanito.Receipt) {
		if e.Origin == "s3" {
			_ = f.Inbox.AckThrough(context.Background(), e.User, math.MaxUint64)
		}
	})},

	{"one more is kept", "BoundEntries", inboxtest.RuleBounds, bounded(func(b *heymanito.InboxBounds) { b.Entries++ })},
	{"one less is kept", "BoundEntries", inboxtest.RuleBounds, bounded(func(b *heymanito.InboxBounds) { b.Entries-- })},
	{"Dropped is one less", "BoundEntries", inboxtest.RuleSince, heads(func(_ *fault, h *heymanito.Head, _ string) {
		h.Dropped -= min(h.Dropped, 1)
	})},
	{"Dropped is one more", "BoundEntries", inboxtest.RuleDropped, heads(func(_ *fault, h *heymanito.Head, _ string) {
		if h.Dropped > 0 {
			h.Dropped++
		}
	})},
	{"refuses when it is full", "BoundEntries", "", func(f *fault) {
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			if h := f.head(entries[0].User); h.Last-h.Dropped >= 10 {
				return nil, errors.New("full")
			}
			return f.Inbox.Append(ctx, entries...)
		}
	}},
	{"does not count what it drops", "BoundEntries", inboxtest.RuleBounds, counted(func(s *heymanito.InboxStats) { s.Dropped = 0 })},
	{"counts entries ever", "BoundEntries", inboxtest.RuleStats, counted(func(s *heymanito.InboxStats) { s.Entries += int(s.Dropped) })},
	{"counts users twice", "BoundEntries", inboxtest.RuleStats, counted(func(s *heymanito.InboxStats) { s.Users *= 2 })},
	{"twice the bytes", "BoundBytes", inboxtest.RuleBounds, bounded(func(b *heymanito.InboxBounds) { b.Bytes *= 2 })},
	{"a quarter of the bytes", "BoundBytes", inboxtest.RuleBounds, bounded(func(b *heymanito.InboxBounds) { b.Bytes /= 4 })},
	{"attachments do not count", "BoundBytes", inboxtest.RuleBounds, func(f *fault) {
		kept := map[string][][]byte{}
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			bare := slices.Clone(entries)
			for i := range bare {
				bare[i].Attachments = nil
			}
			rs, err := f.Inbox.Append(ctx, bare...)
			for i := range rs {
				kept[fmt.Sprint(entries[i].User, rs[i].Seq)] = entries[i].Attachments
			}
			return rs, err
		}
		pages(func(_ *fault, page *heymanito.Page, user string, _ int) {
			for i := range page.Entries {
				page.Entries[i].Attachments = kept[fmt.Sprint(user, page.Entries[i].Seq)]
			}
		})(f)
	}},
	{"overhead does not count", "BoundBytes", inboxtest.RuleBounds, bounded(func(b *heymanito.InboxBounds) {
		if b.Bytes == 20_000 {
			b.Bytes *= 10
		}
	})},
	{"twice the age", "BoundAge", inboxtest.RuleBounds, bounded(func(b *heymanito.InboxBounds) { b.Age *= 2 })},
	{"half the age", "BoundAge", inboxtest.RuleBounds, bounded(func(b *heymanito.InboxBounds) { b.Age /= 2 })},
	{"age drops Given, too", "BoundAge", inboxtest.RuleAck, heads(func(_ *fault, h *heymanito.Head, _ string) {
		if h.Last == h.Dropped {
			h.Given = 0
		}
	})},
	{"begins again when it is empty", "BoundAge", inboxtest.RuleDropped, heads(func(_ *fault, h *heymanito.Head, _ string) {
		if h.Last == h.Dropped {
			h.Last, h.Given, h.Dropped, h.Began = 0, 0, 0, 0
		}
	})},
	{"twice the total", "BoundTotal", inboxtest.RuleTotal, bounded(func(b *heymanito.InboxBounds) { b.Total *= 2 })},
	{"twice the total, and does not say so", "BoundTotal", inboxtest.RuleTotal, func(f *fault) {
		bounded(func(b *heymanito.InboxBounds) { b.Total *= 2 })(f)
		counted(func(s *heymanito.InboxStats) { s.Bytes /= 2 })(f)
	}},
	{"a third of the total", "BoundTotal", inboxtest.RuleTotal, bounded(func(b *heymanito.InboxBounds) { b.Total /= 3 })},
	{"a share for each user", "BoundTotal", inboxtest.RuleTotal, bounded(func(b *heymanito.InboxBounds) { b.Bytes, b.Total = b.Total/5, 0 })},
	{"no total", "InventedNames", inboxtest.RuleTotal, bounded(func(b *heymanito.InboxBounds) { b.Total = 0 })},
	{"a total of entries", "InventedNames", inboxtest.RuleTotal, bounded(func(b *heymanito.InboxBounds) { b.Total *= 3 })},
	{"a total that leaves nothing", "InventedNames", inboxtest.RuleBounds, pages(func(_ *fault, page *heymanito.Page, user string, limit int) {
		if limit > 0 && strings.HasSuffix(user, "00") && page.Last > 1 {
			page.Entries, page.Dropped = nil, page.Last
		}
	})},
	{"seqs begin again", "InventedNames", "", func(f *fault) {
		receipts(func(_ *fault, e heymanito.Entry, r *heymanito.Receipt) {
			if e.ID == "2" {
				r.Seq = 1
			}
		})(f)
		heads(func(f *fault, h *heymanito.Head, _ string) {
			if h.Last == h.Dropped {
				h.Last, h.Given, h.Dropped, h.Began = 0, 0, 0, 0
			}
		})(f)
	}},
	{"ids and Marks on top of the total", "TotalOverhead", inboxtest.RuleTotal, bounded(func(b *heymanito.InboxBounds) { b.Total *= 2 })},
	{"drops what it appends", "KeepsOwn", inboxtest.RuleBounds, forEach},
	{"keeps what others have", "KeepsOwn", inboxtest.RuleTotal, bounded(func(b *heymanito.InboxBounds) {
		if b.Total > 0 {
			b.Bytes, b.Total = 1_000, 0
		}
	})},

	{"Forget forgets nothing", "Forget", inboxtest.RuleBegin, func(f *fault) {
		f.forget = func(context.Context, string) error { return nil }
	}},
	{"Forget drops the entries", "Forget", inboxtest.RuleForget, func(f *fault) {
		f.forget = func(ctx context.Context, user string) error {
			all, _ := f.Inbox.Since(ctx, user, 0, 1000)
			err := f.Inbox.Forget(ctx, user)
			f.find = func(ctx context.Context, k heymanito.Key, through uint64) (heymanito.Found, bool, error) {
				for _, e := range all.Entries {
					if e.Key == k {
						return heymanito.Found{Receipt: heymanito.Receipt{Seq: e.Seq, Duplicate: true}, ID: e.ID}, true, nil
					}
				}
				return f.Inbox.Find(ctx, k, through)
			}
			return err
		}
	}},
	{"Forget leaves Marks of others", "Forget", inboxtest.RuleForget, func(f *fault) {
		known := map[heymanito.Key]heymanito.Receipt{}
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			k := entries[0].Key
			k.ID = fmt.Sprint(entries[0].Mark)
			if r, ok := known[k]; ok && len(entries) == 1 {
				r.Duplicate = true
				return []heymanito.Receipt{r}, nil
			}
			rs, err := f.Inbox.Append(ctx, entries...)
			for i, e := range entries {
				if e.ID = fmt.Sprint(e.Mark); e.Mark > 0 && e.Peer == "ann" && err == nil {
					rs[i].Time = e.Time
					known[e.Key] = rs[i]
				}
			}
			return rs, err
		}
	}},
	{"Forget leaves what Covers", "Forget", inboxtest.RuleForget, func(f *fault) {
		var forgotten bool
		f.forget = func(ctx context.Context, user string) error {
			forgotten = true
			return f.Inbox.Forget(ctx, user)
		}
		receipts(func(_ *fault, e heymanito.Entry, r *heymanito.Receipt) {
			if forgotten && e.Event == "messagesDelivered" && e.User == "bob" && e.Peer == "ann" {
				r.Duplicate = true
			}
		})(f)
	}},
	{"Forget takes what others have of others", "Forget", inboxtest.RuleKeep, func(f *fault) {
		forgotten := false
		f.forget = func(ctx context.Context, user string) error {
			forgotten = forgotten || user == "ann"
			return f.Inbox.Forget(ctx, user)
		}
		read(func(e *heymanito.Entry) {
			if forgotten && e.Peer == "cid" {
				e.Body = []byte("{}")
			}
		})(f)
	}},
	{"Forget forgets everybody", "Forget", "", func(f *fault) {
		f.forget = func(ctx context.Context, user string) error {
			_ = f.Inbox.Forget(ctx, "bob")
			return f.Inbox.Forget(ctx, user)
		}
	}},
	{"Forget fails for who is not known", "Forget", "", func(f *fault) {
		f.forget = func(ctx context.Context, user string) error {
			if h := f.head(user); h.Last == h.Dropped {
				return errors.New("no such user")
			}
			return f.Inbox.Forget(ctx, user)
		}
	}},
	{"Forget counts as dropped", "Forget", inboxtest.RuleForget, func(f *fault) {
		n := uint64(0)
		f.forget = func(ctx context.Context, user string) error {
			h := f.head(user)
			n += h.Last - h.Dropped
			return f.Inbox.Forget(ctx, user)
		}
		counted(func(s *heymanito.InboxStats) { s.Dropped += n })(f)
	}},
	{"Forget leaves what others have", "Forget", inboxtest.RuleErased, left(whole)},
	{"what others have of her is still a duplicate", "Forget", inboxtest.RuleForget, idsForEver},

	{"Forget leaves what others have", "Erased", inboxtest.RuleErased, left(whole)},
	{"Forget leaves an Event", "Erased", inboxtest.RuleErased, left(func(e *heymanito.Entry, was heymanito.Entry) { e.Event = was.Event })},
	{"Forget leaves a Peer", "Erased", inboxtest.RuleErased, left(func(e *heymanito.Entry, was heymanito.Entry) { e.Peer = was.Peer })},
	{"Forget leaves an ID", "Erased", inboxtest.RuleErased, left(func(e *heymanito.Entry, was heymanito.Entry) { e.ID = was.ID })},
	{"Forget leaves a Mark", "Erased", inboxtest.RuleErased, left(func(e *heymanito.Entry, was heymanito.Entry) { e.Mark = was.Mark })},
	{"Forget leaves a Covers", "Erased", inboxtest.RuleErased, left(func(e *heymanito.Entry, was heymanito.Entry) { e.Covers = was.Covers })},
	{"Forget leaves a Body", "Erased", inboxtest.RuleErased, left(func(e *heymanito.Entry, was heymanito.Entry) { e.Body = was.Body })},
	{"Forget leaves no Body", "Erased", inboxtest.RuleErased, left(func(e *heymanito.Entry, _ heymanito.Entry) { e.Body = []byte("{}") })},
	{"Forget leaves Attachments", "Erased", inboxtest.RuleErased, left(func(e *heymanito.Entry, was heymanito.Entry) { e.Attachments = was.Attachments })},
	{"Forget leaves an Origin", "Erased", inboxtest.RuleErased, left(func(e *heymanito.Entry, was heymanito.Entry) { e.Origin = was.Origin })},
	{"Forget leaves a Note", "Erased", inboxtest.RuleErased, left(func(e *heymanito.Entry, was heymanito.Entry) { e.Note = was.Note })},
	{"what is left has another Time", "Erased", inboxtest.RuleErased, left(func(e *heymanito.Entry, _ heymanito.Entry) { e.Time = time.Now() })},
	{"nothing is left", "Erased", inboxtest.RuleSince, pages(func(_ *fault, page *heymanito.Page, _ string, _ int) {
		page.Entries = slices.DeleteFunc(page.Entries, func(e heymanito.Entry) bool { return e.Event == heymanito.EventErased })
	})},
	{"nothing is left, and the next have its seqs", "Erased", inboxtest.RuleHeads, func(f *fault) {
		gone := func(user string, upTo uint64) (n uint64) {
			all, _ := f.Inbox.Since(context.Background(), user, 0, math.MaxInt)
			for _, e := range all.Entries {
				if e.Event == heymanito.EventErased && e.Seq <= upTo {
					n++
				}
			}
			return n
		}
		pages(func(_ *fault, page *heymanito.Page, user string, _ int) {
			page.Entries = slices.DeleteFunc(page.Entries, func(e heymanito.Entry) bool { return e.Event == heymanito.EventErased })
			for i := range page.Entries {
				page.Entries[i].Seq -= gone(user, page.Entries[i].Seq)
			}
			page.Last -= gone(user, page.Last)
		})(f)
	}},
	{"Forget drops what others have", "Erased", inboxtest.RuleHeads, forgotten(func(f *fault) {
		heads(func(_ *fault, h *heymanito.Head, user string) {
			if user == "bob" {
				h.Dropped++
			}
		})(f)
	})},
	{"Forget gives what is left", "Erased", inboxtest.RuleHeads, forgotten(func(f *fault) {
		heads(func(_ *fault, h *heymanito.Head, _ string) { h.Given = h.Last })(f)
	})},
	{"Forget ends the epoch", "Erased", inboxtest.RuleEpoch, forgotten(func(f *fault) {
		heads(func(_ *fault, h *heymanito.Head, _ string) { h.Epoch += "2" })(f)
	})},
	{"Find finds what was erased", "Erased", inboxtest.RuleGone, func(f *fault) {
		first := map[heymanito.Key]heymanito.Receipt{}
		receipts(func(_ *fault, e heymanito.Entry, r *heymanito.Receipt) { first[e.Key] = *r })(f)
		f.find = func(ctx context.Context, k heymanito.Key, through uint64) (heymanito.Found, bool, error) {
			was, ok, err := f.Inbox.Find(ctx, k, through)
			if r, known := first[k]; known && !ok {
				return heymanito.Found{Receipt: r, ID: k.ID}, true, err
			}
			return was, ok, err
		}
	}},
	{"Find finds the newest that was erased", "Erased", inboxtest.RuleGone, func(f *fault) {
		newest := map[heymanito.Key]heymanito.Found{}
		receipts(func(_ *fault, e heymanito.Entry, r *heymanito.Receipt) {
			k := e.Key
			k.ID = ""
			newest[k] = heymanito.Found{Receipt: *r, ID: e.ID}
		})(f)
		f.find = func(ctx context.Context, k heymanito.Key, through uint64) (heymanito.Found, bool, error) {
			was, ok, err := f.Inbox.Find(ctx, k, through)
			if n, known := newest[k]; known && !ok {
				return n, true, err
			}
			return was, ok, err
		}
	}},
	{"Find finds what is left", "Erased", inboxtest.RuleGone, func(f *fault) {
		f.find = func(ctx context.Context, k heymanito.Key, through uint64) (heymanito.Found, bool, error) {
			if k.Event == heymanito.EventErased {
				return heymanito.Found{Receipt: heymanito.Receipt{Seq: 1, Duplicate: true}}, true, nil
			}
			return f.Inbox.Find(ctx, k, through)
		}
	}},
	{"what was erased is still a duplicate", "Erased", inboxtest.RuleGone, idsForEver},
	{"what was dropped and erased is still a duplicate", "Erased", inboxtest.RuleGone, func(f *fault) {
		receipts(func(_ *fault, e heymanito.Entry, r *heymanito.Receipt) {
			if e.Peer == "ann" && e.ID == "4" && r.Seq > 30 {
				r.Duplicate = true
			}
		})(f)
	}},
	{"Forget forgets who has a similar name", "Erased", inboxtest.RuleKeep, func(f *fault) {
		f.forget = func(ctx context.Context, user string) error {
			_ = f.Inbox.Forget(ctx, user+" ")
			return f.Inbox.Forget(ctx, user)
		}
	}},
	{"what was erased counts as before", "Erased", inboxtest.RuleErased, func(f *fault) {
		most := 0
		counted(func(s *heymanito.InboxStats) {
			most = max(most, s.Bytes)
			s.Bytes = most
		})(f)
	}},
	{"what was erased counts as dropped", "Erased", inboxtest.RuleErased, forgotten(func(f *fault) {
		counted(func(s *heymanito.InboxStats) { s.Dropped++ })(f)
	})},
	{"what is left does not count", "Erased", inboxtest.RuleErased, forgotten(func(f *fault) {
		counted(func(s *heymanito.InboxStats) { s.Entries-- })(f)
	})},
	{"what is left is new", "ErasedByAge", inboxtest.RuleErased, left(func(e *heymanito.Entry, _ heymanito.Entry) { e.Time = time.Now() })},
	{"a thousand entries are erased", "ErasedMany", inboxtest.RuleErased, left(func(e *heymanito.Entry, was heymanito.Entry) {
		if e.Seq > 1000 {
			whole(e, was)
		}
	})},
	{"entries of a thousand are erased", "ErasedMany", inboxtest.RuleErased, left(func(e *heymanito.Entry, was heymanito.Entry) {
		if e.User > "user 001000" {
			whole(e, was)
		}
	})},
	{"a thousand Marks are erased", "ErasedMany", inboxtest.RuleForget, forgotten(func(f *fault) {
		receipts(func(_ *fault, e heymanito.Entry, r *heymanito.Receipt) {
			r.Duplicate = r.Duplicate || e.User > "user 001000"
		})(f)
	})},
	{"who was forgotten once is not forgotten again", "ErasedTogether", inboxtest.RuleDone, func(f *fault) {
		var once sync.Once
		f.forget = func(ctx context.Context, user string) (err error) {
			once.Do(func() { err = f.Inbox.Forget(ctx, user) })
			return err
		}
	}},
	{"Forget begins, and returns", "ErasedTogether", inboxtest.RuleDone, func(f *fault) {
		f.forget = func(ctx context.Context, user string) error {
			time.AfterFunc(time.Millisecond, func() { _ = f.Inbox.Forget(ctx, user) })
			return nil
		}
	}},
	{"Forget forgets who was not meant", "ErasedTogether", inboxtest.RuleKeep, func(f *fault) {
		f.forget = func(ctx context.Context, user string) error {
			_ = f.Inbox.Forget(ctx, "cid")
			return f.Inbox.Forget(ctx, user)
		}
	}},
	{"a half of it can be seen", "ErasedTogether", inboxtest.RuleErased, left(func(e *heymanito.Entry, _ heymanito.Entry) { e.Body = []byte("{}") })},

	{"Forget begins at 1", "BeginsBehind", inboxtest.RuleBegin, onItsOwn},
	{"only who was forgotten begins behind", "BeginsBehind", inboxtest.RuleBegin, heads(func(_ *fault, h *heymanito.Head, user string) {
		if user == "new" && h.Last == h.Dropped {
			h.Last, h.Given, h.Dropped, h.Began = 0, 0, 0, 0
		}
	})},
	{"Given begins at 0", "BeginsBehind", inboxtest.RuleBegin, heads(func(_ *fault, h *heymanito.Head, _ string) {
		if h.Last == h.Dropped {
			h.Given = 0
		}
	})},
	{"Dropped begins at 0", "BeginsBehind", "", heads(func(_ *fault, h *heymanito.Head, _ string) {
		if h.Last == h.Dropped {
			h.Dropped = 0
		}
	})},
	{"Began is 0", "BeginsBehind", inboxtest.RuleBegan, heads(func(_ *fault, h *heymanito.Head, _ string) { h.Began = 0 })},
	{"only who was forgotten has Began", "BeginsBehind", inboxtest.RuleBegan, heads(func(_ *fault, h *heymanito.Head, user string) {
		if user == "new" {
			h.Began = 0
		}
	})},
	{"who was forgotten has no Began", "Forget", inboxtest.RuleBegan, heads(func(_ *fault, h *heymanito.Head, user string) {
		if user == "ann" {
			h.Began = 0
		}
	})},
	{"Began is where it would begin now", "Forget", inboxtest.RuleBegan, heads(func(f *fault, h *heymanito.Head, _ string) {
		h.Began = f.head("somebody new").Began
	})},
	{"Began moves with Dropped", "BeginsBehind", inboxtest.RuleBegan, heads(func(_ *fault, h *heymanito.Head, _ string) { h.Began = h.Dropped })},
	{"Began only before there are entries", "BeginsBehind", inboxtest.RuleBegan, heads(func(_ *fault, h *heymanito.Head, _ string) {
		if h.Last > h.Dropped {
			h.Began = 0
		}
	})},
	{"Began is that of an inbox that ended", "BeginsAfterLoss", inboxtest.RuleLost, func(f *fault) {
		began := map[string]uint64{}
		heads(func(_ *fault, h *heymanito.Head, user string) {
			if was, ok := began[user]; ok {
				h.Began = was
			}
			began[user] = h.Began
		})(f)
	}},
	{"Began whatever was lost", "BeginsAfterLoss", inboxtest.RuleBegan, heads(func(_ *fault, h *heymanito.Head, _ string) {
		if h.Last == h.Dropped {
			h.Began = h.Dropped
		}
	})},
	{"a loss is everybody's", "BeginsAfterLoss", inboxtest.RuleBegan, heads(func(f *fault, h *heymanito.Head, _ string) {
		h.Began = min(h.Began, f.head("first").Began)
	})},
	{"Forget makes up for a loss", "BeginsAfterLoss", inboxtest.RuleBegan, func(f *fault) {
		n := 0
		f.forget = func(ctx context.Context, user string) error {
			n++
			return f.Inbox.Forget(ctx, user)
		}
		heads(func(_ *fault, h *heymanito.Head, _ string) {
			if n == 2 && h.Last == h.Dropped {
				h.Began = h.Dropped
			}
		})(f)
	}},
	{"who comes back has lost nothing", "BeginsAfterLoss", inboxtest.RuleBegan, heads(func(_ *fault, h *heymanito.Head, user string) {
		if user == "first" && h.Last > h.Dropped {
			h.Began = h.Dropped
		}
	})},
	{"a loss is forgotten", "BeginsAfterLoss", inboxtest.RuleBegan, func(f *fault) {
		f.reopened = func() {
			heads(func(_ *fault, h *heymanito.Head, user string) {
				if user == "first" {
					h.Began = h.Dropped
				}
			})(f)
		}
	}},
	{"no total", "BeginsAfterLoss", inboxtest.RuleTotal, bounded(func(b *heymanito.InboxBounds) { b.Total = 0 })},

	{"an epoch for each user", "Epoch", inboxtest.RuleEpoch, heads(func(_ *fault, h *heymanito.Head, user string) { h.Epoch = strings.ReplaceAll(user, " ", "-") })},
	{"one epoch for ever", "Epoch", inboxtest.RuleEpoch, heads(func(_ *fault, h *heymanito.Head, _ string) { h.Epoch = "1" })},
	{"a long epoch", "Epoch", inboxtest.RuleEpochs, heads(func(_ *fault, h *heymanito.Head, _ string) { h.Epoch = strings.Repeat("e", 65) })},
	{"no epoch", "Epoch", inboxtest.RuleEpochs, heads(func(_ *fault, h *heymanito.Head, _ string) { h.Epoch = "" })},
	{"an epoch of bytes", "Epoch", inboxtest.RuleEpochs, heads(func(_ *fault, h *heymanito.Head, _ string) { h.Epoch = "\x00" + h.Epoch })},
	{"an epoch that ends when something is dropped", "BoundEntries", inboxtest.RuleEpoch, heads(func(_ *fault, h *heymanito.Head, _ string) {
		h.Epoch = fmt.Sprint(h.Epoch, h.Dropped > 0)
	})},

	{"an id is not all that makes it unique", "Model", inboxtest.RuleMark, unknown(func(_ *fault, e heymanito.Entry, _ heymanito.Receipt) bool {
		return e.Covers != ""
	})},
	{"Forget leaves what others have", "Model", inboxtest.RuleSince, left(whole)},
	{"one entry more", "Model", inboxtest.RuleDropped, bounded(func(b *heymanito.InboxBounds) { b.Entries++ })},
	{"no Began", "Model", inboxtest.RuleBegan, heads(func(_ *fault, h *heymanito.Head, _ string) { h.Began = 0 })},
	{"ids for 23 hours", "Model", inboxtest.RuleKey, unknown(func(f *fault, e heymanito.Entry, first heymanito.Receipt) bool {
		return e.Mark == 0 && first.Seq <= f.head(e.User).Dropped && time.Since(first.Time) > 22*time.Hour
	})},
	{"the newest that is kept", "Model", inboxtest.RuleFind, func(f *fault) {
		f.find = func(ctx context.Context, k heymanito.Key, through uint64) (heymanito.Found, bool, error) {
			was, ok, err := f.Inbox.Find(ctx, k, through)
			return was, ok && (k.ID != "" || was.Seq > f.head(k.User).Dropped), err
		}
	}},

	{"one in 100 is lost", "AppendTogether", "", func(f *fault) {
		unlucky := nth(100)
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			if unlucky() {
				rs := make([]heymanito.Receipt, len(entries))
				for i, e := range entries {
					rs[i].Seq = f.head(e.User).Last + 1
				}
				return rs, nil
			}
			return f.Inbox.Append(ctx, entries...)
		}
	}},
	{"one in 100 is doubled", "AppendTogether", "", func(f *fault) {
		lucky := nth(100)
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			if lucky() {
				again := slices.Clone(entries)
				for i := range again {
					again[i].Event += " again"
				}
				_, _ = f.Inbox.Append(ctx, again...)
			}
			return f.Inbox.Append(ctx, entries...)
		}
	}},
	{"two receipts are exchanged", "AppendTogether", "", func(f *fault) {
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			rs, err := f.Inbox.Append(ctx, entries...)
			slices.Reverse(rs)
			return rs, err
		}
	}},
	{"each two change places", "AppendTogether", inboxtest.RuleSeqs, swapped},
	{"the newest shows when there is a newer one", "ReadTogether", "", pages(func(_ *fault, page *heymanito.Page, _ string, _ int) {
		if page.Last > 0 {
			page.Last--
		}
		if n := len(page.Entries); n > 0 && page.Entries[n-1].Seq > page.Last {
			page.Entries = page.Entries[:n-1]
		}
	})},
	{"shows what is behind one that is being written", "ReadTogether", "", pages(func(_ *fault, page *heymanito.Page, _ string, _ int) {
		if n := len(page.Entries); n > 1 && page.Entries[n-1].Seq == page.Last {
			page.Entries = slices.Delete(page.Entries, n-2, n-1)
		}
	})},
	{"Last before the entry", "ReadTogether", "", heads(func(_ *fault, h *heymanito.Head, _ string) { h.Last++ })},
	{"looks and then appends", "InFlight", inboxtest.RuleDuplicate, func(f *fault) {
		looksFirst(f, func(ctx context.Context, e heymanito.Entry) (heymanito.Receipt, bool) {
			was, ok, _ := f.Inbox.Find(ctx, e.Key, 0)
			return was.Receipt, ok
		})
	}},
	{"a duplicate in flight has no receipt yet", "InFlight", inboxtest.RuleDuplicate, receipts(func(_ *fault, _ heymanito.Entry, r *heymanito.Receipt) {
		if r.Duplicate {
			*r = heymanito.Receipt{Duplicate: true}
		}
	})},
	{"looks and then raises", "MarksInFlight", inboxtest.RuleMark, func(f *fault) {
		var mu sync.Mutex
		highest := uint64(0)
		looksFirst(f, func(_ context.Context, e heymanito.Entry) (heymanito.Receipt, bool) {
			mu.Lock()
			defer mu.Unlock()
			if e.Mark <= highest {
				return heymanito.Receipt{Seq: 1, Duplicate: true}, true
			}
			go func() {
				time.Sleep(2 * time.Millisecond)
				mu.Lock()
				defer mu.Unlock()
				highest = max(highest, e.Mark)
			}()
			return heymanito.Receipt{}, false
		})
	}},
	{"Forget begins at 1", "AllTogether", "", onItsOwn},
	{"receipts of somebody else", "AllTogether", "", func(f *fault) {
		unlucky := nth(50)
		receipts(func(_ *fault, _ heymanito.Entry, r *heymanito.Receipt) {
			if !r.Duplicate && unlucky() {
				r.Seq++
			}
		})(f)
	}},

	{"an ended ctx does nothing and says nothing", "EndedContext", inboxtest.RuleSafe, func(f *fault) {
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			if ctx.Err() != nil {
				return make([]heymanito.Receipt, len(entries)), nil
			}
			return f.Inbox.Append(ctx, entries...)
		}
	}},
	{"an ended ctx appends a half", "EndedContext", "", func(f *fault) {
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			if err := ctx.Err(); err != nil {
				_, _ = f.Inbox.Append(context.Background(), entries[0])
				return nil, err
			}
			return f.Inbox.Append(ctx, entries...)
		}
	}},
	{"an ended ctx reads nothing", "EndedContext", inboxtest.RuleSince, func(f *fault) {
		f.since = func(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
			if ctx.Err() != nil {
				return heymanito.Page{}, nil
			}
			return f.Inbox.Since(ctx, user, after, limit)
		}
	}},
	{"an ended ctx finds nothing", "EndedContext", inboxtest.RuleFind, func(f *fault) {
		f.find = func(ctx context.Context, k heymanito.Key, through uint64) (heymanito.Found, bool, error) {
			if ctx.Err() != nil {
				return heymanito.Found{}, false, nil
			}
			return f.Inbox.Find(ctx, k, through)
		}
	}},
	{"an ended ctx forgets nothing", "EndedContext", inboxtest.RuleForget, func(f *fault) {
		f.forget = func(ctx context.Context, user string) error {
			if ctx.Err() != nil {
				return nil
			}
			return f.Inbox.Forget(ctx, user)
		}
	}},
	{"an ended ctx acks nothing", "EndedContext", inboxtest.RuleAck, func(f *fault) {
		f.ack = func(ctx context.Context, user string, seq uint64) error {
			if ctx.Err() != nil {
				return nil
			}
			return f.Inbox.AckThrough(ctx, user, seq)
		}
	}},
	{"what an error has appended is appended again", "ContextEnds", inboxtest.RuleError, func(f *fault) {
		f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
			runtime.Gosched()
			if err := ctx.Err(); err != nil {
				again := slices.Clone(entries)
				for i := range again {
					again[i].Event += " again"
				}
				_, _ = f.Inbox.Append(context.Background(), again...)
				return nil, err
			}
			return f.Inbox.Append(context.Background(), entries...)
		}
	}},

	{"loses everything, and the epoch stays", "Reopen", "", func(f *fault) {
		heads(func(_ *fault, h *heymanito.Head, _ string) { h.Epoch = "1" })(f)
		f.reopened = func() { f.Inbox = heymanito.NewMemoryInbox(heymanito.InboxBounds{Entries: 10}) }
	}},
	{"loses everything", "Reopen", inboxtest.RuleEpoch, func(f *fault) {
		f.reopened = func() { f.Inbox = heymanito.NewMemoryInbox(heymanito.InboxBounds{Entries: 10}) }
	}},
	{"loses the ids of what was dropped", "Reopen", "", func(f *fault) {
		f.reopened = func() {
			f.find = func(ctx context.Context, k heymanito.Key, through uint64) (heymanito.Found, bool, error) {
				was, ok, err := f.Inbox.Find(ctx, k, through)
				return was, ok && was.Seq > f.head(k.User).Dropped, err
			}
		}
	}},
	{"brings back what was erased", "Reopen", inboxtest.RuleErased, func(f *fault) {
		reopened := false
		left(func(e *heymanito.Entry, was heymanito.Entry) {
			if reopened {
				whole(e, was)
			}
		})(f)
		f.reopened = func() { reopened = true }
	}},
	{"loses the Marks", "Reopen", inboxtest.RuleMark, func(f *fault) {
		f.reopened = func() {
			unknown(func(_ *fault, e heymanito.Entry, _ heymanito.Receipt) bool { return e.Mark > 0 })(f)
		}
	}},
	{"loses where inboxes begin", "Reopen", inboxtest.RuleBegin, func(f *fault) {
		f.reopened = func() {
			heads(func(_ *fault, h *heymanito.Head, _ string) {
				if h.Last == h.Dropped {
					h.Last, h.Given, h.Dropped, h.Began = 0, 0, 0, 0
				}
			})(f)
		}
	}},
	{"loses where inboxes began", "Reopen", inboxtest.RuleBegan, func(f *fault) {
		f.reopened = func() {
			heads(func(_ *fault, h *heymanito.Head, _ string) {
				if h.Last > h.Dropped {
					h.Began = 0
				}
			})(f)
		}
	}},
	{"believes that nothing was dropped before", "Reopen", inboxtest.RuleBegan, func(f *fault) {
		f.reopened = func() {
			heads(func(_ *fault, h *heymanito.Head, user string) {
				if user == "ann" {
					h.Began = h.Dropped
				}
			})(f)
		}
	}},
	{"loses attachments", "Reopen", inboxtest.RuleKeep, func(f *fault) {
		f.reopened = func() { read(func(e *heymanito.Entry) { e.Attachments = nil })(f) }
	}},
	{"remembers who was forgotten", "Reopen", inboxtest.RuleForget, func(f *fault) {
		receipts(func(_ *fault, e heymanito.Entry, r *heymanito.Receipt) {
			if r.Seq == 34 && e.Peer == "tall" {
				r.Duplicate = true
			}
		})(f)
	}},
}

// idsForEver knows every id there ever was.
func idsForEver(f *fault) {
	first := map[heymanito.Key]heymanito.Receipt{}
	receipts(func(_ *fault, e heymanito.Entry, r *heymanito.Receipt) {
		if was, ok := first[e.Key]; ok {
			*r = was
		} else {
			first[e.Key] = heymanito.Receipt{Seq: r.Seq, Duplicate: true, Time: e.Time, Note: e.Note}
		}
	})(f)
}

// looksFirst is a store that looks for a duplicate, and when there is none
// appends without looking.
func looksFirst(f *fault, look func(context.Context, heymanito.Entry) (heymanito.Receipt, bool)) {
	var mu sync.Mutex
	n := 0
	f.append = func(ctx context.Context, entries []heymanito.Entry) ([]heymanito.Receipt, error) {
		if was, ok := look(ctx, entries[0]); ok {
			rs := make([]heymanito.Receipt, len(entries))
			rs[0] = was
			return rs, nil
		}
		time.Sleep(time.Millisecond)
		mu.Lock()
		n++
		entries = slices.Clone(entries)
		for i := range entries {
			if n > 1 {
				entries[i].Event += fmt.Sprint(" again ", n)
			}
		}
		mu.Unlock()
		return f.Inbox.Append(ctx, entries...)
	}
}

// TestFaults shows that the suite fails when it should: every check has faults
// that it finds, for the right reason.
func TestFaults(t *testing.T) {
	proven, quoted, ran := map[string]bool{}, map[inboxtest.Rule]bool{}, 0
	for _, tt := range faults {
		proven[tt.check] = true
		t.Run(tt.check+"/"+tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				said := plantAndCheck(t, tt.plant, tt.check)
				if said == "" {
					t.Fatal("the check passes")
				}
				if !strings.Contains(said, fmt.Sprintf("%q", string(tt.rule))) && tt.rule != "" {
					t.Errorf("want an error that quotes %q", tt.rule)
				}
				for _, rule := range inboxtest.Rules {
					quoted[rule] = quoted[rule] || strings.Contains(said, fmt.Sprintf("%q", string(rule)))
				}
				ran++
				t.Log(said)
			})
		})
	}
	for _, name := range inboxtest.CheckNames() {
		if !proven[name] {
			t.Errorf("no fault shows that check %s can fail", name)
		}
	}
	for _, rule := range inboxtest.Rules {
		if ran == len(faults) && !quoted[rule] {
			t.Errorf("no fault breaks %q", rule)
		}
	}
}

func plantAndCheck(t *testing.T, plant func(*fault), check string) string {
	said := suite.Said(t, func(r testing.TB) {
		inboxtest.Check(r, check,
			func(b heymanito.InboxBounds) heymanito.Inbox {
				f := &fault{}
				plant(f)
				if f.bounds != nil {
					f.bounds(&b)
				}
				f.Inbox = heymanito.NewMemoryInbox(b)
				return f
			},
			func(store heymanito.Inbox, _ heymanito.InboxBounds) heymanito.Inbox {
				if f := store.(*fault); f.reopened != nil {
					f.reopened()
				}
				return store
			})
	})
	time.Sleep(time.Second) // what the fault has begun ends
	return said
}
