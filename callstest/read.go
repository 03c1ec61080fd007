package callstest

import (
	"fmt"
	"time"

	"github.com/heymanito/heymanito"
)

func checkByUser(r *rig) {
	r.lists(ruleByUser, "nobody")
	var anns, others []heymanito.Call
	for i := range 24 { // more than nine: they are not put in order as text
		c := r.call("ann", fmt.Sprint("user ", i), fmt.Sprint("ann ", i))
		switch i % 3 {
		case 1:
			c.Caller, c.Callee = c.Callee, c.Caller
		case 2:
			c.Callee, c.Withheld = "ann", heymanito.CallRefused
			c.Caller = "user 0"
		}
		c.Due = c.Due.Add(-time.Duration(i*i%7) * time.Second)
		anns = append(anns, r.create(c))
		others = append(others, r.create(r.call(fmt.Sprint("ann ", i), "an", fmt.Sprint("other ", i))))
	}
	r.lists(ruleByUser, "ann", anns...)
	r.lists(ruleByUser, "an", others...)
	for i := range anns {
		switch i % 5 {
		case 1:
			anns[i] = r.end(anns[i])
		case 3:
			anns[i].Due = r.now().Add(time.Duration(-i) * time.Hour)
			anns[i] = r.swap(anns[i])
		}
	}
	r.lists(ruleByUser, "ann", anns...)
	r.lists(ruleByUser, "an", others...)
	r.lists(ruleByUser, "user 3", anns[3])
	r.lists(ruleByUser, "user 4", anns[4])
	zero := []heymanito.Call{anns[0]}
	for i := 2; i < len(anns); i += 3 {
		zero = append(zero, anns[i])
	}
	r.lists(ruleByUser, "user 0", zero...)
	r.lists(ruleByUser, "user 2")
	r.lists(ruleByUser, "")
	r.lists(ruleByUser, "ANN")
}

// checkAnswers: what is done with an answer, and with what was given, is none of
// the store's business.
func checkAnswers(r *rig) {
	var calls []heymanito.Call
	for i := range 3 {
		c := filled(i+1, fmt.Sprint(i), fmt.Sprint("user ", i))
		c.Due = r.now().Add(time.Duration(i) * time.Second)
		calls = append(calls, r.create(c))
	}
	again := func() {
		r.Helper()
		r.has(ruleSlices, calls...)
		r.lists(ruleSlices, "ann", calls...)
		r.isDue(calls[1].Due, 10, calls[2].Due, calls[:2]...)
		r.isDue(calls[2].Due, 10, time.Time{}, calls...)
	}
	again()
	clear(r.byUser("ann"))
	again()
	due, _ := r.due(calls[2].Due, 10)
	clear(due)
	again()
	_ = append(r.byUser("ann")[:1], heymanito.Call{ID: "mine"})
	again()
	due, _ = r.due(calls[2].Due, 10)
	_ = append(due[:1], heymanito.Call{ID: "mine"})
	again()
}

func checkDue(r *rig) {
	start := r.now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	r.isDue(start, 10, time.Time{})
	// In no order: by Due it is 4, 2, 0, 3, 1.
	calls := make([]heymanito.Call, 5)
	for i, due := range []int{50, 3_600_000, 20, 1000, 10} {
		c := r.call(fmt.Sprint("user ", i), "ann", fmt.Sprint(i))
		c.Due = at(due)
		if i == 3 {
			c.Withheld = heymanito.CallUnavailable
		}
		calls[i] = r.create(c)
	}
	r.isDue(at(9), 10, at(10))
	r.isDue(at(10), 10, at(20), calls[4])
	r.isDue(at(19), 10, at(20), calls[4])
	r.isDue(at(60), 10, at(1000), calls[4], calls[2], calls[0])
	// Whether it is due or not, next is what was not returned.
	r.isDue(at(60), 3, at(1000), calls[4], calls[2], calls[0])
	r.isDue(at(60), 2, at(50), calls[4], calls[2])
	r.isDue(at(60), 1, at(20), calls[4])
	r.isDue(at(4_000_000), 1, at(20), calls[4])
	all := []heymanito.Call{calls[4], calls[2], calls[0], calls[3], calls[1]}
	r.isDue(at(4_000_000), 10, time.Time{}, all...)
	r.isDue(at(4_000_000), 5, time.Time{}, all...)
	r.isDue(at(4_000_000), 4, at(3_600_000), all[:4]...)
	// In whatever state they are; but those that have ended never are.
	for i, state := range []heymanito.CallState{heymanito.CallDialling, heymanito.CallConnecting, heymanito.CallActive} {
		all[i].State = state
		all[i] = r.swap(all[i])
	}
	r.isDue(at(4_000_000), 10, time.Time{}, all...)
	for i, c := range all {
		c = r.end(c)
		next, left := time.Time{}, all[i+1:]
		if len(left) > 0 {
			next = left[0].Due
		}
		r.isDue(at(9), 10, next)
		r.isDue(c.Due, 10, time.Time{}, left...)
		r.isDue(c.Due.Add(time.Hour), 10, time.Time{}, left...)
	}
}

func checkDueMoves(r *rig) {
	start := r.now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	ann, bob, cid := r.call("ann", "zoe", "1"), r.call("bob", "zoe", "2"), r.call("cid", "zoe", "3")
	ann.Due, bob.Due, cid.Due = at(10), at(20), at(30)
	ann, bob, cid = r.create(ann), r.create(bob), r.create(cid)
	r.isDue(at(5), 10, at(10))
	ann.Due = at(25) // behind another one
	ann = r.swap(ann)
	r.isDue(at(15), 10, at(20))
	r.isDue(at(27), 10, at(30), bob, ann)
	cid.Due = at(-100) // before all
	cid = r.swap(cid)
	r.isDue(at(0), 10, at(20), cid)
	r.isDue(at(20), 1, at(20), cid)
	r.isDue(at(25), 10, time.Time{}, cid, bob, ann)
	ann.Due = at(86_400 * 400)
	ann = r.swap(ann)
	r.isDue(at(25), 10, ann.Due, cid, bob)
	ann.Due = at(20) // the same as another one's
	r.swap(ann)
	due, next := r.due(at(20), 2)
	if len(due) != 2 || due[0].ID != cid.ID || !due[1].Due.Equal(at(20)) {
		r.broken(ruleDue, "of three that are due, two at the same time, Due returned %s", describeAll(due))
	}
	if !next.Equal(at(20)) {
		r.broken(ruleNext, "of three that are due, two at the same time, Due returned two, and the next %s, not %s", stamp(next), stamp(at(20)))
	}
	// Who looks does not take.
	if due, _ = r.due(at(20), 10); len(due) != 3 {
		r.broken(ruleDue, "of three that are due Due returned %s", describeAll(due))
	}
	// What is forgotten is not due, nor next.
	r.forget("cid")
	if due, _ = r.due(at(20), 10); len(due) != 2 {
		r.broken(ruleForget, "Due returned %s", describeAll(due))
	}
	bob = r.end(bob)
	r.isDue(at(19), 10, at(20))
	r.forget("ann")
	r.isDue(at(100), 10, time.Time{})
	r.has(ruleForget, bob)
}

// checkDuePages does what the server does: it looks at some, moves them, and
// asks again.
func checkDuePages(r *rig) {
	const n, limit = 250, 40
	start := r.now()
	seen := map[string]bool{}
	for i := range n {
		c := r.call(fmt.Sprint("user ", i), "ann", fmt.Sprint(i))
		c.Due = start.Add(time.Duration(i*37%n/2) * time.Millisecond) // each time twice
		r.create(c)
	}
	later := start.Add(time.Hour)
	for last := start; len(seen) < n; {
		due, next := r.due(start.Add(time.Minute), limit)
		if want := min(limit, n-len(seen)); len(due) != want {
			r.broken(ruleDue, "of %d that are due Due returned %d, the limit is %d", n-len(seen), len(due), limit)
		}
		for _, c := range due {
			if seen[c.ID] || c.State == heymanito.CallEnded {
				r.broken(ruleDue, "Due returned %s, which was put off, or has ended", describe(c))
			}
			if c.Due.Before(last) {
				r.broken(ruleDue, "Due returned %s behind one of %s", describe(c), stamp(last))
			}
			last = c.Due
			r.versions[c.ID] = []uint64{c.Version}
			if seen[c.ID] = true; len(seen)%2 == 0 {
				r.end(c)
			} else {
				c.Due = later
				r.swap(c)
			}
		}
		if next.Before(last) || len(seen) == n && !next.Equal(later) {
			r.broken(ruleNext, "after %d of %d, the last one of %s, next is %s", len(seen), n, stamp(last), stamp(next))
		}
	}
	if due, next := r.due(start.Add(time.Minute), limit); len(due) > 0 || !next.Equal(later) {
		r.broken(ruleNext, "when all were looked at, Due returned %s and the next %s, want none and %s", describeAll(due), stamp(next), stamp(later))
	}
	if due, next := r.due(later, n); len(due) != n/2 || !next.IsZero() {
		r.broken(ruleNext, "of %d Due returned %d and the next %s, want all and zero", n/2, len(due), stamp(next))
	}
}
