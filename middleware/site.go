package middleware

import (
	"net/http"

	"github.com/heymanito/heymanito"
)

// A browser sends a cookie along with every request to the cookie's host,
// whichever page has made it. What page that is, the browser says.

// checkSite refuses a request that a page of another site has made.
func (j *JWT) checkSite(r *http.Request) error {
	// Check lets every GET pass, and a handshake is one: ask about a POST.
	post := &http.Request{Method: http.MethodPost, URL: r.URL, Host: r.Host, Header: r.Header}
	if err := j.sites.Check(post); err != nil {
		return &heymanito.Error{
			Code:    heymanito.CodeForbidden,
			Message: "a page of another site has made this request, with a cookie for a token: send the token in the Authorization header or the auth object, or list the page's origin in middleware.WithCookie",
			Err:     err,
		}
	}
	return nil
}

// harmless reports whether a request changes nothing, and its answer can be read
// by nobody but a page of this site. A WebSocket begins with a GET, and is not.
func harmless(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return len(r.Header["Upgrade"]) == 0
	}
	return false
}
