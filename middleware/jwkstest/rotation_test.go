package jwkstest_test

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
	"github.com/heymanito/heymanito/middleware"
)

// bed is a host whose keys are the issuer's.
type bed struct {
	*issuer
	*middleware.JWT
}

func newBed(t *testing.T, kids ...string) *bed {
	i := newIssuer()
	t.Cleanup(i.Close)
	i.publish(kids...)
	keys, err := publishedKeys(t.Context(), i.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &bed{i, middleware.NewJWT(keys, middleware.WithLogger(slog.New(slog.DiscardHandler)))}
}

// code is what a token is answered with; "" is a welcome.
func (b *bed) code(t *testing.T, token string) heymanito.Code {
	t.Helper()
	auth, err := json.Marshal(map[string]string{"token": token})
	if err != nil {
		t.Fatal(err)
	}
	id, err := b.Auth(t.Context(), heymanito.Handshake{UserID: "ana", Auth: auth})
	if err == nil && id.ChatPath == "ana" {
		return ""
	}
	var e *heymanito.Error
	if !errors.As(err, &e) {
		t.Fatalf("%+v, %v", id, err)
	}
	return e.Code
}

func TestRotation(t *testing.T) {
	b := newBed(t, "a")
	for _, step := range []struct {
		publish []string // nil: as before
		kid     string
		want    heymanito.Code
		fetches int64 // so far
	}{
		{nil, "a", "", 1},
		{[]string{"a", "b"}, "a", "", 1},
		{nil, "b", "", 2}, // fetched again
		{nil, "a", "", 2},
		{[]string{"b"}, "b", "", 2},
		{nil, "c", heymanito.CodeUnauthorized, 3}, // fetched again: there is none
		{nil, "a", heymanito.CodeUnavailable, 3},  // and that is known no longer
		{nil, "b", "", 3},
	} {
		if step.publish != nil {
			b.publish(step.publish...)
		}
		if got := b.code(t, b.token(step.kid)); got != step.want || b.fetches.Load() != step.fetches {
			t.Errorf("%s: %q after %d fetches, want %q after %d", step.kid, got, b.fetches.Load(), step.want, step.fetches)
		}
	}
}

// Nobody can have the issuer asked again and again, or keep others waiting.
func TestUnknownKeysAreFetchedWithALimit(t *testing.T) {
	b := newBed(t, "a")
	var clients sync.WaitGroup
	for i := range 100 {
		clients.Go(func() {
			if got := b.code(t, b.token(fmt.Sprint("unknown", i))); got != heymanito.CodeUnauthorized && got != heymanito.CodeUnavailable {
				t.Errorf("an unknown key: %q", got)
			}
			if got := b.code(t, b.token("a")); got != "" {
				t.Errorf("a known key meanwhile: %q", got)
			}
		})
	}
	clients.Wait()
	if n := b.fetches.Load(); n > 3 {
		t.Errorf("the issuer was asked %d times, want once and twice more", n)
	}
}

// What is no question of the issuer's does not reach it.
func TestTokensThatAreNotLookedUp(t *testing.T) {
	b := newBed(t, "a")
	noKid := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"sub": "ana", "exp": 9999999999})
	hmac := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "ana", "exp": 9999999999})
	hmac.Header["kid"] = "a"
	for name, token := range map[string]string{
		"no kid":                    sign(t, noKid, b.key("a")),
		"HS256 with the public key": sign(t, hmac, []byte(b.key("a").Public().(ed25519.PublicKey))),
	} {
		if got := b.code(t, token); got != heymanito.CodeUnauthorized {
			t.Errorf("%s: %q", name, got)
		}
	}
	if n := b.fetches.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times, want once", n)
	}
}

func sign(t *testing.T, token *jwt.Token, key any) string {
	t.Helper()
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// While the issuer is down, a client whose key is unknown is sent away to come
// again, at both doors; others notice nothing.
func TestIssuerIsDown(t *testing.T) {
	b := newBed(t, "a")
	b.issuer.Close()
	rt := heymanito.New(heymanito.WithAuth(b.Auth), heymanito.WithLogger(slog.New(slog.DiscardHandler)))
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", rt)
	mux.Handle("/api/", b.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	defer func() {
		if err := rt.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}()

	// The transport is closed, without a CONNECT_ERROR: stock clients come back.
	_, err := wiretest.TryConnect(t, srv.URL, "ana", wiretest.Auth(`{"token":"`+b.token("new")+`"}`))
	if refused := new(wiretest.ErrRefused); err == nil || errors.As(err, &refused) {
		t.Errorf("an unknown key on a WebSocket: %v, want it closed", err)
	}
	get := func(kid string) (status int, retryAfter string) {
		r, err := http.NewRequest(http.MethodGet, srv.URL+"/api/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+b.token(kid))
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("Retry-After")
	}
	if status, retryAfter := get("new"); status != http.StatusServiceUnavailable || retryAfter != "10" {
		t.Errorf("an unknown key at Handler: %d, Retry-After %q, want 503 and 10", status, retryAfter)
	}
	if status, _ := get("a"); status != http.StatusOK {
		t.Errorf("a known key at Handler: %d", status)
	}
	ana := wiretest.Connect(t, srv.URL, "ana", wiretest.Auth(`{"token":"`+b.token("a")+`"}`))
	ana.Sync()
	ana.Cut()
}

// A host can start while its issuer is down.
func TestIssuerIsDownAtFirst(t *testing.T) {
	i := newIssuer()
	i.Close()
	keys, err := publishedKeys(t.Context(), i.URL)
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{i, middleware.NewJWT(keys)}
	if got := b.code(t, b.token("a")); got != heymanito.CodeUnavailable {
		t.Errorf("%q, want unavailable", got)
	}
}
