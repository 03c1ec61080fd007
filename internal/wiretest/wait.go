package wiretest

import (
	"testing"
	"time"
)

// ReadWithin is Read with a patience of its own: 0 waits for ever.
func (w *WS) ReadWithin(d time.Duration) (op byte, payload []byte, err error) {
	at := time.Time{}
	if d > 0 {
		at = time.Now().Add(d)
	}
	if err := w.Net.SetReadDeadline(at); err != nil {
		return 0, nil, err
	}
	return w.read()
}

// Eventually waits until ok, and fails the test if that takes longer than twice
// Timeout: it may be a whole storm that has to pass.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * Timeout); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("within %v it did not become true that %s", 2*Timeout, what)
		}
	}
}
