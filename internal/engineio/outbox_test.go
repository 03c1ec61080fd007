package engineio

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// wire is what o would write.
func (o *outbox) wire() []byte {
	var b []byte
	for _, s := range o.all() {
		b = append(b, s.b...)
	}
	return b
}

// Whatever is queued, and in whatever way, goes out as it was sent, and a client
// that polls gets the same packets.
func TestOutbox(t *testing.T) {
	pool := &buffers{size: outboxBuffer}
	var roll Roll
	random := rand.New(rand.NewPCG(1, 2))
	shared := bytes.Repeat([]byte("shared "), 3000)
	sizes := []int{1, 100, 121, 122, 123, 124, 125, 126, 127, copied - 10, copied, copied + 1, outboxPiece, 70_000}
	for round := range 500 {
		var o outbox
		var wire []byte
		var packets []string
		cost, shares := 0, 0
		for range random.IntN(30) {
			text := strings.Repeat("x", sizes[random.IntN(len(sizes))]) + fmt.Sprint(round)
			var f *Frame
			switch random.IntN(6) {
			case 0:
				f = roll.Text([]byte(text[:1]), []byte(text[1:]))
			case 1:
				f = Binary([]byte(text))
				packets = append(packets, "b"+base64.StdEncoding.EncodeToString([]byte(text)))
			case 2:
				n := random.IntN(len(shared))
				f = TextAround(text, shared[:n], "}]")
				packets = append(packets, "4"+text+string(shared[:n])+"}]")
				shares += n
			case 3:
				f = control(opPong, []byte("for a WebSocket only"))
			case 4:
				if len(text) > copied {
					continue
				}
				o.text(copied, func(b []byte) []byte { return append(b, text...) }, pool)
				wire = append(wire, Text([]byte(text)).wire...)
				packets = append(packets, "4"+text)
				continue
			default:
				f = Text([]byte(text))
			}
			if f.wire[0]&0x0f == opText && f.shared == nil {
				packets = append(packets, "4"+text)
			}
			cost += f.cost()
			wire = append(append(append(wire, f.wire...), f.shared...), f.tail...)
			o.add(f, pool)
		}
		if o.cost < cost || o.cost < len(wire)-shares-copied*len(packets) {
			t.Fatalf("%d bytes, and it counts %d", len(wire), o.cost)
		}
		if o.empty() != (len(wire) == 0) {
			t.Fatalf("empty: %t, with %d bytes", o.empty(), len(wire))
		}
		all := o.take()
		if !o.empty() || o.cost != 0 {
			t.Fatal("there is something left")
		}
		polled := all
		polled.segments = slices.Clone(all.all())
		if got := all.wire(); !bytes.Equal(got, wire) {
			t.Fatalf("round %d: %d bytes go out instead of %d", round, len(got), len(wire))
		}
		polled.tail = nil
		want := strings.Join(packets, string(rune(separator)))
		if got := string(polled.payload(&buffers{})); got != want {
			t.Fatalf("round %d: a poll is answered with\n%.300q\nwant\n%.300q", round, got, want)
		}
	}
}

// Who waits for several frames of a Roll holds on to no copy of them.
func TestRoll(t *testing.T) {
	pool := &buffers{size: outboxBuffer}
	var roll Roll
	var first, late, other outbox
	for i := range 3000 {
		f := roll.Text([]byte(fmt.Sprintf("frame %d of many", i)))
		first.add(f, pool)
		if i > 100 {
			late.add(f, pool)
		}
		if i%2 == 0 {
			other.add(f, pool)
		}
	}
	if n := len(first.segments); n > 4 || first.tail != nil {
		t.Errorf("3,000 frames are %d segments", n)
	}
	if !bytes.HasSuffix(first.wire(), late.wire()) {
		t.Error("who came later has something else")
	}
	if n := len(other.segments); n != 1500 {
		t.Errorf("1,500 frames that do not lie behind each other are %d segments", n)
	}
	big := bytes.Repeat([]byte("x"), 2*rollChunk)
	if f := roll.Text(big); !bytes.HasSuffix(f.wire, big) {
		t.Error("one that is bigger than a chunk is cut")
	}
}

// What is hot allocates nothing.
func TestOutboxAllocs(t *testing.T) {
	pool := &buffers{size: outboxBuffer}
	var roll Roll
	frame, message := Text([]byte("a frame")), []byte("a message")
	rolled := roll.Text([]byte("rolled"))
	for name, add := range map[string]func(o *outbox){
		"a frame":   func(o *outbox) { o.add(frame, pool) },
		"a message": func(o *outbox) { o.text(100, func(b []byte) []byte { return append(b, message...) }, pool) },
	} {
		var o outbox
		add(&o)
		if n := testing.AllocsPerRun(20, func() { add(&o) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	var o outbox
	o.add(rolled, pool)
	next := roll.Text([]byte("next"))
	if n := testing.AllocsPerRun(1, func() {
		o.segments[0].b = o.segments[0].b[:len(rolled.wire)]
		o.add(next, pool)
	}); n > 0 || len(o.segments) != 1 {
		t.Errorf("a frame of a Roll: %v allocations, %d segments", n, len(o.segments))
	}
}
