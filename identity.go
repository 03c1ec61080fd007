package heymanito

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxNameBytes bounds chatPaths, message ids and every other required name on
// the wire.
const maxNameBytes = 256

// Handshake is what a client brought when it connected: the HTTP request that
// opened its connection and the auth object of its CONNECT packet.
type Handshake struct {
	// Request opened the connection. Its body is gone; its headers, cookies,
	// TLS state and context values (those of the host's middleware, and chi's
	// URL parameters) are there. But it has been served when AuthFunc runs:
	// its context has ended, so use the ctx passed to AuthFunc, and what a router
	// other than chi takes back with the request is void.
	Request *http.Request
	// Query is the parsed query of Request.
	Query url.Values
	// UserID is the one userId of Query, already checked to be a chatPath.
	UserID string
	// Namespace is "/", or another one that the host has opened ([WithBridge]): a
	// client that wants into several is asked for each who it is.
	Namespace string
	// Auth is the auth payload of the CONNECT packet as the client sent it, a
	// JSON object; nil when there was none. Browsers put their token here.
	Auth json.RawMessage
	// Refresh is set when a client that is connected proves its identity anew,
	// before that ends. Auth is then the payload of its refreshAuth event. Request
	// is none that the client has made: it has the RemoteAddr, and the userId in
	// its query, but no headers, no cookies, and no values in its context.
	Refresh bool
}

// Identity is who a connection speaks for.
type Identity struct {
	// ChatPath names the user ([ValidChatPath]). It must equal [Handshake].UserID:
	// else the client is refused with CodeIdentityMismatch.
	ChatPath string
	// Expires is when the identity ends; the zero time means never. The device
	// is told 30 s before ([WithExpiryNotice]) by the event authExpiring, and
	// may answer with refreshAuth; else its connection is closed then, and a
	// stock client comes back with what its auth function says. A time that has
	// passed is refused with CodeUnauthorized.
	Expires time.Time
	// Claims is whatever the host likes to find in [Device].Claims, on several
	// goroutines: do not change it afterwards. It may be nil.
	Claims any
}

// AuthFunc says who a connecting client is. It runs once for each CONNECT
// packet, and for each refreshAuth of a client that is connected, on a goroutine
// of that connection's own; ctx ends after the handshake timeout and when the
// client goes away.
//
// An [*Error] decides what the client is told: CodeUnavailable and CodeInternal
// close the transport, so that stock clients come back with their back-off; any
// other code is a CONNECT_ERROR, after which they stop. An error of another type is
// reported as CodeUnauthorized, unless it is ctx's own: that is CodeUnavailable. A
// panic is CodeInternal. To a refreshAuth the error is the ack, and the connection
// stands until the identity that it has ends.
type AuthFunc func(ctx context.Context, h Handshake) (Identity, error)

// ValidChatPath reports whether s can name a user: non-empty, at most 256
// bytes of UTF-8, no control characters.
func ValidChatPath(s string) bool {
	if s == "" || len(s) > maxNameBytes || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

// handshakeUser finds the userId of a handshake. What careless clients put
// there when they have no user counts as missing.
func handshakeUser(q url.Values) (string, *Error) {
	ids := q["userId"]
	if len(ids) > 1 {
		return "", Errorf(CodeInvalid, "the handshake query has %d userIds, it must have one", len(ids))
	}
	if len(ids) == 0 {
		return "", &Error{Code: CodeMissingUser}
	}
	switch ids[0] {
	case "", "undefined", "null", "[object Object]":
		return "", Errorf(CodeMissingUser, "the handshake query's userId is %q", ids[0])
	}
	if !ValidChatPath(ids[0]) {
		return "", Errorf(CodeInvalid, "the handshake query's userId is not a chatPath: at most %d bytes of UTF-8 without control characters", maxNameBytes)
	}
	return ids[0], nil
}
