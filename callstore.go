package heymanito

import (
	"context"
	"errors"
	"time"
)

// CallStore keeps the calls there are, over all nodes of a cluster: who changes
// one is decided here. [NewMemoryCalls] is the default. callstest checks an
// implementation of this contract.
//
// Implementations are safe for concurrent use, and what a method has changed is
// seen by every call that begins when it has returned. They keep a Call as it
// is, times to the millisecond; but for Order and Version, and for CallerInfo
// and Attachments, which they may drop once it has ended. A slice of calls that
// was returned is the caller's; what is in a call is nobody's to change.
//
// A call that has not ended is kept, however long ago its Due was. One that has
// ended is forgotten at its Due, or at most a minute later: then it is as if it
// had never been.
//
// All methods honour ctx and return its error when it ends first; other errors
// are for trouble of the store's own, which the server answers as
// CodeUnavailable. An error may leave the change made all the same. The life of
// a store is the host's.
type CallStore interface {
	// Create adds a call and sets its Version and its Order, which is above 0
	// and higher than that of every call created before. Whoever has got one
	// can see all that have a lower one. Among the calls that have not ended and
	// are not Withheld there is at most one between two users, whoever has
	// called whom: if there is one already, or one with this ID, Create adds
	// nothing and returns that one with [ErrCallExists]. So Creates come one
	// after another, over all nodes, or those of the same user at least.
	Create(ctx context.Context, c Call) (Call, error)

	// Get returns the call with an ID, and false when there is none.
	Get(ctx context.Context, id string) (Call, bool, error)

	// CompareAndSwap replaces the call with c's ID by c if its Version is still
	// c's, and returns c with a Version that it never had, and true. Else it
	// changes nothing and returns what there is now, and false; a zero Call when
	// there is none. The server sees to it that c has the Caller, the Callee and
	// the Order of what it replaces, that it has ended if that has, and that it
	// is Withheld if that is.
	CompareAndSwap(ctx context.Context, c Call) (Call, bool, error)

	// ByUser returns the calls of which a user is the caller or the callee, by
	// Order, those that are Withheld, or have ended and are not forgotten,
	// included.
	ByUser(ctx context.Context, user string) ([]Call, error)

	// Due returns calls that have not ended and whose Due is at or before now,
	// at most limit of them, which is above 0, those with the earliest Due
	// first; and next, the earliest Due of the others that have not ended, zero
	// when there are none.
	Due(ctx context.Context, now time.Time, limit int) (due []Call, next time.Time, err error)

	// Forget erases the calls of which a user is the caller or the callee. It
	// tells nobody: whoever calls it sees to it that they have ended.
	Forget(ctx context.Context, user string) error
}

// ErrCallExists is what [CallStore].Create returns, wrapped or not, with the
// call that is in the way.
var ErrCallExists = errors.New("heymanito: there is a call between the two already")

// ErrCallsFull is what the memory store's Create returns when there is no room
// for another call.
var ErrCallsFull = errors.New("heymanito: too many calls at a time")
