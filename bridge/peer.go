package bridge

import (
	"context"
	"reflect"
	"runtime"
	"sync"
	"time"

	"github.com/zishang520/socket.io/servers/socket/v3"
	"github.com/zishang520/socket.io/v3/pkg/queue"
	"github.com/zishang520/socket.io/v3/pkg/types"

	"github.com/heymanito/heymanito/internal/seam"
	"github.com/heymanito/heymanito/internal/socketio"
)

// peer is a client in a namespace, or on its way in. It implements seam.Socket.
type peer struct {
	client    *client
	admission seam.Admission
	found     func() // the namespace is

	// Set when the library has made its socket, before anybody else has it.
	socket *socket.Socket
	queue  *queue.Queue // in which the socket's listeners are called; nil: the library has none

	answered chan struct{}     // closed when the library has decided
	refusal  *socketio.Refusal // set before; nil: it is let in
	enter    chan struct{}     // closed when the listeners may hear of it
	entered  sync.Once         // closes it
	gone     chan struct{}     // closed when the socket has left its namespace
	leave    sync.Once         // closes it
}

func newPeer(c *client, a seam.Admission) *peer {
	return &peer{
		client: c, admission: a,
		answered: make(chan struct{}), enter: make(chan struct{}), gone: make(chan struct{}),
	}
}

// made takes the socket that the library has made, before its middlewares run.
func (p *peer) made(s *socket.Socket) {
	p.found()
	p.socket = s
	p.queue = queueOf(s)
	if p.queue != nil {
		// It would keep 9 KB of each client for ever: what has a finalizer and
		// refers to itself is never freed. end closes the queue.
		runtime.SetFinalizer(p.queue, nil)
	}
	if r, ok := s.Nsp().Adapter().(*rooms); ok {
		r.admit(s.Id(), socket.Room(p.admission.User), p.left)
	}
}

// queueOf returns the private queue of a socket; nil if there is none any more.
func queueOf(s *socket.Socket) *queue.Queue {
	f := reflect.ValueOf(s).Elem().FieldByName("taskQueue")
	if !f.IsValid() || f.Type() != reflect.TypeFor[*queue.Queue]() {
		return nil
	}
	return (*queue.Queue)(f.UnsafePointer())
}

// left takes note that the socket is in its namespace no more, and in no room.
func (p *peer) left() {
	p.leave.Do(func() {
		close(p.gone)
		p.admission.Gone()
	})
}

// patience is how long a client waits for the listeners of what it has done, so that
// the next is heard after that, and the end last. One that waits for the end itself
// would wait for ever.
const patience = time.Second

// through waits until the socket's queue has done what is in it now.
func (p *peer) through(ctx context.Context) {
	p.entered.Do(func() { close(p.enter) })
	select {
	case <-p.answered:
		if p.refusal == nil {
			p.wait(ctx)
			return
		}
	default:
	}
	// Nothing but its coming can be there, and if the library sees in time that
	// the client has gone it takes nothing more.
	p.close(ctx)
}

// close ends the socket's queue, and waits for what is in it.
func (p *peer) close(ctx context.Context) {
	if p.queue == nil {
		return
	}
	done := make(chan struct{})
	go func() {
		p.queue.Close()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// end takes a socket whose client has gone out of what it is still in, because a
// listener has panicked or a middleware still has it, and ends its queue.
func (p *peer) end(ctx context.Context) {
	if p.socket.Connected() {
		p.disconnect()
	}
	if p.socket.Connected() {
		p.socket.RemoveAllListeners("disconnecting") // one of these panics every time
		p.disconnect()
	}
	p.socket.Nsp().Adapter().DelAll(p.socket.Id())
	p.close(ctx)
}

func (p *peer) disconnect() {
	defer p.client.bridge.recovered("disconnect")
	p.socket.Disconnect(false)
}

// wait waits until the queue has done what is in it, and what that has put there,
// or the socket has gone; no longer than patience: meanwhile nothing else of the
// client is read, not even that it has gone.
func (p *peer) wait(ctx context.Context) {
	done := make(chan struct{})
	p.socket.Enqueue(func() { p.socket.Enqueue(func() { close(done) }) })
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-done:
	case <-p.gone:
	case <-ctx.Done():
	case <-late.C:
	}
}

// ID implements seam.Socket.
func (p *peer) ID() string { return string(p.socket.Id()) }

// Enter implements seam.Socket.
func (p *peer) Enter() {
	p.entered.Do(func() { close(p.enter) })
	p.wait(p.client.conn.Context())
}

// Alive implements seam.Socket.
func (p *peer) Alive() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// Hears implements seam.Socket.
func (p *peer) Hears(event string) bool {
	return p.Alive() && (p.socket.ListenerCount(types.EventName(event)) > 0 || len(p.socket.ListenersAny()) > 0)
}

// Event implements seam.Socket.
func (p *peer) Event(e *socketio.Event) {
	p.client.feed(e.Packet())
	p.wait(p.client.conn.Context())
}

// Leave implements seam.Socket.
func (p *peer) Leave() {
	leave := []byte{typeDisconnect}
	if p.admission.Namespace != "/" {
		leave = append(append(leave, p.admission.Namespace...), ',')
	}
	p.client.feed(leave, nil)
	p.wait(p.client.conn.Context())
	p.forget(p.client.conn.Context())
}

// over waits until the library has let go of a socket that was sent away.
func (p *peer) over(ctx context.Context) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for p.socket.Connected() && ctx.Err() == nil {
		<-tick.C
	}
	p.forget(ctx)
}

// forget waits for the listeners of a socket that has left, and forgets it.
func (p *peer) forget(ctx context.Context) {
	if p.Alive() {
		return
	}
	p.close(ctx)
	p.client.mu.Lock()
	defer p.client.mu.Unlock()
	delete(p.client.peers, p.socket.Id())
}
