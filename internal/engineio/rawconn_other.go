//go:build !unix

package engineio

import "net"

// rawConn is for systems whose sockets can be read without waiting.
type rawConn struct{}

func newRawConn(net.Conn) *rawConn { return nil }

func (r *rawConn) fill(*wsConn) (int, error) { return 0, net.ErrClosed }

func (r *rawConn) tryWrite([]byte) int { return 0 }
