package engineio

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"time"
	"unicode/utf8"
)

// poll is a GET that waits for something to answer.
type poll struct {
	began  int64
	waited bool          // there was nothing yet
	ready  chan struct{} // has room for the one signal that is needed
	parked net.Conn      // whose reader has to be told; nil: the poll is not parked. The socket's mu guards it
}

func (p *poll) wake() {
	if p == nil {
		return
	}
	p.signal()
	if p.parked != nil {
		_ = p.parked.SetReadDeadline(time.Unix(1, 0)) // it fails only when there is nobody to answer
	}
}

func (p *poll) signal() {
	select {
	case p.ready <- struct{}{}:
	default:
	}
}

// beforeDeadline is ctx, or where a middleware has given it a deadline, one that
// ends a little earlier: the poll is answered with a noop then, and its client
// comes again.
func beforeDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	at, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	left := time.Until(at)
	return context.WithTimeout(ctx, left-min(left/4, time.Second))
}

// servePollingHandshake opens a session that begins on polling.
func (s *Server) servePollingHandshake(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		Refuse(w, r, http.StatusBadRequest, codeBadMethod, "Bad handshake method", 0)
		return
	}
	sock := s.admit(w, r)
	if sock == nil {
		return
	}
	if !sock.start() {
		Refuse(w, r, http.StatusServiceUnavailable, codeBadRequest, "draining: the server shuts down", time.Second)
		return
	}
	upgrades := ""
	for _, t := range s.cfg.Transports {
		if t == WebSocket {
			upgrades = `"` + WebSocket + `"`
		}
	}
	sock.answer(w, []byte(sock.openPacket(upgrades)))
}

// servePoll answers a GET with what is queued, or waits for it.
func (s *Socket) servePoll(w http.ResponseWriter, r *http.Request) {
	s.heard()
	// The host's server may have deadlines that are shorter than a poll waits.
	// Where they cannot be lifted the poll ends with them, and the session.
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})

	p := &poll{began: s.srv.now(), ready: make(chan struct{}, 1)}
	s.mu.Lock()
	switch {
	case s.state == stateClosed, s.farewell && s.ws == nil: // the last poll has the close packet
		s.mu.Unlock()
		unknownSession(w, r)
		return
	case s.ws != nil:
		s.mu.Unlock()
		badRequest(w, r, "Bad request: the session has moved to WebSocket")
		return
	case s.poll != nil:
		s.mu.Unlock()
		s.Close(ProtocolError)
		badRequest(w, r, "Bad request: another poll of this session is pending")
		return
	}
	s.poll = p
	s.polled()
	if !s.out.empty() || s.state != stateOpen || s.probed && s.probe != nil {
		p.wake()
	}
	p.waited = len(p.ready) == 0
	brisk := s.brisk
	s.mu.Unlock()

	ctx, cancel := beforeDeadline(r.Context())
	defer cancel()
	if s.park(ctx, w, r, p, brisk) {
		return
	}
	select {
	case <-p.ready:
	case <-ctx.Done():
	}
	s.answerPoll(w, p, r.Context().Err() != nil)
}

// answerPoll answers a poll with what is queued, if its client is still there,
// and reports whether it has.
func (s *Socket) answerPoll(w http.ResponseWriter, p *poll, gone bool) bool {
	s.mu.Lock()
	s.poll = nil
	s.brisk = p.waited && s.srv.now()-p.began < int64(briskPoll)
	moved := s.ws != nil
	if gone && !moved {
		s.mu.Unlock()
		s.kill(TransportClose)
		return false
	}
	var batch outbox
	last := false
	if !moved { // else what there is goes out on the WebSocket
		batch = s.out.take()
		s.proof.answered, s.proof.asked = s.proof.mark, s.proof.mark
		// The close packet gets a poll of its own: stock clients close at once
		// on it, before what came in front of it reaches the app.
		last = batch.empty() && s.state == stateClosing
		s.farewell = s.farewell || last
	}
	s.answers = true
	s.mu.Unlock()
	written := batch.cost
	body := batch.payload(&s.srv.buffers)
	switch {
	case last:
		body = []byte{packetClose}
	case len(body) == 0:
		body = []byte{packetNoop}
	}
	ok := s.answer(w, body)
	if moved {
		return ok
	}
	if !ok {
		s.kill(TransportError)
		return false
	}
	s.mu.Lock()
	s.answers = false
	s.queued = max(s.queued-written, 0)
	s.pollBy = s.srv.now() + int64(s.srv.cfg.PingInterval+s.srv.cfg.PingTimeout)
	s.drain()
	s.mu.Unlock()
	if last {
		s.kill(TransportClose) // the reason was set when it began to close
	}
	return true
}

// answer writes the payload of a poll.
func (s *Socket) answer(w http.ResponseWriter, body []byte) bool {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Set("Content-Length", itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	defer func() { _ = rc.SetWriteDeadline(time.Time{}) }() // for the next request
	for len(body) > 0 {
		begin := time.Now()
		_ = rc.SetWriteDeadline(begin.Add(s.srv.cfg.WriteTimeout))
		m, err := w.Write(body[:min(len(body), writePiece)])
		if err != nil {
			return false
		}
		body = body[m:]
		s.wrote(m)
		if time.Since(begin) > stalled {
			s.alive()
		}
	}
	// Without Flush the last bytes would go out after the deadline is lifted.
	return ignoreUnsupported(rc.Flush()) == nil
}

func ignoreUnsupported(err error) error {
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// servePost takes a payload from the client.
func (s *Socket) servePost(w http.ResponseWriter, r *http.Request) {
	s.heard()
	// Whoever is refused may still be sending: net/http would read on for a
	// while before it answers, unless the connection is not to be used again.
	w.Header().Set("Connection", "close")
	s.mu.Lock()
	limit := s.srv.cfg.MaxPayload
	if !s.known.Load() {
		limit = min(limit, s.srv.cfg.OpenBytes)
	}
	switch {
	case s.state != stateOpen:
		s.mu.Unlock()
		unknownSession(w, r)
		return
	case s.ws != nil:
		s.mu.Unlock()
		badRequest(w, r, "Bad request: the session has moved to WebSocket")
		return
	case s.posting:
		s.mu.Unlock()
		s.Close(ProtocolError)
		badRequest(w, r, "Bad request: another POST of this session is under way")
		return
	}
	s.posting = true
	s.drain()
	s.mu.Unlock()
	if !s.take(w, r, limit) {
		return
	}
	h := w.Header()
	h.Del("Connection")
	h.Set("Content-Type", "text/html") // as the reference: text/plain makes some browsers download it
	h.Set("Content-Length", "2")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(w, "ok") // whether it arrives shows with the next poll
}

// take reads and handles what a POST brings, or answers why not. When it has
// returned, and not only when its answer is written, the client may send more.
func (s *Socket) take(w http.ResponseWriter, r *http.Request, limit int) bool {
	defer func() {
		s.mu.Lock()
		s.posting = false
		s.mu.Unlock()
	}()
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && t == "application/octet-stream" {
		s.Close(ProtocolError)
		badRequest(w, r, "Bad request: Engine.IO 4 payloads are text, binary is base64 in them")
		return false
	}
	body, err := s.readBody(w, r, limit)
	switch {
	case errors.Is(err, errOver):
		unknownSession(w, r)
		return false
	case errors.Is(err, errTooLarge):
		Refuse(w, r, http.StatusRequestEntityTooLarge, codeBadRequest, "Bad request: the payload is larger than maxPayload", 0)
		return false
	case err != nil:
		s.kill(TransportError)
		return false
	case !s.receive(len(body)):
		s.Close(OpenLimit)
		badRequest(w, r, "Bad request: "+OpenLimit.String())
		return false
	}
	packets, ok := splitPayload(body)
	if !ok {
		s.Close(ProtocolError)
		badRequest(w, r, "Bad request: the payload is malformed")
		return false
	}
	for _, p := range packets {
		if p.binary {
			s.binary(p.data)
		} else if !s.packet(p.kind, p.data) {
			break
		}
	}
	return true
}

var (
	errTooLarge = errors.New("engineio: payload too large")
	errOver     = errors.New("engineio: the session has ended")
)

// readBody reads a POST's body, up to limit, while it makes progress and the
// session lives.
func (s *Socket) readBody(w http.ResponseWriter, r *http.Request, limit int) ([]byte, error) {
	if r.ContentLength > int64(limit) {
		return nil, errTooLarge
	}
	rc := http.NewResponseController(w)
	cut := make(chan struct{})
	stop := context.AfterFunc(s.Context(), func() {
		defer close(cut)
		_ = rc.SetReadDeadline(time.Now()) // what cannot be cut ends by itself
	})
	defer func() {
		if !stop() {
			<-cut // it must not meet the next request of this connection
		}
	}()
	body := make([]byte, 0, max(512, min(int(r.ContentLength)+1, readBuffer)))
	for {
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
		_ = rc.SetReadDeadline(time.Now().Add(s.srv.cfg.WriteTimeout))
		if _, over := s.Closed(); over { // from here on the deadline is cut's
			return nil, errOver
		}
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if n > 0 {
			s.heard()
		}
		if len(body) > limit {
			return nil, errTooLarge
		}
		if errors.Is(err, io.EOF) {
			_ = rc.SetReadDeadline(time.Time{}) // for the next request
			return body, nil
		}
		if err != nil {
			if _, over := s.Closed(); over {
				return nil, errOver
			}
			return nil, err
		}
	}
}

// payloadPacket is one packet of a POST; data of a binary one is decoded.
type payloadPacket struct {
	kind   byte
	binary bool
	data   []byte
}

// splitPayload takes a payload apart. It is all or nothing: no packet of a
// malformed payload is handled.
func splitPayload(body []byte) ([]payloadPacket, bool) {
	if !utf8.Valid(body) {
		return nil, false
	}
	var packets []payloadPacket
	for len(body) > 0 || packets == nil {
		one := body
		rest := []byte(nil)
		more := false
		for i, c := range body {
			if c == separator {
				one, rest, more = body[:i], body[i+1:], true
				break
			}
		}
		if len(one) == 0 || more && len(rest) == 0 {
			return nil, false
		}
		p := payloadPacket{kind: one[0], data: one[1:]}
		switch {
		case p.kind == packetBase64:
			p.binary = true
			var ok bool
			if p.data, ok = decodeBinary(p.data); !ok {
				return nil, false
			}
		case p.kind < packetOpen || p.kind > packetNoop:
			return nil, false
		}
		packets = append(packets, p)
		body = rest
	}
	return packets, true
}

// decodeBinary is the data of a binary packet that was written as text. Line
// feeds in it are ignored: the Java client breaks its lines.
func decodeBinary(text []byte) ([]byte, bool) {
	data := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(data, text)
	return data[:n], err == nil
}
