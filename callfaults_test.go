package heymanito_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/heymanito/heymanito"
)

// faultyCalls is a CallStore that fails as it is told.
type faultyCalls struct {
	heymanito.CallStore
	before func() error                          // called first, by every method but Forget: its error is all that happens
	after  func(c heymanito.Call, ok bool) error // called after a Create or a CompareAndSwap of c: its error is all that is heard of that
}

func (f *faultyCalls) Create(ctx context.Context, c heymanito.Call) (heymanito.Call, error) {
	if err := f.before(); err != nil {
		return heymanito.Call{}, err
	}
	got, err := f.CallStore.Create(ctx, c)
	if err := f.after(c, err == nil); err != nil {
		return heymanito.Call{}, err
	}
	return got, err
}

func (f *faultyCalls) Get(ctx context.Context, id string) (heymanito.Call, bool, error) {
	if err := f.before(); err != nil {
		return heymanito.Call{}, false, err
	}
	return f.CallStore.Get(ctx, id)
}

func (f *faultyCalls) CompareAndSwap(ctx context.Context, c heymanito.Call) (heymanito.Call, bool, error) {
	if err := f.before(); err != nil {
		return heymanito.Call{}, false, err
	}
	got, ok, err := f.CallStore.CompareAndSwap(ctx, c)
	if err := f.after(c, ok); err != nil {
		return heymanito.Call{}, false, err
	}
	return got, ok, err
}

func (f *faultyCalls) ByUser(ctx context.Context, user string) ([]heymanito.Call, error) {
	if err := f.before(); err != nil {
		return nil, err
	}
	return f.CallStore.ByUser(ctx, user)
}

func (f *faultyCalls) Due(ctx context.Context, now time.Time, limit int) ([]heymanito.Call, time.Time, error) {
	if err := f.before(); err != nil {
		return nil, time.Time{}, err
	}
	return f.CallStore.Due(ctx, now, limit)
}

// failingCalls is one that can be down, or panic.
type failingCalls struct {
	faultyCalls
	mu     sync.Mutex // guards the rest
	err    error
	panics bool
}

func newFailingCalls() *failingCalls {
	f := &failingCalls{}
	f.faultyCalls = faultyCalls{heymanito.NewMemoryCalls(), f.check, func(heymanito.Call, bool) error { return nil }}
	return f
}

func (f *failingCalls) fails(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *failingCalls) check() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panics {
		panic("the store has a bug")
	}
	return f.err
}

// troubledCalls is one that fails now and then, before or after it has done what
// it was asked for.
type troubledCalls struct {
	faultyCalls
	mu      sync.Mutex // guards the rest
	trouble bool
	rng     *rand.Rand
}

func newTroubledCalls(seed uint64) *troubledCalls {
	s := &troubledCalls{rng: rand.New(rand.NewPCG(seed, 1))}
	s.faultyCalls = faultyCalls{heymanito.NewMemoryCalls(), s.fails, func(heymanito.Call, bool) error { return s.fails() }}
	return s
}

func (s *troubledCalls) set(trouble bool) {
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.trouble = trouble
	}
}

func (s *troubledCalls) fails() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble && s.rng.IntN(8) == 0 {
		return errors.New("trouble")
	}
	return nil
}

// newFallingCalls returns one that makes the first change to a state, answers it
// with an error, and is down for a while.
func newFallingCalls(calls heymanito.CallStore, in heymanito.CallState, down time.Duration) *faultyCalls {
	var mu sync.Mutex // guards till
	var till time.Time
	return &faultyCalls{
		calls,
		func() error {
			mu.Lock()
			defer mu.Unlock()
			if time.Now().Before(till) {
				return errors.New("down")
			}
			return nil
		},
		func(c heymanito.Call, ok bool) error {
			mu.Lock()
			defer mu.Unlock()
			if ok && c.State == in && till.IsZero() {
				till = time.Now().Add(down)
				return errors.New("connection reset")
			}
			return nil
		},
	}
}
