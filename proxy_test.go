package heymanito_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// hasty is a proxy's connection to the server. It is given up when nothing
// comes for so long, as nginx, HAProxy and load balancers do.
type hasty struct {
	net.Conn
	patience time.Duration
}

func (c hasty) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// proxied puts a proxy before the app, with the settings of docs/operations.md,
// and returns the network that its clients are on.
func (a *app) proxied(patience time.Duration) *wiretest.Net {
	front := wiretest.NewNet()
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		c, err := a.net.Dial()
		return hasty{c, patience}, err
	}}
	srv := &http.Server{Handler: &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "upstream.test"})
			r.Out.Host = r.In.Host
			client, _, _ := net.SplitHostPort(r.In.RemoteAddr) // net/http's own
			r.Out.Header.Set("X-Real-IP", client)
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(front) }()
	a.t.Cleanup(func() {
		_ = srv.Close() // the listener's error was returned already
		<-served
		transport.CloseIdleConnections()
	})
	return front
}

// What docs/operations.md asks of a proxy is enough, and its 20 s are needed.
func TestBehindProxy(t *testing.T) {
	for _, c := range []struct {
		patience time.Duration
		enough   bool
	}{{21 * time.Second, true}, {19 * time.Second, false}} {
		t.Run(fmt.Sprintf("waits %s", c.patience), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := start(t, heymanito.WithRemoteAddr(func(r *http.Request) string { return r.Header.Get("X-Real-IP") }))
				front := a.proxied(c.patience)
				ann := a.join("ann", wiretest.On(front), wiretest.Header("Origin: "+host), wiretest.Header("X-Real-IP: 203.0.113.9"))

				transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return front.Dial() }}
				defer transport.CloseIdleConnections()
				bob, err := wiretest.OpenPollAt(host+"/socket.io/", "bob", &http.Client{Transport: transport})
				if err != nil {
					t.Fatal(err)
				}
				if err := bob.Send("40"); err != nil {
					t.Fatal(err)
				}
				if _, err := bob.Next(`42["online_users",`); err != nil {
					t.Fatal(err)
				}
				got := make(chan error, 1)
				var heard []string
				go func() {
					var err error
					heard, err = bob.Next(`42["receiveMessage",`)
					got <- err
				}()

				time.Sleep(time.Hour) // in which nobody says anything
				synctest.Wait()
				if !c.enough {
					if err := ann.Closed(time.Second); errors.Is(err, wiretest.ErrStillOpen) {
						t.Error("ann's WebSocket is still there")
					}
					select {
					case <-got:
					default:
						t.Error("bob is still polling")
						bob.Quit() // else his polls go on forever
					}
					return
				}
				for _, user := range []string{"ann", "bob"} {
					p, err := a.Inspect(t.Context(), user)
					if err != nil || len(p.Devices) != 1 {
						t.Fatalf("%s: %+v, %v", user, p, err)
					}
					if at := p.Devices[0].RemoteAddr; at != "192.0.2.1" {
						t.Errorf("%s is at %q, want the address that the proxy has seen", user, at)
					}
				}
				content := strings.Repeat("x", 999_000) // an event may have 1,000,000 bytes
				ann.ask("sendMessage", `{"id":1,"senderChatPath":"ann","recipientChatPath":"bob","content":"`+content+`"}`)
				if err := <-got; err != nil {
					t.Fatal(err)
				}
				if last := heard[len(heard)-1]; !strings.Contains(last, content) {
					t.Errorf("bob has heard %.200q", last)
				}
				if err := bob.Send(`42["sendMessage",{"id":2,"senderChatPath":"bob","recipientChatPath":"ann","content":"` + content + `"}]`); err != nil {
					t.Fatal(err)
				}
				if e := ann.Expect("receiveMessage"); !strings.Contains(string(e.Args[0]), content) {
					t.Errorf("ann has heard %.200v", e)
				}
				bob.Quit()
			})
		})
	}
}
