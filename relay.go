package heymanito

import (
	"context"

	"github.com/heymanito/heymanito/internal/jsonspan"
	"github.com/heymanito/heymanito/internal/socketio"
)

func quote(s string) []byte { return jsonspan.Append(nil, s) }

var relayKeys = []string{"senderChatPath", "recipientChatPath"}

// relay makes the handler of an event that the host has declared as one from
// user to user: its payload goes on whole. Its ack never tells whether the
// recipient is there.
func (s *Server) relay(volatile bool) handler {
	return func(ctx context.Context, d *device, e *socketio.Event) ([]byte, *Error) {
		var f [2][]byte
		if err := e.ObjectOnce(relayKeys, f[:]); err != nil {
			return nil, problem(err)
		}
		from, err := name(f[0], "senderChatPath")
		if err != nil {
			return nil, err
		}
		to, err := chatPath(f[1], "recipientChatPath")
		if err != nil {
			return nil, err
		}
		if err := d.self(from, "senderChatPath"); err != nil {
			return nil, err
		}
		if err := d.within(); err != nil {
			return nil, err
		}
		silent, err := s.authorize(ctx, Action{Event: e.Name, From: from, To: to})
		if err != nil || silent {
			return nil, err
		}
		targets := others(s.registry.devices(to), d)
		if len(targets) == 0 {
			return nil, nil
		}
		args, bad := e.Args()
		if bad != nil || len(args) == 0 { // Object has seen it
			return nil, problem(bad)
		}
		frames := socketio.NewOutgoing(e.Name, e, len(args[0])).Raw(",").Value(args[0]).Frames()
		for _, t := range targets {
			if volatile {
				t.conn.SendVolatile(frames...)
			} else {
				t.conn.Send(frames...)
			}
		}
		return nil, nil
	}
}
