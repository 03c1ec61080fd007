package heymanito

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Code is the machine-readable part of an error, as clients see it in an ack
// or in a refused connection (docs/protocol.md, "Acks and errors").
type Code string

// The codes a client can meet. Codes say who has to act: invalid, too_large,
// identity_mismatch and missing_user are mistakes of the client's; forbidden
// and unauthorized are the host's decisions; not_found, conflict, busy and offline
// are about calls, and what else there may be or not; unavailable and rate_limited
// mean "try again"; internal is the server's, or a hook's, failure.
const (
	CodeInvalid          Code = "invalid"           // not the documented shape, or an unknown event
	CodeTooLarge         Code = "too_large"         // bigger than [WithMaxPayload] says
	CodeMissingUser      Code = "missing_user"      // the handshake names no userId
	CodeIdentityMismatch Code = "identity_mismatch" // speaks for someone else
	CodeUnauthorized     Code = "unauthorized"      // no valid identity
	CodeForbidden        Code = "forbidden"         // the host said no
	CodeNotFound         Code = "not_found"         // no such call, message or token
	CodeConflict         Code = "conflict"          // not in a state that allows it
	CodeBusy             Code = "busy"              // the callee rings or talks with someone else
	CodeOffline          Code = "offline"           // the callee has no device, and there is no [Hooks].OnRing
	CodeRateLimited      Code = "rate_limited"      // [WithRates], [WithRingLimits]
	CodeUnavailable      Code = "unavailable"       // a hook or a store is down: try again
	CodeInternal         Code = "internal"          // a panic, or an error of the host's function of an On
)

// Error is the error type of this package. A hook that returns one, wrapped or
// not, decides what the client is told: Code, Message and RetryAfter go out, Err
// stays in the log. Any other error from a hook reaches the client as the code
// documented at that hook, without its text.
type Error struct {
	Code       Code
	Message    string        // for the client's developer, in words; empty: a standard text for the Code
	RetryAfter time.Duration // a hint for codes that are Retryable; zero: none
	Err        error         // the cause; logged, never sent
}

// Errorf returns an *Error with a formatted message. %w wraps a cause, as in
// fmt.Errorf; its text becomes part of the message, which clients can read.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// Error is the code, the message and the cause, for a log.
func (e *Error) Error() string {
	s := "heymanito: " + string(e.Code)
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Err != nil && !strings.Contains(e.Message, e.Err.Error()) {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error {
	if e == nil { // a hook's variable, returned as an error: asError makes one of it
		return nil
	}
	return e.Err
}

// Retryable reports whether the same request may succeed later, as the member
// retryable of an ack does: the codes busy, offline, rate_limited, unavailable and
// internal.
func (e *Error) Retryable() bool {
	switch e.Code {
	case CodeBusy, CodeOffline, CodeRateLimited, CodeUnavailable, CodeInternal:
		return true
	}
	return false
}

// ErrSilently returned by [Hooks].Authorize, BeforeMessage or BeforeCall acks an
// event as if it had been delivered and delivers it to nobody. It is how a host lets
// one user block another without telling the blocked one.
var ErrSilently = errors.New("heymanito: silently refused")

// ErrClosed is returned, after Shutdown, by every method of a [Server] that returns
// an error, but Shutdown itself.
var ErrClosed = errors.New("heymanito: server closed")

// message is what the client reads: the Error's own words, or the code's.
func (e *Error) message() string {
	if e.Message != "" {
		return e.Message
	}
	switch e.Code {
	case CodeInvalid:
		return "the event does not have the documented shape"
	case CodeTooLarge:
		return "the event is larger than maxPayload"
	case CodeMissingUser:
		return "the handshake query has no userId"
	case CodeIdentityMismatch:
		return "this connection may not speak for that user"
	case CodeUnauthorized:
		return "the server does not accept this identity"
	case CodeForbidden:
		return "not allowed"
	case CodeRateLimited:
		return "too many events, try again later"
	case CodeUnavailable:
		return "a service behind the server is down, try again"
	case CodeInternal:
		return "the server failed, see its log"
	}
	return string(e.Code)
}

// asError turns what a hook returned into an *Error; fallback is the code for
// errors that carry none.
func asError(err error, fallback Code) *Error {
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
		return &Error{Code: fallback, Err: err}
	case e == nil: // no code, and nothing that could be asked; but an error
		return &Error{Code: fallback, Err: errors.New("a nil *Error")}
	}
	return e
}
