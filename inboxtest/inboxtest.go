// Package inboxtest checks that a [heymanito.Inbox] keeps its contract. A
// store's test calls [Run]:
//
//	func TestInbox(t *testing.T) {
//		inboxtest.Run(t, func(t *testing.T, b heymanito.InboxBounds) heymanito.Inbox {
//			return mystore.New(t.TempDir(), b)
//		})
//	}
//
// A failure quotes the sentence of the contract that was broken.
package inboxtest

import (
	"testing"
	"testing/synctest"

	"github.com/heymanito/heymanito"
)

// Option says something about the stores that [Run] checks.
type Option func(*config)

type config struct {
	reopen   func(*testing.T, heymanito.Inbox, heymanito.InboxBounds) heymanito.Inbox
	realTime bool
}

// Reopen is for stores that survive the end of their process. reopen closes a
// store, and opens what it has left behind with the same bounds; Run then
// checks that nothing is missing.
func Reopen(reopen func(t *testing.T, store heymanito.Inbox, b heymanito.InboxBounds) heymanito.Inbox) Option {
	return func(c *config) { c.reopen = reopen }
}

// RealTime is for stores that wait for something outside of the test, a server
// for instance, and so cannot be in a bubble of [testing/synctest], where Run
// checks them otherwise. What has to do with age is then skipped. Files, locks
// and goroutines of the store's own are no reason for it.
func RealTime() Option {
	return func(c *config) { c.realTime = true }
}

// Run checks the stores that open returns against the contract of
// [heymanito.Inbox], in subtests of t that run one after another.
//
// open returns an empty store with the bounds b, of which those that are zero
// have their defaults. It is called once or several times in each of the
// subtests, with that subtest's t, and registers what has to be stopped with
// t.Cleanup. It is called in a bubble of [testing/synctest], see [RealTime]: time
// stands still while the store works, and years pass in no time. So a store
// takes its time from time.Now, and a goroutine that it starts ends with the
// Cleanup.
//
// A store that has a method Stats() heymanito.InboxStats has it checked, too.
//
// Run appends some 60,000 entries in some thousands of calls, up to a thousand
// of them at a time.
func Run(t *testing.T, open func(t *testing.T, b heymanito.InboxBounds) heymanito.Inbox, opts ...Option) {
	t.Helper()
	c := config{}
	for _, o := range opts {
		o(&c)
	}
	for _, check := range checks {
		t.Run(check.name, func(t *testing.T) {
			body := func(t *testing.T) {
				r := &rig{TB: t, open: func(b heymanito.InboxBounds) heymanito.Inbox { return open(t, b) }}
				if c.realTime {
					r.fixed = r.now()
				}
				if c.reopen != nil {
					r.reopen = func(store heymanito.Inbox, b heymanito.InboxBounds) heymanito.Inbox {
						return c.reopen(t, store, b)
					}
				}
				check.body(r)
			}
			switch {
			case check.needs&reopening != 0 && c.reopen == nil:
				t.Skip("for stores that survive the end of their process: see inboxtest.Reopen")
			case !c.realTime:
				synctest.Test(t, body)
			case check.needs&clock != 0:
				t.Skip("time cannot be moved: see inboxtest.RealTime")
			default:
				body(t)
			}
		})
	}
}

// A check is one subtest of Run.
type check struct {
	name  string
	needs need
	body  func(*rig)
}

type need uint8

const (
	clock     need = 1 << iota // time is moved
	reopening                  // the store is closed and opened
)

// A rule is a sentence of the contract, word for word; a test compares them
// with inbox.go.
type rule string

const (
	ruleAppend    rule = "Append adds entries, each at the end of its User's inbox, all of them or none, and returns a Receipt for each."
	ruleKey       rule = "without a Mark, one of the same User, Event, Peer and ID, for as long as that one is kept, and beyond that while it is less than 24 hours old and among the last 10,000 of its User, unless a store runs out of its total bounds;"
	ruleMark      rule = "with a Mark, one of the same User, Event and Peer whose Mark was not lower, or one that Covers this Event; Marks are kept until Forget, or until a store runs out of its total bounds."
	ruleDuplicate rule = "A duplicate is not appended, its Receipt is the first one's; with a Mark, that of the one that raised it to where it is."
	ruleFirst     rule = "When the first of entries is a duplicate, none is appended, and the other receipts are zero."
	ruleSeqs      rule = "The seqs of a user are handed out without gaps, in an order that agrees with that of the calls: what is appended after Append has returned comes later."
	ruleKeep      rule = "The store keeps Body and Attachments as they are: nobody changes them afterwards."
	ruleSeq       rule = "set by the store; Append ignores it"
	ruleID        rule = "the message's id as JSON: `1` and `\"1\"` differ;"
	ruleSince     rule = "Since returns the entries of a user behind the seq after, oldest first and without gaps, at most limit of them; fewer, but at least one of those there are, where they are big."
	ruleHead      rule = "With limit 0 it returns the Head alone."
	ruleOrder     rule = "Entries appear in the order of their seqs: whoever has seen one has seen, or can read, all before it that are kept."
	ruleNobody    rule = "A user nobody ever wrote to has an empty inbox."
	ruleFind      rule = "Find returns the Receipt of an entry by what makes it unique, as that of a duplicate, and false when none is known: one that was dropped is, for as long as a duplicate of it is."
	ruleNewest    rule = "With an empty id it is the newest one of that event and peer whose Seq is at most through."
	ruleAck       rule = "AckThrough raises Head.Given of a user to seq, and never lowers it; more than Head.Last counts as Last."
	ruleGiven     rule = "An entry with an Origin that is appended right behind Given raises it: the device that acted has it."
	ruleForget    rule = "Forget erases a user: the inbox, what is known of its duplicates, and what others' inboxes have of this user as their Peer: the Marks, what is known of duplicates, and the entries."
	ruleErased    rule = "An entry that another user's inbox keeps stays in its place as [Erased] makes it, and counts what that takes."
	ruleGone      rule = "What was erased is not found any more, and the same appended again is new."
	ruleHeads     rule = "The Heads of the others stay as they are."
	ruleDone      rule = "When it returns nil, all that was appended before it was called is erased, as safely as Append appends."
	ruleBegin     rule = "An inbox that begins anew, after Forget or because a total bound has dropped all that was known of its user, begins behind the highest seq of any that ended so: Last, Given and Dropped of a user of whom nothing is known stand there."
	ruleTwice     rule = "So within an Epoch no seq is handed to a user twice."
	ruleEpoch     rule = "Epoch changes when a store has lost what it had; seqs of different epochs cannot be compared."
	ruleEpochs    rule = "It is the same for all users of a store, at most 64 bytes of ASCII."
	ruleDropped   rule = "up to here entries may have been dropped: none before it is kept"
	ruleBegan     rule = "Began is where the inbox began: nothing of this user's was dropped at or before it, and nothing at all while Dropped is the same."
	ruleLost      rule = "It is 0 when a total bound may have ended an inbox of the same user before."
	ruleBounds    rule = "What goes beyond a bound makes room by dropping the oldest entries, and is counted ([InboxStats].Dropped); but an Append never drops what it appends itself."
	ruleTotal     rule = "Total bounds the bytes of all users together, overhead included: beyond it the oldest entries of all go first."
	ruleSafe      rule = "When it returns nil they are as safe as the store makes them."
	ruleError     rule = "An error may leave them appended all the same: the next Append of the same entries tells."
	ruleStats     rule = "InboxStats are the numbers of a store."
)

var checks = []check{
	{"Append", 0, checkAppend},
	{"Names", 0, checkNames},
	{"Duplicates", 0, checkDuplicates},
	{"FirstIsDuplicate", 0, checkFirst},
	{"DuplicatesOfDropped", 0, checkDroppedDuplicates},
	{"DuplicatesByAge", clock, checkDuplicateAge},
	{"DuplicatesByCount", 0, checkDuplicateCount},
	{"Marks", 0, checkMarks},
	{"Covers", 0, checkCovers},
	{"MarksStay", 0, checkMarksStay},
	{"MarksStayForYears", clock, checkMarksStayForYears},
	{"Since", 0, checkSince},
	{"SinceBig", 0, checkSinceBig},
	{"Find", 0, checkFind},
	{"AckThrough", 0, checkAckThrough},
	{"Given", 0, checkGiven},
	{"BoundEntries", 0, checkBoundEntries},
	{"BoundBytes", 0, checkBoundBytes},
	{"BoundAge", clock, checkBoundAge},
	{"BoundTotal", 0, checkBoundTotal},
	{"InventedNames", 0, checkInventedNames},
	{"TotalOverhead", 0, checkTotalOverhead},
	{"KeepsOwn", 0, checkKeepsOwn},
	{"Forget", 0, checkForget},
	{"Erased", 0, checkErased},
	{"ErasedByAge", clock, checkErasedAge},
	{"ErasedMany", 0, checkErasedMany},
	{"ErasedTogether", 0, checkErasedTogether},
	{"BeginsBehind", 0, checkBegin},
	{"BeginsAfterLoss", 0, checkBeginAfterLoss},
	{"Epoch", 0, checkEpoch},
	{"Model", 0, checkModel},
	{"AppendTogether", 0, checkAppendTogether},
	{"ReadTogether", 0, checkReadTogether},
	{"InFlight", 0, checkInFlight},
	{"MarksInFlight", 0, checkMarksInFlight},
	{"AllTogether", 0, checkAllTogether},
	{"EndedContext", 0, checkEndedContext},
	{"ContextEnds", 0, checkContextEnds},
	{"Reopen", reopening, checkReopen},
}
