package heymanito

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// CallState is where a call stands. It only ever moves down this list, and may
// leave steps out.
type CallState string

// The states of a [Call].
const (
	// CallDialling is a call that is not known to be possible yet: it is in the
	// store, so that of two that exclude each other one wins, and nobody has
	// heard of it.
	CallDialling   CallState = "dialling"
	CallRinging    CallState = "ringing"    // at the callee's devices, or waiting for one
	CallConnecting CallState = "connecting" // answered
	CallActive     CallState = "active"     // there was a sign of life: callConnected, or somebody joined the room
	CallEnded      CallState = "ended"
)

// CallReason says why a call has ended.
type CallReason string

// The reasons of a [Call] that has ended. The first group ends a ring, the
// second a call that was answered; failed may be either.
const (
	CallDeclined        CallReason = "declined"         // by a device of the callee's
	CallBusy            CallReason = "busy"             // it never rang, or a device of the callee's said so
	CallTimeout         CallReason = "timeout"          // nobody answered within [CallTimes].Ring
	CallOffline         CallReason = "offline"          // it never rang
	CallCallerCancelled CallReason = "caller_cancelled" // or the caller has called somebody else
	CallCallerGone      CallReason = "caller_gone"      // he broke off, and was not back within CallerReturn

	CallHangup       CallReason = "hangup"        // one of the two has ended it
	CallLeft         CallReason = "left"          // one side left and did not come back within PeerReturn
	CallRoomFinished CallReason = "room_finished" // the media server has closed its room
	CallReplaced     CallReason = "replaced"      // by another call of one of the two, before there was a sign of life
	CallSilent       CallReason = "silent"        // there never was a sign of life; nobody is told

	CallFailed CallReason = "failed" // the server could not go on with it, it took longer than Longest, or a user was forgotten
)

// Call is one call from one user to another. Hooks read what is above Withheld; all
// of it is for a [CallStore] to keep. Its slices are not to be changed.
type Call struct {
	ID          string          // 128 random bits, as text
	Room        string          // where the two talk: with [WithRooms] "hm_" and the ID; else what the client says, or the same if it says none
	Caller      string          // chatPath
	Callee      string          // chatPath
	CallerInfo  json.RawMessage // any JSON; nil when absent, and in what a store has of a call that has ended
	Attachments [][]byte        // what placeholders in CallerInfo number
	Media       string          // "audio", "video" or what the client said; may be empty

	State  CallState
	Reason CallReason // of CallEnded, else empty
	Time   time.Time  // of this step

	Started  time.Time // when it was dialled
	Expires  time.Time // when it stops ringing
	Accepted time.Time // zero if it was not
	Ended    time.Time // zero while it lives

	Dialler  CallDevice // that has started it; what it has become, when it was not there for the answer
	Answerer CallDevice // that has accepted or declined it; zero: none has

	// Withheld calls are not told to the callee: for him they do not exist. The
	// caller sees them ring out.
	Withheld CallWithheld

	// What follows is the server's bookkeeping: stores keep it.

	Rung       bool          // the caller has been told that a device rings
	Owed       CallOwed      // what the caller must hear, and has not shown that he has
	CallerGone time.Time     // when the ring ends because the caller has no device; zero: he has
	CallerLeft time.Time     // when the call ends because the caller has left it; zero: he has not
	CalleeLeft time.Time     // the same of the callee
	Deserted   time.Time     // when the call ends because neither has a device; zero: one has
	Sessions   []CallSession // of the room's participants; at most 16 of each
	Due        time.Time     // when the server has to look at it; when the store may forget it, once it has ended

	Change  uint64 // drawn for each change: whoever made one that the store has failed to answer finds out
	Order   uint64 // set by [CallStore].Create: what was created later has a higher one
	Version uint64 // set by the store: changes with every change
}

// CallDevice is one end of a call; the zero one is none.
type CallDevice struct {
	SocketID string
	DeviceID string // may be empty
	Act      int64  // when it has dialled or answered, by its server's clock: higher than all before
}

// CallOwed is what the caller of a call must hear.
type CallOwed string

// What a [Call] owes to its caller.
const (
	CallOwesAnswer CallOwed = "answer" // callAccepted
	CallOwesEnd    CallOwed = "end"    // callRejected
)

// CallWithheld says why the callee is not told of a call.
type CallWithheld string

// The reasons for withholding a call.
const (
	CallRefused     CallWithheld = "refused" // a hook has said ErrSilently: the host does not hear of it either
	CallUnavailable CallWithheld = "busy"    // the callee is busy, which the caller, no contact of his, may not know
)

// CallSession is one stay of a participant in the room of a call.
type CallSession struct {
	ID   string // of the media server's
	User string // chatPath
	Left bool
}

// maxSessions bounds Call.Sessions, for each of the two: whoever comes and goes
// more often is counted by his last ones.
const maxSessions = 16

// is reports whether c is d, or what d was before a reconnect.
func (c CallDevice) is(d *device) bool {
	return c.SocketID == d.SocketID || c.DeviceID != "" && c.DeviceID == d.DeviceID
}

// among finds c, or what it has become, among devices; nil if it is not there.
func (c CallDevice) among(devices []*device) (found *device) {
	for _, d := range devices {
		if d.SocketID == c.SocketID {
			return d
		}
		if c.is(d) {
			found = d
		}
	}
	return found
}

func (d *device) callDevice() CallDevice {
	return CallDevice{SocketID: d.SocketID, DeviceID: d.DeviceID}
}

// Live reports whether the call rings, was answered, or goes on: whether it is
// neither being dialled nor over.
func (c *Call) Live() bool {
	return c.State == CallRinging || c.State == CallConnecting || c.State == CallActive
}

// other is the other side of user's.
func (c *Call) other(user string) string {
	if user == c.Caller {
		return c.Callee
	}
	return c.Caller
}

// has reports whether the call exists for user, and which side he is.
func (c *Call) has(user string) (caller, callee bool) {
	return user == c.Caller, user == c.Callee && c.Withheld == ""
}

// rings reports whether the call rings: in the last millisecond it does.
func (c *Call) rings(at time.Time) bool { return c.State == CallRinging && !at.After(c.Expires) }

// forgotten reports whether the call has been over for so long that it is as if
// it had never been: stores take their time.
func (c *Call) forgotten(t *CallTimes, at time.Time) bool {
	return c.State == CallEnded && at.Sub(c.Ended) >= t.Memory
}

// act is the device of user's that has begun what a newer dial or answer of his
// takes the place of: his dial that rings, or a call without a sign of life; a
// zero CallDevice if the call is neither.
func (c *Call) act(user string) (by CallDevice) {
	switch {
	case c.Caller == user && (c.State == CallRinging || c.State == CallConnecting):
		return c.Dialler
	case c.Callee == user && c.State == CallConnecting:
		return c.Answerer
	}
	return CallDevice{}
}

// ringEnded is when the call stopped ringing.
func (c *Call) ringEnded() time.Time {
	if !c.Accepted.IsZero() {
		return c.Accepted
	}
	return c.Ended
}

// answered reports whether the call was accepted.
func (c *Call) answered() bool { return !c.Accepted.IsZero() }

// duration is how long the call went on since it was accepted.
func (c *Call) duration() time.Duration {
	if c.Accepted.IsZero() || c.Ended.IsZero() {
		return 0
	}
	return c.Ended.Sub(c.Accepted)
}

// The steps of a call. Each returns an Error, and changes nothing, when the
// call is not in a state that allows it.

// accept answers the call. A caller who is not there has until back to return.
func (c *Call) accept(by CallDevice, at, back time.Time) *Error {
	switch {
	case c.State != CallRinging:
		return Errorf(CodeConflict, "the call is answered already")
	case !c.rings(at):
		return Errorf(CodeConflict, "the call rings no more")
	}
	c.State, c.Accepted, c.Answerer, c.Owed = CallConnecting, at, by, CallOwesAnswer
	if !c.CallerGone.IsZero() {
		c.CallerGone, c.CallerLeft = time.Time{}, back
	}
	return nil
}

// connect takes note of a sign of life.
func (c *Call) connect() *Error {
	switch c.State {
	case CallConnecting:
		c.State = CallActive
	case CallActive:
	default:
		return Errorf(CodeConflict, "the call is not answered, or over")
	}
	return nil
}

// decline is the callee's no, from one of his devices.
func (c *Call) decline(by CallDevice, reason CallReason, at time.Time) *Error {
	if c.State != CallRinging {
		return Errorf(CodeConflict, "the call is not this device's to reject")
	}
	c.Answerer = by
	c.end(reason, at)
	return nil
}

// cancel is the caller's, while it rings.
func (c *Call) cancel(reason CallReason, at time.Time) *Error {
	if c.State != CallRinging {
		return Errorf(CodeConflict, "the call does not ring any more")
	}
	c.end(reason, at)
	return nil
}

// replace ends the call for the sake of a newer one.
func (c *Call) replace(at time.Time) *Error {
	if c.State == CallRinging {
		return c.cancel(CallCallerCancelled, at)
	}
	return c.hangUp(CallReplaced, at)
}

// hangUp ends a call that was answered.
func (c *Call) hangUp(reason CallReason, at time.Time) *Error {
	if c.State != CallConnecting && c.State != CallActive {
		return Errorf(CodeConflict, "the call is not answered, or over")
	}
	c.end(reason, at)
	return nil
}

func (c *Call) end(reason CallReason, at time.Time) {
	if c.State == CallRinging && reason != CallCallerCancelled { // that is his own doing
		c.Owed = CallOwesEnd
	}
	c.State, c.Reason, c.Ended = CallEnded, reason, at
}

// overdue ends a call whose time has come, and reports whether it has.
func (c *Call) overdue(t *CallTimes, at time.Time) bool {
	passed := func(when time.Time) bool { return !when.IsZero() && !at.Before(when) }
	switch c.State {
	case CallDialling:
		if passed(c.Started.Add(diallingTimeout)) {
			c.end(CallFailed, at)
		}
	case CallRinging:
		switch { // an answer in the very last millisecond counts
		case !c.rings(at):
			c.end(CallTimeout, at)
		case passed(c.CallerGone):
			c.end(CallCallerGone, at)
		}
	case CallConnecting, CallActive:
		switch {
		case passed(c.CallerLeft), passed(c.CalleeLeft), passed(c.Deserted):
			c.end(CallLeft, at)
		case c.State == CallConnecting && passed(c.Accepted.Add(t.Connect)):
			c.end(CallSilent, at)
		case passed(c.Accepted.Add(t.Longest)):
			c.end(CallFailed, at)
		}
	}
	return c.State == CallEnded
}

// plan sets when the call is to be looked at again.
func (c *Call) plan(t *CallTimes) {
	var due time.Time
	sooner := func(when time.Time) {
		if !when.IsZero() && (due.IsZero() || when.Before(due)) {
			due = when
		}
	}
	switch c.State {
	case CallDialling:
		sooner(c.Started.Add(diallingTimeout))
	case CallRinging:
		sooner(c.Expires.Add(time.Millisecond))
		sooner(c.CallerGone)
	case CallConnecting, CallActive:
		if c.State == CallConnecting {
			sooner(c.Accepted.Add(t.Connect))
		}
		sooner(c.Accepted.Add(t.Longest))
		sooner(c.CallerLeft)
		sooner(c.CalleeLeft)
		sooner(c.Deserted)
	case CallEnded:
		due = c.Ended.Add(t.Memory)
	}
	c.Due = due
}

// joined takes note of a participant who has come, or, with left, gone. The
// order in which that is heard does not matter: who has left does not come back
// in the same session. Sessions without an ID are one, which comes and goes.
func (c *Call) joined(s CallSession, back time.Time) {
	sessions := slices.Clone(c.Sessions)
	same := func(o CallSession) bool { return o.ID == s.ID && o.User == s.User }
	if i := slices.IndexFunc(sessions, same); i >= 0 {
		s.Left = s.Left || sessions[i].Left && s.ID != ""
		sessions = slices.Delete(sessions, i, i+1)
	}
	his := func(o CallSession) bool { return o.User == s.User }
	if n := count(sessions, his); n >= maxSessions {
		i := slices.IndexFunc(sessions, his)
		sessions = slices.Delete(sessions, i, i+1)
	}
	c.Sessions = append(sessions, s)
	until := c.left(s.User)
	there := slices.ContainsFunc(c.Sessions, func(o CallSession) bool { return his(o) && !o.Left })
	switch {
	case there:
		*until = time.Time{}
	case until.IsZero():
		*until = back
	}
}

func count[E any](all []E, is func(E) bool) (n int) {
	for _, e := range all {
		if is(e) {
			n++
		}
	}
	return n
}

// left is when the call ends because user has left it.
func (c *Call) left(user string) *time.Time {
	if user == c.Callee {
		return &c.CalleeLeft
	}
	return &c.CallerLeft
}

// absent takes note that user has no device any more; alone: nor has the other.
func (c *Call) absent(user string, alone bool, until time.Time) *Error {
	set := func(when *time.Time, is bool) (news bool) {
		if news = is && when.IsZero(); news {
			*when = until
		}
		return news
	}
	left, deserted := set(c.left(user), !c.watched(user)), set(&c.Deserted, alone)
	if !left && !deserted {
		return errStays
	}
	return nil
}

// watched reports whether the media server has said anything of user: then it
// knows better than his devices do whether he is there.
func (c *Call) watched(user string) bool {
	return slices.ContainsFunc(c.Sessions, func(s CallSession) bool { return s.User == user })
}

// rejectedReason is what a caller whose call was not answered is told.
func (c *Call) rejectedReason() CallReason {
	switch c.Reason {
	case CallDeclined, CallBusy, CallTimeout, CallOffline:
		return c.Reason
	case CallHangup: // by rejectCall, which S takes for a hang-up
		return CallDeclined
	}
	return CallFailed
}

// The reasons of callCancelled that are none of a call's own.
const (
	cancelledAnswered = "answered_elsewhere"
	cancelledRejected = "rejected_elsewhere"
)

// cancelledReason is what a device of the callee that rings is told.
func (c *Call) cancelledReason() string {
	switch {
	case c.answered():
		return cancelledAnswered
	case c.Reason == CallDeclined || c.Reason == CallBusy:
		return cancelledRejected
	}
	return string(c.Reason)
}

// missed reports whether the callee has missed the call.
func (c *Call) missed() bool {
	if c.State != CallEnded || c.answered() || c.Withheld == CallRefused {
		return false
	}
	switch c.Reason {
	case CallTimeout, CallCallerCancelled, CallCallerGone, CallOffline, CallBusy:
		return true
	}
	return false
}

// lesserMedia is what two who have called each other talk in.
func lesserMedia(a, b string) string {
	if b == "audio" {
		return b
	}
	return a
}

// mintedRoom begins the name of every room that the server has made.
const mintedRoom = "hm_"

// callIDBytes is how long the ID of a call is.
const callIDBytes = 22

// callOfRoom is the id of the call that a room, as the server names them, is of.
func callOfRoom(room string) (id string, ok bool) {
	id, ok = strings.CutPrefix(room, mintedRoom)
	return id, ok && len(id) == callIDBytes
}

// participant is the identity of a user's device in a room: two of them do not
// evict each other.
func participant(user, device string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(user)) + "." + base64.RawURLEncoding.EncodeToString([]byte(device))
}

// userOfParticipant is the chatPath in such an identity.
func userOfParticipant(identity string) (user string, ok bool) {
	encoded, _, ok := strings.Cut(identity, ".")
	if !ok {
		return "", false
	}
	path, err := base64.RawURLEncoding.DecodeString(encoded)
	return string(path), err == nil && ValidChatPath(string(path))
}

// CallTimes are the times of calls; a field that is zero has its default.
type CallTimes struct {
	// Ring is how long a call rings: default 45 s.
	Ring time.Duration
	// CallerReturn is how long a call rings on for a caller whose last
	// connection broke: default 10 s.
	CallerReturn time.Duration
	// Connect is how long a call that was answered may go without a sign of
	// life: default 2 min.
	Connect time.Duration
	// PeerReturn is how long a call goes on without one of the two: default
	// 15 s. It counts from where the media server says that he has left. Of
	// one of whom it has said nothing, or without [WithRooms], the call goes on
	// for the longer of this and Connect from where he has no device any more,
	// and so it does when neither of the two has one.
	PeerReturn time.Duration
	// Memory is how long a call that has ended is known, to those who ask and
	// to those who come late: default 60 s.
	Memory time.Duration
	// Longest is when a call ends that nothing else has ended: default 24 h.
	Longest time.Duration
}

// diallingTimeout is when a dial whose server died in the middle is given up.
const diallingTimeout = 10 * time.Second

// absence is how long a call goes on without a device of one of the two.
func (t CallTimes) absence() time.Duration { return max(t.Connect, t.PeerReturn) }

func (t CallTimes) withDefaults() CallTimes {
	or := func(d *time.Duration, standard time.Duration) {
		if *d == 0 {
			*d = standard
		}
	}
	or(&t.Ring, 45*time.Second)
	or(&t.CallerReturn, 10*time.Second)
	or(&t.Connect, 2*time.Minute)
	or(&t.PeerReturn, 15*time.Second)
	or(&t.Memory, time.Minute)
	or(&t.Longest, 24*time.Hour)
	return t
}
