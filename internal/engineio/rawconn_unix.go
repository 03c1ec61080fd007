//go:build unix

package engineio

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// rawConn reads and writes a plain TCP connection past package net, where that
// would have to be given a buffer before there is anything to read, and would
// wait where there is no room to write.
type rawConn struct {
	conn syscall.RawConn
	read func(fd uintptr) bool // conn is given the same ones each time
	put  func(fd uintptr) bool

	// Of the fill under way, the reader's.
	to  *wsConn
	got int
	err error

	// Of the tryWrite under way, the writer's.
	from []byte
}

// newRawConn returns nil for what is not plain TCP.
func newRawConn(nc net.Conn) *rawConn {
	t, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	conn, err := t.SyscallConn()
	if err != nil {
		return nil
	}
	r := &rawConn{conn: conn}
	r.read, r.put = r.tryRead, r.tryPut
	return r
}

// fill waits for bytes, reads them into c's buffer, and returns how many.
func (r *rawConn) fill(c *wsConn) (int, error) {
	r.to, r.got, r.err = c, 0, nil
	if err := r.conn.Read(r.read); err != nil {
		return 0, err
	}
	return r.got, r.err
}

// tryRead reports whether there was something to read, or an end. Bytes that
// came with the end are returned first: the next call finds it.
func (r *rawConn) tryRead(fd uintptr) bool {
	c := r.to
	c.grow(1)
	for {
		n, err := syscall.Read(int(fd), c.in.b[c.n:])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			c.rest()
			return false
		case err == nil && n == 0:
			err = io.EOF
		}
		r.got, r.err = max(n, 0), err
		return true
	}
}

// tryWrite writes what of b can be written without waiting, and returns how much
// that is. After an error it is nothing.
func (r *rawConn) tryWrite(b []byte) int {
	r.from = b
	_ = r.conn.Write(r.put) // the next write that waits finds out
	n := len(b) - len(r.from)
	r.from = nil
	return n
}

func (r *rawConn) tryPut(fd uintptr) bool {
	for len(r.from) > 0 {
		n, err := syscall.Write(int(fd), r.from)
		if n > 0 {
			r.from = r.from[n:]
		}
		if err != nil && !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	return true
}
