package engineio

// Reason says why a socket closed. Its text is the one Socket.IO users know
// from the "disconnect" event, where there is one.
type Reason uint8

// The reasons, with the WebSocket close code that goes with each.
const (
	TransportClose Reason = iota // the client closed the connection
	TransportError               // reading or writing failed
	PingTimeout                  // nothing heard from the client in time
	ProtocolError                // the client broke the protocol
	InvalidText                  // a WebSocket text message that is not UTF-8
	ForcedClose                  // the layer above closed it
	SlowReader                   // the queue for this client reached its cap
	TooLarge                     // a message beyond what is even read past
	OpenTimeout                  // not accepted by the layer above in time
	OpenLimit                    // sent too much before it was accepted
	Draining                     // the server shuts down
	Unavailable                  // something behind the server is down
	Replaced                     // too many devices of one user, the oldest goes
	Expired                      // the identity has ended
)

// String returns the text that is logged and sent in a WebSocket close frame.
func (r Reason) String() string {
	switch r {
	case TransportClose:
		return "transport close"
	case TransportError:
		return "transport error"
	case PingTimeout:
		return "ping timeout"
	case ProtocolError:
		return "parse error"
	case InvalidText:
		return "invalid UTF-8"
	case ForcedClose:
		return "forced close"
	case SlowReader:
		return "slow reader"
	case TooLarge:
		return "message too large"
	case OpenTimeout:
		return "handshake timeout"
	case OpenLimit:
		return "too much data before the handshake"
	case Draining:
		return "server shutting down"
	case Unavailable:
		return "unavailable"
	case Replaced:
		return "too many devices"
	case Expired:
		return "identity expired"
	}
	return "unknown"
}

// Close codes of RFC 6455 section 7.4.1 and the IANA registry.
const (
	closeNormal      = 1000
	closeGoingAway   = 1001
	closeProtocol    = 1002
	closeInvalidUTF8 = 1007
	closePolicy      = 1008
	closeTooBig      = 1009
	closeRestart     = 1012
	closeTryAgain    = 1013
)

func (r Reason) closeCode() int {
	switch r {
	case TransportError, PingTimeout:
		return closeGoingAway
	case ProtocolError:
		return closeProtocol
	case InvalidText:
		return closeInvalidUTF8
	case TooLarge:
		return closeTooBig
	case OpenTimeout, OpenLimit, Replaced, Expired:
		return closePolicy
	case Draining:
		return closeRestart
	case SlowReader, Unavailable:
		return closeTryAgain
	}
	return closeNormal
}
