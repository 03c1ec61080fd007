package middleware_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
	"github.com/heymanito/heymanito/middleware"
)

// What a client can see.
const (
	accepted     = "ok"
	unauthorized = "unauthorized" // in a CONNECT_ERROR, or with 401
	forbidden    = "forbidden"    // in a CONNECT_ERROR, or with 403
	impostor     = "identity_mismatch"
	closed       = "closed"   // the connection ends without a word
	badRequest   = "HTTP 400" // before there is a connection
	noEntry      = "HTTP 403" // the same
	tooLarge     = "HTTP 413" // for the POST that has it
)

// bring is what a client brings, as ana.
type bring struct {
	lines []string // of the head of its requests
	query string   // and more of that
	auth  string   // of the CONNECT packet
}

func line(l string) bring { return bring{lines: []string{l}} }

// The four places of a token.
func header(token string) bring { return line("Authorization: Bearer " + token) }
func cookie(token string) bring { return line("Cookie: session=" + token) }
func query(token string) bring  { return bring{query: "&access_token=" + url.QueryEscape(token)} }
func auth(token string) bring {
	b, _ := json.Marshal(map[string]string{"token": token})
	return bring{auth: string(b)}
}

func (b bring) and(more ...bring) bring {
	b.lines = slices.Clone(b.lines)
	for _, m := range more {
		b.lines = append(b.lines, m.lines...)
		b.query += m.query
		b.auth += m.auth
	}
	return b
}

// attack is a row of the table.
type attack struct {
	name   string
	brings []bring // one after the other
	socket string  // what they get on a WebSocket and on polling
	rest   string  // and from Handler, with a POST; "": it is not asked
	words  string  // that say why
}

const (
	here      = "Origin: http://HOST"             // the server's own page
	sibling   = "Origin: https://app.example.com" // listed in WithOrigins
	listed    = "Origin: https://web.example.com" // listed in WithCookie, too
	evil      = "Origin: https://evil.example"
	crossSite = "Sec-Fetch-Site: cross-site"
	sameSite  = "Sec-Fetch-Site: same-site"
)

// attacks are what the server with these keys must refuse, and a little that it
// must not.
func attacks() []attack {
	hs := func(c jwt.MapClaims, header ...string) string { return sign("HS256", secret, c, header...) }
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	past := time.Now().Add(-time.Minute)
	ana, eva := hs(goodClaims()), hs(with("sub", "eva"))
	parts := strings.Split(ana, ".")
	claims := string(must(json.Marshal(goodClaims())))
	none := sign("none", jwt.UnsafeAllowNoneSignatureType, goodClaims())
	// claimed is a well-signed token of claims that no encoder would write.
	claimed := func(claims string) string { return signText(`{"alg":"HS256"}`, claims) }
	exp := fmt.Sprintf(`"exp":%d,"iss":"https://login.example","aud":"chat"`, in(time.Hour))

	// A token that is refused is refused wherever it is.
	token := func(name, token, words string) attack {
		return attack{name, []bring{header(token), auth(token), auth("Bearer " + token), auth(token).and(header(token)), cookie(token), query(token)}, unauthorized, unauthorized, words}
	}
	// Some cannot be in a cookie.
	noCookie := func(name, token, words string) attack {
		return attack{name, []bring{header(token), auth(token), query(token)}, unauthorized, unauthorized, words}
	}
	// Some only fit into JSON.
	inJSON := func(name, token, words string) attack {
		return attack{name, []bring{auth(token)}, unauthorized, "", words}
	}
	one := func(name string, b bring, socket, rest, words string) attack {
		return attack{name, []bring{b}, socket, rest, words}
	}
	payload := func(name, auth, socket, words string) attack {
		return one(name, bring{auth: auth}, socket, "", words)
	}

	table := []attack{
		token("none", none, "an unsigned token is never accepted"),
		token("none, with a signature", none+parts[2], "an unsigned token is never accepted"),
		token("none, kid of RSA", sign("none", jwt.UnsafeAllowNoneSignatureType, goodClaims(), "kid", "rsa"), "an unsigned token is never accepted"),
		token("None", segments(`{"alg":"None"}`, claims, ""), "the token's alg is none of"),
		token("NONE", segments(`{"alg":"NONE"}`, claims, ""), "the token's alg is none of"),
		token("nOnE", segments(`{"alg":"nOnE"}`, claims, ""), "the token's alg is none of"),
		token("none and a space", segments(`{"alg":"none "}`, claims, ""), "the token's alg is none of"),
		token("alg is empty", segments(`{"alg":""}`, claims, ""), "the token's alg is none of"),
		token("alg is null", segments(`{"alg":null}`, claims, ""), "the token's alg is none of"),
		token("no alg", segments(`{"typ":"JWT"}`, claims, ""), "the token's alg is none of"),
		token("alg is a list", segments(`{"alg":["HS256"]}`, claims, ""), "the token's alg is none of"),
		token("ALG for alg", segments(`{"ALG":"HS256"}`, claims, ""), "the token's alg is none of"),
		token("hs256 for HS256", segments(`{"alg":"hs256"}`, claims, "x"), "the token's alg is none of"),
		token("ES256K", segments(`{"alg":"ES256K"}`, claims, "x"), "the token's alg is none of"),
		token("alg of 12 KB", segments(`{"alg":"`+strings.Repeat("A", 9000)+`"}`, claims, "x"), "the token's alg is none of"),

		token("HS512 for RSA", sign("HS512", secret, goodClaims(), "kid", "rsa"), "is signed with HS512, but its key is for PS256, PS384, PS512, RS256, RS384, RS512"),
		token("RS256 for EC", sign("RS256", rsaKey(), goodClaims(), "kid", "ec"), "is signed with RS256, but its key is for ES256"),
		token("ES384 for P-256", sign("ES384", ecKeys()["ES384"], goodClaims(), "kid", "ec"), "is signed with ES384, but its key is for ES256"),
		token("RS256 for the secret", sign("RS256", rsaKey(), goodClaims(), "kid", "hs"), "is signed with RS256, but its key is for HS256"),

		token("unknown kid", hs(goodClaims(), "kid", "2019"), "the key is unknown (kid)"),
		token("kid is a path", hs(goodClaims(), "kid", "../../dev/null"), "the key is unknown (kid)"),
		token("kid is a URL", hs(goodClaims(), "kid", "https://evil.example/keys.json"), "the key is unknown (kid)"),
		token("kid is SQL", hs(goodClaims(), "kid", "x' UNION SELECT 'secret"), "the key is unknown (kid)"),
		token("kid is a list", signText(`{"alg":"HS256","kid":["hs"]}`, claims), "the key is unknown (kid)"),
		token("jku, x5u and jwk", signText(`{"alg":"HS256","kid":"2019","jku":"https://evil.example","x5u":"https://evil.example","jwk":{"kty":"oct","k":"AA"}}`, claims), "the key is unknown (kid)"),

		token("other secret", sign("HS256", otherSecret, goodClaims()), "signature does not match"),
		token("other RSA key's", sign("RS256", must(rsa.GenerateKey(rand.Reader, 2048)), goodClaims(), "kid", "rsa"), "signature does not match"),
		token("empty signature", parts[0]+"."+parts[1]+".", "signature does not match"),
		token("zero ECDSA signature", segments(`{"alg":"ES256","kid":"ec"}`, claims, string(make([]byte, 64))), "signature does not match"),
		token("other claims", parts[0]+"."+segments(`{"sub":"eva","exp":9999999999}`)+"."+parts[2], "signature does not match"),
		token("other header", segments(`{"alg":"HS384"}`)+"."+parts[1]+"."+parts[2], "signature does not match"),

		token("crit", signText(`{"alg":"HS256","crit":["b64"],"b64":false}`, claims), "crit"),
		token("crit, empty", signText(`{"alg":"HS256","crit":[]}`, claims), "crit"),
		token("crit, null", signText(`{"alg":"HS256","crit":null}`, claims), "crit"),
		token("detached claims", parts[0]+".."+parts[2], "damaged"),
		noCookie("unencoded claims", parts[0]+"."+claims+"."+parts[2], "not base64url"),
		token("non-canonical base64", parts[0]+"."+parts[1]+"."+lastBitFlipped(parts[2]), "damaged"),
		token("padded base64", ana+"=", "not base64url"),
		token("plain base64", strings.NewReplacer("-", "+", "_", "/").Replace(ana)+"+/", "not base64url"),
		token("space within", parts[0]+". "+parts[1]+"."+parts[2], "not base64url"),
		noCookie("tab within", parts[0]+".\t"+parts[1]+"."+parts[2], "not base64url"),
		inJSON("newline within", parts[0]+".\n"+parts[1]+"."+parts[2], "not base64url"),
		inJSON("NUL behind", ana+"\x00", "not base64url"),
		inJSON("no-break space behind", ana+"\u2003x", "not base64url"),
		token("header is not JSON", segments("hello", claims, "x"), "damaged"),
		token("header is null", segments("null", claims, "x"), "the token's alg is none of"),
		token("claims are a list", segments(`{"alg":"HS256"}`, "[]", "x"), "damaged"),
		token("claims are null", claimed("null"), "the token's claims must be one JSON object"),
		token("claims are very deep", segments(`{"alg":"HS256"}`, strings.Repeat(`{"a":`, 2000), "x"), "damaged"),
		token("two parts", parts[0]+"."+parts[1], "2 parts instead of 3"),
		token("four parts", ana+".x", "4 parts instead of 3"),
		token("encrypted", ana+".x.x", "encrypted (JWE)"),
		token("a dot behind", ana+".", "4 parts instead of 3"),
		token("only dots", "..", "damaged"),
		token("thousands of dots", strings.Repeat(".", 9000), "9001 parts instead of 3"),
		token("garbage", "MTIzNDU2Nzg5MDEyMzQ1Njc4", "1 parts instead of 3"),
		token("undefined", "undefined", `the word "undefined"`),
		token("[object Object]", "[object Object]", `the word "[object Object]"`),
		token("16 KiB and one", strings.Repeat("A", 16<<10+1), "longer than 16384 bytes"),

		token("expired", hs(with("exp", past.Unix())), "the token expired at "+past.UTC().Format(time.RFC3339)),
		token("expired this second", hs(with("exp", in(0))), "the token expired"),
		token("expired within the leeway", hs(with("exp", in(-time.Second))), "the token expired"),
		token("exp 0", hs(with("exp", 0)), "the token expired"),
		token("exp negative", hs(with("exp", -1)), "not a date"),
		token("no exp", hs(with("exp", nil)), "the token has no exp"),
		token("exp null", hs(with("exp", json.RawMessage("null"))), "exp must be a number"),
		token("exp a string", hs(with("exp", fmt.Sprint(in(time.Hour)))), "exp must be a number"),
		token("exp in milliseconds", hs(with("exp", in(time.Hour)*1000)), "not milliseconds"),
		token("exp beyond numbers", hs(with("exp", json.RawMessage("1e999"))), "not a date"),
		token("nbf beyond time", hs(with("nbf", json.RawMessage("1e300"))), "not a date"),
		token("not yet valid", hs(with("nbf", in(time.Hour))), "not valid yet (nbf)"),
		token("issued in the future", hs(with("iat", in(time.Hour))), "issued in the future (iat)"),
		token("wrong issuer", hs(with("iss", "https://login.example/")), `wrong issuer: iss must be "https://login.example"`),
		token("no issuer", hs(with("iss", nil)), "wrong issuer"),
		token("issuer a list", hs(with("iss", []string{"https://login.example"})), "wrong issuer"),
		token("wrong audience", hs(with("aud", "chatter")), `another audience: aud must have "chat" or "chat-staging"`),
		token("no audience", hs(with("aud", nil)), "another audience"),
		token("audience of numbers", hs(with("aud", []int{1})), "another audience"),
		token("no sub", hs(with("sub", nil)), `no "sub" claim`),
		token("sub null", hs(with("sub", json.RawMessage("null"))), `"sub" claim must be a string`),
		token("sub a number", hs(with("sub", 42)), `"sub" claim must be a string`),
		token("sub true", hs(with("sub", true)), `"sub" claim must be a string`),
		token("sub a list", hs(with("sub", []string{"ana"})), `"sub" claim must be a string`),
		token("sub an object", hs(with("sub", map[string]string{"id": "ana"})), `"sub" claim must be a string`),
		token("empty sub", hs(with("sub", "")), "not a chatPath"),
		token("sub with control", hs(with("sub", "ana\x00")), "not a chatPath"),
		token("sub of 257 bytes", hs(with("sub", strings.Repeat("a", 257))), "not a chatPath"),
		token("sub twice", claimed(`{"sub":"eva","sub":"ana",`+exp+`}`), "no name twice"),
		token("sub twice, once escaped", claimed(`{"sub":"eva","\u0073ub":"ana",`+exp+`}`), "no name twice"),
		token("exp twice", claimed(`{"sub":"ana","exp":1,`+exp+`}`), "no name twice"),
		token("alg twice", signText(`{"alg":"none","alg":"HS256"}`, claims), "no name twice"),
		token("claims twice", claimed(claims+claims), "must be one JSON object"),

		one("no token", bring{}, unauthorized, unauthorized, "there is no token"),
		one("another scheme", line("Authorization: Basic YTpi"), unauthorized, unauthorized, "there is no token"),
		one("no scheme", line("Authorization: "+ana), unauthorized, unauthorized, "there is no token"),
		one("Bearer and nothing", line("Authorization: Bearer "), unauthorized, unauthorized, "there is no token"),
		one("empty cookie", cookie(""), unauthorized, unauthorized, "there is no token"),
		one("another cookie", line("Cookie: Session="+ana), unauthorized, unauthorized, "there is no token"),
		one("empty in the query", query(""), unauthorized, unauthorized, "there is no token"),
		one("another name in the query", bring{query: "&token=" + ana}, unauthorized, unauthorized, "there is no token"),
		payload("empty payload", `{}`, unauthorized, "there is no token"),
		payload("empty token", `{"token":""}`, unauthorized, "there is no token"),
		payload("token null", `{"token":null}`, unauthorized, "there is no token"),
		payload("name in capitals", `{"TOKEN":"`+ana+`"}`, unauthorized, "there is no token"),
		payload("token a number", `{"token":1}`, unauthorized, "must be a string"),
		payload("token an object", `{"token":{"token":"`+ana+`"}}`, unauthorized, "must be a string"),
		payload("token twice, last a number", `{"token":"`+ana+`","token":1}`, unauthorized, "must be a string"),
		payload("payload too deep", `{"token":"`+ana+`","x":`+strings.Repeat("[", 101)+strings.Repeat("]", 101)+`}`, closed, ""),
		payload("payload a list", `["token"]`, closed, ""),
		payload("payload a string", `"`+ana+`"`, closed, ""),
		payload("payload and more", `{"token":"`+ana+`"}{}`, closed, ""),
		payload("payload cut off", `{"token":"`+ana+`"`, closed, ""),
		payload("payload not JSON", `{"token":`+ana+`}`, closed, ""),

		one("two tokens: header, auth", header(ana).and(auth(eva)), unauthorized, "", "the Authorization header and the auth payload carry different tokens"),
		one("two tokens: header, cookie", header(ana).and(cookie(eva)), unauthorized, unauthorized, "the Authorization header and the cookie carry different tokens"),
		one("two tokens: header, query", header(ana).and(query(eva)), unauthorized, unauthorized, "the Authorization header and the query carry different tokens"),
		one("two tokens: auth, cookie", auth(ana).and(cookie(eva)), unauthorized, "", "the auth payload and the cookie carry different tokens"),
		one("two tokens: auth, query", auth(ana).and(query(eva)), unauthorized, "", "the auth payload and the query carry different tokens"),
		one("two tokens: cookie, query", cookie(ana).and(query(eva)), unauthorized, unauthorized, "the cookie and the query carry different tokens"),
		one("a good and a bad one", header("x.y.z").and(auth(ana)), unauthorized, "", "different tokens"),
		one("three alike, one not", header(ana).and(auth(ana), cookie(ana), query(eva)), unauthorized, "", "different tokens"),
		one("a good one and a bad payload", header(ana).and(bring{auth: `{"token":7}`}), unauthorized, "", "must be a string"),
		one("two headers", header(ana).and(header(eva)), unauthorized, unauthorized, "2 Authorization headers"),
		one("the same header twice", header(ana).and(header(ana)), unauthorized, unauthorized, "2 Authorization headers"),
		one("two headers, a payload", line("Authorization: Basic YTpi").and(header(ana), auth(ana)), unauthorized, "", "2 Authorization headers"),
		one("two tokens in one header", header(ana+", Bearer "+eva), unauthorized, unauthorized, "not base64url"),
		one("Bearer twice in the header", header("Bearer "+ana), unauthorized, unauthorized, "not base64url"),
		one("two cookies", line("Cookie: session="+ana+"; session="+eva), unauthorized, unauthorized, `2 cookies called "session"`),
		one("two lines of cookies", cookie(ana).and(cookie(ana)), unauthorized, unauthorized, `2 cookies called "session"`),
		one("twice in the query", query(ana).and(query(ana)), unauthorized, unauthorized, `2 times "access_token"`),
		one("a query that is none", query(ana).and(bring{query: "&x=%zz"}), badRequest, unauthorized, ""),

		one("someone else's", auth(eva), impostor, "", ""),
		one("someone else's, in the cookie", cookie(eva), impostor, "", ""),

		one("1 MB, header", header(strings.Repeat("A", 1_000_000)), unauthorized, unauthorized, "longer than 16384 bytes"),
		one("1 MB, cookie", cookie(strings.Repeat("A", 1_000_000)), unauthorized, unauthorized, "longer than 16384 bytes"),
		one("1 MB, query", query(strings.Repeat("A", 1_000_000)), unauthorized, unauthorized, "longer than 16384 bytes"),
		one("1 MB, payload", auth(strings.Repeat("A", 1_000_000)), closed+" or "+tooLarge, "", ""),

		one("evil page", cookie(ana).and(line(evil), line(crossSite)), noEntry, forbidden, "a page of another site"),
		one("evil page, old browser", cookie(ana).and(line(evil)), noEntry, forbidden, "a page of another site"),
		one("evil page, no Origin", cookie(ana).and(line(crossSite)), noEntry, forbidden, "a page of another site"),
		one("evil sandbox", cookie(ana).and(line("Origin: null"), line(crossSite)), noEntry, forbidden, "a page of another site"),
		one("evil page, expired", cookie(hs(with("exp", 1))).and(line(evil), line(crossSite)), noEntry, forbidden, "a page of another site"),
		one("sibling subdomain", cookie(ana).and(line(sibling), line(sameSite)), forbidden, forbidden, "a page of another site"),
		one("sibling, no Origin", cookie(ana).and(line(sameSite)), forbidden, forbidden, "a page of another site"),
		one("sibling, old browser", cookie(ana).and(line(sibling)), forbidden, forbidden, "a page of another site"),
		one("own host over http", cookie(ana).and(line(here), line(crossSite)), forbidden, forbidden, "a page of another site"),
		one("a word that is to come", cookie(ana).and(line("Sec-Fetch-Site: near")), forbidden, forbidden, "a page of another site"),

		one("own page", cookie(ana).and(line(here), line("Sec-Fetch-Site: same-origin")), accepted, accepted, ""),
		one("own page, old browser", cookie(ana).and(line(here)), accepted, accepted, ""),
		one("typed by the user", cookie(ana).and(line("Sec-Fetch-Site: none")), accepted, accepted, ""),
		one("no page at all", cookie(ana), accepted, accepted, ""),
		one("listed page", cookie(ana).and(line(listed), line(crossSite)), accepted, accepted, ""),
		one("sibling with its own token", auth(ana).and(cookie(ana), line(sibling), line(sameSite)), accepted, "", ""),
		one("sibling with a header", header(ana).and(cookie(ana), line(sibling), line(sameSite)), accepted, accepted, ""),
		one("a password for a proxy, too", auth(ana).and(line("Authorization: Basic YTpi")), accepted, "", ""),
		{"the good token", []bring{
			header(ana), header(" " + ana + " "), auth(ana), auth("bearer  " + ana), auth(" " + ana + "\n"), cookie(ana), cookie(`"` + ana + `"`), query(ana),
			auth(ana).and(header(ana), cookie(ana), query(ana)),
			auth(sign("RS256", rsaKey(), goodClaims(), "kid", "rsa")), auth(sign("ES256", ecKeys()["ES256"], goodClaims(), "kid", "ec")),
		}, accepted, accepted, ""},
	}
	for form, key := range publicForms(&rsaKey().PublicKey) {
		table = append(table,
			token("HS256 with the RSA key's "+form, sign("HS256", key, goodClaims(), "kid", "rsa"), "is signed with HS256, but its key is for PS256"),
			token("HS256 with the RSA key's "+form+", no kid", sign("HS256", key, goodClaims()), "signature does not match"))
	}
	return table
}

// signText signs a header and claims that are written out.
func signText(header, claims string) string {
	text := segments(header, claims)
	return text + "." + segments(string(must(jwt.SigningMethodHS256.Sign(text, secret))))
}

// lastBitFlipped is another base64url text of the same bytes, for decoders
// that do not look at the bits they do not need.
func lastBitFlipped(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	i := strings.IndexByte(alphabet, s[len(s)-1])
	return s[:len(s)-1] + alphabet[i^1:i^1+1]
}

// keysByID is what a host with several keys does.
func keysByID(_ context.Context, t *jwt.Token) (any, error) {
	switch t.Header["kid"] {
	case nil, "hs":
		return secret, nil
	case "rsa":
		return &rsaKey().PublicKey, nil
	case "ec":
		return &ecKeys()["ES256"].PublicKey, nil
	}
	return nil, errors.New("no such key")
}

// TestAttacks brings everything in the table to the real server, and to Handler,
// and sees to it that each gets its answer, that nobody else gets in, and that it
// costs ben nothing, who is there all the while.
func TestAttacks(t *testing.T) {
	h := newHouse(t, keysByID)
	ben := wiretest.Connect(t, h.URL, "ben", wiretest.Auth(auth(sign("HS256", secret, with("sub", "ben"))).auth))
	ben.Expect("inboxReady")
	<-h.devices
	letIn := 0
	for _, a := range attacks() {
		letIn += h.brave(t, a)
		ben.Sync()
	}
	told := ben.Log()
	ben.Cut()
	for range letIn {
		if d := <-h.devices; d.ChatPath != "ana" || d.Claims.(jwt.MapClaims)["iss"] != "https://login.example" {
			t.Errorf("device %+v, want ana with her claims", d)
		}
	}
	h.close(t)
	if len(h.devices) != 0 {
		t.Errorf("%d more were let in than were told so", len(h.devices))
	}
	for _, e := range told {
		if e.Name != "online_users" && e.Name != "inboxReady" && !strings.HasPrefix(e.Name, "ack ") {
			t.Errorf("ben was told %v", e)
		}
	}
}

// Where every origin may connect, a cookie is still good for the host's own pages
// only.
func TestAttacksFromAnyOrigin(t *testing.T) {
	h := newHouse(t, keysByID, heymanito.WithInsecureAnyOrigin())
	ana := sign("HS256", secret, goodClaims())
	for _, a := range []attack{
		{"evil page", []bring{cookie(ana).and(line(evil), line(crossSite)), cookie(ana).and(line(evil)), cookie(ana).and(line(crossSite)), cookie(ana).and(line("Origin: null"))}, forbidden, forbidden, "a page of another site"},
		{"evil page with its own token", []bring{auth(ana).and(line(evil), line(crossSite))}, accepted, "", ""},
		{"evil page with its own header", []bring{header(ana).and(line(evil), line(crossSite))}, accepted, accepted, ""},
		{"own page", []bring{cookie(ana).and(line(here), line("Sec-Fetch-Site: same-origin"))}, accepted, accepted, ""},
	} {
		h.brave(t, a)
	}
}

// A page of another site may make a request that changes nothing, and cannot read
// the answer. A WebSocket it could read.
func TestHandlerAndOtherSites(t *testing.T) {
	tokens := middleware.NewJWT(middleware.HMAC(secret), middleware.WithCookie("session"))
	handler := tokens.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	for _, c := range []struct {
		method, upgrade string
		want            int
	}{
		{http.MethodGet, "", http.StatusNoContent},
		{http.MethodHead, "", http.StatusNoContent},
		{http.MethodOptions, "", http.StatusNoContent},
		{http.MethodGet, "websocket", http.StatusForbidden},
		{http.MethodPost, "", http.StatusForbidden},
		{http.MethodPut, "", http.StatusForbidden},
		{http.MethodDelete, "", http.StatusForbidden},
		{http.MethodConnect, "", http.StatusForbidden},
		{"", "", http.StatusForbidden},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Method = c.method
		r.AddCookie(&http.Cookie{Name: "session", Value: sign("HS256", secret, goodClaims())})
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		if c.upgrade != "" {
			r.Header.Set("Upgrade", c.upgrade)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s with Upgrade %q: %d %s, want %d", c.method, c.upgrade, w.Code, w.Body, c.want)
		}
	}
}

// The realtime server lets no such payload pass; another caller might.
func TestAuthWithAPayloadThatIsNone(t *testing.T) {
	tokens := middleware.NewJWT(middleware.HMAC(secret))
	token := sign("HS256", secret, goodClaims())
	for _, payload := range []string{
		`["token"]`, `"` + token + `"`, `{"token":"` + token + `"}{}`, `{"token":"` + token + `"`, `{"token":` + token + `}`,
		`{"token":"` + token + `","x":` + strings.Repeat("[", 101) + strings.Repeat("]", 101) + `}`,
	} {
		_, err := tokens.Auth(t.Context(), handshake(json.RawMessage(payload)))
		wantRefused(t, err, heymanito.CodeUnauthorized, "must be a JSON object", token)
	}
}

// The server calls Auth again for a client that renews its identity: then there
// is the payload, and of the request, if there is one, nothing that counts.
func TestAuthWithoutAHandshakesRequest(t *testing.T) {
	tokens := middleware.NewJWT(middleware.HMAC(secret), middleware.WithCookie("session"), middleware.WithQueryToken("access_token"))
	token := sign("HS256", secret, goodClaims())
	for name, r := range map[string]*http.Request{
		"none":              nil,
		"empty":             {},
		"without a header":  httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&userId=ana", nil),
		"with other things": {Header: http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://app.example.com"}}},
	} {
		id, err := tokens.Auth(t.Context(), heymanito.Handshake{Request: r, UserID: "ana", Auth: json.RawMessage(`{"token": "` + token + `"}`)})
		if err != nil || id.ChatPath != "ana" || id.Expires.IsZero() {
			t.Errorf("a request that is %s: %+v, %v", name, id, err)
		}
		_, err = tokens.Auth(t.Context(), heymanito.Handshake{Request: r, UserID: "ana"})
		wantRefused(t, err, heymanito.CodeUnauthorized, `there is no token`, "")
	}
}
