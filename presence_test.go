package heymanito_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

func TestFirstAndLastDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann := a.join("ann")
		ann.sees("ann")
		bob := a.join("bob")
		bob.sees("ann", "bob")
		ann.hears(online("bob"))
		bob.hears()

		bob2 := a.join("bob")
		bob2.sees("ann", "bob <bob 2>")
		bob3 := a.join("bob")
		cid := a.join("cid")
		cid.sees("ann", "bob <bob 3>", "cid")
		ann.hears(online("cid"))
		bob.hears(online("cid"))

		// The newest goes: the newest that remains is listed.
		bob3.Goodbye()
		ann.hears()
		a.join("dan").sees("ann", "bob <bob 2>", "cid", "dan")
		bob.Cut()
		ann.hears(online("dan"))
		a.join("eve").sees("ann", "bob <bob 2>", "cid", "dan", "eve")
		ann.hears(online("eve"))
		time.Sleep(5 * time.Second) // the first one does not come back
		bob2.Goodbye()
		ann.hears(offline("bob"))
		cid.hears(online("dan"), online("eve"), offline("bob"))
		a.join("fay").sees("ann", "cid", "dan", "eve", "fay")
	})
}

// A device that broke off is waited for, also when another one of the user says
// goodbye meanwhile.
func TestGraceOfOneOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann := a.join("ann")
		bob, bob2 := a.join("bob"), a.join("bob")
		ann.hears(online("bob"))

		bob.Cut()
		time.Sleep(2 * time.Second)
		bob2.Goodbye()
		time.Sleep(3*time.Second - time.Millisecond)
		ann.hears()
		bob = a.join("bob")
		time.Sleep(time.Minute)
		ann.hears()

		bob2 = a.join("bob")
		bob.Cut()
		time.Sleep(2 * time.Second)
		bob2.Goodbye()
		time.Sleep(3*time.Second - time.Millisecond)
		ann.hears()
		time.Sleep(time.Millisecond)
		ann.hears(offline("bob"))

		// One whose time is over, or that was replaced, is not waited for.
		bob, bob2 = a.join("bob"), a.join("bob")
		ann.hears(online("bob"))
		bob.Cut()
		time.Sleep(5 * time.Second)
		bob2.Goodbye()
		ann.hears(offline("bob"))
		bob, bob2 = a.join("bob"), a.join("bob")
		ann.hears(online("bob"))
		bob.Cut()
		bob = a.join("bob")
		bob.Goodbye()
		ann.hears()
		bob2.Goodbye()
		ann.hears(offline("bob"))
	})
}

// panickyStore panics when it is told that somebody has gone.
type panickyStore struct {
	heymanito.PresenceStore
	panics atomic.Bool
}

func (s *panickyStore) Set(ctx context.Context, p heymanito.Presence) error {
	if !p.Online && s.panics.Load() {
		panic("a bug of the host's")
	}
	return s.PresenceStore.Set(ctx, p)
}

func (s *panickyStore) Watch(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
	if s.panics.Load() {
		panic("another one")
	}
	return s.PresenceStore.Watch(ctx, ready, edge)
}

// A store that panics is one that failed: it is asked again.
func TestStorePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &panickyStore{PresenceStore: heymanito.NewMemoryPresence()}
		store.panics.Store(true)
		a := start(t, heymanito.WithPresence(store))
		a.panics = true
		go func() {
			time.Sleep(3 * time.Second)
			store.panics.Store(false)
		}()
		ann := a.join("ann") // once it can be watched
		bob, cid := a.join("bob"), a.join("cid")
		ann.hears(online("bob"), online("cid"))
		store.panics.Store(true)
		bob.Goodbye()
		cid.Cut()
		time.Sleep(6 * time.Second)
		ann.hears()
		store.panics.Store(false)
		time.Sleep(3 * time.Second)
		if heard := ann.news(); len(heard) != 2 || !slices.Contains(heard, offline("bob")) || !slices.Contains(heard, offline("cid")) {
			t.Errorf("ann has heard %q", heard)
		}
	})
}

func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := start(t, heymanito.WithHooks(heymanito.Hooks{
			OnUndelivered: func(_ context.Context, m heymanito.Message) { n.add("push %s", m.ID) },
		}))
		ann := a.join("ann")
		bob := a.join("bob")
		ann.hears(online("bob"))

		bob.Cut()
		time.Sleep(5*time.Second - time.Millisecond)
		ann.hears()
		cid := a.join("cid")
		cid.sees("ann", "bob", "cid") // with his last socket id
		ann.hears(online("cid"))
		if ack := ann.EmitAck("sendMessage", mail("m1", "ann", "bob")); ack.Delivery != "offline" {
			t.Errorf("a message to a user without a device was acked %s", ack.Raw)
		}
		n.want(t, `push "m1"`)
		bob2 := a.join("bob")
		bob2.sees("ann", "bob <bob 2>", "cid")
		time.Sleep(time.Minute)
		ann.hears()
		bob2.hears()
		a.join("dan").sees("ann", "bob <bob 2>", "cid", "dan")
		ann.hears(online("dan"))

		// The second time he stays away.
		bob2.Cut()
		time.Sleep(5*time.Second - time.Millisecond)
		ann.hears()
		time.Sleep(time.Millisecond)
		ann.hears(offline("bob"))
		cid.hears(online("dan"), offline("bob"))

		// A goodbye needs no grace, also right after a return.
		bob3 := a.join("bob")
		bob3.Cut()
		bob4 := a.join("bob")
		bob4.Goodbye()
		ann.hears(online("bob"), offline("bob"))

		// The goodbye of one device takes nothing from another.
		bob7, bob8 := a.join("bob"), a.join("bob")
		bob7.Goodbye()
		synctest.Wait()
		bob8.Cut()
		ann.hears(online("bob"))
		time.Sleep(5 * time.Second)
		ann.hears(offline("bob"))
	})
}

func TestNoGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithOfflineGrace(0))
		ann := a.join("ann")
		bob := a.join("bob")
		bob.Cut()
		ann.hears(online("bob"), offline("bob"))
	})
}

// A client that has come in the same breath as it goes is told of once.
func TestHelloGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann := a.join("ann")
		for range 20 {
			if err := a.dial("bob").Write(wiretest.Texts("40", "41")); err != nil {
				t.Fatal(err)
			}
			ann.hears(online("bob"), offline("bob"))
		}
		a.join("cid").sees("ann", "cid")
	})
}

// A device that is cut off without a word is noticed within 40 s, its user is
// offline within 45 s; one that answers pings is not cut.
func TestSilentDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann := a.join("ann")
		for after := range 25 { // wherever in the interval it falls silent
			ws := a.dial("bob")
			if err := ws.Send("40"); err != nil {
				t.Fatal(err)
			}
			ann.hears(online("bob"))
			time.Sleep(time.Duration(after) * time.Second)
			_ = ws.Send("3") // the last sign of life
			silent := time.Now()
			if _, err := ann.Wait("contact_offline", time.Minute); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(silent); took > 45*time.Second || took < 25*time.Second {
				t.Errorf("a user whose device was silent since %d s into its connection was offline after %v", after, took)
			}
			ann.deaf()
		}
		time.Sleep(time.Hour)
		ann.hears()
		if ann.code("wiretest-sync") != "invalid" {
			t.Error("ann has lost her connection")
		}
	})
}

func TestLastSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		old := a.join("ann")
		ann := a.join("ann", wiretest.Auth(`{"features":["acks","lastSeen"]}`))
		bob := a.join("bob")
		time.Sleep(1234 * time.Millisecond)
		bob.Goodbye()
		old.hears(online("bob"), offline("bob"))
		ann.hears(online("bob"), fmt.Sprintf(`contact_offline("bob", {"lastSeen":%d})`, begin+1234))
		a.join("bob").Cut()
		time.Sleep(time.Minute)
		ann.hears(online("bob"), fmt.Sprintf(`contact_offline("bob", {"lastSeen":%d})`, begin+6234))
	})
}

// Names that need escapes, in JSON and out of it.
func TestPresenceOfOddNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t)
		ann := a.join("ann")
		names := []string{`"`, `\`, "\u2028", "ñandú", "🦜", "a b&c=d+e%41", "__proto__", "<ann>", strings.Repeat("é", 128)}
		for _, name := range names {
			p := a.join(name)
			if id := p.online()[name]; id == "" {
				t.Errorf("%q is not among his own online_users %v", name, p.online())
			}
			e := ann.Expect("contact_online")
			ann.deaf()
			if got := wiretest.Unquote(e.Args[0]); got != name {
				t.Errorf("contact_online(%q), want %q", got, name)
			}
			p.Goodbye()
			if got := wiretest.Unquote(ann.Expect("contact_offline").Args[0]); got != name {
				t.Errorf("contact_offline(%q), want %q", got, name)
			}
		}
	})
}

// witness checks what one device hears of others: online_users, and edges that
// alternate from there on. It returns whom it believes online in the end.
func witness(t *testing.T, c *wiretest.Client, online map[string]string) map[string]bool {
	t.Helper()
	believes := map[string]bool{}
	for user := range online {
		believes[user] = true
	}
	for i, e := range c.Log() {
		switch e.Name {
		case "online_users":
			if i > 0 {
				t.Errorf("%s has got online_users as number %d", c.User, i)
			}
		case "contact_online", "contact_offline":
			user := wiretest.Unquote(e.Args[0])
			if comes := e.Name == "contact_online"; believes[user] == comes {
				t.Errorf("%s has heard %v twice in a row", c.User, e)
			} else {
				believes[user] = comes
			}
			if user == c.User {
				t.Errorf("%s was told of himself: %v", c.User, e)
			}
		}
	}
	maps.DeleteFunc(believes, func(_ string, online bool) bool { return !online })
	return believes
}

// Many users come and go with many devices. Whoever watches, from the start or
// from somewhere in the middle, hears edges that alternate and end in the truth.
func TestChurn(t *testing.T) {
	everyone := []string{"ann"}
	for i := range 20 {
		everyone = append(everyone, fmt.Sprintf("user%d", i), fmt.Sprintf("late%d", i))
	}
	for name, opts := range map[string][]heymanito.Option{
		"everyone": nil,
		"contacts": {heymanito.WithHooks(heymanito.Hooks{
			Contacts: func(context.Context, string) ([]string, error) { return everyone, nil },
		})},
		"caps": {heymanito.WithMaxDevices(2)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { churn(t, opts) })
		})
	}
}

func churn(t *testing.T, opts []heymanito.Option) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	a := start(t, opts...)
	ann := a.join("ann")
	connect := func(user string) *wiretest.Client {
		for range 10 {
			c, err := wiretest.TryConnect(t, host, user, wiretest.On(a.net))
			var closed *wiretest.CloseError
			if errors.As(err, &closed) && closed.Reason == "too many devices" {
				time.Sleep(time.Second) // others were faster
				continue
			}
			if err != nil {
				t.Errorf("connecting %s: %v", user, err)
			}
			return c
		}
		t.Errorf("%s was thrown out ten times", user)
		return nil
	}
	const rounds = 8
	var all sync.WaitGroup
	truth := map[string]bool{"ann": true}
	for i := range 20 {
		user := fmt.Sprintf("user%d", i)
		stays := i%2 == 0
		if stays {
			truth[user] = true
		}
		for device := range 3 {
			r := rand.New(rand.NewPCG(seed, uint64(3*i+device)))
			all.Go(func() {
				for round := range rounds {
					c := connect(user)
					if c == nil {
						return
					}
					// In whole seconds, so that many things happen at once, and
					// the end of a grace meets a return.
					time.Sleep(time.Duration(r.IntN(3)) * time.Second)
					switch {
					case round == rounds-1 && stays:
					case r.IntN(2) == 0:
						c.Goodbye()
						c.Closed(wiretest.Timeout)
					default:
						c.Cut()
					}
					time.Sleep(time.Duration(r.IntN(8)) * time.Second)
				}
			})
		}
	}
	var late [20]*wiretest.Client
	for i := range late {
		truth[fmt.Sprintf("late%d", i)] = true
		all.Go(func() {
			time.Sleep(time.Duration(3*i) * time.Second)
			late[i] = connect(fmt.Sprintf("late%d", i))
		})
	}
	all.Wait()
	time.Sleep(time.Minute)
	synctest.Wait()
	want := slices.Sorted(maps.Keys(truth))
	end := a.join("ann")
	for _, c := range append(late[:], ann.Client, end.Client) {
		if c == nil {
			continue
		}
		p := &person{Client: c, app: a}
		if got := slices.Sorted(maps.Keys(witness(t, c, p.online()))); !slices.Equal(got, want) {
			t.Errorf("in the end %s believes online\n\t%v\nbut so are\n\t%v", c.User, got, want)
		}
	}
}

// online_users comes before anything else of ours, whatever is being sent to
// the user meanwhile.
func TestOnlineUsersFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.Relay("typing"), heymanito.WithMaxDevices(100), rates(heymanito.Rate{}, heymanito.Rate{}))
		a.join("ann")
		bob := a.join("bob")
		var all sync.WaitGroup
		all.Go(func() {
			for i := range 500 {
				bob.Emit("sendMessage", mail(fmt.Sprint(i), "bob", "ann"))
				bob.Emit("typing", `{"senderChatPath":"bob","recipientChatPath":"ann"}`)
			}
		})
		var devices [30]*wiretest.Client
		for i := range devices {
			all.Go(func() {
				c, err := wiretest.TryConnect(t, host, "ann", wiretest.On(a.net))
				if err != nil {
					t.Error(err)
				}
				devices[i] = c
			})
		}
		all.Wait()
		synctest.Wait()
		for _, c := range devices {
			if c == nil {
				continue
			}
			log := c.Log()
			if len(log) == 0 || log[0].Name != "online_users" || len(c.Named("online_users")) != 1 {
				t.Errorf("a device has heard %.3v…, %d times online_users", log, len(c.Named("online_users")))
			}
			// Of the messages it has the last ones, without a gap.
			last := 500
			for _, e := range slices.Backward(c.Named("receiveMessage")) {
				last--
				if !strings.HasPrefix(string(e.Args[0]), fmt.Sprintf(`{"id":"%d"`, last)) {
					t.Errorf("a device has %v where message %d belongs", e, last)
					break
				}
			}
		}
	})
}

// book is a host's contacts.
type book struct {
	mu     sync.Mutex // guards the rest
	of     map[string][]string
	err    error
	called []string
}

func contacts(lines ...string) *book {
	b := &book{of: map[string][]string{}}
	for _, l := range lines {
		user, list, _ := strings.Cut(l, ": ")
		b.of[user] = strings.Fields(list)
	}
	return b
}

func (b *book) hook(_ context.Context, user string) ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.called = append(b.called, user)
	return b.of[user], b.err
}

func (b *book) set(user string, list ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of[user] = list
}

func (b *book) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *book) option() heymanito.Option {
	return heymanito.WithHooks(heymanito.Hooks{Contacts: b.hook})
}

// slow makes the hook wait, with its answer ready, for what hold says.
func (b *book) slow(hold <-chan chan struct{}) heymanito.Option {
	return heymanito.WithHooks(heymanito.Hooks{
		Contacts: func(ctx context.Context, user string) ([]string, error) {
			list, err := b.hook(ctx, user)
			select {
			case wait := <-hold:
				<-wait
			default:
			}
			return list, err
		},
	})
}

func (a *app) changed(user string) {
	a.t.Helper()
	if err := a.ContactsChanged(context.Background(), user); err != nil {
		a.t.Errorf("ContactsChanged(%s): %v", user, err)
	}
}

func TestContacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := contacts("ann: ann bob cid", "bob: ann bob nobody", "cid: bob")
		a := start(t, b.option())
		ann := a.join("ann", wiretest.Auth(`{"features":["lastSeen"]}`))
		ann.sees("ann")
		bob := a.join("bob")
		bob.sees("ann", "bob")
		cid := a.join("cid") // who has bob, whom ann has: nothing mutual
		cid.sees("cid")
		ann.hears(online("bob"))
		bob.hears()
		cid.hears()

		// cid adds ann, who has him already.
		b.set("cid", "ann", "bob")
		a.changed("ann")
		cid.hears() // it was not ann's list that has changed
		a.changed("cid")
		ann.hears(online("cid"))
		cid.hears(online("ann"))
		a.changed("cid")
		a.changed("ann")
		ann.hears()
		cid.hears()
		bob.hears()

		// ann throws bob out.
		b.set("ann", "cid")
		time.Sleep(time.Second)
		a.changed("ann")
		ann.hears(fmt.Sprintf(`contact_offline("bob", {"lastSeen":%d})`, begin+1000))
		bob.hears(offline("ann"))
		cid.hears()
		bob.Goodbye()
		ann.hears()
		bob = a.join("bob")
		bob.sees("bob <bob 2>")
		ann.hears()

		// And takes him back, while he is in his grace.
		bob.Cut()
		synctest.Wait()
		b.set("ann", "bob", "cid")
		a.changed("ann")
		ann.hears(online("bob"))
		a.join("ann").sees("ann <ann 2>", "bob <bob 2>", "cid")
		time.Sleep(5 * time.Second)
		ann.hears(fmt.Sprintf(`contact_offline("bob", {"lastSeen":%d})`, begin+6000))

		// Who is not there need not be asked about.
		b.set("bob", "ann", "cid")
		a.changed("bob")
		ann.hears()
		cid.hears()
		bob = a.join("bob")
		bob.sees("ann <ann 2>", "bob <bob 3>", "cid")
		ann.hears(online("bob"))
		cid.hears(online("bob"))
		b.set("cid", "bob")
		a.changed("cid")
		cid.hears(offline("ann"))
		bob.hears()
		ann.hears(fmt.Sprintf(`contact_offline("cid", {"lastSeen":%d})`, begin+6000))
	})
}

func TestContactsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := contacts("ann: bob", "bob: ann")
		a := start(t, b.option())
		ann := a.join("ann")
		down := errors.New("the database is down")
		b.fail(down)
		if got := a.closed("bob"); got != "1013 unavailable" {
			t.Errorf("with its contacts unknown a client was closed with %s", got)
		}
		if err := a.ContactsChanged(t.Context(), "ann"); !errors.Is(err, down) {
			t.Errorf("ContactsChanged: %v, want %v", err, down)
		}
		// It is not known whether bob has ann: nothing is said.
		if code := ann.code("sendMessage", mail("m", "ann", "bob")); code != "unavailable" {
			t.Errorf("a message to a user whose contacts are unknown: %s", code)
		}
		ann.hears()
		if ann.code("wiretest-sync") != "invalid" {
			t.Error("ann has lost her connection")
		}
		b.fail(nil)
		a.join("bob").sees("ann", "bob")
		ann.hears(online("bob"))
	})
}

// A stranger's acks are the same whether or not somebody is there.
func TestStrangerLearnsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := contacts("ann: bob cid", "bob: ann", "cid: bob")
		a := start(t, b.option(), heymanito.Relay("nudge"), heymanito.RelayVolatile("typing"))
		ann, cid := a.join("ann"), a.join("cid")
		random := func(ack string) string {
			for _, key := range []string{"callId", "roomName"} {
				if _, rest, ok := strings.Cut(ack, `"`+key+`":"`); ok {
					value, _, _ := strings.Cut(rest, `"`)
					ack = strings.ReplaceAll(ack, value, key)
				}
			}
			return ack
		}
		talks := 0
		talk := func(p *person) string {
			me := p.User
			talks++
			m := fmt.Sprintf("m%d", talks)
			both := fmt.Sprintf(`{"senderChatPath":%q,"recipientChatPath":"bob"}`, me)
			back := fmt.Sprintf(`{"senderChatPath":"bob","recipientChatPath":%q}`, me)
			lines := []string{strings.ReplaceAll(p.ask("sendMessage", mail(m, me, "bob")), m, "m")}
			call := p.EmitAck("initiateCall", fmt.Sprintf(`{"recipientId":"bob","callerId":%q}`, me))
			lines = append(lines, random(string(call.Raw)),
				random(p.ask("initiateCall", fmt.Sprintf(`{"recipientId":"bob","callerId":%q}`, me))),
				p.ask("nudge", both), p.ask("typing", both),
				p.ask("markAsRead", back), p.ask("markAsDelivered", back),
				p.ask("acceptCall", `{"callerId":"bob"}`),
				p.ask("rejectCall", fmt.Sprintf(`{"callerId":"bob","recipientId":%q}`, me)),
				random(p.ask("cancelCall", fmt.Sprintf(`{"callId":"%s"}`, cmp.Or(call.CallID, "none")))),
			)
			return strings.Join(append(lines, p.news()...), "\n\t")
		}
		absent := talk(cid)
		if !strings.Contains(absent, `"delivery":"queued"`) {
			t.Errorf("a stranger's message was not queued:\n\t%s", absent)
		}
		if got := talk(ann); got == absent || !strings.Contains(got, `"code":"offline"`) || !strings.Contains(got, "callRejected") {
			t.Errorf("a contact was told no more than a stranger:\n\t%s", got)
		}
		bob := a.join("bob").deaf()
		ann.hears(online("bob"))
		present := talk(cid)
		if present != absent {
			t.Errorf("a stranger can tell who is there from who is not:\n\t%s\nagainst\n\t%s", present, absent)
		}
		if heard := bob.news(); len(heard) != 8 || !strings.HasPrefix(heard[0], "receiveMessage") || !strings.HasPrefix(heard[1], "incomingCall") {
			t.Errorf("from the stranger bob has heard %q", heard)
		}
		if ack := ann.EmitAck("sendMessage", mail("m", "ann", "bob")); ack.Delivery != "sent" {
			t.Errorf("a contact's message was acked %s", ack.Raw)
		}
		bob.Cut()
		synctest.Wait()
		if got := talk(cid); got != absent {
			t.Errorf("a stranger can tell who is in his grace from who is not there:\n\t%s\nagainst\n\t%s", got, absent)
		}
	})
}

// ContactsChanged may come while the user is connecting, after the hook has
// read what has then changed.
func TestContactsChangeWhileConnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := contacts("ann: bob", "bob: ann")
		hold := make(chan chan struct{}, 1)
		a := start(t, b.slow(hold))
		ann := a.join("ann")
		first := make(chan struct{})
		hold <- first
		if err := a.dial("bob").Send("40"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.set("bob") // bob throws ann out
		a.changed("bob")
		close(first)
		if heard := ann.news(); len(heard) > 0 && heard[len(heard)-1] != offline("bob") {
			t.Errorf("ann, who is not bob's contact any more, is told %q", heard)
		}
		if got := ann.EmitAck("sendMessage", mail("m", "ann", "bob")).Delivery; got != "queued" {
			t.Errorf("ann, who is not bob's contact any more, has her message acked %q", got)
		}
	})
}

// Two ContactsChanged may overtake each other: what the hook says last stands.
func TestContactsChangesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := contacts("ann: bob", "bob: ann")
		hold := make(chan chan struct{}, 1)
		a := start(t, b.slow(hold))
		ann := a.join("ann")
		a.join("bob")
		ann.hears(online("bob"))
		first := make(chan struct{})
		hold <- first
		var all sync.WaitGroup
		all.Go(func() { a.changed("bob") }) // has read that ann is a contact
		synctest.Wait()
		b.set("bob")
		a.changed("bob")
		ann.hears(offline("bob"))
		close(first)
		all.Wait()
		ann.hears()
	})
}

// moody is a store that fails when it is told to. Set on the MemoryPresence
// inside of it is what another node would do.
type moody struct {
	*heymanito.MemoryPresence

	mu       sync.Mutex // guards the rest
	set      func(ctx context.Context, p heymanito.Presence) error
	snapshot error
	watch    error // of the next calls
	cut      context.CancelCauseFunc
	sets     []string
}

func newMoody() *moody { return &moody{MemoryPresence: heymanito.NewMemoryPresence()} }

func (m *moody) onSet(f func(ctx context.Context, p heymanito.Presence) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set = f
}

func (m *moody) Set(ctx context.Context, p heymanito.Presence) error {
	m.mu.Lock()
	f := m.set
	m.sets = append(m.sets, fmt.Sprintf("%s %v", p.User, p.Online))
	m.mu.Unlock()
	if f != nil {
		if err := f(ctx, p); err != nil {
			return err
		}
	}
	return m.MemoryPresence.Set(ctx, p)
}

// took returns the calls of Set since the last time.
func (m *moody) took() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.sets
	m.sets = nil
	return l
}

func (m *moody) fail(watch, snapshot error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watch, m.snapshot = watch, snapshot
	if watch != nil && m.cut != nil {
		m.cut(watch)
	}
}

func (m *moody) Watch(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
	m.mu.Lock()
	err := m.watch
	ctx, m.cut = context.WithCancelCause(ctx)
	m.mu.Unlock()
	if err != nil {
		return err
	}
	err = m.MemoryPresence.Watch(ctx, ready, edge)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (m *moody) Snapshot(ctx context.Context) iter.Seq2[heymanito.Presence, error] {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.snapshot; err != nil {
		return func(yield func(heymanito.Presence, error) bool) { yield(heymanito.Presence{}, err) }
	}
	return m.MemoryPresence.Snapshot(ctx)
}

// elsewhere is what another node tells the store.
func (m *moody) elsewhere(t *testing.T, user, socketID string, online bool) {
	t.Helper()
	p := heymanito.Presence{User: user, SocketID: socketID, Online: online}
	if err := m.MemoryPresence.Set(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

var errDown = errors.New("the store is down")

func TestUsersElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMoody()
		a := start(t, heymanito.WithPresence(store))
		store.elsewhere(t, "yon", "y1", true)
		ann := a.join("ann")
		ann.sees("ann", "yon y1")
		store.elsewhere(t, "zoe", "z1", true)
		ann.hears(online("zoe"))
		store.elsewhere(t, "zoe", "z2", true) // moved
		store.elsewhere(t, "yon", "y1", false)
		ann.hears(offline("yon"))
		a.join("bob").sees("ann", "bob", "zoe z2")
		ann.hears(online("bob"))
		if ack := ann.EmitAck("sendMessage", mail("m", "ann", "zoe")); ack.Delivery != "offline" {
			t.Errorf("a message to a user of another node was acked %s", ack.Raw)
		}
		store.elsewhere(t, "zoe", "z2", false)
		ann.hears(offline("zoe"))
		time.Sleep(time.Second)
		ann.hears()
	})
}

func TestContactsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMoody()
		b := contacts("ann: zoe yon xia", "zoe: ann", "xia: ann", "yon: bob")
		a := start(t, heymanito.WithPresence(store), b.option())
		store.elsewhere(t, "xia", "x1", true)
		ann := a.join("ann")
		// xia's contacts were asked for when she was first of interest: ann may
		// have been told by the list, or after it.
		heard := ann.news()
		if _, listed := ann.online()["xia"]; listed == slices.Contains(heard, online("xia")) || len(heard) > 1 {
			t.Errorf("ann's online_users are %v, then she heard %q", ann.online(), heard)
		}
		store.elsewhere(t, "zoe", "z1", true)
		store.elsewhere(t, "yon", "y1", true) // has not ann
		store.elsewhere(t, "wim", "w1", true) // is nobody to ann
		ann.hears(online("zoe"))
		a.join("ann").sees("ann <ann 2>", "xia x1", "zoe z1")

		// The host says on every node who has changed.
		b.set("yon", "ann")
		a.changed("yon")
		ann.hears(online("yon"))
		b.set("zoe")
		a.changed("zoe")
		ann.hears(offline("zoe"))
		store.elsewhere(t, "zoe", "z1", false)
		store.elsewhere(t, "yon", "y1", false)
		store.elsewhere(t, "xia", "x1", false)
		heard = ann.news()
		slices.Sort(heard)
		if !slices.Equal(heard, []string{offline("xia"), offline("yon")}) {
			t.Errorf("ann has heard %q", heard)
		}
		// Whoever comes again is asked about again.
		b.set("zoe", "ann")
		store.elsewhere(t, "zoe", "z3", true)
		ann.hears(online("zoe"))
		if n := slices.Index(b.called, "wim"); n >= 0 {
			t.Error("the contacts were asked for of somebody whom nobody knows")
		}
	})
}

// impatient makes the server give a handshake up before the clients do.
var impatient = heymanito.WithHandshakeLimits(5*time.Second, 64<<10, 16)

func TestStoreFailsOnJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMoody()
		a := start(t, heymanito.WithPresence(store), impatient)
		ann := a.join("ann")
		for name, fail := range map[string]func(context.Context, heymanito.Presence) error{
			"at once": func(context.Context, heymanito.Presence) error { return errDown },
			"never answers": func(ctx context.Context, p heymanito.Presence) error {
				if p.Online {
					<-ctx.Done()
				}
				return ctx.Err()
			},
			"after it was heard": func(ctx context.Context, p heymanito.Presence) error {
				if p.Online {
					_ = store.MemoryPresence.Set(ctx, p)
					return errDown
				}
				return nil
			},
		} {
			store.onSet(fail)
			begun := time.Now()
			if got := a.closed("bob"); got != "1013 unavailable" && got != "1008 handshake timeout" {
				t.Errorf("%s: a client was closed with %s", name, got)
			}
			if took := time.Since(begun); took > 6*time.Second {
				t.Errorf("%s: it was closed after %v", name, took)
			}
			time.Sleep(time.Second)
			store.onSet(nil)
			time.Sleep(time.Minute)
			// Somebody may have heard of him, but then also that he was gone.
			if heard := ann.news(); len(heard) > 0 && !slices.Equal(heard, []string{online("bob"), offline("bob")}) {
				t.Errorf("%s: ann has heard %q", name, heard)
			}
			cid := a.join("cid")
			if list := cid.online(); len(list) != 2 || list["ann"] == "" {
				t.Errorf("%s: then online_users were %v", name, list)
			}
			cid.Goodbye()
			synctest.Wait()
			bob := a.join("bob")
			ann.hears(online("cid"), offline("cid"), online("bob"))

			// A second device that cannot be told of leaves the first alone.
			store.onSet(fail)
			a.closed("bob")
			store.onSet(nil)
			time.Sleep(time.Minute)
			ann.hears()
			if _, ok := bob.online()["bob"]; !ok || bob.code("wiretest-sync") != "invalid" {
				t.Errorf("%s: the first device is gone", name)
			}
			bob.Goodbye()
			ann.hears(offline("bob"))
		}
	})
}

func TestStoreFailsOnLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMoody()
		a := start(t, heymanito.WithPresence(store))
		ann := a.join("ann")
		bob := a.join("bob")
		ann.hears(online("bob"))
		store.onSet(func(context.Context, heymanito.Presence) error { return errDown })
		bob.Goodbye()
		time.Sleep(11 * time.Second)
		ann.hears()
		store.took()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(store.took()); n < 2 || n > 10 {
			t.Errorf("in ten seconds the store was tried %d times", n)
		}
		store.onSet(nil)
		time.Sleep(3 * time.Second)
		ann.hears(offline("bob"))
		store.took()
		time.Sleep(time.Minute)
		synctest.Wait()
		if calls := store.took(); len(calls) != 0 {
			t.Errorf("and then it was still told %v", calls)
		}

		// Who comes back before the store has heard that he was gone never was.
		bob = a.join("bob")
		ann.hears(online("bob"))
		store.onSet(func(_ context.Context, p heymanito.Presence) error {
			if !p.Online {
				return errDown
			}
			return nil
		})
		bob.Goodbye()
		synctest.Wait()
		bob = a.join("bob")
		store.onSet(nil)
		time.Sleep(time.Minute)
		ann.hears()
		bob.Goodbye()
		ann.hears(offline("bob"))
	})
}

// A store that hangs for one user hangs for nobody else.
func TestStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMoody()
		store.onSet(func(ctx context.Context, p heymanito.Presence) error {
			if p.User != "bob" {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		a := start(t, heymanito.WithPresence(store), impatient)
		ann := a.join("ann")
		var all sync.WaitGroup
		begun := time.Now()
		for range 3 {
			all.Go(func() { a.closed("bob") })
		}
		synctest.Wait()
		cid := a.join("cid")
		ann.hears(online("cid"))
		if got := ann.EmitAck("sendMessage", mail("m", "ann", "cid")).Delivery; got != "sent" {
			t.Errorf("delivery %q", got)
		}
		cid.Goodbye()
		ann.hears(offline("cid"))
		if time.Since(begun) != 0 {
			t.Errorf("somebody has waited for %v", time.Since(begun))
		}
		all.Wait()
	})
}

func TestWatchEndsAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMoody()
		a := start(t, heymanito.WithPresence(store))
		ann, bob, cid := a.join("ann"), a.join("bob"), a.join("cid")
		store.elsewhere(t, "yon", "y1", true)
		ann.hears(online("bob"), online("cid"), online("yon"))
		store.fail(errDown, nil)
		synctest.Wait()
		bob.Goodbye()
		store.elsewhere(t, "yon", "y1", false)
		store.elsewhere(t, "zoe", "z1", true)
		store.elsewhere(t, "xia", "x1", true)
		store.elsewhere(t, "xia", "x1", false)
		cid.Goodbye()
		dan := a.join("dan") // may come, and is let in with what is known
		if _, ok := dan.online()["dan"]; !ok {
			t.Errorf("dan is not among his own online_users %v", dan.online())
		}
		cid = a.join("cid") // came and went and came while nobody watched
		time.Sleep(time.Minute)
		ann.hears(online("dan")) // who is here is known without the store
		store.fail(nil, nil)
		time.Sleep(3 * time.Second)
		heard := ann.news()
		slices.Sort(heard)
		if want := []string{offline("bob"), offline("yon"), online("zoe")}; !slices.Equal(heard, want) {
			t.Errorf("after the watch came back ann has heard %q, want %q", heard, want)
		}
		a.join("eve").sees("ann", "cid <cid 2>", "dan", "eve", "zoe z1")
		synctest.Wait()
		for _, p := range []*person{ann, cid, dan} {
			believes := witness(t, p.Client, p.online())
			if got := slices.Sorted(maps.Keys(believes)); !slices.Equal(got, []string{"ann", "cid", "dan", "eve", "zoe"}) {
				t.Errorf("%s believes online: %v", p.User, got)
			}
		}

		// A snapshot that fails is a watch that fails.
		ann.deaf()
		store.fail(errDown, errDown)
		synctest.Wait()
		store.elsewhere(t, "zoe", "z1", false)
		store.fail(nil, errDown)
		time.Sleep(time.Minute)
		ann.hears()
		store.fail(nil, nil)
		time.Sleep(3 * time.Second)
		ann.hears(offline("zoe"))
	})
}

// With a store that cannot be watched nobody is let in, and all come back.
func TestNothingToWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMoody()
		store.fail(errDown, nil)
		a := start(t, heymanito.WithPresence(store), impatient)
		if got := a.closed("ann"); got != "1013 unavailable" && got != "1008 handshake timeout" {
			t.Errorf("the client was closed with %s", got)
		}
		store.fail(nil, errDown)
		a.closed("ann")
		store.fail(nil, nil)
		a.join("ann").sees("ann")
	})
}

// Who comes back within his grace, and breaks off again before he is let in,
// has not said goodbye: the rest of his grace is his.
func TestBrokenReturnKeepsTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMoody()
		a := start(t, heymanito.WithPresence(store))
		ann := a.join("ann")
		bob := a.join("bob")
		ann.hears(online("bob"))
		bob.Cut()
		time.Sleep(time.Second)
		store.onSet(func(ctx context.Context, p heymanito.Presence) error {
			if p.Online {
				<-ctx.Done()
			}
			return ctx.Err()
		})
		ws := a.dial("bob")
		if err := ws.Send("40"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ws.Close()
		synctest.Wait()
		store.onSet(nil)
		ann.hears()
		time.Sleep(time.Second)
		ann.hears()
		a.join("bob")
		time.Sleep(time.Minute)
		ann.hears()
	})
}

func TestDeviceCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithMaxDevices(2))
		ann := a.join("ann")
		bob, bob2 := a.join("bob"), a.join("bob")
		ann.hears(online("bob"))
		bob3 := a.join("bob")
		if err := bob.Closed(wiretest.Timeout); err.Error() != "closed by the server: 1008 too many devices" {
			t.Errorf("the oldest device: %v", err)
		}
		bob.hears() // no DISCONNECT: its client comes back
		ann.hears()
		bob4 := a.join("bob")
		if err := bob2.Closed(wiretest.Timeout); err.Error() != "closed by the server: 1008 too many devices" {
			t.Errorf("the oldest device: %v", err)
		}
		ann.Emit("sendMessage", mail("m", "ann", "bob"))
		for _, d := range []*person{bob3, bob4} {
			d.hears(received("receiveMessage", "m", "ann", "bob", begin))
		}
		bob3.Goodbye()
		bob4.Goodbye()
		ann.hears(offline("bob"))
	})
}

func TestDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		a := start(t, heymanito.WithHooks(heymanito.Hooks{
			OnDisconnect: func(_ context.Context, d heymanito.Device, reason string) { n.add("%s: %s", d.ChatPath, reason) },
		}))
		ann := a.join("ann")
		bob, bob2 := a.join("bob"), a.join("bob")
		if n := a.Disconnect("nobody", "x"); n != 0 {
			t.Errorf("nobody had %d devices", n)
		}
		if n := a.Disconnect("bob", `"banned"`); n != 2 {
			t.Errorf("bob had %d devices", n)
		}
		for _, d := range []*person{bob, bob2} {
			d.hears(`sessionEnded({"code":"\"banned\""})`, "disconnect()")
			var closed *wiretest.CloseError
			if err := d.Closed(wiretest.Timeout); !errors.As(err, &closed) {
				t.Errorf("then: %v", err)
			}
		}
		n.want(t, "bob: forced close", "bob: forced close")
		time.Sleep(5 * time.Second)
		ann.hears(online("bob"), offline("bob"))
		a.join("bob") // it is the auth hook that keeps people out
	})
}

// A device that is kicked while it is being let in is let in first: only then
// does its client know what a DISCONNECT packet means.
func TestKickedOnTheWayIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMoody()
		slow := make(chan struct{})
		store.onSet(func(_ context.Context, p heymanito.Presence) error {
			if p.User == "bob" && p.Online {
				<-slow
			}
			return nil
		})
		a := start(t, heymanito.WithPresence(store))
		ann := a.join("ann")
		ws := a.dial("bob")
		if err := ws.Write(wiretest.Texts("40", `42["sendMessage",`+mail("m", "bob", "ann")+`]`)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := a.Disconnect("bob", "banned"); n != 1 {
			t.Errorf("bob had %d devices", n)
		}
		close(slow)
		got := texts(t, ws, 4)
		if !strings.HasPrefix(got[0], `40{`) || !strings.HasPrefix(got[1], `42["online_users",`) ||
			got[2] != `42["sessionEnded",{"code":"banned"}]` || got[3] != "41" {
			t.Errorf("bob was sent %q", got)
		}
		time.Sleep(time.Minute)
		ann.hears(online("bob"), offline("bob")) // and what he was going to say is not said
	})
}

// Shutdown tells the store nothing: the users come back, to another node.
func TestShutdownTellsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMoody()
		a := start(t, heymanito.WithPresence(store))
		ann := a.join("ann")
		a.join("bob")
		ann.deaf()
		store.took()
		if err := a.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if calls := store.took(); len(calls) != 0 {
			t.Errorf("Shutdown has told the store %v", calls)
		}
		ann.hears()
	})
}

// Clients that do not read hold no copies of the list of who is online: there
// is one for all of them. Not parallel: it measures the heap.
func TestOnlineUsersIsShared(t *testing.T) {
	store := heymanito.NewMemoryPresence()
	const size = 5000 * 210
	for i := range 5000 {
		p := heymanito.Presence{User: strings.Repeat("name", 50) + strconv.Itoa(i), Online: true, SocketID: "s"}
		if err := store.Set(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	b := newBed(t, heymanito.WithPresence(store))
	wiretest.Connect(t, b.URL, "first").Goodbye()
	before := heapNow()
	const clients = 100
	for i := range clients {
		p, err := wiretest.OpenPoll(b.URL, "deaf"+strconv.Itoa(i))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Quit)
		if err := p.Send("40"); err != nil { // and it never polls
			t.Fatal(err)
		}
	}
	wiretest.Eventually(t, "they are let in", func() bool {
		online, err := store.Online(t.Context(), []string{"deaf" + strconv.Itoa(clients-1)})
		return err == nil && online[0].Online
	})
	if grown := heapNow() - before; grown > 8*size {
		t.Errorf("%d clients that read nothing have cost %d KB; the list has %d KB", clients, grown>>10, size>>10)
	}
}
