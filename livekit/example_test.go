package livekit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/livekit"
)

// A host with calls: LiveKit posts its webhooks to /livekit/webhook, and stock
// clients, who read no acks, get their token from the host's own API.
func Example() {
	log := slog.New(slog.DiscardHandler) // yours
	lk := livekit.New("wss://livekit.example.com", "the key", "the secret, from a secret store", livekit.WithLogger(log))
	rt := heymanito.New(heymanito.WithRooms(lk), heymanito.WithLogger(log))
	defer rt.Shutdown(context.Background())

	r := chi.NewRouter()
	r.Mount("/socket.io/", rt)
	r.Mount("/livekit/webhook", lk.WebhookHandler())
	r.Post("/api/call-token", func(w http.ResponseWriter, r *http.Request) {
		user := r.Header.Get("X-User") // from your own login
		token, err := rt.CallToken(r.Context(), user, r.FormValue("roomName"), "api")
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"token": token.Token, "url": token.URL})
	})

	srv := httptest.NewServer(r)
	defer srv.Close()
	for _, path := range []string{"/api/call-token?roomName=hm_guessed", "/livekit/webhook"} {
		resp, err := http.Post(srv.URL+path, "application/webhook+json", strings.NewReader("{}"))
		if err != nil {
			fmt.Println(err)
			return
		}
		said, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		fmt.Println(resp.Status, strings.TrimSpace(string(said)))
	}
	// Output:
	// 403 Forbidden heymanito: not_found: there is no such call to this user
	// 401 Unauthorized the signature is not valid
}

// The server asks for tokens itself; so may a host whose rooms are not calls.
func ExampleLiveKit_Token() {
	lk := livekit.New("wss://livekit.example.com", "the key", "the secret, from a secret store",
		livekit.WithTTL(2*time.Minute), // to join; who has joined stays
		livekit.WithLogger(slog.New(slog.DiscardHandler)),
	)
	token, err := lk.Token(heymanito.RoomGrant{Room: "lobby", Identity: "ann", Media: "audio"})
	fmt.Println(token.URL, time.Until(token.Expires).Round(time.Minute), err)

	_, err = lk.Token(heymanito.RoomGrant{Identity: "ann"})
	fmt.Println(err)
	// Output:
	// wss://livekit.example.com 2m0s <nil>
	// livekit: a token needs a room and an identity
}
