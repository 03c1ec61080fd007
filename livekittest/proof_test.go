// Package livekittest proves the package livekit against LiveKit's own code. It
// is a module of its own, so that nobody else pays for that code.
package livekittest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/livekit/protocol/auth"
	lkproto "github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/webhook"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/livekit"
)

const (
	key    = "devkey"
	secret = "a secret of the tests, and of nobody else"
)

// Our token is one to LiveKit, and says what we mean.
func TestTokenToLiveKit(t *testing.T) {
	lk := livekit.New("wss://livekit.test", key, secret)
	tok, err := lk.Token(heymanito.RoomGrant{Room: "hm_1", Identity: "YW5u.phone", Media: "audio", Metadata: json.RawMessage(`{"name":"Ann"}`)})
	if err != nil {
		t.Fatal(err)
	}
	v, err := auth.ParseAPIToken(tok.Token)
	if err != nil {
		t.Fatal(err)
	}
	if v.APIKey() != key {
		t.Errorf("the key is %q", v.APIKey())
	}
	_, g, err := v.Verify(secret)
	if err != nil {
		t.Fatal(err)
	}
	video := g.Video
	if g.Identity != "YW5u.phone" || g.Metadata != `{"name":"Ann"}` || video.Room != "hm_1" || !video.RoomJoin || video.RoomAdmin || video.RoomCreate || video.RoomList || video.RoomRecord {
		t.Errorf("the grants are %+v, %+v", g, video)
	}
	if !video.GetCanSubscribe() || !video.GetCanPublish() || !slices.Equal(video.GetCanPublishSources(), []lkproto.TrackSource{lkproto.TrackSource_MICROPHONE}) {
		t.Errorf("the grants are %+v", video)
	}
	if _, _, err := v.Verify(secret + "!"); err == nil {
		t.Error("LiveKit takes it with another secret")
	}
	head, rest, _ := strings.Cut(tok.Token, ".")
	body, sig, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		t.Fatal(err)
	}
	forged := head + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(raw), "hm_1", "hm_2", 1))) + "." + sig
	if v, err := auth.ParseAPIToken(forged); err == nil {
		if _, _, err = v.Verify(secret); err == nil {
			t.Error("LiveKit takes one that was tampered with")
		}
	}
}

// LiveKit's webhooks are some to us, and those that its own receiver refuses we
// refuse.
func TestWebhookFromLiveKit(t *testing.T) {
	body, err := protojson.Marshal(&lkproto.WebhookEvent{
		Event: webhook.EventParticipantLeft, Id: "EV_1", CreatedAt: 1790000000,
		Room:        &lkproto.Room{Sid: "RM_1", Name: "hm_1"},
		Participant: &lkproto.ParticipantInfo{Sid: "PA_1", Identity: "YW5u.phone"},
	})
	if err != nil {
		t.Fatal(err)
	}
	sign := func(secret string, body []byte) string {
		sum := sha256.Sum256(body)
		token, err := auth.NewAccessToken(key, secret).SetValidFor(5 * time.Minute).SetSha256(base64.StdEncoding.EncodeToString(sum[:])).ToJWT()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	for name, c := range map[string]struct {
		body          string
		authorization string
	}{
		"as LiveKit signs it": {string(body), sign(secret, body)},
		"another secret":      {string(body), sign("another one", body)},
		"another body":        {strings.Replace(string(body), "hm_1", "hm_2", 1), sign(secret, body)},
		"not signed":          {string(body), ""},
	} {
		request := func() *http.Request {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(c.body))
			r.Header.Set("Authorization", c.authorization)
			return r
		}
		theirs, theirErr := webhook.ReceiveWebhookEvent(request(), auth.NewSimpleKeyProvider(key, secret))
		var told []heymanito.RoomEvent
		lk := livekit.New("wss://livekit.test", key, secret, livekit.WithLogger(slog.New(slog.DiscardHandler)))
		lk.Watch(func(_ context.Context, e heymanito.RoomEvent) error { told = append(told, e); return nil })
		w := httptest.NewRecorder()
		lk.WebhookHandler().ServeHTTP(w, request())
		if (w.Code == http.StatusOK) != (theirErr == nil) {
			t.Errorf("%s: we say %d, LiveKit's receiver %v", name, w.Code, theirErr)
		}
		if theirErr != nil {
			if len(told) != 0 {
				t.Errorf("%s: told %v", name, told)
			}
			continue
		}
		want := heymanito.RoomEvent{
			Kind: heymanito.RoomEventKind(theirs.GetEvent()), Room: theirs.GetRoom().GetName(),
			Identity: theirs.GetParticipant().GetIdentity(), Session: theirs.GetParticipant().GetSid(), Time: time.Unix(theirs.GetCreatedAt(), 0),
		}
		if len(told) != 1 || told[0] != want {
			t.Errorf("%s: told %+v, LiveKit's receiver %+v", name, told, want)
		}
	}
}
