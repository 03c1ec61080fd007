package socketio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/zishang520/socket.io/parsers/socket/v3/parser"
	"github.com/zishang520/socket.io/v3/pkg/types"
)

// libraryReads is what the library's codec makes of a packet, nil if it is none.
func libraryReads(text string, attachments ...[]byte) (got *parser.Packet, err error) {
	defer func() {
		if r := recover(); r != nil {
			got, err = nil, fmt.Errorf("the codec panicked: %v", r)
		}
	}()
	dec := parser.NewDecoder()
	defer dec.Destroy()
	if err := dec.On("decoded", func(args ...any) { got, _ = args[0].(*parser.Packet) }); err != nil {
		return nil, err
	}
	err = dec.Add(text)
	for _, a := range attachments {
		if err == nil {
			err = dec.Add(a)
		}
	}
	return got, err
}

// libraryDecodes is libraryReads for what has to be a packet.
func libraryDecodes(t *testing.T, text string, attachments ...[]byte) *parser.Packet {
	t.Helper()
	got, err := libraryReads(text, attachments...)
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
		name, _, err := scanName(h.payload, "")
		if err != nil || name != "hi" {
			t.Errorf("%s has the name %q, %v", frames[0], name, err)
		}
	}
}

// stricter are the packets that the library reads and we refuse: bytes behind
// the payload, text that is no UTF-8, nesting without end, and a name that is
// none.
func stricter(payload []byte, name any) bool {
	s, ok := name.(string)
	return !ok || s == "" || strings.ContainsRune(s, utf8.RuneError) || !utf8.Valid(payload) || !json.Valid(payload) || depth(payload) > maxDepth+2
}

// wider are the packets that we take and the library does not read: ids of 20
// digits, names that are reserved (what is unknown is answered, whatever its
// name), and numbers that are none of Go's.
func wider(h header, name string) bool {
	var v any
	return len(h.id) >= maxIDDigits || parser.ReservedEvents.Has(name) || json.Unmarshal(h.payload, &v) != nil
}

// depth is how deep valid JSON nests.
func depth(b []byte) (deepest int) {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
			deepest = max(deepest, depth)
		case c == ']' || c == '}':
			depth--
		}
	}
	return deepest
}

// The scanner never panics, and agrees with the library's codec on what is an
// event or an ack, and on what is in it.
func FuzzPacket(f *testing.F) {
	for _, p := range []string{
		`2["a",1]`, `212["a"]`, `2/,["a"]`, `2/x,["a"]`, `3[1]`, `51-["a",{"_placeholder":true,"num":0}]`, `0`, `0{"a":1}`, `0/x,{"a":1}`, `1`, `2[]`, `2[1]`, `2{}`, `9`, ``,
		`2["a",{"id":1,"content":[{}]},"more"]`, `2["a",{"id":1,"\u0069d":2}]`, `2["a",{"id":1}}]`, `2["a",{"id":1e400}]`, `2 ["a" , {}] `, `2["a"]x`, `31{}`, `3`, `312["x"] `,
		`218446744073709551616["a"]`, `2["connect"]`, `2["\ud800"]`, "2[\"a\",\"\xff\"]", `2["a",` + nested(maxDepth+1) + `]`, `2["a",` + nested(maxDepth+2) + `]`, `0/,1{"a":{"b":[]}}`,
	} {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		lib, _ := libraryReads(string(p))
		if c, err := decodeControl(p); err == nil && c.kind == parser.CONNECT && c.auth != nil {
			var auth any
			if err := json.Unmarshal(c.auth, &auth); err != nil || lib == nil || !reflect.DeepEqual(auth, lib.Data) {
				t.Errorf("%q has the auth %q, %v", p, c.auth, err)
			}
		}
		h, err := scanHeader(p)
		if err != nil {
			if lib != nil && lib.Nsp == "/" && (lib.Type == parser.EVENT || lib.Type == parser.ACK) {
				t.Errorf("%q is refused, and the library reads %v", p, lib)
			}
			return
		}
		if len(h.payload) > 0 && !bytes.HasSuffix(p, h.payload) {
			t.Errorf("payload %q is not the end of %q", h.payload, p)
		}
		switch h.kind {
		case typeEvent:
			fuzzEvent(t, h, lib)
		case typeAck:
			if isArray(h.payload) {
				sameHeader(t, h, lib, parser.ACK, "")
			} else if lib != nil && !stricter(h.payload, "ack") {
				t.Errorf("the ack %q is refused, and the library reads %v", p, lib)
			}
		}
	})
}

// fuzzEvent compares what we and the library make of an event.
func fuzzEvent(t *testing.T, h header, lib *parser.Packet) {
	name, rest, err := scanName(h.payload, "")
	e := Event{payload: h.payload, rest: rest}
	var args [][]byte
	if err == nil { // else the connection is closed
		args, err = e.Args()
		if err != nil && e.Object([]string{"id", "content"}, make([][]byte, 2)) == nil {
			t.Errorf("%q has an object, and no arguments: %v", h.payload, err)
		}
	}
	if err != nil || name == "" {
		if lib != nil && !stricter(h.payload, lib.Data.([]any)[0]) {
			t.Errorf("%q is refused (%q, %v), and the library reads %v", h.payload, name, err, lib)
		}
		return
	}
	if sameHeader(t, h, lib, parser.EVENT, name) {
		want := lib.Data.([]any)
		if len(args) != len(want)-1 || want[0] != name {
			t.Fatalf("%q is %q with %q; the library says %v", h.payload, name, args, want)
		}
		for i, a := range args {
			var v any
			if err := json.Unmarshal(a, &v); err != nil || !reflect.DeepEqual(v, want[i+1]) {
				t.Fatalf("%q has the argument %q; the library says %v (%v)", h.payload, a, want[i+1], err)
			}
		}
	}
	fuzzObject(t, &e, args)
}

// fuzzObject looks at an event whose arguments are well-formed as one of the
// contract: the first has to be an object, and its members are what JSON says.
func fuzzObject(t *testing.T, e *Event, args [][]byte) {
	keys := []string{"id", "content"}
	out, once := make([][]byte, 2), make([][]byte, 2)
	err, again := e.Object(keys, out), e.ObjectOnce(keys, once)
	if isObject := len(args) > 0 && args[0][0] == '{'; (err == nil) != isObject {
		t.Fatalf("the object of %q: %v", e.payload, err)
	}
	if err != nil {
		if again == nil {
			t.Errorf("%q has an object once, and else none: %v", e.payload, err)
		}
		return
	}
	var want map[string]json.RawMessage
	if err := json.Unmarshal(args[0], &want); err != nil {
		t.Fatal(err)
	}
	twice := false
	for i, key := range keys {
		if !bytes.Equal(out[i], want[key]) || (out[i] == nil) != (want[key] == nil) {
			t.Errorf("%s of %q is %q; JSON says %q", key, e.payload, out[i], want[key])
		}
		twice = twice || times(t, args[0], key) > 1
	}
	if (again != nil) != twice || again == nil && !reflect.DeepEqual(out, once) {
		t.Errorf("%q, a key twice: %v, has %q, and once %q, %v", e.payload, twice, out, once, again)
	}
}

// times is how often an object has a key.
func times(t *testing.T, object []byte, key string) (n int) {
	dec := json.NewDecoder(bytes.NewReader(object))
	_, err := dec.Token()
	for err == nil && dec.More() {
		var k json.Token
		if k, err = dec.Token(); k == key {
			n++
		}
		if err == nil {
			err = dec.Decode(new(json.RawMessage))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sameHeader compares the header of what we take, and reports whether the
// library reads it too.
func sameHeader(t *testing.T, h header, lib *parser.Packet, kind parser.PacketType, name string) bool {
	if lib == nil {
		if !wider(h, name) {
			t.Errorf("the library does not read %q with id %q", h.payload, h.id)
		}
		return false
	}
	id := ""
	if lib.Id != nil {
		id = strconv.FormatUint(*lib.Id, 10)
	}
	namespace := "/"
	if h.namespace != nil {
		namespace = string(h.namespace)
	}
	if ours := strings.TrimLeft(string(h.id), "0"); lib.Type != kind || lib.Nsp != namespace || (lib.Id == nil) != (h.id == nil) || ours != strings.TrimLeft(id, "0") {
		t.Errorf("%q with id %q is %v to the library", h.payload, h.id, lib)
	}
	return true
}

// Whatever a sender puts into a binary event, what goes on to the recipient is
// something that a stock parser reads, with every attachment in its place.
func FuzzBinaryEvent(f *testing.F) {
	f.Add([]byte(`["a",{"_placeholder":true,"num":0}]`), 1)
	f.Add([]byte(`["a",{"x":{"_placeholder":true,"num":1},"y":[{"num":0,"_placeholder":true}]}]`), 2)
	f.Add([]byte(`["a",{"\u005fplaceholder":true,"num":0}]`), 1)
	f.Add([]byte(`["a",{"_placeholder":true,"num":9}]`), 1)
	f.Add([]byte(`["a",{"id":1,"content":{"_placeholder":true,"num":0},"id":2}]`), 1)
	f.Add([]byte(`["a",{"id":1},{"_placeholder":true,"num":1}]`), 1)
	f.Fuzz(func(t *testing.T, payload []byte, n int) {
		if n < 1 || n > maxAttachments {
			return
		}
		name, rest, err := scanName(payload, "")
		if err != nil || name == "" {
			return
		}
		e := Event{payload: payload, rest: rest, binary: true}
		for i := range n {
			e.buffers = append(e.buffers, fmt.Appendf(nil, "attachment %d", i))
		}
		args, err := e.Args()
		if err != nil {
			if e.Object([]string{"id", "content"}, make([][]byte, 2)) == nil {
				t.Errorf("%q with %d attachments has an object, and no arguments: %v", payload, n, err)
			}
			return
		}
		fuzzObject(t, &e, args)
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
