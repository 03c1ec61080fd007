package heymanito_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

func TestOrigin(t *testing.T) {
	servers := map[string]*heymanito.Server{}
	for name, opts := range map[string][]heymanito.Option{
		"same host": nil,
		"list": {
			heymanito.WithOrigins("https://app.example.com", "http://Localhost:5173"),
			heymanito.WithOrigins("capacitor://localhost", "null", "https://default.example.com:443"),
		},
		"any": {heymanito.WithInsecureAnyOrigin()},
	} {
		servers[name] = heymanito.New(bridged(append(opts, heymanito.WithLogger(slog.New(slog.DiscardHandler)))...)...)
	}
	t.Cleanup(func() {
		for _, rt := range servers {
			if err := rt.Shutdown(t.Context()); err != nil && !errors.Is(err, t.Context().Err()) {
				t.Errorf("Shutdown: %v", err)
			}
		}
	})
	for _, c := range []struct {
		server, host, origin string
		allowed              bool
	}{
		{"same host", "api.example.com", "", true}, // native clients
		{"same host", "api.example.com", "https://api.example.com", true},
		{"same host", "api.example.com", "http://api.example.com", true}, // TLS may end at a proxy
		{"same host", "api.example.com", "https://API.Example.COM", true},
		{"same host", "api.example.com", "https://api.example.com:443", true},
		{"same host", "api.example.com:443", "https://api.example.com", true},
		{"same host", "api.example.com", "http://api.example.com:80", true},
		{"same host", "api.example.com:80", "http://api.example.com", true},
		{"same host", "api.example.com:8080", "http://api.example.com:8080", true},
		{"same host", "127.0.0.1:8080", "http://127.0.0.1:8080", true},
		{"same host", "[::1]:8080", "http://[::1]:8080", true},
		{"same host", "[::1]", "http://[::1]", true},
		{"same host", "[::1]", "http://[::1]:80", true},
		{"same host", "api.example.com", "https://api.example.com:444", false},
		{"same host", "api.example.com:8080", "http://api.example.com", false},
		{"same host", "api.example.com", "http://api.example.com:443", false},
		{"same host", "localhost:8080", "http://127.0.0.1:8080", false},
		{"same host", "api.example.com", "https://app.example.com", false},
		{"same host", "api.example.com", "https://api.example.com.evil.example", false},
		{"same host", "api.example.com", "https://evilapi.example.com", false},
		{"same host", "api.example.com", "https://api.example.com@evil.example", false},
		{"same host", "api.example.com", "null", false},
		{"same host", "api.example.com", "file://", false},
		{"same host", "api.example.com", "capacitor://localhost", false},
		{"same host", "api.example.com", "api.example.com", false},
		{"same host", "api.example.com", "https://", false},
		{"same host", "api.example.com", "://", false},
		{"same host", "api.example.com", "%zz", false},

		{"list", "api.example.com", "", true},
		{"list", "api.example.com", "https://api.example.com", true},
		{"list", "api.example.com", "https://app.example.com", true},
		{"list", "api.example.com", "HTTPS://App.example.com", true},
		{"list", "api.example.com", "http://localhost:5173", true},
		{"list", "api.example.com", "capacitor://localhost", true},
		{"list", "api.example.com", "null", true},
		{"list", "api.example.com", "https://default.example.com", true}, // as a browser writes it
		{"list", "api.example.com", "http://app.example.com", false},
		{"list", "api.example.com", "https://app.example.com:8443", false},
		{"list", "api.example.com", "https://app.example.com.evil.example", false},
		{"list", "api.example.com", "http://localhost", false},
		{"list", "api.example.com", "ionic://localhost", false},

		{"any", "api.example.com", "https://evil.example", true},
		{"any", "api.example.com", "null", true},
		{"any", "api.example.com", "", true},
	} {
		rt := servers[c.server]
	requests:
		for _, method := range []string{"GET", "POST", "OPTIONS", "PUT"} {
			for _, query := range []string{"EIO=4&transport=polling&userId=ann", "EIO=4&transport=polling&sid=unknown", "EIO=4&transport=websocket&userId=ann"} {
				r := httptest.NewRequestWithContext(t.Context(), method, "/socket.io/?"+query, nil)
				r.Host = c.host
				r.Header.Set("Cookie", "session=s1")
				if c.origin != "" {
					r.Header.Set("Origin", c.origin)
					r.Header.Set("Sec-Fetch-Site", "cross-site") // not asked for where there is an Origin
				}
				if method == "OPTIONS" {
					r.Header.Set("Access-Control-Request-Method", "POST")
					r.Header.Set("Access-Control-Request-Headers", "x-my-header")
				}
				w := httptest.NewRecorder()
				rt.ServeHTTP(w, r)
				what := fmt.Sprintf("%s: %s %s of %q at %s", c.server, method, query, c.origin, c.host)
				h := w.Header()
				if got := w.Code != http.StatusForbidden; got != c.allowed {
					t.Errorf("%s: %d %s", what, w.Code, w.Body)
					break requests // one is enough
				}
				if h.Get("Vary") != "Origin" {
					t.Errorf("%s: Vary: %q", what, h["Vary"])
				}
				allow, credentials := c.origin, "true"
				if !c.allowed || c.origin == "" {
					allow, credentials = "", ""
				}
				if got := h.Get("Access-Control-Allow-Origin"); got != allow || len(h["Access-Control-Allow-Origin"]) > 1 {
					t.Errorf("%s: Access-Control-Allow-Origin: %q", what, h["Access-Control-Allow-Origin"])
				}
				if got := h.Get("Access-Control-Allow-Credentials"); got != credentials {
					t.Errorf("%s: Access-Control-Allow-Credentials: %q", what, got)
				}
				if !c.allowed {
					if body := w.Body.String(); !strings.HasPrefix(body, `{"code":4,"message":"Forbidden`) || h.Get("Content-Type") != "application/json" {
						t.Errorf("%s: %s", what, body)
					}
					continue
				}
				if method == "OPTIONS" {
					if w.Code != http.StatusNoContent || w.Body.Len() > 0 {
						t.Errorf("%s: %d %s", what, w.Code, w.Body)
					}
					if c.origin != "" && (h.Get("Access-Control-Allow-Methods") != "GET, POST, OPTIONS" || h.Get("Access-Control-Allow-Headers") != "x-my-header") {
						t.Errorf("%s: %v", what, h)
					}
				}
			}
		}
	}
}

// A browser may leave the Origin out of a cross-site GET. Such a request can do
// nothing but ride on a cookie.
func TestNoOrigin(t *testing.T) {
	strict := heymanito.New(heymanito.WithLogger(slog.New(slog.DiscardHandler)))
	lax := heymanito.New(heymanito.WithLogger(slog.New(slog.DiscardHandler)), heymanito.WithInsecureAnyOrigin())
	for _, c := range []struct {
		rt           *heymanito.Server
		site, cookie string
		allowed      bool
	}{
		{strict, "", "", true},
		{strict, "", "a=b", true},
		{strict, "same-origin", "a=b", true},
		{strict, "same-site", "a=b", true},
		{strict, "none", "a=b", true},
		{strict, "cross-site", "", true},
		{strict, "cross-site", "a=b", false},
		{lax, "cross-site", "a=b", true},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/socket.io/?EIO=4&transport=polling&sid=unknown", nil)
		if c.site != "" {
			r.Header.Set("Sec-Fetch-Site", c.site)
		}
		if c.cookie != "" {
			r.Header.Set("Cookie", c.cookie)
		}
		w := httptest.NewRecorder()
		c.rt.ServeHTTP(w, r)
		if got := w.Code != http.StatusForbidden; got != c.allowed {
			t.Errorf("Sec-Fetch-Site %q with cookie %q: %d %s", c.site, c.cookie, w.Code, w.Body)
		}
	}
}

// A session is not enough: a page of another origin that has got hold of one
// can neither poll it, nor post to it, nor take it to a WebSocket.
func TestOriginOfSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithOrigins("https://app.example.com"))
		do := func(method, query, origin, body string) (int, string, http.Header) {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), method, host+"/socket.io/?EIO=4&transport=polling"+query, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Origin", origin)
			resp, err := a.http.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return resp.StatusCode, string(b), resp.Header
		}
		const app, evil = "https://app.example.com", "https://evil.example"
		_, open, header := do("GET", "&userId=ann", app, "")
		if header.Get("Access-Control-Allow-Origin") != app {
			t.Errorf("the handshake was answered with %v", header)
		}
		_, sid, _ := strings.Cut(open, `"sid":"`)
		sid, _, _ = strings.Cut(sid, `"`)
		session := "&sid=" + sid
		for _, method := range []string{"GET", "POST"} {
			status, body, header := do(method, session, evil, "40")
			if status != http.StatusForbidden || header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s by another origin: %d %s %v", method, status, body, header)
			}
		}
		nc, err := a.net.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		var status *wiretest.ErrStatus
		_, err = wiretest.HandshakeWS(nc, "heymanito.test", "EIO=4&transport=websocket"+session, "Origin: "+evil)
		if !errors.As(err, &status) || status.Status != http.StatusForbidden {
			t.Errorf("a WebSocket by another origin: %v", err)
		}
		// And it was not disturbed by all that.
		if status, body, _ := do("POST", session, app, "40"); status != http.StatusOK {
			t.Errorf("POST: %d %s", status, body)
		}
		status200, body, header := do("GET", session, app, "")
		if status200 != http.StatusOK || !strings.HasPrefix(body, "40{") || header.Get("Access-Control-Allow-Origin") != app {
			t.Errorf("GET: %d %s %v", status200, body, header)
		}
		_, _ = wiretest.TryConnect(t, host, "ann", wiretest.On(a.net), wiretest.Header("Origin: "+evil))
		if _, _, header = do("POST", session, app, "1"); header.Get("Access-Control-Allow-Origin") != app {
			t.Errorf("POST: %v", header)
		}
	})
}
