package bridge

import (
	"context"
	"reflect"
	"runtime"
	"sync"

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
		r.admit(s.Id())
	}
	_ = s.On("disconnect", func(...any) { p.left() }) // On has no errors
	s.Join(socket.Room(p.admission.User))
}

// queueOf returns the private queue of a socket; nil if there is none any more.
func queueOf(s *socket.Socket) *queue.Queue {
	f := reflect.ValueOf(s).Elem().FieldByName("taskQueue")
	if !f.IsValid() || f.Type() != reflect.TypeFor[*queue.Queue]() {
		return nil
	}
	return (*queue.Queue)(f.UnsafePointer())
}

// left takes note that the socket is in its namespace no more.
func (p *peer) left() {
	p.leave.Do(func() {
		close(p.gone)
		p.drop()
		p.admission.Gone()
	})
}

// drop forgets the socket: it is in no room any more.
func (p *peer) drop() {
	if p.socket == nil { // there is no such namespace
		return
	}
	id := p.socket.Id()
	if r, ok := p.socket.Nsp().Adapter().(*rooms); ok {
		r.expel(id)
	}
	p.client.mu.Lock()
	defer p.client.mu.Unlock()
	if p.client.state.Load() != stateClosed { // else it is being ended
		delete(p.client.peers, id)
	}
}

// through waits until the socket's queue has done what is in it now.
func (p *peer) through() {
	p.entered.Do(func() { close(p.enter) })
	select {
	case <-p.answered:
		if p.refusal == nil {
			p.wait(context.Background())
			return
		}
	default:
	}
	// Nothing but its coming can be there, and if the library sees in time that
	// the client has gone it takes nothing more.
	if p.queue != nil {
		p.queue.Close()
	}
}

// end ends the queue of a socket whose client has gone, and waits for it.
func (p *peer) end() {
	if !p.socket.Connected() {
		p.drop() // also if a middleware still has it
	}
	if p.queue != nil {
		p.queue.Close()
	}
}

// wait waits until the queue has done what is in it, and what that has put there,
// or the socket has gone.
func (p *peer) wait(ctx context.Context) {
	done := make(chan struct{})
	p.socket.Enqueue(func() { p.socket.Enqueue(func() { close(done) }) })
	select {
	case <-done:
	case <-p.gone:
	case <-ctx.Done():
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
	if p.queue != nil && !p.Alive() {
		p.queue.Close() // waits for the other listeners
	}
}
