package inboxtest_test

import (
	"testing"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/inboxtest"
)

// The test of a store, here of the one in memory. It is compiled, and not run: an
// Example has no *testing.T.
func ExampleRun() {
	test := func(t *testing.T) { // func TestStore(t *testing.T)
		inboxtest.Run(t, func(t *testing.T, b heymanito.InboxBounds) heymanito.Inbox {
			store := heymanito.NewMemoryInbox(b) // yours
			// t.Cleanup(store.Close), if there is something to close
			return store
		})
	}
	_ = test
}

// fileStore stands for a store in a file.
type fileStore struct {
	heymanito.Inbox
	path string
}

func openFile(t *testing.T, path string, b heymanito.InboxBounds) fileStore {
	t.Helper()
	return fileStore{heymanito.NewMemoryInbox(b), path} // yours: opens what is there
}

func (fileStore) Close() error { return nil }

// The test of a store in files: what it has taken is there when it is opened again.
func ExampleReopen() {
	test := func(t *testing.T) {
		inboxtest.Run(t, func(t *testing.T, b heymanito.InboxBounds) heymanito.Inbox {
			return openFile(t, t.TempDir()+"/inbox.db", b)
		}, inboxtest.Reopen(func(t *testing.T, store heymanito.Inbox, b heymanito.InboxBounds) heymanito.Inbox {
			before := store.(fileStore)
			if err := before.Close(); err != nil {
				t.Fatal(err)
			}
			return openFile(t, before.path, b)
		}))
	}
	_ = test
}

// The test of a store that keeps its entries at a server.
func ExampleRealTime() {
	test := func(t *testing.T) {
		inboxtest.Run(t, func(t *testing.T, b heymanito.InboxBounds) heymanito.Inbox {
			return heymanito.NewMemoryInbox(b) // yours: a client of a server, of which it sees an empty part
		}, inboxtest.RealTime())
	}
	_ = test
}
