package heymanito_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// findFails is a store whose Find fails, panics or hangs when it is told to.
type findFails struct {
	*moodyInbox
	fail  atomic.Bool
	panic atomic.Bool
	hang  atomic.Bool
}

func (s *findFails) Find(ctx context.Context, k heymanito.Key, through uint64) (heymanito.Found, bool, error) {
	switch {
	case s.panic.Load():
		panic("the store is away")
	case s.fail.Load():
		return heymanito.Found{}, false, errors.New("the store is away")
	case s.hang.Load():
		<-ctx.Done()
		return heymanito.Found{}, false, ctx.Err()
	}
	return s.moodyInbox.Find(ctx, k, through)
}

// A store that fails twice does not leave a device without news.
func TestRecallFails(t *testing.T) {
	for _, how := range []string{"fails", "panics"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &findFails{moodyInbox: &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}}
				a := start(t, heymanito.WithInbox(store), heymanito.WithHooks(heymanito.Hooks{
					OnUndelivered: func(context.Context, heymanito.Message) {},
				}))
				a.panics = true
				ann, cid := a.join("ann"), a.join("cid")
				store.mood(lost)
				if code := ann.code("sendMessage", note("m1", "ann", "bob")); code != "unavailable" {
					t.Fatal(code)
				}
				store.mood(nil)
				if how == "fails" {
					store.fail.Store(true)
				} else {
					store.panic.Store(true)
				}
				if code := ann.code("sendMessage", note("m1", "ann", "bob")); code == "ok" {
					t.Fatal(code)
				}
				store.fail.Store(false)
				store.panic.Store(false)
				cid.EmitAck("sendMessage", note("c1", "cid", "ann"))
				time.Sleep(time.Hour)
				ann.has("ready #0", "receive c1 #2")
			})
		})
	}
}

// A store that hangs costs its client the time that a store may take.
func TestFindHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &findFails{moodyInbox: &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}}
		a := start(t, heymanito.WithInbox(store))
		ann := a.join("ann")
		store.hang.Store(true)
		if err := ann.Send(`42777["markAsRead",{"senderChatPath":"bob","recipientChatPath":"ann"}]`); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if acks := ann.Named("ack 777"); len(acks) != 1 {
			t.Errorf("after 10 minutes it is acked %v", acks)
		}
	})
}

// A store that panics while somebody is let in leaves no ghost behind.
func TestPanicLeavesNoGhost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store))
		a.panics = true
		a.join("ann")
		n := 0
		store.mood(func(method string) error {
			if method == "Since" {
				if n++; n == 2 {
					panic("the store is away")
				}
			}
			return nil
		})
		if _, err := wiretest.TryConnect(t, host, "bob", wiretest.On(a.net)); err == nil {
			t.Fatal("let in")
		}
		store.mood(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		cid := a.join("cid")
		cid.sees("ann", "cid")
	})
}

// A store whose Append panics after it has appended: the resend tells.
func TestPanicAfterAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store))
		a.panics = true
		ann, bob := a.join("ann"), a.join("bob")
		n := 0
		store.mood(func(method string) error {
			if method == "appended" {
				if n++; n == 1 {
					panic("timeout")
				}
			}
			return nil
		})
		ann.ask("sendMessage", note("m1", "ann", "bob"))
		ann.ask("sendMessage", note("m1", "ann", "bob"))
		time.Sleep(time.Minute)
		bob.has("ready #0", "receive m1 #1")
	})
}

// The same of a receipt: the retry tells.
func TestPanicAfterReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store))
		a.panics = true
		ann, _ := a.join("ann"), a.join("bob")
		n := 0
		store.mood(func(method string) error {
			if method == "appended" {
				if n++; n == 2 { // the first is the message
					panic("timeout")
				}
			}
			return nil
		})
		ann.sends("m1", "bob", 1, "sent")
		time.Sleep(time.Hour)
		ann.has("ready #0", "delivered m1 #2")
	})
}

// What a store must not answer ends the connection with a word in the log, and
// does not send a feed round in circles.
func TestStoreThatAnswersWrongly(t *testing.T) {
	for said, lie := range map[string]func(after uint64, limit int, p *heymanito.Page){
		"an epoch of 0 bytes":   func(_ uint64, _ int, p *heymanito.Page) { p.Epoch = "" },
		"an epoch of 65 bytes":  func(_ uint64, _ int, p *heymanito.Page) { p.Epoch = strings.Repeat("e", 65) },
		"they must grow":        func(after uint64, _ int, p *heymanito.Page) { lieSeq(p, after) },
		"nothing twice, though": func(_ uint64, limit int, p *heymanito.Page) { p.Entries = nil },
	} {
		t.Run(said, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &liar{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
				a := start(t, heymanito.WithInbox(store))
				a.join("ann").sends("m1", "bob", 1, "queued")
				store.lie.Store(&lie)
				bob, err := wiretest.TryConnect(t, host, "bob", wiretest.On(a.net))
				if err == nil {
					err = bob.Closed(time.Minute)
				}
				if end, ok := errors.AsType[*wiretest.CloseError](err); !ok || end.Code != 1013 {
					t.Errorf("bob's connection ended with %v", err)
				}
				if !strings.Contains(a.log.String(), said) {
					t.Errorf("the log does not say %q", said)
				}
				store.lie.Store(nil)
				a.join("bob").has("receive m1 #1", "ready #1")
			})
		})
	}
}

func lieSeq(p *heymanito.Page, after uint64) {
	for i := range p.Entries {
		p.Entries[i].Seq = after
	}
}

// liar is a store that answers wrongly while it is told to.
type liar struct {
	heymanito.Inbox
	lie atomic.Pointer[func(after uint64, limit int, p *heymanito.Page)]
}

func (l *liar) Since(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
	p, err := l.Inbox.Since(ctx, user, after, limit)
	if lie := l.lie.Load(); lie != nil {
		(*lie)(after, limit, &p)
	}
	return p, err
}

// A store that gives back an entry without a body costs the device its
// connection, no more.
func TestEmptyBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &liar{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store))
		ann := a.join("ann")
		ann.sends("m1", "bob", 1, "queued")
		lie := func(_ uint64, _ int, p *heymanito.Page) {
			for i := range p.Entries {
				p.Entries[i].Body = nil
			}
		}
		store.lie.Store(&lie)
		bob, err := wiretest.TryConnect(t, host, "bob", wiretest.On(a.net))
		if err == nil {
			err = bob.Closed(time.Minute)
		}
		if _, ok := errors.AsType[*wiretest.CloseError](err); !ok {
			t.Errorf("bob's connection ended with %v", err)
		}
		store.lie.Store(nil)
		ann.sends("m2", "bob", 2, "queued")
		a.join("bob").has("receive m1 #1", "receive m2 #2", "ready #2")
	})
}
