package callstest

import (
	"fmt"
	"slices"
	"time"

	"github.com/heymanito/heymanito"
)

func checkGet(r *rig) {
	r.lacks(ruleGet, id("1"))
	r.lacks(ruleGet, "")
	var calls []heymanito.Call
	for i := range 10 {
		calls = append(calls, r.create(r.call("ann", fmt.Sprint("user ", i), fmt.Sprint(i))))
	}
	calls[3], calls[4] = r.end(calls[3]), r.swap(r.withhold(calls[4]))
	r.has(ruleGet, calls...)
	for _, name := range []string{"11", "", "ann"} {
		r.lacks(ruleGet, id(name))
	}
	// Neither less nor more than the ID.
	r.lacks(ruleGet, calls[0].ID[:21])
	r.lacks(ruleGet, calls[0].ID+"A")
	r.lacks(ruleGet, calls[0].Room)
	r.lacks(ruleGet, "*")
}

func checkSwap(r *rig) {
	ann := r.create(r.call("ann", "bob", "1"))
	cid := r.create(r.call("cid", "ann", "2"))
	last := r.create(r.call("ann", "dan", "3"))
	for i := range 20 { // its place is the same, and nobody else's changes
		switch i % 3 {
		case 0: // back and forth
			ann.Media = []string{"audio", "video"}[i%2]
		case 1:
			ann.Sessions = append(slices.Clip(ann.Sessions), heymanito.CallSession{ID: fmt.Sprint(i), User: "ann"})
		} // or nothing changes, but the Version
		ann = r.swap(ann)
		r.has(ruleSeen, ann, cid, last)
		r.lists(ruleByUser, "ann", ann, cid, last)
	}
	for _, state := range []heymanito.CallState{heymanito.CallConnecting, heymanito.CallActive} {
		cid.State, cid.Accepted, cid.Due = state, r.now(), r.now().Add(time.Minute)
		cid = r.swap(cid)
		r.has(ruleSeen, ann, cid, last)
	}
	cid, ann = r.end(cid), r.end(ann)
	for range 3 {
		cid.Rung = !cid.Rung
		cid = r.swap(cid)
		r.has(ruleSeen, ann, cid, last)
	}
	r.lists(ruleByUser, "ann", ann, cid, last)
}

func checkLostRace(r *rig) {
	none := r.call("ann", "bob", "none")
	for _, version := range []uint64{0, 1, 77} {
		none.Version = version
		r.loses(none, heymanito.Call{})
	}
	r.lists(ruleLost, "ann")

	first := r.create(r.call("ann", "bob", "1"))
	other := r.create(r.call("cid", "dan", "2"))
	stale := first
	stale.Media, stale.Due = "stale", r.now().Add(-time.Hour)
	for i := range 5 {
		is := first
		is.Media = fmt.Sprint("change ", i)
		first = r.swap(is)
		r.loses(stale, first)
		r.loses(is, first) // itself, again
	}
	// Not one that is higher, nor none, either.
	for _, version := range []uint64{first.Version + 1, first.Version - 1, 0, 1 << 63} {
		if version != first.Version {
			stale.Version = version
			r.loses(stale, first)
		}
	}
	// Who loses does not end it.
	r.loses(r.ended(stale), first)
	r.loses(r.withhold(stale), first)
	r.exists(rulePair, r.call("bob", "ann", "3"), first)
	r.isDue(r.now(), 10, first.Due)
	r.has(ruleLost, other)

	ended := r.end(first)
	r.loses(first, ended)
	r.loses(stale, ended)
	r.create(r.call("bob", "ann", "4"))
	r.forget("bob")
	r.loses(ended, heymanito.Call{})
	r.lists(ruleLost, "ann")
}
