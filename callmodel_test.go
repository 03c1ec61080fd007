package heymanito_test

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

var (
	callSeed = flag.Uint64("callseed", 0, "the one sequence of TestCallModel to run; 0: all")
	callRuns = flag.Int("callruns", 300, "how many sequences TestCallModel runs")
)

// TestCallModel lets random devices do random things, one after the other and at
// once, and holds what every device was told against the rules of the contract.
// It knows nothing of the server's state. A sequence that fails is told by its
// seed: run it alone with -callseed.
func TestCallModel(t *testing.T) {
	first, last := uint64(1), uint64(*callRuns)
	if testing.Short() {
		last /= 10
	}
	if *callSeed != 0 {
		first, last = *callSeed, *callSeed
	}
	for seed := first; seed <= last && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) {
			m := newCallModel(t, seed)
			m.run()
			if len(m.wrong) > 0 {
				t.Errorf("seed %d:\n\t%s\nafter\n\t%s", seed, strings.Join(m.wrong, "\n\t"), strings.Join(m.story, "\n\t"))
			}
		})
	}
}

// callModel is one sequence.
type callModel struct {
	app   *app
	rng   *rand.Rand
	rooms *fakeRooms     // nil: without a media server
	store *troubledCalls // nil: one that does not fail
	step  int
	story []string

	devices []*caller
	calls   map[string]*modelCall
	order   []string // the ids

	mu    sync.Mutex // guards wrong, steps and rings
	wrong []string
	steps map[string][]string // of OnCall
	rings map[string]int      // OnRing less OnRingEnd
}

// caller is one device.
type caller struct {
	*person
	name     string
	deviceID string
	since    int // the step in which it came
	gone     bool
	read     int
	rings    map[string]bool // calls that ring at it now
	done     map[string]bool // calls that its own acks tell it of: it rings no more
	rung     map[string]int  // how often it was told of each
	stopped  map[string]int
	accepted map[string]int
	rejected map[string]int // the callRejected of each; "" for those without a call
	refused  int            // dials that were acked with an error that brings a callRejected
}

// modelCall is what is known of one call from outside.
type modelCall struct {
	id, caller, callee string
	expires            time.Time
	won                []string // devices that were acked that they have it
	over               int      // the step in which it was known to be over; 0: not yet
	left               int      // the same of the ring
	cancelled          bool
	answered           bool
	doubtful           bool // its dial was not acked: the caller need not know of it
	answer, end        owed
}

// owed is what the caller must hear of a call.
type owed struct {
	step     int // in which it happened; 0: it has not
	at       time.Time
	toTell   []*caller // his devices that were there then
	returned *caller   // the first that came back, if none was
}

func newCallModel(t *testing.T, seed uint64) *callModel {
	m := &callModel{
		rng: rand.New(rand.NewPCG(seed, 0)), calls: map[string]*modelCall{},
		steps: map[string][]string{}, rings: map[string]int{},
	}
	opts := []heymanito.Option{heymanito.WithRingLimits(1000, 1000), heymanito.WithCallTimes(heymanito.CallTimes{Longest: 10 * time.Minute}), heymanito.WithHooks(heymanito.Hooks{
		OnCall: func(_ context.Context, c heymanito.Call) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.steps[c.ID] = append(m.steps[c.ID], string(c.State))
		},
		OnRing: func(_ context.Context, c heymanito.Call, _ []heymanito.Device) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.rings[c.ID]++
		},
		OnRingEnd: func(_ context.Context, c heymanito.Call) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.rings[c.ID] += 100
		},
	})}
	if seed%2 == 0 {
		m.rooms = &fakeRooms{}
		opts = append(opts, heymanito.WithRooms(m.rooms))
	}
	if seed%3 == 0 {
		opts = append(opts, heymanito.WithInbox(heymanito.NewMemoryInbox(heymanito.InboxBounds{})))
	}
	if seed%5 == 0 {
		m.store = newTroubledCalls(seed)
		opts = append(opts, heymanito.WithCalls(m.store))
	}
	m.app = start(t, opts...)
	return m
}

// fakeRooms stands in for a media server: it remembers what it was asked for.
type fakeRooms struct {
	mu     sync.Mutex // guards grants
	grants []heymanito.RoomGrant
	told   func(context.Context, heymanito.RoomEvent) error
	fail   error
}

func (r *fakeRooms) Token(g heymanito.RoomGrant) (heymanito.RoomToken, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grants = append(r.grants, g)
	return heymanito.RoomToken{Token: fmt.Sprint("token", len(r.grants)), URL: "wss://rooms.test"}, r.fail
}

func (r *fakeRooms) Watch(told func(context.Context, heymanito.RoomEvent) error) { r.told = told }

// userOf is the user in a participant's identity.
func userOf(identity string) string {
	user, _, _ := strings.Cut(identity, ".")
	b, _ := base64.RawURLEncoding.DecodeString(user)
	return string(b)
}

func (m *callModel) fail(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wrong = append(m.wrong, fmt.Sprintf("step %d: ", m.step)+fmt.Sprintf(format, args...))
}

func (m *callModel) did(format string, args ...any) {
	line := fmt.Sprintf("%d (%s) ", m.step, time.Since(time.UnixMilli(begin)))
	m.story = append(m.story, m.plain(line+fmt.Sprintf(format, args...)))
}

// plain calls the calls by their numbers.
func (m *callModel) plain(s string) string {
	for i, id := range m.order {
		s = strings.ReplaceAll(s, id, fmt.Sprint("#", i))
	}
	return s
}

var modelUsers = []string{"ann", "bob", "cid"}

func (m *callModel) run() {
	m.step = 1
	for _, user := range modelUsers {
		m.connect(user)
	}
	m.settle()
	for range 25 {
		if len(m.wrong) > 0 {
			return
		}
		m.step++
		together := 1
		if m.rng.IntN(3) == 0 {
			together = 2 + m.rng.IntN(2)
		}
		var acts []func()
		busy := map[*caller]bool{}
		for range together {
			if act := m.pick(busy, together == 1); act != nil {
				acts = append(acts, act)
			}
		}
		m.store.set(true)
		var all sync.WaitGroup
		for _, act := range acts {
			all.Go(act)
		}
		all.Wait()
		m.recover()
		m.settle()
	}
	m.step++
	m.did("the longest call's time passes")
	time.Sleep(11 * time.Minute)
	m.settle()
	for _, d := range m.devices {
		if d.gone {
			continue
		}
		if calls := d.EmitAck("getCalls"); !strings.Contains(string(calls.Raw), `"calls":[]`) {
			m.fail("a call never ends: %s", m.plain(string(calls.Raw)))
		}
	}
	m.finish()
}

// recover ends the store's trouble, and waits until the server has seen that.
func (m *callModel) recover() {
	if m.store != nil {
		synctest.Wait()
		m.store.set(false)
		time.Sleep(2*time.Second + time.Millisecond)
	}
}

func (m *callModel) connect(user string) *caller {
	m.store.set(false) // or it would have to try again
	d := &caller{
		name: fmt.Sprintf("%s%d", user, len(m.devices)), since: m.step,
		rings: map[string]bool{}, done: map[string]bool{}, rung: map[string]int{}, stopped: map[string]int{}, accepted: map[string]int{}, rejected: map[string]int{},
	}
	var opts []wiretest.Option
	if m.rng.IntN(2) == 0 {
		d.deviceID = fmt.Sprint("device", m.rng.IntN(2))
		opts = append(opts, wiretest.Auth(fmt.Sprintf(`{"deviceId":%q}`, d.deviceID)))
	}
	m.did("%s connects as %q", d.name, d.deviceID)
	d.person = m.app.join(user, opts...)
	m.devices = append(m.devices, d)
	return d
}

func (m *callModel) there(user string) []*caller {
	return slices.DeleteFunc(slices.Clone(m.devices), func(d *caller) bool { return d.gone || user != "" && d.User != user })
}

// pick chooses what happens next; each device does one thing at a time.
func (m *callModel) pick(busy map[*caller]bool, alone bool) func() {
	all := m.there("")
	if alone {
		switch m.rng.IntN(10) {
		case 0, 1:
			return func() { m.connect(modelUsers[m.rng.IntN(len(modelUsers))]) }
		case 2, 3:
			d := []time.Duration{time.Millisecond, time.Second, 5 * time.Second, 9 * time.Second, 16 * time.Second, 46 * time.Second, 61 * time.Second, 130 * time.Second}[m.rng.IntN(8)]
			m.did("%v pass", d)
			m.store.set(true)
			time.Sleep(d)
			return nil
		case 4:
			if m.rooms != nil {
				return m.webhook()
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	d := all[m.rng.IntN(len(all))]
	if busy[d] {
		return nil
	}
	busy[d] = true
	switch n := m.rng.IntN(30); {
	case n == 0:
		m.did("%s says goodbye", d.name)
		d.gone = true
		return func() { d.Goodbye() }
	case n == 1:
		m.did("%s is cut", d.name)
		d.gone = true
		return func() { d.Cut() }
	case n == 2:
		m.did("%s drives into a tunnel", d.name)
		d.gone = true
		return func() { d.Tunnel() }
	case n < 11:
		to := modelUsers[m.rng.IntN(len(modelUsers))]
		room := []string{"", `,"roomName":"r"`, `,"roomName":"hm_mine"`}[m.rng.IntN(3)]
		media := []string{"", `,"media":"audio"`, `,"media":"video"`}[m.rng.IntN(3)]
		if to == d.User {
			return nil
		}
		m.did("%s dials %s%s%s", d.name, to, room, media)
		return func() { m.dial(d, to, room+media) }
	}
	id := ""
	if len(m.order) > 0 { // the last ones, mostly
		id = m.order[max(0, len(m.order)-1-m.rng.IntN(3))]
	}
	if id == "" {
		return nil
	}
	c := m.calls[id]
	event := []string{"acceptCall", "acceptCall", "acceptCall", "rejectCall", "cancelCall", "endCall", "endCall", "callConnected", "ringCall", "getCallToken"}[m.rng.IntN(10)]
	withID := m.rng.IntN(2) == 0
	payload := fmt.Sprintf(`{"callId":%q}`, id)
	switch event {
	case "acceptCall":
		payload = fmt.Sprintf(`{"callerId":%q,"roomName":"r"}`, c.caller)
		if withID {
			payload = fmt.Sprintf(`{"callerId":%q,"callId":%q}`, c.caller, id)
		}
	case "rejectCall":
		payload = fmt.Sprintf(`{"callerId":%q,"recipientId":%q}`, c.caller, d.User)
		if withID {
			payload = fmt.Sprintf(`{"callerId":%q,"recipientId":%q,"callId":%q}`, c.caller, d.User, id)
		}
	}
	m.did("%s: %s(%s)", d.name, event, payload)
	return func() { m.emit(d, event, payload, id) }
}

func (m *callModel) webhook() func() {
	if len(m.order) == 0 {
		return nil
	}
	id := m.order[max(0, len(m.order)-1-m.rng.IntN(3))]
	c := m.calls[id]
	e := heymanito.RoomEvent{Room: "hm_" + id, Time: time.Now()}
	e.Kind = []heymanito.RoomEventKind{heymanito.ParticipantJoined, heymanito.ParticipantJoined, heymanito.ParticipantLeft, heymanito.RoomFinished}[m.rng.IntN(4)]
	if e.Kind != heymanito.RoomFinished {
		user := []string{c.caller, c.callee}[m.rng.IntN(2)]
		e.Identity = base64.RawURLEncoding.EncodeToString([]byte(user)) + ".x"
		e.Session = fmt.Sprint(user, m.rng.IntN(2))
	}
	m.did("webhook %s of %s in %s", e.Kind, e.Session, id)
	return func() {
		for err := m.rooms.told(context.Background(), e); err != nil; err = m.rooms.told(context.Background(), e) {
			if m.store == nil {
				m.fail("a webhook: %v", err)
				return
			}
		}
	}
}

func (m *callModel) dial(d *caller, to, more string) {
	ack := d.EmitAck("initiateCall", fmt.Sprintf(`{"recipientId":%q,"callerId":%q%s}`, to, d.User, more))
	m.mu.Lock()
	defer m.mu.Unlock()
	if ack.Status != "ok" {
		d.refused++
		m.hasTried(d, to, ack)
		return
	}
	var merged struct {
		Merged    bool
		ExpiresAt int64
	}
	_ = json.Unmarshal(ack.Raw, &merged) // it was parsed before
	if merged.Merged {
		m.wins(d, m.call(ack.CallID, to, d.User))
	} else {
		m.call(ack.CallID, d.User, to).expires = time.UnixMilli(merged.ExpiresAt)
	}
	if m.rooms != nil && ack.RoomName != "hm_"+ack.CallID {
		m.wrong = append(m.wrong, fmt.Sprintf("a client has named the room %q", ack.RoomName))
	}
}

// call is the call of an id; others may know of it before its dial is acked.
func (m *callModel) call(id, caller, callee string) *modelCall { // with mu
	c := m.calls[id]
	if c == nil {
		c = &modelCall{id: id, caller: caller, callee: callee, expires: time.Now().Add(time.Minute)}
		m.calls[id] = c
		m.order = append(m.order, id)
	}
	return c
}

// hasTried is about a device that has tried to answer caller: if that is in
// doubt it does not ring, but tries again. With mu.
func (m *callModel) hasTried(d *caller, caller string, ack wiretest.Ack) {
	for id, c := range m.calls {
		if ack.Code == "unavailable" && c.caller == caller && c.callee == d.User {
			delete(d.rings, id)
			d.done[id] = true
		}
	}
}

func (m *callModel) wins(d *caller, c *modelCall) { // with mu
	who := d.User + "/" + d.deviceID
	if d.deviceID == "" {
		who = d.name
	}
	if !slices.Contains(c.won, who) {
		c.won = append(c.won, who)
	}
	m.answers(c)
	delete(d.rings, c.id)
	d.done[c.id] = true
}

func (m *callModel) answers(c *modelCall) {
	c.answered = true
	m.leaves(c)
	m.owes(c, &c.answer)
}

func (m *callModel) owes(c *modelCall, o *owed) {
	if o.step == 0 {
		*o = owed{step: m.step, at: time.Now(), toTell: m.there(c.caller)}
	}
}

func (m *callModel) leaves(c *modelCall) {
	if c.left == 0 {
		c.left = m.step
	}
}

func (m *callModel) ends(c *modelCall) {
	m.leaves(c)
	if c.over == 0 {
		c.over = m.step
		m.owes(c, &c.end)
	}
}

func (m *callModel) emit(d *caller, event, payload, id string) {
	ack := d.EmitAck(event, payload)
	m.mu.Lock()
	defer m.mu.Unlock()
	if ack.Status != "ok" {
		if event == "acceptCall" {
			m.hasTried(d, m.calls[id].caller, ack)
		}
		return
	}
	if ack.CallID != "" {
		id = ack.CallID // what it was taken for
	}
	c := m.calls[id]
	if c == nil {
		var p struct{ CallerID string }
		_ = json.Unmarshal([]byte(payload), &p) // it is ours
		c = m.call(id, p.CallerID, d.User)
	}
	bad := func(format string, args ...any) {
		m.wrong = append(m.wrong, fmt.Sprintf("step %d: %s: %s(%s) is acked %s: ", m.step, d.name, event, payload, ack.Raw)+fmt.Sprintf(format, args...))
	}
	if d.User != c.caller && d.User != c.callee || d.User == c.caller && (event == "acceptCall" || event == "rejectCall" || event == "ringCall") ||
		d.User == c.callee && event == "cancelCall" {
		bad("a third party, or the wrong side")
	}
	if c.over != 0 && c.over < m.step {
		bad("it was over in step %d", c.over)
	}
	switch event {
	case "acceptCall":
		m.wins(d, c)
	case "rejectCall", "endCall", "cancelCall":
		delete(d.rings, id)
		d.done[id] = true
		if d.User == c.caller && !c.answered {
			c.cancelled = true
		}
		m.ends(c)
	}
}

// settle waits until nothing moves, and looks at what everybody has heard.
func (m *callModel) settle() {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.devices {
		log := d.Log()
		for _, e := range log[d.read:] {
			m.heard(d, e)
		}
		d.read = len(log)
	}
	now := time.Now()
	for id, c := range m.calls {
		if now.After(c.expires) {
			m.leaves(c)
		}
		for _, d := range m.devices {
			if !d.gone && d.rings[id] && c.left != 0 {
				m.wrong = append(m.wrong, fmt.Sprintf("step %d: %s still rings with %s", m.step, d.name, id))
			}
		}
		if len(c.won) > 1 {
			m.wrong = append(m.wrong, fmt.Sprintf("step %d: %v have all won %s", m.step, c.won, id))
		}
		for _, o := range []*owed{&c.answer, &c.end} {
			if o.step != 0 && o.returned == nil && len(o.toTell) == 0 && now.Sub(o.at) < time.Minute && (o == &c.end || c.over == 0) {
				if back := m.there(c.caller); len(back) > 0 {
					o.returned = back[0]
				}
			}
		}
	}
	m.tokens()
	for i := range m.wrong {
		m.wrong[i] = m.plain(m.wrong[i])
	}
}

// tokens looks at whom tokens were made for. With mu.
func (m *callModel) tokens() {
	if m.rooms == nil {
		return
	}
	m.rooms.mu.Lock()
	defer m.rooms.mu.Unlock()
	for _, g := range m.rooms.grants {
		c := m.calls[strings.TrimPrefix(g.Room, "hm_")]
		switch user := userOf(g.Identity); {
		case c == nil:
			m.wrong = append(m.wrong, fmt.Sprintf("a token for the room %q, which is no call's", g.Room))
		case user != c.caller && user != c.callee:
			m.wrong = append(m.wrong, fmt.Sprintf("a token for %s, in the call %s", user, c.id))
		case m.store == nil && !c.answered && !slices.Contains(m.steps[c.id], "connecting"): // an answer that fails hands none out
			m.wrong = append(m.wrong, fmt.Sprintf("a token before %s was answered", c.id))
		}
	}
}

// heard takes note of one event. With mu.
func (m *callModel) heard(d *caller, e wiretest.Event) {
	var p struct{ CallID, CallerID, RecipientID, Reason, Token string }
	if len(e.Args) > 0 {
		_ = json.Unmarshal(e.Args[0], &p) // others are no objects
	}
	c := m.calls[p.CallID]
	switch e.Name {
	case "incomingCall", "callAccepted", "callRejected", "callCancelled", "callEnded", "callRinging":
	default:
		return
	}
	bad := func(format string, args ...any) {
		m.wrong = append(m.wrong, fmt.Sprintf("step %d: %s has heard %v: ", m.step, d.name, e)+fmt.Sprintf(format, args...))
	}
	if p.CallID == "" {
		if e.Name != "callRejected" {
			bad("no callId")
		}
		d.rejected[""]++
		return
	}
	if c == nil && m.store != nil && (e.Name == "incomingCall" || e.Name == "callCancelled") { // its dial was not acked
		c = m.call(p.CallID, cmp.Or(p.CallerID, "somebody"), d.User)
		c.doubtful = true
	}
	if c == nil {
		bad("nobody has dialled that")
		return
	}
	if d.User != c.caller && d.User != c.callee {
		bad("he has no part in it")
	}
	switch e.Name {
	case "incomingCall":
		if d.rung[c.id]++; d.rung[c.id] > 1 {
			bad("for the second time")
		}
		if d.User != c.callee || c.left != 0 && c.left < m.step {
			bad("it does not ring")
		}
		d.rings[c.id] = !d.done[c.id]
	case "callCancelled":
		delete(d.rings, c.id)
		m.leaves(c)
		if d.stopped[c.id]++; d.stopped[c.id] > 1 {
			bad("for the second time")
		}
		if p.Reason == "caller_cancelled" && d.User == c.callee {
			c.cancelled = true
			m.ends(c)
		}
	case "callAccepted":
		if d.accepted[c.id]++; d.accepted[c.id] > 1 {
			bad("for the second time")
		}
		m.answers(c)
		if c.over != 0 && c.over < m.step {
			bad("it was over in step %d", c.over)
		}
	case "callRejected":
		d.rejected[c.id]++
		m.ends(c)
	case "callEnded":
		m.ends(c)
	}
}

// mustHear reports whether d, which is there still, must have been told: it was
// there when it happened, or is the first that came back, and those that were
// there on their way out have not heard of it.
func (m *callModel) mustHear(c *modelCall, o *owed, d *caller, heard func(*caller) bool) bool {
	if slices.Contains(o.toTell, d) {
		return true
	}
	return d == o.returned && !slices.ContainsFunc(m.devices, func(o *caller) bool { return o.User == c.caller && o.gone && heard(o) })
}

// finish looks at the endings of all calls.
func (m *callModel) finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.devices {
		if n := d.rejected[""]; !d.gone && n != d.refused {
			m.wrong = append(m.wrong, fmt.Sprintf("%s was refused %d dials, and has heard of %d", d.name, d.refused, n))
		}
	}
	for id, c := range m.calls {
		told := 0
		for _, d := range m.there(c.caller) {
			n := d.rejected[id]
			told += n
			if n > 1 || n > 0 && c.cancelled && !c.answered {
				m.wrong = append(m.wrong, fmt.Sprintf("%s has heard of %d endings of %s", d.name, n, id))
			}
			if n == 0 && !c.answered && !c.cancelled && !c.doubtful && m.mustHear(c, &c.end, d, func(d *caller) bool { return d.rejected[id] > 0 }) {
				m.wrong = append(m.wrong, fmt.Sprintf("%s has heard of no ending of %s", d.name, id))
			}
			if n == 0 && d.accepted[id] == 0 && m.mustHear(c, &c.answer, d, func(d *caller) bool { return d.accepted[id] > 0 }) {
				m.wrong = append(m.wrong, fmt.Sprintf("%s has heard of no answer to %s", d.name, id))
			}
		}
		order := []string{"ringing", "connecting", "active", "ended"}
		at := -1
		for _, s := range m.steps[id] {
			i := slices.Index(order, s)
			if i <= at {
				m.wrong = append(m.wrong, fmt.Sprintf("OnCall of %s: %v", id, m.steps[id]))
			}
			at = i
		}
		if at != 3 || m.steps[id][0] != "ringing" || m.rings[id] != 101 {
			m.wrong = append(m.wrong, fmt.Sprintf("OnCall of %s: %v; OnRing, OnRingEnd: %d", id, m.steps[id], m.rings[id]))
		}
	}
	for i := range m.wrong {
		m.wrong[i] = m.plain(m.wrong[i])
	}
}
