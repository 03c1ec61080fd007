// Package suite is what the conformance suites of stores have in common.
package suite

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// Parallel calls f(0) … f(n-1) at once, waits for all, and fails t with the
// first error.
func Parallel(t testing.TB, n int, f func(i int) error) {
	t.Helper()
	errs := make([]error, n)
	begin := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-begin
			errs[i] = f(i)
		})
	}
	close(begin)
	all.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Said returns what check, which takes its t for a test's, says when it fails;
// nothing when it passes. t does not fail.
func Said(t testing.TB, check func(testing.TB)) string {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() { // which Fatal ends
		defer close(done)
		check(r)
	}()
	<-done
	return strings.Join(r.said, "\n")
}

// recorder is a testing.TB that takes note of failures in place of failing.
type recorder struct {
	testing.TB
	mu   sync.Mutex // guards said
	said []string
}

// Fatal implements testing.TB.
func (r *recorder) Fatal(args ...any) {
	r.say(fmt.Sprint(args...))
	runtime.Goexit()
}

// Fatalf implements testing.TB.
func (r *recorder) Fatalf(format string, args ...any) {
	r.say(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

// Log implements testing.TB.
func (r *recorder) Log(...any) {}

func (r *recorder) say(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, s)
}
