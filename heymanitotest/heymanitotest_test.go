package heymanitotest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/heymanitotest"
)

// server is a host's program, whose users log in with the token "<name>-secret".
func server(t *testing.T, path string, opts ...heymanito.Option) (*heymanito.Server, *heymanitotest.App) {
	t.Helper()
	rt := heymanito.New(append(opts, heymanito.WithLogger(slog.New(slog.DiscardHandler)), heymanito.WithDrain(0),
		heymanito.WithAuth(func(_ context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
			switch {
			case h.UserID == "down":
				return heymanito.Identity{}, &heymanito.Error{Code: heymanito.CodeUnavailable}
			case h.Request.Header.Get("X-Banned") != "" || h.Query.Get("banned") != "":
				return heymanito.Identity{}, &heymanito.Error{Code: heymanito.CodeForbidden}
			case string(h.Auth) != fmt.Sprintf(`{"token":"%s-secret"}`, h.UserID):
				return heymanito.Identity{}, errors.New("wrong token")
			}
			return heymanito.Identity{ChatPath: h.UserID}, nil
		}))...)
	r := chi.NewRouter()
	r.Get("/api/ping", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	r.Mount(path, rt)
	app := heymanitotest.Serve(t, r, heymanitotest.Path(path))
	t.Cleanup(func() { _ = rt.Shutdown(context.Background()) })
	return rt, app
}

func secret(user string) heymanitotest.Option { return heymanitotest.Token(user + "-secret") }

func message(id, from, to string) map[string]any {
	return map[string]any{"id": id, "senderChatPath": from, "recipientChatPath": to, "content": map[string]any{"text": "hola"}}
}

func TestConversation(t *testing.T) {
	for _, path := range []string{"/socket.io/", "/v1/chat/"} {
		t.Run(path, func(t *testing.T) {
			rt, app := server(t, path)
			resp, err := http.Get(app.URL + "/api/ping")
			if err != nil || resp.StatusCode != http.StatusTeapot {
				t.Errorf("the host's API: %v, %v", resp, err)
			} else {
				_ = resp.Body.Close()
			}
			alice, bob := app.Connect(t, "alice", secret("alice")), app.Connect(t, "bob", secret("bob"))
			bob.Expect("inboxReady")
			var ack struct{ Delivery string }
			alice.Ask("sendMessage", message("m1", "alice", "bob")).OK(t).Into(t, &ack)
			if ack.Delivery != "sent" {
				t.Errorf("delivery is %q", ack.Delivery)
			}
			var got struct{ ID, SenderChatPath string }
			if bob.Expect("receiveMessage").Into(t, 0, &got); got.ID != "m1" || got.SenderChatPath != "alice" {
				t.Errorf("bob has received %+v", got)
			}
			bob.ExpectNone("receiveMessage")
			alice.Ask("sendMessage", message("m2", "bob", "alice")).Refused(t, heymanito.CodeIdentityMismatch)
			alice.Emit("sendMessage", message("m3", "alice", "bob"))
			bob.Expect("receiveMessage")
			alice.Expect("contact_online")
			if heard := alice.Heard(); len(heard) < 3 || heard[0].Name != "online_users" {
				t.Errorf("alice has heard %v", heard)
			}
			bob.Disconnect()
			alice.Expect("contact_offline")
			rt.Disconnect("alice", "bye")
			if end := alice.ExpectEnd(); end != "sessionEnded bye" {
				t.Errorf("alice's end: %s", end)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	_, app := server(t, "/socket.io/")
	for _, c := range []struct {
		user string
		opts []heymanitotest.Option
		want heymanito.Code
	}{
		{"alice", nil, heymanito.CodeUnauthorized},
		{"alice", []heymanitotest.Option{secret("bob")}, heymanito.CodeUnauthorized},
		{"", nil, heymanito.CodeMissingUser},
		{"down", nil, heymanito.CodeUnavailable},
		{"alice", []heymanitotest.Option{heymanitotest.Header("X-Banned", "1")}, heymanito.CodeForbidden},
		{"alice", []heymanitotest.Option{heymanitotest.Query("banned", "1")}, heymanito.CodeForbidden},
	} {
		if got := app.Refused(t, c.user, c.opts...); got != c.want {
			t.Errorf("%q with %d options was refused as %s, want %s", c.user, len(c.opts), got, c.want)
		}
	}
}

func TestEndOfShutdown(t *testing.T) {
	rt, app := server(t, "/socket.io/")
	alice := app.Connect(t, "alice", secret("alice"))
	if err := rt.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if end := alice.ExpectEnd(); end != "1012 server shutting down" {
		t.Errorf("the end: %s", end)
	}
	if got := app.Refused(t, "alice", secret("alice")); got != heymanito.CodeUnavailable {
		t.Errorf("after it: %s", got)
	}
}

// failing is a test that is to fail.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	panic(f)
}

// fails returns what a test says that fails.
func fails(t *testing.T, f func(t testing.TB)) (said string) {
	t.Helper()
	inner := &failing{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(inner) {
			panic(r)
		}
		said = inner.said
	}()
	f(inner)
	return ""
}

// What fails says what has come instead.
func TestFailures(t *testing.T) {
	slow := func(ctx context.Context, _ heymanito.Event) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, app := server(t, "/socket.io/", heymanito.On("slow", slow))
	for name, c := range map[string]struct {
		says []string
		f    func(t testing.TB)
	}{
		"expect": {[]string{"alice: no receiveMessage within 10ms", "online_users("}, func(t testing.TB) {
			t.Helper()
			app.Connect(t, "alice", secret("alice"), heymanitotest.Within(10*time.Millisecond)).Expect("receiveMessage")
		}},
		"expect none": {[]string{`alice has heard inboxReady({"epoch":`}, func(t testing.TB) {
			t.Helper()
			c := app.Connect(t, "alice", secret("alice"))
			for len(c.Heard()) < 2 { // an event of his own before that is handled, too
				c.Ask("getCalls")
			}
			c.ExpectNone("inboxReady")
		}},
		"not let in": {[]string{"alice was not let in", "unauthorized"}, func(t testing.TB) { t.Helper(); app.Connect(t, "alice") }},
		"let in":     {[]string{"alice was let in"}, func(t testing.TB) { t.Helper(); app.Refused(t, "alice", secret("alice")) }},
		"ack": {[]string{"made up was answered", "invalid"}, func(t testing.TB) {
			t.Helper()
			app.Connect(t, "alice", secret("alice")).Ask("made up").OK(t)
		}},
		"ack in time": {[]string{"alice: the ack of slow: no ack 1 within 10ms"}, func(t testing.TB) {
			t.Helper()
			app.Connect(t, "alice", secret("alice"), heymanitotest.Within(10*time.Millisecond)).Ask("slow")
		}},
		"code": {[]string{"getCalls was answered", "want the code forbidden"}, func(t testing.TB) {
			t.Helper()
			app.Connect(t, "alice", secret("alice")).Ask("getCalls").Refused(t, heymanito.CodeForbidden)
		}},
		"end": {[]string{"alice is still connected after 10ms"}, func(t testing.TB) {
			t.Helper()
			app.Connect(t, "alice", secret("alice"), heymanitotest.Within(10*time.Millisecond)).ExpectEnd()
		}},
	} {
		said := fails(t, c.f)
		for _, part := range c.says {
			if !strings.Contains(said, part) {
				t.Errorf("%s: %q, there is no %q in it", name, said, part)
			}
		}
	}
}
