package engineio_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// Whatever the moment of an upgrade, and however many attempts fail before,
// every message arrives once and in order, both ways.
func TestUpgradeLosesNothing(t *testing.T) {
	b := newBed(t)
	b.handle = func(*session, string) {} // both sides speak of their own accord
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	const workers = 4
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < rounds && !t.Failed(); i += workers {
				seed := uint64(i)
				if err := upgradeRound(b, rand.New(rand.NewPCG(seed, 7))); err != nil {
					t.Errorf("round %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
}

const perRound = 200

// upgradeRound is the life of a client that keeps talking while it upgrades.
func upgradeRound(b *bed, random *rand.Rand) error {
	c, s, err := b.tryPoll()
	if err != nil {
		return err
	}
	defer c.Close()

	// Down: the server says 0 to 199.
	pace := rand.New(rand.NewPCG(random.Uint64(), 1))
	var down sync.WaitGroup
	down.Go(func() {
		for i := range perRound {
			s.Send(engineio.Text(fmt.Append(nil, i)))
			pause(pace)
		}
	})
	defer down.Wait()

	var got []string // what came down, by one goroutine after the other
	take := func(packets ...string) {
		for _, p := range packets {
			if strings.HasPrefix(p, "4") && p != "4" { // "4" only ends a poll
				got = append(got, p[1:])
			}
		}
	}
	// Polls, until told to stop: then the poll under way is the last.
	polls := func(stop <-chan struct{}) <-chan error {
		done := make(chan error, 1)
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				a, err := c.Get(context.Background())
				if err != nil || a.Status != 200 {
					done <- fmt.Errorf("poll: %d %q %w", a.Status, a.Body, err)
					return
				}
				take(a.Packets...)
			}
		}()
		return done
	}
	// Up, as well: POSTs of a few messages, until told to stop.
	up := 0
	posts := func(stop <-chan struct{}, pace *rand.Rand) <-chan error {
		done := make(chan error, 1)
		go func() {
			for up < perRound {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				var packets []string
				for range 1 + pace.IntN(5) {
					if up < perRound {
						packets = append(packets, fmt.Sprint("4", up))
						up++
					}
				}
				if err := c.Send(packets...); err != nil {
					done <- fmt.Errorf("POST: %w", err)
					return
				}
				pause(pace)
			}
			done <- nil
		}()
		return done
	}

	var ws *wiretest.WS
	for attempt := range 3 {
		stop := make(chan struct{})
		polling, posting := polls(stop), posts(stop, rand.New(rand.NewPCG(random.Uint64(), 2)))
		settle := func() error {
			close(stop)
			s.Send(engineio.Text()) // ends the poll under way, if the probe has not
			return errors.Join(<-posting, <-polling)
		}
		for range random.IntN(30) {
			pause(random)
		}
		fails := attempt < 2 && random.IntN(2) == 0
		var err error
		if ws, err = b.tryWS(query(engineio.WebSocket, s.ID())); err != nil {
			return errors.Join(err, settle())
		}
		if fails && random.IntN(2) == 0 { // dies before it said anything
			ws.Close()
			if err := endAttempt(s, settle); err != nil {
				return err
			}
			continue
		}
		if err := ws.Send("2probe"); err != nil {
			return errors.Join(err, settle())
		}
		if p, err := ws.Text(); p != "3probe" {
			return errors.Join(fmt.Errorf("%q for a probe, %w", p, err), settle())
		}
		if fails { // dies after it has proven itself
			ws.Close()
			if err := endAttempt(s, settle); err != nil {
				return err
			}
			continue
		}
		if err := settle(); err != nil { // pause polling, as clients have to
			return err
		}
		break
	}
	defer ws.Close()
	// The upgrade, with more on its heels.
	batch := []string{"5"}
	for range random.IntN(4) {
		if up < perRound {
			batch = append(batch, fmt.Sprint("4", up))
			up++
		}
	}
	if err := ws.Write(wiretest.Texts(batch...)); err != nil {
		return err
	}
	for up < perRound {
		if err := ws.Send(fmt.Sprint("4", up)); err != nil {
			return err
		}
		up++
	}
	for len(got) < perRound {
		p, err := ws.Text()
		if err != nil {
			return fmt.Errorf("after %d messages came down: %w", len(got), err)
		}
		take(p)
	}
	heard := s.await(perRound)
	var want, wantHeard []string
	for i := range perRound {
		want = append(want, fmt.Sprint(i))
		wantHeard = append(wantHeard, fmt.Sprint("text ", i))
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("down came %q", got)
	}
	if !slices.Equal(heard, wantHeard) {
		return fmt.Errorf("up came %q", heard)
	}
	return nil
}

// endAttempt waits until the server has noticed that a probe died. Until then
// polls may be answered at once, with noops.
func endAttempt(s *session, settle func() error) error {
	for end := time.Now().Add(patience); s.Probing(); time.Sleep(time.Millisecond / 2) {
		if time.Now().After(end) {
			return errors.Join(errors.New("a dead probe is not noticed"), settle())
		}
	}
	return settle()
}

// pause gives others a turn, or some microseconds.
func pause(r *rand.Rand) {
	if r.IntN(3) == 0 {
		time.Sleep(time.Duration(r.IntN(300)) * time.Microsecond)
	}
}

// probe opens a WebSocket for s that has proven itself.
func (b *bed) probe(s *session) *wiretest.WS {
	b.t.Helper()
	ws := b.ws(s.ID())
	if err := ws.Send("2probe"); err != nil {
		b.t.Fatal(err)
	}
	expectText(b.t, ws, "3probe")
	return ws
}

func TestUpgradeAbandoned(t *testing.T) {
	b := newBed(t)
	for _, how := range []struct {
		name string
		end  func(ws *wiretest.WS) error
	}{
		{"the connection is cut", func(ws *wiretest.WS) error { ws.Close(); return nil }},
		{"a close frame", func(ws *wiretest.WS) error { return ws.Write(wiretest.Frame(true, wiretest.OpClose, nil)) }},
		{"an Engine.IO close", func(ws *wiretest.WS) error { return ws.Send("1") }},
		{"a message before the upgrade", func(ws *wiretest.WS) error { return ws.Send("4hello") }},
		{"a binary message", func(ws *wiretest.WS) error { return ws.SendBinary([]byte{1}) }},
		{"an unmasked frame", func(ws *wiretest.WS) error { return ws.Write([]byte{0x81, 1, '5'}) }},
		{"a message too large", func(ws *wiretest.WS) error {
			return ws.Write([]byte{0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0})
		}},
	} {
		for _, proven := range []bool{false, true} {
			t.Run(fmt.Sprint(how.name, "/proven ", proven), func(t *testing.T) {
				c, s := b.openPoll()
				ws := b.ws(s.ID())
				if proven {
					if err := ws.Send("2probe"); err != nil {
						t.Fatal(err)
					}
					expectText(t, ws, "3probe")
				}
				if err := how.end(ws); err != nil {
					t.Fatal(err)
				}
				if _, p, err := ws.Read(); err == nil || isTimeout(err) {
					t.Fatalf("the server keeps this WebSocket: %q, %v", p, err)
				}
				for end := time.Now().Add(patience); s.Probing(); time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("the dead probe is not noticed")
					}
				}
				// The session goes on, on polling, and can try again.
				expectPost(t, c, "4on", 200, "ok")
				expectGet(t, c, 200, "4on")
				s.expectOpen()
				ws = b.probe(s)
				if err := ws.Write(wiretest.Texts("5", "4up")); err != nil {
					t.Fatal(err)
				}
				expectText(t, ws, "4up")
			})
		}
	}
	t.Run("5 without a probe", func(t *testing.T) {
		c, s := b.openPoll()
		ws := b.ws(s.ID())
		if err := ws.Write(wiretest.Texts("5", "4x")); err != nil {
			t.Fatal(err)
		}
		if _, p, err := ws.Read(); err == nil || isTimeout(err) {
			t.Fatalf("the server keeps this WebSocket: %q, %v", p, err)
		}
		expectPost(t, c, "4on", 200, "ok")
		expectGet(t, c, 200, "4on")
		s.expectOpen()
	})
}

func TestUpgradeAnswersPolls(t *testing.T) {
	b := newBed(t)
	c, s := b.openPoll()
	pending := poll(t.Context(), c)
	waitPending(t, s)
	ws := b.ws(s.ID())
	select {
	case p := <-pending:
		t.Fatalf("a WebSocket that has not said a word ends the poll: %v", p)
	case <-time.After(10 * time.Millisecond): // it cannot prove more than it shows
	}
	if err := ws.Send("2probe"); err != nil {
		t.Fatal(err)
	}
	expectText(t, ws, "3probe")
	expectBody(t, pending, 200, "6")
	expectGet(t, c, 200, "6")
	s.Send(engineio.Text([]byte("still by poll")))
	expectGet(t, c, 200, "4still by poll")
	s.Send(engineio.Text([]byte("waits")))
	if err := ws.Send("5"); err != nil {
		t.Fatal(err)
	}
	expectText(t, ws, "4waits")
	if got := s.Transport(); got != engineio.WebSocket {
		t.Errorf("the transport is %s", got)
	}
	expectGet(t, c, 400, "")
	expectPost(t, c, "4x", 400, "")
	s.expectOpen()
}

// A poll that waits when the upgrade is completed, against the rules, is
// answered, and takes nothing away.
func TestUpgradeWithAPollPending(t *testing.T) {
	b := newBed(t)
	for range 50 {
		c, s := b.openPoll()
		pending := poll(t.Context(), c)
		waitPending(t, s)
		ws := b.ws(s.ID())
		if err := ws.Write(wiretest.Texts("2probe", "5", "4a")); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "3probe", "4a")
		expectBody(t, pending, 200, "6")
		s.expectOpen()
		ws.Close()
		s.expectEnd(engineio.TransportClose)
	}
}

func TestUpgradeSecondWebSocket(t *testing.T) {
	b := newBed(t)
	_, s := b.openPoll()
	first := b.ws(s.ID())
	closed := func(name string) {
		t.Helper()
		ws, err := b.tryWS(query(engineio.WebSocket, s.ID()))
		if err != nil {
			return // also an answer
		}
		defer ws.Close()
		_ = ws.Send("2probe") // it may be closed already
		if _, p, err := ws.Read(); err == nil || isTimeout(err) {
			t.Errorf("%s, a second WebSocket got %q, %v", name, p, err)
		}
	}
	closed("beside a silent first one")
	if err := first.Send("2probe"); err != nil {
		t.Fatal(err)
	}
	expectText(t, first, "3probe")
	closed("beside a first one that has proven itself")
	if err := first.Send("5"); err != nil {
		t.Fatal(err)
	}
	if err := first.Send("4a"); err != nil {
		t.Fatal(err)
	}
	expectText(t, first, "4a")
	closed("after the upgrade")
	if err := first.Send("4b"); err != nil {
		t.Fatal(err)
	}
	expectText(t, first, "4b")
	s.expectOpen()

	ws, s2 := b.openWS()
	s = s2
	closed("of a session that began on one")
	if err := ws.Send("4c"); err != nil {
		t.Fatal(err)
	}
	expectText(t, ws, "4c")
	s.expectOpen()
}

func TestUpgradeOfASessionThatEnds(t *testing.T) {
	b := newBed(t)
	for _, proven := range []bool{false, true} {
		t.Run(fmt.Sprint("closed by the server/proven ", proven), func(t *testing.T) {
			c, s := b.openPoll()
			pending := poll(t.Context(), c)
			waitPending(t, s)
			ws := b.ws(s.ID())
			if proven {
				if err := ws.Send("2probe"); err != nil {
					t.Fatal(err)
				}
				expectText(t, ws, "3probe")
				expectBody(t, pending, 200, "6")
			}
			s.Close(engineio.Expired)
			if !proven {
				expectBody(t, pending, 200, "1")
			} else {
				expectGet(t, c, 200, "1")
			}
			if _, p, err := ws.Read(); err == nil || isTimeout(err) {
				t.Errorf("the probe of a session that has ended got %q, %v", p, err)
			}
			s.expectEnd(engineio.Expired)
		})
	}
	t.Run("closed by the server/when the client has stopped to poll", func(t *testing.T) {
		c, s := b.openPoll()
		pending := poll(t.Context(), c)
		waitPending(t, s)
		ws := b.ws(s.ID())
		if err := ws.Send("2probe"); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "3probe")
		expectBody(t, pending, 200, "6")
		s.Send(engineio.Text([]byte("a")))
		s.Close(engineio.Expired, engineio.Text([]byte("last")))
		if err := ws.Send("5"); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "4a", "4last")
		expectClose(t, ws, 1008, engineio.Expired.String())
		s.expectEnd(engineio.Expired)
	})
	t.Run("closed by the server with nothing to say/when the client has stopped to poll", func(t *testing.T) {
		_, s := b.openPoll()
		ws := b.ws(s.ID())
		if err := ws.Send("2probe"); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "3probe")
		s.Close(engineio.Expired)
		if err := ws.Send("5"); err != nil {
			t.Fatal(err)
		}
		expectClose(t, ws, 1008, engineio.Expired.String())
	})
	t.Run("unknown session", func(t *testing.T) {
		_, err := b.tryWS(query(engineio.WebSocket, "abc"))
		var status *wiretest.ErrStatus
		if !errors.As(err, &status) || status.Status != 400 || !strings.HasPrefix(status.Body, `{"code":1,`) {
			t.Errorf("a WebSocket for an unknown session: %v", err)
		}
	})
	t.Run("dies after the upgrade", func(t *testing.T) {
		_, s := b.openPoll()
		ws := b.probe(s)
		if err := ws.Write(wiretest.Texts("5", "4a")); err != nil {
			t.Fatal(err)
		}
		expectText(t, ws, "4a")
		ws.Close()
		s.expectEnd(engineio.TransportClose)
	})
}
