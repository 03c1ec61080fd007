package engineio

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

type deaf struct{}

func (deaf) OnText([]byte)          {}
func (deaf) OnBinary([]byte)        {}
func (deaf) OnTooLarge([]byte, int) {}
func (deaf) OnProof(uint64)         {}
func (deaf) OnClose(Reason)         {}

// A visit of the wheel that ends while the socket is being closed must not put
// off the end of the CloseTimeout: the steps of both, in the order that hurts.
func TestWheelVisitMeetsClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := NewServer(Config{
			PingInterval: 20 * time.Second, PingTimeout: 20 * time.Second, WriteTimeout: time.Second,
			UpgradeTimeout: time.Second, CloseTimeout: time.Second, OpenTimeout: time.Minute,
			MaxPayload: 1000, MaxQueue: 1000, OpenBytes: 1000, MaxOpening: 10, MaxOpeningPerAddr: 10,
			Transports: []string{Polling},
			RemoteAddr: func(*http.Request) string { return "" },
			Keep:       func(r *http.Request) *http.Request { return r },
			Open:       func(*Socket) Handler { return deaf{} },
			Log:        slog.New(slog.DiscardHandler),
		})
		srv.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/?EIO=4&transport=polling", nil))
		s := srv.all()[0]

		srv.beats.remove(&s.beat) // as fire does with what is due
		at := s.beatAt(srv.now())
		s.Close(Expired)
		srv.beats.set(&s.beat, at)

		time.Sleep(srv.cfg.CloseTimeout + 2*srv.beats.tick)
		synctest.Wait()
		if n := len(srv.all()); n != 0 {
			t.Error("the socket is still there after its CloseTimeout")
		}
		if err := srv.Shutdown(context.Background(), 0); err != nil {
			t.Error(err)
		}
	})
}
