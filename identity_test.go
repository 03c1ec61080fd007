package heymanito_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// refusalCode is the code of a CONNECT_ERROR's payload, which has to have it
// twice, with a message in words.
func refusalCode(t *testing.T, payload string) string {
	t.Helper()
	code, rest, _ := strings.Cut(strings.TrimPrefix(payload, `{"data":{"code":"`), `","message":"`)
	words, end, _ := strings.Cut(rest, `"},`)
	if want := fmt.Sprintf(`"message":%q}`, code); end != want || len(strings.Fields(words)) < 2 {
		t.Errorf("CONNECT_ERROR has the payload %s", payload)
	}
	return code
}

func TestUserID(t *testing.T) {
	hooks := map[string][]heymanito.Option{
		"without an auth hook": nil,
		"with an auth hook": {heymanito.WithAuth(func(_ context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
			if !heymanito.ValidChatPath(h.UserID) {
				return heymanito.Identity{}, fmt.Errorf("the hook was asked about %q", h.UserID)
			}
			return heymanito.Identity{ChatPath: h.UserID}, nil
		})},
	}
	for name, opts := range hooks {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := start(t, opts...)
				ann := a.join("ann")
				for _, c := range []struct{ code, query string }{
					{"missing_user", ""},
					{"missing_user", "userId"},
					{"missing_user", "userId="},
					{"missing_user", "userId=undefined"},
					{"missing_user", "userId=null"},
					{"missing_user", "userId=%5Bobject+Object%5D"},
					{"missing_user", "userid=bob"},
					{"invalid", "userId=bob&userId=bob"},
					{"invalid", "userId=bob&userId=cid"},
					{"invalid", "userId=&userId=bob"},
					{"invalid", "userId=bob%00"},
					{"invalid", "userId=bo%0Ab"},
					{"invalid", "userId=%7F"},
					{"invalid", "userId=%C2%85"},       // a control character beyond ASCII
					{"invalid", "userId=%FF"},          // no UTF-8
					{"invalid", "userId=%ED%A0%80"},    // half a surrogate pair
					{"invalid", "userId=" + long(257)}, // bytes, not characters
					{"invalid", "userId=" + strings.Repeat("%C3%A9", 129)},
					{"", "userId=" + long(256)},
					{"", "userId=" + strings.Repeat("%C3%A9", 128)},
					{"", "userId=Undefined"},
					{"", "userId=+"},
					{"", "userId=%F0%9F%A6%9C"},
				} {
					values, err := url.ParseQuery(c.query)
					if err != nil {
						t.Fatal(err)
					}
					var opts []wiretest.Option
					for key, list := range values {
						for _, v := range list {
							opts = append(opts, wiretest.Query(key, v))
						}
					}
					opts = append(opts, wiretest.On(a.net))
					p, err := wiretest.TryConnect(t, host, "", opts...)
					var refused *wiretest.ErrRefused
					switch {
					case c.code == "" && err == nil:
						synctest.Wait()
						p.Goodbye()
						ann.hears(online(values.Get("userId")), offline(values.Get("userId")))
					case c.code != "" && errors.As(err, &refused):
						if got := refusalCode(t, refused.Payload); got != c.code {
							t.Errorf("%.40q was refused as %s, want %s", c.query, got, c.code)
						}
						ann.hears()
					default:
						t.Errorf("%.40q: %v, want %q", c.query, err, c.code)
					}
				}
			})
		})
	}
}

func long(n int) string { return strings.Repeat("x", n) }

type contextKey struct{}

// The auth hook sees the request as the host's middleware has left it, and the
// CONNECT packet's auth byte for byte.
func TestAuthSees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		middleware := func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, "from the middleware")))
			})
		}
		a := startBehind(t, middleware, heymanito.WithAuth(func(ctx context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
			cookie, _ := h.Request.Cookie("session")
			n.add("%s %s %v %v %v", h.UserID, h.Auth, h.Request.Header.Get("Authorization"), cookie, h.Query["tenant"])
			n.add("%v %v", h.Request.Context().Value(contextKey{}), h.Auth == nil)
			if _, ok := ctx.Deadline(); !ok || ctx.Err() != nil {
				t.Errorf("the hook's context has no deadline or has ended: %v", ctx.Err())
			}
			return heymanito.Identity{ChatPath: h.UserID, Expires: time.Now().Add(time.Minute), Claims: 42}, nil
		}), heymanito.WithHooks(heymanito.Hooks{
			OnConnect: func(_ context.Context, d heymanito.Device) {
				n.add("%s %q %v %v %v", a0(d.SocketID), d.DeviceID, d.Claims, d.ConnectedAt.UnixMilli(), d.RemoteAddr)
			},
		}))
		const auth = `{"token":"a\u0062\ud800c",  "n":12345678901234567890.50,"z":1,"a":{"b":[]},"deviceId":"phone"}`
		a.join("ann", wiretest.Auth(auth), wiretest.Query("tenant", "x"),
			wiretest.Header("Authorization: Bearer tok"), wiretest.Header("Cookie: session=s1"))
		n.want(t, `ann `+auth+` Bearer tok session=s1 [x]`, "from the middleware false", fmt.Sprintf(`id "phone" 42 %d 192.0.2.1:10001`, begin))
		a.join("ann")
		n.want(t, `ann    []`, "from the middleware true", fmt.Sprintf(`id "" 42 %d 192.0.2.1:10002`, begin))
	})
}

// a0 hides what is random; the library makes longer ones.
func a0(socketID string) string {
	if len(socketID) != 20 && len(socketID) != 24 {
		return socketID
	}
	return "id"
}

func TestRefusals(t *testing.T) {
	secret := errors.New("the secret text of a cause")
	for _, c := range []struct {
		name string
		id   heymanito.Identity
		err  error
		want string // of a refusal; else how the transport is closed
		says string // the message
	}{
		{"somebody else", heymanito.Identity{ChatPath: "ann"}, nil, "identity_mismatch", ""},
		{"nobody", heymanito.Identity{}, nil, "identity_mismatch", ""},
		{"an error", heymanito.Identity{ChatPath: "bob"}, secret, "unauthorized", "the server does not accept this identity"},
		{"unauthorized", heymanito.Identity{}, &heymanito.Error{Code: heymanito.CodeUnauthorized, Err: secret}, "unauthorized", "the server does not accept this identity"},
		{"in words", heymanito.Identity{}, heymanito.Errorf(heymanito.CodeForbidden, "you are banned until %s", "May"), "forbidden", "you are banned until May"},
		{"wrapped", heymanito.Identity{}, fmt.Errorf("hook: %w", &heymanito.Error{Code: heymanito.CodeForbidden}), "forbidden", "not allowed"},
		{"a code of the host's", heymanito.Identity{}, heymanito.Errorf("upgrade_app", "install the update"), "upgrade_app", "install the update"},
		{"expired", heymanito.Identity{ChatPath: "bob", Expires: time.Unix(1, 0)}, nil, "unauthorized", "the identity has expired"},
		{"down", heymanito.Identity{}, &heymanito.Error{Code: heymanito.CodeUnavailable, Err: secret}, "1013 unavailable", ""},
		{"wrapped down", heymanito.Identity{}, fmt.Errorf("x: %w", &heymanito.Error{Code: heymanito.CodeUnavailable}), "1013 unavailable", ""},
		{"internal", heymanito.Identity{}, &heymanito.Error{Code: heymanito.CodeInternal, Err: secret}, "1013 unavailable", ""},
		{"a nil *Error", heymanito.Identity{}, (*heymanito.Error)(nil), "unauthorized", "the server does not accept this identity"},
		{"panic", heymanito.Identity{}, nil, "1013 unavailable", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := start(t, heymanito.WithAuth(func(_ context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
					if h.UserID == "ann" {
						return heymanito.Identity{ChatPath: "ann"}, nil
					}
					if c.name == "panic" {
						panic("the hook has a bug")
					}
					return c.id, c.err
				}))
				a.panics = c.name == "panic"
				ann := a.join("ann")
				if strings.HasPrefix(c.want, "1") {
					if got := a.closed("bob"); got != c.want {
						t.Errorf("closed with %s, want %s", got, c.want)
					}
				} else {
					payload := a.refused("bob")
					if got := refusalCode(t, payload); got != c.want {
						t.Errorf("refused as %s, want %s", got, c.want)
					}
					if c.says != "" && !strings.Contains(payload, `"message":"`+c.says+`"`) || strings.Contains(payload, "secret") {
						t.Errorf("the client was told %s, want %q", payload, c.says)
					}
				}
				if c.err != nil && errors.Is(c.err, secret) && a.log.Count("secret text") != 1 {
					t.Errorf("the cause is in the log %d times:\n%s", a.log.Count("secret text"), a.log)
				}
				if c.name == "panic" && a.log.Count("the hook has a bug") != 1 {
					t.Errorf("the panic is not in the log:\n%s", a.log)
				}
				time.Sleep(time.Minute)
				ann.hears()
				a.join("ann").sees("ann <ann 2>")
			})
		})
	}
}

// What is ours in the CONNECT packet's auth has to have its shape, whoever
// reads the rest.
func TestConnectAuth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		for _, auth := range []string{
			`{"deviceId":5}`, `{"deviceId":{}}`, `{"deviceId":"` + long(257) + `"}`,
			`{"features":"lastSeen"}`, `{"features":{"lastSeen":true}}`, `{"features":[1]}`,
		} {
			if got := refusalCode(t, a.refused("ann", wiretest.Auth(auth))); got != "invalid" {
				t.Errorf("%.40s was refused as %s", auth, got)
			}
		}
		for _, auth := range []string{
			`{}`, `{"deviceId":null,"features":null}`, `{"deviceId":"","features":[]}`, `{"deviceId":"` + long(256) + `"}`,
			`{"features":["lastSeen","a feature of the future"]}`, `{"token":17,"anything":[{}]}`,
		} {
			a.join("ann", wiretest.Auth(auth))
		}
		// Two with the same deviceId do not evict each other.
		one := a.join("bob", wiretest.Auth(`{"deviceId":"d"}`))
		a.join("bob", wiretest.Auth(`{"deviceId":"d"}`))
		if one.code("wiretest-sync") != "invalid" {
			t.Error("a second socket with the same deviceId has evicted the first")
		}
	})
}

// gate is an auth hook that lets one user wait.
func gate(user string, open <-chan struct{}) heymanito.Option {
	return heymanito.WithAuth(func(ctx context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
		if h.UserID == user {
			select {
			case <-open:
			case <-ctx.Done():
				return heymanito.Identity{}, ctx.Err()
			}
		}
		return heymanito.Identity{ChatPath: h.UserID}, nil
	})
}

// texts reads the n next messages.
func texts(t *testing.T, ws *wiretest.WS, n int) []string {
	t.Helper()
	var l []string
	for range n {
		p, err := ws.Text()
		if err != nil {
			t.Fatalf("after %q: %v", l, err)
		}
		l = append(l, p)
	}
	return l
}

// A slow auth hook is nobody else's business; what its client has sent
// meanwhile is handled when it is let in, in order, before what follows.
func TestSlowAuth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		a := start(t, gate("bob", open))
		ann := a.join("ann")
		ws := a.dial("bob")
		early := []string{"40"}
		for i := range 14 {
			early = append(early, fmt.Sprintf(`42%d["sendMessage",%s]`, i, mail(fmt.Sprint("m", i), "bob", "ann")))
		}
		// The last has an attachment, which does not count.
		early = append(early, `451-14["sendMessage",{"id":"m14","senderChatPath":"bob","recipientChatPath":"ann","content":{"_placeholder":true,"num":0}}]`)
		if err := ws.Write(append(wiretest.Texts(early...), wiretest.Frame(true, wiretest.OpBinary, []byte("photo"))...)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		begun := time.Now()
		cid := a.join("cid")
		ann.hears(online("cid"))
		if got := cid.EmitAck("sendMessage", mail("m", "cid", "ann")).Delivery; got != "sent" {
			t.Errorf("meanwhile somebody else's message was %s", got)
		}
		ann.hears(received("receiveMessage", "m", "cid", "ann", begin))
		if time.Since(begun) != 0 {
			t.Errorf("somebody else has waited %v", time.Since(begun))
		}

		close(open)
		if err := ws.Send(`4215["sendMessage",` + mail("m15", "bob", "ann") + `]`); err != nil {
			t.Fatal(err)
		}
		got := texts(t, ws, 18)
		if !strings.HasPrefix(got[0], `40{"sid":"`) || !strings.HasPrefix(got[1], `42["online_users",{`) {
			t.Errorf("bob was let in with %q", got[:2])
		}
		for i, ack := range got[2:] {
			if !strings.HasPrefix(ack, fmt.Sprintf(`43%d[{"status":"ok","id":"m%d"`, i, i)) {
				t.Errorf("ack number %d is %s", i, ack)
			}
		}
		var want []string
		for i := range 16 {
			want = append(want, received("receiveMessage", fmt.Sprint("m", i), "bob", "ann", begin))
		}
		want[14] = fmt.Sprintf(`receiveMessage({"id":"m14","senderChatPath":"bob","recipientChatPath":"ann","content":{"_placeholder":true,"num":0},"ts":%d})+"photo"`, begin)
		heard := ann.news()
		// That bob is there may overtake, or be overtaken by, what he says.
		if i := slices.Index(heard, online("bob")); i < 0 || !slices.Equal(slices.Delete(heard, i, i+1), want) {
			t.Errorf("ann has heard\n\t%s", strings.Join(heard, "\n\t"))
		}
	})
}

// Before a client is let in it may send 16 events and 64 KiB; more closes it.
func TestEarlyLimits(t *testing.T) {
	event := `42["sendMessage",` + mail("m", "bob", "ann") + `]`
	for name, c := range map[string]struct {
		early []string
		want  string
	}{
		"17 events":        {append([]string{"40"}, slices.Repeat([]string{event}, 17)...), "1008 too much data before the handshake"},
		"64 KiB":           {[]string{"40", `42["x","` + long(64<<10) + `"]`}, "1008 too much data before the handshake"},
		"64 KiB, no hello": {[]string{"40" + `{"token":"` + long(64<<10) + `"}`}, "1008 too much data before the handshake"},
		"an event first":   {[]string{event}, "1002 parse error"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				open := make(chan struct{})
				a := start(t, gate("bob", open))
				ann := a.join("ann")
				ws := a.dial("bob")
				if err := ws.Write(wiretest.Texts(c.early...)); err != nil {
					t.Fatal(err)
				}
				_, _, err := ws.Read()
				if err == nil || err.Error() != "closed by the server: "+c.want {
					t.Errorf("%v, want %s", err, c.want)
				}
				synctest.Wait() // the hook's context has ended, too
				close(open)
				ann.hears()
			})
		})
	}
}

// Once the CONNECT packet is answered the limits are over, also while the
// OnConnect hook is at work.
func TestNoEarlyLimitsAfterConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		a := start(t, heymanito.WithHooks(heymanito.Hooks{
			OnConnect: func(_ context.Context, d heymanito.Device) {
				if d.ChatPath == "bob" {
					<-open
				}
			},
		}))
		ann := a.join("ann")
		bob := a.join("bob") // has his online_users
		for i := range 40 {
			bob.Emit("sendMessage", mail(fmt.Sprint("m", i), "bob", "ann"))
		}
		synctest.Wait()
		ann.hears(online("bob"))
		close(open)
		if heard := ann.news(); len(heard) != 40 {
			t.Errorf("of 40 messages that were sent during OnConnect %d have arrived; bob's connection: %v", len(heard), bob.Closed(time.Second))
		}
	})
}

// A client that has been let in, speaks and says goodbye while the OnConnect
// hook is still at work, has spoken, and has said goodbye.
func TestGoodbyeDuringOnConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		var n notes
		a := start(t, heymanito.WithHooks(heymanito.Hooks{
			OnConnect: func(_ context.Context, d heymanito.Device) {
				if d.ChatPath == "bob" {
					<-open
				}
				n.add("%s is there", d.ChatPath)
			},
			OnDisconnect: func(_ context.Context, d heymanito.Device, reason string) { n.add("%s: %s", d.ChatPath, reason) },
		}))
		ann := a.join("ann")
		bob := a.join("bob")
		bob.Emit("sendMessage", mail("m", "bob", "ann"))
		bob.Goodbye()
		ann.hears(online("bob"))
		close(open)
		ann.hears(received("receiveMessage", "m", "bob", "ann", begin), offline("bob"))
		n.want(t, "ann is there", "bob is there", "bob: client namespace disconnect")
	})
}

// The auth hook's context ends when its client leaves, and with the time a
// handshake may take.
func TestAuthContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		begun := time.Now()
		a := start(t, heymanito.WithAuth(func(ctx context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
			if h.UserID == "ann" {
				return heymanito.Identity{ChatPath: "ann"}, nil
			}
			<-ctx.Done()
			n.add("%v after %v", ctx.Err(), time.Since(begun))
			return heymanito.Identity{}, fmt.Errorf("looking up the token: %w", ctx.Err())
		}))
		ann := a.join("ann")
		ws := a.dial("bob")
		if err := ws.Send("40"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		ws.Close()
		n.want(t, "context canceled after 3s")

		ws = a.dial("bob")
		begun = time.Now()
		if err := ws.Send("40"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		n.want(t)
		_, _, err := ws.Read()
		var closed *wiretest.CloseError
		if !errors.As(err, &closed) || time.Since(begun) > 11*time.Second {
			t.Errorf("after %v the client was told %v, want a close frame after 10 s", time.Since(begun), err)
		}
		if got := n.read(); len(got) != 1 || got[0] != "context deadline exceeded after 10s" && got[0] != "context canceled after 10s" {
			t.Errorf("the hook has noted %q", got)
		}
		// A client that says nothing has 10 s too.
		ws, begun = a.dial("bob"), time.Now()
		time.Sleep(9 * time.Second)
		if _, _, err = ws.Read(); !errors.As(err, &closed) || time.Since(begun) > 11*time.Second {
			t.Errorf("after %v the client was told %v, want a close frame after 10 s", time.Since(begun), err)
		}
		ann.hears()
	})
}

// Every event is checked against the identity of its connection, before the
// host is asked anything, and nothing of a false one is delivered.
func TestActingSide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := start(t, heymanito.Relay("nudge"), heymanito.RelayVolatile("typing"), heymanito.WithHooks(heymanito.Hooks{
			Authorize:     func(_ context.Context, a heymanito.Action) error { n.add("Authorize %v", a); return nil },
			BeforeMessage: func(_ context.Context, m heymanito.Message) error { n.add("BeforeMessage %v", m); return nil },
			OnUndelivered: func(_ context.Context, m heymanito.Message) { n.add("OnUndelivered %v", m) },
			OnRead:        func(_ context.Context, r heymanito.Read) { n.add("OnRead %v", r) },
			BeforeCall:    func(_ context.Context, c heymanito.Call) error { n.add("BeforeCall %v", c); return nil },
		}))
		ann, bob, eve := a.join("ann"), a.join("bob"), a.join("eve")
		ann.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"ann","roomName":"r"}`)
		n.read()
		for _, p := range []*person{ann, bob, eve} {
			p.deaf()
		}
		for _, c := range []struct{ event, payload string }{
			{"sendMessage", mail("m", "ann", "bob")},
			{"sendMessage", mail("m", "ann", "eve")},
			{"sendMessage", mail("m", "ann", "ann")},
			{"sendMessage", mail("m", "Eve", "bob")},
			{"sendMessage", mail("m", "eve ", "bob")},
			{"sendMessage", `{"id":"m","senderChatPath":"eve","recipientChatPath":"bob","senderChatPath":"ann"}`}, // the last counts
			{"markAsRead", `{"senderChatPath":"ann","recipientChatPath":"bob"}`},
			{"markAsRead", `{"senderChatPath":"eve","recipientChatPath":"bob"}`},
			{"markAsDelivered", `{"senderChatPath":"ann","recipientChatPath":"bob"}`},
			{"markAsDelivered", `{"senderChatPath":"eve","recipientChatPath":"bob"}`},
			{"initiateCall", `{"recipientId":"bob","callerId":"ann","roomName":"r"}`},
			{"initiateCall", `{"recipientId":"eve","callerId":"ann","roomName":"r"}`},
			{"rejectCall", `{"callerId":"ann","recipientId":"bob","roomName":"r"}`},
			{"nudge", `{"senderChatPath":"ann","recipientChatPath":"bob"}`},
			{"typing", `{"senderChatPath":"ann","recipientChatPath":"bob"}`},
		} {
			if got := eve.code(c.event, c.payload); got != "identity_mismatch" {
				t.Errorf("%s%s was acked %s", c.event, c.payload, got)
			}
		}
		// acceptCall names the other side only.
		if got := eve.code("acceptCall", `{"callerId":"ann","roomName":"r"}`); got != "not_found" {
			t.Errorf("a call to somebody else was accepted with %s", got)
		}
		for _, p := range []*person{ann, bob, eve} {
			p.hears()
		}
		n.want(t, `Authorize {acceptCall eve ann}`)
		// Written otherwise it is still she.
		eve.says(fmt.Sprintf(`{"status":"ok","id":"m","ts":%d,"delivery":"sent"}`, begin), "sendMessage",
			`{"id":"m","senderChatPath":"ann","recipientChatPath":"bob","s\u0065nderChatPath":"\u0065v\u0065"}`)
		bob.hears(fmt.Sprintf(`receiveMessage({"id":"m","senderChatPath":"\u0065v\u0065","recipientChatPath":"bob","ts":%d})`, begin))
	})
}

// Socket ids are public, and no addresses: who calls himself like one gets his
// own events and nobody else's.
func TestNamedLikeASocketID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.Relay("nudge"))
		ann, bob := a.join("ann"), a.join("bob")
		eve := a.join(ann.SID)
		ann.deaf()
		bob.EmitAck("sendMessage", mail("m1", "bob", "ann"))
		bob.EmitAck("nudge", `{"senderChatPath":"bob","recipientChatPath":"ann"}`)
		bob.EmitAck("initiateCall", `{"recipientId":"ann","callerId":"bob","roomName":"r"}`)
		bob.EmitAck("markAsRead", `{"senderChatPath":"ann","recipientChatPath":"bob"}`)
		eve.hears()
		if heard := ann.news(); len(heard) != 4 {
			t.Errorf("ann has heard %q", heard)
		}
		if got := eve.code("acceptCall", `{"callerId":"bob","roomName":"r"}`); got != "not_found" {
			t.Errorf("somebody else's call was accepted with %s", got)
		}
		bob.EmitAck("sendMessage", mail("m2", "bob", ann.SID))
		eve.hears(received("receiveMessage", "m2", "bob", "<ann>", begin))
		ann.hears()
		if n := a.Disconnect(ann.SID, "x"); n != 1 {
			t.Errorf("Disconnect has found %d devices", n)
		}
		eve.hears(`sessionEnded({"code":"x"})`, "disconnect()")
		ann.code("rejectCall", `{"callerId":"bob","recipientId":"ann"}`)
		time.Sleep(time.Minute)
		ann.hears(offline("<ann>"))
		if ann.code("wiretest-sync") != "invalid" {
			t.Error("ann has lost her connection")
		}
	})
}

// chi uses the value that holds a request's URL parameters again when it has
// served it; the auth hook runs later, and must read its own.
func TestAuthReadsItsOwnRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := startBehind(t, func(h http.Handler) http.Handler {
			r := chi.NewRouter()
			r.Mount("/{tenant}/socket.io/", h)
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				req.URL.Path = "/" + req.Header.Get("Tenant") + req.URL.Path // the test client knows one path
				r.ServeHTTP(w, req)
			})
		}, heymanito.WithAuth(func(_ context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
			if tenant := chi.URLParam(h.Request, "tenant"); h.UserID != tenant+"-user" {
				return heymanito.Identity{}, fmt.Errorf("%s comes from tenant %q", h.UserID, tenant)
			}
			return heymanito.Identity{ChatPath: h.UserID}, nil
		}))
		var visits []*wiretest.WS
		for i := range 50 {
			nc, err := a.net.Dial()
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			ws, err := wiretest.HandshakeWS(nc, "heymanito.test", fmt.Sprintf("EIO=4&transport=websocket&userId=t%d-user", i), fmt.Sprintf("Tenant: t%d", i))
			if err != nil {
				t.Fatal(err)
			}
			visits = append(visits, ws)
		}
		for i, ws := range visits {
			if _, err := ws.Text(); err != nil {
				t.Fatal(err)
			}
			if err := ws.Send("40"); err != nil {
				t.Fatal(err)
			}
			if p, err := ws.Text(); err != nil || !strings.HasPrefix(p, `40{"sid"`) {
				t.Errorf("visit %d: %s, %v", i, p, err)
			}
		}
	})
}
