package socketio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"testing"

	"github.com/zishang520/socket.io/parsers/socket/v3/parser"
	"github.com/zishang520/socket.io/v3/pkg/types"
)

// libraryDecodes is what the library's codec makes of a packet.
func libraryDecodes(t *testing.T, text string, attachments ...[]byte) *parser.Packet {
	t.Helper()
	dec := parser.NewDecoder()
	defer dec.Destroy()
	var got *parser.Packet
	if err := dec.On("decoded", func(args ...any) { got, _ = args[0].(*parser.Packet) }); err != nil {
		t.Fatal(err)
	}
	err := dec.Add(text)
	for _, a := range attachments {
		if err == nil {
			err = dec.Add(a)
		}
	}
	if err != nil || got == nil {
		t.Fatalf("the library does not decode %.200q: %v", text, err)
	}
	return got
}

// What we write the library reads as what it was.
func TestLibraryReadsUs(t *testing.T) {
	values := []string{`1`, `"é\ud83d\ude00"`, `{"a":[1,{"b":null}],"c":"x"}`, `[[],{}]`, `true`}
	for i, v := range values {
		o := NewOutgoing("name "+strconv.Itoa(i), nil, 0).Raw(",").Bytes([]byte(v))
		body, _ := o.Body()
		p := libraryDecodes(t, "2"+string(body)+"]")
		var want any
		if err := json.Unmarshal([]byte(`["name `+strconv.Itoa(i)+`",`+v+`]`), &want); err != nil {
			t.Fatal(err)
		}
		if p.Type != parser.EVENT || p.Nsp != "/" || !reflect.DeepEqual(p.Data, want) {
			t.Errorf("%s is read as %v %v", v, p.Type, p.Data)
		}
	}
}

// What the library writes we scan to the same parts.
func TestWeReadTheLibrary(t *testing.T) {
	id := uint64(42)
	for _, p := range []*parser.Packet{
		{Type: parser.EVENT, Nsp: "/", Data: []any{"hi", 1, "é"}},
		{Type: parser.EVENT, Nsp: "/", Id: &id, Data: []any{"hi"}},
		{Type: parser.ACK, Nsp: "/", Id: &id, Data: []any{"hi", map[string]any{"a": 1}}},
		{Type: parser.EVENT, Nsp: "/", Id: &id, Data: []any{"hi", types.NewBytesBuffer([]byte{1, 2}), map[string]any{"x": types.NewBytesBuffer([]byte{3})}}},
	} {
		frames := parser.NewEncoder().Encode(p)
		h, err := scanHeader(frames[0].Bytes())
		if err != nil || h.attachments != len(frames)-1 || (h.id != nil) != (p.Id != nil) || h.id != nil && string(h.id) != "42" {
			t.Errorf("%s is scanned as %+v, %v", frames[0], h, err)
			continue
		}
		if p.Type == parser.ACK {
			continue
		}
		name, _, err := scanName(h.payload)
		if err != nil || name != "hi" {
			t.Errorf("%s has the name %q, %v", frames[0], name, err)
		}
	}
}

// The scanner and the codec never panic, and agree on what is an event.
func FuzzPacket(f *testing.F) {
	for _, p := range []string{
		`2["a",1]`, `212["a"]`, `2/,["a"]`, `2/x,["a"]`, `3[1]`, `51-["a",{"_placeholder":true,"num":0}]`, `0`, `0{"a":1}`, `0/x,{"a":1}`, `1`, `2[]`, `2[1]`, `2{}`, `9`, ``,
	} {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if c, err := decodeControl(p); err == nil && c.auth != nil && !json.Valid(c.auth) {
			t.Errorf("auth %q is no JSON", c.auth)
		}
		h, err := scanHeader(p)
		if err != nil {
			return
		}
		if len(h.payload) > 0 && !bytes.HasSuffix(p, h.payload) {
			t.Errorf("payload %q is not the end of %q", h.payload, p)
		}
		name, rest, err := scanName(h.payload)
		if err != nil || name == "" || h.kind != typeEvent {
			return
		}
		e := Event{payload: h.payload, rest: rest}
		args, err := e.Args()
		if err != nil {
			return
		}
		var want []json.RawMessage
		if err := json.Unmarshal(h.payload, &want); err != nil || len(want) != len(args)+1 {
			t.Fatalf("%q has the arguments %q; JSON says %q, %v", h.payload, args, want, err)
		}
	})
}

// Whatever a sender puts into a binary event, what goes on to the recipient is
// something that a stock parser reads, with every attachment in its place.
func FuzzBinaryEvent(f *testing.F) {
	f.Add([]byte(`["a",{"_placeholder":true,"num":0}]`), 1)
	f.Add([]byte(`["a",{"x":{"_placeholder":true,"num":1},"y":[{"num":0,"_placeholder":true}]}]`), 2)
	f.Add([]byte(`["a",{"\u005fplaceholder":true,"num":0}]`), 1)
	f.Add([]byte(`["a",{"_placeholder":true,"num":9}]`), 1)
	f.Fuzz(func(t *testing.T, payload []byte, n int) {
		if n < 1 || n > maxAttachments {
			return
		}
		name, rest, err := scanName(payload)
		if err != nil || name == "" {
			return
		}
		e := Event{payload: payload, rest: rest, binary: true}
		for i := range n {
			e.buffers = append(e.buffers, fmt.Appendf(nil, "attachment %d", i))
		}
		args, err := e.Args()
		if err != nil {
			return
		}
		o := NewOutgoing("x", &e, 0)
		for _, a := range args {
			o.Raw(",").Value(a)
		}
		body, buffers := o.Body()
		if len(buffers) == 0 {
			return
		}
		p := libraryDecodes(t, "5"+strconv.Itoa(len(buffers))+"-"+string(body)+"]", buffers...)
		if n := count(p.Data); n != len(buffers) {
			t.Errorf("%q: %d attachments arrived, %d were sent", body, n, len(buffers))
		}
	})
}

// count counts the attachments in what the library has decoded.
func count(v any) int {
	n := 0
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			n += count(x)
		}
	case map[string]any:
		for _, x := range v {
			n += count(x)
		}
	case types.BufferInterface:
		return 1
	}
	return n
}
