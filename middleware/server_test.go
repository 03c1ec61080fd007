package middleware_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
	"github.com/heymanito/heymanito/middleware"
)

// connect opens a WebSocket and returns the server's answer to the CONNECT
// packet with this auth payload.
func connect(server, userID, auth string, headers ...string) (string, error) {
	ws, err := wiretest.DialWS(server, "EIO=4&transport=websocket&userId="+userID, headers...)
	if err != nil {
		return "", err
	}
	defer ws.Close()
	if _, err := ws.Text(); err != nil { // the open packet
		return "", err
	}
	if err := ws.Send("40" + auth); err != nil {
		return "", err
	}
	return ws.Text()
}

// The realtime server tells stock clients what Auth says.
func TestAuthInTheServer(t *testing.T) {
	tokens := middleware.NewJWT(middleware.HMAC(secret))
	devices := make(chan heymanito.Device, 10)
	rt := heymanito.New(
		heymanito.WithAuth(tokens.Auth),
		heymanito.WithHooks(heymanito.Hooks{OnConnect: func(_ context.Context, d heymanito.Device) { devices <- d }}),
		heymanito.WithLogger(slog.New(slog.DiscardHandler)))
	srv := httptest.NewServer(rt)
	defer srv.Close()

	ana := sign("HS256", secret, goodClaims())
	for _, c := range []struct {
		name, user, auth string
		headers          []string
		want             string
	}{
		{"payload", "ana", string(payload(t, ana)), nil, `40{"sid":`},
		{"header", "ana", "", []string{"Authorization: Bearer " + ana}, `40{"sid":`},
		{"none", "ana", "", nil, `"message":"there is no token`},
		{"expired", "ana", string(payload(t, sign("HS256", secret, with("exp", 1)))), nil, `"message":"the token expired at 1970-01-01T00:00:01Z`},
		{"two tokens", "ana", string(payload(t, ana)), []string{"Authorization: Bearer x.y.z"}, `carry different tokens`},
		{"someone else", "eva", string(payload(t, ana)), nil, `"identity_mismatch"`},
	} {
		got, err := connect(srv.URL, c.user, c.auth, c.headers...)
		if err != nil || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, %v; want %s", c.name, got, err, c.want)
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := rt.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if len(devices) != 2 {
		t.Fatalf("%d devices connected, want 2", len(devices))
	}
	if d := <-devices; d.ChatPath != "ana" || d.Claims.(jwt.MapClaims)["iss"] != "https://login.example" {
		t.Errorf("device %+v, want ana with her claims", d)
	}
}
