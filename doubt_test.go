package heymanito

import (
	"fmt"
	"testing"
)

func TestDoubts(t *testing.T) {
	key := func(i int) Key { return Key{User: "ann", Event: "messageSent", Peer: "bob", ID: fmt.Sprint(i)} }
	var d doubts
	if d.settle(key(0)) {
		t.Error("there was a doubt")
	}
	for range 2 {
		d.add(key(0))
	}
	if !d.settle(key(0)) || d.settle(key(0)) || d.some.Load() {
		t.Error("a doubt is settled once")
	}
	const n = 3 * maxDoubts
	for i := range n {
		d.add(key(i))
	}
	if len(d.young)+len(d.old) > 2*maxDoubts {
		t.Errorf("%d are remembered", len(d.young)+len(d.old))
	}
	for i := n - maxDoubts; i < n; i++ { // the newest, wherever they are
		if !d.settle(key(i)) {
			t.Fatalf("the doubt %d of %d is forgotten", i, n)
		}
	}
	if d.settle(key(0)) {
		t.Error("the oldest is remembered")
	}
}
