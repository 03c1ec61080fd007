package heymanito

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito/internal/wiretest"
)

// A grace timer that has fired, and comes to its work only when the user was
// back and broke off again, leaves the new grace alone. The order that hurts
// cannot be brought about from outside: the late timer is called by name.
func TestLateGraceTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dial := inMemory(t, WithOfflineGrace(time.Minute))
		dial("ann").Cut()
		synctest.Wait()
		ann := s.registry.shard("ann").users["ann"]
		dial("ann").Cut()
		synctest.Wait()
		time.Sleep(time.Minute - time.Millisecond)
		s.registry.graceOver(ann)
		isOnline := func() bool {
			p, err := s.cfg.presence.Online(t.Context(), []string{"ann"})
			if err != nil {
				t.Fatal(err)
			}
			return p[0].Online
		}
		if !isOnline() {
			t.Error("ann is offline before her time is over")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if isOnline() {
			t.Error("ann is online after her time")
		}
	})
}

// inMemory runs a Server inside a bubble until the test ends.
func inMemory(t *testing.T, opts ...Option) (s *Server, dial func(user string) *wiretest.Client) {
	t.Helper()
	net := wiretest.NewNet()
	s = New(append([]Option{WithLogger(slog.New(slog.DiscardHandler))}, opts...)...)
	srv := &http.Server{Handler: s}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(net) }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		_ = srv.Close() // the listener's error is Serve's too
		<-served
	})
	return s, func(user string) *wiretest.Client {
		return wiretest.Connect(t, "http://heymanito.test", user, wiretest.On(net))
	}
}
