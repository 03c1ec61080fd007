package heymanito

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// callGuard is the host's CallStore, called with care: each call is given
// storeTimeout, and what it panics with is an error.
type callGuard struct {
	srv   *Server
	store CallStore
}

var _ CallStore = callGuard{}

// limit is guard's.
func (g callGuard) limit(ctx context.Context, call string) (context.Context, func()) {
	if _, never := g.store.(*MemoryCalls); never {
		return ctx, func() {}
	}
	return g.srv.storeLimit(ctx, call)
}

func (g callGuard) Create(ctx context.Context, c Call) (got Call, err error) {
	defer g.srv.recovered("CallStore.Create", CodeUnavailable, &err)
	ctx, cancel := g.limit(ctx, "CallStore.Create")
	defer cancel()
	got, err = g.store.Create(ctx, c)
	if (err == nil || errors.Is(err, ErrCallExists)) && got.ID == "" {
		return got, fmt.Errorf("CallStore.Create has returned a call without an ID (and %v): it must be the one that there is", err) //nolint:errorlint // not to be taken for what it claims to be
	}
	return got, err
}

func (g callGuard) Get(ctx context.Context, id string) (c Call, ok bool, err error) {
	defer g.srv.recovered("CallStore.Get", CodeUnavailable, &err)
	ctx, cancel := g.limit(ctx, "CallStore.Get")
	defer cancel()
	return g.store.Get(ctx, id)
}

func (g callGuard) CompareAndSwap(ctx context.Context, c Call) (now Call, ok bool, err error) {
	defer g.srv.recovered("CallStore.CompareAndSwap", CodeUnavailable, &err)
	ctx, cancel := g.limit(ctx, "CallStore.CompareAndSwap")
	defer cancel()
	return g.store.CompareAndSwap(ctx, c)
}

func (g callGuard) ByUser(ctx context.Context, user string) (calls []Call, err error) {
	defer g.srv.recovered("CallStore.ByUser", CodeUnavailable, &err)
	ctx, cancel := g.limit(ctx, "CallStore.ByUser")
	defer cancel()
	return g.store.ByUser(ctx, user)
}

func (g callGuard) Due(ctx context.Context, now time.Time, limit int) (due []Call, next time.Time, err error) {
	defer g.srv.recovered("CallStore.Due", CodeUnavailable, &err)
	ctx, cancel := g.limit(ctx, "CallStore.Due")
	defer cancel()
	return g.store.Due(ctx, now, limit)
}

func (g callGuard) Forget(ctx context.Context, user string) (err error) {
	defer g.srv.recovered("CallStore.Forget", CodeUnavailable, &err)
	ctx, cancel := g.limit(ctx, "CallStore.Forget")
	defer cancel()
	return g.store.Forget(ctx, user)
}
