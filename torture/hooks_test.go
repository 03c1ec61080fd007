package torture

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
)

// hookCall is a call of AfterMessage or OnUndelivered.
type hookCall struct {
	at      uint64
	key     mailKey
	after   bool
	status  string
	devices []string // deviceIds
}

// ear is a host that takes note of its hooks.
type ear struct {
	clock *clock

	mu    sync.Mutex // guards calls
	calls []hookCall
}

func (e *ear) hooks() heymanito.Hooks {
	note := func(m heymanito.Message, c hookCall) {
		e.mu.Lock()
		defer e.mu.Unlock()
		c.at, c.key = e.clock.tick(), mailKey{m.From, m.To, string(m.ID)}
		e.calls = append(e.calls, c)
	}
	return heymanito.Hooks{
		AfterMessage: func(_ context.Context, m heymanito.Message, d heymanito.Delivery) {
			c := hookCall{after: true, status: d.Status}
			for _, d := range d.Devices {
				c.devices = append(c.devices, d.DeviceID)
			}
			note(m, c)
		},
		OnUndelivered: func(_ context.Context, m heymanito.Message) { note(m, hookCall{}) },
	}
}

// checkHooks reports what is wrong about what a host was told: of every message
// once, and of those that were given to nobody first.
func checkHooks(h *history, calls []hookCall) (wrong []string) {
	broken := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	c := &checker{boxes: map[string]*box{}, mail: map[mailKey]*mail{}}
	for _, l := range h.devices {
		c.collect(l)
		if l.audit {
			c.open(l)
		}
	}
	told := map[mailKey][]hookCall{}
	for _, call := range calls {
		told[call.key] = append(told[call.key], call)
	}
	for user, b := range c.boxes {
		for key := range b.place {
			of := told[key]
			delete(told, key)
			last := len(of) - 1
			switch {
			case last < 0 || !of[last].after || last > 1 || last == 1 && of[0].after:
				broken("%s: the hooks were called like this for %v: %v", user, key, of)
				continue
			case (last == 1) != (len(of[last].devices) == 0):
				broken("%s: %v was given to %v, OnUndelivered: %v", user, key, of[last].devices, last == 1)
			}
			if m := c.mail[key]; len(m.acks) > 0 && m.acks[0].delivery != of[last].status {
				broken("%s: the ack of %v said %s, AfterMessage %s", user, key, m.acks[0].delivery, of[last].status)
			}
			for _, d := range of[last].devices {
				if !h.has(d, key, of[last].at) {
					broken("%s: %v was given to %s, who did not have it", user, key, d)
				}
			}
		}
	}
	for key, of := range told {
		broken("the hooks were called for %v, which is nowhere: %v", key, of)
	}
	return wrong
}

// has reports whether a device had shown by then that it has a message.
func (h *history) has(device string, key mailKey, at uint64) bool {
	return slices.ContainsFunc(h.devices, func(l *log) bool {
		return l.device == device && slices.ContainsFunc(l.records, func(r record) bool {
			switch {
			case r.key() != key || r.at > at:
				return false
			case r.what == emitted:
				return key.from == key.to
			case r.what == arrived:
				return r.event == receiveMessage && (!l.acks || l.since) // it says so when it comes back
			}
			return r.what == called
		})
	})
}

// The host is told who was given what, whatever happens to the connections.
func TestHooks(t *testing.T) {
	t.Parallel()
	e := &ear{}
	inbox := heymanito.NewMemoryInbox(heymanito.InboxBounds{})
	h := newHost(t, inbox, heymanito.WithHooks(e.hooks()))
	s := newStorm(breeze(5, h))
	e.clock = &s.clock
	s.start()
	time.Sleep(4 * time.Second)
	history, found := s.settle()
	report(t, found)
	h.crash() // Shutdown calls the hooks about what is left
	for i, w := range checkHooks(history, e.calls) {
		if t.Errorf("%s", w); i == 10 {
			break
		}
	}
	t.Logf("%d calls\n%s", len(e.calls), s.summary())
}

// What is wrong about hooks is found.
func TestBrokenHooks(t *testing.T) {
	good := func(t *tale) []hookCall {
		at := t.clock
		return []hookCall{
			{at, mailKey{"ana", "luis", "1"}, true, "sent", []string{"luis.0"}},
			{at, mailKey{"ana", "luis", "2"}, true, "sent", []string{"luis.0"}},
			{at, mailKey{"ana", "eva", `"1"`}, true, "sent", []string{"eva.0"}},
			{at, mailKey{"luis", "luis", "7"}, false, "", nil},
			{at, mailKey{"luis", "luis", "7"}, true, "sent", nil},
		}
	}
	for _, tt := range []struct {
		name  string
		tell  func(t *tale, calls []hookCall) []hookCall
		wrong bool
	}{
		{"all is well", func(_ *tale, c []hookCall) []hookCall { return c }, false},
		{"one is missing", func(_ *tale, c []hookCall) []hookCall { return c[1:] }, true},
		{"one comes twice", func(_ *tale, c []hookCall) []hookCall { return append(c, c[0]) }, true},
		{"OnUndelivered comes twice", func(_ *tale, c []hookCall) []hookCall { return append(c[:4:4], c[3], c[4]) }, true},
		{"OnUndelivered comes last", func(_ *tale, c []hookCall) []hookCall { return append(c[:3:3], c[4], c[3]) }, true},
		{"given to nobody and nobody is told", func(_ *tale, c []hookCall) []hookCall { return append(c[:3:3], c[4]) }, true},
		{"given and undelivered", func(_ *tale, c []hookCall) []hookCall {
			c[4].devices = []string{"luis.0"}
			return c
		}, true},
		{"another status", func(_ *tale, c []hookCall) []hookCall { c[0].status = "queued"; return c }, true},
		{"given to somebody else", func(_ *tale, c []hookCall) []hookCall { c[0].devices[0] = "eva.0"; return c }, true},
		{"given too early", func(t *tale, c []hookCall) []hookCall {
			c[0].at = t.find("luis.0", arrived, receiveMessage, 1).at - 1
			return c
		}, true},
		{"given before the callback", func(t *tale, c []hookCall) []hookCall {
			c[2].at = t.find("eva.0", called, receiveMessage, 1).at - 1
			return c
		}, true},
		{"about nothing", func(_ *tale, c []hookCall) []hookCall {
			return append(c, hookCall{1, mailKey{"ana", "eva", "9"}, true, "sent", nil})
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			story := goodTale()
			if wrong := checkHooks(&story.history, tt.tell(story, good(story))); (len(wrong) > 0) != tt.wrong {
				t.Errorf("found was %v", wrong)
			}
		})
	}
}
