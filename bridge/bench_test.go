package bridge_test

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/zishang520/socket.io/servers/socket/v3"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/bridge"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// What a client costs while it does nothing, with a bridge and without. The clients
// are in the same process, and are counted in both.
func BenchmarkIdle(b *testing.B) {
	for _, kind := range []string{"without", "bridge", "bridge and a namespace"} {
		b.Run(kind, func(b *testing.B) {
			opts := []heymanito.Option{heymanito.WithLogger(slog.New(slog.DiscardHandler)), heymanito.WithMaxDevices(1 << 20)}
			if kind != "without" {
				br := bridge.New()
				br.IO().Of("/chat", nil)
				opts = append(opts, heymanito.WithBridge(br))
			}
			rt := heymanito.New(opts...)
			ts := httptest.NewServer(rt)
			defer ts.Close()
			const clients = 500
			bytes, goroutines := 0.0, 0.0
			for range b.N {
				was, running := heap(), runtime.NumGoroutine()
				for i := range clients {
					c := wiretest.Connect(b, ts.URL, fmt.Sprint("user", i))
					if kind == "bridge and a namespace" {
						join(c, "/chat", "")
					}
				}
				bytes, goroutines = float64(heap()-was), float64(runtime.NumGoroutine()-running)
			}
			b.ReportMetric(bytes/clients, "B/client")
			b.ReportMetric(goroutines/clients, "goroutines/client")
		})
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// An event that goes to a listener of the library's and back, and one that goes to
// one of the Server's.
func BenchmarkEvent(b *testing.B) {
	for _, bridged := range []bool{false, true} {
		b.Run(fmt.Sprintf("bridge=%v", bridged), func(b *testing.B) {
			opts := []heymanito.Option{heymanito.WithLogger(slog.New(slog.DiscardHandler)), heymanito.WithRates(heymanito.Rate{}, heymanito.Rate{})}
			if bridged {
				br := bridge.New()
				onSocket(br.IO().Sockets(), func(s *socket.Socket) {
					_ = s.On("echo", func(args ...any) { args[1].(socket.Ack)(args[:1], nil) })
				})
				opts = append(opts, heymanito.WithBridge(br))
			} else {
				opts = append(opts, heymanito.On("echo", echo))
			}
			rt := heymanito.New(opts...)
			ts := httptest.NewServer(rt)
			defer ts.Close()
			c := wiretest.Connect(b, ts.URL, "ann")
			for b.Loop() {
				c.EmitAck("echo", `{"status":"ok","content":"hello"}`)
			}
		})
	}
}
