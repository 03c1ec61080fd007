package heymanito

import (
	"context"
	"sync"
)

// flights are the messages that are being handled: the same one, from another
// device or sent again, waits for what becomes of it.
type flights struct {
	mu sync.Mutex // guards of
	of map[Key]*flight
}

type flight struct {
	done chan struct{} // closed at the end; nil: nobody waits for it
	out  outcome
	ok   bool
}

// once calls fly, unless it is being called for the same key: then it waits for
// that one's outcome. After one that failed the next is handled anew. mine is a
// new flight, which others may know of when once has returned.
func (f *flights) once(ctx context.Context, k Key, mine *flight, fly func() (outcome, *Error)) (outcome, *Error) {
	for {
		f.mu.Lock()
		first := f.of[k]
		if first == nil {
			break
		}
		if first.done == nil {
			first.done = make(chan struct{})
		}
		done := first.done
		f.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return outcome{}, &Error{Code: CodeUnavailable, Err: ctx.Err()}
		}
		if first.ok {
			out := first.out
			out.own, out.again = false, true
			return out, nil
		}
	}
	if f.of == nil {
		f.of = map[Key]*flight{}
	}
	f.of[k] = mine
	f.mu.Unlock()
	defer func() { // also when a hook panics
		f.mu.Lock()
		delete(f.of, k)
		f.mu.Unlock()
		if mine.done != nil {
			close(mine.done)
		}
	}()
	out, err := fly()
	mine.out, mine.ok = out, err == nil
	return out, err
}
