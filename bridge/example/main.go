// The example has a support desk beside heymanito: a namespace of its own, in
// Socket.IO's API, under the same connections.
//
//	cd bridge && go run ./example
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/zishang520/socket.io/servers/socket/v3"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/bridge"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8081", "`address` to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := run(ctx, *addr); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

// newServer makes the Server, and puts the desk beside it. Everybody may be
// anybody here: a real host has WithAuth, and it is asked for /support too.
func newServer() *heymanito.Server {
	b := bridge.New()
	rt := heymanito.New(heymanito.WithBridge(b))
	greet(b.IO())
	openDesk(b.IO())
	return rt
}

// greet answers whatever heymanito has no handler for, in "/".
func greet(io *socket.Server) {
	onConnection(io.Sockets(), func(s *socket.Socket) {
		_ = s.On("whoami", func(args ...any) {
			device, _ := bridge.Device(s)
			answer(args, device.ChatPath)
		})
	})
}

// openDesk lets users ask, and all agents who are there answer.
func openDesk(io *socket.Server) {
	desk := io.Of("/support", nil)
	desk.Use(func(s *socket.Socket, next func(*socket.ExtendedError)) {
		if device, _ := bridge.Device(s); strings.HasPrefix(device.ChatPath, "banned-") {
			next(socket.NewExtendedError("you have asked enough", map[string]any{"until": "tomorrow"}))
			return
		}
		next(nil)
	})
	onConnection(desk, func(s *socket.Socket) {
		device, _ := bridge.Device(s)
		if strings.HasPrefix(device.ChatPath, "agent-") {
			s.Join(agents)
		}
		_ = s.On("ask", func(args ...any) {
			err := desk.To(agents).Timeout(5*time.Second).Emit("question", device.ChatPath, first(args), func(answers []any, err error) {
				if err != nil {
					answers = append(answers, "some agents are busy")
				}
				answer(args, answers...)
			})
			if err != nil {
				slog.Error("a question was not asked", "err", err)
			}
		})
		_ = s.On("photo", func(args ...any) {
			_ = desk.To(agents).Emit("photo", device.ChatPath, first(args))
			answer(args)
		})
	})
}

// agents is the room of those who answer. No user can be called like it: the
// "desk:" is not for them (a real host's login sees to that).
const agents socket.Room = "desk:agents"

// first is what an event has brought, if it has brought something.
func first(args []any) any {
	if len(args) == 0 {
		return nil
	}
	if _, callback := args[0].(socket.Ack); callback {
		return nil
	}
	return args[0]
}

func onConnection(n socket.Namespace, f func(s *socket.Socket)) {
	_ = n.On("connection", func(args ...any) { f(args[0].(*socket.Socket)) })
}

// answer calls the callback that is the last of an event's arguments, if there is
// one.
func answer(args []any, with ...any) {
	if len(args) == 0 {
		return
	}
	if callback, ok := args[len(args)-1].(socket.Ack); ok {
		callback(with, nil)
	}
}

func run(ctx context.Context, addr string) error {
	rt := newServer()
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", rt)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	fmt.Printf("listening on http://%s\n", l.Addr())
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	slog.Info("shutting down")
	stopping, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return errors.Join(rt.Shutdown(stopping), srv.Shutdown(stopping))
}
