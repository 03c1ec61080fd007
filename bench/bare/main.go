// The bare peer is the app's server as node/server.mjs has it, on the library's
// own server.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/zishang520/socket.io/servers/socket/v3"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "`address` to listen on")
	flag.Parse()
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
	fmt.Println("listening on", l.Addr())
	io := socket.NewServer(nil, nil)
	p := &people{io: io, online: map[string][]socket.SocketId{}}
	if err := io.On("connection", p.connected); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
	srv := &http.Server{Handler: io.ServeHandler(nil), ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintln(os.Stderr, "bare:", srv.Serve(l))
	os.Exit(1)
}

// people is who is online.
type people struct {
	io *socket.Server

	mu     sync.RWMutex                 // guards online
	online map[string][]socket.SocketId // the devices of a user, the newest last
}

// come adds a device, and returns whom to list; first: it is the user's only one.
func (p *people) come(user string, id socket.SocketId) (all map[string]any, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first = len(p.online[user]) == 0
	p.online[user] = append(slices.Clip(p.online[user]), id)
	all = make(map[string]any, len(p.online))
	for u, ids := range p.online {
		all[u] = ids[len(ids)-1]
	}
	return all, first
}

// leave removes a device, and reports whether it was the user's last one.
func (p *people) leave(user string, id socket.SocketId) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(p.online[user]), func(i socket.SocketId) bool { return i == id })
	if len(left) > 0 {
		p.online[user] = left
		return false
	}
	delete(p.online, user)
	return true
}

func (p *people) devices(user string) int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.online[user])
}

func (p *people) connected(args ...any) {
	s := args[0].(*socket.Socket)
	me := s.Handshake().Query.Query().Get("userId")
	if me == "" {
		s.Disconnect(true)
		return
	}
	s.Join(socket.Room(me))
	all, first := p.come(me, s.Id())
	ignore(s.Emit("online_users", all))
	if first {
		ignore(s.Broadcast().Emit("contact_online", me))
	}
	on := func(event string, f func(m map[string]any, ack socket.Ack)) {
		ignore(s.On(event, func(args ...any) {
			m, ack := taken(args)
			f(m, ack)
		}))
	}
	to := func(m map[string]any, field string) socket.Room {
		user, _ := m[field].(string)
		return socket.Room(user)
	}
	on("sendMessage", func(m map[string]any, ack socket.Ack) {
		if m["senderChatPath"] != me {
			ack([]any{map[string]any{"status": "error", "code": "identity_mismatch"}}, nil)
			return
		}
		ts, recipient := time.Now().UnixMilli(), to(m, "recipientChatPath")
		message := map[string]any{
			"id": m["id"], "senderChatPath": me, "recipientChatPath": string(recipient),
			"content": m["content"], "senderProfile": m["senderProfile"], "ts": ts,
		}
		ignore(p.io.To(recipient).Emit("receiveMessage", message))
		if p.devices(me) > 1 {
			ignore(s.To(socket.Room(me)).Emit("messageSent", message))
		}
		delivery := "offline"
		if p.devices(string(recipient)) > 0 {
			delivery = "sent"
		}
		ack([]any{map[string]any{"status": "ok", "id": m["id"], "ts": ts, "delivery": delivery}}, nil)
	})
	on("markAsRead", func(m map[string]any, ack socket.Ack) {
		ignore(p.io.To(to(m, "senderChatPath")).Emit("messagesRead", map[string]any{"senderChatPath": me, "upToId": m["upToId"], "ts": time.Now().UnixMilli()}))
		ack([]any{map[string]any{"status": "ok"}}, nil)
	})
	ignore(s.On("disconnect", func(...any) {
		if p.leave(me, s.Id()) {
			ignore(s.Broadcast().Emit("contact_offline", me))
		}
	}))
}

// taken is the object that an event carries, and its callback, which may be
// called if there is none.
func taken(args []any) (m map[string]any, ack socket.Ack) {
	ack = func([]any, error) {}
	for _, a := range args {
		switch a := a.(type) {
		case map[string]any:
			m = a
		case socket.Ack:
			ack = a
		}
	}
	return m, ack
}

// ignore is for what can only fail when there is nobody to be told.
func ignore(error) {}
