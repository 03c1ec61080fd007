package heymanito_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// Tokens go to the device that answers, in its ack, and to the one that started
// the call; they are for this room, which no client names, and this device.
func TestCallTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rooms := &fakeRooms{}
		a := start(t, heymanito.WithRooms(rooms))
		ann, ann2 := a.join("ann", wiretest.Auth(`{"deviceId":"phone"}`)), a.join("ann")
		bob, bob2, eve := a.join("bob"), a.join("bob"), a.join("eve")
		call := ann.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"ann","roomName":"mine","media":"audio","callerInfo":{"name":"Ann"}}`)
		a.called(call.CallID, "<call>")
		if call.RoomName != "hm_"+call.CallID || len(call.CallID) != 22 {
			t.Errorf("the room is %q", call.RoomName)
		}
		for _, p := range []*person{ann, ann2, bob, bob2} {
			p.deaf()
		}
		ask := fmt.Sprintf(`{"callId":%q}`, call.CallID)
		for _, p := range []*person{ann, bob} {
			p.says(failed("conflict", "the call is not answered, or over"), "getCallToken", ask)
		}
		bob.says(`{"status":"ok","callId":"<call>","roomName":"hm_<call>","token":"token1","url":"wss://rooms.test"}`,
			"acceptCall", `{"callerId":"ann","roomName":"mine"}`)
		accepted := `callAccepted({"roomName":"hm_<call>","callId":"<call>","recipientId":"bob"`
		ann.hears(accepted + `,"token":"token2","url":"wss://rooms.test"})`)
		ann2.hears(accepted + `})`)
		bob.hears()
		// Again: a fresh one. For the other devices of the two as well; for nobody else.
		bob.says(`{"status":"ok","callId":"<call>","roomName":"hm_<call>","duplicate":true,"token":"token3","url":"wss://rooms.test"}`, "acceptCall", `{"callerId":"ann"}`)
		ann2.says(`{"status":"ok","token":"token4","url":"wss://rooms.test"}`, "getCallToken", ask)
		eve.says(failed("not_found", "there is no such call to this user"), "getCallToken", ask)
		for _, id := range []string{call.CallID, call.RoomName} { // a stock client knows the room
			if token, err := a.CallToken(t.Context(), "bob", id, "api"); err != nil || token.URL != "wss://rooms.test" {
				t.Errorf("CallToken: %v, %v", token, err)
			}
		}
		for _, c := range []struct {
			user, call, device string
			want               heymanito.Code
		}{
			{"eve", call.CallID, "x", heymanito.CodeNotFound},
			{"bob", "unheard-of", "x", heymanito.CodeNotFound},
			{"bob", "mine", "x", heymanito.CodeNotFound},
			{"bob", call.CallID, "", heymanito.CodeInvalid},
		} {
			_, err := a.CallToken(t.Context(), c.user, c.call, c.device)
			if e, ok := errors.AsType[*heymanito.Error](err); !ok || e.Code != c.want {
				t.Errorf("CallToken(%q, %q, %q): %v, want %s", c.user, c.call, c.device, err, c.want)
			}
		}
		identity := func(user, device string) string {
			enc := base64.RawURLEncoding.EncodeToString
			return enc([]byte(user)) + "." + enc([]byte(device))
		}
		want := []string{identity("bob", bob.SID), identity("ann", "phone"), identity("bob", bob.SID), identity("ann", ann2.SID), identity("bob", "api"), identity("bob", "api")}
		for i, g := range rooms.grants {
			info := ""
			if strings.HasPrefix(want[i], identity("ann", "")) {
				info = `{"name":"Ann"}`
			}
			if g.Identity != want[i] || g.Room != call.RoomName || g.Media != "audio" || string(g.Metadata) != info {
				t.Errorf("token %d is for %+v, want %s and %q", i+1, g, want[i], info)
			}
		}
		ann.about("endCall", call)
		if _, err := a.CallToken(t.Context(), "bob", call.CallID, "api"); err == nil {
			t.Error("a token for a call that is over")
		}
	})
}

// What cannot be minted is not accepted.
func TestRoomsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rooms := &fakeRooms{fail: errors.New("no key")}
		a := start(t, heymanito.WithRooms(rooms))
		ann, bob := a.join("ann"), a.join("bob")
		call := ann.dial("bob", "r")
		if code := bob.answers(call, "ann"); code != "internal" {
			t.Errorf("accepted: %s", code)
		}
		if got := ann.deafTo("callAccepted"); len(got) > 0 {
			t.Errorf("the caller hears %q", got)
		}
		rooms.mu.Lock()
		rooms.fail = nil
		rooms.mu.Unlock()
		if code := bob.answers(call, "ann"); code != "ok" {
			t.Errorf("accepted again: %s", code)
		}
	})
}

// What the media server says, in whatever order: who joins shows life, who
// leaves has 15 seconds, and what is over stays so.
func TestRoomEvents(t *testing.T) {
	const joined, left, finished = heymanito.ParticipantJoined, heymanito.ParticipantLeft, heymanito.RoomFinished
	type said struct {
		kind    heymanito.RoomEventKind
		user    string
		session string
	}
	for name, c := range map[string]struct {
		events []said
		after  time.Duration
		want   string // what the two hear; empty: nothing, and the call is as state says
		state  string
	}{
		"one joins":               {events: []said{{joined, "ann", "1"}}, after: time.Hour, state: "active"},
		"nobody joins":            {after: 2 * time.Minute, state: "none"},
		"the room finishes":       {events: []said{{joined, "ann", "1"}, {joined, "bob", "1"}, {finished, "", ""}}, want: over("room_finished", 0)},
		"finished, then joined":   {events: []said{{finished, "", ""}, {joined, "bob", "1"}}, want: over("room_finished", 0)},
		"one leaves":              {events: []said{{joined, "ann", "1"}, {left, "ann", "1"}}, after: 15 * time.Second, want: over("left", 15000)},
		"left, then joined":       {events: []said{{left, "bob", "1"}, {joined, "bob", "1"}}, after: 15 * time.Second, want: over("left", 15000)},
		"one leaves for a moment": {events: []said{{joined, "ann", "1"}, {left, "ann", "1"}, {joined, "ann", "2"}}, after: time.Minute, state: "active"},
		"moved, in any order":     {events: []said{{joined, "ann", "2"}, {left, "ann", "1"}, {joined, "ann", "1"}}, after: time.Minute, state: "active"},
		"a third joins":           {events: []said{{joined, "eve", "1"}}, after: time.Minute, state: "connecting"},
		"a recorder joins":        {events: []said{{joined, "", "1"}}, after: time.Minute, state: "connecting"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rooms := &fakeRooms{}
				a := start(t, heymanito.WithRooms(rooms))
				ann, bob := a.join("ann"), a.join("bob")
				call := ann.dial("bob", "r")
				if code := bob.answers(call, "ann"); code != "ok" {
					t.Errorf("accepted: %s", code)
				}
				ann.deaf()
				bob.deaf()
				for _, e := range c.events {
					event := heymanito.RoomEvent{Kind: e.kind, Room: call.RoomName, Session: e.session, Time: time.Now()}
					if e.kind != finished {
						event.Identity = "recorder"
						if e.user != "" {
							event.Identity = base64.RawURLEncoding.EncodeToString([]byte(e.user)) + ".eA"
						}
					}
					if err := rooms.told(t.Context(), event); err != nil {
						t.Errorf("%v: %v", e, err)
					}
				}
				if c.after > 0 {
					time.Sleep(c.after - time.Millisecond)
					ann.hears()
					time.Sleep(time.Millisecond)
				}
				if c.want != "" {
					ann.hears(c.want)
					bob.hears(c.want)
					return
				}
				ann.hears()
				state := "none"
				if _, rest, ok := strings.Cut(ann.ask("getCalls"), `"state":"`); ok {
					state, _, _ = strings.Cut(rest, `"`)
				}
				if state != c.state {
					t.Errorf("the call is %q, want %q", state, c.state)
				}
			})
		})
	}
}

// A webhook that could not be taken fails, so that it comes again; one about a
// room that is none of ours does not.
func TestRoomEventFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rooms := &fakeRooms{}
		store := newFailingCalls()
		a := start(t, heymanito.WithRooms(rooms), heymanito.WithCalls(store))
		ann, bob := a.join("ann"), a.join("bob")
		call := ann.dial("bob", "r")
		bob.answers(call, "ann")
		store.fails(errors.New("the store is down"))
		finished := heymanito.RoomEvent{Kind: heymanito.RoomFinished, Room: call.RoomName}
		if err := rooms.told(t.Context(), finished); err == nil {
			t.Error("a webhook was taken that the store has not")
		}
		if err := rooms.told(t.Context(), heymanito.RoomEvent{Kind: heymanito.RoomFinished, Room: "somebody else's"}); err != nil {
			t.Errorf("about another room: %v", err)
		}
		store.fails(nil)
		ann.deaf()
		if err := rooms.told(t.Context(), finished); err != nil {
			t.Errorf("again: %v", err)
		}
		ann.hears(over("room_finished", 0))
		if err := rooms.told(t.Context(), finished); err != nil {
			t.Errorf("and again: %v", err)
		}
		ann.hears()
	})
}

// getCalls has what is needed to show a call.
func TestGetCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann, bob, eve := a.join("ann"), a.join("bob"), a.join("eve")
		if err := ann.Send(`451-1["initiateCall",{"recipientId":"bob","callerId":"ann","roomName":"r","media":"video","callerInfo":{"name":"Ann","face":{"_placeholder":true,"num":0}}}]`); err != nil {
			t.Fatal(err)
		}
		_ = ann.WS.SendBinary([]byte("face"))
		ann.Expect("ack 1")
		time.Sleep(5 * time.Second)
		want := fmt.Sprintf(`{"status":"ok","calls":[{"callId":"<call>","roomName":"r","callerId":"ann","recipientId":"bob","callerInfo":{"name":"Ann","face":null},"media":"video","state":"ringing","ts":%d,"expiresAt":%d,"expiresInMs":40000}]}`, begin, begin+45000)
		raw := string(bob.EmitAck("getCalls").Raw)
		_, id, _ := strings.Cut(raw, `"callId":"`)
		id, _, _ = strings.Cut(id, `"`)
		a.called(id, "<call>")
		for _, p := range []*person{ann, bob} {
			for _, payload := range [][]string{nil, {"null"}, {"{}"}, {`{"x":1}`}} {
				p.says(want, "getCalls", payload...)
			}
			p.says(failed("invalid", "the event does not have the documented shape"), "getCalls", `[]`)
		}
		eve.says(`{"status":"ok","calls":[]}`, "getCalls")
	})
}

// The ID of a call may begin as rooms do.
func TestTokenOfOddID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := heymanito.NewMemoryCalls()
		a := start(t, heymanito.WithCalls(store), heymanito.WithRooms(&fakeRooms{}))
		id := "hm_" + strings.Repeat("a", 19) // 22 characters, as randomName("") makes them
		_, err := store.Create(t.Context(), heymanito.Call{
			ID: id, Room: "hm_" + id, Caller: "ann", Callee: "bob", State: heymanito.CallActive,
			Started: time.Now(), Expires: time.Now(), Accepted: time.Now(), Due: time.Now().Add(time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.CallToken(t.Context(), "ann", id, "api"); err != nil {
			t.Errorf("by its ID: %v", err)
		}
	})
}

// Media servers may have no sessions.
func TestRoomEventsWithoutSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rooms := &fakeRooms{}
		store := heymanito.NewMemoryCalls()
		a := start(t, heymanito.WithRooms(rooms), heymanito.WithCalls(store))
		ann, bob := a.join("ann"), a.join("bob")
		call := ann.dial("bob", "r")
		bob.answers(call, "ann")
		say := func(k heymanito.RoomEventKind, u, s string) {
			if err := rooms.told(t.Context(), heymanito.RoomEvent{Kind: k, Room: "hm_" + call.CallID, Identity: u + ".eA", Session: s}); err != nil {
				t.Error(err)
			}
		}
		say(heymanito.ParticipantJoined, "YW5u", "") // ann
		say(heymanito.ParticipantLeft, "YW5u", "")
		say(heymanito.ParticipantJoined, "YW5u", "")
		say(heymanito.ParticipantJoined, "Ym9i", "") // bob
		time.Sleep(time.Minute)
		got, _ := store.ByUser(t.Context(), "ann")
		if len(got) != 1 || !got[0].Live() {
			t.Errorf("both are there, and: %v", got)
		}
	})
}

// A token goes into a URL.
func TestBigCallerInfo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rooms := &fakeRooms{}
		a := start(t, heymanito.WithRooms(rooms))
		ann, bob := a.join("ann"), a.join("bob")
		big := make([]byte, 900_000)
		for i := range big {
			big[i] = 'x'
		}
		ack := ann.EmitAck("initiateCall", fmt.Sprintf(`{"recipientId":"bob","callerId":"ann","callerInfo":{"photo":%q}}`, big))
		bob.answers(ack, "ann")
		synctest.Wait() // for the caller's token
		for _, g := range rooms.grants {
			if len(g.Metadata) > 64_000 {
				t.Errorf("a token is to carry %d bytes of metadata (LiveKit takes 64,000 by default, and it goes into a URL)", len(g.Metadata))
			}
		}
	})
}
