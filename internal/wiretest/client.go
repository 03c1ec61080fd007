package wiretest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Event is an event from the server, or an ack (Name "ack 7").
type Event struct {
	Name        string
	AckID       string            // with which an event asks for an ack; "": it does not
	Args        []json.RawMessage // byte for byte
	Attachments [][]byte
}

// String is the event as a line for failures.
func (e Event) String() string {
	parts := make([]string, len(e.Args))
	for i, a := range e.Args {
		parts[i] = string(a)
		if len(parts[i]) > 120 {
			parts[i] = parts[i][:120] + "…"
		}
	}
	return e.Name + "(" + strings.Join(parts, ", ") + ")"
}

// Unquote decodes a JSON string; "" if it is none.
func Unquote(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// Client is a Socket.IO client on one WebSocket. It answers pings and keeps
// every event until somebody asks for it.
type Client struct {
	t    testing.TB
	User string
	SID  string // socket id
	WS   *WS

	tunnel atomic.Bool

	write sync.Mutex
	mu    sync.Mutex // guards the rest
	more  chan struct{}
	log   []Event // everything, in order
	taken []bool
	err   error // why reading ended
	ackID int
}

// Option changes how Connect connects.
type Option func(*options)

type options struct {
	auth    string
	query   url.Values
	headers []string
	dial    func() (net.Conn, error) // nil: TCP
}

// ws opens the WebSocket.
func (o *options) ws(base string) (*WS, error) {
	if o.dial == nil {
		return DialWS(base, o.query.Encode(), o.headers...)
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	nc, err := o.dial()
	if err != nil {
		return nil, err
	}
	ws, err := HandshakeWS(nc, u.Host, o.query.Encode(), o.headers...)
	if err != nil {
		_ = nc.Close()
	}
	return ws, err
}

// Auth sets the auth payload of the CONNECT packet, a JSON object.
func Auth(jsonObject string) Option { return func(o *options) { o.auth = jsonObject } }

// Query adds to the handshake's query.
func Query(key, value string) Option { return func(o *options) { o.query.Add(key, value) } }

// Connect connects user to the server at base and waits for online_users. The
// connection is cut when the test ends.
func Connect(t testing.TB, base, user string, opts ...Option) *Client {
	t.Helper()
	c, err := TryConnect(t, base, user, opts...)
	if err != nil {
		t.Fatalf("connecting %s: %v", user, err)
	}
	c.Expect("online_users")
	return c
}

// ErrRefused is a CONNECT_ERROR packet: its payload.
type ErrRefused struct{ Payload string }

func (e *ErrRefused) Error() string { return "refused: " + e.Payload }

// TryConnect is Connect up to the CONNECT packet's answer.
func TryConnect(t testing.TB, base, user string, opts ...Option) (*Client, error) {
	o := options{query: url.Values{"EIO": {"4"}, "transport": {"websocket"}}}
	if user != "" {
		o.query.Set("userId", user)
	}
	for _, f := range opts {
		f(&o)
	}
	ws, err := o.ws(base)
	if err != nil {
		return nil, err
	}
	if _, err := ws.Text(); err != nil { // the open packet
		ws.Close()
		return nil, err
	}
	if err := ws.Send("40" + o.auth); err != nil {
		ws.Close()
		return nil, err
	}
	for {
		p, err := ws.Text()
		switch {
		case err != nil:
			ws.Close()
			return nil, err
		case p == "2":
			err = ws.Send("3")
		case strings.HasPrefix(p, "44"):
			ws.Close()
			return nil, &ErrRefused{p[2:]}
		case strings.HasPrefix(p, "40"):
			var a struct{ SID string }
			if err := json.Unmarshal([]byte(p[2:]), &a); err != nil {
				ws.Close()
				return nil, err
			}
			c := &Client{t: t, User: user, SID: a.SID, WS: ws, more: make(chan struct{})}
			done := make(chan struct{})
			go func() { defer close(done); c.readLoop() }()
			t.Cleanup(func() { ws.Close(); <-done })
			return c, nil
		default:
			ws.Close()
			return nil, fmt.Errorf("%q before the answer to CONNECT", p)
		}
		if err != nil {
			ws.Close()
			return nil, err
		}
	}
}

func (c *Client) readLoop() {
	_ = c.WS.Net.SetReadDeadline(time.Time{})
	var binary *Event
	left := 0
	for {
		op, p, err := c.WS.read()
		if err != nil {
			c.end(err)
			return
		}
		switch {
		case c.tunnel.Load():
			continue
		case op == OpBinary && left > 0:
			binary.Attachments = append(binary.Attachments, p)
			if left--; left == 0 {
				c.add(*binary)
			}
			continue
		case op != OpText:
			continue
		case string(p) == "2":
			_ = c.Send("3") // if it fails, reading will too
			continue
		case len(p) < 2 || p[0] != '4':
			continue
		}
		e, n, err := parse(string(p[1:]))
		if err != nil {
			c.end(err)
			return
		}
		if n > 0 {
			binary, left = &e, n
			continue
		}
		c.add(e)
	}
}

func parse(p string) (e Event, attachments int, err error) {
	kind, rest := p[0], p[1:]
	if kind == '5' || kind == '6' {
		n, r, _ := strings.Cut(rest, "-")
		if attachments, err = strconv.Atoi(n); err != nil {
			return e, 0, err
		}
		rest = r
	}
	i := strings.IndexAny(rest, "[{")
	if kind == '1' {
		return Event{Name: of("disconnect", rest)}, 0, nil
	}
	if i < 0 {
		return e, 0, fmt.Errorf("the server sent %q", p)
	}
	switch kind {
	case '0':
		return Event{Name: of("connect", rest[:i]), Args: []json.RawMessage{json.RawMessage(rest[i:])}}, 0, nil
	case '4':
		return Event{Name: of("connect_error", rest[:i]), Args: []json.RawMessage{json.RawMessage(rest[i:])}}, 0, nil
	}
	if err := json.Unmarshal([]byte(rest[i:]), &e.Args); err != nil {
		return e, 0, err
	}
	if kind == '3' || kind == '6' {
		e.Name = "ack " + rest[:i]
		return e, attachments, nil
	}
	if err := json.Unmarshal(e.Args[0], &e.Name); err != nil {
		return e, 0, err
	}
	e.Args = e.Args[1:]
	e.AckID = rest[strings.LastIndexByte(rest[:i], ',')+1 : i]
	return e, attachments, nil
}

// of is the name of what happens to a namespace, "/chat," say; "" is the main one.
func of(name, namespace string) string {
	return strings.TrimSpace(name + " " + strings.TrimSuffix(namespace, ","))
}

func (c *Client) add(e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, e)
	c.taken = append(c.taken, false)
	close(c.more)
	c.more = make(chan struct{})
}

func (c *Client) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	close(c.more)
	c.more = make(chan struct{})
}

// Send sends a text message as it is; safe beside the pongs.
func (c *Client) Send(text string) error {
	c.write.Lock()
	defer c.write.Unlock()
	return c.WS.Send(text)
}

// Emit sends an event; args are JSON.
func (c *Client) Emit(name string, args ...string) {
	c.t.Helper()
	if err := c.Send(`42` + array(name, args)); err != nil {
		c.t.Fatalf("%s: emit %s: %v", c.User, name, err)
	}
}

func array(name string, args []string) string {
	return "[" + strings.Join(append([]string{strconv.Quote(name)}, args...), ",") + "]"
}

// Ack is what the server answers to events of the contract.
type Ack struct {
	Status, Code, Message string
	Retryable             bool
	RetryAfterMs          int64
	ID                    json.RawMessage
	TS                    int64
	Seq                   int64
	Delivery              string
	Duplicate             bool
	CallID, RoomName      string
	Result                json.RawMessage
	Raw                   json.RawMessage `json:"-"`
}

// EmitAck sends an event and waits for its ack, Timeout at the most.
func (c *Client) EmitAck(name string, args ...string) Ack {
	c.t.Helper()
	return c.Ask(Timeout, name, args...)
}

// Ask is EmitAck with a timeout.
func (c *Client) Ask(timeout time.Duration, name string, args ...string) Ack {
	c.t.Helper()
	c.mu.Lock()
	c.ackID++
	id := strconv.Itoa(c.ackID)
	c.mu.Unlock()
	if err := c.Send(`42` + id + array(name, args)); err != nil {
		c.t.Fatalf("%s: emit %s: %v", c.User, name, err)
	}
	e, err := c.Wait("ack "+id, timeout)
	if err != nil {
		c.t.Fatalf("%s: the ack of %s: %v", c.User, name, err)
	}
	var a Ack
	if len(e.Args) != 1 || json.Unmarshal(e.Args[0], &a) != nil {
		c.t.Fatalf("%s: %s was answered %v", c.User, name, e)
	}
	a.Raw = e.Args[0]
	return a
}

// Expect returns the first event called name that was not returned yet, and
// fails the test if none comes within Timeout.
func (c *Client) Expect(name string) Event {
	c.t.Helper()
	e, err := c.Wait(name, Timeout)
	if err != nil {
		c.t.Fatalf("%s: %v", c.User, err)
	}
	return e
}

// Wait is Expect with a timeout and an error.
func (c *Client) Wait(name string, timeout time.Duration) (Event, error) {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for {
		c.mu.Lock()
		for i, e := range c.log {
			if e.Name == name && !c.taken[i] {
				c.taken[i] = true
				c.mu.Unlock()
				return e, nil
			}
		}
		more, err, log := c.more, c.err, slices.Clone(c.log)
		c.mu.Unlock()
		if err != nil {
			return Event{}, fmt.Errorf("no %s before the connection ended (%w); got %v", name, err, log)
		}
		select {
		case <-more:
		case <-deadline.C:
			return Event{}, fmt.Errorf("no %s within %v; got %v", name, timeout, log)
		}
	}
}

// Log returns every event so far, in order.
func (c *Client) Log() []Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.log)
}

// Named returns every event so far that is called name.
func (c *Client) Named(name string) []Event {
	var l []Event
	for _, e := range c.Log() {
		if e.Name == name {
			l = append(l, e)
		}
	}
	return l
}

// ErrStillOpen is what Closed returns when the server has not closed in time.
var ErrStillOpen = errors.New("the connection is still open")

// Closed waits until the server has closed the connection and says how; a
// close frame is a *CloseError.
func (c *Client) Closed(timeout time.Duration) error {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for {
		c.mu.Lock()
		more, err := c.more, c.err
		c.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-more:
		case <-deadline.C:
			return ErrStillOpen
		}
	}
}

// Goodbye disconnects as socket.disconnect() does.
func (c *Client) Goodbye() {
	_ = c.Send("41") // a connection that has gone needs no goodbye
	c.write.Lock()
	defer c.write.Unlock()
	_ = c.WS.Write(Frame(true, OpClose, []byte{3, 232}))
}

// Tunnel takes the client where nothing reaches it: the connection stays until
// the server gives it up.
func (c *Client) Tunnel() { c.tunnel.Store(true) }

// Cut breaks the connection.
func (c *Client) Cut() { c.WS.Close() }

// Sync returns when the server has handled everything sent before it, and the
// client has received everything the server had queued for it by then.
func (c *Client) Sync() {
	c.t.Helper()
	c.EmitAck("wiretest-sync")
}
