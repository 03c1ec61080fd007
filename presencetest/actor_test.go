package presencetest_test

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
)

// actor is a PresenceStore that has nothing in common with MemoryPresence: one
// goroutine owns all and is asked through a channel, as a networked store asks
// its server; the log of edges is kept for ever and watches read it page by
// page; Moved edges are coalesced; Snapshot fetches pages by name.
//
// It is here to show that the suite asks for the contract and not for one way
// to keep it.
type actor struct {
	ask     chan func(*actorState)
	stopped chan struct{}
}

type actorState struct {
	users map[string]heymanito.Presence
	log   []heymanito.Edge
	wake  []chan struct{} // one for each sleeping watch, closed at the next edge
}

var errStopped = errors.New("actor: stopped")

func newActor(t *testing.T) heymanito.PresenceStore {
	a := &actor{
		ask:     make(chan func(*actorState)),
		stopped: make(chan struct{}),
	}
	stop := make(chan struct{})
	t.Cleanup(func() {
		close(stop)
		<-a.stopped
	})
	go func() {
		defer close(a.stopped)
		s := &actorState{users: make(map[string]heymanito.Presence)}
		for {
			select {
			case f := <-a.ask:
				f(s)
			case <-stop:
				return
			}
		}
	}()
	return a
}

// do runs f on the goroutine that owns the state and waits for it.
func (a *actor) do(ctx context.Context, f func(*actorState)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan struct{})
	select {
	case a.ask <- func(s *actorState) { f(s); close(done) }:
		<-done // f waits for nothing
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-a.stopped:
		return errStopped
	}
}

func (s *actorState) set(p heymanito.Presence) {
	was := s.users[p.User]
	p.LastSeen = time.Time{}
	if !p.Online {
		if !was.Online {
			return
		}
		p.LastSeen = time.Now().Truncate(time.Millisecond)
	} else if was.Online && was.SocketID == p.SocketID {
		return
	}
	s.users[p.User] = p
	s.log = append(s.log, heymanito.Edge{Presence: p, Moved: was.Online && p.Online})
	for _, c := range s.wake {
		close(c)
	}
	s.wake = nil
}

func (a *actor) Set(ctx context.Context, p heymanito.Presence) error {
	return a.do(ctx, func(s *actorState) { s.set(p) })
}

func (a *actor) Online(ctx context.Context, users []string) ([]heymanito.Presence, error) {
	var ps []heymanito.Presence
	err := a.do(ctx, func(s *actorState) {
		for _, user := range users {
			p := s.users[user]
			p.User = user
			ps = append(ps, p)
		}
	})
	return ps, err
}

func (a *actor) Snapshot(ctx context.Context) iter.Seq2[heymanito.Presence, error] {
	return func(yield func(heymanito.Presence, error) bool) {
		var names []string
		err := a.do(ctx, func(s *actorState) { names = slices.Collect(maps.Keys(s.users)) })
		for page := range slices.Chunk(names, 7) {
			if err != nil {
				break
			}
			var ps []heymanito.Presence
			if ps, err = a.Online(ctx, page); err != nil {
				break
			}
			for _, p := range ps {
				if p.Online && !yield(p, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(heymanito.Presence{}, err)
		}
	}
}

func (a *actor) Watch(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
	var read int
	if err := a.do(ctx, func(s *actorState) { read = len(s.log) }); err != nil {
		return err
	}
	if ready != nil {
		ready()
	}
	for {
		var page []heymanito.Edge
		var wake chan struct{}
		err := a.do(ctx, func(s *actorState) {
			page = slices.Clone(s.log[read:min(read+10, len(s.log))])
			if len(page) == 0 {
				wake = make(chan struct{})
				s.wake = append(s.wake, wake)
			}
		})
		if err != nil {
			return err
		}
		if wake != nil {
			select {
			case <-wake:
			case <-ctx.Done():
			case <-a.stopped:
			}
			continue // do has the right error
		}
		read += len(page)
		for i, e := range page {
			overtaken := slices.ContainsFunc(page[i+1:], func(later heymanito.Edge) bool {
				return later.User == e.User
			})
			if e.Moved && overtaken {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			edge(e)
		}
	}
}

func (a *actor) Forget(ctx context.Context, user string) error {
	return a.do(ctx, func(s *actorState) {
		if p := s.users[user]; p.Online {
			p.Online = false
			s.set(p)
		}
		delete(s.users, user)
	})
}
