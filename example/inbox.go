package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/boltinbox"
)

// inboxFile is what -data's directory has in it.
const inboxFile = "inbox.db"

// openInbox adds the inbox that the flags ask for to the options. It has to be
// closed when the server has shut down: a store's life is the host's.
func openInbox(s *settings) (io.Closer, error) {
	switch {
	case s.noInbox:
		s.options = append(s.options, heymanito.WithoutInbox())
	case s.data == "":
		s.options = append(s.options, heymanito.WithInbox(heymanito.NewMemoryInbox(s.bounds)))
	default:
		if err := os.MkdirAll(s.data, 0o700); err != nil { //nolint:gosec // G703: whoever starts the program says which directory
			return nil, fmt.Errorf("-data: %w", err)
		}
		store, err := boltinbox.Open(filepath.Join(s.data, inboxFile), boltinbox.WithBounds(s.bounds))
		if err != nil {
			return nil, err
		}
		s.options = append(s.options, heymanito.WithInbox(store))
		return store, nil
	}
	return io.NopCloser(nil), nil
}
