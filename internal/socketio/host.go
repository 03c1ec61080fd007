package socketio

import (
	"context"
	"time"
)

// Host is the layer above: it decides who may connect and what events mean.
type Host interface {
	// Connect decides about a CONNECT packet whose payload was auth (nil:
	// none). To let the client in it calls c.Open and returns nil. A *Refusal
	// is told to the client; any other error closes the transport for the
	// reason engineio.Unavailable. ctx ends with the connection and after the
	// handshake timeout. It runs on a goroutine of this client's own.
	Connect(ctx context.Context, c *Conn, auth []byte) error
	// Event handles one event of an open connection. Calls for one
	// connection, of Event, Read and Acked, come one at a time, in the order
	// the client sent.
	Event(c *Conn, e *Event)
	// Read tells that the client has read everything that was sent with this
	// mark (SendMarked) or a lower one.
	Read(c *Conn, mark uint64)
	// Acked tells that the client has called the callback of the event that
	// asked for this ack (Outgoing.FramesAsking).
	Acked(c *Conn, id uint64)
	// Closed is called once, after the last Event, for every connection that
	// Connect has let in. goodbye: the client said so itself.
	Closed(c *Conn, reason string, goodbye bool)
	// Others returns what has the rest of what a new client sends; nil: there
	// is only the main namespace.
	Others(c *Conn) Others
}

// Others has what of a client's packets is not its Host's: the other namespaces.
// Its methods are called in turn with the Host's, Closed last.
type Others interface {
	// Connect decides about a CONNECT packet for a namespace that the client is
	// not in: Enter lets it in, Refuse does not.
	Connect(namespace string, auth []byte)
	// Event handles an event of a namespace, or what a callback has answered
	// that was asked with an id from OthersAcks on in the main one.
	Event(e *Event)
	// Leave takes a DISCONNECT packet.
	Leave(namespace string)
	// Closed tells that the client has gone.
	Closed(reason string)
}

// OthersAcks is the first id with which Others ask for acks in the main
// namespace; the Host's stay below. There are clients that count no further than
// to twice as much.
const OthersAcks = 1 << 30

// Refusal is an error of Host.Connect that becomes a CONNECT_ERROR packet,
// after which stock clients do not try again.
type Refusal struct {
	Message string // err.message at the client
	Data    any    // err.data, as JSON; nil: none
}

func (r *Refusal) Error() string { return "socketio: refused: " + r.Message }

// Limits of a connection; all are required.
type Limits struct {
	ConnectTimeout time.Duration // from the CONNECT packet to Host's answer
	HeldEvents     int           // taken between the CONNECT packet and its answer
	MaxPayload     int           // bytes of an event, its attachments included
	MaxCorked      int           // bytes sent to a client that is being let in
}
