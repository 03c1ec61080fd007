package bridge_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/zishang520/socket.io/servers/socket/v3"
	"github.com/zishang520/socket.io/v3/pkg/types"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/bridge"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// The library's socket of a device has its id, is in its user's room, and is heard
// of when the client has been welcomed.
func TestSocketOfADevice(t *testing.T) {
	b := newBed(t, func(b *bed) {
		onSocket(b.IO.Sockets(), func(s *socket.Socket) {
			d, ok := bridge.Device(s)
			online, err := b.Online(t.Context(), d.ChatPath)
			_ = s.Emit("hello", d.ChatPath, ok, d.SocketID == string(s.Id()), s.Rooms().Has(socket.Room(d.ChatPath)),
				len(b.Devices(d.ChatPath)), err == nil && online[0].Online)
		})
	})
	ann := wiretest.Connect(t, b.URL, "ann", wiretest.Auth(`{"deviceId":"d1"}`))
	if got := ann.Expect("hello").String(); got != `hello("ann", true, true, true, 1, true)` {
		t.Errorf("the listener has seen %s", got)
	}
	if d := b.Devices("ann"); len(d) != 1 || d[0].SocketID != ann.SID {
		t.Errorf("ann is %s, her devices are %+v", ann.SID, d)
	}
	if log := ann.Log(); log[0].Name != "online_users" {
		t.Errorf("ann has heard %v first", log)
	}
	b.IO.To("ann").Emit("direct", map[string]any{"n": 1})
	if got := ann.Expect("direct").String(); got != `direct({"n":1})` {
		t.Error(got)
	}
	if n := b.IO.Engine().ClientsCount(); n != 1 {
		t.Errorf("%d clients", n)
	}
}

// What the Server has no handler for goes to whoever listens; nothing else does.
func TestEvents(t *testing.T) {
	var heard tally
	b := newBed(t, func(b *bed) {
		onSocket(b.IO.Sockets(), func(s *socket.Socket) {
			for _, name := range []string{"sendMessage", "reverse", "mine", "boom"} {
				_ = s.On(name, func(args ...any) {
					heard.add(name)
					if name == "boom" {
						panic("boom")
					}
					if ack, ok := args[len(args)-1].(socket.Ack); ok {
						args = slices.Clone(args[:len(args)-1])
						slices.Reverse(args)
						ack(args, nil)
					}
				})
			}
		})
	}, heymanito.On("mine", func(context.Context, heymanito.Event) (any, error) { return "the Server's", nil }))
	ann := wiretest.Connect(t, b.URL, "ann")
	for n, c := range []struct{ event, answer string }{
		{`["reverse",1,"two",{"x":[3]}]`, `{"x":[3]},"two",1`},
		{`["reverse"]`, ``},
		{`["mine"]`, `{"status":"ok","result":"the Server's"}`},
		{`["nobody"]`, `{"status":"error","code":"invalid","message":"unknown event \"nobody\"","retryable":false}`},
		{`["disconnect"]`, `{"status":"error","code":"invalid","message":"unknown event \"disconnect\"","retryable":false}`},
		{`[7]`, `{"status":"error","code":"invalid","message":"unknown event \"\"","retryable":false}`},
		{`["reverse",1e999]`, `{"status":"error","code":"invalid","message":"the event does not have the documented shape","retryable":false}`},
		{`["reverse",` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `]`, `{"status":"error","code":"invalid","message":"the event does not have the documented shape","retryable":false}`},
	} {
		if got := ask(t, ann, "", fmt.Sprint(n+1), c.event); got != c.answer {
			t.Errorf("%.60s was answered %s, want %s", c.event, got, c.answer)
		}
	}
	ann.EmitAck("sendMessage", `{"id":1,"senderChatPath":"ann","recipientChatPath":"ann","content":"me"}`)
	ann.Emit("boom")
	ann.Sync()
	if heard.get("sendMessage") != 0 || heard.get("mine") != 0 || heard.get("boom") != 1 || heard.get("reverse") != 2 {
		t.Errorf("the listeners have heard %v", heard.of)
	}
	if got := b.Stats().Events["IO()"]; got["ok"] != 3 || got["invalid"] != 2 {
		t.Errorf("counted: %v", got)
	}
}

// A listener for any event hears all that the Server has no handler for.
func TestAnyEvent(t *testing.T) {
	b := newBed(t, func(b *bed) {
		onSocket(b.IO.Sockets(), func(s *socket.Socket) {
			s.OnAny(func(args ...any) { _ = s.Emit("any", args...) })
		})
	})
	ann := wiretest.Connect(t, b.URL, "ann")
	ann.Emit("whatever", "1")
	ann.EmitAck("getCalls")
	ann.Emit("else")
	if got := []string{ann.Expect("any").String(), ann.Expect("any").String()}; got[0] != `any("whatever", 1)` || got[1] != `any("else")` {
		t.Errorf("the listener has heard %q", got)
	}
}

// Events that come in the same instant as the CONNECT packet reach listeners that
// the listener of "connection" has added.
func TestEarlyEvents(t *testing.T) {
	b := newBed(t, func(b *bed) {
		onSocket(b.IO.Sockets(), func(s *socket.Socket) {
			_ = s.On("n", func(args ...any) { _ = s.Emit("n", args...) })
		})
		onSocket(b.IO.Of("/chat", nil), func(s *socket.Socket) {
			_ = s.On("n", func(args ...any) { _ = s.Emit("chat", args...) })
		})
	})
	for range 50 {
		ws, err := wiretest.DialWS(b.URL, "EIO=4&transport=websocket&userId=ann")
		if err != nil {
			t.Fatal(err)
		}
		if err := ws.Write(wiretest.Texts("40", `42["n",1]`, `40/chat,`, `42/chat,["n",2]`, `42["n",3]`)); err != nil {
			t.Fatal(err)
		}
		var got []string
		for len(got) < 3 {
			text, err := ws.Text()
			if err != nil {
				t.Fatalf("%v, after %q", err, got)
			}
			if strings.Contains(text, `["n"`) || strings.Contains(text, `["chat"`) {
				got = append(got, text)
			}
		}
		if want := []string{`42["n",1]`, `42/chat,["chat",2]`, `42["n",3]`}; !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		ws.Close()
	}
}

// Binary events go whole, between whatever else a client is sent.
func TestBinary(t *testing.T) {
	b := newBed(t, func(b *bed) {
		onSocket(b.IO.Sockets(), func(s *socket.Socket) {
			_ = s.On("photo", func(args ...any) {
				ack := args[len(args)-1].(socket.Ack)
				ack(args[:len(args)-1], nil)
			})
		})
	}, heymanito.WithRates(heymanito.Rate{}, heymanito.Rate{}))
	ann := wiretest.Connect(t, b.URL, "ann")
	if err := ann.Send(`452-7["photo",{"_placeholder":true,"num":1},{"b":{"_placeholder":true,"num":0}}]`); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"zero", "one"} {
		if err := ann.WS.SendBinary([]byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	got := ann.Expect("ack 7")
	if len(got.Attachments) != 2 || string(got.Attachments[0]) != "one" || string(got.Attachments[1]) != "zero" {
		t.Errorf("the photo came back as %v %q", got, got.Attachments)
	}
	const times = 200
	var both sync.WaitGroup
	both.Go(func() {
		for range times {
			b.IO.To("ann").Emit("binary", types.NewBytesBuffer([]byte("x")), types.NewBytesBuffer([]byte("y")))
		}
	})
	both.Go(func() {
		for range times {
			if _, err := b.Emit(t.Context(), "ann", "text", 1); err != nil {
				t.Error(err)
			}
		}
	})
	both.Wait()
	for range times {
		ann.Expect("text")
		if e := ann.Expect("binary"); len(e.Attachments) != 2 || string(e.Attachments[1]) != "y" {
			t.Fatalf("%v %q", e, e.Attachments)
		}
	}
}
