package callstest

import (
	"context"
	"fmt"
	"time"

	"github.com/heymanito/heymanito"
)

// grace is how long after its Due a call that has ended may still be there.
const grace = time.Minute

func checkEnded(r *rig) {
	start := r.now()
	until := func(d time.Duration) { time.Sleep(time.Until(start.Add(d))) }
	ending := func(c heymanito.Call, d time.Duration) heymanito.Call {
		c = r.ended(c)
		c.Due = start.Add(d)
		return r.swap(c)
	}
	early := ending(r.create(r.call("ann", "bob", "1")), 10*time.Minute)
	late := ending(r.create(r.call("bob", "ann", "2")), 30*time.Minute)
	silent := ending(r.create(r.withheld("ann", "bob", "3")), 10*time.Minute)
	live := r.create(r.call("bob", "ann", "4"))
	other := ending(r.create(r.call("bob", "cid", "5")), 20*time.Minute)
	gone := func(c heymanito.Call) {
		r.Helper()
		r.lacks(ruleEnded, c.ID)
		r.loses(c, heymanito.Call{})
	}
	until(10*time.Minute - time.Millisecond)
	r.has(ruleEnded, early, late, silent, live, other)
	r.lists(ruleEnded, "ann", early, late, silent, live)
	r.lists(ruleEnded, "bob", early, late, silent, live, other)
	r.exists(rulePair, r.call("ann", "bob", "6"), live)
	until(10*time.Minute + grace)
	r.lists(ruleEnded, "ann", late, live)
	r.lists(ruleEnded, "bob", late, live, other)
	gone(early)
	gone(silent)
	// What was forgotten has not freed what another one keeps.
	r.exists(rulePair, r.call("ann", "bob", "6"), live)
	// Its Due moves, also then.
	late.Due = start.Add(50 * time.Minute)
	late = r.swap(late)
	other.Due = start.Add(15 * time.Minute)
	other = r.swap(other)
	until(15*time.Minute + grace)
	gone(other)
	r.lists(ruleEnded, "cid")
	until(50*time.Minute - time.Millisecond)
	r.has(ruleEnded, late, live)
	until(50*time.Minute + grace)
	r.lists(ruleEnded, "ann", live)
	gone(late)
	// The IDs are free again, and the pair.
	bob := r.create(r.call("bob", "cid", "5"))
	ann := r.create(r.call("dan", "ann", "1"))
	r.lists(ruleEnded, "bob", live, bob)
	r.lists(ruleEnded, "ann", live, ann)
	// One that nobody has asked for is forgotten all the same.
	ending(live, 55*time.Minute)
	until(56 * time.Minute)
	r.lists(ruleEnded, "ann", ann)
	r.lists(ruleEnded, "bob", bob)
	// One that ends when its Due is over is forgotten, too.
	ending(bob, time.Minute)
	time.Sleep(grace)
	gone(bob)
	r.lists(ruleEnded, "bob")
	r.isDue(ann.Due, 10, time.Time{}, ann)
	// Whatever is asked first does not find it.
	for _, first := range []func(was heymanito.Call){
		func(was heymanito.Call) { r.loses(was, heymanito.Call{}) },
		func(was heymanito.Call) { r.lacks(ruleEnded, was.ID) },
		func(heymanito.Call) { r.lists(ruleEnded, "eve") },
		func(heymanito.Call) {
			got, err := r.store.Create(context.Background(), r.call("eve", "fay", "eve"))
			if err != nil {
				r.broken(ruleEnded, "Create says that %s is in the way, and the error: %v", describe(got), err)
			}
			r.order = got.Order
			r.forget("eve")
		},
	} {
		was := r.ended(r.create(r.call("eve", "fay", "eve")))
		was.Due = r.now().Add(time.Minute)
		was = r.swap(was)
		time.Sleep(time.Minute + grace)
		first(was)
	}
}

// checkLive: time is the server's affair as long as a call has not ended.
func checkLive(r *rig) {
	states := []heymanito.CallState{heymanito.CallDialling, heymanito.CallRinging, heymanito.CallConnecting, heymanito.CallActive}
	var calls []heymanito.Call
	for i, state := range states {
		c := r.call("ann", fmt.Sprint("user ", i), fmt.Sprint(i))
		c.State, c.Due = state, c.Due.Add(time.Duration(i)*time.Millisecond)
		calls = append(calls, r.create(c))
		c = r.withheld("ann", fmt.Sprint("user ", i), fmt.Sprint("withheld ", i))
		c.State, c.Due = state, c.Due.Add(time.Duration(i+10)*time.Millisecond)
		calls = append(calls, r.create(c))
	}
	// One that was created again, and one that was put off.
	old := r.ended(r.create(r.call("cid", "dan", "again")))
	old.Due = r.now().Add(time.Minute)
	r.swap(old)
	calls[3].Owed = heymanito.CallOwesEnd
	calls[3] = r.swap(calls[3])
	for _, d := range []time.Duration{time.Minute, time.Hour, 24 * time.Hour, 400 * 24 * time.Hour} {
		time.Sleep(d)
		r.has(ruleLive, calls...)
		r.lists(ruleLive, "ann", calls...)
		for i := range states {
			r.exists(ruleLive, r.call(fmt.Sprint("user ", i), "ann", "other"), calls[2*i])
		}
	}
	if due, next := r.due(r.now(), 20); len(due) != len(calls) || !next.IsZero() {
		r.broken(ruleLive, "a year later Due returned %s, want all %d", describeAll(due), len(calls))
	}
	again := r.create(r.call("cid", "dan", "again"))
	time.Sleep(time.Hour)
	r.has(ruleLive, again)
	r.lists(ruleLive, "cid", again)
}

func checkForget(r *rig) {
	r.forget("nobody")
	start := r.now()
	made := r.create(r.call("ann", "bob", "1"))
	got := r.create(r.call("cid", "ann", "2"))
	other := r.create(r.call("bob", "cid", "3"))
	silent := r.create(r.withheld("dan", "ann", "4"))
	quiet := r.create(r.withheld("ann", "dan", "5"))
	over := r.end(r.create(r.call("ann", "eve", "6")))
	missed := r.end(r.create(r.call("eve", "ann", "7")))
	last := r.end(r.create(r.call("eve", "bob", "8")))
	similar := r.create(r.call("ann ", "an", "9"))
	other.Due, similar.Due = start.Add(2*time.Hour), start.Add(3*time.Hour)
	other, similar = r.swap(other), r.swap(similar)

	r.forget("ann")
	for _, c := range []heymanito.Call{made, got, silent, quiet, over, missed} {
		r.lacks(ruleForget, c.ID)
		r.loses(c, heymanito.Call{})
	}
	r.lists(ruleForget, "ann")
	r.lists(ruleForget, "bob", other, last)
	r.lists(ruleForget, "cid", other)
	r.lists(ruleForget, "dan")
	r.lists(ruleForget, "eve", last)
	r.lists(ruleForget, "an", similar)
	r.has(ruleForget, other, last, similar)
	r.isDue(start, 10, other.Due)
	r.isDue(start.Add(24*time.Hour), 10, time.Time{}, other, similar)
	r.exists(rulePair, r.call("cid", "bob", "10"), other)
	// And they begin anew, with the same IDs if they like.
	again := r.create(r.call("bob", "ann", "1"))
	back := r.create(r.call("ann", "cid", "11"))
	r.lists(ruleForget, "ann", again, back)
	r.lists(ruleForget, "bob", other, last, again)

	r.forget("ann")
	r.forget("ann")
	r.forget("bob")
	r.forget("an")
	for _, user := range []string{"ann", "bob", "cid", "dan", "eve", "an", "ann "} {
		r.lists(ruleForget, user)
	}
	r.isDue(start.Add(24*time.Hour), 10, time.Time{})
}

// checkForgottenForGood: the end of one that was erased is not that of one with
// its ID.
func checkForgottenForGood(r *rig) {
	for range 3 {
		ended := r.ended(r.create(r.call("ann", "bob", "1")))
		ended.Due = r.now().Add(10 * time.Minute)
		r.swap(ended)
		r.forget("ann")
		live := r.create(r.call("bob", "ann", "1"))
		time.Sleep(time.Hour)
		r.has(ruleLive, live)
		r.lists(ruleLive, "ann", live)
		r.exists(rulePair, r.call("ann", "bob", "2"), live)
		r.forget("bob")
		r.lacks(ruleForget, live.ID)
	}
}
