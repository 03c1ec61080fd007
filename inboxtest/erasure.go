package inboxtest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/suite"
)

// erased is es when peer was forgotten.
func erased(peer string, es ...heymanito.Entry) []heymanito.Entry {
	left := append([]heymanito.Entry(nil), es...)
	for i, e := range left {
		if e.Peer == peer {
			left[i] = heymanito.Erased(e)
		}
	}
	return left
}

// forgets forgets a user, of whom there is no inbox, and checks that users have
// the same Heads as before, and that so much less is counted, at the least.
func (r *rig) forgets(user string, bytes int, users ...string) {
	r.Helper()
	before := map[string]heymanito.Head{}
	for _, u := range users {
		before[u] = r.head(u)
	}
	was, _ := r.stats()
	r.forget(user)
	for _, u := range users {
		if h := r.head(u); h != before[u] {
			r.broken(ruleHeads, "the Head of %q was %+v, and is %+v when %q was forgotten", u, before[u], h, user)
		}
	}
	is, ok := r.stats()
	if !ok {
		return
	}
	if is.Users != was.Users || is.Entries != was.Entries || is.Dropped != was.Dropped {
		r.broken(ruleErased, "Stats said %+v, and says %+v when %q was forgotten, who had nothing", was, is, user)
	}
	if is.Bytes > was.Bytes-bytes {
		r.broken(ruleErased, "Stats said %d bytes, and says %d when %d of what %q had sent were erased", was.Bytes, is.Bytes, bytes, user)
	}
}

func checkErased(r *rig) {
	const big = 1_000
	r.start(heymanito.InboxBounds{Entries: 20})
	var es []heymanito.Entry
	for i := range 30 {
		peer := []string{"ann", "cid", "ann ", "an"}[i%4]
		e := r.big("bob", peer, fmt.Sprint(i), big)
		switch i % 12 {
		case 4:
			e.Event, e.Origin = "messageSent", "socket-1"
		case 8, 9, 10:
			e.Event, e.Mark, e.Covers = read, uint64(i), delivered
		}
		if i%5 < 2 {
			e.Attachments = [][]byte{noise(i), {}}
		}
		e.Note = fmt.Sprint("note ", i)
		e.Time = e.Time.Add(-time.Duration(i) * time.Minute)
		es = append(es, e)
	}
	r.add(es[:10]...) // which are dropped with the rest
	r.add(es[10:]...)
	r.ack("bob", 17)
	dans := r.messages("dan", "ann", 0, 5)
	r.add(dans...)
	toEve, byAnn := r.message("eve", "bob", "1"), r.receipt("eve", read, "ann", 3, "")
	r.add(byAnn, toEve)

	r.forgets("ann", 5*big, "ann", "bob", "dan", "eve", "nobody")
	r.holds("bob", 10, erased("ann", es[10:]...)...)
	r.holds("dan", 0, erased("ann", dans...)...)
	r.holds("eve", 0, heymanito.Erased(byAnn), toEve)
	for i, e := range es {
		switch {
		case e.Mark != 0:
		case e.Peer == "ann":
			r.lacks(ruleGone, e.Key, far)
		default:
			r.finds(ruleFind, e.Key, far, e, uint64(i+1))
			r.again(e, e, uint64(i+1))
		}
	}
	for _, event := range []string{"receiveMessage", "messageSent", read, delivered} {
		r.lacks(ruleGone, heymanito.Key{User: "bob", Event: event, Peer: "ann"}, far)
	}
	r.lacks(ruleGone, heymanito.Key{User: "bob", Event: heymanito.EventErased}, far)
	for _, i := range []int{26, 27, 29} {
		newest := es[i].Key
		newest.ID = ""
		r.finds(ruleNewest, newest, far, es[i], uint64(i+1))
	}
	r.again(es[21], es[21], 22) // the Marks of cid
	r.again(es[22], es[22], 23) // and of the other one
	r.forgets("ann", 0, "ann", "bob", "dan", "eve", "nobody")

	// Nothing of it is known, whether it was kept or not.
	for _, e := range append(append(es, dans...), byAnn) {
		if e.Peer != "ann" {
			continue
		}
		if got := r.append(e)[0]; got.Duplicate {
			r.broken(ruleGone, "%q was forgotten, and %s got the receipt %s", "ann", describe(e), describeReceipt(got))
		}
	}
	r.holds("dan", 0, append(erased("ann", dans...), dans...)...)
	r.forget("ann")
	r.forget("cid")
	r.holds("dan", 0, append(erased("ann", dans...), erased("ann", dans...)...)...)
	// Bounds drop what is left as they drop all else.
	more := r.messages("bob", "cid", 100, 15)
	r.add(more...)
	last := r.head("bob").Last
	page := r.since("bob", last-20, 100)
	for i, e := range page.Entries {
		if i < 5 && e.Event != heymanito.EventErased && e.Peer != "ann " && e.Peer != "an" {
			r.broken(ruleErased, "%q and %q were forgotten, and %s is at %d", "ann", "cid", describe(e), e.Seq)
		}
		if i >= 5 {
			if what := difference(e, more[i-5]); what != "" {
				r.broken(ruleKeep, "entry %d behind what was erased is not as it was appended: %s", e.Seq, what)
			}
		}
	}
	if page.Dropped != last-20 {
		r.broken(ruleBounds, "with what was erased %d entries are kept, the bound is 20", last-page.Dropped)
	}
	// What they say to themselves is in one inbox, which goes.
	self := r.message("bob", "bob", "1")
	r.addOne(self)
	r.forget("bob")
	r.beginsAt("bob", last+1)
	r.lacks(ruleForget, self.Key, far)
	r.holds("eve", 0, heymanito.Erased(byAnn), heymanito.Erased(toEve), heymanito.Erased(byAnn))
}

// checkErasedAge: what is left of an entry is as old as that was.
func checkErasedAge(r *rig) {
	r.start(heymanito.InboxBounds{Age: 10 * time.Hour})
	var es []heymanito.Entry
	for i := range 20 {
		es = append(es, r.message("bob", []string{"ann", "cid"}[i%2], fmt.Sprint(i)))
		r.addOne(es[i])
		time.Sleep(time.Hour)
	}
	r.ends("bob", es)
	r.forget("ann")
	for range 12 {
		r.ends("bob", erased("ann", es...))
		time.Sleep(time.Hour)
	}
	if n := r.ends("bob", es); n != 0 {
		r.broken(ruleBounds, "%d entries are kept for more than 10 hours, which is the bound", n)
	}
	for i, e := range es {
		switch {
		case e.Peer == "ann":
			r.lacks(ruleGone, e.Key, far)
		case time.Since(e.Time) < heymanito.DuplicateAge:
			r.again(e, e, uint64(i+1))
		}
	}
	time.Sleep(2 * heymanito.DuplicateAge)
	if seq := r.addOne(r.message("bob", "cid", "20")); seq != 21 {
		r.broken(ruleSeqs, "after days it got the seq %d, the last was 20", seq)
	}
}

// checkErasedMany is for stores that do it bit by bit.
func checkErasedMany(r *rig) {
	const long, each, users, group = 3, 1_500, 1_200, 100
	r.start(heymanito.InboxBounds{})
	inbox := func(i int) string { return fmt.Sprint("inbox ", i) }
	of := map[string][]heymanito.Entry{}
	for from := 0; from < each; from += group {
		for i := range long {
			var es []heymanito.Entry
			for j := range group {
				es = append(es, r.message(inbox(i), []string{"ann", "ann", "cid"}[j%3], fmt.Sprint(from+j)))
			}
			r.append(es...)
			of[inbox(i)] = append(of[inbox(i)], es...)
		}
	}
	name := func(i int) string { return fmt.Sprintf("user %06d", i) }
	mark := func(i int) heymanito.Entry { return r.receipt(name(i), read, "ann", 7, delivered) }
	for from := 0; from < users; from += group {
		var es []heymanito.Entry
		for i := range group {
			es = append(es, mark(from+i), r.message(name(from+i), "cid", "1"))
		}
		r.append(es...)
	}
	r.forgets("ann", 0)
	for user, es := range of {
		r.holds(user, 0, erased("ann", es...)...)
		r.lacks(ruleGone, es[0].Key, far)
		r.lacks(ruleGone, es[each-1].Key, far)
		r.finds(ruleFind, es[2].Key, far, es[2], 3)
	}
	for i := range users {
		r.holds(name(i), 0, heymanito.Erased(mark(i)), r.message(name(i), "cid", "1"))
	}
	for i := 0; i < users; i += users / 20 {
		if got := r.append(mark(i))[0]; got.Duplicate {
			r.broken(ruleForget, "%q was forgotten, and %s is still a duplicate", "ann", describe(mark(i)))
		}
	}
}

// checkErasedTogether forgets somebody who goes on, and others with him.
func checkErasedTogether(r *rig) {
	const writers, each, users = 4, 60, 3
	r.start(heymanito.InboxBounds{})
	name := func(i int) string { return fmt.Sprint("user ", i%users) }
	var writing atomic.Int32
	writing.Store(writers)
	forget := func() error { return r.store.Forget(context.Background(), "ann") }
	suite.Parallel(r, writers+1, func(i int) error {
		for over := false; i == writers; {
			if err := forget(); err != nil || over {
				return err
			}
			over = writing.Load() == 0
		}
		defer writing.Add(-1)
		for n := range each {
			id := fmt.Sprint(i*each + n)
			fromAnn, fromCid := r.message(name(n), "ann", id), r.message(name(n), "cid", id)
			got, err := r.tryAppend(fromAnn, fromCid)
			if err != nil {
				return err
			}
			page, err := r.trySince(name(n), got[0].Seq-1, 1)
			if err != nil {
				return err
			}
			if e := page.Entries[0]; difference(e, fromAnn) != "" && difference(e, heymanito.Erased(fromAnn)) != "" {
				return broken(ruleErased, "%s was appended at %d, and may have been erased, but is %s: %s", describe(fromAnn), e.Seq, describe(e), difference(e, fromAnn))
			}
			if n%10 == 9 {
				if err := forget(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	fromCid := map[string]bool{}
	for i := range users {
		page := r.all(name(i))
		if want := uint64(writers * each / users * 2); page.Last != want {
			r.broken(ruleSeqs, "of %d entries of %q the last is at %d", want, name(i), page.Last)
		}
		for _, e := range page.Entries {
			switch what := difference(e, heymanito.Erased(e)); {
			case e.Peer == "cid":
				fromCid[e.ID] = true
			case e.Peer == "ann":
				r.broken(ruleDone, "%q was forgotten when all was appended, and %s is at %d", "ann", describe(e), e.Seq)
			case what != "":
				r.broken(ruleErased, "%q was forgotten, and of entry %d is left what is not to be: %s", "ann", e.Seq, what)
			}
		}
	}
	if len(fromCid) != writers*each {
		r.broken(ruleKeep, "of %d entries of %q, whom nobody has forgotten, %d are left", writers*each, "cid", len(fromCid))
	}
}
