package jsonspan_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
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
			`{"_placeholder":true,"num":2}=2`, `{"_placeholder":true,"num":0}=0`, `{"_placeholder":true,"num":1}=1`,
		}, nil},
		{"other members", `{"a":[1,{}],"_placeholder":true,"x":"y","num":3,"z":null}`, []string{
			`{"a":[1,{}],"_placeholder":true,"x":"y","num":3,"z":null}=3`,
		}, nil},
		{"the same twice", `[{"_placeholder":true,"num":1},{"_placeholder":true,"num":1}]`, []string{
			`{"_placeholder":true,"num":1}=1`, `{"_placeholder":true,"num":1}=1`,
		}, nil},
		{"escaped keys", `{"\u005fplaceholder":true,"\u006eu\u006D":4}`, []string{`{"\u005fplaceholder":true,"\u006eu\u006D":4}=4`}, nil},
		{"highest num", `{"_placeholder":true,"num":2147483647}`, []string{`{"_placeholder":true,"num":2147483647}=2147483647`}, nil},

		{"false", `[{"_placeholder":false},{"num":0,"_placeholder":false},{"\u005fplaceholder" : false}]`, nil, nil},
		{"false, with any num", `[{"_placeholder":false,"num":-1},{"_placeholder":false,"num":0,"num":"x"}]`, nil, nil},
		{"false, around one", `{"_placeholder":false,"num":{"_placeholder":true,"num":1}}`, []string{`{"_placeholder":true,"num":1}=1`}, nil},
		{"nearly the key", `[{"placeholder":true},{"_placeholder ":1},{"_Placeholder":1},{"x_placeholder":1},{"\\u005fplaceholder":1},{"_placeholder\u0000":1}]`, nil, nil},
		{"in an array", `["_placeholder",1,"num",0]`, nil, nil},
		{"in a string", `"{\"_placeholder\":1,\"num\":0}"`, nil, nil},

		{"1 for true", `[{"_placeholder":1,"num":0}]`, nil, jsonspan.ErrPlaceholder},
		{"0 for false", `{"_placeholder":0}`, nil, jsonspan.ErrPlaceholder},
		{"string for true", `{"a":{"_placeholder":"true","num":0}}`, nil, jsonspan.ErrPlaceholder},
		{"string for false", `{"_placeholder":"false"}`, nil, jsonspan.ErrPlaceholder},
		{"null for false", `{"_placeholder":null}`, nil, jsonspan.ErrPlaceholder},
		{"array for true", `{"_placeholder":[true]}`, nil, jsonspan.ErrPlaceholder},
		{"object for true", `{"_placeholder":{}}`, nil, jsonspan.ErrPlaceholder},
		{"placeholder for true", `{"_placeholder":{"_placeholder":true,"num":1},"num":0}`, nil, jsonspan.ErrPlaceholder},
		{"1 for true, escaped key", `{"\u005fplaceholder":1,"num":0}`, nil, jsonspan.ErrPlaceholder},
		{"1 for true, far from a placeholder", `[{"_placeholder":true,"num":0},[[{"x":{"_placeholder":1}}]]]`, nil, jsonspan.ErrPlaceholder},
		{"1 for true, inside a placeholder", `{"_placeholder":true,"num":0,"x":{"_placeholder":1}}`, nil, jsonspan.ErrPlaceholder},
		{"1 for true, inside num", `{"_placeholder":false,"num":[{"_placeholder":1}]}`, nil, jsonspan.ErrPlaceholder},

		{"two flags: true", `{"_placeholder":false,"num":0,"_placeholder":true}`, nil, jsonspan.ErrPlaceholder},
		{"two flags: false", `{"_placeholder":true,"num":0,"_placeholder":false}`, nil, jsonspan.ErrPlaceholder},
		{"two flags: the same", `{"_placeholder":true,"num":0,"_placeholder":true}`, nil, jsonspan.ErrPlaceholder},
		{"two flags: both false", `{"_placeholder":false,"_placeholder":false}`, nil, jsonspan.ErrPlaceholder},
		{"two flags: escaped", `{"_placeholder":true,"num":0,"_placeholde\u0072":true}`, nil, jsonspan.ErrPlaceholder},
		{"flags of different objects", `{"_placeholder":false,"a":{"_placeholder":false,"a":[{"_placeholder":true,"num":1}]}}`, []string{`{"_placeholder":true,"num":1}=1`}, nil},

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

		{"two nums", `{"_placeholder":true,"num":0,"num":1}`, nil, jsonspan.ErrPlaceholder},
		{"two nums: the same", `{"_placeholder":true,"num":0,"num":0}`, nil, jsonspan.ErrPlaceholder},
		{"two nums: the first bad", `{"num":"x","_placeholder":true,"num":5}`, nil, jsonspan.ErrPlaceholder},
		{"two nums: the last bad", `{"num":5,"num":null,"_placeholder":true}`, nil, jsonspan.ErrPlaceholder},
		{"two nums: escaped", `{"_placeholder":true,"num":5,"n\u0075m":5}`, nil, jsonspan.ErrPlaceholder},
		{"num inside of what is no num", `{"_placeholder":true,"x":{"num":0}}`, nil, jsonspan.ErrPlaceholder},
		{"num of the parent", `{"num":0,"a":{"_placeholder":true}}`, nil, jsonspan.ErrPlaceholder},

		{"equal keys, nothing inside", `{"a":1,"a":{"_placeholder":false},"b":{"_placeholder":true,"num":0},"a":[{}]}`, []string{`{"_placeholder":true,"num":0}=0`}, nil},
		{"equal keys of a placeholder", `{"_placeholder":true,"a":1,"num":0,"a":2}`, []string{`{"_placeholder":true,"a":1,"num":0,"a":2}=0`}, nil},
		{"equal keys: first", `{"a":{"_placeholder":true,"num":0},"b":0,"a":2}`, nil, jsonspan.ErrPlaceholder},
		{"equal keys: last", `{"a":2,"b":0,"a":{"_placeholder":true,"num":0}}`, nil, jsonspan.ErrPlaceholder},
		{"equal keys: both", `{"a":{"_placeholder":true,"num":0},"a":{"_placeholder":true,"num":1}}`, nil, jsonspan.ErrPlaceholder},
		{"equal keys: middle", `{"a":0,"a":[{"_placeholder":true,"num":1}],"a":{}}`, nil, jsonspan.ErrPlaceholder},
		{"equal keys: second of two", `{"b":{"_placeholder":true,"num":0},"a":{"_placeholder":true,"num":1},"c":0,"a":0}`, nil, jsonspan.ErrPlaceholder},
		{"equal keys further out", `{"a":[{"b":{"_placeholder":true,"num":0}}],"\u0061":2}`, nil, jsonspan.ErrPlaceholder},
		{"equal keys further in", `[{"x":[[{"a":[{"_placeholder":true,"num":0}],"a":2}]]}]`, nil, jsonspan.ErrPlaceholder},
		{"equal keys beside other objects", `{"a":0,"x":{"y":{"_placeholder":true,"num":0},"z":[{"a":0}]},"b":{"a":0},"a":[{"_placeholder":true,"num":1}]}`, nil, jsonspan.ErrPlaceholder},
		{"equal keys: escaped carrier", `{"\u0061":{"_placeholder":true,"num":0},"x":1,"a":2}`, nil, jsonspan.ErrPlaceholder},
		{"equal keys: escaped other", `{"\u0061":1,"x":1,"a":{"_placeholder":true,"num":0}}`, nil, jsonspan.ErrPlaceholder},
		{"equal keys: num", `{"_placeholder":false,"num":{"_placeholder":true,"num":0},"num":1}`, nil, jsonspan.ErrPlaceholder},
		{"equal keys: empty", `{"":1,"":{"_placeholder":true,"num":0}}`, nil, jsonspan.ErrPlaceholder},
		{"equal keys of other objects", `[{"a":{"_placeholder":true,"num":0}},{"a":1,"b":{"a":2}}]`, []string{`{"_placeholder":true,"num":0}=0`}, nil},
		{"equal keys of parent and child", `{"a":{"b":{"_placeholder":true,"num":0},"a":1},"b":2}`, []string{`{"_placeholder":true,"num":0}=0`}, nil},
		{"equal escaped keys at each level", `{"\u0061":[{"\u0061":{"_placeholder":true,"num":0},"\u0062":{"\u0061":{"_placeholder":true,"num":1}}}]}`, []string{
			`{"_placeholder":true,"num":0}=0`, `{"_placeholder":true,"num":1}=1`,
		}, nil},
		{"escaped keys that differ", `{"\u0061":{"_placeholder":true,"num":0},"\u0062":{"_placeholder":true,"num":1},"\\u0061":2,"\u0061a":3}`, []string{
			`{"_placeholder":true,"num":0}=0`, `{"_placeholder":true,"num":1}=1`,
		}, nil},
		{"different lone surrogates are different keys", `{"\ud800":{"_placeholder":true,"num":0},"\ud801":1,"\ufffd":2,"\udc00":3}`, []string{`{"_placeholder":true,"num":0}=0`}, nil},
		{"equal lone surrogates are equal keys", `{"\ud800":{"_placeholder":true,"num":0},"\uD800":1}`, nil, jsonspan.ErrPlaceholder},
		{"__proto__ is a key like others", `{"__proto__":{"_placeholder":true,"num":0}}`, []string{`{"_placeholder":true,"num":0}=0`}, nil},

		{"invalid", `[{"_placeholder":true,"num":0}`, nil, jsonspan.ErrSyntax},
		{"invalid key", `{"_placeholder":true,num:0}`, nil, jsonspan.ErrSyntax},
		{"invalid value", `{"_placeholder":true,"num":}`, nil, jsonspan.ErrSyntax},
		{"more than one value", `{"_placeholder":true,"num":0} {}`, nil, jsonspan.ErrSyntax},
		{"invalid UTF-8", "[{\"_placeholder\":true,\"num\":0},\"\xff\"]", nil, jsonspan.ErrUTF8},
		{"too deep", strings.Repeat("[", 1001) + `"\u00e9"` + strings.Repeat("]", 1001), nil, jsonspan.ErrDepth},
		{"too deep in objects", strings.Repeat(`{"\u0061":`, 1000) + `{}` + strings.Repeat("}", 1000), nil, jsonspan.ErrDepth},
		{"too deep, beside a placeholder", `{"a":{"_placeholder":true,"num":0},"b":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`, nil, jsonspan.ErrDepth},
		{"deep", strings.Repeat("[", 999) + `{"_placeholder":true,"num":6}` + strings.Repeat("]", 999), []string{`{"_placeholder":true,"num":6}=6`}, nil},
		{"deep in objects", strings.Repeat(`{"a":`, 999) + `{"_placeholder":true,"num":6}` + strings.Repeat("}", 999), []string{`{"_placeholder":true,"num":6}=6`}, nil},
		{"deep, beside a placeholder", `{"a":{"_placeholder":true,"num":0},"b":` + strings.Repeat("[", 999) + strings.Repeat("]", 999) + `}`, []string{`{"_placeholder":true,"num":0}=0`}, nil},
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
// object for the map of their keys to come into use.
func TestPlaceholdersManySiblings(t *testing.T) {
	for _, n := range []int{1, 7, 8, 9, 30} {
		var members []string
		for i := range n {
			members = append(members, fmt.Sprintf(`"\u0061%d":{"x":{"_placeholder":true,"num":%d}}`, i, i), `"y":0`)
		}
		object := func() []byte { return []byte("{" + strings.Join(members, ",") + "}") }
		found, err := jsonspan.Placeholders(nil, object())
		if err != nil || len(found) != n {
			t.Fatalf("%d: found %d, %v", n, len(found), err)
		}
		for i, p := range found {
			if p.Num != i {
				t.Fatalf("%d: found %v", n, found)
			}
		}
		// Each key once more, in the place of each other member.
		for i := range n {
			for k := 1; k < len(members); k += 2 {
				for _, value := range []string{`0`, `{"_placeholder":true,"num":1000}`} {
					members[k] = fmt.Sprintf(`"a%d":%s`, i, value)
					if found, err := jsonspan.Placeholders(nil, object()); found != nil || err != jsonspan.ErrPlaceholder {
						t.Fatalf("%d: a%d again at %d: found %v, %v", n, i, k, found, err)
					}
				}
				members[k] = `"y":0`
			}
		}
	}
}

// hostile are payloads of a megabyte or more that cost much if something in
// the search is quadratic.
var hostile = []struct {
	name, json string
	err        error
}{
	{"many", `[` + strings.Repeat(ph+`,`, 35000) + `0]`, nil},
	{"siblings", `{` + numbered(`"%d":`+ph+`,`, 28000) + `"x":0}`, nil},
	{"siblings, then other keys", `{` + numbered(`"s%06d":`+ph+`,`, 30000) + numbered(`"o%06d":0,`, 300000) + `"x":0}`, nil},
	{"other keys, then siblings", `{` + numbered(`"o%06d":0,`, 300000) + numbered(`"s%06d":`+ph+`,`, 30000) + `"x":0}`, nil},
	{"siblings, the last twice", `{` + numbered(`"s%06d":`+ph+`,`, 30000) + numbered(`"o%06d":0,`, 300000) + `"s029999":0}`, jsonspan.ErrPlaceholder},
	{"few siblings and other keys", `{` + numbered(`"%d":`+ph+`,`, 7) + strings.Repeat(`"a":0,`, 300000) + `"x":0}`, nil},
	{"long keys", `{` + numbered(`"`+strings.Repeat("k", 4000)+`%03d":`+ph+`,`, 200) + numbered(`"`+strings.Repeat("k", 4000)+`x%02d":0,`, 99) + `"x":0}`, nil},
	{"few long keys", `{` + numbered(`"`+strings.Repeat("k", 4000)+`%03d":`+ph+`,`, 7) + numbered(`"`+strings.Repeat("k", 4000)+`x%02d":0,`, 99) + `"x":0}`, nil},
	{"escaped keys", `{"x":` + ph + `,` + strings.Repeat(`"\u0061\u0062\u0063":0,`, 45000) + `"y":0}`, nil},
	{"escaped siblings", `{` + numbered(`"\u0061\u0062\u0063%d":`+ph+`,`, 20000) + `"y":0}`, nil},
	{"one key", `{` + strings.Repeat(`"a":`+ph+`,`, 31000) + `"x":0}`, jsonspan.ErrPlaceholder},
	{"pairs", `[` + strings.Repeat(`{"a":`+ph+`,"b":`+ph+`},`, 14000) + `0]`, nil},
	{"eights", `[` + strings.Repeat(`{`+numbered(`"%d":`+ph+`,`, 8)+`"x":0},`, 4000) + `0]`, nil},
	{"chains", `[` + strings.Repeat(strings.Repeat(`{"":`, 100)+ph+strings.Repeat(`}`, 100)+`,`, 1900) + `0]`, nil},
	{"much at the innermost level", strings.Repeat(`{"p":`+ph+`,"a":`, 990) + `{"p":` + ph + `,` + numbered(`"a%d":[0],`, 200000) + `"x":0}` + strings.Repeat(`}`, 990), nil},
	{"much at each level", strings.Repeat(`{"p":`+ph+`,`+numbered(`"a%d":[0],`, 400)+`"a":`, 990) + `0` + strings.Repeat(`}`, 990), nil},
	{"siblings at each level", strings.Repeat(`{`+numbered(`"%d":`+ph+`,`, 50)+`"a":`, 990) + `0` + strings.Repeat(`}`, 990), nil},
	{"chains beside a placeholder", `{"p":` + ph + `,` + strings.Repeat(`"a":`+strings.Repeat(`[`, 900)+strings.Repeat(`]`, 900)+`,`, 600) + `"x":0}`, nil},
	{"deep and wide", strings.Repeat(`{"_placeholder":true,"num":0,"a":`, 99) + `[` + strings.Repeat(ph+`,`, 35000) + `0]` + strings.Repeat(`}`, 99), jsonspan.ErrPlaceholder},
	{"nums", `{"_placeholder":true,` + strings.Repeat(`"num":0,`, 130000) + `"x":0}`, jsonspan.ErrPlaceholder},
	{"nothing to find", `["\u00e9",` + strings.Repeat(`{"a":[]},`, 110000) + `0]`, nil},
}

const ph = `{"_placeholder":true,"num":0}`

func numbered(format string, n int) string {
	var b []byte
	for i := range n {
		b = fmt.Appendf(b, format, i)
	}
	return string(b)
}

// Each takes some ten milliseconds when the work is linear. When it is not they
// take so long together that the tests' timeout ends them.
func TestPlaceholdersHostile(t *testing.T) {
	for _, h := range hostile {
		if _, err := jsonspan.Placeholders(nil, []byte(h.json)); err != h.err {
			t.Errorf("%s: %v; want %v", h.name, err, h.err)
		}
	}
}

func BenchmarkPlaceholdersHostile(b *testing.B) {
	for _, h := range hostile {
		b.Run(h.name, func(b *testing.B) {
			json := []byte(h.json)
			b.SetBytes(int64(len(json)))
			for b.Loop() {
				_, _ = jsonspan.Placeholders(nil, json)
			}
		})
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
	keys       []string // of an object, in order, as often as they come
	children   []*node  // of an object or array
}

// tree reads the value that dec is at; it is valid.
func tree(t *testing.T, dec *json.Decoder) *node {
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
			n.children = append(n.children, tree(t, dec))
		}
		token()
	case json.Delim('{'):
		n.start = int(dec.InputOffset()) - 1
		for dec.More() {
			n.keys = append(n.keys, token().(string))
			n.children = append(n.children, tree(t, dec))
		}
		token()
	default:
		n.scalar = tok
	}
	n.end = int(dec.InputOffset())
	return n
}

// placeholders is the oracle. ok is false where Placeholders should return
// ErrPlaceholder.
func (n *node) placeholders() (found []jsonspan.Placeholder, ok bool) {
	var (
		last     = map[string]*node{}
		count    = map[string]int{}
		carriers []string
	)
	for i, c := range n.children {
		inner, ok := c.placeholders()
		if !ok {
			return nil, false
		}
		found = append(found, inner...)
		if n.keys == nil {
			continue
		}
		key := n.keys[i]
		last[key] = c
		count[key]++
		if len(inner) > 0 {
			carriers = append(carriers, key)
		}
	}
	for _, key := range carriers {
		if count[key] > 1 {
			return nil, false
		}
	}
	if count["_placeholder"] == 0 {
		return found, true
	}
	isPlaceholder, ok := last["_placeholder"].scalar.(bool)
	if !ok || count["_placeholder"] > 1 {
		return nil, false
	}
	if !isPlaceholder {
		return found, true
	}
	if len(found) > 0 || count["num"] != 1 {
		return nil, false
	}
	num, _ := last["num"].scalar.(json.Number)
	v, err := strconv.ParseInt(string(num), 10, 32)
	if err != nil || num[0] == '-' {
		return nil, false
	}
	return []jsonspan.Placeholder{{Start: n.start, End: n.end, Num: int(v)}}, true
}

// recipient is what is wanted of a client's parser that is lenient about what
// is true, and keeps the first or the last of the members with the same key:
// the placeholders that it finds, the value of num being -1 if it breaks on it.
func (n *node) recipient(keepFirst bool) (found []jsonspan.Placeholder) {
	kept := map[string]*node{}
	children := n.children
	if n.keys != nil {
		for i, key := range n.keys {
			if _, again := kept[key]; !again || !keepFirst {
				kept[key] = n.children[i]
			}
		}
		children = slices.Collect(maps.Values(kept))
	}
	if flag := kept["_placeholder"]; flag != nil {
		var truth bool
		switch v := flag.scalar.(type) {
		case bool:
			truth = v
		case json.Number: // NSNumber as? Bool
			f, _ := v.Float64()
			truth = f != 0
		case string: // JSONObject.optBoolean
			truth = strings.EqualFold(v, "true")
		}
		if truth {
			num := -1
			if kept["num"] != nil {
				v, _ := kept["num"].scalar.(json.Number)
				if v, err := strconv.ParseUint(string(v), 10, 31); err == nil {
					num = int(v)
				}
			}
			return []jsonspan.Placeholder{{Start: n.start, End: n.end, Num: num}}
		}
	}
	for _, c := range children {
		found = append(found, c.recipient(keepFirst)...)
	}
	slices.SortFunc(found, func(a, b jsonspan.Placeholder) int { return cmp.Compare(a.Start, b.Start) })
	return found
}

func FuzzPlaceholders(f *testing.F) {
	for _, seed := range []string{
		`{"_placeholder":true,"num":0}`, `[{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]`,
		`{"a":{"_placeholder":true,"num":0},"a":{"_placeholder":true,"num":1}}`, `{"_placeholder":true,"num":-1}`,
		`{"a":1,"b":{"_placeholder":true,"num":0},"a":[]}`, `{"_placeholder":false,"num":"x"}`, `{"_placeholder":1}`,
		`{"_placeholder":true,"num":0,"x":[{"_placeholder":true,"num":1}]}`, `{"\u005fplaceholder":true,"num":2}`,
		`{"_placeholder":true,"_placeholder":false,"num":1.5}`, `{"a":[{"_placeholder":true,"num":3}],"\u0061":0}`, message, photo,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkPlaceholders(t, b) })
}

// checkPlaceholders compares Placeholders with the oracle, and what it accepts
// with what recipients find. It returns what Placeholders does.
func checkPlaceholders(t *testing.T, b []byte) ([]jsonspan.Placeholder, error) {
	t.Helper()
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
		return found, err // encoding/json takes all lone surrogates for U+FFFD
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	root := tree(t, dec)
	want, ok := root.placeholders()
	if !ok {
		if err != jsonspan.ErrPlaceholder {
			t.Fatalf("%s: found %v, %v; want ErrPlaceholder", b, found, err)
		}
		return found, err
	}
	if err != nil || !slices.Equal(found, want) {
		t.Fatalf("%s: found %v, %v; want %v", b, found, err, want)
	}
	for _, keepFirst := range []bool{true, false} {
		if theirs := root.recipient(keepFirst); !slices.Equal(found, theirs) {
			t.Fatalf("%s: found %v; a recipient finds %v", b, found, theirs)
		}
	}
	return found, err
}

// TestPlaceholdersRandom goes where mutations of bytes seldom lead: deep into
// objects that hold placeholders, almost all of them good.
func TestPlaceholdersRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var many, none, refused int
	for range 6000 {
		found, err := checkPlaceholders(t, appendRandom(nil, r, 5))
		switch {
		case err != nil:
			refused++
		case len(found) > 1:
			many++
		default:
			none++
		}
	}
	if min(many, none, refused) < 600 {
		t.Errorf("a poor mix: %d with placeholders, %d with hardly any, %d refused", many, none, refused)
	}
}

// appendRandom appends a JSON value with many placeholders, few of them bad,
// in objects with few keys that are the same.
func appendRandom(b []byte, r *rand.Rand, depth int) []byte {
	pick := func(choices ...string) string { return choices[r.IntN(len(choices))] }
	seldom := func(usual string, choices ...string) string {
		if r.IntN(40) > 0 {
			return usual
		}
		return pick(choices...)
	}
	kind := r.IntN(20)
	switch {
	case depth == 0 || kind < 4:
		return append(b, pick(`0`, `null`, `"_placeholder"`, `true`, ` [ ] `, `{}`, `{"_placeholder":false}`, `{"_placeholder":false,"num":0,"num":1}`)...)
	case kind < 10:
		b = fmt.Appendf(b, `{%s:%s,%s:%s`, pick(`"_placeholder"`, ` "_place\u0068older" `), seldom(`true`, `false`, `1`, `"true"`, `null`, `[true]`),
			pick(`"num"`, `"\u006eum"`), seldom(pick(`0`, `1`, `2`), `-1`, `"1"`, `1.5`, `{}`, `2147483648`))
		b = append(b, seldom(``, `,"_placeholder":true`, `,"_placeholder":false`, `,"num":0`, `,"n\u0075m":0`, `,"x":{"_placeholder":true,"num":3}`)...)
		return append(b, pick(`}`, ` } `, `,"x":0,"x":[]}`)...)
	case kind < 14:
		b = append(b, '[')
		for range r.IntN(4) {
			b = append(appendRandom(b, r, depth-1), ',')
		}
		return append(b, `0]`...)
	}
	keys := []string{`"a"`, `"\u0062"`, `"c" `, `"d"`, `"e"`, `"\u0066"`, `"g"`, `"h"`, `"i"`, `"j"`, `"k"`, `"num"`}
	r.Shuffle(len(keys), func(i, k int) { keys[i], keys[k] = keys[k], keys[i] })
	keys = keys[:r.IntN(4)*r.IntN(5)]
	b = append(b, '{')
	for _, key := range keys {
		key = seldom(key, `"a"`, `"b"`, `"c"`, `"\u0064"`, `"e"`, `"f"`, `"_placeholder"`)
		b = append(append(b, key...), ':')
		b = append(appendRandom(b, r, depth-1), ',')
	}
	return append(b, pick(`"x":0}`, `"x":0,"y":1,"x":2}`)...)
}

func BenchmarkPlaceholders(b *testing.B) {
	type input = struct {
		name, json string
		err        error
	}
	inputs := append([]input{{"none", message, nil}, {"photo", photo, nil}}, hostile...)
	for _, in := range inputs {
		data := []byte(in.json)
		b.Run(in.name, func(b *testing.B) {
			dst := make([]jsonspan.Placeholder, 0, 40000)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := jsonspan.Placeholders(dst, data); err != in.err {
					b.Fatal(err)
				}
			}
		})
	}
}
