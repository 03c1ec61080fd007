// Package wiretest has clients for tests that speak to a server byte by byte:
// a WebSocket that does as it is told, right or wrong, and a Socket.IO client
// on top of it. Stock clients test what is right; these test the rest.
package wiretest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"
)

// Timeout bounds every read of this package.
const Timeout = 10 * time.Second

// WebSocket opcodes.
const (
	OpContinuation = 0
	OpText         = 1
	OpBinary       = 2
	OpClose        = 8
	OpPing         = 9
	OpPong         = 10
)

// WS is a WebSocket client without opinions.
type WS struct {
	Net net.Conn
	r   *bufio.Reader
}

// ErrStatus is a handshake that was not answered with 101.
type ErrStatus struct {
	Status int
	Header string // status line and headers
	Body   string
}

func (e *ErrStatus) Error() string { return fmt.Sprintf("handshake answered %d: %s", e.Status, e.Body) }

// DialWS opens a WebSocket to base (http://host:port, with a path if the server is
// not at /socket.io/) with the given query, e.g.
// "EIO=4&transport=websocket&userId=alice". headers are whole lines.
func DialWS(base, query string, headers ...string) (*WS, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	nc, err := net.Dial("tcp", u.Host)
	if err != nil {
		return nil, err
	}
	if u.Path == "" {
		u.Path = "/socket.io/"
	}
	ws, err := HandshakeWSAt(nc, u.Host, u.Path, query, headers...)
	if err != nil {
		_ = nc.Close()
	}
	return ws, err
}

// HandshakeWS is DialWS on a connection that exists.
func HandshakeWS(nc net.Conn, host, query string, headers ...string) (*WS, error) {
	return HandshakeWSAt(nc, host, "/socket.io/", query, headers...)
}

// HandshakeWSAt is HandshakeWS where the server is at another path.
func HandshakeWSAt(nc net.Conn, host, path, query string, headers ...string) (*WS, error) {
	extra := strings.Join(append(headers, ""), "\r\n")
	return RequestWS(nc, fmt.Sprintf("GET %s?%s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n", path, query, host, extra))
}

// RequestWS opens a WebSocket with a request that is sent as it is.
func RequestWS(nc net.Conn, request string) (*WS, error) {
	_ = nc.SetDeadline(time.Now().Add(Timeout))
	if _, err := io.WriteString(nc, request); err != nil {
		return nil, err
	}
	r := bufio.NewReader(nc)
	var lines strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		lines.WriteString(line)
		if line == "\r\n" {
			break
		}
	}
	head, status := lines.String(), 0
	if _, err := fmt.Sscanf(head, "HTTP/1.1 %d", &status); err != nil {
		return nil, err
	}
	if status != 101 {
		body := make([]byte, 4096)
		_ = nc.SetReadDeadline(time.Now().Add(time.Second))
		n, _ := r.Read(body)
		return nil, &ErrStatus{status, head, string(body[:n])}
	}
	_ = nc.SetDeadline(time.Time{})
	return &WS{Net: nc, r: r}, nil
}

// Frame encodes one masked frame.
func Frame(fin bool, op byte, payload []byte) []byte {
	b := []byte{op}
	if fin {
		b[0] |= 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{0x12, 0x34, 0x56, 0x78}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i&3])
	}
	return b
}

// Texts encodes text messages back to back, to be written in one go.
func Texts(messages ...string) []byte {
	var b []byte
	for _, m := range messages {
		b = append(b, Frame(true, OpText, []byte(m))...)
	}
	return b
}

// Send sends a text message.
func (w *WS) Send(text string) error { return w.Write(Texts(text)) }

// SendBinary sends a binary message.
func (w *WS) SendBinary(p []byte) error { return w.Write(Frame(true, OpBinary, p)) }

// Write writes raw bytes.
func (w *WS) Write(b []byte) error {
	_, err := w.Net.Write(b)
	return err
}

// CloseError is the close frame of the server.
type CloseError struct {
	Code   int
	Reason string
}

func (e *CloseError) Error() string {
	return fmt.Sprintf("closed by the server: %d %s", e.Code, e.Reason)
}

// Read returns the next message or control frame; a close frame is a
// *CloseError. The server never fragments.
func (w *WS) Read() (op byte, payload []byte, err error) {
	_ = w.Net.SetReadDeadline(time.Now().Add(Timeout))
	return w.read()
}

func (w *WS) read() (op byte, payload []byte, err error) {
	var h [10]byte
	if _, err := io.ReadFull(w.r, h[:2]); err != nil {
		return 0, nil, err
	}
	if h[0]&0x80 == 0 || h[0]&0x70 != 0 || h[1]&0x80 != 0 {
		return 0, nil, errors.New("the server sent a fragmented, extended or masked frame")
	}
	n := int(h[1])
	switch n {
	case 126:
		if _, err := io.ReadFull(w.r, h[2:4]); err != nil {
			return 0, nil, err
		}
		n = int(binary.BigEndian.Uint16(h[2:]))
	case 127:
		if _, err := io.ReadFull(w.r, h[2:10]); err != nil {
			return 0, nil, err
		}
		n = int(binary.BigEndian.Uint64(h[2:]))
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(w.r, payload); err != nil {
		return 0, nil, err
	}
	op = h[0] & 0x0f
	if op == OpClose {
		e := &CloseError{}
		if n >= 2 {
			e.Code, e.Reason = int(binary.BigEndian.Uint16(payload)), string(payload[2:])
		}
		return op, payload, e
	}
	return op, payload, nil
}

// Text reads the next text message, and fails on anything else.
func (w *WS) Text() (string, error) {
	op, p, err := w.Read()
	if err == nil && op != OpText {
		err = fmt.Errorf("opcode %d where a text was expected", op)
	}
	return string(p), err
}

// Close cuts the connection, without a close frame.
func (w *WS) Close() { _ = w.Net.Close() }
