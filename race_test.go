package heymanito_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// Everything that can happen to one user, at once: devices come and go, he is
// thrown out, his contacts change, others write to him and call him. Whoever
// gets through gets what he should, and in the end everybody is gone.
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	for _, scoped := range []bool{false, true} {
		t.Run("scoped "+strconv.FormatBool(scoped), func(t *testing.T) {
			t.Parallel()
			store := heymanito.NewMemoryPresence()
			var connects, disconnects atomic.Int64
			var strangers atomic.Bool
			hooks := heymanito.Hooks{
				OnConnect:    func(context.Context, heymanito.Device) { connects.Add(1) },
				OnDisconnect: func(context.Context, heymanito.Device, string) { disconnects.Add(1) },
			}
			if scoped {
				hooks.Contacts = func(_ context.Context, user string) ([]string, error) {
					if user == "user" && strangers.Load() {
						return nil, nil
					}
					return []string{"user", "friend", "sender"}, nil
				}
			}
			b := newBed(t, heymanito.WithPresence(store), heymanito.WithHooks(hooks),
				heymanito.WithOfflineGrace(time.Millisecond), heymanito.WithMaxDevices(5), heymanito.WithRingLimits(1000, 1000))
			friend := wiretest.Connect(t, b.URL, "friend")
			var kicked, told atomic.Int64
			stop := make(chan struct{})
			var busy, wg sync.WaitGroup
			loop := func(f func()) {
				busy.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							f()
						}
					}
				})
			}
			loop(func() {
				kicked.Add(int64(b.Disconnect("user", "out")))
				time.Sleep(time.Millisecond) // let some get in
			})
			loop(func() {
				strangers.Store(!strangers.Load())
				if err := b.ContactsChanged(t.Context(), "user"); err != nil {
					t.Errorf("ContactsChanged: %v", err)
				}
				time.Sleep(time.Millisecond / 2)
			})
			var sends int
			loop(func() {
				ws, err := b.join("sender")
				if err != nil {
					t.Errorf("the sender: %v", err)
					return
				}
				defer ws.Close()
				for i := range 50 {
					sends++
					for _, e := range []string{
						`"sendMessage",` + message("sender", "user", sends, "1"),
						`"initiateCall",{"callerId":"sender","recipientId":"user"}`,
						`"markAsRead",{"senderChatPath":"user","recipientChatPath":"sender"}`,
					} {
						if err := ws.Send(fmt.Sprintf("42%d[%s]", i, e)); err != nil {
							t.Errorf("the sender: %v", err)
							return
						}
						if p, err := await(ws, "43"+strconv.Itoa(i)); err != nil || !strings.Contains(p, `"status":"ok"`) && !strings.Contains(p, `"code":"offline"`) {
							t.Errorf("%s is answered %s, %v", e, p, err)
							return
						}
					}
				}
			})
			for worker := range 4 {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(1, uint64(worker)))
					for range 150 {
						ws, err := b.open("user")
						if err != nil {
							t.Errorf("the user: %v", err)
							return
						}
						_ = ws.Send("40")
						// Reads until it is thrown out, or has enough.
						ended, n := false, rnd.IntN(40)
						for range n {
							p, err := await(ws, "4")
							if isTimeout(err) {
								t.Errorf("the user is let wait")
							}
							if err != nil {
								break // the cap on devices, or what follows sessionEnded
							}
							if p == `42["sessionEnded",{"code":"out"}]` {
								ended = true
								told.Add(1)
							} else if ended && p != "41" {
								t.Errorf("behind sessionEnded came %s", p)
							}
						}
						if rnd.IntN(2) == 0 {
							_ = ws.Send("41")
						}
						ws.Close()
					}
				})
			}
			wg.Wait()
			close(stop)
			busy.Wait()
			if kicked.Load() == 0 || told.Load() == 0 {
				t.Errorf("%d kicks, %d seen: the test tests nothing", kicked.Load(), told.Load())
			}
			strangers.Store(false)
			if err := b.ContactsChanged(t.Context(), "user"); err != nil {
				t.Error(err)
			}
			// Only the friend is left.
			wiretest.Eventually(t, "the store knows only the friend", func() bool {
				var online []string
				for p := range store.Snapshot(t.Context()) {
					online = append(online, p.User)
				}
				return slices.Equal(online, []string{"friend"}) && connects.Load() == disconnects.Load()+1
			})
			// And what he was told of the user adds up.
			last := wiretest.Connect(t, b.URL, "user")
			online := func() bool {
				on := false
				for _, e := range friend.Log() {
					switch {
					case e.Name == "contact_online" && string(e.Args[0]) == `"user"`:
						if on {
							t.Fatal("the user came twice without going")
						}
						on = true
					case e.Name == "contact_offline" && string(e.Args[0]) == `"user"`:
						if !on {
							t.Fatal("the user went without coming")
						}
						on = false
					}
				}
				return on
			}
			wiretest.Eventually(t, "the friend sees the user", online)
			last.Goodbye()
			wiretest.Eventually(t, "the friend sees the user go", func() bool { return !online() })
		})
	}
}

// slowStore is a presence store whose Set for one user waits.
type slowStore struct {
	heymanito.PresenceStore
	user    string
	entered chan struct{}
	release chan struct{}
}

func (s *slowStore) Set(ctx context.Context, p heymanito.Presence) error {
	if p.User == s.user && p.Online {
		select {
		case s.entered <- struct{}{}:
		default:
		}
		select {
		case <-s.release:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.PresenceStore.Set(ctx, p)
}

// Disconnect counts a device that is only just being let in: then that one,
// too, has to be told to stay away, or its client comes right back.
func TestDisconnectWhileConnecting(t *testing.T) {
	t.Parallel()
	store := &slowStore{heymanito.NewMemoryPresence(), "user", make(chan struct{}, 1), make(chan struct{})}
	b := newBed(t, heymanito.WithPresence(store), heymanito.WithOfflineGrace(0))
	ws, err := b.open("user")
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	if err := ws.Send("40"); err != nil {
		t.Fatal(err)
	}
	<-store.entered
	n := b.Disconnect("user", "banned")
	close(store.release)
	var got []string
	for {
		p, err := await(ws, "4")
		if err != nil {
			if ce, ok := asClose(err); !ok {
				t.Errorf("the connection ended with %v", err)
			} else if n > 0 && !slices.Contains(got, "41") {
				t.Errorf("Disconnect counted %d; the client was told %q and closed with %v: it will be back", n, got, ce)
			}
			break
		}
		got = append(got, p)
		if p == "41" {
			continue
		}
		if n == 0 && strings.HasPrefix(p, `42["online_users"`) {
			break // it did not count, and is in
		}
	}
	wiretest.Eventually(t, "nobody stays online who is not", func() bool {
		if n == 0 {
			return true
		}
		for range store.Snapshot(t.Context()) {
			return false
		}
		return true
	})
}

// Shutdown in the middle of a storm of handshakes: it returns, nobody is let in
// behind it, and nothing of it goes on afterwards.
func TestShutdownInAStorm(t *testing.T) {
	t.Parallel()
	for round := range 10 {
		b := newBed(t, heymanito.WithOfflineGrace(time.Millisecond), heymanito.WithHooks(heymanito.Hooks{
			Contacts: func(context.Context, string) ([]string, error) { return []string{"user0", "user1", "user2"}, nil },
		}))
		var down atomic.Bool
		var in atomic.Int64
		var wg sync.WaitGroup
		for worker := range 6 {
			user := "user" + strconv.Itoa(worker)
			wg.Go(func() {
				for i := 0; ; i++ {
					before := down.Load()
					var err error
					if worker < 4 {
						var ws *wiretest.WS
						if ws, err = b.dialEager(user, wiretest.Texts("40"), nil); err == nil {
							if err = joined(ws); err == nil {
								_ = ws.Send(`421["sendMessage",` + message(user, "user0", i, "1") + `]`)
							} else if before {
								t.Errorf("the handshake was let in: %v", err)
							}
							if i%3 > 0 {
								ws.Close()
							} else {
								wg.Go(func() { // stays to the end
									_, _ = await(ws, "nothing")
									ws.Close()
								})
							}
						}
					} else {
						var p *wiretest.Poll
						if p, err = wiretest.OpenPoll(b.URL, user); err == nil {
							if err = p.Join(); err == nil && i%2 == 0 {
								_, err = p.Next(`42["nothing"`) // until it ends
							}
							p.Close()
						}
					}
					if err == nil && before {
						t.Error("somebody was let in after Shutdown")
						return
					}
					if err == nil {
						in.Add(1)
					}
					if before {
						return
					}
				}
			})
		}
		wg.Go(func() {
			for !down.Load() {
				b.Disconnect("user0", "out")
				_ = b.ContactsChanged(t.Context(), "user1")
				time.Sleep(time.Millisecond / 2)
			}
		})
		wiretest.Eventually(t, "the storm blows", func() bool { return in.Load() > int64(10+20*round) })
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		var ends sync.WaitGroup
		for range 2 { // twice, and together
			ends.Go(func() {
				if err := b.Shutdown(ctx); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
			})
		}
		ends.Wait()
		cancel()
		// Requests may still be on their way to a refusal; nothing else is left.
		for _, f := range []string{"engineio.(*wsConn).read", "engineio.(*Socket).flush", "socketio.(*Conn)"} {
			if stay := goroutines(b.label, f); stay != "" {
				t.Errorf("Shutdown has returned, and there is\n%s", stay)
			}
		}
		down.Store(true)
		wg.Wait()
		for i := range 6 {
			if n := b.Disconnect("user"+strconv.Itoa(i), "gone"); n != 0 {
				t.Errorf("after Shutdown there are %d devices", n)
			}
		}
	}
}

// When Shutdown's context ends first, what is left is cut.
func TestShutdownOutOfTime(t *testing.T) {
	t.Parallel()
	hook := make(chan struct{})
	b := newBed(t, heymanito.WithDrain(time.Hour), heymanito.WithHooks(heymanito.Hooks{
		BeforeMessage: func(ctx context.Context, _ heymanito.Message) error {
			close(hook)
			<-ctx.Done() // a hook that heeds its context
			return ctx.Err()
		},
	}))
	var all []*wiretest.Client
	for i := range 30 {
		all = append(all, wiretest.Connect(t, b.URL, "user"+strconv.Itoa(i)))
	}
	if err := all[0].Send(`421["sendMessage",` + message("user0", "user1", 1, "1") + `]`); err != nil {
		t.Fatal(err)
	}
	<-hook
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan error, 1)
	go func() { done <- b.Shutdown(ctx) }()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Shutdown: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Shutdown does not return")
	}
	for _, c := range all {
		if err := c.Closed(patience); errors.Is(err, wiretest.ErrStillOpen) {
			t.Errorf("%s: %v", c.User, err)
		}
	}
}

// Many devices of two users talk to each other while others of theirs come and
// go: every message reaches every device that was there throughout, in the
// order sent, once.
func TestManyDevices(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const devices, each = 4, 100
	var there []*wiretest.Client
	for i := range 2 * devices {
		there = append(there, wiretest.Connect(t, b.URL, []string{"ann", "bob"}[i%2]))
	}
	stop := make(chan struct{})
	var coming, sending sync.WaitGroup
	for i := range 2 {
		coming.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ws, err := b.join([]string{"ann", "bob"}[i])
				if err != nil {
					t.Error(err)
					return
				}
				ws.Close()
			}
		})
	}
	for i, c := range there {
		other := there[(i+1)%2].User
		sending.Go(func() {
			for n := range each {
				if err := c.Send(fmt.Sprintf(`42%d["sendMessage",%s]`, n, message(c.User, other, i*1000+n, "1"))); err != nil {
					t.Error(err)
					return
				}
			}
			// Devices that have not kept up with the others' messages make it "queued".
			if e, err := c.Wait("ack "+strconv.Itoa(each-1), patience); err != nil || !strings.Contains(e.String(), `"status":"ok"`) {
				t.Errorf("%v, %v", e, err)
			}
		})
	}
	sending.Wait()
	close(stop)
	coming.Wait()
	for i, c := range there {
		told := func() []wiretest.Event { return slices.Concat(c.Named("receiveMessage"), c.Named("messageSent")) }
		wiretest.Eventually(t, "the device has caught up", func() bool { return len(told()) >= (2*devices-1)*each })
		c.Sync() // nothing more comes
		next := map[int]int{}
		for _, e := range told() {
			var m struct{ ID int }
			if err := json.Unmarshal(e.Args[0], &m); err != nil {
				t.Fatal(err)
			}
			if m.ID%1000 != next[m.ID/1000] {
				t.Fatalf("at device %d message %d of device %d came where %d was due", i, m.ID%1000, m.ID/1000, next[m.ID/1000])
			}
			next[m.ID/1000]++
		}
		for from := range there {
			want := each
			if from == i {
				want = 0
			}
			if next[from] != want {
				t.Errorf("device %d got %d messages of device %d, not %d", i, next[from], from, want)
			}
		}
	}
}
