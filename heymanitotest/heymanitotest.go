// Package heymanitotest tests a host's own program with clients that speak to it
// as the app's do, over a real connection:
//
//	func TestChat(t *testing.T) {
//		app := heymanitotest.Serve(t, newRouter()) // the host's handler, rt mounted in it
//		alice := app.Connect(t, "alice", heymanitotest.Token(tokenFor("alice")))
//		bob := app.Connect(t, "bob", heymanitotest.Token(tokenFor("bob")))
//		alice.Ask("sendMessage", map[string]any{"id": "1", "senderChatPath": "alice",
//			"recipientChatPath": "bob", "content": "hola"}).OK(t)
//		bob.Expect("receiveMessage").Into(t, 0, &message)
//	}
//
// The first functions are [Serve] and [App.Connect]; a [Client] then asks and
// expects. What does not happen within [Timeout] fails the test, with all that the
// client has heard. Clients are on WebSocket, without the polling that stock
// clients begin with, and do not reconnect by themselves. They end with the test.
package heymanitotest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// Timeout is how long a client waits for what it expects, unless [Within] says
// otherwise: 10 s, so that it is a busy machine that fails no test.
const Timeout = wiretest.Timeout

// App is a host's handler being served.
type App struct {
	// URL is where, without a slash at its end, for requests to the host's API.
	URL  string
	path string
}

// AppOption changes how an [App] is served.
type AppOption func(*App)

// Path says where the heymanito server is mounted; "/socket.io/" if not given.
func Path(path string) AppOption { return func(a *App) { a.path = path } }

// Serve serves h on a loopback address until the test ends. Shutting down the
// heymanito server in it is up to the test. Use t.Cleanup after Serve, so that it
// is done before h is served no more.
func Serve(t testing.TB, h http.Handler, opts ...AppOption) *App {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	a := &App{URL: srv.URL, path: "/socket.io/"}
	for _, o := range opts {
		o(a)
	}
	return a
}

// Option changes how a client connects.
type Option func(*settings)

type settings struct {
	auth   map[string]any
	wire   []wiretest.Option
	within time.Duration
}

// Token puts a token into the auth payload of the CONNECT packet, as the app does.
func Token(token string) Option { return Auth("token", token) }

// Auth puts a member into the auth payload of the CONNECT packet: "deviceId",
// "features", "since", or whatever the host's AuthFunc looks for.
func Auth(key string, value any) Option { return func(s *settings) { s.auth[key] = value } }

// Header adds a header to the request that opens the connection.
func Header(key, value string) Option {
	return func(s *settings) { s.wire = append(s.wire, wiretest.Header(key+": "+value)) }
}

// Query adds to the query of the request that opens the connection, besides the
// userId.
func Query(key, value string) Option {
	return func(s *settings) { s.wire = append(s.wire, wiretest.Query(key, value)) }
}

// Within says how long the client waits for what it expects; [Timeout] if not given.
func Within(d time.Duration) Option { return func(s *settings) { s.within = d } }

func (a *App) try(t testing.TB, user string, opts []Option) (*Client, error) {
	t.Helper()
	s := settings{auth: map[string]any{}, within: Timeout}
	for _, o := range opts {
		o(&s)
	}
	if len(s.auth) > 0 {
		auth, err := json.Marshal(s.auth)
		if err != nil {
			t.Fatalf("heymanitotest: the auth payload of %s: %v", user, err)
		}
		s.wire = append(s.wire, wiretest.Auth(string(auth)))
	}
	c, err := wiretest.TryConnect(t, a.URL+a.path, user, s.wire...)
	if err != nil {
		return nil, err
	}
	return &Client{User: user, SocketID: c.SID, t: t, wire: c, within: s.within}, nil
}

// Connect connects a device of user, and returns when it knows who is online. What
// was waiting for it in the inbox comes then, up to the event inboxReady: a message
// that is sent to it before that is acked "queued". It fails the test when the
// device is not let in.
func (a *App) Connect(t testing.TB, user string, opts ...Option) *Client {
	t.Helper()
	c, err := a.try(t, user, opts)
	if err != nil {
		t.Fatalf("%s was not let in: %v", user, err)
	}
	c.wire.Expect("online_users") // which Within is not about
	return c
}

// Refused connects a device of user that is not to be let in, and returns the
// code: that of the CONNECT_ERROR, after which stock clients stop; or
// CodeUnavailable when the transport was closed, or the handshake answered 503,
// after which they try again. It fails the test when the device is let in, and
// when the handshake is answered otherwise, say 403 for its Origin.
func (a *App) Refused(t testing.TB, user string, opts ...Option) heymanito.Code {
	t.Helper()
	_, err := a.try(t, user, opts)
	if err == nil {
		t.Fatalf("%s was let in", user)
	}
	if refused, ok := errors.AsType[*wiretest.ErrRefused](err); ok {
		var said struct {
			Data struct{ Code heymanito.Code }
		}
		if err := json.Unmarshal([]byte(refused.Payload), &said); err != nil {
			t.Fatalf("%s was refused with %s: %v", user, refused.Payload, err)
		}
		return said.Data.Code
	}
	if closed, ok := errors.AsType[*wiretest.CloseError](err); ok && strings.Contains(closed.Reason, "unavailable") {
		return heymanito.CodeUnavailable
	}
	if status, ok := errors.AsType[*wiretest.ErrStatus](err); ok && status.Status == http.StatusServiceUnavailable {
		return heymanito.CodeUnavailable
	}
	t.Fatalf("%s was neither let in nor refused: %v", user, err)
	return ""
}

// Client is a device of a user. It answers pings, and keeps all that it hears until
// it is asked for. Its methods that wait are for one goroutine at a time.
type Client struct {
	User     string // chatPath
	SocketID string // the server's name for it, see [heymanito.Device]

	t      testing.TB
	wire   *wiretest.Client
	within time.Duration
}

// Event is an event that a client has heard.
type Event struct {
	Name        string
	Args        []json.RawMessage // as they came, byte for byte
	Attachments [][]byte          // binary data, which placeholders in Args stand for
}

// String is the event in a line: its name and the beginnings of its arguments.
func (e Event) String() string { return wiretest.Event{Name: e.Name, Args: e.Args}.String() }

// heard is an event as the client's connection has it.
func heard(e wiretest.Event) Event {
	return Event{Name: e.Name, Args: e.Args, Attachments: e.Attachments}
}

// Into decodes an argument of the event, the first of which is 0, into v, or fails
// the test.
func (e Event) Into(t testing.TB, arg int, v any) {
	t.Helper()
	if arg >= len(e.Args) {
		t.Fatalf("%v has no argument %d", e, arg)
	}
	if err := json.Unmarshal(e.Args[arg], v); err != nil {
		t.Fatalf("argument %d of %v: %v", arg, e, err)
	}
}

// Ack is the answer to an event.
type Ack struct {
	Status  string          // "ok" or "error"
	Code    heymanito.Code  // of an error
	Message string          // of an error, in words
	Raw     json.RawMessage // all of it: an object

	event string
}

// OK fails the test unless the ack says so, and returns it.
func (a Ack) OK(t testing.TB) Ack {
	t.Helper()
	if a.Status != "ok" {
		t.Fatalf("%s was answered %s", a.event, a.Raw)
	}
	return a
}

// Refused fails the test unless the ack is an error with this code.
func (a Ack) Refused(t testing.TB, code heymanito.Code) {
	t.Helper()
	if a.Status != "error" || a.Code != code {
		t.Fatalf("%s was answered %s, want the code %s", a.event, a.Raw, code)
	}
}

// Into decodes the ack into v, or fails the test.
func (a Ack) Into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Raw, v); err != nil {
		t.Fatalf("the ack %s of %s: %v", a.Raw, a.event, err)
	}
}

// Emit sends an event and waits for nothing. Each of args becomes an argument, as
// JSON ([json.Marshal]). It fails the test when the connection has ended.
func (c *Client) Emit(event string, args ...any) {
	c.t.Helper()
	c.wire.Emit(event, c.arguments(event, args)...)
}

// Ask sends an event and waits for its ack, which it expects. Each of args becomes
// an argument, as JSON ([json.Marshal]).
func (c *Client) Ask(event string, args ...any) Ack {
	c.t.Helper()
	got := c.wire.Ask(c.within, event, c.arguments(event, args)...)
	return Ack{Status: got.Status, Code: heymanito.Code(got.Code), Message: got.Message, Raw: got.Raw, event: event}
}

func (c *Client) arguments(event string, args []any) []string {
	c.t.Helper()
	texts := make([]string, len(args))
	for i, arg := range args {
		b, err := json.Marshal(arg)
		if err != nil {
			c.t.Fatalf("%s: argument %d of %s: %v", c.User, i, event, err)
		}
		texts[i] = string(b)
	}
	return texts
}

// Expect returns the first event of this name that was not returned before, and
// waits for it if it has not come. It fails the test when it does not come in
// time, and says what has.
func (c *Client) Expect(event string) Event {
	c.t.Helper()
	e, err := c.wire.Wait(event, c.within)
	if err != nil {
		c.t.Fatalf("%s: %v", c.User, err)
	}
	return heard(e)
}

// ExpectNone fails the test if there is an event of this name that Expect has not
// returned, once the server has handled all that this client has sent, and the
// client has heard all that was queued for it by then. What another client has
// sent is handled for sure when that one has its ack.
func (c *Client) ExpectNone(event string) {
	c.t.Helper()
	c.wire.Sync()
	if e, err := c.wire.Wait(event, 0); err == nil {
		c.t.Fatalf("%s has heard %v", c.User, e)
	}
}

// Heard returns all that the client has heard so far, acks left out, in order.
func (c *Client) Heard() []Event {
	var all []Event
	for _, e := range c.wire.Log() {
		if !strings.HasPrefix(e.Name, "ack ") {
			all = append(all, heard(e))
		}
	}
	return all
}

// Disconnect says goodbye, as socket.disconnect() of a stock client does.
func (c *Client) Disconnect() { c.wire.Goodbye() }

// Cut breaks the connection without a word, as a phone does whose network changes:
// the user stays online for the offline grace.
func (c *Client) Cut() { c.wire.Cut() }

// ExpectEnd waits until the server has ended the connection, fails the test when
// it does not in time, and returns how: "sessionEnded" and its code, or the code
// and the reason of the WebSocket's close frame.
func (c *Client) ExpectEnd() string {
	c.t.Helper()
	err := c.wire.Closed(c.within)
	if errors.Is(err, wiretest.ErrStillOpen) {
		c.t.Fatalf("%s is still connected after %v", c.User, c.within)
	}
	if ended := c.wire.Named("sessionEnded"); len(ended) > 0 {
		var said struct{ Code string }
		heard(ended[0]).Into(c.t, 0, &said)
		return "sessionEnded " + said.Code
	}
	if closed, ok := errors.AsType[*wiretest.CloseError](err); ok {
		return fmt.Sprintf("%d %s", closed.Code, closed.Reason)
	}
	return err.Error()
}
