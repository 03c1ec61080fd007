package jsonspan_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/heymanito/heymanito/internal/jsonspan"
)

func TestValue(t *testing.T) {
	const deep = 10
	for _, tt := range []struct {
		name string
		in   string
		end  int
		err  error
	}{
		{"null", `null`, 4, nil},
		{"true", `true`, 4, nil},
		{"false", `false`, 5, nil},
		{"stops after the value", `truex`, 4, nil},
		{"cut literal", `tru`, 3, jsonspan.ErrSyntax},
		{"misspelt literal", `nulL`, 3, jsonspan.ErrSyntax},
		{"capital literal", `True`, 0, jsonspan.ErrSyntax},
		{"nothing", ``, 0, jsonspan.ErrSyntax},
		{"leading space is the caller's", ` 1`, 0, jsonspan.ErrSyntax},
		{"byte order mark", "\uFEFF1", 0, jsonspan.ErrSyntax},
		{"NUL", "\x00", 0, jsonspan.ErrSyntax},

		{"zero", `0`, 1, nil},
		{"minus zero", `-0`, 2, nil},
		{"number", `-12.50e+07,`, 10, nil},
		{"big number", `123456789012345678901234567890`, 30, nil},
		{"exponent", `1E5`, 3, nil},
		{"leading zero ends the number", `01`, 1, nil},
		{"leading zero in an array", `[01]`, 2, jsonspan.ErrSyntax},
		{"minus alone", `-`, 1, jsonspan.ErrSyntax},
		{"minus minus", `--1`, 1, jsonspan.ErrSyntax},
		{"plus", `+1`, 0, jsonspan.ErrSyntax},
		{"no fraction", `1.`, 2, jsonspan.ErrSyntax},
		{"no integer", `.5`, 0, jsonspan.ErrSyntax},
		{"no exponent", `1e`, 2, jsonspan.ErrSyntax},
		{"exponent sign alone", `1e+`, 3, jsonspan.ErrSyntax},
		{"hexadecimal ends the number", `0x10`, 1, nil},
		{"NaN", `NaN`, 0, jsonspan.ErrSyntax},

		{"empty string", `""`, 2, nil},
		{"string", `"abc" `, 5, nil},
		{"string of a word and more", `"0123456789abcdefX"`, 19, nil},
		{"DEL", "\"\x7f\"", 3, nil},
		{"all escapes", `"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00"`, 36, nil},
		{"lone surrogate escape", `"\ud800"`, 8, nil},
		{"escaped quote at the end", `"\"`, 3, jsonspan.ErrSyntax},
		{"backslash at the end", `"\`, 1, jsonspan.ErrSyntax},
		{"unknown escape", `"\x41"`, 1, jsonspan.ErrSyntax},
		{"escaped quote mark of others", `"\'"`, 1, jsonspan.ErrSyntax},
		{"capital U", `"\U0041"`, 1, jsonspan.ErrSyntax},
		{"short unicode escape", `"\u004"`, 1, jsonspan.ErrSyntax},
		{"unicode escape at the end", `"\u004`, 1, jsonspan.ErrSyntax},
		{"no hexadecimal", `"\u004g"`, 1, jsonspan.ErrSyntax},
		{"open string", `"abc`, 4, jsonspan.ErrSyntax},
		{"single quotes", `'a'`, 0, jsonspan.ErrSyntax},
		{"newline in a string", "\"a\nb\"", 2, jsonspan.ErrSyntax},
		{"control character in a word", "\"abcdefgh\x1fijklmnop\"", 9, jsonspan.ErrSyntax},
		{"NUL in a string", "\"\x00\"", 1, jsonspan.ErrSyntax},

		{"two bytes", "\"é\"", 4, nil},
		{"three bytes", "\"€\"", 5, nil},
		{"four bytes", "\"😀\"", 6, nil},
		{"highest character", "\"\U0010FFFF\"", 6, nil},
		{"U+FFFD itself", "\"\uFFFD\"", 5, nil},
		{"stray continuation", "\"ab\x80\"", 3, jsonspan.ErrUTF8},
		{"overlong", "\"\xc0\xaf\"", 1, jsonspan.ErrUTF8},
		{"overlong of three", "\"\xe0\x80\xaf\"", 1, jsonspan.ErrUTF8},
		{"surrogate in bytes", "\"\xed\xa0\x80\"", 1, jsonspan.ErrUTF8},
		{"beyond U+10FFFF", "\"\xf4\x90\x80\x80\"", 1, jsonspan.ErrUTF8},
		{"cut character", "\"\xe2\x82\"", 1, jsonspan.ErrUTF8},
		{"cut character at the end", "\"\xe2\x82", 1, jsonspan.ErrUTF8},
		{"cut two-byte character at the end", "\"\xc3", 1, jsonspan.ErrUTF8},
		{"invalid UTF-8 outside of strings", "[\xff]", 1, jsonspan.ErrSyntax},

		{"empty array", `[]`, 2, nil},
		{"empty object", `{}`, 2, nil},
		{"spaced empties", "[ \t\r\n]", 6, nil},
		{"spaced object", "{ \"a\" : 1 , \"b\" : [ ] }", 23, nil},
		{"nested", `{"a":[1,{"b":[]},"c"],"d":null}]`, 31, nil},
		{"form feed is no space", "[\f]", 1, jsonspan.ErrSyntax},
		{"no-break space is no space", "[\u00a01]", 1, jsonspan.ErrSyntax},
		{"trailing comma in an array", `[1,]`, 3, jsonspan.ErrSyntax},
		{"trailing comma in an object", `{"a":1,}`, 7, jsonspan.ErrSyntax},
		{"comma alone", `[,]`, 1, jsonspan.ErrSyntax},
		{"comma first", `[,1]`, 1, jsonspan.ErrSyntax},
		{"two commas", `[1,,2]`, 3, jsonspan.ErrSyntax},
		{"no comma", `[1 2]`, 3, jsonspan.ErrSyntax},
		{"no colon", `{"a" 1}`, 5, jsonspan.ErrSyntax},
		{"no value", `{"a":}`, 5, jsonspan.ErrSyntax},
		{"key only", `{"a"}`, 4, jsonspan.ErrSyntax},
		{"number as key", `{1:2}`, 1, jsonspan.ErrSyntax},
		{"bare key", `{a:2}`, 1, jsonspan.ErrSyntax},
		{"colon in an array", `["a":1]`, 4, jsonspan.ErrSyntax},
		{"wrong bracket", `[1}`, 2, jsonspan.ErrSyntax},
		{"wrong brace", `{"a":1]`, 6, jsonspan.ErrSyntax},
		{"wrong brace when empty", `{]`, 1, jsonspan.ErrSyntax},
		{"wrong bracket when empty", `[}`, 1, jsonspan.ErrSyntax},
		{"wrong bracket further out", `{"a":[1}}`, 7, jsonspan.ErrSyntax},
		{"open array", `[1`, 2, jsonspan.ErrSyntax},
		{"open object", `{"a":1`, 6, jsonspan.ErrSyntax},
		{"open object after a comma", `{"a":1,`, 7, jsonspan.ErrSyntax},
		{"closing bracket", `]`, 0, jsonspan.ErrSyntax},
		{"comment", `[/**/]`, 1, jsonspan.ErrSyntax},
		{"invalid UTF-8 in a key", "{\"\xff\":1}", 2, jsonspan.ErrUTF8},

		{"as deep as allowed", nest(deep), 2 * deep, nil},
		{"deeper", nest(deep + 1), deep, jsonspan.ErrDepth},
		{"deeper, and broken", strings.Repeat("[", deep+1), deep, jsonspan.ErrDepth},
	} {
		t.Run(tt.name, func(t *testing.T) {
			end, err := jsonspan.Value([]byte(tt.in), 0, deep)
			if end != tt.end || err != tt.err {
				t.Errorf("Value(%q) = %d, %v; want %d, %v", tt.in, end, err, tt.end, tt.err)
			}
			// The same must hold in the middle of something, and at each
			// offset in a word of eight bytes.
			for lead := 1; lead <= 8; lead++ {
				in := strings.Repeat("]", lead) + tt.in
				if end, err := jsonspan.Value([]byte(in), lead, deep); end != tt.end+lead || err != tt.err {
					t.Errorf("Value(%q, %d) = %d, %v; want %d, %v", in, lead, end, err, tt.end+lead, tt.err)
				}
			}
		})
	}
}

// TestValueStringBytes puts each byte, and each pair of bytes around the edges
// that matter, at each offset in the words that scanning goes by.
func TestValueStringBytes(t *testing.T) {
	edges := []byte{0x00, 0x1f, 0x20, 0x21, 0x22, 0x23, 0x5b, 0x5c, 0x5d, 'n', 0x7f, 0x80, 0x9f, 0xa0, 0xbf, 0xc2, 0xc3, 0xe2, 0xf0, 0xff}
	check := func(b []byte) {
		t.Helper()
		end, err := jsonspan.Value(b, 0, 0)
		if got, want := err == nil && end == len(b), json.Valid(b) && utf8.Valid(b); got != want {
			t.Errorf("Value(%q) = %d, %v; want valid: %v", b, end, err, want)
		}
	}
	for at := 1; at <= 20; at++ {
		for c := range 256 {
			b := []byte(`"abcdefghijklmnopqrstuvw"`)
			b[at] = byte(c)
			check(b)
			for _, next := range edges {
				b[at+1] = next
				check(b)
			}
		}
	}
}

// nest returns an array of the given depth.
func nest(depth int) string {
	return strings.Repeat("[", depth) + strings.Repeat("]", depth)
}

func TestValueDepth(t *testing.T) {
	for _, tt := range []struct {
		in       string
		maxDepth int
		err      error
	}{
		{`1`, 0, nil},
		{`"a"`, 0, nil},
		{`1`, -1, nil},
		{`[]`, 0, jsonspan.ErrDepth},
		{`{}`, 0, jsonspan.ErrDepth},
		{`{}`, -1, jsonspan.ErrDepth},
		{`[]`, 1, nil},
		{`{}`, 1, nil},
		{`{"a":[]}`, 1, jsonspan.ErrDepth},
		{`{"a":[]}`, 2, nil},
		{`[[],[],[[1]]]`, 2, jsonspan.ErrDepth},
		{`[[],[],[[1]]]`, 3, nil},
		{nest(100), 99, jsonspan.ErrDepth},
		{nest(100), 100, nil},
	} {
		if _, err := jsonspan.Value([]byte(tt.in), 0, tt.maxDepth); err != tt.err {
			t.Errorf("Value(%s, maxDepth %d): %v; want %v", tt.in, tt.maxDepth, err, tt.err)
		}
	}
}

// TestValueKinds nests objects and arrays in each other across the boundaries
// at which the kinds of the outer levels are put aside, and closes one of them
// with the wrong bracket.
func TestValueKinds(t *testing.T) {
	for _, depth := range []int{1, 2, 63, 64, 65, 127, 128, 129, 192, 193, 511, 512, 513, 577} {
		var open, shut []string
		for i := range depth {
			if i%3 == 1 || i%7 == 2 {
				open, shut = append(open, `{"a":`), append(shut, `}`)
			} else {
				open, shut = append(open, `[`), append(shut, `]`)
			}
		}
		build := func() []byte {
			b := []byte(strings.Join(open, "") + "0")
			for i := depth - 1; i >= 0; i-- {
				b = append(b, shut[i]...)
				if i > 0 && open[i-1] == "[" {
					b = append(b, ",[{}]"...)
				}
			}
			return b
		}
		b := build()
		if !json.Valid(b) {
			t.Fatalf("the test is wrong: %s", b)
		}
		if end, err := jsonspan.Value(b, 0, depth+2); err != nil || end != len(b) {
			t.Errorf("depth %d: %d, %v", depth, end, err)
		}
		for i := range depth {
			right := shut[i]
			shut[i] = map[string]string{"]": "}", "}": "]"}[right]
			if end, err := jsonspan.Value(build(), 0, depth+2); err != jsonspan.ErrSyntax {
				t.Errorf("depth %d, level %d shut wrongly: %d, %v", depth, i, end, err)
			}
			shut[i] = right
		}
	}
}

// TestValueHostileDepth is the classic attack on a recursive parser.
func TestValueHostileDepth(t *testing.T) {
	for _, in := range []string{`[`, `{"":`, `[{"":`} {
		b := bytes.Repeat([]byte(in), 10<<20/len(in))
		if end, err := jsonspan.Value(b, 0, 100); err != jsonspan.ErrDepth || end > 1000 {
			t.Errorf("%s: stopped at %d with %v", in, end, err)
		}
		if end, err := jsonspan.Value(b, 0, math.MaxInt); err != jsonspan.ErrSyntax || end != len(b) {
			t.Errorf("%s without a limit: stopped at %d with %v", in, end, err)
		}
	}
}

func TestSpace(t *testing.T) {
	for _, tt := range []struct {
		in      string
		i, want int
	}{
		{"", 0, 0},
		{"a", 0, 0},
		{" \t\r\na", 0, 4},
		{" \t\r\na", 2, 4},
		{"  ", 0, 2},
		{"\f", 0, 0},
		{"\v", 0, 0},
		{"\x00", 0, 0},
		{"\xa0", 0, 0},
		{"`", 0, 0}, // ' ' + 64: a shift that wrapped would take it for a space
		{"  ", 2, 2},
		{"  ", 3, 3},
		{"  ", -1, -1},
	} {
		if got := jsonspan.Space([]byte(tt.in), tt.i); got != tt.want {
			t.Errorf("Space(%q, %d) = %d; want %d", tt.in, tt.i, got, tt.want)
		}
	}
}

func TestIndexOutOfRange(t *testing.T) {
	for _, b := range [][]byte{nil, []byte(`{}`), []byte(`[]`), []byte(`1`)} {
		for _, i := range []int{math.MinInt, -1, len(b), len(b) + 1, math.MaxInt} {
			in := func(end int) bool { return 0 <= end && end <= len(b) }
			if end, err := jsonspan.Value(b, i, 9); err != jsonspan.ErrSyntax || !in(end) {
				t.Errorf("Value(%q, %d) = %d, %v", b, i, end, err)
			}
			if end, err := jsonspan.Object(b, i, 9, nil, nil); err != jsonspan.ErrSyntax || !in(end) {
				t.Errorf("Object(%q, %d) = %d, %v", b, i, end, err)
			}
			a, err := jsonspan.NewArray(b, i)
			if err != jsonspan.ErrSyntax || !in(a.End()) {
				t.Errorf("NewArray(%q, %d) = %d, %v", b, i, a.End(), err)
			}
			if end := jsonspan.Space(b, i); end != i {
				t.Errorf("Space(%q, %d) = %d", b, i, end)
			}
		}
	}
}

func TestScanDoesNotAllocate(t *testing.T) {
	for _, s := range samples {
		b := []byte(s.json)
		if n := testing.AllocsPerRun(5, func() {
			if _, err := jsonspan.Value(b, 0, 100); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("Value of %s: %v allocations", s.name, n)
		}
	}
	for _, bad := range []string{`[1`, "\"\xff\"", nest(101)} {
		b := []byte(bad)
		if n := testing.AllocsPerRun(5, func() {
			if _, err := jsonspan.Value(b, 0, 100); err == nil {
				t.Fatal("no error")
			}
		}); n != 0 {
			t.Errorf("Value of %s: %v allocations", bad, n)
		}
	}
}

// jsonDepth is how deep encoding/json allows values to nest.
const jsonDepth = 10000

func FuzzValue(f *testing.F) {
	for _, seed := range []string{
		``, ` `, `null`, ` true `, `-0.5e-7`, `01`, `"\u00e9\ud800"`, "\"\xff\"", "\"é€😀\"",
		`[1,[2,{"a":[]}],"b"]`, `{"a":1,"a":{"b":null}} `, `[1}`, `{"a":[1}}`, "[\x00]",
		nest(70), strings.Repeat("[", 70) + strings.Repeat("}", 70), message,
	} {
		f.Add([]byte(seed), 0, 3)
	}
	f.Fuzz(func(t *testing.T, b []byte, i, maxDepth int) {
		end, err := jsonspan.Value(b, jsonspan.Space(b, 0), jsonDepth)
		if end < 0 || end > len(b) {
			t.Fatalf("Value ends at %d", end)
		}
		valid := err == nil && jsonspan.Space(b, end) == len(b)
		if want := json.Valid(b) && utf8.Valid(b); valid != want {
			t.Fatalf("valid: %v (Value: %d, %v); want %v", valid, end, err, want)
		}
		if valid {
			depth := depthOf(t, b)
			end, err := jsonspan.Value(b, jsonspan.Space(b, 0), maxDepth)
			if depth > max(maxDepth, 0) {
				if err != jsonspan.ErrDepth || b[end] != '[' && b[end] != '{' {
					t.Fatalf("depth %d, allowed %d: %d, %v", depth, maxDepth, end, err)
				}
			} else if err != nil {
				t.Fatalf("depth %d, allowed %d: %v", depth, maxDepth, err)
			}
		}
		// Anywhere: what is accepted is a value for encoding/json too.
		switch end, err := jsonspan.Value(b, i, maxDepth); {
		case end < 0 || end > len(b):
			t.Fatalf("Value from %d ends at %d", i, end)
		case err == nil:
			if maxDepth < jsonDepth && !json.Valid(b[i:end]) {
				t.Fatalf("Value from %d accepts %q", i, b[i:end])
			}
		case !errors.Is(err, jsonspan.ErrSyntax) && !errors.Is(err, jsonspan.ErrDepth) && !errors.Is(err, jsonspan.ErrUTF8):
			t.Fatalf("Value from %d: %v", i, err)
		}
	})
}

// depthOf measures how deep valid JSON nests, by encoding/json's account.
func depthOf(t *testing.T, b []byte) (deepest int) {
	t.Helper()
	depth := 0
	for dec := json.NewDecoder(bytes.NewReader(b)); ; {
		token, err := dec.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			depth++
			deepest = max(deepest, depth)
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
	}
}

// message is what a chat client sends: the name and the argument of an event.
const message = `["sendMessage",` + payload + `]`

const payload = `{"id":"0190b5a4-3c1f-7e52-a8d4-6f2b9c1e0d37",` +
	`"senderChatPath":"users/5f1c9a/chats/main","recipientChatPath":"users/77ab02/chats/main",` +
	`"content":{"type":"text","text":"¿Quedamos mañana a las ocho en la estación? Llevo el coche 🚗","replyTo":null,"ts":1719859200123},` +
	`"senderProfile":{"name":"José Ángel","photo":"https://cdn.example.com/avatars/5f1c9a.jpg","verified":true}}`

// samples are the payloads that benchmarks run over.
var samples = []struct{ name, json string }{
	{"message", message},
	{"ascii", `["` + strings.Repeat("The quick brown fox jumps over the lazy dog. ", 2000) + `"]`},
	{"spanish", `["` + strings.Repeat("El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia. ", 1500) + `"]`},
	{"cyrillic", `["` + strings.Repeat("Съешь же ещё этих мягких французских булок. ", 1200) + `"]`},
	{"emoji", `["` + strings.Repeat("🚗🎉😀", 7000) + `"]`},
	{"escapes", `["` + strings.Repeat(`{\"a\":\"b\\n\"}\n\u00e9`, 4000) + `"]`},
	{"numbers", `[` + strings.Repeat("1719859200123,-0.25,17,", 4000) + `0]`},
	{"small", `[` + strings.Repeat(`{"id":1,"on":true,"tags":["a","b"]},`, 2500) + `null]`},
	{"indented", indent(`[` + strings.Repeat(`{"id":1,"on":true,"tags":["a","b"]},`, 1000) + `null]`)},
	{"deep", nest(100)},
}

func indent(s string) string {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(s), "", "  "); err != nil {
		panic(err)
	}
	return b.String()
}

func BenchmarkValue(b *testing.B) {
	for _, s := range samples {
		data := []byte(s.json)
		b.Run(s.name+"/jsonspan", func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if end, err := jsonspan.Value(data, 0, 100); err != nil || end != len(data) {
					b.Fatal(end, err)
				}
			}
		})
		b.Run(s.name+"/json.Valid", func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if !json.Valid(data) {
					b.Fatal("invalid")
				}
			}
		})
	}
}
