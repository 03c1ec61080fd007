package heymanito

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/socketio"
)

// randomName returns prefix and 128 random bits.
func randomName(prefix string) string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return prefix + base64.RawURLEncoding.EncodeToString(b[:])
}

var initiateKeys = []string{"recipientId", "callerId", "callerInfo", "roomName", "media"}

// initiateCall rings every device of the callee. A dial that is refused ends,
// for clients that read no acks, in a callRejected to the device that dialled.
func (s *Server) initiateCall(ctx context.Context, d *device, e *socketio.Event) ([]byte, *Error) {
	var f [5][]byte
	if err := e.Object(initiateKeys, f[:]); err != nil {
		return nil, problem(err)
	}
	callee, err := chatPath(f[0], "recipientId")
	if err != nil {
		return nil, err
	}
	caller, err := name(f[1], "callerId")
	if err != nil {
		return nil, err
	}
	room, err := optionalName(f[3], "roomName")
	if err != nil {
		return nil, err
	}
	media, err := optionalName(f[4], "media")
	if err != nil {
		return nil, err
	}
	if err := d.self(caller, "callerId"); err != nil {
		return nil, err
	}
	if callee == caller {
		return nil, Errorf(CodeInvalid, "a call to oneself")
	}
	c := Call{
		ID: randomName(""), Room: room, Caller: caller, Callee: callee, Media: media,
		State: CallDialling, Started: now(), Dialler: d.callDevice(),
	}
	c.Time = c.Started
	if room == "" || s.cfg.rooms != nil {
		c.Room = mintedRoom + c.ID
	}
	if f[2] != nil { // it outlives the event
		info := socketio.NewValue(e, len(f[2])).Value(f[2])
		c.CallerInfo, c.Attachments = info.Body()
		for i := range c.Attachments {
			c.Attachments[i] = bytes.Clone(c.Attachments[i])
		}
	}
	reason := CallFailed // also when a hook panics
	defer func() {
		if reason != "" {
			d.conn.Send(rejected(callee, "", string(reason))...)
		}
	}()
	var fields []byte
	if err = d.within(); err == nil {
		fields, err = s.calls.dial(ctx, d, e, c)
	}
	if reason = ""; err != nil {
		reason = refusedReason(err.Code)
	}
	return fields, err
}

// refusedReason is what a caller whose dial is refused is told.
func refusedReason(c Code) CallReason {
	switch c {
	case CodeBusy:
		return CallBusy
	case CodeOffline:
		return CallOffline
	case CodeForbidden:
		return "forbidden"
	}
	return CallFailed
}

// rejected puts together a callRejected; id may be empty.
func rejected(callee, id, reason string) []*engineio.Frame {
	o := socketio.NewOutgoing("callRejected", nil, 96+len(callee)+len(id)).Raw(`,{"recipientId":`).Bytes(quote(callee))
	if id != "" {
		o.Raw(`,"callId":`).Bytes(quote(id))
	}
	return o.Raw(`,"reason":`).Bytes(quote(reason)).Raw(`}`).Frames()
}

// fields is what acks say of a call.
func (c *Call) fields() []byte {
	b := append([]byte(`,"callId":`), quote(c.ID)...)
	return append(append(b, `,"roomName":`...), quote(c.Room)...)
}

var acceptKeys = []string{"callerId", "roomName", "callId"}

// acceptCall answers a call that rings this user: the first device wins.
func (s *Server) acceptCall(ctx context.Context, d *device, e *socketio.Event) ([]byte, *Error) {
	var f [3][]byte
	if err := e.Object(acceptKeys, f[:]); err != nil {
		return nil, problem(err)
	}
	caller, err := chatPath(f[0], "callerId")
	if err != nil {
		return nil, err
	}
	room, err := optionalName(f[1], "roomName")
	if err != nil {
		return nil, err
	}
	id, err := optionalName(f[2], "callId")
	if err != nil {
		return nil, err
	}
	if err := d.within(); err != nil {
		return nil, err
	}
	silent, err := s.authorize(ctx, Action{Event: "acceptCall", From: d.ChatPath, To: caller})
	if err != nil {
		return nil, err
	}
	calls, err := s.calls.find(ctx, d.ChatPath, caller, id, room)
	if err != nil {
		return nil, err
	}
	var won answer
	c, err := s.calls.moveOne(ctx, calls, silent, won.move(s, d, e, nil))
	if err != nil {
		return nil, err
	}
	if silent {
		return c.fields(), nil
	}
	if !won.again {
		s.calls.endOlder(d, won.act)
	}
	return won.fields, nil
}

// answer is an acceptCall, or an initiateCall that is one.
type answer struct {
	again  bool   // the device has answered already
	act    int64  // that it has
	fields []byte // of the ack
}

// move is the change that answers a call; dialled is what the device dialled,
// nil if it accepts.
func (a *answer) move(s *Server, d *device, e *socketio.Event, dialled *Call) *move {
	var mine *RoomToken
	return &move{
		by: d, merging: dialled != nil,
		step: func(c *Call) (err *Error) {
			a.again = false
			switch asCaller, _ := c.has(d.ChatPath); {
			case asCaller:
				return Errorf(CodeConflict, "the caller cannot answer")
			case (c.State == CallConnecting || c.State == CallActive) && c.Answerer.is(d) && dialled == nil:
				a.again = true
			default:
				by, at := d.callDevice(), now()
				a.act = s.calls.acts()
				by.Act = a.act
				if err = c.accept(by, at, at.Add(s.cfg.callTimes.absence())); err != nil {
					return err
				}
			}
			if dialled != nil {
				c.Media = lesserMedia(c.Media, dialled.Media)
			}
			mine, err = s.mint(c, d.ChatPath, d)
			return err
		},
		answer: func(c Call) {
			a.fields = c.fields()
			switch {
			case dialled != nil:
				a.fields = append(c.appendExpires(a.fields, now()), `,"merged":true`...)
			case a.again:
				a.fields = append(a.fields, `,"duplicate":true`...)
			}
			a.fields = mine.appendFields(a.fields)
			s.answer(d, e, a.fields, nil)
		},
	}
}

var rejectKeys = []string{"callerId", "recipientId", "roomName", "callId", "reason"}

// rejectCall declines a call, or hangs up one that this device has answered.
func (s *Server) rejectCall(ctx context.Context, d *device, e *socketio.Event) ([]byte, *Error) {
	var f [5][]byte
	if err := e.Object(rejectKeys, f[:]); err != nil {
		return nil, problem(err)
	}
	caller, err := chatPath(f[0], "callerId")
	if err != nil {
		return nil, err
	}
	callee, err := name(f[1], "recipientId")
	if err != nil {
		return nil, err
	}
	room, err := optionalName(f[2], "roomName")
	if err != nil {
		return nil, err
	}
	id, err := optionalName(f[3], "callId")
	if err != nil {
		return nil, err
	}
	said, err := optionalName(f[4], "reason")
	if err != nil {
		return nil, err
	}
	reason := CallDeclined
	if said == string(CallBusy) {
		reason = CallBusy
	}
	if err := d.self(callee, "recipientId"); err != nil {
		return nil, err
	}
	if err := d.within(); err != nil {
		return nil, err
	}
	calls, err := s.calls.find(ctx, callee, caller, id, room)
	if err != nil {
		return nil, err
	}
	m := &move{by: d}
	m.step = func(c *Call) *Error {
		if asCaller, _ := c.has(d.ChatPath); asCaller {
			return Errorf(CodeConflict, "the caller cancels, and does not reject")
		}
		if m.rejecting = c.answered(); m.rejecting && c.Live() && c.Answerer.is(d) {
			return c.hangUp(CallHangup, now())
		}
		return c.decline(d.callDevice(), reason, now())
	}
	return s.moveAndAck(ctx, d, e, calls, false, m)
}

// moveAndAck changes the first of calls that can be, and answers with its id.
func (s *Server) moveAndAck(ctx context.Context, d *device, e *socketio.Event, calls []Call, silent bool, m *move) ([]byte, *Error) {
	m.answer = func(c Call) { s.answer(d, e, append([]byte(`,"callId":`), quote(c.ID)...), nil) }
	c, err := s.calls.moveOne(ctx, calls, silent, m)
	if err != nil {
		return nil, err
	}
	return append([]byte(`,"callId":`), quote(c.ID)...), nil
}

// byID makes the handler of an event that names nothing but a call; step is what
// it does to it, as d. asks: the host is asked about it. It is not about what
// ends a call, nobody is kept in one, nor about what tells the other nothing.
func (s *Server) byID(asks bool, step func(c *Call, d *device) *Error) handler {
	return func(ctx context.Context, d *device, e *socketio.Event) ([]byte, *Error) {
		id, err := callID(e)
		if err != nil {
			return nil, err
		}
		if err := d.within(); err != nil {
			return nil, err
		}
		calls, err := s.calls.find(ctx, d.ChatPath, "", id, "")
		if err != nil {
			return nil, err
		}
		silent := false
		if asks && len(calls) > 0 {
			if silent, err = s.authorize(ctx, Action{Event: e.Name, From: d.ChatPath, To: calls[0].other(d.ChatPath)}); err != nil {
				return nil, err
			}
		}
		m := move{by: d, step: func(c *Call) *Error {
			err := step(c, d)
			if err == nil && d.ChatPath == c.Caller {
				c.Owed = "" // he knows of the answer, or wants no end
			}
			return err
		}}
		return s.moveAndAck(ctx, d, e, calls, silent, &m)
	}
}

// ringCall is a device that shows that it rings.
func (s *Server) ringCall() handler {
	return s.byID(true, func(c *Call, d *device) *Error {
		switch _, asCallee := c.has(d.ChatPath); {
		case !asCallee:
			return Errorf(CodeConflict, "it does not ring at the caller")
		case c.State != CallRinging:
			return Errorf(CodeConflict, "the call does not ring any more")
		}
		c.Rung = true
		return nil
	})
}

// callConnected is a device that says that media flows.
func (s *Server) callConnected() handler {
	return s.byID(false, func(c *Call, _ *device) *Error { return c.connect() })
}

// cancelCall is the caller's, while it rings.
func (s *Server) cancelCall() handler {
	return s.byID(false, func(c *Call, d *device) *Error {
		if asCaller, _ := c.has(d.ChatPath); !asCaller {
			return Errorf(CodeConflict, "the callee rejects, and does not cancel")
		}
		return c.cancel(CallCallerCancelled, now())
	})
}

// endCall hangs up, from either side; while it rings, it cancels or declines.
func (s *Server) endCall() handler {
	return s.byID(false, func(c *Call, d *device) *Error {
		asCaller, _ := c.has(d.ChatPath)
		switch {
		case c.State != CallRinging:
			return c.hangUp(CallHangup, now())
		case asCaller:
			return c.cancel(CallCallerCancelled, now())
		default:
			return c.decline(d.callDevice(), CallDeclined, now())
		}
	})
}

// getCalls answers with the live calls of the user.
func (s *Server) getCalls(ctx context.Context, d *device, e *socketio.Event) ([]byte, *Error) {
	args, bad := e.Args()
	if bad != nil {
		return nil, problem(bad)
	}
	if len(args) > 0 && !absent(args[0]) {
		if err := e.Object(nil, nil); err != nil {
			return nil, problem(err)
		}
	}
	if err := d.within(); err != nil {
		return nil, err
	}
	calls, err := s.calls.store.ByUser(ctx, d.ChatPath)
	if err != nil {
		return nil, asError(err, CodeUnavailable)
	}
	fields, at, n := []byte(`,"calls":[`), now(), 0
	for i := range calls {
		c := &calls[i]
		asCaller, asCallee := c.has(d.ChatPath)
		if !c.Live() || !asCaller && !asCallee || c.State == CallRinging && at.After(c.Expires) {
			continue
		}
		if n++; n > 1 {
			fields = append(fields, ',')
		}
		fields = c.appendJSON(fields, at)
	}
	return append(fields, ']'), nil
}

// appendJSON is a call as getCalls shows it.
func (c *Call) appendJSON(b []byte, at time.Time) []byte {
	b = append(append(b, `{"callId":`...), quote(c.ID)...)
	b = append(append(b, `,"roomName":`...), quote(c.Room)...)
	b = append(append(b, `,"callerId":`...), quote(c.Caller)...)
	b = append(append(b, `,"recipientId":`...), quote(c.Callee)...)
	if c.CallerInfo != nil {
		b = append(append(b, `,"callerInfo":`...), withoutAttachments(c.CallerInfo)...)
	}
	if c.Media != "" {
		b = append(append(b, `,"media":`...), quote(c.Media)...)
	}
	b = append(append(b, `,"state":`...), quote(string(c.State))...)
	b = appendMillis(append(b, `,"ts":`...), c.Started)
	return append(c.appendExpires(b, at), '}')
}
