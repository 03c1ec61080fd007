package inboxtest

import (
	"strings"
	"time"

	"github.com/heymanito/heymanito"
)

func checkAppend(r *rig) {
	r.start(heymanito.InboxBounds{})
	if got := r.append(); len(got) != 0 {
		r.broken(ruleAppend, "Append of nothing returned %d receipts", len(got))
	}
	at := time.Now().Truncate(time.Millisecond)
	binary := make([]byte, 256)
	for i := range binary {
		binary[i] = byte(i)
	}
	whole := heymanito.Entry{
		Key:         heymanito.Key{User: "ann", Event: "messagesRead", Peer: "bob", ID: `"é\u0000"`},
		Mark:        1<<64 - 1,
		Covers:      "messagesDelivered",
		Time:        at.Add(-time.Millisecond),
		Body:        []byte(`{"b":1, "a": "\ud800", "n":12345678901234567890}`),
		Attachments: [][]byte{binary, {}, noise(70_000)},
		Origin:      "socket-1",
		Note:        strings.Repeat("n", 32),
	}
	plain := r.message("ann", "bob", "1")
	bodies := r.message("ann", "bob", "2")
	bodies.Body = noise(300_000)
	bodies.Attachments = [][]byte{{0}}
	oneself := r.message("ann", "ann", `"1"`)
	other := r.message("bob", "ann", "1")
	other.Seq = 77
	entries := []heymanito.Entry{whole, plain, other, bodies}

	buffer := append([]heymanito.Entry(nil), entries...)
	r.add(buffer...)
	clear(buffer) // the slice is the caller's
	r.addOne(oneself)
	page := r.since("ann", 0, 10)
	clear(page.Entries) // and so is this one
	r.holds("ann", 0, whole, plain, bodies, oneself)
	r.holds("bob", 0, other)
}

// checkNames is for stores that build keys from names: any two of these differ.
func checkNames(r *rig) {
	r.start(heymanito.InboxBounds{})
	long := strings.Repeat("é", 128)
	escaped := `"` + strings.Repeat(`\u0061`, 256) + `"`
	keys := []heymanito.Key{
		{User: "ab", Event: "c", Peer: "d", ID: "1"},
		{User: "a", Event: "bc", Peer: "d", ID: "1"},
		{User: "a", Event: "b", Peer: "cd", ID: "1"},
		{User: "a", Event: "b", Peer: "c", ID: "1"},
		{User: "a", Event: "b", Peer: "c", ID: `"1"`},
		{User: "a", Event: "b", Peer: "c", ID: "1.0"},
		{User: "a", Event: "b", Peer: "c", ID: "11"},
		{User: "a", Event: "b", Peer: "c1", ID: "1"},
		{User: "a", Event: "b", Peer: "C", ID: "1"},
		{User: "A", Event: "b", Peer: "c", ID: "1"},
		{User: " a", Event: "b", Peer: "c", ID: "1"},
		{User: "a/b", Event: "b", Peer: "c", ID: "1"},
		{User: "a", Event: "b", Peer: "c/1", ID: "1"},
		{User: "a", Event: "b", Peer: "c|1", ID: "1"},
		{User: "a", Event: "b", Peer: "c:1", ID: "1"},
		{User: "a", Event: "b", Peer: "c,1", ID: "1"},
		{User: "a\u00f1", Event: "b", Peer: "c", ID: "1"},
		{User: "an\u0303", Event: "b", Peer: "c", ID: "1"},
		{User: "*", Event: "b", Peer: "*", ID: `"*"`},
		{User: "%", Event: "b", Peer: "%61", ID: `"%"`},
		{User: "{a}", Event: "b", Peer: "'; --", ID: `"'"`},
		{User: long, Event: "b", Peer: long, ID: escaped},
		{User: long[:254], Event: "b", Peer: long[:254], ID: escaped},
		{User: long, Event: "b", Peer: long[:254], ID: escaped},
		{User: long, Event: "b", Peer: long[:254], ID: escaped[:len(escaped)-2] + `2"`},
	}
	seqs := make([]uint64, len(keys))
	for i, k := range keys {
		r.lacks(ruleFind, k, far)
		e := r.message(k.User, k.Peer, k.ID)
		e.Key = k
		seqs[i] = r.addOne(e)
	}
	for i, k := range keys {
		e := r.message(k.User, k.Peer, k.ID)
		e.Key = k
		r.finds(ruleFind, k, far, e, seqs[i])
		r.again(e, e, seqs[i])
	}
	marked := map[heymanito.Key]bool{}
	for _, k := range keys {
		e := r.receipt(k.User, k.Event, k.Peer, 1, "")
		e.ID = k.ID
		if k.ID = ""; !marked[k] {
			r.addOne(e)
			marked[k] = true
		}
	}
}

func checkDuplicates(r *rig) {
	r.start(heymanito.InboxBounds{})
	first := r.message("ann", "bob", "1")
	first.Note = "sent"
	first.Time = first.Time.Add(-time.Hour)
	seq := r.addOne(first)
	r.again(first, first, seq)

	// The first stands, whatever the second contains.
	second := r.message("ann", "bob", "1")
	second.Body = []byte(`{"other":true}`)
	second.Attachments = [][]byte{{1}}
	second.Note = "queued"
	second.Origin = "socket-1"
	r.again(second, first, seq)
	r.given(ruleDuplicate, "ann", 0)

	// What differs in what makes it unique is none.
	others := []heymanito.Entry{r.message("ann", "bob", `"1"`), r.message("ann", "cid", "1"), r.message("bob", "ann", "1"), r.message("ann", "bob", "1")}
	others[3].Event = "messageSent"
	if got := r.append(others[0])[0]; got.Duplicate {
		r.broken(ruleID, "a message with another id got the receipt %s", describeReceipt(got))
	}
	for _, e := range others[1:] {
		r.addOne(e)
	}
	r.holds("ann", 0, first, others[0], others[1], others[3])
	for range 3 {
		r.again(second, first, seq)
		r.again(others[1], others[1], 3)
	}

	// In one Append, too.
	twice := r.message("cid", "bob", "5")
	got := r.append(twice, twice, r.message("cid", "bob", "6"))
	if got[0].Duplicate || got[2].Duplicate || got[0].Seq != 1 || got[2].Seq != 2 {
		r.broken(ruleDuplicate, "one entry twice and another one got the receipts %s, %s, %s",
			describeReceipt(got[0]), describeReceipt(got[1]), describeReceipt(got[2]))
	}
	r.isReceipt(got[1], twice, 1)
	r.holds("cid", 0, twice, r.message("cid", "bob", "6"))
}

// checkFirst is about what the server relies on: the sender's entry first, the
// recipient's behind it.
func checkFirst(r *rig) {
	r.start(heymanito.InboxBounds{})
	mine, yours := r.message("ann", "bob", "1"), r.message("bob", "ann", "1")
	mine.Event, mine.Note = "messageSent", "sent"
	r.add(mine, yours)
	for _, second := range []heymanito.Entry{r.message("bob", "ann", "2"), r.message("dan", "ann", "1"), yours, mine} {
		got := r.append(mine, second, r.message("eve", "ann", "3"))
		r.isReceipt(got[0], mine, 1)
		for i, other := range got[1:] {
			if other != (heymanito.Receipt{}) {
				r.broken(ruleFirst, "the receipt %d of an Append whose first entry is a duplicate is %s", i+1, describeReceipt(other))
			}
		}
	}
	r.holds("ann", 0, mine)
	r.holds("bob", 0, yours)
	for _, user := range []string{"dan", "eve"} {
		if h := r.head(user); h.Last != 0 {
			r.broken(ruleFirst, "%q was appended to behind a duplicate", user)
		}
	}

	// A later one that is a duplicate stops nobody.
	next, last := r.message("ann", "bob", "2"), r.message("bob", "ann", "3")
	got := r.append(next, yours, last)
	if got[0].Duplicate || got[2].Duplicate || got[0].Seq != 2 || got[2].Seq != 2 {
		r.broken(ruleAppend, "around a duplicate, new entries got the receipts %s and %s", describeReceipt(got[0]), describeReceipt(got[2]))
	}
	r.isReceipt(got[1], yours, 1)
	r.holds("ann", 0, mine, next)
	r.holds("bob", 0, yours, last)

	// So with Marks.
	read := r.receipt("ann", "messagesRead", "bob", 9, "")
	r.addOne(read)
	got = r.append(read, r.message("dan", "ann", "4"))
	r.isReceipt(got[0], read, 3)
	if got[1] != (heymanito.Receipt{}) || r.head("dan").Last != 0 {
		r.broken(ruleFirst, "behind a duplicate by its Mark, an entry got the receipt %s", describeReceipt(got[1]))
	}
}

// checkDroppedDuplicates: what was dropped is still known.
func checkDroppedDuplicates(r *rig) {
	r.start(heymanito.InboxBounds{Entries: 10})
	es := r.messages("ann", "bob", 0, 50)
	for i := range es {
		es[i].Note = "sent"
		es[i].Time = es[i].Time.Add(time.Duration(i-100) * time.Millisecond)
	}
	r.add(es...)
	r.addOne(r.message("ann", "bob", "50"))
	if h := r.head("ann"); h.Dropped != 41 {
		r.broken(ruleBounds, "of 51 entries the first %d were dropped, the bound is 10", h.Dropped)
	}
	for i, e := range es {
		r.again(e, e, uint64(i+1))
		r.finds(ruleFind, e.Key, 0, e, uint64(i+1))
	}
	if h := r.head("ann"); h.Last != 51 || h.Dropped != 41 {
		r.broken(ruleDuplicate, "duplicates have moved Last to %d, Dropped to %d", h.Last, h.Dropped)
	}
}

// checkDuplicateAge: 24 hours, or for as long as the first one is kept.
func checkDuplicateAge(r *rig) {
	r.start(heymanito.InboxBounds{Age: time.Hour})
	early, late := r.message("ann", "bob", "1"), r.message("bob", "bob", "1")
	r.addOne(early)
	time.Sleep(12 * time.Hour)
	late.Time = time.Now()
	r.addOne(late)
	time.Sleep(12*time.Hour - time.Minute)
	r.again(early, early, 1)
	r.finds(ruleFind, early.Key, far, early, 1)
	if n := len(r.all("ann").Entries); n != 0 {
		r.broken(ruleBounds, "%d entries of a day ago are kept, the bound is an hour", n)
	}
	time.Sleep(2 * time.Minute)
	r.lacks(ruleKey, early.Key, far)
	if seq := r.addOne(early); seq != 2 {
		r.broken(ruleSeqs, "it got the seq %d", seq)
	}
	r.again(late, late, 1)
	time.Sleep(12 * time.Hour)
	r.addOne(late)
	// Its time is what makes an entry old, and that of the newest one counts.
	r.addOne(early)

	r.start(heymanito.InboxBounds{Age: 72 * time.Hour})
	kept := r.message("ann", "bob", "1")
	r.addOne(kept)
	time.Sleep(71 * time.Hour)
	r.again(kept, kept, 1)
	r.finds(ruleFind, kept.Key, far, kept, 1)
	time.Sleep(2 * time.Hour)
	r.addOne(kept)

	// A clock that was set leaves one that is older than what was before it.
	r.start(heymanito.InboxBounds{Entries: 1})
	young, old := r.message("ann", "bob", "1"), r.message("ann", "bob", "2")
	old.Time = old.Time.Add(-25 * time.Hour)
	r.addOne(young)
	r.addOne(old)
	r.addOne(r.message("ann", "bob", "3"))
	r.lacks(ruleKey, old.Key, far)
	newest := old.Key
	newest.ID = ""
	r.finds(ruleNewest, newest, 2, young, 1)
	r.again(young, young, 1)
	r.addOne(old)
	time.Sleep(25 * time.Hour)
	r.lacks(ruleKey, young.Key, far)
	r.again(old, old, 4) // which is kept

	// However many there are, those that are too old are not kept.
	r.start(heymanito.InboxBounds{Age: 72 * time.Hour})
	es := r.messages("ann", "bob", 0, 2000)
	r.add(es...)
	time.Sleep(73 * time.Hour)
	if seq := r.append(es[1999])[0].Seq; seq != 2001 {
		r.broken(ruleKey, "one that is too old got the receipt of seq %d", seq)
	}
}

// checkDuplicateCount: the last 10,000, or for as long as the first one is kept.
func checkDuplicateCount(r *rig) {
	fill := func(from, to int) {
		for n := from; n < to; n += 500 {
			r.append(r.messages("ann", "bob", n, min(500, to-n))...)
		}
	}
	r.start(heymanito.InboxBounds{Entries: 10})
	first, second := r.message("ann", "cid", "1"), r.message("ann", "cid", "2")
	r.add(first, second)
	fill(2, heymanito.DuplicateCount)
	r.again(first, first, 1)
	fill(heymanito.DuplicateCount, heymanito.DuplicateCount+1)
	r.again(second, second, 2)
	r.lacks(ruleKey, first.Key, far)
	r.addOne(first)
	r.addOne(second)
	r.again(first, first, heymanito.DuplicateCount+2)

	r.start(heymanito.InboxBounds{Entries: 2 * heymanito.DuplicateCount})
	r.add(first, second)
	fill(2, heymanito.DuplicateCount+50)
	r.again(first, first, 1)
	r.finds(ruleFind, second.Key, far, second, 2)
}
