package middleware

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

const (
	minSecretBytes = 32
	minRSABits     = 2048 // RFC 7518, 3.3
)

var (
	hmacAlgorithms = []string{"HS256", "HS384", "HS512"}
	rsaAlgorithms  = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	es256          = []string{"ES256"}
	es384          = []string{"ES384"}
	es512          = []string{"ES512"}
	edAlgorithms   = []string{"EdDSA"}
	allAlgorithms  = slices.Concat(hmacAlgorithms, rsaAlgorithms, es256, es384, es512, edAlgorithms)
)

// KeyFunc finds the key of a token, mostly by t.Header["kid"]. It is called
// for every token, before anything in it is proven: its header and its claims
// are still whatever the client wrote, so look the kid up, never open it as a
// file or a URL. ctx ends with the handshake or the request.
//
// The type of the key alone decides which algorithms are accepted; what the
// token says only picks among them:
//
//	[]byte             HS256, HS384, HS512
//	*rsa.PublicKey     RS256, RS384, RS512, PS256, PS384, PS512
//	*ecdsa.PublicKey   ES256 on P-256, ES384 on P-384, ES512 on P-521
//	ed25519.PublicKey  EdDSA
//
// or several of them in a [jwt.VerificationKeySet], each tried if its type
// fits. A []byte must be a secret of at least 32 bytes; one that is a public key
// in PEM, DER, base64, JWK or OpenSSH form is refused, as everyone can sign
// with it. RSA keys have at least 2048 bits. With any other key all tokens of
// that key are refused, with CodeInternal and the reason in Err.
//
// An error refuses the token: an *[heymanito.Error] as it is (say
// CodeUnavailable while the keys cannot be fetched), an error of ctx or of the
// network as CodeUnavailable, any other, and a nil key, as CodeUnauthorized.
//
// A [jwt.Keyfunc] k of another package serves as
//
//	func(_ context.Context, t *jwt.Token) (any, error) { return k(t) }
type KeyFunc func(ctx context.Context, t *jwt.Token) (any, error)

// HMAC is the KeyFunc of a host that signs its tokens with a secret: HS256,
// HS384 and HS512. With several secrets a token may be signed with any of them,
// which is how a secret is changed without logging everyone out: HMAC(new, old).
//
// A secret is 32 or more random bytes (openssl rand 32). HMAC panics when one is
// shorter, or is not a secret but a public key.
func HMAC(secrets ...[]byte) KeyFunc {
	keys := make([]any, len(secrets))
	for i, secret := range secrets {
		keys[i] = bytes.Clone(secret)
	}
	return literalKeys("middleware.HMAC", keys)
}

// PublicKeys is the KeyFunc of a host whose tokens are signed with a private
// key: each key is an *rsa.PublicKey, an *ecdsa.PublicKey or an
// ed25519.PublicKey (golang-jwt's ParseRSAPublicKeyFromPEM and its like read
// them from PEM). A token may be signed with any of them. PublicKeys panics
// when a key is of another type or too weak; see [KeyFunc].
func PublicKeys(keys ...crypto.PublicKey) KeyFunc {
	list := make([]any, len(keys))
	for i, key := range keys {
		if _, ok := key.([]byte); ok {
			panic("middleware.PublicKeys: a key is a []byte: parse it, or use middleware.HMAC when it is a secret")
		}
		list[i] = key
	}
	return literalKeys("middleware.PublicKeys", list)
}

func literalKeys(caller string, keys []any) KeyFunc {
	if len(keys) == 0 {
		panic(caller + ": there is no key")
	}
	set := jwt.VerificationKeySet{}
	for _, key := range keys {
		if _, err := algorithmsOf(key); err != nil {
			panic(caller + ": " + err.Error())
		}
		set.Keys = append(set.Keys, key)
	}
	return func(context.Context, *jwt.Token) (any, error) { return set, nil }
}

// findKey asks the host for the keys of a token and returns those that may
// verify its alg.
func (j *JWT) findKey(ctx context.Context, t *jwt.Token) (any, error) {
	if _, ok := t.Header["crit"]; ok {
		return nil, unauthorized(nil, "the token's header has crit: extensions are not supported")
	}
	key, err := j.key(ctx, t)
	if err != nil {
		return nil, keyFailure(ctx, err)
	}
	set, ok := key.(jwt.VerificationKeySet)
	if !ok && key != nil {
		set.Keys = []jwt.VerificationKey{key}
	}
	if len(set.Keys) == 0 {
		return nil, keyFailure(ctx, errors.New("the key function returned no key"))
	}
	var fitting jwt.VerificationKeySet
	var allowed []string
	for _, key := range set.Keys {
		algorithms, err := algorithmsOf(key)
		if err != nil {
			return nil, misconfigured(fmt.Errorf("the key function returned %w", err))
		}
		if slices.Contains(algorithms, t.Method.Alg()) {
			fitting.Keys = append(fitting.Keys, key)
		}
		allowed = append(allowed, algorithms...)
	}
	if len(fitting.Keys) == 0 {
		slices.Sort(allowed)
		return nil, unauthorized(nil, "the token is signed with %s, but its key is for %s",
			t.Method.Alg(), strings.Join(slices.Compact(allowed), ", "))
	}
	return fitting, nil
}

// algorithmsOf says what a key may verify, or why it must not verify anything.
func algorithmsOf(key any) ([]string, error) {
	switch k := key.(type) {
	case []byte:
		return hmacAlgorithms, checkSecret(k)
	case *rsa.PublicKey:
		if k == nil || k.N == nil {
			return nil, errors.New("a nil *rsa.PublicKey")
		}
		if bits := k.N.BitLen(); bits < minRSABits {
			return nil, fmt.Errorf("an RSA key of %d bits, it must have at least %d", bits, minRSABits)
		}
		return rsaAlgorithms, nil
	case *ecdsa.PublicKey:
		if k == nil || k.Curve == nil {
			return nil, errors.New("a nil *ecdsa.PublicKey")
		}
		switch k.Curve {
		case elliptic.P256():
			return es256, nil
		case elliptic.P384():
			return es384, nil
		case elliptic.P521():
			return es512, nil
		}
		return nil, errors.New("an ECDSA key on a curve that is not P-256, P-384 or P-521")
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("an Ed25519 public key of %d bytes, it must have %d", len(k), ed25519.PublicKeySize)
		}
		return edAlgorithms, nil
	case string:
		return nil, errors.New("a string as key: an HMAC secret must be a []byte, a public key must be parsed")
	case interface{ Public() crypto.PublicKey }:
		return nil, fmt.Errorf("a private key (%T): tokens are verified with its public half", key)
	}
	return nil, fmt.Errorf("a key of type %T: it must be a []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey", key)
}

// checkSecret refuses what is not secret.
func checkSecret(secret []byte) error {
	if what := publicForm(secret); what != "" {
		return fmt.Errorf("a []byte that is %s, not a secret: everyone can sign with it; parse it into an *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey", what)
	}
	if len(secret) < minSecretBytes {
		return fmt.Errorf("an HMAC secret of %d bytes, it must have at least %d random ones (openssl rand %[2]d)", len(secret), minSecretBytes)
	}
	return nil
}

var openSSH = regexp.MustCompile(`^(ssh-(rsa|ed25519)|ecdsa-sha2-nistp\d+|sk-\S+@openssh\.com) `)

// publicForm says in which of the usual forms b is a key that is not an HMAC
// secret, or "".
func publicForm(b []byte) string {
	text := bytes.TrimSpace(b)
	switch {
	case bytes.Contains(b, []byte("-----BEGIN ")):
		return "PEM"
	case isPublicDER(b):
		return "a public key in DER"
	case openSSH.Match(text):
		return "an OpenSSH public key"
	case isJWK(text):
		return "a JWK"
	case isPublicDER(unhex(text)):
		return "a public key in hexadecimal DER"
	case isPublicDER(unbase64(text)):
		return "a public key in base64 DER"
	}
	return ""
}

// isPublicDER reports whether b begins with a SubjectPublicKeyInfo of any
// algorithm, a PKCS #1 RSA public key, or a certificate.
func isPublicDER(b []byte) bool {
	if len(b) == 0 || b[0] != 0x30 { // no SEQUENCE
		return false
	}
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(b, &spki); err == nil {
		return true
	}
	var first asn1.RawValue
	if _, err := asn1.Unmarshal(b, &first); err != nil {
		return false
	}
	if _, err := x509.ParsePKCS1PublicKey(first.FullBytes); err == nil {
		return true
	}
	_, err := x509.ParseCertificate(first.FullBytes)
	return err == nil
}

func isJWK(text []byte) bool {
	if len(text) == 0 || text[0] != '{' {
		return false
	}
	var jwk map[string]json.RawMessage
	return json.Unmarshal(text, &jwk) == nil && (jwk["kty"] != nil || jwk["keys"] != nil)
}

// unhex decodes the hexadecimal form of a DER SEQUENCE, or returns nil.
func unhex(text []byte) []byte {
	if !bytes.HasPrefix(text, []byte("30")) {
		return nil
	}
	b, err := hex.DecodeString(string(text))
	if err != nil {
		return nil
	}
	return b
}

// unbase64 decodes the base64 form of a DER SEQUENCE, with or without padding,
// line breaks and the URL alphabet, or returns nil.
func unbase64(text []byte) []byte {
	if !bytes.HasPrefix(text, []byte("M")) {
		return nil
	}
	plain := strings.NewReplacer("-", "+", "_", "/", "=", "", " ", "", "\t", "").Replace(string(text))
	b, err := base64.RawStdEncoding.DecodeString(plain) // skips line breaks
	if err != nil {
		return nil
	}
	return b
}
