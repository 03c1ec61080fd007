// Package presencetest checks that a [heymanito.PresenceStore] keeps its
// contract. A store's test calls [Run]:
//
//	func TestPresence(t *testing.T) {
//		presencetest.Run(t, func(t *testing.T) heymanito.PresenceStore {
//			return mystore.New(t.TempDir())
//		})
//	}
//
// A failure quotes the sentence of the contract that was broken.
package presencetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
)

// patience is how long Run waits for a call to return and for the next edge to
// come. It is long, because a store that is merely slow keeps its contract.
const patience = 10 * time.Second

// Run checks the stores that newStore returns against the contract of
// [heymanito.PresenceStore], in subtests of t that run one after another.
//
// newStore is called once for each of the subtests, with that subtest's t, and
// returns a store that knows of no user yet; it registers what has to be
// stopped with t.Cleanup. The store may be slow: nothing fails that happens
// within ten seconds. Run makes some thousands of calls, up to eight at a time,
// which takes well under a second in memory.
//
// One store is checked as one node. What two nodes make of the same user is
// not covered, nor what becomes of a store that is cut off from its server.
func Run(t *testing.T, newStore func(t *testing.T) heymanito.PresenceStore) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(newStore(t), patience); err != nil {
				t.Error(err)
			}
		})
	}
}

// A check is one subtest of Run. It returns what is wrong, not a *testing.T's
// failure, so that the tests of this package can watch it fail.
type check struct {
	name string
	body func(r *rig) error
}

func (c check) run(store heymanito.PresenceStore, patience time.Duration) error {
	r := &rig{store: store, patience: patience}
	err := c.body(r)
	// What the body has not finished, because it failed or because it did not
	// care how its watches end, ends here; a Watch that does not is reported
	// where that is the question.
	late, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, w := range r.watches {
		w.cancel()
	}
	for _, w := range r.watches {
		select {
		case <-w.ended:
		case <-late.Done():
		}
	}
	return err
}

// A rule is a sentence of the contract, word for word; a test compares them
// with presencestore.go.
type rule string

const (
	ruleSocketID   rule = "SocketID is the socket id of the user's newest device; of the last one when it is no longer connected."
	ruleLastSeen   rule = "LastSeen is when the user went offline, by the store's clock, in whole milliseconds; zero while online."
	ruleMoved      rule = "Moved is set when the user stays online and only SocketID changed. When it is false the user just came online or went offline."
	ruleCtx        rule = "All methods honour ctx and return its error when it ends first."
	ruleSet        rule = "Set records this node's view of p.User: Online and SocketID count, LastSeen is ignored."
	ruleIdempotent rule = "It is idempotent: setting what is already so reports no edge."
	ruleVisible    rule = "When Set has returned, Online and Snapshot of this node see the change."
	ruleOnline     rule = "Online returns what is known of each of the users, in their order; a user never seen is a Presence with only User set."
	ruleSnapshot   rule = "Snapshot yields every user who is online, each once, in no order."
	ruleSnapshotE  rule = "An error ends it."
	ruleBeside     rule = "It may run beside Set: a user who changes meanwhile may be yielded as before or after."
	ruleWatch      rule = "Watch calls edge for every change from now on, by any node, until ctx ends, and then returns ctx's error."
	ruleReady      rule = "It calls ready (which may be nil) exactly once, as soon as it misses nothing any more; edges may come before that."
	ruleEdges      rule = "Calls of edge come one at a time and, for one user, in the order of the changes: exactly one with Online and not Moved for each coming, one without Online for each going."
	ruleCallback   rule = "edge does not block for long, may call the store, and is not called under a lock of the store's."
	ruleForget     rule = "Forget erases everything about user, last seen included, without an edge unless the user was online: then it is as if it had been set offline first."
)

// broken is the error of a store that did what format says, against the rule.
func (s rule) broken(format string, args ...any) error {
	return fmt.Errorf("%w\n\tbut the contract says: %q", fmt.Errorf(format, args...), string(s))
}

var checks = []check{
	{"SetIsVisible", checkVisible},
	{"LastSeen", checkLastSeenOverTime},
	{"Online", checkOnline},
	{"Names", checkNames},
	{"Snapshot", checkSnapshot},
	{"SnapshotBreak", checkSnapshotBreak},
	{"SnapshotCancelled", checkSnapshotCancelled},
	{"SnapshotCallsStore", checkSnapshotCallsStore},
	{"SnapshotBesideSet", checkSnapshotBesideSet},
	{"Edges", checkEdges},
	{"SetIsIdempotent", checkIdempotent},
	{"EdgesUnderChurn", checkChurn},
	{"WatchReady", checkReady},
	{"WatchFromNowOn", checkFromNowOn},
	{"WatchOneAtATime", checkOneAtATime},
	{"WatchCallsStore", checkCallback},
	{"WatchSlow", checkSlow},
	{"WatchEnds", checkEnds},
	{"WatchLeavesNothing", checkLeavesNothing},
	{"Forget", checkForget},
	{"CancelledContext", checkCancelled},
}
