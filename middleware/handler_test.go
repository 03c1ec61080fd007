package middleware_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/middleware"
)

func TestHandlerGivesTheRequestItsUser(t *testing.T) {
	tokens := middleware.NewJWT(middleware.HMAC(secret))
	var claims jwt.MapClaims
	h := tokens.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims = middleware.Claims(r.Context())
		w.WriteHeader(http.StatusTeapot)
	}))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+sign("HS256", secret, with("role", "admin")))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusTeapot || claims["role"] != "admin" || claims["sub"] != "ana" {
		t.Errorf("%d, claims %v", w.Code, claims)
	}
	if got := middleware.ChatPath(r.Context()); got != "" {
		t.Errorf("a request that did not come through Handler has the user %q", got)
	}
	if got := middleware.Claims(r.Context()); got != nil {
		t.Errorf("a request that did not come through Handler has claims %v", got)
	}
}

func TestHandlerAnswersThoseWithoutToken(t *testing.T) {
	tokens := middleware.NewJWT(middleware.HMAC(secret))
	w, user := serve(tokens)
	if w.Code != http.StatusUnauthorized || user != "" {
		t.Errorf("%d for user %q, want 401", w.Code, user)
	}
	for header, want := range map[string]string{
		"WWW-Authenticate":       "Bearer", // RFC 6750, 3.1: no error code
		"Content-Type":           "application/json",
		"Cache-Control":          "no-store",
		"X-Content-Type-Options": "nosniff",
	} {
		if got := w.Header().Get(header); got != want {
			t.Errorf("%s = %q, want %q", header, got, want)
		}
	}
	var body map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || len(body) != 2 || body["code"] != "unauthorized" || body["message"] == "" {
		t.Errorf("body = %s, want a code and a message", w.Body)
	}
}

// The query and cookies are no places for a token.
func TestHandlerLooksInTheHeaderOnly(t *testing.T) {
	token := sign("HS256", secret, goodClaims())
	r := httptest.NewRequest(http.MethodGet, "/?token="+token+"&access_token="+token, nil)
	r.AddCookie(&http.Cookie{Name: "token", Value: token})
	w := httptest.NewRecorder()
	middleware.NewJWT(middleware.HMAC(secret)).Handler(http.NotFoundHandler()).ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("%d, want 401", w.Code)
	}
}

// What the host has to mend is logged; what clients do wrong is not; neither
// tokens nor keys are.
func TestHandlerLogs(t *testing.T) {
	token := sign("HS256", secret, goodClaims())
	for name, c := range map[string]struct {
		key  any
		err  error
		want string
	}{
		"short secret": {secret[:20], nil, "an HMAC secret of 20 bytes"},
		"JWKS down":    {nil, heymanito.Errorf(heymanito.CodeUnavailable, "keys: %w", errors.New("refused")), "refused"},
		"unknown kid":  {nil, errors.New("no such kid"), ""},
		"other key":    {otherSecret, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			tokens := middleware.NewJWT(
				func(context.Context, *jwt.Token) (any, error) { return c.key, c.err },
				middleware.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
			if _, user := serve(tokens, "Bearer "+token); user != "" {
				t.Fatal("accepted")
			}
			if (c.want == "") != (log.Len() == 0) || !strings.Contains(log.String(), c.want) {
				t.Errorf("log = %q, want %q", &log, c.want)
			}
			for _, part := range append(strings.Split(token, "."), string(secret[:20])) {
				if strings.Contains(log.String(), part) {
					t.Errorf("the log has a part of the token or the key: %s", &log)
				}
			}
		})
	}
}
