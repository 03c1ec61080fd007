package middleware

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/heymanito/heymanito"
)

// FuzzFindToken holds what finds a token to what the parser behind it relies on:
// the token is one, short, of three base64url parts, and the one that each place
// has; and a refusal never quotes what the client sent.
func FuzzFindToken(f *testing.F) {
	for _, seed := range []struct{ header, second, auth, cookies, query string }{
		{"Bearer aa.bb.cc", "", "", "", ""},
		{"bearer  aa.bb.cc ", "", `{"token":"aa.bb.cc"}`, "", ""},
		{"", "", `{"token":"Bearer aa.bb.cc","deviceId":"d"}`, "", ""},
		{"Bearer aa.bb.cc", "Bearer dd.ee.ff", `{"token":null}`, "", ""},
		{"Basic YTpi", "", `{"token":"\u0061a.b.","token":"x"}`, "", ""},
		{"Bearer", "", `{"token":{"token":"a.b.c"}}`, "", ""},
		{"Bearer undefined", "", `[]`, "", ""},
		{"Bearer a.b.c.d.e", "", `{"Token":"a.b.c"}`, "", ""},
		{"", "", `{"token":"a.b.c"} {}`, "", ""},
		{"", "", "", "a=b; session=aa.bb.cc", ""},
		{"Bearer aa.bb.cc", "", "", `session="aa.bb.cc"`, "access_token=aa.bb.cc"},
		{"", "", "", "session=aa.bb.cc; session=aa.bb.cc", ""},
		{"", "", "", "session=aa.bb.cc", "access_token=aa.bb.dd"},
		{"", "", "", "", "access_token=aa%2Ebb.cc&userId=ana"},
		{"", "", "", "", "access_token=aa.bb.cc&access_token="},
		{"", "", "", "", "%zz&access_token=aa.bb.cc"},
	} {
		f.Add(seed.header, seed.second, []byte(seed.auth), seed.cookies, seed.query)
	}
	places := newPlaces(&jwtConfig{cookie: "session", query: "access_token"}, true)
	f.Fuzz(func(t *testing.T, header, second string, auth []byte, cookies, query string) {
		r := &http.Request{Header: http.Header{}, URL: &url.URL{RawQuery: query}}
		for _, h := range []string{header, second} {
			if h != "" {
				r.Header.Add("Authorization", h)
			}
		}
		if cookies != "" {
			r.Header.Set("Cookie", cookies)
		}
		token, ambient, err := places.find(r, auth)
		if err != nil {
			var e *heymanito.Error
			if !errors.As(err, &e) || e.Code != heymanito.CodeUnauthorized || e.Message == "" {
				t.Fatalf("error %#v", err)
			}
			_, secret, _ := strings.Cut(header, " ")
			for _, secret := range []string{secret, cookies, query} {
				if len(secret) > 20 && strings.Contains(e.Error(), secret) {
					t.Fatalf("the error quotes what was sent: %v", e)
				}
			}
			return
		}
		if token == "" || len(token) > maxTokenBytes || strings.Count(token, ".") != 2 ||
			strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			t.Fatalf("token = %q", token)
		}
		if header != "" && second != "" {
			t.Fatalf("two headers, and yet a token")
		}
		there := map[string]string{}
		for _, s := range places.sources {
			one, err := s.find(r, auth)
			if err != nil {
				t.Fatalf("%s fails (%v), and yet there is a token", s.place, err)
			}
			if one != "" {
				there[s.place] = one
				if one != token {
					t.Fatalf("token %q, and %s has %q", token, s.place, one)
				}
			}
		}
		if only := len(there) == 1 && there["the cookie"] != ""; ambient != only {
			t.Fatalf("ambient = %v, and the token is in %v", ambient, there)
		}
		// The standard library is the judge of what the payload and the query say.
		var all map[string]any
		if there["the auth payload"] != "" && (json.Unmarshal(auth, &all) != nil || !strings.HasSuffix(strings.TrimSpace(all["token"].(string)), token)) {
			t.Fatalf("the payload %q does not have the token %q", auth, token)
		}
		if there["the query"] != "" && r.URL.Query().Get("access_token") != token {
			t.Fatalf("the query %q does not have the token %q", query, token)
		}
	})
}
