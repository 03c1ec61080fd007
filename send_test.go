package heymanito_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
)

// sent puts what became of a message in short.
func sent(s heymanito.Sent, err error) string {
	if err != nil {
		return err.Error()
	}
	again := ""
	if s.Duplicate {
		again = " again"
	}
	return fmt.Sprintf("%s #%d %s%s", s.ID, s.Seq, s.Delivery, again)
}

func TestSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := keeping(t, heymanito.WithHooks(heymanito.Hooks{
			Authorize: func(_ context.Context, a heymanito.Action) error {
				return heymanito.Errorf(heymanito.CodeForbidden, "clients may not %s", a.Event)
			},
			BeforeMessage: func(context.Context, heymanito.Message) error { return errors.New("asked about the host's own") },
			AfterMessage: func(_ context.Context, m heymanito.Message, d heymanito.Delivery) {
				n.add("%s %s→%s %s to %d", m.ID, m.From, m.To, d.Status, len(d.Devices))
			},
		}))
		ann, ann2 := a.join("ann"), a.join("ann")
		bob := a.join("bob")
		ann.deaf()
		ann2.deaf()
		bob.deaf()
		m := heymanito.Message{
			ID: json.RawMessage(`"m1"`), From: "ann", To: "bob", Time: time.Unix(1, 0),
			Content: json.RawMessage(`{"b":12345678901234567890,"a":"\ud800"}`), SenderProfile: json.RawMessage(`null`),
		}
		if got := sent(a.Send(t.Context(), m)); got != `"m1" #1 sent` {
			t.Error(got)
		}
		line := func(event string) string {
			return fmt.Sprintf(`%s({"id":"m1","senderChatPath":"ann","recipientChatPath":"bob","content":{"b":12345678901234567890,"a":"\ud800"},"senderProfile":null,"ts":%d,"seq":1})`, event, begin)
		}
		bob.hears(line("receiveMessage"))
		ann.hears(line("messageSent"), fmt.Sprintf(`messagesDelivered({"senderChatPath":"bob","upToId":"m1","ts":%d,"seq":2})`, begin))
		n.want(t, `"m1" ann→bob sent to 1`)
		time.Sleep(time.Second)
		if got := sent(a.Send(t.Context(), m)); got != `"m1" #1 sent again` {
			t.Error(got)
		}
		bob.hears()
		// A client's own resend of it, too; what is new is not allowed to this one.
		if got := ann.code("sendMessage", mail("m9", "ann", "bob")); got != "forbidden" {
			t.Error(got)
		}
		// To nobody who is there, and to oneself.
		m.ID, m.To, m.Content, m.SenderProfile = json.RawMessage(`7`), "zoe", nil, nil
		if got := sent(a.Send(t.Context(), m)); got != `7 #3 queued` {
			t.Error(got)
		}
		n.want(t, `7 ann→zoe queued to 0`)
		m.ID, m.To = nil, "ann"
		s, err := a.Send(t.Context(), m)
		if err != nil || len(s.ID) < 10 || s.Delivery != "sent" || s.Seq != 4 {
			t.Errorf("%+v, %v", s, err)
		}
		for _, p := range []*person{ann, ann2} {
			if news := p.news(); len(news) == 0 || !strings.HasPrefix(news[len(news)-1], `receiveMessage({"id":`+string(s.ID)) {
				t.Errorf("%s was told %q of what she is told herself", p.app.plain(p.SID), news)
			}
		}
	})
}

// A photo goes to bob as it would from a client.
func TestSendAttachments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t)
		bob := a.join("bob").deaf()
		m := heymanito.Message{
			ID: json.RawMessage(`"m1"`), From: "ann", To: "bob",
			Content: json.RawMessage(`{"photo":{"_placeholder":true,"num":0}}`), Attachments: [][]byte{[]byte("jpeg")},
		}
		if _, err := a.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		bob.hears(fmt.Sprintf(`receiveMessage({"id":"m1","senderChatPath":"ann","recipientChatPath":"bob","content":{"photo":{"_placeholder":true,"num":0}},"ts":%d,"seq":1})+"jpeg"`, begin))
	})
}

func TestSendRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store), heymanito.WithMaxPayload(2000))
		good := heymanito.Message{ID: json.RawMessage(`1`), From: "ann", To: "bob", Content: json.RawMessage(`"x"`)}
		for _, c := range []struct {
			name   string
			change func(*heymanito.Message)
			want   heymanito.Code
		}{
			{"from nobody", func(m *heymanito.Message) { m.From = "" }, "invalid"},
			{"to no chatPath", func(m *heymanito.Message) { m.To = "a\x00b" }, "invalid"},
			{"no id", func(m *heymanito.Message) { m.ID = json.RawMessage(`{}`) }, "invalid"},
			{"an empty id", func(m *heymanito.Message) { m.ID = json.RawMessage(``) }, "invalid"},
			{"two values", func(m *heymanito.Message) { m.Content = json.RawMessage(`1,"x":2`) }, "invalid"},
			{"half a value", func(m *heymanito.Message) { m.SenderProfile = json.RawMessage(`{"a":`) }, "invalid"},
			{"too deep", func(m *heymanito.Message) { m.Content = json.RawMessage(nested(101)) }, "invalid"},
			{"no placeholder's attachment", func(m *heymanito.Message) {
				m.Content, m.Attachments = json.RawMessage(`{"_placeholder":true,"num":1}`), [][]byte{{}}
			}, "invalid"},
			{"eleven attachments", func(m *heymanito.Message) { m.Attachments = make([][]byte, 11) }, "invalid"},
			{"too big", func(m *heymanito.Message) { m.Content = json.RawMessage(`"` + long(2000) + `"`) }, "too_large"},
			{"too big with its attachments", func(m *heymanito.Message) {
				m.Content, m.Attachments = json.RawMessage(`{"_placeholder":true,"num":0}`), [][]byte{make([]byte, 2000)}
			}, "too_large"},
		} {
			m := good
			c.change(&m)
			_, err := a.Send(t.Context(), m)
			var e *heymanito.Error
			if !errors.As(err, &e) || e.Code != c.want {
				t.Errorf("%s: %v, want %s", c.name, err, c.want)
			}
		}
		// What fails once succeeds with the same id.
		store.mood(func(string) error { return errors.New("down") })
		var e *heymanito.Error
		if _, err := a.Send(t.Context(), good); !errors.As(err, &e) || e.Code != heymanito.CodeUnavailable {
			t.Errorf("with an inbox that fails: %v", err)
		}
		store.mood(nil)
		if got := sent(a.Send(t.Context(), good)); got != "1 #1 queued" {
			t.Error(got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := a.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if _, err := a.Send(t.Context(), good); !errors.Is(err, heymanito.ErrClosed) {
			t.Errorf("after Shutdown: %v", err)
		}
	})
}

// Without an inbox it is delivered, or the host's to keep.
func TestSendWithoutInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := start(t, heymanito.WithHooks(heymanito.Hooks{
			OnUndelivered: func(_ context.Context, m heymanito.Message) { n.add("undelivered %s", m.ID) },
		}))
		bob := a.join("bob").deaf()
		m := heymanito.Message{ID: json.RawMessage(`"m1"`), From: "ann", To: "bob", Content: json.RawMessage(`"hola"`)}
		if got := sent(a.Send(t.Context(), m)); got != `"m1" #0 sent` {
			t.Error(got)
		}
		bob.hears(received("receiveMessage", "m1", "ann", "bob", begin))
		m.ID, m.To = json.RawMessage(`"m2"`), "zoe"
		if got := sent(a.Send(t.Context(), m)); got != `"m2" #0 offline` {
			t.Error(got)
		}
		n.want(t, `undelivered "m2"`)
	})
}

// A hook may send, also about the messages that it is being told of and while
// it is far behind.
func TestSendInsideHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		var rt *heymanito.Server
		answer := func(ctx context.Context, what string, m heymanito.Message) {
			if m.From == "robot" {
				return
			}
			s, err := rt.Send(ctx, heymanito.Message{
				ID: json.RawMessage(fmt.Sprintf(`"%s of %s"`, what, strings.Trim(string(m.ID), `"`))), From: "robot", To: m.To,
				Content: json.RawMessage(`"` + long(1<<20-1000) + `"`),
			})
			n.add("%s", sent(s, err))
		}
		a := keeping(t, heymanito.WithMaxPayload(2<<20), heymanito.WithMaxQueue(100<<20), heymanito.WithHooks(heymanito.Hooks{
			BeforeMessage: func(ctx context.Context, m heymanito.Message) error { answer(ctx, "before", m); return nil },
			AfterMessage:  func(ctx context.Context, m heymanito.Message, _ heymanito.Delivery) { answer(ctx, "after", m) },
		}))
		rt = a.Server
		bob, ann := a.join("bob").deaf(), a.join("ann").deaf()
		for i := range 8 {
			if got := ann.code("sendMessage", note(fmt.Sprint("m", i), "ann", "bob")); got != "ok" {
				t.Errorf("message %d was answered %s", i, got)
			}
		}
		if got := len(n.read()); got != 16 {
			t.Errorf("%d answers were sent, want 16", got)
		}
		received := 0
		for _, line := range bob.news() {
			if strings.HasPrefix(line, "receiveMessage(") {
				received++
			}
		}
		if received != 24 {
			t.Errorf("bob has received %d messages, want 24", received)
		}
	})
}
