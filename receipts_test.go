package heymanito_test

import (
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

// marks sends a receipt and checks the ack.
func (p *person) marks(event, sender, upTo, want string) {
	p.app.t.Helper()
	payload := fmt.Sprintf(`{"senderChatPath":%q,"recipientChatPath":%q}`, sender, p.User)
	if upTo != "" {
		payload = fmt.Sprintf(`{"senderChatPath":%q,"recipientChatPath":%q,"upToId":%q}`, sender, p.User, upTo)
	}
	p.says(want, event, payload)
}

// "Leído" moves forward only, is told once, and is known to all devices of both.
func TestRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := keeping(t, heymanito.WithHooks(heymanito.Hooks{OnRead: func(_ context.Context, r heymanito.Read) {
			n.add("%s has read %s's %s", r.Reader, r.Sender, r.UpToID)
		}}))
		ann, ann2, bob, bob2 := a.join("ann"), a.join("ann"), a.join("bob"), a.join("bob")
		for i := range 3 {
			ann.EmitAck("sendMessage", note(fmt.Sprint("m", i+1), "ann", "bob"))
		}
		time.Sleep(2 * time.Second)
		ann.entries()
		before := len(ann.entries())
		bob.marks("markAsRead", "ann", "m2", `{"status":"ok","seq":4}`)
		bob.marks("markAsRead", "ann", "m1", `{"status":"ok","seq":4}`) // it stands further
		bob2.marks("markAsRead", "ann", "m2", `{"status":"ok","seq":4}`)
		bob2.marks("markAsRead", "ann", "", `{"status":"ok","seq":5}`) // all so far: m3
		bob.marks("markAsRead", "ann", "m9", `{"status":"error","code":"not_found","message":"upToId names no message of that sender that is known here","retryable":false}`)
		n.want(t, `bob has read ann's "m2"`, `bob has read ann's "m3"`)
		bob.has("ready #0", "receive m1 #1", "receive m2 #2", "receive m3 #3", "mine read m3 #5")
		bob2.has("ready #0", "receive m1 #1", "receive m2 #2", "receive m3 #3", "mine read m2 #4")
		seq := 0
		for _, line := range ann.entries()[before:] {
			seq++
			if want := []string{"", "read m2", "read m3"}[seq]; line[:len(want)] != want {
				t.Errorf("ann was told %q, want %q", line, want)
			}
		}
		if seq != 2 || len(ann2.entries()) != len(ann.entries())+3 {
			t.Errorf("ann was told %q, her other device %q", ann.entries(), ann2.entries())
		}
		// What is read is delivered: nothing is told of that any more.
		bob.marks("markAsDelivered", "ann", "m3", `{"status":"ok"}`)
		time.Sleep(5 * time.Second)
		if got := len(ann.entries()); got != before+2 {
			t.Errorf("ann was told %q", ann.entries())
		}
	})
}

// Reading before the server knows that it has arrived implies that it has.
func TestReadImpliesDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t)
		ann := a.join("ann")
		ann.sends("m1", "bob", 1, "queued")
		bob := a.dial("bob") // answers no ping
		if err := bob.Send("40"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := bob.Send(`42["markAsRead",{"senderChatPath":"ann","recipientChatPath":"bob"}]`); err != nil {
			t.Fatal(err)
		}
		ann.has("ready #0", "read m1 #2")
		if err := bob.Send("3"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ann.has("ready #0", "read m1 #2")
		bob.Close()
	})
}

// What was not sent to a device yet is not read by "all so far".
func TestReadAllSoFar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t)
		ann, bob := a.join("ann").deaf(), a.join("bob")
		bob.marks("markAsRead", "ann", "", `{"status":"ok"}`) // of a conversation that nothing is known of
		ann.hears(online("bob"), fmt.Sprintf(`messagesRead({"senderChatPath":"bob","ts":%d})`, begin))
		bob.marks("markAsDelivered", "ann", "", `{"status":"ok"}`)
		ann.hears(fmt.Sprintf(`messagesDelivered({"senderChatPath":"bob","ts":%d})`, begin))
	})
}

// "All so far" is what the device was sent, not what is there.
func TestReadWhatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store))
		ann, bob := a.join("ann"), a.join("bob")
		ann.sends("m1", "bob", 1, "sent")
		time.Sleep(time.Second)
		gate := make(chan struct{})
		var later atomic.Bool
		store.mood(func(method string) error {
			if method == "appended" && later.CompareAndSwap(false, true) {
				<-gate
			}
			return nil
		})
		ann.Emit("sendMessage", note("m2", "ann", "bob")) // it is there, and not sent yet
		synctest.Wait()
		bob.marks("markAsRead", "ann", "", `{"status":"ok","seq":3}`)
		close(gate)
		ann.has("ready #0", "delivered m1 #2", "read m1 #4", "delivered m2 #5")
	})
}

// "Entregado" tells a stranger nothing: he must not learn who is online.
func TestDeliveredToStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		friends := map[string][]string{"ann": {"bob"}, "bob": {}}
		a := keeping(t, heymanito.WithHooks(heymanito.Hooks{Contacts: func(_ context.Context, user string) ([]string, error) {
			return friends[user], nil
		}}))
		ann, bob := a.join("ann"), a.join("bob")
		ann.sends("m1", "bob", 1, "queued")
		bob.has("ready #0", "receive m1 #1")
		time.Sleep(10 * time.Second)
		ann.has("ready #0")
		bob.marks("markAsRead", "ann", "", `{"status":"ok","seq":2}`) // his own decision
		ann.has("ready #0", "read m1 #2")
	})
}

// A host may keep one user's receipts from another without either knowing.
func TestReceiptsRefusedSilently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t, heymanito.WithHooks(heymanito.Hooks{Authorize: func(_ context.Context, act heymanito.Action) error {
			if act.From == "mal" {
				return heymanito.ErrSilently
			}
			return nil
		}}))
		ann, mal, mal2 := a.join("ann"), a.join("mal"), a.join("mal")
		mal.sends("x1", "ann", 1, "sent")
		mal2.has("ready #0", "sent x1 #1")
		mal.sends("x1", "ann", 1, "sent") // again
		ann.has("ready #0")
		ann.sends("m1", "mal", 1, "sent")
		time.Sleep(time.Second)
		mal.marks("markAsRead", "ann", "", `{"status":"ok","seq":3}`)
		mal2.has("ready #0", "sent x1 #1", "receive m1 #2", "mine read m1 #3")
		// What is wrong is answered as it would be from anybody.
		for _, event := range []string{"markAsRead", "markAsDelivered"} {
			mal.marks(event, "ann", "m9", `{"status":"error","code":"not_found","message":"upToId names no message of that sender that is known here","retryable":false}`)
		}
		mal.Goodbye()
		mal2.Goodbye()
		mal = a.join("mal", wiretest.Auth(`{"features":["acks"]}`))
		ann.sends("m2", "mal", 3, "sent") // and the server cannot know whether he has it
		mal.marks("markAsDelivered", "ann", "m2", `{"status":"ok"}`)
		ann.has("ready #0", "delivered m1 #2")
	})
}

// A receipt whose Append has failed, and has appended it all the same, is told.
func TestReceiptAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store))
		ann, bob := a.join("ann"), a.join("bob")
		appended := 0
		store.mood(func(method string) error {
			if method == "appended" {
				if appended++; appended == 2 { // the first is the message
					return errors.New("timeout")
				}
			}
			return nil
		})
		ann.sends("m1", "bob", 1, "sent")
		time.Sleep(time.Hour)
		ann.has("ready #0", "delivered m1 #2")
		bob.Goodbye() // reports again
		time.Sleep(time.Hour)
		ann.has("ready #0", "delivered m1 #2")
	})
}
