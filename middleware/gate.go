package middleware

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// A GateOption changes what [HandshakeLimit] and [SecurityLog] make.
type GateOption func(*gateConfig)

type gateConfig struct {
	remoteAddr func(*http.Request) string
}

func newGateConfig(opts []GateOption) *gateConfig {
	c := &gateConfig{remoteAddr: func(r *http.Request) string { return r.RemoteAddr }}
	for _, opt := range opts {
		opt(c)
	}
	return c
}

// WithRemoteAddr sets how a client's address is found, as
// [heymanito.WithRemoteAddr] does; give both the same function. The default is
// Request.RemoteAddr: behind a proxy that is the proxy, and everybody is one.
// Read the header that your proxy sets, and only if it always sets it: a client
// can send the same header. It panics when f is nil.
func WithRemoteAddr(f func(*http.Request) string) GateOption {
	if f == nil {
		panic("middleware.WithRemoteAddr: the function is nil")
	}
	return func(c *gateConfig) { c.remoteAddr = f }
}

// client is what an address counts as: itself, with any port; of IPv6 its /64,
// which a client has as a whole. What is no address counts as it is.
func client(addr string) []byte {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		port, err := netip.ParseAddrPort(addr)
		if err != nil {
			return []byte(addr)
		}
		ip = port.Addr()
	}
	if ip = ip.Unmap(); ip.Is6() {
		all := ip.As16()
		return all[:8]
	}
	all := ip.As4()
	return all[:]
}

// hasSession reports whether a query that can be parsed has a sid that is not
// empty. Of several the first one counts, as for the server. It allocates only
// where a name is written in an unusual way.
func hasSession(query string) bool {
	for query != "" {
		var one string
		one, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(one, "=")
		if strings.ContainsAny(name, "%+") {
			plain, err := url.QueryUnescape(name)
			if err != nil {
				continue
			}
			name = plain
		}
		if name == "sid" {
			return value != ""
		}
	}
	return false
}
