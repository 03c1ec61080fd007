//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

// target is where the clients of a run connect to.
type target struct {
	addr string
	tls  *tls.Config // nil: plain TCP
}

// client is a WebSocket that costs next to nothing, so that what is measured is
// the server: it looks at the first bytes of a frame, and sends frames that were
// built before. Its mask is all zero.
type client struct {
	nc   net.Conn
	r    *bufio.Reader
	rest int  // of the payload of the frame
	more bool // the message goes on in another frame
}

const (
	smallBuffer = 2 << 10
	largeBuffer = 16 << 10
	peeked      = 48 // of a payload
)

var errWebSocket = errors.New("the WebSocket did not open")

// dialTCP connects to t. Everything on the connection has to have happened when
// ctx ends. A receive buffer of 0 is the system's choice.
func dialTCP(ctx context.Context, t target, receiveBuffer int) (net.Conn, error) {
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if receiveBuffer == 0 {
			return nil
		}
		said := raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer)
		})
		return errors.Join(said, err)
	}}
	nc, err := d.DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return nil, err
	}
	if t.tls != nil {
		nc = tls.Client(nc, t.tls)
	}
	if end, ok := ctx.Deadline(); ok {
		if err := nc.SetDeadline(end); err != nil {
			return nil, errors.Join(err, nc.Close())
		}
	}
	return nc, nil
}

// dial connects user as far as the answer to CONNECT.
func dial(ctx context.Context, t target, user string, buffer, receiveBuffer int) (*client, error) {
	c, err := dialOpen(ctx, t, user, buffer, receiveBuffer)
	if err != nil {
		return nil, err
	}
	if _, err := c.until(kindConnected); err != nil {
		return nil, errors.Join(fmt.Errorf("connecting %s: %w", user, err), c.nc.Close())
	}
	return c, nil
}

// dialOpen connects user as far as CONNECT, which is sent.
func dialOpen(ctx context.Context, t target, user string, buffer, receiveBuffer int) (*client, error) {
	nc, err := dialTCP(ctx, t, receiveBuffer)
	if err != nil {
		return nil, err
	}
	c := &client{nc: nc, r: bufio.NewReaderSize(nc, buffer)}
	err = c.open(t, "userId="+user)
	if err == nil {
		_, err = c.until(kindOpen)
	}
	if err == nil {
		err = c.send("40")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connecting %s: %w", user, err), nc.Close())
	}
	return c, nil
}

// open is the WebSocket handshake.
func (c *client) open(t target, query string) error {
	_, err := fmt.Fprintf(c.nc, "GET /socket.io/?EIO=4&transport=websocket&%s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"+
		"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", query, t.addr)
	if err != nil {
		return err
	}
	status, err := c.r.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(status, "HTTP/1.1 101 ") {
		return fmt.Errorf("%w: %q", errWebSocket, status)
	}
	for line := ""; line != "\r\n"; {
		if line, err = c.r.ReadString('\n'); err != nil {
			return err
		}
	}
	return nil
}

// kind is what a message is, as far as its first bytes say.
type kind uint8

const (
	kindOther kind = iota
	kindOpen
	kindPing
	kindConnected
	kindSnapshot // online_users
	kindOnline   // contact_online
	kindMessage  // receiveMessage
	kindAck
	kindProbe
)

var errEnded = errors.New("the server ended the connection")

// kindOf reports what a text message is that begins with p.
func kindOf(p []byte) (kind, error) {
	is := func(begin string) bool { return len(p) >= len(begin) && string(p[:len(begin)]) == begin }
	switch {
	case is(`42["receiveMessage"`):
		return kindMessage, nil
	case is("43"):
		if bytes.Contains(p, []byte(`"error"`)) {
			return kindAck, fmt.Errorf("the server refused a message: %s", p)
		}
		return kindAck, nil
	case is(`42["contact_online"`):
		return kindOnline, nil
	case is(`42["online_users"`):
		return kindSnapshot, nil
	case string(p) == "2":
		return kindPing, nil
	case is("0"):
		return kindOpen, nil
	case is("40"):
		return kindConnected, nil
	case string(p) == "3probe":
		return kindProbe, nil
	case is("1"), is("41"), is("44"):
		return kindOther, fmt.Errorf("%w: %s", errEnded, p)
	}
	return kindOther, nil
}

const opText, opClose = 1, 8

// next is the next message: its kind and its first bytes, valid until the next
// call of anything. Pings it answers.
func (c *client) next() (kind, []byte, error) {
	if err := c.skip(); err != nil {
		return 0, nil, err
	}
	op, err := c.header()
	if err != nil {
		return 0, nil, err
	}
	begin, err := c.r.Peek(min(c.rest, peeked))
	switch {
	case err != nil:
		return 0, nil, err
	case op == opClose:
		return 0, nil, fmt.Errorf("%w: close frame %q", errEnded, begin)
	case op != opText:
		return kindOther, begin, nil
	}
	k, err := kindOf(begin)
	if k == kindPing {
		err = c.send("3")
	}
	return k, begin, err
}

// header reads the header of a frame.
func (c *client) header() (op byte, err error) {
	head, err := c.r.Peek(2)
	if err != nil {
		return 0, err
	}
	op, c.more = head[0]&0x0f, head[0]&0x80 == 0
	size, long := int(head[1]), 0
	switch size {
	case 126:
		long = 2
	case 127:
		long = 8
	}
	if long > 0 {
		if head, err = c.r.Peek(2 + long); err != nil {
			return 0, err
		}
		size = int(binary.BigEndian.Uint16(head[2:]))
		if long == 8 {
			size = int(binary.BigEndian.Uint64(head[2:]))
		}
	}
	c.rest = size
	_, err = c.r.Discard(2 + long)
	return op, err
}

// skip reads past what is left of a message.
func (c *client) skip() error { return c.walk(func([]byte) {}) }

// walk gives f what is left of a message, piece by piece. Its frames come
// together: none of the servers has anything in between.
func (c *client) walk(f func(piece []byte)) error {
	for c.rest > 0 || c.more {
		if c.rest == 0 {
			if _, err := c.header(); err != nil {
				return err
			}
			continue
		}
		if _, err := c.r.Peek(1); err != nil {
			return err
		}
		piece, err := c.r.Peek(min(c.rest, c.r.Buffered()))
		if err != nil {
			return err
		}
		f(piece)
		c.rest -= len(piece)
		if _, err := c.r.Discard(len(piece)); err != nil {
			return err
		}
	}
	return nil
}

// until reads on until a message of kind k.
func (c *client) until(k kind) ([]byte, error) {
	for {
		got, begin, err := c.next()
		if err != nil || got == k {
			return begin, err
		}
	}
}

// send sends a short message; it is safe beside other writes.
func (c *client) send(text string) error {
	_, err := c.nc.Write(append(frameHead(len(text)), text...))
	return err
}

// frameHead is the header of a frame of size bytes, with a mask that is all zero.
func frameHead(size int) []byte {
	switch {
	case size < 126:
		return []byte{0x81, 0x80 | byte(size), 0, 0, 0, 0}
	case size < 1<<16:
		return []byte{0x81, 0x80 | 126, byte(size >> 8), byte(size), 0, 0, 0, 0}
	}
	head := binary.BigEndian.AppendUint64([]byte{0x81, 0x80 | 127}, uint64(size))
	return append(head, 0, 0, 0, 0)
}
