package heymanito

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/heymanito/heymanito/internal/jsonspan"
	"github.com/heymanito/heymanito/internal/socketio"
)

// mint makes the token with which a device of one of the two joins the room of
// a call; nil without [WithRooms].
func (s *Server) mint(c *Call, user string, d *device) (*RoomToken, *Error) {
	device := d.DeviceID
	if device == "" {
		device = d.SocketID
	}
	return s.mintFor(c, user, device)
}

func (s *Server) mintFor(c *Call, user, device string) (token *RoomToken, e *Error) {
	if s.cfg.rooms == nil {
		return nil, nil
	}
	g := RoomGrant{Room: c.Room, Identity: participant(user, device), Media: c.Media}
	if info := withoutAttachments(c.CallerInfo); user == c.Caller && len(info) <= maxMetadata {
		g.Metadata = info
	}
	t, err := s.roomToken(g)
	if err != nil {
		return nil, &Error{Code: CodeInternal, Err: fmt.Errorf("a token for the call %s: %w", c.ID, err)}
	}
	return &t, nil
}

// maxMetadata bounds the callerInfo that a token carries, in bytes: clients put
// it into a URL. The callee has it from incomingCall.
const maxMetadata = 4 << 10

func (s *Server) roomToken(g RoomGrant) (t RoomToken, err error) {
	defer s.recovered("Rooms.Token", CodeInternal, &err)
	return s.cfg.rooms.Token(g)
}

// withoutAttachments returns JSON for where attachments cannot go: they are
// null in it.
func withoutAttachments(value json.RawMessage) json.RawMessage {
	found, err := jsonspan.Placeholders(nil, value)
	if err != nil || len(found) == 0 {
		return value
	}
	plain, done := []byte(nil), 0
	for _, p := range found {
		plain = append(append(plain, value[done:p.Start]...), "null"...)
		done = p.End
	}
	return append(plain, value[done:]...)
}

func (t *RoomToken) appendFields(b []byte) []byte {
	if t == nil {
		return b
	}
	b = jsonspan.Append(append(b, `,"token":`...), t.Token)
	return jsonspan.Append(append(b, `,"url":`...), t.URL)
}

// errNoRooms is the answer to whoever wants a token where there are none.
var errNoRooms = Errorf(CodeNotFound, "this server makes no tokens: give it heymanito.WithRooms")

// tokenCall finds the call that a token is wanted for.
func (s *Server) tokenCall(ctx context.Context, user, id string) (*Call, *Error) {
	if s.cfg.rooms == nil {
		return nil, errNoRooms
	}
	c, ok, err := s.calls.store.Get(ctx, id)
	if err != nil {
		return nil, asError(err, CodeUnavailable)
	}
	asCaller, asCallee := c.has(user)
	switch {
	case !ok || !asCaller && !asCallee || c.State == CallDialling:
		return nil, errNoCall
	case c.State != CallConnecting && c.State != CallActive:
		return nil, Errorf(CodeConflict, "the call is not answered, or over")
	}
	return &c, nil
}

var callIDKeys = []string{"callId"}

// callID reads the payload of an event about one call.
func callID(e *socketio.Event) (string, *Error) {
	var f [1][]byte
	if err := e.Object(callIDKeys, f[:]); err != nil {
		return "", problem(err)
	}
	return name(f[0], "callId")
}

// getCallToken answers with a fresh token for the room of a call.
func (s *Server) getCallToken(ctx context.Context, d *device, e *socketio.Event) ([]byte, *Error) {
	id, err := callID(e)
	if err != nil {
		return nil, err
	}
	if err := d.within(); err != nil {
		return nil, err
	}
	c, err := s.tokenCall(ctx, d.ChatPath, id)
	if err != nil {
		return nil, err
	}
	t, err := s.mint(c, d.ChatPath, d)
	return t.appendFields(nil), err
}

// CallToken makes a token with which user joins the room of a call: for a
// host's own API, from which stock clients get theirs. call is the call's ID or
// its room; device tells the user's devices apart, at most one of each name is
// in the room at a time. Who asks is for the host to know: whoever has the token
// is user.
//
// Errors are *[Error]: CodeNotFound when user is not one of the two, or without
// [WithRooms]; CodeConflict when the call is not answered, or over; CodeInvalid
// without a device; CodeUnavailable when the store is down; CodeInternal when the
// [Rooms] make no token.
func (s *Server) CallToken(ctx context.Context, user, call, device string) (RoomToken, error) {
	if s.ctx.Err() != nil {
		return RoomToken{}, ErrClosed
	}
	if id, ok := callOfRoom(call); ok {
		call = id
	}
	c, e := s.tokenCall(ctx, user, call)
	if e != nil {
		return RoomToken{}, e
	}
	if device == "" {
		return RoomToken{}, Errorf(CodeInvalid, "a token needs the name of a device")
	}
	t, e := s.mintFor(c, user, device)
	if e != nil {
		return RoomToken{}, e
	}
	return *t, nil
}

// roomEvent takes what the media server says of the room of a call.
func (b *switchboard) roomEvent(ctx context.Context, e RoomEvent) error {
	id, ours := callOfRoom(e.Room)
	if !ours {
		return nil
	}
	step := func(c *Call) *Error { return c.hangUp(CallRoomFinished, now()) }
	if e.Kind != RoomFinished {
		user, known := userOfParticipant(e.Identity)
		if !known {
			return nil // a recorder, or whoever else the host lets in
		}
		step = func(c *Call) *Error {
			if user != c.Caller && user != c.Callee {
				return errNoCall
			}
			err := c.connect()
			if err == nil && user == c.Caller && e.Kind == ParticipantJoined {
				c.Owed = "" // he knows of the answer
			}
			if err == nil {
				c.joined(CallSession{ID: e.Session, User: user, Left: e.Kind == ParticipantLeft}, now().Add(b.srv.cfg.callTimes.PeerReturn))
			}
			return err
		}
	}
	_, err := b.change(ctx, id, &move{step: step})
	if err == nil || err.Code == CodeConflict || err.Code == CodeNotFound {
		return nil // out of order, or of a call that is forgotten
	}
	return err
}
