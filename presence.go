package heymanito

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/jsonspan"
	"github.com/heymanito/heymanito/internal/socketio"
)

// roster knows who is online and tells the devices of this server: everyone of
// everyone, or, with the Contacts hook, contacts of each other only.
//
// It learns of presence from the store's edges, so that it is the same on every
// node; only the coming of a user whose device is let in here, which the store
// has taken, it does not wait for.
type roster struct {
	srv    *Server
	scoped bool

	mu      sync.Mutex        // guards the rest; frames are queued under it, which never blocks
	online  map[string]string // chatPath → socket id, as told to the devices
	devices []*device         // that are told; everyone mode
	rolls   edgeRolls

	// The body of online_users, without its braces. It only ever grows in
	// place: the frames that are made of it share it, whatever comes behind
	// their part. Any other change makes it stale.
	body  []byte
	stale bool

	circles circles // contacts mode
}

func newRoster(s *Server) *roster {
	r := &roster{srv: s, scoped: s.cfg.hooks.Contacts != nil, online: map[string]string{}}
	r.circles.init(r)
	return r
}

// watchRetry is how long a lost watch on the presence store waits to be set up
// again.
const watchRetry = 2 * time.Second

// watchPresence makes sure that edges arrive. The first call starts the watch,
// every call waits until it stands.
func (s *Server) watchPresence(ctx context.Context) error {
	s.watchOnce.Do(func() { s.goRun(s.watch) })
	select {
	case <-s.watched:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watch follows the store's edges until the server ends.
func (s *Server) watch() {
	for {
		err := s.watchOnceMore()
		if s.ctx.Err() != nil {
			return
		}
		s.log.Error("the watch on the presence store ended, trying again", "err", err)
		select {
		case <-time.After(watchRetry):
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *Server) watchOnceMore() (err error) {
	defer s.recovered("PresenceStore.Watch", CodeInternal, &err)
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	r := &resync{roster: s.roster}
	err = s.cfg.presence.Watch(ctx, func() {
		if err := r.load(ctx); err != nil {
			cancel(err)
			return
		}
		s.watchedOnce.Do(func() { close(s.watched) })
	}, r.edge)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// resync brings the roster up to the store when a watch begins. Edges that
// come while the snapshot is read wait for its end.
type resync struct {
	roster *roster

	mu     sync.Mutex // guards the rest
	loaded bool       // edges go straight to the roster
	early  []Edge
}

func (r *resync) edge(e Edge) {
	r.mu.Lock()
	if !r.loaded {
		r.early = append(r.early, e)
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	r.roster.edge(e)
}

// load tells the devices what changed while nobody watched.
func (r *resync) load(ctx context.Context) error {
	online := map[string]Presence{}
	for p, err := range r.roster.srv.cfg.presence.Snapshot(ctx) {
		if err != nil {
			return err
		}
		online[p.User] = p
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loaded = true
	offline := map[string]Edge{}
	for _, user := range r.roster.users() {
		if _, still := online[user]; !still {
			offline[user] = Edge{Presence: Presence{User: user, LastSeen: now()}}
		}
	}
	for _, e := range r.early { // as new as the snapshot, or newer
		if e.Online {
			online[e.User] = e.Presence
			delete(offline, e.User)
		} else {
			delete(online, e.User)
			offline[e.User] = e
		}
	}
	r.early = nil
	for _, e := range offline {
		r.roster.edge(e)
	}
	for _, p := range online {
		r.roster.edge(Edge{Presence: p})
	}
	return nil
}

func (r *roster) users() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	users := make([]string, 0, len(r.online))
	for u := range r.online {
		users = append(users, u)
	}
	return users
}

// edge takes one change of presence and tells whom it concerns. A change to
// what is already so is none.
func (r *roster) edge(e Edge) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.take(e)
}

func (r *roster) take(e Edge) { // with mu
	socketID, was := r.online[e.User]
	switch {
	case !e.Online && !was, e.Online && was && socketID == e.SocketID, e.Moved && !was:
		return
	case e.Online && was:
		r.online[e.User] = e.SocketID
		r.stale = true
		return
	case e.Online:
		r.online[e.User] = e.SocketID
		if !r.stale {
			r.body = appendUser(r.body, e.User, e.SocketID)
		}
	default:
		delete(r.online, e.User)
		r.stale = true
	}
	if r.scoped {
		r.circles.edge(e)
		return
	}
	f := r.rolls.frames(e)
	for _, d := range r.devices {
		if d.ChatPath != e.User {
			d.conn.Send(f.of(d))
		}
	}
}

// edgeRolls are what edges are told in when everyone is told, the devices that
// want lastSeen and the others: each of them follows one.
type edgeRolls struct{ plain, lastSeen engineio.Roll }

// edgeFrames are the forms in which an edge is told.
type edgeFrames struct{ plain, lastSeen *engineio.Frame }

func (f *edgeFrames) of(d *device) *engineio.Frame {
	if d.lastSeen {
		return f.lastSeen
	}
	return f.plain
}

func (r *edgeRolls) frames(e Edge) edgeFrames {
	return framesOf(e,
		func(o *socketio.Outgoing) *engineio.Frame { return o.FrameOf(&r.plain) },
		func(o *socketio.Outgoing) *engineio.Frame { return o.FrameOf(&r.lastSeen) })
}

func framesOf(e Edge, plain, lastSeen func(*socketio.Outgoing) *engineio.Frame) (f edgeFrames) {
	path := quote(e.User)
	name := "contact_offline"
	if e.Online {
		name = "contact_online"
	}
	event := socketio.NewOutgoing(name, nil, len(path)+40).Raw(",").Bytes(path)
	f.plain = plain(event)
	if !e.Online {
		event.Raw(`,{"lastSeen":`).Int(e.LastSeen.UnixMilli()).Raw("}")
	}
	f.lastSeen = lastSeen(event)
	return f
}

func appendUser(b []byte, user, socketID string) []byte {
	if len(b) > 0 {
		b = append(b, ',')
	}
	b = jsonspan.Append(b, user)
	b = append(b, ':')
	return jsonspan.Append(b, socketID)
}

// subscribe lets d in with the list of who is online, and tells it of every
// change from then on. It reports false when the client has gone, or its user was
// forgotten.
func (r *roster) subscribe(d *device) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d.expelled.Load() { // nothing would make him offline again
		return false
	}
	if r.scoped {
		return r.circles.subscribe(d)
	}
	// The store has been told that he is online. The edge may still be on its
	// way: then it is taken now, so that he is in the list that all share, and
	// is none when it comes.
	r.take(Edge{Presence: Presence{User: d.ChatPath, Online: true, SocketID: d.SocketID}})
	if !d.conn.Open(socketio.EventAround("online_users", ",{", r.list(), "}")) {
		return false
	}
	d.place = len(r.devices)
	r.devices = append(r.devices, d)
	return true
}

// list is the body of online_users.
func (r *roster) list() []byte { // with mu
	if r.stale {
		r.body = make([]byte, 0, len(r.body)+256)
		for user, socketID := range r.online {
			r.body = appendUser(r.body, user, socketID)
		}
		r.stale = false
	}
	return slices.Clip(r.body)
}

// unsubscribe tells d nothing more.
func (r *roster) unsubscribe(d *device) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.scoped {
		r.circles.unsubscribe(d)
		return
	}
	last := r.devices[len(r.devices)-1]
	r.devices[d.place], last.place = last, d.place
	r.devices[len(r.devices)-1] = nil
	r.devices = r.devices[:len(r.devices)-1]
}
