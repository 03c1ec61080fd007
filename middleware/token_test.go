package middleware

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/heymanito/heymanito"
)

// FuzzFindToken holds findToken to what the parser behind it relies on: the
// token is one, short, of three base64url parts, and the one that each place
// has; and a refusal never quotes what the client sent.
func FuzzFindToken(f *testing.F) {
	for _, seed := range [][3]string{
		{"Bearer aa.bb.cc", "", ""},
		{"bearer  aa.bb.cc ", "", `{"token":"aa.bb.cc"}`},
		{"", "", `{"token":"Bearer aa.bb.cc","deviceId":"d"}`},
		{"Bearer aa.bb.cc", "Bearer dd.ee.ff", `{"token":null}`},
		{"Basic YTpi", "", `{"token":"\u0061a.b.","token":"x"}`},
		{"Bearer", "", `{"token":{"token":"a.b.c"}}`},
		{"Bearer undefined", "", `[]`},
		{"Bearer a.b.c.d.e", "", `{"Token":"a.b.c"}`},
		{"", "", `{"token":"a.b.c"} {}`},
	} {
		f.Add(seed[0], seed[1], []byte(seed[2]))
	}
	f.Fuzz(func(t *testing.T, header, second string, auth []byte) {
		r := &http.Request{Header: http.Header{}}
		for _, h := range []string{header, second} {
			if h != "" {
				r.Header.Add("Authorization", h)
			}
		}
		token, err := findToken(r, auth, handshakeSources)
		if err != nil {
			var e *heymanito.Error
			if !errors.As(err, &e) || e.Code != heymanito.CodeUnauthorized || e.Message == "" {
				t.Fatalf("error %#v", err)
			}
			if _, secret, _ := strings.Cut(header, " "); len(secret) > 20 && strings.Contains(e.Error(), secret) {
				t.Fatalf("the error quotes the header: %v", e)
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
		fromHeader, headerErr := fromAuthorization(r, nil)
		fromPayload, payloadErr := fromAuthPayload(nil, auth)
		if headerErr != nil || payloadErr != nil {
			t.Fatalf("a source fails (%v, %v), and yet there is a token", headerErr, payloadErr)
		}
		if fromHeader != "" && fromHeader != token || fromPayload != "" && fromPayload != token {
			t.Fatalf("token %q, the header has %q and the payload %q", token, fromHeader, fromPayload)
		}
		// encoding/json is the judge of what the payload says.
		var all map[string]any
		if fromPayload != "" && (json.Unmarshal(auth, &all) != nil || !strings.HasSuffix(strings.TrimSpace(all["token"].(string)), token)) {
			t.Fatalf("the payload %q does not have the token %q", auth, token)
		}
	})
}
