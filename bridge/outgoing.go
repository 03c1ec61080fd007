package bridge

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/socketio"
)

// outgoing is a packet of the library's whose attachments are still to come: it
// goes out whole, or the Server's own packets could come between them.
type outgoing struct {
	frames []*engineio.Frame // what has come; nil: nothing is under way
	main   bool              // it is for "/"
	left   int               // attachments
}

// Packet types of Socket.IO 5.
const (
	typeConnect      = '0'
	typeDisconnect   = '1'
	typeEvent        = '2'
	typeConnectError = '4'
	typeBinaryEvent  = '5'
	typeBinaryAck    = '6'
)

// header is what stands before the payload of a packet.
type header struct {
	attachments int
	namespace   string // empty: "/"
	id, end     int    // where the ack id begins, and ends
}

func scan(p []byte) (h header) {
	i := 1
	if p[0] == typeBinaryEvent || p[0] == typeBinaryAck {
		dash := bytes.IndexByte(p, '-')
		h.attachments, _ = strconv.Atoi(string(p[1:dash])) // the library has written it
		i = dash + 1
	}
	if i < len(p) && p[i] == '/' {
		comma := bytes.IndexByte(p[i:], ',')
		if comma < 0 {
			comma = len(p) - i
		}
		h.namespace = string(p[i : i+comma])
		i = min(i+comma+1, len(p))
	}
	h.id, h.end = i, i
	for h.end < len(p) && p[h.end] >= '0' && p[h.end] <= '9' {
		h.end++
	}
	return h
}

// text sends the text of a packet, or keeps it until its attachments are there.
func (c *client) text(p []byte) {
	if len(p) == 0 {
		return
	}
	h := scan(p)
	main := h.namespace == ""
	switch p[0] {
	case typeConnect:
		c.answer(nil, engineio.Text(p))
		return
	case typeConnectError:
		c.answer(refusal(p[h.end:]), nil)
		return
	case typeDisconnect:
		if main {
			c.conn.Leave("server namespace disconnect")
		} else {
			c.conn.Exit(h.namespace) // before it knows: it may be back at once
			c.conn.SendAside(engineio.Text(p))
		}
		return
	case typeEvent, typeBinaryEvent:
		if main && h.end > h.id {
			p = othersAck(p, h)
		}
	}
	frames := []*engineio.Frame{engineio.Text(p)}
	if h.attachments > 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.out = outgoing{frames, main, h.attachments}
		return
	}
	c.send(main, frames)
}

// othersAck gives an event that asks for an ack in "/" an id that is none of the
// Server's own.
func othersAck(p []byte, h header) []byte {
	id, _ := strconv.ParseUint(string(p[h.id:h.end]), 10, 64) // the library has counted it
	own := append(make([]byte, 0, len(p)+10), p[:h.id]...)
	own = strconv.AppendUint(own, id+socketio.OthersAcks, 10)
	return append(own, p[h.end:]...)
}

// attachment adds an attachment to the packet before it.
func (c *client) attachment(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.left == 0 {
		return // a host that writes past the library's encoder
	}
	c.out.frames = append(c.out.frames, engineio.Binary(p))
	if c.out.left--; c.out.left == 0 {
		c.send(c.out.main, c.out.frames)
		c.out = outgoing{}
	}
}

func (c *client) send(main bool, frames []*engineio.Frame) {
	if main {
		c.conn.Send(frames...)
	} else {
		c.conn.SendAside(frames...)
	}
}

// refusal reads a CONNECT_ERROR's payload.
func refusal(p []byte) *socketio.Refusal {
	var said struct {
		Message string `json:"message"`
		Data    any    `json:"data"`
	}
	if err := json.Unmarshal(p, &said); err != nil {
		said.Message = "refused"
	}
	return &socketio.Refusal{Message: said.Message, Data: said.Data}
}
