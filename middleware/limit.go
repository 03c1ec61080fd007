package middleware

import (
	"fmt"
	"net/http"

	"github.com/heymanito/heymanito/internal/engineio"
)

// maxRate bounds both numbers of HandshakeLimit.
const maxRate = 1_000_000

// codeBadRequest is the Engine.IO code that this server sends where a client may
// come again later.
const codeBadRequest = 3

// HandshakeLimit limits how many new connections come from one address: burst at
// once, and perMinute a minute in the long run. Put it around the realtime
// server:
//
//	mux.Handle("/socket.io/", middleware.HandshakeLimit(60, 30)(rt))
//
// More are answered 429, with a Retry-After in seconds and the body
//
//	{"code":3,"message":"rate_limited: too many new connections from this address"}
//
// after which stock clients come back with their back-off. What has a sid in its
// query (polls, posts, the upgrade to WebSocket) belongs to a connection that
// there is, and passes untouched, as does a preflight. An address of IPv6 counts
// as its /64. A stock client that cannot get in tries about 14 times in the first
// minute and 12 times in each one after that. Add up those that may share an
// address, such as a school's: all of them come back at once when the server
// starts again.
//
// It remembers 65,536 addresses, in 3.5 MB: those that have come most often of late.
// An address that it does not know while it is full is counted like the one that it
// forgets for it, which is the quietest of all: so nobody gains by being forgotten.
// It takes more than 65,536 addresses that come at the full rate, all at once, for
// a newcomer to feel the limit of others; all strangers together may then come
// 65,536 times perMinute.
//
// What comes from many addresses is bounded by [heymanito.WithMaxHandshakes].
// HandshakeLimit panics unless both numbers are between 1 and 1,000,000.
func HandshakeLimit(perMinute, burst int, opts ...GateOption) func(http.Handler) http.Handler {
	for name, n := range map[string]int{"perMinute": perMinute, "burst": burst} {
		if n < 1 || n > maxRate {
			panic(fmt.Sprintf("middleware.HandshakeLimit: %s is %d, it must be between 1 and %d", name, n, maxRate))
		}
	}
	gate, limit := newGateConfig(opts), newMeter(perMinute, burst)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !hasSession(r.URL.RawQuery) && r.Method != http.MethodOptions {
				if wait := limit.take(client(gate.remoteAddr(r))); wait > 0 {
					engineio.Refuse(w, r, http.StatusTooManyRequests, codeBadRequest, "rate_limited: too many new connections from this address", wait)
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	}
}
