package heymanito_test

import (
	"context"
	"errors"
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
	"github.com/heymanito/heymanito/heymanitotest"
)

func Example() {
	rt := heymanito.New(quiet) // trusts the userId of the handshake; see WithAuth

	mux := http.NewServeMux()
	mux.Handle("/socket.io/", rt)
	app := serveIn(mux, rt) // a program says http.ListenAndServe(addr, mux)
	defer app.close()

	ann, bob := app.connect("ann"), app.connect("bob")
	fmt.Println("ann is told:", ann.Expect("contact_online"))
	ack := ann.Ask("sendMessage", textMessage("m1", "ann", "bob", "¡Hola!"))
	fmt.Println("ann is answered:", pick(ack.Raw, "status", "delivery"))
	fmt.Println("bob gets:", pick(bob.Expect("receiveMessage").Args[0], "senderChatPath", "content"))
	// Output:
	// ann is told: contact_online("bob")
	// ann is answered: status="ok" delivery="sent"
	// bob gets: senderChatPath="ann" content="¡Hola!"
}

// With chi, Mount passes on everything below a path.
func ExampleNew_chi() {
	rt := heymanito.New(quiet)
	r := chi.NewRouter()
	r.Get("/health", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") })
	r.Mount("/socket.io/", rt)
	app := serveIn(r, rt)
	defer app.close()

	fmt.Println(app.get("/health", "").Status)
	fmt.Println(app.connect("ann").Ask("getCalls").Status)
	// Output:
	// 200 OK
	// ok
}

// The server looks at the query of a request, and not at its path: it can be
// mounted anywhere. Clients have to know: io(url, {path: "/v1/chat/"}).
func ExampleServer_ServeHTTP() {
	rt := heymanito.New(quiet)
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/chat/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Served-By", "node 7")
		rt.ServeHTTP(w, r)
	})
	app := serveIn(mux, rt, heymanitotest.Path("/v1/chat/"))
	defer app.close()

	fmt.Println(app.connect("ann").Ask("getCalls").Status)
	fmt.Println(app.get("/v1/chat/?EIO=4&transport=polling&userId=ann", "").Header.Get("X-Served-By"))
	// Output:
	// ok
	// node 7
}

// http.Server.Shutdown knows nothing of WebSockets: the Server's own comes
// first. Its clients come back by themselves, to another instance or to the next
// one of this, one after the other over the time of WithDrain.
func ExampleServer_Shutdown() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	rt := heymanito.New(quiet, heymanito.WithDrain(8*time.Second))
	srv := &http.Server{Handler: rt, ReadHeaderTimeout: 10 * time.Second}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()

	stop() // in this example; else SIGTERM ends ctx
	<-ctx.Done()
	last, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := errors.Join(rt.Shutdown(last), srv.Shutdown(last)); err != nil {
		fmt.Println("the time was up:", err)
	}
	fmt.Println(<-served)
	// Output: http: Server closed
}

// The pages of which origins may connect. Native clients send no Origin, and are
// always let in; so are pages of the server's own host.
func ExampleWithOrigins() {
	rt := heymanito.New(quiet, heymanito.WithOrigins("https://app.example.com", "capacitor://localhost"))
	app := serve(rt)
	defer app.close()

	for _, origin := range []string{"https://app.example.com", "https://evil.example", ""} {
		fmt.Printf("%q %s\n", origin, app.get("/socket.io/?EIO=4&transport=polling&userId=ann", origin).Status)
	}
	// Output:
	// "https://app.example.com" 200 OK
	// "https://evil.example" 403 Forbidden
	// "" 200 OK
}

// On a developer's machine pages come from anywhere. Where a login is in a cookie,
// never in production.
func ExampleWithInsecureAnyOrigin() {
	opts := []heymanito.Option{quiet}
	if os.Getenv("CHAT_ENV") != "production" {
		opts = append(opts, heymanito.WithInsecureAnyOrigin())
	}
	rt := heymanito.New(opts...)
	app := serve(rt)
	defer app.close()

	fmt.Println(app.get("/socket.io/?EIO=4&transport=polling&userId=ann", "http://192.168.1.20:5173").Status)
	// Output: 200 OK
}

// Behind a load balancer that cannot keep a client at one instance there is no
// polling. Clients have to ask for WebSocket: io(url, {transports: ["websocket"]}).
func ExampleWithTransports() {
	rt := heymanito.New(quiet, heymanito.WithTransports("websocket"))
	app := serve(rt)
	defer app.close()

	fmt.Println("polling:", app.get("/socket.io/?EIO=4&transport=polling&userId=ann", "").Status)
	fmt.Println("websocket:", app.connect("ann").Ask("getCalls").Status)
	// Output:
	// polling: 400 Bad Request
	// websocket: ok
}

// Behind a proxy that always sets X-Real-IP, and only there: a client can send
// the same header.
func ExampleWithRemoteAddr() {
	rt := heymanito.New(quiet, heymanito.WithRemoteAddr(func(r *http.Request) string { return r.Header.Get("X-Real-IP") }))
	app := serve(rt)
	defer app.close()

	app.connect("ann", heymanitotest.Header("X-Real-IP", "203.0.113.9"))
	fmt.Println(rt.Devices("ann")[0].RemoteAddr)
	// Output: 203.0.113.9
}

// The server's log among the host's own, from warnings on: who is refused is told
// at Info, a refused event at Debug.
func ExampleWithLogger() {
	handler := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{} // for this example
			}
			return a
		},
	})
	rt := heymanito.New(heymanito.WithLogger(slog.New(handler).With("part", "chat")))
	defer rt.Shutdown(context.Background())
	// Output:
	// level=WARN msg="no auth hook: the userId of the handshake is trusted, anybody can be anybody (heymanito.WithAuth)" part=chat
}
