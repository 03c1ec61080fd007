package heymanito

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/seam"
	"github.com/heymanito/heymanito/internal/socketio"
)

// maxNamespaces is how many namespaces besides "/" one client may be in.
const maxNamespaces = 16

// bridged is the name that events which go over the bridge are counted under.
const bridged = "IO()"

// crossing is one client's way to the server behind the bridge. It implements
// socketio.Others.
type crossing struct {
	srv     *Server
	conn    *socketio.Conn
	request *http.Request // that opened the connection

	// Only touched in turn.
	client    seam.Client // nil before somebody was let over
	allowance *allowance  // of all its guests; nil before the first

	mu     sync.Mutex        // guards guests, and their timers
	guests map[string]*guest // by namespace
}

// guest is a client in a namespace that is not ours. Its device is none of its
// user's: it has no presence, and no messages.
type guest struct {
	*device
	namespace string // "/": it is about to be a device
	socket    seam.Socket
	timer     *time.Timer // runs out with its identity; nil: that has no end
}

// Others implements socketio.Host.
func (h *host) Others(c *socketio.Conn) socketio.Others {
	if h.cfg.bridge == nil {
		return nil
	}
	return &crossing{srv: (*Server)(h), conn: c, request: c.Request(), guests: map[string]*guest{}}
}

// cross has the server behind the bridge decide about a device; it learns of it
// when it is welcome. Until over is called the device is a guest, so that whoever
// sends its user away finds it.
func (s *Server) cross(ctx context.Context, d *device, auth []byte) (over func(), err error) {
	if s.cfg.bridge == nil {
		return func() {}, nil
	}
	x := d.conn.Others().(*crossing)
	g := &guest{device: d, namespace: "/"}
	s.guests.add(g)
	over = func() { s.guests.remove(g) }
	socket, err := x.admit(ctx, seam.Admission{Namespace: "/", User: d.ChatPath, Device: d.Device, Auth: auth, Gone: func() {}})
	if err != nil {
		return over, err
	}
	d.socket = socket
	d.SocketID = socket.ID()
	d.conn.SetID(d.SocketID)
	return over, nil
}

// admit has the server behind the bridge decide. Its middlewares are the host's,
// and may panic.
func (x *crossing) admit(ctx context.Context, a seam.Admission) (socket seam.Socket, err error) {
	defer x.srv.recovered("a middleware of IO()", CodeInternal, &err)
	if a.Auth != nil && json.Unmarshal(a.Auth, new(any)) != nil {
		return nil, Errorf(CodeInvalid, "auth has a number that is too large")
	}
	if x.client == nil {
		x.client = x.srv.cfg.bridge.Client(x.conn, x.request)
	}
	socket, err = x.client.Connect(ctx, a)
	if errors.Is(err, context.Canceled) {
		return nil, errWentAway
	}
	return socket, err
}

// Connect implements socketio.Others.
func (x *crossing) Connect(namespace string, auth []byte) {
	s := x.srv
	ctx, cancel := context.WithTimeout(x.conn.Context(), s.cfg.handshakeTimeout)
	defer cancel()
	err := x.invite(ctx, namespace, auth)
	if err == nil {
		return
	}
	if refusal, ok := errors.AsType[*socketio.Refusal](s.turnedAway(err)); ok {
		x.conn.Refuse(namespace, refusal)
	} else {
		x.conn.Close(engineio.Unavailable)
	}
}

// invite lets a client into another namespace than "/": the auth hook has to say
// who it is there, too.
func (x *crossing) invite(ctx context.Context, namespace string, auth []byte) error {
	s := x.srv
	x.mu.Lock()
	full := len(x.guests) >= maxNamespaces
	x.mu.Unlock()
	if full {
		return Errorf(CodeRateLimited, "one client may be in %d namespaces", maxNamespaces)
	}
	d, e := s.identify(ctx, x.conn, x.request, namespace, auth)
	if e != nil {
		return e
	}
	g := &guest{device: d, namespace: namespace}
	s.guests.add(g) // now, so that whoever sends its user away finds it
	if x.allowance == nil {
		x.allowance = &allowance{device: s.cfg.deviceRate.limiter(), user: s.cfg.userRate.limiter()}
	}
	x.allowance.user = s.guests.limiter(d.ChatPath, x.allowance.user)
	d.allowance = x.allowance
	s.charge(ctx, d)
	if e := d.within(); e != nil {
		s.guests.remove(g)
		return e
	}
	for _, oldest := range s.guests.surplus(d.ChatPath, s.cfg.maxDevices) {
		oldest.Close(engineio.Replaced)
	}
	socket, err := x.admit(ctx, seam.Admission{
		Namespace: namespace, User: d.ChatPath, Device: d.Device, Auth: auth, Gone: func() { x.left(g) },
	})
	if err != nil {
		s.guests.remove(g)
		return err
	}
	g.socket, g.SocketID = socket, socket.ID()
	x.mu.Lock()
	x.guests[namespace] = g
	if p := d.proof.Load(); p != nil {
		g.timer = time.AfterFunc(time.Until(p.ends), func() { s.goRun(func() { x.expire(g) }) })
	}
	x.mu.Unlock()
	if !socket.Alive() { // it has gone before it was noted
		x.left(g)
	}
	return nil
}

// left takes note that a guest has left, or was sent away.
func (x *crossing) left(g *guest) {
	x.mu.Lock()
	if x.guests[g.namespace] == g {
		delete(x.guests, g.namespace)
	}
	if g.timer != nil {
		g.timer.Stop()
	}
	x.mu.Unlock()
	x.srv.guests.remove(g)
	x.conn.Exit(g.namespace)
}

// expire ends the connection of a guest whose identity has ended, unless it was
// proven anew.
func (x *crossing) expire(g *guest) {
	x.mu.Lock()
	still := x.guests[g.namespace] == g
	left := time.Duration(0)
	if p := g.proof.Load(); still && !p.ends.IsZero() {
		if left = time.Until(p.ends); left > 0 {
			g.timer.Reset(left)
		}
	} else {
		still = false
	}
	x.mu.Unlock()
	if still && left <= 0 {
		x.srv.log.Info("a device's identity has ended", "user", g.ChatPath, "socket", g.SocketID)
		x.conn.Close(engineio.Expired)
	}
}

// renew asks the auth hook again about all guests of a client that has proven its
// identity in "/" anew: what it refuses ends when it would have.
func (x *crossing) renew(ctx context.Context, h Handshake) {
	x.mu.Lock()
	guests := slices.Collect(maps.Values(x.guests))
	x.mu.Unlock()
	for _, g := range guests {
		if g.proof.Load() == nil || g.ChatPath != h.UserID {
			continue
		}
		h.Namespace = g.namespace
		id, err := x.srv.authenticate(ctx, h)
		if err != nil {
			continue
		}
		g.proof.Store(&proof{claims: id.Claims, ends: id.Expires})
		x.mu.Lock()
		if x.guests[g.namespace] == g && !id.Expires.IsZero() {
			g.timer.Reset(time.Until(id.Expires))
		}
		x.mu.Unlock()
	}
}

// Event implements socketio.Others.
func (x *crossing) Event(e *socketio.Event) {
	s := x.srv
	if e.Namespace == "" { // what a callback in the main namespace has answered
		if d := x.conn.Value.(*device); e.Check() == nil {
			d.socket.Event(e)
		}
		return
	}
	g := x.guest(e.Namespace)
	switch {
	case g == nil && e.IsAnswer(): // it may not know yet
	case g == nil:
		e.Ack(errorAck(Errorf(CodeInvalid, "this client is not in the namespace %.64q", e.Namespace)))
	case e.IsAnswer():
		if e.Check() == nil {
			g.socket.Event(e)
		}
	case reserved(e.Name) || !g.socket.Hears(e.Name):
		s.serve(g.device, e, s.events[bridged], nil)
	default:
		s.serve(g.device, e, s.events[bridged], s.crossed(g.socket))
	}
}

// crossed makes a handler of a socket behind the bridge, which answers itself.
func (s *Server) crossed(socket seam.Socket) handler {
	return func(_ context.Context, d *device, e *socketio.Event) ([]byte, *Error) {
		if err := e.Check(); err != nil {
			return nil, problem(err)
		}
		if err := d.within(); err != nil {
			return nil, err
		}
		socket.Event(e)
		return nil, nil
	}
}

// Leave implements socketio.Others.
func (x *crossing) Leave(namespace string) {
	if g := x.guest(namespace); g != nil {
		g.socket.Leave()
	}
}

// guest returns who the client is in a namespace; nil: it is not in it.
func (x *crossing) guest(namespace string) *guest {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.guests[namespace]
}

// Closed implements socketio.Others.
func (x *crossing) Closed(reason string) {
	if x.client != nil {
		x.client.Closed(reason)
	}
}

// guestbook knows the guests of every user. The zero guestbook is empty.
type guestbook struct {
	mu sync.Mutex // guards of
	of map[string]*visits
}

// visits are a user's guests, the oldest first.
type visits struct {
	guests []*guest
	rate   *rate.Limiter // of what all of them send
}

// limiter bounds the events of all guests of a user. It is that of the first of
// them, so that nobody gets a fresh one by leaving.
func (b *guestbook) limiter(user string, first *rate.Limiter) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.of[user] // has the guest that asks
	if v.rate == nil {
		v.rate = first
	}
	return v.rate
}

// add adds a guest, which counts until it is removed.
func (b *guestbook) add(g *guest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of = map[string]*visits{}
	}
	v := b.of[g.ChatPath]
	if v == nil {
		v = &visits{}
		b.of[g.ChatPath] = v
	}
	v.guests = append(v.guests, g)
}

// surplus returns the oldest connections of a user's guests, if there are more than
// limit.
func (b *guestbook) surplus(user string, limit int) []*socketio.Conn {
	conns := b.conns(user)
	return conns[:max(len(conns)-limit, 0)]
}

func (b *guestbook) remove(g *guest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.of[g.ChatPath]
	if v == nil {
		return
	}
	if i := slices.Index(v.guests, g); i >= 0 {
		v.guests = slices.Delete(v.guests, i, i+1)
	}
	if len(v.guests) == 0 {
		delete(b.of, g.ChatPath)
	}
}

// conns returns the connections of a user's guests.
func (b *guestbook) conns(user string) []*socketio.Conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of[user].conns()
}

func (v *visits) conns() []*socketio.Conn {
	if v == nil {
		return nil
	}
	var conns []*socketio.Conn
	for _, g := range v.guests {
		if !slices.Contains(conns, g.conn) {
			conns = append(conns, g.conn)
		}
	}
	return conns
}
