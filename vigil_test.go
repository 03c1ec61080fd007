package heymanito_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// told is hooks that note who has a message.
func told(a **app, n *notes) heymanito.Option {
	return heymanito.WithHooks(heymanito.Hooks{
		OnUndelivered: func(_ context.Context, m heymanito.Message) { n.add("undelivered %s", m.ID) },
		AfterMessage: func(_ context.Context, m heymanito.Message, d heymanito.Delivery) {
			var devices []string
			for _, d := range d.Devices {
				if (*a).plain(d.SocketID) == d.SocketID { // it has just come, and is being named
					time.Sleep(time.Millisecond)
				}
				devices = append(devices, (*a).plain(d.SocketID))
			}
			slices.Sort(devices)
			n.add("after %s: %s %v", m.ID, d.Status, devices)
		},
	})
}

// The host learns which devices have a message, and of those that nobody has.
func TestWhoHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		var a *app
		a = keeping(t, told(&a, &n))
		ann := a.join("ann")
		ann.sends("m1", "bob", 1, "queued")
		n.want(t, `undelivered "m1"`, `after "m1": queued []`)

		laptop := a.join("bob")
		n.want(t) // once is enough
		ann.sends("m2", "bob", 3, "sent")
		n.want(t) // it may be in time
		time.Sleep(time.Second)
		n.want(t, `after "m2": sent [<bob>]`)

		phone := a.dial("bob") // shows nothing
		if err := phone.Send("40"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ann.sends("m3", "bob", 5, "sent")
		time.Sleep(5*time.Second - time.Millisecond)
		n.want(t)
		time.Sleep(time.Millisecond)
		n.want(t, `after "m3": sent [<bob>]`)

		laptop.Goodbye()
		synctest.Wait()
		ann.sends("m4", "bob", 7, "sent")
		time.Sleep(5 * time.Second)
		n.want(t, `undelivered "m4"`, `after "m4": sent []`)
		phone.Close()

		// Within the grace he may be back in time.
		synctest.Wait()
		ann.sends("m5", "bob", 8, "queued")
		time.Sleep(4 * time.Second)
		n.want(t)
		a.join("bob")
		time.Sleep(time.Second)
		n.want(t, `after "m5": queued [<bob 2>]`)

		// A message to oneself, from the only device, is where it came from.
		ann.sends("note", "ann", 10, "queued")
		time.Sleep(10 * time.Second)
		n.want(t, `after "note": queued [<ann>]`)

		// A device that asks for acks has it when it calls back, not before.
		asks := a.join("ann", wiretest.Auth(`{"features":["acks"]}`))
		ann.sends("note 2", "ann", 11, "sent")
		time.Sleep(5 * time.Second)
		n.want(t, `after "note 2": sent [<ann>]`)
		ann.sends("note 3", "ann", 12, "sent")
		for _, callback := range []string{`4312[]`, `4311[]`} {
			if err := asks.Send(callback); err != nil {
				t.Fatal(err)
			}
		}
		n.want(t, `after "note 3": sent [<ann 2> <ann>]`)
	})
}

// Shutdown does not wait for the grace, and forgets nobody.
func TestShutdownTellsWhoHasIt(t *testing.T) {
	var n notes
	synctest.Test(t, func(t *testing.T) {
		var a *app
		a = keeping(t, told(&a, &n))
		ann := a.join("ann")
		bob := a.dial("bob")
		if err := bob.Send("40"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i := range 3 {
			ann.EmitAck("sendMessage", note(fmt.Sprint("m", i+1), "ann", "bob"))
		}
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	want := []string{
		`undelivered "m1"`, `after "m1": sent []`, `undelivered "m2"`, `after "m2": sent []`, `undelivered "m3"`, `after "m3": sent []`,
	}
	if !slices.Equal(n.lines, want) {
		t.Errorf("noted %q", n.lines)
	}
}

// Who has a message is known although its sender is still busy with a replay of
// his own.
func TestGivenBeforeTheAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		var a *app
		a = keeping(t, told(&a, &n))
		cid := a.join("cid")
		for i := range 200 {
			cid.EmitAck("sendMessage", fmt.Sprintf(`{"id":%d,"senderChatPath":"cid","recipientChatPath":"ann","content":%q}`, i, strings.Repeat("x", 2000)))
		}
		n.read()
		bob := a.join("bob")
		ann := a.dial("ann") // on a slow link
		if err := ann.Send("40"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := ann.Send(`421["sendMessage",` + note("m1", "ann", "bob") + `]`); err != nil {
			t.Fatal(err)
		}
		bob.has("ready #0", "receive m1 #1")
		time.Sleep(2 * time.Second)
		n.want(t, `after "m1": sent [<bob>]`)
		bob.Goodbye()
		synctest.Wait()
		for {
			p, err := ann.Text()
			if err != nil {
				t.Fatal(err)
			}
			if p == "2" {
				_ = ann.Send("3")
			}
			if strings.HasPrefix(p, "431[") {
				break
			}
		}
		synctest.Wait()
		time.Sleep(10 * time.Second)
		n.want(t)
		ann.Close()
	})
}

// A client that says in time that it has a message was given it.
func TestClaimedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		var a *app
		a = keeping(t, told(&a, &n))
		ann := a.join("ann")
		epoch, _ := ann.ready()
		bob := a.dial("bob")
		if err := bob.Send("40"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ann.sends("m1", "bob", 1, "sent")
		bob.Close() // read, and the link breaks before the pong
		synctest.Wait()
		a.join("bob", since(epoch, 1)).has("ready #1")
		ann.has("ready #0", "delivered m1 #2")
		time.Sleep(10 * time.Second)
		for _, line := range n.read() {
			if strings.HasPrefix(line, "undelivered") {
				t.Errorf("the sender was told that it is delivered, the host: %s", line)
			}
		}
	})
}

// A message whose first Append has failed, and has appended it all the same, is
// told to the hooks, once.
func TestHooksAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		var a *app
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a = start(t, heymanito.WithInbox(store), told(&a, &n))
		ann := a.join("ann")
		store.mood(lost)
		if ack := ann.EmitAck("sendMessage", note("m1", "ann", "bob")); ack.Code != "unavailable" {
			t.Fatal(string(ack.Raw))
		}
		store.mood(nil)
		if ack := ann.EmitAck("sendMessage", note("m1", "ann", "bob")); ack.Status != "ok" {
			t.Fatal(string(ack.Raw))
		}
		n.want(t, `undelivered "m1"`, `after "m1": queued []`)
	})
}

// The hooks are told the message as it is stored, whatever was sent when it was
// sent again.
func TestHooksGetWhatIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store), heymanito.WithHooks(heymanito.Hooks{
			OnUndelivered: func(_ context.Context, m heymanito.Message) {
				n.add("%s of %s: %s %s %q", m.ID, m.From, m.Content, m.SenderProfile, m.Attachments)
			},
			AfterMessage: func(_ context.Context, m heymanito.Message, _ heymanito.Delivery) {
				n.add("%d", m.Time.UnixMilli())
			},
		}))
		ann := a.join("ann")
		send := func(content, profile string) string {
			return ann.EmitAck("sendMessage", `{"senderProfile":`+profile+`,"id":"m1","senderChatPath":"ann","recipientChatPath":"bob","content":`+content+`}`).Status
		}
		store.mood(lost)
		if status := send(`"first"`, `{"n":1}`); status != "error" {
			t.Fatal(status)
		}
		store.mood(nil)
		time.Sleep(time.Second)
		if status := send(`"second"`, `{"n":2}`); status != "ok" {
			t.Fatal(status)
		}
		n.want(t, `"m1" of ann: "first" {"n":1} []`, fmt.Sprint(begin))
	})
}

// Without an inbox, too, OnUndelivered goes on when the sender has gone.
func TestUndeliveredOutlivesTheSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		a := start(t, heymanito.WithoutInbox(), heymanito.WithHooks(heymanito.Hooks{
			OnUndelivered: func(ctx context.Context, _ heymanito.Message) {
				select {
				case <-ctx.Done():
					ended <- ctx.Err()
				case <-time.After(time.Second):
					ended <- nil
				}
			},
		}))
		ann := a.join("ann")
		if err := ann.Send(`42["sendMessage",` + note("m1", "ann", "bob") + `]`); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ann.Cut()
		if err := <-ended; err != nil {
			t.Errorf("the ctx of OnUndelivered has ended with the connection: %v", err)
		}
	})
}

// A hook that is slow slows down who sends so much, and nothing piles up.
func TestSlowHookSlowsSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Int32
		a := keeping(t, heymanito.WithHooks(heymanito.Hooks{AfterMessage: func(context.Context, heymanito.Message, heymanito.Delivery) {
			told.Add(1)
			time.Sleep(time.Second) // a push service
		}}))
		ann, _ := a.join("ann"), a.join("bob")
		begun := time.Now()
		const sent, held = 80, 55 // of 100 KB: 4 MiB, and a second's worth that is not proven yet
		content := strings.Repeat("x", 100_000)
		for i := range sent {
			ann.EmitAck("sendMessage", fmt.Sprintf(`{"id":%d,"senderChatPath":"ann","recipientChatPath":"bob","content":%q}`, i, content))
			time.Sleep(100 * time.Millisecond)
		}
		if n := told.Load(); n < sent-held || time.Since(begun) < (sent-held-1)*time.Second {
			t.Errorf("%d messages are acked, %d told within %v", sent, n, time.Since(begun))
		}
		time.Sleep(time.Hour)
		if n := told.Load(); n != sent {
			t.Errorf("%d of %d messages were told", n, sent)
		}
	})
}

// Shutdown keeps to its ctx, whatever there is to be told.
func TestShutdownWithASlowHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t, heymanito.WithHooks(heymanito.Hooks{AfterMessage: func(context.Context, heymanito.Message, heymanito.Delivery) {
			time.Sleep(time.Second) // and does not look at ctx
		}}))
		ann, _ := a.join("ann"), a.join("bob")
		for i := range 1000 {
			ann.EmitAck("sendMessage", note(fmt.Sprint(i), "ann", "bob"))
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		begun := time.Now()
		if err := a.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 32*time.Second {
			t.Errorf("Shutdown took %v and returned %v", time.Since(begun), err)
		}
	})
}

// What is sent while the server shuts down is no different: Send returns nil, and so
// the hooks are told. They can send to the end, others no longer than there are
// connections or calls.
func TestSendDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		var a *app
		send := func(ctx context.Context, id string) error {
			_, err := a.Send(ctx, heymanito.Message{ID: json.RawMessage(id), From: "ann", To: "cid"})
			return err
		}
		a = keeping(t, heymanito.WithHooks(heymanito.Hooks{
			OnUndelivered: func(ctx context.Context, m heymanito.Message) {
				n.add("undelivered %s", m.ID)
				time.Sleep(2 * time.Second) // a push
				if string(m.ID) == `"m1"` { // Shutdown waits for us
					n.add("m2: %v", send(ctx, `"m2"`))
					n.add("m3: %v", errors.Is(send(context.Background(), `"m3"`), heymanito.ErrClosed))
				}
			},
			OnDisconnect: func(_ context.Context, d heymanito.Device, _ string) {
				if d.ChatPath == "ann" {
					n.add("m0: %v", send(context.Background(), `"m0"`))
				}
			},
		}))
		ann := a.join("ann")
		for _, user := range []string{"bob", "cid"} {
			ws := a.dial(user) // shows nothing
			if err := ws.Send("40"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		ann.EmitAck("sendMessage", note("m1", "ann", "bob"))
		if err := a.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if got := n.read(); !slices.Equal(slices.Sorted(slices.Values(got)), []string{
			"m0: <nil>", "m2: <nil>", "m3: true", `undelivered "m0"`, `undelivered "m1"`, `undelivered "m2"`,
		}) {
			t.Errorf("noted %q", got)
		}
		if err := send(context.Background(), `"m4"`); !errors.Is(err, heymanito.ErrClosed) {
			t.Errorf("after Shutdown: %v", err)
		}
		time.Sleep(time.Minute)
		n.want(t)
	})
}

// A host that goes on sending does not keep Shutdown from its end.
func TestShutdownUnderSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t, heymanito.WithHooks(heymanito.Hooks{
			OnUndelivered: func(context.Context, heymanito.Message) { time.Sleep(time.Second) },
		}))
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for i := range 200 {
			time.AfterFunc(time.Duration(i)*500*time.Millisecond, func() {
				_, _ = a.Send(ctx, heymanito.Message{ID: json.RawMessage(fmt.Sprint(i)), From: "ann", To: fmt.Sprint("user", i)})
			})
		}
		time.Sleep(10 * time.Second)
		if err := a.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown returned %v", err)
		}
		<-ctx.Done()
	})
}

// A Send that waits for a slow hook ends with the server.
func TestSendWaitsUntilShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t, heymanito.WithMaxQueue(100<<20), heymanito.WithHooks(heymanito.Hooks{
			AfterMessage: func(ctx context.Context, _ heymanito.Message, _ heymanito.Delivery) { <-ctx.Done() },
		}))
		a.readsOnly("bob")
		content := json.RawMessage(`"` + strings.Repeat("x", 900_000) + `"`)
		send := func(id int) error {
			_, err := a.Send(context.Background(), heymanito.Message{ID: json.RawMessage(fmt.Sprint(id)), From: "ann", To: "bob", Content: content})
			return err
		}
		for i := range 8 {
			if err := send(i); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second) // the hooks are seven behind
		sent := make(chan error, 1)
		go func() { sent <- send(8) }()
		synctest.Wait()
		if len(sent) > 0 {
			t.Error("the test is wrong: Send has not waited")
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := a.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown returned %v", err)
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
	})
}

// readsOnly connects a device that reads, and shows nobody that it does.
func (a *app) readsOnly(user string) {
	a.t.Helper()
	ws := a.dial(user)
	if err := ws.Send("40"); err != nil {
		a.t.Fatal(err)
	}
	go func() {
		for {
			if _, err := ws.Text(); err != nil {
				return
			}
		}
	}()
	a.t.Cleanup(ws.Close)
	synctest.Wait()
}

// When more is on its way to one user than is watched over, the hooks are told
// early about the oldest, and about no more than that.
func TestMoreThanIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := keeping(t, heymanito.WithMaxQueue(100<<20), heymanito.WithHooks(heymanito.Hooks{
			OnUndelivered: func(_ context.Context, m heymanito.Message) { n.add("%s", m.ID) },
		}))
		ann := a.join("ann")
		a.readsOnly("bob")
		for i := range 20 {
			ann.EmitAck("sendMessage", fmt.Sprintf(`{"id":%d,"senderChatPath":"ann","recipientChatPath":"bob","content":%q}`, i, strings.Repeat("x", 900_000)))
		}
		n.want(t, "0", "1", "2") // 17 of them are 15.3 MB
	})
}

// What was written to a stock client that has come since is not given to it.
func TestCameTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		var a *app
		a = keeping(t, told(&a, &n))
		ann := a.join("ann")
		ann.sends("m1", "bob", 1, "queued")
		a.join("bob").Goodbye() // has it
		n.want(t, `undelivered "m1"`, `after "m1": queued []`)
		laptop := a.join("bob") // and was not told
		laptop.has("ready #1")
		ann.sends("m2", "bob", 3, "sent")
		time.Sleep(time.Second)
		n.want(t, `after "m2": sent [<bob 2>]`)
	})
}

// Six photos at once, shown to be read within two seconds.
func TestPhotosWithinTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		var a *app
		a = keeping(t, told(&a, &n))
		ann := a.join("ann")
		bob := a.dial("bob")
		if err := bob.Send("40"); err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				p, err := bob.Text()
				if err != nil {
					return
				}
				if p == "2" {
					time.AfterFunc(1500*time.Millisecond, func() { _ = bob.Send("3") }) // the way there and back
				}
			}
		}()
		synctest.Wait()
		for i := range 6 {
			ann.EmitAck("sendMessage", fmt.Sprintf(`{"id":%d,"senderChatPath":"ann","recipientChatPath":"bob","content":%q}`, i, strings.Repeat("x", 900_000)))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(20 * time.Second)
		for _, line := range n.read() {
			if strings.HasPrefix(line, "undelivered") {
				t.Errorf("bob has shown within the grace that he has it: %s", line)
			}
		}
		if len(ann.Named("messagesDelivered")) == 0 || a.log.Count("cut off") > 0 {
			t.Error("the test is wrong")
		}
		bob.Close()
	})
}

// The phone has it, and says so in time: no notification for it.
func TestClaimedBehindTheLaptop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		var a *app
		a = keeping(t, told(&a, &n))
		ann := a.join("ann")
		a.join("bob") // the laptop
		phone := a.dial("bob")
		if err := phone.Send("40{\"since\":{}}"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ann.sends("m1", "bob", 1, "sent")
		time.Sleep(time.Second)
		phone.Close() // without an answer to the ping
		synctest.Wait()
		epoch, _ := ann.ready()
		a.join("bob", since(epoch, 1)).has("ready #1")
		time.Sleep(10 * time.Second)
		n.want(t, `after "m1": sent [<bob 2> <bob>]`)
	})
}
