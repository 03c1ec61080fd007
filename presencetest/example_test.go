package presencetest_test

import (
	"testing"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/presencetest"
)

// The test of a store, here of the one in memory. It is compiled, and not run: an
// Example has no *testing.T.
func ExampleRun() {
	test := func(t *testing.T) { // func TestStore(t *testing.T)
		presencetest.Run(t, func(t *testing.T) heymanito.PresenceStore {
			store := heymanito.NewMemoryPresence() // yours
			// t.Cleanup(store.Close), if there is something to close
			return store
		})
	}
	_ = test
}
