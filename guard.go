package heymanito

import (
	"context"
	"fmt"
	"time"
)

// guard is the host's Inbox, called with care: each call is given storeTimeout,
// what it panics with is an error, and so is an answer that would make a feed go
// round in circles.
type guard struct {
	srv   *Server
	inbox Inbox
}

var _ Inbox = guard{}

// limit is context.WithTimeout with storeTimeout. Our own store in memory never
// waits, and is spared the timer.
func (g guard) limit(ctx context.Context, call string) (context.Context, func()) {
	if _, never := g.inbox.(*MemoryInbox); never {
		return ctx, func() {}
	}
	return g.srv.storeLimit(ctx, call)
}

// storeLimit is context.WithTimeout with storeTimeout, for a call of a store that
// takes until over is called.
func (s *Server) storeLimit(ctx context.Context, call string) (_ context.Context, over func()) {
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, storeTimeout)
	return limited, func() {
		cancel()
		s.numbers.stores.since(call, began)
	}
}

// presenceLimit is limit for the host's PresenceStore.
func (s *Server) presenceLimit(ctx context.Context, call string) (context.Context, func()) {
	if _, never := s.cfg.presence.(*MemoryPresence); never {
		return ctx, func() {}
	}
	return s.storeLimit(ctx, call)
}

// append is Append, which is spared the slice of receipts as well where it can
// be: zero has as many as there are entries.
func (g guard) append(ctx context.Context, zero []Receipt, entries []Entry) (receipts []Receipt, err error) {
	defer g.srv.recovered("Inbox.Append", CodeUnavailable, &err)
	if m, ok := g.inbox.(*MemoryInbox); ok && ctx.Err() == nil {
		m.appendAll(entries, zero)
		return zero, nil
	}
	return g.Append(ctx, entries...)
}

func (g guard) Append(ctx context.Context, entries ...Entry) (receipts []Receipt, err error) {
	defer g.srv.recovered("Inbox.Append", CodeUnavailable, &err)
	ctx, cancel := g.limit(ctx, "Inbox.Append")
	defer cancel()
	receipts, err = g.inbox.Append(ctx, entries...)
	if err == nil && len(receipts) != len(entries) {
		return nil, fmt.Errorf("Inbox.Append was given %d entries and has returned %d receipts", len(entries), len(receipts))
	}
	return receipts, err
}

func (g guard) Since(ctx context.Context, user string, after uint64, limit int) (page Page, err error) {
	defer g.srv.recovered("Inbox.Since", CodeUnavailable, &err)
	ctx, cancel := g.limit(ctx, "Inbox.Since")
	defer cancel()
	page, err = g.inbox.Since(ctx, user, after, limit)
	if err != nil {
		return page, err
	}
	if n := len(page.Epoch); n == 0 || n > maxEpochBytes {
		return page, fmt.Errorf("Inbox.Since has returned an epoch of %d bytes: it must have 1 to %d", n, maxEpochBytes)
	}
	for i := range page.Entries {
		if seq := page.Entries[i].Seq; seq <= after {
			return page, fmt.Errorf("Inbox.Since was asked for what comes after %d and has returned the seq %d: they must grow", after, seq)
		}
		if len(page.Entries[i].Body) < len("{}") {
			return page, fmt.Errorf("Inbox.Since has returned the entry %d of %q without a body: it must be as it was appended", page.Entries[i].Seq, user)
		}
		after = page.Entries[i].Seq
	}
	return page, nil
}

func (g guard) Find(ctx context.Context, k Key, through uint64) (found Found, ok bool, err error) {
	defer g.srv.recovered("Inbox.Find", CodeUnavailable, &err)
	ctx, cancel := g.limit(ctx, "Inbox.Find")
	defer cancel()
	return g.inbox.Find(ctx, k, through)
}

func (g guard) AckThrough(ctx context.Context, user string, seq uint64) (err error) {
	defer g.srv.recovered("Inbox.AckThrough", CodeUnavailable, &err)
	ctx, cancel := g.limit(ctx, "Inbox.AckThrough")
	defer cancel()
	return g.inbox.AckThrough(ctx, user, seq)
}

func (g guard) Forget(ctx context.Context, user string) (err error) {
	defer g.srv.recovered("Inbox.Forget", CodeUnavailable, &err)
	// Without a limit but ctx's: it takes as long as there is to forget.
	defer g.srv.numbers.stores.since("Inbox.Forget", time.Now())
	return g.inbox.Forget(ctx, user)
}
