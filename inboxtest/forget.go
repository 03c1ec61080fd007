package inboxtest

import (
	"fmt"

	"github.com/heymanito/heymanito"
)

func checkForget(r *rig) {
	r.start(heymanito.InboxBounds{Entries: 10})
	r.forget("nobody")
	r.beginsAt("nobody", 0)

	anns := r.messages("ann", "bob", 0, 20)
	r.add(anns[:15]...) // of which the first are dropped with the next
	r.add(anns[15:]...)
	toAnn := r.receipt("ann", read, "bob", 5, delivered)
	r.addOne(toAnn)
	r.ack("ann", 12)
	// What others have from ann, and from somebody else.
	sent, fromCid := r.message("bob", "ann", "1"), r.message("bob", "cid", "1")
	byAnn, byCid := r.receipt("bob", read, "ann", 7, delivered), r.receipt("bob", read, "cid", 7, delivered)
	second := r.receipt("bob", "conversationRead", "ann", 7, "")
	r.add(sent, fromCid, byAnn, byCid, second)
	r.ack("bob", 2)
	toDan := r.receipt("dan", delivered, "ann", 3, "")
	r.addOne(toDan)

	r.forget("ann")
	r.beginsAt("ann", 21)
	r.holds("ann", 21)
	for _, e := range anns {
		r.lacks(ruleForget, e.Key, far)
	}
	r.lacks(ruleForget, heymanito.Key{User: "ann", Event: "receiveMessage", Peer: "bob"}, far)
	// Nobody else has lost anything but what was hers.
	r.holds("bob", 0, erased("ann", sent, fromCid, byAnn, byCid, second)...)
	r.holds("dan", 0, heymanito.Erased(toDan))
	r.given(ruleHeads, "bob", 2)
	r.again(fromCid, fromCid, 2)
	r.again(byCid, byCid, 4)
	r.again(r.receipt("bob", delivered, "cid", 6, ""), byCid, 4)
	for _, e := range []heymanito.Entry{
		r.receipt("bob", delivered, "ann", 6, ""), byAnn, second, toDan, sent,
	} {
		if got := r.append(e)[0]; got.Duplicate {
			r.broken(ruleForget, "%q was forgotten, and %s is still a duplicate", "ann", describe(e))
		}
	}
	// And she begins anew.
	if seq := r.addOne(anns[0]); seq != 22 {
		r.broken(ruleBegin, "after Forget the first seq is %d, the last before was 21", seq)
	}
	again := []heymanito.Entry{anns[0], r.receipt("ann", read, "bob", 1, ""), r.receipt("ann", delivered, "bob", 1, ""), anns[19]}
	r.add(again[1:]...)
	r.given(ruleBegin, "ann", 21)
	r.holds("ann", 21, again...)
	r.began("ann", 21)

	r.forget("ann")
	r.forget("ann")
	r.forget("bob")
	r.beginsAt("ann", 25)
	r.beginsAt("bob", 25)
	if s, ok := r.stats(); ok && (s.Users != 1 || s.Entries != 2 || s.Dropped != 11) {
		r.broken(ruleForget, "dan has the last 2 entries, 11 were dropped before, Stats says %+v", s)
	}
	r.forget("dan")
	if s, ok := r.stats(); ok && (s.Users != 0 || s.Entries != 0) {
		r.broken(ruleForget, "all were forgotten, Stats says %+v", s)
	}
}

// checkBegin: no seq is handed to a user twice.
func checkBegin(r *rig) {
	r.start(heymanito.InboxBounds{Entries: 100})
	r.add(r.messages("tall", "bob", 0, 300)...)
	r.add(r.messages("small", "bob", 0, 5)...)
	r.beginsAt("new", 0)
	r.forget("tall")
	r.beginsAt("tall", 300)
	r.beginsAt("new", 300)
	// Whose inbox is there goes on.
	r.add(r.messages("small", "bob", 5, 5)...)
	r.holds("small", 0, r.messages("small", "bob", 0, 10)...)
	r.forget("small") // the lower one
	r.beginsAt("small", 300)
	r.ack("new", 1_000)
	r.beginsAt("new", 300)
	e := r.message("new", "bob", "1")
	e.Origin = "socket-1"
	if seq := r.addOne(e); seq != 301 {
		r.broken(ruleBegin, "the first seq is %d, not 301", seq)
	}
	r.given(ruleGiven, "new", 301) // right behind Given
	r.holds("new", 300, e)
	r.began("new", 300)
	r.finds(ruleFind, e.Key, far, e, 301)
	// What a bound drops of it does not move where it began.
	more := r.messages("new", "bob", 2, 120)
	r.add(more[:50]...)
	r.add(more[50:]...)
	r.holds("new", 321, more[20:]...)
	r.began("new", 300)
	r.forget("new")
	r.beginsAt("tall", 421)
	r.forget("tall") // who has nothing
	r.beginsAt("tall", 421)
}

// checkBeginAfterLoss: when a total bound has ended inboxes, those that begin
// later may be of the same users.
func checkBeginAfterLoss(r *rig) {
	const users, group = 1_000, 50
	b := heymanito.InboxBounds{Total: 100_000}
	r.start(b)
	r.add(r.messages("gone", "bob", 0, 5)...)
	r.forget("gone")
	r.addOne(r.message("first", "bob", "1"))
	r.addOne(r.message("old", "bob", "0"))
	r.began("old", 5)
	for i := 0; i < users; i += group {
		es := []heymanito.Entry{r.message("old", "bob", fmt.Sprint(i+1))} // whose inbox is never without one
		for j := range group {
			es = append(es, r.message(fmt.Sprintf("invented user %06d", i+j), "ann", "1"))
		}
		r.add(es...)
	}
	lost := func() {
		r.Helper()
		switch h := r.head("first"); {
		case h.Dropped < 6:
			r.broken(ruleTotal, "the first of %d small entries is kept, the bound is %d", users, b.Total)
		case h.Began >= 6:
			r.broken(ruleBegan, "entry 6 of %q was dropped, and Began is %d", "first", h.Began)
		case h.Last > 6 && h.Began != 0:
			r.broken(ruleLost, "a bound has ended the inbox of %q, and Began is %d", "first", h.Began)
		}
	}
	r.began("old", 5)
	lost()
	if r.reopen != nil {
		r.store = r.reopen(r.store, b)
		r.began("old", 5)
		lost()
	}
	r.forget("old") // which does not bring back what is not known
	lost()
	r.addOne(r.message("first", "bob", "2"))
	lost()
}

func checkEpoch(r *rig) {
	r.start(heymanito.InboxBounds{})
	r.addOne(r.message("ann", "bob", "1"))
	first := r.head("ann").Epoch
	for i := range 10 {
		if epoch := r.head(fmt.Sprint("user ", i)).Epoch; epoch != first {
			r.broken(ruleEpochs, "the epochs of two users are %q and %q", first, epoch)
		}
	}
	r.start(heymanito.InboxBounds{})
	if epoch := r.head("ann").Epoch; epoch == first {
		r.broken(ruleEpoch, "another store, which has nothing, has the epoch %q, too", epoch)
	}
}
