//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// poller is a client that polls, on one connection.
type poller struct {
	nc   net.Conn
	r    *bufio.Reader
	addr string
	user string
	sid  string
}

// dialPoller connects user as far as online_users.
func dialPoller(ctx context.Context, t target, user string) (*poller, error) {
	nc, err := dialTCP(ctx, t, 0)
	if err != nil {
		return nil, err
	}
	p := &poller{nc: nc, r: bufio.NewReaderSize(nc, smallBuffer), addr: t.addr, user: user}
	if err := p.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("connecting %s by polling: %w", user, err), nc.Close())
	}
	return p, nil
}

func (p *poller) open() error {
	first, err := p.get()
	if err != nil {
		return err
	}
	var o struct{ SID string }
	if err := json.Unmarshal(bytes.TrimPrefix(first, []byte("0")), &o); err != nil {
		return fmt.Errorf("the open packet is %q: %w", first, err)
	}
	p.sid = o.SID
	if err := p.post("40"); err != nil {
		return err
	}
	for {
		answer, err := p.get()
		if err != nil {
			return err
		}
		for packet := range bytes.SplitSeq(answer, []byte{0x1e}) {
			k, err := kindOf(packet[:min(len(packet), peeked)])
			if err != nil || k == kindSnapshot {
				return err
			}
		}
	}
}

// wait has a poll waiting, until the connection ends.
func (p *poller) wait() error {
	for {
		answer, err := p.get()
		if err != nil {
			return err
		}
		if string(answer) != "2" {
			continue // nothing else has an answer
		}
		if err := p.post("3"); err != nil {
			return err
		}
	}
}

func (p *poller) get() ([]byte, error) { return p.request(http.MethodGet, "") }

func (p *poller) post(packet string) error {
	_, err := p.request(http.MethodPost, packet)
	return err
}

var errStatus = errors.New("the answer is not 200")

func (p *poller) request(method, body string) ([]byte, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s /socket.io/?EIO=4&transport=polling&userId=%s", method, p.user)
	if p.sid != "" {
		b.WriteString("&sid=" + p.sid)
	}
	fmt.Fprintf(&b, " HTTP/1.1\r\nHost: %s\r\n", p.addr)
	if method == http.MethodPost {
		fmt.Fprintf(&b, "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	if _, err := io.WriteString(p.nc, b.String()); err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(p.r, nil)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(answer.Body)
	err = errors.Join(err, answer.Body.Close())
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%w: %s %s", errStatus, answer.Status, content)
	}
	return content, err
}

// upgrade changes to a WebSocket, as stock clients do, and lets go of the
// connection that polled.
func (p *poller) upgrade(ctx context.Context, t target) (*client, error) {
	nc, err := dialTCP(ctx, t, 0)
	if err != nil {
		return nil, err
	}
	c := &client{nc: nc, r: bufio.NewReaderSize(nc, smallBuffer)}
	err = c.open(t, "userId="+p.user+"&sid="+p.sid)
	if err == nil {
		err = c.send("2probe")
	}
	if err == nil {
		_, err = c.until(kindProbe)
	}
	if err == nil {
		err = c.send("5")
	}
	err = errors.Join(err, p.nc.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("upgrading %s: %w", p.user, err), nc.Close())
	}
	return c, nil
}
