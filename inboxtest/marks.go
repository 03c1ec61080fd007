package inboxtest

import (
	"fmt"
	"time"

	"github.com/heymanito/heymanito"
)

const (
	read      = "messagesRead"
	delivered = "messagesDelivered"
)

func checkMarks(r *rig) {
	r.start(heymanito.InboxBounds{})
	three := r.receipt("ann", read, "bob", 3, "")
	three.Note = "three"
	three.Time = three.Time.Add(-time.Hour)
	r.addOne(three)
	for _, mark := range []uint64{3, 2, 1} {
		r.again(r.receipt("ann", read, "bob", mark, ""), three, 1)
	}
	// The id makes no difference; event, peer and user do.
	other := r.receipt("ann", read, "bob", 3, "")
	other.ID = `"other"`
	r.again(other, three, 1)
	other.ID = ""
	r.again(other, three, 1)
	r.add(
		r.receipt("ann", delivered, "bob", 3, ""),
		r.receipt("ann", read, "cid", 3, ""),
		r.receipt("bob", read, "ann", 3, ""),
	)
	seven := r.receipt("ann", read, "bob", 7, "")
	seven.ID = ""
	r.addOne(seven)
	for _, mark := range []uint64{7, 4, 5, 6} {
		r.again(r.receipt("ann", read, "bob", mark, ""), seven, 4)
	}
	huge := r.receipt("ann", read, "bob", 1<<64-1, "")
	r.addOne(huge)
	r.again(huge, huge, 5)
	// A message is something else.
	e := r.message("ann", "bob", "1")
	e.Event = read
	r.addOne(e)
	r.again(e, e, 6)
}

func checkCovers(r *rig) {
	r.start(heymanito.InboxBounds{})
	five := r.receipt("ann", delivered, "bob", 5, "")
	r.addOne(five)
	// What was read was delivered.
	nine := r.receipt("ann", read, "bob", 9, delivered)
	nine.Note = "nine"
	r.addOne(nine)
	for _, mark := range []uint64{9, 6} {
		r.again(r.receipt("ann", delivered, "bob", mark, ""), nine, 2)
	}
	// What was delivered was not read, and of another peer or user nothing was.
	ten := r.receipt("ann", delivered, "bob", 10, "")
	r.add(ten, r.receipt("ann", read, "bob", 10, ""), r.receipt("ann", delivered, "cid", 1, ""), r.receipt("bob", delivered, "bob", 1, ""))
	// A lower Mark lowers nothing.
	r.addOne(r.receipt("ann", read, "cid", 1, delivered))
	eleven := r.receipt("ann", delivered, "bob", 20, "")
	r.addOne(eleven)
	r.addOne(r.receipt("ann", read, "bob", 15, delivered))
	r.again(r.receipt("ann", delivered, "bob", 20, ""), eleven, 7)
	r.again(r.receipt("ann", delivered, "bob", 16, ""), eleven, 7)
	// A duplicate raises nothing.
	r.addOne(r.receipt("ann", read, "dan", 4, ""))
	got := r.append(r.receipt("ann", read, "dan", 4, delivered))[0]
	if !got.Duplicate {
		r.broken(ruleMark, "a receipt with the same Mark was appended")
	}
	r.addOne(r.receipt("ann", delivered, "dan", 4, ""))
}

// checkMarksStay: they are kept when the entries that set them are not.
func checkMarksStay(r *rig) {
	r.start(heymanito.InboxBounds{Entries: 5})
	mark := r.receipt("ann", read, "bob", 3, delivered)
	mark.Note = "first"
	r.addOne(mark)
	for n := 0; n < heymanito.DuplicateCount+100; n += 500 {
		r.append(r.messages("ann", "cid", n, 500)...)
	}
	r.again(r.receipt("ann", read, "bob", 3, ""), mark, 1)
	r.again(r.receipt("ann", delivered, "bob", 2, ""), mark, 1)
	r.addOne(r.receipt("ann", delivered, "bob", 4, ""))
}

func checkMarksStayForYears(r *rig) {
	r.start(heymanito.InboxBounds{})
	mark := r.receipt("ann", read, "bob", 3, delivered)
	r.addOne(mark)
	for range 2 {
		time.Sleep(365 * 24 * time.Hour)
		r.addOne(r.message("cid", "dan", fmt.Sprint(time.Now().Unix())))
		if n := len(r.all("ann").Entries); n != 0 {
			r.broken(ruleBounds, "an entry of a year ago is kept, the bound is 30 days")
		}
	}
	r.again(r.receipt("ann", read, "bob", 3, ""), mark, 1)
	r.again(r.receipt("ann", delivered, "bob", 2, ""), mark, 1)
	if seq := r.addOne(r.receipt("ann", delivered, "bob", 4, "")); seq != 2 {
		r.broken(ruleSeqs, "it got the seq %d", seq)
	}
}
