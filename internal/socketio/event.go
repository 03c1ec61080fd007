package socketio

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/jsonspan"
)

// Problems an event can arrive with. The event's ack is the place to say so.
var (
	// ErrShape: not JSON, too deep, or with attachments that do not add up.
	ErrShape = errors.New("socketio: malformed event")
	// ErrTooLarge: larger than an event may be. Nothing of it was kept but
	// its name.
	ErrTooLarge = errors.New("socketio: event too large")
)

// Event is one event of a client, valid until Host's call for it returns.
type Event struct {
	// Name is empty when the client gave none that is a string.
	Name string
	// Problem is ErrTooLarge or ErrShape when it is known before the arguments
	// were looked at.
	Problem error

	// Namespace is empty in the main one.
	Namespace string

	conn    *Conn
	answer  bool   // it is an ACK packet: the arguments that a callback was called with
	id      []byte // ack id
	payload []byte // the whole array
	rest    int    // where the arguments begin in payload: behind the name
	binary  bool
	buffers [][]byte // attachments
}

// NewEvent is an event as a client would send it, with what is wrong with it;
// nobody waits for its ack. args is its arguments as JSON, each after a comma.
func NewEvent(name string, args []byte, attachments [][]byte) *Event {
	payload := append(make([]byte, 0, len(name)+len(args)+4), '[')
	payload = jsonspan.Append(payload, name)
	e := &Event{Name: name, rest: len(payload), binary: len(attachments) > 0, buffers: attachments}
	e.payload = append(append(payload, args...), ']')
	if len(attachments) > maxAttachments {
		e.Problem = ErrShape
	}
	return e
}

// IsAnswer reports whether it is no event, but what a callback was called with.
func (e *Event) IsAnswer() bool { return e.answer }

// WantsAck reports whether the client gave a callback that was not called yet.
func (e *Event) WantsAck() bool { return e.id != nil }

// Ack answers the event with one argument, JSON, the concatenated parts. Only
// the first call does anything, and only if the client asked for an answer.
func (e *Event) Ack(parts ...[]byte) {
	id := e.id
	if id == nil {
		return
	}
	e.id = nil
	if e.Namespace != "" {
		frame := slices.Concat([]byte{typeAck}, []byte(e.Namespace), []byte{','}, id, []byte{'['}, slices.Concat(parts...), []byte{']'})
		e.conn.SendAside(engineio.Text(frame))
		return
	}
	size := len(id) + 3
	for _, p := range parts {
		size += len(p)
	}
	e.conn.SendBuilt(0, size, func(b []byte) []byte {
		b = append(append(append(b, typeAck), id...), '[')
		for _, p := range parts {
			b = append(b, p...)
		}
		return append(b, ']')
	})
}

// Check makes sure that another decoder, which makes Go values of everything, can
// take the event, or the answer, as it is: its problem, if there is one.
func (e *Event) Check() error {
	if e.answer && !isArray(e.payload) {
		return ErrShape
	}
	if !e.answer {
		if _, err := e.Args(); err != nil {
			return err
		}
	}
	if e.Problem != nil {
		return e.Problem
	}
	if _, ok := e.AckID(); e.id != nil && (!ok || len(e.id) >= maxIDDigits) { // the library's codec takes one digit less
		return ErrShape
	}
	if err := json.Unmarshal(e.payload, new(any)); err != nil { // a number beyond float64
		return ErrShape
	}
	return e.checkAttachments()
}

// Packet encodes what has passed Check for another decoder: its text, and its
// attachments behind it. Whoever takes it answers it, too: nobody waits for an
// Ack any more.
func (e *Event) Packet() (text []byte, attachments [][]byte) {
	kinds := [...]byte{typeEvent, typeBinaryEvent}
	if e.answer {
		kinds = [...]byte{typeAck, typeBinaryAck}
	}
	text = make([]byte, 0, len(e.payload)+len(e.Namespace)+len(e.id)+8)
	if len(e.buffers) == 0 { // also of a binary one that has announced none: some decoders would wait for it
		text = append(text, kinds[0])
	} else {
		text = append(strconv.AppendInt(append(text, kinds[1]), int64(len(e.buffers)), 10), '-')
	}
	if e.Namespace != "" {
		text = append(append(text, e.Namespace...), ',')
	}
	text = append(append(text, e.id...), e.payload...)
	e.id = nil
	return text, e.buffers
}

// AckID returns the number of the callback that the client has called, or of its
// own that it waits for; false: there is none that is a number of 64 bits.
func (e *Event) AckID() (uint64, bool) {
	n, err := strconv.ParseUint(string(e.id), 10, 64)
	return n, err == nil
}

// Attachments returns what the placeholders of the arguments number.
func (e *Event) Attachments() [][]byte { return e.buffers }

// Object scans the first argument, an object, and stores the spans of the
// values of keys in out, as jsonspan.Object does. Further arguments are
// ignored, but everything has to be JSON.
func (e *Event) Object(keys []string, out [][]byte) error {
	_, err := e.object(keys, out)
	return err
}

// ObjectOnce is Object, and ErrShape when one of the keys is there twice: some
// recipients' parsers take the first, and would read another value than we.
func (e *Event) ObjectOnce(keys []string, out [][]byte) error {
	i, err := e.object(keys, out)
	if err != nil {
		return err
	}
	if jsonspan.Repeats(e.payload, i, keys) {
		return ErrShape
	}
	return nil
}

// object is Object, and returns where the object begins.
func (e *Event) object(keys []string, out [][]byte) (int, error) {
	if e.Problem != nil {
		return 0, e.Problem
	}
	i := jsonspan.Space(e.payload, e.rest)
	if i >= len(e.payload) || e.payload[i] != ',' {
		return 0, ErrShape
	}
	i = jsonspan.Space(e.payload, i+1)
	end, err := jsonspan.Object(e.payload, i, maxDepth, keys, out)
	if err != nil {
		return 0, ErrShape
	}
	if _, err := e.args(end, nil); err != nil {
		return 0, err
	}
	return i, e.checkAttachments()
}

// Args returns the spans of all arguments.
func (e *Event) Args() ([][]byte, error) {
	if e.Problem != nil {
		return nil, e.Problem
	}
	args, err := e.args(e.rest, [][]byte{})
	if err == nil {
		err = e.checkAttachments()
	}
	return args, err
}

// args scans what follows an element that ended at i, to the end of the
// payload; it collects the spans if spans is not nil.
func (e *Event) args(i int, spans [][]byte) ([][]byte, error) {
	for {
		i = jsonspan.Space(e.payload, i)
		if i >= len(e.payload) {
			return nil, ErrShape
		}
		switch e.payload[i] {
		case ']':
			if jsonspan.Space(e.payload, i+1) != len(e.payload) {
				return nil, ErrShape
			}
			return spans, nil
		case ',':
			i = jsonspan.Space(e.payload, i+1)
			end, err := jsonspan.Value(e.payload, i, maxDepth+1)
			if err != nil {
				return nil, ErrShape
			}
			if spans != nil {
				spans = append(spans, e.payload[i:end])
			}
			i = end
		default:
			return nil, ErrShape
		}
	}
}

// checkAttachments makes sure that every placeholder has its attachment and no
// two share one: a recipient's parser gives up its connection otherwise.
func (e *Event) checkAttachments() error {
	if !e.binary {
		return nil
	}
	found, err := jsonspan.Placeholders(nil, e.payload)
	if err != nil {
		return ErrShape
	}
	used := make([]bool, len(e.buffers))
	for _, p := range found {
		if p.Num >= len(used) || used[p.Num] {
			return ErrShape
		}
		used[p.Num] = true
	}
	return nil
}

// Outgoing is an event being put together for clients.
type Outgoing struct {
	body    []byte
	from    *Event
	buffers [][]byte
}

// NewOutgoing begins an event; its JSON follows through Raw and Value.
// What Value is given comes from the event from, which may be nil.
func NewOutgoing(name string, from *Event, size int) *Outgoing {
	o := &Outgoing{from: from, body: make([]byte, 0, len(name)+8+size)}
	o.body = append(o.body, '[')
	o.body = jsonspan.Append(o.body, name)
	return o
}

// NewValue begins a JSON value that is to be kept: Raw and Value put it
// together, Body returns it.
func NewValue(from *Event, size int) *Outgoing {
	return &Outgoing{from: from, body: make([]byte, 0, size)}
}

// Len returns the length of the JSON so far.
func (o *Outgoing) Len() int { return len(o.body) }

// Raw appends JSON that has no placeholders.
func (o *Outgoing) Raw(s string) *Outgoing {
	o.body = append(o.body, s...)
	return o
}

// Int appends a number.
func (o *Outgoing) Int(n int64) *Outgoing {
	o.body = strconv.AppendInt(o.body, n, 10)
	return o
}

// Bytes is Raw for bytes.
func (o *Outgoing) Bytes(b []byte) *Outgoing {
	o.body = append(o.body, b...)
	return o
}

// Value appends a span of the event this one comes from, byte for byte, but
// for the numbers of its attachments: those are counted anew.
func (o *Outgoing) Value(span []byte) *Outgoing {
	if o.from == nil || !o.from.binary {
		o.body = append(o.body, span...)
		return o
	}
	found, err := jsonspan.Placeholders(nil, span)
	if err != nil { // checked when the event was scanned
		found = nil
	}
	done := 0
	for _, p := range found {
		o.body = append(o.body, span[done:p.Start]...)
		o.body = append(o.body, `{"_placeholder":true,"num":`...)
		o.body = strconv.AppendInt(o.body, int64(len(o.buffers)), 10)
		o.body = append(o.body, '}')
		o.buffers = append(o.buffers, o.from.buffers[p.Num])
		done = p.End
	}
	o.body = append(o.body, span[done:]...)
	return o
}

// Body returns the JSON so far and the attachments it refers to.
func (o *Outgoing) Body() (json []byte, attachments [][]byte) { return o.body, o.buffers }

// Attach adds the attachments that the placeholders of Raw and Bytes number;
// it goes with no Value.
func (o *Outgoing) Attach(attachments [][]byte) *Outgoing {
	o.buffers = attachments
	return o
}

// Frames ends the event and encodes it, once for all its recipients.
func (o *Outgoing) Frames() []*engineio.Frame { return o.frames(nil) }

// Frame encodes the event, without attachments, as far as it is now: more may be
// added for another one.
func (o *Outgoing) Frame() *engineio.Frame {
	return engineio.Text([]byte{typeEvent}, o.body, []byte{']'})
}

// FrameOf is Frame, as the next one of roll.
func (o *Outgoing) FrameOf(roll *engineio.Roll) *engineio.Frame {
	return roll.Text([]byte{typeEvent}, o.body, []byte{']'})
}

// FramesAsking is Frames of an event whose recipients are asked for an ack with
// this id.
func (o *Outgoing) FramesAsking(id uint64) []*engineio.Frame {
	return o.frames(strconv.AppendUint(nil, id, 10))
}

func (o *Outgoing) frames(id []byte) []*engineio.Frame {
	o.body = append(o.body, ']')
	if len(o.buffers) == 0 {
		return []*engineio.Frame{engineio.Text([]byte{typeEvent}, id, o.body)}
	}
	head := append([]byte{typeBinaryEvent}, strconv.Itoa(len(o.buffers))...)
	frames := make([]*engineio.Frame, 0, 1+len(o.buffers))
	frames = append(frames, engineio.Text(append(head, '-'), id, o.body))
	for _, b := range o.buffers {
		frames = append(frames, engineio.Binary(b))
	}
	return frames
}

// EventAround makes the frame of an event whose arguments, after the comma, are
// head + shared + tail. shared is not copied: it must not change.
func EventAround(name, head string, shared []byte, tail string) *engineio.Frame {
	return engineio.TextAround(string(typeEvent)+"["+string(jsonspan.Append(nil, name))+head, shared, tail+"]")
}
