package callstest_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/callstest"
	"github.com/heymanito/heymanito/internal/suite"
)

// fault is a store whose methods can be replaced one by one.
type fault struct {
	heymanito.CallStore
	create func(context.Context, heymanito.Call) (heymanito.Call, error)
	get    func(ctx context.Context, id string) (heymanito.Call, bool, error)
	swap   func(context.Context, heymanito.Call) (heymanito.Call, bool, error)
	byUser func(ctx context.Context, user string) ([]heymanito.Call, error)
	due    func(ctx context.Context, now time.Time, limit int) ([]heymanito.Call, time.Time, error)
	forget func(ctx context.Context, user string) error
}

func (f *fault) Create(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
	if f.create != nil {
		return f.create(ctx, c)
	}
	return f.CallStore.Create(ctx, c)
}

func (f *fault) Get(ctx context.Context, id string) (heymanito.Call, bool, error) {
	if f.get != nil {
		return f.get(ctx, id)
	}
	return f.CallStore.Get(ctx, id)
}

func (f *fault) CompareAndSwap(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
	if f.swap != nil {
		return f.swap(ctx, c)
	}
	return f.CallStore.CompareAndSwap(ctx, c)
}

func (f *fault) ByUser(ctx context.Context, user string) ([]heymanito.Call, error) {
	if f.byUser != nil {
		return f.byUser(ctx, user)
	}
	return f.CallStore.ByUser(ctx, user)
}

func (f *fault) Due(ctx context.Context, now time.Time, limit int) ([]heymanito.Call, time.Time, error) {
	if f.due != nil {
		return f.due(ctx, now, limit)
	}
	return f.CallStore.Due(ctx, now, limit)
}

func (f *fault) Forget(ctx context.Context, user string) error {
	if f.forget != nil {
		return f.forget(ctx, user)
	}
	return f.CallStore.Forget(ctx, user)
}

// there is the call with an ID as the correct store has it.
func (f *fault) there(id string) heymanito.Call {
	c, _, _ := f.CallStore.Get(context.Background(), id)
	return c
}

// The faults are put together from these.

// creates changes what Create returns.
func creates(change func(f *fault, c heymanito.Call, got *heymanito.Call, err *error)) func(*fault) {
	return func(f *fault) {
		f.create = func(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
			got, err := f.CallStore.Create(ctx, c)
			change(f, c, &got, &err)
			return got, err
		}
	}
}

// swaps changes what CompareAndSwap is given.
func swaps(change func(f *fault, c *heymanito.Call)) func(*fault) {
	return func(f *fault) {
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			change(f, &c)
			return f.CallStore.CompareAndSwap(ctx, c)
		}
	}
}

// swapped changes what CompareAndSwap returns.
func swapped(change func(f *fault, c heymanito.Call, got *heymanito.Call, ok *bool)) func(*fault) {
	return func(f *fault) {
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			got, ok, err := f.CallStore.CompareAndSwap(ctx, c)
			change(f, c, &got, &ok)
			return got, ok, err
		}
	}
}

// lists changes what ByUser returns.
func lists(change func(f *fault, user string, calls []heymanito.Call) []heymanito.Call) func(*fault) {
	return func(f *fault) {
		f.byUser = func(ctx context.Context, user string) ([]heymanito.Call, error) {
			calls, err := f.CallStore.ByUser(ctx, user)
			return change(f, user, calls), err
		}
	}
}

// without leaves calls out of what ByUser returns.
func without(which func(user string, c heymanito.Call) bool) func(*fault) {
	return lists(func(_ *fault, user string, calls []heymanito.Call) []heymanito.Call {
		return slices.DeleteFunc(calls, func(c heymanito.Call) bool { return which(user, c) })
	})
}

// dues changes what Due returns: due are all that are, next is of the rest, and
// the limit is to be kept.
func dues(change func(now time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time)) func(*fault) {
	return func(f *fault) {
		f.due = func(ctx context.Context, now time.Time, limit int) ([]heymanito.Call, time.Time, error) {
			all, _, err := f.CallStore.Due(ctx, now.Add(1000*24*time.Hour), 1000)
			n := 0
			for n < len(all) && !all[n].Due.After(now) {
				n++
			}
			due, next := change(now, all[:n:n], all[n:], limit)
			return due, next, err
		}
	}
}

// kept changes each call that is created or swapped, and nobody sees it there.
func kept(change func(*heymanito.Call)) func(*fault) {
	return func(f *fault) {
		f.create = func(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
			was := c
			change(&c)
			got, err := f.CallStore.Create(ctx, c)
			if err == nil {
				was.Order, was.Version = got.Order, got.Version
				return was, nil
			}
			return got, err
		}
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			was := c
			change(&c)
			got, ok, err := f.CallStore.CompareAndSwap(ctx, c)
			if ok {
				was.Version = got.Version
				return was, ok, err
			}
			return got, ok, err
		}
	}
}

// read changes every call that Get returns.
func read(change func(*heymanito.Call)) func(*fault) {
	return func(f *fault) {
		f.get = func(ctx context.Context, id string) (heymanito.Call, bool, error) {
			c, ok, err := f.CallStore.Get(ctx, id)
			if ok {
				change(&c)
			}
			return c, ok, err
		}
	}
}

// renamed is a store that knows users by a key that it makes of their names.
func renamed(key func(string) string) func(*fault) {
	return func(f *fault) {
		f.byUser = func(ctx context.Context, user string) ([]heymanito.Call, error) {
			return f.CallStore.ByUser(ctx, key(user))
		}
		kept(func(c *heymanito.Call) { c.Caller, c.Callee = key(c.Caller), key(c.Callee) })(f)
	}
}

// paired is a store that tells pairs apart by another key.
func paired(key func(c heymanito.Call) string) func(*fault) {
	return func(f *fault) {
		var mu sync.Mutex
		of := map[string]string{} // the ID
		f.create = func(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
			mu.Lock()
			defer mu.Unlock()
			there := f.there(of[key(c)])
			if c.Withheld == "" && there.ID != "" && there.State != heymanito.CallEnded && there.Withheld == "" {
				return there, heymanito.ErrCallExists
			}
			// The store below finds nothing in the way.
			got, err := f.CallStore.Create(ctx, c)
			if err != nil && got.ID != c.ID {
				withheld := c.Withheld
				c.Withheld = "for the fault"
				if got, err = f.CallStore.Create(ctx, c); err == nil {
					got.Withheld = withheld
					got, _, err = f.CallStore.CompareAndSwap(ctx, got)
				}
			}
			if err == nil && c.Withheld == "" {
				of[key(c)] = c.ID
			}
			return got, err
		}
	}
}

// unaware is a store one of whose methods does not look at ctx.
func unaware(method string) func(*fault) {
	return func(f *fault) {
		background := context.Background()
		switch method {
		case "Create":
			f.create = func(_ context.Context, c heymanito.Call) (heymanito.Call, error) {
				return f.CallStore.Create(background, c)
			}
		case "Get":
			f.get = func(_ context.Context, id string) (heymanito.Call, bool, error) {
				return f.CallStore.Get(background, id)
			}
		case "CompareAndSwap":
			f.swap = func(_ context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
				return f.CallStore.CompareAndSwap(background, c)
			}
		case "ByUser":
			f.byUser = func(_ context.Context, user string) ([]heymanito.Call, error) {
				return f.CallStore.ByUser(background, user)
			}
		case "Due":
			f.due = func(_ context.Context, now time.Time, limit int) ([]heymanito.Call, time.Time, error) {
				return f.CallStore.Due(background, now, limit)
			}
		case "Forget":
			f.forget = func(_ context.Context, user string) error { return f.CallStore.Forget(background, user) }
		}
	}
}

// expiring forgets a call, live or not, when the time that forgets makes of it
// has come.
func expiring(forgets func(was, c heymanito.Call) time.Time) func(*fault) {
	return func(f *fault) {
		var mu sync.Mutex
		at := map[string]time.Time{}
		hidden := func(id string) bool {
			mu.Lock()
			defer mu.Unlock()
			due, ok := at[id]
			return ok && !time.Now().Before(due)
		}
		set := func(was, c heymanito.Call) {
			mu.Lock()
			defer mu.Unlock()
			if due := forgets(was, c); !due.IsZero() {
				at[c.ID] = due
			}
		}
		f.create = func(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
			got, err := f.CallStore.Create(ctx, c)
			if err == nil {
				set(heymanito.Call{}, c)
			}
			return got, err
		}
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			was := f.there(c.ID)
			got, ok, err := f.CallStore.CompareAndSwap(ctx, c)
			if ok {
				set(was, c)
			}
			return got, ok, err
		}
		f.get = func(ctx context.Context, id string) (heymanito.Call, bool, error) {
			if hidden(id) {
				return heymanito.Call{}, false, nil
			}
			return f.CallStore.Get(ctx, id)
		}
		without(func(_ string, c heymanito.Call) bool { return hidden(c.ID) })(f)
	}
}

// longer keeps calls that have ended for longer than it should.
func longer(by time.Duration) func(*fault) {
	back := func(c *heymanito.Call) {
		if c.State == heymanito.CallEnded {
			c.Due = c.Due.Add(-by)
		}
	}
	return func(f *fault) {
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			if c.State == heymanito.CallEnded {
				c.Due = c.Due.Add(by)
			}
			got, ok, err := f.CallStore.CompareAndSwap(ctx, c)
			back(&got)
			return got, ok, err
		}
		read(back)(f)
		lists(func(_ *fault, _ string, calls []heymanito.Call) []heymanito.Call {
			for i := range calls {
				back(&calls[i])
			}
			return calls
		})(f)
	}
}

// forgets changes what Forget erases: it is given all of the user's.
func forgets(stay func(user string, c heymanito.Call) bool) func(*fault) {
	return func(f *fault) {
		f.forget = func(ctx context.Context, user string) error {
			calls, _ := f.CallStore.ByUser(ctx, user)
			for _, c := range calls {
				if stay(user, c) {
					continue
				}
				// Nothing else erases one call.
				c.State, c.Due = heymanito.CallEnded, time.Time{}
				_, _, _ = f.CallStore.CompareAndSwap(ctx, c)
			}
			return ctx.Err()
		}
	}
}

// inTwoSteps reads in one and writes in another, and others come in between.
func inTwoSteps(f *fault) {
	var mu sync.Mutex
	f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
		there := f.there(c.ID)
		if there.Version != c.Version {
			return there, false, nil
		}
		time.Sleep(time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		c.Version = f.there(c.ID).Version
		return f.CallStore.CompareAndSwap(ctx, c)
	}
}

// nth is true every nth time.
func nth(n int) func() bool {
	var mu sync.Mutex
	i := 0
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		i++
		return i%n == 0
	}
}

func exclusive(c heymanito.Call) bool {
	return c.ID != "" && c.State != heymanito.CallEnded && c.Withheld == ""
}

func earliest(calls []heymanito.Call) (next time.Time) {
	if len(calls) > 0 {
		next = calls[0].Due
	}
	return next
}

// split is what dues has to return.
func split(due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
	n := min(limit, len(due))
	return due[:n], earliest(append(due[n:], rest...))
}

// shown changes every call that is returned, by whatever method.
func shown(change func(*heymanito.Call)) func(*fault) {
	return func(f *fault) {
		known := func(c *heymanito.Call) {
			if c.ID != "" {
				change(c)
			}
		}
		creates(func(_ *fault, _ heymanito.Call, got *heymanito.Call, _ *error) { known(got) })(f)
		swapped(func(_ *fault, _ heymanito.Call, got *heymanito.Call, _ *bool) { known(got) })(f)
		read(change)(f)
		lists(func(_ *fault, _ string, calls []heymanito.Call) []heymanito.Call {
			for i := range calls {
				change(&calls[i])
			}
			return calls
		})(f)
	}
}

// unordered is a store whose Orders are others, all over.
func unordered(order func(c heymanito.Call) uint64) func(*fault) {
	return func(f *fault) {
		shown(func(c *heymanito.Call) { c.Order = order(*c) })(f)
		list := f.byUser
		f.byUser = func(ctx context.Context, user string) ([]heymanito.Call, error) {
			calls, err := list(ctx, user)
			slices.SortStableFunc(calls, func(a, b heymanito.Call) int { return cmp.Compare(a.Order, b.Order) })
			return calls, err
		}
	}
}

// faults are planted in a correct store; each is found by the check, which
// quotes the rule.
var faults = []struct {
	name  string
	check string
	rule  callstest.Rule
	plant func(*fault)
}{
	{"Orders from 0", "Create", callstest.RuleOrder, unordered(func(c heymanito.Call) uint64 { return c.Order - 1 })},
	{"the same Order for all", "Create", callstest.RuleOrder, unordered(func(heymanito.Call) uint64 { return 1 })},
	{"Orders go down", "Create", callstest.RuleOrder, unordered(func(c heymanito.Call) uint64 { return 1000 - c.Order })},
	{"the caller's Order", "Create", callstest.RuleOrder, creates(func(_ *fault, c heymanito.Call, got *heymanito.Call, _ *error) {
		got.Order = cmp.Or(c.Order, got.Order)
	})},
	{"Order is how many there are", "Create", callstest.RuleOrder, func(f *fault) {
		orders := map[string]uint64{}
		unordered(func(c heymanito.Call) uint64 {
			if orders[c.ID] == 0 {
				for _, user := range []string{"ann", "cid", "eve"} {
					calls, _ := f.CallStore.ByUser(context.Background(), user)
					orders[c.ID] += uint64(len(calls))
				}
			}
			return orders[c.ID]
		})(f)
	}},
	{"it is kept later", "Create", callstest.RuleSeen, func(f *fault) {
		var mu sync.Mutex
		var last heymanito.Call
		f.create = func(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
			mu.Lock()
			defer mu.Unlock()
			got, err := f.CallStore.Create(ctx, c)
			last = got
			return got, err
		}
		f.get = func(ctx context.Context, id string) (heymanito.Call, bool, error) {
			mu.Lock()
			defer mu.Unlock()
			if id == last.ID {
				return heymanito.Call{}, false, nil
			}
			return f.CallStore.Get(ctx, id)
		}
	}},
	{"it returns nothing", "Create", callstest.RuleKeep, creates(func(_ *fault, _ heymanito.Call, got *heymanito.Call, _ *error) {
		*got = heymanito.Call{Order: got.Order, Version: got.Version}
	})},

	{"one direction", "OneBetweenTwo", callstest.RulePair, paired(func(c heymanito.Call) string { return c.Caller + " " + c.Callee })},
	{"one call a caller", "OneBetweenTwo", callstest.RulePair, func(f *fault) {
		f.create = func(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
			calls, _ := f.CallStore.ByUser(ctx, c.Caller)
			for _, o := range calls {
				if exclusive(o) && exclusive(c) {
					return o, heymanito.ErrCallExists
				}
			}
			return f.CallStore.Create(ctx, c)
		}
	}},
	{"only while it rings", "OneBetweenTwo", callstest.RulePair, paired(func(c heymanito.Call) string {
		return fmt.Sprint(min(c.Caller, c.Callee), max(c.Caller, c.Callee), c.State)
	})},
	{"no ErrCallExists", "OneBetweenTwo", callstest.RuleExists, creates(func(_ *fault, _ heymanito.Call, _ *heymanito.Call, err *error) {
		if *err != nil {
			*err = context.DeadlineExceeded
		}
	})},
	{"no error", "OneBetweenTwo", callstest.RulePair, creates(func(_ *fault, _ heymanito.Call, _ *heymanito.Call, err *error) { *err = nil })},
	{"returns the new one", "OneBetweenTwo", callstest.RuleExists, creates(func(_ *fault, c heymanito.Call, got *heymanito.Call, _ *error) {
		order, version := got.Order, got.Version
		*got = c
		got.Order, got.Version = order, version
	})},
	{"returns a zero Call", "OneBetweenTwo", callstest.RuleExists, creates(func(_ *fault, _ heymanito.Call, got *heymanito.Call, err *error) {
		if *err != nil {
			*got = heymanito.Call{}
		}
	})},
	{"replaces what is there", "OneBetweenTwo", callstest.RuleExists, func(f *fault) {
		f.create = func(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
			there, err := f.CallStore.Create(ctx, c)
			if err != nil {
				was := there
				there.Media = "another"
				_, _, _ = f.CallStore.CompareAndSwap(ctx, there)
				return was, err
			}
			return there, err
		}
	}},
	{"adds it all the same", "OneBetweenTwo", callstest.RuleExists, creates(func(f *fault, c heymanito.Call, _ *heymanito.Call, err *error) {
		if *err != nil {
			c.Withheld = heymanito.CallRefused
			_, _ = f.CallStore.Create(context.Background(), c)
		}
	})},

	{"one that has ended is in the way", "PairIsFree", callstest.RulePair, func(f *fault) {
		f.create = func(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
			calls, _ := f.CallStore.ByUser(ctx, c.Caller)
			for _, o := range calls {
				if o.Withheld == "" && c.Withheld == "" && (o.Caller == c.Callee || o.Callee == c.Callee) {
					return o, heymanito.ErrCallExists
				}
			}
			return f.CallStore.Create(ctx, c)
		}
	}},
	{"one that came to be withheld is in the way", "PairIsFree", callstest.RulePair, func(f *fault) {
		f.create = func(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
			calls, _ := f.CallStore.ByUser(ctx, c.Caller)
			for _, o := range calls {
				if o.State != heymanito.CallEnded && (o.Caller == c.Callee || o.Callee == c.Callee) {
					return o, heymanito.ErrCallExists
				}
			}
			return f.CallStore.Create(ctx, c)
		}
	}},
	{"what ends frees another's pair", "PairIsFree", callstest.RulePair, func(f *fault) {
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			got, ok, err := f.CallStore.CompareAndSwap(ctx, c)
			if ok && !exclusive(c) {
				lose(f, c)
			}
			return got, ok, err
		}
	}},

	{"withheld calls exclude each other", "Withheld", callstest.RulePair, func(f *fault) {
		f.create = func(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
			calls, _ := f.CallStore.ByUser(ctx, c.Caller)
			for _, o := range calls {
				if o.State != heymanito.CallEnded && o.Withheld != "" && c.Withheld != "" {
					return o, heymanito.ErrCallExists
				}
			}
			return f.CallStore.Create(ctx, c)
		}
	}},
	{"withheld calls are excluded", "Withheld", callstest.RulePair, func(f *fault) {
		f.create = func(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
			calls, _ := f.CallStore.ByUser(ctx, c.Caller)
			for _, o := range calls {
				if exclusive(o) {
					return o, heymanito.ErrCallExists
				}
			}
			return f.CallStore.Create(ctx, c)
		}
	}},
	{"a withheld call that ends frees the pair", "Withheld", callstest.RulePair, func(f *fault) {
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			got, ok, err := f.CallStore.CompareAndSwap(ctx, c)
			if ok && c.Withheld != "" && c.State == heymanito.CallEnded {
				lose(f, c)
			}
			return got, ok, err
		}
	}},

	{"the same ID twice", "SameID", callstest.RuleExists, func(f *fault) {
		f.create = func(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
			got, err := f.CallStore.Create(ctx, c)
			if err != nil && got.ID == c.ID {
				err = nil
			}
			return got, err
		}
	}},
	{"an ended one may be created again", "SameID", callstest.RuleExists, creates(func(f *fault, c heymanito.Call, got *heymanito.Call, err *error) {
		if *err != nil && got.State == heymanito.CallEnded {
			*err = nil
		}
	})},
	{"what was not created is listed", "SameID", callstest.RuleExists, func(f *fault) {
		var refused []heymanito.Call
		creates(func(_ *fault, c heymanito.Call, _ *heymanito.Call, err *error) {
			if *err != nil {
				refused = append(refused, c)
			}
		})(f)
		lists(func(_ *fault, user string, calls []heymanito.Call) []heymanito.Call {
			for _, c := range refused {
				if c.Caller == user && user == "cid" {
					return append(calls, c)
				}
			}
			return calls
		})(f)
	}},

	{"names run together", "Names", callstest.RulePair, paired(func(c heymanito.Call) string {
		return min(c.Caller, c.Callee) + max(c.Caller, c.Callee)
	})},
	{"names with a colon between", "Names", callstest.RulePair, paired(func(c heymanito.Call) string {
		return min(c.Caller, c.Callee) + ":" + max(c.Caller, c.Callee)
	})},
	{"case folded", "Names", callstest.RulePair, paired(func(c heymanito.Call) string {
		return strings.ToLower(fmt.Sprintf("%q %q", min(c.Caller, c.Callee), max(c.Caller, c.Callee)))
	})},
	{"names trimmed", "Names", callstest.RulePair, paired(func(c heymanito.Call) string {
		a, b := strings.TrimSpace(c.Caller), strings.TrimSpace(c.Callee)
		return fmt.Sprintf("%q %q", min(a, b), max(a, b))
	})},
	{"names of 253 bytes", "Names", callstest.RulePair, paired(func(c heymanito.Call) string {
		a, b := c.Caller[:min(len(c.Caller), 253)], c.Callee[:min(len(c.Callee), 253)]
		return fmt.Sprintf("%q %q", min(a, b), max(a, b))
	})},
	{"users case folded", "Names", callstest.RulePair, renamed(strings.ToLower)},
	{"Forget of a pattern", "Names", callstest.RuleForget, func(f *fault) {
		f.forget = func(ctx context.Context, user string) error {
			if user == "*" {
				_ = f.CallStore.Forget(ctx, "a")
			}
			return f.CallStore.Forget(ctx, user)
		}
	}},

	{"no Media", "KeepsAll", callstest.RuleKeep, kept(func(c *heymanito.Call) { c.Media = "" })},
	{"no Owed", "KeepsAll", callstest.RuleKeep, kept(func(c *heymanito.Call) { c.Owed = "" })},
	{"no CalleeLeft", "KeepsAll", callstest.RuleKeep, kept(func(c *heymanito.Call) { c.CalleeLeft = time.Time{} })},
	{"no device of the answer", "KeepsAll", callstest.RuleKeep, kept(func(c *heymanito.Call) { c.Answerer.DeviceID = "" })},
	{"no Left of the Sessions", "KeepsAll", callstest.RuleKeep, kept(func(c *heymanito.Call) {
		c.Sessions = slices.Clone(c.Sessions)
		for i := range c.Sessions {
			c.Sessions[i].Left = false
		}
	})},
	{"one Session", "KeepsAll", callstest.RuleKeep, kept(func(c *heymanito.Call) { c.Sessions = c.Sessions[:min(len(c.Sessions), 1)] })},
	{"CallerGone stays", "KeepsAll", callstest.RuleSwap, func(f *fault) {
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			if c.CallerGone.IsZero() {
				c.CallerGone = f.there(c.ID).CallerGone
			}
			return f.CallStore.CompareAndSwap(ctx, c)
		}
	}},
	{"times in seconds", "KeepsAll", callstest.RuleKeep, kept(func(c *heymanito.Call) { c.Expires = c.Expires.Truncate(time.Second) })},
	{"a zero time is 1970", "KeepsAll", callstest.RuleKeep, read(func(c *heymanito.Call) {
		if c.Accepted.IsZero() {
			c.Accepted = time.UnixMilli(0)
		}
	})},
	{"CallerInfo by encoding/json", "KeepsAll", callstest.RuleKeep, read(func(c *heymanito.Call) {
		if c.CallerInfo != nil {
			c.CallerInfo, _ = json.Marshal(c.CallerInfo)
		}
	})},
	{"CallerInfo compact", "KeepsAll", callstest.RuleKeep, read(func(c *heymanito.Call) {
		var b bytes.Buffer
		_ = json.Compact(&b, c.CallerInfo)
		c.CallerInfo = b.Bytes()
	})},
	{"no CallerInfo is null", "KeepsAll", callstest.RuleKeep, read(func(c *heymanito.Call) {
		if c.CallerInfo == nil {
			c.CallerInfo = json.RawMessage("null")
		}
	})},
	{"a CallerInfo of null is none", "KeepsAll", callstest.RuleKeep, read(func(c *heymanito.Call) {
		if string(c.CallerInfo) == "null" {
			c.CallerInfo = nil
		}
	})},
	{"64 KB are enough", "KeepsAll", callstest.RuleKeep, read(func(c *heymanito.Call) { c.CallerInfo = c.CallerInfo[:min(len(c.CallerInfo), 1<<16)] })},
	{"Attachments are text", "KeepsAll", callstest.RuleKeep, read(func(c *heymanito.Call) {
		c.Attachments = slices.Clone(c.Attachments)
		for i, a := range c.Attachments {
			c.Attachments[i] = bytes.ToValidUTF8(a, []byte("?"))
		}
	})},
	{"no empty Attachments", "KeepsAll", callstest.RuleKeep, read(func(c *heymanito.Call) {
		c.Attachments = slices.DeleteFunc(slices.Clone(c.Attachments), func(a []byte) bool { return len(a) == 0 })
	})},
	{"half of what it carried is dropped", "KeepsAll", callstest.RuleKeep, kept(func(c *heymanito.Call) {
		c.Attachments = c.Attachments[:min(len(c.Attachments), 1)]
	})},
	{"what rings carries nothing", "KeepsAll", callstest.RuleKeep, kept(func(c *heymanito.Call) { c.CallerInfo = nil })},
	{"ByUser is without Attachments", "KeepsAll", callstest.RuleKeep, lists(func(_ *fault, _ string, calls []heymanito.Call) []heymanito.Call {
		for i := range calls {
			calls[i].Attachments = nil
		}
		return calls
	})},
	{"Due is without Sessions", "KeepsAll", callstest.RuleKeep, dues(func(_ time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
		for i := range due {
			due[i].Sessions = nil
		}
		return split(due, rest, limit)
	})},
	{"Withheld is Withheld", "KeepsAll", callstest.RuleKeep, read(func(c *heymanito.Call) {
		if c.Withheld != "" {
			c.Withheld = heymanito.CallRefused
		}
	})},
	{"no NUL in Media", "KeepsAll", callstest.RuleKeep, kept(func(c *heymanito.Call) { c.Media = strings.ReplaceAll(c.Media, "\x00", "") })},

	{"none is one", "Get", callstest.RuleGet, func(f *fault) {
		f.get = func(ctx context.Context, id string) (heymanito.Call, bool, error) {
			c, _, err := f.CallStore.Get(ctx, id)
			return c, true, err
		}
	}},
	{"with a guess", "Get", callstest.RuleGet, func(f *fault) {
		f.get = func(ctx context.Context, id string) (heymanito.Call, bool, error) {
			c, ok, err := f.CallStore.Get(ctx, id)
			if !ok {
				c.ID = id
			}
			return c, ok, err
		}
	}},
	{"by Room, too", "Get", callstest.RuleGet, func(f *fault) {
		f.get = func(ctx context.Context, id string) (heymanito.Call, bool, error) {
			return f.CallStore.Get(ctx, strings.TrimPrefix(id, "hm_"))
		}
	}},
	{"by 22 characters", "Get", callstest.RuleGet, func(f *fault) {
		f.get = func(ctx context.Context, id string) (heymanito.Call, bool, error) {
			return f.CallStore.Get(ctx, id[:min(len(id), 22)])
		}
	}},
	{"not if it has ended", "Get", callstest.RuleGet, func(f *fault) {
		f.get = func(ctx context.Context, id string) (heymanito.Call, bool, error) {
			c, ok, err := f.CallStore.Get(ctx, id)
			if c.State == heymanito.CallEnded {
				return heymanito.Call{}, false, err
			}
			return c, ok, err
		}
	}},

	{"the Version is the old one", "CompareAndSwap", callstest.RuleSwap, swapped(func(_ *fault, c heymanito.Call, got *heymanito.Call, _ *bool) { got.Version = c.Version })},
	{"Versions come back", "CompareAndSwap", callstest.RuleSwap, func(f *fault) {
		shown(func(c *heymanito.Call) { c.Version %= 3 })(f)
		swap := f.swap
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			if there := f.there(c.ID); c.Version == there.Version%3 {
				c.Version = there.Version
			}
			return swap(ctx, c)
		}
	}},
	{"returns false", "CompareAndSwap", callstest.RuleSwap, swapped(func(_ *fault, _ heymanito.Call, _ *heymanito.Call, ok *bool) { *ok = false })},
	{"returns what was", "CompareAndSwap", callstest.RuleSwap, func(f *fault) {
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			was := f.there(c.ID)
			got, ok, err := f.CallStore.CompareAndSwap(ctx, c)
			was.Version = got.Version
			return was, ok, err
		}
	}},
	{"changes nothing", "CompareAndSwap", callstest.RuleSeen, func(f *fault) {
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			there := f.there(c.ID)
			there.Version = c.Version
			got, ok, err := f.CallStore.CompareAndSwap(ctx, there)
			c.Version = got.Version
			return c, ok, err
		}
	}},
	{"not if nothing changes", "CompareAndSwap", callstest.RuleSwap, func(f *fault) {
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			if there := f.there(c.ID); callstest.Difference(c, there) == "" {
				return c, true, nil
			}
			return f.CallStore.CompareAndSwap(ctx, c)
		}
	}},
	{"a new place in the order", "CompareAndSwap", callstest.RuleByUser, lists(func(_ *fault, _ string, calls []heymanito.Call) []heymanito.Call {
		slices.SortStableFunc(calls, func(a, b heymanito.Call) int { return cmp.Compare(a.Version, b.Version) })
		return calls
	})},
	{"what has ended stays as it is", "CompareAndSwap", callstest.RuleSwap, func(f *fault) {
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			if there := f.there(c.ID); there.State == heymanito.CallEnded {
				return there, false, nil
			}
			return f.CallStore.CompareAndSwap(ctx, c)
		}
	}},
	{"all of the user's change", "CompareAndSwap", callstest.RuleSeen, swapped(func(f *fault, c heymanito.Call, _ *heymanito.Call, ok *bool) {
		calls, _ := f.CallStore.ByUser(context.Background(), c.Caller)
		for _, o := range calls {
			if o.ID != c.ID && *ok {
				_, _, _ = f.CallStore.CompareAndSwap(context.Background(), o)
			}
		}
	})},

	{"any Version", "LostRace", callstest.RuleSwap, swaps(func(f *fault, c *heymanito.Call) { c.Version = f.there(c.ID).Version })},
	{"a higher Version", "LostRace", callstest.RuleSwap, swaps(func(f *fault, c *heymanito.Call) { c.Version = min(c.Version, f.there(c.ID).Version) })},
	{"no Version is any", "LostRace", callstest.RuleSwap, swaps(func(f *fault, c *heymanito.Call) {
		c.Version = cmp.Or(c.Version, f.there(c.ID).Version)
	})},
	{"returns what it was given", "LostRace", callstest.RuleLost, swapped(func(_ *fault, c heymanito.Call, got *heymanito.Call, ok *bool) {
		if !*ok {
			*got = c
		}
	})},
	{"returns nothing", "LostRace", callstest.RuleLost, swapped(func(_ *fault, _ heymanito.Call, got *heymanito.Call, ok *bool) {
		if !*ok {
			*got = heymanito.Call{}
		}
	})},
	{"who loses ends it", "LostRace", callstest.RuleLost, swapped(func(f *fault, c heymanito.Call, got *heymanito.Call, ok *bool) {
		if there := *got; !*ok && there.ID != "" && c.State == heymanito.CallEnded {
			there.State = c.State
			_, _, _ = f.CallStore.CompareAndSwap(context.Background(), there)
		}
	})},
	{"creates what is not there", "LostRace", callstest.RuleLost, swapped(func(f *fault, c heymanito.Call, got *heymanito.Call, _ *bool) {
		if got.ID == "" {
			_, _ = f.CallStore.Create(context.Background(), c)
		}
	})},

	{"only the caller's", "ByUser", callstest.RuleByUser, without(func(user string, c heymanito.Call) bool { return c.Callee == user })},
	{"only the callee's", "ByUser", callstest.RuleByUser, without(func(user string, c heymanito.Call) bool { return c.Caller == user })},
	{"no withheld ones for the callee", "ByUser", callstest.RuleByUser, without(func(user string, c heymanito.Call) bool { return c.Callee == user && c.Withheld != "" })},
	{"none that have ended", "ByUser", callstest.RuleByUser, without(func(_ string, c heymanito.Call) bool { return c.State == heymanito.CallEnded })},
	{"none that are overdue", "ByUser", callstest.RuleByUser, without(func(_ string, c heymanito.Call) bool { return c.Due.Before(time.Now()) })},
	{"by Due", "ByUser", callstest.RuleByUser, lists(func(_ *fault, _ string, calls []heymanito.Call) []heymanito.Call {
		slices.SortStableFunc(calls, func(a, b heymanito.Call) int { return a.Due.Compare(b.Due) })
		return calls
	})},
	{"by Order as text", "ByUser", callstest.RuleByUser, lists(func(_ *fault, _ string, calls []heymanito.Call) []heymanito.Call {
		slices.SortStableFunc(calls, func(a, b heymanito.Call) int { return cmp.Compare(fmt.Sprint(a.Order), fmt.Sprint(b.Order)) })
		return calls
	})},
	{"the newest first", "ByUser", callstest.RuleByUser, lists(func(_ *fault, _ string, calls []heymanito.Call) []heymanito.Call {
		slices.Reverse(calls)
		return calls
	})},
	{"made ones first", "ByUser", callstest.RuleByUser, lists(func(_ *fault, user string, calls []heymanito.Call) []heymanito.Call {
		slices.SortStableFunc(calls, func(a, b heymanito.Call) int {
			if (a.Caller == user) == (b.Caller == user) {
				return 0
			}
			return map[bool]int{true: -1, false: 1}[a.Caller == user]
		})
		return calls
	})},
	{"the first 20", "ByUser", callstest.RuleByUser, lists(func(_ *fault, _ string, calls []heymanito.Call) []heymanito.Call { return calls[:min(len(calls), 20)] })},
	{"those of all that begin so", "ByUser", callstest.RuleByUser, lists(func(f *fault, user string, calls []heymanito.Call) []heymanito.Call {
		if user == "an" {
			anns, _ := f.CallStore.ByUser(context.Background(), "ann")
			calls = append(calls, anns...)
		}
		return calls
	})},

	{"ByUser shares its answers", "Answers", callstest.RuleSlices, func(f *fault) {
		shared := map[string][]heymanito.Call{}
		lists(func(_ *fault, user string, calls []heymanito.Call) []heymanito.Call {
			if was, ok := shared[user]; ok {
				return was
			}
			shared[user] = calls
			return calls
		})(f)
	}},
	{"Due shares its answers", "Answers", callstest.RuleDue, func(f *fault) {
		shared := map[string][]heymanito.Call{}
		dues(func(now time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
			got, next := split(due, rest, limit)
			key := fmt.Sprint(now, limit)
			for _, c := range got {
				key += fmt.Sprint(c.ID, c.Version)
			}
			if was, ok := shared[key]; ok {
				return was, next
			}
			shared[key] = got
			return got, next
		})(f)
	}},

	{"before its time", "Due", callstest.RuleDue, dues(func(now time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
		for len(rest) > 0 && rest[0].Due.Sub(now) <= time.Millisecond {
			due, rest = append(due, rest[0]), rest[1:]
		}
		return split(due, rest, limit)
	})},
	{"after its time", "Due", callstest.RuleDue, dues(func(now time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
		n := len(due)
		for n > 0 && due[n-1].Due.Equal(now) {
			n--
		}
		return split(due[:n], append(due[n:], rest...), limit)
	})},
	{"the latest first", "Due", callstest.RuleDue, dues(func(_ time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
		slices.Reverse(due)
		return split(due, rest, limit)
	})},
	{"by Order", "Due", callstest.RuleDue, dues(func(_ time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
		slices.SortFunc(due, func(a, b heymanito.Call) int { return cmp.Compare(a.Order, b.Order) })
		n := min(limit, len(due))
		return due[:n], earliest(append(due[n:], rest...))
	})},
	{"the limit by Order", "Due", callstest.RuleDue, dues(func(_ time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
		slices.SortFunc(due, func(a, b heymanito.Call) int { return cmp.Compare(a.Order, b.Order) })
		due = due[:min(limit, len(due))]
		slices.SortFunc(due, func(a, b heymanito.Call) int { return a.Due.Compare(b.Due) })
		return due, earliest(rest)
	})},
	{"no limit", "Due", callstest.RuleDue, dues(func(_ time.Time, due, rest []heymanito.Call, _ int) ([]heymanito.Call, time.Time) {
		return due, earliest(rest)
	})},
	{"one less than the limit", "Due", callstest.RuleDue, dues(func(_ time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
		return split(due, rest, limit-1)
	})},
	{"next is of those returned", "Due", callstest.RuleNext, dues(func(_ time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
		next := earliest(append(due, rest...))
		got, _ := split(due, rest, limit)
		return got, next
	})},
	{"next is of those not due", "Due", callstest.RuleNext, dues(func(_ time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
		got, _ := split(due, rest, limit)
		return got, earliest(rest)
	})},
	{"next is now when there is none", "Due", callstest.RuleNext, dues(func(now time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
		got, next := split(due, rest, limit)
		if next.IsZero() {
			next = now
		}
		return got, next
	})},
	{"withheld calls are never due", "Due", callstest.RuleNext, func(f *fault) {
		dues(func(_ time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
			withheld := func(c heymanito.Call) bool { return c.Withheld != "" }
			return split(slices.DeleteFunc(due, withheld), slices.DeleteFunc(rest, withheld), limit)
		})(f)
	}},
	{"only what rings is due", "Due", callstest.RuleDue, func(f *fault) {
		dues(func(_ time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
			not := func(c heymanito.Call) bool { return c.State != heymanito.CallRinging }
			return split(slices.DeleteFunc(due, not), slices.DeleteFunc(rest, not), limit)
		})(f)
	}},
	{"ended ones are due", "Due", callstest.RuleDue, withEnded(true)},
	{"ended ones are next", "Due", callstest.RuleNext, withEnded(false)},

	{"the first Due counts", "DueMoves", callstest.RuleDue, func(f *fault) {
		first := map[string]time.Time{}
		creates(func(_ *fault, c heymanito.Call, _ *heymanito.Call, _ *error) { first[c.ID] = c.Due })(f)
		dues(func(now time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
			all := append(due, rest...)
			slices.SortStableFunc(all, func(a, b heymanito.Call) int { return first[a.ID].Compare(first[b.ID]) })
			n := 0
			for n < len(all) && n < limit && !first[all[n].ID].After(now) {
				n++
			}
			if n == len(all) {
				return all, time.Time{}
			}
			return all[:n], first[all[n].ID]
		})(f)
	}},
	{"who looks takes", "DueMoves", callstest.RuleDue, func(f *fault) {
		taken := map[string]uint64{}
		dues(func(_ time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
			due = slices.DeleteFunc(due, func(c heymanito.Call) bool { return taken[c.ID] == c.Version })
			got, next := split(due, rest, limit)
			for _, c := range got {
				taken[c.ID] = c.Version
			}
			return got, next
		})(f)
	}},
	{"forgotten ones are due", "DueMoves", callstest.RuleForget, func(f *fault) {
		gone := map[string]bool{}
		f.forget = func(_ context.Context, user string) error {
			gone[user] = true
			return nil
		}
	}},

	{"those of the same time once", "DuePages", callstest.RuleDue, dues(func(_ time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
		return split(slices.CompactFunc(due, func(a, b heymanito.Call) bool { return a.Due.Equal(b.Due) }), rest, limit)
	})},
	{"pages of 30", "DuePages", callstest.RuleDue, dues(func(_ time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
		return split(due, rest, min(limit, 30))
	})},
	{"each page is in no order", "DuePages", callstest.RuleDue, dues(func(_ time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
		got, next := split(due, rest, limit)
		if len(got) > 20 {
			got[10], got[20] = got[20], got[10]
		}
		return got, next
	})},
	{"next is of the page", "DuePages", callstest.RuleNext, dues(func(_ time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
		got, next := split(due, rest, limit)
		if len(got) > 0 {
			next = got[0].Due
		}
		return got, next
	})},

	{"never", "EndedAreForgotten", callstest.RuleEnded, longer(1000 * time.Hour)},
	{"an hour late", "EndedAreForgotten", callstest.RuleEnded, longer(time.Hour)},
	{"two minutes late", "EndedAreForgotten", callstest.RuleEnded, longer(2 * time.Minute)},
	{"as soon as it has ended", "EndedAreForgotten", callstest.RuleEnded, longer(-24 * time.Hour)},
	{"a second early", "EndedAreForgotten", callstest.RuleEnded, longer(-time.Second)},
	{"the first Due of the end", "EndedAreForgotten", callstest.RuleEnded, expiring(func(was, c heymanito.Call) (due time.Time) {
		if was.State != heymanito.CallEnded && c.State == heymanito.CallEnded {
			due = c.Due
		}
		return due
	})},
	{"ByUser lists them for longer", "EndedAreForgotten", callstest.RuleEnded, func(f *fault) {
		var over []heymanito.Call
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			got, ok, err := f.CallStore.CompareAndSwap(ctx, c)
			if ok && got.State == heymanito.CallEnded {
				over = append(over, got)
			}
			return got, ok, err
		}
		lists(func(f *fault, user string, calls []heymanito.Call) []heymanito.Call {
			for _, c := range over {
				if (c.Caller == user || c.Callee == user) && f.there(c.ID).ID == "" {
					calls = append(calls, c)
				}
			}
			return calls
		})(f)
	}},
	{"what is forgotten frees another's pair", "EndedAreForgotten", callstest.RulePair, func(f *fault) {
		var over []heymanito.Call
		swapped(func(_ *fault, c heymanito.Call, _ *heymanito.Call, ok *bool) {
			if *ok && c.State == heymanito.CallEnded {
				over = append(over, c)
			}
		})(f)
		f.create = func(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
			for _, o := range over {
				if f.there(o.ID).ID == "" {
					lose(f, o)
				}
			}
			return f.CallStore.Create(ctx, c)
		}
	}},

	{"at its Due", "LiveAreKept", callstest.RuleLive, expiring(func(_, c heymanito.Call) time.Time { return c.Due })},
	{"a day later", "LiveAreKept", callstest.RuleLive, expiring(func(_, c heymanito.Call) time.Time { return c.Due.Add(24 * time.Hour) })},
	{"withheld ones go", "LiveAreKept", callstest.RuleLive, expiring(func(_, c heymanito.Call) (due time.Time) {
		if c.Withheld != "" {
			due = c.Due
		}
		return due
	})},
	{"one that was created again goes with the first", "LiveAreKept", callstest.RuleLive, expiring(func(_, c heymanito.Call) (due time.Time) {
		if c.State == heymanito.CallEnded {
			due = c.Due
		}
		return due
	})},

	{"only the caller's", "Forget", callstest.RuleForget, forgets(func(user string, c heymanito.Call) bool { return c.Caller != user })},
	{"only the callee's", "Forget", callstest.RuleForget, forgets(func(user string, c heymanito.Call) bool { return c.Callee != user })},
	{"not what has ended", "Forget", callstest.RuleForget, forgets(func(_ string, c heymanito.Call) bool { return c.State == heymanito.CallEnded })},
	{"not what is withheld", "Forget", callstest.RuleForget, forgets(func(_ string, c heymanito.Call) bool { return c.Withheld != "" })},
	{"the other side's, too", "Forget", callstest.RuleForget, func(f *fault) {
		f.forget = func(ctx context.Context, user string) error {
			calls, _ := f.CallStore.ByUser(ctx, user)
			for _, c := range calls {
				_ = f.CallStore.Forget(ctx, c.Callee)
			}
			return f.CallStore.Forget(ctx, user)
		}
	}},
	{"all", "Forget", callstest.RuleForget, func(f *fault) {
		f.forget = func(ctx context.Context, user string) error {
			for _, other := range []string{user, "bob", "an"} {
				_ = f.CallStore.Forget(ctx, other)
			}
			return nil
		}
	}},
	{"the pair stays taken", "Forget", callstest.RulePair, func(f *fault) {
		taken := map[string]heymanito.Call{}
		pair := func(c heymanito.Call) string { return min(c.Caller, c.Callee) + " " + max(c.Caller, c.Callee) }
		f.create = func(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
			if there, ok := taken[pair(c)]; ok && c.Withheld == "" {
				return there, heymanito.ErrCallExists
			}
			return f.CallStore.Create(ctx, c)
		}
		f.forget = func(ctx context.Context, user string) error {
			calls, _ := f.CallStore.ByUser(ctx, user)
			for _, c := range calls {
				if exclusive(c) {
					taken[pair(c)] = c
				}
			}
			return f.CallStore.Forget(ctx, user)
		}
	}},
	{"the other side lists it", "Forget", callstest.RuleForget, func(f *fault) {
		of := map[string][]heymanito.Call{}
		f.forget = func(ctx context.Context, user string) error {
			calls, _ := f.CallStore.ByUser(ctx, user)
			for _, c := range calls {
				of[c.Callee] = append(of[c.Callee], c)
			}
			delete(of, user)
			return f.CallStore.Forget(ctx, user)
		}
		lists(func(_ *fault, user string, calls []heymanito.Call) []heymanito.Call {
			return append(of[user], calls...)
		})(f)
	}},

	{"the end of the one before", "ForgottenForGood", callstest.RuleLive, expiring(func(_, c heymanito.Call) (due time.Time) {
		if c.State == heymanito.CallEnded {
			due = c.Due
		}
		return due
	})},

	{"Create goes on", "EndedContext", callstest.RuleCtx, unaware("Create")},
	{"Get goes on", "EndedContext", callstest.RuleCtx, unaware("Get")},
	{"CompareAndSwap goes on", "EndedContext", callstest.RuleCtx, unaware("CompareAndSwap")},
	{"ByUser goes on", "EndedContext", callstest.RuleCtx, unaware("ByUser")},
	{"Due goes on", "EndedContext", callstest.RuleCtx, unaware("Due")},
	{"Forget goes on", "EndedContext", callstest.RuleCtx, unaware("Forget")},
	{"always Canceled", "EndedContext", callstest.RuleCtx, func(f *fault) {
		f.byUser = func(ctx context.Context, user string) ([]heymanito.Call, error) {
			calls, err := f.CallStore.ByUser(ctx, user)
			if err != nil {
				err = context.Canceled
			}
			return calls, err
		}
	}},

	{"one in 40 calls is not listed", "Model", callstest.RuleByUser, func(f *fault) {
		unlucky := nth(40)
		without(func(string, heymanito.Call) bool { return unlucky() })(f)
	}},
	{"one in 40 swaps is not made", "Model", callstest.RuleSwap, func(f *fault) {
		unlucky := nth(40)
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			if unlucky() {
				return f.there(c.ID), false, nil
			}
			return f.CallStore.CompareAndSwap(ctx, c)
		}
	}},
	{"one in 20 pairs is not looked at", "Model", callstest.RuleExists, func(f *fault) {
		unlucky := nth(20)
		creates(func(_ *fault, c heymanito.Call, got *heymanito.Call, err *error) {
			if *err != nil && got.ID != c.ID && unlucky() {
				*err = nil
			}
		})(f)
	}},
	{"one in 20 Dues is one short", "Model", callstest.RuleDue, func(f *fault) {
		unlucky := nth(20)
		dues(func(_ time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
			if unlucky() && len(due) > 0 {
				due = due[1:]
			}
			return split(due, rest, limit)
		})(f)
	}},

	{"looks first, creates then", "CreateTogether", callstest.RulePair, func(f *fault) {
		f.create = func(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
			calls, _ := f.CallStore.ByUser(ctx, c.Caller)
			if len(calls) > 0 {
				return calls[0], heymanito.ErrCallExists
			}
			time.Sleep(time.Millisecond)
			got, err := f.CallStore.Create(ctx, c)
			if err != nil {
				c.Order, c.Version = got.Order+1, 1
				return c, nil
			}
			return got, err
		}
	}},
	{"returns its own", "CreateTogether", callstest.RuleExists, creates(func(_ *fault, c heymanito.Call, got *heymanito.Call, err *error) {
		if *err != nil {
			got.Caller, got.Callee = c.Caller, c.Callee
		}
	})},

	{"the Order comes first", "OrderTogether", callstest.RuleLower, func(f *fault) {
		var mu sync.Mutex
		order := map[string]uint64{}
		last := uint64(0)
		given := func(c *heymanito.Call) {
			mu.Lock()
			defer mu.Unlock()
			if c.ID != "" {
				c.Order = order[c.ID]
			}
		}
		f.create = func(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
			mu.Lock()
			last++
			order[c.ID] = last
			mu.Unlock()
			time.Sleep(time.Duration(c.ID[0]%8) * time.Millisecond)
			got, err := f.CallStore.Create(ctx, c)
			given(&got)
			return got, err
		}
		lists(func(_ *fault, _ string, calls []heymanito.Call) []heymanito.Call {
			for i := range calls {
				given(&calls[i])
			}
			slices.SortFunc(calls, func(a, b heymanito.Call) int { return cmp.Compare(a.Order, b.Order) })
			return calls
		})(f)
	}},
	{"each two have one Order", "OrderTogether", callstest.RuleOrder, unordered(func(c heymanito.Call) uint64 { return c.Order/2 + 1 })},
	{"Orders from two ranges", "OrderTogether", callstest.RuleOrder, unordered(func(c heymanito.Call) uint64 { return c.Order + c.Order%2*1000 })},

	{"two steps", "SwapTogether", callstest.RuleSwap, inTwoSteps},
	{"nobody wins", "SwapTogether", callstest.RuleSwap, swapped(func(_ *fault, _ heymanito.Call, _ *heymanito.Call, ok *bool) { *ok = false })},
	{"who loses is told what was", "SwapTogether", callstest.RuleLost, func(f *fault) {
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			was := f.there(c.ID)
			time.Sleep(time.Millisecond)
			got, ok, err := f.CallStore.CompareAndSwap(ctx, c)
			if !ok {
				got = was
			}
			return got, ok, err
		}
	}},

	{"two steps", "NoChangeIsLost", callstest.RuleSwap, inTwoSteps},
	{"says so, and does not", "NoChangeIsLost", callstest.RuleSwap, func(f *fault) {
		unlucky := nth(30)
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			if unlucky() {
				return f.there(c.ID), true, nil
			}
			return f.CallStore.CompareAndSwap(ctx, c)
		}
	}},

	{"one direction", "PairTogether", callstest.RulePair, func(f *fault) {
		paired(func(c heymanito.Call) string { return c.Caller + " " + c.Callee })(f)
		create := f.create
		f.create = func(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
			got, err := create(ctx, c)
			time.Sleep(time.Millisecond) // others are there, too
			return got, err
		}
	}},
	{"one in 10 swaps is not made", "PairTogether", callstest.RuleSwap, func(f *fault) {
		unlucky := nth(10)
		f.swap = func(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
			if unlucky() {
				return f.there(c.ID), false, nil
			}
			return f.CallStore.CompareAndSwap(ctx, c)
		}
	}},

	{"one in 50 lists is turned round", "AllTogether", callstest.RuleByUser, func(f *fault) {
		unlucky := nth(50)
		lists(func(_ *fault, _ string, calls []heymanito.Call) []heymanito.Call {
			if unlucky() {
				slices.Reverse(calls)
			}
			return calls
		})(f)
	}},
	{"one in 10 Dues is one too many", "AllTogether", callstest.RuleDue, func(f *fault) {
		unlucky := nth(10)
		dues(func(_ time.Time, due, rest []heymanito.Call, limit int) ([]heymanito.Call, time.Time) {
			if unlucky() {
				limit = len(due)
				due = append(due, rest...)
				limit = max(limit+1, len(due))
			}
			return split(due, rest, limit)
		})(f)
	}},
	{"the same Version again", "AllTogether", callstest.RuleSwap, func(f *fault) {
		swapped(func(_ *fault, _ heymanito.Call, got *heymanito.Call, ok *bool) {
			if *ok {
				got.Version = 2
			}
		})(f)
	}},
	{"as many between two as they like", "AllTogether", callstest.RulePair, paired(func(c heymanito.Call) string { return c.ID })},
}

// lose makes the pair of c free, whoever has it.
func lose(f *fault, c heymanito.Call) {
	ctx := context.Background()
	calls, _ := f.CallStore.ByUser(ctx, c.Caller)
	for _, o := range calls {
		if exclusive(o) && (o.Caller == c.Callee || o.Callee == c.Callee) {
			// The server does not do that: who has been withheld stays so.
			o.Withheld = heymanito.CallRefused
			o, _, _ = f.CallStore.CompareAndSwap(ctx, o)
			o.Withheld = ""
			_, _, _ = f.CallStore.CompareAndSwap(ctx, o)
		}
	}
}

// withEnded is a store whose Due returns those that have ended, too, or counts
// them for next.
func withEnded(due bool) func(*fault) {
	return func(f *fault) {
		f.due = func(ctx context.Context, now time.Time, limit int) ([]heymanito.Call, time.Time, error) {
			got, next, err := f.CallStore.Due(ctx, now, limit)
			calls, _ := f.CallStore.ByUser(ctx, "ann")
			for _, c := range calls {
				switch {
				case c.State != heymanito.CallEnded:
				case due && !c.Due.After(now) && len(got) < limit:
					got = append(got, c)
				case !due && (next.IsZero() || c.Due.Before(next)):
					next = c.Due
				}
			}
			return got, next, err
		}
	}
}

// TestFaults shows that the suite fails when it should: every check has faults
// that it finds, for the right reason.
func TestFaults(t *testing.T) {
	proven, quoted, ran := map[string]bool{}, map[callstest.Rule]bool{}, 0
	for _, tt := range faults {
		proven[tt.check] = true
		t.Run(tt.check+"/"+tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				said := plantAndCheck(t, tt.plant, tt.check)
				if said == "" {
					t.Fatal("the check passes")
				}
				if !strings.Contains(said, fmt.Sprintf("%q", string(tt.rule))) {
					t.Errorf("want an error that quotes %q", tt.rule)
				}
				quoted[tt.rule] = true
				ran++
				t.Log(said)
			})
		})
	}
	for _, name := range callstest.CheckNames() {
		if !proven[name] {
			t.Errorf("no fault shows that check %s can fail", name)
		}
	}
	for _, rule := range callstest.Rules {
		if ran == len(faults) && !quoted[rule] {
			t.Errorf("no fault breaks %q", rule)
		}
	}
}

func plantAndCheck(t *testing.T, plant func(*fault), check string) string {
	return suite.Said(t, func(r testing.TB) {
		f := &fault{CallStore: heymanito.NewMemoryCalls()}
		plant(f)
		callstest.Check(r, check, f)
	})
}
