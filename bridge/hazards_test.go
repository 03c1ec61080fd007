package bridge_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/zishang520/socket.io/servers/socket/v3"
	"github.com/zishang520/socket.io/v3/pkg/types"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// What the bare library does wrong for each connection, in the order in which it
// was found; under a bridge it does not. How often it happens there is in brackets.

// A client that is cut right after its CONNECT packet is heard of, and heard of
// that it has gone. (105 of 2,000 stayed.)
func TestHazardGhosts(t *testing.T) {
	var heard tally
	b := newBed(t, func(b *bed) {
		for _, n := range []socket.Namespace{b.IO.Sockets(), b.IO.Of("/chat", nil)} {
			onSocket(n, func(s *socket.Socket) {
				heard.add("came " + n.Name())
				runtime.Gosched() // the cut falls in here, or before, or behind
				s.Join("club")
				_ = s.On("disconnect", func(...any) { heard.add("went " + n.Name()) })
			})
		}
	}, heymanito.WithOfflineGrace(0))
	const rounds, atOnce = 40, 25
	for range rounds {
		var all sync.WaitGroup
		for i := range atOnce {
			all.Go(func() {
				ws, err := wiretest.DialWS(b.URL, fmt.Sprintf("EIO=4&transport=websocket&userId=user%d", i))
				if err != nil {
					t.Error(err)
					return
				}
				packets := []string{"40", "40/chat,"}
				if i%2 == 0 {
					packets = []string{"40/chat,", "40"}
				}
				for range i % 3 {
					packets = append(packets, "41", "41/chat,")
				}
				if err := ws.Write(wiretest.Texts(packets...)); err == nil && i%5 == 0 {
					_, _ = ws.Text()
				}
				ws.Close()
			})
		}
		all.Wait()
	}
	wiretest.Eventually(t, "everybody has gone", func() bool {
		return b.Stats().Connections == 0 && heard.get("came /") == heard.get("went /") && heard.get("came /chat") == heard.get("went /chat") &&
			b.IO.Engine().ClientsCount() == 0
	})
	for _, n := range []socket.Namespace{b.IO.Sockets(), b.IO.Of("/chat", nil)} {
		came, went := heard.get("came "+n.Name()), heard.get("went "+n.Name())
		if came == 0 || came != went {
			t.Errorf("%s: %d came and %d went", n.Name(), came, went)
		}
		if left := present(n); left > 0 {
			t.Errorf("%s has %d sockets and rooms", n.Name(), left)
		}
	}
	if n := b.IO.Engine().ClientsCount(); n != 0 {
		t.Errorf("the library knows %d clients", n)
	}
}

// Who joins a room while its last member leaves is in it. (209 of 300,000 were
// never found again.)
func TestHazardRooms(t *testing.T) {
	b := newBed(t, nil)
	wiretest.Connect(t, b.URL, "ann")
	wiretest.Connect(t, b.URL, "bob")
	a := b.IO.Sockets().Adapter()
	ids := b.IO.Sockets().Sockets().Keys()
	for range 20_000 {
		var both sync.WaitGroup
		a.AddAll(ids[0], types.NewSet[socket.Room]("room"))
		both.Go(func() { a.Del(ids[0], "room") })
		both.Go(func() { a.AddAll(ids[1], types.NewSet[socket.Room]("room")) })
		both.Wait()
		if there, ok := a.Rooms().Load("room"); !ok || !there.Has(ids[1]) || there.Has(ids[0]) {
			t.Fatal("bob is in no room that anybody finds")
		}
		a.Del(ids[1], "room")
		if _, ok := a.Rooms().Load("room"); ok {
			t.Fatal("an empty room has stayed")
		}
	}
}

// A socket that has gone joins nothing any more.
func TestHazardLateJoin(t *testing.T) {
	sockets := make(chan *socket.Socket, 1)
	b := newBed(t, func(b *bed) { onSocket(b.IO.Sockets(), func(s *socket.Socket) { sockets <- s }) })
	ann := wiretest.Connect(t, b.URL, "ann")
	s := <-sockets
	ann.Cut()
	wiretest.Eventually(t, "ann has gone", func() bool { return s.Disconnected() })
	s.Nsp().Adapter().AddAll(s.Id(), types.NewSet[socket.Room]("late")) // what a Join does that was under way
	if n := present(s.Nsp()); n != 0 {
		t.Errorf("%d sockets and rooms", n)
	}
}
