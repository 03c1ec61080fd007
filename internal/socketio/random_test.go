package socketio

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"testing"

	"github.com/zishang520/socket.io/parsers/socket/v3/parser"
	"github.com/zishang520/socket.io/v3/pkg/types"
)

// attachment stands for one in the values of these tests.
type attachment string

// randomValue makes a value of JSON with attachments in it; *left is how many
// may still come.
func randomValue(r *rand.Rand, depth int, left *int) any {
	if *left > 0 && r.IntN(5) == 0 {
		*left--
		return attachment(fmt.Sprintf("attachment %d", r.Uint32()))
	}
	n := r.IntN(9)
	if depth == 0 {
		n = r.IntN(6)
	}
	switch n {
	case 0:
		return nil
	case 1:
		return r.IntN(2) == 0
	case 2:
		return float64(r.IntN(1000)) - 500
	case 3:
		return r.Float64()
	case 4, 5:
		words := []string{"", "hola", "ñandú 👋", "\"quoted\" \\ \u2028", "_placeholder", "num", "<&>", "\x00\x1f", "0-,[{"}
		return words[r.IntN(len(words))]
	case 6, 7:
		l := make([]any, r.IntN(4))
		for i := range l {
			l[i] = randomValue(r, depth-1, left)
		}
		return l
	}
	m := map[string]any{}
	for range r.IntN(4) {
		keys := []string{"a", "ñ", "num", "", "x y", "\"", "_placeholder2"}
		m[keys[r.IntN(len(keys))]] = randomValue(r, depth-1, left)
	}
	return m
}

// number replaces the attachments of v by placeholders with the numbers that
// order gives them, and collects them in that order.
func number(v any, order []int, used *int, buffers [][]byte) any {
	switch v := v.(type) {
	case attachment:
		n := order[*used]
		*used++
		buffers[n] = []byte(v)
		return map[string]any{"_placeholder": true, "num": n}
	case []any:
		l := make([]any, len(v))
		for i := range v {
			l[i] = number(v[i], order, used, buffers)
		}
		return l
	case map[string]any:
		m := map[string]any{}
		for k := range v {
			m[k] = number(v[k], order, used, buffers)
		}
		return m
	}
	return v
}

func attachments(v any) int {
	n := 0
	switch v := v.(type) {
	case attachment:
		return 1
	case []any:
		for _, x := range v {
			n += attachments(x)
		}
	case map[string]any:
		for _, x := range v {
			n += attachments(x)
		}
	}
	return n
}

// plain makes what a codec has decoded comparable with what went in.
func plain(v any) any {
	switch v := v.(type) {
	case types.BufferInterface:
		return attachment(v.Bytes())
	case []any:
		l := make([]any, len(v))
		for i := range v {
			l[i] = plain(v[i])
		}
		return l
	case map[string]any:
		m := map[string]any{}
		for k := range v {
			m[k] = plain(v[k])
		}
		return m
	}
	return v
}

// buffered is v as the library's encoder takes it.
func buffered(v any) any {
	switch v := v.(type) {
	case attachment:
		return types.NewBytesBuffer([]byte(v))
	case []any:
		l := make([]any, len(v))
		for i := range v {
			l[i] = buffered(v[i])
		}
		return l
	case map[string]any:
		m := map[string]any{}
		for k := range v {
			m[k] = buffered(v[k])
		}
		return m
	}
	return v
}

// substitute is v, decoded from JSON, with its placeholders replaced.
func substitute(t *testing.T, v any, buffers [][]byte) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = substitute(t, v[i], buffers)
		}
	case map[string]any:
		if v["_placeholder"] == true {
			n, ok := v["num"].(float64)
			if !ok || int(n) >= len(buffers) {
				t.Fatalf("placeholder %v of %d attachments", v, len(buffers))
			}
			return attachment(buffers[int(n)])
		}
		for k := range v {
			v[k] = substitute(t, v[k], buffers)
		}
	}
	return v
}

const randomRounds = 3000

// An event, however its sender has numbered the attachments, is passed on so
// that the library's decoder, as a recipient, gets what was meant.
func TestRandomEventsPassedOn(t *testing.T) {
	for seed := range uint64(randomRounds) {
		r := rand.New(rand.NewPCG(seed, 11))
		left := r.IntN(maxAttachments + 1)
		var args []any
		for range r.IntN(4) {
			args = append(args, randomValue(r, 4, &left))
		}
		n := attachments(args)
		buffers := make([][]byte, n)
		used := 0
		payload, err := json.Marshal(append([]any{"name"}, number(args, r.Perm(n), &used, buffers).([]any)...))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, err := scanName(payload, "")
		if err != nil {
			t.Fatal(err)
		}
		e := &Event{payload: payload, rest: rest, binary: n > 0 || r.IntN(2) == 0, buffers: buffers}
		spans, err := e.Args()
		if err != nil || len(spans) != len(args) {
			t.Fatalf("seed %d: %s has %d arguments, %v", seed, payload, len(spans), err)
		}
		keep := r.IntN(len(spans) + 1) // the rest is dropped, with its attachments
		o := NewOutgoing("passed on", e, 0)
		for _, s := range spans[:keep] {
			o.Raw(",").Value(s)
		}
		body, out := o.Body()
		head := "2"
		if len(out) > 0 {
			head = "5" + strconv.Itoa(len(out)) + "-"
		}
		p := libraryDecodes(t, head+string(body)+"]", out...)
		want := append([]any{"passed on"}, args[:keep]...)
		if got := plain(p.Data); !reflect.DeepEqual(got, any(want)) {
			t.Fatalf("seed %d: %s became %s\ngot  %v\nwant %v", seed, payload, body, got, want)
		}
	}
}

// What the library's encoder writes, as a sender, we scan to the same parts.
func TestRandomEventsOfTheLibrary(t *testing.T) {
	for seed := range uint64(randomRounds) {
		r := rand.New(rand.NewPCG(seed, 12))
		left := r.IntN(maxAttachments + 1)
		want := []any{"name"}
		for range r.IntN(4) {
			want = append(want, randomValue(r, 4, &left))
		}
		p := &parser.Packet{Type: parser.EVENT, Nsp: "/", Data: buffered(want)}
		if r.IntN(2) == 0 {
			id := r.Uint64() >> r.IntN(64)
			p.Id = &id
		}
		frames := parser.NewEncoder().Encode(p)
		text := frames[0].Bytes()
		h, err := scanHeader(text)
		if err != nil || h.attachments != len(frames)-1 || (h.id == nil) != (p.Id == nil) || p.Id != nil && string(h.id) != strconv.FormatUint(*p.Id, 10) {
			t.Fatalf("seed %d: %s is scanned as %+v, %v", seed, text, h, err)
		}
		name, rest, err := scanName(h.payload, "")
		if err != nil || name != "name" {
			t.Fatalf("seed %d: %s has the name %q, %v", seed, text, name, err)
		}
		e := &Event{payload: h.payload, rest: rest, binary: h.kind == typeBinaryEvent}
		for _, f := range frames[1:] {
			e.buffers = append(e.buffers, f.Bytes())
		}
		spans, err := e.Args()
		if err != nil {
			t.Fatalf("seed %d: %s: %v", seed, text, err)
		}
		got := []any{name}
		for _, s := range spans {
			var v any
			if err := json.Unmarshal(s, &v); err != nil {
				t.Fatalf("seed %d: span %s: %v", seed, s, err)
			}
			got = append(got, substitute(t, v, e.buffers))
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: %s\ngot  %v\nwant %v", seed, text, got, want)
		}
	}
}

// The packets that go through the library's encoder on their way out come
// back through its decoder as what they were.
func TestControlFrames(t *testing.T) {
	for text, want := range map[string]*parser.Packet{
		`0{"sid":"abc"}`: {Type: parser.CONNECT, Nsp: "/", Data: map[string]any{"sid": "abc"}},
		`1`:              {Type: parser.DISCONNECT, Nsp: "/"},
		`4/x,{"message":"Invalid namespace"}`: {
			Type: parser.CONNECT_ERROR, Nsp: "/x", Data: map[string]any{"message": "Invalid namespace"},
		},
		`4{"data":{"code":"c"},"message":"m"}`: {
			Type: parser.CONNECT_ERROR, Nsp: "/", Data: map[string]any{"message": "m", "data": map[string]any{"code": "c"}},
		},
	} {
		got := libraryDecodes(t, text)
		if got.Type != want.Type || got.Nsp != want.Nsp || !reflect.DeepEqual(got.Data, want.Data) {
			t.Errorf("%s: %+v", text, got)
		}
		wire := parser.NewEncoder().Encode(want)[0].Bytes()
		if string(wire) != text {
			t.Errorf("%s is written as %s", text, wire)
		}
	}
	for name, c := range map[string]struct{ got, want int }{
		"connect":       {connectFrame("abc").Len(), len(`40{"sid":"abc"}`) + 2},
		"disconnect":    {disconnectFrame("/").Len(), len(`41`) + 2},
		"connect error": {connectErrorFrame("/x", "no", nil).Len(), len(`44/x,{"message":"no"}`) + 2},
	} {
		if c.got != c.want {
			t.Errorf("%s: a frame of %d bytes, want %d", name, c.got, c.want)
		}
	}
}
