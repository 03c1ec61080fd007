package heymanito

import (
	"context"
	"encoding/json"
	"time"
)

// Hooks is how a host takes part. Every field may be nil; the zero Hooks allow
// everything and do nothing.
//
// A hook runs on the goroutine of the connection whose event it is about,
// never under a lock: a slow one delays the next event of that connection and
// nobody else's. AfterMessage and OnUndelivered are called later, when it is
// known who has the message: a slow one delays those of the next messages to
// the same user. OnCall, OnRing and OnRingEnd are called later too, one after
// the other for each call: a slow one delays those of the same call. ctx ends
// when the connection does or the server shuts down (for OnDisconnect, and
// those that are called later: only then). A hook that panics is recovered and
// logged with the event; the client is answered "internal", and closed as
// unavailable where it was about to be let in.
type Hooks struct {
	// OnConnect is called when a device has been bound to its user, before
	// the first event of that device is handled.
	OnConnect func(ctx context.Context, d Device)
	// OnDisconnect is called once for every OnConnect, when the device has
	// gone. reason says how: "client namespace disconnect" (it said goodbye),
	// "transport close", "transport error", "ping timeout", "slow reader",
	// "too many devices", "identity expired", "server shutting down", "forced
	// close" (by Disconnect or Forget), "unavailable"; and of a client that
	// breaks the protocol "parse error", "invalid UTF-8" or "message too large".
	OnDisconnect func(ctx context.Context, d Device, reason string)

	// Authorize is asked before every event from one user to another: sendMessage,
	// markAsRead, markAsDelivered, initiateCall, acceptCall, ringCall, and those of
	// Relay and RelayVolatile; but not those that end a call: nobody is kept in
	// one. nil allows it, an *Error is the ack, [ErrSilently] acks without
	// delivering; any other error is answered as CodeForbidden.
	Authorize func(ctx context.Context, a Action) error
	// BeforeMessage is called when a message has passed every check, before
	// it is delivered; the place to store it. It may be called again for a message
	// whose first try has failed. Errors as for Authorize, but an error of another
	// type is answered as CodeUnavailable: the client may send again.
	BeforeMessage func(ctx context.Context, m Message) error
	// AfterMessage is called once for every message that was not there
	// already and was not refused, silently or not, with the devices that it was
	// given to: they have shown that they read past it. It is called when all
	// devices of the recipient have, at the latest when the offline grace
	// ([WithOfflineGrace]) has passed since it was sent; at once if the recipient
	// is not there, and earlier for the oldest when more than 16 MB are on their
	// way to one user. So a phone that shows nothing can be sent a notification
	// although a laptop is open.
	AfterMessage func(ctx context.Context, m Message, d Delivery)
	// OnUndelivered is called once, just before AfterMessage, for a message
	// that was given to no device; the place to send a push notification. The
	// message waits in the recipient's inbox. [WithoutInbox] it is called before
	// the ack, for a message that no device was there for, which is not kept.
	OnUndelivered func(ctx context.Context, m Message)
	// OnRead is called when a user has read a conversation, or more of it than
	// before. [WithoutInbox], and where the inbox does not know the message, it is
	// not known what is more: then it is called for every markAsRead.
	OnRead func(ctx context.Context, r Read)

	// BeforeCall is called before a call rings, after Authorize, with everything
	// that is known of it then. Errors as for Authorize.
	BeforeCall func(ctx context.Context, c Call) error
	// OnCall is called once for every step of a call, in their order: c.State
	// says which, and c.Reason why it has ended. A call that could not ring, as
	// the callee was busy or offline, has one step, its end.
	OnCall func(ctx context.Context, c Call)
	// OnRing is called when a call begins to ring, with the devices that it
	// rings at: the host pushes it to the phones that are not among them. With
	// this hook a callee without a device is not "offline": the call rings,
	// and a device that connects in time rings as well.
	OnRing func(ctx context.Context, c Call, reached []Device)
	// OnRingEnd is called once for every OnRing: answered, or over. The host
	// takes back what it has pushed.
	OnRingEnd func(ctx context.Context, c Call)

	// Contacts returns the chatPaths a user has as contacts. With it presence
	// is scoped: a user is seen by those in his contacts who have him in
	// theirs, and by nobody else. It is called when a user connects, by
	// [Server.ContactsChanged], and about a user who has no device here when
	// what somebody else is told depends on it, such as whether his message was
	// delivered. An error closes the connecting client's transport, which makes
	// it try again, and is CodeUnavailable in an ack. nil: everyone sees everyone.
	Contacts func(ctx context.Context, user string) ([]string, error)
}

// Action is an event from one user to another, before it happens.
type Action struct {
	Event string // the name of the client's event, e.g. "sendMessage"
	From  string // chatPath of the acting user
	To    string // chatPath of the other
}

// Device is one connected socket, as hooks see it, at the time of the call.
type Device struct {
	ChatPath    string
	SocketID    string    // public; not an address, and not the Engine.IO sid
	DeviceID    string    // the client's word, stable over reconnects; may be empty, at most 256 bytes
	RemoteAddr  string    // of the connection; of the client only without a proxy
	ConnectedAt time.Time // when the device was bound to its user
	Claims      any       // [Identity].Claims, of the last refreshAuth if there was one
}

// Message is one message. The byte slices are the sender's own bytes; do not
// change them.
type Message struct {
	ID            json.RawMessage // a JSON string or number
	From, To      string
	Content       json.RawMessage // any JSON; nil when absent
	SenderProfile json.RawMessage // any JSON; nil when absent
	Attachments   [][]byte        // binary data, which {"_placeholder":true,"num":0} in Content and SenderProfile stands for
	Time          time.Time       // when it was taken, by the server's clock: whole milliseconds
}

// Delivery says where a message went.
type Delivery struct {
	// Status is what the sender's ack says: "sent", for a device that was there
	// then; "queued", in the recipient's inbox, or nothing that the sender may
	// know; "offline", without a device and without an inbox.
	Status string
	// Devices are the recipient's devices that it was given to, which may be none;
	// [WithoutInbox] those that it was written to.
	Devices []Device
}

// Read is one "leído": a user has read what another wrote.
type Read struct {
	Reader string          // the chatPath of who has read
	Sender string          // the chatPath of whose messages
	UpToID json.RawMessage // the ID of the last message read; nil: all so far
	Time   time.Time       // the server's clock, whole milliseconds
}
