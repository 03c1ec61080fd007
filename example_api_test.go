package heymanito_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/heymanitotest"
)

// A message of the host's own, in the name of a user of his. With an ID of the
// host's it can be sent again, whatever has become of it the first time.
func ExampleServer_Send() {
	rt := heymanito.New(quiet)
	app := serve(rt)
	defer app.close()

	ann := app.connect("ann")
	order := heymanito.Message{
		From: "shop", To: "ann",
		ID:      json.RawMessage(`"order-4711"`),
		Content: json.RawMessage(`{"text":"Your parrot is on its way."}`),
	}
	for range 2 {
		sent, err := rt.Send(context.Background(), order)
		if err != nil {
			fmt.Println("later, with the same ID:", err)
			return
		}
		fmt.Println(sent.Delivery, sent.Duplicate)
	}
	fmt.Println(pick(ann.Expect("receiveMessage").Args[0], "id", "content"))
	// Output:
	// sent false
	// sent true
	// id="order-4711" content={"text":"Your parrot is on its way."}
}

// An event of the host's own, for the devices that are there.
func ExampleServer_Emit() {
	rt := heymanito.New(quiet)
	app := serve(rt)
	defer app.close()

	ann := app.connect("ann") // socket.on("balance", (cents, currency) => …)
	for _, user := range []string{"ann", "bob"} {
		devices, err := rt.Emit(context.Background(), user, "balance", 1250, "EUR")
		fmt.Println(user, devices, err)
	}
	fmt.Println(ann.Expect("balance"))

	_, err := rt.Emit(context.Background(), "ann", "receiveMessage")
	fmt.Println(err)
	// Output:
	// ann 1 <nil>
	// bob 0 <nil>
	// balance(1250, "EUR")
	// heymanito: invalid: Emit: "receiveMessage" is an event of heymanito's own: choose another name
}

// Who is there, or since when he is not: for a page of the host's own API.
func ExampleServer_Online() {
	rt := heymanito.New(quiet)
	app := serve(rt)
	defer app.close()

	ann := app.connect("ann")
	bob := app.connect("bob")
	bob.Disconnect()
	ann.Expect("contact_offline")

	known, err := rt.Online(context.Background(), "ann", "bob", "zoe")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, p := range known {
		switch {
		case p.Online:
			fmt.Println(p.User, "is online")
		case p.LastSeen.IsZero():
			fmt.Println(p.User, "was never here, or long ago")
		default:
			fmt.Println(p.User, "was last seen in the last minute:", time.Since(p.LastSeen) < time.Minute)
		}
	}
	// Output:
	// ann is online
	// bob was last seen in the last minute: true
	// zoe was never here, or long ago
}

// The devices of a user on this server: for "you are logged in on …".
func ExampleServer_Devices() {
	rt := heymanito.New(quiet)
	app := serve(rt)
	defer app.close()

	app.connect("ann", heymanitotest.Auth("deviceId", "phone"))
	app.connect("ann", heymanitotest.Auth("deviceId", "laptop"))
	for _, d := range rt.Devices("ann") {
		fmt.Println(d.ChatPath, d.DeviceID)
	}
	// Output:
	// ann phone
	// ann laptop
}

// Whoever is banned is told why, and his clients do not come back by themselves.
// That the auth hook does not let him in any more is the other half.
func ExampleServer_Disconnect() {
	var banned atomic.Bool // in the host's database: eve is
	rt := heymanito.New(quiet, heymanito.WithAuth(func(_ context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
		if h.UserID == "eve" && banned.Load() {
			return heymanito.Identity{}, heymanito.Errorf(heymanito.CodeForbidden, "you were banned")
		}
		return heymanito.Identity{ChatPath: h.UserID}, nil
	}))
	app := serve(rt)
	defer app.close()

	eve := app.connect("eve")
	banned.Store(true)
	fmt.Println("connections ended:", rt.Disconnect("eve", "banned"))
	fmt.Println(eve.Expect("sessionEnded"))
	fmt.Println("eve tries again:", app.refused("eve"))
	// Output:
	// connections ended: 1
	// sessionEnded({"code":"banned"})
	// eve tries again: forbidden
}

// An account is deleted: the connections end, and all that is kept goes, what
// others have yet to get from it as well. The auth hook has to refuse it first.
func ExampleServer_Forget() {
	rt := heymanito.New(quiet)
	app := serve(rt)
	defer app.close()

	bob := app.connect("bob")
	bob.Ask("sendMessage", textMessage("m1", "bob", "ann", "forget me")) // ann is not there
	if err := rt.Forget(context.Background(), "bob"); err != nil {
		fmt.Println("some of it may be left, call it again:", err)
		return
	}
	fmt.Println("bob:", bob.Expect("sessionEnded"))
	fmt.Println("ann:", app.connect("ann").Expect("entryErased"))
	// Output:
	// bob: sessionEnded({"code":"account_deleted"})
	// ann: entryErased({"erased":true,"seq":1})
}

// What a server has to do, in numbers. Package metrics gives them to Prometheus.
func ExampleServer_Stats() {
	rt := heymanito.New(quiet, heymanito.WithHooks(heymanito.Hooks{
		BeforeMessage: func(context.Context, heymanito.Message) error { return nil },
	}))
	app := serve(rt)
	defer app.close()

	ann := app.connect("ann")
	ann.Ask("sendMessage", textMessage("m1", "ann", "bob", "hola"))
	ann.Ask("sendMessage", textMessage("m2", "bob", "ann", "I am not bob"))

	s := rt.Stats()
	fmt.Println("devices:", s.Devices)
	fmt.Println("sendMessage:", s.Events["sendMessage"])
	fmt.Println("entries in the inbox:", s.Inbox.Entries)
	fmt.Println("calls of BeforeMessage:", s.Hooks["BeforeMessage"].Count)
	// Output:
	// devices: 1
	// sendMessage: map[identity_mismatch:1 ok:1]
	// entries in the inbox: 2
	// calls of BeforeMessage: 1
}

// The bounds of a Latency's counts, of which each includes those before it.
func ExampleLatencyBounds() {
	l := heymanito.Latency{Count: 4, Within: [5]uint64{1, 1, 3, 4, 4}}
	for i, bound := range heymanito.LatencyBounds() {
		fmt.Printf("%d of %d within %v\n", l.Within[i], l.Count, bound)
	}
	// Output:
	// 1 of 4 within 1ms
	// 1 of 4 within 10ms
	// 3 of 4 within 100ms
	// 4 of 4 within 1s
	// 4 of 4 within 10s
}

// What support sees of one angry user: no contents, no tokens.
func ExampleServer_Inspect() {
	rt := heymanito.New(quiet)
	app := serve(rt)
	defer app.close()

	ann := app.connect("ann", heymanitotest.Auth("deviceId", "phone"))
	ann.Ask("sendMessage", textMessage("m1", "ann", "bob", "hola"))

	for _, user := range []string{"ann", "bob"} {
		v, err := rt.Inspect(context.Background(), user) // json.NewEncoder(w).Encode(v)
		if err != nil {
			fmt.Println(err)
			return
		}
		phone := slices.ContainsFunc(v.Devices, func(d heymanito.DeviceView) bool { return d.DeviceID == "phone" })
		fmt.Println(v.ChatPath, v.Online, phone)
		for _, e := range v.Inbox.Entries {
			fmt.Println(" ", e.Seq, e.Event, e.Peer, e.ID)
		}
	}
	// Output:
	// ann true true
	//   1 messageSent bob "m1"
	// bob false false
	//   1 receiveMessage ann "m1"
}
