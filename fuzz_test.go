package heymanito_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
	"github.com/zishang520/socket.io/parsers/socket/v3/parser"
)

// tally counts what a server logs as an error: a panic above all.
type tally struct{ errors atomic.Int64 }

func (l *tally) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }
func (l *tally) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l *tally) WithGroup(string) slog.Handler                    { return l }
func (l *tally) Handle(context.Context, slog.Record) error        { l.errors.Add(1); return nil }

// fuzzServer is a server for the inputs of one target, where whoever leaves is
// gone at once.
func fuzzServer(f *testing.F, opts ...heymanito.Option) (base string, log *tally) {
	log = &tally{}
	rt := heymanito.New(bridged(append(opts, heymanito.WithLogger(slog.New(log)), heymanito.WithDrain(0), heymanito.WithOfflineGrace(0))...)...)
	srv := httptest.NewServer(rt)
	f.Cleanup(func() {
		srv.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := rt.Shutdown(ctx); err != nil {
			f.Error(err)
		}
	})
	return srv.URL, log
}

// bystander sees what one client's input brings to another, and that it is what
// a stock client's parser takes.
type bystander struct {
	*visitor
	parser parser.Decoder
	events [][]any
}

func newBystander(t *testing.T, base string) *bystander {
	w := &bystander{visitor: visit(base, "victim"), parser: parser.NewDecoder()}
	err := w.parser.On("decoded", func(args ...any) {
		data, _ := args[0].(*parser.Packet).Data.([]any)
		w.events = append(w.events, data)
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// watch reads until mallory has gone and, if there was one, her fence has come.
func (w *bystander) watch(t *testing.T, fenced bool) {
	for gone := false; !gone || fenced && !strings.Contains(fmt.Sprint(w.events), "fence"); {
		op, p, err := w.ws.Read()
		switch {
		case err != nil:
			t.Fatalf("the neighbour lost the connection: %v", err)
		case op == wiretest.OpBinary:
			err = w.parser.Add(bytes.Clone(p))
		case p[0] == '4':
			err = w.parser.Add(string(p[1:]))
		}
		if err != nil {
			t.Fatalf("the neighbour's parser refuses %q: %v", p, err)
		}
		gone = gone || string(p) == `42["contact_offline","mallory"]`
	}
}

// fenceID is the ack id of the event behind the input, and ackID finds the one
// in it.
const fenceID = "31415926535897932"

var ackID = regexp.MustCompile(`^2(?:/,)?([0-9]{1,19})\[`)

// Whatever a client sends behind its CONNECT: it is answered once if it is an
// event that asks for it, the next event is handled or the connection closed,
// and what reaches others is an event of the contract that their parser takes.
func FuzzEvent(f *testing.F) {
	mail := message("mallory", "victim", 1, `{"text":"hola"}`)
	photo := message("mallory", "victim", 2, `{"_placeholder":true,"num":0}`)
	for _, p := range []string{
		`21["sendMessage",` + mail + `]`, `251-2["sendMessage",` + photo + `]`, `2["sendMessage",` + mail + `,1]`, `27["sendMessage",{"id":{}}]`,
		`23["markAsRead",{"senderChatPath":"victim","recipientChatPath":"mallory","upToId":1}]`,
		`24["markAsDelivered",{"senderChatPath":"victim","recipientChatPath":"mallory"}]`,
		`25["initiateCall",{"recipientId":"victim","callerId":"mallory","callerInfo":{"name":"M"},"roomName":"r"}]`,
		`26["acceptCall",{"callerId":"victim","roomName":"r"}]`, `27["rejectCall",{"callerId":"victim","recipientId":"mallory"}]`,
		`28["ringCall",{"callId":"x"}]`, `28["cancelCall",{"callId":"x"}]`, `28["endCall",{"callId":1}]`, `28["callConnected",{}]`,
		`28["getCallToken",{"callId":"x"}]`, `28["getCalls"]`, `28["getCalls",null]`, `28["getCalls",{}]`,
		`28["connect"]`, `29[1]`, `2[]`, `1`, `0`, `0/x,{}`, `3[1]`, `30["x"]`, `4{}`, `6`, ``, `2["receiveMessage",` + mail + `]`,
	} {
		f.Add([]byte(p), []byte(nil))
	}
	f.Add([]byte(`51-2["sendMessage",`+photo+`]`), []byte{0, 1, 2})
	f.Add([]byte(`51-["initiateCall",{"recipientId":"victim","callerId":"mallory","callerInfo":{"_placeholder":true,"num":0}}]`), []byte("face"))
	for _, nums := range []string{`1`, `7`, `0,"x":{"_placeholder":true,"num":0}`, `0,"num":1`, `"0"`, `0.0`} {
		f.Add([]byte(`51-2["sendMessage",`+message("mallory", "victim", 2, `{"a":{"_placeholder":true,"num":`+nums+`}}`)+`]`), []byte("one"))
	}
	inbox := heymanito.NewMemoryInbox(heymanito.InboxBounds{})
	calls := heymanito.NewMemoryCalls()
	base, log := fuzzServer(f, heymanito.WithInbox(inbox), heymanito.WithCalls(calls), heymanito.WithRingLimits(1<<20, 1<<20))
	ours := []string{
		"inboxReady", "contact_online", "contact_offline", "receiveMessage", "messagesRead", "messagesDelivered",
		"incomingCall", "callRinging", "callAccepted", "callRejected", "callCancelled", "callEnded", "missedCall",
	}
	f.Fuzz(func(t *testing.T, packet, attachment []byte) {
		for _, user := range []string{"victim", "mallory"} { // every input begins as the first
			if err := cmp.Or(inbox.Forget(t.Context(), user), calls.Forget(t.Context(), user)); err != nil {
				t.Fatal(err)
			}
		}
		victim := newBystander(t, base)
		defer victim.leave()
		defer victim.parser.Destroy()
		mallory := visit(base, "mallory")
		defer mallory.leave()

		sent := wiretest.Texts("4" + string(packet))
		if len(attachment) > 0 {
			sent = append(sent, wiretest.Frame(true, wiretest.OpBinary, attachment)...)
		}
		fence := `42` + fenceID + `["sendMessage",` + message("mallory", "victim", 3, `"fence"`) + `]`
		if err := mallory.ws.Write(append(sent, wiretest.Texts(fence, "1")...)); err != nil {
			t.Fatal(err)
		}
		var acks []string
		fenced := false
		for {
			p, err := mallory.ws.Text()
			if err != nil {
				if err, ok := asClose(err); !ok {
					t.Fatalf("the connection ended with %v", err)
				}
				break
			}
			if rest, ok := strings.CutPrefix(p, "43"); ok {
				if fenced {
					t.Errorf("the ack %q comes after a later event's", p)
				}
				acks = append(acks, p)
				fenced = strings.HasPrefix(rest, fenceID+"[")
			}
		}
		if fenced {
			fence := acks[len(acks)-1]
			if !strings.Contains(fence, `"status":"ok"`) {
				t.Errorf("the event behind %q is acked %s", packet, fence)
			}
			if m := ackID.FindSubmatch(packet); m != nil {
				if n := len(acks) - 1; n != 1 || !strings.HasPrefix(acks[0], "43"+string(m[1])+"[{") {
					t.Errorf("%q got the acks %q", packet, acks)
				}
			}
		}
		victim.watch(t, fenced)
		got := fmt.Sprint(victim.events)
		for _, e := range victim.events {
			if name, _ := e[0].(string); !slices.Contains(ours, name) {
				t.Errorf("%q brought the neighbour %v", packet, e)
			}
		}
		if fenced != strings.Contains(got, "fence") {
			t.Errorf("the fence behind %q is acked: %v; the neighbour has %s", packet, fenced, got)
		}
		if n := log.errors.Load(); n > 0 {
			t.Errorf("%q with %q left %d errors in the log", packet, attachment, n)
		}
	})
}

// Whoever connects, with whatever name and auth: who has a good name and no
// auth of a wrong shape is let in under it, a bad name never, and all others are
// told what was wrong or closed.
func FuzzConnect(f *testing.F) {
	for _, user := range []string{"mallory", "", "null", "undefined", "[object Object]", "a b", "ñandú/😀", "\x00", "\xff", "a\u0085", strings.Repeat("x", 256), strings.Repeat("x", 257)} {
		f.Add(user, []byte(nil))
	}
	for _, auth := range []string{`{}`, `{"token":1}`, `{"deviceId":"d"}`, `{"deviceId":{}}`, `{"features":["acks"]}`, `{"features":1}`, `[]`, `1`, `"x"`, `null`, `{`, `/x,{}`, `1{}`, `{"a":1}x`} {
		f.Add("mallory", []byte(auth))
	}
	base, log := fuzzServer(f)
	f.Fuzz(func(t *testing.T, user string, auth []byte) {
		good := user != "" && len(user) <= 256 && utf8.ValidString(user) && !strings.ContainsFunc(user, unicode.IsControl) &&
			!slices.Contains([]string{"undefined", "null", "[object Object]"}, user)
		ws, err := wiretest.DialWS(base, "EIO=4&transport=websocket&userId="+url.QueryEscape(user))
		if err != nil {
			t.Fatal(err)
		}
		defer ws.Close()
		if err := ws.Write(wiretest.Texts("40"+string(auth), `421["sendMessage",{}]`)); err != nil {
			t.Fatal(err)
		}
		var answers []string
		for {
			p, err := ws.Text()
			if err != nil {
				break
			}
			answers = append(answers, p)
			if strings.HasPrefix(p, "431[") || strings.HasPrefix(p, "44") {
				break
			}
		}
		said := func(prefix string) bool {
			return slices.ContainsFunc(answers, func(p string) bool { return strings.HasPrefix(p, prefix) })
		}
		in, refused := said(`40{"sid":"`), said(`44{"data":{"code":"`)
		if in && refused || in && !good {
			t.Errorf("%q with the auth %q was answered %q", user, auth, answers)
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(auth, &object); len(auth) == 0 || err == nil && object != nil && len(object) == 0 {
			if in != good || refused == good {
				t.Errorf("%q with the auth %q was answered %q", user, auth, answers)
			}
		}
		if in {
			var list map[string]string
			for _, p := range answers {
				if body, ok := strings.CutPrefix(p, `42["online_users",`); ok {
					if err := json.Unmarshal([]byte(strings.TrimSuffix(body, "]")), &list); err != nil {
						t.Fatal(err)
					}
				}
			}
			if list[user] == "" || !said("431[") {
				t.Errorf("%q was let in, and heard %q", user, answers)
			}
		}
		if n := log.errors.Load(); n > 0 {
			t.Errorf("%q with the auth %q left %d errors in the log", user, auth, n)
		}
	})
}
