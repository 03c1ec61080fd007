package inboxtest

import (
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
func Check(
	t testing.TB, name string,
	open func(heymanito.InboxBounds) heymanito.Inbox,
	reopen func(heymanito.Inbox, heymanito.InboxBounds) heymanito.Inbox,
) {
	for _, c := range checks {
		if c.name == name {
			c.body(&rig{TB: t, open: open, reopen: reopen})
			return
		}
	}
	panic("no check " + name)
}

// Rules are the sentences of the contract that failures quote.
var Rules = []Rule{
	ruleAppend, ruleKey, ruleMark, ruleDuplicate, ruleFirst, ruleSeqs, ruleKeep, ruleSeq, ruleID, ruleSince,
	ruleHead, ruleOrder, ruleNobody, ruleFind, ruleNewest, ruleAck, ruleGiven, ruleForget, ruleErased, ruleGone, ruleHeads, ruleDone, ruleBegin, ruleTwice,
	ruleEpoch, ruleEpochs, ruleDropped, ruleBegan, ruleLost, ruleBounds, ruleTotal, ruleSafe, ruleError, ruleStats,
}

// Rule names for the planted faults.
const (
	RuleAppend    = ruleAppend
	RuleKey       = ruleKey
	RuleMark      = ruleMark
	RuleDuplicate = ruleDuplicate
	RuleFirst     = ruleFirst
	RuleSeqs      = ruleSeqs
	RuleKeep      = ruleKeep
	RuleSeq       = ruleSeq
	RuleID        = ruleID
	RuleSince     = ruleSince
	RuleHead      = ruleHead
	RuleOrder     = ruleOrder
	RuleNobody    = ruleNobody
	RuleFind      = ruleFind
	RuleNewest    = ruleNewest
	RuleAck       = ruleAck
	RuleGiven     = ruleGiven
	RuleForget    = ruleForget
	RuleErased    = ruleErased
	RuleGone      = ruleGone
	RuleHeads     = ruleHeads
	RuleDone      = ruleDone
	RuleBegin     = ruleBegin
	RuleTwice     = ruleTwice
	RuleEpoch     = ruleEpoch
	RuleEpochs    = ruleEpochs
	RuleDropped   = ruleDropped
	RuleBegan     = ruleBegan
	RuleLost      = ruleLost
	RuleBounds    = ruleBounds
	RuleTotal     = ruleTotal
	RuleSafe      = ruleSafe
	RuleError     = ruleError
	RuleStats     = ruleStats
)

type Rule = rule
