package inboxtest

import (
	"fmt"
	"time"

	"github.com/heymanito/heymanito"
)

// counted checks Stats against what was kept and dropped.
func (r *rig) counted(users, kept, dropped int) {
	r.Helper()
	s, ok := r.stats()
	if !ok {
		return
	}
	if s.Users != users || s.Entries != kept {
		r.broken(ruleStats, "Stats says %d users and %d entries, there are %d and %d", s.Users, s.Entries, users, kept)
	}
	if s.Dropped != uint64(dropped) {
		r.broken(ruleBounds, "Stats says %d dropped, there were %d", s.Dropped, dropped)
	}
}

// within checks that the store says that it is within its total bound.
func (r *rig) within(total int) {
	r.Helper()
	if s, ok := r.stats(); ok && s.Bytes > total {
		r.broken(ruleTotal, "Stats says %d bytes, the bound is %d", s.Bytes, total)
	}
}

// ends checks that the last ones of what was appended to a user, from seq 1,
// are kept, and returns how many.
func (r *rig) ends(user string, appended []heymanito.Entry) int {
	r.Helper()
	dropped := r.head(user).Dropped
	if dropped > uint64(len(appended)) {
		r.broken(ruleDropped, "of %d entries %d were dropped", len(appended), dropped)
	}
	r.holds(user, dropped, appended[dropped:]...)
	return len(appended) - int(dropped)
}

func checkBoundEntries(r *rig) {
	r.start(heymanito.InboxBounds{Entries: 10})
	var es []heymanito.Entry
	for i := range 25 {
		es = append(es, r.message("ann", "bob", fmt.Sprint(i)))
		r.addOne(es[i])
		if n := r.ends("ann", es); n != min(i+1, 10) {
			r.broken(ruleBounds, "of %d entries %d are kept, the bound is 10", i+1, n)
		}
		if i == 4 { // somebody else's are none of ann's
			r.add(r.messages("bob", "ann", 0, 10)...)
		}
	}
	r.holds("bob", 0, r.messages("bob", "ann", 0, 10)...)
	r.ack("ann", 3) // of what was dropped
	r.given(ruleAck, "ann", 3)
	// A receipt is an entry, too, and a duplicate is none.
	mark := r.receipt("bob", read, "ann", 1, "")
	r.addOne(mark)
	r.again(mark, mark, 11)
	r.holds("bob", 1, append(r.messages("bob", "ann", 1, 9), mark)...)
	r.counted(2, 20, 16)
}

func checkBoundBytes(r *rig) {
	const bound, each = 100_000, 10_000
	for _, tt := range []struct {
		name string
		make func(i int) heymanito.Entry
	}{
		{"bodies", func(i int) heymanito.Entry { return r.big("ann", "bob", fmt.Sprint(i), each) }},
		{"attachments", func(i int) heymanito.Entry {
			e := r.message("ann", "bob", fmt.Sprint(i))
			e.Attachments = [][]byte{noise(each / 2), noise(each / 2)}
			return e
		}},
	} {
		r.start(heymanito.InboxBounds{Bytes: bound})
		var es []heymanito.Entry
		kept := 0
		for i := range 30 {
			es = append(es, tt.make(i))
			r.addOne(es[i])
			r.addOne(r.big("bob", "ann", fmt.Sprint(i), 100))
			kept = r.ends("ann", es)
			if kept*each > bound {
				r.broken(ruleBounds, "%d entries with %s of %d bytes are kept, the bound is %d", kept, tt.name, each, bound)
			}
			// The overhead of 10 KB is not as much again.
			if kept < min(i+1, bound/each/2) {
				r.broken(ruleBounds, "of %d entries with %s of %d bytes %d are kept, the bound is %d", i+1, tt.name, each, kept, bound)
			}
		}
		if n := len(r.all("bob").Entries); n != 30 {
			r.broken(ruleBounds, "of 30 small entries of another user %d are kept", n)
		}
		r.counted(2, kept+30, 30-kept)
	}

	// Overhead counts: a great many of nothing do not fit.
	r.start(heymanito.InboxBounds{Bytes: 20_000})
	for i := range 10 {
		r.append(r.messages("ann", "bob", i*100, 100)...)
	}
	r.addOne(r.message("ann", "bob", "1000"))
	if n := len(r.all("ann").Entries); n > 500 {
		r.broken(ruleBounds, "%d small entries are kept, the bound is 20,000 bytes with the overhead", n)
	}
}

func checkBoundAge(r *rig) {
	r.start(heymanito.InboxBounds{Age: 10 * time.Hour})
	var es []heymanito.Entry
	for i := range 30 {
		es = append(es, r.message("ann", "bob", fmt.Sprint(i)))
		r.addOne(es[i])
		time.Sleep(30 * time.Minute)
		if n := r.ends("ann", es); n != min(i+1, 10) {
			r.broken(ruleBounds, "of entries that came hourly %d are kept, the bound is 10 hours", n)
		}
		time.Sleep(30 * time.Minute)
	}
	r.ack("ann", 25)
	time.Sleep(20 * 365 * 24 * time.Hour)
	if n := r.ends("ann", es); n != 0 {
		r.broken(ruleBounds, "%d entries that are years old are kept, the bound is 10 hours", n)
	}
	r.given(ruleAck, "ann", 25)
	e := r.message("ann", "bob", "30")
	if seq := r.addOne(e); seq != 31 {
		r.broken(ruleSeqs, "after years it got the seq %d, the last was 30", seq)
	}
	r.holds("ann", 30, e)
	r.counted(1, 1, 30)
}

func checkBoundTotal(r *rig) {
	const bound, each, users = 1_000_000, 10_000, 7
	r.start(heymanito.InboxBounds{Total: bound})
	of := map[string][]heymanito.Entry{}
	var order []string
	for i := range 300 {
		user := fmt.Sprint("user ", i*i%users)
		e := r.big(user, "bob", fmt.Sprint(i), each)
		r.addOne(e)
		of[user] = append(of[user], e)
		order = append(order, user)
		r.within(bound)
	}
	kept := map[string]int{}
	total := 0
	for user, es := range of {
		kept[user] = r.ends(user, es)
		total += kept[user]
	}
	if total*each > bound || total*each < bound/2 {
		r.broken(ruleTotal, "%d entries of %d bytes are kept, the bound is %d", total, each, bound)
	}
	r.counted(len(kept), total, 300-total)
	for _, user := range order[300-total:] {
		kept[user]--
	}
	for user, n := range kept {
		if n != 0 {
			r.broken(ruleTotal, "of the newest %d entries of all, and no others, %d of %q are not kept", total, -n, user)
		}
	}
	for _, user := range order {
		delete(of, user)
	}
	r.standsAt("nobody", r.head("nobody").Last)
}

// checkInventedNames sends one message to each of a great many users.
func checkInventedNames(r *rig) {
	const bound, users, group = 400_000, 4_000, 100
	r.start(heymanito.InboxBounds{Total: bound})
	name := func(i int) string { return fmt.Sprintf("invented user %06d", i) }
	handed := make([]uint64, users)
	for i := 0; i < users; i += group {
		var es []heymanito.Entry
		for j := range group {
			es = append(es, r.message(name(i+j), "ann", "1"))
		}
		for j, seq := range r.add(es...) {
			handed[i+j] = seq
		}
		for j := range group {
			if len(r.since(name(i+j), 0, 10).Entries) != 1 {
				r.broken(ruleBounds, "the message to %q is not kept when Append has returned", name(i+j))
			}
		}
		r.within(bound)
	}
	first := users
	for i := range users {
		switch n := len(r.since(name(i), 0, 10).Entries); {
		case n == 1:
			first = min(first, i)
		case first < users:
			r.broken(ruleTotal, "the message to %q is not kept, an older one is", name(i))
		}
	}
	if first == 0 || users-first < group {
		r.broken(ruleTotal, "of %d small messages %d are kept, the bound is %d", users, users-first, bound)
	}
	r.counted(users-first, users-first, first)

	for i := 0; i < users; i += users / 100 {
		h := r.head(name(i))
		if seq := r.addOne(r.message(name(i), "ann", "2")); seq <= handed[i] {
			r.broken(ruleTwice, "%q gets the seq %d again", name(i), seq)
		}
		if i < first && h.Dropped != h.Last {
			r.broken(ruleDropped, "%q has nothing, Dropped is %d, Last %d", name(i), h.Dropped, h.Last)
		}
	}
}

// checkTotalOverhead: what is known of what was dropped is within the bound.
func checkTotalOverhead(r *rig) {
	const bound = 300_000
	// Ids of what was dropped.
	r.start(heymanito.InboxBounds{Total: bound, Entries: 1})
	for i := range 60 {
		r.append(r.messages(fmt.Sprint("user ", i%50), "ann", i*100, 100)...)
		r.within(bound)
	}
	last := r.message("user 9", "ann", "5999")
	r.again(last, last, r.head("user 9").Last)
	// Marks.
	r.start(heymanito.InboxBounds{Total: bound, Entries: 1})
	for i := range 60 {
		var es []heymanito.Entry
		for j := range 50 {
			es = append(es, r.receipt("ann", read, fmt.Sprint("peer ", i*50+j), 1, delivered))
		}
		r.append(es...)
		r.within(bound)
	}
}

// checkKeepsOwn: an Append never drops what it appends itself.
func checkKeepsOwn(r *rig) {
	r.start(heymanito.InboxBounds{Age: time.Hour})
	old := r.message("ann", "bob", "1")
	old.Time = old.Time.Add(-25 * time.Hour)
	if got := r.append(old, old)[1]; !got.Duplicate || got.Seq != 1 {
		r.broken(ruleBounds, "an entry that was old when it was appended, and is appended twice, got the receipt %s", describeReceipt(got))
	}
	for _, tt := range []struct {
		name   string
		bounds heymanito.InboxBounds
		others bool // it is that of others, too
	}{
		{"Entries", heymanito.InboxBounds{Entries: 1}, false},
		{"Bytes", heymanito.InboxBounds{Bytes: 1_000}, false},
		{"Total", heymanito.InboxBounds{Total: 1_000}, true},
	} {
		r.start(tt.bounds)
		own := func(user string, from int) (es []heymanito.Entry) {
			for i := range 3 {
				es = append(es, r.big(user, "bob", fmt.Sprint(from+i), 2_000))
			}
			return es
		}
		anns, cids := own("ann", 0), own("cid", 0)
		mark := r.receipt("ann", read, "bob", 4, "")
		r.add(anns[0], cids[0], anns[1], anns[2], cids[1], mark, cids[2])
		for _, user := range []string{"ann", "cid"} {
			if h := r.head(user); h.Dropped > 0 {
				r.broken(ruleBounds, "with the bound %s, an Append has dropped %d of its own entries", tt.name, h.Dropped)
			}
		}
		r.holds("ann", 0, append(anns, mark)...)
		r.holds("cid", 0, cids...)
		r.again(anns[0], anns[0], 1)
		r.holds("cid", 0, cids...) // a duplicate appends nothing that needs room

		next := own("ann", 3)
		last := r.add(next...)[2]
		r.holds("ann", last-3, next...)
		if n := len(r.all("cid").Entries); tt.others && n > 0 {
			r.broken(ruleTotal, "of older entries of another %d are left", n)
		}
	}
}
