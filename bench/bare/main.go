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
	srv := &http.Server{Handler: newServer().ServeHandler(nil), ReadHeaderTimeout: 10 * time.Second}
	fmt.Println("listening on", l.Addr())
	fmt.Fprintln(os.Stderr, "bare:", srv.Serve(l))
	os.Exit(1)
}

func newServer() *socket.Server {
	io := socket.NewServer(nil, nil)
	p := &people{io: io, online: map[string][]socket.SocketId{}}
	ignore(io.On("connection", func(args ...any) { p.connected(args[0].(*socket.Socket)) }))
	return io
}

// people is who is online.
type people struct {
	io *socket.Server

	mu     sync.RWMutex                 // guards online
	online map[string][]socket.SocketId // the devices of a user, the newest last
}

// come adds a device, and returns whom to list; first: it is the user's only one.
func (p *people) come(user string, id socket.SocketId) (all object, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first = len(p.online[user]) == 0
	p.online[user] = append(p.online[user], id)
	all = make(object, len(p.online))
	for u, ids := range p.online {
		all[u] = ids[len(ids)-1]
	}
	return all, first
}

// leave removes a device, and reports whether it was the user's last one.
func (p *people) leave(user string, id socket.SocketId) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := slices.DeleteFunc(p.online[user], func(i socket.SocketId) bool { return i == id })
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

// connected takes a device. The library runs it beside those of other devices:
// one that comes at the same time may be told of this one before it is told who
// is online, which takes a lock around both to prevent.
func (p *people) connected(s *socket.Socket) {
	me := s.Handshake().Query.Query().Get("userId")
	if me == "" {
		s.Disconnect(true)
		return
	}
	s.Join(socket.Room(me))
	p.listen(s, me) // first, as the client may have sent something already
	all, first := p.come(me, s.Id())
	ignore(s.On("disconnect", func(...any) {
		if p.leave(me, s.Id()) {
			ignore(s.Broadcast().Emit("contact_offline", me))
		}
	}))
	ignore(s.Emit("online_users", all))
	if first {
		ignore(s.Broadcast().Emit("contact_online", me))
	}
}

func (p *people) listen(s *socket.Socket, me string) {
	on := func(event string, f func(m object, ack func(object))) {
		ignore(s.On(event, func(args ...any) { f(taken(args)) }))
	}
	// relay tells the user whom field names, and adds to what is told.
	relay := func(event, field, told string, f func(m object) object) {
		on(event, func(m object, ack func(object)) {
			to, _ := m[field].(string)
			ignore(p.io.To(socket.Room(to)).Emit(told, f(m)))
			ack(object{"status": "ok"})
		})
	}
	receipt := func(m object) object {
		return picked(m, object{"senderChatPath": me, "ts": time.Now().UnixMilli()}, "upToId")
	}

	on("sendMessage", func(m object, ack func(object)) {
		if m["senderChatPath"] != me {
			ack(object{"status": "error", "code": "identity_mismatch"})
			return
		}
		to, _ := m["recipientChatPath"].(string)
		ts := time.Now().UnixMilli()
		message := picked(m, object{"senderChatPath": me, "recipientChatPath": to, "ts": ts}, "id", "content", "senderProfile")
		ignore(p.io.To(socket.Room(to)).Emit("receiveMessage", message))
		if p.devices(me) > 1 {
			ignore(s.To(socket.Room(me)).Emit("messageSent", message))
		}
		delivery := "offline"
		if p.devices(to) > 0 {
			delivery = "sent"
		}
		ack(picked(m, object{"status": "ok", "ts": ts, "delivery": delivery}, "id"))
	})
	relay("markAsRead", "senderChatPath", "messagesRead", receipt)
	relay("markAsDelivered", "senderChatPath", "messagesDelivered", receipt)
	relay("initiateCall", "recipientId", "incomingCall", func(m object) object {
		return picked(m, object{"callerId": me}, "roomName", "callerInfo")
	})
	relay("acceptCall", "callerId", "callAccepted", func(m object) object {
		return picked(m, object{"recipientId": me}, "roomName")
	})
	relay("rejectCall", "callerId", "callRejected", func(object) object { return object{"recipientId": me} })
}

// object is one of JavaScript's.
type object = map[string]any

// taken is the object that an event carries, and its callback, which may be
// called if there is none.
func taken(args []any) (m object, ack func(object)) {
	ack = func(object) {}
	for _, a := range args {
		switch a := a.(type) {
		case object:
			m = a
		case socket.Ack:
			ack = func(o object) { a([]any{o}, nil) }
		}
	}
	return m, ack
}

// picked adds to o those of the fields that m has: absent stays absent.
func picked(m, o object, fields ...string) object {
	for _, f := range fields {
		if v, ok := m[f]; ok {
			o[f] = v
		}
	}
	return o
}

// ignore is for what can only fail when there is nobody to be told.
func ignore(error) {}
