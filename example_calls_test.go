package heymanito_test

import (
	"context"
	"fmt"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/livekit"
)

// A call: one device of the callee's wins, the others stop ringing.
func ExampleCall() {
	rt := heymanito.New(quiet, heymanito.WithHooks(heymanito.Hooks{
		BeforeCall: func(_ context.Context, c heymanito.Call) error {
			fmt.Println(c.Caller, "calls", c.Callee, "with", c.Media)
			return nil
		},
	}))
	app := serve(rt)
	defer app.close()

	ann, phone, laptop := app.connect("ann"), app.connect("bob"), app.connect("bob")
	ann.Ask("initiateCall", map[string]string{"callerId": "ann", "recipientId": "bob", "media": "video"}).OK(app.t)
	phone.Expect("incomingCall")
	laptop.Expect("incomingCall")
	fmt.Println("bob's phone:", phone.Ask("acceptCall", map[string]string{"callerId": "ann"}).Status)
	fmt.Println("bob's laptop:", pick(laptop.Expect("callCancelled").Args[0], "reason"))
	fmt.Println("ann:", pick(ann.Expect("callAccepted").Args[0], "recipientId"))
	// Output:
	// ann calls bob with video
	// bob's phone: ok
	// bob's laptop: reason="answered_elsewhere"
	// ann: recipientId="bob"
}

// With a media server calls have rooms, and whoever answers gets a token. LiveKit
// tells the server, at WebhookHandler, who has joined and who has left.
func ExampleWithRooms() {
	rooms := livekit.New("wss://livekit.example.com", "the key", "the secret, from a secret store")
	rt := heymanito.New(quiet, heymanito.WithRooms(rooms)) // mux.Handle("/livekit/webhook", rooms.WebhookHandler())
	app := serve(rt)
	defer app.close()

	ann, bob := app.connect("ann"), app.connect("bob")
	ann.Ask("initiateCall", map[string]string{"callerId": "ann", "recipientId": "bob"}).OK(app.t)
	bob.Expect("incomingCall")
	var answer struct{ URL, Token string }
	bob.Ask("acceptCall", map[string]string{"callerId": "ann"}).OK(app.t).Into(app.t, &answer)
	fmt.Println(answer.URL, answer.Token != "")
	// Output: wss://livekit.example.com true
}

// Stock clients read no acks: they get their token from the host's own API, which
// knows who asks, and hands out tokens to the two who talk.
func ExampleServer_CallToken() {
	rt := heymanito.New(quiet, heymanito.WithRooms(livekit.New("wss://livekit.example.com", "the key", "the secret, from a secret store")))
	app := serve(rt)
	defer app.close()

	ann, bob := app.connect("ann"), app.connect("bob")
	ann.Ask("initiateCall", map[string]string{"callerId": "ann", "recipientId": "bob"}).OK(app.t)
	var incoming struct{ RoomName string }
	bob.Expect("incomingCall").Into(app.t, 0, &incoming)

	for _, user := range []string{"bob", "eve"} {
		_, err := rt.CallToken(context.Background(), user, incoming.RoomName, "api")
		fmt.Println(user, err) // before the answer there is none
	}
	bob.Ask("acceptCall", map[string]string{"callerId": "ann"}).OK(app.t)
	token, err := rt.CallToken(context.Background(), "bob", incoming.RoomName, "api")
	fmt.Println(token.URL, time.Until(token.Expires).Round(time.Minute), err)
	// Output:
	// bob heymanito: conflict: the call is not answered, or over
	// eve heymanito: not_found: there is no such call to this user
	// wss://livekit.example.com 10m0s <nil>
}

// A call that nobody answers rings out.
func ExampleWithCallTimes() {
	rt := heymanito.New(quiet, heymanito.WithCallTimes(heymanito.CallTimes{Ring: 20 * time.Millisecond})) // 45 s if left out
	app := serve(rt)
	defer app.close()

	ann := app.connect("ann")
	app.connect("bob")
	ann.Ask("initiateCall", map[string]string{"callerId": "ann", "recipientId": "bob"}).OK(app.t)
	fmt.Println(pick(ann.Expect("callRejected").Args[0], "recipientId", "reason"))
	// Output: recipientId="bob" reason="timeout"
}

// Who calls too often is told to wait. To dial again what rings does not count.
func ExampleWithRingLimits() {
	rt := heymanito.New(quiet, heymanito.WithRingLimits(1, 10)) // a minute: one and the same user, and anybody
	app := serve(rt)
	defer app.close()

	ann := app.connect("ann")
	app.connect("bob")
	for range 2 {
		ack := ann.Ask("initiateCall", map[string]string{"callerId": "ann", "recipientId": "bob"})
		fmt.Printf("%s %q\n", ack.Status, ack.Code)
		var call struct{ CallID string }
		ack.Into(app.t, &call)
		ann.Ask("cancelCall", map[string]string{"callId": call.CallID})
	}
	// Output:
	// ok ""
	// error "rate_limited"
}

// The host has the calls there are as well: here, to show who is on the phone.
func ExampleWithCalls() {
	calls := heymanito.NewMemoryCalls()
	rt := heymanito.New(quiet, heymanito.WithCalls(calls))
	app := serve(rt)
	defer app.close()

	ann := app.connect("ann")
	app.connect("bob").Ask("initiateCall", map[string]string{"callerId": "bob", "recipientId": "ann"}).OK(app.t)
	ann.Expect("incomingCall")

	his, err := calls.ByUser(context.Background(), "bob")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range his { // those that have ended a moment ago included
		if c.Live() {
			fmt.Println(c.Caller, "→", c.Callee, c.State)
		}
	}
	// Output: bob → ann ringing
}
