package heymanito_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/heymanito/heymanito"
)

// The clients in these examples are the test's own; yours are socket.io-client,
// in whatever language: io("https://api.example.com", {query: {userId: "ann"}}).
// The logs are of no interest here.
var quiet = heymanito.WithLogger(slog.New(slog.DiscardHandler))

func Example() {
	rt := heymanito.New(quiet) // trusts the userId of the handshake; see WithAuth

	mux := http.NewServeMux()
	mux.Handle("/socket.io/", rt)
	srv := httptest.NewServer(mux)
	defer srv.Close()
	defer shutDown(rt)

	ann, bob := visit(srv.URL, "ann"), visit(srv.URL, "bob")
	defer ann.leave()
	defer bob.leave()
	fmt.Println("ann is told of", ann.hear("contact_online"))
	ann.ask("sendMessage", `{"id":"m1","senderChatPath":"ann","recipientChatPath":"bob","content":"¡Hola!"}`)
	fmt.Println("bob gets", content(bob.hear("receiveMessage")))
	// Output:
	// ann is told of "bob"
	// bob gets "¡Hola!"
}

// With chi, Mount passes on everything below a path.
func ExampleNew_chi() {
	rt := heymanito.New(quiet)
	r := chi.NewRouter()
	r.Get("/health", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") })
	r.Mount("/socket.io/", rt)

	srv := httptest.NewServer(r)
	defer srv.Close()
	defer shutDown(rt)
	ann := visit(srv.URL, "ann")
	defer ann.leave()
	fmt.Println(ann.ask("markAsRead", `{"senderChatPath":"bob","recipientChatPath":"ann"}`))
	// Output: {"status":"ok"}
}

// The auth hook says who a client is. Browsers send their token in the CONNECT
// packet: io(url, {auth: {token}, query: {userId}}).
func ExampleWithAuth() {
	sessions := map[string]string{"s3cret": "ann"} // token → chatPath
	auth := func(_ context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
		var a struct {
			Token string `json:"token"`
		}
		if err := json.Unmarshal(h.Auth, &a); err != nil {
			return heymanito.Identity{}, heymanito.Errorf(heymanito.CodeUnauthorized, "there is no token")
		}
		user, ok := sessions[a.Token]
		if !ok {
			return heymanito.Identity{}, heymanito.Errorf(heymanito.CodeUnauthorized, "the token is not valid")
		}
		return heymanito.Identity{ChatPath: user}, nil
	}
	rt := heymanito.New(quiet, heymanito.WithAuth(auth))
	srv := httptest.NewServer(rt)
	defer srv.Close()
	defer shutDown(rt)

	for _, client := range []struct{ userID, auth string }{
		{"ann", `{"token":"s3cret"}`},
		{"ann", `{"token":"guessed"}`},
		{"ann", ``},
		{"bob", `{"token":"s3cret"}`},
	} {
		v, refusal := tryVisit(srv.URL, client.userID, client.auth)
		if refusal != "" {
			fmt.Println(client.userID, client.auth, "is refused:", code(refusal))
			continue
		}
		fmt.Println(client.userID, client.auth, "is let in")
		v.leave()
	}
	// Output:
	// ann {"token":"s3cret"} is let in
	// ann {"token":"guessed"} is refused: unauthorized
	// ann  is refused: unauthorized
	// bob {"token":"s3cret"} is refused: identity_mismatch
}

// Hooks are where a host stores, pushes and forbids.
func ExampleWithHooks() {
	pushes := make(chan string, 10)
	blocked := map[[2]string]bool{{"bob", "eve"}: true} // bob does not want to hear from eve
	hooks := heymanito.Hooks{
		Authorize: func(_ context.Context, a heymanito.Action) error {
			switch {
			case blocked[[2]string{a.To, a.From}]:
				return heymanito.ErrSilently // she is not told
			case a.To == "support" && a.Event == "initiateCall":
				return heymanito.Errorf(heymanito.CodeForbidden, "write to us instead")
			}
			return nil
		},
		BeforeMessage: func(_ context.Context, m heymanito.Message) error {
			if len(m.Content) > 1000 {
				return heymanito.Errorf(heymanito.CodeTooLarge, "1,000 bytes are enough")
			}
			fmt.Println("store", string(m.ID), "from", m.From, "to", m.To)
			return nil
		},
		OnUndelivered: func(_ context.Context, m heymanito.Message) {
			pushes <- m.To // after the ack
		},
	}
	rt := heymanito.New(quiet, heymanito.WithHooks(hooks))
	srv := httptest.NewServer(rt)
	defer srv.Close()
	defer shutDown(rt)

	ann, eve := visit(srv.URL, "ann"), visit(srv.URL, "eve")
	defer ann.leave()
	defer eve.leave()
	fmt.Println("ann:", outcome(ann.ask("sendMessage", `{"id":1,"senderChatPath":"ann","recipientChatPath":"bob","content":"hola"}`)))
	fmt.Println("push to", <-pushes)
	fmt.Println("eve:", outcome(eve.ask("sendMessage", `{"id":2,"senderChatPath":"eve","recipientChatPath":"bob","content":"hola"}`)))
	fmt.Println("ann:", outcome(ann.ask("initiateCall", `{"recipientId":"support","callerId":"ann"}`)))
	// Output:
	// store 1 from ann to bob
	// ann: queued
	// push to bob
	// eve: queued
	// ann: forbidden: write to us instead
}

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
	srv := httptest.NewServer(rt)
	defer srv.Close()
	defer shutDown(rt)

	ann := visit(srv.URL, "ann")
	defer ann.leave()
	fmt.Println(ann.ask("getProfile", `"bob"`))
	fmt.Println(ann.ask("getProfile", `"eve"`))
	// Output:
	// {"status":"ok","result":{"asked by":"ann","name":"Roberto"}}
	// {"status":"error","code":"not_found","message":"nobody is called eve","retryable":false}
}

// Relay passes an event of the clients' own from user to user.
func ExampleRelay() {
	rt := heymanito.New(quiet, heymanito.Relay("reaction"), heymanito.RelayVolatile("typing"))
	srv := httptest.NewServer(rt)
	defer srv.Close()
	defer shutDown(rt)

	ann, bob := visit(srv.URL, "ann"), visit(srv.URL, "bob")
	defer ann.leave()
	defer bob.leave()
	fmt.Println(ann.ask("reaction", `{"senderChatPath":"ann","recipientChatPath":"bob","to":"m1","emoji":"🦜"}`))
	fmt.Println(bob.hear("reaction"))
	fmt.Println(code(ann.ask("reaction", `{"senderChatPath":"eve","recipientChatPath":"bob","to":"m1","emoji":"💩"}`)))
	// Output:
	// {"status":"ok"}
	// {"senderChatPath":"ann","recipientChatPath":"bob","to":"m1","emoji":"🦜"}
	// identity_mismatch
}

// http.Server.Shutdown knows nothing of WebSockets: the Server's own comes
// first. Its clients are told to come back, to another instance or to the next
// one of this.
func ExampleServer_Shutdown() {
	rt := heymanito.New(quiet, heymanito.WithDrain(0))
	srv := &http.Server{Handler: rt}
	stop := func(ctx context.Context) error {
		return errors.Join(rt.Shutdown(ctx), srv.Shutdown(ctx))
	}
	fmt.Println(stop(context.Background()))
	// Output: <nil>
}

func shutDown(rt *heymanito.Server) {
	if err := rt.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// content, code and outcome read one thing out of a JSON object.
func content(object string) string {
	var m struct{ Content json.RawMessage }
	if err := json.Unmarshal([]byte(object), &m); err != nil {
		return err.Error()
	}
	return string(m.Content)
}

func code(object string) string {
	var m struct {
		Code string
		Data struct{ Code string }
	}
	if err := json.Unmarshal([]byte(object), &m); err != nil {
		return err.Error()
	}
	return m.Code + m.Data.Code
}

func outcome(ack string) string {
	var a struct{ Delivery, Code, Message string }
	if err := json.Unmarshal([]byte(ack), &a); err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(a.Delivery+a.Code+": "+a.Message, ": ")
}
