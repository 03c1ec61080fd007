package heymanito

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"strconv"
	"sync"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/socketio"
)

// callMemory is how long a call is remembered: its answer, and a hang-up by
// rejectCall, have to find it. At most maxCalls are.
const (
	callMemory = time.Hour
	maxCalls   = 100_000
)

// callBook remembers who called whom, so that nobody answers a call that was
// not made to him.
type callBook struct {
	ring time.Duration

	mu     sync.Mutex // guards the rest
	byPair map[pair][]*liveCall
	order  []*liveCall // oldest first
}

type pair struct{ caller, callee string }

// liveCall is a call and which device has answered it.
type liveCall struct {
	Call
	answered Device
}

// answeredBy reports whether d is the device that has answered, or what it has
// become after a reconnect.
func (l *liveCall) answeredBy(d *device) bool {
	return l.answered.SocketID == d.SocketID || d.DeviceID != "" && l.answered.DeviceID == d.DeviceID
}

func newCallBook(ring time.Duration) *callBook {
	return &callBook{ring: ring, byPair: map[pair][]*liveCall{}}
}

func (b *callBook) add(c Call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.order) > 0 && (len(b.order) >= maxCalls || c.Time.Sub(b.order[0].Time) > callMemory) {
		b.forget(b.order[0])
		b.order = b.order[1:]
	}
	l := &liveCall{Call: c}
	b.order = append(b.order, l)
	p := pair{c.Caller, c.Callee}
	b.byPair[p] = append(b.byPair[p], l)
}

func (b *callBook) forget(l *liveCall) { // with mu
	p := pair{l.Caller, l.Callee}
	calls := b.byPair[p]
	for i := range calls {
		if calls[i] == l {
			calls = append(calls[:i:i], calls[i+1:]...)
			break
		}
	}
	if len(calls) == 0 {
		delete(b.byPair, p)
		return
	}
	b.byPair[p] = calls
}

// move finds the call between two users (by its id, else the newest of its
// room, else the newest) and lets step change it, as one step; a silent one
// only seems to.
func (b *callBook) move(p pair, id, room string, silent bool, step func(*liveCall) *Error) (Call, *Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found *liveCall
	for _, c := range b.byPair[p] {
		switch {
		case id != "":
			if c.ID == id {
				found = c
			}
		case found == nil || c.Room == room || found.Room != room:
			found = c
		}
	}
	if found == nil {
		return Call{}, Errorf(CodeNotFound, "there is no such call to this user")
	}
	if silent {
		seeming := *found
		found = &seeming
	}
	if err := step(found); err != nil {
		return Call{}, err
	}
	return found.Call, nil
}

// randomName returns prefix and 128 random bits.
func randomName(prefix string) string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return prefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// The reasons of callRejected that a client which knows nothing else of a call
// that did not come about is told.
const (
	rejectDeclined  = "declined"
	rejectBusy      = "busy"
	rejectOffline   = "offline"
	rejectForbidden = "forbidden"
	rejectFailed    = "failed"
)

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
	info := f[2]
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
	reason := rejectFailed // also when a hook panics
	defer func() {
		if reason != "" {
			d.conn.Send(rejected(callee, "", reason)...)
		}
	}()
	fields, err := s.ring(ctx, d, e, Call{
		ID: randomName(""), Room: room, Caller: caller, Callee: callee, CallerInfo: info, Media: media, State: CallRinging,
	})
	if reason = ""; err != nil {
		reason = rejectReason(err.Code)
	}
	return fields, err
}

func rejectReason(c Code) string {
	switch c {
	case CodeBusy:
		return rejectBusy
	case CodeOffline:
		return rejectOffline
	case CodeForbidden:
		return rejectForbidden
	}
	return rejectFailed
}

// rejected puts together a callRejected; id may be empty.
func rejected(callee, id, reason string) []*engineio.Frame {
	o := socketio.NewOutgoing("callRejected", nil, 96+len(callee)+len(id)).Raw(`,{"recipientId":`).Bytes(quote(callee))
	if id != "" {
		o.Raw(`,"callId":`).Bytes(quote(id))
	}
	return o.Raw(`,"reason":`).Bytes(quote(reason)).Raw(`}`).Frames()
}

// ring carries out a dial whose shape and identity are right.
func (s *Server) ring(ctx context.Context, d *device, e *socketio.Event, c Call) ([]byte, *Error) {
	silent, err := s.authorize(ctx, Action{Event: "initiateCall", From: c.Caller, To: c.Callee})
	if err != nil {
		return nil, err
	}
	if c.Room == "" {
		c.Room = randomName("hm_")
	}
	c.Time = now()
	c.Expires = c.Time.Add(s.cfg.ringTimeout)
	if s.cfg.hooks.BeforeCall != nil && !silent {
		if silent, err = verdict(s.cfg.hooks.BeforeCall(ctx, c), CodeForbidden); err != nil {
			return nil, err
		}
	}
	known, err := s.known(ctx, c.Caller, c.Callee)
	if err != nil {
		return nil, err
	}
	targets := s.registry.devices(c.Callee)
	if len(targets) == 0 && known {
		return nil, Errorf(CodeOffline, "the callee has no device connected")
	}
	expires := append([]byte(`,"expiresAt":`), appendMillis(nil, c.Expires)...)
	expires = append(expires, `,"expiresInMs":`...)
	expires = strconv.AppendInt(expires, s.cfg.ringTimeout.Milliseconds(), 10)
	fields := append([]byte(`,"callId":`), quote(c.ID)...)
	fields = append(fields, `,"roomName":`...)
	fields = append(fields, quote(c.Room)...)
	fields = append(fields, expires...)
	if !silent {
		s.calls.add(c)
		s.answer(d, e, fields, nil) // before the callee's answer can come
		o := socketio.NewOutgoing("incomingCall", e, 256+len(c.Room)+len(c.Caller)+len(c.CallerInfo))
		o.Raw(`,{"roomName":`).Bytes(quote(c.Room)).Raw(`,"callerId":`).Bytes(quote(c.Caller))
		if c.CallerInfo != nil {
			o.Raw(`,"callerInfo":`).Value(c.CallerInfo)
		}
		o.Raw(`,"callId":`).Bytes(quote(c.ID))
		if c.Media != "" {
			o.Raw(`,"media":`).Bytes(quote(c.Media))
		}
		frames := o.Raw(`,"ts":`).Bytes(appendMillis(nil, c.Time)).Bytes(expires).Raw(`}`).Frames()
		for _, t := range targets {
			t.conn.Send(frames...)
		}
	}
	if !silent {
		s.onCall(ctx, c)
	}
	return fields, nil
}

func (s *Server) onCall(ctx context.Context, c Call) {
	if s.cfg.hooks.OnCall != nil {
		s.hook("OnCall", func() { s.cfg.hooks.OnCall(ctx, c) })
	}
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
	silent, err := s.authorize(ctx, Action{Event: "acceptCall", From: d.ChatPath, To: caller})
	if err != nil {
		return nil, err
	}
	again := false
	c, err := s.calls.move(pair{caller, d.ChatPath}, id, room, silent, func(l *liveCall) *Error {
		switch {
		case l.State == CallAccepted && l.answeredBy(d):
			again = true
			return nil
		case l.State != CallRinging:
			return Errorf(CodeConflict, "the call is answered already")
		case now().After(l.Expires):
			return Errorf(CodeConflict, "the call rings no more")
		}
		l.State, l.answered, l.Time = CallAccepted, d.Device, now()
		return nil
	})
	if err != nil {
		return nil, err
	}
	fields := append([]byte(`,"callId":`), quote(c.ID)...)
	fields = append(fields, `,"roomName":`...)
	fields = append(fields, quote(c.Room)...)
	if again {
		return append(fields, `,"duplicate":true`...), nil
	}
	if silent {
		return fields, nil
	}
	frames := socketio.NewOutgoing("callAccepted", nil, 96+len(c.Room)).
		Raw(`,{"roomName":`).Bytes(quote(c.Room)).Raw(`,"callId":`).Bytes(quote(c.ID)).
		Raw(`,"recipientId":`).Bytes(quote(c.Callee)).Raw(`}`).Frames()
	for _, t := range s.registry.devices(caller) {
		t.conn.Send(frames...)
	}
	s.stopRinging(d, c.ID, "answered_elsewhere")
	s.answer(d, e, fields, nil)
	s.onCall(ctx, c)
	return fields, nil
}

// stopRinging tells the callee's other devices that d has answered.
func (s *Server) stopRinging(d *device, id, reason string) {
	rest := others(s.registry.devices(d.ChatPath), d)
	if len(rest) == 0 {
		return
	}
	frames := socketio.NewOutgoing("callCancelled", nil, 64+len(id)).
		Raw(`,{"callId":`).Bytes(quote(id)).Raw(`,"reason":`).Bytes(quote(reason)).Raw(`}`).Frames()
	for _, t := range rest {
		t.conn.Send(frames...)
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
	reason, err := optionalName(f[4], "reason")
	if err != nil {
		return nil, err
	}
	if reason != rejectBusy {
		reason = rejectDeclined
	}
	if err := d.self(callee, "recipientId"); err != nil {
		return nil, err
	}
	silent, err := s.authorize(ctx, Action{Event: "rejectCall", From: callee, To: caller})
	if err != nil {
		return nil, err
	}
	ringing := false
	c, err := s.calls.move(pair{caller, callee}, id, room, silent, func(l *liveCall) *Error {
		ringing = l.State == CallRinging
		if l.State == CallRejected || l.State == CallAccepted && !l.answeredBy(d) {
			return Errorf(CodeConflict, "the call is not this device's to reject")
		}
		l.State, l.Time = CallRejected, now()
		return nil
	})
	if err != nil {
		return nil, err
	}
	fields := append([]byte(`,"callId":`), quote(c.ID)...)
	if silent {
		return fields, nil
	}
	frames := rejected(callee, c.ID, reason)
	for _, t := range s.registry.devices(caller) {
		t.conn.Send(frames...)
	}
	if ringing {
		s.stopRinging(d, c.ID, "rejected_elsewhere")
	}
	s.answer(d, e, fields, nil)
	s.onCall(ctx, c)
	return fields, nil
}
