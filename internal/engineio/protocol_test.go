package engineio_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// The sentences of the Engine.IO protocol document, version 4, and the tests
// of its suite; each subtest is called as the section or test it stands for.
// More about each is in the other files: what is malformed in polling_test.go
// and wsframe_test.go, times in heartbeat_test.go, races in upgrade_test.go.

// likeTheSuite sets what the published suite expects.
func likeTheSuite(c *engineio.Config) {
	c.PingInterval, c.PingTimeout, c.ClientTimeout = 300*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond
}

// raw sends a request that is no session's and returns the answer.
func (b *bed) raw(t testing.TB, method, query string, header ...string) wiretest.Answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, b.URL+"/engine.io/?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	c := &wiretest.Poll{HTTP: b.client()}
	a, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// refusedWS is the status that a WebSocket handshake is refused with.
func (b *bed) refusedWS(t testing.TB, query string) int {
	t.Helper()
	ws, err := b.tryWS(query)
	if err == nil {
		ws.Close()
		t.Errorf("the WebSocket %s was let in", query)
		return 0
	}
	var status *wiretest.ErrStatus
	if !errors.As(err, &status) {
		t.Errorf("the WebSocket %s was not answered: %v", query, err)
		return 0
	}
	return status.Status
}

func TestProtocolTransports(t *testing.T) {
	b := newBed(t)
	t.Run("HTTP long-polling/Query parameters: if a mandatory one is missing the server MUST respond with 400", func(t *testing.T) {
		for _, q := range []string{"", "transport=polling", "EIO=abc&transport=polling", "EIO=4", "EIO=4&transport=abc", "EIO=4&transport="} {
			if a := b.raw(t, http.MethodGet, q); a.Status != 400 {
				t.Errorf("%q was answered %d", q, a.Status)
			}
		}
	})
	t.Run("HTTP long-polling/Headers: without a Content-Type the receiver SHOULD infer plaintext", func(t *testing.T) {
		c, s := b.openPoll()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL, strings.NewReader("4hello"))
		if err != nil {
			t.Fatal(err)
		}
		if a, err := c.Do(r); err != nil || a.Body != "ok" {
			t.Errorf("answered %v, %v", a, err)
		}
		if got := s.hear(1); got[0] != "text hello" {
			t.Errorf("handled %q", got)
		}
	})
	t.Run("HTTP long-polling/Sending data: 400 if the session is not known, 200 and ok if it is", func(t *testing.T) {
		if a := b.raw(t, http.MethodPost, query(engineio.Polling, "unknown")); a.Status != 400 {
			t.Errorf("answered %d", a.Status)
		}
		c, _ := b.openPoll()
		expectPost(t, c, "4hello", 200, "ok")
	})
	t.Run("HTTP long-polling/Sending data: more than one POST, 400 and the session is closed", func(t *testing.T) {
		c, s := b.openPoll()
		body, w := io.Pipe()
		first := make(chan struct{})
		go func() {
			defer close(first)
			_, _ = c.PostBody(body, "text/plain") // how it ends is TestPollingOverlap's
		}()
		if _, err := io.WriteString(w, "4first"); err != nil {
			t.Fatal(err)
		}
		waitPosting(t, s)
		expectPost(t, c, "4second", 400, "")
		s.expectEnd(engineio.ProtocolError)
		_ = w.Close()
		<-first
		if got := s.heard(); len(got) > 0 {
			t.Errorf("handled %q", got)
		}
	})
	t.Run("HTTP long-polling/Receiving data: 400 if the session is not known", func(t *testing.T) {
		if a := b.raw(t, http.MethodGet, query(engineio.Polling, "unknown")); a.Status != 400 {
			t.Errorf("answered %d", a.Status)
		}
	})
	t.Run("HTTP long-polling/Receiving data: the server MAY wait until there are packets", func(t *testing.T) {
		c, s := b.openPoll()
		pending := poll(t.Context(), c)
		waitPending(t, s)
		s.Send(engineio.Text([]byte("now")), engineio.Text([]byte("and more")))
		expectBody(t, pending, 200, "4now\x1e4and more")
	})
	t.Run("HTTP long-polling/Receiving data: more than one GET, 400 and the session is closed", func(t *testing.T) {
		c, s := b.openPoll()
		pending := poll(t.Context(), c)
		waitPending(t, s)
		expectGet(t, c, 400, "")
		expectBody(t, pending, 200, "1")
		expectGet(t, c, 400, "")
	})
	t.Run("WebSocket: if a mandatory query parameter is missing the server MUST close the connection", func(t *testing.T) {
		for _, q := range []string{"", "transport=websocket", "EIO=abc&transport=websocket", "EIO=4", "EIO=4&transport=abc", "EIO=3&transport=websocket", "EIO=4&transport=polling"} {
			if status := b.refusedWS(t, q); status != 400 {
				t.Errorf("%q was answered %d", q, status)
			}
		}
	})
	t.Run("WebSocket: each packet is its own frame", func(t *testing.T) {
		ws, s := b.openWS()
		s.Send(engineio.Text([]byte("a")), engineio.Binary([]byte("b")), engineio.Text([]byte("c")))
		expectText(t, ws, "4a")
		if op, p, err := ws.Read(); op != wiretest.OpBinary || string(p) != "b" || err != nil {
			t.Errorf("op %d, %q, %v", op, p, err)
		}
		expectText(t, ws, "4c")
	})
	t.Run("WebSocket: a second one for a session, the server MUST close it", func(t *testing.T) {
		ws, s := b.openWS()
		second := b.ws(s.ID())
		if _, _, err := second.Read(); err == nil || isTimeout(err) {
			t.Errorf("it is not closed: %v", err)
		}
		if err := ws.Send("4first"); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "4first")
	})
}

func TestProtocolHandshake(t *testing.T) {
	b := newBed(t, likeTheSuite)
	check := func(t *testing.T, packet string, upgrades int) {
		t.Helper()
		var keys map[string]any
		if err := json.Unmarshal([]byte(packet[1:]), &keys); err != nil || len(keys) != 5 {
			t.Errorf("the open packet is %q, %v", packet, err)
		}
		h := handshake(t, packet)
		if h.PingInterval != 300 || h.PingTimeout != 200 || h.MaxPayload != 1_000_000 || len(h.Upgrades) != upgrades || keys["upgrades"] == nil {
			t.Errorf("the open packet is %q", packet)
		}
		if raw, err := base64.RawURLEncoding.DecodeString(h.SID); err != nil || len(raw) != 16 {
			t.Errorf("the session id %q is not 128 bits", h.SID)
		}
	}
	t.Run("HTTP long-polling/successfully opens a session", func(t *testing.T) {
		a := b.raw(t, http.MethodGet, query(engineio.Polling, ""))
		if a.Status != 200 || a.Header.Get("Content-Type") != "text/plain; charset=UTF-8" {
			t.Errorf("answered %v", a)
		}
		check(t, a.Body, 1)
		if h := handshake(t, a.Body); h.Upgrades[0] != "websocket" {
			t.Errorf("upgrades are %q", h.Upgrades)
		}
	})
	t.Run("HTTP long-polling/fails with an invalid request method", func(t *testing.T) {
		for _, m := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodHead} {
			if a := b.raw(t, m, query(engineio.Polling, "")); a.Status != 400 {
				t.Errorf("%s was answered %d", m, a.Status)
			}
		}
	})
	t.Run("WebSocket/successfully opens a session", func(t *testing.T) {
		ws := b.ws("")
		packet, err := ws.Text()
		if err != nil {
			t.Fatal(err)
		}
		check(t, packet, 0)
	})
	t.Run("every session id is another", func(t *testing.T) {
		seen := map[string]bool{}
		for range 1000 {
			s := openPollDirectly(t, b)
			if seen[s.ID()] {
				t.Fatal("a session id came twice")
			}
			seen[s.ID()] = true
		}
	})
	t.Run("transports that are switched off", func(t *testing.T) {
		b := newBed(t, func(c *engineio.Config) { c.Transports = []string{engineio.Polling} })
		a := b.raw(t, http.MethodGet, query(engineio.Polling, ""))
		if h := handshake(t, a.Body); len(h.Upgrades) != 0 {
			t.Errorf("polling alone offers %q", h.Upgrades)
		}
		if status := b.refusedWS(t, query(engineio.WebSocket, "")); status != 400 {
			t.Errorf("answered %d", status)
		}
		b = newBed(t, func(c *engineio.Config) { c.Transports = []string{engineio.WebSocket} })
		if a := b.raw(t, http.MethodGet, query(engineio.Polling, "")); a.Status != 400 {
			t.Errorf("answered %d", a.Status)
		}
		b.openWS()
	})
}

func TestProtocolHeartbeat(t *testing.T) {
	t.Run("HTTP long-polling/sends ping, takes pong packets", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, likeTheSuite)
			defer b.finish()
			c, s := b.openPoll()
			defer c.Close()
			for range 10 {
				expectGet(t, c, 200, "2")
				expectPost(t, c, "3", 200, "ok")
			}
			s.expectOpen()
		})
	})
	t.Run("HTTP long-polling/closes the session upon ping timeout", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, likeTheSuite)
			defer b.finish()
			c, s := b.openPoll()
			defer c.Close()
			time.Sleep(500*time.Millisecond + time.Microsecond)
			expectGet(t, c, 400, "")
			s.expectEnd(engineio.PingTimeout)
		})
	})
	t.Run("WebSocket/sends ping, takes pong packets", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, likeTheSuite)
			defer b.finish()
			ws, s := b.openWS()
			defer ws.Close()
			for range 10 {
				expectText(t, ws, "2")
				if err := ws.Send("3"); err != nil {
					t.Fatal(err)
				}
			}
			s.expectOpen()
		})
	})
	t.Run("WebSocket/closes the session upon ping timeout", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, likeTheSuite)
			defer b.finish()
			ws, s := b.openWS()
			defer ws.Close()
			begin := time.Now()
			expectText(t, ws, "2")
			if _, p, err := ws.Read(); err == nil || isTimeout(err) {
				t.Errorf("got %q, %v", p, err)
			}
			if took := time.Since(begin); took > 500*time.Millisecond {
				t.Errorf("closed after %v", took)
			}
			s.expectEnd(engineio.PingTimeout)
		})
	})
	t.Run("after an upgrade", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := bubbleBed(t, likeTheSuite)
			defer b.finish()
			c, s := b.openPoll()
			defer c.Close()
			ws := b.probe(s)
			defer ws.Close()
			if err := ws.Send("5"); err != nil {
				t.Fatal(err)
			}
			for range 10 {
				expectText(t, ws, "2")
				if err := ws.Send("3"); err != nil {
					t.Fatal(err)
				}
			}
			s.expectOpen()
			expectText(t, ws, "2")
			s.expectEnd(engineio.PingTimeout)
		})
	})
}

func TestProtocolUpgrade(t *testing.T) {
	b := newBed(t)
	t.Run("successfully upgrades from HTTP long-polling to WebSocket", func(t *testing.T) {
		c, s := b.openPoll()
		ws := b.ws(s.ID())
		if err := ws.Send("2probe"); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "3probe")
		expectGet(t, c, 200, "6")
		if err := ws.Write(wiretest.Texts("5", "4hello")); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "4hello")
	})
	t.Run("the server MUST send a noop to a pending GET", func(t *testing.T) {
		c, s := b.openPoll()
		pending := poll(t.Context(), c)
		waitPending(t, s)
		b.probe(s)
		expectBody(t, pending, 200, "6")
	})
	t.Run("ignores HTTP requests with same sid after upgrade", func(t *testing.T) {
		c, s := b.openPoll()
		ws := b.ws(s.ID())
		if err := ws.Write(wiretest.Texts("2probe", "5")); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "3probe")
		for end := time.Now().Add(patience); s.Transport() != engineio.WebSocket && time.Now().Before(end); time.Sleep(time.Millisecond) {
		}
		expectGet(t, c, 400, "")
		expectPost(t, c, "4post", 400, "")
		if err := ws.Send("4hello"); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "4hello")
	})
	t.Run("ignores WebSocket connection with same sid after upgrade", func(t *testing.T) {
		_, s := b.openPoll()
		ws := b.probe(s)
		if err := ws.Send("5"); err != nil {
			t.Fatal(err)
		}
		second := b.ws(s.ID())
		if _, _, err := second.Read(); err == nil || isTimeout(err) {
			t.Errorf("it is not closed: %v", err)
		}
		if err := ws.Send("4hello"); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "4hello")
	})
}

func TestProtocolMessage(t *testing.T) {
	b := newBed(t)
	for _, payload := range []string{"4hello", "4test1\x1e4test2\x1e4test3", "4hello\x1ebAQIDBA==", "4ñandú 👋\x1e4\x00\x01"} {
		t.Run("HTTP long-polling/sends and receives "+strings.ReplaceAll(payload, "\x1e", " "), func(t *testing.T) {
			c, _ := b.openPoll()
			expectPost(t, c, payload, 200, "ok")
			expectGet(t, c, 200, payload)
		})
	}
	t.Run("HTTP long-polling/closes the session upon invalid packet format", func(t *testing.T) {
		c, _ := b.openPoll()
		expectPost(t, c, "abc", 400, "")
		expectGet(t, c, 400, "")
	})
	t.Run("WebSocket/sends and receives a plain text packet", func(t *testing.T) {
		ws, _ := b.openWS()
		if err := ws.Send("4hello"); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "4hello")
	})
	t.Run("WebSocket/sends and receives a binary packet", func(t *testing.T) {
		ws, _ := b.openWS()
		if err := ws.SendBinary([]byte{1, 2, 3, 4}); err != nil {
			t.Fatal(err)
		}
		if op, p, err := ws.Read(); op != wiretest.OpBinary || string(p) != "\x01\x02\x03\x04" || err != nil {
			t.Errorf("op %d, %q, %v", op, p, err)
		}
	})
	// As the reference server: JavaScript and Dart clients with forceBase64 write
	// it, and Swift's, for what it was about to post when the upgrade came.
	t.Run("WebSocket/takes binary as base64 text, and answers with binary", func(t *testing.T) {
		ws, _ := b.openWS()
		if err := ws.Write(wiretest.Texts("bAQIDBA==", "b", "bAQID\nBA==\n")); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"\x01\x02\x03\x04", "", "\x01\x02\x03\x04"} {
			if op, p, err := ws.Read(); op != wiretest.OpBinary || string(p) != want || err != nil {
				t.Errorf("op %d, %q, %v", op, p, err)
			}
		}
	})
	for _, wrong := range []string{"abc", "", "0", "2", "7", "2probe", "bA", "b-_-_"} {
		t.Run("WebSocket/closes the session upon invalid packet format: "+wrong, func(t *testing.T) {
			ws, s := b.openWS()
			if err := ws.Send(wrong); err != nil {
				t.Fatal(err)
			}
			expectClose(t, ws, 1002, "parse error")
			s.expectEnd(engineio.ProtocolError)
		})
	}
	t.Run("Packet encoding: the upgrade and noop packets that come late are ignored", func(t *testing.T) {
		ws, s := b.openWS()
		if err := ws.Write(wiretest.Texts("5", "6", "3", "3probe", "4on")); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "4on")
		s.expectOpen()
	})
}

func TestProtocolClose(t *testing.T) {
	b := newBed(t)
	t.Run("HTTP long-polling/forcefully closes the session", func(t *testing.T) {
		c, s := b.openPoll()
		pending := poll(t.Context(), c)
		waitPending(t, s)
		expectPost(t, c, "1", 200, "ok")
		expectBody(t, pending, 200, "6")
		expectGet(t, c, 400, "")
		s.expectEnd(engineio.TransportClose)
	})
	t.Run("WebSocket/forcefully closes the session", func(t *testing.T) {
		ws, s := b.openWS()
		if err := ws.Send("1"); err != nil {
			t.Fatal(err)
		}
		expectClose(t, ws, 1000, "")
		s.expectEnd(engineio.TransportClose)
	})
	t.Run("WebSocket/what was queued goes out before", func(t *testing.T) {
		ws, s := b.openWS()
		if err := ws.Write(append(wiretest.Texts("4a", "4b"), wiretest.Frame(true, wiretest.OpClose, []byte{3, 232})...)); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "4a", "4b")
		expectClose(t, ws, 1000, "")
		s.expectEnd(engineio.TransportClose)
		if got := s.heard(); len(got) != 2 {
			t.Errorf("handled %q", got)
		}
	})
	t.Run("WebSocket/a connection that is cut", func(t *testing.T) {
		ws, s := b.openWS()
		ws.Close()
		s.expectEnd(engineio.TransportClose)
	})
	t.Run("WebSocket/every reason has its close code", func(t *testing.T) {
		for r, code := range map[engineio.Reason]int{
			engineio.TransportClose: 1000,
			engineio.TransportError: 1001,
			engineio.PingTimeout:    1001,
			engineio.ProtocolError:  1002,
			engineio.InvalidText:    1007,
			engineio.ForcedClose:    1000,
			engineio.SlowReader:     1013,
			engineio.TooLarge:       1009,
			engineio.OpenTimeout:    1008,
			engineio.OpenLimit:      1008,
			engineio.Draining:       1012,
			engineio.Unavailable:    1013,
			engineio.Replaced:       1008,
			engineio.Expired:        1008,
		} {
			ws, s := b.openWS()
			s.Send(engineio.Text([]byte("last words")))
			s.Close(r)
			s.Close(engineio.ForcedClose) // the first reason counts
			expectText(t, ws, "4last words")
			expectClose(t, ws, code, r.String())
			s.expectEnd(r)
			ws.Close()
		}
		if got := engineio.Reason(200).String(); got != "unknown" {
			t.Errorf("%q", got)
		}
	})
	// OkHttp stops to read at a close frame, and engine.io-client-java does not
	// answer one: it would hear of the end from its heartbeat, a minute later.
	t.Run("WebSocket/to OkHttp the end is the end of the connection", func(t *testing.T) {
		open := func(sid string) *wiretest.WS {
			ws, err := b.tryWS(query(engineio.WebSocket, sid), "User-Agent: okhttp/3.12.12")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(ws.Close)
			return ws
		}
		for _, r := range []engineio.Reason{engineio.SlowReader, engineio.Draining, engineio.Replaced, engineio.Expired} {
			ws := open("")
			s := b.next()
			s.Send(engineio.Text([]byte("last words")))
			s.Close(r)
			if p, err := ws.Text(); err != nil || !strings.HasPrefix(p, "0{") {
				t.Fatalf("%q, %v", p, err)
			}
			expectText(t, ws, "4last words")
			if op, p, err := ws.Read(); !errors.Is(err, io.EOF) {
				t.Errorf("%v: the WebSocket ended with opcode %d, %q, %v", r, op, p, err)
			}
			s.expectEnd(r)
		}
		_, s := b.openPoll()
		ws := open(s.ID())
		if err := ws.Write(wiretest.Texts("2probe", "5", "4on")); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "3probe", "4on")
		s.Close(engineio.Draining)
		if op, p, err := ws.Read(); !errors.Is(err, io.EOF) {
			t.Errorf("upgraded: the WebSocket ended with opcode %d, %q, %v", op, p, err)
		}
		s.expectEnd(engineio.Draining)

		// It says goodbye itself, and is answered; and after a DISCONNECT packet
		// it closes, whatever comes.
		ws = open("")
		s = b.next()
		if err := ws.Write(wiretest.Frame(true, wiretest.OpClose, []byte{3, 232})); err != nil {
			t.Fatal(err)
		}
		expectClose(t, ws, 1000, "")
		s.expectEnd(engineio.TransportClose)
		ws = open("")
		b.next().Close(engineio.ForcedClose)
		expectClose(t, ws, 1000, "")
	})
}

// RFC 6455, section 4.2: the opening handshake.
func TestWebSocketHandshake(t *testing.T) {
	b := newBed(t)
	q := query(engineio.WebSocket, "")
	good := []string{"Upgrade", "websocket", "Connection", "Upgrade", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}
	for _, c := range []struct {
		name   string
		header []string
		status int
	}{
		{"no Upgrade", []string{"Upgrade", ""}, 400},
		{"another Upgrade", []string{"Upgrade", "h2c"}, 400},
		{"no Connection", []string{"Connection", "keep-alive"}, 400},
		{"no version", []string{"Sec-WebSocket-Version", ""}, 426},
		{"version 8", []string{"Sec-WebSocket-Version", "8"}, 426},
		{"no key", []string{"Sec-WebSocket-Key", ""}, 400},
		{"a key of 15 bytes", []string{"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j"}, 400},
		{"a key that is not base64", []string{"Sec-WebSocket-Key", "????????????????????????"}, 400},
	} {
		a := b.raw(t, http.MethodGet, q, append(good, c.header...)...)
		if a.Status != c.status {
			t.Errorf("%s: answered %d %q, want %d", c.name, a.Status, a.Body, c.status)
		}
		if c.status == 426 && a.Header.Get("Sec-WebSocket-Version") != "13" {
			t.Errorf("%s: the version is not offered: %v", c.name, a.Header)
		}
	}
	if a := b.raw(t, http.MethodPost, q, good...); a.Status != 400 {
		t.Errorf("POST: answered %d", a.Status)
	}
	nc, err := b.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	// Tokens count whatever their case and company; extensions are not taken.
	const request = "GET /?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: foo, WebSocket\r\nConnection: keep-alive, UPGRADE\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
	const answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
	if _, err := nc.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(answer))
	if err := nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(got); {
		m, err := nc.Read(got[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	if string(got) != answer {
		t.Errorf("answered %q", got)
	}
}

// RFC 6455 on the wire: what a violation brings, and what does not end it.
func TestWebSocketViolations(t *testing.T) {
	b := newBed(t)
	for _, c := range []struct {
		name   string
		bytes  []byte
		code   int
		reason engineio.Reason
	}{
		{"unmasked", []byte{0x81, 2, '4', 'x'}, 1002, engineio.ProtocolError},
		{"RSV1", []byte{0xc1, 0x80, 0, 0, 0, 0}, 1002, engineio.ProtocolError},
		{"opcode 3", []byte{0x83, 0x80, 0, 0, 0, 0}, 1002, engineio.ProtocolError},
		{"a continuation of nothing", wiretest.Frame(true, wiretest.OpContinuation, []byte("x")), 1002, engineio.ProtocolError},
		{"a ping in fragments", wiretest.Frame(false, wiretest.OpPing, nil), 1002, engineio.ProtocolError},
		{"not UTF-8", wiretest.Frame(true, wiretest.OpText, []byte("4\xff")), 1007, engineio.InvalidText},
		{"17 MB", []byte{0x81, 0xff, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 0, 0}, 1009, engineio.TooLarge},
		{"a packet that is too large and no message", wiretest.Frame(true, wiretest.OpText, []byte("3"+strings.Repeat("x", 1_000_000))), 1009, engineio.TooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			ws, s := b.openWS()
			if err := ws.Write(append(wiretest.Texts("4before"), c.bytes...)); err != nil {
				t.Fatal(err)
			}
			expectText(t, ws, "4before")
			expectClose(t, ws, c.code, c.reason.String())
			s.expectEnd(c.reason)
			if got := s.heard(); len(got) != 1 {
				t.Errorf("handled %.200q", got)
			}
		})
	}
	t.Run("a ping is answered with what it carries, a pong is not", func(t *testing.T) {
		ws, _ := b.openWS()
		if err := ws.Write(append(wiretest.Frame(true, wiretest.OpPong, []byte("alone")), wiretest.Frame(true, wiretest.OpPing, []byte("Hello"))...)); err != nil {
			t.Fatal(err)
		}
		if op, p, err := ws.Read(); op != wiretest.OpPong || string(p) != "Hello" || err != nil {
			t.Errorf("op %d, %q, %v", op, p, err)
		}
	})
	t.Run("a message that is read past, and the next", func(t *testing.T) {
		ws, s := b.openWS()
		big := "4" + strings.Repeat("x", 3_000_000)
		if err := ws.Write(wiretest.Texts(big, "4next", "b"+strings.Repeat("A", 2_000_000))); err != nil {
			t.Fatal(err)
		}
		if err := ws.SendBinary(make([]byte, 1_000_001)); err != nil {
			t.Fatal(err)
		}
		if got := s.hear(4); got[0] != "large 3000001 "+strings.Repeat("x", 511) || got[1] != "text next" || got[2] != "large 2000001 " || got[3] != "large 1000001 " {
			t.Errorf("handled %.900q", got)
		}
		s.expectOpen()
	})
	t.Run("a message of maxPayload bytes, in fragments", func(t *testing.T) {
		ws, s := b.openWS()
		go func() {
			_ = ws.Write(wiretest.Frame(false, wiretest.OpText, []byte("4")))
			for range 9 {
				_ = ws.Write(wiretest.Frame(false, wiretest.OpContinuation, make([]byte, 99_999)))
				_ = ws.Write(wiretest.Frame(true, wiretest.OpPing, nil))
			}
			_ = ws.Write(wiretest.Frame(true, wiretest.OpContinuation, make([]byte, 100_008)))
		}()
		if got := s.hear(1); len(got[0]) != len("text ")+999_999 {
			t.Errorf("handled %.100q of %d bytes", got, len(got[0]))
		}
	})
	t.Run("frames in the same segment as the handshake", func(t *testing.T) {
		nc, err := b.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		early := &eager{Conn: nc, behind: wiretest.Texts("4a", "3", "4b")}
		ws, err := wiretest.HandshakeWS(early, "x", query(engineio.WebSocket, ""))
		if err != nil {
			t.Fatal(err)
		}
		if p, err := ws.Text(); err != nil || !strings.HasPrefix(p, "0{") {
			t.Fatalf("%q, %v", p, err)
		}
		expectText(t, ws, "4a", "4b")
		<-b.opened
	})
}
