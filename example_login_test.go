package heymanito_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/heymanitotest"
)

// The auth hook says who a client is. Browsers send their token in the CONNECT
// packet: io(url, {auth: {token}, query: {userId}}). For JSON Web Tokens there is
// one in package middleware.
func ExampleWithAuth() {
	sessions := map[string]string{"s3cret": "ann"} // token → chatPath
	auth := func(_ context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
		var a struct {
			Token string `json:"token"`
		}
		if h.Auth == nil || json.Unmarshal(h.Auth, &a) != nil {
			return heymanito.Identity{}, heymanito.Errorf(heymanito.CodeUnauthorized, "there is no token")
		}
		user, ok := sessions[a.Token]
		if !ok {
			return heymanito.Identity{}, heymanito.Errorf(heymanito.CodeUnauthorized, "the token is not valid")
		}
		return heymanito.Identity{ChatPath: user}, nil
	}
	rt := heymanito.New(quiet, heymanito.WithAuth(auth))
	app := serve(rt)
	defer app.close()

	fmt.Println("ann, with her token:", app.connect("ann", heymanitotest.Token("s3cret")).Ask("getCalls").Status)
	fmt.Println("ann, with a guess:", app.refused("ann", heymanitotest.Token("guessed")))
	fmt.Println("ann, without one:", app.refused("ann"))
	fmt.Println("bob, with hers:", app.refused("bob", heymanitotest.Token("s3cret")))
	// Output:
	// ann, with her token: ok
	// ann, with a guess: unauthorized
	// ann, without one: unauthorized
	// bob, with hers: identity_mismatch
}

// Until when an identity holds is the auth hook's to say. The device is told in
// time, sends what proves it anew, and stays connected; the same hook is asked.
func ExampleWithExpiryNotice() {
	auth := func(_ context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
		if h.Refresh {
			fmt.Println("asked again, with", string(h.Auth)) // and without the headers of h.Request
		}
		return heymanito.Identity{ChatPath: h.UserID, Expires: time.Now().Add(5 * time.Minute)}, nil
	}
	rt := heymanito.New(quiet, heymanito.WithAuth(auth), heymanito.WithExpiryNotice(10*time.Minute))
	app := serve(rt)
	defer app.close()

	ann := app.connect("ann", heymanitotest.Token("the old one"))
	var expiring struct{ ExpiresInMs int64 }
	ann.Expect("authExpiring").Into(app.t, 0, &expiring)
	fmt.Println("ann is told:", time.Duration(expiring.ExpiresInMs)*time.Millisecond > 4*time.Minute)
	fmt.Println("ann is answered:", ann.Ask("refreshAuth", map[string]string{"token": "the new one"}).Status)
	// Output:
	// ann is told: true
	// asked again, with {"token":"the new one"}
	// ann is answered: ok
}

// While the login service cannot be asked nobody can tell who a client is: then it
// is to come again, and not to give up.
func ExampleError() {
	errDown := errors.New("login.internal: connection refused")
	rt := heymanito.New(quiet, heymanito.WithAuth(func(context.Context, heymanito.Handshake) (heymanito.Identity, error) {
		return heymanito.Identity{}, &heymanito.Error{Code: heymanito.CodeUnavailable, RetryAfter: 10 * time.Second, Err: errDown}
	}))
	app := serve(rt)
	defer app.close()

	code := app.refused("ann")
	fmt.Println(code, (&heymanito.Error{Code: code}).Retryable())
	// Output: unavailable true
}

// What a hook returns is what the client is told: a code to act upon, and words for
// its developer. A cause that is in the words can be read by everybody.
func ExampleErrorf() {
	err := heymanito.Errorf(heymanito.CodeForbidden, "%s takes no messages at night", "bob")
	fmt.Println(err.Code, "|", err.Message, "|", err.Retryable())

	cause := errors.New("disk full")
	err = &heymanito.Error{Code: heymanito.CodeUnavailable, Err: cause} // not for the client
	fmt.Println(err, errors.Is(err, cause), err.Unwrap() == cause)
	// Output:
	// forbidden | bob takes no messages at night | false
	// heymanito: unavailable: disk full true true
}

// Names that users may choose have to be chatPaths.
func ExampleValidChatPath() {
	fmt.Println(heymanito.ValidChatPath("users/ann"), heymanito.ValidChatPath("ana maría"), heymanito.ValidChatPath("ann\n"))
	// Output: true true false
}
