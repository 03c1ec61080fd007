package main

import (
	"net/http"

	"github.com/heymanito/heymanito"
)

// logout answers POST /logout by ending every connection of the user, on all
// devices, in such a way that their clients do not come back by themselves. A
// real host also makes the user's tokens void: this one's live on until they
// expire.
func logout(rt *heymanito.Server, user func(*http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusOK, map[string]any{"devices": rt.Disconnect(user(r), "logged_out")})
	}
}
