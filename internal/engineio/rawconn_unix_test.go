//go:build unix

package engineio

import (
	"bytes"
	"net"
	"testing"
)

// A connection that waits for the rest of a message keeps what has come of it,
// and not the buffer that it was read into.
func TestPartOfAMessage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()

	c := newWSConn(&Socket{srv: NewServer(Config{})}, nc, true)
	var sent []byte
	for i, size := range []int{1, 700, readBuffer / 4, readBuffer, 3 * readBuffer} {
		part := bytes.Repeat([]byte{byte('a' + i)}, size)
		if _, err := client.Write(part); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, part...)
		for c.n < len(sent) {
			m, err := c.fill()
			if err != nil {
				t.Fatal(err)
			}
			c.n += m
		}
		err := c.raw.conn.Control(func(fd uintptr) {
			c.raw.to = c
			if c.raw.tryRead(fd) {
				t.Error("there was more to read")
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.in.b[:c.n], sent) {
			t.Errorf("of %d bytes there are %d, or others", len(sent), c.n)
		}
		most := 2*len(sent) + 64
		if len(sent) > readBuffer/4 {
			most = max(most, readBuffer)
		}
		if held := cap(c.in.b); held > most {
			t.Errorf("%d bytes are held for %d", held, len(sent))
		}
	}
	c.drop()
	if c.in != nil || c.n != 0 {
		t.Error("there is still something")
	}
}
