// Package callstest checks that a [heymanito.CallStore] keeps its contract. A
// store's test calls [Run]:
//
//	func TestCalls(t *testing.T) {
//		callstest.Run(t, func(t *testing.T) heymanito.CallStore {
//			return mystore.New(t.TempDir())
//		})
//	}
//
// A failure quotes the sentence of the contract that was broken.
package callstest

import (
	"testing"
	"testing/synctest"

	"github.com/heymanito/heymanito"
)

// Option says something about the stores that [Run] checks.
type Option func(*config)

type config struct{ realTime bool }

// RealTime is for stores that wait for something outside of the test, a server
// for instance, and so cannot be in a bubble of [testing/synctest], where Run
// checks them otherwise. What has to do with the passing of time is then
// skipped. Files, locks and goroutines of the store's own are no reason for it.
func RealTime() Option {
	return func(c *config) { c.realTime = true }
}

// Run checks the stores that newStore returns against the contract of
// [heymanito.CallStore], in subtests of t that run one after another.
//
// newStore is called once for each of the subtests, with that subtest's t, and
// returns a store that has no calls; it registers what has to be stopped with
// t.Cleanup. It is called in a bubble of [testing/synctest], see [RealTime]: time
// stands still while the store works, and years pass in no time. So a store
// takes its time from time.Now, and a goroutine that it starts ends with the
// Cleanup.
//
// Run makes some ten thousand calls of the store's methods, up to 100 of them
// at a time.
//
// One store is checked as one node; what two nodes make of the same call is not
// covered.
func Run(t *testing.T, newStore func(t *testing.T) heymanito.CallStore, opts ...Option) {
	t.Helper()
	c := config{}
	for _, o := range opts {
		o(&c)
	}
	for _, check := range checks {
		t.Run(check.name, func(t *testing.T) {
			body := func(t *testing.T) {
				check.body(&rig{TB: t, store: newStore(t), realTime: c.realTime})
			}
			switch {
			case !c.realTime:
				synctest.Test(t, body)
			case check.clock:
				t.Skip("time cannot be moved: see callstest.RealTime")
			default:
				body(t)
			}
		})
	}
}

// A check is one subtest of Run.
type check struct {
	name  string
	clock bool // time is moved
	body  func(*rig)
}

// A rule is a sentence of the contract, word for word; a test compares them
// with callstore.go.
type rule string

const (
	ruleSeen   rule = "what a method has changed is seen by every call that begins when it has returned."
	ruleKeep   rule = "They keep a Call as it is, times to the millisecond; but for Order and Version, and for CallerInfo and Attachments, which they may drop once it has ended."
	ruleSlices rule = "A slice of calls that was returned is the caller's; what is in a call is nobody's to change."
	ruleLive   rule = "A call that has not ended is kept, however long ago its Due was."
	ruleEnded  rule = "One that has ended is forgotten at its Due, or at most a minute later: then it is as if it had never been."
	ruleCtx    rule = "All methods honour ctx and return its error when it ends first;"
	ruleOrder  rule = "Create adds a call and sets its Version and its Order, which is above 0 and higher than that of every call created before."
	ruleLower  rule = "Whoever has got one can see all that have a lower one."
	rulePair   rule = "Among the calls that have not ended and are not Withheld there is at most one between two users, whoever has called whom:"
	ruleExists rule = "if there is one already, or one with this ID, Create adds nothing and returns that one with [ErrCallExists]."
	ruleGet    rule = "Get returns the call with an ID, and false when there is none."
	ruleSwap   rule = "CompareAndSwap replaces the call with c's ID by c if its Version is still c's, and returns c with a Version that it never had, and true."
	ruleLost   rule = "Else it changes nothing and returns what there is now, and false; a zero Call when there is none."
	ruleByUser rule = "ByUser returns the calls of which a user is the caller or the callee, by Order, those that are Withheld, or have ended and are not forgotten, included."
	ruleDue    rule = "Due returns calls that have not ended and whose Due is at or before now, at most limit of them, which is above 0, those with the earliest Due first;"
	ruleNext   rule = "and next, the earliest Due of the others that have not ended, zero when there are none."
	ruleForget rule = "Forget erases the calls of which a user is the caller or the callee."
)

var checks = []check{
	{"Create", false, checkCreate},
	{"OneBetweenTwo", false, checkPair},
	{"PairIsFree", false, checkPairIsFree},
	{"Withheld", false, checkWithheld},
	{"SameID", false, checkSameID},
	{"Names", false, checkNames},
	{"KeepsAll", false, checkKeepsAll},
	{"Get", false, checkGet},
	{"CompareAndSwap", false, checkSwap},
	{"LostRace", false, checkLostRace},
	{"ByUser", false, checkByUser},
	{"Answers", false, checkAnswers},
	{"Due", false, checkDue},
	{"DueMoves", false, checkDueMoves},
	{"DuePages", false, checkDuePages},
	{"EndedAreForgotten", true, checkEnded},
	{"LiveAreKept", true, checkLive},
	{"Forget", false, checkForget},
	{"ForgottenForGood", true, checkForgottenForGood},
	{"EndedContext", false, checkEndedContext},
	{"Model", false, checkModel},
	{"CreateTogether", false, checkCreateTogether},
	{"OrderTogether", false, checkOrderTogether},
	{"SwapTogether", false, checkSwapTogether},
	{"NoChangeIsLost", false, checkNoChangeIsLost},
	{"PairTogether", false, checkPairTogether},
	{"AllTogether", false, checkAllTogether},
}
