package wiretest

import "time"

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
