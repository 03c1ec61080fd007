package main

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

func TestFloor(t *testing.T) {
	srv := httptest.NewServer(newServer())
	defer srv.Close()
	say := func(ws *websocket.Conn, text string) {
		t.Helper()
		if err := ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(ws *websocket.Conn, want string) {
		t.Helper()
		_ = ws.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, got, err := ws.ReadMessage(); err != nil || !strings.HasPrefix(string(got), want) {
			t.Fatalf("heard %q, %v, want %q", got, err, want)
		}
	}
	connect := func(user string) *websocket.Conn {
		t.Helper()
		ws, answer, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http")+"/socket.io/?EIO=4&transport=websocket&userId="+user, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		t.Cleanup(func() { _ = ws.Close() })
		hear(ws, `0{"sid":"f`)
		say(ws, "40")
		hear(ws, `40{"sid":"f`)
		hear(ws, `42["online_users",{}]`)
		return ws
	}
	ana, luis := connect("ana"), connect("luis")

	for range 2 { // what was written once is written over
		say(ana, `4217["sendMessage",{"id":"[{","recipientChatPath":"luis","content":["{"]}]`)
		hear(luis, `42["receiveMessage",{"id":"[{","recipientChatPath":"luis","content":["{"]}]`)
		hear(ana, `4317[{"status":"ok"}]`)
	}
	for _, odd := range []string{"", "3", "42", "42[", `42["x"]`, `42["recipientChatPath":"`, `42[{"recipientChatPath":"`, `42{"recipientChatPath":"luis"}`} {
		say(ana, odd)
	}
	say(ana, `428["sendMessage",{"recipientChatPath":"nobody"}]`)
	hear(ana, `438[{"status":"ok"}]`)
}
