package heymanito_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/heymanito/heymanito"
)

// On is for events of the host's own. What it returns is the ack's result.
func ExampleOn() {
	profiles := map[string]string{"bob": "Roberto"}
	rt := heymanito.New(quiet, heymanito.On("getProfile", func(_ context.Context, e heymanito.Event) (any, error) {
		var user string
		if len(e.Args) != 1 || json.Unmarshal(e.Args[0], &user) != nil {
			return nil, heymanito.Errorf(heymanito.CodeInvalid, "say whose profile")
		}
		name, ok := profiles[user]
		if !ok {
			return nil, heymanito.Errorf(heymanito.CodeNotFound, "nobody is called %s", user)
		}
		return map[string]string{"name": name, "asked by": e.Device.ChatPath}, nil
	}))
	app := serve(rt)
	defer app.close()

	ann := app.connect("ann") // socket.emit("getProfile", "bob", ack)
	fmt.Println(string(ann.Ask("getProfile", "bob").Raw))
	fmt.Println(string(ann.Ask("getProfile", "eve").Raw))
	// Output:
	// {"status":"ok","result":{"asked by":"ann","name":"Roberto"}}
	// {"status":"error","code":"not_found","message":"nobody is called eve","retryable":false}
}

// Relay passes an event of the clients' own from user to user, and sees to it that
// nobody speaks for somebody else.
func ExampleRelay() {
	rt := heymanito.New(quiet, heymanito.Relay("reaction"))
	app := serve(rt)
	defer app.close()

	type reaction struct {
		From  string `json:"senderChatPath"`
		To    string `json:"recipientChatPath"`
		About string `json:"about"`
		Emoji string `json:"emoji"`
	}
	ann, bob := app.connect("ann"), app.connect("bob")
	fmt.Println(ann.Ask("reaction", reaction{"ann", "bob", "m1", "🦜"}).Status)
	fmt.Println(bob.Expect("reaction"))
	fmt.Println(ann.Ask("reaction", reaction{"eve", "bob", "m1", "💩"}).Code)
	// Output:
	// ok
	// reaction({"senderChatPath":"ann","recipientChatPath":"bob","about":"m1","emoji":"🦜"})
	// identity_mismatch
}

// What is worth nothing a moment later is not queued for a device that is behind.
func ExampleRelayVolatile() {
	rt := heymanito.New(quiet, heymanito.RelayVolatile("typing"))
	app := serve(rt)
	defer app.close()

	ann, bob := app.connect("ann"), app.connect("bob")
	ann.Emit("typing", map[string]string{"senderChatPath": "ann", "recipientChatPath": "bob"})
	fmt.Println(bob.Expect("typing"))
	// Output: typing({"recipientChatPath":"bob","senderChatPath":"ann"})
}
