package heymanito_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// failed is an error ack that cannot be retried.
func failed(code, message string) string {
	return fmt.Sprintf(`{"status":"error","code":%q,"message":%q,"retryable":false}`, code, message)
}

const malformed = "the event does not have the documented shape"

// What a field of a payload may be.
type fieldKind int

const (
	selfName     fieldKind = iota // names the connection's user, ann
	chatPath                      // names another user, bob
	optionalName                  // may be absent
	messageID                     // a string or a number
	optionalID                    // may be absent
	anyValue                      // any JSON, or nothing
)

type field struct {
	name string
	kind fieldKind
	good string // JSON
}

var notThere = failed("not_found", "there is no such call to this user")

// promise is an event, and the ack of one that is good.
type promise struct {
	event  string
	fields []field
	ack    string
}

// contract is every event between users, and the ack of one that is good.
var contract = []promise{
	{"sendMessage", []field{
		{"id", messageID, `"m1"`},
		{"senderChatPath", selfName, `"ann"`},
		{"recipientChatPath", chatPath, `"bob"`},
		{"content", anyValue, `"hola"`},
		{"senderProfile", anyValue, `{"name":"Ann"}`},
	}, `{"status":"ok","id":<id>,"ts":<ts>,"delivery":"sent"}`},
	{"markAsRead", []field{
		{"senderChatPath", chatPath, `"bob"`},
		{"recipientChatPath", selfName, `"ann"`},
		{"upToId", optionalID, `"m1"`},
	}, `{"status":"ok"}`},
	{"markAsDelivered", []field{
		{"senderChatPath", chatPath, `"bob"`},
		{"recipientChatPath", selfName, `"ann"`},
		{"upToId", optionalID, `"m1"`},
	}, `{"status":"ok"}`},
	{"initiateCall", []field{
		{"recipientId", chatPath, `"bob"`},
		{"callerId", selfName, `"ann"`},
		{"callerInfo", anyValue, `{"name":"Ann"}`},
		{"roomName", optionalName, `"r1"`},
		{"media", optionalName, `"video"`},
	}, `{"status":"ok","callId":"RANDOM","roomName":<room>,"expiresAt":<expires>,"expiresInMs":45000}`},
	{"acceptCall", []field{
		{"callerId", chatPath, `"bob"`},
		{"roomName", optionalName, `"r1"`},
		{"callId", optionalName, `"c1"`},
	}, notThere},
	{"rejectCall", []field{
		{"callerId", chatPath, `"bob"`},
		{"recipientId", selfName, `"ann"`},
		{"roomName", optionalName, `"r1"`},
		{"callId", optionalName, `"c1"`},
		{"reason", optionalName, `"declined"`},
	}, notThere},
	{"nudge", []field{
		{"senderChatPath", selfName, `"ann"`},
		{"recipientChatPath", chatPath, `"bob"`},
		{"howHard", anyValue, `7`},
	}, `{"status":"ok"}`},
	{"typing", []field{
		{"senderChatPath", selfName, `"ann"`},
		{"recipientChatPath", chatPath, `"bob"`},
	}, `{"status":"ok"}`},
}

// object puts a payload together; but replaces the value of a field, or
// leaves it out if value is empty.
func object(fields []field, but, value string) string {
	var members []string
	for _, f := range fields {
		v := f.good
		if f.name == but {
			v = value
		}
		if v != "" {
			members = append(members, fmt.Sprintf("%q:%s", f.name, v))
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func quoted(n int) string { return `"` + long(n) + `"` }

var (
	randomID   = regexp.MustCompile(`"callId":"[A-Za-z0-9_-]{22}"`)
	randomRoom = regexp.MustCompile(`"roomName":"hm_[A-Za-z0-9_-]{22}"`)
)

// Every field of every event, wrong in every way: the exact ack, one of it, and
// nobody hears of what is refused.
func TestAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.Relay("nudge"), heymanito.RelayVolatile("typing"), heymanito.WithRingLimits(1000, 1000))
		ann, bob := a.join("ann"), a.join("bob")
		a.join(long(256))
		ann.deaf()
		asked := 0
		check := func(event, payload, want string) {
			t.Helper()
			asked++
			ack := ann.EmitAck(event, payload)
			if event == "initiateCall" && ack.Status == "ok" { // the next one is another call
				asked++
				ann.EmitAck("cancelCall", `{"callId":"`+ack.CallID+`"}`)
			}
			got := a.plain(string(ack.Raw))
			got = randomID.ReplaceAllString(got, `"callId":"RANDOM"`)
			got = randomRoom.ReplaceAllString(got, `"roomName":"hm_RANDOM"`)
			if got != want {
				t.Errorf("%s(%.300s) was acked\n\t%s\nwant\n\t%s", event, payload, got, want)
			}
			if strings.Contains(want, `"error"`) {
				bob.hears()
			} else {
				bob.deaf()
			}
			ann.hears()
		}
		sent := map[string]bool{}
		for _, e := range contract {
			ok := func(payload string) {
				t.Helper()
				var p map[string]json.RawMessage
				_ = json.Unmarshal([]byte(payload), &p) // it is a good one
				want := e.ack
				if e.event == "sendMessage" {
					if m := string(p["recipientChatPath"]) + string(p["id"]); sent[m] {
						want = strings.TrimSuffix(want, "}") + `,"duplicate":true}`
					} else {
						sent[m] = true
					}
				}
				room := string(p["roomName"])
				if room == "" || room == "null" {
					room = `"hm_RANDOM"`
				}
				check(e.event, payload, strings.NewReplacer("<ts>", fmt.Sprint(begin), "<expires>", fmt.Sprint(begin+45000),
					"<id>", string(p["id"]), "<room>", room).Replace(want))
			}
			bad := func(payload, message string) {
				t.Helper()
				check(e.event, payload, failed("invalid", message))
			}
			ok(object(e.fields, "", ""))
			for _, payload := range []string{`null`, `"x"`, `5`, `true`, `[]`, `[{}]`, `""`} {
				bad(payload, malformed)
			}
			for _, payload := range []string{`{`, `{"id":}`, `{]`, `{"a":1,}`, `{'a':1}`, `{"a":01}`, `{"a":"` + "\x01" + `"}`, `{"a":"\x"}`, `{} {}`, `{"a":nul}`} {
				bad(payload, malformed)
			}
			members := strings.TrimSuffix(object(e.fields, "", ""), "}")
			ok(members + `,"more":1,"":{},"ID":5}`)
			ok(members + `,"deep":` + nested(100) + `}`)
			bad(members+`,"deep":`+nested(101)+`}`, malformed)
			ok(strings.ReplaceAll(members, ",", " ,\n\t") + " }")
			for _, f := range e.fields {
				with := func(value string) string { return object(e.fields, f.name, value) }
				var message string
				switch f.kind {
				case anyValue:
					for _, v := range []string{"", "null", "0", "-1.5e300", `""`, "false", "[]", "{}", quoted(1000), nested(100), `"\ud800"`, `{"a":` + nested(99) + `}`} {
						ok(with(v))
					}
					bad(with(nested(101)), malformed)
					bad(with(`{"a":`+nested(100)+`}`), malformed)
					continue
				case selfName, optionalName:
					message = f.name + " must be a non-empty string of at most 256 bytes"
				case chatPath:
					message = f.name + " must be a chatPath: a non-empty string of at most 256 bytes without control characters"
				case messageID, optionalID:
					message = f.name + " must be a number or a non-empty string of at most 256 bytes"
				}
				for _, v := range []string{"true", "[]", "{}", `["ann"]`, `{"a":"ann"}`, `""`, quoted(257), `"` + strings.Repeat("é", 129) + `"`} {
					bad(with(v), message)
				}
				bad(with(`"\ud8"`), malformed)
				switch f.kind {
				case optionalName, optionalID:
					ok(with(""))
					ok(with("null"))
				default:
					bad(with(""), message)
					bad(with("null"), message)
				}
				switch f.kind {
				case messageID, optionalID:
					for _, v := range []string{"0", "-1", "1.50", "12345678901234567890123", `"\ud800"`, quoted(256), `"` + strings.Repeat(`\u0041`, 256) + `"`} {
						ok(with(v))
					}
					bad(with(`"`+strings.Repeat(`\u0041`, 257)+`"`), message)
					bad(with(strings.Repeat("1", 257)), message)
				case selfName:
					bad(with("5"), message)
					for _, v := range []string{quoted(256), `"bob"`, `"Ann"`, `"ann\u0000"`} {
						check(e.event, with(v), failed("identity_mismatch", f.name+" is not the user of this connection"))
					}
					ok(with(`"\u0061nn"`))
				case chatPath:
					bad(with("5"), message)
					for _, v := range []string{`"bob\u0000"`, `"\n"`, `"\u007f"`, `"\u0085"`, `"\ud800"`} {
						bad(with(v), message)
					}
					ok(with(quoted(256)))
				case optionalName:
					bad(with("5"), message)
					ok(with(quoted(256)))
				}
			}
		}
		if acks := len(slices.DeleteFunc(ann.Log(), func(e wiretest.Event) bool { return !strings.HasPrefix(e.Name, "ack ") })); acks != asked {
			t.Errorf("%d events have got %d acks", asked, acks)
		}
		t.Logf("%d events", asked)
	})
}

// A payload that is not there, things behind it, callbacks that are none, and
// names that are no event's.
func TestArguments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := start(t, heymanito.Relay("nudge"), heymanito.On("mine", func(_ context.Context, e heymanito.Event) (any, error) {
			n.add("%q", e.Args)
			return nil, nil
		}))
		ann, bob := a.join("ann"), a.join("bob")
		ann.deaf()
		for _, e := range contract[:7] {
			ann.says(failed("invalid", malformed), e.event)
		}
		m := mail("m", "ann", "bob")
		for i, more := range [][]string{{"null"}, {`"a callback that is none"`}, {"5", "{}", `["x"]`}, {nested(100)}} {
			asked, unasked := fmt.Sprint("asked ", i), fmt.Sprint("unasked ", i)
			ann.says(fmt.Sprintf(`{"status":"ok","id":%q,"ts":%d,"delivery":"sent"}`, asked, begin),
				"sendMessage", append([]string{mail(asked, "ann", "bob")}, more...)...)
			bob.hears(received("receiveMessage", asked, "ann", "bob", begin))
			ann.Emit("sendMessage", append([]string{mail(unasked, "ann", "bob")}, more...)...) // nobody waits for an answer
			bob.hears(received("receiveMessage", unasked, "ann", "bob", begin))
			ann.hears()
		}
		ann.says(failed("invalid", malformed), "sendMessage", m, "{")
		ann.says(failed("invalid", malformed), "sendMessage", m, nested(102))
		bob.hears()
		for _, name := range []string{"dance", "connect", "disconnect", "error", "receiveMessage", "", "send\nMessage", "sendmessage"} {
			ann.says(failed("invalid", fmt.Sprintf("unknown event %q", name)), name, m)
		}
		ann.says(failed("invalid", fmt.Sprintf("unknown event %q", long(64))), long(100))
		bob.hears()

		// Names that are no strings, and ack ids of any length.
		for id, want := range map[string]string{"0": "ack 0", "18446744073709551615": "ack 18446744073709551615", "007": "ack 007"} {
			if err := ann.Send("42" + id + `[{"name":"sendMessage"},` + m + `]`); err != nil {
				t.Fatal(err)
			}
			if e := ann.Expect(want); string(e.Args[0]) != failed("invalid", `unknown event ""`) {
				t.Errorf("an event whose name is no string was acked %v", e)
			}
		}
		ann.says(`{"status":"ok"}`, "mine")
		ann.says(`{"status":"ok"}`, "mine", `{"a": 1.50}`, "null", `"\ud800"`)
		ann.says(failed("invalid", malformed), "mine", `{"a": 1.50`)
		ann.says(failed("invalid", malformed), "mine", `nul`)
		ann.Emit("mine", "5")
		n.want(t, `[]`, `["{\"a\": 1.50}" "null" "\"\\ud800\""]`, `["5"]`)
	})
}

// Size, shape, identity, Authorize, state: the first that fails wins.
func TestOrderOfChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := start(t, heymanito.WithMaxPayload(2000), heymanito.Relay("nudge"), heymanito.WithHooks(heymanito.Hooks{
			Authorize: func(_ context.Context, a heymanito.Action) error {
				n.add("%v", a)
				return heymanito.Errorf(heymanito.CodeForbidden, "no")
			},
		}))
		ann, bob := a.join("ann"), a.join("bob")
		ann.deaf()
		for _, e := range refusable()[:6] {
			wrong := object(e.fields, "", "")
			var self string
			for _, f := range e.fields {
				if f.kind == selfName {
					self = f.name
					wrong = object(e.fields, f.name, `"bob"`)
				}
			}
			if code := ann.code(e.event, wrong, quoted(2000)); code != "too_large" {
				t.Errorf("%s, too large and not herself: %s", e.event, code)
			}
			if code := ann.code(e.event, wrong[:len(wrong)-1]+`,"x":}`); code != "invalid" {
				t.Errorf("%s, malformed and not herself: %s", e.event, code)
			}
			if self != "" {
				bad := strings.NewReplacer(`"recipientChatPath":"bob"`, `"recipientChatPath":""`, `"senderChatPath":"bob"`, `"senderChatPath":""`,
					`"recipientId":"bob"`, `"recipientId":""`, `"callerId":"bob"`, `"callerId":""`).Replace(object(e.fields, self, `"cid"`))
				if code := ann.code(e.event, bad); code != "invalid" {
					t.Errorf("%s%s, a field wrong and not herself: %s", e.event, bad, code)
				}
				if code := ann.code(e.event, wrong); code != "identity_mismatch" {
					t.Errorf("%s, not herself: %s", e.event, code)
				}
			}
			n.want(t)
			ann.hears() // no callRejected for these
			// Forbidden comes before what would be not_found or offline.
			nobody := strings.ReplaceAll(object(e.fields, "", ""), `"bob"`, `"nobody"`)
			ann.says(failed("forbidden", "no"), e.event, nobody)
			n.want(t, fmt.Sprintf("{%s ann nobody}", e.event))
			if e.event == "initiateCall" {
				ann.hears(`callRejected({"recipientId":"nobody","reason":"forbidden"})`)
			}
			ann.hears()
		}
		bob.hears()
	})
}

// An event up to 16 times as big as allowed is answered, and its connection
// lives; beyond that it is closed.
func TestTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithMaxPayload(10_000))
		ann, bob := a.join("ann"), a.join("bob")
		ann.deaf()
		sized := func(n int) string { // an event of n bytes, as the server counts them
			head := `{"id":"m","senderChatPath":"ann","recipientChatPath":"bob","content":"`
			return head + long(n-len(`421["sendMessage",`)-len(head)-len(`"}]`)) + `"}`
		}
		want := failed("too_large", "the event is larger than maxPayload")
		if code := ann.code("sendMessage", sized(10_000)); code != "ok" {
			t.Errorf("an event of maxPayload bytes: %s", code)
		}
		bob.deaf()
		ann.says(want, "sendMessage", sized(10_100))
		ann.says(want, "sendMessage", sized(159_000))
		ann.says(want, "initiateCall", sized(20_000)) // no callRejected either
		ann.says(want, "unheard-of", sized(20_000))
		ann.Emit("sendMessage", sized(20_000))

		// The attachments count too, together.
		photo := `{"id":"m","senderChatPath":"ann","recipientChatPath":"bob","content":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]}`
		for _, sizes := range [][2]int{{6000, 6000}, {20_000, 1}, {1, 20_000}} {
			if err := ann.Send(`452-900["sendMessage",` + photo + `]`); err != nil {
				t.Fatal(err)
			}
			for _, n := range sizes {
				if err := ann.WS.SendBinary(make([]byte, n)); err != nil {
					t.Fatal(err)
				}
			}
			if e := ann.Expect("ack 900"); string(e.Args[0]) != want {
				t.Errorf("an event with attachments of %d bytes was acked %v", sizes, e)
			}
		}
		bob.hears()
		ann.hears()
		if ann.code("sendMessage", mail("m2", "ann", "bob")) != "ok" {
			t.Error("ann's connection does not work any more")
		}
		bob.hears(received("receiveMessage", "m2", "ann", "bob", begin))

		_ = ann.Send(`4299["sendMessage",` + sized(170_000) + `]`)
		var closed *wiretest.CloseError
		if err := ann.Closed(wiretest.Timeout); !errors.As(err, &closed) || closed.Code != 1009 {
			t.Errorf("after 170,000 bytes: %v", err)
		}
	})
}

// What a hook that may refuse returns, and what the client is told.
var verdicts = []struct {
	name string
	err  error
	ack  string // of Authorize; BeforeMessage differs in the code of a plain error
}{
	{"allowed", nil, ""},
	{"plain", errors.New("a secret text"), failed("forbidden", "not allowed")},
	{"in words", heymanito.Errorf(heymanito.CodeForbidden, "she has gone to sleep"), failed("forbidden", "she has gone to sleep")},
	{"without words", &heymanito.Error{Code: heymanito.CodeNotFound, Err: errors.New("a secret text")}, failed("not_found", "not_found")},
	{"wrapped", fmt.Errorf("a secret text: %w", heymanito.Errorf(heymanito.CodeConflict, "later")), failed("conflict", "later")},
	{"down", &heymanito.Error{Code: heymanito.CodeUnavailable}, `{"status":"error","code":"unavailable","message":"a service behind the server is down, try again","retryable":true}`},
	{
		"slow down", &heymanito.Error{Code: heymanito.CodeRateLimited, Message: "6 a minute", RetryAfter: 1500 * time.Millisecond},
		`{"status":"error","code":"rate_limited","message":"6 a minute","retryable":true,"retryAfterMs":1500}`,
	},
	{"a code of the host's", heymanito.Errorf("too_rude", "be nice: \"\u2028\""), `{"status":"error","code":"too_rude","message":"be nice: \"\u2028\"","retryable":false}`},
}

const internal = `{"status":"error","code":"internal","message":"the server failed, see its log","retryable":true}`

// An event whose attachments never come is held while its client lives, and
// nobody else hears of it.
func TestAttachmentsThatNeverCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann, bob := a.join("ann"), a.join("bob")
		photo := `{"id":1,"senderChatPath":"ann","recipientChatPath":"bob","content":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]}`
		if err := ann.Send(`452-1["sendMessage",` + photo + `]`); err != nil {
			t.Fatal(err)
		}
		if err := ann.WS.SendBinary([]byte("one of two")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if code := bob.code("sendMessage", mail("2", "bob", "ann")); code != "ok" {
			t.Errorf("a message to who sends half an event is acked %s", code)
		}
		ann.hears(online("bob"), received("receiveMessage", "2", "bob", "ann", time.Now().UnixMilli()))
		bob.hears()
		ann.Cut()
		time.Sleep(time.Minute)
		bob.hears(offline("ann"))
	})
}

// refusable is the part of the contract that the host may refuse: not what ends
// a call.
func refusable() []promise {
	return slices.DeleteFunc(slices.Clone(contract), func(p promise) bool { return p.event == "rejectCall" })
}

func TestAuthorize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		var verdict error
		a := start(t, heymanito.Relay("nudge"), heymanito.RelayVolatile("typing"), heymanito.WithHooks(heymanito.Hooks{
			Authorize: func(ctx context.Context, a heymanito.Action) error {
				n.add("%v %v", a, ctx.Err())
				if verdict != nil && verdict.Error() == "panic" {
					panic("the hook has a bug")
				}
				return verdict
			},
		}))
		a.panics = true
		ann, bob := a.join("ann"), a.join("bob")
		ann.deaf()
		for _, e := range refusable() {
			payload := object(e.fields, "", "")
			for _, v := range verdicts {
				if verdict = v.err; verdict == nil {
					continue
				}
				ann.says(v.ack, e.event, payload)
				n.want(t, fmt.Sprintf("{%s ann bob} <nil>", e.event))
				ann.Emit(e.event, payload) // fails silently
				n.want(t, fmt.Sprintf("{%s ann bob} <nil>", e.event))
				if heard := ann.news(); e.event == "initiateCall" {
					reason := "failed"
					if strings.Contains(v.ack, `"forbidden"`) {
						reason = "forbidden"
					}
					if want := slices.Repeat([]string{fmt.Sprintf(`callRejected({"recipientId":"bob","reason":%q})`, reason)}, 2); !slices.Equal(heard, want) {
						t.Errorf("%s: ann has heard %q, want %q", v.name, heard, want)
					}
				} else if len(heard) > 0 {
					t.Errorf("%s: ann has heard %q", e.event, heard)
				}
			}
			before := a.log.Count("msg=panic")
			verdict = errors.New("panic")
			ann.says(internal, e.event, payload)
			if a.log.Count("msg=panic") != before+1 {
				t.Errorf("%s: a panic was logged %d times", e.event, a.log.Count("msg=panic")-before)
			}
			if heard := ann.news(); e.event == "initiateCall" && !slices.Equal(heard, []string{`callRejected({"recipientId":"bob","reason":"failed"})`}) {
				t.Errorf("after a dial that failed ann has heard %q", heard)
			}
			n.read()
		}
		bob.hears()
		if a.log.Count("event="+contract[0].event) == 0 {
			t.Errorf("the log does not name the event:\n%s", a.log)
		}
	})
}

// Refused silently: the ack is as if the event had been let through, whatever
// there is at the other end, and nobody hears of it.
func TestSilently(t *testing.T) {
	for _, there := range []bool{true, false} {
		for _, e := range refusable() {
			t.Run(fmt.Sprintf("%s, bob there: %v", e.event, there), func(t *testing.T) {
				told := map[string]string{}
				for _, verdict := range []error{nil, fmt.Errorf("blocked: %w", heymanito.ErrSilently)} {
					synctest.Test(t, func(t *testing.T) {
						var n notes
						a := start(t, heymanito.Relay("nudge"), heymanito.RelayVolatile("typing"), heymanito.WithHooks(heymanito.Hooks{
							Authorize: func(_ context.Context, a heymanito.Action) error {
								if a.From == "ann" {
									return verdict
								}
								return nil
							},
							BeforeMessage: func(context.Context, heymanito.Message) error { n.add("BeforeMessage"); return nil },
							AfterMessage:  func(context.Context, heymanito.Message, heymanito.Delivery) { n.add("AfterMessage") },
							OnUndelivered: func(context.Context, heymanito.Message) { n.add("OnUndelivered") },
							OnRead:        func(context.Context, heymanito.Read) { n.add("OnRead") },
							BeforeCall:    func(context.Context, heymanito.Call) error { n.add("BeforeCall"); return nil },
							OnCall:        func(context.Context, heymanito.Call) { n.add("OnCall") },
						}))
						ann, ann2, bob := a.join("ann"), a.join("ann"), a.join("bob")
						// There is a call to be answered.
						call := bob.EmitAck("initiateCall", `{"recipientId":"ann","callerId":"bob","roomName":"r1"}`)
						a.called(call.CallID, "<call>")
						if !there {
							bob.Goodbye()
							synctest.Wait()
						}
						bob.deaf()
						ann.deaf()
						ann2.deaf()
						n.read()
						payload := object(e.fields, "callId", `"`+call.CallID+`"`)
						ack := ann.ask(e.event, payload)
						told[fmt.Sprint(verdict)] = randomID.ReplaceAllString(ack, `"callId":"RANDOM"`) + strings.Join(ann.news(), "\n")
						if verdict != nil {
							n.want(t)
							bob.hears()
							ann2.hears()
						}
					})
				}
				if allowed, silent := told["<nil>"], told["blocked: "+heymanito.ErrSilently.Error()]; silent != allowed {
					t.Errorf("refused silently the sender is told\n\t%s\ninstead of\n\t%s", silent, allowed)
				}
			})
		}
	}
}

func TestOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type answer struct {
			A int    `json:"a"`
			B string `json:"b,omitempty"`
		}
		var result any
		var fault error
		var n notes
		a := start(t, heymanito.On("ask", func(ctx context.Context, e heymanito.Event) (any, error) {
			n.add("%s from %s (%s), %q + %q, %v", e.Name, e.Device.ChatPath, e.Device.DeviceID, e.Args, e.Attachments, ctx.Err())
			if fault != nil && fault.Error() == "panic" {
				panic("the handler has a bug")
			}
			return result, fault
		}))
		a.panics = true
		ann := a.join("ann", wiretest.Auth(`{"deviceId":"phone"}`))
		for _, c := range []struct {
			result any
			fault  error
			want   string
		}{
			{nil, nil, `{"status":"ok"}`},
			{answer{A: 5}, nil, `{"status":"ok","result":{"a":5}}`},
			{"text", nil, `{"status":"ok","result":"text"}`},
			{0, nil, `{"status":"ok","result":0}`},
			{json.RawMessage(`[1, 2.50]`), nil, `{"status":"ok","result":[1,2.50]}`},
			{(*answer)(nil), nil, `{"status":"ok","result":null}`},
			{nil, heymanito.Errorf(heymanito.CodeConflict, "too late"), failed("conflict", "too late")},
			{5, heymanito.Errorf(heymanito.CodeConflict, "too late"), failed("conflict", "too late")},
			{nil, fmt.Errorf("x: %w", &heymanito.Error{Code: heymanito.CodeBusy, Message: "later", RetryAfter: time.Second}), `{"status":"error","code":"busy","message":"later","retryable":true,"retryAfterMs":1000}`},
			{nil, errors.New("a secret text"), internal},
			{nil, heymanito.ErrSilently, internal},
			{make(chan int), nil, internal},
			{nil, errors.New("panic"), internal},
		} {
			result, fault = c.result, c.fault
			ann.says(c.want, "ask", `{"q":1}`, "true")
			n.want(t, `ask from ann (phone), ["{\"q\":1}" "true"] + [], <nil>`)
		}
		if a.log.Count("a secret text") != 1 || a.log.Count("the handler has a bug") != 1 {
			t.Errorf("the log does not have what went wrong:\n%s", a.log)
		}

		// Attachments come with their placeholders.
		result, fault = nil, nil
		if err := ann.Send(`452-77["ask",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]`); err != nil {
			t.Fatal(err)
		}
		_ = ann.WS.SendBinary([]byte("zero"))
		_ = ann.WS.SendBinary([]byte("one"))
		ann.Expect("ack 77")
		n.want(t, `ask from ann (phone), ["{\"_placeholder\":true,\"num\":1}" "{\"_placeholder\":true,\"num\":0}"] + ["zero" "one"], <nil>`)
	})
}

func TestRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.Relay("nudge"), heymanito.RelayVolatile("typing"))
		ann, ann2, bob, bob2 := a.join("ann"), a.join("ann"), a.join("bob"), a.join("bob")
		ann.deaf()
		ann2.deaf()
		payload := `{"z":[1.50 ,"\ud800"], "senderChatPath":"ann","n":12345678901234567890,"recipientChatPath":"b\u006fb","z":null}`
		for _, event := range []string{"nudge", "typing"} {
			ann.says(`{"status":"ok"}`, event, payload, `"dropped"`)
			bob.hears(event + "(" + payload + ")")
			bob2.hears(event + "(" + payload + ")")
			ann.says(`{"status":"ok"}`, event, `{"senderChatPath":"ann","recipientChatPath":"nobody"}`)
			for _, twice := range []string{ // a parser that takes the first would read another name
				`{"senderChatPath":"bob","recipientChatPath":"bob","senderChatPath":"ann"}`,
				`{"senderChatPath":"ann","recipientChatPath":"cid","recipientCh\u0061tPath":"bob"}`,
				`{"senderChatPath":"ann","x":{"senderChatPath":"bob"},"recipientChatPath":"bob","senderChatPath":"ann"}`,
			} {
				if code := ann.code(event, twice); code != "invalid" {
					t.Errorf("%s %s: %s", event, twice, code)
				}
			}
			self := `{"senderChatPath":"ann","recipientChatPath":"ann"}`
			ann.says(`{"status":"ok"}`, event, self)
			ann2.hears(event + "(" + self + ")")
			ann.hears()

			if err := ann.Send(`451-88["` + event + `",{"senderChatPath":"ann","recipientChatPath":"bob","wave":{"_placeholder":true,"num":0}}]`); err != nil {
				t.Fatal(err)
			}
			_ = ann.WS.SendBinary([]byte("wav"))
			ann.Expect("ack 88")
			bob.hears(event + `({"senderChatPath":"ann","recipientChatPath":"bob","wave":{"_placeholder":true,"num":0}})+"wav"`)
			bob2.deaf()
		}

		// A device that does not read gets no volatile ones later. What it has
		// not read fills its connection first.
		ws := a.dial("cid")
		if err := ws.Send("40"); err != nil {
			t.Fatal(err)
		}
		texts(t, ws, 2)
		_ = ws.Send("3")
		fill := fmt.Sprintf(`{"senderChatPath":"ann","recipientChatPath":"cid","fill":%q}`, long(100_000))
		for range 10 {
			ann.EmitAck("nudge", fill)
		}
		synctest.Wait()
		ann.says(`{"status":"ok"}`, "typing", `{"senderChatPath":"ann","recipientChatPath":"cid"}`)
		ann.says(`{"status":"ok"}`, "nudge", `{"senderChatPath":"ann","recipientChatPath":"cid","last":true}`)
		for n := 0; ; {
			p, err := ws.Text()
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(p, `42["typing"`) {
				t.Error("a volatile event was queued for a device that is behind")
			}
			if strings.HasPrefix(p, `42["nudge"`) {
				n++
			}
			if strings.HasSuffix(p, `"last":true}]`) {
				if n != 11 {
					t.Errorf("of 11 events %d have arrived", n)
				}
				break
			}
		}
	})
}

// The events of one connection are handled one after the other, in order; a
// slow handler delays nobody else.
func TestOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := start(t, heymanito.On("slow", func(_ context.Context, e heymanito.Event) (any, error) {
			n.add("begin %s %s", e.Device.ChatPath, e.Args[0])
			time.Sleep(time.Second)
			n.add("end %s %s", e.Device.ChatPath, e.Args[0])
			return nil, nil
		}))
		ann, bob := a.join("ann"), a.join("bob")
		ann.deaf()
		for i := range 3 {
			if err := ann.Send(fmt.Sprintf(`42%d["slow",%d]`, 100+i, i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := ann.Send(`42103["sendMessage",` + mail("m", "ann", "bob") + `]`); err != nil {
			t.Fatal(err)
		}
		n.want(t, "begin ann 0")
		if bob.code("sendMessage", mail("m", "bob", "ann")) != "ok" {
			t.Error("bob's message was not acked")
		}
		ann.hears(received("receiveMessage", "m", "bob", "ann", begin)) // she is spoken to all the same
		bob.hears()
		time.Sleep(time.Second)
		n.want(t, "end ann 0", "begin ann 1")
		if _, err := ann.Wait("ack 100", 0); err != nil {
			t.Errorf("after a second: %v", err)
		}
		time.Sleep(2 * time.Second)
		n.want(t, "end ann 1", "begin ann 2", "end ann 2")
		bob.hears(received("receiveMessage", "m", "ann", "bob", begin+3000))
		var acks []string
		for _, e := range ann.Log() {
			if strings.HasPrefix(e.Name, "ack ") {
				acks = append(acks, e.Name)
			}
		}
		if want := []string{"ack 100", "ack 101", "ack 102", "ack 103"}; !slices.Equal(acks, want) {
			t.Errorf("acks %v, want %v", acks, want)
		}
	})
}

// A handler that takes minutes costs its client nothing but time: it is not
// taken for dead, though its pongs are not read meanwhile.
func TestSlowHandlerKeepsItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.On("slow", func(context.Context, heymanito.Event) (any, error) {
			time.Sleep(5 * time.Minute)
			return nil, nil
		}))
		ann := a.join("ann")
		if err := ann.Send(`421["slow"]`); err != nil {
			t.Fatal(err)
		}
		if _, err := ann.Wait("ack 1", 6*time.Minute); err != nil {
			t.Error(err)
		}
	})
}
