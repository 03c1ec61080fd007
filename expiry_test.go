package heymanito_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// until is an auth hook that believes the auth payload: {"token": "ann 40"} is
// ann for 40 seconds, "ann 0" for ever. What the token is worth is in Claims.
func until(_ context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
	var auth struct{ Token string }
	if err := json.Unmarshal(h.Auth, &auth); err != nil {
		return heymanito.Identity{}, err
	}
	var user string
	var seconds int
	if _, err := fmt.Sscanf(auth.Token, "%s %d", &user, &seconds); err != nil {
		return heymanito.Identity{}, err
	}
	id := heymanito.Identity{ChatPath: user, Claims: auth.Token}
	if seconds > 0 {
		id.Expires = time.Now().Add(time.Duration(seconds) * time.Second)
	}
	return id, nil
}

func token(user string, seconds int) wiretest.Option {
	return wiretest.Auth(fmt.Sprintf(`{"token":"%s %d"}`, user, seconds))
}

func fresh(user string, seconds int) string { return fmt.Sprintf(`{"token":"%s %d"}`, user, seconds) }

func expiring(at, in int64) string {
	return fmt.Sprintf(`authExpiring({"expiresAt":%d,"expiresInMs":%d})`, at, in)
}

// ended checks that a device's connection was closed as its identity has ended.
func (p *person) ended() {
	p.app.t.Helper()
	synctest.Wait()
	var closed *wiretest.CloseError
	if err := p.Closed(0); !errors.As(err, &closed) || closed.Code != 1008 || closed.Reason != "identity expired" {
		p.app.t.Errorf("%s was closed with %v, want 1008 identity expired", p.User, err)
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := start(t, heymanito.WithAuth(until), heymanito.WithHooks(heymanito.Hooks{
			OnDisconnect: func(_ context.Context, d heymanito.Device, reason string) {
				n.add("%s, %v: %s", d.ChatPath, d.Claims, reason)
			},
		}))
		bob := a.join("bob", token("bob", 0))
		ann := a.join("ann", token("ann", 100))
		bob.hears(online("ann"))
		time.Sleep(70*time.Second - time.Millisecond)
		ann.hears()
		time.Sleep(time.Millisecond)
		ann.hears(expiring(begin+100_000, 30_000))
		time.Sleep(30*time.Second - time.Millisecond)
		ann.says(`{"status":"error","code":"invalid","message":"unknown event \"x\"","retryable":false}`, "x")
		time.Sleep(time.Millisecond)
		ann.ended()
		n.want(t, "ann, ann 100: identity expired")
		bob.hears() // she may be back in a moment, with another token
		time.Sleep(5 * time.Second)
		bob.hears(offline("ann"))
	})
}

// The notice comes at once to one whose identity ends sooner than that.
func TestExpirySoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithAuth(until), heymanito.WithExpiryNotice(time.Minute))
		ann := a.join("ann", token("ann", 10))
		ann.hears(expiring(begin+10_000, 10_000))
		time.Sleep(10 * time.Second)
		ann.ended()
	})
}

func TestRefreshAuth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		asked := make(chan heymanito.Handshake, 10)
		auth := func(ctx context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
			asked <- h
			return until(ctx, h)
		}
		a := start(t, heymanito.WithAuth(auth), heymanito.WithHooks(heymanito.Hooks{
			OnDisconnect: func(_ context.Context, d heymanito.Device, reason string) {
				n.add("%s, %v: %s", d.ChatPath, d.Claims, reason)
			},
		}), heymanito.On("claims", func(_ context.Context, e heymanito.Event) (any, error) {
			return e.Device.Claims, nil
		}))
		ann := a.join("ann", token("ann", 100))
		if h := <-asked; h.Refresh {
			t.Errorf("the handshake was %+v", h)
		}
		time.Sleep(80 * time.Second)
		ann.hears(expiring(begin+100_000, 30_000))
		ann.says(`{"status":"ok","expiresAt":946684980000,"expiresInMs":100000}`, "refreshAuth", fresh("ann", 100))
		ann.says(`{"status":"ok","result":"ann 100"}`, "claims")
		h := <-asked
		if !h.Refresh || h.UserID != "ann" || h.Query.Get("userId") != "ann" || string(h.Auth) != fresh("ann", 100) {
			t.Errorf("the hook was asked about %+v", h)
		}
		if r := h.Request; len(r.Header) > 0 || r.RemoteAddr == "" || r.URL.Query().Get("userId") != "ann" || r.Method != http.MethodGet {
			t.Errorf("the hook was given the request %+v", r)
		}
		// The old end has passed, and the new one is told in its turn.
		time.Sleep(70*time.Second - time.Millisecond)
		ann.hears()
		time.Sleep(time.Millisecond)
		ann.hears(expiring(begin+180_000, 30_000))
		// Sooner than before is as good as later; and then never.
		ann.says(`{"status":"ok","expiresAt":946684960000,"expiresInMs":10000}`, "refreshAuth", fresh("ann", 10))
		time.Sleep(5 * time.Second)
		ann.hears(expiring(begin+160_000, 5_000))
		ann.says(`{"status":"ok"}`, "refreshAuth", fresh("ann", 0))
		time.Sleep(time.Hour)
		ann.hears()
		ann.Goodbye()
		n.want(t, "ann, ann 0: client namespace disconnect")
	})
}

// A client that proves its identity with the token that it has is asked for another
// one a few times more, and not as fast as it answers.
func TestRefreshAuthWithTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := time.Now().Add(time.Minute)
		a := start(t, heymanito.WithAuth(func(_ context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
			return heymanito.Identity{ChatPath: h.UserID, Expires: ends}, nil
		}))
		ann := a.join("ann")
		var asked []string
		for range 59 * 4 {
			time.Sleep(250 * time.Millisecond)
			for _, news := range ann.news() {
				if strings.HasPrefix(news, "authExpiring(") {
					asked = append(asked, time.Until(ends).String())
					ann.EmitAck("refreshAuth", `{"token":"the same"}`)
				}
			}
		}
		if got := strings.Join(asked, " "); got != "30s 15s 7.5s 3.75s 1.75s" {
			t.Errorf("asked for another token %s before the end", got)
		}
		time.Sleep(2 * time.Second)
		if ann.Closed(0) == nil {
			t.Error("the identity has ended, and ann is still there")
		}
	})
}

// What is wrong with a refresh is told in its ack, and changes nothing.
func TestRefreshAuthRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refusal error
		a := start(t, heymanito.WithAuth(func(ctx context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
			if h.Refresh && refusal != nil {
				return heymanito.Identity{ChatPath: "ann"}, refusal
			}
			if h.Refresh && string(h.Auth) == `{"token":"hang"}` {
				<-ctx.Done()
				return heymanito.Identity{}, ctx.Err()
			}
			if h.Refresh && string(h.Auth) == `{"token":"panic"}` {
				panic("the hook has a bug")
			}
			return until(ctx, h)
		}), heymanito.WithHandshakeLimits(5*time.Second, 64<<10, 16))
		a.panics = true
		ann := a.join("ann", token("ann", 100))
		for _, c := range []struct {
			args []string
			err  error
			want string
		}{
			{nil, nil, "invalid"},
			{[]string{`"ann 100"`}, nil, "invalid"},
			{[]string{`null`}, nil, "invalid"},
			{[]string{`[]`}, nil, "invalid"},
			{[]string{`{}`}, nil, "unauthorized"},
			{[]string{fresh("bob", 100)}, nil, "identity_mismatch"},
			{[]string{fresh("ann", 100)}, errors.New("no"), "unauthorized"},
			{[]string{fresh("ann", 100)}, heymanito.Errorf(heymanito.CodeForbidden, "banned"), "forbidden"},
			{[]string{fresh("ann", 100)}, heymanito.Errorf(heymanito.CodeUnavailable, "down"), "unavailable"},
			{[]string{`{"token":"hang"}`}, nil, "unavailable"},
			{[]string{`{"token":"panic"}`}, nil, "internal"},
		} {
			refusal = c.err
			if got := ann.code("refreshAuth", c.args...); got != c.want {
				t.Errorf("refreshAuth(%s) with %v was answered %s, want %s", strings.Join(c.args, ", "), c.err, got, c.want)
			}
		}
		time.Sleep(time.Until(time.UnixMilli(begin + 100_000)))
		ann.hears(expiring(begin+100_000, 30_000))
		ann.ended()
	})
}

// Without an auth hook nothing ends.
func TestRefreshAuthWithoutHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ann := start(t).join("ann")
		ann.says(`{"status":"ok"}`, "refreshAuth", `{"token":"x"}`)
		time.Sleep(time.Hour)
		ann.hears()
	})
}

// A device that has gone leaves no timer behind, and one that goes while its
// end comes is closed once.
func TestExpiryOfOneWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := start(t, heymanito.WithAuth(until), heymanito.WithHooks(heymanito.Hooks{
			OnDisconnect: func(_ context.Context, d heymanito.Device, reason string) { n.add("%s: %s", d.ChatPath, reason) },
		}))
		ann := a.join("ann", token("ann", 100))
		time.Sleep(99 * time.Second)
		ann.Goodbye()
		n.want(t, "ann: client namespace disconnect")
		time.Sleep(time.Hour)
		n.want(t)
		if got := a.log.Count("identity has ended"); got != 0 {
			t.Errorf("the end of one who had gone was logged:\n%s", a.log)
		}
	})
}
