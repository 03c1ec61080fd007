package main

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/middleware"
)

const (
	tokenLife = time.Hour
	audience  = "heymanito-example"
)

// accounts stands for the login that a real host has. THIS ONE IS A DEMO: it
// asks for no password, whoever types a name gets the token for it. What comes
// after it is as it should be: the realtime server believes the token, and
// nothing else.
type accounts struct {
	key    []byte
	tokens *middleware.JWT
}

// newAccounts makes the key that signs tokens. It is as old as the process:
// after a restart the page has to log in again, and does (web/js/session.js).
func newAccounts() *accounts {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return &accounts{key: key, tokens: middleware.NewJWT(middleware.HMAC(key), middleware.WithAudience(audience))}
}

// login answers POST /login {"name": …} with {chatPath, token, expiresInMs}.
// The name is the chatPath.
func (a *accounts) login(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Name string `json:"name"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&ask); err != nil {
		reply(w, http.StatusBadRequest, map[string]any{"code": "invalid", "message": `send {"name": "…"}`})
		return
	}
	name := strings.TrimSpace(ask.Name)
	if invisible(name) {
		reply(w, http.StatusBadRequest, map[string]any{"code": "invisible", "message": "nobody could see this name"})
		return
	}
	if !heymanito.ValidChatPath(name) || nobody(name) {
		reply(w, http.StatusBadRequest, map[string]any{"code": "name", "message": "this cannot be a user's name"})
		return
	}
	now := time.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject:   name,
		Audience:  jwt.ClaimStrings{audience},
		IssuedAt:  jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(tokenLife)),
	}).SignedString(a.key)
	if err != nil {
		reply(w, http.StatusInternalServerError, map[string]any{"code": "internal", "message": "the token could not be signed"})
		return
	}
	reply(w, http.StatusOK, map[string]any{"chatPath": name, "token": token, "expiresInMs": tokenLife.Milliseconds()})
}

// nobody reports whether name is one of the words that a handshake takes for
// no user at all.
func nobody(name string) bool {
	return name == "undefined" || name == "null" || name == "[object Object]"
}

// invisible reports whether there is nothing of name to see: it is empty, or all
// of it are characters without a shape. For the package that is a name like any
// other.
func invisible(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r != '\u2800' && // the blank of Braille
			!unicode.In(r, unicode.White_Space, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, unicode.Cf)
	})
}

func reply(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // who went away need not know
}
