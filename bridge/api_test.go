package bridge_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zishang520/socket.io/servers/socket/v3"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/bridge"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// Acks of a broadcast are the library's, those of a message the Server's.
func TestBroadcastAcks(t *testing.T) {
	b := newBed(t, nil)
	ann := wiretest.Connect(t, b.URL, "ann", wiretest.Auth(`{"features":["acks"]}`))
	bob := wiretest.Connect(t, b.URL, "bob")
	answers := make(chan string, 1)
	b.IO.Timeout(wiretest.Timeout).Emit("poll", "?", func(args []any, err error) { answers <- fmt.Sprint(len(args), err) })
	var ids []string
	for _, c := range []*wiretest.Client{ann, bob} {
		ids = append(ids, idOf(t, c, "poll"))
	}
	if ids[0] != ids[1] {
		t.Errorf("the clients were asked with %v", ids)
	}
	bob.EmitAck("sendMessage", `{"id":1,"senderChatPath":"bob","recipientChatPath":"ann","content":"hi"}`)
	receipt := idOf(t, ann, "receiveMessage")
	if receipt == ids[0] {
		t.Fatalf("both ask with %s", receipt)
	}
	for c, id := range map[*wiretest.Client]string{ann: ids[0], bob: ids[1]} {
		if err := c.Send("43" + id + `["yes"]`); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-answers; got != "2 <nil>" {
		t.Errorf("the answers are %s", got)
	}
	if err := ann.Send("43" + receipt + "[]"); err != nil {
		t.Fatal(err)
	}
	bob.Expect("messagesDelivered")
}

// idOf returns the ack id that an event of a client's has asked with.
func idOf(t *testing.T, c *wiretest.Client, name string) string {
	t.Helper()
	id := c.Expect(name).AckID
	if id == "" {
		t.Fatalf("%s has not asked for an ack", name)
	}
	return id
}

func TestFetchAndJoin(t *testing.T) {
	b := newBed(t, nil)
	ann, bob := wiretest.Connect(t, b.URL, "ann"), wiretest.Connect(t, b.URL, "bob")
	b.IO.In("ann").SocketsJoin("club")
	var got []string
	b.IO.FetchSockets()(func(sockets []*socket.RemoteSocket, err error) {
		for _, s := range sockets {
			rooms := []string{}
			for _, r := range s.Rooms().Keys() {
				rooms = append(rooms, strings.ReplaceAll(strings.ReplaceAll(string(r), ann.SID, "<ann>"), bob.SID, "<bob>"))
			}
			slices.Sort(rooms)
			got = append(got, fmt.Sprint(rooms, s.Handshake().Query["userId"], err))
		}
	})
	slices.Sort(got)
	if want := []string{`[<ann> ann club] [ann] <nil>`, `[<bob> bob] [bob] <nil>`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	b.IO.To("club").Emit("club", 1)
	ann.Expect("club")
	b.IO.Except("club").Emit("others", 1)
	bob.Expect("others")
	b.IO.In("ann").SocketsLeave("club")
	b.IO.To("club").Emit("club", 2)
	ann.Sync()
	if len(ann.Named("club")) != 1 || len(ann.Named("others")) != 0 {
		t.Errorf("ann has heard %v", ann.Log())
	}
	b.IO.Sockets().Volatile().Emit("volatile")
	ann.Expect("volatile")
}

func TestDisconnectSockets(t *testing.T) {
	var ends tally
	b := newBed(t, func(b *bed) {
		for _, n := range []socket.Namespace{b.IO.Sockets(), b.IO.Of("/chat", nil)} {
			onSocket(n, func(s *socket.Socket) {
				d, _ := bridge.Device(s)
				_ = s.On("disconnect", func(args ...any) { ends.add(fmt.Sprint(d.ChatPath, " ", n.Name(), " ", args[0])) })
				_ = s.On("n", func(args ...any) { args[0].(socket.Ack)(nil, nil) })
			})
		}
	}, heymanito.WithOfflineGrace(0))
	ann, bob, eve := wiretest.Connect(t, b.URL, "ann"), wiretest.Connect(t, b.URL, "bob"), wiretest.Connect(t, b.URL, "eve")
	join(ann, "/chat", "")
	join(eve, "/chat", "")

	b.IO.In("ann").DisconnectSockets(false) // she stays in /chat
	ann.Expect("disconnect")
	wiretest.Eventually(t, "ann is no device", func() bool { return len(b.Devices("ann")) == 0 })
	bob.Expect("contact_offline")
	ask(t, ann, "/chat", "1", `["n"]`)
	b.IO.Of("/chat", nil).In("ann").DisconnectSockets(false) // now she is in nothing
	ann.Expect("disconnect /chat")

	b.IO.In("bob").DisconnectSockets(false) // he was in "/" alone
	bob.Expect("disconnect")
	if err := bob.Closed(wiretest.Timeout); err == wiretest.ErrStillOpen {
		t.Error(err)
	}
	b.IO.In("eve").DisconnectSockets(true)
	eve.Expect("disconnect")
	eve.Expect("disconnect /chat")
	wiretest.Eventually(t, "all ends are heard of", func() bool {
		return ends.get("ann / server namespace disconnect") == 1 && ends.get("ann /chat server namespace disconnect") == 1 &&
			ends.get("bob / server namespace disconnect") == 1 &&
			ends.get("eve / server namespace disconnect") == 1 && ends.get("eve /chat server namespace disconnect") == 1
	})
}

// Back in "/" on a transport that another namespace has kept: on another transport.
func TestBackInMain(t *testing.T) {
	b := newBed(t, func(b *bed) { b.IO.Of("/chat", nil) })
	ann := wiretest.Connect(t, b.URL, "ann")
	join(ann, "/chat", "")
	for _, p := range []string{"41", "40"} {
		if err := ann.Send(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := ann.Closed(wiretest.Timeout); err == wiretest.ErrStillOpen {
		t.Error(err)
	}
	wiretest.Eventually(t, "she is gone", func() bool { return b.IO.Engine().ClientsCount() == 0 })
}

// Close of the library's server ends connections, not the Server.
func TestClose(t *testing.T) {
	b := newBed(t, nil)
	ann := wiretest.Connect(t, b.URL, "ann")
	b.IO.Close(nil)
	if err := ann.Closed(wiretest.Timeout); err == wiretest.ErrStillOpen {
		t.Error(err)
	}
	wiretest.Connect(t, b.URL, "ann").Sync()
}

func TestOneBridgeForEachServer(t *testing.T) {
	br := bridge.New()
	heymanito.New(heymanito.WithBridge(br))
	defer func() {
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "make one for each") {
			t.Errorf("a second Server: %v", r)
		}
	}()
	heymanito.New(heymanito.WithBridge(br))
}

// Slow listeners delay their own client, and hold nothing of another one.
func TestSlowListener(t *testing.T) {
	release := make(chan struct{})
	b := newBed(t, func(b *bed) {
		onSocket(b.IO.Sockets(), func(s *socket.Socket) {
			_ = s.On("slow", func(...any) { <-release })
			_ = s.On("fast", func(args ...any) { args[0].(socket.Ack)(nil, nil) })
		})
	})
	ann, bob := wiretest.Connect(t, b.URL, "ann"), wiretest.Connect(t, b.URL, "bob")
	ann.Emit("slow")
	if err := ann.Send(`421["fast"]`); err != nil {
		t.Fatal(err)
	}
	ask(t, bob, "", "1", `["fast"]`)
	b.IO.Emit("all", 1)
	ann.Expect("all")
	if _, err := ann.Wait("ack 1", 50*time.Millisecond); err == nil {
		t.Error("her second event was handled before her first")
	}
	close(release)
	ann.Expect("ack 1")
}
