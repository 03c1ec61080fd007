// The floor is the least that a WebSocket server can do for a message which has a
// frame of its own: it decodes nothing, keeps nothing and checks nothing. It
// finds the recipient by the bytes in front of the name, and writes two frames:
// the message, and the ack. It sends no pings: stock clients leave it after 40 s.
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
	srv := &http.Server{Handler: newServer(), ReadHeaderTimeout: 10 * time.Second}
	fmt.Println("listening on", l.Addr())
	fmt.Fprintln(os.Stderr, "floor:", srv.Serve(l))
	os.Exit(1)
}

type server struct {
	upgrader websocket.Upgrader

	mu    sync.RWMutex // guards users
	users map[string]*user
}

func newServer() *server {
	return &server{
		upgrader: websocket.Upgrader{WriteBufferPool: &sync.Pool{}, CheckOrigin: func(*http.Request) bool { return true }},
		users:    map[string]*user{},
	}
}

// user is a user's newest device: others get nothing.
type user struct {
	name string
	ws   *websocket.Conn

	mu sync.Mutex // gorilla's connections have one writer at a time

	in  bytes.Buffer // what was read, and
	out []byte       // what is to be written because of it; the reader's own
}

func (u *user) write(p []byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.ws.WriteMessage(websocket.TextMessage, p)
}

// ServeHTTP takes a WebSocket. It is read on a goroutine of its own: that of the
// request has a stack that parsing it has made big.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // it was answered
	}
	u := &user{name: r.URL.Query().Get("userId"), ws: ws}
	s.mu.Lock()
	s.users[u.name] = u
	s.mu.Unlock()
	go s.read(u)
}

// read serves a user until something fails: then there is nobody to be told.
func (s *server) read(u *user) {
	err := u.write([]byte(`0{"sid":"floor","upgrades":[],"pingInterval":20000,"pingTimeout":20000,"maxPayload":1000000}`))
	for err == nil {
		err = s.next(u)
	}
	_ = u.ws.Close() // it has failed already
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users[u.name] == u {
		delete(s.users, u.name)
	}
}

// next reads a message, answers it if it is the CONNECT packet, and hands it on
// if it is one from user to user.
func (s *server) next(u *user) error {
	_, r, err := u.ws.NextReader()
	if err != nil {
		return err
	}
	u.in.Reset()
	if _, err := u.in.ReadFrom(r); err != nil {
		return err
	}
	p := u.in.Bytes()
	if string(p) == "40" {
		if err := u.write([]byte(`40{"sid":"floor"}`)); err != nil {
			return err
		}
		return u.write([]byte(`42["online_users",{}]`))
	}
	id, body, isEvent := bytes.Cut(p, []byte("["))
	id, hasBegin := bytes.CutPrefix(id, []byte("42"))
	_, to, isFor := bytes.Cut(body, []byte(`"recipientChatPath":"`))
	object := bytes.IndexByte(body, '{')
	if !isEvent || !hasBegin || !isFor || object < 0 {
		return nil
	}
	to, _, _ = bytes.Cut(to, []byte(`"`))
	s.mu.RLock()
	recipient := s.users[string(to)]
	s.mu.RUnlock()
	if recipient != nil {
		u.out = append(u.out[:0], `42["receiveMessage",`...)
		u.out = append(u.out, body[object:]...)
		_ = recipient.write(u.out) // his own goroutine finds out
	}
	if len(id) == 0 {
		return nil // no ack was asked for
	}
	u.out = append(append(append(u.out[:0], "43"...), id...), `[{"status":"ok"}]`...)
	return u.write(u.out)
}
