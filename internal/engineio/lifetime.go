package engineio

import (
	"context"
	"slices"
	"time"
)

// lifetime is the context.Context of a socket, which ends with the session. One
// of package context's takes 400 bytes more, of each client that is just there.
// The socket's mu guards what it has.
type lifetime Socket

var _ context.Context = (*lifetime)(nil)

// Deadline implements context.Context.
func (l *lifetime) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (l *lifetime) Value(any) any { return nil }

// Done implements context.Context.
func (l *lifetime) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done = make(chan struct{})
		if l.over {
			close(l.done)
		}
	}
	return l.done
}

// Err implements context.Context.
func (l *lifetime) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return context.Canceled
	}
	return nil
}

// AfterFunc is context.AfterFunc of Context, and leaves nothing behind.
func (s *Socket) AfterFunc(f func()) (stop func() bool) { return (*lifetime)(s).AfterFunc(f) }

// AfterFunc spares package context the goroutine that would wait for Done: it
// calls f on one of its own at the end, unless stop was called before.
func (l *lifetime) AfterFunc(f func()) (stop func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		go f()
		return func() bool { return false }
	}
	then := &f
	l.afterwards = append(l.afterwards, then)
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		i := slices.Index(l.afterwards, then)
		if i >= 0 {
			l.afterwards = slices.Delete(l.afterwards, i, i+1)
		}
		if len(l.afterwards) == 0 {
			l.afterwards = nil
		}
		return i >= 0
	}
}

// end ends it.
func (l *lifetime) end() {
	l.mu.Lock()
	afterwards := l.afterwards
	l.afterwards = nil
	was := l.over
	l.over = true
	if l.done != nil && !was {
		close(l.done)
	}
	l.mu.Unlock()
	for _, f := range afterwards {
		go (*f)()
	}
}
