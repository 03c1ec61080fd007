package heymanito_test

import (
	"context"
	"fmt"
	"time"

	"github.com/heymanito/heymanito"
)

// How much is kept for whoever is away. In memory it is gone when the process ends;
// package boltinbox has a store that survives that.
func ExampleWithInbox() {
	inbox := heymanito.NewMemoryInbox(heymanito.InboxBounds{
		Entries: 1000,               // of one user
		Age:     7 * 24 * time.Hour, //
		Total:   64_000_000,         // bytes, of all users
	})
	rt := heymanito.New(quiet, heymanito.WithInbox(inbox))
	app := serve(rt)
	defer app.close()

	ann := app.connect("ann")
	ann.Ask("sendMessage", textMessage("m1", "ann", "bob", "are you there?"))
	fmt.Println("kept:", inbox.Stats().Entries) // one for each of the two
	fmt.Println("bob, later:", pick(app.connect("bob").Expect("receiveMessage").Args[0], "content"))
	// Output:
	// kept: 2
	// bob, later: content="are you there?"
}

// A host that keeps every message itself, and whose clients ask it for what they
// have missed.
func ExampleWithoutInbox() {
	missed := make(chan string, 1)
	rt := heymanito.New(quiet, heymanito.WithoutInbox(), heymanito.WithHooks(heymanito.Hooks{
		OnUndelivered: func(_ context.Context, m heymanito.Message) { missed <- string(m.Content) + " for " + m.To },
	}))
	app := serve(rt)
	defer app.close()

	ack := app.connect("ann").Ask("sendMessage", textMessage("m1", "ann", "bob", "are you there?"))
	fmt.Println(pick(ack.Raw, "delivery"))
	fmt.Println(<-missed)
	// Output:
	// delivery="offline"
	// "are you there?" for bob
}

// Bounds that come out of a configuration file are checked before a store is made
// of them, which refuses negative ones.
func ExampleInboxBounds() {
	b := heymanito.InboxBounds{Age: -time.Hour}
	fmt.Println(b.Check())

	b = heymanito.InboxBounds{Entries: 500}.WithDefaults(1_000_000_000) // what a store does
	fmt.Println(b.Entries, b.Bytes, b.Age, b.Total)
	// Output:
	// InboxBounds.Age is -1h0m0s, and no bound is negative: leave it at zero for the default
	// 500 16000000 720h0m0s 1000000000
}

// What the Forget of an Inbox of your own leaves in the inboxes of others.
func ExampleErased() {
	e := heymanito.Entry{
		Key:  heymanito.Key{User: "ann", Event: "receiveMessage", Peer: "bob", ID: `"m1"`},
		Body: []byte(`{"id":"m1","content":"forget me"}`),
		Seq:  7,
	}
	e = heymanito.Erased(e) // bob is forgotten
	fmt.Printf("%d %s %q %s\n", e.Seq, e.Event, e.Peer, e.Body)
	// Output: 7 entryErased "" {"erased":true}
}

// Of whom it is known since when he is not online.
func ExampleWithPresence() {
	presence := heymanito.NewMemoryPresence()
	presence.KeepLastSeen(1_000_000)
	rt := heymanito.New(quiet, heymanito.WithPresence(presence))
	app := serve(rt)
	defer app.close()

	app.connect("ann")
	for p, err := range presence.Snapshot(context.Background()) {
		fmt.Println(p.User, p.Online, err)
	}
	// Output: ann true <nil>
}
