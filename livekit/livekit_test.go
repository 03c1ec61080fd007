package livekit_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/livekit"
)

const (
	address = "wss://livekit.test"
	key     = "devkey"
	secret  = "a secret of the tests, and of nobody else"
)

// payload verifies a token and returns what is in it.
func payload(t *testing.T, token string) map[string]any {
	t.Helper()
	c := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, c, func(*jwt.Token) (any, error) { return []byte(secret), nil }, jwt.WithValidMethods([]string{"HS256"}))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestToken(t *testing.T) {
	lk := livekit.New(address, key, secret)
	for media, want := range map[string][]any{
		"audio": {"microphone"},
		"video": {"camera", "microphone", "screen_share", "screen_share_audio"},
		"":      {"camera", "microphone", "screen_share", "screen_share_audio"},
	} {
		begin := time.Now()
		tok, err := lk.Token(heymanito.RoomGrant{Room: "hm_1", Identity: "YW5u.phone", Media: media, Metadata: json.RawMessage(`{"name":"Ann"}`)})
		if err != nil {
			t.Fatal(err)
		}
		c := payload(t, tok.Token)
		video := c["video"].(map[string]any)
		if c["iss"] != key || c["sub"] != "YW5u.phone" || c["metadata"] != `{"name":"Ann"}` || video["room"] != "hm_1" || video["roomJoin"] != true {
			t.Errorf("%q: %v", media, c)
		}
		if got := video["canPublishSources"].([]any); !slices.Equal(got, want) {
			t.Errorf("%q may publish %v", media, got)
		}
		for grant := range video {
			if !slices.Contains([]string{"room", "roomJoin", "canPublish", "canSubscribe", "canPublishData", "canPublishSources"}, grant) {
				t.Errorf("%q is granted %s", media, grant)
			}
		}
		exp := time.Unix(int64(c["exp"].(float64)), 0)
		if !exp.Equal(tok.Expires) || exp.Before(begin.Add(10*time.Minute-time.Second)) || exp.After(time.Now().Add(10*time.Minute)) {
			t.Errorf("it expires at %v, and says %v", exp, tok.Expires)
		}
		if tok.URL != address {
			t.Errorf("the address is %s", tok.URL)
		}
	}
	for _, g := range []heymanito.RoomGrant{
		{Identity: "ann"}, // would open every room
		{Room: "hm_1"},
		{Room: "hm_1", Identity: "ann", Metadata: json.RawMessage(`{`)},
	} {
		if tok, err := lk.Token(g); err == nil || tok.Token != "" {
			t.Errorf("%+v is granted", g)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, f := range map[string]func(){
		"not the address of a LiveKit server": func() { livekit.New("livekit.test", key, secret) },
		"write ws://":                         func() { livekit.New("ftp://livekit.test", key, secret) },
		"must not be empty":                   func() { livekit.New(address, "", secret) },
		"the secret must":                     func() { livekit.New(address, key, "") },
		"use a second to a day":               func() { livekit.New(address, key, secret, livekit.WithTTL(0)) },
		"the logger is nil":                   func() { livekit.New(address, key, secret, livekit.WithLogger(nil)) },
	} {
		func() {
			defer func() {
				if said, _ := recover().(string); !strings.Contains(said, name) {
					t.Errorf("New says %q, want %q", said, name)
				}
			}()
			f()
		}()
	}
}
