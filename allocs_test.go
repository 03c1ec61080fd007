//go:build unix && !race

// The race detector has pools forget at random what they were given.

package heymanito_test

import (
	"context"
	"testing"

	"github.com/heymanito/heymanito"
)

// What a message of 100 bytes costs in allocations, from the sender's frame to
// the recipient's and the sender's ack: the event, the message, its id, an entry
// in each of the two inboxes, and what a hook may have to be told. The maps and
// queues that grow are a fraction more. Without an inbox it is encoded twice.
func TestMessageAllocs(t *testing.T) {
	for name, c := range map[string]struct {
		opts []heymanito.Option
		most float64
	}{
		"no hooks": {nil, 5},
		"a hook": {[]heymanito.Option{heymanito.WithHooks(heymanito.Hooks{
			OnUndelivered: func(context.Context, heymanito.Message) {},
		})}, 6},
		"no inbox": {[]heymanito.Option{heymanito.WithoutInbox()}, 14},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, c.opts...)
			pair, err := newChatter(b.Addr, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = pair.from.nc.Close(), pair.to.nc.Close() }()
			got := testing.AllocsPerRun(2000, func() {
				if err := pair.sayOne(); err != nil {
					t.Fatal(err)
				}
			})
			if got > c.most {
				t.Errorf("a message costs %v allocations, and may cost %v", got, c.most)
			} else if got < c.most {
				t.Logf("%v allocations, fewer than the %v that it may cost", got, c.most)
			}
		})
	}
}
