// The host is heymanito in a program of somebody's, for the loads that the
// example has no flags for: with contacts, or over TLS.
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
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/heymanito/heymanito"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "host:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	addr := flag.String("addr", "127.0.0.1:0", "`address` to listen on")
	cert := flag.String("tls-cert", "", "`file` of a certificate: serve TLS")
	key := flag.String("tls-key", "", "`file` of its key")
	contacts := flag.Int("contacts", -1, "how many contacts each user has; -1: everybody is everybody's")
	users := flag.Int("users", 0, "how many users there are, u0 and so on: their contacts are those next to them, in a ring")
	flag.Parse()
	if *contacts > 0 && *contacts >= *users {
		return errors.New("-contacts has to be less than -users")
	}

	silent := slog.New(slog.DiscardHandler)
	rt := heymanito.New(heymanito.WithLogger(silent), heymanito.WithHooks(hooks(*contacts, *users)),
		heymanito.WithRates(heymanito.Rate{PerSecond: 1e9, Burst: 1e9}, heymanito.Rate{PerSecond: 1e9, Burst: 1e9})) // no client reaches them
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", rt)
	mux.HandleFunc("/debug/goroutines", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, runtime.NumGoroutine()) // who asked may have gone
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	fmt.Println("listening on", l.Addr())
	served := make(chan error, 1)
	go func() {
		if *cert != "" {
			served <- srv.ServeTLS(l, *cert, *key)
		} else {
			served <- srv.Serve(l)
		}
	}()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(rt.Shutdown(end), srv.Shutdown(end))
}

// hooks are those of the example with -insecure, which the other loads run: no
// rule about messages. Where it writes a log there is nothing: to be called is
// the part that is ours.
func hooks(contacts, users int) heymanito.Hooks {
	h := heymanito.Hooks{
		OnConnect:     func(context.Context, heymanito.Device) {},
		OnDisconnect:  func(context.Context, heymanito.Device, string) {},
		OnCall:        func(context.Context, heymanito.Call) {},
		OnUndelivered: func(context.Context, heymanito.Message) {},
	}
	if contacts >= 0 {
		h.Contacts = func(_ context.Context, user string) ([]string, error) { return ring(user, contacts, users) }
	}
	return h
}

// ring is the contacts of a user: half of n on either side.
func ring(user string, n, users int) ([]string, error) {
	i, err := strconv.Atoi(strings.TrimPrefix(user, "u"))
	if err != nil {
		return nil, fmt.Errorf("the users are called u0, u1 and so on, and not %q: %w", user, err)
	}
	all := make([]string, 0, n)
	for d := 1; d <= n/2; d++ {
		all = append(all, "u"+strconv.Itoa((i+d)%users), "u"+strconv.Itoa((i-d+users)%users))
	}
	return all, nil
}
