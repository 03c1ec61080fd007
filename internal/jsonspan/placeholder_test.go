package jsonspan_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/heymanito/heymanito/internal/jsonspan"
)

func TestPlaceholders(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   string
		want []string // span=num
		err  error
	}{
		{"none", `["a",{"b":1}]`, nil, nil},
		{"scalar", `"_placeholder"`, nil, nil},
		{"the value itself", `{"_placeholder":true,"num":0}`, []string{`{"_placeholder":true,"num":0}=0`}, nil},
		{"spaces", " [ { \"num\" : 7 , \"_placeholder\" : true } ]\n", []string{`{ "num" : 7 , "_placeholder" : true }=7`}, nil},
		{"in order of appearance", `["e",{"a":{"_placeholder":true,"num":2},"b":[{"_placeholder":true,"num":0}]},{"_placeholder":true,"num":1}]`, []string{
			`{"_placeholder":true,"num":2}=2`, `{"_placeholder":true,"num":0}=0`, `{"_placeholder":true,"num":1}=1`}, nil},
		{"other members", `{"a":[1,{}],"_placeholder":true,"x":"y","num":3,"z":null}`, []string{
			`{"a":[1,{}],"_placeholder":true,"x":"y","num":3,"z":null}=3`}, nil},
		{"the same twice", `[{"_placeholder":true,"num":1},{"_placeholder":true,"num":1}]`, []string{
			`{"_placeholder":true,"num":1}=1`, `{"_placeholder":true,"num":1}=1`}, nil},
		{"escaped keys", `{"\u005fplaceholder":true,"\u006eu\u006D":4}`, []string{`{"\u005fplaceholder":true,"\u006eu\u006D":4}=4`}, nil},
		{"highest num", `{"_placeholder":true,"num":2147483647}`, []string{`{"_placeholder":true,"num":2147483647}=2147483647`}, nil},

		{"not true", `[{"_placeholder":false,"num":0},{"_placeholder":1,"num":0},{"_placeholder":"true","num":0},{"_placeholder":null},{"_placeholder":[true]},{"_placeholder":{}}]`, nil, nil},
		{"nearly the key", `[{"placeholder":true},{"_placeholder ":true},{"_Placeholder":true},{"x_placeholder":true},{"\\u005fplaceholder":true}]`, nil, nil},
		{"in an array", `["_placeholder",true,"num",0]`, nil, nil},
		{"in a string", `"{\"_placeholder\":true,\"num\":0}"`, nil, nil},
		{"in what looks like one", `{"_placeholder":{"_placeholder":true,"num":1},"num":0}`, []string{`{"_placeholder":true,"num":1}=1`}, nil},

		{"no num", `{"_placeholder":true}`, nil, jsonspan.ErrPlaceholder},
		{"string num", `{"_placeholder":true,"num":"0"}`, nil, jsonspan.ErrPlaceholder},
		{"negative num", `{"_placeholder":true,"num":-1}`, nil, jsonspan.ErrPlaceholder},
		{"minus zero", `{"_placeholder":true,"num":-0}`, nil, jsonspan.ErrPlaceholder},
		{"fraction", `{"_placeholder":true,"num":1.0}`, nil, jsonspan.ErrPlaceholder},
		{"exponent", `{"_placeholder":true,"num":1e0}`, nil, jsonspan.ErrPlaceholder},
		{"null num", `{"_placeholder":true,"num":null}`, nil, jsonspan.ErrPlaceholder},
		{"array num", `{"_placeholder":true,"num":[0]}`, nil, jsonspan.ErrPlaceholder},
		{"num too high", `{"_placeholder":true,"num":2147483648}`, nil, jsonspan.ErrPlaceholder},
		{"num that wraps 32 bits", `{"_placeholder":true,"num":4294967296}`, nil, jsonspan.ErrPlaceholder},
		{"num that wraps 64 bits", `{"_placeholder":true,"num":18446744073709551616}`, nil, jsonspan.ErrPlaceholder},
		{"one inside", `{"_placeholder":true,"num":0,"x":[{"_placeholder":true,"num":1}]}`, nil, jsonspan.ErrPlaceholder},
		{"one inside, before it shows", `{"x":{"y":{"_placeholder":true,"num":1}},"num":0,"_placeholder":true}`, nil, jsonspan.ErrPlaceholder},
		{"one inside num", `{"_placeholder":true,"num":{"_placeholder":true,"num":1}}`, nil, jsonspan.ErrPlaceholder},
		{"good ones before a bad one", `[{"_placeholder":true,"num":0},{"_placeholder":true}]`, nil, jsonspan.ErrPlaceholder},

		{"last flag counts: true", `{"_placeholder":false,"num":0,"_placeholder":true}`, []string{`{"_placeholder":false,"num":0,"_placeholder":true}=0`}, nil},
		{"last flag counts: false", `{"_placeholder":true,"num":0,"_placeholder":false}`, nil, nil},
		{"last flag counts: escaped", `{"_placeholder":true,"num":0,"_placeholde\u0072":null}`, nil, nil},
		{"last num counts", `{"_placeholder":true,"num":"x","num":5}`, []string{`{"_placeholder":true,"num":"x","num":5}=5`}, nil},
		{"last num counts: bad", `{"_placeholder":true,"num":5,"num":null}`, nil, jsonspan.ErrPlaceholder},
		{"shadowed", `{"a":{"_placeholder":true,"num":0},"b":{"_placeholder":true,"num":1},"a":2}`, []string{`{"_placeholder":true,"num":1}=1`}, nil},
		{"shadowed by another", `{"a":{"_placeholder":true,"num":0},"a":{"_placeholder":true,"num":1}}`, []string{`{"_placeholder":true,"num":1}=1`}, nil},
		{"shadowed twice", `{"a":{"_placeholder":true,"num":0},"a":[{"_placeholder":true,"num":1}],"a":{"_placeholder":true,"num":2}}`, []string{`{"_placeholder":true,"num":2}=2`}, nil},
		{"shadowed, then again", `{"a":{"_placeholder":true,"num":0},"a":1,"a":{"_placeholder":true,"num":2},"a":[]}`, nil, nil},
		{"shadowed further out", `{"a":[{"b":{"_placeholder":true,"num":0}}],"\u0061":2}`, nil, nil},
		{"shadows by an escaped key", `{"\u0061":{"_placeholder":true,"num":0},"x":1,"a":2}`, nil, nil},
		{"shadowed, escaped keys in between", `{"\u0061":[{"\u0062":{"_placeholder":true,"num":0}}],"\u0062":1,"\u0061":{"\u0063":{"_placeholder":true,"num":1}}}`, []string{`{"_placeholder":true,"num":1}=1`}, nil},
		{"keys of other objects do not shadow", `[{"a":{"_placeholder":true,"num":0}},{"a":1,"b":{"a":2}}]`, []string{`{"_placeholder":true,"num":0}=0`}, nil},
		{"the parent's key does not shadow", `{"a":{"b":{"_placeholder":true,"num":0},"a":1}}`, []string{`{"_placeholder":true,"num":0}=0`}, nil},
		{"a shadowed bad one", `{"a":{"_placeholder":true},"a":2}`, nil, nil},
		{"a shadowed one inside", `{"_placeholder":true,"num":3,"a":{"_placeholder":true,"num":0},"a":2}`, []string{
			`{"_placeholder":true,"num":3,"a":{"_placeholder":true,"num":0},"a":2}=3`}, nil},
		{"a shadowed one as the flag", `{"_placeholder":{"_placeholder":true,"num":0},"_placeholder":true,"num":3}`, []string{
			`{"_placeholder":{"_placeholder":true,"num":0},"_placeholder":true,"num":3}=3`}, nil},
		{"different lone surrogates are different keys", `{"\ud800":{"_placeholder":true,"num":0},"\ud801":1,"\ufffd":2,"\udc00":3}`, []string{`{"_placeholder":true,"num":0}=0`}, nil},
		{"equal lone surrogates are equal keys", `{"\ud800":{"_placeholder":true,"num":0},"\uD800":1}`, nil, nil},
		{"__proto__ is a key like others", `{"__proto__":{"_placeholder":true,"num":0}}`, []string{`{"_placeholder":true,"num":0}=0`}, nil},

		{"invalid", `[{"_placeholder":true,"num":0}`, nil, jsonspan.ErrSyntax},
		{"invalid key", `{"_placeholder":true,num:0}`, nil, jsonspan.ErrSyntax},
		{"invalid value", `{"_placeholder":true,"num":}`, nil, jsonspan.ErrSyntax},
		{"more than one value", `{"_placeholder":true,"num":0} {}`, nil, jsonspan.ErrSyntax},
		{"invalid UTF-8", "[{\"_placeholder\":true,\"num\":0},\"\xff\"]", nil, jsonspan.ErrUTF8},
		{"too deep", strings.Repeat("[", 1001) + `"\u00e9"` + strings.Repeat("]", 1001), nil, jsonspan.ErrDepth},
		{"deep", strings.Repeat("[", 999) + `{"_placeholder":true,"num":6}` + strings.Repeat("]", 999), []string{`{"_placeholder":true,"num":6}=6`}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := []jsonspan.Placeholder{{Start: -1, End: -2, Num: -3}}
			found, err := jsonspan.Placeholders(before, []byte(tt.in))
			if err != tt.err {
				t.Errorf("%v; want %v", err, tt.err)
			}
			if len(found) == 0 || found[0] != before[0] {
				t.Fatalf("what was in dst is lost: %v", found)
			}
			var got []string
			for _, p := range found[1:] {
				got = append(got, tt.in[p.Start:p.End]+"="+strconv.Itoa(p.Num))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("found %q; want %q", got, tt.want)
			}
		})
	}
}

// TestPlaceholdersManySiblings has enough members with attachments in one
// object for the index of their keys to come into use.
func TestPlaceholdersManySiblings(t *testing.T) {
	for _, n := range []int{1, 7, 8, 9, 10, 100} {
		b := []byte("{")
		for i := range n {
			b = fmt.Appendf(b, `"\u0061%d":{"x":{"_placeholder":true,"num":%d}},"y%d":0,`, i, i, i)
		}
		for i := range n {
			if i%2 == 0 {
				b = fmt.Appendf(b, `"a%d":0,`, i)
			}
		}
		b = append(b, `"z":{"_placeholder":true,"num":1000}}`...)
		found, err := jsonspan.Placeholders(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		var got, want []int
		for _, p := range found {
			got = append(got, p.Num)
		}
		for i := 1; i < n; i += 2 {
			want = append(want, i)
		}
		if want = append(want, 1000); !slices.Equal(got, want) {
			t.Errorf("%d: found %v; want %v", n, got, want)
		}
	}
}

// hostile are payloads of a megabyte or more that cost much if something in
// the search is quadratic.
var hostile = []struct{ name, json string }{
	{"many", `[` + strings.Repeat(`{"_placeholder":true,"num":0},`, 35000) + `0]`},
	{"siblings", `{` + numbered(`"%d":{"_placeholder":true,"num":0},`, 28000) + `"x":0}`},
	{"siblings and other keys", `{` + numbered(`"%d":{"_placeholder":true,"num":0},`, 14000) + strings.Repeat(`"a":0,`, 90000) + `"x":0}`},
	{"escaped keys", `{"x":{"_placeholder":true,"num":0},` + strings.Repeat(`"\u0061\u0062\u0063":0,`, 45000) + `"x":0}`},
	{"one key", `{` + strings.Repeat(`"a":{"_placeholder":true,"num":0},`, 31000) + `"x":0}`},
	{"alternating keys", `{` + strings.Repeat(`"a":[{"_placeholder":true,"num":0}],"b":[{"_placeholder":true,"num":0}],`, 14000) + `"x":0}`},
	{"many shadowed again and again", `{"a":[` + strings.Repeat(`{"_placeholder":true,"num":0},`, 40000) + `0],` + strings.Repeat(`"a":0,`, 300000) + `"x":0}`},
	{"chains", `[` + strings.Repeat(strings.Repeat(`{"":`, 100)+`{"_placeholder":true,"num":0}`+strings.Repeat(`}`, 100)+`,`, 1900) + `0]`},
	{"shadowed at each level", strings.Repeat(`{"a":`, 99) + `[` + strings.Repeat(`{"_placeholder":true,"num":0},`, 35000) + `0]` + strings.Repeat(`,"a":0}`, 99)},
	{"deep and wide", strings.Repeat(`{"_placeholder":true,"num":0,"a":`, 99) + `[` + strings.Repeat(`{"_placeholder":true,"num":0},`, 35000) + `0]` + strings.Repeat(`}`, 99)},
	{"nothing to find", `["\u00e9",` + strings.Repeat(`{"a":[]},`, 110000) + `0]`},
}

func numbered(format string, n int) string {
	var b []byte
	for i := range n {
		b = fmt.Appendf(b, format, i)
	}
	return string(b)
}

func TestPlaceholdersHostile(t *testing.T) {
	for _, h := range hostile {
		start := time.Now()
		_, err := jsonspan.Placeholders(nil, []byte(h.json))
		if err != nil && err != jsonspan.ErrPlaceholder {
			t.Errorf("%s: %v", h.name, err)
		}
		// Some ten milliseconds when linear; many seconds when not.
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("%s: %d bytes took %v", h.name, len(h.json), d)
		}
	}
}

const photo = `["sendMessage",{"id":1,"content":{"text":"caf\u00e9","photo":{"_placeholder":true,"num":0}},"senderProfile":{"name":"x"}}]`

func TestPlaceholdersAllocations(t *testing.T) {
	dst := make([]jsonspan.Placeholder, 0, 4)
	for _, tt := range []struct {
		in   string
		want float64
	}{
		{message, 0},
		{`[{"_placeholder":true,"num":0}]`, 0},
		{photo, 1}, // the list of the members that lead to the photo
	} {
		b := []byte(tt.in)
		if n := testing.AllocsPerRun(5, func() {
			if _, err := jsonspan.Placeholders(dst, b); err != nil {
				t.Fatal(err)
			}
		}); n != tt.want {
			t.Errorf("%s: %v allocations; want %v", tt.in, n, tt.want)
		}
	}
}

// node is a JSON value as encoding/json's decoder sees it, with its place.
type node struct {
	start, end int
	scalar     any
	elements   []*node          // of an array
	members    map[string]*node // of an object, the last of each key
}

// tree reads the value that dec is at, in the valid JSON b.
func tree(t *testing.T, dec *json.Decoder, b []byte) *node {
	t.Helper()
	token := func() json.Token {
		tok, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	n := new(node)
	switch tok := token(); tok {
	case json.Delim('['):
		n.start = int(dec.InputOffset()) - 1
		for dec.More() {
			n.elements = append(n.elements, tree(t, dec, b))
		}
		token()
	case json.Delim('{'):
		n.start = int(dec.InputOffset()) - 1
		n.members = map[string]*node{}
		for dec.More() {
			key := token().(string)
			n.members[key] = tree(t, dec, b)
		}
		token()
	default:
		n.scalar = tok
	}
	n.end = int(dec.InputOffset())
	return n
}

// placeholders is the oracle: socket.io-parser's _reconstructPacket, over the
// tree. ok is false where Placeholders should return ErrPlaceholder.
func (n *node) placeholders() (found []jsonspan.Placeholder, ok bool) {
	ok = true
	children := n.elements
	for _, m := range n.members {
		children = append(children, m)
	}
	for _, c := range children {
		inner, innerOK := c.placeholders()
		found, ok = append(found, inner...), ok && innerOK
	}
	if flag := n.members["_placeholder"]; flag != nil && flag.scalar == true {
		if len(found) > 0 || n.members["num"] == nil {
			return nil, false
		}
		num, _ := n.members["num"].scalar.(json.Number)
		v, err := strconv.ParseInt(string(num), 10, 32)
		if err != nil || num[0] == '-' {
			return nil, false
		}
		found = append(found, jsonspan.Placeholder{Start: n.start, End: n.end, Num: int(v)})
	}
	slices.SortFunc(found, func(a, b jsonspan.Placeholder) int { return cmp.Compare(a.Start, b.Start) })
	return found, ok
}

func FuzzPlaceholders(f *testing.F) {
	for _, seed := range []string{
		`{"_placeholder":true,"num":0}`, `[{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]`,
		`{"a":{"_placeholder":true,"num":0},"a":{"_placeholder":true,"num":1}}`, `{"_placeholder":true,"num":-1}`,
		`{"_placeholder":true,"num":0,"x":[{"_placeholder":true,"num":1}]}`, `{"\u005fplaceholder":true,"num":2}`,
		`{"_placeholder":true,"_placeholder":false,"num":1.5}`, `{"a":[{"_placeholder":true}],"\u0061":0}`, message, photo,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(checkPlaceholders)
}

// checkPlaceholders compares Placeholders with the oracle.
func checkPlaceholders(t *testing.T, b []byte) {
	found, err := jsonspan.Placeholders(nil, b)
	last := 0
	for _, p := range found {
		if p.Start < last || p.End <= p.Start || p.End > len(b) || p.Num < 0 {
			t.Fatalf("%s: found %v", b, found)
		}
		last = p.End
	}
	if err != nil && found != nil {
		t.Fatalf("%s: found %v in spite of %v", b, found, err)
	}
	if !json.Valid(b) || !utf8.Valid(b) || err == jsonspan.ErrDepth || hasLoneSurrogate(b) {
		return // encoding/json takes all lone surrogates for U+FFFD
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	want, ok := tree(t, dec, b).placeholders()
	if !ok {
		if err != jsonspan.ErrPlaceholder {
			t.Fatalf("%s: found %v, %v; want ErrPlaceholder", b, found, err)
		}
		return
	}
	if err != nil || !slices.Equal(found, want) {
		t.Fatalf("%s: found %v, %v; want %v", b, found, err, want)
	}
}

// TestPlaceholdersRandom goes where mutations of bytes seldom lead: deep into
// objects that hold and shadow placeholders.
func TestPlaceholdersRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		checkPlaceholders(t, appendRandom(nil, r, 5))
	}
}

// appendRandom appends a JSON value with many placeholders, good and bad ones,
// and many keys that are the same.
func appendRandom(b []byte, r *rand.Rand, depth int) []byte {
	pick := func(choices ...string) string { return choices[r.IntN(len(choices))] }
	kind := r.IntN(10)
	switch {
	case depth == 0 || kind < 2:
		return append(b, pick(`0`, `null`, `"_placeholder"`, `true`, ` [ ] `, `{}`)...)
	case kind < 5:
		return fmt.Appendf(b, `{%s:true,%s:%s}`, pick(`"_placeholder"`, ` "_place\u0068older" `), pick(`"num"`, `"\u006eum"`),
			pick(`0`, `1`, `2`, `3`, `4`, `5`, `6`, `7`, `8`, pick(`-1`, `"1"`, `1.5`)))
	case kind < 7:
		b = append(b, '[')
		for range r.IntN(4) {
			b = append(appendRandom(b, r, depth-1), ',')
		}
		return append(b, `0]`...)
	}
	b = append(b, '{')
	for range r.IntN(4) * r.IntN(5) {
		b = append(b, pick(`"a":`, `"\u0061":`, `"b" : `, `"c":`, `"d":`, `"e":`, `"f":`, `"g":`, `"h":`, `"i":`, `"j":`, `"k":`, `"num":`, `"_placeholder":`)...)
		b = append(appendRandom(b, r, depth-1), ',')
	}
	return append(b, `"x":0}`...)
}

func BenchmarkPlaceholders(b *testing.B) {
	inputs := append([]struct{ name, json string }{{"none", message}, {"photo", photo}}, hostile...)
	for _, in := range inputs {
		data := []byte(in.json)
		b.Run(in.name, func(b *testing.B) {
			dst := make([]jsonspan.Placeholder, 0, 40000)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := jsonspan.Placeholders(dst, data); err != nil && err != jsonspan.ErrPlaceholder {
					b.Fatal(err)
				}
			}
		})
	}
}
