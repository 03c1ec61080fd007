package jsonspan_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/heymanito/heymanito/internal/jsonspan"
)

func TestText(t *testing.T) {
	for _, tt := range []struct {
		raw  string
		want string
		ok   bool
	}{
		{`""`, "", true},
		{`"abc"`, "abc", true},
		{`"é€😀"`, "é€😀", true},
		{`"\"\\\/\b\f\n\r\t"`, "\"\\/\b\f\n\r\t", true},
		{`"a\u0000b"`, "a\x00b", true},
		{`"\u00e9\u00E9\u20ac\uFFFD\uffff"`, "éé€\uFFFD\uFFFF", true},
		{`"\ud83d\ude00"`, "😀", true},
		{`"\uDBFF\uDFFF"`, "\U0010FFFF", true},
		{`"x\ud83d\ude00y\nz"`, "x😀y\nz", true},
		{`"\\ud800"`, `\ud800`, true},
		{`"\\\u0041"`, `\A`, true},
		{`"` + strings.Repeat(`\u0041b`, 1000) + `"`, strings.Repeat("Ab", 1000), true},

		{`"\ud800"`, "", false},
		{`"\udc00"`, "", false},
		{`"\udc00\ud800"`, "", false},
		{`"\ud800\ud83d\ude00"`, "", false},
		{`"\ud83d\ude00\ude00"`, "", false},
		{`"\ud800x\udc00"`, "", false},
		{`"\ud800\u0041"`, "", false},
		{`"\ud800\\dc00"`, "", false},
		{"", "", false},
		{`"`, "", false},
		{`"a`, "", false},
		{`a"`, "", false},
		{` "a"`, "", false},
		{`"a" `, "", false},
		{`"a""`, "", false},
		{`"a\"`, "", false},
		{`"\x"`, "", false},
		{"\"\n\"", "", false},
		{"\"\xff\"", "", false},
		{"\"\\n\xff\"", "", false},
		{`1`, "", false},
		{`null`, "", false},
		{`["a"]`, "", false},
	} {
		s, ok := jsonspan.Text([]byte(tt.raw))
		if s != tt.want || ok != tt.ok {
			t.Errorf("Text(%s) = %q, %v; want %q, %v", tt.raw, s, ok, tt.want, tt.ok)
		}
		if got := jsonspan.TextEqual([]byte(tt.raw), tt.want); got != tt.ok {
			t.Errorf("TextEqual(%s, %q) = %v", tt.raw, tt.want, got)
		}
	}
	if _, ok := jsonspan.Text(nil); ok {
		t.Error("nil is a text")
	}
}

func TestTextEqual(t *testing.T) {
	for _, tt := range []struct{ raw, s string }{
		{`"abc"`, "abd"},
		{`"abc"`, "ab"},
		{`"abc"`, "abcd"},
		{`"abc"`, ""},
		{`""`, "a"},
		{`"\u0061bc"`, "abd"},
		{`"\u0061bc"`, "ab"},
		{`"\u0061bc"`, "abcd"},
		{`"ab\u0063"`, "ab"},
		{`"ab\u0063"`, "abd"},
		{`"\u00e9"`, "\xc3"},
		{`"\u00e9"`, "e"},
		{`"\ud800"`, "\uFFFD"},
		{`"\ud800"`, "\xed\xa0\x80"},
		{`"\ud83d\ude00"`, "\uFFFD\uFFFD"},
		{`"\uFFFD"`, "\xff"},
		{`null`, "null"},
		{`abc`, "b"},
	} {
		if jsonspan.TextEqual([]byte(tt.raw), tt.s) {
			t.Errorf("TextEqual(%s, %q)", tt.raw, tt.s)
		}
	}
}

func TestAppend(t *testing.T) {
	for _, tt := range []struct{ s, want string }{
		{"", `""`},
		{"abc", `"abc"`},
		{`"\/`, `"\"\\/"`},
		{"\b\f\n\r\t", `"\b\f\n\r\t"`},
		{"\x00\x1f\x0b\x7f", `"\u0000\u001f\u000b` + "\x7f\""},
		{"<&>", `"<&>"`},
		{"é€😀", `"é€😀"`},
		{"a\u2028b\u2029c\u202a", `"a\u2028b\u2029c` + "\u202a\""},
		{"\uFFFD", "\"\uFFFD\""},
		{"a\xffb\xc3", "\"a\uFFFDb\uFFFD\""},
		{"\xe2\x80", "\"\uFFFD\uFFFD\""},
		{"\xed\xa0\x80", "\"\uFFFD\uFFFD\uFFFD\""},
	} {
		if got := string(jsonspan.Append([]byte("x:"), tt.s)); got != "x:"+tt.want {
			t.Errorf("Append(%q) = %s; want %s", tt.s, got[2:], tt.want)
		}
	}
}

func TestTextAllocations(t *testing.T) {
	dst := make([]byte, 0, 1000)
	plain, escaped := []byte(`"users/5f1c9a/chats/main, más o menos"`), []byte(`"users/5f1c9a/chats/main\u00e9\n\ud83d\ude00"`)
	s, _ := jsonspan.Text(escaped)
	for _, tt := range []struct {
		name string
		want float64
		run  func() bool
	}{
		{"TextEqual", 0, func() bool { return !jsonspan.TextEqual(plain, s) }},
		{"TextEqual with escapes", 0, func() bool { return jsonspan.TextEqual(escaped, s) }},
		{"Text", 1, func() bool { _, ok := jsonspan.Text(plain); return ok }},
		{"Text with escapes", 1, func() bool { _, ok := jsonspan.Text(escaped); return ok }},
		{"Append", 0, func() bool { return len(jsonspan.Append(dst, s)) > len(s) }},
	} {
		if n := testing.AllocsPerRun(5, func() {
			if !tt.run() {
				t.Fatal(tt.name, "went wrong")
			}
		}); n != tt.want {
			t.Errorf("%s: %v allocations; want %v", tt.name, n, tt.want)
		}
	}
}

var (
	escapes       = regexp.MustCompile(`\\(?:u[0-9a-fA-F]{4}|[^u])`)
	surrogatePair = regexp.MustCompile(`\\u[dD][89abAB]..\\u[dD][c-fC-F]..`)
	surrogate     = regexp.MustCompile(`\\u[dD][89a-fA-F]`)
)

// hasLoneSurrogate reports whether a string of the valid JSON b has an escape
// that is half of a surrogate pair.
func hasLoneSurrogate(b []byte) bool {
	b = escapes.ReplaceAllFunc(b, func(escape []byte) []byte {
		if escape[1] == 'u' {
			return escape
		}
		return []byte("_") // a backslash that is escaped starts no escape
	})
	return surrogate.Match(surrogatePair.ReplaceAll(b, []byte("_")))
}

func FuzzText(f *testing.F) {
	for _, seed := range []string{
		`""`, `"abc"`, `"\"\\\/\b\f\n\r\t"`, `"\u00e9"`, `"\ud83d\ude00"`, `"\ud800"`, `"\udc00\ud800\udc00"`,
		`"\\ud800"`, `"\\\ud800"`, "\"\xff\"", "\"\uFFFD\"", `"\ufffd"`, ` "a"`, `"a`, `1`, ``, "\"\n\"",
	} {
		f.Add([]byte(seed), "abc")
	}
	f.Fuzz(func(t *testing.T, raw []byte, other string) {
		s, ok := jsonspan.Text(raw)
		var want string
		wantOK := len(raw) > 0 && raw[0] == '"' && raw[len(raw)-1] == '"' &&
			json.Unmarshal(raw, &want) == nil && utf8.Valid(raw) && !hasLoneSurrogate(raw)
		if !wantOK {
			want = ""
		}
		if s != want || ok != wantOK {
			t.Fatalf("Text = %q, %v; want %q, %v", s, ok, want, wantOK)
		}
		if !utf8.ValidString(s) {
			t.Fatalf("Text = %q", s)
		}
		if got := jsonspan.TextEqual(raw, want); got != wantOK {
			t.Fatalf("TextEqual(%q) = %v", want, got)
		}
		if got := jsonspan.TextEqual(raw, other); got != (wantOK && want == other) {
			t.Fatalf("TextEqual(%q) = %v", other, got)
		}
		if ok && jsonspan.TextEqual(raw, s+other) != (other == "") {
			t.Fatalf("TextEqual(%q) is wrong", s+other)
		}
	})
}

func FuzzAppend(f *testing.F) {
	for _, seed := range []string{"", "abc", "\"\\/\b\f\n\r\t", "\x00\x1f\x7f", "é€😀", "a\u2028b\u2029", "\xff", "\xe2\x80", "\uFFFD"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		raw := jsonspan.Append(nil, s)
		want := string([]rune(s)) // with U+FFFD for each invalid byte
		if got, ok := jsonspan.Text(raw); got != want || !ok {
			t.Fatalf("Text(%s) = %q, %v; want %q", raw, got, ok, want)
		}
		if !jsonspan.TextEqual(raw, want) {
			t.Fatalf("TextEqual(%s, %q) is false", raw, want)
		}
		var got string
		if err := json.Unmarshal(raw, &got); err != nil || got != want {
			t.Fatalf("json.Unmarshal(%s) = %q, %v; want %q", raw, got, err, want)
		}
		if bytes.ContainsAny(raw, "\u2028\u2029") {
			t.Fatalf("line separators in %q", raw)
		}
		if out := jsonspan.Append([]byte("before"), s); string(out) != "before"+string(raw) {
			t.Fatalf("appended: %s; alone: %s", out, raw)
		}
	})
}

func BenchmarkText(b *testing.B) {
	for name, raw := range map[string][]byte{
		"plain":   []byte(`"users/5f1c9a/chats/main"`),
		"escaped": []byte(`"users\/5f1c9a\/chats\/main"`),
	} {
		b.Run(name+"/jsonspan", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := jsonspan.Text(raw); !ok {
					b.Fatal("no text")
				}
			}
		})
		b.Run(name+"/json.Unmarshal", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var s string
				if err := json.Unmarshal(raw, &s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkTextEqual(b *testing.B) {
	raw := []byte(`"users/5f1c9a/chats/main"`)
	b.ReportAllocs()
	for b.Loop() {
		if !jsonspan.TextEqual(raw, "users/5f1c9a/chats/main") {
			b.Fatal("not equal")
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	s := "¿Quedamos mañana a las ocho en la \"estación\"?\nLlevo el coche 🚗"
	b.Run("jsonspan", func(b *testing.B) {
		var dst []byte
		b.SetBytes(int64(len(s)))
		b.ReportAllocs()
		for b.Loop() {
			dst = jsonspan.Append(dst[:0], s)
		}
	})
	b.Run("json.Marshal", func(b *testing.B) {
		b.SetBytes(int64(len(s)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(s); err != nil {
				b.Fatal(err)
			}
		}
	})
}
