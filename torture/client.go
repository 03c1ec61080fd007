package torture

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/heymanito/heymanito/internal/wiretest"
)

// packet is one Engine.IO packet: a text with its type in front, or the bytes
// of an attachment.
type packet struct {
	text   string
	binary []byte // nil: it is a text
}

// client is one Engine.IO session, on polling, on a WebSocket, or on the way
// from the one to the other. What comes is handed on by one goroutine, in order.
type client struct {
	link  *link
	query url.Values
	take  func(p packet) bool // false: the device has turned away, and ends the client some time
	http  *http.Client
	ctx   context.Context // ends with the session
	end   context.CancelCauseFunc
	done  chan struct{} // closed when nothing will come any more

	patience time.Duration // for how long nothing may come
	watch    *time.Timer

	mu       sync.Mutex // guards writing
	ws       *wiretest.WS
	pausing  bool          // an upgrade: what is to be sent waits
	waiting  []packet      // for its end
	polled   chan struct{} // closed when polling has stopped for an upgrade
	upgraded chan struct{} // closed when ws is to be read
}

// errLeft is the end of a session that the device has turned away from.
var errLeft = errors.New("left")

// dialClient opens a session for user, by WebSocket or by polling. Nothing is
// read before start.
func dialClient(l *link, user string, websocket bool, take func(p packet) bool) (*client, error) {
	c := &client{
		link: l, take: take,
		query:  url.Values{"EIO": {"4"}, "transport": {"polling"}, "userId": {user}},
		done:   make(chan struct{}),
		polled: make(chan struct{}), upgraded: make(chan struct{}),
	}
	c.ctx, c.end = context.WithCancelCause(context.Background())
	context.AfterFunc(c.ctx, func() { l.cut(false) })
	begin := c.openPolling
	if websocket {
		begin = c.openWebSocket
	}
	open, err := begin()
	var told struct {
		SID                       string
		PingInterval, PingTimeout int
	}
	if err == nil {
		err = json.Unmarshal([]byte(strings.TrimPrefix(open, "0")), &told)
	}
	if err != nil {
		c.end(err)
		return nil, err
	}
	c.query.Set("sid", told.SID)
	c.patience = time.Duration(told.PingInterval+told.PingTimeout) * time.Millisecond
	return c, nil
}

func (c *client) openWebSocket() (open string, err error) {
	if c.ws, err = c.handshake(); err != nil {
		return "", err
	}
	return c.ws.Text()
}

// handshake opens a WebSocket.
func (c *client) handshake() (*wiretest.WS, error) {
	nc, err := c.link.open()
	if err != nil {
		return nil, err
	}
	q := maps.Clone(c.query)
	q.Set("transport", "websocket")
	return wiretest.HandshakeWS(nc, c.link.addr, q.Encode())
}

func (c *client) openPolling() (string, error) {
	c.http = &http.Client{Transport: &http.Transport{
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return c.link.open() },
		DisableCompression: true,
	}}
	return c.get()
}

// start reads what comes, until the session ends.
func (c *client) start() {
	c.watch = time.AfterFunc(c.patience, func() { c.end(errors.New("nothing came for too long")) })
	go func() {
		defer close(c.done)
		err := c.poll()
		if err == nil {
			err = c.read()
		}
		if errors.Is(err, errLeft) {
			<-c.ctx.Done() // until somebody ends what is left
		}
		c.end(err)
		c.watch.Stop()
		if c.http != nil {
			c.http.CloseIdleConnections()
		}
	}()
}

// poll polls until the session ends, or nil when a WebSocket has taken over.
func (c *client) poll() error {
	if c.http == nil {
		return nil
	}
	for {
		c.mu.Lock()
		pausing := c.pausing
		c.mu.Unlock()
		if pausing {
			close(c.polled)
			select {
			case <-c.upgraded:
				return nil
			case <-c.ctx.Done():
				return context.Cause(c.ctx)
			}
		}
		body, err := c.get()
		if err != nil {
			return err
		}
		for text := range strings.SplitSeq(body, "\x1e") {
			p := packet{text: text}
			if rest, ok := strings.CutPrefix(text, "b"); ok {
				if p.binary, err = base64.StdEncoding.DecodeString(rest); err != nil {
					return err
				}
				if p.binary == nil {
					p.binary = []byte{}
				}
			}
			if err := c.handle(p); err != nil {
				return err
			}
		}
	}
}

// read reads the WebSocket until the session ends.
func (c *client) read() error {
	for {
		op, b, err := c.ws.ReadWithin(0)
		if err != nil {
			return err
		}
		p := packet{text: string(b)}
		if op == wiretest.OpBinary {
			p = packet{binary: b}
		}
		if err := c.handle(p); err != nil {
			return err
		}
	}
}

// handle takes a packet. A device that has turned away from it answers no ping:
// it has not read what was in front.
func (c *client) handle(p packet) error {
	c.watch.Reset(c.patience)
	switch {
	case p.text == "1":
		return io.EOF
	case !c.take(p):
		return errLeft
	case p.text == "2":
		return c.send(packet{text: "3"})
	}
	return nil
}

func (c *client) url() string { return "http://" + c.link.addr + "/socket.io/?" + c.query.Encode() }

func (c *client) get() (string, error) {
	r, err := http.NewRequestWithContext(c.ctx, http.MethodGet, c.url(), nil)
	if err != nil {
		return "", err
	}
	return c.do(r)
}

func (c *client) do(r *http.Request) (string, error) {
	resp, err := c.http.Do(r)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("answered %d: %s", resp.StatusCode, body)
	}
	return string(body), nil
}

// send sends packets, in one piece.
func (c *client) send(packets ...packet) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pausing {
		c.waiting = append(c.waiting, packets...)
		return nil
	}
	return c.write(packets)
}

func (c *client) write(packets []packet) error { // with mu
	if len(packets) == 0 {
		return nil
	}
	if c.ws != nil {
		return c.ws.Write(frames(packets))
	}
	r, err := http.NewRequestWithContext(c.ctx, http.MethodPost, c.url(), bytes.NewReader(payload(packets)))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "text/plain;charset=UTF-8")
	_, err = c.do(r)
	if err != nil {
		c.end(err) // a stock client ends, too
	}
	return err
}

// frames is packets as they go over a WebSocket.
func frames(packets []packet) (b []byte) {
	for _, p := range packets {
		if p.binary != nil {
			b = append(b, wiretest.Frame(true, wiretest.OpBinary, p.binary)...)
		} else {
			b = append(b, wiretest.Texts(p.text)...)
		}
	}
	return b
}

// payload is packets as they are posted.
func payload(packets []packet) (b []byte) {
	for i, p := range packets {
		if i > 0 {
			b = append(b, '\x1e')
		}
		if p.binary != nil {
			b = base64.StdEncoding.AppendEncode(append(b, 'b'), p.binary)
		} else {
			b = append(b, p.text...)
		}
	}
	return b
}

// upgradeStep is how far an upgrade has come.
type upgradeStep int

const (
	upgradeDialed upgradeStep = iota
	upgradeProbing
	upgradeProbed
	upgradePaused
	upgradeSaid
	upgradeDone
)

// upgrade moves a polling session to a WebSocket. At each step it asks on
// whether to go on; if not, it leaves everything as it is.
func (c *client) upgrade(on func(upgradeStep) bool) error {
	ws, err := c.handshake()
	if err != nil || !on(upgradeDialed) {
		return err
	}
	if err := ws.Send("2probe"); err != nil || !on(upgradeProbing) {
		return err
	}
	if answer, err := ws.Text(); err != nil || answer != "3probe" {
		return fmt.Errorf("the probe was answered %q: %w", answer, err)
	}
	if !on(upgradeProbed) {
		return nil
	}
	c.mu.Lock()
	c.pausing = true // and no POST is under way
	c.mu.Unlock()
	select {
	case <-c.polled:
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
	if !on(upgradePaused) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ws.Send("5"); err != nil || !on(upgradeSaid) {
		return err
	}
	c.ws, c.pausing = ws, false
	err = c.write(c.waiting)
	c.waiting = nil
	close(c.upgraded)
	on(upgradeDone)
	return err
}
