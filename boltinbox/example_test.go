package boltinbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/boltinbox"
)

// Two lives of a program. What the first has said is kept is there for the second.
func Example() {
	dir, err := os.MkdirTemp("", "chat")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "inbox.db")

	live := func(use func(ctx context.Context, rt *heymanito.Server) error) error {
		inbox, err := boltinbox.Open(path, boltinbox.WithBounds(heymanito.InboxBounds{Total: 200_000_000}))
		if err != nil {
			return err // somebody else has it open, or it is damaged
		}
		defer func() { _ = inbox.Close() }() // when the server is down
		rt := heymanito.New(heymanito.WithInbox(inbox), heymanito.WithLogger(slog.New(slog.DiscardHandler)))
		defer func() { _ = rt.Shutdown(context.Background()) }()
		if err := use(context.Background(), rt); err != nil {
			return err
		}
		fmt.Println("entries:", inbox.Stats().Entries)
		return nil
	}

	err = live(func(ctx context.Context, rt *heymanito.Server) error {
		_, err := rt.Send(ctx, heymanito.Message{From: "ann", To: "bob", ID: json.RawMessage(`"m1"`), Content: json.RawMessage(`"hola"`)})
		return err // nil: it is on the disk
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = live(func(ctx context.Context, rt *heymanito.Server) error {
		v, err := rt.Inspect(ctx, "bob")
		if err == nil {
			fmt.Println("for bob:", v.Inbox.Entries[0].Event, v.Inbox.Entries[0].ID)
		}
		return err
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// entries: 2
	// for bob: receiveMessage "m1"
	// entries: 2
}
