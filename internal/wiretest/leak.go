package wiretest

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// NoLeaks fails the test if, after some patience, goroutines are still inside
// of one of the packages, or were started by it. Call it when the server is
// down; tests that use it do not run in parallel, and are in a package of
// their own (x_test), lest they find themselves.
func NoLeaks(t testing.TB, packages ...string) {
	t.Helper()
	left := ""
	for end := time.Now().Add(Timeout / 2); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if left = inside(packages); left == "" {
			return
		}
	}
	t.Errorf("goroutines are left behind:\n%s", left)
}

// inside describes the goroutines that have to do with the packages.
func inside(packages []string) string {
	buf := make([]byte, 64<<10)
	n := runtime.Stack(buf, true)
	for n == len(buf) {
		buf = make([]byte, 2*len(buf))
		n = runtime.Stack(buf, true)
	}
	var found []string
	for g := range strings.SplitSeq(string(buf[:n]), "\n\n") {
		for _, p := range packages {
			if strings.Contains(g, p+".") {
				found = append(found, g)
				break
			}
		}
	}
	return strings.Join(found, "\n\n")
}
