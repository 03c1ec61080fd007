package engineio_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
)

// A socket's context is one like any other.
func TestContext(t *testing.T) {
	b := newBed(t)
	_, s := b.openWS()
	ctx := s.Context()
	child, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	gone, cancelGone := context.WithCancel(ctx)
	cancelGone()
	called, kept := make(chan bool, 2), make(chan bool, 1)
	context.AfterFunc(ctx, func() { called <- true })
	if !context.AfterFunc(ctx, func() { kept <- true })() {
		t.Error("what was to come after it cannot be stopped")
	}
	if ctx.Err() != nil || child.Err() != nil || context.Cause(ctx) != nil {
		t.Error("it has ended already")
	}
	s.Close(engineio.ForcedClose)
	for _, over := range []<-chan struct{}{ctx.Done(), child.Done(), gone.Done()} {
		select {
		case <-over:
		case <-time.After(patience):
			t.Error("it goes on after the session")
		}
	}
	for _, err := range []error{ctx.Err(), context.Cause(ctx), child.Err(), context.Cause(child)} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("at its end it says %v", err)
		}
	}
	stop := context.AfterFunc(ctx, func() { called <- true })
	for range 2 {
		select {
		case <-called:
		case <-time.After(patience):
			t.Fatal("what was to come after it has not come")
		}
	}
	if stop() || len(kept) > 0 {
		t.Error("what has come could be stopped, or what was stopped has come")
	}
	select {
	case <-s.Context().Done():
	default:
		t.Error("a context that is asked for late goes on")
	}
}
