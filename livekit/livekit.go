// Package livekit opens the rooms of calls at a LiveKit server:
//
//	lk := livekit.New("wss://livekit.example.com", apiKey, apiSecret)
//	rt := heymanito.New(heymanito.WithRooms(lk))
//	r.Mount("/socket.io/", rt)
//	r.Mount("/livekit/webhook", lk.WebhookHandler())
//
// It mints tokens and verifies webhooks with golang-jwt alone, and talks to
// nobody: the clients go to the LiveKit server, and that one posts its webhooks
// here. Both formats are LiveKit's, https://docs.livekit.io/home/get-started/authentication/
// and https://docs.livekit.io/home/server/webhooks/.
package livekit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/heymanito/heymanito"
)

const (
	defaultTTL = 10 * time.Minute
	// leeway is how far the clocks of the two servers may be apart.
	leeway = 30 * time.Second
)

// LiveKit is a [heymanito.Rooms], for one [heymanito.Server]. Make one with [New]; it
// starts nothing.
type LiveKit struct {
	url, key string
	secret   []byte
	ttl      time.Duration
	log      *slog.Logger
	parser   *jwt.Parser
	told     atomic.Pointer[func(context.Context, heymanito.RoomEvent) error]
	seen     seen
	refused  refusals
}

var _ heymanito.Rooms = (*LiveKit)(nil)

// Option configures a [LiveKit].
type Option func(*LiveKit)

// WithTTL sets how long a token lets its holder join (default 10 minutes; at
// most a day). Who has joined stays: LiveKit renews the tokens of those.
func WithTTL(d time.Duration) Option {
	return func(l *LiveKit) {
		if d < time.Second || d > 24*time.Hour {
			panic(fmt.Sprintf("livekit.WithTTL: %v makes no sense: use a second to a day", d))
		}
		l.ttl = d
	}
}

// WithLogger sets where refused webhooks are logged, one a minute; the default
// is slog.Default() at the time of New.
func WithLogger(log *slog.Logger) Option {
	return func(l *LiveKit) {
		if log == nil {
			panic("livekit.WithLogger: the logger is nil: use slog.New(slog.DiscardHandler) for silence")
		}
		l.log = log
	}
}

// New returns the LiveKit at serverURL, as clients reach it ("wss://host", or ws,
// http, https), with the API key and secret of that server, which are under keys in
// its configuration. It panics when one of them makes no sense.
func New(serverURL, apiKey, apiSecret string, opts ...Option) *LiveKit {
	u, err := url.Parse(serverURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss" && u.Scheme != "http" && u.Scheme != "https":
		panic(fmt.Sprintf("livekit.New: %q is not the address of a LiveKit server: write ws://host:port or wss://host", serverURL))
	case apiKey == "" || apiSecret == "":
		panic("livekit.New: the API key and the secret must not be empty: they are in LiveKit's configuration under keys")
	}
	l := &LiveKit{url: serverURL, key: apiKey, secret: []byte(apiSecret), ttl: defaultTTL, log: slog.Default()}
	for _, o := range opts {
		o(l)
	}
	l.parser = jwt.NewParser(
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(apiKey), jwt.WithExpirationRequired(),
		jwt.WithStrictDecoding(), jwt.WithLeeway(leeway),
	)
	return l
}

// Watch implements [heymanito.Rooms]. The server calls it; hosts do not.
func (l *LiveKit) Watch(told func(context.Context, heymanito.RoomEvent) error) { l.told.Store(&told) }

// claims is the payload of a token that lets somebody in.
type claims struct {
	jwt.RegisteredClaims
	Metadata string     `json:"metadata,omitempty"`
	Video    videoGrant `json:"video"`
}

type videoGrant struct {
	Room              string   `json:"room"`
	RoomJoin          bool     `json:"roomJoin"`
	CanPublish        bool     `json:"canPublish"`
	CanSubscribe      bool     `json:"canSubscribe"`
	CanPublishData    bool     `json:"canPublishData"`
	CanPublishSources []string `json:"canPublishSources"`
}

// Token implements [heymanito.Rooms]. It is for the server, which asks for one when a
// call is answered; a host's API wants [heymanito.Server.CallToken]. Its error says
// what the grant lacks: a token without a room would open every room.
func (l *LiveKit) Token(g heymanito.RoomGrant) (heymanito.RoomToken, error) {
	if g.Room == "" || g.Identity == "" {
		return heymanito.RoomToken{}, errors.New("livekit: a token needs a room and an identity")
	}
	if g.Metadata != nil && !json.Valid(g.Metadata) {
		return heymanito.RoomToken{}, errors.New("livekit: the metadata is no JSON")
	}
	now := time.Now()
	expires := now.Add(l.ttl).Truncate(time.Second)
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    l.key,
			Subject:   g.Identity,
			NotBefore: jwt.NewNumericDate(now.Add(-leeway)),
			ExpiresAt: jwt.NewNumericDate(expires),
		},
		Metadata: string(g.Metadata),
		Video: videoGrant{
			Room: g.Room, RoomJoin: true, CanPublish: true, CanSubscribe: true, CanPublishData: true,
			CanPublishSources: sources(g.Media),
		},
	}).SignedString(l.secret)
	if err != nil {
		return heymanito.RoomToken{}, fmt.Errorf("livekit: signing a token: %w", err)
	}
	return heymanito.RoomToken{Token: token, URL: l.url, Expires: expires}, nil
}

// sources is what may be published in a call of a kind.
func sources(media string) []string {
	if media == "audio" {
		return []string{"microphone"}
	}
	return []string{"camera", "microphone", "screen_share", "screen_share_audio"}
}
