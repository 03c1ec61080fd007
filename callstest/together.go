package callstest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/suite"
)

// tryCreate is create for goroutines: another call may be in the way, which it
// returns, and false.
func (r *rig) tryCreate(c heymanito.Call) (heymanito.Call, bool, error) {
	got, err := r.store.Create(context.Background(), c)
	switch {
	case errors.Is(err, heymanito.ErrCallExists):
		if got.ID != c.ID && (!exclusive(c) || !exclusive(got) || !between(c, got)) {
			return got, false, broken(ruleExists, "Create of %s says that %s is in the way", describe(c), describe(got))
		}
		return got, false, nil
	case err != nil:
		return got, false, fmt.Errorf("create %s: %w", describe(c), err)
	}
	return got, true, nil
}

// checkCreateTogether: of many that call each other one does.
func checkCreateTogether(r *rig) {
	const rounds, callers = 10, 100
	for round := range rounds {
		got := make([]heymanito.Call, callers)
		created := make([]bool, callers)
		suite.Parallel(r, callers, func(i int) (err error) {
			c := r.call("ann", "bob", fmt.Sprint(round, " ", i))
			if i%2 == 1 {
				c.Caller, c.Callee = c.Callee, c.Caller
			}
			got[i], created[i], err = r.tryCreate(c)
			return err
		})
		var winner heymanito.Call
		n := 0
		for i, ok := range created {
			if ok {
				winner = got[i]
				n++
			}
		}
		if n != 1 {
			r.broken(rulePair, "of %d Creates of a call between the same two at once %d have created one", callers, n)
		}
		for _, c := range got {
			if what := difference(c, winner); what != "" {
				r.broken(ruleExists, "of many Creates at once one returned something else than the one that was created: %s", what)
			}
		}
		r.has(ruleSeen, winner)
		r.lists(rulePair, "ann", winner)
		r.lists(rulePair, "bob", winner)
		r.forget([]string{"ann", "bob"}[round%2])
	}
}

// checkOrderTogether: Orders agree with the order of the calls, and whoever has
// got one sees those that are lower.
func checkOrderTogether(r *rig) {
	const callers, each = 16, 12
	type created struct {
		order      uint64
		start, end int64
		seen       []heymanito.Call
	}
	var clock atomic.Int64
	all := make([]created, callers*each)
	suite.Parallel(r, callers, func(caller int) error {
		for i := range each {
			n := caller*each + i
			start := clock.Add(1)
			c, ok, err := r.tryCreate(r.call(fmt.Sprint("user ", n), "zoe", fmt.Sprint(n)))
			end := clock.Add(1)
			if err == nil && !ok {
				err = broken(rulePair, "%s was in the way of somebody else", describe(c))
			}
			if err != nil {
				return err
			}
			seen, err := r.store.ByUser(context.Background(), "zoe")
			if err != nil {
				return err
			}
			all[n] = created{c.Order, start, end, seen}
		}
		return nil
	})
	slices.SortFunc(all, func(a, b created) int { return byOrder(heymanito.Call{Order: a.order}, heymanito.Call{Order: b.order}) })
	latest := int64(0)
	for i, c := range all {
		switch {
		case i > 0 && c.order == all[i-1].order:
			r.broken(ruleOrder, "two calls have the Order %d", c.order)
		case c.end < latest:
			r.broken(ruleOrder, "a call has got the Order %d, and a lower one was got by a Create that began when that had returned", c.order)
		}
		latest = max(latest, c.start)
		for k := range i + 1 {
			if k >= len(c.seen) || c.seen[k].Order != all[k].order {
				r.broken(ruleLower, "who had got the Order %d could not see the call with the Order %d", c.order, all[k].order)
			}
		}
	}
}

// checkSwapTogether: of many that change the same Version one does.
func checkSwapTogether(r *rig) {
	const rounds, callers = 20, 60
	there := r.create(r.call("ann", "bob", "1"))
	other := r.create(r.call("cid", "dan", "2"))
	for round := range rounds {
		got := make([]heymanito.Call, callers)
		won := make([]bool, callers)
		suite.Parallel(r, callers, func(i int) (err error) {
			c := there
			c.Media = fmt.Sprint("round ", round, " of ", i)
			got[i], won[i], err = r.store.CompareAndSwap(context.Background(), c)
			return err
		})
		n := 0
		for i, ok := range won {
			if ok {
				there.Media, there.Version = fmt.Sprint("round ", round, " of ", i), got[i].Version
				n++
			}
		}
		if n != 1 {
			r.broken(ruleSwap, "of %d CompareAndSwaps with the same Version at once %d returned true", callers, n)
		}
		for _, c := range got {
			if what := difference(c, there); what != "" {
				r.broken(ruleLost, "of many CompareAndSwaps at once one returned something else than there is: %s", what)
			}
		}
		r.has(ruleSeen, there, other)
	}
}

// checkNoChangeIsLost counts to a number, many at once.
func checkNoChangeIsLost(r *rig) {
	const callers, each = 8, 25
	c := r.call("ann", "bob", "1")
	c.Media = "0"
	first := r.create(c)
	var mu sync.Mutex
	versions := map[uint64]bool{first.Version: true}
	suite.Parallel(r, callers, func(int) error {
		c := first
		for n := 0; n < each; {
			count, err := strconv.Atoi(c.Media)
			if err != nil {
				return broken(ruleLost, "a call was returned whose Media is %q, which nobody has written", c.Media)
			}
			c.Media = strconv.Itoa(count + 1)
			got, ok, err := r.store.CompareAndSwap(context.Background(), c)
			if err != nil {
				return err
			}
			if ok {
				n++
				mu.Lock()
				twice := versions[got.Version]
				versions[got.Version] = true
				mu.Unlock()
				if twice {
					return broken(ruleSwap, "a call has had the Version %d twice", got.Version)
				}
			}
			c = got
		}
		return nil
	})
	if got, _ := r.get(first.ID); got.Media != strconv.Itoa(callers*each) {
		r.broken(ruleSwap, "%d CompareAndSwaps have counted up by one each, and it is %s", callers*each, got.Media)
	}
}

// checkPairTogether: who has created a call between two is alone with it until
// he lets go.
func checkPairTogether(r *rig) {
	const callers, each, pairs = 8, 40, 2
	var owners [pairs]atomic.Int32
	suite.Parallel(r, callers, func(caller int) error {
		for i := range each {
			pair := (caller + i) % pairs
			c := r.call(fmt.Sprint("ann ", pair), fmt.Sprint("bob ", pair), fmt.Sprint(caller, " ", i))
			if (caller+i/2)%2 == 0 {
				c.Caller, c.Callee = c.Callee, c.Caller
			}
			c, ok, err := r.tryCreate(c)
			if err != nil {
				return err
			}
			if !ok {
				runtime.Gosched()
				continue
			}
			if n := owners[pair].Add(1); n != 1 {
				return broken(rulePair, "there are %d", n)
			}
			runtime.Gosched()
			owners[pair].Add(-1)
			if c = r.ended(c); i%3 == 0 {
				c.State = heymanito.CallRinging
				c = r.withhold(c)
			}
			if got, ok, err := r.store.CompareAndSwap(context.Background(), c); err != nil || !ok {
				return errors.Join(err, broken(ruleSwap, "nobody else has changed it, and CompareAndSwap of %s returned %t and %s", describe(c), ok, describe(got)))
			}
		}
		return nil
	})
}

// checkAllTogether calls everything at once.
func checkAllTogether(r *rig) {
	const callers, calls, users = 8, 150, 5
	far := r.now().Add(48 * time.Hour)
	type version struct {
		id      string
		version uint64
	}
	var had sync.Map // of version
	suite.Parallel(r, callers, func(caller int) error {
		ctx := context.Background()
		random := rand.New(rand.NewPCG(uint64(caller), 5))
		user := func() string { return fmt.Sprint("user ", random.IntN(users)) }
		at := func() time.Time { return r.now().Add(time.Duration(random.IntN(5)) * time.Hour) }
		for n := range calls {
			who := user()
			list, err := r.store.ByUser(ctx, who)
			if err != nil {
				return err
			}
			for i, c := range list {
				if c.Caller != who && c.Callee != who || i > 0 && c.Order <= list[i-1].Order {
					return broken(ruleByUser, "ByUser(%q) returned %s", who, describeAll(list))
				}
			}
			switch p := random.IntN(20); {
			case p < 9:
				c := r.call(who, user(), fmt.Sprint(caller, " ", n))
				if c.Caller == c.Callee {
					continue
				}
				if random.IntN(5) == 0 {
					c.Withheld = heymanito.CallRefused
				}
				c, ok, err := r.tryCreate(c)
				if err != nil {
					return err
				}
				if ok {
					had.Store(version{c.ID, c.Version}, true)
				}
			case p < 15 && len(list) > 0:
				c := step(random, list[random.IntN(len(list))], at, n)
				got, ok, err := r.store.CompareAndSwap(ctx, c)
				if err != nil {
					return err
				}
				if got.ID != c.ID && (ok || got.ID != "") {
					return broken(ruleLost, "CompareAndSwap of %s returned %s", describe(c), describe(got))
				}
				if ok {
					if _, twice := had.LoadOrStore(version{c.ID, got.Version}, true); twice {
						return broken(ruleSwap, "%s has had the Version %d twice", describe(c), got.Version)
					}
				}
			case p < 18:
				now, limit := at(), 1+random.IntN(5)
				due, _, err := r.store.Due(ctx, now, limit)
				if err != nil {
					return err
				}
				for i, c := range due {
					if c.State == heymanito.CallEnded || c.Due.After(now) || i > 0 && c.Due.Before(due[i-1].Due) || len(due) > limit {
						return broken(ruleDue, "Due(%s, %d) returned %s", stamp(now), limit, describeAll(due))
					}
				}
			case p < 19:
				if err := r.store.Forget(ctx, who); err != nil {
					return err
				}
			default:
				for _, c := range list {
					if got, ok, err := r.store.Get(ctx, c.ID); err != nil || ok && got.Order != c.Order {
						return errors.Join(err, broken(ruleGet, "Get of %s has found %s", describe(c), describe(got)))
					}
				}
			}
		}
		for i := range users { // so that something is left
			for k := range i {
				c := r.call(fmt.Sprint("user ", i), fmt.Sprint("user ", k), fmt.Sprint(caller, " last ", i, " ", k))
				if _, _, err := r.tryCreate(c); err != nil {
					return err
				}
			}
		}
		return nil
	})
	// What is left is the same from everywhere.
	m := model{}
	for i := range users {
		for _, c := range r.byUser(fmt.Sprint("user ", i)) {
			r.has(ruleSeen, c)
			m[c.ID] = c
		}
	}
	for _, c := range m {
		for _, user := range []string{c.Caller, c.Callee} {
			if !slices.ContainsFunc(r.byUser(user), func(o heymanito.Call) bool { return o.ID == c.ID }) {
				r.broken(ruleByUser, "ByUser(%q) does not return %s", user, describe(c))
			}
		}
		for _, o := range m {
			if c.ID != o.ID && exclusive(c) && exclusive(o) && between(c, o) {
				r.broken(rulePair, "there are %s and %s", describe(c), describe(o))
			}
		}
	}
	due, next := r.due(far, len(m)+1)
	live := m.sorted(byOrder, func(c heymanito.Call) bool { return c.State != heymanito.CallEnded })
	slices.SortFunc(due, byOrder)
	r.same(ruleDue, "Due of all", due, live)
	if !next.IsZero() {
		r.broken(ruleNext, "Due returned all, and the next %s", stamp(next))
	}
}
