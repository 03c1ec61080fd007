package livekit_test

import (
	"encoding/json"
	"log"
	"net/http"
	"os"

	"github.com/go-chi/chi/v5"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/livekit"
)

// A host with calls: LiveKit posts its webhooks to /livekit/webhook, and stock
// clients, who read no acks, get their token from the host's own API.
func Example() {
	lk := livekit.New("wss://livekit.example.com", os.Getenv("LIVEKIT_API_KEY"), os.Getenv("LIVEKIT_API_SECRET"))
	rt := heymanito.New(heymanito.WithRooms(lk))
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
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", r))
}
