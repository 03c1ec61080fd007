package inboxtest

import (
	"fmt"
	"time"

	"github.com/heymanito/heymanito"
)

func checkReopen(r *rig) {
	b := heymanito.InboxBounds{Entries: 10}
	r.start(b)
	reopen := func() { r.store = r.reopen(r.store, b) } // and the epoch stays

	reopen()
	r.beginsAt("ann", 0)
	es := r.messages("ann", "bob", 0, 30)
	for i := range es {
		es[i].Note = fmt.Sprint("note ", i)
		es[i].Origin = "socket-1"
		es[i].Attachments = [][]byte{noise(i), {}}
		es[i].Time = es[i].Time.Add(-time.Duration(i) * time.Millisecond)
	}
	r.add(es[:20]...)
	r.add(es[20:]...)
	mark := r.receipt("ann", read, "bob", 5, delivered)
	mark.Note = "mark"
	r.addOne(mark)
	byTall := r.receipt("ann", read, "tall", 5, "")
	byOther := r.receipt("ann", read, "other", 5, "")
	r.add(byTall, byOther)
	r.add(r.messages("tall", "ann", 0, 100)...)
	r.forget("tall")

	for range 2 {
		reopen()
		h := r.head("ann")
		if h.Given > 30 { // it may be lost
			r.broken(ruleGiven, "Given was 30, and is %d", h.Given)
		}
		r.holds("ann", 23, append(es[23:len(es):len(es)], mark, heymanito.Erased(byTall), byOther)...)
		for i, e := range es {
			r.finds(ruleFind, e.Key, 0, e, uint64(i+1))
			r.again(e, e, uint64(i+1))
		}
		r.finds(ruleNewest, heymanito.Key{User: "ann", Event: "receiveMessage", Peer: "bob"}, 28, es[27], 28)
		r.again(mark, mark, 31)
		r.again(r.receipt("ann", delivered, "bob", 5, ""), mark, 31)
		r.again(byOther, byOther, 33)
		r.began("ann", 0)
		r.beginsAt("tall", 100)
		r.beginsAt("nobody", 100)
	}
	reopen()
	if got := r.append(byTall)[0]; got.Duplicate || got.Seq != 34 {
		r.broken(ruleForget, "%q was forgotten, and a Mark of it got %s", "tall", describeReceipt(got))
	}
	r.addOne(r.message("tall", "ann", "0"))
	reopen()
	r.holds("tall", 100, r.message("tall", "ann", "0"))
	r.began("tall", 100)
	r.again(byTall, byTall, 34)
	r.forget("ann")
	reopen()
	r.holds("tall", 100, heymanito.Erased(r.message("tall", "ann", "0")))
	r.lacks(ruleGone, r.message("tall", "ann", "0").Key, far)
	r.beginsAt("ann", 100)
	r.add(es[0], mark, byOther)
	r.add(es[10:30]...) // of which a bound drops the first, and what was before
	reopen()
	r.holds("ann", 103, es[10:30]...)
	r.began("ann", 100)
}
