package livekit_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/livekit"
)

// sign signs a body as LiveKit does, but for what change changes.
func sign(t *testing.T, body string, change func(c jwt.MapClaims)) string {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	c := jwt.MapClaims{
		"iss": key, "nbf": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix(),
		"sha256": base64.StdEncoding.EncodeToString(sum[:]),
	}
	if change != nil {
		change(c)
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// hall is a LiveKit whose rooms are watched.
type hall struct {
	t    *testing.T
	lk   *livekit.LiveKit
	h    http.Handler
	told []heymanito.RoomEvent
	fail error
}

func watched(t *testing.T) *hall {
	h := &hall{t: t, lk: livekit.New(address, key, secret, livekit.WithLogger(slog.New(slog.DiscardHandler)))}
	h.h = h.lk.WebhookHandler()
	h.lk.Watch(func(_ context.Context, e heymanito.RoomEvent) error {
		if h.fail == nil {
			h.told = append(h.told, e)
		}
		return h.fail
	})
	return h
}

func (h *hall) post(body, authorization string) int {
	r := httptest.NewRequestWithContext(h.t.Context(), http.MethodPost, "/livekit/webhook", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/webhook+json")
	r.Header.Set("Authorization", authorization)
	w := httptest.NewRecorder()
	h.h.ServeHTTP(w, r)
	return w.Code
}

func event(kind, id string) string {
	return fmt.Sprintf(`{"event":%q,"room":{"sid":"RM_1","name":"hm_1"},"participant":{"sid":"PA_1","identity":"YW5u.phone"},"id":%q,"createdAt":"1790000000","numDropped":0}`, kind, id)
}

func TestWebhook(t *testing.T) {
	h := watched(t)
	for i, kind := range []string{"participant_joined", "participant_left", "room_finished"} {
		body := event(kind, kind)
		for range 2 { // LiveKit sends again what it has had no answer to
			if code := h.post(body, sign(t, body, nil)); code != http.StatusOK {
				t.Fatalf("%s: %d", kind, code)
			}
		}
		want := heymanito.RoomEvent{Kind: heymanito.RoomEventKind(kind), Room: "hm_1", Identity: "YW5u.phone", Session: "PA_1", Time: time.Unix(1790000000, 0)}
		if kind == "room_finished" {
			want.Identity, want.Session = "", ""
		}
		if len(h.told) != i+1 || h.told[i] != want {
			t.Fatalf("%s: told %+v", kind, h.told)
		}
	}
	for _, body := range []string{
		event("track_published", "1"), event("room_started", "2"), event("something_new", "3"), `{}`, `{"event":"room_finished","id":"4"}`,
		`{"event":"participant_left","room":{"name":"hm_1"},"id":"5"}`,
	} {
		if code := h.post(body, sign(t, body, nil)); code != http.StatusOK || len(h.told) != 3 {
			t.Errorf("%s: %d, told %v", body, code, h.told)
		}
	}
	number := strings.Replace(event("room_finished", "6"), `"1790000000"`, `1790000000`, 1)
	if code := h.post(number, "Bearer "+sign(t, number, nil)); code != http.StatusOK || len(h.told) != 4 {
		t.Errorf("a time that is a number: %d", code)
	}
}

func TestWebhookRefused(t *testing.T) {
	body := event("room_finished", "1")
	past := func(name string) func(jwt.MapClaims) {
		return func(c jwt.MapClaims) { c[name] = time.Now().Add(-time.Hour).Unix() }
	}
	unsigned, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"iss": key}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	good := sign(t, body, nil)
	participant, err := livekit.New(address, key, secret).Token(heymanito.RoomGrant{Room: "hm_1", Identity: "mallory"})
	if err != nil {
		t.Fatal(err)
	}
	for name, authorization := range map[string]string{
		"nothing":               "",
		"no token":              "hello",
		"unsigned":              unsigned,
		"a changed signature":   good[:len(good)-3] + "abc",
		"another issuer":        sign(t, body, func(c jwt.MapClaims) { c["iss"] = "other" }),
		"expired":               sign(t, body, past("exp")),
		"never expires":         sign(t, body, func(c jwt.MapClaims) { delete(c, "exp") }),
		"not yet":               sign(t, body, func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Hour).Unix() }),
		"without a hash":        sign(t, body, func(c jwt.MapClaims) { delete(c, "sha256") }),
		"a hash that is none":   sign(t, body, func(c jwt.MapClaims) { c["sha256"] = "%" }),
		"of another body":       sign(t, body+" ", nil),
		"a participant's token": participant.Token,
		"too long":              good + strings.Repeat("x", 5000),
	} {
		h := watched(t)
		if code := h.post(body, authorization); code != http.StatusUnauthorized || len(h.told) != 0 {
			t.Errorf("%s: %d, told %v", name, code, h.told)
		}
	}
	h := watched(t)
	for name, c := range map[string]struct {
		body string
		code int
	}{
		"no JSON":         {`{"event":`, http.StatusBadRequest},
		"an odd time":     {`{"event":"room_finished","room":{"name":"hm_1"},"createdAt":"soon"}`, http.StatusBadRequest},
		"more than 1 MiB": {`{"event":"` + strings.Repeat("x", 1<<20) + `"}`, http.StatusRequestEntityTooLarge},
	} {
		if code := h.post(c.body, sign(t, c.body, nil)); code != c.code || len(h.told) != 0 {
			t.Errorf("%s: %d, told %v", name, code, h.told)
		}
	}
	w := httptest.NewRecorder()
	h.h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != http.MethodPost {
		t.Errorf("GET: %d", w.Code)
	}
}

// What could not be taken comes again, and counts then.
func TestWebhookAgain(t *testing.T) {
	h := watched(t)
	body := event("participant_left", "1")
	h.fail = errors.New("the store is away")
	if code := h.post(body, sign(t, body, nil)); code != http.StatusServiceUnavailable {
		t.Errorf("a webhook that was not taken: %d", code)
	}
	h.fail = nil
	if code := h.post(body, sign(t, body, nil)); code != http.StatusOK || len(h.told) != 1 {
		t.Errorf("again: %d, told %v", code, h.told)
	}
	nobody := livekit.New(address, key, secret, livekit.WithLogger(slog.New(slog.DiscardHandler)))
	h.h = nobody.WebhookHandler()
	if code := h.post(body, sign(t, body, nil)); code != http.StatusServiceUnavailable {
		t.Errorf("nobody watches: %d", code)
	}
}

// Ids are remembered up to a number; webhooks without one all count.
func TestWebhookIDs(t *testing.T) {
	h := watched(t)
	post := func(id string) {
		body := event("room_finished", id)
		if code := h.post(body, sign(t, body, nil)); code != http.StatusOK {
			t.Fatal(code)
		}
	}
	const n = 10_000
	for i := range n + 1 {
		post(fmt.Sprint(i))
	}
	post(fmt.Sprint(n)) // known
	post("1")           // known
	if len(h.told) != n+1 {
		t.Errorf("told %d times, want %d", len(h.told), n+1)
	}
	post("0") // forgotten
	post("")
	post("")
	if len(h.told) != n+4 {
		t.Errorf("told %d times, want %d", len(h.told), n+4)
	}
}

// Anybody can post rubbish: it fills no log.
func TestRefusedIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		lk := livekit.New(address, key, secret, livekit.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		post := func() {
			w := httptest.NewRecorder()
			lk.WebhookHandler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("{}")))
			if w.Code != http.StatusUnauthorized {
				t.Errorf("unsigned: %d", w.Code)
			}
		}
		for range 100 {
			post()
		}
		time.Sleep(time.Minute)
		post()
		if lines := strings.Count(log.String(), "\n"); lines != 2 || !strings.Contains(log.String(), "more=99") {
			t.Errorf("logged\n%s", log.String())
		}
	})
}
