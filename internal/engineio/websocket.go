package engineio

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 section 1.3

	// readBuffer is what one read of a WebSocket may bring: a few long messages.
	readBuffer = 16 << 10
	// keptBuffer is what a connection that is not plain TCP begins to read into:
	// it keeps its buffer all the time.
	keptBuffer = 4 << 10
	// writePiece is the most that one write may carry: progress is counted in
	// pieces, and a TLS record is no bigger.
	writePiece = 16 << 10
	// sendBuffer bounds what the kernel holds for a client. A big buffer would
	// hide a reader that has stopped, and put prompt frames behind megabytes.
	sendBuffer = 64 << 10
	// stalled is how long a write has to wait for room before its success says
	// that the client takes bytes, and not only the kernel.
	stalled = 50 * time.Millisecond
	// lingerTime is how long a closed connection is read on for the client's
	// own close, lest a reset overtake what was written last.
	lingerTime = 2 * time.Second
)

func itoa(n int) string { return strconv.Itoa(n) }

// wsConn is one WebSocket. A goroutine of its own reads, which holds a buffer
// only while there is something in it, and a flusher writes. Over anything but
// plain TCP (rawConn) the buffer stays, and a second goroutine writes while there
// is something to write.
type wsConn struct {
	sock *Socket
	nc   net.Conn
	raw  *rawConn // nil: nc is not plain TCP, or not on a system for it
	// current: the socket's transport. Only the reader touches it.
	current bool
	// deaf: the client does not hear a close frame, only the connection's end.
	deaf bool

	// What was read and is not yet taken: the first n bytes of in, which is nil
	// or long enough for more. The reader's.
	in     *buffer
	n      int
	parser wsParser

	begun bool // something was read
	calm  bool // what was read last is the beginning, or a pong: there may be nothing for long. The reader's

	closing sync.Once
}

func newWSConn(sock *Socket, nc net.Conn, current bool) *wsConn {
	c := &wsConn{sock: sock, nc: nc, raw: newRawConn(nc), current: current}
	c.parser.max, c.parser.skip = sock.srv.cfg.MaxPayload, sock.srv.cfg.MaxReadPast
	return c
}

// serveWebSocket opens a session on a WebSocket, or, with a sid, a WebSocket
// that asks to take over from polling.
func (s *Server) serveWebSocket(w http.ResponseWriter, r *http.Request, sid string) {
	if r.Method != http.MethodGet {
		Refuse(w, r, http.StatusBadRequest, codeBadMethod, "Bad handshake method", 0)
		return
	}
	if r.ProtoMajor != 1 || !isUpgrade(r) || !headerHas(r.Header, "Connection", "upgrade") {
		badRequest(w, r, "Bad request: transport=websocket needs an HTTP/1.1 upgrade to websocket")
		return
	}
	if r.Header.Get("Sec-WebSocket-Version") != "13" {
		w.Header().Set("Sec-WebSocket-Version", "13")
		Refuse(w, r, http.StatusUpgradeRequired, codeBadRequest, "Bad request: WebSocket version 13 is required", 0)
		return
	}
	key := r.Header.Get("Sec-WebSocket-Key")
	if raw, err := base64.StdEncoding.DecodeString(key); err != nil || len(raw) != 16 {
		badRequest(w, r, "Bad request: Sec-WebSocket-Key is not 16 bytes of base64")
		return
	}

	var sock *Socket
	if sid != "" {
		if sock = s.socket(sid); sock == nil {
			unknownSession(w, r)
			return
		}
	} else if sock = s.admit(w, r); sock == nil {
		return
	}
	nc, early, err := s.hijack(w, r)
	if err != nil {
		if sid == "" {
			s.opening.release(sock.capKey)
		}
		return
	}
	c := newWSConn(sock, nc, sid == "")
	// OkHttp reads no more after a close frame, and engine.io-client-java leaves
	// it at that: it would miss the end until its heartbeat fails.
	c.deaf = strings.HasPrefix(r.UserAgent(), "okhttp/")
	answer := appendAccept(nil, key)
	if sid == "" {
		s.openWebSocket(c, answer, early)
	} else {
		s.probeWebSocket(c, answer, early)
	}
}

func appendAccept(b []byte, key string) []byte {
	sum := sha1.Sum([]byte(key + acceptGUID))
	b = append(b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	b = base64.StdEncoding.AppendEncode(b, sum[:])
	return append(b, "\r\n\r\n"...)
}

// hijack takes the connection out of the HTTP server, with what of it was read
// already, and clears the deadlines that server has set.
func (s *Server) hijack(w http.ResponseWriter, r *http.Request) (net.Conn, []byte, error) {
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.noHijack.Do(func() {
			s.cfg.Log.Error("WebSockets cannot work here: a middleware in front hides the connection (its ResponseWriter needs Hijack or Unwrap), or the request is HTTP/2; clients stay on polling; said once", "err", err)
		})
		badRequest(w, r, "Bad request: this server cannot upgrade the connection to WebSocket")
		return nil, nil, err
	}
	early, err := buffered(rw.Reader)
	if err == nil {
		err = nc.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = nc.Close() // it failed already
		return nil, nil, err
	}
	if t, ok := plainConn(nc).(*net.TCPConn); ok {
		_ = t.SetWriteBuffer(sendBuffer) // a hint: without it only liveness is judged later
	}
	return nc, early, nil
}

func buffered(r *bufio.Reader) ([]byte, error) {
	n := r.Buffered()
	if n == 0 {
		return nil, nil
	}
	b := make([]byte, n)
	_, err := r.Read(b)
	return b, err
}

// plainConn is the connection under TLS, if there is TLS.
func plainConn(nc net.Conn) net.Conn {
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		return t.NetConn()
	}
	return nc
}

// openWebSocket starts a session on c. Nothing is read before it is ready.
func (s *Server) openWebSocket(c *wsConn, answer, early []byte) {
	sock := c.sock
	open := packet(sock.openPacket(""))
	if !c.write(append(answer, open.wire...)) {
		s.opening.release(sock.capKey)
		_ = c.nc.Close() // writing failed already
		return
	}
	sock.ws = c
	if !sock.start() {
		c.bye(closeRestart, Draining.String())
		_ = c.nc.Close() // nobody is interested in how
		return
	}
	s.goRun(func() { c.read(early) })
}

// probeWebSocket lets c ask for the session of its sid. A session has one
// WebSocket at the most: a second one is closed. Which is the first is settled
// before the client may know.
func (s *Server) probeWebSocket(c *wsConn, answer, early []byte) {
	sock := c.sock
	sock.mu.Lock()
	first := sock.state == stateOpen && sock.ws == nil && sock.probe == nil
	if first {
		sock.probe, sock.probed = c, false
		sock.probeBy = s.now() + int64(s.cfg.UpgradeTimeout)
		s.goRun(func() {
			if !c.write(answer) {
				c.giveUp()
				return
			}
			c.read(early)
		})
	}
	at := sock.probeBy
	sock.mu.Unlock()
	if !first {
		c.write(answer)
		c.bye(closePolicy, "this session has its WebSocket")
		_ = c.nc.Close() // nobody is interested in how
		return
	}
	s.beats.set(&sock.beat, at)
}

// read takes what the client sends until the connection ends.
func (c *wsConn) read(early []byte) {
	s := c.sock
	defer func() {
		// A mistake of ours must cost no more than the one who has found it.
		if r := recover(); r != nil {
			s.srv.cfg.Log.Error("panic while reading from a client", "panic", r, "stack", string(debug.Stack()))
			c.abort()
			s.kill(TransportError)
		}
	}()
	err := c.take(early)
	for err == nil {
		if c.calm && c.raw != nil {
			// The stack has grown with what was handled, and does not shrink to
			// what waiting needs: a new one is half as big.
			c.calm = false
			s.srv.goRun(func() { c.read(nil) })
			return
		}
		var m int
		if m, err = c.fill(); m > 0 {
			if taken := c.taken(m); taken != nil {
				err = taken
			}
		}
	}
	c.drop()
	if !c.current {
		c.giveUp()
		return
	}
	c.end(err)
	c.linger()
}

// take is taken, of bytes that came with the request.
func (c *wsConn) take(early []byte) error {
	if len(early) == 0 {
		return nil
	}
	c.grow(len(early))
	return c.taken(copy(c.in.b, early))
}

// grow makes room for n bytes more in the buffer.
func (c *wsConn) grow(n int) {
	size := c.n + n
	if c.in != nil && size <= len(c.in.b) {
		return
	}
	var in *buffer
	if c.raw != nil && size <= readBuffer {
		in = c.sock.srv.readBuffers.get()
		in.b = in.b[:cap(in.b)]
	} else { // a message that is bigger: grow with what has come
		in = &buffer{make([]byte, max(size, 2*c.n, keptBuffer))}
	}
	if c.in != nil {
		copy(in.b, c.in.b[:c.n])
		c.release()
	}
	c.in = in
}

// fill waits for bytes and returns how many more there are in the buffer.
func (c *wsConn) fill() (int, error) {
	if c.raw != nil {
		return c.raw.fill(c)
	}
	c.grow(1)
	return c.nc.Read(c.in.b[c.n:])
}

// taken takes what m more bytes in the buffer have completed.
func (c *wsConn) taken(m int) error {
	c.n += m
	if !c.sock.receive(m) {
		return &closeError{OpenLimit, OpenLimit.String()}
	}
	done, err := c.parser.parse(c.in.b[:c.n], c)
	c.n = copy(c.in.b, c.in.b[done:c.n])
	if c.n == 0 && (c.raw != nil || len(c.in.b) > pooledBuffer) {
		c.drop()
	}
	return err
}

// rest is called when there is nothing to read: what it has come to is kept, and
// not the buffer, unless most of it is full.
func (c *wsConn) rest() {
	switch {
	case c.n == 0:
		c.drop()
	case len(c.in.b) == readBuffer && c.n <= readBuffer/4:
		left := &buffer{append([]byte(nil), c.in.b[:c.n]...)}
		c.release()
		c.in = left
	}
}

// drop gives up the buffer and what is in it.
func (c *wsConn) drop() {
	c.release()
	c.n = 0
}

// release gives the buffer up.
func (c *wsConn) release() {
	if c.in != nil && len(c.in.b) == readBuffer { // else it is no use to anybody
		c.sock.srv.readBuffers.put(c.in)
	}
	c.in = nil
}

var (
	errClosed   = errors.New("engineio: closed by a packet")
	errGoodbye  = errors.New("engineio: the client sent a close frame")
	errNotProbe = errors.New("engineio: not the packets of an upgrade")
)

// giveUp ends an upgrade that was not completed; the session goes on polling.
func (c *wsConn) giveUp() {
	s := c.sock
	s.mu.Lock()
	if s.probe == c {
		s.probe = nil
	}
	s.mu.Unlock()
	_ = c.nc.Close() // whatever the error, it is done with
}

// end closes the session for the reason in err.
func (c *wsConn) end(err error) {
	s := c.sock
	var ce *closeError
	switch {
	case errors.Is(err, errClosed): // the session is closing already
	case errors.Is(err, errGoodbye):
		s.Close(TransportClose) // the queue goes out, then the answer to the close
	case errors.As(err, &ce):
		s.Close(ce.reason)
	default:
		s.kill(TransportClose)
	}
}

// linger reads on until the client has closed its side, or for lingerTime from
// when ours was: closing with unread bytes would reset the connection, and a
// reset can overtake what was written last.
func (c *wsConn) linger() {
	buf := make([]byte, 512)
	for {
		if _, err := c.nc.Read(buf); err != nil {
			break
		}
	}
	c.sock.kill(TransportClose)
	_ = c.nc.Close() // it is over either way
}

// text implements wsEvents: a packet.
func (c *wsConn) text(p []byte) error {
	if len(p) == 0 {
		return violation("an empty packet")
	}
	if !c.current {
		return c.probeText(p)
	}
	if p[0] == packetBase64 { // clients may be told to, or have meant it for a POST
		data, ok := decodeBinary(p[1:])
		if !ok {
			return violation("malformed base64")
		}
		c.sock.binary(data)
		return nil
	}
	c.calm, c.begun = p[0] == packetPong || !c.begun, true
	if !c.sock.packet(p[0], p[1:]) {
		return errClosed
	}
	return nil
}

// probeText takes the two packets of an upgrade: "2probe" and "5".
func (c *wsConn) probeText(p []byte) error {
	s := c.sock
	switch string(p) {
	case "2probe":
		s.mu.Lock()
		mine := s.probe == c
		if mine {
			s.probed = true // before the client knows: from there it says "5", even if we close now
			s.drain()
		}
		s.mu.Unlock()
		if !mine || !c.write(packet("3probe").wire) {
			return errNotProbe
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.poll.wake() // with a noop at least: the client waits for its poll to end
		return nil
	case "5":
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.probe != c || !s.probed || s.state == stateClosed {
			return errNotProbe
		}
		s.probe = nil
		s.ws = c
		c.current = true
		s.polled() // a client leaves polling when it has read its last answer
		s.ask()
		s.poll.wake()
		if !s.out.empty() || s.state == stateClosing {
			s.wake()
		}
		return nil
	}
	return errNotProbe
}

// binary implements wsEvents: a binary message.
func (c *wsConn) binary(p []byte) error {
	if !c.current {
		return errNotProbe
	}
	c.sock.binary(p)
	return nil
}

// tooLarge implements wsEvents.
func (c *wsConn) tooLarge(head []byte, size int) error {
	if !c.current {
		return errNotProbe
	}
	switch {
	case head == nil:
	case head[0] == packetBase64:
		head = nil
	case head[0] == packetMessage:
		head = head[1:]
	default:
		return &closeError{TooLarge, "packet too large"}
	}
	if c.sock.enter() {
		defer c.sock.leave()
		c.sock.handler.OnTooLarge(head, size)
	}
	return nil
}

// control implements wsEvents: a ping is answered, a close ends it all.
func (c *wsConn) control(op byte, p []byte) error {
	switch op {
	case opPing:
		if c.current {
			c.sock.Send(control(opPong, p))
		}
	case opClose:
		return errGoodbye
	}
	return nil
}

// write writes b whole, in pieces. A deadline runs from the last progress.
func (c *wsConn) write(b []byte) bool {
	for len(b) > 0 {
		begin := time.Now()
		if err := c.nc.SetWriteDeadline(begin.Add(c.sock.srv.cfg.WriteTimeout)); err != nil {
			return false
		}
		n, err := c.nc.Write(b[:min(len(b), writePiece)])
		b = b[n:]
		c.sock.wrote(n)
		if n > 0 && time.Since(begin) > stalled {
			c.sock.alive() // it waited for room, and the client has made some
		}
		// A write cut short by the deadline has made progress all the same;
		// under TLS it has broken the record, and the next one says so.
		if err != nil && (n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return false
		}
	}
	return true
}

// bye writes the close frame. Nothing is written after it. To a client that is
// deaf to it the close of the connection, which follows, says as much; but its
// own goodbye is answered.
func (c *wsConn) bye(code int, text string) {
	if c.deaf && code != closeNormal {
		return
	}
	p := binary.BigEndian.AppendUint16(nil, uint16(code))
	c.write(control(opClose, append(p, text...)).wire)
}

// halfClose says that no more will come, and gives the client lingerTime to
// say the same.
func (c *wsConn) halfClose() {
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime)) // the beat's CloseTimeout is behind it
	if t, ok := c.nc.(interface{ CloseWrite() error }); ok && t.CloseWrite() == nil {
		return
	}
	if _, ok := plainConn(c.nc).(*net.TCPConn); !ok {
		c.abort() // a pipe: it loses nothing that was written
	}
}

// abort breaks the connection: reads and writes under way fail. It does not
// block: closing TLS properly might.
func (c *wsConn) abort() {
	c.closing.Do(func() { _ = plainConn(c.nc).Close() }) // the reader sees it
}
