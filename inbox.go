package heymanito

import (
	"context"
	"fmt"
	"time"
)

// Inbox keeps what users are told, so that nothing that was acked is lost and
// nothing is shown twice. Every user has one, which grows by one seq for each
// entry; devices read it from where they left off, and bounds drop its oldest
// entries. [NewMemoryInbox] is the default; boltinbox survives a restart.
// inboxtest checks an implementation of this contract.
//
// Implementations are safe for concurrent use. A call whose ctx has ended may
// fail with its error; what an Append had begun may be appended all the same.
// Other errors are for trouble of the store's own, a full disk or a lost
// connection: the server answers them as CodeUnavailable, and the client sends
// again. The life of a store is the host's: the Server does not close it.
type Inbox interface {
	// Append adds entries, each at the end of its User's inbox, all of them or
	// none, and returns a Receipt for each. When it returns nil they are as
	// safe as the store makes them. An error may leave them appended all the
	// same: the next Append of the same entries tells.
	//
	// An entry is a duplicate when one like it was appended before:
	//
	//   - without a Mark, one of the same User, Event, Peer and ID, for as long
	//     as that one is kept, and beyond that while it is less than 24 hours
	//     old and among the last 10,000 of its User, unless a store runs out of
	//     its total bounds;
	//   - with a Mark, one of the same User, Event and Peer whose Mark was not
	//     lower, or one that Covers this Event; Marks are kept until Forget, or
	//     until a store runs out of its total bounds.
	//
	// How old an entry is, is by its Time. A duplicate is not appended, its
	// Receipt is the first one's; with a Mark, that of the one that raised it to
	// where it is. One Append may have the same entry twice: the second is a
	// duplicate of the first. When the first of entries is a duplicate, none is
	// appended, and the other receipts are zero.
	//
	// The seqs of a user are handed out without gaps, in an order that agrees
	// with that of the calls: what is appended after Append has returned comes
	// later. The store keeps Body and Attachments as they are: nobody changes
	// them afterwards. The slice of entries is the caller's again when Append has
	// returned nil.
	Append(ctx context.Context, entries ...Entry) ([]Receipt, error)

	// Since returns the entries of a user behind the seq after, oldest first
	// and without gaps, at most limit of them; fewer, but at least one of
	// those there are, where they are big. With limit 0 it returns the Head
	// alone. Entries appear in the order of their seqs: whoever has seen one
	// has seen, or can read, all before it that are kept. A user nobody ever
	// wrote to has an empty inbox.
	Since(ctx context.Context, user string, after uint64, limit int) (Page, error)

	// Find returns the Receipt of an entry by what makes it unique, as that of a
	// duplicate, and false when none is known: one that was dropped is, for as
	// long as a duplicate of it is. By an ID it finds those without a Mark,
	// whatever through is. With an empty id it is the newest one of that event
	// and peer whose Seq is at most through.
	Find(ctx context.Context, k Key, through uint64) (Found, bool, error)

	// AckThrough raises Head.Given of a user to seq, and never lowers it; more
	// than Head.Last counts as Last. It may be lost in a crash: what it says
	// is then found out again.
	AckThrough(ctx context.Context, user string, seq uint64) error

	// Forget erases a user: the inbox, what is known of its duplicates, and
	// what others' inboxes have of this user as their Peer: the Marks, what is
	// known of duplicates, and the entries. An entry that another user's inbox
	// keeps stays in its place as [Erased] makes it, and counts what that takes.
	// What was erased is not found any more, and the same appended again is new.
	// The Heads of the others stay as they are.
	//
	// When it returns nil, all that was appended before it was called is erased,
	// as safely as Append appends. It may erase a part at a time, so that others
	// need not wait until it has ended: an error may leave a part of it done, and
	// the next Forget does the rest. What is appended while it works may come
	// before it or behind it. Nobody needs to know of a user to forget him.
	Forget(ctx context.Context, user string) error
}

// Key is what makes an [Entry] without a Mark unique.
type Key struct {
	User  string // whose inbox it is in: a chatPath
	Event string // the event that tells it, e.g. "receiveMessage"
	Peer  string // the other side of the conversation: a chatPath
	ID    string // the message's id as JSON: `1` and `"1"` differ; may be empty with a Mark
}

// Entry is one thing that a user is told.
type Entry struct {
	Key
	// Mark is zero, or how far a receipt reaches, in a number that only its
	// kind can compare.
	Mark uint64
	// Covers names another event whose Mark for this User and Peer this one
	// raises as well: what was read was also delivered. Only with a Mark.
	Covers string

	Time        time.Time // when it happened: whole milliseconds
	Body        []byte    // what the event carries: a JSON object with at least one member, without a seq
	Attachments [][]byte  // what placeholders in Body number
	Origin      string    // the socket id of the device whose own action this is, which need not be told; may be empty
	Note        string    // comes back in the Receipt of a duplicate; at most 32 bytes

	Seq uint64 // set by the store; Append ignores it
}

// EventErased is the Event of an entry that [Inbox].Forget has erased from the
// inbox of another user, see [Erased]. Nothing is appended with it.
const EventErased = "entryErased"

// Erased returns what Forget leaves of e in another user's inbox: that there was
// an entry, and when. User, Seq and Time are e's, the Event is [EventErased], and
// the Body, which is the caller's, says no more than that. Nothing else is set,
// and nothing of it is a part of e, but for the name of the user.
func Erased(e Entry) Entry {
	return Entry{Key: Key{User: e.User, Event: EventErased}, Time: e.Time, Body: []byte(`{"erased":true}`), Seq: e.Seq}
}

// Receipt says what became of an [Entry].
type Receipt struct {
	Seq       uint64
	Duplicate bool      // it was there already: the rest is the first one's
	Time      time.Time // of the first one, if it is a duplicate
	Note      string    // of the first one, if it is a duplicate
}

// Found is what [Inbox].Find has found.
type Found struct {
	Receipt
	ID string // Key.ID of the entry
}

// Head is the state of one user's inbox.
//
// An inbox that begins anew, after Forget or because a total bound has dropped
// all that was known of its user, begins behind the highest seq of any that
// ended so: Last, Given and Dropped of a user of whom nothing is known stand
// there. So within an Epoch no seq is handed to a user twice.
type Head struct {
	// Epoch changes when a store has lost what it had; seqs of different
	// epochs cannot be compared. It is the same for all users of a store, at
	// most 64 bytes of ASCII.
	Epoch string // never empty
	Last  uint64 // the newest entry's seq
	// Given: up to here some device of the user is known to have it. An entry
	// with an Origin that is appended right behind Given raises it: the device
	// that acted has it.
	Given   uint64
	Dropped uint64 // up to here entries may have been dropped: none before it is kept
	// Began is where the inbox began: nothing of this user's was dropped at or
	// before it, and nothing at all while Dropped is the same. It is 0 when a
	// total bound may have ended an inbox of the same user before. Whoever was
	// forgotten counts as new.
	Began uint64
}

// Page is a part of one user's inbox.
type Page struct {
	Head
	Entries []Entry
}

// InboxBounds bounds an [Inbox]. Each field that is zero has its default, and
// none may be negative ([InboxBounds.Check]). What goes beyond a bound makes room
// by dropping the oldest entries, and is counted ([InboxStats].Dropped); but an
// Append never drops what it appends itself.
type InboxBounds struct {
	Entries int           // of one user; default 10,000
	Bytes   int           // of one user's kept entries: bodies, attachments and overhead; default 16 MB
	Age     time.Duration // default 30 days
	// Total bounds the bytes of all users together, overhead included: beyond
	// it the oldest entries of all go first. The default is the store's own.
	Total int
}

// Check returns an error that says in words which field of b is negative, if any
// is. Stores refuse such bounds when they are opened.
func (b InboxBounds) Check() error {
	negative := func(field string, value any) error {
		return fmt.Errorf("InboxBounds.%s is %v, and no bound is negative: leave it at zero for the default", field, value)
	}
	switch {
	case b.Entries < 0:
		return negative("Entries", b.Entries)
	case b.Bytes < 0:
		return negative("Bytes", b.Bytes)
	case b.Age < 0:
		return negative("Age", b.Age)
	case b.Total < 0:
		return negative("Total", b.Total)
	}
	return nil
}

// WithDefaults returns b with every field set; total is the store's own default
// of Total.
func (b InboxBounds) WithDefaults(total int) InboxBounds {
	if b.Entries == 0 {
		b.Entries = 10_000
	}
	if b.Bytes == 0 {
		b.Bytes = 16_000_000
	}
	if b.Age == 0 {
		b.Age = 30 * 24 * time.Hour
	}
	if b.Total == 0 {
		b.Total = total
	}
	return b
}

// How long an entry is known as a duplicate at the least: while it is younger
// than DuplicateAge and among the last DuplicateCount of its user.
const (
	DuplicateAge   = 24 * time.Hour
	DuplicateCount = 10_000
)

// InboxStats are the numbers of a store.
type InboxStats struct {
	Users   int    // with entries kept
	Entries int    // kept
	Bytes   int    // that count against InboxBounds.Total
	Dropped uint64 // entries dropped to stay within a bound, since the store was opened
}
