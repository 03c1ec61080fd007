// Package seam is what a heymanito.Server and package bridge know of each other.
package seam

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/heymanito/heymanito/internal/socketio"
)

// Bridge puts another Socket.IO server under the connections of one Server.
type Bridge interface {
	// Serve is called once, by New, before everything else; false: it serves
	// another Server already.
	Serve(log *slog.Logger) bool
	// Client is called once for each client, before it is let into anything. r
	// opened its connection.
	Client(c *socketio.Conn, r *http.Request) Client
}

// Client is a client of the other server. Calls come one at a time, Closed last.
type Client interface {
	// Connect has the other server decide about a user who wants into a
	// namespace: its answer is nil, or a *socketio.Refusal; another error means
	// that there is none. With nil, and not before, the client is in, unless it
	// is the main namespace: there it is so when Socket.Enter is called.
	Connect(ctx context.Context, a Admission) (Socket, error)
	// Closed takes the client out of everything, and has the other server's
	// listeners hear it.
	Closed(reason string)
}

// Admission is who wants in, and where.
type Admission struct {
	Namespace string // with its slash
	User      string // the room that the socket is in
	Device    any    // a heymanito.Device, with the socket's id in place of its own
	Auth      []byte // of the CONNECT packet, a JSON object; nil: none
	// Gone is called once when a socket is done with, also one that was not let in.
	// It waits for nothing.
	Gone func()
}

// Socket is a client in a namespace.
type Socket interface {
	// ID returns the id that the other server has given it.
	ID() string
	// Enter has the listeners learn of a socket of the main namespace. Like Event
	// and Leave it returns when they have, when the client has gone, or when it has
	// waited long enough.
	Enter()
	// Alive reports whether the socket is still in its namespace.
	Alive() bool
	// Hears reports whether somebody listens for an event.
	Hears(event string) bool
	// Event hands over an event or an answer that has passed Check.
	Event(e *socketio.Event)
	// Leave takes the socket out of its namespace, as the client wants.
	Leave()
}
