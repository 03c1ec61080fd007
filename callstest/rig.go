package callstest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
)

// A rig is a store under test. What it does besides calling the store is to
// check what holds of every answer.
type rig struct {
	testing.TB
	store    heymanito.CallStore
	realTime bool
	order    uint64              // the highest there was
	versions map[string][]uint64 // that each call has had
}

// broken fails the test of a store that did what format says, against the rule.
func (r *rig) broken(s rule, format string, args ...any) {
	r.Helper()
	r.Fatal(broken(s, format, args...))
}

// broken is the error of a store that did what format says, against the rule.
func broken(s rule, format string, args ...any) error {
	return fmt.Errorf("%s\n\tbut the contract says: %q", fmt.Sprintf(format, args...), string(s))
}

// now is in whole milliseconds, as all times of a call are.
func (r *rig) now() time.Time { return time.Now().Truncate(time.Millisecond) }

// id is an ID as the server makes them, the same for the same name.
func id(name string) string {
	sum := sha256.Sum256([]byte(name))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// call is a call that rings.
func (r *rig) call(caller, callee, name string) heymanito.Call {
	now := r.now()
	return heymanito.Call{
		ID: id(name), Room: "hm_" + id(name), Caller: caller, Callee: callee, Media: "audio",
		State: heymanito.CallRinging, Time: now, Started: now,
		Expires: now.Add(45 * time.Second), Due: now.Add(45 * time.Second),
	}
}

// withheld is a call that the callee is not told of.
func (r *rig) withheld(caller, callee, name string) heymanito.Call {
	c := r.call(caller, callee, name)
	c.Withheld = heymanito.CallRefused
	return c
}

// ended is c when it has ended; the store keeps it for a day.
func (r *rig) ended(c heymanito.Call) heymanito.Call {
	c.State, c.Reason, c.Ended = heymanito.CallEnded, heymanito.CallDeclined, r.now()
	c.Due = c.Ended.Add(24 * time.Hour)
	return c
}

// create creates a call, which nothing is in the way of.
func (r *rig) create(c heymanito.Call) heymanito.Call {
	r.Helper()
	got, err := r.store.Create(context.Background(), c)
	if errors.Is(err, heymanito.ErrCallExists) {
		r.broken(rulePair, "Create of %s says that there is %s", describe(c), describe(got))
	}
	if err != nil {
		r.Fatalf("Create of %s: %v", describe(c), err)
	}
	if got.Order <= r.order {
		r.broken(ruleOrder, "Create of %s has set the Order %d, there was %d before", describe(c), got.Order, r.order)
	}
	r.order = got.Order
	c.Order, c.Version = got.Order, got.Version
	if what := difference(got, c); what != "" {
		r.broken(ruleKeep, "Create returned another call: %s", what)
	}
	if r.versions == nil {
		r.versions = map[string][]uint64{}
	}
	r.versions[c.ID] = []uint64{got.Version}
	return c
}

// exists checks that the call there is in the way of c.
func (r *rig) exists(s rule, c, there heymanito.Call) {
	r.Helper()
	got, err := r.store.Create(context.Background(), c)
	if err == nil {
		r.broken(s, "Create has created %s, and there was %s", describe(c), describe(there))
	}
	if !errors.Is(err, heymanito.ErrCallExists) {
		r.broken(ruleExists, "there was %s, and Create of %s returned the error: %v", describe(there), describe(c), err)
	}
	if what := difference(got, there); what != "" {
		r.broken(ruleExists, "Create of %s returned with ErrCallExists not %s: %s", describe(c), describe(there), what)
	}
	r.has(ruleExists, there)
	if c.ID != there.ID {
		r.lacks(ruleExists, c.ID)
	}
}

func (r *rig) get(id string) (heymanito.Call, bool) {
	r.Helper()
	c, ok, err := r.store.Get(context.Background(), id)
	if err != nil {
		r.Fatalf("Get: %v", err)
	}
	return c, ok
}

// has checks that the store has these calls, as they are.
func (r *rig) has(s rule, want ...heymanito.Call) {
	r.Helper()
	for _, c := range want {
		got, ok := r.get(c.ID)
		if !ok {
			r.broken(s, "Get has not found %s", describe(c))
		}
		if what := difference(got, c); what != "" {
			r.broken(s, "Get has not found %s as it was: %s", describe(c), what)
		}
	}
}

// lacks checks that there is no call with this ID.
func (r *rig) lacks(s rule, id string) {
	r.Helper()
	switch got, ok := r.get(id); {
	case ok:
		r.broken(s, "Get has found %s", describe(got))
	case difference(got, heymanito.Call{}) != "":
		r.broken(ruleGet, "Get returned %s, and false", describe(got))
	}
}

// swap changes a call that is as c says, but for what is changed.
func (r *rig) swap(c heymanito.Call) heymanito.Call {
	r.Helper()
	got, ok, err := r.store.CompareAndSwap(context.Background(), c)
	if err != nil {
		r.Fatalf("CompareAndSwap of %s: %v", describe(c), err)
	}
	if !ok {
		r.broken(ruleSwap, "CompareAndSwap of %s with its Version %d returned false, and %s", describe(c), c.Version, describe(got))
	}
	if slices.Contains(r.versions[c.ID], got.Version) {
		r.broken(ruleSwap, "CompareAndSwap of %s returned the Version %d, it has had %d", describe(c), got.Version, r.versions[c.ID])
	}
	r.versions[c.ID] = append(r.versions[c.ID], got.Version)
	c.Version = got.Version
	if what := difference(got, c); what != "" {
		r.broken(ruleSwap, "CompareAndSwap returned another call: %s", what)
	}
	return c
}

// end is swap to what ended makes of c.
func (r *rig) end(c heymanito.Call) heymanito.Call {
	r.Helper()
	return r.swap(r.ended(c))
}

// loses checks that c is not what there is any more, which is there.
func (r *rig) loses(c, there heymanito.Call) {
	r.Helper()
	got, ok, err := r.store.CompareAndSwap(context.Background(), c)
	if err != nil {
		r.Fatalf("CompareAndSwap of %s: %v", describe(c), err)
	}
	if ok {
		r.broken(ruleSwap, "CompareAndSwap of %s with the Version %d returned true, its Version was %d", describe(c), c.Version, there.Version)
	}
	if what := difference(got, there); what != "" {
		r.broken(ruleLost, "CompareAndSwap of %s with the Version %d returned something else than there is: %s", describe(c), c.Version, what)
	}
	if there.ID == "" {
		r.lacks(ruleLost, c.ID)
	} else {
		r.has(ruleLost, there)
	}
}

func (r *rig) byUser(user string) []heymanito.Call {
	r.Helper()
	calls, err := r.store.ByUser(context.Background(), user)
	if err != nil {
		r.Fatalf("ByUser(%q): %v", user, err)
	}
	return calls
}

// lists checks what ByUser returns.
func (r *rig) lists(s rule, user string, want ...heymanito.Call) {
	r.Helper()
	r.same(s, fmt.Sprintf("ByUser(%q)", user), r.byUser(user), want)
}

// same compares calls one by one.
func (r *rig) same(s rule, what string, got, want []heymanito.Call) {
	r.Helper()
	for i, c := range got {
		if i >= len(want) || c.ID != want[i].ID {
			r.broken(s, "%s returned\n\t%s, want\n\t%s", what, describeAll(got), describeAll(want))
		}
		if differs := difference(c, want[i]); differs != "" {
			r.broken(ruleKeep, "%s returned %s not as it is: %s", what, describe(c), differs)
		}
	}
	if len(got) < len(want) {
		r.broken(s, "%s returned\n\t%s, want\n\t%s", what, describeAll(got), describeAll(want))
	}
}

func (r *rig) due(now time.Time, limit int) (due []heymanito.Call, next time.Time) {
	r.Helper()
	due, next, err := r.store.Due(context.Background(), now, limit)
	if err != nil {
		r.Fatalf("Due: %v", err)
	}
	return due, next
}

// isDue checks what Due returns.
func (r *rig) isDue(now time.Time, limit int, next time.Time, want ...heymanito.Call) {
	r.Helper()
	due, gotNext := r.due(now, limit)
	what := fmt.Sprintf("Due(%s, %d)", stamp(now), limit)
	r.same(ruleDue, what, due, want)
	if !gotNext.Equal(next) {
		r.broken(ruleNext, "%s returned the next %s, want %s", what, stamp(gotNext), stamp(next))
	}
}

func (r *rig) forget(user string) {
	r.Helper()
	if err := r.store.Forget(context.Background(), user); err != nil {
		r.Fatalf("Forget(%q): %v", user, err)
	}
}

func describe(c heymanito.Call) string {
	state := string(c.State)
	if c.Withheld != "" {
		state += ", withheld"
	}
	return fmt.Sprintf("%.40q's call of %.40q (%s, Order %d, Due %s)", c.Caller, c.Callee, state, c.Order, stamp(c.Due))
}

func describeAll(cs []heymanito.Call) string {
	if len(cs) == 0 {
		return "none"
	}
	var all []string
	for _, c := range cs[:min(len(cs), 10)] {
		all = append(all, describe(c))
	}
	if n := len(cs) - 10; n > 0 {
		all = append(all, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(all, ", ")
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "zero"
	}
	return t.UTC().Format("15:04:05.000")
}
