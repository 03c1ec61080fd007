package middleware

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/heymanito/heymanito/internal/jsonspan"
)

// maxTokenBytes bounds a token before anything looks into it.
const maxTokenBytes = 16 << 10

// maxAuthDepth is how deep what else is in the auth payload may nest.
const maxAuthDepth = 100

var tokenKey = []string{"token"}

// source is one place of a request or a handshake that may have a token.
type source struct {
	place string // what it is called in the words of a refusal
	// ambient: browsers put the token there by themselves, whichever page has
	// made the request.
	ambient bool
	// find returns "" when there is none, and an error when what is there must
	// not be guessed at.
	find func(r *http.Request, auth json.RawMessage) (token string, err error)
}

// places are all the sources in which one of the two doors looks. There is no
// order among them: every one that has a token must have the same.
type places struct {
	sources []source
	hint    string // for those who brought no token
}

// newPlaces returns where a host with these settings looks; payload: in the
// CONNECT packet, too.
func newPlaces(c *jwtConfig, payload bool) places {
	p := places{
		sources: []source{{place: "the Authorization header", find: fromAuthorization}},
		hint:    "there is no token: send it in the header \"Authorization: Bearer …\" or, on a realtime connection, as \"token\" in the client's auth object",
	}
	if payload {
		p.sources = append(p.sources, source{place: "the auth payload", find: fromAuthPayload})
	}
	if c.cookie != "" {
		p.sources = append(p.sources, source{place: "the cookie", ambient: true, find: fromCookie(c.cookie)})
		p.hint += fmt.Sprintf(", or in the cookie %q", c.cookie)
	}
	if c.query != "" {
		p.sources = append(p.sources, source{place: "the query", find: fromQuery(c.query)})
		p.hint += fmt.Sprintf(", or as %q in the query", c.query)
	}
	return p
}

// errNoToken marks the refusal of those who brought no token at all.
var errNoToken = errors.New("no token")

var errTooLong = fmt.Errorf("longer than %d bytes", maxTokenBytes)

// find returns the one token that there is, and whether nothing but a browser's
// habit has brought it. It has the form of a JWT and a bounded length; nothing
// else about it is known.
func (p *places) find(r *http.Request, auth json.RawMessage) (found string, ambient bool, err error) {
	place := ""
	for _, s := range p.sources {
		token, err := s.find(r, auth)
		switch {
		case err != nil:
			return "", false, err
		case token == "":
		case len(token) > maxTokenBytes:
			return "", false, unauthorized(errTooLong, "the token is longer than %d bytes", maxTokenBytes)
		case found == "":
			found, place, ambient = token, s.place, s.ambient
		case found != token:
			return "", false, unauthorized(nil, "%s and %s carry different tokens: send one, or the same twice", place, s.place)
		default:
			ambient = ambient && s.ambient
		}
	}
	if found == "" {
		return "", false, unauthorized(errNoToken, "%s", p.hint)
	}
	return found, ambient, checkForm(found)
}

// fromAuthorization takes the token from the Authorization header. Another
// scheme than Bearer is no token: a proxy may have a password there.
func fromAuthorization(r *http.Request, _ json.RawMessage) (string, error) {
	if r == nil {
		return "", nil
	}
	values := r.Header["Authorization"]
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		token, _ := cutBearer(values[0])
		return token, nil
	}
	return "", unauthorized(nil, "the request has %d Authorization headers, it must have one", len(values))
}

// fromAuthPayload takes the token from the member "token" of the CONNECT
// packet's auth payload; "Bearer " before it is allowed. Of two members of that
// name the last one counts, as for JSON.parse.
func fromAuthPayload(_ *http.Request, auth json.RawMessage) (string, error) {
	if len(auth) == 0 {
		return "", nil
	}
	var value [1][]byte
	end, err := jsonspan.Object(auth, jsonspan.Space(auth, 0), maxAuthDepth, tokenKey, value[:])
	if err != nil || jsonspan.Space(auth, end) != len(auth) {
		return "", unauthorized(err, "the auth payload must be a JSON object")
	}
	if value[0] == nil || string(value[0]) == "null" {
		return "", nil
	}
	token, ok := jsonspan.Text(value[0])
	if !ok {
		return "", unauthorized(nil, "\"token\" in the auth payload must be a string")
	}
	if bare, ok := cutBearer(token); ok {
		return bare, nil
	}
	return strings.TrimSpace(token), nil
}

// fromCookie takes the token from the cookie called name. Of two there is no
// telling which one the host has set.
func fromCookie(name string) func(*http.Request, json.RawMessage) (string, error) {
	return func(r *http.Request, _ json.RawMessage) (string, error) {
		if r == nil {
			return "", nil
		}
		switch cookies := r.CookiesNamed(name); len(cookies) {
		case 0:
			return "", nil
		case 1:
			return cookies[0].Value, nil
		default:
			return "", unauthorized(nil, "the request has %d cookies called %q, it must have one: set it with one Path and one Domain only", len(cookies), name)
		}
	}
}

// fromQuery takes the token from the query parameter called name.
func fromQuery(name string) func(*http.Request, json.RawMessage) (string, error) {
	return func(r *http.Request, _ json.RawMessage) (string, error) {
		if r == nil || r.URL == nil {
			return "", nil
		}
		q, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil { // it quotes the query
			return "", unauthorized(nil, "the query cannot be parsed")
		}
		switch values := q[name]; len(values) {
		case 0:
			return "", nil
		case 1:
			return values[0], nil
		default:
			return "", unauthorized(nil, "the query has %d times %q, it must have it once", len(values), name)
		}
	}
}

// cutBearer returns what follows "Bearer ", which may be written in any case
// (RFC 9110, 11.1), and whether that was there at all.
func cutBearer(s string) (token string, ok bool) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimSpace(rest), true
}

// checkForm tells a JWT from the other things that are sent in its place. It
// sees to it that no decoder meets a byte that it might skip over.
func checkForm(token string) error {
	switch token {
	case "undefined", "null", "[object Object]", "[object Promise]":
		return unauthorized(nil, "the token is the word %q: the client had none when it connected", token)
	}
	for i := range len(token) {
		switch c := token[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return unauthorized(nil, "the token is not a JWT: it has a character that is not base64url")
		}
	}
	switch dots := strings.Count(token, "."); dots {
	case 2:
		return nil
	case 4:
		return unauthorized(nil, "the token is encrypted (JWE), it must be a signed JWT")
	default:
		return unauthorized(nil, "the token is not a JWT: it has %d parts instead of 3", dots+1)
	}
}
