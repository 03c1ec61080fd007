package callstest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/heymanito/heymanito"
)

func checkCreate(r *rig) {
	ann := r.create(r.call("ann", "bob", "1"))
	r.has(ruleSeen, ann)
	// Whatever stands in Order and Version.
	other := r.call("cid", "dan", "2")
	other.Order, other.Version = 1, 99
	other = r.create(other)
	r.has(ruleSeen, ann, other)
	// Order grows, whatever becomes of those that were created before.
	for i := range 30 {
		c := r.create(r.call("eve", "fay", fmt.Sprint("eve ", i)))
		switch i % 3 {
		case 0:
			r.end(c)
		case 1:
			r.swap(r.withhold(c))
		default:
			r.forget("fay")
		}
	}
	r.has(ruleSeen, ann, other)
}

// withhold is c when the callee is not told of it any more.
func (r *rig) withhold(c heymanito.Call) heymanito.Call {
	c.Withheld = heymanito.CallUnavailable
	return c
}

func checkPair(r *rig) {
	ann := r.create(r.call("ann", "bob", "1"))
	r.exists(rulePair, r.call("ann", "bob", "2"), ann)
	r.exists(rulePair, r.call("bob", "ann", "3"), ann)
	// The other direction is another way to go wrong.
	zoe := r.create(r.call("zoe", "cid", "4"))
	r.exists(rulePair, r.call("cid", "zoe", "5"), zoe)
	r.exists(rulePair, r.call("zoe", "cid", "6"), zoe)
	// Each of them may have others.
	bob := r.create(r.call("bob", "cid", "7"))
	dan := r.create(r.call("dan", "ann", "8"))
	r.create(r.call("ann", "zoe", "9"))
	// In whatever state it is.
	for _, state := range []heymanito.CallState{heymanito.CallDialling, heymanito.CallRinging, heymanito.CallConnecting, heymanito.CallActive} {
		c := r.call("fay", "gus", "fay "+string(state))
		c.State = state
		c = r.create(c)
		r.exists(rulePair, r.call("fay", "gus", "fay again"), c)
		r.exists(rulePair, r.call("gus", "fay", "gus"), c)
		ann.State, bob.State, dan.State = state, state, state
		ann, bob, dan = r.swap(ann), r.swap(bob), r.swap(dan)
		r.exists(rulePair, r.call("bob", "ann", "3"), ann)
		r.exists(rulePair, r.call("cid", "bob", "10"), bob)
		r.exists(rulePair, r.call("ann", "dan", "11"), dan)
		r.end(c)
	}
	r.has(ruleExists, ann, zoe, bob, dan)
}

// checkPairIsFree: what ended, and what came to be withheld, is in nobody's way.
func checkPairIsFree(r *rig) {
	for name, change := range map[string]func(heymanito.Call) heymanito.Call{"ended": r.ended, "withheld": r.withhold} {
		ann, bob := "ann "+name, "bob "+name
		first := r.swap(change(r.create(r.call(ann, bob, name+" 1"))))
		second := r.create(r.call(ann, bob, name+" 2"))
		r.exists(rulePair, r.call(bob, ann, name+" 3"), second)
		r.has(ruleKeep, first)
		// What becomes of the first does not free the second's.
		first.Owed = heymanito.CallOwesEnd
		first = r.swap(first)
		r.exists(rulePair, r.call(ann, bob, name+" 4"), second)
		first = r.end(first)
		r.exists(rulePair, r.call(ann, bob, name+" 5"), second)
		second = r.swap(change(second))
		third := r.create(r.call(bob, ann, name+" 6"))
		second.Owed = heymanito.CallOwesEnd
		second = r.swap(second)
		r.exists(rulePair, r.call(ann, bob, name+" 7"), third)
		r.exists(rulePair, r.call(bob, ann, name+" 8"), third)
		r.has(ruleKeep, first, second, third)
	}
}

func checkWithheld(r *rig) {
	// It excludes nobody, and nobody excludes it.
	before := r.create(r.withheld("ann", "bob", "1"))
	ann := r.create(r.call("ann", "bob", "2"))
	after := r.create(r.withheld("ann", "bob", "3"))
	back := r.create(r.withheld("bob", "ann", "4"))
	r.exists(rulePair, r.call("ann", "bob", "5"), ann)
	r.exists(rulePair, r.call("bob", "ann", "6"), ann)
	// When it ends, what excludes goes on to.
	before, after = r.end(before), r.end(after)
	r.exists(rulePair, r.call("bob", "ann", "7"), ann)
	ann = r.end(ann)
	bob := r.create(r.call("bob", "ann", "8"))
	back = r.end(back)
	r.exists(rulePair, r.call("ann", "bob", "9"), bob)
	r.has(ruleKeep, before, ann, after, back, bob)
}

func checkSameID(r *rig) {
	ann := r.create(r.call("ann", "bob", "1"))
	r.exists(ruleExists, r.call("ann", "bob", "1"), ann)
	r.exists(ruleExists, r.call("bob", "ann", "1"), ann)
	r.exists(ruleExists, r.call("cid", "dan", "1"), ann)
	r.exists(ruleExists, r.withheld("ann", "bob", "1"), ann)
	r.lists(ruleExists, "cid")
	r.lists(ruleExists, "dan")
	cid := r.create(r.call("cid", "dan", "2")) // which the one that was not created does not exclude
	ann = r.end(ann)
	r.exists(ruleExists, r.call("ann", "bob", "1"), ann)
	r.exists(ruleExists, r.call("eve", "fay", "1"), ann)
	eve := r.create(r.withheld("eve", "fay", "3"))
	r.exists(ruleExists, r.call("eve", "fay", "3"), eve)
	r.lists(ruleExists, "cid", cid)
	r.lists(ruleExists, "ann", ann)
}

// checkNames is for stores that build keys from names: no two of these pairs
// are the same two.
func checkNames(r *rig) {
	long := strings.Repeat("é", 128)
	pairs := [][2]string{
		{"ab", "c"},
		{"a", "bc"},
		{"a", "b"},
		{"A", "b"},
		{"a", "B"},
		{" a", "b"},
		{"a ", "b"},
		{"a/b", "c"},
		{"a", "b/c"},
		{"a:b", "c"},
		{"a", "b:c"},
		{"a|b", "c"},
		{"a", "b|c"},
		{"a,b", "c"},
		{"a", "b,c"},
		{"a\u00f1", "b"},
		{"an\u0303", "b"},
		{"*", "b"},
		{"%", "%61"},
		{"{a}", "b"},
		{"'; --", "'"},
		{`"`, `\`},
		{"10", "9"},
		{"1", "09"},
		{long, "b"},
		{long, long[:252]},
		{long[:254], "b"},
	}
	calls := make([]heymanito.Call, len(pairs))
	of := map[string][]heymanito.Call{}
	for i, p := range pairs {
		calls[i] = r.create(r.call(p[i%2], p[1-i%2], fmt.Sprint(i)))
		for _, user := range p {
			of[user] = append(of[user], calls[i])
		}
	}
	for i, p := range pairs {
		r.exists(rulePair, r.call(p[0], p[1], "again"), calls[i])
		r.exists(rulePair, r.call(p[1], p[0], "again"), calls[i])
	}
	for user, calls := range of {
		r.lists(ruleByUser, user, calls...)
	}
	r.forget("*")
	r.forget("%")
	for _, i := range []int{17, 18} { // which were theirs
		r.lacks(ruleForget, calls[i].ID)
		calls[i] = heymanito.Call{}
	}
	for _, c := range calls {
		if c.ID != "" {
			r.has(ruleForget, c)
		}
	}
}

// checkKeepsAll lets every field of a call go in and come out, in every way
// that there is.
func checkKeepsAll(r *rig) {
	everywhere := func(c heymanito.Call) {
		r.Helper()
		r.has(ruleKeep, c)
		r.lists(ruleByUser, c.Caller, c)
		r.lists(ruleByUser, c.Callee, c)
		if c.State == heymanito.CallEnded {
			return
		}
		r.isDue(c.Due, 10, time.Time{}, c)
		if c.Withheld == "" {
			r.exists(rulePair, r.call(c.Callee, c.Caller, "other"), c)
		}
	}
	c := r.create(filled(1, "1", "bob"))
	everywhere(c)
	for n := range 3 {
		c = r.swap(replace(c, filled(n+2, "1", "bob")))
		everywhere(c)
		// Nothing is left of what is not there any more.
		c = r.swap(replace(c, heymanito.Call{State: heymanito.CallActive, Due: r.now()}))
		everywhere(c)
	}
	// What is hard to keep as it is.
	binary := make([]byte, 256)
	for i := range binary {
		binary[i] = byte(i)
	}
	for _, info := range []string{"null", " null", "0", `""`, "[]", "[ 1,\t2 ]", `"\ud800\u0000"`, "12345678901234567890.0", `{"a":1,"a":2}`, `"` + strings.Repeat("x", 70_000) + `"`} {
		c.CallerInfo = []byte(info)
		c.Attachments = [][]byte{binary, {}, []byte(info)}
		c = r.swap(c)
		everywhere(c)
	}
	c = r.swap(r.withhold(c))
	everywhere(c)
	c = r.swap(replace(c, r.ended(r.withhold(filled(6, "1", "bob")))))
	everywhere(c)
	c.Owed, c.Sessions = "", c.Sessions[:1]
	c = r.swap(c)
	everywhere(c)
}

// replace is c as what replaces was.
func replace(was, c heymanito.Call) heymanito.Call {
	c.ID, c.Caller, c.Callee, c.Order, c.Version = was.ID, was.Caller, was.Callee, was.Order, was.Version
	return c
}

// checkEndedContext: what has ended before is too late for anything.
func checkEndedContext(r *rig) {
	there := r.create(r.call("ann", "bob", "1"))
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	expired, cancel := context.WithTimeout(context.Background(), -1)
	defer cancel()
	for _, ctx := range []context.Context{cancelled, expired} {
		for _, m := range []struct {
			name string
			call func() error
		}{
			{"Create", func() error { _, err := r.store.Create(ctx, r.call("cid", "dan", "2")); return err }},
			{"Create where there is one", func() error { _, err := r.store.Create(ctx, r.call("ann", "bob", "3")); return err }},
			{"Get", func() error { _, _, err := r.store.Get(ctx, there.ID); return err }},
			{"Get of none", func() error { _, _, err := r.store.Get(ctx, id("none")); return err }},
			{"CompareAndSwap", func() error { _, _, err := r.store.CompareAndSwap(ctx, r.call("cid", "dan", "none")); return err }},
			{"ByUser", func() error { _, err := r.store.ByUser(ctx, "ann"); return err }},
			{"ByUser of nobody", func() error { _, err := r.store.ByUser(ctx, "nobody"); return err }},
			{"Due", func() error { _, _, err := r.store.Due(ctx, there.Due, 10); return err }},
			{"Forget", func() error { return r.store.Forget(ctx, "nobody") }},
		} {
			if err := m.call(); !errors.Is(err, ctx.Err()) {
				r.broken(ruleCtx, "with a ctx that had ended with %v, %s returned the error: %v", ctx.Err(), m.name, err)
			}
		}
	}
	// Nothing of that has done harm.
	r.has(ruleCtx, there)
	r.exists(rulePair, r.call("bob", "ann", "4"), there)
}
