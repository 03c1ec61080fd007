package socketio

import (
	"bytes"
	"fmt"

	"github.com/zishang520/socket.io/parsers/socket/v3/parser"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/jsonspan"
)

// control is a CONNECT or DISCONNECT packet of a client.
type control struct {
	kind      parser.PacketType
	namespace string
	auth      []byte // CONNECT's payload as sent; nil when absent
}

// decodeControl decodes p with the library's codec; only the payload, which
// the codec would take apart and put together again differently, is cut out of
// p as it is. What nearly all clients send, a CONNECT to the main namespace, it
// takes apart itself: that is cheaper by half a connect, and needs little stack,
// which the goroutine that reads would keep.
func decodeControl(p []byte) (c control, err error) {
	if len(p) > 0 && p[0] == typeConnect && (len(p) == 1 || p[1] == '{') {
		c.kind, c.namespace = parser.CONNECT, "/"
		if len(p) > 1 {
			c.auth, err = authSpan(p)
		}
		return c, err
	}
	return decodeAny(p)
}

func decodeAny(p []byte) (c control, err error) {
	defer func() { // it parses what anybody sends
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: the codec panicked: %v", errPacket, r)
		}
	}()
	dec := parser.NewDecoder()
	defer dec.Destroy()
	var packet *parser.Packet
	if err := dec.On("decoded", func(args ...any) { packet, _ = args[0].(*parser.Packet) }); err != nil {
		return c, err
	}
	if err := dec.Add(string(p)); err != nil || packet == nil {
		return c, errPacket
	}
	c.kind, c.namespace = packet.Type, packet.Nsp
	if packet.Data != nil {
		c.auth, err = authSpan(p)
	}
	return c, err
}

// authSpan is the JSON object behind namespace and id.
func authSpan(p []byte) ([]byte, error) {
	i := bytes.IndexByte(p, '{')
	end, err := jsonspan.Value(p, i, maxDepth)
	if err != nil || jsonspan.Space(p, end) != len(p) {
		return nil, errPacket
	}
	return p[i:end], nil
}

func encode(p *parser.Packet) *engineio.Frame {
	return engineio.Text(parser.NewEncoder().Encode(p)[0].Bytes())
}

func connectFrame(socketID string) *engineio.Frame {
	return encode(&parser.Packet{Type: parser.CONNECT, Nsp: "/", Data: map[string]any{"sid": socketID}})
}

func disconnectFrame(namespace string) *engineio.Frame {
	return encode(&parser.Packet{Type: parser.DISCONNECT, Nsp: namespace})
}

func connectErrorFrame(namespace, message string, data any) *engineio.Frame {
	payload := map[string]any{"message": message}
	if data != nil {
		payload["data"] = data
	}
	return encode(&parser.Packet{Type: parser.CONNECT_ERROR, Nsp: namespace, Data: payload})
}
