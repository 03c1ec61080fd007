package heymanito

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/seam"
	"github.com/heymanito/heymanito/internal/socketio"
)

// device is one connected socket of a user.
type device struct {
	Device
	conn      *socketio.Conn
	lastSeen  bool        // asked for the second argument of contact_offline
	acks      bool        // asked for an ack callback on receiveMessage
	since     *position   // asked for everything behind it; nil: a stock client
	feed      *feed       // of its user's inbox; nil without one
	place     int         // in roster.devices; the roster's
	bell      bell        // what it was told of calls
	marks     marks       // what it was sent, and has not shown that it has read
	socket    seam.Socket // at the server behind the bridge; nil without one
	proof     atomic.Pointer[proof]
	allowance *allowance  // of events; nil before the first, and without a bound
	expelled  atomic.Bool // its user was forgotten: it is about to be disconnected
}

// origin is what an entry of the device's own doing says of it; nothing, where
// the host has done it and there is no device.
func (d *device) origin() string {
	if d == nil {
		return ""
	}
	return d.SocketID
}

// acts and idles are those of its feed, if there is a device.
func (d *device) acts() {
	if d != nil {
		d.feed.act()
	}
}

func (d *device) idles() {
	if d != nil {
		d.feed.idle()
	}
}

// registry knows the devices of every user on this server, and tells the
// presence store when a user comes and goes.
type registry struct {
	srv    *Server
	seed   maphash.Seed
	shards [64]registryShard
}

type registryShard struct {
	mu    sync.Mutex // guards users and, of each, what is marked
	users map[string]*user
}

// user is someone with a device here, or who had one a moment ago.
type user struct {
	path  string
	shard *registryShard

	// Guarded by shard.mu. The slice is replaced, never changed: whoever has
	// read it may walk it without the lock.
	devices []*device
	last    string        // the socket id to list
	rate    *rate.Limiter // of the events of all of them; nil before the first
	grace   *time.Timer   // runs while a connection's end may be forgiven and there is no other
	forgive time.Time     // until when the end of the one that broke last may be; zero once a device is back
	retry   *time.Timer   // runs when the store did not take an end

	// turn is held by whoever tells the store: one Set at a time, in order.
	turn   chan struct{}
	stored Presence // what the store was told; the turn's holder's
	unsure bool     // a Set has failed: it may have been heard all the same
}

func newRegistry(s *Server) *registry {
	r := &registry{srv: s, seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].users = map[string]*user{}
	}
	return r
}

func (r *registry) shard(path string) *registryShard {
	return &r.shards[maphash.String(r.seed, path)%uint64(len(r.shards))]
}

// path returns the name of a user who is, or was a moment ago, on this server.
func (r *registry) path(name []byte) (string, bool) {
	sh := &r.shards[maphash.Bytes(r.seed, name)%uint64(len(r.shards))]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if u := sh.users[string(name)]; u != nil {
		return u.path, true
	}
	return "", false
}

// devices returns the devices of a user. The slice is shared: do not change it.
func (r *registry) devices(path string) []*device {
	sh := r.shard(path)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if u := sh.users[path]; u != nil {
		return u.devices
	}
	return nil
}

// limiter bounds the events of all devices of a user; nil: there is no bound, or
// he has gone.
func (r *registry) limiter(path string) *rate.Limiter {
	sh := r.shard(path)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u := sh.users[path]
	if u == nil {
		return nil
	}
	if u.rate == nil {
		u.rate = r.srv.cfg.userRate.limiter()
	}
	return u.rate
}

// present reports whether a user has a device, or had one within the grace.
func (r *registry) present(path string) bool {
	sh := r.shard(path)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u := sh.users[path]
	return u != nil && (len(u.devices) > 0 || u.grace != nil)
}

// join adds a device; when it returns nil the store knows that its user is
// online, and events for the user reach d.
func (r *registry) join(ctx context.Context, d *device) error {
	sh := r.shard(d.ChatPath)
	sh.mu.Lock()
	u := sh.users[d.ChatPath]
	if u == nil {
		u = &user{path: d.ChatPath, shard: sh, turn: make(chan struct{}, 1)}
		u.stored.User = d.ChatPath
		sh.users[d.ChatPath] = u
	}
	u.stopTimers()
	u.devices = append(slices.Clip(u.devices), d)
	u.last = d.SocketID
	var oldest *device
	if len(u.devices) > r.srv.cfg.maxDevices {
		oldest = u.devices[0]
		u.devices = slices.Clone(u.devices[1:])
	}
	sh.mu.Unlock()
	if oldest != nil {
		oldest.conn.Close(engineio.Replaced)
	}
	if err := r.settle(ctx, u); err != nil {
		r.remove(d, 0) // whose coming has changed nothing
		return err
	}
	sh.mu.Lock()
	u.forgive = time.Time{}
	sh.mu.Unlock()
	return nil
}

// leave removes a device. When it was the last, the user is offline at once if
// all of them have said goodbye; if the connection of one broke, unless a device
// comes back within its grace.
func (r *registry) leave(d *device, goodbye bool) {
	grace := r.srv.cfg.grace
	if goodbye {
		grace = 0
	}
	r.remove(d, grace)
}

func (r *registry) remove(d *device, grace time.Duration) {
	sh := r.shard(d.ChatPath)
	sh.mu.Lock()
	u := sh.users[d.ChatPath]
	i := -1
	if u != nil {
		i = slices.Index(u.devices, d)
	}
	if i < 0 { // the cap has removed it
		sh.mu.Unlock()
		return
	}
	u.devices = slices.Concat(u.devices[:i], u.devices[i+1:])
	if grace > 0 {
		u.forgive = time.Now().Add(grace)
	}
	if n := len(u.devices); n > 0 {
		u.last = u.devices[n-1].SocketID
	} else if rest := time.Until(u.forgive); rest > 0 {
		u.stopTimers()
		u.grace = time.AfterFunc(rest, func() { r.srv.goRun(func() { r.graceOver(u) }) })
	}
	sh.mu.Unlock()
	r.settleOrRetry(u)
}

func (u *user) stopTimers() { // with shard.mu
	if u.grace != nil {
		u.grace.Stop()
		u.grace = nil
	}
	if u.retry != nil {
		u.retry.Stop()
		u.retry = nil
	}
}

// graceOver makes the user offline, if nobody came back. A timer that could
// not be stopped any more does no harm: a newer one runs, or settle looks at
// what is there now.
func (r *registry) graceOver(u *user) {
	u.shard.mu.Lock()
	if time.Now().Before(u.forgive) {
		u.shard.mu.Unlock()
		return
	}
	u.grace = nil
	u.shard.mu.Unlock()
	r.settleOrRetry(u)
}

// storeTimeout bounds one call of a store outside of a handshake.
const (
	storeTimeout = 10 * time.Second
	storeRetry   = 2 * time.Second
)

// settleOrRetry is settle where nobody waits for the outcome.
func (r *registry) settleOrRetry(u *user) {
	ctx, cancel := context.WithTimeout(r.srv.ctx, storeTimeout)
	defer cancel()
	err := r.settle(ctx, u)
	if err == nil || r.srv.ctx.Err() != nil {
		return
	}
	r.srv.log.Error("the presence store failed, trying again", "user", u.path, "err", err)
	u.shard.mu.Lock()
	if u.retry == nil {
		u.retry = time.AfterFunc(storeRetry, func() { r.srv.goRun(func() { r.retry(u) }) })
	}
	u.shard.mu.Unlock()
}

func (r *registry) retry(u *user) {
	u.shard.mu.Lock()
	u.retry = nil
	u.shard.mu.Unlock()
	r.settleOrRetry(u)
}

// settle brings the store to what is true of u now.
func (r *registry) settle(ctx context.Context, u *user) error {
	select {
	case u.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-u.turn }()
	for {
		u.shard.mu.Lock()
		now := Presence{User: u.path, Online: len(u.devices) > 0 || u.grace != nil, SocketID: u.last}
		if !now.Online {
			now.SocketID = u.stored.SocketID
		}
		if now == u.stored && !u.unsure {
			if !now.Online && u.shard.users[u.path] == u {
				delete(u.shard.users, u.path)
			}
			u.shard.mu.Unlock()
			return nil
		}
		u.shard.mu.Unlock()
		if err := r.set(ctx, now); err != nil {
			u.unsure = true
			return err
		}
		u.stored, u.unsure = now, false
	}
}

// set calls the store, which is the host's and may panic.
func (r *registry) set(ctx context.Context, p Presence) (err error) {
	defer r.srv.recovered("PresenceStore.Set", CodeInternal, &err)
	if _, never := r.srv.cfg.presence.(*MemoryPresence); !never {
		defer r.srv.numbers.stores.since("PresenceStore.Set", time.Now())
	}
	return r.srv.cfg.presence.Set(ctx, p)
}

// stop ends the timers. The store is told nothing: the users come back to
// another server, or its lease on them runs out.
func (r *registry) stop() {
	for i := range r.shards {
		sh := &r.shards[i]
		sh.mu.Lock()
		for _, u := range sh.users {
			u.stopTimers()
		}
		sh.mu.Unlock()
	}
}
