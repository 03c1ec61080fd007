package heymanito

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/socketio"
)

// host is the Server as its connections see it.
type host Server

// connectAuth is what of the CONNECT packet's auth is ours.
type connectAuth struct {
	DeviceID string          `json:"deviceId"`
	Features []string        `json:"features"`
	Since    json.RawMessage `json:"since"`
}

// What a client can ask for that would surprise an old one.
const (
	featureLastSeen = "lastSeen" // the second argument of contact_offline
	featureAcks     = "acks"     // an ack callback on receiveMessage
)

// Connect implements socketio.Host: it finds out who the client is, and makes
// it a device of that user.
func (h *host) Connect(ctx context.Context, c *socketio.Conn, auth []byte) (err error) {
	s := (*Server)(h)
	defer s.recovered("connect", CodeInternal, &err)
	r := c.Request()
	if x, ok := c.Others().(*crossing); ok {
		r = x.request // which was let into another namespace, maybe, and then forgotten
	}
	d, e := s.identify(ctx, c, r, "/", auth)
	if e != nil {
		return s.turnedAway(e)
	}
	over, err := s.cross(ctx, d, auth)
	defer over()
	if err != nil {
		return s.turnedAway(err)
	}
	if e := s.welcome(ctx, d); e != nil {
		return s.turnedAway(e)
	}
	s.numbers.connected.Add(1)
	if d.socket != nil {
		d.socket.Enter()
	}
	return nil
}

// turnedAway takes note of why a client is not let in, and returns what it is
// told: a *socketio.Refusal, or another error, whereupon it comes back.
func (s *Server) turnedAway(err error) error {
	if errors.Is(err, errWentAway) {
		return err
	}
	if refusal, ok := errors.AsType[*socketio.Refusal](err); ok {
		s.numbers.refused.add(string(CodeForbidden))
		s.log.Info("a client was refused by a middleware of IO()", "message", refusal.Message)
		return refusal
	}
	e := asError(err, CodeUnavailable)
	s.numbers.refused.add(string(e.Code))
	switch e.Code {
	case CodeUnavailable:
		s.log.Warn("a client could not be let in, it will try again", "err", e)
		return e
	case CodeInternal:
		s.log.Error("a client could not be let in, it will try again", "err", e)
		return e
	}
	s.log.Info("a client was refused", "code", string(e.Code), "err", e)
	return &socketio.Refusal{
		Message: string(e.Code),
		Data:    map[string]any{"code": string(e.Code), "message": e.message()},
	}
}

var errWentAway = &Error{Code: CodeUnavailable, Message: "the client has gone"}

// identify says who a client is that wants into a namespace: the auth hook's
// word, or the userId alone. r opened its connection.
func (s *Server) identify(ctx context.Context, c *socketio.Conn, r *http.Request, namespace string, auth []byte) (*device, *Error) {
	if r == nil {
		return nil, errWentAway
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, Errorf(CodeInvalid, "the handshake query cannot be parsed")
	}
	userID, e := handshakeUser(q)
	if e != nil {
		return nil, e
	}
	var ours connectAuth
	if auth != nil {
		if err := json.Unmarshal(auth, &ours); err != nil {
			return nil, Errorf(CodeInvalid, "auth: deviceId must be a string and features a list of strings")
		}
		if len(ours.DeviceID) > maxNameBytes {
			return nil, Errorf(CodeInvalid, "auth: deviceId is longer than %d bytes", maxNameBytes)
		}
	}
	since, e := parsePosition(ours.Since)
	if e != nil {
		return nil, e
	}
	id := Identity{ChatPath: strings.Clone(userID)} // the rest of the query does not stay with it
	if s.cfg.auth != nil {
		if id, e = s.authenticate(ctx, Handshake{Request: r, Query: q, UserID: userID, Namespace: namespace, Auth: auth}); e != nil {
			return nil, e
		}
	}
	d := &device{
		Device: Device{
			ChatPath:    id.ChatPath,
			SocketID:    c.ID(),
			DeviceID:    ours.DeviceID,
			RemoteAddr:  c.RemoteAddr(),
			ConnectedAt: time.Now(),
			Claims:      id.Claims,
		},
		conn:     c,
		lastSeen: slices.Contains(ours.Features, featureLastSeen),
		acks:     slices.Contains(ours.Features, featureAcks),
		since:    since,
	}
	if s.cfg.keep && namespace == "/" {
		d.feed = newFeed(s, d)
	}
	if !id.Expires.IsZero() {
		d.proof.Store(&proof{claims: id.Claims, ends: id.Expires})
	}
	return d, nil
}

// welcome makes d a device of its user. Events for the user reach it from the
// moment it is in the registry; they wait until it has its online_users.
func (s *Server) welcome(ctx context.Context, d *device) *Error {
	if err := s.watchPresence(ctx); err != nil {
		return &Error{Code: CodeUnavailable, Err: err}
	}
	if s.cfg.hooks.Contacts != nil {
		if err := s.roster.enter(ctx, d.ChatPath); err != nil {
			return &Error{Code: CodeUnavailable, Err: err}
		}
		defer s.roster.entered(d.ChatPath)
	}
	d.conn.Value = d
	s.calls.begin()
	if d.feed != nil { // before anybody is told that he is here
		if _, err := s.inbox.Since(ctx, d.ChatPath, 0, 0); err != nil {
			return &Error{Code: CodeUnavailable, Err: err}
		}
	}
	if err := s.registry.join(ctx, d); err != nil {
		return &Error{Code: CodeUnavailable, Err: err}
	}
	var head Page
	if d.feed != nil { // what comes from now on is offered to the feed
		var err error
		if head, err = s.inbox.Since(ctx, d.ChatPath, 0, 0); err != nil {
			s.registry.remove(d, 0)
			return &Error{Code: CodeUnavailable, Err: err}
		}
	}
	if !s.roster.subscribe(d) {
		s.registry.leave(d, false)
		if d.expelled.Load() {
			return Errorf(CodeUnauthorized, "this account was deleted a moment ago")
		}
		return errWentAway
	}
	if d.feed != nil {
		d.feed.start(head.Head)
	} else {
		s.calls.work(func() { s.calls.arrive(d) })
	}
	s.watchProof(d, false)
	if s.cfg.hooks.OnConnect != nil {
		s.hook("OnConnect", func() { s.cfg.hooks.OnConnect(d.conn.Context(), d.seen()) })
	}
	return nil
}

// Read implements socketio.Host.
func (h *host) Read(c *socketio.Conn, mark uint64) {
	c.Value.(*device).wasRead(mark)
}

// Acked implements socketio.Host.
func (h *host) Acked(c *socketio.Conn, id uint64) {
	if d := c.Value.(*device); d.feed != nil && d.acks {
		d.feed.called(id)
	}
}

// Closed implements socketio.Host.
func (h *host) Closed(c *socketio.Conn, reason string, goodbye bool) {
	s := (*Server)(h)
	d := c.Value.(*device)
	s.numbers.closed.add(reason)
	d.proof.Load().stop()
	s.roster.unsubscribe(d)
	s.registry.leave(d, goodbye)
	if len(s.registry.devices(d.ChatPath)) == 0 {
		gone := goodbye && !s.registry.present(d.ChatPath) // and nobody of his may be back in a moment
		s.calls.work(func() { s.calls.left(d.ChatPath, gone) })
	}
	if d.feed != nil {
		d.feed.end()
	}
	if d.socket != nil && goodbye {
		d.socket.Leave()
	}
	if s.cfg.hooks.OnDisconnect != nil {
		s.hook("OnDisconnect", func() { s.cfg.hooks.OnDisconnect(s.ctx, d.seen(), reason) })
	}
	if reason == engineio.SlowReader.String() {
		s.log.Warn("a device that does not read was cut off", "user", d.ChatPath, "socket", d.SocketID)
	}
}

// hook calls a hook that has nothing to say to the client.
func (s *Server) hook(name string, f func()) {
	defer s.numbers.hooks.since(name, time.Now())
	s.background(name, f)
}

// background does what no client waits for.
func (s *Server) background(name string, f func()) {
	defer func() {
		if r := recover(); r != nil {
			s.panicked(name, r)
		}
	}()
	f()
}

// panicked logs what a hook or a handler panicked with.
func (s *Server) panicked(event string, r any) {
	s.log.Error("panic", "event", event, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
}

// recovered, deferred around a call of the host's code, makes its panic an error
// with code.
func (s *Server) recovered(event string, code Code, err *error) {
	if r := recover(); r != nil {
		s.panicked(event, r)
		*err = &Error{Code: code}
	}
}

// contacts calls the Contacts hook.
func (s *Server) contacts(ctx context.Context, user string) (contacts []string, err error) {
	defer s.recovered("Contacts", CodeUnavailable, &err)
	defer s.numbers.hooks.since("Contacts", time.Now())
	return s.cfg.hooks.Contacts(ctx, user)
}
