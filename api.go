package heymanito

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/heymanito/heymanito/internal/socketio"
)

// What a host does from its own code, besides to send ([Server.Send]), to forget
// ([Server.Forget]) and to mint tokens ([Server.CallToken]). All of it may be
// called from within hooks.

// Devices returns the devices that a user has on this server, the oldest first;
// none if he has none, or is nobody.
func (s *Server) Devices(user string) []Device {
	return hosts(s.registry.devices(user))
}

// Online returns what is known of the presence of users, in their order, over all
// nodes: who is online, with which socket id, or since when he is not. It is the
// [PresenceStore]'s answer, whatever the Contacts hook says: to whom it may be
// shown is for the host to know.
//
// Errors are the store's, or ctx's: a store has 10 s to answer. One that answers
// about more or fewer users than it was asked about is an *[Error] with
// CodeInternal.
func (s *Server) Online(ctx context.Context, users ...string) (known []Presence, err error) {
	if s.ctx.Err() != nil {
		return nil, ErrClosed
	}
	defer s.recovered("PresenceStore.Online", CodeInternal, &err)
	ctx, over := s.presenceLimit(ctx, "PresenceStore.Online")
	defer over()
	known, err = s.cfg.presence.Online(ctx, users)
	if err == nil && len(known) != len(users) {
		return nil, Errorf(CodeInternal, "PresenceStore.Online was asked about %d users and has answered about %d: it must answer about each, in their order", len(users), len(known))
	}
	return known, err
}

// Emit sends an event of the host's own to every device that a user has on this
// server. It returns how many took it into what is queued for them: not those whose
// connection has just ended. Whether they have read it nobody knows, and it is not
// kept for those who are away: what must arrive is for [Server.Send]. It never
// waits, and comes in order with what else a device gets.
//
// Each of args becomes an argument, as JSON ([json.Marshal]), a []byte a binary one,
// of which there may be 10. With an error nothing is sent: an *[Error], with
// CodeInvalid for names that are Socket.IO's or heymanito's own and for values that
// are no JSON, with CodeTooLarge for more than [WithMaxPayload] bytes in all; or that
// of a ctx that has ended.
func (s *Server) Emit(ctx context.Context, user, event string, args ...any) (int, error) {
	switch {
	case s.ctx.Err() != nil:
		return 0, ErrClosed
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case s.cfg.owner(event) != "":
		return 0, Errorf(CodeInvalid, "Emit: %q is an event of %s's own: choose another name", event, s.cfg.owner(event))
	}
	size, body, attachments := 0, []byte(nil), [][]byte(nil)
	for i, arg := range args {
		if bytes, ok := arg.([]byte); ok {
			body = append(body, `,{"_placeholder":true,"num":`...)
			body = append(strconv.AppendInt(body, int64(len(attachments)), 10), '}')
			attachments = append(attachments, bytes)
			size += len(bytes)
			continue
		}
		b, err := json.Marshal(arg)
		if err != nil {
			return 0, Errorf(CodeInvalid, "Emit: argument %d of %q: %w", i, event, err)
		}
		body = append(append(body, ','), b...)
	}
	if size += len(body); size > s.cfg.maxPayload {
		return 0, Errorf(CodeTooLarge, "Emit: %q has %d bytes, %d are allowed (WithMaxPayload)", event, size, s.cfg.maxPayload)
	}
	if _, err := socketio.NewEvent(event, body, attachments).Args(); err != nil {
		return 0, Errorf(CodeInvalid, "Emit: the arguments of %q nest too deep, or have placeholders that number none of them, or more than 10 are binary", event)
	}
	devices := s.registry.devices(user)
	if len(devices) == 0 {
		return 0, nil
	}
	frames := socketio.NewOutgoing(event, nil, len(body)).Bytes(body).Attach(attachments).Frames()
	sent := 0
	for _, d := range devices {
		if d.conn.Send(frames...) {
			sent++
		}
	}
	return sent, nil
}

// Disconnect ends every connection of a user on this server and keeps stock
// clients from coming back by themselves: each gets a sessionEnded event with
// code, which is a word between the host and its clients ("banned", "logged_out"),
// and a DISCONNECT packet. It returns how many there were. It does not keep the
// user from connecting again: the auth hook does.
func (s *Server) Disconnect(user, code string) int {
	frames := sessionEnded(code)
	devices := s.registry.devices(user)
	guests := s.guests.conns(user) // before their namespaces are left with the rest
	for _, d := range devices {
		guests = slices.DeleteFunc(guests, func(c *socketio.Conn) bool { return c == d.conn })
		d.conn.Disconnect(frames...)
	}
	for _, c := range guests {
		c.Disconnect(frames...)
	}
	return len(devices) + len(guests)
}

// ContactsChanged re-evaluates who sees user and whom user sees, by calling
// [Hooks].Contacts again; whoever is concerned is told at once. It does nothing
// without that hook. Errors are the hook's: then who sees whom is as before.
func (s *Server) ContactsChanged(ctx context.Context, user string) error {
	if s.ctx.Err() != nil {
		return ErrClosed
	}
	if s.cfg.hooks.Contacts == nil {
		return nil
	}
	return s.roster.renewContacts(ctx, user)
}
