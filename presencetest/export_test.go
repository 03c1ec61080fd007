package presencetest

import (
	"time"

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

// Check runs one of Run's subtests with less patience, and returns its error
// in place of failing.
func Check(name string, patience time.Duration, store heymanito.PresenceStore) error {
	for _, c := range checks {
		if c.name == name {
			return c.run(store, patience)
		}
	}
	panic("no check " + name)
}

// Rules are the sentences of the contract that failures quote.
var Rules = []rule{
	ruleSocketID, ruleLastSeen, ruleMoved, ruleCtx, ruleSet, ruleIdempotent,
	ruleVisible, ruleOnline, ruleSnapshot, ruleSnapshotE, ruleBeside, ruleWatch,
	ruleReady, ruleEdges, ruleCallback, ruleForget,
}

// Rule names for the planted faults.
const (
	RuleSocketID   = ruleSocketID
	RuleLastSeen   = ruleLastSeen
	RuleMoved      = ruleMoved
	RuleCtx        = ruleCtx
	RuleSet        = ruleSet
	RuleIdempotent = ruleIdempotent
	RuleVisible    = ruleVisible
	RuleOnline     = ruleOnline
	RuleSnapshot   = ruleSnapshot
	RuleSnapshotE  = ruleSnapshotE
	RuleBeside     = ruleBeside
	RuleWatch      = ruleWatch
	RuleReady      = ruleReady
	RuleEdges      = ruleEdges
	RuleCallback   = ruleCallback
	RuleForget     = ruleForget
)

type Rule = rule
