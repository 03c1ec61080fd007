// Package boltinbox keeps inboxes in a file of one machine, so that they
// survive a restart and a crash:
//
//	inbox, err := boltinbox.Open("/var/lib/chat/inbox.db")
//	if err != nil {
//		return err
//	}
//	rt := heymanito.New(heymanito.WithInbox(inbox), …)
//	…
//	rt.Shutdown(ctx)
//	inbox.Close() // after it
//
// What an Append has returned without an error for is on the disk. All Appends
// that come while one is being written are written together: the more there
// are, the less each of them costs.
//
// Where everything is in the file is kept in memory, which counts against
// InboxBounds.Total, too: of messages of 300 bytes it is a seventh of what they
// count, of users who have one message each it is a half. The file takes about
// as much as Total, at the worst twice that, and 16 MB by which it grows; it does
// not become smaller.
package boltinbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/heymanito/heymanito"
)

// defaultTotal is the default of InboxBounds.Total.
const defaultTotal = 1_000_000_000

// lockTimeout is how long Open waits for another process to close the file.
const lockTimeout = 2 * time.Second

// ErrClosed is what calls of a closed [Inbox] fail with.
var ErrClosed = errors.New("boltinbox: the inbox is closed")

// Option configures an [Inbox].
type Option func(*config)

type config struct {
	bounds heymanito.InboxBounds
	noSync bool // for tests that write a lot
}

// WithBounds sets what is kept. The default of Total is 1 GB. With a bound that is
// negative, Open fails.
func WithBounds(b heymanito.InboxBounds) Option {
	return func(c *config) { c.bounds = b }
}

// Inbox is a [heymanito.Inbox] in a file.
type Inbox struct {
	db     *bbolt.DB
	file   *os.File // db's
	path   string
	epoch  string
	bounds heymanito.InboxBounds
	state  *state

	mu     sync.Mutex    // guards queue, closed, and what is sent to wake
	queue  []*request    // what waits for the next commit
	closed bool          // no more requests
	wake   chan struct{} // there is something to do; closed by Close
	ended  chan struct{} // closed when the committer has ended
	close  func() error  // closes db, once

	spare sync.Pool // of requests that were answered

	broken  atomic.Pointer[error] // what ended the use of db
	stuck   atomic.Bool           // closing db would wait for ever
	commits atomic.Uint64
	stats   atomic.Pointer[heymanito.InboxStats]

	// The committer's own.
	batch    *batch
	requests []*request    // room for those of a group
	expected int           // how many requests may come soon
	took     time.Duration // to commit
	timer    *time.Timer   // gather's
	retry    failure       // the last one
	flushErr error         // why what AckThrough has said is not in the file
}

var _ heymanito.Inbox = (*Inbox)(nil)

// Open opens the store in the file path, and creates it, for nobody else to
// read, if there is none; its directory has to be there. The file is read through,
// which takes a second or two for each million entries. A damaged one is refused
// with an error that says what is wrong: nothing of it is changed, mended or
// dropped.
//
// A file can be open once. Open waits 2 s for another process to close it, as the
// one before a restart may be about to, and then fails.
func Open(path string, opts ...Option) (*Inbox, error) {
	c := &config{}
	for _, o := range opts {
		o(c)
	}
	if err := c.bounds.Check(); err != nil {
		return nil, fmt.Errorf("boltinbox: WithBounds: %w", err)
	}
	s := &Inbox{
		path:   path,
		bounds: c.bounds.WithDefaults(defaultTotal),
		wake:   make(chan struct{}, 1),
		ended:  make(chan struct{}),
	}
	if err := s.open(c); err != nil {
		return nil, fmt.Errorf("boltinbox: %s: %w", path, explain(err))
	}
	s.spare.New = func() any { return &request{done: make(chan struct{}, 1)} }
	s.batch = newBatch(s)
	s.timer = time.NewTimer(0)
	s.timer.Stop()
	s.close = sync.OnceValue(s.closeDB)
	go s.commitAll()
	return s, nil
}

// explain says what to do about an error of Open.
func explain(err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("it is in use by another process, or opened twice by this one (%w)", err)
	case errors.Is(err, errDamaged):
		return fmt.Errorf("%w. Put a backup in its place, or move it away to begin with empty inboxes; nothing in it was changed", err)
	case errors.Is(err, errForeign):
		return fmt.Errorf("%w. Give the inbox a path of its own, or put a backup in its place; nothing in it was changed", err)
	}
	return err
}

func (s *Inbox) open(c *config) error {
	if _, err := os.Stat(s.path); errors.Is(err, fs.ErrNotExist) {
		if err := create(s.path); err != nil {
			return err
		}
	}
	for {
		l, err := checkFile(s.path)
		if err != nil {
			return err
		}
		if same, err := s.openDB(l, c); same || err != nil {
			return err
		}
	}
}

// openDB opens the file, and reports whether it still is what l has read:
// another process may have been quicker, and have closed it again.
func (s *Inbox) openDB(l *loader, c *config) (same bool, err error) {
	s.epoch, s.state = l.epoch, l.state
	s.stats.Store(l.stats(0))
	s.db, err = bbolt.Open(s.path, 0o600, &bbolt.Options{
		Timeout:        lockTimeout,
		NoFreelistSync: true, // a list of what is free would have to be written with every commit
		FreelistType:   bbolt.FreelistMapType,
		NoStatistics:   true,
		NoSync:         c.noSync,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			var err error
			s.file, err = os.OpenFile(name, flag&^os.O_CREATE, mode) //nolint:gosec // G304: the host says which file
			return s.file, err
		},
	})
	if err != nil {
		return false, err
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return false, errors.Join(err, s.db.Close())
	}
	same = uint64(tx.ID()) == l.tx
	if err := tx.Rollback(); err != nil || same {
		return same, err
	}
	return false, s.db.Close()
}

// create makes an empty store at path. It is complete before it is there.
func create(path string) error {
	dir, base := filepath.Split(path)
	f, err := os.CreateTemp(filepath.Clean(dir+"."), base+".new-*") // 0600
	if err != nil {
		return err
	}
	temp := f.Name()
	defer func() { _ = os.Remove(temp) }()
	if err := f.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(temp, 0o600, &bbolt.Options{NoFreelistSync: true})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range bucketNames() {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		meta := tx.Bucket([]byte(metaBucket))
		put := func(k string, v []byte) error { return meta.Put([]byte(k), seal(v, []byte(k))) }
		return errors.Join(put(versionKey, []byte{layoutVersion}), put(epochKey, []byte(rand.Text())))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	// A link does not replace what another process has just put there.
	if err := os.Link(temp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return os.Rename(temp, path)
	}
	return syncDir(dir)
}

// syncDir makes sure that a new name in dir survives a crash of the machine,
// where that can be asked for.
func syncDir(dir string) error {
	d, err := os.Open(filepath.Clean(dir + "."))
	if err != nil {
		return err
	}
	_ = d.Sync() // not every system can
	return d.Close()
}

// Close writes what waits to be written, waits for calls in flight and closes
// the file. Calls that come later fail with [ErrClosed].
func (s *Inbox) Close() error {
	s.state.mu.Lock()
	s.state.sealed = true
	s.state.mu.Unlock()
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.wake)
	}
	s.mu.Unlock()
	<-s.ended
	return s.close()
}

func (s *Inbox) closeDB() error {
	if s.stuck.Load() {
		return errors.Join(s.flushErr, s.file.Close())
	}
	var err error
	if s.commits.Load() > 0 && s.brokenErr() == nil {
		// bbolt has two heads, for the last commit and the one before. Let
		// both say the same, and damage to one of them does no harm.
		err = s.db.Update(func(*bbolt.Tx) error { return nil })
	}
	return errors.Join(s.flushErr, err, s.db.Close())
}

// Stats returns the numbers of the store.
func (s *Inbox) Stats() heymanito.InboxStats { return *s.stats.Load() }

// Append implements [heymanito.Inbox].
func (s *Inbox) Append(ctx context.Context, entries ...heymanito.Entry) ([]heymanito.Receipt, error) {
	if len(entries) == 0 {
		return nil, ctx.Err()
	}
	r := s.spare.Get().(*request)
	r.reset()
	if err := s.address(r, entries); err != nil {
		return nil, err
	}
	if err := s.ask(ctx, r); err != nil {
		return nil, err // r may still be in use
	}
	receipts := r.receipts
	s.spare.Put(r)
	return receipts, nil
}

// AckThrough implements [heymanito.Inbox]. What it says is written within a
// second or two.
func (s *Inbox) AckThrough(ctx context.Context, user string, seq uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	known, err := s.ack(user, seq)
	if !known && err == nil {
		err = s.do(ctx, func(b *batch) error { return b.ackThrough(user, seq) })
	}
	return err
}
