package callstest

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/heymanito/heymanito"
)

// model is what the contract says a store does, for one call of its methods at
// a time.
type model map[string]heymanito.Call // by ID

func exclusive(c heymanito.Call) bool {
	return c.State != heymanito.CallEnded && c.Withheld == ""
}

func between(c, o heymanito.Call) bool {
	return c.Caller == o.Caller && c.Callee == o.Callee || c.Caller == o.Callee && c.Callee == o.Caller
}

// inTheWay returns the call that keeps c from being created.
func (m model) inTheWay(c heymanito.Call) (heymanito.Call, bool) {
	if o, ok := m[c.ID]; ok {
		return o, true
	}
	for _, o := range m {
		if exclusive(c) && exclusive(o) && between(c, o) {
			return o, true
		}
	}
	return heymanito.Call{}, false
}

func (m model) sorted(compare func(a, b heymanito.Call) int, keep func(heymanito.Call) bool) (calls []heymanito.Call) {
	for _, c := range m {
		if keep(c) {
			calls = append(calls, c)
		}
	}
	slices.SortFunc(calls, compare)
	return calls
}

func byOrder(a, b heymanito.Call) int { return cmp.Compare(a.Order, b.Order) }
func byDue(a, b heymanito.Call) int   { return a.Due.Compare(b.Due) }

func (m model) tidy(now time.Time) {
	for id, c := range m {
		if c.State == heymanito.CallEnded && !now.Before(c.Due.Add(grace)) {
			delete(m, id)
		}
	}
}

func (m model) forget(user string) {
	for id, c := range m {
		if c.Caller == user || c.Callee == user {
			delete(m, id)
		}
	}
}

// step is one thing that happens to a call that has not ended, or has.
func step(random *rand.Rand, c heymanito.Call, at func() time.Time, n int) heymanito.Call {
	states := []heymanito.CallState{heymanito.CallRinging, heymanito.CallConnecting, heymanito.CallActive}
	switch random.IntN(8) {
	case 0, 1, 2:
		if c.State != heymanito.CallEnded {
			c.State, c.Reason = heymanito.CallEnded, heymanito.CallHangup
			c.Due = at().Add(30 * time.Minute) // nobody looks when it is just about to be forgotten
		}
	case 3:
		c.Withheld = heymanito.CallUnavailable
	case 4:
		c.Media = fmt.Sprint("media ", n)
	default:
		if c.State != heymanito.CallEnded {
			c.State, c.Due = states[random.IntN(len(states))], at().Add(time.Duration(n)*time.Millisecond)
		}
	}
	return c
}

// checkModel does everything in any order, and compares each answer with the
// model's.
func checkModel(r *rig) {
	const users, hours = 5, 6
	m := model{}
	start := r.now()
	random := rand.New(rand.NewPCG(7, 7))
	user := func() string { return fmt.Sprint("user ", random.IntN(users)) }
	at := func() time.Time { return r.now().Add(time.Duration(random.IntN(hours)) * time.Hour) }
	one := func() (c heymanito.Call, ok bool) {
		if len(m) == 0 {
			return c, false
		}
		all := m.sorted(byOrder, func(heymanito.Call) bool { return true })
		return all[random.IntN(len(all))], true
	}
	var stale []heymanito.Call
	for n := range 3000 {
		m.tidy(r.now())
		switch p := random.IntN(100); {
		case p < 35:
			caller, callee := user(), user()
			if caller == callee {
				continue
			}
			c := r.call(caller, callee, fmt.Sprint(random.IntN(n+1)))
			c.Due = at().Add(time.Duration(n) * time.Millisecond)
			if random.IntN(5) == 0 {
				c.Withheld = heymanito.CallRefused
			}
			if _, ok := m.inTheWay(c); !ok {
				m[c.ID] = r.create(c)
				continue
			}
			got, err := r.store.Create(context.Background(), c)
			o, ok := m[got.ID]
			if err == nil || !ok || o.ID != c.ID && (!exclusive(c) || !exclusive(o) || !between(c, o)) {
				r.broken(ruleExists, "step %d: Create of %s returned %s and the error %v, which is not in the way", n, describe(c), describe(got), err)
			}
			if what := difference(got, o); what != "" {
				r.broken(ruleExists, "step %d: Create of %s returned %s not as it is: %s", n, describe(c), describe(o), what)
			}
		case p < 65:
			if c, ok := one(); ok {
				stale = append(stale, c)
				m[c.ID] = r.swap(step(random, c, at, n))
			}
		case p < 72 && len(stale) > 0:
			c := stale[random.IntN(len(stale))]
			if m[c.ID].Version != c.Version { // one that is forgotten has another one, too
				c.Media = "stale"
				r.loses(c, m[c.ID])
			}
		case p < 82:
			who := user()
			want := m.sorted(byOrder, func(c heymanito.Call) bool { return c.Caller == who || c.Callee == who })
			r.same(ruleByUser, fmt.Sprintf("step %d: ByUser(%q)", n, who), r.byUser(who), want)
		case p < 95:
			now, limit := at(), 1+random.IntN(8)
			want := m.sorted(byDue, func(c heymanito.Call) bool { return c.State != heymanito.CallEnded })
			k := 0
			for k < len(want) && k < limit && !now.Before(want[k].Due) {
				k++
			}
			due, next := r.due(now, limit)
			if len(due) != k {
				r.broken(ruleDue, "step %d: Due(%s, %d) returned\n\t%s, want\n\t%s", n, stamp(now), limit, describeAll(due), describeAll(want[:k]))
			}
			for i, c := range due {
				if c.State == heymanito.CallEnded || !c.Due.Equal(want[i].Due) {
					r.broken(ruleDue, "step %d: Due(%s, %d) returned\n\t%s, want\n\t%s", n, stamp(now), limit, describeAll(due), describeAll(want[:k]))
				}
				r.has(ruleKeep, c)
			}
			if (k == len(want)) != next.IsZero() || k < len(want) && !next.Equal(want[k].Due) {
				r.broken(ruleNext, "step %d: Due(%s, %d) returned the next %s; it is %s", n, stamp(now), limit, stamp(next), describeAll(want[k:]))
			}
		case p < 97:
			who := user()
			r.forget(who)
			m.forget(who)
		case !r.realTime:
			time.Sleep(time.Until(start.Add(r.now().Sub(start).Truncate(time.Hour) + time.Hour)))
		}
	}
}
