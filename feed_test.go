package heymanito_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// keeping is start with an inbox in memory.
func keeping(t *testing.T, opts ...heymanito.Option) *app {
	t.Helper()
	return start(t, append([]heymanito.Option{heymanito.WithInbox(heymanito.NewMemoryInbox(heymanito.InboxBounds{}))}, opts...)...)
}

// note is a message that travels without content, as this test's events show
// it: who, which, and the seq.
func note(id, from, to string) string {
	return fmt.Sprintf(`{"id":%q,"senderChatPath":%q,"recipientChatPath":%q}`, id, from, to)
}

// entries is the news of a device in short: "receive m1 #3" for a
// receiveMessage of m1 with seq 3; presence is left out, and inboxReady is
// "ready #3", with "cut" when it is not complete.
func (p *person) entries() []string {
	p.app.t.Helper()
	p.news() // waits
	var l []string
	for _, e := range p.Log() {
		if s := entry(p.app.t, e); s != "" {
			l = append(l, s)
		}
	}
	return l
}

func entry(t testing.TB, e wiretest.Event) string {
	t.Helper()
	if len(e.Args) == 0 || strings.HasPrefix(e.Name, "contact_") || e.Name == "online_users" || strings.HasPrefix(e.Name, "ack ") {
		return ""
	}
	var f struct {
		ID       json.RawMessage
		UpToID   json.RawMessage
		Seq      uint64
		Complete *bool
		Epoch    string
	}
	if err := json.Unmarshal(e.Args[0], &f); err != nil {
		t.Fatalf("%v: %v", e, err)
	}
	short := map[string]string{
		"receiveMessage": "receive", "messageSent": "sent", "messagesDelivered": "delivered",
		"messagesRead": "read", "conversationRead": "mine read", "inboxReady": "ready",
		"entryErased": "erased",
	}[e.Name]
	id := f.ID
	if id == nil {
		id = f.UpToID
	}
	s := strings.TrimSpace(short + " " + strings.Trim(string(id), `"`))
	if f.Seq > 0 || e.Name == "inboxReady" {
		s += fmt.Sprintf(" #%d", f.Seq)
	}
	if f.Complete != nil && !*f.Complete {
		s += " cut"
	}
	return s
}

// has checks all that a device was told of its inbox.
func (p *person) has(want ...string) {
	p.app.t.Helper()
	if got := p.entries(); !slices.Equal(got, want) {
		p.app.t.Errorf("%s (%s) was told\n\t%s\nwant\n\t%s", p.User, p.app.plain(p.SID), strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// ready is what inboxReady said.
func (p *person) ready() (epoch string, seq uint64) {
	p.app.t.Helper()
	synctest.Wait()
	said := p.Named("inboxReady")
	if len(said) != 1 {
		p.app.t.Fatalf("%s was told inboxReady %d times", p.User, len(said))
	}
	var f struct {
		Epoch string
		Seq   uint64
		Now   int64
	}
	if err := json.Unmarshal(said[0].Args[0], &f); err != nil || f.Epoch == "" || f.Now == 0 {
		p.app.t.Fatalf("%v: %v", said[0], err)
	}
	return f.Epoch, f.Seq
}

func since(epoch string, seq uint64) wiretest.Option {
	return wiretest.Auth(fmt.Sprintf(`{"since":{"epoch":%q,"seq":%d}}`, epoch, seq))
}

func all() wiretest.Option { return wiretest.Auth(`{"since":{}}`) }

// sends sends a message and checks the ack.
func (p *person) sends(id, to string, seq int, delivery string) {
	p.app.t.Helper()
	synctest.Wait() // for receipts, which take a place as well
	ack := p.EmitAck("sendMessage", note(id, p.User, to))
	if got := fmt.Sprintf("#%d %s", ack.Seq, ack.Delivery); ack.Status != "ok" || got != fmt.Sprintf("#%d %s", seq, delivery) {
		p.app.t.Errorf("%s: message %s to %s was acked %s, want #%d %s", p.User, id, to, ack.Raw, seq, delivery)
	}
}

// What is sent to somebody who is away waits for him; once a device of his has
// read it, it is not sent again, and its sender knows.
func TestAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t)
		ann := a.join("ann")
		ann.has("ready #0")
		ann.sends("m1", "bob", 1, "queued")
		ann.sends("m2", "bob", 2, "queued")
		bob := a.join("bob")
		bob.has("receive m1 #1", "receive m2 #2", "ready #2")
		ann.has("ready #0", "delivered m2 #3")
		ann.sends("m3", "bob", 4, "sent")
		bob.has("receive m1 #1", "receive m2 #2", "ready #2", "receive m3 #3")
		time.Sleep(2 * time.Second)
		ann.has("ready #0", "delivered m2 #3", "delivered m3 #5")
		bob.Cut()
		synctest.Wait()
		ann.sends("m4", "bob", 6, "queued")
		bob = a.join("bob")
		bob.has("receive m4 #4", "ready #4")
		time.Sleep(time.Second)
		ann.has("ready #0", "delivered m2 #3", "delivered m3 #5", "delivered m4 #7")
		a.join("bob").has("ready #4")
		a.join("ann").has("ready #7")
	})
}

// What a connection took and nobody has read is sent again.
func TestSentIsNotGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t)
		ann := a.join("ann")
		bob := a.dial("bob")
		if err := bob.Send("40"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ann.sends("m1", "bob", 1, "sent")
		synctest.Wait()
		bob.Close() // without an answer to the ping
		synctest.Wait()
		ann.has("ready #0")
		a.join("bob").has("receive m1 #1", "ready #1")
		ann.has("ready #0", "delivered m1 #2")
	})
}

// A client with since gets what is behind its position, whatever others have.
func TestSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t)
		ann := a.join("ann")
		for i := range 3 {
			ann.sends(fmt.Sprint("m", i+1), "bob", i+1, "queued")
		}
		phone := a.join("bob", all())
		phone.has("receive m1 #1", "receive m2 #2", "receive m3 #3", "ready #3")
		epoch, seq := phone.ready()
		if seq != 3 {
			t.Errorf("ready at %d", seq)
		}
		phone.Goodbye()
		synctest.Wait()
		ann.sends("m4", "bob", 5, "queued") // 4 is what ann was told of the phone
		a.join("bob", since(epoch, 1)).has("receive m2 #2", "receive m3 #3", "receive m4 #4", "ready #4")
		a.join("bob", since(epoch, 4)).has("ready #4")
		a.join("bob", since(epoch, 0)).has("receive m1 #1", "receive m2 #2", "receive m3 #3", "receive m4 #4", "ready #4")
		a.join("bob", since(epoch, 5)).has("receive m1 #1", "receive m2 #2", "receive m3 #3", "receive m4 #4", "ready #4 cut")
		a.join("bob", since("another", 2)).has("receive m1 #1", "receive m2 #2", "receive m3 #3", "receive m4 #4", "ready #4 cut")
		a.join("bob", wiretest.Auth(`{"since":null}`)).has("ready #4")
		for _, wrong := range []string{`1`, `"x"`, `[]`, `{"epoch":"x"}`, `{"seq":1}`, `{"epoch":"","seq":1}`, `{"epoch":1,"seq":1}`, `{"epoch":"x","seq":-1}`, `{"epoch":"x","seq":1.5}`, `{"epoch":"x","seq":"1"}`} {
			if said := a.refused("bob", wiretest.Auth(`{"since":`+wrong+`}`)); !strings.Contains(said, `"code":"invalid"`) {
				t.Errorf("since %s: %s", wrong, said)
			}
		}
	})
}

// What a client says it has, in a connection that broke before it could show
// it, is given.
func TestSinceIsProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t)
		ann, cid, dan := a.join("ann"), a.join("cid"), a.join("dan")
		ann.sends("m1", "bob", 1, "queued")
		cid.sends("c1", "bob", 1, "queued")
		dan.sends("d1", "bob", 1, "queued")
		epoch, _ := ann.ready()
		a.join("bob", since(epoch, 2)).has("receive d1 #3", "ready #3")
		time.Sleep(2 * time.Second)
		ann.has("ready #0", "delivered m1 #2")
		cid.has("ready #0", "delivered c1 #2")
		dan.has("ready #0", "delivered d1 #2")
		a.join("bob").has("ready #3")
	})
}

// At every device of a user the seq grows by one with each entry, or with the
// ack of its own doing.
func TestOwnDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t)
		ann, ann2, bob, bob2 := a.join("ann"), a.join("ann"), a.join("bob"), a.join("bob")
		ann.sends("m1", "bob", 1, "sent")
		ann2.has("ready #0", "sent m1 #1", "delivered m1 #2")
		ann.has("ready #0", "delivered m1 #2")
		bob.sends("b1", "ann", 2, "sent")
		bob2.has("ready #0", "receive m1 #1", "sent b1 #2")
		ann.sends("note", "ann", 4, "sent") // 3 is b1
		ann2.has("ready #0", "sent m1 #1", "delivered m1 #2", "receive b1 #3", "receive note #4")
		ann.has("ready #0", "delivered m1 #2", "receive b1 #3")

		// Whoever comes back finds his own doing, unless he knows it.
		epoch, _ := ann.ready()
		a.join("ann", since(epoch, 0)).has("sent m1 #1", "delivered m1 #2", "receive b1 #3", "receive note #4", "ready #4")
		time.Sleep(2 * time.Second)
		a.join("ann").has("ready #4")
	})
}

// The same message again is handled once, whoever sends it again, and from
// wherever.
func TestDuplicates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		var gate chan struct{}
		a := keeping(t, heymanito.WithHooks(heymanito.Hooks{
			BeforeMessage: func(_ context.Context, m heymanito.Message) error {
				n.add("before %s", m.ID)
				if gate != nil {
					<-gate
				}
				if string(m.ID) == `"bad"` {
					return errors.New("the host's database is down")
				}
				return nil
			},
			AfterMessage: func(_ context.Context, m heymanito.Message, d heymanito.Delivery) {
				n.add("after %s %s", m.ID, d.Status)
			},
		}))
		ann, ann2, bob := a.join("ann"), a.join("ann"), a.join("bob")
		first := ann.EmitAck("sendMessage", note("m1", "ann", "bob"))
		time.Sleep(time.Second)
		for _, p := range []*person{ann, ann2} {
			again := p.EmitAck("sendMessage", `{"id":"m1","senderChatPath":"ann","recipientChatPath":"bob","content":"other"}`)
			want := strings.TrimSuffix(string(first.Raw), "}") + `,"duplicate":true}`
			if string(again.Raw) != want {
				t.Errorf("again: %s, want %s", again.Raw, want)
			}
		}
		ann.sends("m1", "ann", 3, "sent") // another recipient, another message
		bob.has("ready #0", "receive m1 #1")
		time.Sleep(5 * time.Second)
		n.want(t, `before "m1"`, `after "m1" sent`, `before "m1"`, `after "m1" sent`)

		// While the first is being handled the second waits for it.
		gate = make(chan struct{})
		var all sync.WaitGroup
		acks := make([]wiretest.Ack, 2)
		for i, p := range []*person{ann, ann2} {
			all.Go(func() { acks[i] = p.EmitAck("sendMessage", note("m2", "ann", "bob")) })
			synctest.Wait()
		}
		n.want(t, `before "m2"`)
		close(gate)
		all.Wait()
		if acks[0].Duplicate || !acks[1].Duplicate || acks[0].Seq != acks[1].Seq || acks[0].Delivery != acks[1].Delivery {
			t.Errorf("acked %s and %s", acks[0].Raw, acks[1].Raw)
		}

		// After one that failed it is handled anew.
		gate = make(chan struct{})
		for i, p := range []*person{ann, ann2} {
			all.Go(func() { acks[i] = p.EmitAck("sendMessage", note("bad", "ann", "bob")) })
			synctest.Wait()
		}
		close(gate)
		all.Wait()
		if acks[0].Code != "unavailable" || acks[1].Code != "unavailable" {
			t.Errorf("acked %s and %s", acks[0].Raw, acks[1].Raw)
		}
		time.Sleep(5 * time.Second)
		got := n.read()
		slices.Sort(got) // AfterMessage comes when it comes
		if want := []string{`after "m2" sent`, `before "bad"`, `before "bad"`}; !slices.Equal(got, want) {
			t.Errorf("the hooks have noted %q", got)
		}
		bob.has("ready #0", "receive m1 #1", "receive m2 #2")
	})
}

// Numbers and strings are different ids.
func TestDuplicateIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t)
		ann := a.join("ann")
		for i, id := range []string{`1`, `"1"`, `1.0`, `"m"`, `1`, `"1"`} {
			ack := ann.EmitAck("sendMessage", `{"id":`+id+`,"senderChatPath":"ann","recipientChatPath":"bob"}`)
			if ack.Duplicate != (i >= 4) {
				t.Errorf("%s: %s", id, ack.Raw)
			}
		}
	})
}

// Without an inbox a message is handled once, too.
func TestDuplicatesWithoutInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithoutInbox())
		ann, bob := a.join("ann"), a.join("bob")
		first := ann.EmitAck("sendMessage", note("m1", "ann", "bob"))
		again := ann.EmitAck("sendMessage", note("m1", "ann", "bob"))
		if want := strings.TrimSuffix(string(first.Raw), "}") + `,"duplicate":true}`; string(again.Raw) != want {
			t.Errorf("again: %s, want %s", again.Raw, want)
		}
		if heard := bob.news(); len(heard) != 1 {
			t.Errorf("bob has heard %q", heard)
		}
		if ack := ann.EmitAck("sendMessage", note("m2", "ann", "eve")); ack.Delivery != "offline" {
			t.Errorf("acked %s", ack.Raw)
		}
		if ack := ann.EmitAck("sendMessage", note("m2", "ann", "eve")); ack.Delivery != "offline" || !ack.Duplicate {
			t.Errorf("acked %s", ack.Raw)
		}
	})
}

// A client that asks for acks has a message when it says so, and not before.
func TestAcksFeature(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t)
		ann := a.join("ann")
		ann.sends("m1", "bob", 1, "queued")
		bob := a.join("bob", wiretest.Auth(`{"features":["acks"]}`))
		bob.has("receive m1 #1", "ready #1")
		ann.sends("m2", "bob", 2, "sent")
		time.Sleep(time.Minute)
		ann.has("ready #0")
		bob.has("receive m1 #1", "ready #1", "receive m2 #2")
		if err := bob.Send(`431[]`); err != nil { // m1's callback
			t.Fatal(err)
		}
		ann.has("ready #0", "delivered m1 #3")
		for _, nonsense := range []string{`43[]`, `4399999999999999999999[]`, `431[1]`, `430[]`} {
			if err := bob.Send(nonsense); err != nil {
				t.Fatal(err)
			}
		}
		ann.has("ready #0", "delivered m1 #3")
		if err := bob.Send(`432["got it"]`); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // one report in a second
		ann.has("ready #0", "delivered m1 #3", "delivered m2 #4")
		// The callback says nothing of what was not sent yet.
		if err := bob.Send(`4399[]`); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ann.sends("m3", "bob", 5, "sent")
		ann.has("ready #0", "delivered m1 #3", "delivered m2 #4")
		bob.Cut()
		synctest.Wait()
		a.join("bob").has("receive m3 #3", "ready #3")
	})
}

// moodyInbox fails, or waits, when it is told to.
type moodyInbox struct {
	heymanito.Inbox
	mu   sync.Mutex
	fail func(method string) error
	read func(user string, limit int) // between a Since's answer and its use
	hung bool                         // Append does not come back before its ctx ends
}

func (m *moodyInbox) hang(hung bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hung = hung
}

// lost loses the answer to an Append.
func lost(method string) error {
	if method == "appended" {
		return errors.New("timeout")
	}
	return nil
}

func (m *moodyInbox) reads(f func(user string, limit int)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.read = f
}

// holdPage holds up the next page of a user's inbox that is read, until the gate
// is closed.
func (m *moodyInbox) holdPage(of string) (gate chan struct{}) {
	gate = make(chan struct{})
	var once sync.Once
	m.reads(func(user string, limit int) {
		if user == of && limit > 0 {
			once.Do(func() { <-gate })
		}
	})
	return gate
}

func (m *moodyInbox) mood(f func(method string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = f
}

func (m *moodyInbox) ask(method string) error {
	m.mu.Lock()
	f := m.fail
	m.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(method)
}

func (m *moodyInbox) Append(ctx context.Context, entries ...heymanito.Entry) ([]heymanito.Receipt, error) {
	m.mu.Lock()
	hung := m.hung
	m.mu.Unlock()
	if hung {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err := m.ask("Append"); err != nil {
		return nil, err
	}
	if err := m.ask("Append " + entries[0].Event); err != nil {
		return nil, err
	}
	r, err := m.Inbox.Append(ctx, entries...)
	if err2 := m.ask("appended"); err2 != nil { // it is there all the same
		return nil, err2
	}
	return r, err
}

func (m *moodyInbox) Since(ctx context.Context, user string, after uint64, limit int) (heymanito.Page, error) {
	if err := m.ask("Since"); err != nil {
		return heymanito.Page{}, err
	}
	p, err := m.Inbox.Since(ctx, user, after, limit)
	m.mu.Lock()
	f := m.read
	m.mu.Unlock()
	if f != nil {
		f(user, limit)
	}
	return p, err
}

func (m *moodyInbox) AckThrough(ctx context.Context, user string, seq uint64) error {
	if err := m.ask("AckThrough"); err != nil {
		return err
	}
	return m.Inbox.AckThrough(ctx, user, seq)
}

// A store that is down is no loss: the client sends again, or comes again.
func TestInboxDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store))
		ann, bob := a.join("ann"), a.join("bob")
		down := errors.New("the disk is full")
		for _, when := range []string{"Append", "appended"} {
			store.mood(func(method string) error {
				if method == when {
					return down
				}
				return nil
			})
			if code := ann.code("sendMessage", note("m-"+when, "ann", "bob")); code != "unavailable" {
				t.Errorf("%s fails: %s", when, code)
			}
			store.mood(nil)
			if code := ann.code("sendMessage", note("m-"+when, "ann", "bob")); code != "ok" {
				t.Errorf("after %s has failed: %s", when, code)
			}
			time.Sleep(time.Second) // its receipt
		}
		bob.has("ready #0", "receive m-Append #1", "receive m-appended #2")
		ann.has("ready #0", "delivered m-Append #2", "delivered m-appended #4")
		ann.sends("m3", "bob", 5, "sent")
		bob.has("ready #0", "receive m-Append #1", "receive m-appended #2", "receive m3 #3")
		store.mood(func(method string) error {
			if method == "Since" {
				return down
			}
			return nil
		})
		if end := a.closed("cid"); !strings.HasPrefix(end, "1013") {
			t.Errorf("whose inbox cannot be read: %s", end)
		}
		store.mood(nil)
		a.join("cid").has("ready #0")
	})
}

// Whatever order the store's answers come in, at every device the seqs grow by
// one, with the acks of what it does itself in their places.
func TestSeqsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		var jitter atomic.Int64
		store.mood(func(method string) error {
			if method == "appended" { // what was first is told later
				time.Sleep(time.Duration(jitter.Add(7919)%13) * time.Millisecond)
			}
			return nil
		})
		a := start(t, heymanito.WithInbox(store))
		const devices, each = 8, 40
		var people []*person
		for i := range devices {
			user := "user" + strconv.Itoa(i%4) // two devices each
			people = append(people, a.join(user, all()))
		}
		var running sync.WaitGroup
		for i, p := range people {
			running.Go(func() {
				for k := range each {
					to := "user" + strconv.Itoa((i+k)%4)
					if ack := p.EmitAck("sendMessage", note(fmt.Sprintf("%d-%d", i, k), p.User, to)); ack.Status != "ok" {
						t.Errorf("acked %s", ack.Raw)
					}
					if k%10 == 9 {
						p.EmitAck("markAsRead", fmt.Sprintf(`{"senderChatPath":%q,"recipientChatPath":%q}`, to, p.User))
					}
				}
			})
		}
		running.Wait()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for _, p := range people {
			var last uint64
			for _, e := range p.Log() {
				if len(e.Args) == 0 || e.Name == "online_users" || strings.HasPrefix(e.Name, "contact_") || e.Name == "inboxReady" {
					continue
				}
				var f struct {
					Seq       uint64
					Duplicate bool
				}
				if err := json.Unmarshal(e.Args[0], &f); err != nil {
					t.Fatal(err)
				}
				if f.Seq == 0 || strings.HasPrefix(e.Name, "ack ") && f.Seq <= last { // of a watermark that stood there
					continue
				}
				if f.Seq != last+1 {
					t.Fatalf("%s: after #%d comes %v", p.User, last, e)
				}
				last = f.Seq
			}
			if last < each {
				t.Errorf("%s was told %d entries", p.User, last)
			}
		}
	})
}

// missed puts the messages m<from+1> to m<to> from ann to bob into a store, each
// with so many bytes besides.
func missed(t *testing.T, store heymanito.Inbox, from, to, pad int) {
	t.Helper()
	for i := from; i < to; i++ {
		id := fmt.Sprintf(`"m%d"`, i+1)
		if _, err := store.Append(t.Context(), heymanito.Entry{
			Key:  heymanito.Key{User: "bob", Event: "receiveMessage", Peer: "ann", ID: id},
			Time: time.Now(), Body: fmt.Appendf(nil, `{"id":%s,"pad":%q}`, id, strings.Repeat("x", pad)),
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// A long replay comes as the client takes it; what is sent meanwhile waits its
// turn, and so does the ack of what the client sends itself.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t, heymanito.WithMaxQueue(400_000))
		ann := a.join("ann")
		const missed = 1000
		content := strings.Repeat("x", 1000)
		for i := range missed {
			if ack := ann.EmitAck("sendMessage", fmt.Sprintf(`{"id":%d,"senderChatPath":"ann","recipientChatPath":"bob","content":%q}`, i, content)); ack.Delivery != "queued" {
				t.Fatalf("acked %s", ack.Raw)
			}
		}
		bob := a.dial("bob")
		if err := bob.Send("40"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // it reads nothing, and is not cut off
		ann.sends("live", "bob", missed+1, "queued")
		if err := bob.Send(`421["sendMessage",` + note("b1", "bob", "ann") + `]`); err != nil {
			t.Fatal(err)
		}
		var next uint64
		var acked bool
		for next < missed+2 {
			p, err := bob.Text()
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case p == "2":
				_ = bob.Send("3")
			case strings.HasPrefix(p, `42["receiveMessage"`), strings.HasPrefix(p, "431["):
				var f struct{ Seq uint64 }
				text := p[strings.IndexByte(p, '{') : len(p)-1]
				if err := json.Unmarshal([]byte(text), &f); err != nil {
					t.Fatalf("%s: %v", p, err)
				}
				if next++; f.Seq != next {
					t.Fatalf("after #%d comes %.100s", next-1, p)
				}
				acked = acked || p[1] == '3'
			}
		}
		if !acked {
			t.Error("bob's own message was not acked")
		}
		for {
			p, err := bob.Text()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(p, `"inboxReady",`) {
				break
			}
		}
		bob.Close()
	})
}

// The inbox has bounds; who comes later than they allow is told so.
func TestTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, heymanito.WithInbox(heymanito.NewMemoryInbox(heymanito.InboxBounds{Entries: 2})))
		ann := a.join("ann")
		epoch, _ := ann.ready()
		for i := range 4 {
			ann.sends(fmt.Sprint("m", i+1), "bob", i+1, "queued")
		}
		a.join("bob", since(epoch, 1)).has("receive m3 #3", "receive m4 #4", "ready #4 cut")
		a.join("bob", since(epoch, 2)).has("receive m3 #3", "receive m4 #4", "ready #4")
		a.join("bob", all()).has("receive m3 #3", "receive m4 #4", "ready #4 cut")
	})
}

// What is appended while a device looks whether there is more is not missed.
func TestLookAndAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store))
		ann, cid, bob := a.join("ann"), a.join("cid"), a.join("bob")
		ann.sends("m1", "bob", 1, "sent")
		time.Sleep(2 * time.Second)
		gate := store.holdPage("bob")
		if ack := ann.EmitAck("sendMessage", note("m1", "ann", "bob")); !ack.Duplicate { // again
			t.Fatal(ack)
		}
		synctest.Wait()
		cid.sends("c1", "bob", 1, "sent")
		close(gate)
		time.Sleep(10 * time.Minute)
		bob.has("ready #0", "receive m1 #1", "receive c1 #2")
	})
}

// An entry of an Append that failed is found, also by who is reading already.
func TestLookWhileReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store))
		ann := a.join("ann")
		ann.sends("m1", "bob", 1, "queued")
		gate := store.holdPage("bob")
		bob := a.join("bob") // its first page is read, and on its way
		store.mood(lost)
		if ack := ann.EmitAck("sendMessage", note("m2", "ann", "bob")); ack.Code != "unavailable" {
			t.Fatal(string(ack.Raw))
		}
		store.mood(nil)
		if ack := ann.EmitAck("sendMessage", note("m2", "ann", "bob")); !ack.Duplicate {
			t.Fatal(string(ack.Raw))
		}
		synctest.Wait()
		close(gate)
		time.Sleep(10 * time.Minute)
		bob.has("receive m1 #1", "receive m2 #2", "ready #2")
	})
}

// What was dropped between the head and the first page is told.
func TestDroppedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := heymanito.NewMemoryInbox(heymanito.InboxBounds{Entries: 3})
		store := &moodyInbox{Inbox: mem}
		a := start(t, heymanito.WithInbox(store))
		ann := a.join("ann")
		for i := range 3 {
			ann.sends(fmt.Sprint("m", i+1), "bob", i+1, "queued")
		}
		heads := 0
		store.reads(func(user string, limit int) {
			if user != "bob" || limit > 0 {
				return
			}
			if heads++; heads == 2 { // its head was read: 3 more come before its first page is
				for i := range 3 {
					if _, err := mem.Append(context.Background(), heymanito.Entry{
						Key:  heymanito.Key{User: "bob", Event: "receiveMessage", Peer: "ann", ID: fmt.Sprintf("%q", fmt.Sprint("m", i+4))},
						Time: time.Now(), Body: []byte(fmt.Sprintf(`{"id":"m%d"}`, i+4)),
					}); err != nil {
						t.Error(err)
					}
				}
			}
		})
		bob := a.join("bob", all())
		bob.has("receive m4 #4", "receive m5 #5", "receive m6 #6", "ready #6 cut")
	})
}

// A callback says nothing of the messages before its own.
func TestCallbacksOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t)
		ann := a.join("ann")
		bob := a.join("bob", wiretest.Auth(`{"features":["acks"]}`))
		ann.sends("m1", "bob", 1, "sent")
		ann.sends("m2", "bob", 2, "sent")
		synctest.Wait()
		if err := bob.Send(`432[]`); err != nil { // m2 is stored; m1, a photo, is still being stored
			t.Fatal(err)
		}
		synctest.Wait()
		bob.Cut()
		synctest.Wait()
		a.join("bob").has("receive m1 #1", "receive m2 #2", "ready #2")
	})
}

// A store that panics costs a device its connection, and nothing else.
func TestInboxPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store))
		a.panics = true
		ann := a.join("ann")
		ann.sends("m1", "bob", 1, "queued")
		store.reads(func(user string, limit int) {
			if user == "bob" && limit > 0 {
				panic("the host's store has a bug")
			}
		})
		b := a.dial("bob")
		_ = b.Send("40")
		synctest.Wait()
		b.Close()
	})
}

// Whoever is not let in because the inbox is down was never there.
func TestNeverLetIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store))
		bob := a.join("bob").deaf()
		store.mood(func(method string) error {
			if method == "Since" {
				return errors.New("down")
			}
			return nil
		})
		for range 10 {
			a.closed("cid")
			time.Sleep(3 * time.Second)
		}
		bob.hears()
	})
}

// A store that hangs costs its sender the time that a store may take.
func TestInboxHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store))
		ann := a.join("ann")
		store.hang(true)
		if err := ann.Send(`42777["sendMessage",` + note("m1", "ann", "bob") + `]`); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if acks := ann.Named("ack 777"); len(acks) != 1 || !strings.Contains(string(acks[0].Args[0]), `"unavailable"`) {
			t.Errorf("after a minute it is acked %v", acks)
		}
		store.hang(false)
		ann.sends("m1", "bob", 1, "queued")
	})
}

// A client that does not call back is told no more until it does; one that goes
// on for itself meanwhile is cut in the end.
func TestUnreadIsBounded(t *testing.T) {
	const most, tooMany = 10_000, 50_000
	synctest.Test(t, func(t *testing.T) {
		store := heymanito.NewMemoryInbox(heymanito.InboxBounds{Entries: 2 * tooMany, Bytes: 100_000_000})
		missed(t, store, 0, most-1, 0)
		a := start(t, heymanito.WithInbox(store))
		ann, bob := a.join("ann"), a.join("bob", wiretest.Auth(`{"features":["acks"]}`))
		got := func(want int) {
			t.Helper()
			synctest.Wait()
			if n := len(bob.Named("receiveMessage")); n != want {
				t.Fatalf("bob has had %d messages, want %d", n, want)
			}
		}
		ann.sends("x1", "bob", 1, "sent")
		ann.sends("x2", "bob", 2, "queued")
		got(most)
		for i := range most/2 + 1 {
			if err := bob.Send(fmt.Sprintf(`43%d[]`, i+1)); err != nil {
				t.Fatal(err)
			}
		}
		got(most + 1)
		ann.EmitAck("sendMessage", note("x3", "ann", "bob"))
		got(most + 2)
		missed(t, store, most, 2*tooMany, 0)
		bob.Emit("sendMessage", note("b1", "bob", "cid")) // its ack waits behind all that
		if err := bob.Closed(time.Hour); err == nil || errors.Is(err, wiretest.ErrStillOpen) {
			t.Errorf("a client that calls nothing back: %v", err)
		}
		if n := len(bob.Named("receiveMessage")); n > tooMany+2*most {
			t.Errorf("it was sent %d messages", n)
		}
	})
}

// On polling the next poll proves what the last one was answered with, whatever
// was sent while it was.
func TestPollProvesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t)
		ann := a.join("ann")
		p := &wiretest.Poll{URL: host + "/socket.io/?EIO=4&transport=polling&userId=bob", HTTP: a.http}
		open, err := p.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sid, _, _ := strings.Cut(strings.SplitAfter(open.Body, `"sid":"`)[1], `"`)
		p.URL += "&sid=" + sid
		if err := p.Join(); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				got, err := p.Get(ctx)
				if err != nil {
					return
				}
				if slices.Contains(got.Packets, "2") {
					_ = p.Send("3")
				}
			}
		}()
		synctest.Wait()
		for i := range 300 {
			id := fmt.Sprint("m", i)
			ann.EmitAck("sendMessage", note(id, "ann", "bob"))
			time.Sleep(time.Second) // one report in a second
			synctest.Wait()
			log := ann.Log()
			if last := log[len(log)-1]; last.Name != "messagesDelivered" || !strings.Contains(string(last.Args[0]), fmt.Sprintf("%q", id)) {
				t.Fatalf("%s was polled for, and the last that its sender heard is %v", id, last)
			}
		}
		stop()
		<-done
	})
}

// What is on its way to a device is not sent: not to one that is being let in,
// nor to one that does not take what it is sent.
func TestSentMeansTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store))
		ann := a.join("ann")
		ann.sends("m1", "bob", 1, "queued")
		gate := store.holdPage("bob")
		bob := a.dial("bob")
		if err := bob.Send("40"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ann.sends("m2", "bob", 2, "queued") // he has had no inboxReady
		close(gate)
		for {
			p, err := bob.Text()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(p, `"inboxReady",`) {
				break
			}
		}
		synctest.Wait()
		big := fmt.Sprintf(`{"id":"m3","senderChatPath":"ann","recipientChatPath":"bob","content":%q}`, strings.Repeat("x", 900_000))
		if ack := ann.EmitAck("sendMessage", big); ack.Delivery != "sent" {
			t.Fatal(string(ack.Raw))
		}
		store.mood(lost)
		ann.EmitAck("sendMessage", note("m4", "ann", "bob"))
		store.mood(nil)
		ann.EmitAck("sendMessage", note("m4", "ann", "bob")) // now his feed reads, and he does not
		synctest.Wait()
		ann.sends("m5", "bob", 5, "queued")
		bob.Close()
	})
}

// A device's own entry, of an Append that failed and appended it all the same,
// holds up what is behind it no longer than the event; and it is not told the
// device, which learns its seq when it sends again.
func TestOwnEntryOfAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store))
		ann, bob := a.join("ann"), a.join("bob")
		gate := make(chan struct{})
		var later atomic.Bool
		store.mood(func(method string) error {
			if method == "appended" && later.CompareAndSwap(false, true) {
				<-gate
				return errors.New("timeout")
			}
			return nil
		})
		ann.Emit("sendMessage", note("m1", "ann", "cid"))
		synctest.Wait()
		bob.sends("b1", "ann", 1, "sent")
		ann.has("ready #0")
		close(gate)
		ann.has("ready #0", "receive b1 #2")
		if ack := ann.EmitAck("sendMessage", note("m1", "ann", "cid")); ack.Seq != 1 || !ack.Duplicate {
			t.Errorf("acked %s", ack.Raw)
		}
		ann.has("ready #0", "receive b1 #2")
	})
}

// An ack tells a device that it has been told all before its seq: where the inbox
// cannot be read up to there, it does not come, and the device asks again.
func TestNoAckAheadOfTheInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store))
		ann, bob := a.join("ann"), a.join("bob")
		epoch, _ := ann.ready()
		store.mood(lost)
		if code := bob.code("sendMessage", note("b1", "bob", "ann")); code != "unavailable" {
			t.Fatal(code)
		}
		store.mood(func(method string) error {
			if method == "Since" {
				return errors.New("down")
			}
			return nil
		})
		if err := ann.Send(`421["sendMessage",` + note("m1", "ann", "cid") + `]`); err != nil {
			t.Fatal(err)
		}
		if end := ann.Closed(time.Minute); !strings.HasPrefix(fmt.Sprint(end), "closed by the server: 1013") {
			t.Errorf("the connection ended with %v", end)
		}
		if acks := ann.Named("ack 1"); len(acks) > 0 {
			t.Errorf("ann was not told #1, and %s", acks)
		}
		store.mood(nil)
		ann = a.join("ann", since(epoch, 0))
		ann.has("receive b1 #1", "sent m1 #2", "ready #2")
	})
}

// A position beyond the end says nothing of what the client has.
func TestSinceBeyondTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t)
		ann := a.join("ann")
		epoch, _ := ann.ready()
		ann.sends("m1", "bob", 1, "queued")
		bob := a.dial("bob")
		if err := bob.Send(fmt.Sprintf(`40{"since":{"epoch":%q,"seq":99}}`, epoch)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // he answers no ping
		ann.has("ready #0")
		bob.Close()
	})
}

// An entry that is bigger than a device's whole queue, kept since the queue was
// made smaller, reaches the device.
func TestEntryBiggerThanTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := heymanito.NewMemoryInbox(heymanito.InboxBounds{})
		missed(t, mem, 0, 4, 100_000)
		a := start(t, heymanito.WithInbox(mem), heymanito.WithMaxQueue(20_000))
		a.join("bob").has("receive m1 #1", "receive m2 #2", "receive m3 #3", "receive m4 #4", "ready #4")
	})
}

// Somebody else's end is no loss of a new user's. What a bound has dropped of
// the user's own is one.
func TestSinceTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := heymanito.NewMemoryInbox(heymanito.InboxBounds{Entries: 2, Age: time.Hour})
		a := start(t, heymanito.WithInbox(store))
		ann := a.join("ann")
		send := func(id, to string) {
			t.Helper()
			if code := ann.code("sendMessage", note(id, "ann", to)); code != "ok" {
				t.Fatalf("message %s to %s: %s", id, to, code)
			}
		}
		send("c1", "cid")
		send("c2", "cid")
		a.join("bob", all()).has("ready #0")
		if err := store.Forget(t.Context(), "cid"); err != nil {
			t.Fatal(err)
		}
		a.join("cid", all()).has("ready #2") // whoever was forgotten is new
		bob := a.join("bob", all())
		bob.has("ready #2")
		epoch, _ := bob.ready()
		send("b1", "bob")
		send("b2", "bob")
		a.join("bob", all()).has("receive b1 #3", "receive b2 #4", "ready #4")
		a.join("bob", since(epoch, 2)).has("receive b1 #3", "receive b2 #4", "ready #4")
		a.join("bob", since(epoch, 1)).has("receive b1 #3", "receive b2 #4", "ready #4 cut")
		send("b3", "bob")
		a.join("bob", all()).has("receive b2 #4", "receive b3 #5", "ready #5 cut")
		a.join("bob", since(epoch, 3)).has("receive b2 #4", "receive b3 #5", "ready #5")
		a.join("bob", since(epoch, 2)).has("receive b2 #4", "receive b3 #5", "ready #5 cut")
		time.Sleep(2 * time.Hour)
		a.join("bob", all()).has("ready #5 cut")
	})
}

// Nor is it one when it comes between the head and the first page.
func TestForgottenMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moodyInbox{Inbox: heymanito.NewMemoryInbox(heymanito.InboxBounds{})}
		a := start(t, heymanito.WithInbox(store))
		ann := a.join("ann")
		ann.sends("c1", "cid", 1, "queued")
		heads := 0
		store.reads(func(user string, limit int) {
			if user != "bob" || limit > 0 {
				return
			}
			if heads++; heads == 2 { // the first only shows that the store can be read
				if err := store.Forget(context.Background(), "cid"); err != nil {
					t.Error(err)
				}
				ann.sends("b1", "bob", 2, "queued")
			}
		})
		a.join("bob", all()).has("receive b1 #2", "ready #2")
	})
}

// Of what had to do with somebody who was forgotten, the others are told that
// there was something, so that they count on, and nothing else.
func TestErased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := heymanito.NewMemoryInbox(heymanito.InboxBounds{})
		a := start(t, heymanito.WithInbox(store))
		ann, cid := a.join("ann"), a.join("cid")
		ann.sends("m1", "bob", 1, "queued")
		ann.sends("m2", "bob", 2, "queued")
		cid.sends("c1", "bob", 1, "queued")
		ann.sends("m3", "bob", 3, "queued")
		ann.Goodbye()
		synctest.Wait()
		if err := store.Forget(t.Context(), "ann"); err != nil {
			t.Fatal(err)
		}
		untold := func(p *person) {
			t.Helper()
			for _, e := range p.Log() {
				said := e.String()
				for _, hers := range []string{`"ann"`, `"m1"`, `"m2"`, `"m3"`} {
					if strings.Contains(said, hers) {
						t.Errorf("%s of somebody who was forgotten is in %s", hers, said)
					}
				}
				if e.Name == "entryErased" && !strings.HasPrefix(string(e.Args[0]), `{"erased":true,"seq":`) {
					t.Error(said)
				}
			}
		}
		bob := a.join("bob")
		bob.has("erased #1", "erased #2", "receive c1 #3", "erased #4", "ready #4")
		untold(bob)
		epoch, _ := bob.ready()
		phone := a.join("bob", all())
		phone.has("erased #1", "erased #2", "receive c1 #3", "erased #4", "ready #4")
		untold(phone)
		a.join("bob", since(epoch, 1)).has("erased #2", "receive c1 #3", "erased #4", "ready #4")
		time.Sleep(2 * time.Second)
		cid.has("ready #0", "delivered c1 #2")
		bob.Goodbye()
		synctest.Wait()
		a.join("bob").has("ready #4") // they were given, as anything
		cid.sends("c2", "bob", 3, "sent")
		phone.has("erased #1", "erased #2", "receive c1 #3", "erased #4", "ready #4", "receive c2 #5")
	})
}

// A client that is quick is sent all that is kept, however much that is.
func TestBigInbox(t *testing.T) {
	for _, held := range []int{10_000, 30_000} {
		t.Run(fmt.Sprint(held), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := heymanito.NewMemoryInbox(heymanito.InboxBounds{Entries: held + 500})
				missed(t, store, 0, held, 0)
				a := start(t, heymanito.WithInbox(store))
				ann := a.join("ann")
				bob := a.join("bob", all())
				for i := range 500 { // within the first second
					ann.Emit("sendMessage", fmt.Sprintf(`{"id":%d,"senderChatPath":"ann","recipientChatPath":"bob"}`, i))
				}
				if err := bob.Closed(time.Minute); !errors.Is(err, wiretest.ErrStillOpen) || len(bob.Named("receiveMessage")) != held+500 {
					t.Errorf("a client that reads and answers everything was cut: %v, it has had %d", err, len(bob.Named("receiveMessage")))
				}
			})
		})
	}
}

// A message that is bigger than the queue arrives, whatever else happens while
// it is on its way.
func TestBiggerThanTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := heymanito.NewMemoryInbox(heymanito.InboxBounds{})
		a := start(t, heymanito.WithInbox(mem), heymanito.WithMaxQueue(200_000))
		ann := a.join("ann")
		body := fmt.Sprintf(`{"id":"m1","senderChatPath":"ann","recipientChatPath":"bob","content":%q}`, strings.Repeat("x", 900_000))
		ann.EmitAck("sendMessage", body)
		bob := a.dial("bob")
		if err := bob.Send("40"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // it is on its way, and takes a while
		a.join("cid")   // and somebody comes online meanwhile
		var got []string
		for {
			p, err := bob.Text()
			if err != nil {
				t.Fatalf("%v after %d packets: %.200q", err, len(got), got)
			}
			got = append(got, p[:min(len(p), 60)])
			if strings.Contains(p, `"inboxReady",`) {
				return
			}
		}
	})
}

// What was resent after an Append that had failed is not forgotten while a
// device is held.
func TestNudgedWhileHeld(t *testing.T) {
	const most = 10_000
	synctest.Test(t, func(t *testing.T) {
		mem := heymanito.NewMemoryInbox(heymanito.InboxBounds{Entries: 2 * most})
		store := &moodyInbox{Inbox: mem}
		missed(t, mem, 0, most, 0)
		a := start(t, heymanito.WithInbox(store))
		ann, bob := a.join("ann"), a.join("bob", wiretest.Auth(`{"features":["acks"]}`))
		store.mood(lost)
		if code := ann.code("sendMessage", note("x1", "ann", "bob")); code != "unavailable" {
			t.Fatal(code)
		}
		store.mood(nil)
		ann.sends("x1", "bob", 1, "queued") // it was stored, and bob's devices are to look
		synctest.Wait()
		for i := range most {
			if err := bob.Send(fmt.Sprintf(`43%d[]`, i+1)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(bob.Named("receiveMessage")); n != most+1 {
			t.Errorf("bob has called everything back and has had %d messages, want %d", n, most+1)
		}
	})
}

// A device that was held and is told again: "sent" is what was sent.
func TestLiveAgain(t *testing.T) {
	const most = 10_000
	synctest.Test(t, func(t *testing.T) {
		mem := heymanito.NewMemoryInbox(heymanito.InboxBounds{Entries: 2 * most})
		missed(t, mem, 0, most, 0)
		a := start(t, heymanito.WithInbox(mem))
		ann, bob := a.join("ann"), a.join("bob", wiretest.Auth(`{"features":["acks"]}`))
		ann.sends("x1", "bob", 1, "queued") // holds
		bob.EmitAck("sendMessage", note("b1", "bob", "cid"))
		for i := range 100 {
			if err := bob.Send(fmt.Sprintf(`43%d[]`, i+1)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		before := len(bob.Named("receiveMessage"))
		ack := ann.EmitAck("sendMessage", note("x2", "ann", "bob"))
		synctest.Wait()
		got := len(bob.Named("receiveMessage")) - before
		if (got == 1) != (ack.Delivery == "sent") {
			t.Errorf("bob was sent %d at once, and the ack says %s", got, ack.Delivery)
		}
	})
}

// A message almost as big as the queue arrives as well.
func TestAlmostAsBig(t *testing.T) {
	for _, size := range []int{599_000, 599_500, 600_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := heymanito.NewMemoryInbox(heymanito.InboxBounds{})
				a := start(t, heymanito.WithInbox(mem), heymanito.WithMaxQueue(600_000))
				ann := a.join("ann")
				head := fmt.Sprintf(`{"id":"m1","senderChatPath":"ann","recipientChatPath":"bob","content":%q}`, strings.Repeat("x", size))
				ann.EmitAck("sendMessage", head)
				bob := a.dial("bob")
				if err := bob.Send("40"); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				for i := range 20 {
					a.join(fmt.Sprint("cid", i))
				}
				for {
					p, err := bob.Text()
					if err != nil {
						t.Fatalf("%v", err)
					}
					if strings.Contains(p, `"inboxReady",`) {
						return
					}
				}
			})
		})
	}
}

// A client that is quick is sent all that is kept, also when it begins with an
// event of its own.
func TestBigInboxAndAnEvent(t *testing.T) {
	for _, held := range []int{30_000, 60_000} {
		t.Run(fmt.Sprint(held), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := heymanito.NewMemoryInbox(heymanito.InboxBounds{Entries: 2 * held, Bytes: 100_000_000})
				missed(t, mem, 0, held, 0)
				a := start(t, heymanito.WithInbox(mem))
				for range 3 {
					bob, err := wiretest.TryConnect(t, host, "bob", wiretest.On(a.net))
					if err != nil {
						t.Fatal(err)
					}
					bob.Emit("sendMessage", note("b1", "bob", "cid"))
					err = bob.Closed(time.Minute)
					if errors.Is(err, wiretest.ErrStillOpen) {
						if n := len(bob.Named("receiveMessage")); n != held {
							t.Errorf("it had %d", n)
						}
						return
					}
				}
				t.Error("a client that reads everything is cut again and again")
			})
		})
	}
}
