package engineio_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// A client that says something and closes its connection at once, in the same
// segment perhaps, was heard, and has gone: not only when the heartbeat finds out.
func TestCloseBehindData(t *testing.T) {
	b := newBed(t)
	for i := range 200 {
		ws, s := b.openWS()
		want := fmt.Sprintf("text word %d", i)
		if err := ws.Write(wiretest.Texts("4word " + fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		ws.Close()
		s.expectEnd(engineio.TransportClose)
		s.mu.Lock()
		if !slices.Contains(s.got, want) {
			t.Errorf("it has heard %q, and not %q", s.got, want)
		}
		s.mu.Unlock()
	}
}

// A client that has not read for a while gets all of it, in order, and then what
// comes behind it.
func TestSlowAndFast(t *testing.T) {
	b := newBed(t)
	ws, s := b.openWS()
	const rounds, each = 3, 3000
	big := make([]byte, 1000)
	for round := range rounds {
		for i := range each { // 3 MB: more than the kernel holds
			if !s.Send(engineio.Text([]byte(fmt.Sprint(round, " ", i, " ")), big)) {
				t.Fatal("it takes no more")
			}
		}
		for i := range each {
			if p, err := ws.Text(); err != nil || p != fmt.Sprint("4", round, " ", i, " ")+string(big) {
				t.Fatalf("frame %d of round %d is %.30q, %v", i, round, p, err)
			}
		}
		if !s.Send(engineio.Text([]byte("fast"))) {
			t.Fatal("it takes no more")
		}
		if p, err := ws.Text(); err != nil || p != "4fast" {
			t.Fatalf("%.30q, %v", p, err)
		}
	}
	for end := time.Now().Add(patience); s.Queued() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d bytes count that are not queued", s.Queued())
		}
	}
}
