package middleware

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/heymanito/heymanito"
)

// unauthorized refuses a token; cause, which may be nil, is for the log. Words
// are for the client's developer and quote nothing that came from the client.
func unauthorized(cause error, words string, args ...any) error {
	return &heymanito.Error{Code: heymanito.CodeUnauthorized, Message: fmt.Sprintf(words, args...), Err: cause}
}

// unavailable has no Message: its cause is what the log needs, and clients
// are told the standard text of the code.
func unavailable(cause error) error {
	return &heymanito.Error{Code: heymanito.CodeUnavailable, Err: cause}
}

// misconfigured is for keys that must not be used: nothing a client could
// mend, and nothing it should learn about. It has no Message either.
func misconfigured(cause error) error {
	return &heymanito.Error{Code: heymanito.CodeInternal, Err: cause}
}

// keyFailure is what becomes of an error of the host's key function.
func keyFailure(ctx context.Context, err error) error {
	if own, ok := errors.AsType[*heymanito.Error](err); ok {
		if own == nil {
			return misconfigured(errors.New("the key function returned a nil *heymanito.Error as its error: return nil"))
		}
		return err
	}
	var network net.Error
	if ctx.Err() != nil || errors.As(err, &network) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return unavailable(err)
	}
	return unauthorized(err, "the server has no key for this token: the key is unknown (kid) or has been retired")
}

// explainParse says in words why the parser did not come as far as the claims;
// asked is whether it came as far as asking for a key.
func explainParse(err error, asked bool) error {
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed):
		return unauthorized(err, "the token is damaged: its parts are not the base64url of a JWT's header, claims and signature")
	case !asked:
		return unauthorized(err, "the token's alg is none of %s; an unsigned token is never accepted", strings.Join(allAlgorithms, ", "))
	}
	return unauthorized(err, "the token's signature does not match: it was altered, or signed with a key that is not this server's")
}

// explainClaims says in words which claim of a well-signed token is the reason
// for the refusal; one, where there are several.
func (j *JWT) explainClaims(err error, claims jwt.MapClaims) error {
	_, hasExp := claims["exp"]
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return expired(err, claims)
	case !hasExp && !j.allowNoExpiry:
		return unauthorized(err, "the token has no exp: issue tokens that expire")
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return unauthorized(err, "the token is not valid yet (nbf): is the clock of the issuer, or of this server, wrong?")
	case errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return unauthorized(err, "the token was issued in the future (iat): is the clock of the issuer, or of this server, wrong?")
	case j.issuer != "" && claims["iss"] != j.issuer:
		return unauthorized(err, "the token has the wrong issuer: iss must be %q", j.issuer)
	case len(j.audience) > 0:
		return unauthorized(err, "the token is for another audience: aud must have %s", quotedList(j.audience))
	}
	return unauthorized(err, "the token's claims are not valid")
}

func expired(cause error, claims jwt.MapClaims) error {
	when := ""
	if exp, err := claims.GetExpirationTime(); err == nil && exp != nil {
		when = " at " + exp.UTC().Format(time.RFC3339)
	}
	return unauthorized(cause, "the token expired%s: get a new one and connect again", when)
}

func quotedList(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(quoted, " or ")
}
