package bridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zishang520/socket.io/servers/socket/v3"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/bridge"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// A namespace of the host's: events, acks and rooms of its own, beside "/".
func TestNamespace(t *testing.T) {
	var left tally
	b := newBed(t, func(b *bed) {
		onSocket(b.IO.Of("/chat", nil), func(s *socket.Socket) {
			d, _ := bridge.Device(s)
			_ = s.Emit("welcome", d.ChatPath, d.SocketID == string(s.Id()))
			_ = s.On("say", func(args ...any) {
				_ = s.Nsp().Emit("said", args[0])
				args[len(args)-1].(socket.Ack)([]any{"ok"}, nil)
			})
			_ = s.On("disconnect", func(args ...any) { left.add(args[0].(string)) })
		})
	})
	ann, bob := wiretest.Connect(t, b.URL, "ann"), wiretest.Connect(t, b.URL, "bob")
	join(ann, "/chat", "")
	join(bob, "/chat", `{"token":"x"}`)
	if got := ann.Expect("welcome").String(); got != `welcome("ann", true)` {
		t.Error(got)
	}
	if got := ask(t, ann, "/chat", "1", `["say","hi"]`); got != `"ok"` {
		t.Errorf("say was answered %s", got)
	}
	for _, c := range []*wiretest.Client{ann, bob} {
		if got := c.Expect("said").String(); got != `said("hi")` {
			t.Error(got)
		}
	}
	b.IO.Of("/chat", nil).To("bob").Emit("only", 1)
	bob.Expect("only")
	for event, want := range map[string]string{
		`["nobody"]`:                             `"unknown event \"nobody\""`,
		`["say",1e999]`:                          `"the event does not have`,
		`["say",{"_placeholder":true,"num":"x"}`: `"the event does not have`,
		`["connect"]`:                            `"unknown event \"connect\""`,
	} {
		if got := ask(t, ann, "/chat", "2", event); !strings.Contains(got, `"code":"invalid","message":`+want) {
			t.Errorf("%s was answered %s", event, got)
		}
	}
	if err := ann.Send("41/chat,"); err != nil {
		t.Fatal(err)
	}
	ann.Sync() // still in "/"
	if got := ask(t, ann, "/chat", "3", `["say"]`); !strings.Contains(got, `not in the namespace \"/chat\"`) {
		t.Errorf("what she has left answered %s", got)
	}
	if left.get("client namespace disconnect") != 1 {
		t.Errorf("the end was heard as %v", left.of)
	}
	b.IO.Of("/chat", nil).To("ann", "bob").Emit("again")
	bob.Expect("again")
	ann.Sync()
	if got := ann.Named("again"); len(got) > 0 {
		t.Errorf("ann has left, and hears %v", got)
	}
	join(ann, "/chat", "")
	bob.Cut()
	wiretest.Eventually(t, "bob's end is heard of", func() bool { return left.get("transport error")+left.get("transport close") == 1 })
}

// A client may be in a namespace and not in "/": it is no device. Whoever leaves
// "/" keeps his other namespaces.
func TestNamespaceAlone(t *testing.T) {
	b := newBed(t, func(b *bed) {
		onSocket(b.IO.Of("/chat", nil), func(s *socket.Socket) {
			_ = s.On("n", func(args ...any) { args[1].(socket.Ack)(args[:1], nil) })
		})
	}, heymanito.WithHandshakeLimits(300*time.Millisecond, 64<<10, 16))
	ws, err := wiretest.DialWS(b.URL, "EIO=4&transport=websocket&userId=ann")
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	next := func(prefix string) string {
		t.Helper()
		for {
			text, err := ws.Text()
			if err != nil {
				t.Fatalf("no %s: %v", prefix, err)
			}
			if strings.HasPrefix(text, prefix) {
				return text
			}
		}
	}
	send := func(text string) {
		t.Helper()
		if err := ws.Send(text); err != nil {
			t.Fatal(err)
		}
	}
	send("40/chat,")
	next(`40/chat,{"sid":"`)
	if len(b.Devices("ann")) != 0 {
		t.Error("ann is a device")
	}
	time.Sleep(400 * time.Millisecond) // the handshake's timeout, which is over for her
	send(`42/chat,1["n",7]`)
	next(`43/chat,1[7]`)
	send("40")
	next(`42["online_users"`)
	send("41")
	wiretest.Eventually(t, "ann has left /", func() bool { return len(b.Devices("ann")) == 0 })
	send(`42["n",1]`) // she cannot know that she is not heard
	send(`42/chat,2["n",8]`)
	next(`43/chat,2[8]`)
	if n := b.Disconnect("ann", "enough"); n != 1 {
		t.Errorf("%d connections of ann's were ended", n)
	}
	next("41/chat,")
}

// The auth hook is asked for each namespace, and the middlewares of a namespace
// decide after it.
func TestNamespaceAuth(t *testing.T) {
	auth := func(_ context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
		var said struct{ Token string }
		if err := json.Unmarshal(h.Auth, &said); err != nil {
			return heymanito.Identity{}, err
		}
		if said.Token != h.UserID+" at "+h.Namespace {
			return heymanito.Identity{}, heymanito.Errorf(heymanito.CodeUnauthorized, "this token is not for %s", h.Namespace)
		}
		return heymanito.Identity{ChatPath: h.UserID, Claims: said.Token}, nil
	}
	var past tally
	b := newBed(t, func(b *bed) {
		staff := b.IO.Of("/staff", nil)
		staff.Use(func(s *socket.Socket, next func(*socket.ExtendedError)) {
			past.add("middleware")
			if d, _ := bridge.Device(s); d.ChatPath != "ann" {
				next(socket.NewExtendedError("staff only", map[string]any{"who": d.Claims}))
				return
			}
			next(nil)
		})
		staff.Use(func(*socket.Socket, func(*socket.ExtendedError)) { panic("at the door") })
		onSocket(staff, func(*socket.Socket) { past.add("connection") })
		b.IO.Use(func(s *socket.Socket, next func(*socket.ExtendedError)) {
			if d, _ := bridge.Device(s); d.ChatPath == "eve" {
				next(socket.NewExtendedError("not eve", nil))
				return
			}
			next(nil)
		})
	}, heymanito.WithAuth(auth))
	bob := wiretest.Connect(t, b.URL, "bob", wiretest.Auth(`{"token":"bob at /"}`))
	for n, c := range []struct{ packet, answer string }{
		{`40/staff,{"token":"bob at /"}`, `{"data":{"code":"unauthorized","message":"this token is not for /staff"},"message":"unauthorized"}`},
		{`40/staff,{"token":"bob at /staff"}`, `{"data":{"who":"bob at /staff"},"message":"staff only"}`},
		{`40/none,{"token":"bob at /none"}`, `{"message":"Invalid namespace"}`},
	} {
		if err := bob.Send(c.packet); err != nil {
			t.Fatal(err)
		}
		namespace := strings.TrimPrefix(c.packet[:strings.IndexByte(c.packet, ',')], "40")
		if got := bob.Expect("connect_error " + namespace); string(got.Args[0]) != c.answer {
			t.Errorf("%d: %s was answered %s", n, c.packet, got.Args[0])
		}
	}
	bob.Sync()
	if past.get("middleware") != 1 || past.get("connection") != 0 {
		t.Errorf("%v", past.of)
	}
	for auth, want := range map[string]string{
		`{"token":"eve at /"}`:           `{"message":"not eve"}`,
		`{"token":"eve at /","x":1e999}`: `{"data":{"code":"invalid","message":"auth has a number that is too large"},"message":"invalid"}`,
	} {
		_, err := wiretest.TryConnect(t, b.URL, "eve", wiretest.Auth(auth))
		if refused := (*wiretest.ErrRefused)(nil); !errors.As(err, &refused) || refused.Payload != want {
			t.Errorf("eve with %s: %v", auth, err)
		}
	}
	// A middleware that panics ends the client's connection; it comes back.
	ann := wiretest.Connect(t, b.URL, "ann", wiretest.Auth(`{"token":"ann at /"}`))
	if err := ann.Send(`40/staff,{"token":"ann at /staff"}`); err != nil {
		t.Fatal(err)
	}
	if err := ann.Closed(wiretest.Timeout); errors.Is(err, wiretest.ErrStillOpen) {
		t.Error(err)
	}
	if !strings.Contains(b.log.String(), "at the door") {
		t.Error("the panic was not logged")
	}
}

// Many who come at once to a namespace that a pattern makes are all in the same.
func TestNamespaceOfAPattern(t *testing.T) {
	b := newBed(t, func(b *bed) { b.IO.Of(regexp.MustCompile(`^/room-\d+$`), nil) })
	const rounds, many = 20, 8
	clients := make([]*wiretest.Client, many)
	for i := range clients {
		clients[i] = wiretest.Connect(t, b.URL, fmt.Sprint("user", i))
	}
	for round := range rounds {
		namespace := fmt.Sprint("/room-", round)
		var all sync.WaitGroup
		for _, c := range clients {
			all.Go(func() {
				if c.Send("40"+namespace+",") == nil {
					_, _ = c.Wait("connect "+namespace, wiretest.Timeout)
				}
			})
		}
		all.Wait()
		b.IO.Of(namespace, nil).Emit("hear", round)
		for i, c := range clients {
			if _, err := c.Wait("hear", 2*time.Second); err != nil {
				t.Fatalf("%s is another one for user%d: %v", namespace, i, err)
			}
			if err := c.Send("41" + namespace + ","); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A client may be in 16 namespaces, and ask for others only so often.
func TestNamespaceBounds(t *testing.T) {
	b := newBed(t, func(b *bed) { b.IO.Of(regexp.MustCompile(`^/\d+$`), nil) })
	ann := wiretest.Connect(t, b.URL, "ann")
	for i := range 16 {
		join(ann, fmt.Sprint("/", i), "")
	}
	if err := ann.Send("40/16,"); err != nil {
		t.Fatal(err)
	}
	if got := ann.Expect("connect_error /16"); !strings.Contains(string(got.Args[0]), `"rate_limited"`) {
		t.Errorf("the 17th namespace: %v", got)
	}
	for range 16 {
		if err := ann.Send("40/none,"); err != nil {
			return // it was closed meanwhile
		}
	}
	if err := ann.Closed(wiretest.Timeout); errors.Is(err, wiretest.ErrStillOpen) {
		t.Error(err)
	}
}

// An identity ends in every namespace, when the auth hook has said for that, unless
// it was proven anew.
func TestNamespaceExpiry(t *testing.T) {
	auth := func(_ context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
		id := heymanito.Identity{ChatPath: h.UserID, Expires: time.Now().Add(time.Hour)}
		if h.Namespace == "/chat" && !h.Refresh {
			id.Expires = time.Now().Add(300 * time.Millisecond)
		}
		return id, nil
	}
	b := newBed(t, openChat, heymanito.WithAuth(auth))
	ann, bob := wiretest.Connect(t, b.URL, "ann"), wiretest.Connect(t, b.URL, "bob")
	join(ann, "/chat", "")
	join(bob, "/chat", "")
	ann.EmitAck("refreshAuth", `{}`)
	if err := bob.Closed(wiretest.Timeout); errors.Is(err, wiretest.ErrStillOpen) {
		t.Error(err)
	}
	if got := ask(t, ann, "/chat", "1", `["n",7]`); got != "7" {
		t.Error(got)
	}
	alone := dialRaw(t, b)
	alone.send("40/chat,")
	alone.ends("41")
}

// The rates hold in other namespaces, too.
func TestNamespaceRates(t *testing.T) {
	b := newBed(t, func(b *bed) {
		onSocket(b.IO.Of("/chat", nil), func(s *socket.Socket) { _ = s.On("n", func(...any) {}) })
	}, heymanito.WithRates(heymanito.Rate{PerSecond: 0.1, Burst: 5}, heymanito.Rate{}))
	ann := wiretest.Connect(t, b.URL, "ann")
	join(ann, "/chat", "")
	for range 4 {
		if err := ann.Send(`42/chat,["n"]`); err != nil {
			t.Fatal(err)
		}
	}
	if got := ask(t, ann, "/chat", "1", `["n"]`); !strings.Contains(got, `"rate_limited"`) {
		t.Errorf("the sixth was answered %s", got)
	}
}

// All that a user's clients send in other namespaces is bounded together.
func TestNamespaceRatesOfAUser(t *testing.T) {
	b := newBed(t, func(b *bed) {
		onSocket(b.IO.Of("/chat", nil), func(s *socket.Socket) { _ = s.On("n", func(...any) {}) })
	}, heymanito.WithRates(heymanito.Rate{}, heymanito.Rate{PerSecond: 0.1, Burst: 5}))
	ann, ann2 := wiretest.Connect(t, b.URL, "ann"), wiretest.Connect(t, b.URL, "ann")
	join(ann, "/chat", "")
	if err := ann.Send("41/chat,"); err != nil {
		t.Fatal(err)
	}
	wiretest.Eventually(t, "she has left", func() bool { return present(b.IO.Of("/chat", nil)) == 0 })
	join(ann2, "/chat", "")
	join(ann, "/chat", "")
	for range 3 {
		if err := ann.Send(`42/chat,["n"]`); err != nil {
			t.Fatal(err)
		}
	}
	if got := ask(t, ann, "/chat", "1", `["n"]`); !strings.Contains(got, `"rate_limited"`) {
		t.Errorf("the sixth of one client was answered %s", got)
	}
	if got := ask(t, ann2, "/chat", "1", `["n"]`); !strings.Contains(got, `"rate_limited"`) {
		t.Errorf("the seventh, of the other client, was answered %s", got)
	}
}

// To forget a user ends his other namespaces as well.
func TestNamespaceForget(t *testing.T) {
	b := newBed(t, func(b *bed) { b.IO.Of("/chat", nil) })
	ann := wiretest.Connect(t, b.URL, "ann")
	join(ann, "/chat", "")
	if err := b.Forget(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	ann.Expect("disconnect")
	ann.Expect("disconnect /chat")
}
