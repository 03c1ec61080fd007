package heymanito_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// line is a client on either transport that sends Engine.IO packets as they
// are; a binary one is written as in a polling payload.
type line interface {
	send(packets ...string) error
	// next returns the next packet that begins with prefix. When the server has
	// ended the connection it is an error.
	next(prefix string) (string, error)
	close()
}

type wsLine struct{ *wiretest.WS }

func (l wsLine) send(packets ...string) error {
	var b []byte
	for _, p := range packets {
		if data, ok := strings.CutPrefix(p, "b"); ok {
			raw, err := base64.StdEncoding.DecodeString(data)
			if err != nil {
				return err
			}
			b = append(b, wiretest.Frame(true, wiretest.OpBinary, raw)...)
			continue
		}
		b = append(b, wiretest.Texts(p)...)
	}
	return l.Write(b)
}
func (l wsLine) next(prefix string) (string, error) { return await(l.WS, prefix) }
func (l wsLine) close()                             { l.Close() }

type pollLine struct {
	*wiretest.Poll
	got []string
}

func (l *pollLine) send(packets ...string) error {
	_, err := l.Post(strings.Join(packets, "\x1e")) // how it is answered is for the table of polling
	return err
}

func (l *pollLine) next(prefix string) (string, error) {
	for {
		for i, p := range l.got {
			if strings.HasPrefix(p, prefix) {
				l.got = l.got[i+1:]
				return p, nil
			}
		}
		var err error
		l.got, err = l.Next("")
		if err != nil {
			return "", err
		}
	}
}
func (l *pollLine) close() { l.Quit() }

// line connects user; raw: it only opens the transport.
func (b *bed) line(transport, user string, raw bool) (line, error) {
	if transport == "websocket" {
		ws, err := b.open(user)
		if err == nil && !raw {
			if err = ws.Send("40"); err == nil {
				err = joined(ws)
			}
		}
		return wsLine{ws}, err
	}
	p, err := wiretest.OpenPoll(b.URL, user)
	if err == nil && !raw {
		err = p.Join()
	}
	return &pollLine{Poll: p}, err
}

// What an answer may be, besides the code of an ack.
const (
	ok      = "ok"
	nothing = "nothing" // no answer, the connection lives
	closed  = "closed"  // the connection ends
	refused = "refused" // an answer to another namespace, the connection lives
)

// offence is something that no client of ours would send.
type offence struct {
	packets []string // to be answered is the one with ack id 1
	want    string
}

func event(args string) []string { return []string{"421[" + args + "]"} }

func offences() []offence {
	var l []offence
	add := func(want string, packets ...string) { l = append(l, offence{packets, want}) }
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	long := `"` + strings.Repeat("x", 257) + `"`
	good := map[string]map[string]string{
		"sendMessage":     {"id": "1", "senderChatPath": `"mallory"`, "recipientChatPath": `"victim"`, "content": `"evil"`},
		"markAsRead":      {"senderChatPath": `"victim"`, "recipientChatPath": `"mallory"`},
		"markAsDelivered": {"senderChatPath": `"victim"`, "recipientChatPath": `"mallory"`},
		"initiateCall":    {"recipientId": `"victim"`, "callerId": `"mallory"`, "roomName": `"r"`},
		"acceptCall":      {"callerId": `"victim"`},
		"rejectCall":      {"callerId": `"victim"`, "recipientId": `"mallory"`},
	}
	object := func(fields map[string]string, replace, with string) string {
		var parts []string
		for k, v := range fields {
			if k == replace {
				v = with
			}
			if v != "" {
				parts = append(parts, strconv.Quote(k)+":"+v)
			}
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	for name, fields := range good {
		// Payloads that are not the object they should be.
		for _, payload := range []string{"", ",null", ",true", ",1", `,"x"`, ",[]", ",{}", "," + deep(1000), ",[{}]", ",{", `,{"id"}`, ",}", ",{}{}", `,{"a":1,}`} {
			add("invalid", event(strconv.Quote(name)+payload)...)
		}
		whole := object(fields, "", "")
		add("invalid", event(strconv.Quote(name)+","+whole+",")...)
		add("invalid", "421["+strconv.Quote(name)+","+whole+"]x")
		add("invalid", "421["+strconv.Quote(name)+","+whole)
		add("invalid", event(strconv.Quote(name)+","+whole+","+deep(1000))...)
		// Fields that are not what they should be.
		for field := range fields {
			if field == "content" {
				continue
			}
			for _, v := range []string{"true", "[]", "{}", `""`, long, deep(50), `"\ud800"`} {
				if field == "id" && v == `"\ud800"` {
					continue // any string
				}
				add("invalid", event(strconv.Quote(name)+","+object(fields, field, v))...)
			}
			if field == "roomName" {
				continue // optional
			}
			for _, v := range []string{"", "null"} {
				add("invalid", event(strconv.Quote(name)+","+object(fields, field, v))...)
			}
			if field != "id" {
				add("invalid", event(strconv.Quote(name)+","+object(fields, field, "7"))...)
			}
		}
		// Speaking for someone else.
		for field, v := range fields {
			if v == `"mallory"` {
				add("identity_mismatch", event(strconv.Quote(name)+","+object(fields, field, `"victim"`))...)
				add("identity_mismatch", event(strconv.Quote(name)+","+object(fields, field, `"mallory "`))...)
			}
		}
	}
	add("invalid", event(`"sendMessage",{"id":1,"senderChatPath":"mallory","recipientChatPath":"vic\u0000tim","content":"evil"}`)...)
	add("invalid", event(`"sendMessage",`+message("mallory", "victim", 1, deep(101)))...)
	add("invalid", event(`"sendMessage",`+message("mallory", "victim", 1, deep(1000)))...)
	add("invalid", event(`"sendMessage",`+message("mallory", "victim", 1, strings.Repeat(`{"a":`, 100_000)+"1"+strings.Repeat("}", 100_000)))...)
	add("invalid", event(`"sendMessage",`+message("mallory", "victim", 1, strings.Repeat("[", 400_000)))...)
	add("invalid", event(`"initiateCall",{"recipientId":"mallory","callerId":"mallory"}`)...) // to oneself
	add("not_found", event(`"acceptCall",{"callerId":"victim"}`)...)
	add("not_found", event(`"rejectCall",{"callerId":"victim","recipientId":"mallory"}`)...)

	// Events that there are not.
	for _, name := range []string{
		`"nosuch"`, `""`, `"connect"`, `"connect_error"`, `"disconnect"`, `"disconnecting"`, `"error"`, `"newListener"`, `"removeListener"`,
		`"__proto__"`, `"constructor"`, `"receiveMessage"`, `"online_users"`, `"sendmessage"`, `"sendMessage\u0000"`, `"` + strings.Repeat("n", 10_000) + `"`,
		"1", "null", "true", "{}", "[]", `{"_placeholder":true,"num":0}`, "tru", `"x`, "nosuch", deep(1000),
	} {
		add("invalid", event(name)...)
		add("invalid", event(name+`,{}`)...)
	}
	add(nothing, `42["nosuch",1]`)
	add(nothing, `42["sendMessage",null]`)
	add(nothing, `42[1]`)

	// Acks that nobody asked for.
	add(nothing, `431["x"]`)
	add(nothing, `43[]`)
	add(nothing, `4399999999999999999999[1,2,3]`)
	add(nothing, `461-3["x",{"_placeholder":true,"num":0}]`, "bAAEC")

	// Packets that are none.
	for _, p := range []string{
		"4", "4x", "47", "48[]", "44", `44{"message":"x"}`, "42", `42"x"`, "42{}", "42[]", "42[ ]", "42null", "421", "4212",
		`42123456789012345678901["x"]`, `42-1["x"]`, `43`, // an ack id of 21 digits
		`45["x"]`, `45-["x"]`, `45x-["x"]`, `451["x"]`, `45+1-["x"]`, `45-1-["x"]`, `451.0-["x"]`, `4599999999999-["x"]`, `452147483648-["x"]`,
		"40", "40{}", `40{"token":1}`, "40/,", "40[]", `40"x"`, "40null", "40{", "41x",
		`42/admin,["x"]`, `43/admin,1[]`, `42/,x`, `42/["x"]`, `42/admin["x"]`,
		"0", "0{}", "2", "2probe", "7", "9", "x", "\x00", "é",
	} {
		if p != "42/,x" && p != "41x" {
			add(closed, p)
		}
	}
	for _, p := range []string{"3", "3probe", "5", "6", "6xyz"} {
		add(nothing, p)
	}
	add(closed, "bAAEC")                                            // an attachment of nothing
	add(closed, `42["x"]`, "bAAEC")                                 // the same
	add(closed, `451-1["sendMessage",null]`, `42["x"]`)             // an event where an attachment is due
	add(closed, `452-1["sendMessage",null]`, "bAAEC", "40")         // a packet where one is due
	add(closed, `452147483647-1["sendMessage",null]`, "bAA==", "4") // the same
	add(closed, "41", `421["sendMessage",`+message("mallory", "victim", 1, `"evil"`)+`]`)
	add("invalid", `451-1["sendMessage",`+message("mallory", "victim", 1, `{"_placeholder":true,"num":1}`)+`]`, "bAAEC")
	add("invalid", `451-1[{"_placeholder":true,"num":0},1]`, "bAAEC")

	// Namespaces that there are not.
	for _, ns := range []string{"/admin", "/admin?x=1", "/a/b", "//", "/é", "/" + strings.Repeat("n", 200)} {
		add(refused, "40"+ns+",")
	}
	add(refused, `40/admin,{"token":"x"}`)
	add(nothing, "41/admin,")
	return l
}

// Whatever a client sends, it gets the answer that is documented, and nobody
// else gets anything.
func TestAbuseAnswers(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	pair := b.chat()
	victim := wiretest.Connect(t, b.URL, "victim")
	for _, transport := range []string{"websocket", "polling"} {
		all := offences()
		if err := each(4, len(all), func(i int) error {
			o := all[i]
			if err := b.offend(transport, o); err != nil {
				t.Errorf("on %s, %.120q: %v", transport, o.packets, err)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	pair.stop()
	victim.Sync()
	for _, e := range victim.Log() {
		switch e.Name {
		case "online_users", "inboxReady", "contact_online", "contact_offline", "ack 1":
		default:
			if e.Name != "receiveMessage" || !strings.Contains(e.String(), `"content":"good"`) {
				t.Errorf("the victim was sent %v", e)
			}
		}
	}
}

// offend sends what o has and checks what comes of it.
func (b *bed) offend(transport string, o offence) error {
	l, err := b.line(transport, "mallory", false)
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.send(o.packets...); err != nil && o.want != closed {
		return err
	}
	switch o.want {
	case closed:
		if p, err := l.next("43"); err == nil {
			return fmt.Errorf("the connection lives, and says %s", p)
		}
		return nil
	case refused:
		if p, err := l.next("44/"); err != nil || !strings.Contains(p, `,{"message":"Invalid namespace"}`) {
			return fmt.Errorf("%q, %w", p, err)
		}
	case nothing:
	default:
		p, err := l.next("431[")
		if err != nil {
			return err
		}
		if !strings.HasPrefix(p, `431[{"status":"error","code":"`+o.want+`","message":"`) || !strings.HasSuffix(p, `","retryable":false}]`) {
			return fmt.Errorf("answered %s, not %s", p, o.want)
		}
	}
	// The connection lives, and what is right is done.
	if err := l.send(`4299["sendMessage",` + message("mallory", "victim", 99, `"good"`) + `]`); err != nil {
		return err
	}
	p, err := l.next("43")
	if err != nil {
		return fmt.Errorf("then: %w", err)
	}
	if !strings.HasPrefix(p, `4399[{"status":"ok","id":99,`) {
		return fmt.Errorf("then it says %s", p)
	}
	return nil
}

// Before CONNECT, and while it is being decided.
func TestAbuseBeforeConnect(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{}, 1000)
	b := newBed(t, heymanito.WithAuth(func(ctx context.Context, h heymanito.Handshake) (heymanito.Identity, error) {
		if h.UserID == "slow" {
			entered <- struct{}{}
			<-ctx.Done() // a token service that hangs
			return heymanito.Identity{}, ctx.Err()
		}
		return heymanito.Identity{ChatPath: h.UserID}, nil
	}))
	pair := b.chat()
	many := func(packet string, n int) []string {
		l := make([]string, n)
		for i := range l {
			l[i] = packet
		}
		return l
	}
	for _, c := range []struct {
		name    string
		user    string
		packets []string
	}{
		{"an event", "early", []string{`421["sendMessage",{}]`, "40"}},
		{"an attachment", "early", []string{"bAAEC"}},
		{"an ack", "early", []string{"431[]"}},
		{"a disconnect", "early", []string{"41"}},
		{"nothing in a message", "early", []string{"4"}},
		{"a malformed CONNECT", "early", []string{"40{"}},
		{"a CONNECT of another kind", "early", []string{"40[1]"}},
		{"two CONNECTs", "early", []string{"40", "40"}},
		{"100,000 pongs", "early", many("3", 100_000)},
		{"100,000 events", "early", many(`42["x"]`, 100_000)},
		{"100,000 CONNECTs", "early", many("40", 100_000)},
		{"100,000 other namespaces", "early", many("40/x,", 100_000)},
		{"100,000 events while being let in", "slow", append([]string{"40"}, many(`42["x"]`, 100_000)...)},
		{"17 events while being let in", "slow", append([]string{"40"}, many(`42["x"]`, 17)...)},
		{"100,000 attachments while being let in", "slow", append([]string{"40"}, many("bAA==", 100_000)...)},
		{"70 KB in one packet", "early", []string{`40{"token":"` + strings.Repeat("x", 70_000) + `"}`}},
		{"10 MB in one packet", "early", []string{`40{"token":"` + strings.Repeat("x", 10_000_000) + `"}`}},
	} {
		for _, transport := range []string{"websocket", "polling"} {
			if transport == "polling" && strings.Contains(c.name, "MB") || transport == "polling" && len(strings.Join(c.packets, " ")) > 60_000 {
				continue // 413, below
			}
			t.Run(c.name+" on "+transport, func(t *testing.T) {
				l, err := b.line(transport, c.user, true)
				if err != nil {
					t.Fatal(err)
				}
				defer l.close()
				_ = l.send(c.packets...) // the server may close before it has all
				if p, err := l.next("43"); err == nil {
					t.Errorf("the connection lives, and says %s", p)
				} else if isTimeout(err) {
					t.Errorf("the connection was not closed: %v", err)
				}
			})
		}
	}
	t.Run("too much for a POST", func(t *testing.T) {
		p, err := wiretest.OpenPoll(b.URL, "early")
		if err != nil {
			t.Fatal(err)
		}
		defer p.Quit()
		for _, body := range []io.Reader{strings.NewReader(strings.Repeat("3", 70_000)), chunked{strings.NewReader("40\x1e" + strings.Repeat("3", 70_000))}} {
			if a, err := p.PostBody(body, "text/plain"); err == nil && a.Status != http.StatusRequestEntityTooLarge {
				t.Errorf("answered %d %q", a.Status, a.Body)
			}
		}
		if err := p.Join(); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
	t.Run("who was refused may try again", func(t *testing.T) {
		ws, err := b.open("late")
		if err != nil {
			t.Fatal(err)
		}
		defer ws.Close()
		if err := ws.Write(wiretest.Texts("40/x,", "40/y,", "40")); err != nil {
			t.Fatal(err)
		}
		if err := joined(ws); err != nil {
			t.Error(err)
		}
	})
	pair.stop()
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// Events that are too large. Not parallel: it measures the heap.
func TestAbuseTooLarge(t *testing.T) {
	b := newBed(t)
	pair := b.chat()
	before, peak := heapNow(), 0
	ws, err := b.line("websocket", "mallory", false)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.close()
	mega := strings.Repeat("x", 1<<20)
	// send writes a message of n MiB, in one frame or in one for each MiB, and
	// looks at the heap in the middle of it.
	send := func(head string, n int, op byte, fragments bool) error {
		c := ws.(wsLine).WS
		for i := range n {
			if i == n/2 {
				peak = max(peak, heapNow()-before)
			}
			var frame []byte
			switch {
			case fragments:
				frame = wiretest.Frame(i == n-1, op, []byte(head+mega[len(head):]))
			case i == 0: // the header of the whole, and zeros for a mask
				frame = append([]byte{0x80 | op, 0x80 | 127, 0, 0, 0, 0, byte(n >> 4), byte(n << 4), 0, 0, 0, 0, 0, 0}, head+mega[len(head):]...)
			default:
				frame = []byte(mega)
			}
			if err := c.Write(frame); err != nil {
				return err
			}
			head = ""
			if fragments {
				op = wiretest.OpContinuation
			}
		}
		return nil
	}
	tooLarge := func(id string) {
		t.Helper()
		p, err := ws.next("43")
		if err != nil || !strings.HasPrefix(p, "43"+id+`[{"status":"error","code":"too_large"`) {
			t.Fatalf("answered %s, %v", p, err)
		}
	}
	head := func(id string) string {
		return `42` + id + `["sendMessage",{"id":1,"senderChatPath":"mallory","recipientChatPath":"nobody","content":"`
	}
	for i := range 2 {
		id := strconv.Itoa(i)
		if err := send(head("1"+id), 10, wiretest.OpText, false); err != nil {
			t.Fatal(err)
		}
		tooLarge("1" + id)
		if err := send(head("2"+id), 10, wiretest.OpText, true); err != nil {
			t.Fatal(err)
		}
		tooLarge("2" + id)
		// An attachment, and several that are too large together.
		if err := ws.send(`451-3` + id + `["sendMessage",{}]`); err != nil {
			t.Fatal(err)
		}
		if err := send("", 10, wiretest.OpBinary, false); err != nil {
			t.Fatal(err)
		}
		tooLarge("3" + id)
		photo := "b" + base64Of(make([]byte, 400_000))
		if err := ws.send(`453-4`+id+`["sendMessage",{}]`, photo, photo, photo); err != nil {
			t.Fatal(err)
		}
		tooLarge("4" + id)
		if err := ws.send(`455-5`+id+`["sendMessage",{}]`, "bAAEC"); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if err := send("", 2, wiretest.OpBinary, true); err != nil {
				t.Fatal(err)
			}
		}
		tooLarge("5" + id)
		if err := ws.send(`426` + id + `["sendMessage",` + message("mallory", "nobody", i, `"fits"`) + `]`); err != nil {
			t.Fatal(err)
		}
		if p, err := ws.next("43"); err != nil || !strings.HasPrefix(p, "436"+id+`[{"status":"ok"`) {
			t.Fatalf("an event that fits is answered %s, %v", p, err)
		}
	}
	// Too much even to be read past, whether the header says so or the
	// fragments add up to it.
	for _, fragments := range []bool{false, true} {
		if ws, err = b.line("websocket", "mallory", false); err != nil {
			t.Fatal(err)
		}
		_ = send(head("7"), 17, wiretest.OpText, fragments) // it may be closed before all is written
		if _, err := ws.next("43"); err == nil || isTimeout(err) {
			t.Errorf("17 MB in fragments=%v: %v", fragments, err)
		}
		ws.close()
	}
	if limit := 6 << 20; peak > limit {
		t.Errorf("large events took %d KB", peak>>10)
	}
	t.Logf("peak %d KB", peak>>10)
	pair.stop()
}

// A client that only sends, and never reads, must not cost more than its queue
// may have, whatever it makes the server say. Not parallel: it measures the
// heap.
func TestAbuseWriteOnly(t *testing.T) {
	const queue = 1 << 20
	for _, c := range []struct {
		name  string
		frame []byte
	}{
		{"WebSocket pings", wiretest.Frame(true, wiretest.OpPing, nil)},
		{"WebSocket pings with a payload", wiretest.Frame(true, wiretest.OpPing, make([]byte, 125))},
		{"events with a callback", wiretest.Texts(`421[1]`)},
		{"other namespaces", wiretest.Texts(`40/x,`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ended atomic.Int64
			b := newBed(t, heymanito.WithMaxQueue(queue), heymanito.WithHooks(heymanito.Hooks{
				OnDisconnect: func(_ context.Context, d heymanito.Device, _ string) {
					if d.ChatPath == "mallory" {
						ended.Add(1)
					}
				},
			}))
			pair := b.chat()
			defer pair.stop()
			before, peak := heapNow(), 0
			const clients = 4
			var lines []*wiretest.WS
			for range clients {
				ws, err := b.join("mallory")
				if err != nil {
					t.Fatal(err)
				}
				defer ws.Close()
				lines = append(lines, ws)
			}
			burst := bytes.Repeat(c.frame, 1+(256<<10)/len(c.frame))
			for range 64 { // 16 MB from each, unless it is cut
				for _, ws := range lines {
					_ = ws.Net.SetWriteDeadline(time.Now().Add(patience))
					_ = ws.Write(burst)
				}
				// The smaller of two: the server is at work, and makes garbage.
				peak = max(peak, min(heapNow(), heapNow())-before)
				if ended.Load() == clients {
					break
				}
			}
			t.Logf("peak %d KB, %d cut", peak>>10, ended.Load())
			if limit := 2*clients*queue + 4<<20; peak > limit {
				t.Errorf("%d clients whose queues may have %d KB cost %d KB", clients, queue>>10, peak>>10)
			}
			wiretest.Eventually(t, "they are cut", func() bool { return ended.Load() == clients })
		})
	}
}

// Handshakes that are begun and not finished are closed in time, and say why.
func TestAbuseHalfOpen(t *testing.T) {
	t.Parallel()
	b := newBed(t, heymanito.WithHandshakeLimits(500*time.Millisecond, 64<<10, 16))
	pair := b.chat()
	if err := each(8, 1500, func(i int) error {
		ws, err := b.open("half")
		if err != nil {
			return err
		}
		t.Cleanup(ws.Close)
		if i%100 == 0 {
			_, err := await(ws, "4")
			if ce, ok := asClose(err); !ok || ce.Code != 1008 {
				return fmt.Errorf("a half-open handshake was closed with %w", err)
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	pair.stop()
}

// There are only so many places for handshakes: who finds none is told to come
// back, and whatever way a handshake ends, its place is given back.
func TestAbuseHandshakePlaces(t *testing.T) {
	t.Parallel()
	const places = 100
	b := newBed(t, heymanito.WithMaxHandshakes(places, 2*places), heymanito.WithHandshakeLimits(time.Minute, 64<<10, 16))
	pair := b.chat()
	fill := func() {
		t.Helper()
		var full []*wiretest.WS
		wiretest.Eventually(t, "all places are free", func() bool {
			for len(full) < places {
				ws, err := b.open("half")
				if err != nil {
					return false
				}
				full = append(full, ws)
			}
			return true
		})
		for range 10 {
			ws, err := b.open("half")
			if s, ok := asStatus(err); !ok || s.Status != http.StatusServiceUnavailable || !strings.Contains(s.Header, "\r\nRetry-After: ") {
				t.Errorf("where no place is left a handshake is answered %v, %v", ws, err)
			}
		}
		for _, ws := range full {
			ws.Close()
		}
	}
	fill()
	// Whatever way they end, their places are given back.
	if err := each(8, 2000, func(i int) error {
		rnd := rand.New(rand.NewPCG(8, uint64(i)))
		switch i % 4 {
		case 0, 1:
			return ignoreFull(b.cutWebSocket("half", rnd))
		case 2:
			p, err := wiretest.OpenPoll(b.URL, "half")
			if err != nil {
				return ignoreFull(err)
			}
			defer p.Quit()
			_, err = p.Post([]string{"1", "x", "2", "40\x1e1", "4"}[rnd.IntN(5)])
			return err
		}
		ws, err := b.open("half")
		if err != nil {
			return ignoreFull(err)
		}
		defer ws.Close()
		return ws.Write(wiretest.Texts([]string{"1", "x", "40", "41", "40{"}[rnd.IntN(5)]))
	}); err != nil {
		t.Error(err)
	}
	fill()
	pair.stop()
}

// ignoreFull drops the error of a client for whom there was no place.
func ignoreFull(err error) error {
	if s, ok := asStatus(err); ok && s.Status == http.StatusServiceUnavailable {
		return nil
	}
	return err
}

// Random bytes, from the TCP connection up to events, each a little further in.
func TestAbuseRandom(t *testing.T) {
	t.Parallel()
	b := newBed(t, heymanito.Relay("typing"), heymanito.WithHandshakeLimits(time.Second, 64<<10, 16))
	pair := b.chat()
	corpus := offences()
	end := time.Now().Add(3 * time.Second)
	var rounds atomic.Int64
	if err := each(4, 1_000_000, func(i int) error {
		if time.Now().After(end) {
			return io.EOF
		}
		rounds.Add(1)
		rnd := rand.New(rand.NewPCG(2024, uint64(i)))
		noise := func(n int) []byte {
			p := make([]byte, rnd.IntN(n))
			for i := range p {
				p[i] = byte(rnd.Uint32())
			}
			return p
		}
		// mutant is some packets with some bytes changed, dropped or doubled.
		mutant := func() []byte {
			o := corpus[rnd.IntN(len(corpus))]
			p := []byte(o.packets[rnd.IntN(len(o.packets))])
			if len(p) > 2000 {
				p = p[:2000]
			}
			for range 1 + rnd.IntN(4) {
				at := rnd.IntN(len(p))
				switch rnd.IntN(4) {
				case 0:
					p[at] = byte(rnd.Uint32())
				case 1:
					p = append(p[:at:at], p[at+1:]...)
				case 2:
					p = append(p[:at:at], p[at/2:]...)
				case 3:
					p[at] = `0123456789[]{}",:\-/b`[rnd.IntN(21)]
				}
				if len(p) == 0 {
					p = []byte{'4'}
				}
			}
			return p
		}
		switch i % 5 {
		case 0: // instead of HTTP, or in the middle of it
			nc, err := net.Dial("tcp", b.Addr)
			if err != nil {
				return err
			}
			defer nc.Close()
			head := "GET /socket.io/?" + query("noise") + " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
			_, err = nc.Write(append([]byte(head[:rnd.IntN(len(head)+1)]), noise(200)...))
			return ignoreReset(err)
		case 1: // instead of frames
			ws, err := b.dialEager("noise", noise(300), noise(300))
			if err != nil {
				return nil // it is refused at times
			}
			defer ws.Close()
			return ignoreReset(ws.Write(noise(2000)))
		case 2: // frames of all kinds
			ws, err := b.join("noise")
			if err != nil {
				return err
			}
			defer ws.Close()
			for range rnd.IntN(20) {
				f := wiretest.Frame(rnd.IntN(4) > 0, byte(rnd.IntN(16)), mutant())
				if rnd.IntN(8) == 0 {
					f[0] |= byte(rnd.Uint32())
				}
				if rnd.IntN(8) == 0 {
					f[1] = byte(rnd.Uint32())
				}
				if ws.Write(f) != nil {
					return nil
				}
			}
			return nil
		case 3: // packets
			ws, err := b.join("noise")
			if err != nil {
				return err
			}
			defer ws.Close()
			for range rnd.IntN(20) {
				op := byte(wiretest.OpText)
				if rnd.IntN(5) == 0 {
					op = wiretest.OpBinary
				}
				if ws.Write(wiretest.Frame(true, op, mutant())) != nil {
					return nil
				}
			}
			return nil
		default: // payloads
			p, err := wiretest.OpenPoll(b.URL, "noise")
			if err != nil {
				return err
			}
			defer p.Quit()
			if rnd.IntN(2) == 0 {
				if err := p.Join(); err != nil {
					return err
				}
			}
			_, err = p.Post(string(bytes.Join([][]byte{mutant(), mutant(), mutant()}, []byte{"\x1e\x1e\x1e4"[rnd.IntN(4)]})))
			return err
		}
	}); err != nil && !strings.Contains(err.Error(), "EOF") {
		t.Error(err)
	}
	t.Logf("%d rounds", rounds.Load())
	pair.stop()
}

func ignoreReset(err error) error {
	if err != nil && (strings.Contains(err.Error(), "reset by peer") || strings.Contains(err.Error(), "broken pipe")) {
		return nil
	}
	return err
}
