package middleware_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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
