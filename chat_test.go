package heymanito_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// A message is passed on byte for byte: the five fields in their order, as they
// were written, and nothing else but the time.
func TestMessageBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann, ann2, bob, bob2 := a.join("ann"), a.join("ann"), a.join("bob"), a.join("bob")
		for _, p := range []*person{ann, ann2, bob, bob2} {
			p.deaf()
		}
		const from = `"senderChatPath":"ann","recipientChatPath":"bob"`
		for i, c := range []struct{ sent, id, passed string }{
			{`{"id":"m",` + from + `}`, `"m"`, `"id":"m",` + from},
			{`{"id":1,` + from + `,"content":null}`, `1`, `"id":1,` + from + `,"content":null`},
			{`{"id":12345678901234567890,` + from + `}`, `12345678901234567890`, `"id":12345678901234567890,` + from},
			{`{"id":-1.50E+2,` + from + `}`, `-1.50E+2`, `"id":-1.50E+2,` + from},
			{`{"id":"\ud800",` + from + `}`, `"\ud800"`, `"id":"\ud800",` + from},
			{
				`{"id":"m6",` + from + `,"content":{"z":1,"a":[12345678901234567890, 1.0,-0],"\ud83d":"\ud800\u0041/\/","z":2},"senderProfile":"é🦜` + "\u2028" + `"}`, `"m6"`,
				`"id":"m6",` + from + `,"content":{"z":1,"a":[12345678901234567890, 1.0,-0],"\ud83d":"\ud800\u0041/\/","z":2},"senderProfile":"é🦜` + "\u2028" + `"`,
			},
			{ // another order, white space, fields that are dropped, the last of two
				"{ \"senderProfile\" :\t{} , \"content\":[ 1 ,2 ],\"recipientChatPath\":\"b\\u006fb\",\"ts\":1,\"senderChatPath\":\"ann\",\"seq\":9,\"id\":\"x\",\"i\\u0064\":\"m7\" }", `"m7"`,
				`"id":"m7","senderChatPath":"ann","recipientChatPath":"b\u006fb","content":[ 1 ,2 ],"senderProfile":{}`,
			},
			{`{"id":"m8",` + from + `,"__proto__":{"ts":1},"content":{"__proto__":{}}}`, `"m8"`, `"id":"m8",` + from + `,"content":{"__proto__":{}}`},
		} {
			time.Sleep(time.Millisecond)
			ts := begin + int64(i) + 1
			ann.says(fmt.Sprintf(`{"status":"ok","id":%s,"ts":%d,"delivery":"sent"}`, c.id, ts), "sendMessage", c.sent)
			for _, d := range []*person{bob, bob2} {
				d.hears(fmt.Sprintf(`receiveMessage({%s,"ts":%d})`, c.passed, ts))
			}
			ann2.hears(fmt.Sprintf(`messageSent({%s,"ts":%d})`, c.passed, ts))
			ann.hears()
		}
	})
}

func TestMessageAttachments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := start(t, heymanito.WithHooks(heymanito.Hooks{
			BeforeMessage: func(_ context.Context, m heymanito.Message) error {
				n.add("%s %s %q", m.Content, m.SenderProfile, m.Attachments)
				return nil
			},
		}))
		ann, bob := a.join("ann"), a.join("bob")
		ann.deaf()
		hole := func(n int) string { return fmt.Sprintf(`{"_placeholder":true,"num":%d}`, n) }
		id := 0
		send := func(members string, attachments ...string) string {
			t.Helper()
			id++
			p := fmt.Sprintf(`45%d-1["sendMessage",{"id":%d,"senderChatPath":"ann","recipientChatPath":"bob",%s}]`, len(attachments), id, members)
			if err := ann.Send(p); err != nil {
				t.Fatal(err)
			}
			for _, b := range attachments {
				if err := ann.WS.SendBinary([]byte(b)); err != nil {
					t.Fatal(err)
				}
			}
			return string(ann.Expect("ack 1").Args[0])
		}
		ok := func() string { return fmt.Sprintf(`{"status":"ok","id":%d,"ts":%d,"delivery":"sent"}`, id, begin) }
		passed := func(members, attachments string) string {
			return fmt.Sprintf(`receiveMessage({"id":%d,"senderChatPath":"ann","recipientChatPath":"bob",%s,"ts":%d})%s`, id, members, begin, attachments)
		}
		plain := func(members string) string {
			t.Helper()
			id++
			return ann.ask("sendMessage", fmt.Sprintf(`{"id":%d,"senderChatPath":"ann","recipientChatPath":"bob",%s}`, id, members))
		}
		for _, c := range []struct {
			members     string
			attachments []string
			passed, are string
		}{
			{`"content":` + hole(0), []string{"\x00\xff"}, `"content":` + hole(0), `+"\x00\xff"`},
			{`"content":{"a":` + hole(1) + `,"b":` + hole(0) + `}`, []string{"zero", "one"}, `"content":{"a":` + hole(0) + `,"b":` + hole(1) + `}`, `+"one"+"zero"`},
			{`"senderProfile":` + hole(0) + `,"content":` + hole(1), []string{"face", "photo"}, `"content":` + hole(0) + `,"senderProfile":` + hole(1), `+"photo"+"face"`},
			// Dropped fields take theirs with them.
			{`"x":` + hole(0) + `,"content":` + hole(1), []string{"virus", "photo"}, `"content":` + hole(0), `+"photo"`},
			{`"x":` + hole(0), []string{"virus"}, `"senderProfile":"none"`, ``},
			{`"content":"text"`, []string{}, `"content":"text"`, ``},
			{`"content":` + hole(0), []string{""}, `"content":` + hole(0), `+""`},
		} {
			if c.are == "" && strings.HasPrefix(c.members, `"x"`) {
				c.members += `,"senderProfile":"none"`
			}
			if len(c.attachments) == 0 {
				if got := plain(c.members); got != ok() {
					t.Errorf("%s was acked %s", c.members, got)
				}
			} else if got := send(c.members, c.attachments...); got != ok() {
				t.Errorf("%s was acked %s", c.members, got)
			}
			bob.hears(passed(c.passed, c.are))
		}
		n.read()
		send(`"senderProfile":`+hole(0)+`,"content":`+hole(1), "face", "photo")
		n.want(t, hole(0)+" "+hole(1)+` ["photo" "face"]`)
		bob.deaf()
		// What would break a recipient's parser.
		for _, c := range []struct {
			members     string
			attachments []string
		}{
			{`"content":` + hole(1), []string{"only"}},
			{`"content":[` + hole(0) + `,` + hole(0) + `]`, []string{"only"}},
			{`"content":{"_placeholder":true,"num":-1}`, []string{"only"}},
			{`"content":{"_placeholder":true,"num":0.5}`, []string{"only"}},
			{`"content":{"_placeholder":true,"num":"0"}`, []string{"only"}},
			{`"content":{"_placeholder":true}`, []string{"only"}},
			{`"content":{"_placeholder":true,"num":1e0}`, []string{"a", "b"}},
		} {
			if got := send(c.members, c.attachments...); got != failed("invalid", malformed) {
				t.Errorf("%s with %q was acked %s", c.members, c.attachments, got)
			}
		}
		bob.hears()
		n.want(t)
		// A placeholder in an event without attachments is text like any other.
		if got := plain(`"content":` + hole(7)); got != ok() {
			t.Errorf("it was acked %s", got)
		}
		bob.hears(passed(`"content":`+hole(7), ""))
	})
}

func TestDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := start(t, heymanito.WithHooks(heymanito.Hooks{
			AfterMessage: func(_ context.Context, m heymanito.Message, d heymanito.Delivery) {
				line := fmt.Sprintf("%s from %s to %s at %d: %s", m.ID, m.From, m.To, m.Time.UnixMilli(), d.Status)
				for _, device := range d.Devices {
					line += " " + device.ChatPath + "/" + device.DeviceID
				}
				n.add("%s", line)
			},
			OnUndelivered: func(_ context.Context, m heymanito.Message) { n.add("push %s to %s: %s", m.ID, m.To, m.Content) },
		}))
		ann := a.join("ann", wiretest.Auth(`{"deviceId":"1"}`))
		send := func(id, to, want string) {
			t.Helper()
			ann.says(fmt.Sprintf(`{"status":"ok","id":%q,"ts":%d,"delivery":%q}`, id, begin, want), "sendMessage", mail(id, "ann", to))
		}
		send("m1", "bob", "offline")
		n.want(t, `push "m1" to bob: "hola"`, fmt.Sprintf(`"m1" from ann to bob at %d: offline`, begin))
		a.join("bob", wiretest.Auth(`{"deviceId":"b1"}`))
		bob2 := a.join("bob", wiretest.Auth(`{"deviceId":"b2"}`))
		send("m2", "bob", "sent")
		n.want(t, fmt.Sprintf(`"m2" from ann to bob at %d: sent bob/b1 bob/b2`, begin))
		bob2.Cut()
		synctest.Wait()
		send("m3", "bob", "sent")
		n.want(t, fmt.Sprintf(`"m3" from ann to bob at %d: sent bob/b1`, begin))

		// To oneself: one's other devices get it as received.
		ann.deaf()
		send("m4", "ann", "offline")
		n.want(t, `push "m4" to ann: "hola"`, fmt.Sprintf(`"m4" from ann to ann at %d: offline`, begin))
		ann.hears()
		ann2 := a.join("ann", wiretest.Auth(`{"deviceId":"2"}`))
		send("m5", "ann", "sent")
		ann2.hears(received("receiveMessage", "m5", "ann", "ann", begin))
		ann.hears()
		n.want(t, fmt.Sprintf(`"m5" from ann to ann at %d: sent ann/2`, begin))
	})
}

// BeforeMessage comes before anybody hears of a message, OnUndelivered before
// its sender is told that it is there, AfterMessage after all that.
func TestMessageHooksInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		var ann, bob *person
		note := func(hook string) {
			time.Sleep(time.Millisecond) // whatever is on its way arrives
			n.add("%s: %d acks, %d messages", hook, len(ann.Named("ack 1"))+len(ann.Named("ack 2")), len(bob.Named("receiveMessage")))
		}
		a := start(t, heymanito.WithHooks(heymanito.Hooks{
			Authorize:     func(context.Context, heymanito.Action) error { note("Authorize"); return nil },
			BeforeMessage: func(context.Context, heymanito.Message) error { note("BeforeMessage"); return nil },
			OnUndelivered: func(context.Context, heymanito.Message) { note("OnUndelivered") },
			AfterMessage:  func(context.Context, heymanito.Message, heymanito.Delivery) { note("AfterMessage") },
		}))
		ann, bob = a.join("ann"), a.join("bob")
		ann.EmitAck("sendMessage", mail("m1", "ann", "bob"))
		time.Sleep(time.Second)
		n.want(t, "Authorize: 0 acks, 0 messages", "BeforeMessage: 0 acks, 0 messages", "AfterMessage: 1 acks, 1 messages")
		ann.EmitAck("sendMessage", mail("m2", "ann", "nobody"))
		time.Sleep(time.Second)
		n.want(t, "Authorize: 1 acks, 1 messages", "BeforeMessage: 1 acks, 1 messages",
			"OnUndelivered: 1 acks, 1 messages", "AfterMessage: 2 acks, 1 messages")
	})
}

func TestBeforeMessageRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var verdict error
		var n notes
		a := start(t, heymanito.WithHooks(heymanito.Hooks{
			BeforeMessage: func(context.Context, heymanito.Message) error {
				if verdict != nil && verdict.Error() == "panic" {
					panic("the hook has a bug")
				}
				return verdict
			},
			AfterMessage:  func(context.Context, heymanito.Message, heymanito.Delivery) { n.add("AfterMessage") },
			OnUndelivered: func(context.Context, heymanito.Message) { n.add("OnUndelivered") },
		}))
		a.panics = true
		ann, ann2, bob := a.join("ann"), a.join("ann"), a.join("bob")
		ann2.deaf()
		for _, v := range verdicts {
			if v.err == nil {
				continue
			}
			verdict = v.err
			want := v.ack
			if v.name == "plain" { // the client may send it again
				want = `{"status":"error","code":"unavailable","message":"a service behind the server is down, try again","retryable":true}`
			}
			ann.says(want, "sendMessage", mail("m", "ann", "bob"))
			ann.says(want, "sendMessage", mail("m", "ann", "nobody"))
		}
		verdict = errors.New("panic")
		ann.says(internal, "sendMessage", mail("m", "ann", "bob"))
		verdict = fmt.Errorf("blocked: %w", heymanito.ErrSilently)
		ann.says(fmt.Sprintf(`{"status":"ok","id":"m","ts":%d,"delivery":"sent"}`, begin), "sendMessage", mail("m", "ann", "bob"))
		ann.says(fmt.Sprintf(`{"status":"ok","id":"m","ts":%d,"delivery":"offline"}`, begin), "sendMessage", mail("m", "ann", "nobody"))
		bob.hears()
		ann2.hears()
		n.want(t)
	})
}

// A panic in a hook is logged and stays with its event. Where the ack depends on
// the hook it is internal.
func TestHooksPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := func(hook string) { panic("a bug in " + hook) }
		a := start(t, heymanito.WithHooks(heymanito.Hooks{
			OnConnect:     func(context.Context, heymanito.Device) { boom("OnConnect") },
			OnDisconnect:  func(context.Context, heymanito.Device, string) { boom("OnDisconnect") },
			AfterMessage:  func(context.Context, heymanito.Message, heymanito.Delivery) { boom("AfterMessage") },
			OnUndelivered: func(context.Context, heymanito.Message) { boom("OnUndelivered") },
			OnRead:        func(context.Context, heymanito.Read) { boom("OnRead") },
			OnCall:        func(context.Context, heymanito.Call) { boom("OnCall") },
			OnRing:        func(context.Context, heymanito.Call, []heymanito.Device) { boom("OnRing") },
			OnRingEnd:     func(context.Context, heymanito.Call) { boom("OnRingEnd") },
		}))
		a.panics = true
		ann, bob := a.join("ann"), a.join("bob")
		ann.says(fmt.Sprintf(`{"status":"ok","id":"m","ts":%d,"delivery":"sent"}`, begin), "sendMessage", mail("m", "ann", "bob"))
		bob.says(`{"status":"ok"}`, "markAsRead", `{"senderChatPath":"ann","recipientChatPath":"bob"}`)
		if ack := ann.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"ann","roomName":"r"}`); ack.Status != "ok" {
			t.Errorf("initiateCall was acked %s", ack.Raw)
		}
		if heard := bob.news(); len(heard) != 2 || !strings.HasPrefix(heard[1], "incomingCall") {
			t.Errorf("bob has heard %q", heard)
		}
		// Nobody has the message: the sender has to know.
		ann.says(internal, "sendMessage", mail("m", "ann", "nobody"))
		bob.Goodbye()
		time.Sleep(time.Minute)
		for _, hook := range []string{"OnConnect", "OnDisconnect", "AfterMessage", "OnUndelivered", "OnRead", "OnCall", "OnRing", "OnRingEnd"} {
			if a.log.Count("a bug in "+hook) == 0 {
				t.Errorf("the panic in %s is not in the log", hook)
			}
		}
		if ann.code("wiretest-sync") != "invalid" {
			t.Error("ann has lost her connection")
		}
	})
}

func TestReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := start(t, heymanito.WithHooks(heymanito.Hooks{
			OnRead: func(_ context.Context, r heymanito.Read) {
				n.add("%s has read %s up to %s at %d", r.Reader, r.Sender, r.UpToID, r.Time.UnixMilli())
			},
		}))
		ann, ann2, bob, bob2 := a.join("ann"), a.join("ann"), a.join("bob"), a.join("bob")
		all := []*person{ann, ann2, bob, bob2}
		for _, p := range all {
			p.deaf()
		}
		time.Sleep(time.Second)
		ts := begin + 1000
		for _, c := range []struct{ upTo, told, hook string }{
			{``, ``, ``},
			{`,"upToId":null`, ``, ``},
			{`,"upToId":"m1"`, `,"upToId":"m1"`, `"m1"`},
			{`,"upToId":12345678901234567890`, `,"upToId":12345678901234567890`, `12345678901234567890`},
			{`,"upToId":"\ud800\u0041","more":{}`, `,"upToId":"\ud800\u0041"`, `"\ud800\u0041"`},
		} {
			payload := `{"recipientChatPath":"b\u006fb","senderChatPath":"\u0061nn"` + c.upTo + `}`
			bob.says(`{"status":"ok"}`, "markAsRead", payload)
			for _, d := range []*person{ann, ann2} {
				d.hears(fmt.Sprintf(`messagesRead({"senderChatPath":"bob"%s,"ts":%d})`, c.told, ts))
			}
			bob2.hears(fmt.Sprintf(`conversationRead({"chatPath":"ann"%s,"ts":%d})`, c.told, ts))
			bob.hears()
			n.want(t, fmt.Sprintf("bob has read ann up to %s at %d", c.hook, ts))

			bob.says(`{"status":"ok"}`, "markAsDelivered", payload)
			for _, d := range []*person{ann, ann2} {
				d.hears(fmt.Sprintf(`messagesDelivered({"senderChatPath":"bob"%s,"ts":%d})`, c.told, ts))
			}
			bob.hears()
			bob2.hears()
			n.want(t)
		}
		// Nobody there to be told; and one's own messages.
		bob.says(`{"status":"ok"}`, "markAsRead", `{"senderChatPath":"nobody","recipientChatPath":"bob"}`)
		bob2.hears(fmt.Sprintf(`conversationRead({"chatPath":"nobody","ts":%d})`, ts))
		bob.says(`{"status":"ok"}`, "markAsRead", `{"senderChatPath":"bob","recipientChatPath":"bob"}`)
		bob2.hears(fmt.Sprintf(`messagesRead({"senderChatPath":"bob","ts":%d})`, ts))
		for _, p := range all {
			p.hears()
		}
	})
}

// Messages of one sender arrive in the order sent, at every device, whatever
// others send meanwhile.
func TestMessagesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		const messages = 300
		var devices []*person
		for range 4 {
			devices = append(devices, a.join("bob"))
		}
		senders := []string{"ann", "cid", "bob"}
		people := map[string]*person{}
		for _, from := range senders {
			people[from] = a.join(from)
		}
		devices = append(devices, people["bob"])
		var all sync.WaitGroup
		for from, p := range people {
			all.Go(func() {
				for i := range messages {
					to := "bob"
					if from == "bob" {
						to = "ann"
					}
					p.Emit("sendMessage", mail(fmt.Sprint(from, i), from, to))
				}
			})
		}
		all.Wait()
		synctest.Wait()
		for _, d := range devices {
			next := map[string]int{}
			for _, e := range d.Log() {
				if e.Name != "receiveMessage" && e.Name != "messageSent" {
					continue
				}
				for _, from := range senders {
					if strings.HasPrefix(string(e.Args[0]), `{"id":"`+from) {
						if want := fmt.Sprintf(`{"id":"%s%d"`, from, next[from]); !strings.HasPrefix(string(e.Args[0]), want) {
							t.Fatalf("%v where %s belongs", e, want)
						}
						next[from]++
					}
				}
			}
			if next["ann"] != messages || next["cid"] != messages || d != devices[4] && next["bob"] != messages {
				t.Errorf("a device has received %v of %d messages each", next, messages)
			}
		}
	})
}

// No hook is called under a lock: each may call every method of the Server,
// about whomever it is called for.
func TestHooksCallTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a *app
		var n notes
		b := contacts("ann: bob", "bob: ann")
		strangers := make([]string, 1000) // some for every lock that users share
		for i := range strangers {
			strangers[i] = fmt.Sprint("stranger", i)
		}
		meddle := func(hook string) {
			for _, user := range []string{"ann", "bob"} {
				if hook != "Contacts" {
					if err := a.ContactsChanged(context.Background(), user); err != nil {
						t.Error(err)
					}
				}
			}
			for _, user := range strangers {
				a.Disconnect(user, "x")
			}
			n.add("%s", hook)
		}
		a = start(t, heymanito.On("mine", func(context.Context, heymanito.Event) (any, error) { meddle("On"); return nil, nil }),
			heymanito.WithOfflineGrace(0),
			heymanito.WithAuth(func(_ context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
				meddle("auth")
				return heymanito.Identity{ChatPath: h.UserID}, nil
			}),
			heymanito.WithHooks(heymanito.Hooks{
				OnConnect:     func(context.Context, heymanito.Device) { meddle("OnConnect") },
				OnDisconnect:  func(context.Context, heymanito.Device, string) { meddle("OnDisconnect") },
				Authorize:     func(context.Context, heymanito.Action) error { meddle("Authorize"); return nil },
				BeforeMessage: func(context.Context, heymanito.Message) error { meddle("BeforeMessage"); return nil },
				AfterMessage:  func(context.Context, heymanito.Message, heymanito.Delivery) { meddle("AfterMessage") },
				OnUndelivered: func(context.Context, heymanito.Message) { meddle("OnUndelivered") },
				OnRead:        func(context.Context, heymanito.Read) { meddle("OnRead") },
				BeforeCall:    func(context.Context, heymanito.Call) error { meddle("BeforeCall"); return nil },
				OnCall:        func(context.Context, heymanito.Call) { meddle("OnCall") },
				OnRing:        func(context.Context, heymanito.Call, []heymanito.Device) { meddle("OnRing") },
				OnRingEnd:     func(context.Context, heymanito.Call) { meddle("OnRingEnd") },
				Contacts: func(ctx context.Context, user string) ([]string, error) {
					meddle("Contacts")
					return b.hook(ctx, user)
				},
			}))
		ann, bob := a.join("ann"), a.join("bob")
		ann.EmitAck("mine")
		ann.EmitAck("sendMessage", mail("m", "ann", "bob"))
		ann.EmitAck("sendMessage", mail("m", "ann", "nobody"))
		bob.EmitAck("markAsRead", `{"senderChatPath":"ann","recipientChatPath":"bob"}`)
		ann.EmitAck("initiateCall", `{"recipientId":"bob","callerId":"ann"}`)
		bob.EmitAck("acceptCall", `{"callerId":"ann"}`)
		bob.EmitAck("rejectCall", `{"callerId":"ann","recipientId":"bob"}`)
		bob.Goodbye()
		ran := n.read()
		for _, hook := range []string{
			"auth", "Contacts", "OnConnect", "On", "Authorize", "BeforeMessage", "AfterMessage", "OnUndelivered",
			"OnRead", "BeforeCall", "OnCall", "OnRing", "OnRingEnd", "OnDisconnect",
		} {
			if !slices.Contains(ran, hook) {
				t.Errorf("%s did not run, or not to its end", hook)
			}
		}
	})
}

// A hook may disconnect the very device it is called for.
func TestHooksDisconnectThemselves(t *testing.T) {
	for _, hook := range []string{"OnConnect", "Authorize", "BeforeMessage", "AfterMessage", "On"} {
		t.Run(hook, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var a *app
				var n notes
				kick := func(in string) {
					if in == hook {
						n.add("%d devices", a.Disconnect("bob", "out"))
					}
				}
				a = start(t, heymanito.On("mine", func(context.Context, heymanito.Event) (any, error) { kick("On"); return nil, nil }),
					heymanito.WithHooks(heymanito.Hooks{
						OnConnect: func(_ context.Context, d heymanito.Device) {
							if d.ChatPath == "bob" {
								kick("OnConnect")
							}
						},
						Authorize:     func(context.Context, heymanito.Action) error { kick("Authorize"); return nil },
						BeforeMessage: func(context.Context, heymanito.Message) error { kick("BeforeMessage"); return nil },
						AfterMessage:  func(context.Context, heymanito.Message, heymanito.Delivery) { kick("AfterMessage") },
						OnDisconnect:  func(_ context.Context, d heymanito.Device, reason string) { n.add("%s: %s", d.ChatPath, reason) },
					}))
				ann, bob := a.join("ann"), a.join("bob")
				synctest.Wait()
				if hook != "OnConnect" {
					bob.Emit("mine")
					bob.Emit("sendMessage", mail("m", "bob", "ann"))
				}
				n.want(t, "1 devices", "bob: forced close")
				bob.hears(`sessionEnded({"code":"out"})`, "disconnect()")
				time.Sleep(time.Minute)
				heard := ann.news()
				if heard[0] != online("bob") || heard[len(heard)-1] != offline("bob") {
					t.Errorf("ann has heard %q", heard)
				}
			})
		})
	}
}

// A slow hook delays the next event of its own connection and nobody else's.
func TestSlowHooks(t *testing.T) {
	for _, hook := range []string{"Authorize", "BeforeMessage", "AfterMessage", "OnUndelivered", "OnRead", "OnConnect", "OnDisconnect", "BeforeCall", "OnCall", "OnRing", "OnRingEnd"} {
		t.Run(hook, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := func(in, user string) {
					if in == hook && user == "bob" {
						time.Sleep(3 * time.Second)
					}
				}
				a := start(t, heymanito.WithHooks(heymanito.Hooks{
					OnConnect:     func(_ context.Context, d heymanito.Device) { slow("OnConnect", d.ChatPath) },
					OnDisconnect:  func(_ context.Context, d heymanito.Device, _ string) { slow("OnDisconnect", d.ChatPath) },
					Authorize:     func(_ context.Context, a heymanito.Action) error { slow("Authorize", a.From); return nil },
					BeforeMessage: func(_ context.Context, m heymanito.Message) error { slow("BeforeMessage", m.From); return nil },
					AfterMessage: func(_ context.Context, m heymanito.Message, _ heymanito.Delivery) {
						slow("AfterMessage", m.From)
					},
					OnUndelivered: func(_ context.Context, m heymanito.Message) { slow("OnUndelivered", m.From) },
					OnRead:        func(_ context.Context, r heymanito.Read) { slow("OnRead", r.Reader) },
					BeforeCall:    func(_ context.Context, c heymanito.Call) error { slow("BeforeCall", c.Caller); return nil },
					OnCall: func(_ context.Context, c heymanito.Call) {
						slow("OnCall", c.Caller)
					},
					OnRing:    func(_ context.Context, c heymanito.Call, _ []heymanito.Device) { slow("OnRing", c.Caller) },
					OnRingEnd: func(_ context.Context, c heymanito.Call) { slow("OnRingEnd", c.Caller) },
				}))
				ann, bob, cid, eve := a.join("ann"), a.join("bob"), a.join("cid"), a.join("eve")
				if hook == "OnDisconnect" {
					bob.Goodbye()
					bob = a.join("bob")
				}
				for i, payload := range []string{mail("m1", "bob", "nobody"), mail("m2", "bob", "ann")} {
					if err := bob.Send(fmt.Sprintf(`42%d["sendMessage",%s]`, 100+i, payload)); err != nil {
						t.Fatal(err)
					}
				}
				bob.Emit("markAsRead", `{"senderChatPath":"ann","recipientChatPath":"bob"}`)
				bob.Emit("initiateCall", `{"recipientId":"ann","callerId":"bob"}`)
				bob.Emit("sendMessage", mail("m3", "bob", "ann"))
				synctest.Wait()
				begun := time.Now()
				if ack := cid.EmitAck("sendMessage", mail("m", "cid", "bob")); ack.Delivery != "sent" {
					t.Errorf("a message to him is acked %s", ack.Raw)
				}
				bob.Expect("receiveMessage")
				if ack := ann.EmitAck("sendMessage", mail("m", "ann", "cid")); ack.Delivery != "sent" {
					t.Errorf("a message between others is acked %s", ack.Raw)
				}
				calls := func(of *person, event, payload string) {
					t.Helper()
					if ack := of.EmitAck(event, payload); ack.Status != "ok" || ack.CallID == "" {
						t.Errorf("%s: %s(%s) is acked %s", of.User, event, payload, ack.Raw)
					}
				}
				calls(eve, "initiateCall", `{"recipientId":"cid","callerId":"eve","roomName":"r1"}`)
				calls(cid, "acceptCall", `{"callerId":"eve","roomName":"r1"}`)
				calls(cid, "rejectCall", `{"callerId":"eve","recipientId":"cid","roomName":"r1"}`)
				calls(ann, "initiateCall", `{"recipientId":"cid","callerId":"ann","roomName":"r2"}`)
				calls(cid, "rejectCall", `{"callerId":"ann","recipientId":"cid","roomName":"r2"}`)
				if hook == "OnCall" || hook == "OnRing" || hook == "OnRingEnd" { // his own call can be answered, too
					calls(ann, "acceptCall", `{"callerId":"bob"}`)
				}
				a.join("dan").Goodbye()
				a.join("bob") // his other devices are others too
				synctest.Wait()
				if time.Since(begun) != 0 {
					t.Errorf("others have waited %v", time.Since(begun))
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if got := len(ann.Named("receiveMessage")); got != 2 {
					t.Errorf("ann has received %d messages of 2", got)
				}
			})
		})
	}
}

// gatedStore takes a user's coming only when its gate is opened.
type gatedStore struct {
	heymanito.PresenceStore
	user string
	gate chan struct{}
}

func (s *gatedStore) Set(ctx context.Context, p heymanito.Presence) error {
	if p.User == s.user && p.Online {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.PresenceStore.Set(ctx, p)
}

// What waits for a device that is being let in is bounded as its queue will be.
func TestMessagesForWhoIsLetIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &gatedStore{heymanito.NewMemoryPresence(), "bob", make(chan struct{})}
		a := start(t, heymanito.WithPresence(store), heymanito.WithMaxQueue(10_000))
		ann := a.join("ann")
		send := func(n int) (delivery string) {
			return ann.EmitAck("sendMessage", fmt.Sprintf(`{"id":%d,"senderChatPath":"ann","recipientChatPath":"bob","content":%q}`, n, strings.Repeat("x", 3000))).Delivery
		}
		bob := a.dial("bob")
		if err := bob.Send("40"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := send(1); got != "sent" {
			t.Errorf("a message for whom is being let in: %s", got)
		}
		close(store.gate)
		for _, want := range []string{`40{"sid"`, `42["online_users"`, `42["receiveMessage",{"id":1,`} {
			if p, err := bob.Text(); err != nil || !strings.HasPrefix(p, want) {
				t.Errorf("bob was sent %.40q, %v; want %s", p, err, want)
			}
		}
		bob.Close()
		synctest.Wait()

		store.gate = make(chan struct{})
		bob = a.dial("bob")
		if err := bob.Send("40"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		var got []string
		for i := range 5 {
			got = append(got, send(i+2))
		}
		if want := []string{"sent", "sent", "sent", "offline", "offline"}; !slices.Equal(got, want) {
			t.Errorf("3,000 bytes at a time for a queue of 10,000: %q", got)
		}
		if _, _, err := bob.Read(); err == nil {
			t.Error("bob was not cut off")
		}
	})
}
