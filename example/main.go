// The example is one whole program around heymanito: a login, a web page, and
// the realtime server mounted beside them on a chi router. Read newApp first,
// it is all there is to embedding; then run, for how it starts and stops.
//
//	cd example && go run .
//
// main.go is the program, login.go says who somebody is, logout.go ends what
// login.go has begun, hooks.go is what the host has to say about messages and
// calls, web.go serves the page in web/, flags.go has every setting of the
// package as a flag, inbox.go says where messages are kept for who is away, and
// livekit.go where calls talk.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/middleware"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	switch err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

// newApp mounts the realtime server into a router beside the host's own routes.
func newApp(s *settings, talk *rooms, log *slog.Logger) (http.Handler, *heymanito.Server) {
	accounts := newAccounts()

	// Who a request of the REST API comes from: the same token opens both.
	known, user := accounts.tokens.Handler, func(r *http.Request) string { return middleware.ChatPath(r.Context()) }
	if s.insecure {
		known = func(next http.Handler) http.Handler { return next }
		user = func(r *http.Request) string { return r.URL.Query().Get("userId") }
	}

	options := []heymanito.Option{
		heymanito.WithLogger(log),
		heymanito.WithHooks(hooks(log, s.insecure)),
		heymanito.RelayVolatile("typing"), // worth nothing a second later
	}
	if !s.insecure {
		options = append(options, heymanito.WithAuth(accounts.tokens.Auth))
	}
	if talk.LiveKit != nil {
		options = append(options, heymanito.WithRooms(talk.LiveKit))
	}
	rt := heymanito.New(append(options, s.options...)...)

	// Middleware that wraps the ResponseWriter for the whole router, such as
	// chi's Timeout and Compress, has to leave /socket.io/ out: its requests
	// become WebSockets, or wait for something to happen.
	r := chi.NewRouter()
	r.Mount("/socket.io/", rt)
	r.Post("/login", accounts.login)
	r.With(known).Post("/logout", logout(rt, user))
	if talk.LiveKit != nil {
		r.Method(http.MethodPost, webhookPath, talk.WebhookHandler())
	}
	r.Mount("/", newPage(s, talk.url))
	return r, rt
}

// run serves until ctx ends, and leaves nothing behind.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	s, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	inbox, err := openInbox(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, inbox.Close()) }()
	log := slog.New(slog.NewTextHandler(stderr, nil))

	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	talk := openRooms(ctx, s.livekit, ln.Addr(), stderr, log)
	defer talk.Close()
	app, rt := newApp(s, talk, log)
	srv := &http.Server{
		Handler: app,
		// No ReadTimeout and no WriteTimeout: long polls are meant to be long.
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	serving := make(chan error, 1)
	go func() { serving <- srv.Serve(ln) }()
	greet(stdout, ln.Addr(), s, talk)

	select {
	case err = <-serving: // it failed: Shutdown comes below
	case <-ctx.Done():
		log.Info("shutting down", "within", s.shutdownTime())
	}
	// The realtime server first: http.Server.Shutdown does not wait for
	// WebSockets, and until it is called the listener answers 503 to the
	// clients that come back.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.shutdownTime())
	defer cancel()
	return errors.Join(err, rt.Shutdown(end), srv.Shutdown(end))
}

// greet says where the program is, in the first line, and what to do with it.
func greet(w io.Writer, addr net.Addr, s *settings, talk *rooms) {
	host, port, _ := net.SplitHostPort(addr.String()) // a TCP address has both
	if ip := net.ParseIP(host); ip.IsUnspecified() {
		host = "localhost"
	}
	url := "http://" + net.JoinHostPort(host, port)
	text := "listening on " + url + "\n\n"
	if s.insecure {
		text += "  *** INSECURE: whoever connects is believed to be whoever he says (-insecure). ***\n" +
			"  *** For tools and tests on your own machine, never for anything else.        ***\n\n"
	}
	if s.client == "" || s.typed == "" {
		text += "  The page needs socket.io-client and clients/js, which are not there yet: run make setup.\n\n"
	}
	text += "  Open " + url + " in two tabs.\n" +
		"  Log in as ana in one and as luis in the other: any name will do, it is a demo.\n" +
		"  Write, send a photo, ring; then reload a tab, or close it, and watch the other:\n" +
		"  what you write to somebody who has left waits for him.\n" +
		"  About media: " + talk.where + ".\n" +
		"  Ctrl-C stops the server, -h lists its flags.\n"
	_, _ = io.WriteString(w, text) // who closed stdout does not want to know
}
