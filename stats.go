package heymanito

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Stats are the numbers of a [Server]: what there is, and what was since [New]. No
// map is nil; what there was none of is not in it.
type Stats struct {
	Users       int // with a device on this server, now
	Devices     int // that are let in, now
	Connections int // now, those in their handshake included
	QueueBytes  int // that clients have yet to take, all together

	Connected uint64            // devices that were let in so far
	Refused   map[Code]uint64   // that were not, by the code in the answer to CONNECT
	Closed    map[string]uint64 // devices that have gone, by reason, as in [Hooks].OnDisconnect
	// Events of clients by name, and then by outcome: "ok", or the Code of the ack.
	// All those of names that this server does not know are under the name "".
	Events map[string]map[string]uint64
	Calls  map[CallReason]uint64 // that have ended on this server, by reason

	// Hooks and Stores are how long calls of the host's code took, by name: the
	// field of Hooks, "AuthFunc", and "On" for all EventFuncs; interface and
	// method, such as "Inbox.Append". The stores in memory wait for nobody, and
	// are not among them.
	Hooks, Stores map[string]Latency

	Inbox *InboxStats // nil [WithoutInbox], and if the store has no method Stats() InboxStats
}

// Latency is how long calls of one kind took.
type Latency struct {
	Count uint64        // of calls that have ended
	Total time.Duration // of all of them
	// Within counts the calls that took no longer than the LatencyBounds of the
	// same index; all others took longer than any.
	Within [5]uint64
}

// LatencyBounds are the bounds of [Latency].Within: 1 ms, 10 ms, 100 ms, 1 s, 10 s.
func LatencyBounds() [5]time.Duration {
	return [5]time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second, 10 * time.Second}
}

// Stats returns the numbers of the server. It looks at every device: call it
// when somebody wants to know, and not more than once a second or so.
func (s *Server) Stats() Stats {
	n := &s.numbers
	st := Stats{
		Connected: n.connected.Load(),
		Refused:   map[Code]uint64{},
		Closed:    n.closed.all(),
		Events:    map[string]map[string]uint64{},
		Calls:     map[CallReason]uint64{},
		Hooks:     n.hooks.all(),
		Stores:    n.stores.all(),
	}
	st.Users, st.Devices = s.registry.count()
	st.Connections, st.QueueBytes = s.engine.Load()
	for code, count := range n.refused.all() {
		st.Refused[Code(code)] = count
	}
	for reason, count := range n.ended.all() {
		st.Calls[CallReason(reason)] = count
	}
	for name, e := range s.events {
		if outcomes := e.outcomes(); len(outcomes) > 0 {
			st.Events[name] = outcomes
		}
	}
	if unknown := s.unknown.outcomes(); len(unknown) > 0 {
		st.Events[""] = unknown
	}
	if store, ok := s.cfg.inbox.(interface{ Stats() InboxStats }); ok && s.cfg.keep {
		stats := store.Stats()
		st.Inbox = &stats
	}
	return st
}

// count returns how many users have devices here, and how many.
func (r *registry) count() (users, devices int) {
	for i := range r.shards {
		sh := &r.shards[i]
		sh.mu.Lock()
		for _, u := range sh.users {
			if len(u.devices) > 0 {
				users++
				devices += len(u.devices)
			}
		}
		sh.mu.Unlock()
	}
	return users, devices
}

// numbers is what a server counts.
type numbers struct {
	connected              atomic.Uint64
	refused, closed, ended tally
	hooks, stores          latencies
}

// tally counts what happens seldom, by name. The zero tally is empty.
type tally struct {
	mu sync.Mutex // guards of
	of map[string]uint64
}

func (t *tally) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == nil {
		t.of = map[string]uint64{}
	}
	t.of[name]++
}

func (t *tally) all() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == nil {
		return map[string]uint64{}
	}
	return maps.Clone(t.of)
}

// latencies is how long the host's code took, by name. The zero one is empty.
type latencies struct{ of sync.Map } // string → *latency

// latency is a Latency that goes on.
type latency struct {
	count, total atomic.Uint64
	within       [len(Latency{}.Within)]atomic.Uint64
}

// since takes note of a call that began then.
func (l *latencies) since(name string, began time.Time) {
	took := time.Since(began)
	found, ok := l.of.Load(name)
	if !ok {
		found, _ = l.of.LoadOrStore(name, new(latency))
	}
	one := found.(*latency)
	one.count.Add(1)
	one.total.Add(uint64(took))
	for i, bound := range LatencyBounds() {
		if took <= bound {
			one.within[i].Add(1)
		}
	}
}

func (l *latencies) all() map[string]Latency {
	all := map[string]Latency{}
	l.of.Range(func(name, found any) bool {
		one := found.(*latency)
		now := Latency{Count: one.count.Load(), Total: time.Duration(one.total.Load())}
		for i := range now.Within {
			now.Within[i] = one.within[i].Load()
		}
		all[name.(string)] = now
		return true
	})
	return all
}
