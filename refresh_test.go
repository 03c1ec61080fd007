package heymanito_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// page is a page of the app: one connection that is read until its end.
type page struct {
	ws    *wiretest.WS
	ready chan struct{} // closed after inboxReady
	done  chan struct{}

	ids []int // of the messages received; after done
	err error // that ended it, unless it was the server's close frame
}

// visit opens a page of user.
func (b *bed) visit(user string) (*page, error) {
	ws, err := b.join(user)
	if err != nil {
		return nil, err
	}
	p := &page{ws: ws, ready: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		for {
			text, err := await(ws, `42["`)
			if err != nil {
				if _, ok := errors.AsType[*wiretest.CloseError](err); !ok {
					p.err = err
				}
				return
			}
			if strings.HasPrefix(text, `42["inboxReady",`) {
				close(p.ready)
			}
			if !strings.HasPrefix(text, `42["receiveMessage",`) {
				continue
			}
			var m struct{ ID int }
			if err := json.Unmarshal([]byte(strings.TrimSuffix(strings.TrimPrefix(text, `42["receiveMessage",`), "]")), &m); err != nil {
				p.err = err
				return
			}
			p.ids = append(p.ids, m.ID)
		}
	}()
	return p, nil
}

// leave closes the page as a browser does, and waits for its end.
func (p *page) leave() error {
	err := p.ws.Write(wiretest.Frame(true, wiretest.OpClose, []byte{3, 0xe9})) // 1001
	<-p.done
	p.ws.Close()
	return errors.Join(err, p.err)
}

// A page that is refreshed, again and again, while somebody writes to its
// user: what is acked has reached a page, without an inbox what is acked as
// sent, and nobody is told that the user came or went.
func TestRefresh(t *testing.T) {
	t.Parallel()
	always := func(int) bool { return false }
	inTurn := func(cycle int) bool { return cycle%2 == 0 }
	for _, c := range []struct {
		name  string
		gap   func(cycle int) bool // the old page closes before the new one opens
		inbox bool
	}{
		{"new page first", always, true},
		{"in turn", inTurn, true},
		{"without an inbox/new page first", always, false},
		{"without an inbox/in turn", inTurn, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			opts := []heymanito.Option{heymanito.WithOfflineGrace(time.Minute)}
			if !c.inbox {
				opts = append(opts, heymanito.WithoutInbox())
			}
			b := newBed(t, opts...)
			observer := wiretest.Connect(t, b.URL, "observer")
			sender, err := b.join("sender")
			if err != nil {
				t.Fatal(err)
			}
			defer sender.Close()
			now, err := b.visit("user")
			if err != nil {
				t.Fatal(err)
			}

			// The sender writes as fast as the acks come.
			var stop atomic.Bool
			var acks []string // of message i
			var sending error
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := 0; !stop.Load(); i++ {
					if sending = sender.Send(fmt.Sprintf(`42%d["sendMessage",%s]`, i, message("sender", "user", i, "1"))); sending != nil {
						return
					}
					var ack string
					if ack, sending = await(sender, "43"); sending != nil {
						return
					}
					acks = append(acks, ack)
				}
			})
			pages := []*page{now}
			const cycles = 1000
			for i := range cycles {
				old := now
				if c.gap(i) {
					if err := old.leave(); err != nil {
						t.Fatalf("cycle %d: %v", i, err)
					}
				}
				if now, err = b.visit("user"); err != nil {
					t.Fatalf("cycle %d: %v", i, err)
				}
				pages = append(pages, now)
				if !c.gap(i) {
					if err := old.leave(); err != nil {
						t.Fatalf("cycle %d: %v", i, err)
					}
				}
			}
			stop.Store(true)
			wg.Wait()
			if sending != nil {
				t.Fatal(sending)
			}
			if c.inbox { // the last page gets what is left
				last, err := b.visit("user")
				if err != nil {
					t.Fatal(err)
				}
				select {
				case <-last.ready:
				case <-last.done:
				}
				pages = append(pages, last)
				if err := last.leave(); err != nil {
					t.Fatal(err)
				}
			}
			if err := now.leave(); err != nil {
				t.Fatal(err)
			}

			reached := map[int]bool{}
			for _, p := range pages {
				if !slices.IsSorted(p.ids) || len(slices.Compact(slices.Clone(p.ids))) != len(p.ids) {
					t.Errorf("a page received %v", p.ids)
				}
				for _, id := range p.ids {
					reached[id] = true
				}
			}
			lost, missed := 0, 0
			for i, ack := range acks {
				if !strings.HasPrefix(ack, fmt.Sprintf(`43%d[{"status":"ok","id":%d,`, i, i)) {
					t.Fatalf("message %d was acked %s", i, ack)
				}
				switch sent := strings.Contains(ack, `"delivery":"sent"`); {
				case (sent || c.inbox) && !reached[i]:
					lost++
				case c.inbox:
				case !sent && !c.gap(0):
					missed++
				case !sent && !strings.Contains(ack, `"delivery":"offline"`):
					t.Errorf("message %d was acked %s", i, ack)
				}
			}
			if lost > 0 {
				t.Errorf("%d of %d messages were acked and reached no page", lost, len(acks))
			}
			if missed > 0 {
				t.Errorf("%d of %d messages were acked as not sent although a page was open at every moment", missed, len(acks))
			}
			if len(acks) < cycles/10 {
				t.Errorf("only %d messages in %d cycles: the test tests little", len(acks), cycles)
			}

			// Edges come in order: after the marker there are no older ones.
			wiretest.Connect(t, b.URL, "marker")
			wiretest.Eventually(t, "the observer sees the marker", func() bool {
				return slices.ContainsFunc(observer.Named("contact_online"), func(e wiretest.Event) bool { return string(e.Args[0]) == `"marker"` })
			})
			told := func(event string) (n int) {
				for _, e := range observer.Named(event) {
					if string(e.Args[0]) == `"user"` {
						n++
					}
				}
				return n
			}
			if on, off := told("contact_online"), told("contact_offline"); on != 1 || off != 0 {
				t.Errorf("the observer was told %d times that the user came, %d times that he went", on, off)
			}
		})
	}
}
