// Package middleware has what a host puts in front of its chat: the check of
// JSON Web Tokens ([JWT]), a limit to new connections ([HandshakeLimit]) and a
// log of what was refused ([SecurityLog]).
//
// One [JWT] serves both doors of a host. [JWT.Handler] is chi-style HTTP
// middleware for its REST API, [JWT.Auth] is the [heymanito.AuthFunc] for its
// realtime connections; the same token opens both, for the same user:
//
//	tokens := middleware.NewJWT(middleware.HMAC(secret), middleware.WithAudience("chat"))
//	router.Use(tokens.Handler) // chi, or tokens.Handler(mux)
//	rt := heymanito.New(heymanito.WithAuth(tokens.Auth)) // not behind tokens.Handler
//
// The other two go around the realtime server, the log outermost, so that it sees
// what the limit refuses:
//
//	log, limit := middleware.SecurityLog(logger), middleware.HandshakeLimit(60, 30)
//	router.Mount("/socket.io/", log(limit(rt)))
package middleware

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/heymanito/heymanito"
)

const (
	defaultChatPathClaim = "sub"
	defaultLeeway        = 5 * time.Second
)

// maxDate is the last second of the year 9999. What lies beyond is no date; it
// is mostly milliseconds that someone took for seconds.
const maxDate = 253402300799

// JWT checks JSON Web Tokens. Make one with [NewJWT]; it is safe for
// concurrent use, starts nothing and keeps nothing about the tokens it saw.
type JWT struct {
	key       KeyFunc
	parser    *jwt.Parser
	request   places // where Handler looks for a token
	handshake places // where Auth does
	sites     *http.CrossOriginProtection
	jwtConfig
}

type jwtConfig struct {
	chatPathClaim string
	issuer        string
	audience      []string
	leeway        time.Duration
	allowNoExpiry bool
	cookie        string   // "": none
	origins       []string // whose pages may use it
	query         string   // "": none
	log           *slog.Logger
}

// NewJWT returns a JWT that verifies signatures with the keys of key: [HMAC],
// [PublicKeys], or a function of the host's own.
//
// With no options a token must have an exp that has not passed; an nbf and an
// iat, when there are any, may lie up to 5 s ahead of this machine's clock; the
// claim "sub" names the user. iss and aud are not looked at: where the issuer's
// key signs tokens for other services too, use [WithAudience], or those open
// the chat as well.
//
// NewJWT panics when key is nil or an option makes no sense.
func NewJWT(key KeyFunc, opts ...JWTOption) *JWT {
	if key == nil {
		panic("middleware.NewJWT: the KeyFunc is nil; use middleware.HMAC(secret) or middleware.PublicKeys(key)")
	}
	j := &JWT{key: key, jwtConfig: jwtConfig{chatPathClaim: defaultChatPathClaim, leeway: defaultLeeway, log: slog.Default()}}
	for _, opt := range opts {
		opt(&j.jwtConfig)
	}
	parserOpts := []jwt.ParserOption{
		jwt.WithValidMethods(allAlgorithms),
		jwt.WithStrictDecoding(),
		jwt.WithJSONNumber(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(j.leeway),
	}
	if !j.allowNoExpiry {
		parserOpts = append(parserOpts, jwt.WithExpirationRequired())
	}
	if j.issuer != "" {
		parserOpts = append(parserOpts, jwt.WithIssuer(j.issuer))
	}
	if len(j.audience) > 0 {
		parserOpts = append(parserOpts, jwt.WithAudience(j.audience...))
	}
	j.parser = jwt.NewParser(parserOpts...)
	j.request, j.handshake = newPlaces(&j.jwtConfig, false), newPlaces(&j.jwtConfig, true)
	j.sites = http.NewCrossOriginProtection()
	for _, origin := range j.origins {
		_ = j.sites.AddTrustedOrigin(origin) // WithCookie has seen to it
	}
	return j
}

// A JWTOption changes what [NewJWT] makes.
type JWTOption func(*jwtConfig)

// WithIssuer refuses tokens whose iss is not exactly issuer. The default is
// not to look: any token that the key verifies will do.
func WithIssuer(issuer string) JWTOption {
	if issuer == "" {
		panic("middleware.WithIssuer: the issuer is empty")
	}
	return func(c *jwtConfig) { c.issuer = issuer }
}

// WithAudience refuses tokens whose aud names none of audience. The default is
// not to look: a token that the same issuer made for another service is
// accepted here too.
func WithAudience(audience ...string) JWTOption {
	if len(audience) == 0 || slices.Contains(audience, "") {
		panic("middleware.WithAudience: there is no audience, or an empty one")
	}
	audience = slices.Clone(audience)
	return func(c *jwtConfig) { c.audience = audience }
}

// WithChatPathClaim says which claim is the user's chatPath; the default is
// "sub". It must be a string that is a chatPath (see
// [heymanito.ValidChatPath]), a number is refused. Pick a claim that only the
// issuer can set: who can choose its value can choose who to be.
func WithChatPathClaim(name string) JWTOption {
	if name == "" {
		panic("middleware.WithChatPathClaim: the name is empty")
	}
	return func(c *jwtConfig) { c.chatPathClaim = name }
}

// WithLeeway says how far the issuer's clock may be ahead of this machine's:
// an nbf or iat up to d in the future is accepted. The default is 5 s; 0 means
// that a token from a machine whose clock is a second fast is refused at
// first. exp never has a leeway: a token is good until the second it names, and
// that second is the [heymanito.Identity].Expires. It panics when d is negative.
func WithLeeway(d time.Duration) JWTOption {
	if d < 0 {
		panic("middleware.WithLeeway: the leeway is negative")
	}
	return func(c *jwtConfig) { c.leeway = d }
}

// InsecureAllowNoExpiry accepts tokens that have no exp. The default is to
// refuse them, and with reason: such a token, once leaked, opens the chat
// until the key is changed ([heymanito.Identity].Expires is the zero time). An
// exp that is there counts as ever.
func InsecureAllowNoExpiry() JWTOption {
	return func(c *jwtConfig) { c.allowNoExpiry = true }
}

// WithCookie looks for the token in the cookie called name, too; the default is
// not to. Requests that have it in their Authorization header, or in the auth
// payload, need no cookie; when they bring one it must have the same token.
//
// A browser sends a cookie whichever page makes the request. So where nothing
// but the cookie has brought a token, a request of another site's page is refused
// with CodeForbidden: every handshake of [JWT.Auth], and at [JWT.Handler] every
// request but a GET, HEAD or OPTIONS that does not ask for an upgrade, which must
// change nothing and is safe because that page cannot read the answer (unless
// your CORS rules let it). What is another site:
//
//   - Sec-Fetch-Site is neither same-origin nor none. A sibling subdomain is
//     another site here. Every browser since 2023 sends that header, over HTTPS
//     and to localhost.
//   - Without it: an Origin that is not the request's Host.
//
// A request with neither is taken for one that no page has made. All this relies
// on a proxy, if there is one, to pass on both headers and the Host as they are.
// [heymanito.WithInsecureAnyOrigin] does not change it; the server's own rules
// for an Origin come before it.
//
// origins are those whose pages may use the cookie all the same, as browsers
// write them: "https://app.example.com". Whom [heymanito.WithOrigins] lists is
// not listed here: a page that sends its token itself needs no cookie.
//
// Set the cookie HttpOnly, Secure, SameSite=Lax or Strict, and call it __Host-
// and something: then no other subdomain can put its own in its place. The server
// sees it when a client connects and not again: a page that cannot read its cookie
// cannot renew the identity of a connection that stands, a new cookie counts from
// the next one on.
//
// WithCookie panics when name cannot be a cookie's, or an origin is none.
func WithCookie(name string, origins ...string) JWTOption {
	if c, err := http.ParseSetCookie(name + "=x"); err != nil || c.Name != name {
		panic("middleware.WithCookie: " + strconv.Quote(name) + " cannot be the name of a cookie")
	}
	for _, origin := range origins {
		if err := http.NewCrossOriginProtection().AddTrustedOrigin(origin); err != nil {
			panic("middleware.WithCookie: " + err.Error() + ": write scheme://host[:port], as browsers do")
		}
	}
	origins = slices.Clone(origins)
	return func(c *jwtConfig) { c.cookie, c.origins = name, origins }
}

// WithQueryToken looks for the token in the query parameter called name, too;
// the default is not to, and with reason: what is in a URL is in the access log
// of every proxy on the way, in the browser's history, and in what people copy
// and send. This package and the realtime server never log a query; what else
// runs in your process, say a router's request logger, may. It is for clients
// that can set neither a header nor the auth object; give them tokens that live
// for a minute.
//
// When another place has a token too, it must be the same. WithQueryToken panics
// when name is empty or a parameter of Socket.IO's or of the handshake (EIO,
// transport, sid, t, j, b64, userId).
func WithQueryToken(name string) JWTOption {
	switch name {
	case "", "EIO", "transport", "sid", "t", "j", "b64", "userId":
		panic("middleware.WithQueryToken: " + strconv.Quote(name) + " means something else in a handshake: choose another name, say access_token")
	}
	return func(c *jwtConfig) { c.query = name }
}

// WithLogger says where [JWT.Handler] logs what the host has to mend: a key
// function that fails, a key that must not be used. Refused tokens are not
// logged, and no line contains a token or a key, unless the key function put
// one in its error. The default is slog.Default() at the time of [NewJWT].
// [JWT.Auth] logs nothing: it returns its errors to the server.
func WithLogger(log *slog.Logger) JWTOption {
	if log == nil {
		panic("middleware.WithLogger: the logger is nil: use slog.New(slog.DiscardHandler) for silence")
	}
	return func(c *jwtConfig) { c.log = log }
}

// Auth is a [heymanito.AuthFunc]. It takes the token from the Authorization
// header of the handshake's request or, as browsers cannot set one, from the
// member "token" of the CONNECT packet's auth payload, with or without "Bearer "
// before it:
//
//	io(url, {query: {userId}, auth: cb => cb({token: currentToken()})})
//
// [WithCookie] and [WithQueryToken] name two places more. When several have a
// token it must be the same, byte for byte. That the token speaks for the
// handshake's userId is for the server to check.
//
// Claims of the Identity is the [jwt.MapClaims]; its numbers are [json.Number],
// it is shared with hooks on other goroutines, so do not write to it. Expires is
// exp.
//
// Errors are *[heymanito.Error]: CodeUnauthorized with words for the client's
// developer; CodeForbidden for a cookie that a page of another site has made use
// of; CodeUnavailable when ctx ends or the key function meets the
// network; CodeInternal when the key must not be used (the reason is in Err, for
// the log); and what the key function returns, when that is a *heymanito.Error.
//
// The HTTP requests of a realtime server need no [JWT.Handler] before them: a
// browser's have no Authorization header and would not pass.
func (j *JWT) Auth(ctx context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
	token, ambient, err := j.handshake.find(h.Request, h.Auth)
	if err != nil {
		return heymanito.Identity{}, err
	}
	if ambient {
		if err := j.checkSite(h.Request); err != nil {
			return heymanito.Identity{}, err
		}
	}
	return j.verify(ctx, token)
}

// verify says whose token it is. The token has passed findToken.
func (j *JWT) verify(ctx context.Context, token string) (heymanito.Identity, error) {
	if err := ctx.Err(); err != nil {
		return heymanito.Identity{}, unavailable(err)
	}
	asked, keyErr := false, error(nil)
	claims := jwt.MapClaims{}
	_, err := j.parser.ParseWithClaims(token, claims, func(t *jwt.Token) (key any, err error) {
		asked = true
		key, keyErr = j.findKey(ctx, t)
		return key, keyErr
	})
	switch {
	case keyErr != nil:
		return heymanito.Identity{}, keyErr
	case err != nil && !errors.Is(err, jwt.ErrTokenInvalidClaims):
		return heymanito.Identity{}, explainParse(err, asked)
	}
	// The signature is good: from here on the claims are the issuer's words.
	if err := checkNames(token); err != nil {
		return heymanito.Identity{}, err
	}
	if err := checkDates(claims); err != nil {
		return heymanito.Identity{}, err
	}
	if err != nil {
		return heymanito.Identity{}, j.explainClaims(err, claims)
	}
	expires, err := expiry(claims)
	if err != nil {
		return heymanito.Identity{}, err
	}
	chatPath, err := j.chatPath(claims)
	if err != nil {
		return heymanito.Identity{}, err
	}
	return heymanito.Identity{ChatPath: chatPath, Expires: expires, Claims: claims}, nil
}

// expiry is the moment from which on the token is void; the parser has
// allowed it a leeway, which is taken back here.
func expiry(claims jwt.MapClaims) (time.Time, error) {
	exp, err := claims.GetExpirationTime()
	if err != nil {
		return time.Time{}, unauthorized(err, "the token's exp is not a number")
	}
	if exp == nil { // the parser has seen to it that this is allowed
		return time.Time{}, nil
	}
	if !time.Now().Before(exp.Time) {
		return time.Time{}, expired(jwt.ErrTokenExpired, claims)
	}
	return exp.Time, nil
}

func (j *JWT) chatPath(claims jwt.MapClaims) (string, error) {
	value, ok := claims[j.chatPathClaim]
	if !ok {
		return "", unauthorized(nil, "the token has no %q claim, which must be the user's chatPath", j.chatPathClaim)
	}
	s, ok := value.(string)
	if !ok {
		return "", unauthorized(nil, "the token's %q claim must be a string, the user's chatPath", j.chatPathClaim)
	}
	if !heymanito.ValidChatPath(s) {
		return "", unauthorized(nil, "the token's %q claim is not a chatPath: 1 to 256 bytes of UTF-8 without control characters", j.chatPathClaim)
	}
	return s, nil
}

// checkNames refuses a token that says two things under one name: whoever made
// it may have meant the other one.
func checkNames(token string) error {
	header, rest, _ := strings.Cut(token, ".")
	claims, _, _ := strings.Cut(rest, ".")
	if !oneObject(header) {
		return unauthorized(nil, "the token's header must be one JSON object that has no name twice")
	}
	if !oneObject(claims) {
		return unauthorized(nil, "the token's claims must be one JSON object that has no name twice")
	}
	return nil
}

// oneObject reports whether a part of a token, which the parser has read, is an
// object with nothing behind it that has each name once. Names further inside
// are the host's business.
func oneObject(part string) bool {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return false
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if brace, err := dec.Token(); err != nil || brace != json.Delim('{') {
		return false
	}
	seen := map[json.Token]bool{}
	for dec.More() {
		name, err := dec.Token()
		var value json.RawMessage
		if err != nil || seen[name] || dec.Decode(&value) != nil {
			return false
		}
		seen[name] = true
	}
	if _, err := dec.Token(); err != nil { // the other brace
		return false
	}
	_, err = dec.Token()
	return errors.Is(err, io.EOF)
}

// checkDates refuses dates that no clock can compare with.
func checkDates(claims jwt.MapClaims) error {
	for _, name := range []string{"exp", "nbf", "iat"} {
		value, ok := claims[name]
		if !ok {
			continue
		}
		number, ok := value.(json.Number)
		if !ok {
			return unauthorized(nil, "the token's %s must be a number, the seconds since 1970", name)
		}
		if f, err := number.Float64(); err != nil || f < 0 || f > maxDate {
			return unauthorized(nil, "the token's %s is not a date; it must be the seconds since 1970, not milliseconds", name)
		}
	}
	return nil
}
