package heymanito_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// slowReceipts makes each Append of a messagesDelivered take that long.
func slowReceipts(d time.Duration) func(method string) error {
	return func(method string) error {
		if method == "Append messagesDelivered" {
			time.Sleep(d)
		}
		return nil
	}
}

// What a client reads within a second is one receipt for each sender.
func TestReceiptsAreCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t)
		ann, cid := a.join("ann"), a.join("cid")
		bob := a.join("bob", wiretest.Auth(`{"features":["acks"]}`))
		for i := range 5 {
			ann.EmitAck("sendMessage", note(fmt.Sprint("m", i+1), "ann", "bob"))
		}
		cid.sends("c1", "bob", 1, "sent")
		for i := range 6 {
			if err := bob.Send(fmt.Sprintf(`43%d[]`, i+1)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		ann.has("ready #0", "delivered m1 #6")
		time.Sleep(time.Second)
		ann.has("ready #0", "delivered m1 #6", "delivered m5 #7")
		cid.has("ready #0", "delivered c1 #2")
	})
}

// A receipt that the store takes its time for holds up nothing else.
func TestSlowReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store))
		const senders = 32
		var all []*person
		for i := range senders {
			p := a.join(fmt.Sprint("p", i))
			p.sends("m", "bob", 1, "queued")
			all = append(all, p)
		}
		store.mood(slowReceipts(5 * time.Second))
		bob := a.join("bob")
		time.Sleep(time.Second) // he has read everything
		begin := time.Now()
		bob.sends("b1", "p0", senders+1, "sent")
		if took := time.Since(begin); took > time.Second {
			t.Errorf("bob's own message took %v", took)
		}
		time.Sleep(15 * time.Second) // and not 32 times 5
		for _, p := range all[1:] {
			p.has("ready #0", "delivered m #2")
		}
	})
}

// What a device had read when it went is told, also if the server shuts down.
func TestReceiptsBeforeShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := heymanito.NewMemoryInbox(heymanito.InboxBounds{})
		store := &moodyInbox{Inbox: mem}
		a := start(t, heymanito.WithInbox(store))
		store.mood(slowReceipts(5 * time.Second))
		bob := a.join("bob", wiretest.Auth(`{"features":["acks"]}`))
		a.join("ann").sends("m1", "bob", 1, "sent")
		if err := bob.Send(`431[]`); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := a.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		page, err := mem.Since(t.Context(), "ann", 0, 10)
		if err != nil || len(page.Entries) != 2 || page.Entries[1].Event != "messagesDelivered" {
			t.Errorf("ann's inbox has %v, %v", page.Entries, err)
		}
		if page, err = mem.Since(t.Context(), "bob", 0, 10); err != nil || page.Given != 1 {
			t.Errorf("bob was given what is up to %d, %v", page.Given, err)
		}
	})
}

// Who was forgotten is not told what has become of his messages: he would have an
// inbox again.
func TestReceiptsOfTheForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := heymanito.NewMemoryInbox(heymanito.InboxBounds{})
		a := start(t, heymanito.WithInbox(store))
		ann, cid := a.join("ann"), a.join("cid")
		bob := a.join("bob", wiretest.Auth(`{"features":["acks"]}`))
		ann.sends("m1", "bob", 1, "sent")
		cid.sends("c1", "bob", 1, "sent")
		ann.Goodbye()
		synctest.Wait()
		if err := store.Forget(t.Context(), "ann"); err != nil {
			t.Fatal(err)
		}
		for _, callback := range []string{`431[]`, `432[]`} {
			if err := bob.Send(callback); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		cid.has("ready #0", "delivered c1 #2")
		receipt := `{"senderChatPath":"ann","recipientChatPath":"bob"`
		if code := bob.code("markAsRead", receipt+`}`); code != "ok" {
			t.Errorf("markAsRead of what was erased: %s", code)
		}
		if code := bob.code("markAsRead", receipt+`,"upToId":"m1"}`); code != "not_found" {
			t.Errorf("markAsRead of a message that was erased: %s", code)
		}
		if page, err := store.Since(t.Context(), "ann", 0, 10); err != nil || page.Last != page.Began {
			t.Errorf("of somebody who was forgotten there is %+v, %v", page, err)
		}
		if page, err := store.Since(t.Context(), "bob", 0, 10); err != nil || page.Given != 2 || page.Last != 2 {
			t.Errorf("bob's inbox is %+v, %v", page, err)
		}
	})
}

// Who is forgotten says nothing more: what a device of his has just read, and was
// still to be told to its sender, would name him in the sender's inbox.
func TestForgottenReportsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := heymanito.NewMemoryInbox(heymanito.InboxBounds{})
		a := start(t, heymanito.WithInbox(store))
		ann := a.join("ann")
		bob := a.join("bob", wiretest.Auth(`{"features":["acks"]}`))
		for i := range 2 { // the second waits: a device reports once a second
			ann.EmitAck("sendMessage", note(fmt.Sprint("m", i+1), "ann", "bob"))
			if err := bob.Send(fmt.Sprintf("43%d[]", i+1)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if err := a.Forget(t.Context(), "bob"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		page, err := store.Since(t.Context(), "ann", 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			if e.Peer == "bob" || bytes.Contains(e.Body, []byte("bob")) {
				t.Errorf("ann's inbox has %s of %q: %s", e.Event, e.Peer, e.Body)
			}
		}
		if page, err := store.Since(t.Context(), "bob", 0, 10); err != nil || page.Last != page.Began {
			t.Errorf("of bob there is %+v, %v", page, err)
		}
	})
}

// A receipt that fails is tried again; where the device has gone meanwhile, the
// message comes again, and with it the receipt. A store that panics is no other
// case.
func TestReceiptsThatFail(t *testing.T) {
	for name, fail := range map[string]func() error{
		"fails":  func() error { return errors.New("the disk is full") },
		"panics": func() error { panic("the disk is full") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
				a := start(t, heymanito.WithInbox(store))
				a.panics = true
				store.mood(func(method string) error {
					if method == "Append messagesDelivered" {
						return fail()
					}
					return nil
				})
				ann, cid, bob := a.join("ann"), a.join("cid"), a.join("bob", wiretest.Auth(`{"features":["acks"]}`))
				ann.sends("m1", "bob", 1, "sent")
				if err := bob.Send(`431[]`); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
				bob.Goodbye()
				time.Sleep(time.Minute)
				ann.has("ready #0")
				cid.sends("c1", "bob", 1, "queued")
				bob = a.join("bob")
				bob.has("receive m1 #1", "receive c1 #2", "ready #2")
				time.Sleep(3 * time.Second) // two at once
				ann.has("ready #0")
				store.mood(nil)
				time.Sleep(5 * time.Second)
				ann.has("ready #0", "delivered m1 #2")
				cid.has("ready #0", "delivered c1 #2")
			})
		})
	}
}

// AckThrough that fails, or panics, is tried again.
func TestAckThroughAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := heymanito.NewMemoryInbox(heymanito.InboxBounds{})
		store := &moodyInbox{Inbox: mem}
		a := start(t, heymanito.WithInbox(store))
		a.panics = true
		var calls atomic.Int64
		store.mood(func(method string) error {
			if method != "AckThrough" {
				return nil
			}
			switch calls.Add(1) {
			case 1:
				return errors.New("the disk is full")
			case 2:
				panic("the disk is full")
			}
			return nil
		})
		ann := a.join("ann")
		a.join("bob")
		ann.sends("m1", "bob", 1, "sent")
		time.Sleep(time.Minute)
		page, err := mem.Since(context.Background(), "bob", 0, 0)
		if err != nil || page.Given != 1 || a.log.Count("something may be sent twice") != 2 {
			t.Errorf("after %d calls bob was given what is up to %d, %v", calls.Load(), page.Given, err)
		}
	})
}

// What a client with since says it has is told its senders, also when its
// connection breaks, or the store fails, while that is found out.
func TestClaimsThatBreak(t *testing.T) {
	for _, how := range []string{"cut", "fails"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
				a := start(t, heymanito.WithInbox(store))
				ann := a.join("ann")
				ann.sends("m1", "bob", 1, "queued")
				epoch, _ := ann.ready()
				gate := make(chan struct{})
				n := 0
				store.mood(func(method string) error {
					if method != "Since" {
						return nil
					}
					if n++; n == 3 { // after the two of welcome
						if how == "cut" {
							<-gate // and then its ctx has ended
							return nil
						}
						return errors.New("the store is away")
					}
					return nil
				})
				bob := a.dial("bob")
				if err := bob.Send(fmt.Sprintf(`40{"since":{"epoch":%q,"seq":1}}`, epoch)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				bob.Close()
				synctest.Wait()
				close(gate)
				synctest.Wait()
				a.join("bob", since(epoch, 1)).has("ready #1")
				time.Sleep(time.Minute)
				ann.has("ready #0", "delivered m1 #2")
			})
		})
	}
}

// Who says goodbye has gone, also while the store fails.
func TestGoodbyeWhileReceiptsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store), heymanito.WithHooks(heymanito.Hooks{
			OnDisconnect: func(_ context.Context, d heymanito.Device, reason string) { n.add("%s: %s", d.ChatPath, reason) },
		}))
		store.mood(func(method string) error {
			if method == "Append messagesDelivered" {
				return errors.New("the disk is full")
			}
			return nil
		})
		ann, bob := a.join("ann"), a.join("bob")
		ann.sends("m1", "bob", 1, "sent")
		time.Sleep(time.Second)
		bob.Goodbye()
		time.Sleep(10 * time.Minute)
		n.want(t, "bob: client namespace disconnect")
	})
}

// And with a store that works, at once.
func TestGoodbyeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := keeping(t, heymanito.WithHooks(heymanito.Hooks{
			OnDisconnect: func(_ context.Context, d heymanito.Device, reason string) { n.add("%s: %s", d.ChatPath, reason) },
		}))
		ann, bob := a.join("ann"), a.join("bob", wiretest.Auth(`{"features":["acks"]}`))
		ann.sends("m1", "bob", 1, "sent")
		_ = bob.Send("431[]")
		synctest.Wait()
		ann.EmitAck("sendMessage", note("m2", "ann", "bob"))
		_ = bob.Send("432[]")
		synctest.Wait()
		bob.Goodbye()
		n.want(t, "bob: client namespace disconnect")
	})
}

// A store that hangs does not hold up the end of a device for ever.
func TestEndWithAStoreThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store), heymanito.WithHooks(heymanito.Hooks{
			OnDisconnect: func(_ context.Context, d heymanito.Device, _ string) { n.add("%s", d.ChatPath) },
		}))
		for i := range 320 {
			p := a.join(fmt.Sprint("p", i))
			p.sends("m", "bob", 1, "queued")
			p.Cut()
		}
		time.Sleep(time.Minute)
		n.read()
		store.hang(true)
		bob := a.join("bob")
		time.Sleep(time.Second)
		bob.Cut()
		time.Sleep(time.Minute)
		n.want(t, "bob")
	})
}

// The Contacts hook that a receipt asks has as long as a store: the end of a
// device waits for it.
func TestContactsHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last atomic.Bool
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		gate := make(chan struct{})
		store.mood(func(method string) error {
			if method == "AckThrough" {
				<-gate
			}
			return nil
		})
		a := start(t, heymanito.WithInbox(store), heymanito.WithHooks(heymanito.Hooks{
			Contacts: func(ctx context.Context, _ string) ([]string, error) {
				if _, limited := ctx.Deadline(); last.Load() && !limited {
					t.Error("nothing ends a hook that hangs")
				}
				return []string{"ann", "bob"}, nil
			},
		}))
		ann, bob := a.join("ann"), a.join("bob", wiretest.Auth(`{"features":["acks"]}`))
		ann.sends("m1", "bob", 1, "sent")
		_ = bob.Send("431[]")
		synctest.Wait()
		ann.EmitAck("sendMessage", note("m2", "ann", "bob"))
		_ = bob.Send("432[]")
		synctest.Wait()
		last.Store(true)
		bob.Goodbye()
		synctest.Wait() // his circle is forgotten
		close(gate)
		time.Sleep(time.Second)
		ann.has("ready #0", "delivered m1 #2", "delivered m2 #4")
	})
}
