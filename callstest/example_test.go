package callstest_test

import (
	"testing"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/callstest"
)

// The test of a store, here of the one in memory. It is compiled, and not run: an
// Example has no *testing.T.
func ExampleRun() {
	test := func(t *testing.T) { // func TestStore(t *testing.T)
		callstest.Run(t, func(t *testing.T) heymanito.CallStore {
			store := heymanito.NewMemoryCalls() // yours
			// t.Cleanup(store.Close), if there is something to close
			return store
		})
	}
	_ = test
}

// The test of a store that keeps its calls at a server.
func ExampleRealTime() {
	test := func(t *testing.T) {
		callstest.Run(t, func(t *testing.T) heymanito.CallStore {
			return heymanito.NewMemoryCalls() // yours: a client of a server, of which it sees an empty part
		}, callstest.RealTime())
	}
	_ = test
}
