package jsonspan_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/heymanito/heymanito/internal/jsonspan"
)

// elements reads the whole array at b[i].
func elements(b []byte, i, maxDepth int) (spans [][]byte, end int, err error) {
	a, err := jsonspan.NewArray(b, i)
	if err != nil {
		return nil, a.End(), err
	}
	for {
		span, ok, err := a.Next(maxDepth)
		if !ok {
			return spans, a.End(), err
		}
		spans = append(spans, span)
	}
}

func TestArray(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   string
		want []string
		end  int
		err  error
	}{
		{"empty", `[]`, nil, 2, nil},
		{"spaced", "[ \n]x", nil, 4, nil},
		{"elements", `["a",1,{"b":[]},null]`, []string{`"a"`, `1`, `{"b":[]}`, `null`}, 21, nil},
		{"spans have no space around", "[ 1 ,\t[ 2 ]\n]", []string{`1`, `[ 2 ]`}, 13, nil},
		{"as deep as allowed", `[[[]]]`, []string{`[[]]`}, 6, nil},
		{"too deep", `[0,[[[]]]]`, []string{`0`}, 5, jsonspan.ErrDepth},
		{"trailing comma", `[1,]`, []string{`1`}, 3, jsonspan.ErrSyntax},
		{"comma first", `[,1]`, nil, 1, jsonspan.ErrSyntax},
		{"no comma", `[1 2]`, []string{`1`}, 3, jsonspan.ErrSyntax},
		{"wrong bracket", `[1}`, []string{`1`}, 2, jsonspan.ErrSyntax},
		{"cut", `[1`, []string{`1`}, 2, jsonspan.ErrSyntax},
		{"cut after a comma", `[1,`, []string{`1`}, 3, jsonspan.ErrSyntax},
		{"cut at once", `[`, nil, 1, jsonspan.ErrSyntax},
		{"invalid UTF-8", "[\"\xff\"]", nil, 2, jsonspan.ErrUTF8},
		{"object", `{}`, nil, 0, jsonspan.ErrSyntax},
		{"leading space is the caller's", ` []`, nil, 0, jsonspan.ErrSyntax},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spans, end, err := elements([]byte(tt.in), 0, 2)
			if end != tt.end || err != tt.err {
				t.Errorf("%s: %d, %v; want %d, %v", tt.in, end, err, tt.end, tt.err)
			}
			var got []string
			for _, span := range spans {
				got = append(got, string(span))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%s: %q; want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestArrayEndStays(t *testing.T) {
	b := []byte(`[1],[2]`)
	a, err := jsonspan.NewArray(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	if span, ok, err := a.Next(0); !ok || err != nil || string(span) != "1" {
		t.Fatal(span, ok, err)
	}
	for range 3 {
		if span, ok, err := a.Next(0); span != nil || ok || err != nil || a.End() != 3 {
			t.Error(span, ok, err, a.End())
		}
	}

	a, err = jsonspan.NewArray([]byte(`[1;2,3]`), 0)
	if err != nil {
		t.Fatal(err)
	}
	a.Next(0)
	for range 3 {
		if span, ok, err := a.Next(0); span != nil || ok || err != jsonspan.ErrSyntax || a.End() != 2 {
			t.Error("an error does not stay:", span, ok, err, a.End())
		}
	}

	var zero jsonspan.Array
	if _, ok, err := zero.Next(0); ok || err != jsonspan.ErrSyntax || zero.End() != 0 {
		t.Error("zero Array:", ok, err, zero.End())
	}
	refused, _ := jsonspan.NewArray(b, 1)
	if _, ok, err := refused.Next(0); ok || err != jsonspan.ErrSyntax {
		t.Error("refused Array:", ok, err)
	}
}

func TestArrayDoesNotAllocate(t *testing.T) {
	b := []byte(message)
	if n := testing.AllocsPerRun(5, func() {
		a, err := jsonspan.NewArray(b, 0)
		for ok := true; ok && err == nil; {
			_, ok, err = a.Next(100)
		}
		if err != nil || a.End() != len(b) {
			t.Fatal(a.End(), err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzArray(f *testing.F) {
	for _, seed := range []string{
		`[]`, ` [ ] `, `["a",1,[2,[]],{"b":null}]`, `[1,]`, `[,]`, `[1 2]`, `[1}`, `[`, `null`, `{}`, message,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		spans, end, err := elements(b, jsonspan.Space(b, 0), jsonDepth-1)
		if end < 0 || end > len(b) {
			t.Fatalf("Array ends at %d", end)
		}
		var want []json.RawMessage
		valid := json.Unmarshal(b, &want) == nil && want != nil && utf8.Valid(b)
		if got := err == nil && jsonspan.Space(b, end) == len(b); got != valid {
			t.Fatalf("valid: %v (Array: %d, %v); want %v", got, end, err, valid)
		}
		if valid && !slices.EqualFunc(spans, want, func(a []byte, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
			t.Fatalf("%q; want %q", spans, want)
		}
	})
}
