package heymanito_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

func TestDevicesAndOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		if got := a.Devices("ann"); len(got) != 0 {
			t.Errorf("somebody who never was here has the devices %v", got)
		}
		phone := a.join("ann", wiretest.Auth(`{"deviceId":"phone"}`))
		time.Sleep(time.Second)
		laptop := a.join("ann", wiretest.Auth(`{"deviceId":"laptop"}`))
		devices := a.Devices("ann")
		if len(devices) != 2 || devices[0].DeviceID != "phone" || devices[1].DeviceID != "laptop" ||
			devices[0].SocketID != phone.SID || devices[1].ConnectedAt.UnixMilli() != begin+1000 || devices[0].ChatPath != "ann" {
			t.Errorf("ann has %+v", devices)
		}
		a.join("bob").Goodbye()
		synctest.Wait()
		known, err := a.Online(t.Context(), "bob", "ann", "zoe")
		if err != nil || len(known) != 3 {
			t.Fatalf("%v, %v", known, err)
		}
		if b := known[0]; b.User != "bob" || b.Online || b.LastSeen.UnixMilli() != begin+1000 {
			t.Errorf("bob: %+v", b)
		}
		if p := known[1]; p.User != "ann" || !p.Online || p.SocketID != laptop.SID {
			t.Errorf("ann: %+v", p)
		}
		if p := known[2]; p != (heymanito.Presence{User: "zoe"}) {
			t.Errorf("zoe: %+v", p)
		}
	})
}

// curtStore answers about one user fewer than it is asked about.
type curtStore struct{ heymanito.PresenceStore }

func (s curtStore) Online(ctx context.Context, users []string) ([]heymanito.Presence, error) {
	return s.PresenceStore.Online(ctx, users[1:])
}

// A store that breaks its contract is the host's to mend: he is told of it.
func TestOnlineOfABrokenStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithPresence(curtStore{heymanito.NewMemoryPresence()}))
		a.join("ann")
		const says = "heymanito: internal: PresenceStore.Online was asked about %d users and has answered about %d: it must answer about each, in their order"
		known, err := a.Online(t.Context(), "ann", "bob")
		if e := new(heymanito.Error); !errors.As(err, &e) || e.Code != heymanito.CodeInternal || err.Error() != fmt.Sprintf(says, 2, 1) || known != nil {
			t.Errorf("Online: %v, %v", known, err)
		}
		view, err := a.Inspect(t.Context(), "ann")
		if e := new(heymanito.Error); !errors.As(err, &e) || err.Error() != fmt.Sprintf(says, 1, 0) || view.Online {
			t.Errorf("Inspect: %+v, %v", view, err)
		}
	})
}

func TestEmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithMaxPayload(1000))
		ann, ann2, bob := a.join("ann"), a.join("ann"), a.join("bob")
		for _, p := range []*person{ann, ann2, bob} {
			p.deaf()
		}
		n, err := a.Emit(t.Context(), "ann", "news", map[string]any{"title": "a <b>"}, json.RawMessage(`12345678901234567890`), nil, []byte("\x00\x01"))
		if n != 2 || err != nil {
			t.Errorf("%d devices, %v", n, err)
		}
		const line = `news({"title":"a \u003cb\u003e"}, 12345678901234567890, null, {"_placeholder":true,"num":0})+"\x00\x01"`
		ann.hears(line)
		ann2.hears(line)
		bob.hears()
		if n, err := a.Emit(t.Context(), "bob", `a "name"`); n != 1 || err != nil {
			t.Errorf("%d devices, %v", n, err)
		}
		bob.hears(`a "name"()`)
		if n, err := a.Emit(t.Context(), "zoe", "news"); n != 0 || err != nil {
			t.Errorf("%d devices, %v", n, err)
		}
		many := make([]any, 11)
		for i := range many {
			many[i] = []byte{}
		}
		for _, c := range []struct {
			event string
			args  []any
			want  heymanito.Code
		}{
			{"", nil, "invalid"},
			{"disconnect", nil, "invalid"},
			{"sendMessage", nil, "invalid"},
			{"receiveMessage", nil, "invalid"},
			{"incomingCall", nil, "invalid"},
			{"news", []any{make(chan int)}, "invalid"},
			{"news", []any{json.RawMessage(`{`)}, "invalid"},
			{"news", []any{json.RawMessage(nested(200))}, "invalid"},
			{"news", []any{[]byte("x"), json.RawMessage(`{"_placeholder":true,"num":0}`)}, "invalid"},
			{"news", many, "invalid"},
			{"news", []any{long(1000)}, "too_large"},
			{"news", []any{make([]byte, 1000)}, "too_large"},
		} {
			_, err := a.Emit(t.Context(), "ann", c.event, c.args...)
			var e *heymanito.Error
			if !errors.As(err, &e) || e.Code != c.want {
				t.Errorf("Emit(%q, %.40v): %v, want %s", c.event, c.args, err, c.want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := a.Emit(ctx, "ann", "news"); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
		ann.hears()
	})
}

// All of it can be called from within hooks and handlers, about the very device
// that is being handled.
func TestAPIInsideHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		var rt *heymanito.Server
		look := func(ctx context.Context, where string) {
			known, err := rt.Online(ctx, "ann")
			if err != nil {
				n.add("%s: Online: %v", where, err)
				return
			}
			reached, err := rt.Emit(ctx, "ann", "hint", where)
			n.add("%s: %d devices, online %v, emitted to %d, %v, changed %v", where, len(rt.Devices("ann")), known[0].Online, reached, err,
				rt.ContactsChanged(ctx, "ann"))
		}
		a := start(t, heymanito.WithHooks(heymanito.Hooks{
			OnConnect:    func(ctx context.Context, _ heymanito.Device) { look(ctx, "OnConnect") },
			OnDisconnect: func(ctx context.Context, _ heymanito.Device, _ string) { look(ctx, "OnDisconnect") },
			Authorize:    func(ctx context.Context, _ heymanito.Action) error { look(ctx, "Authorize"); return nil },
			Contacts:     func(context.Context, string) ([]string, error) { return nil, nil },
		}), heymanito.On("leave", func(ctx context.Context, e heymanito.Event) (any, error) {
			look(ctx, "On")
			return rt.Disconnect(e.Device.ChatPath, "bye"), nil
		}))
		rt = a.Server
		ann := a.join("ann")
		n.want(t, "OnConnect: 1 devices, online true, emitted to 1, <nil>, changed <nil>")
		ann.code("sendMessage", mail("m1", "ann", "bob"))
		n.want(t, "Authorize: 1 devices, online true, emitted to 1, <nil>, changed <nil>")
		ann.Emit("leave")
		n.want(t, "On: 1 devices, online true, emitted to 1, <nil>, changed <nil>",
			"OnDisconnect: 0 devices, online true, emitted to 0, <nil>, changed <nil>")
		ann.hears(`hint("OnConnect")`, `hint("Authorize")`, `hint("On")`, `sessionEnded({"code":"bye"})`, `disconnect()`)
	})
}

func TestAPIAfterShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		a.join("ann")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := a.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		_, online := a.Online(t.Context(), "ann")
		_, emitted := a.Emit(t.Context(), "ann", "news")
		_, minted := a.CallToken(t.Context(), "ann", "r", "phone")
		_, inspected := a.Inspect(t.Context(), "ann")
		_, sent := a.Send(t.Context(), heymanito.Message{From: "ann", To: "bob"})
		for name, err := range map[string]error{
			"Online": online, "Emit": emitted, "CallToken": minted, "Inspect": inspected, "Send": sent,
			"ContactsChanged": a.ContactsChanged(t.Context(), "ann"), "Forget": a.Forget(t.Context(), "ann"),
		} {
			if !errors.Is(err, heymanito.ErrClosed) {
				t.Errorf("%s after Shutdown: %v", name, err)
			}
		}
		if got := fmt.Sprint(a.Devices("ann"), a.Disconnect("ann", "bye")); got != "[] 0" {
			t.Errorf("after Shutdown there are %s", got)
		}
	})
}
