// The floor is the least that a WebSocket server can do for a message which has a
// frame of its own: it decodes nothing, keeps nothing and checks nothing. It
// finds the recipient by the bytes in front of the name, and writes two frames:
// the message, and the ack. It sends no pings.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "`address` to listen on")
	flag.Parse()
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
	fmt.Println("listening on", l.Addr())
	s := &server{
		users:    map[string]*user{},
		upgrader: websocket.Upgrader{WriteBufferPool: &sync.Pool{}, CheckOrigin: func(*http.Request) bool { return true }},
	}
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintln(os.Stderr, "floor:", srv.Serve(l))
	os.Exit(1)
}

type server struct {
	upgrader websocket.Upgrader

	mu    sync.RWMutex // guards users
	users map[string]*user
}

type user struct {
	mu sync.Mutex // gorilla's connections have one writer at a time
	ws *websocket.Conn
}

func (u *user) write(b []byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.ws.WriteMessage(websocket.TextMessage, b)
}

// ServeHTTP takes a WebSocket, and reads it on the goroutine of its request.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // it was answered
	}
	defer func() { _ = ws.Close() }() // it has ended
	u := &user{ws: ws}
	s.mu.Lock()
	s.users[r.URL.Query().Get("userId")] = u
	s.mu.Unlock()
	err = u.write([]byte(`0{"sid":"floor","upgrades":[],"pingInterval":20000,"pingTimeout":20000,"maxPayload":1000000}`))
	for err == nil {
		var p []byte
		if _, p, err = ws.ReadMessage(); err == nil {
			err = s.take(u, p)
		}
	}
}

// take answers the CONNECT packet, and hands a message on.
func (s *server) take(u *user, p []byte) error {
	if string(p) == "40" {
		if err := u.write([]byte(`40{"sid":"floor"}`)); err != nil {
			return err
		}
		return u.write([]byte(`42["online_users",{}]`))
	}
	_, to, found := bytes.Cut(p, []byte(`"recipientChatPath":"`))
	if !bytes.HasPrefix(p, []byte("42")) || !found {
		return nil
	}
	to = to[:max(0, bytes.IndexByte(to, '"'))]
	s.mu.RLock()
	recipient := s.users[string(to)]
	s.mu.RUnlock()
	id := p[2:max(2, bytes.IndexByte(p, '['))]
	if recipient != nil {
		object := p[max(0, bytes.IndexByte(p, '{')):]
		m := append(make([]byte, 0, len(p)+32), `42["receiveMessage",`...)
		if err := recipient.write(append(m, object...)); err != nil {
			return nil // its own goroutine finds out
		}
	}
	return u.write(append(append([]byte("43"), id...), `[{"status":"ok"}]`...))
}
