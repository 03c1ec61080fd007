package boltinbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/heymanito/heymanito"
)

// The most that is written together.
const (
	groupRequests = 4096
	groupBytes    = 16 << 20
)

// patience is how often gather looks for more before it waits.
const patience = 10

// request is a change that waits to be made.
type request struct {
	ctx  context.Context
	run  func(*batch) error // may be called more than once; nil: append letters
	done chan struct{}      // gets something when it is on the disk, or err is set
	err  error

	letters  []letter
	text     []byte // theirs
	receipts []heymanito.Receipt
}

// reset makes an old request a new one.
func (r *request) reset() {
	clear(r.letters)
	*r = request{done: r.done, letters: r.letters[:0], text: r.text[:0]}
}

// make makes the change.
func (r *request) make(b *batch) error {
	if r.run != nil {
		return r.run(b)
	}
	return b.append(r)
}

// ended reports whether nobody waits for an answer any more.
func (r *request) ended() bool {
	if r.err == nil {
		r.err = r.ctx.Err()
	}
	return r.err != nil
}

func (r *request) answer(err error) {
	if r.err == nil {
		r.err = err
	}
	r.done <- struct{}{}
}

// do has run called in a transaction and returns when that is on the disk. If
// run fails, nothing has happened. If ctx ends, it may happen all the same.
func (s *Inbox) do(ctx context.Context, run func(*batch) error) error {
	return s.ask(ctx, &request{run: run, done: make(chan struct{}, 1)})
}

func (s *Inbox) ask(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.ctx = ctx
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.queue = append(s.queue, r)
	select {
	case s.wake <- struct{}{}:
	default: // it was woken for something else
	}
	s.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ackDelay is how long what AckThrough says waits for more of it.
const ackDelay = time.Second

// ack takes note of how far AckThrough was called for, if the user has
// anything.
func (s *Inbox) ack(name string, seq uint64) (known bool, err error) {
	if err := s.brokenErr(); err != nil {
		return false, err
	}
	st := s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.sealed {
		return false, ErrClosed
	}
	u := st.users[name]
	if u == nil {
		return false, nil
	}
	if seq = min(seq, u.last); seq > max(u.given, st.acked[name]) {
		if len(st.acked) == 0 {
			s.flushLater()
		}
		st.acked[strings.Clone(name)] = seq
	}
	return true, nil
}

// flushLater has acked written after a while. The state is locked.
func (s *Inbox) flushLater() {
	s.state.flushAt = time.Now().Add(ackDelay)
	time.AfterFunc(ackDelay, s.poke)
}

// flushDue reports whether acked is to be written. What comes later waits for
// the next time.
func (s *Inbox) flushDue() bool {
	st := s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.acked) == 0 || !st.sealed && time.Now().Before(st.flushAt) {
		return false
	}
	if !st.sealed {
		s.flushLater()
	}
	return true
}

// poke wakes the committer.
func (s *Inbox) poke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default: // it was woken for something else
	}
}

// commitAll is the goroutine that makes all changes. While it commits, the
// requests for the next commit gather.
func (s *Inbox) commitAll() {
	defer close(s.ended)
	debug.SetPanicOnFault(true) // the file is mapped into memory
	for range s.wake {
		s.commitQueue()
	}
	s.commitQueue()
	if len(s.state.acked) == 0 {
		s.flushErr = nil
	}
}

// commitQueue commits until there is nothing to commit.
func (s *Inbox) commitQueue() {
	for {
		g := &group{requests: s.requests[:0], flush: s.flushDue()}
		if !s.more(g) && !g.flush {
			return
		}
		s.commit(g)
		if g.flush {
			s.flushErr = g.err
		}
		if g.err != nil && len(g.requests) == 0 {
			return
		}
		clear(g.requests)
		s.requests = g.requests
	}
}

// group is what is committed together.
type group struct {
	requests []*request
	size     int
	flush    bool // acked too
	closed   bool // for more
	ready    time.Time
	err      error
}

// more adds to a group who is waiting, and reports whether there was anybody.
func (s *Inbox) more(g *group) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.queue) && len(g.requests) < groupRequests && g.size < groupBytes {
		g.requests = append(g.requests, s.queue[n])
		g.size += len(s.queue[n].text)
		n++
	}
	s.queue = slices.Delete(s.queue, 0, n)
	return n > 0
}

// gather adds to a group who comes while it is worked at. Those who have just
// got an answer are given a moment to come with their next request, so that one
// commit is for all of them: at most a fourth of the time that a commit takes,
// which who comes too late would wait for.
func (s *Inbox) gather(g *group) bool {
	for n := 0; !s.more(g); n++ {
		switch {
		case len(g.requests) >= s.expected:
			return false
		case n < patience:
			runtime.Gosched()
			continue
		case n == patience:
			s.timer.Reset(s.took / 4)
		}
		select {
		case _, open := <-s.wake:
			if !open {
				return s.more(g)
			}
		case <-s.timer.C:
			s.expected = 0
		}
	}
	return true
}

// waiting is how many requests there are.
func (s *Inbox) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// commit makes the changes of a group and answers for them.
func (s *Inbox) commit(g *group) {
	for len(g.requests) > 0 || g.flush {
		i, err := s.try(g)
		if i < 0 {
			s.expected = len(g.requests) + s.waiting()
			for _, r := range g.requests {
				r.answer(err)
			}
			g.err = err
			return
		}
		g.requests[i].answer(err) // and the others without it
		g.requests = slices.Delete(g.requests, i, i+1)
		g.closed = true
	}
}

// failure is a commit that failed.
type failure struct {
	err   error
	until time.Time // nothing is tried before
}

// try makes the changes of group in one transaction. If it fails because of one
// of them it returns which one, else -1.
func (s *Inbox) try(g *group) (i int, err error) {
	if err := s.brokenErr(); err != nil {
		return -1, err
	}
	began := time.Now()
	if began.Before(s.retry.until) {
		return -1, s.retry.err
	}
	var tx *bbolt.Tx
	defer func() {
		if p := recover(); p != nil {
			i, err = -1, s.panicked(p, tx)
		}
	}()
	tx, err = s.db.Begin(true)
	if err != nil {
		return -1, s.failed(err)
	}
	b := s.batch
	b.begin(tx, began)
	done := false
	defer func() {
		if !done {
			b.undo()
		}
	}()
	if i, err := s.run(b, g); err != nil {
		return i, errors.Join(s.wrap(err), tx.Rollback())
	}
	if !b.changed {
		return -1, tx.Rollback()
	}
	g.ready = time.Now()
	id := uint64(tx.ID())
	if err := tx.Commit(); err != nil {
		err = s.failed(err)
		if s.reached(id) {
			err = s.breakOff(errUncertain)
		}
		// bbolt has looked for the free pages in the whole file: let that not
		// be all that this process does while the disk is full.
		s.retry = failure{err: err, until: time.Now().Add(9 * time.Since(began))}
		return -1, err
	}
	s.took = time.Since(g.ready)
	b.apply(id)
	done = true
	s.commits.Add(1)
	s.stats.Store(b.stats(s.stats.Load().Dropped + b.drops))
	return -1, nil
}

// run makes the changes of a group. If one of them fails it returns which one,
// else -1.
func (s *Inbox) run(b *batch, g *group) (int, error) {
	if err := b.tidy(); err != nil {
		return -1, err
	}
	for i := 0; i < len(g.requests) || !g.closed && s.gather(g); i++ {
		r := g.requests[i]
		if r.ended() {
			continue
		}
		if err := r.make(b); err != nil {
			return i, err
		}
	}
	if g.flush {
		if err := b.flushAcked(); err != nil {
			return -1, err
		}
	}
	return -1, b.putBlocks()
}

// errUncertain is what ends the use of a file when the state in memory cannot
// be that of the file any more.
var errUncertain = errors.New("the disk failed to write, and nobody knows what is on it; see to the disk and start again")

// reached reports whether a transaction whose commit failed is in the file all
// the same.
func (s *Inbox) reached(id uint64) bool {
	tx, err := s.db.Begin(false)
	if err != nil {
		return true
	}
	defer func() { _ = tx.Rollback() }()
	return uint64(tx.ID()) >= id
}

func (s *Inbox) wrap(err error) error { return fmt.Errorf("boltinbox: %s: %w", s.path, err) }

// failed is what a failed commit is answered with.
func (s *Inbox) failed(err error) error {
	switch {
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return ErrClosed
	case isSync(err):
		// What the system has not written it may believe to have written.
		return s.breakOff(fmt.Errorf("%w (%w)", errUncertain, err))
	}
	return s.wrap(fmt.Errorf("it cannot be used now: %w", err))
}

// isSync reports whether an error of a commit is one of fsync.
func isSync(err error) bool {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Op == "sync"
	}
	_, ok := errors.AsType[syscall.Errno](err)
	return ok
}

// breakOff ends the use of the file.
func (s *Inbox) breakOff(err error) error {
	err = s.wrap(err)
	if !s.broken.CompareAndSwap(nil, &err) {
		err = *s.broken.Load()
	}
	return err
}

func (s *Inbox) brokenErr() error {
	if err := s.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// panicked takes a panic of bbolt's, which is how it says that the file is
// damaged, or a fault in the memory that it is mapped to. tx is nil if there
// was none yet.
func (s *Inbox) panicked(p any, tx *bbolt.Tx) error {
	if _, fault := p.(interface{ Addr() uintptr }); fault {
		p = "a part of it cannot be read any more"
	}
	err := s.breakOff(damaged("%v. Start again: it will be read through", p))
	if tx == nil {
		s.stuck.Store(true)
		return err
	}
	defer func() {
		if recover() != nil {
			s.stuck.Store(true)
		}
	}()
	_ = tx.Rollback()
	return err
}
