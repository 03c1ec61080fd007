package heymanito

import (
	"bytes"
	"container/list"
	"context"
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/socketio"
)

// callMemory is how long a call is remembered: its answer, and a hang-up by
// rejectCall, have to find it.
const (
	callMemory = time.Hour
	maxCalls   = 100_000
	// One caller's calls make room for his own, before they take that of
	// others.
	maxCallsOfCaller = 256
	maxBytesOfCaller = 4 << 20
	maxBytesOfCalls  = 256 << 20
)

// callBook remembers who called whom, so that nobody answers a call that was
// not made to him.
type callBook struct {
	ring time.Duration

	mu      sync.Mutex // guards the rest
	callers map[string]*callerBook
	order   list.List // of *liveCall, oldest first
	bytes   int
}

// callerBook is what one user has dialled.
type callerBook struct {
	calls []*liveCall // oldest first
	bytes int
}

// liveCall is a call and which device has answered it.
type liveCall struct {
	Call
	answered Device
	place    *list.Element // in callBook.order
}

// callOverhead is what a call in the book takes besides its strings and bytes.
const callOverhead = 512

func (l *liveCall) size() int {
	return callOverhead + len(l.Room) + len(l.Caller) + len(l.Callee) + len(l.Media) + len(l.CallerInfo)
}

// answeredBy reports whether d is the device that has answered, or what it has
// become after a reconnect.
func (l *liveCall) answeredBy(d *device) bool {
	return l.answered.SocketID == d.SocketID || d.DeviceID != "" && l.answered.DeviceID == d.DeviceID
}

func newCallBook(ring time.Duration) *callBook {
	return &callBook{ring: ring, callers: map[string]*callerBook{}}
}

func (b *callBook) add(c Call) {
	c.CallerInfo = bytes.Clone(c.CallerInfo) // it outlives the event it came in
	l := &liveCall{Call: c}
	b.mu.Lock()
	defer b.mu.Unlock()
	mine := b.callers[c.Caller]
	if mine == nil {
		mine = &callerBook{}
		b.callers[c.Caller] = mine
	}
	mine.calls = append(mine.calls, l)
	mine.bytes += l.size()
	b.bytes += l.size()
	l.place = b.order.PushBack(l)
	for len(mine.calls) > maxCallsOfCaller || mine.bytes > maxBytesOfCaller && len(mine.calls) > 1 {
		b.forget(mine.calls[0])
	}
	for b.order.Len() > 1 {
		oldest := b.order.Front().Value.(*liveCall)
		if b.order.Len() <= maxCalls && b.bytes <= maxBytesOfCalls && c.Time.Sub(oldest.Time) <= callMemory {
			break
		}
		b.forget(oldest)
	}
}

func (b *callBook) forget(l *liveCall) { // with mu
	b.order.Remove(l.place)
	b.bytes -= l.size()
	mine := b.callers[l.Caller]
	mine.bytes -= l.size()
	i := slices.Index(mine.calls, l)
	if mine.calls = slices.Delete(mine.calls, i, i+1); len(mine.calls) == 0 {
		delete(b.callers, l.Caller)
	}
}

// step changes a call; with an Error it does not, and the call is not in a
// state that allows it.
type step func(*liveCall) *Error

// move finds the call between two users and lets do change it; a silent one
// only seems to. It is the call with this id; without one, of those of that
// room, or of all if there are none, the newest that is in a state that allows
// it.
func (b *callBook) move(caller, callee, id, room string, silent bool, do step) (Call, *Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var err *Error
	for _, l := range b.candidates(caller, callee, id, room) {
		if silent {
			seeming := *l
			l = &seeming
		}
		refused := do(l)
		if refused == nil {
			return l.Call, nil
		}
		if err == nil { // of the one it would have been
			err = refused
		}
	}
	if err == nil {
		err = Errorf(CodeNotFound, "there is no such call to this user")
	}
	return Call{}, err
}

// candidates are the calls that may be meant, newest first. With mu.
func (b *callBook) candidates(caller, callee, id, room string) []*liveCall {
	mine := b.callers[caller]
	if mine == nil {
		return nil
	}
	var ofRoom, rest []*liveCall
	for _, l := range slices.Backward(mine.calls) {
		switch {
		case l.Callee != callee || id != "" && l.ID != id:
		case id == "" && l.Room == room:
			ofRoom = append(ofRoom, l)
		default:
			rest = append(rest, l)
		}
	}
	if ofRoom != nil {
		return ofRoom
	}
	return rest
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
	c, err := s.calls.move(caller, d.ChatPath, id, room, silent, func(l *liveCall) *Error {
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
	c, err := s.calls.move(caller, callee, id, room, silent, func(l *liveCall) *Error {
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
