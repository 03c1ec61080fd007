package jwkstest_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// issuer is a login service: it signs tokens, and publishes its keys.
type issuer struct {
	*httptest.Server
	fetches atomic.Int64

	mu   sync.Mutex // guards kids
	kids []string   // published
}

func newIssuer() *issuer {
	i := &issuer{}
	i.Server = httptest.NewServer(http.HandlerFunc(i.serveKeys))
	return i
}

func (i *issuer) publish(kids ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.kids = kids
}

// key is a key of the issuer's.
func (*issuer) key(kid string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(kid))
	return ed25519.NewKeyFromSeed(seed[:])
}

func (i *issuer) serveKeys(w http.ResponseWriter, _ *http.Request) {
	i.fetches.Add(1)
	i.mu.Lock()
	defer i.mu.Unlock()
	set := map[string][]map[string]string{"keys": {}}
	for _, kid := range i.kids {
		set["keys"] = append(set["keys"], map[string]string{
			"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid,
			"x": base64.RawURLEncoding.EncodeToString(i.key(kid).Public().(ed25519.PublicKey)),
		})
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_ = json.NewEncoder(w).Encode(set)
}

// token is one of ana's, signed with the key of this kid.
func (i *issuer) token(kid string) string {
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": "https://login.example", "sub": "ana", "exp": time.Now().Add(time.Hour).Unix(),
	})
	t.Header["kid"] = kid
	s, err := t.SignedString(i.key(kid))
	if err != nil {
		panic(err)
	}
	return s
}
