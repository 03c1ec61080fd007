package heymanito

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/socketio"
)

// feed is what one device is told of its user's inbox: every entry once, in the
// order of the seqs, from where the device left off.
//
// It takes an entry only when it is the next one. At the end of the inbox that
// is what just arrived; anywhere else it reads the inbox itself, until it is at
// the end. So the replay after a connect, a gap and a slow link are one thing,
// and nothing can overtake anything.
type feed struct {
	srv *Server
	d   *device

	mu       sync.Mutex // guards the rest; frames are queued under it, which never blocks
	state    feedState
	began    uint64 // the device is told what is behind this
	pos      uint64 // up to here everything was sent, or is the device's own
	want     uint64 // the inbox has entries up to here
	head     Head   // of the inbox when the device came
	complete bool   // nothing was dropped between the device's position and pos
	ready    bool   // inboxReady was sent
	look     bool   // an Append may have failed and have appended all the same
	misses   int    // pages in a row that lacked what the inbox has
	acting   bool   // an event of the device is being appended: its entry waits for its ack
	owed     *owedAck

	unread []sentEntry // sent, and not proven to be read, oldest first
	most   int         // unread ones that it may have
	heard  uint64      // the client has read its connection up to here
	proven uint64      // what was sent up to here was read, and called back for where it was asked
	report report

	claiming bool          // what the client says it has is being looked up
	closed   chan struct{} // closed with the feed; nil: nobody waits for that
}

func newFeed(s *Server, d *device) *feed {
	return &feed{srv: s, d: d}
}

type feedState uint8

const (
	feedNew     feedState = iota // the device is being let in
	feedReading                  // follow is reading the inbox
	feedHeld                     // in front of the entry of an event of the device's own: its end goes on
	feedFull                     // the client has to show that it has what it was sent: prove goes on
	feedLive                     // at the end of the inbox
	feedClosed
)

// sentEntry is an entry that a device was sent.
type sentEntry struct {
	seq    uint64
	sender string // of a message from somebody else, else empty
	id     string // of that message
	asks   bool   // the client has been asked to call back, and has not
}

// owedAck is the ack of a device's own event, which waits until everything in
// front of its entry was sent.
type owedAck struct {
	seq    uint64
	own    bool // the entry is this connection's own, and not to be sent
	event  *socketio.Event
	fields []byte
	done   chan struct{} // closed when it was sent; nil: nobody waits for that
}

const (
	replayPage   = 100      // entries that are read at a time
	replayBudget = 64 << 10 // bytes that are queued before the client has to have taken some
)

// start begins to tell the device what it has missed. The inbox was at head
// when the device was among its user's devices already.
func (f *feed) start(head Head) {
	f.mu.Lock()
	f.head = head
	f.want = max(f.want, head.Last)
	f.report.through = head.Given
	since := f.d.since
	switch {
	case since == nil:
		f.pos, f.complete = head.Given, true
	case since.epoch == "":
		f.complete = true
	case since.epoch == head.Epoch && since.seq <= head.Last:
		f.pos, f.complete = since.seq, true
	}
	f.skipTo(head)
	f.began, f.proven = f.pos, f.pos
	f.most = tooUnread + int(head.Last-f.pos)
	has := f.claims()
	f.claiming = has > head.Given
	f.follow()
	f.mu.Unlock()
	f.srv.vigils.given(f.d, 0, has)
}

// claims is up to where a client with since says it has everything: what it was
// given in connections that broke before it could show it. With mu.
func (f *feed) claims() uint64 {
	if s := f.d.since; s != nil && s.epoch == f.head.Epoch && s.seq <= f.head.Last {
		return s.seq
	}
	return 0
}

// skipTo goes past what the inbox, which is at head, has dropped. With mu.
func (f *feed) skipTo(head Head) {
	if f.pos < head.Dropped {
		f.pos = head.Dropped
		hasNothing := f.d.since != nil && f.d.since.epoch == ""
		f.complete = f.complete && hasNothing && head.Dropped == head.Began // there was nothing in front of it
	}
}

// live reports whether what is appended now is as good as sent: the device has
// had its replay, and takes what it is sent.
func (f *feed) live() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	ahead := len(f.unread) + int(max(f.want, f.pos)-f.pos)
	switch f.state {
	case feedFull, feedClosed:
		return false
	case feedReading: // and waiting for the client, if it has not taken what it was sent
		if f.d.conn.Queued() > f.budget()/2 {
			return false
		}
	}
	return f.ready && ahead < maxUnread
}

// offer hands the feed an entry that was just appended. What the feed does not
// take now it reads from the inbox.
func (f *feed) offer(l *letter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.want = max(f.want, l.Seq)
	switch {
	case f.state != feedLive || l.Seq <= f.pos:
	case len(f.unread) >= maxUnread:
		f.state = feedFull
	case l.Seq > f.pos+1:
		f.follow()
	default:
		f.send(l)
		f.d.conn.Ask()
	}
}

// send sends the next entry. With mu.
func (f *feed) send(l *letter) {
	if !f.d.sendLetter(l) {
		f.close()
		return
	}
	f.pos = l.Seq
	s := sentEntry{seq: l.Seq, asks: l.asks(f.d)}
	if l.Event == eventReceive && l.Peer != f.d.ChatPath {
		s.sender, s.id = l.Peer, l.ID
	}
	f.unread = append(f.unread, s)
	if len(f.unread) > f.most {
		f.d.conn.Close(engineio.SlowReader)
	}
}

const (
	// maxUnread is how many entries a device is sent before it has to show that
	// it has them, if only in part, to be sent more.
	maxUnread = 10_000
	// tooUnread is how many it is sent, besides those it has missed, for the sake
	// of the ack of an event of its own: that waits behind them, as does all that
	// the client says after it. Then it is cut.
	tooUnread = 5 * maxUnread
)

// nudge makes the feed look whether there is more than it was offered: an
// Append may have failed and have appended all the same.
func (f *feed) nudge() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.look = true
	if f.state == feedLive {
		f.follow()
	}
}

// position is how far the device was told.
func (f *feed) position() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pos
}

// act begins an event of the device's own that appends to its inbox. From here
// until acted or idle the feed does not go past what is appended by it.
func (f *feed) act() {
	f.mu.Lock()
	f.acting = true
	f.mu.Unlock()
}

// idle ends act without an entry.
func (f *feed) idle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acting = false
	if f.state == feedHeld {
		f.follow()
	}
}

// acted ends act: the ack of e, with fields, goes out when everything in front
// of seq was sent, and before anything behind it. own: the entry is that of this
// event, and not older. It waits for that, or for the end of the connection.
func (f *feed) acted(ctx context.Context, seq uint64, own bool, e *socketio.Event, fields []byte) {
	owed := owedAck{seq: seq, own: own, event: e, fields: fields}
	f.mu.Lock()
	f.acting = false
	f.want = max(f.want, seq)
	wait := !f.pays(&owed)
	if wait {
		late := owed
		late.done = make(chan struct{})
		f.owed = &late
		owed.done = late.done
	}
	if f.state == feedHeld || f.state == feedFull || f.state == feedLive && f.want > f.pos {
		f.follow()
	}
	f.mu.Unlock()
	if own { // the device that acts has what its action brings
		f.srv.vigils.given(f.d, seq-1, seq)
	}
	if !wait {
		return
	}
	select {
	case <-owed.done:
	case <-ctx.Done():
		f.mu.Lock()
		f.owed = nil // the event ends here, and nobody waits for its ack
		f.mu.Unlock()
	}
}

// pay sends the ack that is owed, if it is its turn. With mu.
func (f *feed) pay() {
	if o := f.owed; o != nil && f.pays(o) {
		f.owed = nil
		close(o.done)
	}
}

// pays sends an ack if it is its turn. It reports whether that is done with: where
// the feed has ended before its seq, it is not sent, for a client with since would go
// on behind what it was not told. With mu.
func (f *feed) pays(o *owedAck) bool {
	switch {
	case o.own && f.pos+1 == o.seq:
		f.pos = o.seq
		if len(f.unread) == 0 {
			f.proven = f.pos
		}
	case f.pos < o.seq:
		return f.state == feedClosed
	}
	f.srv.answer(f.d, o.event, o.fields, nil)
	return true
}

// follow reads the inbox on from pos, on a goroutine of its own; at its end
// there is nothing to do but to say so. With mu.
func (f *feed) follow() {
	if f.state == feedClosed || f.state == feedReading {
		return
	}
	if f.pos >= f.want && !f.look && !f.claiming {
		f.arrived()
		return
	}
	f.state = feedReading
	f.srv.goRun(f.read)
}

// arrived says that the feed is at the end of the inbox. With mu.
func (f *feed) arrived() {
	f.state = feedLive
	if !f.ready {
		f.ready = true
		f.d.conn.Send(inboxReady(f.head.Epoch, f.pos, f.complete)...)
		f.srv.calls.work(func() { f.srv.calls.arrive(f.d) })
	}
}

func inboxReady(epoch string, seq uint64, complete bool) []*engineio.Frame {
	return socketio.NewOutgoing("inboxReady", nil, 120).
		Raw(`,{"epoch":`).Bytes(quote(epoch)).
		Raw(`,"seq":`).Bytes(strconv.AppendUint(nil, seq, 10)).
		Raw(`,"complete":`).Bytes(strconv.AppendBool(nil, complete)).
		Raw(`,"now":`).Bytes(appendMillis(nil, now())).Raw("}").Frames()
}

// read is the goroutine of follow.
func (f *feed) read() {
	defer func() { // a mistake of ours must not leave the device there, and told nothing
		if r := recover(); r != nil {
			f.srv.panicked("inbox", r)
			f.fail()
		}
	}()
	ctx, inbox, user := f.d.conn.Context(), f.srv.inbox, f.d.ChatPath
	err := f.believe(ctx)
	for more := true; more && err == nil; {
		var page Page
		if page, err = inbox.Since(ctx, user, f.looking(), replayPage); err == nil {
			more, err = f.take(page)
		}
	}
	if err != nil {
		if ctx.Err() == nil {
			f.srv.log.Error("the inbox failed, a device has to connect again", "user", user, "err", err)
		}
		f.fail()
	}
}

// fail ends the feed of a device whose inbox cannot be read, which then has to
// connect again.
func (f *feed) fail() {
	f.mu.Lock()
	f.close()
	f.mu.Unlock()
	f.d.conn.Close(engineio.Unavailable)
}

// looking is position, for a look into the inbox: what comes after it is in the
// page, or wants another look.
func (f *feed) looking() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.look = false
	return f.pos
}

// believe reports as given what a client with since says it has.
func (f *feed) believe(ctx context.Context) error {
	f.mu.Lock()
	claiming, from, to := f.claiming, f.head.Given, f.claims()
	f.mu.Unlock()
	if !claiming {
		return nil
	}
	for from < to {
		page, err := f.srv.inbox.Since(ctx, f.d.ChatPath, from, replayPage)
		if err != nil {
			return err
		}
		if len(page.Entries) == 0 {
			break
		}
		f.mu.Lock()
		for i := range page.Entries {
			if e := &page.Entries[i]; e.Seq <= to && e.Event == eventReceive && e.Peer != f.d.ChatPath {
				f.report.note(sentEntry{seq: e.Seq, sender: e.Peer, id: e.ID})
			}
		}
		from = min(page.Entries[len(page.Entries)-1].Seq, to)
		f.mu.Unlock()
	}
	f.mu.Lock()
	f.claiming = false
	f.tell()
	f.mu.Unlock()
	return nil
}

// errShort is a store that has entries, and does not return them.
var errShort = errors.New("Inbox.Since has returned nothing twice, though there are entries behind the seq it was asked for")

// take sends a page of the inbox as the client takes it. It reports whether
// there is more to read.
func (f *feed) take(page Page) (more bool, err error) {
	f.mu.Lock()
	f.skipTo(page.Head)
	f.want = max(f.want, page.Last) // also when the page is left for another time
	f.mu.Unlock()
	for entries := page.Entries; ; {
		if !f.wait() {
			return false, nil
		}
		if len(entries) == 0 {
			break
		}
		n := f.takeSome(entries)
		if n == 0 {
			return false, nil
		}
		entries = entries[n:]
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != feedReading {
		return false, nil
	}
	f.pay()
	switch {
	case f.look:
	case f.pos >= f.want:
		f.misses = 0
		f.arrived()
		return false, nil
	case len(page.Entries) == 0:
		if f.misses++; f.misses > 1 {
			return false, errShort
		}
		return true, nil // what is missing came after Since had answered
	}
	f.misses = 0
	return true, nil
}

// wait returns when the client has taken most of what was sent; false, when it
// will not.
func (f *feed) wait() bool {
	if f.d.conn.WaitQueue(f.budget() / 2) {
		return true
	}
	f.mu.Lock()
	f.close()
	f.mu.Unlock()
	return false
}

func (f *feed) budget() int { return min(replayBudget, f.srv.cfg.maxQueue/4) }

// takeSome sends as many entries as the client may have queued, and returns how
// many it is through with; 0 when it is not its turn any more.
func (f *feed) takeSome(entries []Entry) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.d.conn.Ask() // once, behind them all
	for left := f.budget(); n < len(entries) && (left > 0 || n == 0); n++ {
		e := &entries[n]
		f.pay() // an ack may be due before e
		switch {
		case f.state != feedReading:
			return 0
		case e.Seq <= f.pos:
		case len(f.unread) >= maxUnread && f.owed == nil:
			f.state = feedFull
			return 0
		case e.Origin == f.d.SocketID && f.acting:
			f.state = feedHeld // act's end goes on
			return 0
		case e.Origin == f.d.SocketID:
			f.pos = e.Seq
		default:
			l := letter{Entry: *e}
			f.send(&l)
			left -= l.size()
		}
		f.pay()
	}
	return n
}

// wasRead takes note that the client has read what it was sent up to seq.
func (f *feed) wasRead(seq uint64) {
	f.mu.Lock()
	f.heard = max(f.heard, seq)
	f.prove()
}

// called takes note that the client has called the callback of the entry seq.
// Callbacks come in any order.
func (f *feed) called(seq uint64) {
	f.mu.Lock()
	i, found := slices.BinarySearchFunc(f.unread, seq, func(s sentEntry, seq uint64) int { return cmp.Compare(s.seq, seq) })
	if found {
		f.unread[i].asks = false
		f.heard = max(f.heard, seq)
	}
	f.prove()
}

// prove works out what is proven, and tells whoever wants to know. With mu,
// which it gives up.
func (f *feed) prove() {
	before := f.proven
	for len(f.unread) > 0 && f.unread[0].seq <= f.heard && !f.unread[0].asks {
		f.report.note(f.unread[0])
		f.unread = f.unread[1:]
	}
	if f.proven = f.pos; len(f.unread) > 0 {
		f.proven = f.unread[0].seq - 1
	}
	after := f.proven
	f.tell()
	if f.state == feedFull && len(f.unread) < maxUnread/2 {
		f.follow()
	}
	f.mu.Unlock()
	if after > before {
		f.srv.vigils.given(f.d, before, after)
	}
}

// has reports whether the device was told what is at seq, and has shown that it
// has read it.
func (f *feed) has(seq uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.began < seq && seq <= f.proven
}

// whenClosed returns what is closed with the feed. With mu.
func (f *feed) whenClosed() <-chan struct{} {
	if f.closed == nil {
		f.closed = make(chan struct{})
		if f.state == feedClosed {
			close(f.closed)
		}
	}
	return f.closed
}

// close ends the feed: whoever waits for it is let go. With mu.
func (f *feed) close() {
	if f.state != feedClosed && f.closed != nil {
		close(f.closed)
	}
	f.state = feedClosed
	f.pay()
}

// end ends the feed of a device that has gone, and waits until what it is known
// to have was told.
func (f *feed) end() {
	f.mu.Lock()
	f.close()
	f.tell()
	reports := f.report.done
	f.mu.Unlock()
	if reports != nil {
		<-reports
	}
}
