package jwkstest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/middleware"
)

// fetchFailure is the context key of the *error in which a look-up finds out that
// the keys could not be fetched.
type fetchFailure struct{}

// publishedKeys is the KeyFunc of a host whose issuer publishes its keys at url.
// They are fetched now, every hour, and when a token has a kid that is not among
// them: twice at once and then once a minute, whoever sends what. ctx ends that.
//
// A kid that the issuer does not have is unauthorized. While it cannot be asked,
// or not so often, nobody can tell: that is unavailable, and the client tries
// again later. Tokens of keys that are known are good all the while.
func publishedKeys(ctx context.Context, url string) (middleware.KeyFunc, error) {
	set, err := keyfunc.NewDefaultOverrideCtx(ctx, []string{url}, keyfunc.Override{
		HTTPTimeout:       5 * time.Second,
		RefreshInterval:   time.Hour,
		RefreshUnknownKID: rate.NewLimiter(rate.Every(time.Minute), 2),
		RateLimitWaitMax:  5 * time.Second, // for the limiter and the fetch together
		RefreshErrorHandlerFunc: func(string) func(context.Context, error) {
			return func(ctx context.Context, err error) {
				if failure, ok := ctx.Value(fetchFailure{}).(*error); ok {
					*failure = err
				}
			}
		},
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, t *jwt.Token) (any, error) {
		kid, ok := t.Header["kid"].(string)
		if !ok {
			return nil, errors.New("the token has no kid")
		}
		var failure error
		_, err := set.Storage().KeyRead(context.WithValue(ctx, fetchFailure{}, &failure), kid)
		switch {
		case failure != nil: // the issuer cannot be reached
			return nil, &heymanito.Error{Code: heymanito.CodeUnavailable, Err: failure, RetryAfter: 10 * time.Second}
		case errors.Is(err, jwkset.ErrKeyNotFound): // the issuer says so
			return nil, err
		case err != nil: // it was asked often enough
			return nil, &heymanito.Error{Code: heymanito.CodeUnavailable, Err: err, RetryAfter: time.Minute}
		}
		return set.KeyfuncCtx(ctx)(t) // which sees to what the key is meant for
	}, nil
}

// The issuer changes its key while the program runs, and then goes down.
func Example() {
	issuer := newIssuer()
	defer issuer.Close()
	issuer.publish("2026-01")

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	keys, err := publishedKeys(ctx, issuer.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	tokens := middleware.NewJWT(keys, middleware.WithIssuer("https://login.example"))

	try := func(kid string) {
		auth, _ := json.Marshal(map[string]string{"token": issuer.token(kid)})
		id, err := tokens.Auth(ctx, heymanito.Handshake{UserID: "ana", Auth: auth})
		if e, ok := errors.AsType[*heymanito.Error](err); ok {
			fmt.Println(kid, e.Code)
			return
		}
		fmt.Println(kid, id.ChatPath)
	}
	try("2026-01")
	issuer.publish("2026-02") // a new key, and the old one is no good any more
	try("2026-02")
	try("2026-01")
	issuer.Close()
	try("2026-03")
	try("2026-02")
	// Output:
	// 2026-01 ana
	// 2026-02 ana
	// 2026-01 unauthorized
	// 2026-03 unavailable
	// 2026-02 ana
}
