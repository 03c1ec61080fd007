package heymanito

import (
	"context"
	"iter"
	"time"
)

// Presence is what a [PresenceStore] knows of one user.
type Presence struct {
	// User is a chatPath (ValidChatPath); the caller has checked it.
	User string
	// Online says whether the user has a device, on any node.
	Online bool
	// SocketID is the socket id of the user's newest device; of the last one
	// when it is no longer connected.
	SocketID string
	// LastSeen is when the user went offline, by the store's clock, in whole
	// milliseconds; zero while online.
	LastSeen time.Time
}

// Edge is one change of presence, as Watch reports it.
type Edge struct {
	Presence
	// Moved is set when the user stays online and only SocketID changed.
	// When it is false the user just came online or went offline.
	Moved bool
}

// PresenceStore knows who is online, over all nodes of a cluster. The Server
// calls Set only when its own view of a user changes: with the first device,
// when another device becomes the newest, and when the last has gone for good.
//
// Implementations are safe for concurrent use. Set calls for one user come one
// at a time. All methods honour ctx and return its error when it ends first.
// heymanito/presencetest has the conformance suite.
type PresenceStore interface {
	// Set records this node's view of p.User: Online and SocketID count,
	// LastSeen is ignored. It is idempotent: setting what is already so
	// reports no edge. Setting offline a user who is not online changes
	// nothing, LastSeen included. When Set has returned, Online and Snapshot
	// of this node see the change. Set waits for no watcher.
	Set(ctx context.Context, p Presence) error
	// Online returns what is known of each of the users, in their order; a
	// user never seen is a Presence with only User set. A store may forget
	// last seen of users who have long been offline; it says how many it
	// keeps.
	Online(ctx context.Context, users []string) ([]Presence, error)
	// Snapshot yields every user who is online, each once, in no order. An
	// error ends it. It may run beside Set: a user who changes meanwhile may
	// be yielded as before or after.
	Snapshot(ctx context.Context) iter.Seq2[Presence, error]
	// Watch calls edge for every change from now on, by any node, until ctx
	// ends, and then returns ctx's error. It returns another error only when
	// it can no longer keep that promise: the caller watches again and takes
	// a Snapshot. It calls ready (which may be nil) exactly once, as soon as
	// it misses nothing any more; edges may come before that. Calls of edge
	// come one at a time and, for one user, in the order of the changes:
	// exactly one with Online and not Moved for each coming, one without
	// Online for each going. A Moved edge that has not been handed on when
	// the user moves again or goes may be left out. edge does not block for
	// long, may call the store, and is not called under a lock of the
	// store's.
	Watch(ctx context.Context, ready func(), edge func(Edge)) error
	// Forget erases everything about user, last seen included, without an
	// edge unless the user was online: then it is as if it had been set
	// offline first.
	Forget(ctx context.Context, user string) error
}
