package heymanitotest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/heymanitotest"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// newProgram is what is to be tested: a host's handler with a realtime server in it.
func newProgram() (http.Handler, *heymanito.Server) {
	rt := heymanito.New(heymanito.WithLogger(slog.New(slog.DiscardHandler)), heymanito.WithDrain(0),
		heymanito.WithAuth(func(_ context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
			auth := struct{ Token string }{h.Query.Get("token")}
			if h.Auth != nil {
				if err := json.Unmarshal(h.Auth, &auth); err != nil {
					return heymanito.Identity{}, err
				}
			}
			if auth.Token != "secret" || h.Request.Header.Get("X-Banned") != "" {
				return heymanito.Identity{}, heymanito.Errorf(heymanito.CodeUnauthorized, "who are you?")
			}
			return heymanito.Identity{ChatPath: h.UserID}, nil
		}))
	mux := http.NewServeMux()
	mux.Handle("/v1/chat/", rt)
	return mux, rt
}

// A test of a host's program, in which the app's clients are the package's.
func Example() {
	testChat := func(t testing.TB) { // func TestChat(t *testing.T)
		handler, rt := newProgram()
		app := heymanitotest.Serve(t, handler, heymanitotest.Path("/v1/chat/"))
		t.Cleanup(func() {
			if err := rt.Shutdown(context.Background()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})

		alice := app.Connect(t, "alice", heymanitotest.Token("secret"))
		bob := app.Connect(t, "bob", heymanitotest.Token("secret"))
		bob.Expect("inboxReady") // he has what was waiting for him
		message := map[string]any{"id": "m1", "senderChatPath": "alice", "recipientChatPath": "bob", "content": "hola"}
		var ack struct{ Delivery string }
		alice.Ask("sendMessage", message).OK(t).Into(t, &ack)
		if ack.Delivery != "sent" {
			t.Errorf("alice's message was %s", ack.Delivery)
		}
		var got struct{ Content string }
		if bob.Expect("receiveMessage").Into(t, 0, &got); got.Content != "hola" {
			t.Errorf("bob got %q", got.Content)
		}

		bob.Ask("sendMessage", message).Refused(t, heymanito.CodeIdentityMismatch)
		alice.ExpectNone("receiveMessage")
	}

	t := &wiretest.Example{} // go test has a better one
	defer t.Close()
	testChat(t)
	// Output:
}

// Who is not let in, and how a connection ends.
func Example_refusals() {
	testLogin := func(t testing.TB) {
		handler, rt := newProgram()
		app := heymanitotest.Serve(t, handler, heymanitotest.Path("/v1/chat/"))
		t.Cleanup(func() { _ = rt.Shutdown(context.Background()) })

		fmt.Println("without a token:", app.Refused(t, "alice"))
		fmt.Println("banned:", app.Refused(t, "alice", heymanitotest.Token("secret"), heymanitotest.Header("X-Banned", "1")))

		alice := app.Connect(t, "alice",
			heymanitotest.Query("token", "secret"),
			heymanitotest.Auth("deviceId", "phone"),
			heymanitotest.Within(5*time.Second)) // for what it expects
		rt.Disconnect("alice", "banned")
		fmt.Println("it ends with:", alice.ExpectEnd())
	}

	t := &wiretest.Example{} // go test has a better one
	defer t.Close()
	testLogin(t)
	// Output:
	// without a token: unauthorized
	// banned: unauthorized
	// it ends with: sessionEnded banned
}

// Clients that go: with a goodbye, or without a word.
func ExampleClient() {
	testPresence := func(t testing.TB) {
		handler, rt := newProgram()
		app := heymanitotest.Serve(t, handler, heymanitotest.Path("/v1/chat/"))
		t.Cleanup(func() { _ = rt.Shutdown(context.Background()) })

		alice := app.Connect(t, "alice", heymanitotest.Token("secret"))
		bob := app.Connect(t, "bob", heymanitotest.Token("secret"))
		carol := app.Connect(t, "carol", heymanitotest.Token("secret"))
		bob.Disconnect()
		fmt.Println(alice.Expect("contact_offline").String())
		carol.Emit("getCalls") // nobody waits for its ack
		carol.Cut()            // she is online for the offline grace
		alice.ExpectNone("contact_offline")
		for _, e := range alice.Heard() {
			fmt.Println(e.Name)
		}
	}

	t := &wiretest.Example{} // go test has a better one
	defer t.Close()
	testPresence(t)
	// Unordered output:
	// contact_offline("bob")
	// online_users
	// inboxReady
	// contact_online
	// contact_online
	// contact_offline
}
