package heymanito_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
)

func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		inbox, calls, presence := heymanito.NewMemoryInbox(heymanito.InboxBounds{}), heymanito.NewMemoryCalls(), heymanito.NewMemoryPresence()
		a := start(t, heymanito.WithInbox(inbox), heymanito.WithCalls(calls), heymanito.WithPresence(presence), heymanito.WithHooks(heymanito.Hooks{
			OnCall: func(_ context.Context, c heymanito.Call) {
				n.add("%s→%s %s %s", c.Caller, c.Callee, c.State, c.Reason)
			},
		}))
		ann, ann2, bob := a.join("ann"), a.join("ann"), a.join("bob")
		ann.sends("m1", "bob", 1, "sent")
		bob.sends("m2", "ann", 2, "sent")
		ann.sends("m3", "zoe", 4, "queued")
		ann.dial("bob", "r")
		n.want(t, "ann→bob ringing ")
		for _, p := range []*person{ann, ann2, bob} {
			p.deaf()
		}
		if err := a.Forget(t.Context(), "ann"); err != nil {
			t.Fatal(err)
		}
		n.want(t, "ann→bob ended failed")
		for _, p := range []*person{ann, ann2} {
			news := p.news()
			if n := len(news); n < 2 || news[n-2] != `sessionEnded({"code":"account_deleted"})` || news[n-1] != "disconnect()" {
				t.Errorf("a device of ann's was told %q", news)
			}
			if p.Closed(0) == nil {
				t.Error("a device of ann's is still connected")
			}
		}
		heard := strings.Join(bob.news(), "\n")
		if !strings.Contains(heard, offline("ann")) || !strings.Contains(heard, `callCancelled({"callId":`) {
			t.Errorf("bob was told\n%s", heard)
		}
		if found, ok, err := inbox.Find(t.Context(), heymanito.Key{User: "bob", Event: "receiveMessage", Peer: "ann", ID: `"m1"`}, 1<<60); ok || err != nil {
			t.Errorf("bob's inbox knows of %+v, %v", found, err)
		}
		if page, err := inbox.Since(t.Context(), "ann", 0, 10); err != nil || len(page.Entries) > 0 {
			t.Errorf("ann's inbox has %v, %v", page.Entries, err)
		}
		if got, err := calls.ByUser(t.Context(), "bob"); err != nil || len(got) > 0 {
			t.Errorf("bob has the calls %v, %v", got, err)
		}
		if known, err := a.Online(t.Context(), "ann"); err != nil || known[0] != (heymanito.Presence{User: "ann"}) {
			t.Errorf("of ann is known %+v, %v", known, err)
		}
		// Who comes by that name is somebody new.
		another := a.join("ann")
		another.has("ready #" + fmt.Sprint(readySeq(another)))
		// Twice is fine, and so is somebody who never was.
		for _, user := range []string{"ann", "ann", "nobody"} {
			if err := a.Forget(t.Context(), user); err != nil {
				t.Error(err)
			}
		}
	})
}

func readySeq(p *person) uint64 {
	_, seq := p.ready()
	return seq
}

// A user who broke off a moment ago has no grace.
func TestForgetInGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		bob, ann := a.join("bob"), a.join("ann")
		bob.deaf()
		ann.Cut()
		bob.hears()
		if err := a.Forget(t.Context(), "ann"); err != nil {
			t.Fatal(err)
		}
		bob.hears(offline("ann"))
		time.Sleep(time.Minute)
		bob.hears()
	})
}

// Nobody's name stays among the rings that are counted: who comes by it has not
// rung, and was not rung.
func TestForgetRings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, forgotten := range []string{"mal", "eve"} {
			a := start(t)
			mal, eve := a.join("mal"), a.join("eve")
			ring := func() string {
				code := mal.code("initiateCall", `{"recipientId":"eve","callerId":"mal"}`)
				if code == "ok" {
					eve.code("rejectCall", `{"callerId":"mal","recipientId":"eve"}`)
				}
				return code
			}
			for range 6 {
				ring()
			}
			if code := ring(); code != "rate_limited" {
				t.Errorf("the seventh ring: %s", code)
			}
			if err := a.Forget(t.Context(), forgotten); err != nil {
				t.Fatal(err)
			}
			if forgotten == "mal" {
				mal = a.join("mal")
			} else {
				eve = a.join("eve")
			}
			if code := ring(); code != "ok" {
				t.Errorf("when %s was forgotten: %s", forgotten, code)
			}
		}
	})
}

// The event with which a user deletes his own account may call it.
func TestForgetInsideHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		var rt *heymanito.Server
		a := keeping(t, heymanito.On("deleteAccount", func(ctx context.Context, e heymanito.Event) (any, error) {
			err := rt.Forget(ctx, e.Device.ChatPath)
			n.add("forgot %s: %v", e.Device.ChatPath, err)
			return nil, err
		}), heymanito.WithHooks(heymanito.Hooks{
			OnDisconnect: func(ctx context.Context, d heymanito.Device, _ string) {
				n.add("%s has gone: %v", d.ChatPath, rt.Forget(ctx, d.ChatPath))
			},
		}))
		rt = a.Server
		ann := a.join("ann")
		if err := ann.Send(`42["deleteAccount"]`); err != nil {
			t.Fatal(err)
		}
		n.want(t, "forgot ann: <nil>", "ann has gone: <nil>")
		if news := ann.news(); len(news) != 3 || news[1] != `sessionEnded({"code":"account_deleted"})` || news[2] != "disconnect()" {
			t.Errorf("ann was told %q", news)
		}
	})
}

// What a device sends while its user is being forgotten is not handled.
func TestForgetHoldsEventsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inbox := &slowForget{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{}), in: make(chan struct{}), out: make(chan struct{})}
		a := start(t, heymanito.WithInbox(inbox))
		ann := a.join("ann")
		forgot := make(chan error, 1)
		go func() { forgot <- a.Forget(context.Background(), "ann") }()
		<-inbox.in
		if got := ann.code("sendMessage", mail("m1", "ann", "bob")); got != "unauthorized" {
			t.Errorf("a message of hers was answered %s", got)
		}
		close(inbox.out)
		if err := <-forgot; err != nil {
			t.Error(err)
		}
		if page, err := inbox.Since(t.Context(), "bob", 0, 10); err != nil || len(page.Entries) > 0 {
			t.Errorf("bob has %v, %v", page.Entries, err)
		}
	})
}

// slowForget forgets when it is let.
type slowForget struct {
	heymanito.Inbox
	in, out chan struct{}
}

func (s *slowForget) Forget(ctx context.Context, user string) error {
	close(s.in)
	<-s.out
	return s.Inbox.Forget(ctx, user)
}

// Who is forgotten while a device of his is being let in is not there afterwards.
func TestForgetWhileConnecting(t *testing.T) {
	for _, scoped := range []bool{false, true} {
		t.Run(fmt.Sprintf("scoped %v", scoped), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &slowSince{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{}), in: make(chan struct{}), out: make(chan struct{})}
				opts := []heymanito.Option{heymanito.WithInbox(store)}
				if scoped {
					opts = append(opts, heymanito.WithHooks(heymanito.Hooks{
						Contacts: func(context.Context, string) ([]string, error) { return []string{"ann", "bob", "cid"}, nil },
					}))
				}
				a := start(t, opts...)
				ann := a.join("ann")
				ann.news()
				bob := a.dial("bob")
				if err := bob.Send("40"); err != nil {
					t.Fatal(err)
				}
				<-store.in
				if err := a.Forget(t.Context(), "bob"); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // everybody has been told that he is offline
				close(store.out)
				synctest.Wait()
				if said, err := bob.Text(); err != nil || !strings.HasPrefix(said, `44{"data":{"code":"unauthorized"`) {
					t.Errorf("bob is answered %s, %v", said, err)
				}
				time.Sleep(time.Minute)
				ann.hears(online("bob"), offline("bob"))
				if got := a.Devices("bob"); len(got) > 0 {
					t.Errorf("bob has %v", got)
				}
				a.join("cid").sees("ann", "cid")
			})
		})
	}
}

// slowSince is an Inbox that is slow the second time that it is asked for bob's.
type slowSince struct {
	heymanito.Inbox
	asked   int
	in, out chan struct{}
}

func (s *slowSince) Since(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
	if user == "bob" {
		if s.asked++; s.asked == 2 {
			close(s.in)
			<-s.out
		}
	}
	return s.Inbox.Since(ctx, user, after, limit)
}

// An error says what failed, and the devices are gone all the same.
func TestForgetFails(t *testing.T) {
	down := errors.New("down")
	for _, c := range []struct{ name, says string }{
		{"inbox", "the inbox failed, call it again"},
		{"calls", "the call store failed, call it again"},
		{"presence", "the presence store failed, call it again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &failsToForget{
					Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{}), store: c.name, err: down,
					CallStore: heymanito.NewMemoryCalls(), PresenceStore: heymanito.NewMemoryPresence(),
				}
				a := start(t, heymanito.WithInbox(inboxOf{f}), heymanito.WithCalls(callsOf{f}), heymanito.WithPresence(presenceOf{f}))
				ann := a.join("ann")
				err := a.Forget(t.Context(), "ann")
				if !errors.Is(err, down) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v, want %s", err, c.says)
				}
				synctest.Wait()
				if ann.Closed(0) == nil || len(a.Devices("ann")) > 0 {
					t.Error("ann is still there")
				}
				f.err = nil
				if err := a.Forget(t.Context(), "ann"); err != nil {
					t.Error(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if err := a.Forget(ctx, "ann"); !errors.Is(err, context.Canceled) {
					t.Errorf("with a context that has ended: %v", err)
				}
			})
		})
	}
}

// failsToForget is three stores, one of which fails to forget.
type failsToForget struct {
	heymanito.Inbox
	heymanito.CallStore
	heymanito.PresenceStore
	store string
	err   error
}

type inboxOf struct{ *failsToForget }

func (f inboxOf) Forget(ctx context.Context, user string) error {
	if f.store == "inbox" && f.err != nil {
		return f.err
	}
	return f.Inbox.Forget(ctx, user)
}

type callsOf struct{ *failsToForget }

func (f callsOf) Forget(ctx context.Context, user string) error {
	if f.store == "calls" && f.err != nil {
		return f.err
	}
	return f.CallStore.Forget(ctx, user)
}

type presenceOf struct{ *failsToForget }

func (f presenceOf) Forget(ctx context.Context, user string) error {
	if f.store == "presence" && f.err != nil {
		return f.err
	}
	return f.PresenceStore.Forget(ctx, user)
}
