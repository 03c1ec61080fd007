package heymanito

import (
	"context"
	"fmt"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/socketio"
)

// sessionForgotten is the code of the sessionEnded that a forgotten user's
// devices get.
const sessionForgotten = "account_deleted"

// Forget erases a user, as the deletion of an account asks for: his devices are
// disconnected (sessionEnded with the code "account_deleted", after which stock
// clients do not come back), his calls end, and every store forgets him: his
// inbox, the ids of his messages, when he was last seen, his calls, and in the
// inboxes of others what they have from him and of their conversations with him.
// To a device that has yet to get one of these entries it comes as entryErased;
// what devices have been told is theirs. Rings of his, and at his devices, count no
// more ([WithRingLimits]). Who his contacts were is the host's to forget.
//
// Have the auth hook, and Authorize, refuse him first: who is let in afterwards,
// or is written to, begins anew. It may be called from within the handler of an
// event of that user's own, whose ack does not arrive any more; what else he was
// doing in that very moment may leave something behind, which a second call
// erases. Of a user who never was here there is nothing to erase, and no error.
//
// On an error, ctx's or a store's, the devices are gone and some of the rest may
// not be: call it again until it returns nil. In a cluster it reaches the devices
// of this server, and the stores, which are everybody's.
func (s *Server) Forget(ctx context.Context, user string) error {
	if s.ctx.Err() != nil {
		return ErrClosed
	}
	devices := s.registry.expel(user)
	guests := s.guests.conns(user)
	// Last: it ends the context of a handler that has called us.
	defer func() {
		for _, d := range devices {
			d.conn.Disconnect(sessionEnded(sessionForgotten)...)
		}
		for _, c := range guests {
			c.Disconnect(sessionEnded(sessionForgotten)...)
		}
	}()
	if err := s.registry.settleUser(ctx, user); err != nil {
		return fmt.Errorf("heymanito: Forget: the presence store failed, call it again: %w", err)
	}
	if err := s.calls.forget(ctx, user); err != nil {
		return fmt.Errorf("heymanito: Forget: the call store failed, call it again: %w", err)
	}
	s.doubts.forget(user)
	if err := s.inbox.Forget(ctx, user); err != nil {
		return fmt.Errorf("heymanito: Forget: the inbox failed, call it again: %w", err)
	}
	if err := s.forgetPresence(ctx, user); err != nil {
		return fmt.Errorf("heymanito: Forget: the presence store failed, call it again: %w", err)
	}
	return nil
}

func (s *Server) forgetPresence(ctx context.Context, user string) (err error) {
	defer s.recovered("PresenceStore.Forget", CodeUnavailable, &err)
	ctx, over := s.presenceLimit(ctx, "PresenceStore.Forget")
	defer over()
	return s.cfg.presence.Forget(ctx, user)
}

// sessionEnded says that the server has ended a session, and why.
func sessionEnded(code string) []*engineio.Frame {
	return socketio.NewOutgoing("sessionEnded", nil, 32+len(code)).
		Raw(`,{"code":`).Bytes(quote(code)).Raw(`}`).Frames()
}

// expel takes a user's devices from him, and returns them: nothing reaches them
// any more, and nothing that they send is handled. He has no grace.
func (r *registry) expel(user string) []*device {
	sh := r.shard(user)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u := sh.users[user]
	if u == nil {
		return nil
	}
	u.stopTimers()
	expelled := u.devices
	u.devices = nil
	for _, d := range expelled {
		d.expelled.Store(true)
	}
	return expelled
}

// settleUser brings the store to what is true of a user now.
func (r *registry) settleUser(ctx context.Context, user string) error {
	sh := r.shard(user)
	sh.mu.Lock()
	u := sh.users[user]
	sh.mu.Unlock()
	if u == nil {
		return nil
	}
	return r.settle(ctx, u)
}

// forget ends the calls of a user, and forgets them.
func (b *switchboard) forget(ctx context.Context, user string) error {
	calls, err := b.store.ByUser(ctx, user)
	if err != nil {
		return err
	}
	for i := range calls {
		_, e := b.change(ctx, calls[i].ID, &move{step: func(c *Call) *Error {
			if c.State == CallEnded {
				return errStays
			}
			c.end(CallFailed, now())
			return nil
		}})
		if e := passing(e); e != nil {
			return e
		}
	}
	b.limits.forget(user)
	return b.store.Forget(ctx, user)
}

// forget forgets what is in doubt between a user and anybody.
func (d *doubts) forget(user string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, doubts := range []map[Key]bool{d.young, d.old} {
		for k := range doubts {
			if k.User == user || k.Peer == user {
				delete(doubts, k)
			}
		}
	}
	d.some.Store(len(d.young)+len(d.old) > 0)
}
