package heymanito

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"
)

// lastSeenUsers is for how many offline users a MemoryPresence keeps last seen
// unless the host says otherwise.
const lastSeenUsers = 100_000

// MemoryPresence is the [PresenceStore] of a single process: it knows only the
// users of this node, and nothing of them survives a restart. Make one with
// [NewMemoryPresence].
//
// What it holds is bounded. A user who is online takes about 200 bytes, and so
// does one who is offline and whose last seen is kept: of those there are at
// most 100,000 (about 20 MB; 45 MB if every chatPath has the longest allowed
// length), see [MemoryPresence.KeepLastSeen]. When one more goes offline, who
// has been offline longest is forgotten, and from then on is a user never seen.
//
// Set never waits for a watcher. An edge that some Watch has not yet handed on
// takes about 100 bytes, once however many watchers wait for it, so an edge
// callback that blocks while users come and go costs memory until it returns:
// that is the one thing without a bound here. Edges are never coalesced, Moved
// ones neither.
//
// Online holds up Set for the time it takes to look up all the users it is
// asked for, Snapshot for copying 8 bytes for each user who is online; neither
// does while its caller works with the answer.
type MemoryPresence struct {
	// mu guards the picture of who is online and who was, and the end of the
	// log: a change and its edge are one step, so the log has the order of the
	// changes.
	mu     sync.Mutex
	users  map[string]*memoryUser
	online []*memoryUser // those who are, in no order; a user's slot is his index
	gone   goneList      // those who are not
	keep   int           // most users in gone

	watchers int           // nobody reads the log: nothing is written to it
	tail     *edgeChunk    // where the next edge goes
	grown    chan struct{} // closed at the next edge; nil: no watcher sleeps
}

var _ PresenceStore = (*MemoryPresence)(nil)

// memoryUser is a user as of his latest change. name and socketID are never
// written again (another socket makes another memoryUser), which is what lets
// Snapshot read them without the lock.
type memoryUser struct {
	name, socketID string
	lastSeen       int64       // Unix milliseconds; zero while online
	prev, next     *memoryUser // neighbours in gone
	slot           int32       // index in online
	online         bool
}

func (u *memoryUser) presence() Presence {
	p := Presence{User: u.name, Online: u.online, SocketID: u.socketID}
	if !u.online {
		p.LastSeen = time.UnixMilli(u.lastSeen)
	}
	return p
}

// NewMemoryPresence returns an empty MemoryPresence. It starts nothing and
// needs no closing.
func NewMemoryPresence() *MemoryPresence {
	return &MemoryPresence{
		users: make(map[string]*memoryUser),
		keep:  lastSeenUsers,
		tail:  new(edgeChunk),
	}
}

// KeepLastSeen sets for how many offline users last seen is kept, 100,000 by
// default; zero or less: for nobody. Those above n are forgotten at once,
// longest offline first. It may be called at any time.
func (m *MemoryPresence) KeepLastSeen(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep = max(n, 0)
	m.forgetOldest()
}

// Set implements [PresenceStore]. Setting a user offline who is not online
// changes nothing, his SocketID neither; an empty SocketID on going offline
// leaves the known one.
func (m *MemoryPresence) Set(ctx context.Context, p Presence) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.users[p.User]
	switch {
	case p.Online && u != nil && u.online:
		if p.SocketID != u.socketID {
			u = m.replace(u, p.SocketID)
			m.log(Edge{Presence: u.presence(), Moved: true})
		}
	case p.Online:
		m.come(u, p)
	case u != nil && u.online:
		if p.SocketID != "" && p.SocketID != u.socketID {
			u = m.replace(u, p.SocketID)
		}
		m.leave(u)
		m.forgetOldest()
	}
	return nil
}

// Online implements [PresenceStore].
func (m *MemoryPresence) Online(ctx context.Context, users []string) ([]Presence, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	known := make([]Presence, len(users))
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, name := range users {
		if u := m.users[name]; u != nil {
			known[i] = u.presence()
		} else {
			known[i].User = name
		}
	}
	return known, nil
}

// Snapshot implements [PresenceStore]: it yields who is online at the moment
// the iteration begins.
func (m *MemoryPresence) Snapshot(ctx context.Context) iter.Seq2[Presence, error] {
	return func(yield func(Presence, error) bool) {
		m.mu.Lock()
		online := slices.Clone(m.online)
		m.mu.Unlock()
		for _, u := range online {
			if ctx.Err() != nil {
				break
			}
			// u may be offline by now; it was online, with this socket.
			if !yield(Presence{User: u.name, Online: true, SocketID: u.socketID}, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(Presence{}, err)
		}
	}
}

// Watch implements [PresenceStore]. edge runs on the caller's goroutine; a
// panic in it ends the Watch and reaches the caller.
func (m *MemoryPresence) Watch(ctx context.Context, ready func(), edge func(Edge)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	m.watchers++
	chunk, read := m.tail, m.tail.n
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.watchers--
		m.mu.Unlock()
	}()
	if ready != nil {
		ready()
	}
	for {
		written, next, grown := m.more(chunk, read)
		for ; read < written; read++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			edge(chunk.edges[read])
		}
		if next != nil {
			chunk, read = next, 0
		} else if grown != nil {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-grown:
			}
		}
	}
}

// Forget implements [PresenceStore].
func (m *MemoryPresence) Forget(ctx context.Context, user string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.users[user]
	if u == nil {
		return nil
	}
	if u.online {
		m.leave(u)
	}
	m.forget(u)
	return nil
}

// come puts a user online who is not; u is what was known, nil if nothing.
func (m *MemoryPresence) come(u *memoryUser, p Presence) {
	// Copies, because the caller's strings may be pieces of something bigger,
	// a request's URL say, which would be kept for as long as last seen is.
	var name string
	if u != nil {
		m.gone.remove(u)
		name = u.name
	} else {
		name = strings.Clone(p.User)
	}
	u = &memoryUser{
		name:     name,
		socketID: strings.Clone(p.SocketID),
		slot:     int32(len(m.online)),
		online:   true,
	}
	m.users[u.name] = u
	m.online = append(m.online, u)
	m.log(Edge{Presence: u.presence()})
}

// replace gives a user who is online another socket.
func (m *MemoryPresence) replace(u *memoryUser, socketID string) *memoryUser {
	v := &memoryUser{
		name:     u.name,
		socketID: strings.Clone(socketID),
		slot:     u.slot,
		online:   true,
	}
	m.users[v.name] = v
	m.online[v.slot] = v
	return v
}

// leave puts a user offline who is online. The list of those gone may then be
// one too long.
func (m *MemoryPresence) leave(u *memoryUser) {
	end := len(m.online) - 1
	last := m.online[end]
	m.online[u.slot], last.slot = last, u.slot
	m.online[end] = nil
	m.online = m.online[:end]

	u.online = false
	u.lastSeen = time.Now().UnixMilli()
	m.gone.push(u)
	m.log(Edge{Presence: u.presence()})
}

// forget erases a user who is offline.
func (m *MemoryPresence) forget(u *memoryUser) {
	m.gone.remove(u)
	delete(m.users, u.name)
}

func (m *MemoryPresence) forgetOldest() {
	for m.gone.len > m.keep {
		m.forget(m.gone.oldest)
	}
}

// goneList holds the users who are offline, in the order they went.
type goneList struct {
	oldest, newest *memoryUser
	len            int
}

func (l *goneList) push(u *memoryUser) {
	u.prev = l.newest
	if u.prev != nil {
		u.prev.next = u
	} else {
		l.oldest = u
	}
	l.newest = u
	l.len++
}

func (l *goneList) remove(u *memoryUser) {
	if u.prev != nil {
		u.prev.next = u.next
	} else {
		l.oldest = u.next
	}
	if u.next != nil {
		u.next.prev = u.prev
	} else {
		l.newest = u.prev
	}
	u.prev, u.next = nil, nil
	l.len--
}

// edgeChunk is a piece of the log of edges. The log is a chain that only its
// readers hold on to: each Watch keeps the chunk it reads, the store the one it
// writes, and what all have read is garbage. So there is one copy of an edge,
// and writing it costs the same for any number of watchers.
//
// n and next belong to the store's mutex; edges below n are never written
// again and are read without it.
type edgeChunk struct {
	edges [32]Edge
	n     int
	next  *edgeChunk // nil until edges is full and there is one more
}

// log appends an edge to the log, if anyone reads it, and wakes who sleeps.
func (m *MemoryPresence) log(e Edge) {
	if m.watchers == 0 {
		return
	}
	if m.tail.n == len(m.tail.edges) {
		m.tail.next = new(edgeChunk)
		m.tail = m.tail.next
	}
	m.tail.edges[m.tail.n] = e
	m.tail.n++
	if m.grown != nil {
		close(m.grown)
		m.grown = nil
	}
}

// more says how much of chunk is written and which chunk follows it; grown is
// non-nil if there is nothing after read yet, and closed when there is.
func (m *MemoryPresence) more(chunk *edgeChunk, read int) (written int, next *edgeChunk, grown <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if read == chunk.n && chunk.next == nil {
		if m.grown == nil {
			m.grown = make(chan struct{})
		}
		return chunk.n, nil, m.grown
	}
	return chunk.n, chunk.next, nil
}
