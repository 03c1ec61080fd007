//go:build linux

package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
)

// here is a server in this process, and what is left of the test's time.
func here(t *testing.T) (context.Context, target) {
	rt := heymanito.New(heymanito.WithLogger(slog.New(slog.DiscardHandler)), heymanito.WithDrain(time.Millisecond),
		heymanito.WithRates(heymanito.Rate{}, heymanito.Rate{}))
	srv := httptest.NewServer(rt)
	t.Cleanup(func() {
		end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := rt.Shutdown(end); err != nil {
			t.Error(err)
		}
		srv.Close()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx, target{addr: strings.TrimPrefix(srv.URL, "http://")}
}

func TestRelay(t *testing.T) {
	ctx, at := here(t)
	k, err := chatters(ctx, at, 0, 10, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	for _, n := range []int{1, 3, 500} {
		if err := k.say(ctx, n, 1); err != nil {
			t.Fatalf("%d messages: %v", n, err)
		}
	}
	took, late, err := k.hold(ctx, 1000, 200*time.Millisecond, 10, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(took) != 200 || len(late) != 200 || took[0] <= 0 || took[len(took)-1] > 10*time.Second || !slices.IsSorted(took) {
		t.Errorf("%d messages took %v", len(took), took)
	}
}

func TestRelayWithoutServer(t *testing.T) {
	ctx, at := here(t)
	k, err := chatters(ctx, at, 0, 2, 100)
	if err != nil {
		t.Fatal(err)
	}
	k.close()
	if err := k.say(ctx, 10, 1); err == nil {
		t.Error("messages arrive without a connection")
	}
}

func TestGather(t *testing.T) {
	ctx, at := here(t)
	g, err := gather(ctx, at, 20, 19, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if left := g.unknown.Load(); left != 0 {
		t.Errorf("%d are unknown", left)
	}
	if err := g.close(); err != nil {
		t.Error(err)
	}
}

func TestSettle(t *testing.T) {
	ctx, at := here(t)
	for _, of := range []idleKind{idleWebSocket(), idleUpgraded(), idlePolling()} {
		leave, err := of.settle(ctx, at, 5)
		if err != nil {
			t.Fatalf("%s: %v", of.name, err)
		}
		if err := leave(); err != nil {
			t.Errorf("%s: %v", of.name, err)
		}
	}
}

func TestPeerThatSaysNothing(t *testing.T) {
	l, err := newLauncher(-1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = startPeer(t.Context(), l, "x", []string{"sh", "-c", "echo no port is free >&2"})
	if !errors.Is(err, errSilent) || !strings.Contains(err.Error(), "no port is free") {
		t.Errorf("%v", err)
	}
}
