package heymanito_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
)

func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inbox := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(inbox), heymanito.WithHooks(heymanito.Hooks{
			Authorize: func(context.Context, heymanito.Action) error {
				time.Sleep(50 * time.Millisecond)
				return nil
			},
			BeforeMessage: func(_ context.Context, m heymanito.Message) error {
				if m.To == "nobody" {
					return errors.New("down")
				}
				return nil
			},
			OnConnect: func(context.Context, heymanito.Device) {},
		}))
		ann, ann2, bob := a.join("ann"), a.join("ann"), a.join("bob")
		a.refused("") // and stays connected: it may try again
		a.dial("cid") // and never says CONNECT
		ann.code("sendMessage", mail("m1", "ann", "bob"))
		ann.code("sendMessage", mail("m2", "ann", "bob"))
		ann.code("sendMessage", mail("m3", "bob", "ann"))
		ann.code("sendMessage", mail("m4", "ann", "nobody"))
		ann.code("made up")
		ann.code("made up too")
		bob.code("initiateCall", `{"recipientId":"zoe","callerId":"bob","roomName":"r"}`)
		ann2.Goodbye()
		synctest.Wait()

		s := a.Stats()
		if s.Users != 2 || s.Devices != 2 || s.Connections != 4 || s.Connected != 3 || s.QueueBytes != 0 {
			t.Errorf("%d users, %d devices, %d connections, %d connected, %d bytes are queued", s.Users, s.Devices, s.Connections, s.Connected, s.QueueBytes)
		}
		for _, c := range []struct {
			what      string
			got, want uint64
		}{
			{"refused", s.Refused["missing_user"], 1},
			{"goodbyes", s.Closed["client namespace disconnect"], 1},
			{"messages", s.Events["sendMessage"]["ok"], 2},
			{"of somebody else's", s.Events["sendMessage"]["identity_mismatch"], 1},
			{"that failed", s.Events["sendMessage"]["unavailable"], 1},
			{"unknown events", s.Events[""]["invalid"], 2},
			{"dials", s.Events["initiateCall"]["offline"], 1},
			{"calls offline", s.Calls[heymanito.CallOffline], 1},
			{"Authorize", s.Hooks["Authorize"].Count, 4},
			{"Authorize within 10 ms", s.Hooks["Authorize"].Within[1], 0},
			{"Authorize within 100 ms", s.Hooks["Authorize"].Within[2], 4},
			{"time in Authorize", uint64(s.Hooks["Authorize"].Total.Milliseconds()), 200},
			{"OnConnect", s.Hooks["OnConnect"].Count, 3},
		} {
			if c.got != c.want {
				t.Errorf("%s: %d, want %d", c.what, c.got, c.want)
			}
		}
		if n := s.Stores["Inbox.Append"].Count; n == 0 {
			t.Error("nobody has counted the Appends")
		}
		if s.Inbox != nil {
			t.Errorf("a store without Stats has %+v", s.Inbox)
		}
		if len(s.Events) != 3 {
			t.Errorf("events: %v", s.Events)
		}
	})
}

// waitingStore answers when its caller's patience is over.
type waitingStore struct{ heymanito.PresenceStore }

func (waitingStore) Online(ctx context.Context, _ []string) ([]heymanito.Presence, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (waitingStore) Forget(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

// What the host asks the presence store through the server has an end, and is timed.
func TestStatsOfPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithPresence(waitingStore{heymanito.NewMemoryPresence()}))
		if _, err := a.Online(t.Context(), "ann"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Online: %v", err)
		}
		if err := a.Forget(t.Context(), "ann"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Forget: %v", err)
		}
		for _, call := range []string{"PresenceStore.Online", "PresenceStore.Forget"} {
			if l := a.Stats().Stores[call]; l.Count != 1 || l.Total != 10*time.Second {
				t.Errorf("%s: %+v", call, l)
			}
		}
	})
}

func TestStatsOfMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t)
		a.join("ann").code("sendMessage", mail("m1", "ann", "bob"))
		s := a.Stats()
		if s.Inbox == nil || s.Inbox.Entries != 2 || s.Inbox.Users != 2 {
			t.Errorf("the inbox has %+v", s.Inbox)
		}
		if len(s.Stores) != 0 {
			t.Errorf("stores that never wait are timed: %v", s.Stores)
		}
	})
}
