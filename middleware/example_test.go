package middleware_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/middleware"
)

// A host's REST API, and what it says to three of its callers.
func ExampleJWT_Handler() {
	secret := []byte("32 or more random bytes, from a secret store")
	tokens := middleware.NewJWT(middleware.HMAC(secret), middleware.WithAudience("chat"))

	api := http.NewServeMux()
	api.HandleFunc("GET /me", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "you are %s, %s", middleware.ChatPath(r.Context()), middleware.Claims(r.Context())["role"])
	})
	handler := tokens.Handler(api) // with chi: router.Use(tokens.Handler)

	get := func(token string) {
		r := httptest.NewRequest(http.MethodGet, "/me", nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}

	claims := jwt.MapClaims{"sub": "ana", "role": "admin", "aud": "chat", "exp": time.Now().Add(time.Hour).Unix()}
	token, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	get(token)

	claims["aud"] = "newsletter"
	token, _ = jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	get(token)

	get("undefined")
	// Output:
	// 200 you are ana, admin
	// 401 {"code":"unauthorized","message":"the token is for another audience: aud must have \"chat\""}
	// 401 {"code":"unauthorized","message":"the token is the word \"undefined\": the client had none when it connected"}
}

// One configuration for both doors of a host: its REST API, and its realtime
// server, to which a browser brings the token in the auth object of the
// Socket.IO client: io(url, {query: {userId: "ana"}, auth: {token}}).
func Example() {
	secret := []byte("32 or more random bytes, from a secret store")
	tokens := middleware.NewJWT(middleware.HMAC(secret))

	api := http.NewServeMux()
	api.HandleFunc("GET /api/me", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "you are ", middleware.ChatPath(r.Context()))
	})
	rt := heymanito.New(heymanito.WithAuth(tokens.Auth))
	defer rt.Shutdown(context.Background())

	mux := http.NewServeMux()
	mux.Handle("/api/", tokens.Handler(api))
	mux.Handle("/socket.io/", rt) // asks tokens.Auth itself: not behind tokens.Handler
	srv := httptest.NewServer(mux)
	defer srv.Close()

	claims := jwt.MapClaims{"sub": "ana", "exp": time.Now().Add(time.Hour).Unix()}
	token, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	r, _ := http.NewRequest(http.MethodGet, srv.URL+"/api/me", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := srv.Client().Do(r)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(body))
	// Output: 200 you are ana
}

// Auth is an AuthFunc; it can be called from another one, or from a test.
func ExampleJWT_Auth() {
	secret := []byte("32 or more random bytes, from a secret store")
	tokens := middleware.NewJWT(middleware.HMAC(secret), middleware.WithChatPathClaim("chatPath"))
	var auth heymanito.AuthFunc = tokens.Auth

	claims := jwt.MapClaims{"sub": "4711", "chatPath": "ana", "exp": time.Now().Add(time.Hour).Unix()}
	token, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	payload, _ := json.Marshal(map[string]string{"token": token})

	id, err := auth(context.Background(), heymanito.Handshake{UserID: "ana", Auth: payload})
	fmt.Println(id.ChatPath, time.Until(id.Expires).Round(time.Minute), err)

	_, err = auth(context.Background(), heymanito.Handshake{UserID: "ana"})
	fmt.Println(err)
	// Output:
	// ana 1h0m0s <nil>
	// heymanito: unauthorized: there is no token: send it in the header "Authorization: Bearer …" or, on a realtime connection, as "token" in the client's auth object
}

// A key function of the host's own: keys that are changed are told apart by
// the kid in the token's header. Look it up, never make a path or URL of it.
func ExampleKeyFunc() {
	keys := map[string][]byte{
		"2025": []byte("last year's secret, until its tokens expire"),
		"2026": []byte("this year's secret, 32 random bytes or more"),
	}
	tokens := middleware.NewJWT(func(_ context.Context, t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		if key, ok := keys[kid]; ok {
			return key, nil
		}
		return nil, fmt.Errorf("no key has the kid %q", kid)
	})

	for _, kid := range []string{"2026", "1999"} {
		t := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "ana", "exp": time.Now().Add(time.Hour).Unix()})
		t.Header["kid"] = kid
		token, _ := t.SignedString(keys["2026"])
		payload, _ := json.Marshal(map[string]string{"token": token})
		id, err := tokens.Auth(context.Background(), heymanito.Handshake{Auth: payload})
		fmt.Printf("%q %v\n", id.ChatPath, err)
	}
	// Output:
	// "ana" <nil>
	// "" heymanito: unauthorized: the server has no key for this token: the key is unknown (kid) or has been retired: no key has the kid "1999"
}

// A browser that logged in with the host's REST API has its token in a cookie,
// which its pages cannot read. Those of others cannot use it.
func ExampleWithCookie() {
	secret := []byte("32 or more random bytes, from a secret store")
	tokens := middleware.NewJWT(middleware.HMAC(secret), middleware.WithCookie("__Host-session"))
	api := tokens.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "the account of ", middleware.ChatPath(r.Context()), " is closed")
	}))
	claims := jwt.MapClaims{"sub": "ana", "exp": time.Now().Add(time.Hour).Unix()}
	token, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)

	for _, site := range []string{"same-origin", "cross-site"} {
		r := httptest.NewRequest(http.MethodPost, "/close", nil)
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: token}) // set with Secure, HttpOnly, SameSite=Lax, Path=/
		r.Header.Set("Sec-Fetch-Site", site)                            // browsers do
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 the account of ana is closed
	// 403 {"code":"forbidden","message":"a page of another site has made this request, with a cookie for a token: send the token in the Authorization header or the auth object, or list the page's origin in middleware.WithCookie"}
}

// For a client that can set neither a header nor the auth object. The URL will be
// in logs: the token should be good for a minute only.
func ExampleWithQueryToken() {
	secret := []byte("32 or more random bytes, from a secret store")
	tokens := middleware.NewJWT(middleware.HMAC(secret), middleware.WithQueryToken("access_token"))
	claims := jwt.MapClaims{"sub": "ana", "exp": time.Now().Add(time.Minute).Unix()}
	token, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)

	r := httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport=websocket&userId=ana&access_token="+token, nil)
	id, err := tokens.Auth(context.Background(), heymanito.Handshake{Request: r, UserID: "ana"})
	fmt.Println(id.ChatPath, err)
	// Output: ana <nil>
}

// What goes in front of the realtime server: the log is told what the limit and
// the server refuse.
func Example_inFront() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{} // for this example
		}
		return a
	}}))
	rt := heymanito.New(heymanito.WithLogger(slog.New(slog.DiscardHandler)))
	defer rt.Shutdown(context.Background())

	handler := middleware.SecurityLog(log)(middleware.HandshakeLimit(60, 1)(rt))

	for range 2 {
		r := httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=2", nil)
		r.RemoteAddr = "203.0.113.9:4000"
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Println(w.Body)
	}
	// Output:
	// level=INFO msg="a request was refused" remote=203.0.113.9:4000 method=GET path=/socket.io/ status=400 code=5
	// {"code":5,"message":"Unsupported protocol version"}
	// level=INFO msg="a request was refused" remote=203.0.113.9:4000 method=GET path=/socket.io/ status=429 code=rate_limited
	// {"code":3,"message":"rate_limited: too many new connections from this address"}
}

// With burst 2 the third connection of an address has to wait.
func ExampleHandshakeLimit() {
	limit := middleware.HandshakeLimit(20, 2)
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", limit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "welcome") // the realtime server
	})))
	for range 3 {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport=websocket&userId=ana", nil))
		fmt.Println(w.Code, w.Body, w.Header()["Retry-After"])
	}
	// Output:
	// 200 welcome []
	// 200 welcome []
	// 429 {"code":3,"message":"rate_limited: too many new connections from this address"} [3]
}

// A token that is no good leaves a line without it.
func ExampleSecurityLog() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{} // for this example
		}
		return a
	}}))
	tokens := middleware.NewJWT(middleware.HMAC([]byte("32 or more random bytes, from a secret store")))
	api := middleware.SecurityLog(log)(tokens.Handler(http.NotFoundHandler()))

	r := httptest.NewRequest(http.MethodGet, "/api/me?token=secret", nil)
	r.RemoteAddr = "203.0.113.9:4000"
	r.Header.Set("User-Agent", "curl/8.1")
	r.Header.Set("Authorization", "Bearer secret")
	api.ServeHTTP(httptest.NewRecorder(), r)
	// Output:
	// level=INFO msg="a request was refused" remote=203.0.113.9:4000 method=GET path=/api/me status=401 code=unauthorized userAgent=curl/8.1
}

// Behind a proxy that always sets X-Real-IP, and only there. The realtime server
// gets the same function, in heymanito.WithRemoteAddr.
func ExampleWithRemoteAddr() {
	realIP := func(r *http.Request) string { return r.Header.Get("X-Real-IP") }
	limit := middleware.HandshakeLimit(60, 1, middleware.WithRemoteAddr(realIP))
	handler := limit(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) // the realtime server

	for _, client := range []string{"203.0.113.9", "203.0.113.10", "203.0.113.9"} {
		r := httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport=polling&userId=ana", nil)
		r.Header.Set("X-Real-IP", client)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Println(client, w.Code)
	}
	// Output:
	// 203.0.113.9 200
	// 203.0.113.10 200
	// 203.0.113.9 429
}

// A secret is changed without logging anybody out: tokens of the old one are good
// until the last of them has expired, and then it goes.
func ExampleHMAC() {
	previous, current := []byte("last year's secret, which is 32 bytes or more"), []byte("this year's secret, which is 32 bytes or more")
	tokens := middleware.NewJWT(middleware.HMAC(current, previous))

	for _, secret := range [][]byte{current, previous, []byte("a guess that is long enough to be a secret")} {
		claims := jwt.MapClaims{"sub": "ana", "exp": time.Now().Add(time.Hour).Unix()}
		token, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
		payload, _ := json.Marshal(map[string]string{"token": token})
		id, err := tokens.Auth(context.Background(), heymanito.Handshake{UserID: "ana", Auth: payload})
		if e, refused := errors.AsType[*heymanito.Error](err); refused {
			fmt.Println(e.Message)
			continue
		}
		fmt.Println(id.ChatPath, "is in")
	}
	// Output:
	// ana is in
	// ana is in
	// the token's signature does not match: it was altered, or signed with a key that is not this server's
}

// Tokens of a login service, which signs them with a private key that this program
// does not have. From PEM it is jwt.ParseEdPublicKeyFromPEM.
func ExamplePublicKeys() {
	public, private, _ := ed25519.GenerateKey(nil)
	tokens := middleware.NewJWT(middleware.PublicKeys(public),
		middleware.WithIssuer("https://login.example.com"),
		middleware.WithAudience("chat"),
		middleware.WithLeeway(30*time.Second), // its clock may be that far ahead
		middleware.WithLogger(slog.New(slog.DiscardHandler)),
	)

	for _, issuer := range []string{"https://login.example.com", "https://login.example.org"} {
		claims := jwt.MapClaims{
			"iss": issuer, "aud": "chat", "sub": "ana",
			"nbf": time.Now().Add(10 * time.Second).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		}
		token, _ := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims).SignedString(private)
		payload, _ := json.Marshal(map[string]string{"token": token})
		id, err := tokens.Auth(context.Background(), heymanito.Handshake{UserID: "ana", Auth: payload})
		if e, refused := errors.AsType[*heymanito.Error](err); refused {
			fmt.Println(e.Message)
			continue
		}
		fmt.Println(id.ChatPath, "is in")
	}
	// Output:
	// ana is in
	// the token has the wrong issuer: iss must be "https://login.example.com"
}

// Tokens without an end, for a device that cannot log in again. Whoever gets hold
// of one is in until the key is changed.
func ExampleInsecureAllowNoExpiry() {
	secret := []byte("32 or more random bytes, from a secret store")
	token, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "sensor-7"}).SignedString(secret)
	payload, _ := json.Marshal(map[string]string{"token": token})

	tokens := middleware.NewJWT(middleware.HMAC(secret), middleware.InsecureAllowNoExpiry())
	id, err := tokens.Auth(context.Background(), heymanito.Handshake{UserID: "sensor-7", Auth: payload})
	fmt.Println(id.ChatPath, id.Expires.IsZero(), err)
	// Output: sensor-7 true <nil>
}
