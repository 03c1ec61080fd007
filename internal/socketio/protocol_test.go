package socketio_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/socketio"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// Each behaviour of the Socket.IO protocol document, version 5, that concerns
// a server with one namespace.

func TestProtocolConnect(t *testing.T) {
	for _, c := range []struct{ name, packet, auth string }{
		{"to the main namespace", `40`, ""},
		{"with a payload", `40{"token":"123"}`, `{"token":"123"}`},
		{"with the namespace spelt out", `40/,{"token":"123"}`, `{"token":"123"}`},
		{"with the namespace alone", `40/,`, ""},
		{"the payload stays as it was sent", `40{"b":12345678901234567890,"a":"\ud800"}`, `{"b":12345678901234567890,"a":"\ud800"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t)
			ws := b.dial()
			b.send(ws, c.packet)
			answer := b.hear(ws, `40{`)
			var got map[string]string
			if err := json.Unmarshal([]byte(answer[2:]), &got); err != nil || len(got) != 1 || len(got["sid"]) != 20 {
				t.Errorf("answered %s, want a sid of 20 characters and nothing else", answer)
			}
			b.hear(ws, `42["welcome"]`)
			b.noted("connect " + c.auth)
		})
	}
	t.Run("to an unknown namespace is refused, and the connection goes on", func(t *testing.T) {
		b := newBed(t)
		ws := b.dial()
		b.send(ws, "40/random")
		if got := b.hear(ws, "44"); got != `44/random,{"message":"Invalid namespace"}` {
			t.Errorf("answered %s", got)
		}
		b.send(ws, "40")
		b.hear(ws, "40")
		b.hear(ws, `42["welcome"]`)
		b.send(ws, `40/more,{"a":1}`, `42["still there"]`)
		b.hear(ws, `44/more,`)
		b.hear(ws, `42["heard"]`)
	})
	t.Run("asking for namespaces for ever ends it", func(t *testing.T) {
		b := newBed(t)
		ws := b.dial()
		b.send(ws, strings.Split(strings.Repeat("40/x ", 16)+"40/x", " ")...)
		b.closes(ws, 1002)
	})
	t.Run("refused by the host", func(t *testing.T) {
		b := newBed(t)
		b.connect = func(context.Context, *socketio.Conn, []byte) error {
			return &socketio.Refusal{Message: "no", Data: map[string]any{"code": "no"}}
		}
		ws := b.dial()
		b.send(ws, "40")
		if got := b.hear(ws, "44"); got != `44{"data":{"code":"no"},"message":"no"}` {
			t.Errorf("answered %s", got)
		}
	})
	t.Run("the host is down", func(t *testing.T) {
		b := newBed(t)
		b.connect = func(context.Context, *socketio.Conn, []byte) error { return context.DeadlineExceeded }
		ws := b.dial()
		b.send(ws, "40")
		b.closes(ws, 1013)
	})
	t.Run("whoever does not is closed", func(t *testing.T) {
		b := newBed(t, func(_ *bed, c *engineio.Config) { c.OpenTimeout = 50e6 })
		b.closes(b.dial(), 1008)
	})
}

// What is no Socket.IO packet, or comes when it must not, ends the connection.
func TestProtocolInvalid(t *testing.T) {
	first := []string{
		`42["hi"]`, `4abc`, `4`, `41`, `44{"message":"x"}`, `43[]`, `451-["hi",{"_placeholder":true,"num":0}]`,
		`40[]`, `40"x"`, `40{`, `40{"a":1}x`, `40{"a":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`,
	}
	for _, p := range first {
		t.Run("before CONNECT/"+p[:min(len(p), 20)], func(t *testing.T) {
			b := newBed(t)
			ws := b.dial()
			b.send(ws, p)
			b.closes(ws, 1002)
		})
	}
	later := []string{
		`40`, `4abc`, `4`, `47`, `44{"message":"x"}`, `42`, `42{}`, `42[]`, `42"x"`, `42abc["message-with-ack",1]`,
		`42/other,["hi"]`, `42123456789012345678901["hi"]`, `45["hi"]`, `45-["hi"]`, `45x-["hi"]`, `45+1-["hi"]`, `4599999999999-["hi"]`, `451`,
		`43`, `431`, `43x`, `431{}`, `431[`, `431[1]x`, `461-1`,
	}
	for _, p := range later {
		t.Run("after CONNECT/"+p, func(t *testing.T) {
			b := newBed(t)
			ws := b.join()
			b.send(ws, p)
			b.closes(ws, 1002)
			b.noted("connect ", "closed: parse error")
		})
	}
	t.Run("binary without a head", func(t *testing.T) {
		b := newBed(t)
		ws := b.join()
		if err := ws.SendBinary([]byte("x")); err != nil {
			t.Fatal(err)
		}
		b.closes(ws, 1002)
	})
	t.Run("text where an attachment is due", func(t *testing.T) {
		b := newBed(t)
		ws := b.join()
		b.send(ws, `451-["hi",{"_placeholder":true,"num":0}]`, `42["hi"]`)
		b.closes(ws, 1002)
	})
}

func TestProtocolEvents(t *testing.T) {
	for _, c := range []struct{ name, packet, heard, ack string }{
		{"plain", `42["message",1,"2",{"3":[true]}]`, `42["heard",1,"2",{"3":[true]}]`, ""},
		{"with the namespace spelt out", `42/,["message",1]`, `42["heard",1]`, ""},
		{"without arguments", `42["message"]`, `42["heard"]`, ""},
		{"white space", "42 [ \"message\" , 1 ]", `42["heard",1]`, ""},
		{"with an ack", `42456["message-with-ack",1,"2",{"3":[false]}]`, `42["heard",1,"2",{"3":[false]}]`, `43456[1,"2",{"3":[false]}]`},
		{"ack id 0", `420["m"]`, `42["heard"]`, `430[]`},
		{"ack id of twenty digits", `4218446744073709551615["m"]`, `42["heard"]`, `4318446744073709551615[]`},
		{"byte for byte", `42["m",{"b":1,"a":12345678901234567890,"é":"\ud800\u0041"}]`, `42["heard",{"b":1,"a":12345678901234567890,"é":"\ud800\u0041"}]`, ""},
		{"a placeholder in an event without binary is data", `42["m",{"_placeholder":true,"num":7}]`, `42["heard",{"_placeholder":true,"num":7}]`, ""},
		{"acks that nobody asked for are dropped", `437["x"]` + "\n" + `42["m"]`, `42["heard"]`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t)
			ws := b.join()
			b.send(ws, strings.Split(c.packet, "\n")...)
			if got := b.hear(ws, "42"); got != c.heard {
				t.Errorf("heard %s, want %s", got, c.heard)
			}
			if c.ack != "" {
				if got := b.hear(ws, "43"); got != c.ack {
					t.Errorf("acked %s, want %s", got, c.ack)
				}
			}
			b.send(ws, `429["end"]`) // nothing came in between
			b.hear(ws, `42["heard"]`)
			b.hear(ws, `439[]`)
		})
	}
}

// What is an event, but not as it should be, is answered if an answer is
// wanted, and harms nobody.
func TestEventsRefused(t *testing.T) {
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	for _, p := range []string{
		`["m",{bad]`, `["m"`, `["m"]x`, `["m",]`, `["m",` + deep + `]`, "[\"m\",\"\x01\"]",
	} {
		t.Run(p[:min(len(p), 12)], func(t *testing.T) {
			b := newBed(t)
			ws := b.join()
			b.send(ws, "42"+p, "427"+p, `42["end"]`)
			b.hear(ws, `437["refused"]`)
			b.hear(ws, `42["heard"]`)
		})
	}
}

// A name that is no string is none that anybody knows.
func TestEventWithoutName(t *testing.T) {
	b := newBed(t)
	ws := b.join()
	b.send(ws, `421[7]`)
	b.hear(ws, `42["heard"]`)
	b.hear(ws, `431[]`)
	b.noted("connect ", "")
}

func TestProtocolBinary(t *testing.T) {
	b := newBed(t)
	ws := b.join()
	two := [][]byte{{1, 2, 3}, {4, 5, 6}}
	binaries := func(bs ...[]byte) {
		t.Helper()
		for _, p := range bs {
			if err := ws.SendBinary(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	hears := func(head string, bs ...[]byte) {
		t.Helper()
		if got := b.hear(ws, "4"); got != head {
			t.Fatalf("heard %s, want %s", got, head)
		}
		for _, want := range bs {
			if op, p, err := ws.Read(); err != nil || op != wiretest.OpBinary || string(p) != string(want) {
				t.Fatalf("heard %d %v %v, want %v", op, p, err, want)
			}
		}
	}
	b.send(ws, `452-["m",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
	binaries(two...)
	hears(`452-["heard",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`, two...)
	// Numbered anew in the order in which they are written.
	b.send(ws, `452-["m",{"x":{"num":1,"_placeholder":true}},[{"_placeholder":true,"num":0}]]`)
	binaries(two...)
	hears(`452-["heard",{"x":{"_placeholder":true,"num":0}},[{"_placeholder":true,"num":1}]]`, two[1], two[0])
	// One that nothing refers to is dropped.
	b.send(ws, `452-["m",{"_placeholder":true,"num":1}]`)
	binaries(two...)
	hears(`451-["heard",{"_placeholder":true,"num":0}]`, two[1])
	// None announced: an event like any other.
	b.send(ws, `450-["m",1]`)
	hears(`42["heard",1]`)
	// Binary acks nobody asked for take their attachments with them.
	b.send(ws, `461-7[{"_placeholder":true,"num":0}]`)
	binaries(two[0])
	for _, bad := range []string{
		`["m",{"_placeholder":true,"num":1}]`,                                 // points nowhere
		`["m",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]`,   // twice
		`["m",{"_placeholder":true,"num":-1}]`, `["m",{"_placeholder":true}]`, // no number
		`["m",{"_placeholder":1,"num":0}]`, `["m",{"_placeholder":true,"num":0.5}]`,
		`["m",{bad]`,
	} {
		b.send(ws, "451-5"+bad)
		binaries(two[0])
		if got := b.hear(ws, "43"); got != `435["refused"]` {
			t.Errorf("%s was answered %s", bad, got)
		}
	}
	// More than stock parsers take, and more than an event may have.
	b.send(ws, `4511-6["m"]`)
	for range 11 {
		binaries([]byte("x"))
	}
	b.hear(ws, `436["refused"]`)
	b.send(ws, `452-7["m",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
	binaries(make([]byte, 60_000), make([]byte, 60_000))
	b.hear(ws, `437["refused"]`)
	b.send(ws, `452-8["m",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
	binaries(make([]byte, 200_000), []byte("x"))
	b.hear(ws, `438["refused"]`)
	b.send(ws, `429["m","`+strings.Repeat("x", 200_000)+`"]`)
	b.hear(ws, `439["refused"]`)
	b.send(ws, `42["end"]`)
	hears(`42["heard"]`)
}

func TestProtocolDisconnect(t *testing.T) {
	b := newBed(t)
	ws := b.join()
	b.send(ws, "41/other", `42["m"]`) // of a namespace it was never in: nothing
	b.hear(ws, `42["heard"]`)
	b.send(ws, "41")
	b.noted("connect ", "m", "closed: client namespace disconnect (goodbye)")
	b.send(ws, "3") // the transport is still there
	b.send(ws, `42["too late"]`)
	b.closes(ws, 1002)
	b.noted("connect ", "m", "closed: client namespace disconnect (goodbye)")
}
