package wiretest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
)

// Example is the testing.TB of an Example function, which is given none. What
// fails ends the program; Close does what Cleanup was told.
type Example struct {
	testing.TB // nil: it can do no more than its methods

	mu   sync.Mutex // guards last
	last []func()
}

// Helper does nothing.
func (e *Example) Helper() {}

// Errorf is Fatalf.
func (e *Example) Errorf(format string, args ...any) { e.Fatalf(format, args...) }

// Fatalf panics.
func (e *Example) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// Cleanup has f called by Close.
func (e *Example) Cleanup(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last = append(e.last, f)
}

// Close calls what Cleanup was given, the last one first.
func (e *Example) Close() {
	e.mu.Lock()
	last := e.last
	e.last = nil
	e.mu.Unlock()
	for _, f := range slices.Backward(last) {
		f()
	}
}
