package inboxtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/suite"
)

// tryAppend is append for goroutines.
func (r *rig) tryAppend(entries ...heymanito.Entry) ([]heymanito.Receipt, error) {
	receipts, err := r.store.Append(context.Background(), entries...)
	if err == nil && len(receipts) != len(entries) {
		err = broken(ruleAppend, "Append of %d entries returned %d receipts", len(entries), len(receipts))
	}
	return receipts, err
}

// trySince is since for goroutines.
func (r *rig) trySince(user string, after uint64, limit int) (heymanito.Page, error) {
	page, err := r.store.Since(context.Background(), user, after, limit)
	if err == nil {
		err = checkPage(page, user, after, limit)
	}
	return page, err
}

// broken is broken for goroutines.
func broken(s rule, format string, args ...any) error {
	return fmt.Errorf("%s\n\tbut the contract says: %q", fmt.Sprintf(format, args...), string(s))
}

// checkAppendTogether: seqs without gaps, in an order that agrees with the
// calls.
func checkAppendTogether(r *rig) {
	const callers, calls, users = 16, 60, 5
	r.start(heymanito.InboxBounds{})
	type appended struct {
		entry      heymanito.Entry
		start, end int64
	}
	var clock atomic.Int64
	var mu sync.Mutex
	of := map[string]map[uint64]appended{}
	suite.Parallel(r, callers, func(caller int) error {
		for call := range calls {
			from, to := fmt.Sprint("user ", (caller+call)%users), fmt.Sprint("user ", (caller+call*call+1)%users)
			id := fmt.Sprint(caller*calls + call)
			es := []heymanito.Entry{r.message(from, to, id), r.message(to, from, id)}
			es[0].Event = "messageSent"
			start := clock.Add(1)
			got, err := r.tryAppend(es...)
			end := clock.Add(1)
			if err != nil {
				return err
			}
			mu.Lock()
			for i, e := range es {
				if of[e.User] == nil {
					of[e.User] = map[uint64]appended{}
				}
				if was, ok := of[e.User][got[i].Seq]; ok || got[i].Duplicate {
					mu.Unlock()
					return broken(ruleSeqs, "%s got the receipt %s, %s has that seq", describe(e), describeReceipt(got[i]), describe(was.entry))
				}
				of[e.User][got[i].Seq] = appended{e, start, end}
			}
			mu.Unlock()
		}
		return nil
	})
	for user, bySeq := range of {
		es := make([]heymanito.Entry, len(bySeq))
		latest := int64(0)
		for i := range es {
			a, ok := bySeq[uint64(i+1)]
			if !ok {
				r.broken(ruleSeqs, "of %d entries of %q none has got the seq %d", len(es), user, i+1)
			}
			if a.end < latest {
				r.broken(ruleSeqs, "%s got the seq %d, and a lower one was got by an Append that began when that had returned", describe(a.entry), i+1)
			}
			latest = max(latest, a.start)
			es[i] = a.entry
		}
		r.holds(user, 0, es...)
	}
}

// checkReadTogether: entries appear in the order of their seqs, and when their
// Append has returned they are there.
func checkReadTogether(r *rig) {
	const writers, readers, each = 4, 3, 80
	r.start(heymanito.InboxBounds{})
	var writing atomic.Int32
	writing.Store(writers)
	suite.Parallel(r, writers+readers, func(i int) error {
		if i < writers {
			defer writing.Add(-1)
			for n := range each {
				e := r.message("ann", "bob", fmt.Sprint(i*each+n))
				got, err := r.tryAppend(e, r.message("cid", "bob", e.ID))
				if err != nil {
					return err
				}
				page, err := r.trySince("ann", got[0].Seq-1, 1)
				if err != nil {
					return err
				}
				if len(page.Entries) != 1 || page.Entries[0].ID != e.ID {
					return broken(ruleOrder, "%s was appended at %d, and is not there", describe(e), got[0].Seq)
				}
			}
			return nil
		}
		user := []string{"ann", "cid"}[i%2]
		seen := map[string]bool{}
		for at := uint64(0); at < writers*each; {
			all := writing.Load() == 0
			page, err := r.trySince(user, at, 7)
			if err != nil {
				return err
			}
			for _, e := range page.Entries {
				if seen[e.ID] {
					return broken(ruleSince, "%s is there twice", describe(e))
				}
				seen[e.ID] = true
				at = e.Seq
			}
			if len(page.Entries) == 0 {
				if all {
					return broken(ruleOrder, "of %d entries for %q those up to %d can be read", writers*each, user, at)
				}
				time.Sleep(time.Millisecond)
			}
			// A head that was read promises what is before it.
			if page, err = r.trySince(user, 0, 0); err != nil {
				return err
			}
			if last, err := r.trySince(user, page.Last-min(page.Last, 1), 1); err != nil || page.Last > 0 && len(last.Entries) == 0 {
				return errors.Join(err, broken(ruleOrder, "Last of %q was %d, and entry %d cannot be read", user, page.Last, page.Last))
			}
		}
		return nil
	})
}

// checkInFlight appends the same thing a thousand times at once.
func checkInFlight(r *rig) {
	const at = 1000
	r.start(heymanito.InboxBounds{})
	r.add(r.messages("ann", "bob", 0, 3)...)
	es := []heymanito.Entry{r.message("ann", "bob", `"x"`), r.message("bob", "ann", `"x"`)}
	es[0].Note = "the first"
	got := make([][]heymanito.Receipt, at)
	suite.Parallel(r, at, func(i int) (err error) {
		got[i], err = r.tryAppend(es...)
		return err
	})
	firsts := 0
	for _, receipts := range got {
		if !receipts[0].Duplicate {
			firsts++
		}
	}
	if firsts != 1 {
		r.broken(ruleDuplicate, "of %d Appends of the same entry at once %d were not duplicates", at, firsts)
	}
	for _, receipts := range got {
		if receipts[0].Duplicate {
			r.isReceipt(receipts[0], es[0], 4)
			if receipts[1] != (heymanito.Receipt{}) {
				r.broken(ruleFirst, "the second receipt is %s", describeReceipt(receipts[1]))
			}
			continue
		}
		if receipts[0].Seq != 4 || receipts[1].Seq != 1 || receipts[1].Duplicate {
			r.broken(ruleSeqs, "it was appended with the receipts %s, %s", describeReceipt(receipts[0]), describeReceipt(receipts[1]))
		}
	}
	r.holds("ann", 0, append(r.messages("ann", "bob", 0, 3), es[0])...)
	r.holds("bob", 0, es[1])
}

// checkMarksInFlight: of Marks that come at once only those are appended that
// are higher than what was appended before.
func checkMarksInFlight(r *rig) {
	const callers = 200
	r.start(heymanito.InboxBounds{})
	marks := rand.New(rand.NewPCG(1, 2)).Perm(callers)
	var mu sync.Mutex
	seqs := map[uint64]uint64{} // by mark
	suite.Parallel(r, callers, func(i int) error {
		e := r.receipt("ann", read, "bob", uint64(marks[i]/2+1), delivered)
		got, err := r.tryAppend(e)
		if err == nil && !got[0].Duplicate {
			mu.Lock()
			defer mu.Unlock()
			if was, ok := seqs[e.Mark]; ok {
				return broken(ruleMark, "%s was appended at %d and at %d", describe(e), was, got[0].Seq)
			}
			seqs[e.Mark] = got[0].Seq
		}
		return err
	})
	last := uint64(0)
	for _, e := range r.all("ann").Entries {
		if e.Mark <= last || seqs[e.Mark] != e.Seq {
			r.broken(ruleMark, "the Mark %d at %d is behind the Mark %d; its receipt said %d", e.Mark, e.Seq, last, seqs[e.Mark])
		}
		last = e.Mark
	}
	if last != callers/2 || uint64(len(seqs)) != r.head("ann").Last {
		r.broken(ruleMark, "%d receipts of new entries, Last is %d; the last Mark is %d, want %d", len(seqs), r.head("ann").Last, last, callers/2)
	}
}

// checkAllTogether calls everything at once.
func checkAllTogether(r *rig) {
	const callers, calls, users = 8, 120, 4
	r.start(heymanito.InboxBounds{Entries: 20, Total: 200_000})
	name := func(n int) string { return fmt.Sprint("user ", n) }
	var mu sync.Mutex
	handed := map[string]map[uint64]string{}
	for i := range users {
		handed[name(i)] = map[uint64]string{}
	}
	suite.Parallel(r, callers, func(caller int) error {
		random := rand.New(rand.NewPCG(uint64(caller), 3))
		for call := range calls {
			user, peer := name(random.IntN(users)), name(random.IntN(users))
			var err error
			switch random.IntN(10) {
			default:
				e := r.message(user, peer, fmt.Sprint(random.IntN(300)))
				if random.IntN(4) == 0 {
					e = r.receipt(user, read, peer, uint64(caller*calls+call+1), delivered)
				}
				e.Note = user
				got, bad := r.tryAppend(e, r.message(peer, user, fmt.Sprint(caller, call)))
				if err = bad; err != nil || got[0].Duplicate {
					if err == nil && got[0].Note != user {
						err = broken(ruleDuplicate, "a duplicate in the inbox of %q has the receipt %s", user, describeReceipt(got[0]))
					}
					break
				}
				mu.Lock()
				for i, user := range []string{user, peer} {
					if was, ok := handed[user][got[i].Seq]; ok {
						err = broken(ruleTwice, "%q got the seq %d for %s and for %s", user, got[i].Seq, was, describe(e))
					}
					handed[user][got[i].Seq] = describe(e)
				}
				mu.Unlock()
			case 5, 6:
				_, err = r.trySince(user, uint64(random.IntN(500)), random.IntN(30))
			case 7:
				k := r.message(user, peer, fmt.Sprint(random.IntN(300))).Key
				if random.IntN(2) == 0 {
					k.ID = ""
				}
				var found heymanito.Found
				var ok bool
				found, ok, err = r.store.Find(context.Background(), k, far)
				if ok && (k.ID != "" && found.ID != k.ID || found.Seq == 0) {
					err = broken(ruleFind, "Find(%+q) found %s with the id %s", k, describeReceipt(found.Receipt), found.ID)
				}
			case 8:
				err = r.store.AckThrough(context.Background(), user, uint64(random.IntN(500)))
			case 9:
				if random.IntN(4) == 0 {
					err = r.store.Forget(context.Background(), user)
				}
				r.stats()
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	for user, seqs := range handed {
		page := r.all(user)
		for seq := range seqs {
			if seq > page.Last {
				r.broken(ruleSeqs, "%q was handed the seq %d, Last is %d", user, seq, page.Last)
			}
		}
		for _, e := range page.Entries {
			if seqs[e.Seq] == "" {
				r.broken(ruleAppend, "entry %d of %q is in no receipt", e.Seq, user)
			}
		}
		if len(page.Entries) > 21 {
			r.broken(ruleBounds, "%d entries are kept, the bound is 20", len(page.Entries))
		}
	}
}

// checkEndedContext: whether a store looks at ctx is its own affair, but what
// it says has to be so.
func checkEndedContext(r *rig) {
	r.start(heymanito.InboxBounds{})
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	expired, cancel := context.WithTimeout(context.Background(), -1)
	defer cancel()
	for i, ctx := range []context.Context{cancelled, expired} {
		user := fmt.Sprint("user ", i)
		before := r.head(user).Last
		es := []heymanito.Entry{r.message(user, "bob", "1"), r.message(user, "bob", "2")}
		receipts, err := r.store.Append(ctx, es...)
		got := r.append(es[0])[0]
		switch {
		case err == nil && (len(receipts) != 2 || !got.Duplicate || got.Seq != receipts[0].Seq):
			r.broken(ruleSafe, "with a ctx that had ended Append said it had appended, and the next one got %s", describeReceipt(got))
		case got.Duplicate: // both or none
			r.holds(user, before, es...)
		default:
			r.holds(user, before, es[0])
		}
		err = r.store.AckThrough(ctx, user, before+1)
		if h := r.head(user); err == nil && h.Given != before+1 {
			r.broken(ruleAck, "with a ctx that had ended AckThrough(%d) said it had, and Given is %d", before+1, h.Given)
		}
		if page, err := r.store.Since(ctx, user, 0, 10); err == nil && len(page.Entries) == 0 {
			r.broken(ruleSince, "with a ctx that had ended Since returned nothing, and no error")
		}
		if _, ok, err := r.store.Find(ctx, es[0].Key, far); err == nil && !ok {
			r.broken(ruleFind, "with a ctx that had ended Find found nothing, and no error")
		}
		if err := r.store.Forget(ctx, user); err == nil && len(r.all(user).Entries) > 0 {
			r.broken(ruleForget, "with a ctx that had ended Forget said it had, and had not")
		}
	}
	r.addOne(r.message("cid", "bob", "1"))
}

// checkContextEnds ends contexts while entries are appended: whoever got an
// error appends again.
func checkContextEnds(r *rig) {
	const callers, calls = 20, 20
	r.start(heymanito.InboxBounds{})
	suite.Parallel(r, callers, func(caller int) error {
		for call := range calls {
			ctx, cancel := context.WithCancel(context.Background())
			go cancel()
			id := fmt.Sprint(caller*calls + call)
			es := []heymanito.Entry{r.message("ann", "bob", id), r.message("bob", "ann", id)}
			first, failed := r.store.Append(ctx, es...)
			got, err := r.tryAppend(es...)
			if err != nil {
				return err
			}
			if failed == nil && (!got[0].Duplicate || got[0].Seq != first[0].Seq) {
				return broken(ruleSafe, "%s was appended, and when it was appended again it got %s", describe(es[0]), describeReceipt(got[0]))
			}
		}
		return nil
	})
	for _, user := range []string{"ann", "bob"} {
		var ids []string
		for _, e := range r.all(user).Entries {
			ids = append(ids, e.ID)
		}
		slices.Sort(ids)
		if n := len(slices.Compact(ids)); len(ids) != callers*calls || n != len(ids) {
			r.broken(ruleError, "of %d messages whose Append may have failed, and was made again, %q has %d, %d of them different", callers*calls, user, len(ids), n)
		}
	}
}
