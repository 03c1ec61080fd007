package heymanito

import (
	"cmp"
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/jsonspan"
	"github.com/heymanito/heymanito/internal/socketio"
)

// bell is what a device has been told of the calls to its user: each rings
// once, and stops once.
type bell struct {
	mu      sync.Mutex // guards the rest
	arrived bool       // the device has had its replay: from now on it is told
	calls   map[string]toll
}

// toll is what a device was told of one call.
type toll struct {
	stopped bool // it rings no more
	answer  bool // callAccepted
	end     bool // callRejected
	at      time.Time
}

// rings notes that a call rings at the device. It reports false when that is no
// news, or when the device will ask for itself.
func (b *bell) rings(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, told := b.calls[id]
	return b.arrived && !told && b.note(id, toll{})
}

// stops is rings for the end of the ring.
func (b *bell) stops(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.arrived && !b.calls[id].stopped && b.note(id, toll{stopped: true})
}

// hears notes that the device is told what a call owes its user, who has dialled
// it, with tell. It does nothing when that is no news.
func (b *bell) hears(id string, owed CallOwed, tell func() bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.calls[id]
	told := &t.answer
	if owed == CallOwesEnd {
		told = &t.end
	}
	if !*told && tell() {
		*told = true
		b.note(id, t)
	}
}

// tollMemory is for how long a device's bell remembers a call: longer than
// anybody is told of one.
const tollMemory = 10 * time.Minute

func (b *bell) note(id string, n toll) bool { // with mu
	if b.calls == nil {
		b.calls = map[string]toll{}
	}
	if len(b.calls) >= 16 {
		for other, t := range b.calls {
			if time.Since(t.at) > tollMemory {
				delete(b.calls, other)
			}
		}
	}
	n.at = time.Now()
	b.calls[id] = n
	return true
}

// tell tells everyone whom a change of a call concerns: the devices of the two,
// and the host's hooks.
func (b *switchboard) tell(was, c *Call, m *move) {
	switch {
	case c.Rung && !was.Rung:
		send(b.srv.registry.devices(c.Caller), nil, socketio.NewOutgoing("callRinging", nil, 96+len(c.Callee)).
			Raw(`,{"callId":`).Bytes(quote(c.ID)).Raw(`,"recipientId":`).Bytes(quote(c.Callee)).Raw(`}`).Frames())
	case c.State == was.State:
	case c.State == CallRinging:
		b.tellRing(c)
	case c.State == CallConnecting:
		b.tellAccepted(c, m)
	case c.State == CallActive:
		b.hooks(c)
	case was.State == CallDialling, m.dialling:
		b.tellRefused(c)
	case !was.answered():
		b.tellUnanswered(c, m)
	default:
		b.tellEnded(c, m)
	}
}

func send(devices []*device, except *device, frames []*engineio.Frame) {
	for _, d := range devices {
		if d != except {
			d.conn.Send(frames...)
		}
	}
}

// tellRing rings every device of the callee.
func (b *switchboard) tellRing(c *Call) {
	var reached []Device
	if at := now(); c.Withheld == "" && c.rings(at) {
		frames := c.incoming(at)
		for _, d := range b.srv.registry.devices(c.Callee) {
			if d.bell.rings(c.ID) && d.conn.Send(frames...) {
				reached = append(reached, d.seen())
			}
		}
	}
	b.hooks(c)
	if h := b.srv.cfg.hooks.OnRing; h != nil && c.Withheld == "" {
		b.tellHost("OnRing", c, func(ctx context.Context, told Call) { h(ctx, told, reached) })
	}
}

// incoming is the incomingCall of a call that rings.
func (c *Call) incoming(at time.Time) []*engineio.Frame {
	o := socketio.NewOutgoing("incomingCall", nil, 256+len(c.Room)+len(c.Caller)+len(c.CallerInfo))
	o.Raw(`,{"roomName":`).Bytes(quote(c.Room)).Raw(`,"callerId":`).Bytes(quote(c.Caller))
	if c.CallerInfo != nil {
		o.Raw(`,"callerInfo":`).Bytes(c.CallerInfo)
	}
	o.Raw(`,"callId":`).Bytes(quote(c.ID))
	if c.Media != "" {
		o.Raw(`,"media":`).Bytes(quote(c.Media))
	}
	return o.Raw(`,"ts":`).Bytes(appendMillis(nil, c.Started)).Bytes(c.appendExpires(nil, at)).Raw(`}`).
		Attach(c.Attachments).Frames()
}

func (c *Call) appendExpires(b []byte, at time.Time) []byte {
	b = append(b, `,"expiresAt":`...)
	b = appendMillis(b, c.Expires)
	b = append(b, `,"expiresInMs":`...)
	return strconv.AppendInt(b, max(0, c.Expires.Sub(at).Milliseconds()), 10)
}

// owes tells a device of the caller what the caller of a call must hear. Until
// the one that dialled, or one that has come since, has shown that it has read
// it, each that comes is told.
func (b *switchboard) owes(c *Call, d *device, owed CallOwed, counts bool, frames []*engineio.Frame) {
	id := c.ID
	d.bell.hears(id, owed, func() bool {
		if !counts {
			return d.conn.Send(frames...)
		}
		return d.sendMarked(func() { b.work(func() { b.heard(id, owed) }) }, frames)
	})
}

// heard takes note that the caller of a call has heard what it owed him.
func (b *switchboard) heard(id string, owed CallOwed) {
	_, e := b.change(b.srv.ctx, id, &move{step: func(c *Call) *Error {
		if c.Owed != owed {
			return errStays
		}
		c.Owed = ""
		return nil
	}})
	if passing(e) != nil && b.srv.ctx.Err() == nil {
		b.srv.log.Error("the call store failed: a caller may hear of a call again", "call", id, "err", e)
	}
}

// tellAccepted tells the caller of the answer, and the callee's other devices.
func (b *switchboard) tellAccepted(c *Call, m *move) {
	devices := b.srv.registry.devices(c.Caller)
	dialler, plain := c.Dialler.among(devices), c.accepted(c.Callee, nil)
	for _, d := range devices {
		if d != dialler {
			b.owes(c, d, CallOwesAnswer, false, plain)
		}
	}
	if dialler != nil {
		b.owes(c, dialler, CallOwesAnswer, true, c.accepted(c.Callee, b.callersToken(c, dialler)))
	}
	if m.merging {
		send(b.srv.registry.devices(c.Callee), nil, c.accepted(c.Caller, nil))
	}
	b.stopRinging(c, m.by)
	b.hooks(c)
	b.ringEnd(c)
}

// callersToken is the token of the caller's device, if one can be had.
func (b *switchboard) callersToken(c *Call, d *device) *RoomToken {
	token, err := b.srv.mint(c, c.Caller, d)
	if err != nil { // he can ask for one
		b.srv.log.Error("a caller is told of an answer without a token", "call", c.ID, "err", err)
	}
	return token
}

// accepted is a callAccepted, for somebody who has called with.
func (c *Call) accepted(with string, t *RoomToken) []*engineio.Frame {
	o := socketio.NewOutgoing("callAccepted", nil, 128+len(c.Room)).
		Raw(`,{"roomName":`).Bytes(quote(c.Room)).Raw(`,"callId":`).Bytes(quote(c.ID)).
		Raw(`,"recipientId":`).Bytes(quote(with))
	if t != nil {
		o.Bytes(t.appendFields(nil))
	}
	return o.Raw(`}`).Frames()
}

// stopRinging tells the callee's devices, but for by, that a call does not ring
// any more.
func (b *switchboard) stopRinging(c *Call, by *device) {
	if c.Withheld != "" {
		return
	}
	frames := cancelled(c.ID, c.cancelledReason())
	for _, d := range b.srv.registry.devices(c.Callee) {
		if d.bell.stops(c.ID) && d != by {
			d.conn.Send(frames...)
		}
	}
}

func cancelled(id, reason string) []*engineio.Frame {
	return socketio.NewOutgoing("callCancelled", nil, 64+len(id)).
		Raw(`,{"callId":`).Bytes(quote(id)).Raw(`,"reason":`).Bytes(quote(reason)).Raw(`}`).Frames()
}

// tellRefused is about a call that never rang: its dial is answered for itself.
func (b *switchboard) tellRefused(c *Call) {
	b.logEnd(c)
	if c.missed() {
		b.keepMissed(c)
		b.hooks(c)
	}
}

// tellUnanswered tells the caller of the one ending, and the callee's devices
// that it rings no more.
func (b *switchboard) tellUnanswered(c *Call, m *move) {
	if c.Reason == CallCallerCancelled {
		send(b.srv.registry.devices(c.Caller), m.by, cancelled(c.ID, string(c.Reason)))
	} else if c.Owed != "" {
		b.tellEnd(c)
	}
	b.stopRinging(c, m.by)
	b.logEnd(c)
	if c.missed() {
		b.keepMissed(c)
	}
	b.hooks(c)
	b.ringEnd(c)
}

// tellEnded tells both sides that a call which was answered is over.
func (b *switchboard) tellEnded(c *Call, m *move) {
	if c.Reason != CallSilent {
		frames := socketio.NewOutgoing("callEnded", nil, 96+len(c.ID)).
			Raw(`,{"callId":`).Bytes(quote(c.ID)).Raw(`,"reason":`).Bytes(quote(string(c.Reason))).
			Raw(`,"durationMs":`).Bytes(strconv.AppendInt(nil, c.duration().Milliseconds(), 10)).Raw(`}`).Frames()
		send(b.srv.registry.devices(c.Caller), nil, frames)
		send(b.srv.registry.devices(c.Callee), nil, frames)
	}
	if m.rejecting {
		b.tellEnd(c)
	}
	b.logEnd(c)
	b.hooks(c)
}

// tellEnd tells the caller's devices of the one ending.
func (b *switchboard) tellEnd(c *Call) {
	frames := rejected(c.Callee, c.ID, string(c.rejectedReason()))
	for _, d := range b.srv.registry.devices(c.Caller) {
		b.owes(c, d, CallOwesEnd, c.Dialler.is(d), frames)
	}
}

func (b *switchboard) logEnd(c *Call) {
	b.srv.log.Info("a call has ended", "call", c.ID, "caller", c.Caller, "callee", c.Callee, "reason", string(c.Reason),
		"media", c.Media, "rang", c.ringEnded().Sub(c.Started), "duration", c.duration(), "withheld", string(c.Withheld))
}

// hooks tells the host of a step.
func (b *switchboard) hooks(c *Call) {
	if h := b.srv.cfg.hooks.OnCall; h != nil && c.Withheld != CallRefused {
		b.tellHost("OnCall", c, h)
	}
}

func (b *switchboard) ringEnd(c *Call) {
	if h := b.srv.cfg.hooks.OnRingEnd; h != nil && c.Withheld == "" {
		b.tellHost("OnRingEnd", c, h)
	}
}

// tellHost calls a hook with the call as it is now, when it is its turn.
func (b *switchboard) tellHost(name string, c *Call, hook func(context.Context, Call)) {
	told := *c
	b.later(c.ID, func() { b.srv.hook(name, func() { hook(b.srv.ctx, told) }) })
}

const eventMissed = "missedCall"

// keepMissed puts a missed call into the callee's inbox.
func (b *switchboard) keepMissed(c *Call) {
	body := append([]byte(`{"callId":`), quote(c.ID)...)
	body = jsonspan.Append(append(body, `,"callerId":`...), c.Caller)
	if c.CallerInfo != nil {
		body = append(append(body, `,"callerInfo":`...), c.CallerInfo...)
	}
	body = appendMillis(append(body, `,"ts":`...), c.Started)
	reason := c.Reason
	if c.Withheld == CallUnavailable {
		reason = CallBusy // what only the caller may not know
	}
	body = append(jsonspan.Append(append(body, `,"reason":`...), string(reason)), '}')
	if !b.srv.cfg.keep {
		send(b.srv.registry.devices(c.Callee), nil, socketio.NewOutgoing(eventMissed, nil, len(body)+1).
			Raw(",").Bytes(body).Attach(c.Attachments).Frames())
		return
	}
	e := Entry{
		Key:  Key{User: c.Callee, Event: eventMissed, Peer: c.Caller, ID: string(quote(c.ID))},
		Time: c.Time, Body: body, Attachments: c.Attachments,
	}
	b.beside(func() { b.appendMissed(e) }) // the host takes back what it has pushed, inbox or not
}

// missedRetries is how often a missed call is offered to an inbox that fails.
const missedRetries = 30

func (b *switchboard) appendMissed(e Entry) {
	for last, try := false, 0; ; try++ {
		receipts, err := b.srv.inbox.Append(b.srv.ctx, e)
		if err == nil {
			if receipts[0].Duplicate { // appended by an Append that had failed
				b.srv.nudge(e.User)
			} else {
				b.srv.push(e, receipts[0], nil)
			}
			return
		}
		if last || try == missedRetries {
			b.srv.log.Error("a missed call could not be kept", "user", e.User, "call", e.ID, "err", err)
			return
		}
		select {
		case <-time.After(storeRetry):
		case <-b.stopping:
			last = true
		}
	}
}

// arrive tells a device that has had its replay of the calls of its user, from
// where it is told of them as they happen.
func (b *switchboard) arrive(d *device) {
	d.bell.mu.Lock()
	d.bell.arrived = true
	d.bell.mu.Unlock()
	ctx := d.conn.Context()
	calls, err := b.store.ByUser(ctx, d.ChatPath)
	for i := range calls {
		if e := b.arriveAt(ctx, d, &calls[i]); e != nil && err == nil {
			err = e
		}
	}
	if err != nil && ctx.Err() == nil {
		b.srv.log.Error("the call store failed, a device has to connect again", "user", d.ChatPath, "err", err)
		d.conn.Close(engineio.Unavailable)
	}
}

// arriveAt tells a device of one call.
func (b *switchboard) arriveAt(ctx context.Context, d *device, found *Call) error {
	asCaller, asCallee := found.has(d.ChatPath)
	if !asCaller && !asCallee || found.State == CallDialling {
		return nil
	}
	t, e := b.turn(ctx, found.ID)
	if e != nil {
		return e
	}
	defer t.release()
	dialled := false // d takes the place of the device that did
	c, e := t.change(ctx, &move{step: func(c *Call) *Error {
		if dialled = asCaller && c.lacksDialler(d, b.srv.registry.devices(c.Caller)); dialled {
			c.Dialler.SocketID, c.Dialler.DeviceID = d.SocketID, d.DeviceID
		}
		if back := b.lookForDevices(c); c.State == CallEnded || !back && !dialled {
			return errStays
		}
		return nil
	}})
	switch {
	case passing(e) != nil:
		return e
	case c.ID == "" || c.forgotten(&b.srv.cfg.callTimes, now()):
	case asCallee:
		b.arriveAsCallee(d, &c)
	default:
		b.arriveAsCaller(d, &c)
	}
	return nil
}

func (b *switchboard) arriveAsCallee(d *device, c *Call) {
	at := now()
	switch {
	case c.rings(at) && at.Before(c.Expires):
		if d.bell.rings(c.ID) {
			d.conn.Send(c.incoming(at)...)
		}
	case c.State == CallRinging, c.Expires.IsZero(), c.Answerer.is(d): // over, never rung, or his
	case at.Sub(c.ringEnded()) < b.srv.cfg.callTimes.Memory && d.bell.stops(c.ID):
		d.conn.Send(cancelled(c.ID, c.cancelledReason())...)
	}
}

// lacksDialler reports whether d, which has come after the answer, is to have
// the dialler's token: the caller has not heard of the answer yet, and the
// device that has dialled is gone, or has become d.
func (c *Call) lacksDialler(d *device, devices []*device) bool {
	if !c.answered() || !c.Live() || c.Owed != CallOwesAnswer || c.Dialler.SocketID == d.SocketID {
		return false
	}
	return c.Dialler.is(d) || c.Dialler.among(devices) == nil
}

// arriveAsCaller tells a device what its user has missed, or what it has missed
// itself when it was connected already and had yet to arrive.
func (b *switchboard) arriveAsCaller(d *device, c *Call) {
	missed := func(at time.Time) bool { return c.Owed != "" || d.ConnectedAt.Before(at) }
	switch {
	case c.answered() && c.Live() && missed(c.Accepted):
		var token *RoomToken
		if c.Dialler.SocketID == d.SocketID {
			token = b.callersToken(c, d)
		}
		b.owes(c, d, CallOwesAnswer, true, c.accepted(c.Callee, token))
	case c.State != CallEnded || c.Expires.IsZero():
	case c.Owed != "", !c.answered() && c.Reason != CallCallerCancelled && missed(c.Ended):
		b.owes(c, d, cmp.Or(c.Owed, CallOwesEnd), true, rejected(c.Callee, c.ID, string(c.rejectedReason())))
	}
}
