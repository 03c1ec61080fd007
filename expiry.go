package heymanito

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/socketio"
)

// proof is what the auth hook has said about a device last. It is nil at one that
// was let in for ever, and has not asked again.
type proof struct {
	claims any
	ends   time.Time // zero: never

	mu     sync.Mutex    // guards the rest
	notice time.Duration // before it ends the device is told
	told   bool          // that it ends
	timer  *time.Timer   // nil: nothing is due, or the proof does not count any more
}

// seen is the device as hooks see it.
func (d *device) seen() Device {
	is := d.Device
	if p := d.proof.Load(); p != nil {
		is.Claims = p.claims
	}
	return is
}

// renewedNotice is the least time from a proof to the notice that it ends, where it
// was proven anew; and how long before the end there is no such notice any more.
const renewedNotice = time.Second

// watchProof does in time what the end of a device's identity asks for. One that
// was proven anew may last for less than the notice, or end when it would have: then
// its device is told at half time, lest it be asked for another one at once, and
// again, as fast as it answers.
func (s *Server) watchProof(d *device, renewed bool) {
	p := d.proof.Load()
	if p == nil || p.ends.IsZero() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	left := time.Until(p.ends)
	p.notice = s.cfg.expiryNotice
	if renewed && left-p.notice < renewedNotice {
		p.notice = left / 2
		p.told = p.notice < renewedNotice
	}
	p.timer = time.AfterFunc(left-p.notice, func() { s.goRun(func() { s.due(d, p) }) })
}

// stop ends the watch over a proof, which may be nil.
func (p *proof) stop() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// due does what the time has come for: a device is told that its identity is
// about to end, and closed when it has. Stock clients come back, and their auth
// function is asked for a new token.
func (s *Server) due(d *device, p *proof) {
	p.mu.Lock()
	left := time.Until(p.ends)
	told := p.told
	switch {
	case p.timer == nil: // stopped
		p.mu.Unlock()
		return
	case left <= 0:
		p.timer = nil
	case left > p.notice: // the clock was set back
		p.timer.Reset(left - p.notice)
		p.mu.Unlock()
		return
	default:
		p.told = true
		p.timer.Reset(left)
	}
	p.mu.Unlock()
	switch {
	case left <= 0:
		s.log.Info("a device's identity has ended", "user", d.ChatPath, "socket", d.SocketID)
		d.conn.Close(engineio.Expired)
	case !told:
		d.conn.Send(socketio.NewOutgoing("authExpiring", nil, 64).
			Raw(`,{"expiresAt":`).Int(p.ends.UnixMilli()).
			Raw(`,"expiresInMs":`).Int(left.Milliseconds()).Raw(`}`).Frames()...)
	}
}

// refreshAuth proves the identity of a connection anew, lest it end: the auth
// hook is asked again, about the payload of the event.
func (s *Server) refreshAuth(ctx context.Context, d *device, e *socketio.Event) ([]byte, *Error) {
	args, err := e.Args()
	if err != nil {
		return nil, problem(err)
	}
	if len(args) == 0 || args[0][0] != '{' || len(e.Attachments()) > 0 {
		return nil, Errorf(CodeInvalid, "refreshAuth takes what the CONNECT packet's auth has, an object with the token")
	}
	if err := d.within(); err != nil {
		return nil, err
	}
	if s.cfg.auth == nil {
		return nil, nil // nothing ends here
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.handshakeTimeout)
	defer cancel()
	query := url.Values{"userId": {d.ChatPath}}
	// Not the request that opened the connection: its header has the old token.
	r := &http.Request{
		Method: http.MethodGet, URL: &url.URL{Path: "/", RawQuery: query.Encode()}, Header: http.Header{},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: d.RemoteAddr,
	}
	h := Handshake{Request: r.WithContext(ctx), Query: query, UserID: d.ChatPath, Namespace: "/", Auth: args[0], Refresh: true}
	id, bad := s.authenticate(ctx, h)
	if bad != nil {
		return nil, bad
	}
	if x, ok := d.conn.Others().(*crossing); ok {
		x.renew(ctx, h)
	}
	d.proof.Swap(&proof{claims: id.Claims, ends: id.Expires}).stop()
	s.watchProof(d, true)
	if id.Expires.IsZero() {
		return nil, nil
	}
	fields := strconv.AppendInt([]byte(`,"expiresAt":`), id.Expires.UnixMilli(), 10)
	fields = append(fields, `,"expiresInMs":`...)
	return strconv.AppendInt(fields, max(time.Until(id.Expires).Milliseconds(), 0), 10), nil
}

// authenticate asks the auth hook, and checks that its answer is one for the
// user of the handshake.
func (s *Server) authenticate(ctx context.Context, h Handshake) (Identity, *Error) {
	id, err := s.askAuth(ctx, h)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return Identity{}, asError(err, CodeUnavailable)
		}
		return Identity{}, asError(err, CodeUnauthorized)
	}
	if id.ChatPath != h.UserID {
		return Identity{}, Errorf(CodeIdentityMismatch, "the userId is not who the token says")
	}
	if !id.Expires.IsZero() && !id.Expires.After(time.Now()) {
		return Identity{}, Errorf(CodeUnauthorized, "the identity has expired")
	}
	return id, nil
}

// askAuth calls the auth hook, which may panic.
func (s *Server) askAuth(ctx context.Context, h Handshake) (id Identity, err error) {
	defer s.recovered("AuthFunc", CodeInternal, &err)
	defer s.numbers.hooks.since("AuthFunc", time.Now())
	return s.cfg.auth(ctx, h)
}
