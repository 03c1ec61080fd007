package middleware

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/heymanito/heymanito"
)

// defaultRetryAfter is sent with a 503 for which nobody named a time.
const defaultRetryAfter = 5 * time.Second

// identityKey is the context key of the *heymanito.Identity of a request.
type identityKey struct{}

// Handler lets requests through to next that have a valid token in their
// Authorization header ("Bearer" and the token), or where [WithCookie] and
// [WithQueryToken] say; [ChatPath] and [Claims] say whose it is. All others it
// answers itself, with a JSON body {"code", "message"} and the status of the code:
//
//	unauthorized  401, with WWW-Authenticate: Bearer error="invalid_token"
//	              (without the error when there was no token, as RFC 6750 has it)
//	forbidden     403, for a cookie that a page of another site has made use of
//	unavailable   503, with Retry-After: the Error's, or 5 s
//	internal      500, and a line in the log
//
// and what else an *[heymanito.Error] of the host's key function may say:
// rate_limited 429, forbidden as above, any other 401. A preflight request has no
// token: put CORS middleware before Handler, not behind it.
func (j *JWT) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := j.authenticate(r)
		if err != nil {
			j.refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, &id)))
	})
}

func (j *JWT) authenticate(r *http.Request) (heymanito.Identity, error) {
	token, ambient, err := j.request.find(r, nil)
	if err != nil {
		return heymanito.Identity{}, err
	}
	if ambient && !harmless(r) {
		if err := j.checkSite(r); err != nil {
			return heymanito.Identity{}, err
		}
	}
	return j.verify(r.Context(), token)
}

// ChatPath returns the user of a request that came through [JWT.Handler]. It is
// "", which no user is called, for any other context.
func ChatPath(ctx context.Context) string {
	if id, ok := ctx.Value(identityKey{}).(*heymanito.Identity); ok {
		return id.ChatPath
	}
	return ""
}

// Claims returns the claims of the token of a request that came through
// [JWT.Handler], nil for any other context. Numbers in it are [json.Number].
// On a realtime connection the same claims are [heymanito.Device].Claims.
func Claims(ctx context.Context) jwt.MapClaims {
	if id, ok := ctx.Value(identityKey{}).(*heymanito.Identity); ok {
		claims, _ := id.Claims.(jwt.MapClaims)
		return claims
	}
	return nil
}

func (j *JWT) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var e *heymanito.Error
	if !errors.As(err, &e) {
		e = &heymanito.Error{Code: heymanito.CodeUnauthorized, Err: err}
	}
	status := statusOf(e.Code)
	h := w.Header()
	switch {
	case status == http.StatusUnauthorized && errors.Is(e, errNoToken):
		h.Set("WWW-Authenticate", "Bearer")
	case status == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	case status == http.StatusServiceUnavailable, e.RetryAfter > 0:
		h.Set("Retry-After", retrySeconds(e.RetryAfter))
	}
	if status >= http.StatusInternalServerError && r.Context().Err() == nil {
		j.log.ErrorContext(r.Context(), "a token could not be checked", "code", e.Code, "err", err, "cause", e.Err)
	}
	body, _ := json.Marshal(struct {
		Code    heymanito.Code `json:"code"`
		Message string         `json:"message"`
	}{e.Code, words(e)}) // strings: it cannot fail
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // who went away need not know
}

// words are what the client reads: the Error's own, or the code's.
func words(e *heymanito.Error) string {
	if e.Message != "" {
		return e.Message
	}
	switch e.Code {
	case heymanito.CodeUnavailable:
		return "the token cannot be checked now, try again"
	case heymanito.CodeInternal:
		return "the server cannot check tokens, see its log"
	}
	return http.StatusText(statusOf(e.Code))
}

func statusOf(code heymanito.Code) int {
	switch code {
	case heymanito.CodeForbidden:
		return http.StatusForbidden
	case heymanito.CodeRateLimited:
		return http.StatusTooManyRequests
	case heymanito.CodeUnavailable:
		return http.StatusServiceUnavailable
	case heymanito.CodeInternal:
		return http.StatusInternalServerError
	}
	return http.StatusUnauthorized
}

// retrySeconds rounds up: nobody should come back too early.
func retrySeconds(d time.Duration) string {
	if d <= 0 {
		d = defaultRetryAfter
	}
	return strconv.Itoa(int((d + time.Second - 1) / time.Second))
}
