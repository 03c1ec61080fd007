package jsonspan_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/heymanito/heymanito/internal/jsonspan"
)

func TestObject(t *testing.T) {
	const absent = "(absent)"
	keys := []string{"id", "to", "é", "😀", ""}
	none := []string{absent, absent, absent, absent, absent}
	for _, tt := range []struct {
		name string
		in   string
		end  int
		err  error
		want []string // per key
	}{
		{"empty", `{}`, 2, nil, none},
		{"spaced", "{ \n}", 4, nil, none},
		{"all", `{"id":1,"to":"x","é":null,"😀":[{}],"":{"id":2}}`, 51, nil, []string{`1`, `"x"`, `null`, `[{}]`, `{"id":2}`}},
		{"what follows is not read", `{"to":[ 1 ]}]`, 12, nil, []string{absent, `[ 1 ]`, absent, absent, absent}},
		{"spans have no space around", "{ \"id\" : \t1.50 \n, \"to\" : [ ] }", 30, nil, []string{`1.50`, `[ ]`, absent, absent, absent}},
		{"the last one counts", `{"id":1,"to":2,"id":3}`, 22, nil, []string{`3`, `2`, absent, absent, absent}},
		{"the last one counts, whatever it is", `{"id":1,"id":null}`, 18, nil, []string{`null`, absent, absent, absent, absent}},
		{"escaped keys", `{"\u0069d":1,"t\u006F":2,"\u00e9":3,"\uD83d\ude00":4}`, 53, nil, []string{`1`, `2`, `3`, `4`, absent}},
		{"escaped and plain are one key", `{"id":1,"\u0069\u0064":2}`, 25, nil, []string{`2`, absent, absent, absent, absent}},
		{"nearly keys", `{"i":1,"idd":2,"ID":3,"\u0069":4,"i\u0064d":5,"\\u0069d":6,"\ud83d":7,"\ude00\ud83d":8,"\u0000":9}`, 98, nil, none},
		{"nested keys do not count", `{"x":{"id":1},"y":[{"to":2}]}`, 29, nil, none},
		{"values travel as they are", `{"id":1e400,"to":"\ud800\u0041"}`, 32, nil, []string{`1e400`, `"\ud800\u0041"`, absent, absent, absent}},
		{"as deep as allowed", `{"id":[[[]]]}`, 13, nil, []string{`[[[]]]`, absent, absent, absent, absent}},

		{"too deep", `{"id":[[[[]]]]}`, 9, jsonspan.ErrDepth, none},
		{"too deep where nobody looks", `{"id":1,"x":[[[[]]]]}`, 15, jsonspan.ErrDepth, none},
		{"broken after a hit", `{"id":1,"to":}`, 13, jsonspan.ErrSyntax, none},
		{"cut", `{"id":1`, 7, jsonspan.ErrSyntax, none},
		{"cut after a comma", `{"id":1,`, 8, jsonspan.ErrSyntax, none},
		{"trailing comma", `{"id":1,}`, 8, jsonspan.ErrSyntax, none},
		{"comma first", `{,"id":1}`, 1, jsonspan.ErrSyntax, none},
		{"wrong bracket", `{"id":1]`, 7, jsonspan.ErrSyntax, none},
		{"invalid UTF-8", "{\"id\":\"\xff\"}", 7, jsonspan.ErrUTF8, none},
		{"invalid UTF-8 in a key", "{\"id\":1,\"\xff\":2}", 9, jsonspan.ErrUTF8, none},
		{"array", `["id"]`, 0, jsonspan.ErrSyntax, none},
		{"null", `null`, 0, jsonspan.ErrSyntax, none},
		{"leading space is the caller's", ` {}`, 0, jsonspan.ErrSyntax, none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := make([][]byte, len(keys))
			for i := range out {
				out[i] = []byte("left over")
			}
			end, err := jsonspan.Object([]byte(tt.in), 0, 3, keys, out)
			if end != tt.end || err != tt.err {
				t.Errorf("Object(%q) = %d, %v; want %d, %v", tt.in, end, err, tt.end, tt.err)
			}
			for i, span := range out {
				got := absent
				if span != nil {
					got = string(span)
				}
				if got != tt.want[i] {
					t.Errorf("%q: %s; want %s", keys[i], got, tt.want[i])
				}
			}
		})
	}
}

func TestObjectOut(t *testing.T) {
	b := []byte(`{"a":1,"b":2}`)

	out := make([][]byte, 3)
	out[2] = []byte("not ours")
	if _, err := jsonspan.Object(b, 0, 0, []string{"a", "a"}, out); err != nil {
		t.Fatal(err)
	}
	if string(out[0]) != "1" || string(out[1]) != "1" || string(out[2]) != "not ours" {
		t.Errorf("a key asked for twice, and more room than keys: %q", out)
	}

	out = out[:1]
	if end, err := jsonspan.Object(b, 0, 0, []string{"a", "b"}, out); err != nil || end != len(b) || string(out[0]) != "1" {
		t.Errorf("less room than keys: %d, %v, %q", end, err, out)
	}

	_ = append(out[0], '9')
	if string(b) != `{"a":1,"b":2}` {
		t.Errorf("an append to a span wrote into its neighbour: %s", b)
	}
}

func TestObjectDoesNotAllocate(t *testing.T) {
	b := []byte(`{"\u0069d":"x",` + payload[1:])
	keys := []string{"id", "senderChatPath", "recipientChatPath", "content", "senderProfile"}
	out := make([][]byte, len(keys))
	if n := testing.AllocsPerRun(5, func() {
		if _, err := jsonspan.Object(b, 0, 100, keys, out); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRepeats(t *testing.T) {
	for _, c := range []struct {
		json string
		want bool
	}{
		{`{}`, false},
		{`{"id":1}`, false},
		{`{"id":1,"to":2,"x":3,"x":4}`, false}, // nobody asks for x
		{`{"id":1,"id":1}`, true},
		{` {"to":[{"to":1}] , "id":{"id":{}}}`, false},
		{`{"id":1,"to":2,"\u0069d":3}`, true},
		{`{"a":[[[["id"]]]],"id":"id","to":1,"to" :2}`, true},
	} {
		b := []byte(c.json)
		if got := jsonspan.Repeats(b, jsonspan.Space(b, 0), []string{"id", "to"}); got != c.want {
			t.Errorf("Repeats(%s) = %v", c.json, got)
		}
	}
}

func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"id":1}`, `{"id":1,"to":[2,{"id":3}],"id":"4"}`, `{"\u0069d":1,"to":2}`, ` {"id" : 1 , "to" : {} } `,
		`{"é":1,"\u00e9":2}`, `{"\ud83d\ude00":1}`, `{"id":1,}`, `{"id"}`, `[]`, `null`, payload,
	} {
		f.Add([]byte(seed), "id", "to")
		f.Add([]byte(seed), "é", "😀")
	}
	f.Fuzz(func(t *testing.T, b []byte, key1, key2 string) {
		keys := []string{key1, key2}
		out := make([][]byte, 2)
		end, err := jsonspan.Object(b, jsonspan.Space(b, 0), jsonDepth-1, keys, out)
		if end < 0 || end > len(b) {
			t.Fatalf("Object ends at %d", end)
		}
		var want map[string]json.RawMessage
		valid := json.Unmarshal(b, &want) == nil && want != nil && utf8.Valid(b)
		if got := err == nil && jsonspan.Space(b, end) == len(b); got != valid {
			t.Fatalf("valid: %v (Object: %d, %v); want %v", got, end, err, valid)
		}
		if err != nil {
			if out[0] != nil || out[1] != nil {
				t.Fatalf("spans in spite of %v: %q", err, out)
			}
			return
		}
		if !valid || hasLoneSurrogate(b) {
			return // encoding/json takes all lone surrogates for U+FFFD
		}
		if got, want := jsonspan.Repeats(b, jsonspan.Space(b, 0), keys[:1]), timesOf(b, key1) > 1; got != want {
			t.Fatalf("Repeats(%q): %v", key1, got)
		}
		for i, key := range keys {
			if raw, ok := want[key]; ok != (out[i] != nil) || !bytes.Equal(raw, out[i]) {
				t.Fatalf("%q: %q; want %q", key, out[i], raw)
			}
		}
	})
}

// timesOf is how often the object in b has key.
func timesOf(b []byte, key string) (n int) {
	dec := json.NewDecoder(bytes.NewReader(b))
	if _, err := dec.Token(); err != nil {
		return 0
	}
	for dec.More() {
		k, err := dec.Token()
		if err != nil {
			return n
		}
		if k == key {
			n++
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return n
		}
	}
	return n
}

func BenchmarkObject(b *testing.B) {
	data := []byte(payload)
	b.Run("jsonspan", func(b *testing.B) {
		keys := []string{"id", "senderChatPath", "recipientChatPath", "content", "senderProfile"}
		out := make([][]byte, len(keys))
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := jsonspan.Object(data, 0, 100, keys, out); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("json.Unmarshal", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			var out struct {
				ID                                json.RawMessage
				SenderChatPath, RecipientChatPath json.RawMessage
				Content, SenderProfile            json.RawMessage
			}
			if err := json.Unmarshal(data, &out); err != nil {
				b.Fatal(err)
			}
		}
	})
}
