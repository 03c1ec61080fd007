package wiretest

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
)

// PlainEnv is the environment variable that makes Listener hide what its
// connections are, and Handler that its ResponseWriters are net/http's own.
const PlainEnv = "HEYMANITO_TEST_PLAIN"

// Listener returns l; or, with PlainEnv set, one whose connections do not say
// that they are TCP: the server then takes the path that it has for TLS and for
// systems whose sockets it cannot read itself.
func Listener(l net.Listener) net.Listener {
	if os.Getenv(PlainEnv) == "" {
		return l
	}
	return Hiding(l)
}

// Hiding returns a listener whose connections do not say that they are TCP.
func Hiding(l net.Listener) net.Listener { return hiding{l} }

// Handler returns h; or, with PlainEnv set, one that is given ResponseWriters as
// middleware makes them: its polls then wait in net/http.
func Handler(h http.Handler) http.Handler {
	if os.Getenv(PlainEnv) == "" {
		return h
	}
	return Wrapping(h)
}

// Wrapping returns a handler that is given ResponseWriters as middleware makes
// them, with Unwrap and nothing else.
func Wrapping(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(wrapped{w}, r) })
}

type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Serve is httptest.NewServer of a Handler on a Listener.
func Serve(h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(Handler(h))
	s.Listener = Listener(s.Listener)
	s.Start()
	return s
}

type hiding struct{ net.Listener }

func (h hiding) Accept() (net.Conn, error) {
	nc, err := h.Listener.Accept()
	if t, ok := nc.(*net.TCPConn); ok {
		return hidden{nc, t}, nil
	}
	return nc, err
}

// hidden has of a TCP connection what one under TLS has.
type hidden struct {
	net.Conn
	tcp *net.TCPConn
}

func (h hidden) CloseWrite() error { return h.tcp.CloseWrite() }

func (h hidden) NetConn() net.Conn { return h.tcp }
