package middleware

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/heymanito/heymanito/internal/jsonspan"
)

// maxTokenBytes bounds a token before anything looks into it.
const maxTokenBytes = 16 << 10

// maxAuthDepth is how deep what else is in the auth payload may nest.
const maxAuthDepth = 100

var tokenKey = []string{"token"}

// source looks for a token in one place of a request or a handshake. It
// returns "" when there is none, and an error when what is there must not be
// guessed at. To look in another place, write one and add it to the lists below.
type source func(r *http.Request, auth json.RawMessage) (token string, err error)

// Every source that has a token must have the same one.
var (
	requestSources   = []source{fromAuthorization}
	handshakeSources = []source{fromAuthorization, fromAuthPayload}
)

// errNoToken marks the refusal of those who brought no token at all.
var errNoToken = errors.New("no token")

var errTooLong = fmt.Errorf("longer than %d bytes", maxTokenBytes)

// findToken returns the one token that the sources have. It has the form of a
// JWT and a bounded length; nothing else about it is known.
func findToken(r *http.Request, auth json.RawMessage, sources []source) (string, error) {
	found := ""
	for _, find := range sources {
		token, err := find(r, auth)
		switch {
		case err != nil:
			return "", err
		case token == "":
		case len(token) > maxTokenBytes:
			return "", unauthorized(errTooLong, "the token is longer than %d bytes", maxTokenBytes)
		case found != "" && found != token:
			return "", unauthorized(nil, "the Authorization header and the auth payload carry different tokens: send one, or the same twice")
		default:
			found = token
		}
	}
	if found == "" {
		return "", unauthorized(errNoToken, "there is no token: send it in the header \"Authorization: Bearer …\" or, on a realtime connection, as \"token\" in the client's auth object")
	}
	return found, checkForm(found)
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
