package heymanito

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/heymanito/heymanito/internal/jsonspan"
	"github.com/heymanito/heymanito/internal/socketio"
)

// handler handles one event of a device. fields is what its ack says besides
// the status: members of a JSON object, each preceded by a comma.
type handler func(ctx context.Context, d *device, e *socketio.Event) (fields []byte, err *Error)

// event is what clients may send by one name.
type event struct {
	handle handler // nil: nothing

	ok     atomic.Uint64
	failed tally // by code
}

func (e *event) count(err *Error) {
	if err == nil {
		e.ok.Add(1)
		return
	}
	e.failed.add(string(err.Code))
}

func (e *event) outcomes() map[string]uint64 {
	all := e.failed.all()
	if n := e.ok.Load(); n > 0 {
		all["ok"] = n
	}
	return all
}

// builtin is the events of the contract that clients send; see eventHandlers.
func builtin() map[string]func(*Server) handler {
	return map[string]func(*Server) handler{
		"sendMessage":     func(s *Server) handler { return s.sendMessage },
		"markAsRead":      func(s *Server) handler { return s.markAsRead },
		"markAsDelivered": func(s *Server) handler { return s.markAsDelivered },
		"initiateCall":    func(s *Server) handler { return s.initiateCall },
		"acceptCall":      func(s *Server) handler { return s.acceptCall },
		"rejectCall":      func(s *Server) handler { return s.rejectCall },
		"ringCall":        (*Server).ringCall,
		"callConnected":   (*Server).callConnected,
		"cancelCall":      (*Server).cancelCall,
		"endCall":         (*Server).endCall,
		"getCallToken":    func(s *Server) handler { return s.getCallToken },
		"getCalls":        func(s *Server) handler { return s.getCalls },
		"refreshAuth":     func(s *Server) handler { return s.refreshAuth },
	}
}

// owner says whose an event name is: Socket.IO's, heymanito's, whose events a
// client sends or is told, or nobody's, "": then a host may use it.
func (c *config) owner(name string) string {
	switch {
	case reserved(name):
		return "Socket.IO"
	case c.builtin[name] != nil:
		return "heymanito"
	}
	switch name {
	case "online_users", "contact_online", "contact_offline", "authExpiring", "sessionEnded", "inboxReady",
		eventReceive, eventSent, eventDelivered, eventRead, eventConvRead, EventErased,
		"incomingCall", "callRinging", "callAccepted", "callRejected", "callCancelled", "callEnded", "missedCall":
		return "heymanito"
	}
	return ""
}

// reserved reports whether an event name is Socket.IO's own.
func reserved(name string) bool {
	switch name {
	case "", "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "error":
		return true
	}
	return false
}

// eventHandlers is every event this server knows.
func (s *Server) eventHandlers() map[string]*event {
	events := map[string]*event{}
	if s.cfg.bridge != nil {
		events[bridged] = &event{}
	}
	for name, bind := range s.cfg.builtin {
		events[name] = &event{handle: bind(s)}
	}
	for name, f := range s.cfg.handlers {
		events[name] = &event{handle: s.hostEvent(f)}
	}
	for name, volatile := range s.cfg.relays {
		events[name] = &event{handle: s.relay(volatile)}
	}
	return events
}

// Event implements socketio.Host: it finds the handler and answers for it.
// Whatever happens, a client that waits for an ack gets one.
func (h *host) Event(c *socketio.Conn, e *socketio.Event) {
	s := (*Server)(h)
	d := c.Value.(*device)
	known := s.events[e.Name]
	if known == nil {
		known = &s.unknown
	}
	handle := known.handle
	if handle == nil && d.socket != nil && !reserved(e.Name) && d.socket.Hears(e.Name) {
		known, handle = s.events[bridged], s.crossed(d.socket)
	}
	s.serve(d, e, known, handle)
}

// serve handles an event, and answers it, whatever happens.
func (s *Server) serve(d *device, e *socketio.Event, known *event, handle handler) {
	defer func() {
		if r := recover(); r != nil {
			s.panicked(e.Name, r)
			err := &Error{Code: CodeInternal}
			known.count(err)
			s.answer(d, e, nil, err)
		}
	}()
	fields, err := s.handle(d.conn.Context(), d, e, handle)
	known.count(err)
	s.answer(d, e, fields, err)
}

// handle handles an event, if it may be handled.
func (s *Server) handle(ctx context.Context, d *device, e *socketio.Event, handle handler) ([]byte, *Error) {
	s.charge(ctx, d)
	switch {
	case e.Problem != nil:
		return nil, problem(e.Problem)
	case d.expelled.Load():
		return nil, Errorf(CodeUnauthorized, "this user was deleted")
	case handle == nil:
		return nil, Errorf(CodeInvalid, "unknown event %.64q", e.Name)
	}
	return handle(ctx, d, e)
}

// problem is the Error for one of socketio's.
func problem(err error) *Error {
	if errors.Is(err, socketio.ErrTooLarge) {
		return &Error{Code: CodeTooLarge}
	}
	return &Error{Code: CodeInvalid}
}

// answer acks an event, unless it was already or nobody waits.
func (s *Server) answer(d *device, e *socketio.Event, fields []byte, err *Error) {
	if err != nil && (err.Code == CodeInternal || err.Code == CodeUnavailable) && d.conn.Context().Err() == nil {
		s.log.Error("an event failed", "event", e.Name, "user", d.ChatPath, "err", err)
	} else if err != nil {
		s.log.Debug("an event was refused", "event", e.Name, "user", d.ChatPath, "err", err)
	}
	if !e.WantsAck() {
		return
	}
	if err == nil {
		e.Ack([]byte(`{"status":"ok"`), fields, []byte("}"))
		return
	}
	e.Ack(errorAck(err))
}

func errorAck(e *Error) []byte {
	b := append([]byte(nil), `{"status":"error","code":`...)
	b = jsonspan.Append(b, string(e.Code))
	b = append(b, `,"message":`...)
	b = jsonspan.Append(b, e.message())
	b = append(b, `,"retryable":`...)
	b = strconv.AppendBool(b, e.Retryable())
	if e.RetryAfter > 0 {
		b = append(b, `,"retryAfterMs":`...)
		b = strconv.AppendInt(b, e.RetryAfter.Milliseconds(), 10)
	}
	return append(b, '}')
}

// authorize asks the host about an event between two users. silent means that
// it is to be acked and not delivered.
func (s *Server) authorize(ctx context.Context, a Action) (silent bool, err *Error) {
	if s.cfg.hooks.Authorize == nil {
		return false, nil
	}
	defer s.numbers.hooks.since("Authorize", time.Now())
	return verdict(s.cfg.hooks.Authorize(ctx, a), CodeForbidden)
}

// verdict reads what a hook that may refuse has returned.
func verdict(err error, fallback Code) (silent bool, e *Error) {
	if err == nil {
		return false, nil
	}
	if errors.Is(err, ErrSilently) {
		return true, nil
	}
	return false, asError(err, fallback)
}

// hostEvent makes a handler of a host's function.
func (s *Server) hostEvent(f EventFunc) handler {
	return func(ctx context.Context, d *device, e *socketio.Event) ([]byte, *Error) {
		args, err := e.Args()
		if err != nil {
			return nil, problem(err)
		}
		if err := d.within(); err != nil {
			return nil, err
		}
		began := time.Now()
		result, err := f(ctx, Event{Name: e.Name, Device: d.seen(), Args: args, Attachments: e.Attachments()})
		s.numbers.hooks.since("On", began)
		if err != nil {
			return nil, asError(err, CodeInternal)
		}
		if result == nil {
			return nil, nil
		}
		b, err := json.Marshal(result)
		if err != nil {
			return nil, &Error{Code: CodeInternal, Err: err}
		}
		return append([]byte(`,"result":`), b...), nil
	}
}

// The shapes that events share.

// name reads a required name: a chatPath, an id of ours, a room.
func name(raw []byte, field string) (string, *Error) {
	s, ok := jsonspan.Text(raw)
	if !ok || s == "" || len(s) > maxNameBytes {
		return "", Errorf(CodeInvalid, "%s must be a non-empty string of at most %d bytes", field, maxNameBytes)
	}
	return s, nil
}

// optionalName is name where the field may be absent or null.
func optionalName(raw []byte, field string) (string, *Error) {
	if absent(raw) {
		return "", nil
	}
	return name(raw, field)
}

func absent(raw []byte) bool { return raw == nil || string(raw) == "null" }

// chatPath reads a required chatPath.
func chatPath(raw []byte, field string) (string, *Error) {
	s, ok := jsonspan.Text(raw)
	if !ok || !ValidChatPath(s) {
		return "", Errorf(CodeInvalid, "%s must be a chatPath: a non-empty string of at most %d bytes without control characters", field, maxNameBytes)
	}
	return s, nil
}

// chatPath is chatPath without a copy of the name of somebody who is here.
func (s *Server) chatPath(raw []byte, field string) (string, *Error) {
	if n := len(raw); n > 2 && raw[0] == '"' && bytes.IndexByte(raw, '\\') < 0 {
		if path, ok := s.registry.path(raw[1 : n-1]); ok {
			return path, nil
		}
	}
	return chatPath(raw, field)
}

// itself is name without a copy of the device's own.
func (d *device) itself(raw []byte, field string) (string, *Error) {
	if jsonspan.TextEqual(raw, d.ChatPath) {
		return d.ChatPath, nil
	}
	return name(raw, field)
}

// messageID checks a message id, a string or a number, which travels as it is.
func messageID(raw []byte, field string) *Error {
	if len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') && len(raw) <= maxNameBytes {
		return nil
	}
	if len(raw) > 2 && raw[0] == '"' && len(raw) <= maxNameBytes+2 {
		return nil
	}
	if s, ok := jsonspan.Text(raw); ok && s != "" && len(s) <= maxNameBytes {
		return nil // long only because of its escapes
	}
	return Errorf(CodeInvalid, "%s must be a number or a non-empty string of at most %d bytes", field, maxNameBytes)
}

// self checks that an event acts for nobody but the connection's own user.
func (d *device) self(path, field string) *Error {
	if path != d.ChatPath {
		return Errorf(CodeIdentityMismatch, "%s is not the user of this connection", field)
	}
	return nil
}

// others returns devices without d.
func others(devices []*device, d *device) []*device {
	rest := make([]*device, 0, len(devices))
	for _, o := range devices {
		if o != d {
			rest = append(rest, o)
		}
	}
	return rest
}

func appendMillis(b []byte, t time.Time) []byte {
	return strconv.AppendInt(b, t.UnixMilli(), 10)
}

// now is the time that goes on the wire: whole milliseconds.
func now() time.Time { return time.UnixMilli(time.Now().UnixMilli()) }
