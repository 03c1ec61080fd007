//go:build linux

package main

import (
	"slices"
	"testing"
)

func TestKeys(t *testing.T) {
	text := []byte(`42["online_users",{"u0":"u5","u17":"a_-u9","u1234":"u77","ux":"u2x","v3":"u"}]`)
	want := []int{0, 17, 1234}
	for size := 1; size <= len(text); size++ {
		var got []int
		k := keys{found: func(i int) { got = append(got, i) }}
		for piece := range slices.Chunk(text, size) {
			k.piece(piece)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("in pieces of %d the keys are %v, not %v", size, got, want)
		}
	}
}

func TestMeet(t *testing.T) {
	w := &witness{known: make([]uint64, 2), self: 3, left: 2}
	for _, i := range []int{3, -1, 5000, 100, 100, 100} {
		w.meet(i)
	}
	if w.left != 1 {
		t.Errorf("%d are unknown, not 1", w.left)
	}
	for text, want := range map[string]int{`12"]`: 12, `0"`: 0, `"`: -1, ``: -1} {
		if got := leading([]byte(text)); got != want {
			t.Errorf("leading %q is %d, not %d", text, got, want)
		}
	}
}
