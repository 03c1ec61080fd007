package main

import (
	"maps"
	"testing"

	"github.com/zishang520/socket.io/servers/socket/v3"
)

func TestPeople(t *testing.T) {
	p := &people{online: map[string][]socket.SocketId{}}
	if all, first := p.come("ana", "1"); !first || !maps.Equal(all, object{"ana": socket.SocketId("1")}) {
		t.Error("ana's first device:", all, first)
	}
	if all, first := p.come("ana", "2"); first || !maps.Equal(all, object{"ana": socket.SocketId("2")}) {
		t.Error("her second:", all, first)
	}
	if p.leave("ana", "2") || p.devices("ana") != 1 || !p.leave("ana", "1") || p.devices("ana") != 0 {
		t.Error("they left:", p.online)
	}
}

func TestPicked(t *testing.T) {
	m, ack := taken([]any{object{"id": nil, "x": 1}})
	ack(nil) // there is none
	if got := picked(m, object{"ts": 1}, "id", "content"); !maps.Equal(got, object{"ts": 1, "id": nil}) {
		t.Error(got)
	}
}
