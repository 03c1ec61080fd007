package heymanito_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/heymanito/heymanito"
)

// A host stores the messages, and sends a push notification to whom nobody could
// give one.
func ExampleWithHooks() {
	pushes := make(chan string)
	rt := heymanito.New(quiet, heymanito.WithHooks(heymanito.Hooks{
		BeforeMessage: func(ctx context.Context, m heymanito.Message) error {
			if len(m.Content) > 100 {
				return heymanito.Errorf(heymanito.CodeTooLarge, "98 bytes are enough") // it goes to nobody
			}
			fmt.Printf("insert %s from %s to %s: %s\n", m.ID, m.From, m.To, m.Content)
			return nil // the database's error: answered "unavailable", and the client sends again
		},
		OnUndelivered: func(ctx context.Context, m heymanito.Message) { pushes <- m.To },
	}))
	app := serve(rt)
	defer app.close()

	ann := app.connect("ann")
	ack := ann.Ask("sendMessage", textMessage("m1", "ann", "bob", "hola"))
	fmt.Println("ann is answered:", pick(ack.Raw, "status", "delivery"))
	fmt.Println("push to", <-pushes)
	// Output:
	// insert "m1" from ann to bob: "hola"
	// ann is answered: status="ok" delivery="queued"
	// push to bob
}

// Authorize is asked before anything goes from one user to another. Who is blocked
// need not learn of it: with ErrSilently he is answered as anybody else would be.
func ExampleHooks_blocking() {
	blocked := map[[2]string]bool{{"bob", "eve"}: true} // bob does not want to hear from eve
	rt := heymanito.New(quiet, heymanito.WithHooks(heymanito.Hooks{
		Authorize: func(_ context.Context, a heymanito.Action) error {
			switch {
			case blocked[[2]string{a.To, a.From}]:
				return heymanito.ErrSilently
			case a.To == "support" && a.Event == "initiateCall":
				return heymanito.Errorf(heymanito.CodeForbidden, "write to us instead")
			}
			return nil
		},
	}))
	app := serve(rt)
	defer app.close()

	bob, eve := app.connect("bob"), app.connect("eve")
	fmt.Println("eve:", pick(eve.Ask("sendMessage", textMessage("m1", "eve", "bob", "hola")).Raw, "status", "delivery"))
	bob.ExpectNone("receiveMessage")
	ack := bob.Ask("initiateCall", map[string]string{"callerId": "bob", "recipientId": "support"})
	fmt.Println("bob:", ack.Code, "|", ack.Message)
	// Output:
	// eve: status="ok" delivery="sent"
	// bob: forbidden | write to us instead
}

// Devices come and go: a host that wants to know keeps count. Who somebody is, of
// whom the auth hook has said more than his name, is in Claims.
func ExampleHooks_devices() {
	gone := make(chan string, 1)
	rt := heymanito.New(quiet,
		heymanito.WithAuth(func(_ context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
			return heymanito.Identity{ChatPath: h.UserID, Claims: "admin"}, nil
		}),
		heymanito.WithHooks(heymanito.Hooks{
			OnConnect: func(_ context.Context, d heymanito.Device) {
				fmt.Println(d.ChatPath, "is here, as", d.Claims)
			},
			OnDisconnect: func(_ context.Context, d heymanito.Device, reason string) {
				gone <- d.ChatPath + " has gone: " + reason
			},
		}))
	app := serve(rt)
	defer app.close()

	ann := app.connect("ann")
	ann.Ask("getCalls") // OnConnect was called before anything of hers is handled
	ann.Disconnect()
	fmt.Println(<-gone)
	// Output:
	// ann is here, as admin
	// ann has gone: client namespace disconnect
}

// What became of a message: to which devices it was given, and that it was read.
func ExampleHooks_receipts() {
	given := make(chan heymanito.Delivery)
	rt := heymanito.New(quiet, heymanito.WithHooks(heymanito.Hooks{
		AfterMessage: func(_ context.Context, _ heymanito.Message, d heymanito.Delivery) { given <- d },
		OnRead: func(_ context.Context, r heymanito.Read) {
			fmt.Printf("%s has read what %s wrote, up to %s\n", r.Reader, r.Sender, r.UpToID)
		},
	}))
	app := serve(rt)
	defer app.close()

	ann, bob := app.connect("ann"), app.connect("bob")
	ann.Ask("sendMessage", textMessage("m1", "ann", "bob", "hola"))
	d := <-given // when bob's device has shown that it read past the message
	fmt.Println(d.Status, "to", len(d.Devices), "device of", d.Devices[0].ChatPath)
	bob.Ask("markAsRead", map[string]string{"senderChatPath": "ann", "recipientChatPath": "bob", "upToId": "m1"})
	// Output:
	// sent to 1 device of bob
	// bob has read what ann wrote, up to "m1"
}

// With Contacts presence goes to contacts only: to those who have each other. What
// changes is told at once, when the host says so.
func ExampleServer_ContactsChanged() {
	var accepted atomic.Bool // in the host's database: that bob has ann as a contact, too
	rt := heymanito.New(quiet, heymanito.WithHooks(heymanito.Hooks{
		Contacts: func(_ context.Context, user string) ([]string, error) {
			switch {
			case user == "ann":
				return []string{"bob"}, nil
			case user == "bob" && accepted.Load():
				return []string{"ann"}, nil
			}
			return nil, nil
		},
	}))
	app := serve(rt)
	defer app.close()

	ann := app.connect("ann")
	app.connect("bob")
	ann.ExpectNone("contact_online")

	accepted.Store(true)
	if err := rt.ContactsChanged(context.Background(), "bob"); err != nil {
		fmt.Println("bob's contacts are as before:", err)
	}
	fmt.Println(ann.Expect("contact_online"))
	// Output: contact_online("bob")
}

// Calls ring at the devices that are there; the host's push notifications ring at
// phones that are asleep, and stop when the call is answered or over.
func ExampleHooks_calls() {
	steps := make(chan string)
	rt := heymanito.New(quiet, heymanito.WithHooks(heymanito.Hooks{
		BeforeCall: func(_ context.Context, c heymanito.Call) error {
			if c.Callee == "mute" {
				return errors.New("he takes no calls") // "forbidden"; the words are for the log
			}
			return nil
		},
		OnRing: func(_ context.Context, c heymanito.Call, reached []heymanito.Device) {
			steps <- fmt.Sprintf("push: %s calls %s, who has %d devices here", c.Caller, c.Callee, len(reached))
		},
		OnRingEnd: func(_ context.Context, c heymanito.Call) { steps <- "push: it rings no more" },
		OnCall: func(_ context.Context, c heymanito.Call) {
			steps <- strings.TrimSpace(fmt.Sprintf("log: %s %s", c.State, c.Reason))
		},
	}))
	app := serve(rt)
	defer app.close()

	ann := app.connect("ann")
	fmt.Println("mute:", ann.Ask("initiateCall", map[string]string{"callerId": "ann", "recipientId": "mute"}).Code)
	ann.Ask("initiateCall", map[string]string{"callerId": "ann", "recipientId": "bob"})
	fmt.Println(<-steps)
	fmt.Println(<-steps)
	bob := app.connect("bob") // woken by the push
	bob.Expect("incomingCall")
	bob.Ask("rejectCall", map[string]string{"callerId": "ann", "recipientId": "bob"})
	fmt.Println(<-steps)
	fmt.Println(<-steps)
	// Output:
	// mute: forbidden
	// log: ringing
	// push: ann calls bob, who has 0 devices here
	// log: ended declined
	// push: it rings no more
}
