package engineio

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// events writes down what a parser finds.
type events struct {
	log  []string
	fail string // the event that is answered with errStop
}

var errStop = errors.New("stop")

func (e *events) add(format string, args ...any) error {
	line := fmt.Sprintf(format, args...)
	e.log = append(e.log, line)
	if line == e.fail {
		return errStop
	}
	return nil
}

func (e *events) text(p []byte) error   { return e.add("text %s", p) }
func (e *events) binary(p []byte) error { return e.add("binary %x", p) }
func (e *events) tooLarge(head []byte, size int) error {
	if head == nil {
		return e.add("large binary %d", size)
	}
	return e.add("large %d %s", size, head)
}
func (e *events) control(op byte, p []byte) error { return e.add("control %x %s", op, p) }

// frame is a masked frame of a client.
func frame(first byte, mask uint32, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	key := binary.BigEndian.AppendUint32(nil, mask)
	b = append(b, key...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

const fin = 0x80

func texts(fins string, op byte, parts ...string) []byte {
	var b []byte
	for i, p := range parts {
		first := op
		if i > 0 {
			first = opContinuation
		}
		if fins[i] == 'F' {
			first |= fin
		}
		b = append(b, frame(first, 0x12345678+uint32(i)*77, []byte(p))...)
	}
	return b
}

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

// feed gives a parser the stream in pieces, as wsConn.read does: what was not
// taken comes again, with more behind it.
func feed(p *wsParser, stream []byte, cut func() int) ([]string, error) {
	return feedTo(&events{}, p, stream, cut)
}

func feedTo(ev *events, p *wsParser, stream []byte, cut func() int) ([]string, error) {
	var buf []byte
	for len(stream) > 0 {
		n := min(max(cut(), 1), len(stream))
		buf = append(buf, stream[:n]...)
		stream = stream[n:]
		taken, err := p.parse(buf, ev)
		if taken < 0 || taken > len(buf) {
			return ev.log, fmt.Errorf("took %d of %d bytes", taken, len(buf))
		}
		if err != nil {
			return ev.log, err
		}
		buf = buf[:copy(buf, buf[taken:])]
	}
	return ev.log, nil
}

// streams are what clients send, right and wrong, and what has to be made of
// it by a server that keeps 1,000 bytes and reads past 16,000.
var streams = []struct {
	name   string
	stream []byte
	want   []string
	code   int // of the close frame; 0: the connection lives
}{
	{"5.2 a text", texts("F", opText, "hola"), []string{"text hola"}, 0},
	{"5.2 an empty text", texts("F", opText, ""), []string{"text "}, 0},
	{"5.2 a binary message", texts("F", opBinary, "\x00\xff"), []string{"binary 00ff"}, 0},
	{"5.2 125 bytes", texts("F", opText, strings.Repeat("x", 125)), []string{"text " + strings.Repeat("x", 125)}, 0},
	{"5.2 126 bytes", texts("F", opText, strings.Repeat("x", 126)), []string{"text " + strings.Repeat("x", 126)}, 0},
	{"5.2 1000 bytes", texts("F", opText, strings.Repeat("x", 1000)), []string{"text " + strings.Repeat("x", 1000)}, 0},
	{"5.2 the length in more bytes than needed", join([]byte{fin | opText, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0}, []byte("hi")), []string{"text hi"}, 0},
	{"5.3 a mask of zeros", frame(fin|opText, 0, []byte("clear")), []string{"text clear"}, 0},
	{"5.3 a mask of ones", frame(fin|opText, ^uint32(0), []byte("all bits")), []string{"text all bits"}, 0},
	{"two in one segment", join(texts("F", opText, "a"), texts("F", opText, "b")), []string{"text a", "text b"}, 0},
	{"5.4 fragments", texts("..F", opText, "a", "b", "c"), []string{"text abc"}, 0},
	{"5.4 empty fragments", texts("...F", opText, "", "", "b", ""), []string{"text b"}, 0},
	{"5.4 binary fragments", texts(".F", opBinary, "\x01", "\x02"), []string{"binary 0102"}, 0},
	{"5.4 fragments that cut a character", texts("..F", opText, "¿qu\xc3", "\xa9? \xf0\x9f", "\x91\x8b"), []string{"text ¿qué? 👋"}, 0},
	{
		"5.4 control frames between fragments",
		join(texts(".", opText, "a"), texts("F", opPing, "p"), frame(opContinuation, 1, []byte("b")), texts("F", opPong, ""), frame(fin|opContinuation, 1, []byte("c")), texts("F", opText, "d")),
		[]string{"control 9 p", "control a ", "text abc", "text d"},
		0,
	},
	{"5.4 a continuation of nothing", frame(fin|opContinuation, 1, []byte("x")), nil, closeProtocol},
	{"5.4 a continuation after the end", join(texts(".F", opText, "a", "b"), frame(fin|opContinuation, 1, nil)), []string{"text ab"}, closeProtocol},
	{"5.4 a new message among fragments", join(texts(".", opText, "a"), texts("F", opText, "b")), nil, closeProtocol},
	{"5.4 a new binary message among fragments", join(texts(".", opText, "a"), texts("F", opBinary, "b")), nil, closeProtocol},
	{"5.1 an unmasked frame", []byte{fin | opText, 2, 'h', 'i'}, nil, closeProtocol},
	{"5.1 an unmasked control frame", []byte{fin | opPing, 0}, nil, closeProtocol},
	{"5.2 RSV1, compression that was not agreed on", frame(fin|0x40|opText, 1, []byte("x")), nil, closeProtocol},
	{"5.2 RSV2", frame(fin|0x20|opText, 1, []byte("x")), nil, closeProtocol},
	{"5.2 RSV3 in a control frame", frame(fin|0x10|opPing, 1, nil), nil, closeProtocol},
	{"5.2 RSV1 in a continuation", join(texts(".", opText, "a"), frame(fin|0x40|opContinuation, 1, nil)), nil, closeProtocol},
	{"5.2 opcode 3", frame(fin|0x3, 1, nil), nil, closeProtocol},
	{"5.2 opcode 7", frame(fin|0x7, 1, []byte("x")), nil, closeProtocol},
	{"5.2 opcode 11", frame(fin|0xb, 1, nil), nil, closeProtocol},
	{"5.2 opcode 15", frame(fin|0xf, 1, nil), nil, closeProtocol},
	{"5.5 a control frame in fragments", frame(opPing, 1, []byte("x")), nil, closeProtocol},
	{"5.5 a close in fragments", frame(opClose, 1, nil), nil, closeProtocol},
	{"5.5 a control frame of 126 bytes", frame(fin|opPing, 1, make([]byte, 126)), nil, closeProtocol},
	{"5.5 a control frame of 2000 bytes", frame(fin|opPing, 1, make([]byte, 2000)), nil, closeProtocol},
	{"5.5 a control frame of 125 bytes", frame(fin|opPing, 1, bytes.Repeat([]byte("p"), 125)), []string{"control 9 " + strings.Repeat("p", 125)}, 0},
	{"5.5.1 a close", frame(fin|opClose, 1, []byte("\x03\xe8bye")), []string{"control 8 \x03\xe8bye"}, 0},
	{"8.1 not UTF-8", texts("F", opText, "a\xffb"), nil, closeInvalidUTF8},
	{"8.1 a surrogate", texts("F", opText, "\xed\xa0\x80"), nil, closeInvalidUTF8},
	{"8.1 a character cut short", texts("F", opText, "\xf0\x9f\x91"), nil, closeInvalidUTF8},
	{"8.1 not UTF-8, in fragments", texts(".F", opText, "a\xc3", "b"), nil, closeInvalidUTF8},
	{"8.1 overlong", texts("F", opText, "\xc0\xaf"), nil, closeInvalidUTF8},
	{"binary need not be UTF-8", texts("F", opBinary, "\xff"), []string{"binary ff"}, 0},
	{"10.4 larger than is read past", frame(fin|opText, 1, make([]byte, 16_001)), nil, closeTooBig},
	{"10.4 says it is larger than anything", []byte{fin | opText, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, nil, closeTooBig},
	{"10.4 fragments that add up to more than is read past", texts("...", opText, strings.Repeat("x", 900), strings.Repeat("x", 15_000), strings.Repeat("x", 101)), nil, closeTooBig},
	{
		"read past",
		join(texts("F", opText, "4"+strings.Repeat("x", 1000)), texts("F", opText, "4next")),
		[]string{"large 1001 4" + strings.Repeat("x", 511), "text 4next"},
		0,
	},
	{"read past, as large as may be", texts("F", opText, "4"+strings.Repeat("y", 15_999)), []string{"large 16000 4" + strings.Repeat("y", 511)}, 0},
	{"read past, binary", join(texts("F", opBinary, strings.Repeat("\xff", 5000)), texts("F", opText, "4next")), []string{"large binary 5000", "text 4next"}, 0},
	{
		"read past, in fragments that grow too large",
		join(texts("...F", opText, "4abc", strings.Repeat("d", 500), strings.Repeat("e", 500), "f"), texts("F", opText, "4next")),
		[]string{"large 1005 4abc" + strings.Repeat("d", 500) + strings.Repeat("e", 8), "text 4next"},
		0,
	},
	{
		"read past, in fragments, the first is too large",
		texts("...F", opText, "4"+strings.Repeat("a", 1500), "", "bc", ""),
		[]string{"large 1503 4" + strings.Repeat("a", 511)},
		0,
	},
	{
		"read past, binary, with control frames between the fragments",
		join(texts(".", opBinary, strings.Repeat("a", 1500)), texts("F", opPing, "1"), frame(opContinuation, 9, make([]byte, 10)), texts("F", opPing, "2"), frame(fin|opContinuation, 9, make([]byte, 3000)), texts("F", opText, "4next")),
		[]string{"control 9 1", "control 9 2", "large binary 4510", "text 4next"},
		0,
	},
	{"read past, the last fragment is empty and late", join(texts("..", opText, strings.Repeat("a", 999), "bc"), frame(fin|opContinuation, 3, nil)), []string{"large 1001 " + strings.Repeat("a", 512)}, 0},
	{"read past, then a new message among its fragments", join(texts(".", opText, strings.Repeat("a", 1500)), texts("F", opText, "b")), nil, closeProtocol},
	{"read past, then a continuation after its end", join(texts("F", opText, strings.Repeat("a", 1500)), frame(fin|opContinuation, 1, nil)), []string{"large 1500 " + strings.Repeat("a", 512)}, closeProtocol},
	{"read past, UTF-8 is not looked at", texts("F", opText, strings.Repeat("\xff", 1500)), []string{"large 1500 " + strings.Repeat("\xff", 512)}, 0},
}

func newParser() *wsParser { return &wsParser{max: 1000, skip: 16_000} }

func TestWSFrames(t *testing.T) {
	for _, c := range streams {
		t.Run(c.name, func(t *testing.T) {
			ways := map[string]func() int{
				"in one piece":      func() int { return len(c.stream) },
				"byte by byte":      func() int { return 1 },
				"in twos":           func() int { return 2 },
				"in threes":         func() int { return 3 },
				"in sevens":         func() int { return 7 },
				"in pieces of 511":  func() int { return 511 },
				"in pieces of 4096": func() int { return 4096 },
			}
			r := rand.New(rand.NewPCG(1, 2))
			ways["in pieces of any size"] = func() int { return 1 + r.IntN(600) }
			for name, cut := range ways {
				got, err := feed(newParser(), bytes.Clone(c.stream), cut)
				if !slices.Equal(got, c.want) {
					t.Errorf("%s: found %.900q, want %.900q", name, got, c.want)
				}
				code := 0
				if ce, ok := errors.AsType[*closeError](err); ok {
					code = ce.reason.closeCode()
				} else if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if code != c.code {
					t.Errorf("%s: closes with %d (%v), want %d", name, code, err, c.code)
				}
			}
		})
	}
}

// Every way of cutting a stream in two, and many of cutting it in three, gives
// the same.
func TestWSFramesInEveryChunking(t *testing.T) {
	stream := join(
		texts("F", opText, "4hola"),
		texts(".", opText, "4frag"), texts("F", opPing, "ping"), frame(fin|opContinuation, 5, []byte("ment")),
		texts("F", opBinary, "\x01\x02\x03"),
		texts(".F", opText, "4"+strings.Repeat("a", 60), strings.Repeat("b", 10)),
		texts("F", opText, strings.Repeat("c", 200)),
		texts("F", opClose, "\x03\xe8"),
	)
	want := []string{
		"text 4hola", "control 9 ping", "text 4fragment", "binary 010203",
		"large 71 4" + strings.Repeat("a", 60) + strings.Repeat("b", 10), "large 200 " + strings.Repeat("c", 200), "control 8 \x03\xe8",
	}
	check := func(cuts ...int) {
		t.Helper()
		i := 0
		got, err := feed(&wsParser{max: 64, skip: 1000}, bytes.Clone(stream), func() int {
			if i == len(cuts) {
				return len(stream)
			}
			i++
			return cuts[i-1]
		})
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("cut at %v: %q, %v", cuts, got, err)
		}
	}
	for i := range stream {
		for j := range len(stream) - i {
			check(i, j)
		}
	}
}

// What a handler says ends parsing on the spot.
func TestWSFramesStop(t *testing.T) {
	for _, c := range []struct {
		fail   string
		stream []byte
	}{
		{"text a", texts("F", opText, "a")},
		{"text ab", texts(".F", opText, "a", "b")},
		{"binary 61", texts("F", opBinary, "a")},
		{"control 9 a", texts("F", opPing, "a")},
		{"large 100 " + strings.Repeat("x", 100), texts("F", opText, strings.Repeat("x", 100))},
		{"large binary 100", texts(".F", opBinary, strings.Repeat("x", 100), "")},
	} {
		ev := &events{fail: c.fail}
		got, err := feedTo(ev, &wsParser{max: 64, skip: 1000}, join(c.stream, texts("F", opText, "b")), func() int { return 1000 })
		if !errors.Is(err, errStop) || len(got) != 1 {
			t.Errorf("%s: %q, %v", c.fail, got, err)
		}
	}
}

// Reading past keeps a head, however much goes by.
func TestWSReadPastKeepsNothing(t *testing.T) {
	p := &wsParser{max: 1 << 10, skip: 64 << 20}
	ev := &events{}
	piece := make([]byte, 32<<10)
	run := func() {
		header := []byte{fin | opText, 0xff, 0, 0, 0, 0, 2, 0, 0, 0, 1, 2, 3, 4} // 32 MB
		if n, err := p.parse(header, ev); n != len(header) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		for range (32 << 20) / len(piece) {
			if n, err := p.parse(piece, ev); n != len(piece) || err != nil {
				t.Fatalf("%d, %v", n, err)
			}
		}
	}
	run()
	if got := allocated(run); got > 16<<10 {
		t.Errorf("reading past 32 MB allocates %d bytes", got)
	}
	if len(ev.log) != 2 {
		t.Errorf("%d events", len(ev.log))
	}
}

// allocated returns the bytes that f allocates, kept or not.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestWSUnmask(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 100 {
		p, want := make([]byte, n), make([]byte, n)
		mask := [4]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}
		for i := range p {
			p[i] = byte(r.Uint32())
			want[i] = p[i] ^ mask[i%4]
		}
		if unmask(p, mask); !bytes.Equal(p, want) {
			t.Errorf("%d bytes are not unmasked as the RFC says", n)
		}
	}
}

func TestWSHeader(t *testing.T) {
	for _, c := range []struct {
		n    int
		want string
	}{
		{0, "8100"},
		{125, "817d"},
		{126, "817e007e"},
		{65535, "817effff"},
		{65536, "817f0000000000010000"},
	} {
		if got := fmt.Sprintf("%x", appendHeader(nil, opText, c.n)); got != c.want {
			t.Errorf("a frame of %d bytes begins with %s, want %s", c.n, got, c.want)
		}
	}
}

// FuzzWSParser: what is found does not depend on how the bytes came in, and
// takes no more memory than they do.
func FuzzWSParser(f *testing.F) {
	for i, c := range streams {
		if len(c.stream) < 4<<10 {
			f.Add(c.stream, uint64(i))
		}
	}
	const maxKept, maxSkip = 300, 2000
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		parser := func() *wsParser { return &wsParser{max: maxKept, skip: maxSkip} }
		whole, wholeErr := feed(parser(), bytes.Clone(stream), func() int { return len(stream) })
		r := rand.New(rand.NewPCG(seed, 0))
		for _, cut := range []func() int{
			func() int { return 1 },
			func() int { return 1 + r.IntN(20) },
			func() int { return 1 + r.IntN(400) },
		} {
			p := parser()
			got, err := feed(p, bytes.Clone(stream), cut)
			if !slices.Equal(got, whole) {
				t.Fatalf("in pieces: %q, whole: %q", got, whole)
			}
			if fmt.Sprint(err) != fmt.Sprint(wholeErr) {
				// The same bytes are wrong in two ways, perhaps; never right in one.
				if err == nil || wholeErr == nil {
					t.Fatalf("in pieces: %v, whole: %v", err, wholeErr)
				}
			}
			if cap(p.parts) > 4*maxKept {
				t.Fatalf("it holds %d bytes of fragments, of at most %d", cap(p.parts), maxKept)
			}
		}
		if got := allocated(func() { _, _ = (&wsParser{max: maxKept, skip: maxSkip}).parse(bytes.Clone(stream), silent{}) }); got > uint64(8*len(stream)+8<<10) {
			t.Fatalf("%d bytes allocated %d", len(stream), got)
		}
	})
}

// silent keeps nothing.
type silent struct{}

func (silent) text([]byte) error          { return nil }
func (silent) binary([]byte) error        { return nil }
func (silent) tooLarge([]byte, int) error { return nil }
func (silent) control(byte, []byte) error { return nil }

// FuzzPayload: a payload is taken apart wholly or not at all, and what comes
// out makes the same payload again.
func FuzzPayload(f *testing.F) {
	for _, s := range []string{
		"", "4hello", "4test1\x1e4test2\x1e4test3", "4hello\x1ebAQIDBA==", "abc", "4a\x1e\x1e4b", "4\x1e", "b", "bAQ==", "bAQ", "bA\nQ==",
		"3", "6\x1e6\x1e6", "4\xff", "b====", "4ñ\x1ebx", "bAR==",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		given := bytes.Clone(body)
		var packets []payloadPacket
		var ok bool
		grew := allocated(func() { packets, ok = splitPayload(body) })
		if !bytes.Equal(given, body) {
			t.Fatal("the body was changed")
		}
		if !ok {
			if packets != nil {
				t.Fatal("a malformed payload has packets")
			}
			return
		}
		if len(packets) == 0 || len(packets) > (len(body)+1)/2 {
			t.Fatalf("%d packets in %d bytes", len(packets), len(body))
		}
		if grew > uint64(64*len(body)+16<<10) {
			t.Fatalf("%d bytes allocated %d", len(body), grew)
		}
		var again []byte
		for i, p := range packets {
			if i > 0 {
				again = append(again, separator)
			}
			if p.binary {
				again = base64.StdEncoding.AppendEncode(append(again, 'b'), p.data)
			} else {
				again = append(append(again, p.kind), p.data...)
			}
		}
		second, ok := splitPayload(again)
		if !ok || !slices.EqualFunc(packets, second, func(a, b payloadPacket) bool {
			return a.kind == b.kind && a.binary == b.binary && bytes.Equal(a.data, b.data)
		}) {
			t.Fatalf("%q and %q are not the same", body, again)
		}
	})
}
