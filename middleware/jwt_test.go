package middleware_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/middleware"
)

var (
	_ heymanito.AuthFunc              = (*middleware.JWT)(nil).Auth
	_ func(http.Handler) http.Handler = (*middleware.JWT)(nil).Handler // what chi's Use takes
)

var (
	secret      = []byte("0123456789abcdef0123456789abcdef")
	otherSecret = []byte("another secret, as long as it has to be")
)

// quiet is for tests that make Handler log.
var quiet = middleware.WithLogger(slog.New(slog.DiscardHandler))

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

var ecKeys = sync.OnceValue(func() map[string]*ecdsa.PrivateKey {
	return map[string]*ecdsa.PrivateKey{
		"ES256": must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"ES384": must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"ES512": must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
	}
})

var edKey = sync.OnceValue(func() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(secret) })

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// goodClaims are what every test starts from.
func goodClaims() jwt.MapClaims {
	now := time.Now()
	return jwt.MapClaims{
		"sub": "ana",
		"iss": "https://login.example",
		"aud": []string{"shop", "chat"},
		"iat": now.Unix(),
		"nbf": now.Unix(),
		"exp": now.Add(time.Hour).Unix(),
	}
}

// with returns goodClaims with one of them changed, or taken out (nil).
func with(name string, value any) jwt.MapClaims {
	c := goodClaims()
	c[name] = value
	if value == nil {
		delete(c, name)
	}
	return c
}

func sign(alg string, key any, claims jwt.MapClaims, header ...string) string {
	t := jwt.NewWithClaims(jwt.GetSigningMethod(alg), claims)
	for i := 0; i < len(header); i += 2 {
		t.Header[header[i]] = header[i+1]
	}
	return must(t.SignedString(key))
}

// segments makes a token of the texts of its parts.
func segments(parts ...string) string {
	for i, p := range parts {
		parts[i] = base64.RawURLEncoding.EncodeToString([]byte(p))
	}
	return strings.Join(parts, ".")
}

func payload(t testing.TB, token any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(map[string]any{"token": token, "deviceId": "d1"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// handshake is one whose request has these Authorization headers.
func handshake(auth json.RawMessage, authorization ...string) heymanito.Handshake {
	r := httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport=websocket&userId=ana", nil)
	for _, a := range authorization {
		r.Header.Add("Authorization", a)
	}
	return heymanito.Handshake{Request: r, Query: r.URL.Query(), UserID: "ana", Auth: auth}
}

// serve sends a request with these Authorization headers through Handler and
// returns the answer and the user that the handler behind it saw.
func serve(j *middleware.JWT, authorization ...string) (*httptest.ResponseRecorder, string) {
	seen := ""
	h := j.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = middleware.ChatPath(r.Context())
	}))
	r := httptest.NewRequest(http.MethodGet, "/api/chats", nil)
	for _, a := range authorization {
		r.Header.Add("Authorization", a)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w, seen
}

// wantRefused checks that err is what a client may be told: the code, words
// that say what to do ("": the code's own), and not the token.
func wantRefused(t *testing.T, err error, code heymanito.Code, words, token string) {
	t.Helper()
	var e *heymanito.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %T (%v), want a *heymanito.Error", err, err)
	}
	if e.Code != code {
		t.Errorf("code = %q, want %q (%v)", e.Code, code, e)
	}
	if !strings.Contains(e.Message, words) || words == "" && e.Message != "" {
		t.Errorf("message = %q, want it to say %q", e.Message, words)
	}
	all := e.Message + fmt.Sprintf("%v %+v", err, e.Err)
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 15 && strings.Contains(all, part) {
			t.Errorf("the error has a part of the token in it: %.300s", all)
		}
	}
	if strings.Contains(all, string(secret)) {
		t.Errorf("the error has the secret in it: %s", all)
	}
}

func TestOneTokenOpensBothDoors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := middleware.NewJWT(middleware.HMAC(secret))
		token := sign("HS256", secret, goodClaims())

		w, user := serve(tokens, "Bearer "+token)
		if w.Code != http.StatusOK || user != "ana" {
			t.Errorf("HTTP: %d for user %q, want 200 for ana: %s", w.Code, user, w.Body)
		}
		for name, h := range map[string]heymanito.Handshake{
			"header":                  handshake(nil, "Bearer "+token),
			"lower-case bearer":       handshake(nil, "bearer  "+token),
			"payload":                 handshake(payload(t, token)),
			"payload with Bearer":     handshake(payload(t, "Bearer "+token)),
			"both, the same":          handshake(payload(t, token), "Bearer "+token),
			"a password for a proxy":  handshake(payload(t, token), "Basic YTpi"),
			"header, payload null":    handshake(payload(t, nil), "Bearer "+token),
			"header, payload without": handshake(json.RawMessage(`{"deviceId":"d1"}`), "Bearer "+token),
			"empty header":            handshake(payload(t, token), "Bearer"),
			"no request":              {Auth: payload(t, token)},
		} {
			id, err := tokens.Auth(t.Context(), h)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if id.ChatPath != "ana" || !id.Expires.Equal(time.Now().Add(time.Hour)) {
				t.Errorf("%s: %q until %v, want ana for an hour", name, id.ChatPath, id.Expires)
			}
			if c, ok := id.Claims.(jwt.MapClaims); !ok || c["iss"] != "https://login.example" {
				t.Errorf("%s: claims = %#v", name, id.Claims)
			}
		}
	})
}

// family is a key and the algorithms that it verifies.
type family struct {
	algorithms   string
	sign, verify any
}

func families() []family {
	ec := ecKeys()
	return []family{
		{"HS256 HS384 HS512", secret, secret},
		{"RS256 RS384 RS512 PS256 PS384 PS512", rsaKey(), &rsaKey().PublicKey},
		{"ES256", ec["ES256"], &ec["ES256"].PublicKey},
		{"ES384", ec["ES384"], &ec["ES384"].PublicKey},
		{"ES512", ec["ES512"], &ec["ES512"].PublicKey},
		{"EdDSA", edKey(), edKey().Public()},
	}
}

// keyed is a KeyFunc that returns this key for every token.
func keyed(key any) middleware.KeyFunc {
	return func(context.Context, *jwt.Token) (any, error) { return key, nil }
}

func TestTheKeyDecidesTheAlgorithm(t *testing.T) {
	for _, signer := range families() {
		for alg := range strings.FieldsSeq(signer.algorithms) {
			token := sign(alg, signer.sign, goodClaims())
			for _, verifier := range families() {
				id, err := middleware.NewJWT(keyed(verifier.verify)).Auth(t.Context(), handshake(payload(t, token)))
				if verifier.algorithms == signer.algorithms {
					if err != nil || id.ChatPath != "ana" {
						t.Errorf("%s with its own key: %q, %v", alg, id.ChatPath, err)
					}
					continue
				}
				wantRefused(t, err, heymanito.CodeUnauthorized, "the token is signed with "+alg+", but its key is for", token)
			}
		}
	}
}

// With several keys, each is tried for the algorithms of its own type only.
func TestSeveralKeys(t *testing.T) {
	var all jwt.VerificationKeySet
	for _, f := range families() {
		all.Keys = append(all.Keys, f.verify)
	}
	tokens := middleware.NewJWT(keyed(all))
	for _, f := range families() {
		for alg := range strings.FieldsSeq(f.algorithms) {
			if _, err := tokens.Auth(t.Context(), handshake(payload(t, sign(alg, f.sign, goodClaims())))); err != nil {
				t.Errorf("%s: %v", alg, err)
			}
		}
	}

	rotated := middleware.NewJWT(middleware.HMAC(otherSecret, secret))
	for _, s := range [][]byte{secret, otherSecret} {
		if _, err := rotated.Auth(t.Context(), handshake(payload(t, sign("HS256", s, goodClaims())))); err != nil {
			t.Errorf("HMAC(new, old): %v", err)
		}
	}
	both := middleware.NewJWT(middleware.PublicKeys(&rsaKey().PublicKey, edKey().Public()))
	for alg, key := range map[string]any{"PS256": rsaKey(), "EdDSA": edKey()} {
		if _, err := both.Auth(t.Context(), handshake(payload(t, sign(alg, key, goodClaims())))); err != nil {
			t.Errorf("PublicKeys, %s: %v", alg, err)
		}
	}
}

// publicForms are what an attacker may use as an HMAC secret when he knows a
// public key.
func publicForms(key any) map[string][]byte {
	der := must(x509.MarshalPKIXPublicKey(key))
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	forms := map[string][]byte{
		"PEM":                  block,
		"PEM, no last newline": []byte(strings.TrimSpace(string(block))),
		"PEM, CRLF":            []byte(strings.ReplaceAll(string(block), "\n", "\r\n")),
		"PEM from a .env file": []byte(strings.ReplaceAll(string(block), "\n", `\n`)),
		"DER":                  der,
		"DER and a newline":    append(slices.Clip(der), '\n'),
		"base64 DER":           []byte(base64.StdEncoding.EncodeToString(der)),
		"base64url DER":        []byte(base64.RawURLEncoding.EncodeToString(der) + "\n"),
		"hex DER":              fmt.Appendf(nil, "%x", der),
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		forms["modulus"] = k.N.Bytes()
		forms["modulus with sign byte"] = append([]byte{0}, k.N.Bytes()...)
		forms["decimal modulus"] = []byte(k.N.String())
		forms["hex modulus"] = fmt.Appendf(nil, "%x", k.N)
		forms["JWK"] = fmt.Appendf(nil, `{"kty":"RSA","e":"AQAB","n":%q}`, base64.RawURLEncoding.EncodeToString(k.N.Bytes()))
		pkcs1 := x509.MarshalPKCS1PublicKey(k)
		forms["PKCS 1"] = pkcs1
		forms["PKCS 1 PEM"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1})
	case *ecdsa.PublicKey:
		forms["point"] = must(k.Bytes())
	case ed25519.PublicKey:
		forms["raw"] = k
	}
	return forms
}

func TestPublicKeyAsSecret(t *testing.T) {
	for _, f := range families()[1:] {
		for form, bytes := range publicForms(f.verify) {
			for _, alg := range []string{"HS256", "HS384", "HS512"} {
				token := sign(alg, bytes, goodClaims())
				// The host returns the parsed key: an HS token has no business with it.
				_, err := middleware.NewJWT(keyed(f.verify)).Auth(t.Context(), handshake(payload(t, token)))
				wantRefused(t, err, heymanito.CodeUnauthorized, "the token is signed with "+alg, token)
				if t.Failed() {
					t.Fatalf("%s of the key for %s as the secret of %s", form, f.algorithms, alg)
				}
			}
			// The host returns the file as it read it: it is told so. Bare numbers
			// cannot be told from random bytes.
			switch form {
			case "modulus", "modulus with sign byte", "decimal modulus", "hex modulus", "point", "raw":
				continue
			}
			token := sign("HS256", bytes, goodClaims())
			_, err := middleware.NewJWT(keyed(bytes)).Auth(t.Context(), handshake(payload(t, token)))
			wantRefused(t, err, heymanito.CodeInternal, "", token)
			if cause := errors.Unwrap(err); cause == nil || !strings.Contains(cause.Error(), "not a secret: everyone can sign with it") {
				t.Errorf("%s of the key for %s returned as a []byte: the log says %v", form, f.algorithms, cause)
			}
			wantPanic(t, "not a secret: everyone can sign with it", func() { middleware.HMAC(bytes) })
		}
	}
}

func TestKeysThatMustNotBeUsed(t *testing.T) {
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	var nilError *heymanito.Error
	token := sign("HS256", secret, goodClaims())
	for name, c := range map[string]struct {
		key   any
		cause string
	}{
		"short secret":        {secret[:31], "an HMAC secret of 31 bytes, it must have at least 32 random ones (openssl rand 32)"},
		"empty secret":        {[]byte{}, "an HMAC secret of 0 bytes"},
		"nil secret":          {[]byte(nil), "an HMAC secret of 0 bytes"},
		"string":              {string(secret), "a string as key"},
		"weak RSA":            {&weak.PublicKey, "an RSA key of 1024 bits"},
		"nil RSA":             {(*rsa.PublicKey)(nil), "a nil *rsa.PublicKey"},
		"empty RSA":           {&rsa.PublicKey{}, "a nil *rsa.PublicKey"},
		"nil ECDSA":           {(*ecdsa.PublicKey)(nil), "a nil *ecdsa.PublicKey"},
		"empty ECDSA":         {&ecdsa.PublicKey{}, "a nil *ecdsa.PublicKey"},
		"P-224":               {&p224.PublicKey, "a curve that is not"},
		"short Ed25519":       {ed25519.PublicKey{1, 2, 3}, "an Ed25519 public key of 3 bytes"},
		"private RSA":         {rsaKey(), "a private key (*rsa.PrivateKey)"},
		"private ECDSA":       {ecKeys()["ES256"], "a private key (*ecdsa.PrivateKey)"},
		"private Ed25519":     {edKey(), "a private key (ed25519.PrivateKey)"},
		"RSA by value":        {rsaKey().PublicKey, "a key of type rsa.PublicKey"},
		"the word for none":   {jwt.UnsafeAllowNoneSignatureType, "a key of type jwt.unsafeNoneMagicConstant"},
		"one bad among good":  {jwt.VerificationKeySet{Keys: []jwt.VerificationKey{secret, secret[:8]}}, "an HMAC secret of 8 bytes"},
		"SSH":                 {[]byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChrMgDSNwSn1vHzCF5VEcvxtKx4hRQFTQvjZFBAc ana@host"), "an OpenSSH public key"},
		"a typed nil for err": {nilError, "a nil *heymanito.Error"},
	} {
		t.Run(name, func(t *testing.T) {
			tokens := middleware.NewJWT(func(context.Context, *jwt.Token) (any, error) {
				if c.key == nilError {
					return secret, nilError
				}
				return c.key, nil
			}, quiet)
			_, err := tokens.Auth(t.Context(), handshake(payload(t, token)))
			wantRefused(t, err, heymanito.CodeInternal, "", token)
			if cause := errors.Unwrap(err); cause == nil || !strings.Contains(cause.Error(), c.cause) {
				t.Errorf("the log says %v, want %q", cause, c.cause)
			}
			if w, user := serve(tokens, "Bearer "+token); w.Code != http.StatusInternalServerError || user != "" {
				t.Errorf("HTTP: %d for user %q, want 500: %s", w.Code, user, w.Body)
			}
		})
	}
}

func wantPanic(t *testing.T, words string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), words) {
			t.Errorf("panic = %v, want it to say %q", r, words)
		} else if strings.Contains(fmt.Sprint(r), string(secret[:20])) {
			t.Errorf("the panic has the secret in it: %v", r)
		}
	}()
	f()
}

func TestWrongLiteralsPanic(t *testing.T) {
	wantPanic(t, "the KeyFunc is nil", func() { middleware.NewJWT(nil) })
	wantPanic(t, "middleware.HMAC: there is no key", func() { middleware.HMAC() })
	wantPanic(t, "middleware.HMAC: an HMAC secret of 20 bytes, it must have at least 32", func() { middleware.HMAC(secret[:20]) })
	wantPanic(t, "an HMAC secret of 20 bytes", func() { middleware.HMAC(secret, secret[:20]) })
	wantPanic(t, "middleware.PublicKeys: there is no key", func() { middleware.PublicKeys() })
	wantPanic(t, "use middleware.HMAC", func() { middleware.PublicKeys(secret) })
	wantPanic(t, "its public half", func() { middleware.PublicKeys(rsaKey()) })
	wantPanic(t, "the issuer is empty", func() { middleware.WithIssuer("") })
	wantPanic(t, "no audience", func() { middleware.WithAudience() })
	wantPanic(t, "an empty one", func() { middleware.WithAudience("chat", "") })
	wantPanic(t, "the name is empty", func() { middleware.WithChatPathClaim("") })
	wantPanic(t, "the logger is nil", func() { middleware.WithLogger(nil) })
	wantPanic(t, "negative", func() { middleware.WithLeeway(-time.Second) })
	for _, name := range []string{"", " a", "a b", "a=b", "a;b", "ñ"} {
		wantPanic(t, "cannot be the name of a cookie", func() { middleware.WithCookie(name) })
	}
	for _, origin := range []string{"", "null", "*", "app.example.com", "https://", "https://app.example.com/", "%zz"} {
		wantPanic(t, "write scheme://host[:port]", func() { middleware.WithCookie("session", origin) })
	}
	for _, name := range []string{"", "EIO", "sid", "userId"} {
		wantPanic(t, "choose another name", func() { middleware.WithQueryToken(name) })
	}
	wantPanic(t, "perMinute is 0", func() { middleware.HandshakeLimit(0, 1) })
	wantPanic(t, "burst is -1", func() { middleware.HandshakeLimit(1, -1) })
	wantPanic(t, "perMinute is 1000001", func() { middleware.HandshakeLimit(1_000_001, 1) })
	wantPanic(t, "the function is nil", func() { middleware.WithRemoteAddr(nil) })
	wantPanic(t, "the logger is nil", func() { middleware.SecurityLog(nil) })
}

// A secret that is wiped after it was given to HMAC still verifies.
func TestHMACKeepsItsOwnCopy(t *testing.T) {
	s := []byte(string(secret))
	tokens := middleware.NewJWT(middleware.HMAC(s))
	clear(s)
	if _, err := tokens.Auth(t.Context(), handshake(payload(t, sign("HS256", secret, goodClaims())))); err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
		for name, c := range map[string]struct {
			opts   []middleware.JWTOption
			claims jwt.MapClaims
			user   string // "" for refused
		}{
			"default leeway, nbf":        {nil, with("nbf", in(5*time.Second)), "ana"},
			"default leeway, iat":        {nil, with("iat", in(5*time.Second)), "ana"},
			"beyond the default leeway":  {nil, with("nbf", in(6*time.Second)), ""},
			"no leeway, nbf":             {[]middleware.JWTOption{middleware.WithLeeway(0)}, with("nbf", in(time.Second)), ""},
			"no leeway, iat":             {[]middleware.JWTOption{middleware.WithLeeway(0)}, with("iat", in(time.Second)), ""},
			"a minute of leeway":         {[]middleware.JWTOption{middleware.WithLeeway(time.Minute)}, with("nbf", in(time.Minute)), "ana"},
			"never for exp":              {[]middleware.JWTOption{middleware.WithLeeway(time.Minute)}, with("exp", in(0)), ""},
			"no nbf, no iat":             {nil, jwt.MapClaims{"sub": "ana", "exp": in(time.Second)}, "ana"},
			"iss and aud not looked at":  {nil, jwt.MapClaims{"sub": "ana", "exp": in(time.Second), "iss": 1, "aud": 2}, "ana"},
			"another claim":              {[]middleware.JWTOption{middleware.WithChatPathClaim("chat_path")}, with("chat_path", "ana/1"), "ana/1"},
			"another claim, not there":   {[]middleware.JWTOption{middleware.WithChatPathClaim("chat_path")}, goodClaims(), ""},
			"without exp":                {[]middleware.JWTOption{middleware.InsecureAllowNoExpiry()}, with("exp", nil), "ana"},
			"without exp, with an old":   {[]middleware.JWTOption{middleware.InsecureAllowNoExpiry()}, with("exp", in(-time.Second)), ""},
			"without exp, with exp 0":    {[]middleware.JWTOption{middleware.InsecureAllowNoExpiry()}, with("exp", 0), ""},
			"without exp, with exp null": {[]middleware.JWTOption{middleware.InsecureAllowNoExpiry()}, with("exp", json.RawMessage("null")), ""},
		} {
			tokens := middleware.NewJWT(middleware.HMAC(secret), c.opts...)
			id, err := tokens.Auth(t.Context(), handshake(payload(t, sign("HS256", secret, c.claims))))
			if id.ChatPath != c.user || (err == nil) != (c.user != "") {
				t.Errorf("%s: %q, %v; want %q", name, id.ChatPath, err, c.user)
			}
			if _, hasExp := c.claims["exp"]; !hasExp && !id.Expires.IsZero() {
				t.Errorf("%s: expires %v, want never", name, id.Expires)
			}
		}
	})
}

// A token is good until its exp and not a moment longer.
func TestExpiryIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := middleware.NewJWT(middleware.HMAC(secret))
		h := handshake(payload(t, sign("HS256", secret, goodClaims())))
		id, err := tokens.Auth(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Until(id.Expires) - time.Nanosecond) // the bubble's time
		if _, err := tokens.Auth(t.Context(), h); err != nil {
			t.Errorf("a nanosecond before exp: %v", err)
		}
		<-time.After(time.Nanosecond)
		_, err = tokens.Auth(t.Context(), h)
		wantRefused(t, err, heymanito.CodeUnauthorized, "the token expired at", "")
	})
}

// Big numbers in claims are not rounded.
func TestClaimsKeepNumbers(t *testing.T) {
	tokens := middleware.NewJWT(middleware.HMAC(secret))
	id, err := tokens.Auth(t.Context(), handshake(payload(t, sign("HS256", secret, with("org", json.Number("12345678901234567890"))))))
	if err != nil {
		t.Fatal(err)
	}
	if got := id.Claims.(jwt.MapClaims)["org"]; got != json.Number("12345678901234567890") {
		t.Errorf("org = %#v", got)
	}
}

func TestKeyFunctionFails(t *testing.T) {
	token := sign("HS256", secret, goodClaims())
	own := &heymanito.Error{Code: heymanito.CodeUnavailable, Message: "the login service is down", RetryAfter: 90500 * time.Millisecond}
	for name, c := range map[string]struct {
		err    error
		code   heymanito.Code
		words  string
		status int
	}{
		"heymanito.Error":         {own, heymanito.CodeUnavailable, "the login service is down", 503},
		"wrapped heymanito.Error": {fmt.Errorf("jwks: %w", own), heymanito.CodeUnavailable, "the login service is down", 503},
		"banned":                  {heymanito.Errorf(heymanito.CodeForbidden, "banned"), heymanito.CodeForbidden, "banned", 403},
		"too many":                {heymanito.Errorf(heymanito.CodeRateLimited, "slowly"), heymanito.CodeRateLimited, "slowly", 429},
		"timeout":                 {fmt.Errorf("jwks: %w", context.DeadlineExceeded), heymanito.CodeUnavailable, "", 503},
		"canceled":                {context.Canceled, heymanito.CodeUnavailable, "", 503},
		"network":                 {fmt.Errorf("jwks: %w", &net.OpError{Op: "dial", Err: errors.New("refused")}), heymanito.CodeUnavailable, "", 503},
		"another error":           {errors.New("kid not found at https://user:password@keys.internal"), heymanito.CodeUnauthorized, "no key for this token", 401},
		"nil key, nil error":      {nil, heymanito.CodeUnauthorized, "no key for this token", 401},
	} {
		t.Run(name, func(t *testing.T) {
			tokens := middleware.NewJWT(func(context.Context, *jwt.Token) (any, error) { return nil, c.err }, quiet)
			_, err := tokens.Auth(t.Context(), handshake(payload(t, token)))
			wantRefused(t, err, c.code, c.words, token)
			if c.err != nil && !errors.Is(err, c.err) {
				t.Errorf("the cause is lost: %v", err)
			}
			w, user := serve(tokens, "Bearer "+token)
			if w.Code != c.status || user != "" || !strings.Contains(w.Body.String(), c.words) || strings.Contains(w.Body.String(), "password") {
				t.Errorf("HTTP: %d for user %q, want %d that says %q: %s", w.Code, user, c.status, c.words, w.Body)
			}
			want := ""
			if c.status == 503 {
				want = "5"
			}
			if errors.Is(c.err, own) {
				want = "91"
			}
			if got := w.Header().Get("Retry-After"); got != want {
				t.Errorf("Retry-After = %q, want %q", got, want)
			}
		})
	}
}

// The key function is told when nobody waits for its answer, and what it
// returns then says nothing about the token.
func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		tokens := middleware.NewJWT(func(ctx context.Context, _ *jwt.Token) (any, error) {
			calls++
			<-ctx.Done()
			return nil, errors.New("gave up")
		})
		token := sign("HS256", secret, goodClaims())
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for want := range 2 { // in time, and too late to begin
			_, err := tokens.Auth(ctx, handshake(payload(t, token)))
			wantRefused(t, err, heymanito.CodeUnavailable, "", token)
			if calls != 1 {
				t.Errorf("attempt %d: %d calls of the key function, want 1", want, calls)
			}
		}
	})
}

// The key function is not asked about tokens that cannot be any good.
func TestKeyFunctionIsNotAsked(t *testing.T) {
	tokens := middleware.NewJWT(func(context.Context, *jwt.Token) (any, error) {
		t.Error("asked")
		return secret, nil
	})
	for _, token := range []string{
		sign("none", jwt.UnsafeAllowNoneSignatureType, goodClaims()),
		segments(`{"alg":"XX"}`, `{}`, "x"),
		segments(`{"alg":"HS256","crit":["exp"]}`, `{}`, "x"),
		sign("HS256", secret, with("big", strings.Repeat("x", 16<<10))),
		"x",
	} {
		if _, err := tokens.Auth(t.Context(), handshake(payload(t, token))); err == nil {
			t.Errorf("%.40s… was accepted", token)
		}
	}
}
