package inboxtest

import (
	"fmt"

	"github.com/heymanito/heymanito"
)

func checkSince(r *rig) {
	r.start(heymanito.InboxBounds{})
	if h := r.head("ann"); h.Last != 0 || h.Given != 0 || h.Dropped != 0 {
		r.broken(ruleNobody, "the head of a user in a new store is %+v", h)
	}
	if n := len(r.all("ann").Entries); n != 0 {
		r.broken(ruleNobody, "it has %d entries", n)
	}
	es := r.messages("ann", "bob", 0, 250)
	for i := 0; i < len(es); i += 50 {
		r.add(append(es[i:i+50:i+50], r.message("bob", "ann", fmt.Sprint(i)))...)
	}
	for _, limit := range []int{0, 1, 2, 100, 249, 250, 251, 1 << 40} {
		for _, after := range []uint64{0, 1, 2, 99, 100, 248, 249, 250, 251, 1 << 40, far} {
			page := r.since("ann", after, limit)
			// These entries are not big.
			if want := min(limit, 250-int(min(after, 250))); len(page.Entries) != want {
				r.broken(ruleSince, "Since(%d, %d) of 250 small entries returned %d", after, limit, len(page.Entries))
			}
			for _, e := range page.Entries {
				if what := difference(e, es[e.Seq-1]); what != "" {
					r.broken(ruleSince, "entry %d is not the one that was appended there: %s", e.Seq, what)
				}
			}
			if page.Last != 250 || page.Dropped != 0 || page.Given != 0 {
				r.broken(ruleSince, "Since(%d, %d) says %+v of 250 entries", after, limit, page.Head)
			}
		}
	}
	r.holds("nobody", 0)
}

// checkSinceBig: pages may be small, but they end.
func checkSinceBig(r *rig) {
	r.start(heymanito.InboxBounds{})
	var es []heymanito.Entry
	for i := range 10 {
		e := r.big("ann", "bob", fmt.Sprint(i), 500_000)
		e.Attachments = [][]byte{noise(500_000 + i)}
		es = append(es, e)
		r.addOne(e)
	}
	r.holds("ann", 0, es...)
	for after := range uint64(10) {
		r.since("ann", after, 1) // which checks that there is one
	}
}

func checkFind(r *rig) {
	r.start(heymanito.InboxBounds{})
	key := func(user, event, peer, id string) heymanito.Key {
		return heymanito.Key{User: user, Event: event, Peer: peer, ID: id}
	}
	const event = "receiveMessage"
	r.lacks(ruleFind, key("ann", event, "bob", "1"), far)
	r.lacks(ruleNewest, key("ann", event, "bob", ""), far)
	// Of every ten entries the third is bob's, the fourth is a receipt of his,
	// and the seventh is one that ann sent him.
	var es []heymanito.Entry
	for i := range 100 {
		e := r.message("ann", "cid", fmt.Sprint(i))
		switch i % 10 {
		case 3:
			e = r.message("ann", "bob", fmt.Sprint(i))
			e.Note = fmt.Sprint("note ", i)
		case 4:
			e = r.receipt("ann", read, "bob", uint64(i), delivered)
		case 7:
			e = r.message("ann", "bob", fmt.Sprint(i))
			e.Event = "messageSent"
		}
		es = append(es, e)
	}
	r.add(es...)
	r.addOne(r.message("bob", "ann", "3"))
	for i, e := range es {
		if e.Mark != 0 {
			continue
		}
		for _, through := range []uint64{0, far} { // counts only without an id
			r.finds(ruleFind, e.Key, through, e, uint64(i+1))
		}
	}
	for _, k := range []heymanito.Key{
		key("ann", event, "bob", "1"),
		key("ann", event, "bob", `"3"`),
		key("ann", "messageSent", "bob", "3"),
		key("bob", event, "cid", "0"),
		key("dan", event, "bob", "3"),
		key("ann", event, "dan", ""),
		key("ann", "nothing", "bob", ""),
		key("bob", event, "bob", ""),
		key("dan", event, "bob", ""),
	} {
		r.lacks(ruleFind, k, far)
	}
	for through := range uint64(102) {
		for _, of := range []struct {
			event string
			digit uint64
		}{{event, 3}, {read, 4}, {"messageSent", 7}} {
			k, to := key("ann", of.event, "bob", ""), min(through, 100)
			if to <= of.digit {
				r.lacks(ruleNewest, k, through)
				continue
			}
			at := (to-1-of.digit)/10*10 + of.digit
			r.finds(ruleNewest, k, through, es[at], at+1)
		}
	}
	r.finds(ruleNewest, key("ann", event, "bob", ""), far, es[93], 94)
}

func checkAckThrough(r *rig) {
	r.start(heymanito.InboxBounds{})
	r.ack("ann", 5) // of whom nothing is known
	r.beginsAt("ann", 0)
	r.add(r.messages("ann", "bob", 0, 10)...)
	r.add(r.messages("bob", "ann", 0, 10)...)
	for _, step := range []struct{ seq, want uint64 }{{3, 3}, {2, 3}, {0, 3}, {3, 3}, {7, 7}, {11, 10}, {4, 10}} {
		r.ack("ann", step.seq)
		r.given(ruleAck, "ann", step.want)
	}
	r.given(ruleAck, "bob", 0)
	r.ack("bob", far)
	r.given(ruleAck, "bob", 10)
	r.add(r.messages("bob", "ann", 10, 10)...)
	r.given(ruleAck, "bob", 10) // what counted as 10 stays 10
	r.add(r.messages("ann", "bob", 10, 10)...)
	r.given(ruleAck, "ann", 10)
	r.ack("ann", 15)
	r.given(ruleAck, "ann", 15)
	if h := r.head("ann"); h.Last != 20 || h.Dropped != 0 {
		r.broken(ruleAck, "AckThrough has made the head %+v", h)
	}
}

func checkGiven(r *rig) {
	r.start(heymanito.InboxBounds{})
	id := 0
	next := func(origin string) heymanito.Entry {
		id++
		e := r.message("ann", "bob", fmt.Sprint(id))
		e.Origin = origin
		return e
	}
	own := next("s1")
	r.addOne(own) // 1
	r.given(ruleGiven, "ann", 1)
	r.addOne(next("s2")) // 2
	r.given(ruleGiven, "ann", 2)
	r.addOne(next("")) // 3
	r.given(ruleGiven, "ann", 2)
	r.addOne(next("s1")) // 4: not right behind
	r.given(ruleGiven, "ann", 2)
	r.ack("ann", 3)
	r.given(ruleAck, "ann", 3) // what comes behind was appended before
	r.addOne(next("s1"))       // 5
	r.given(ruleGiven, "ann", 3)
	r.ack("ann", 5)
	r.add(next("s1"), next("s1"), next(""), next("s1")) // 6 to 9
	r.given(ruleGiven, "ann", 7)
	// A duplicate raises nothing.
	r.ack("ann", 9)
	r.again(own, own, 1)
	r.addOne(next("")) // 10
	own.Origin = "s3"
	r.again(own, own, 1)
	r.given(ruleGiven, "ann", 9)
	mark := r.receipt("ann", read, "bob", 1, "")
	mark.Origin = "s1"
	r.ack("ann", 10)
	r.addOne(mark) // 11
	r.given(ruleGiven, "ann", 11)
	// A user who begins by acting.
	sent := r.message("dan", "ann", "1")
	sent.Origin = "s4"
	r.add(sent, r.message("eve", "dan", "1"))
	r.given(ruleGiven, "dan", 1)
	r.given(ruleGiven, "eve", 0)
}
