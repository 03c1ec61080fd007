package torture

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
)

// blow lets a storm blow until the fault has occurred, and a while longer, and
// returns what is wrong then.
func blow(t *testing.T, cfg config, o *once) []violation {
	t.Helper()
	s := newStorm(cfg)
	s.start()
	await(func() bool { return o.fired.Load() > 0 })
	then := s.clock.n.Load()
	await(func() bool { return s.clock.n.Load() > then+1000 })
	h, found := s.settle()
	t.Logf("%d records\n%s", size(h), s.summary())
	return found
}

// await waits until ok, but not for ever: it is not what is tested.
func await(ok func() bool) {
	for end := time.Now().Add(time.Minute); !ok() && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
}

// Without a fault there is nothing to find.
func TestControl(t *testing.T) {
	t.Parallel()
	inbox := heymanito.NewMemoryInbox(heymanito.InboxBounds{})
	o := &once{}
	o.fired.Add(1)
	cfg := breeze(1, newHost(t, inbox))
	cfg.users = 12
	report(t, blow(t, cfg, o))
}

// expect fails the test unless one of the rules was found to be broken.
func expect(t *testing.T, found []violation, o *once, rules ...rule) {
	t.Helper()
	if o.fired.Load() == 0 {
		t.Fatalf("the fault did not occur in %d opportunities", o.seen.Load())
	}
	for _, v := range found {
		if slices.Contains(rules, v.rule) {
			t.Logf("caught: %s: %s", v.rule, v.text)
			return
		}
	}
	t.Errorf("not caught; found was:")
	report(t, found)
}

// A store that does not keep its promises is found out.
func TestFaultyStore(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		at    int64
		fault func(*once) *store
		long  bool // connections last: one that breaks could hide the fault
		rule  rule
	}{
		{"drops one message", 150, drops, true, ruleStored},
		{"doubles one message", 150, doubles, true, ruleOnce},
		{"reorders two messages", 100, swaps, true, ruleOrder},
		{"forgets that it had one", 20, forgets, true, ruleOnce},
		{"leaves one out of the replay", 10, skips, false, ruleSeq},
		{"takes stored for given", 0, assumes, false, ruleAtLeast},
		{"lets receipts go back", 0, returns, false, ruleForward},
		{"has receipts too early", 0, promises, false, ruleTrue},
		{"keeps receipts to itself", 0, hushes, false, ruleTick},
		{"refuses a message now and then", 25, fails, true, ruleError},
		{"changes the epoch", 30, changes, false, ruleEpoch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := &once{at: tt.at}
			s := tt.fault(o)
			s.Inbox = heymanito.NewMemoryInbox(heymanito.InboxBounds{})
			cfg := breeze(2, newHost(t, s))
			if tt.long {
				cfg.fates, cfg.life = []fate{fateIdle}, time.Hour
			}
			expect(t, blow(t, cfg, o), o, tt.rule)
		})
	}
}

// A store that acks before it stores is found out by a crash, and one that does
// not is not.
func TestCrash(t *testing.T) {
	t.Parallel()
	for _, lag := range []int{0, 1, 20} {
		t.Run(fmt.Sprint("lag=", lag), func(t *testing.T) {
			t.Parallel()
			d := newDisk(lag)
			h := newHost(t, d)
			cfg := breeze(3, h)
			cfg.restarts = true
			s := newStorm(cfg)
			s.start()
			await(func() bool { return s.clock.n.Load() > 1000 })
			await(func() bool { return d.stop(s.acked) })
			h.crash()
			h.start(d.copy)
			then := s.clock.n.Load()
			await(func() bool { return s.clock.n.Load() > then+500 })
			_, found := s.settle()
			if lag == 0 {
				report(t, found)
				return
			}
			o := &once{}
			o.fired.Add(1)
			expect(t, found, o, ruleStored, ruleSeq, ruleContent)
		})
	}
}

// acked reports whether a message was.
func (s *storm) acked(key mailKey) bool {
	return !s.all(func(d *device) bool {
		return !slices.ContainsFunc(d.log.records, func(r record) bool {
			return r.what == answered && r.code == "" && r.key() == key
		})
	})
}

// A server that does not say what it should is found out.
func TestFaultyWire(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		at    int64
		fault func(o *once) func(frame []byte) [][]byte // for each connection
		short bool                                      // connections break, so that there are replays
		rules []rule
	}{
		{"drops one event", 150, func(o *once) func([]byte) [][]byte {
			return func(f []byte) [][]byte {
				if isEvent(f, receiveMessage) && o.now() {
					return nil
				}
				return [][]byte{f}
			}
		}, false, []rule{ruleSeq}},
		{"doubles one event", 150, func(o *once) func([]byte) [][]byte {
			return func(f []byte) [][]byte {
				if isEvent(f, messageSent) && o.now() {
					return [][]byte{f, f}
				}
				return [][]byte{f}
			}
		}, false, []rule{ruleSeq}},
		{"reorders two events", 150, func(o *once) func([]byte) [][]byte {
			var held []byte
			return func(f []byte) [][]byte {
				switch {
				case held != nil && isEvent(f, receiveMessage):
					both := [][]byte{f, held}
					held = nil
					return both
				case isEvent(f, receiveMessage) && o.now():
					held = f
					return nil
				}
				return [][]byte{f}
			}
		}, false, []rule{ruleSeq}},
		{"lets an event overtake the replay", 5, func(o *once) func([]byte) [][]byte {
			var held []byte
			past := false
			return func(f []byte) [][]byte {
				switch {
				case held == nil && !past && isEvent(f, receiveMessage):
					held = f
					return nil
				case isEvent(f, "inboxReady"):
					past = true
					if held != nil && o.seen.Add(1) < o.at { // not this time
						f, held = append(held, f...), nil
					}
				case held != nil && past && isEvent(f, receiveMessage):
					o.fired.Add(1)
					f, held = append(f, held...), nil
				case held != nil && !past && isEvent(f, receiveMessage):
					f, held = append(held, f...), nil
				}
				return [][]byte{f}
			}
		}, true, []rule{ruleSeq, ruleReplay}},
		{"changes one byte", 150, func(o *once) func([]byte) [][]byte {
			return func(f []byte) [][]byte {
				if i := bytes.Index(f, []byte("hola")); i > 0 && isEvent(f, receiveMessage) && o.now() {
					f[i+1] = '0'
				}
				return [][]byte{f}
			}
		}, false, []rule{ruleContent}},
		{"says what nobody has sent", 150, func(o *once) func([]byte) [][]byte {
			return func(f []byte) [][]byte {
				if i := bytes.Index(f, []byte(`"id":"m-`)); i > 0 && isEvent(f, receiveMessage) && o.now() {
					f[i+6] = 'n'
				}
				return [][]byte{f}
			}
		}, false, []rule{ruleSent}},
		{"does not ack one event", 150, func(o *once) func([]byte) [][]byte {
			return func(f []byte) [][]byte {
				if isAck(f) && o.now() {
					return nil
				}
				return [][]byte{f}
			}
		}, false, []rule{ruleAck}},
		{"acks one event twice", 150, func(o *once) func([]byte) [][]byte {
			return func(f []byte) [][]byte {
				if isAck(f) && o.now() {
					return [][]byte{f, f}
				}
				return [][]byte{f}
			}
		}, false, []rule{ruleAck}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := &once{at: tt.at}
			cfg := breeze(4, newHost(t, heymanito.NewMemoryInbox(heymanito.InboxBounds{})))
			cfg.fates, cfg.websocket = []fate{fateIdle}, true
			if !tt.short {
				cfg.life = time.Hour // a connection that breaks could hide the fault
			}
			cfg.mangle = func(l *log) func(net.Conn) net.Conn {
				if strings.HasSuffix(l.device, "audit") {
					return nil
				}
				return func(c net.Conn) net.Conn { return &mangler{Conn: c, change: tt.fault(o)} }
			}
			expect(t, blow(t, cfg, o), o, tt.rules...)
		})
	}
}
