package bridge_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/zishang520/socket.io/servers/socket/v3"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/bridge"
	"github.com/heymanito/heymanito/heymanitotest"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// A host whose clients have rooms, which it has from the library's API; who they
// are it has from the server.
func Example() {
	b := bridge.New()
	rt := heymanito.New(heymanito.WithBridge(b), heymanito.WithDrain(0), heymanito.WithLogger(slog.New(slog.DiscardHandler)))
	io := b.IO()
	_ = io.On("connection", func(args ...any) {
		client := args[0].(*socket.Socket)
		device, _ := bridge.Device(client)
		_ = client.On("enter", func(args ...any) { // socket.emit("enter", "lobby", ack)
			room, _ := args[0].(string)
			client.Join(socket.Room(room))
			_ = io.To(socket.Room(room)).Emit("entered", device.ChatPath)
			if ack, ok := args[len(args)-1].(socket.Ack); ok {
				ack([]any{map[string]string{"status": "ok"}}, nil)
			}
		})
	})

	t := &wiretest.Example{} // in a test of yours: t *testing.T
	defer t.Close()
	app := heymanitotest.Serve(t, rt)
	t.Cleanup(func() { _ = rt.Shutdown(context.Background()) })

	ann, bob := app.Connect(t, "ann"), app.Connect(t, "bob")
	fmt.Println(ann.Ask("enter", "lobby").Status)
	fmt.Println(bob.Ask("enter", "lobby").Status)
	fmt.Println(ann.Expect("entered"), ann.Expect("entered"))
	fmt.Println(bob.Expect("entered"))
	// Output:
	// ok
	// ok
	// entered("ann") entered("bob")
	// entered("bob")
}
