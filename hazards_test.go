package heymanito_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// Twelve things the library's own server gets wrong (the design, section 1).
// Each has a test here that would show it if we had it too.

// 1. A pong that comes before the first ping must not stop the process.
func TestHazard1EarlyPong(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	pair := b.chat()
	burst := bytes.Repeat(wiretest.Texts("3"), 200)
	err := each(8, 2000, func(i int) error {
		// In one segment with the HTTP request, or the moment it is answered.
		var behind, upon []byte
		if i%2 == 0 {
			behind = burst
		} else {
			upon = burst
		}
		ws, err := b.dialEager("early", behind, upon)
		if err != nil {
			return err
		}
		defer ws.Close()
		if i%4 < 2 { // gone without a word
			return nil
		}
		if err := ws.Send("40"); err != nil {
			return err
		}
		return joined(ws) // a pong is a sign of life, nothing else
	})
	if err != nil {
		t.Error(err)
	}
	pair.stop()
}

// 2. Connections leave no goroutine and no memory behind, and neither do users
// who never come back. Not parallel: it counts what the whole process has.
func TestHazard2NothingStays(t *testing.T) {
	store := heymanito.NewMemoryPresence()
	store.KeepLastSeen(100) // what it is to remember is no leak
	inbox := heymanito.NewMemoryInbox(heymanito.InboxBounds{Total: 256 << 10})
	b := newBed(t, heymanito.WithPresence(store), heymanito.WithInbox(inbox), heymanito.WithOfflineGrace(time.Millisecond))
	users := 0
	cycles := func(n int) {
		t.Helper()
		first := users
		users += n
		if err := each(6, n, func(i int) error { return b.cycle(first + i) }); err != nil {
			t.Fatal(err)
		}
	}
	const slack = 10 // goroutines of the runtime and of net/http that may come and go
	cycles(500)      // pools and maps get their size
	http.DefaultClient.CloseIdleConnections()
	goroutines, heap := runtime.NumGoroutine(), heapNow()
	cycles(10_000)
	if !eventually(patience, func() bool { return runtime.NumGoroutine() <= goroutines+slack }) {
		all := make([]byte, 1<<16)
		t.Errorf("10,000 connections later there are %d goroutines instead of %d:\n%s", runtime.NumGoroutine(), goroutines, all[:runtime.Stack(all, true)])
	}
	// 50 bytes a connection; the library's server leaves 19,000.
	const limit = 512 << 10
	grown := 0
	if !eventually(patience, func() bool { grown = heapNow() - heap; return grown < limit }) {
		t.Errorf("10,000 connections later the heap is %d KB bigger", grown>>10)
	}
	t.Logf("the heap has grown by %d KB", grown>>10)
}

// cycle connects as a user of its own, sends an event and goes: with a goodbye,
// a close frame, or not a word.
func (b *bed) cycle(i int) error {
	user := "user" + strconv.Itoa(i)
	var ws *wiretest.WS
	var err error
	switch i % 20 {
	case 0:
		return b.pollCycle(user)
	case 10:
		ws, err = b.upgrade(user)
	default:
		ws, err = b.join(user)
	}
	if err != nil {
		return err
	}
	defer ws.Close()
	if err := ws.Send(`427["sendMessage",` + message(user, "nobody", i, `"x"`) + `]`); err != nil {
		return err
	}
	ack, err := await(ws, "43")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(ack, `437[{"status":"ok"`) {
		return fmt.Errorf("the ack is %s", ack)
	}
	switch i % 3 {
	case 0:
		return ws.Send("41")
	case 1:
		return ws.Write(wiretest.Frame(true, wiretest.OpClose, []byte{3, 0xe9}))
	}
	return nil
}

// upgrade connects on polling and moves to a WebSocket.
func (b *bed) upgrade(user string) (*wiretest.WS, error) {
	p, err := wiretest.OpenPoll(b.URL, user)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if err := p.Join(); err != nil {
		return nil, err
	}
	_, sid, _ := strings.Cut(p.URL, "&sid=")
	ws, err := wiretest.DialWS(b.URL, query(user)+"&sid="+sid)
	if err != nil {
		return nil, err
	}
	if err = ws.Send("2probe"); err == nil {
		_, err = await(ws, "3probe")
	}
	if err == nil {
		err = ws.Send("5")
	}
	if err != nil {
		ws.Close()
	}
	return ws, err
}

func (b *bed) pollCycle(user string) error {
	p, err := wiretest.OpenPoll(b.URL, user)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Join(); err != nil {
		return err
	}
	if err := p.Send(`427["sendMessage",` + message(user, "nobody", 1, `"x"`) + `]`); err != nil {
		return err
	}
	if _, err := p.Next(`437[{"status":"ok"`); err != nil {
		return err
	}
	return p.Send("1")
}

// 3. A CONNECT is never lost, however early it comes.
func TestHazard3EarlyConnect(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	connect := wiretest.Texts("40")
	err := each(8, 4000, func(i int) error {
		user := "user" + strconv.Itoa(i%16)
		var ws *wiretest.WS
		var err error
		switch i % 4 {
		case 0: // one segment with the HTTP request
			ws, err = b.dialEager(user, connect, nil)
		case 1: // the moment the answer is in
			ws, err = b.dialEager(user, nil, connect)
		default: // upon the open packet
			if ws, err = b.open(user); err == nil {
				err = ws.Send("40")
			}
		}
		if err != nil {
			return err
		}
		defer ws.Close()
		return joined(ws)
	})
	if err != nil {
		t.Error(err)
	}
}

// 4. What follows the CONNECT in the same segment, or the same POST, is handled
// in order, and acked.
func TestHazard4EarlyEvents(t *testing.T) {
	t.Parallel()
	const rounds, events = 400, 8
	var inHook atomic.Int64
	b := newBed(t, heymanito.WithHooks(heymanito.Hooks{OnConnect: func(_ context.Context, d heymanito.Device) {
		if d.ChatPath != "bob" {
			inHook.Add(1)
		}
	}}))
	bob := wiretest.Connect(t, b.URL, "bob")
	bob.Expect("inboxReady")
	err := each(4, rounds, func(i int) error {
		user := "early" + strconv.Itoa(i)
		packets := []string{"40"}
		for n := range events {
			packets = append(packets, fmt.Sprintf(`42%d["sendMessage",%s]`, n, message(user, "bob", n, `"x"`)))
		}
		acks := make([]string, 0, events)
		if i%4 == 3 {
			p, err := wiretest.OpenPoll(b.URL, user)
			if err != nil {
				return err
			}
			defer p.Quit()
			if err := p.Send(packets...); err != nil {
				return err
			}
			got, err := p.Next(fmt.Sprintf("43%d", events-1))
			if err != nil {
				return fmt.Errorf("%w after %q", err, got)
			}
			if !strings.HasPrefix(got[0], "40{") || !strings.HasPrefix(got[1], `42["online_users",`) {
				return fmt.Errorf("the first packets were %.300q", got)
			}
			for _, packet := range got {
				if strings.HasPrefix(packet, "43") {
					acks = append(acks, packet)
				}
			}
		} else {
			var behind, upon []byte
			switch i % 4 {
			case 0:
				behind = wiretest.Texts(packets...)
			case 1:
				upon = wiretest.Texts(packets...)
			}
			ws, err := b.dialEager(user, behind, upon)
			if err != nil {
				return err
			}
			defer ws.Close()
			if i%4 == 2 {
				if err := ws.Write(wiretest.Texts(packets...)); err != nil {
					return err
				}
			}
			if err := joined(ws); err != nil {
				return err
			}
			for range events {
				ack, err := await(ws, "43")
				if err != nil {
					return err
				}
				acks = append(acks, ack)
			}
		}
		for n, ack := range acks {
			if !strings.HasPrefix(ack, fmt.Sprintf(`43%d[{"status":"ok","id":%d,`, n, n)) || !strings.Contains(ack, `"delivery":"sent"`) {
				return fmt.Errorf("ack %d is %s", n, ack)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := inHook.Load(); n != rounds {
		t.Errorf("OnConnect was called %d times for %d connections", n, rounds)
	}
	bob.Sync()
	next := map[string]int{}
	for _, e := range bob.Named("receiveMessage") {
		var m struct {
			ID             int
			SenderChatPath string
		}
		if err := json.Unmarshal(e.Args[0], &m); err != nil {
			t.Fatal(err)
		}
		if m.ID != next[m.SenderChatPath] {
			t.Fatalf("message %d of %s came where %d was due", m.ID, m.SenderChatPath, next[m.SenderChatPath])
		}
		next[m.SenderChatPath]++
	}
	if len(next) != rounds {
		t.Errorf("messages of %d clients arrived, %d sent some", len(next), rounds)
	}
	for user, n := range next {
		if n != events {
			t.Errorf("%d of %d messages of %s arrived", n, events, user)
		}
	}
}

// 5. A live device can be reached, also when another one of its user leaves at
// that moment.
func TestHazard5JoinWhileLeaving(t *testing.T) {
	t.Parallel()
	b := newBed(t, heymanito.WithOfflineGrace(0))
	err := each(4, 4, func(worker int) error {
		user, sender := "user"+strconv.Itoa(worker), "sender"+strconv.Itoa(worker)
		from, err := b.join(sender)
		if err != nil {
			return err
		}
		defer from.Close()
		old, err := b.join(user)
		if err != nil {
			return err
		}
		for i := range 400 {
			// The CONNECT of the new device and the goodbye of the old one
			// reach the server together.
			device, err := b.open(user)
			if err != nil {
				return err
			}
			left := make(chan error, 1)
			go func(old *wiretest.WS) {
				left <- old.Write(wiretest.Texts("41"))
				old.Close()
			}(old)
			if err := device.Send("40"); err != nil {
				return err
			}
			if err := joined(device); err != nil {
				return err
			}
			if _, err := await(device, `42["inboxReady",`); err != nil {
				return err
			}
			if err := <-left; err != nil {
				return err
			}
			if err := from.Send(fmt.Sprintf(`42%d["sendMessage",%s]`, i, message(sender, user, i, "1"))); err != nil {
				return err
			}
			ack, err := await(from, "43")
			if err != nil {
				return err
			}
			if !strings.Contains(ack, `"delivery":"sent"`) {
				return fmt.Errorf("a live device, and the ack says %s", ack)
			}
			if _, err := await(device, fmt.Sprintf(`42["receiveMessage",{"id":%d,`, i)); err != nil {
				return fmt.Errorf("%s in round %d: %w", user, i, err)
			}
			old = device
		}
		old.Close()
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// 6. Nobody stays online who is gone, whenever he went.
func TestHazard6Ghosts(t *testing.T) {
	t.Parallel()
	const rounds = 2000
	store := heymanito.NewMemoryPresence()
	var connects, disconnects atomic.Int64
	b := newBed(t, heymanito.WithPresence(store), heymanito.WithOfflineGrace(20*time.Millisecond),
		heymanito.WithHeartbeat(2*time.Second, 2*time.Second), // sessions on polling are missed after it
		heymanito.WithHandshakeLimits(2*time.Second, 64<<10, 16),
		heymanito.WithHooks(heymanito.Hooks{
			OnConnect:    func(context.Context, heymanito.Device) { connects.Add(1) },
			OnDisconnect: func(context.Context, heymanito.Device, string) { disconnects.Add(1) },
		}))
	observer := wiretest.Connect(t, b.URL, "observer")
	err := each(8, rounds, func(i int) error {
		user := "ghost" + strconv.Itoa(i%500)
		rnd := rand.New(rand.NewPCG(6, uint64(i)))
		if i%8 == 7 {
			return b.cutPolling(user, rnd)
		}
		return b.cutWebSocket(user, rnd)
	})
	if err != nil {
		t.Fatal(err)
	}
	var online []string
	if !eventually(patience, func() bool {
		online = online[:0]
		for p, err := range store.Snapshot(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			online = append(online, p.User)
		}
		return len(online) == 1 && connects.Load() == disconnects.Load()+1
	}) {
		t.Errorf("the store believes %q online; OnConnect was called %d times, OnDisconnect %d times", online, connects.Load(), disconnects.Load())
	}
	if connects.Load() < rounds/10 {
		t.Errorf("only %d of %d got far enough to be let in: the test tests nothing", connects.Load(), rounds)
	}
	// What the observer was told adds up to the same. Edges come in order: when
	// he has seen the marker come, he has seen the rest.
	marker := wiretest.Connect(t, b.URL, "marker")
	wiretest.Eventually(t, "the observer sees the marker come", func() bool {
		return slices.ContainsFunc(observer.Named("contact_online"), func(e wiretest.Event) bool { return string(e.Args[0]) == `"marker"` })
	})
	seen := map[string]bool{}
	for _, e := range observer.Log() {
		switch e.Name {
		case "contact_online":
			if seen[string(e.Args[0])] {
				t.Fatalf("%s came twice without going", e.Args[0])
			}
			seen[string(e.Args[0])] = true
		case "contact_offline":
			if !seen[string(e.Args[0])] {
				t.Fatalf("%s went without coming", e.Args[0])
			}
			delete(seen, string(e.Args[0]))
		}
	}
	if len(seen) != 1 {
		t.Errorf("the observer believes online: %v", slices.Collect(maps.Keys(seen)))
	}
	// And a newcomer hears of nobody else.
	var list map[string]string
	late := wiretest.Connect(t, b.URL, "late")
	if err := json.Unmarshal(late.Named("online_users")[0].Args[0], &list); err != nil || len(list) != 3 {
		t.Errorf("a newcomer is told %v, %v", list, err)
	}
	marker.Cut()
}

// cutWebSocket connects up to a random moment and breaks off.
func (b *bed) cutWebSocket(user string, rnd *rand.Rand) error {
	nc, err := net.Dial("tcp", b.Addr)
	if err != nil {
		return err
	}
	defer func() {
		if rnd.IntN(2) == 0 {
			_ = nc.(*net.TCPConn).SetLinger(0) // a reset instead of a FIN
		}
		_ = nc.Close()
	}()
	_ = nc.SetDeadline(time.Now().Add(patience))
	request := "GET /socket.io/?" + query(user) + " HTTP/1.1\r\nHost: " + b.Addr + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	wire := append([]byte(request), wiretest.Texts("40", `421["sendMessage",`+message(user, "observer", 1, "1")+`]`, "41")...)
	// The end of the CONNECT, give or take: everything around it is likely,
	// everything before it and behind it possible.
	n := len(request) + len(wiretest.Texts("40"))
	switch rnd.IntN(4) {
	case 0:
		n = rnd.IntN(len(wire) + 1)
	case 1:
		n += rnd.IntN(20) - 10
	}
	if _, err := nc.Write(wire[:n]); err != nil {
		return err
	}
	// How much of the answer is waited for: none of it, the upgrade, the open
	// packet, the answer to CONNECT.
	want := []string{"", "\r\n\r\n", `"maxPayload"`, "40{", "online_users"}[rnd.IntN(5)]
	if n < len(request) || n < len(request)+len(wiretest.Texts("40")) && strings.HasPrefix(want, "4") || want == "online_users" && n < len(request)+8 {
		want = ""
	}
	var got []byte
	piece := make([]byte, 4096)
	for want != "" && !bytes.Contains(got, []byte(want)) && !bytes.HasPrefix(got, []byte("HTTP/1.1 503 ")) {
		m, err := nc.Read(piece)
		got = append(got, piece[:m]...)
		if err != nil {
			return fmt.Errorf("waiting for %q after %q: %w", want, got, err)
		}
	}
	return nil
}

// cutPolling does the same on polling.
func (b *bed) cutPolling(user string, rnd *rand.Rand) error {
	p, err := wiretest.OpenPoll(b.URL, user)
	if err != nil {
		return err
	}
	defer p.Close()
	stage := rnd.IntN(4)
	if stage == 0 {
		return nil
	}
	if err := p.Send("40"); err != nil || stage == 1 {
		return err
	}
	if _, err := p.Next(`42["online_users",`); err != nil || stage == 2 {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rnd.IntN(10))*time.Millisecond)
	defer cancel()
	_, _ = p.Get(ctx) // cut, or just not
	return nil
}

// 7. Polling, where the library's server breaks.
func TestHazard7Polling(t *testing.T) {
	t.Parallel()
	b := newBed(t, heymanito.WithOfflineGrace(0))
	pair := b.chat()
	observer := wiretest.Connect(t, b.URL, "observer")
	start := func(t *testing.T, user string) *wiretest.Poll { return b.startPolling(t, user) }
	gone := func(user string) func() bool {
		return func() bool {
			return slices.ContainsFunc(observer.Named("contact_offline"), func(e wiretest.Event) bool { return string(e.Args[0]) == strconv.Quote(user) })
		}
	}
	// pending polls in the background, and hands over the answer.
	pending := func(ctx context.Context, p *wiretest.Poll) <-chan wiretest.Answer {
		answers := make(chan wiretest.Answer, 1)
		go func() {
			a, err := p.Get(ctx)
			if err != nil {
				a.Body = "error: " + err.Error()
			}
			answers <- a
		}()
		return answers
	}
	post := func(t *testing.T, p *wiretest.Poll, body io.Reader, contentType string) wiretest.Answer {
		t.Helper()
		a, err := p.PostBody(body, contentType)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}

	t.Run("each poll on a connection of its own", func(t *testing.T) {
		t.Parallel()
		p := start(t, "many")
		sender := wiretest.Connect(t, b.URL, "manysender")
		const n = 300
		content := `"` + strings.Repeat("x", 20_000) + `"`
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range n {
				if sender.Send(fmt.Sprintf(`42%d["sendMessage",%s]`, i, message("manysender", "many", i, content))) != nil {
					return // Wait below says so
				}
				if _, err := sender.Wait("ack "+strconv.Itoa(i), patience); err != nil {
					return
				}
			}
		}()
		for next := 0; next < n; {
			p.HTTP.CloseIdleConnections() // the next poll needs a new one
			a, err := p.Get(t.Context())
			if err != nil || a.Status != http.StatusOK {
				t.Fatalf("after %d messages: %d %.200s, %v", next, a.Status, a.Body, err)
			}
			for _, packet := range a.Packets {
				if strings.HasPrefix(packet, `42["receiveMessage",`) {
					if !strings.HasPrefix(packet, fmt.Sprintf(`42["receiveMessage",{"id":%d,`, next)) {
						t.Fatalf("where message %d was due came %.100s", next, packet)
					}
					next++
				} else if packet == "2" {
					if err := p.Send("3"); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		<-done
	})
	t.Run("a cut poll is noticed at once", func(t *testing.T) {
		t.Parallel()
		ended := make(chan string, 1)
		b := newBed(t, heymanito.WithHooks(heymanito.Hooks{OnDisconnect: func(_ context.Context, _ heymanito.Device, reason string) { ended <- reason }}))
		p := b.startPolling(t, "cut")
		// The poll that ended Join may still be on its way out: it is not the one that pends.
		wiretest.Eventually(t, "the last poll has been served", func() bool { return !b.serving(http.MethodGet, "cut") })
		ctx, cancel := context.WithCancel(t.Context())
		_ = pending(ctx, p)
		wiretest.Eventually(t, "the poll pends", func() bool { return b.serving(http.MethodGet, "cut") })
		cancel()
		select {
		case <-ended:
		case <-time.After(patience): // the heartbeat would need 40 s
			t.Fatal("the host is not told")
		}
		if a, err := p.Post("3"); err != nil || a.Status != http.StatusBadRequest || !strings.Contains(a.Body, `"code":1`) {
			t.Errorf("the session is answered %d %s, %v", a.Status, a.Body, err)
		}
	})
	// These are on beds of their own: the neighbours' coming and going would
	// answer their polls.
	t.Run("two polls at a time end the session", func(t *testing.T) {
		t.Parallel()
		ended := make(chan string, 1)
		b := newBed(t, heymanito.WithHooks(heymanito.Hooks{OnDisconnect: func(_ context.Context, _ heymanito.Device, reason string) { ended <- reason }}))
		p := b.startPolling(t, "twopolls")
		first, second := pending(t.Context(), p), pending(t.Context(), p)
		a, z := <-first, <-second
		if a.Status != http.StatusOK {
			a, z = z, a
		}
		if a.Status != http.StatusOK || a.Body != "1" || z.Status != http.StatusBadRequest {
			t.Errorf("they were answered %d %q and %d %q", a.Status, a.Body, z.Status, z.Body)
		}
		if reason := <-ended; reason != "parse error" {
			t.Errorf("the host is told %q", reason)
		}
	})
	t.Run("Disconnect answers the pending poll", func(t *testing.T) {
		t.Parallel()
		b := newBed(t)
		p := b.startPolling(t, "kicked")
		answer := pending(t.Context(), p)
		if n := b.Disconnect("kicked", "banned"); n != 1 {
			t.Errorf("Disconnect says %d", n)
		}
		var packets []string
		for len(packets) == 0 || packets[len(packets)-1] != "1" {
			a := <-answer
			if a.Status != http.StatusOK {
				t.Fatalf("after %q: %d %s", packets, a.Status, a.Body)
			}
			packets = append(packets, a.Packets...)
			answer = pending(t.Context(), p)
		}
		if want := []string{`42["sessionEnded",{"code":"banned"}]`, "41", "1"}; !slices.Equal(packets, want) {
			t.Errorf("the client was told %q, not %q", packets, want)
		}
		<-answer
	})
	t.Run("the client's close answers the pending poll", func(t *testing.T) {
		t.Parallel()
		ended := make(chan string, 1)
		b := newBed(t, heymanito.WithHooks(heymanito.Hooks{OnDisconnect: func(_ context.Context, _ heymanito.Device, reason string) { ended <- reason }}))
		p := b.startPolling(t, "closing")
		wiretest.Eventually(t, "the last poll has been served", func() bool { return !b.serving(http.MethodGet, "closing") })
		answer := pending(t.Context(), p)
		wiretest.Eventually(t, "the poll pends", func() bool { return b.serving(http.MethodGet, "closing") })
		if err := p.Send("1"); err != nil {
			t.Error(err)
		}
		// If the close overtook the poll, there is no session to poll any more.
		if a := <-answer; a.Status == http.StatusOK && a.Body != "6" && a.Body != "1" || a.Status != http.StatusOK && !strings.Contains(a.Body, `"code":1`) {
			t.Errorf("the poll was answered %d %q", a.Status, a.Body)
		}
		if reason := <-ended; reason != "transport close" {
			t.Errorf("the host is told %q", reason)
		}
	})
	t.Run("malformed bodies", func(t *testing.T) {
		t.Parallel()
		event := `421["sendMessage",` + message("malformed", "observer", 1, `"malformed"`) + `]`
		for i, body := range []string{
			"", "x", "9", "\x1e", event + "\x1e", "\x1e" + event, event + "\x1e\x1e" + event, event + "\x1eabc",
			event + "\x1eb!!!", "bAAA", event + "\x1e4\xff", event + "\x1e" + "é", "0{}", "2", "2probe",
		} {
			p := start(t, "malformed")
			a := post(t, p, strings.NewReader(body), "text/plain")
			// A packet of a kind that is the server's to send is well-formed,
			// and answered ok; the session ends all the same.
			if a.Status != http.StatusBadRequest && !(i >= 12 && a.Body == "ok") {
				t.Errorf("%q is answered %d %q", body, a.Status, a.Body)
			}
			if got, err := p.Next("1"); err == nil || strings.Contains(strings.Join(got, ""), `"ok"`) {
				t.Errorf("after %q the session gave %q", body, got)
			}
		}
		observer.Sync()
		if got := observer.Named("receiveMessage"); strings.Contains(fmt.Sprint(got), "malformed") {
			t.Errorf("packets of a malformed body were handled: %v", got)
		}
	})
	t.Run("octet-stream", func(t *testing.T) {
		t.Parallel()
		// As text it would be a good payload: only its type can be the reason.
		p := start(t, "octets")
		event := `421["sendMessage",` + message("octets", "observer", 1, `"octets"`) + `]`
		if a := post(t, p, strings.NewReader(event), "application/octet-stream"); a.Status != http.StatusBadRequest {
			t.Errorf("answered %d %q", a.Status, a.Body)
		}
		wiretest.Eventually(t, "everybody is told", gone("octets"))
		observer.Sync()
		if got := observer.Named("receiveMessage"); strings.Contains(fmt.Sprint(got), "octets") {
			t.Errorf("a packet of binary was handled: %v", got)
		}
	})
	t.Run("oversized bodies", func(t *testing.T) {
		t.Parallel()
		p := start(t, "large")
		event := `42["sendMessage",` + message("large", "observer", 1, `"oversized"`) + `]`
		body := event + "\x1e" + `42["x","` + strings.Repeat("y", 1_000_000) + `"]`
		for _, r := range []io.Reader{strings.NewReader(body), chunked{strings.NewReader(body)}} {
			a, err := p.PostBody(r, "text/plain")
			// The server may close before it has read everything.
			if err == nil && a.Status != http.StatusRequestEntityTooLarge {
				t.Errorf("answered %d %q", a.Status, a.Body)
			}
		}
		// Nothing of it was handled, and the session lives.
		if err := p.Send(`425["sendMessage",` + message("large", "observer", 2, `"fits"`) + `]`); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Next(`435[{"status":"ok"`); err != nil {
			t.Fatal(err)
		}
		for _, e := range observer.Named("receiveMessage") {
			if strings.Contains(e.String(), "oversized") {
				t.Errorf("a packet of an oversized body was handled: %v", e)
			}
		}
		// In chunks, but not too big: as any other.
		a := post(t, p, chunked{strings.NewReader(`426["sendMessage",` + message("large", "observer", 3, `"chunked"`) + `]`)}, "text/plain")
		if a.Body != "ok" {
			t.Errorf("a chunked body is answered %d %q", a.Status, a.Body)
		}
		if _, err := p.Next(`436[{"status":"ok"`); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(pair.stop)
}

// startPolling connects user on polling.
func (b *bed) startPolling(t *testing.T, user string) *wiretest.Poll {
	t.Helper()
	p, err := wiretest.OpenPoll(b.URL, user)
	if err == nil {
		err = p.Join()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Quit)
	return p
}

// chunked hides what a reader is, so that net/http sends it in chunks.
type chunked struct{ io.Reader }

// 8. A reader that does not read costs its cap at the most, and is cut. Not
// parallel: it measures the heap.
func TestHazard8SlowReader(t *testing.T) {
	const queue = 2 << 20
	reasons := make(chan string, 10)
	inbox := heymanito.NewMemoryInbox(heymanito.InboxBounds{Bytes: 100 << 10}) // what it keeps is no leak
	b := newBed(t, heymanito.WithMaxQueue(queue), heymanito.WithInbox(inbox), heymanito.WithHeartbeat(500*time.Millisecond, 5*time.Second),
		heymanito.WithHooks(heymanito.Hooks{OnDisconnect: func(_ context.Context, d heymanito.Device, reason string) {
			if strings.HasPrefix(d.ChatPath, "slow") {
				reasons <- reason
			}
		}}))
	pair := b.chat()
	defer pair.stop()
	ann := wiretest.Connect(t, b.URL, "sender")
	content := `"` + strings.Repeat("x", 100_000) + `"`
	for _, transport := range []string{"websocket", "polling"} {
		user := "slow" + transport
		quit, done := make(chan struct{}), make(chan struct{})
		if transport == "websocket" {
			slow, err := b.join(user)
			if err == nil {
				_, err = await(slow, `42["inboxReady",`)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer slow.Close()
			go func() { // reads nothing, and answers pings
				defer close(done)
				for slow.Write(wiretest.Texts("3")) == nil {
					select {
					case <-quit:
						return
					case <-time.After(20 * time.Millisecond):
					}
				}
			}()
		} else {
			p, err := wiretest.OpenPoll(b.URL, user)
			if err == nil {
				err = p.Join()
			}
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			go func() { // never polls, and is alive
				defer close(done)
				for p.Send("3") == nil {
					select {
					case <-quit:
						return
					case <-time.After(20 * time.Millisecond):
					}
				}
			}()
		}
		before, peak, sent := heapNow(), 0, 0
		for i := range 100 { // 10 MB
			if ack := ann.EmitAck("sendMessage", message("sender", user, i, content)); ack.Status != "ok" {
				t.Fatalf("acked %s", ack.Raw)
			} else if ack.Delivery == "sent" {
				sent++
			} else {
				break
			}
			if i%10 == 9 {
				peak = max(peak, heapNow()-before)
			}
		}
		t.Logf("%s: %d sent, peak %d KB", transport, sent, peak>>10)
		// The kernel holds some on top of the queue.
		if sent > 80 {
			t.Errorf("%s: %d messages of 100 KB were acked as sent to a reader that reads nothing", transport, sent)
		}
		if limit := queue + queue/2 + 2<<20; peak > limit {
			t.Errorf("%s: the reader that reads nothing cost %d KB", transport, peak>>10)
		}
		select {
		case r := <-reasons:
			if r != "slow reader" {
				t.Errorf("%s: it was cut as %q", transport, r)
			}
		case <-time.After(patience):
			t.Fatalf("%s: it was not cut", transport)
		}
		close(quit)
		<-done
		grown := 0
		if !eventually(patience, func() bool { grown = heapNow() - before; return grown < 1<<20 }) {
			t.Errorf("%s: %d KB stay after it was cut", transport, grown>>10)
		}
	}
}

// 9. What a user writes arrives as he wrote it, byte for byte.
func TestHazard9ByteForByte(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	contents := []string{
		`{"z":1,"a":2,"m":{"b":1,"a":2}}`,
		`12345678901234567890`, `1e400`, `-0`, `0.1000000000000000055511151231257827`, `1.0`, `[1E5,1e+5,100000]`,
		`"\ud800"`, `"\udc00\ud800"`, `"\u0000\u001f\u2028"`, `"\/\b\f\n\r\t\"\\"`, "\"\u2028<script>&amp;é😀\"",
		`{"a":1,"a":2,"a":1}`, `{"":{"":null}}`, `{"__proto__":{"x":1}}`, ` [ 1 , { "a" : 2 } ] `, `true`, `null`, `""`, `[]`, `{}`,
		`{"_placeholder":false,"num":0}`, `"_placeholder"`,
		strings.Repeat("[", 99) + strings.Repeat("]", 99),
		`"` + strings.Repeat("é", 100_000) + `"`,
	}
	photo := make([]byte, 70_000)
	for i := range photo {
		photo[i] = byte(i * 7)
	}
	web := wiretest.Connect(t, b.URL, "web")
	web.Expect("inboxReady")
	poll := b.startPolling(t, "poll")
	ann := wiretest.Connect(t, b.URL, "ann")
	// want is the event up to the time.
	want := func(id, content, to string) string {
		return fmt.Sprintf(`{"id":%s,"senderChatPath":"ann","recipientChatPath":%q,"content":%s,"senderProfile":%s,"ts":`, id, to, strings.TrimSpace(content), `{"name":"Añn","n":1.50}`)
	}
	for i, content := range contents {
		id := []string{strconv.Itoa(i), `"` + strconv.Itoa(i) + `"`, fmt.Sprintf(`"\u00e9%d"`, i)}[i%3]
		for _, to := range []string{"web", "poll"} {
			// Keys in another order, and some that are dropped.
			ack := ann.EmitAck("sendMessage", fmt.Sprintf(`{"extra":[{"content":1}],"content":%s,"recipientChatPath":%q,"senderProfile":{"name":"Añn","n":1.50},"senderChatPath":"ann","id":%s,"content2":0}`, content, to, id))
			if ack.Delivery != "sent" || string(ack.ID) != id {
				t.Fatalf("%.80s is acked %s", content, ack.Raw)
			}
			var got string
			if to == "web" {
				got = string(web.Expect("receiveMessage").Args[0])
			} else {
				packets, err := poll.Next(`42["receiveMessage",`)
				if err != nil {
					t.Fatal(err)
				}
				got = strings.TrimPrefix(packets[len(packets)-1], `42["receiveMessage",`)
			}
			if !strings.HasPrefix(got, want(id, content, to)) {
				t.Errorf("to %s: sent %.200q, arrived %.300q", to, content, got)
			}
		}
	}

	// Attachments, from either transport to either.
	for _, to := range []string{"web", "poll"} {
		head := fmt.Sprintf(`452-77["sendMessage",{"id":1,"senderChatPath":"ann","recipientChatPath":%q,"content":{"b":{"_placeholder":true,"num":1},"a":12345678901234567890,"c":[{"num":0,"_placeholder":true}]},"senderProfile":{"name":"Añn","n":1.50}}]`, to)
		want := want("1", `{"b":{"_placeholder":true,"num":0},"a":12345678901234567890,"c":[{"_placeholder":true,"num":1}]}`, to)
		if err := ann.Send(head); err != nil {
			t.Fatal(err)
		}
		for _, p := range [][]byte{photo, {}} {
			if err := ann.WS.SendBinary(p); err != nil {
				t.Fatal(err)
			}
		}
		ann.Expect("ack 77")
		if to == "web" {
			e := web.Expect("receiveMessage")
			if !strings.HasPrefix(string(e.Args[0]), want) || len(e.Attachments) != 2 || len(e.Attachments[0]) != 0 || !bytes.Equal(e.Attachments[1], photo) {
				t.Errorf("to web arrived %v with %d attachments", e, len(e.Attachments))
			}
			continue
		}
		var packets []string
		for len(packets) < 3 {
			more, err := poll.Next("")
			if err != nil {
				t.Fatal(err)
			}
			packets = append(packets, more...)
		}
		if !strings.HasPrefix(packets[0], `452-["receiveMessage",`+want) || packets[1] != "b" || packets[2] != "b"+base64Of(photo) {
			t.Errorf("to poll arrived %.300q", packets)
		}
	}
	// And back, in one POST.
	if err := poll.Send(
		`451-5["sendMessage",{"id":1,"senderChatPath":"poll","recipientChatPath":"web","content":{"_placeholder":true,"num":0}}]`,
		"b"+base64Of(photo)); err != nil {
		t.Fatal(err)
	}
	if e := web.Expect("receiveMessage"); len(e.Attachments) != 1 || !bytes.Equal(e.Attachments[0], photo) || strings.Contains(e.String(), "senderProfile") {
		t.Errorf("from poll arrived %v with %d attachments", e, len(e.Attachments))
	}
}

// 10. An event that announces no attachments is an event, and so is the next.
func TestHazard10NoAttachments(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	bob := wiretest.Connect(t, b.URL, "bob")
	bob.Expect("inboxReady")
	ann := wiretest.Connect(t, b.URL, "ann")
	for i := range 20 {
		if err := ann.Send(fmt.Sprintf(`450-%d["sendMessage",%s]`, 100+i, message("ann", "bob", i, "1"))); err != nil {
			t.Fatal(err)
		}
		if ack := ann.Expect("ack " + strconv.Itoa(100+i)); !strings.Contains(string(ack.Args[0]), `"delivery":"sent"`) {
			t.Errorf("450- is acked %v", ack)
		}
		if ack := ann.EmitAck("sendMessage", message("ann", "bob", 1000+i, "2")); ack.Delivery != "sent" {
			t.Errorf("the event behind it is acked %s", ack.Raw)
		}
	}
	bob.Sync()
	if n := len(bob.Named("receiveMessage")); n != 40 {
		t.Errorf("%d messages arrived", n)
	}
}

// 11. Shutdown lets nobody in, leaves no poll unanswered, and returns.
func TestHazard11Shutdown(t *testing.T) {
	t.Parallel()
	b := newBed(t, heymanito.WithDrain(100*time.Millisecond))
	var sockets []*wiretest.Client
	for i := range 20 {
		sockets = append(sockets, wiretest.Connect(t, b.URL, "web"+strconv.Itoa(i)))
	}
	type end struct {
		packets []string
		err     error
	}
	ends := make(chan end, 10)
	for i := range cap(ends) {
		p, err := wiretest.OpenPoll(b.URL, "poll"+strconv.Itoa(i))
		if err == nil {
			err = p.Join()
		}
		if err != nil {
			t.Fatal(err)
		}
		go func() { // polls until it is told to stop
			defer p.Close()
			packets, err := p.Next("1")
			ends <- end{packets, err}
		}()
	}
	idle, err := wiretest.OpenPoll(b.URL, "idle") // has no poll pending
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	half, err := b.open("half") // has not said CONNECT
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()

	down := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		down <- b.Shutdown(ctx)
	}()
	refused := func() error {
		if ws, err := b.open("late"); err == nil {
			ws.Close()
			return fmt.Errorf("a WebSocket was let in")
		} else if s, ok := asStatus(err); !ok || s.Status != 503 || !strings.Contains(s.Header, "Retry-After: ") {
			return fmt.Errorf("a WebSocket was answered %w", err)
		}
		resp, err := http.Get(b.URL + "/socket.io/?EIO=4&transport=polling&userId=late")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			return fmt.Errorf("polling was answered %s %v", resp.Status, resp.Header)
		}
		return nil
	}
	wiretest.Eventually(t, "newcomers are refused", func() bool { return refused() == nil })
	for _, c := range sockets {
		err := c.Closed(patience)
		if ce, ok := err.(*wiretest.CloseError); !ok || ce.Code != 1012 {
			t.Errorf("%s was closed with %v", c.User, err)
		}
		if len(c.Named("disconnect")) != 0 {
			t.Errorf("%s was told to stay away", c.User)
		}
	}
	for range cap(ends) {
		select {
		case e := <-ends:
			if e.err != io.EOF || e.packets[len(e.packets)-1] != "1" {
				t.Errorf("a poll was answered %q, %v", e.packets, e.err)
			}
		case <-time.After(patience):
			t.Fatal("a poll was not answered")
		}
	}
	select {
	case err := <-down:
		if err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	case <-time.After(patience + 5*time.Second):
		t.Fatal("Shutdown does not return")
	}
	if err := refused(); err != nil {
		t.Errorf("after Shutdown %v", err)
	}
	if n := b.Disconnect("web0", "gone"); n != 0 {
		t.Errorf("after Shutdown %d devices are left", n)
	}
}

// 12. Attachments that do not add up are the sender's problem.
func TestHazard12BadAttachments(t *testing.T) {
	t.Parallel()
	b := newBed(t, heymanito.Relay("draw"))
	bob := wiretest.Connect(t, b.URL, "bob")
	bob.Expect("inboxReady")
	ann := wiretest.Connect(t, b.URL, "ann")
	const p0 = `{"_placeholder":true,"num":0}`
	bad := []struct {
		attachments int
		content     string
	}{
		{1, `{"_placeholder":true,"num":7}`},
		{1, `{"_placeholder":true,"num":1}`},
		{1, `{"_placeholder":true,"num":-1}`},
		{1, `{"_placeholder":true,"num":0.5}`},
		{1, `{"_placeholder":true,"num":"0"}`},
		{1, `{"_placeholder":true,"num":null}`},
		{1, `{"_placeholder":true,"num":1e0}`},
		{1, `{"_placeholder":true,"num":99999999999999999999}`},
		{1, `{"_placeholder":true}`},
		{1, `{"_placeholder":true,"num":0,"num":7}`},
		{1, `{"\u005fplaceholder":true,"num":7}`},
		{1, `{"_placeholder":true,"n\u0075m":7}`},
		{1, `[` + p0 + `,` + p0 + `]`},
		{2, `[` + p0 + `,{"_placeholder":true,"num":2}]`},
		{1, `{"a":{"b":[{"c":{"_placeholder":true,"num":1}}]}}`},
		{300, p0},
	}
	ack := 1000
	send := func(name, payload string, attachments int) string {
		t.Helper()
		ack++
		if err := ann.Send(fmt.Sprintf(`45%d-%d["%s",%s]`, attachments, ack, name, payload)); err != nil {
			t.Fatal(err)
		}
		for i := range attachments {
			if err := ann.WS.SendBinary([]byte{byte(i)}); err != nil {
				t.Fatal(err)
			}
		}
		return string(ann.Expect("ack " + strconv.Itoa(ack)).Args[0])
	}
	for _, c := range bad {
		for _, event := range []struct{ name, payload string }{
			{"sendMessage", message("ann", "bob", 1, c.content)},
			{"sendMessage", `{"id":1,"senderChatPath":"ann","recipientChatPath":"bob","senderProfile":` + c.content + `}`},
			{"sendMessage", `{"id":1,"senderChatPath":"ann","recipientChatPath":"bob","dropped":` + c.content + `}`},
			{"initiateCall", `{"recipientId":"bob","callerId":"ann","roomName":"r","callerInfo":` + c.content + `}`},
			{"draw", `{"senderChatPath":"ann","recipientChatPath":"bob","x":` + c.content + `}`},
		} {
			if got := send(event.name, event.payload, c.attachments); !strings.Contains(got, `"code":"invalid"`) {
				t.Errorf("%s with %d attachments and %s is acked %s", event.name, c.attachments, event.payload, got)
			}
		}
	}
	// Good ones beside bad ones: what nobody refers to, or only a field that
	// is dropped, is dropped; the rest is counted anew.
	got := send("sendMessage", `{"id":2,"senderChatPath":"ann","recipientChatPath":"bob","x":`+p0+`,"content":{"_placeholder":true,"num":2},"senderProfile":[{"_placeholder":true,"num":1}]}`, 4)
	if !strings.Contains(got, `"delivery":"sent"`) {
		t.Errorf("acked %s", got)
	}
	// In an event without attachments a placeholder is an object like others.
	if ack := ann.EmitAck("sendMessage", message("ann", "bob", 3, `{"_placeholder":true,"num":7}`)); ack.Status != "ok" && ack.Code != "invalid" {
		t.Errorf("acked %s", ack.Raw)
	}
	bob.Sync()
	log := bob.Log()
	for _, e := range log {
		if e.Name == "incomingCall" || e.Name == "draw" {
			t.Errorf("bob was sent %v", e)
		}
	}
	messages := bob.Named("receiveMessage")
	if len(messages) == 0 || len(messages[0].Attachments) != 2 ||
		!strings.Contains(string(messages[0].Args[0]), `"content":{"_placeholder":true,"num":0},"senderProfile":[{"_placeholder":true,"num":1}],`) ||
		messages[0].Attachments[0][0] != 2 || messages[0].Attachments[1][0] != 1 {
		t.Errorf("bob was sent %v", messages)
	}
	for _, m := range messages[1:] {
		if !strings.Contains(m.String(), `{"id":3,`) || len(m.Attachments) != 0 {
			t.Errorf("bob was sent %v", m)
		}
	}
}
