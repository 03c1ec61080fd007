package callstest

import (
	"reflect"
	"testing"

	"github.com/heymanito/heymanito"
)

// CheckNames are the names of Run's subtests.
func CheckNames() []string {
	var names []string
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}

// Check runs one of Run's subtests, for t.
func Check(t testing.TB, name string, store heymanito.CallStore) {
	for _, c := range checks {
		if c.name == name {
			c.body(&rig{TB: t, store: store})
			return
		}
	}
	panic("no check " + name)
}

// Filled is a call in which no field is zero.
func Filled(n int) heymanito.Call { return filled(n, "1", "bob") }

// Difference says in what got differs from want.
func Difference(got, want heymanito.Call) string { return difference(got, want) }

// Fill fills what v points to.
func Fill(v any, n int) { fill(reflect.ValueOf(v).Elem(), &n) }

// Rules are the sentences of the contract that failures quote.
var Rules = []Rule{
	ruleSeen, ruleKeep, ruleSlices, ruleLive, ruleEnded, ruleCtx, ruleOrder, ruleLower, rulePair, ruleExists,
	ruleGet, ruleSwap, ruleLost, ruleByUser, ruleDue, ruleNext, ruleForget,
}

// Rule names for the planted faults.
const (
	RuleSeen   = ruleSeen
	RuleKeep   = ruleKeep
	RuleSlices = ruleSlices
	RuleLive   = ruleLive
	RuleEnded  = ruleEnded
	RuleCtx    = ruleCtx
	RuleOrder  = ruleOrder
	RuleLower  = ruleLower
	RulePair   = rulePair
	RuleExists = ruleExists
	RuleGet    = ruleGet
	RuleSwap   = ruleSwap
	RuleLost   = ruleLost
	RuleByUser = ruleByUser
	RuleDue    = ruleDue
	RuleNext   = ruleNext
	RuleForget = ruleForget
)

type Rule = rule
