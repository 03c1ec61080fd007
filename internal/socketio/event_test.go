package socketio

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// event is what the engine would hand to the host for a payload.
func event(t testing.TB, payload string, binary bool, buffers ...string) *Event {
	t.Helper()
	name, rest, err := scanName([]byte(payload), "")
	if err != nil {
		t.Fatalf("%.80q has no name: %v", payload, err)
	}
	e := &Event{Name: name, payload: []byte(payload), rest: rest, binary: binary}
	for _, b := range buffers {
		e.buffers = append(e.buffers, []byte(b))
	}
	return e
}

func TestScanNamespace(t *testing.T) {
	long := "/" + strings.Repeat("x", maxNamespace-1)
	for packet, want := range map[string]string{
		`2["/x,"]`:             "",
		`2/,["a"]`:             "",
		`2/x,["a"]`:            "/x",
		`2/x/y?z=1,5["a"]`:     "/x/y?z=1",
		`51-/x,["a"]`:          "/x",
		`3/x,7[]`:              "/x",
		`2` + long + `,["a"]`:  long,
		`2` + long + `x,["a"]`: "error",
		`2/x["a"]`:             "error",
		`2/x`:                  "error",
	} {
		h, err := scanHeader([]byte(packet))
		if got := string(h.namespace); err == nil && got != want || err != nil && want != "error" {
			t.Errorf("%.40s: namespace %.40q, %v", packet, got, err)
		}
	}
}

func TestScanHeader(t *testing.T) {
	for _, c := range []struct {
		packet, id, payload string
		attachments         int
		ok                  bool
	}{
		{`2["a"]`, "", `["a"]`, 0, true},
		{`20["a"]`, "0", `["a"]`, 0, true},
		{`2007["a"]`, "007", `["a"]`, 0, true},
		{`2/,12["a"]`, "12", `["a"]`, 0, true},
		{`212345678901234567890["a"]`, "12345678901234567890", `["a"]`, 0, true},
		{`2123456789012345678901["a"]`, "", "", 0, false},
		{`2`, "", "", 0, true}, // the payload is somebody else's to miss
		{`2/`, "", "", 0, false},
		{`2/x,["a"]`, "", `["a"]`, 0, true}, // of another namespace, see TestScanNamespace
		{`2/,`, "", "", 0, true},
		{`51-["a"]`, "", `["a"]`, 1, true},
		{`510-/,3["a"]`, "3", `["a"]`, 10, true},
		{`50-["a"]`, "", `["a"]`, 0, true},
		{`500-["a"]`, "", `["a"]`, 0, true},
		{`6999999999-1[]`, "1", `[]`, 999_999_999, true},
		{`61000000000-1[]`, "", "", 0, false},
		{`5-["a"]`, "", "", 0, false},
		{`5+1-["a"]`, "", "", 0, false},
		{`5--1-["a"]`, "", "", 0, false},
		{`5 1-["a"]`, "", "", 0, false},
		{`51_0-["a"]`, "", "", 0, false},
		{`50x1-["a"]`, "", "", 0, false},
		{`51["a"]`, "", "", 0, false},
		{`5`, "", "", 0, false},
		{``, "", "", 0, false},
	} {
		h, err := scanHeader([]byte(c.packet))
		if (err == nil) != c.ok {
			t.Errorf("%s: %+v, %v", c.packet, h, err)
			continue
		}
		if err == nil && (string(h.id) != c.id || (h.id == nil) != (c.id == "") || string(h.payload) != c.payload || h.attachments != c.attachments) {
			t.Errorf("%s: id %q, payload %q, %d attachments", c.packet, h.id, h.payload, h.attachments)
		}
		if err != nil && !errors.Is(err, errPacket) {
			t.Errorf("%s: %v", c.packet, err)
		}
	}
}

func TestScanName(t *testing.T) {
	for _, c := range []struct {
		payload, name string
		ok            bool
	}{
		{`["a"]`, "a", true},
		{` [ "a" , 1]`, "a", true},
		{`["\u0061\ud83d\ude00"]`, "a😀", true},
		{`[""]`, "", true},
		{`[1]`, "", true},
		{`[null,1]`, "", true},
		{`[{"a":1}]`, "", true},
		{`["cut`, "", true},     // answered as malformed: it may have an id
		{`[nonsense`, "", true}, // so may this
		{`[`, "", true},
		{`[]`, "", false},
		{`[ ]`, "", false},
		{`{}`, "", false},
		{`"a"`, "", false},
		{`1`, "", false},
		{`null`, "", false},
		{``, "", false},
		{`x["a"]`, "", false},
	} {
		for _, before := range []string{"", "a", "b", "a😀", "nonsense"} { // it changes nothing
			name, rest, err := scanName([]byte(c.payload), before)
			if name != c.name || (err == nil) != c.ok {
				t.Errorf("%s after %q: %q, %v", c.payload, before, name, err)
			}
			if rest < 0 || rest > len(c.payload) {
				t.Errorf("%s after %q: the rest begins at %d", c.payload, before, rest)
			}
		}
	}
}

func TestEventObject(t *testing.T) {
	keys := []string{"id", "content", "senderProfile"}
	for _, c := range []struct {
		payload string
		want    []string // spans; "" is nil
	}{
		{`["m",{"id":1,"content":"x","senderProfile":{"a":[1, 2]}}]`, []string{`1`, `"x"`, `{"a":[1, 2]}`}},
		{` ["m" , { "content" : 12345678901234567890 , "id" : "\ud800" } ] `, []string{`"\ud800"`, `12345678901234567890`, ""}},
		{`["m",{}]`, []string{"", "", ""}},
		{`["m",{"other":{"id":2}}]`, []string{"", "", ""}},
		{`["m",{"\u0069d":1}]`, []string{"1", "", ""}},
		{`["m",{"id":null}]`, []string{"null", "", ""}},
		{`["m",{"id":1},2,"further arguments"]`, []string{"1", "", ""}},
		{`["m",{"content":` + nested(maxDepth-1) + `}]`, []string{"", nested(maxDepth - 1), ""}},
		{`["m"]`, nil},
		{`["m",]`, nil},
		{`["m",1]`, nil},
		{`["m",null]`, nil},
		{`["m",[{"id":1}]]`, nil},
		{`["m",{"id":1}`, nil},
		{`["m",{"id":1}]x`, nil},
		{`["m",{"id":1},]`, nil},
		{`["m",{"id":1},bad]`, nil},
		{`["m",{"id":1} 2]`, nil},
		{`["m" {"id":1}]`, nil},
		{`["m",{"id":01}]`, nil},
		{`["m",{"other":bad,"id":1}]`, nil},
		{`["m",{"content":` + nested(300) + `}]`, nil},
		{`["m",{"id":1},` + nested(300) + `]`, nil},
	} {
		out := make([][]byte, len(keys))
		err := event(t, c.payload, false).Object(keys, out)
		if c.want == nil {
			if !errors.Is(err, ErrShape) {
				t.Errorf("%.80s: %q, %v", c.payload, out, err)
			}
			continue
		}
		got := make([]string, len(out))
		for i, o := range out {
			got[i] = string(o)
			if (o == nil) != (c.want[i] == "") {
				t.Errorf("%.80s: %s is %q", c.payload, keys[i], o)
			}
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%.80s: %.200q, %v", c.payload, got, err)
		}
	}
	e := event(t, `["m",{"id":1}]`, false)
	e.Problem = ErrTooLarge
	if err := e.Object(keys, make([][]byte, 3)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("the problem it came with is forgotten: %v", err)
	}
}

func TestEventArgs(t *testing.T) {
	for _, c := range []struct {
		payload string
		want    []string
	}{
		{`["m"]`, []string{}},
		{`["m",1]`, []string{"1"}},
		{` [ "m" , [ 1 ] , "x" ] `, []string{"[ 1 ]", `"x"`}},
		{`["m",` + nested(maxDepth) + `]`, []string{nested(maxDepth)}},
		{`["m",1,]`, nil},
		{`["m",,1]`, nil},
		{`["m" 1]`, nil},
		{`["m",1`, nil},
		{`["m",1]]`, nil},
		{`["m",` + nested(300) + `]`, nil},
		{`["cut`, nil},
	} {
		got, err := event(t, c.payload, false).Args()
		if c.want == nil {
			if !errors.Is(err, ErrShape) {
				t.Errorf("%.80s: %q, %v", c.payload, got, err)
			}
			continue
		}
		if err != nil || got == nil || !slices.EqualFunc(got, c.want, func(a []byte, b string) bool { return string(a) == b }) {
			t.Errorf("%.80s: %.200q, %v", c.payload, got, err)
		}
	}
}

const (
	p0 = `{"_placeholder":true,"num":0}`
	p1 = `{"_placeholder":true,"num":1}`
	p2 = `{"_placeholder":true,"num":2}`
)

// What is passed on of an event is numbered anew, from its beginning.
func TestAttachments(t *testing.T) {
	keys := []string{"content", "senderProfile"}
	buffers := []string{"zero", "one", "two"}
	for _, c := range []struct {
		name, payload string
		want          string   // "" is ErrShape
		attached      []string // in this order
	}{
		{"none used", `["m",{"content":1,"senderProfile":2}]`, `["r",1,2`, nil},
		{"all used", `["m",{"content":` + p0 + `,"senderProfile":[` + p1 + `,` + p2 + `]}]`, `["r",` + p0 + `,[` + p1 + `,` + p2 + `]`, buffers},
		{"in another order", `["m",{"content":` + p2 + `,"senderProfile":` + p0 + `}]`, `["r",` + p0 + `,` + p1, []string{"two", "zero"}},
		{"the members change places", `["m",{"senderProfile":` + p0 + `,"content":` + p1 + `}]`, `["r",` + p0 + `,` + p1, []string{"one", "zero"}},
		{"some only in dropped fields", `["m",{"other":[` + p0 + `],"content":` + p1 + `,"senderProfile":null}]`, `["r",` + p0 + `,null`, []string{"one"}},
		{"all in dropped fields", `["m",{"other":[` + p0 + `,` + p2 + `],"content":1,"senderProfile":2},` + p1 + `]`, `["r",1,2`, nil},
		{"written differently", `["m",{"content":{ "num" : 2 , "x":[1], "_placeholder" : true },"senderProfile":{"\u005fplaceholder":true,"num":1}}]`, `["r",` + p0 + `,` + p1, []string{"two", "one"}},
		{"what is none stays as it is", `["m",{"content":{"_placeholder":false,"num":7},"senderProfile":"_placeholder"}]`, `["r",{"_placeholder":false,"num":7},"_placeholder"`, nil},
		{"out of range", `["m",{"content":{"_placeholder":true,"num":3},"senderProfile":1}]`, "", nil},
		{"out of range in a dropped field", `["m",{"other":{"_placeholder":true,"num":3},"content":1,"senderProfile":1}]`, "", nil},
		{"out of range in a further argument", `["m",{"content":1,"senderProfile":1},{"_placeholder":true,"num":3}]`, "", nil},
		{"used twice", `["m",{"content":` + p1 + `,"senderProfile":` + p1 + `}]`, "", nil},
		{"used twice, once in a dropped field", `["m",{"content":` + p1 + `,"senderProfile":1,"other":` + p1 + `}]`, "", nil},
		{"no number", `["m",{"content":{"_placeholder":true},"senderProfile":1}]`, "", nil},
		{"a negative number", `["m",{"content":{"_placeholder":true,"num":-1},"senderProfile":1}]`, "", nil},
		{"a number that is none", `["m",{"content":{"_placeholder":true,"num":"0"},"senderProfile":1}]`, "", nil},
		{"half a number", `["m",{"content":{"_placeholder":true,"num":0.0},"senderProfile":1}]`, "", nil},
		{"a huge number", `["m",{"content":{"_placeholder":true,"num":99999999999999999999},"senderProfile":1}]`, "", nil},
		{"one inside of another", `["m",{"content":{"_placeholder":true,"num":0,"x":` + p1 + `},"senderProfile":1}]`, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := event(t, c.payload, true, buffers...)
			out := make([][]byte, len(keys))
			err := e.Object(keys, out)
			if c.want == "" {
				if !errors.Is(err, ErrShape) {
					t.Errorf("%q, %v", out, err)
				}
				if _, err := e.Args(); !errors.Is(err, ErrShape) {
					t.Errorf("Args: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			o := NewOutgoing("r", e, 0)
			for _, v := range out {
				o.Raw(",").Value(v)
			}
			body, attached := o.Body()
			if string(body) != c.want || !slices.EqualFunc(attached, c.attached, func(a []byte, b string) bool { return string(a) == b }) {
				t.Errorf("%s with %q; want %s with %q", body, attached, c.want, c.attached)
			}
			if n := len(o.Frames()); n != 1+len(c.attached) {
				t.Errorf("%d frames", n)
			}
		})
	}
	// What is no binary event has no placeholders, whatever it looks like.
	e := event(t, `["m",{"content":`+p1+`,"senderProfile":`+p1+`}]`, false)
	out := make([][]byte, len(keys))
	if err := e.Object(keys, out); err != nil {
		t.Fatal(err)
	}
	if body, attached := NewOutgoing("r", e, 0).Raw(",").Value(out[0]).Body(); string(body) != `["r",`+p1 || len(attached) != 0 {
		t.Errorf("%s with %q", body, attached)
	}
	// One that announces none has none that a placeholder could mean.
	if err := event(t, `["m",{"content":`+p0+`}]`, true).Object(keys, out); !errors.Is(err, ErrShape) {
		t.Errorf("a placeholder where nothing was announced: %v", err)
	}
}

func TestOutgoing(t *testing.T) {
	o := NewOutgoing("naïve \"name\"\n", nil, 0).Raw(`,{"a":`).Bytes([]byte(`[1]`)).Raw(`}`)
	if body, attached := o.Body(); string(body) != `["naïve \"name\"\n",{"a":[1]}` || attached != nil {
		t.Errorf("%s, %q", body, attached)
	}
	// The payload an event came in is never written to.
	payload := []byte(`["m",` + p1 + `,` + p0 + `]`)
	given := bytes.Clone(payload)
	e := &Event{payload: payload, rest: 4, binary: true, buffers: [][]byte{{1}, {2}}}
	args, err := e.Args()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		o := NewOutgoing("r", e, 0)
		for _, a := range args {
			o.Raw(",").Value(a)
		}
		o.Frames()
		if body, _ := o.Body(); string(body) != `["r",`+p0+`,`+p1+`]` {
			t.Errorf("%s", body)
		}
	}
	if !bytes.Equal(payload, given) {
		t.Errorf("the event was changed to %s", payload)
	}
}
