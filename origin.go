package heymanito

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/heymanito/heymanito/internal/engineio"
)

// checkOrigin applies the origin rules to a request of any kind, and says in
// the CORS headers that a page may read the answer. It reports whether the
// request may go on; if not, it is answered.
func (s *Server) checkOrigin(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	h := w.Header()
	h.Add("Vary", "Origin")
	if origin == "" {
		// A browser sends no Origin with some cross-site GETs. They can do
		// nothing but use a cookie, so without one there is nothing to abuse.
		if r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Cookie") != "" && !s.cfg.anyOrigin {
			engineio.Forbid(w, r, "Forbidden: a cross-site request with a cookie and no Origin")
			return false
		}
	} else {
		if !s.allowedOrigin(origin, r) {
			engineio.Forbid(w, r, "Forbidden: the origin is not allowed")
			return false
		}
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	if r.Method == http.MethodOptions {
		h.Set("Allow", "GET, POST, OPTIONS")
		if origin != "" {
			h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
			if ask := r.Header.Get("Access-Control-Request-Headers"); ask != "" {
				h.Set("Access-Control-Allow-Headers", ask)
			}
			h.Set("Access-Control-Max-Age", "600")
		}
		w.WriteHeader(http.StatusNoContent)
		return false
	}
	return true
}

func (s *Server) allowedOrigin(origin string, r *http.Request) bool {
	if s.cfg.anyOrigin || s.cfg.origins[canonicalOrigin(origin)] {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	return sameHost(u.Host, r.Host, u.Scheme)
}

// canonicalOrigin is an origin in lower case, without the scheme's own port.
// Swift's client writes the scheme of its WebSocket, wss, where a browser
// writes https.
func canonicalOrigin(o string) string {
	o = strings.ToLower(o)
	if rest, ok := strings.CutPrefix(o, "ws"); ok && (strings.HasPrefix(rest, "://") || strings.HasPrefix(rest, "s://")) {
		o = "http" + rest
	}
	for scheme, port := range map[string]string{"http://": ":80", "https://": ":443"} {
		if strings.HasPrefix(o, scheme) {
			o = strings.TrimSuffix(o, port)
		}
	}
	return o
}

// sameHost compares hosts with their ports; the scheme's own port may be left
// out. The scheme itself is not compared: a proxy may have taken TLS off.
func sameHost(a, b, scheme string) bool {
	port := "80"
	if scheme == "https" || scheme == "wss" {
		port = "443"
	}
	full := func(h string) string {
		if _, _, err := net.SplitHostPort(h); err != nil {
			return net.JoinHostPort(strings.Trim(h, "[]"), port)
		}
		return h
	}
	return strings.EqualFold(full(a), full(b))
}
