package bridge

import (
	"sync"

	"github.com/zishang520/socket.io/servers/socket/v3"
	"github.com/zishang520/socket.io/v3/pkg/types"
)

// roomsBuilder makes the adapter of each namespace.
type roomsBuilder struct{}

// New implements socket.AdapterConstructor.
func (roomsBuilder) New(n socket.Namespace) socket.Adapter {
	r := &rooms{Adapter: socket.MakeAdapter(), members: map[socket.SocketId]func(){}}
	r.Prototype(r)
	r.Construct(n)
	return r
}

// rooms is the library's adapter, with joins and leaves one after the other: the
// library's own deletes a room that is empty under whoever joins it, and then does
// not find him ever again; and it lets a socket join that has gone, for ever.
type rooms struct {
	socket.Adapter

	mu      sync.Mutex                 // guards members, and what changes Rooms and Sids
	members map[socket.SocketId]func() // what to call when they leave for good
}

// admit lets a socket join rooms, its user's first, until it leaves all of them:
// the library has every socket do so that it is done with, and then left is called.
// A user who is named like another socket does not get what that one is sent.
func (r *rooms) admit(id socket.SocketId, user socket.Room, left func()) {
	r.mu.Lock()
	_, taken := r.members[socket.SocketId(user)]
	r.members[id] = left
	r.mu.Unlock()
	if !taken {
		r.AddAll(id, types.NewSet(user))
	}
}

// happening is an event of the adapter's, emitted when the lock is free.
type happening struct {
	name types.EventName
	args []any
}

func (r *rooms) emit(all []happening) {
	for _, h := range all {
		r.Emit(h.name, h.args...)
	}
}

// AddAll implements socket.Adapter.
func (r *rooms) AddAll(id socket.SocketId, join *types.Set[socket.Room]) {
	r.emit(r.add(id, join.Keys()))
}

func (r *rooms) add(id socket.SocketId, join []socket.Room) (all []happening) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.members[id] == nil {
		return nil
	}
	his, _ := r.Sids().LoadOrStore(id, types.NewSet[socket.Room]())
	for _, room := range join {
		his.Add(room)
		ids, ok := r.Rooms().LoadOrStore(room, types.NewSet[socket.SocketId]())
		if !ok {
			all = append(all, happening{"create-room", []any{room}})
		}
		if !ids.Has(id) {
			ids.Add(id)
			all = append(all, happening{"join-room", []any{room, id}})
		}
	}
	return all
}

// Del implements socket.Adapter.
func (r *rooms) Del(id socket.SocketId, room socket.Room) {
	r.emit(r.remove(id, room))
}

func (r *rooms) remove(id socket.SocketId, room socket.Room) []happening {
	r.mu.Lock()
	defer r.mu.Unlock()
	if his, ok := r.Sids().Load(id); ok {
		his.Delete(room)
	}
	return r.leave(id, room)
}

// leave takes a socket out of a room, and the room away when it is empty. With mu.
func (r *rooms) leave(id socket.SocketId, room socket.Room) (all []happening) {
	ids, ok := r.Rooms().Load(room)
	if !ok {
		return nil
	}
	if ids.Delete(id) {
		all = append(all, happening{"leave-room", []any{room, id}})
	}
	if ids.Len() == 0 {
		r.Rooms().Delete(room)
		all = append(all, happening{"delete-room", []any{room}})
	}
	return all
}

// DelAll implements socket.Adapter.
func (r *rooms) DelAll(id socket.SocketId) {
	all, left := r.removeAll(id)
	r.emit(all)
	if left != nil {
		left()
	}
}

func (r *rooms) removeAll(id socket.SocketId) (all []happening, left func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left = r.members[id]
	delete(r.members, id)
	if his, ok := r.Sids().LoadAndDelete(id); ok {
		for _, room := range his.Keys() {
			all = append(all, r.leave(id, room)...)
		}
	}
	return all, left
}
