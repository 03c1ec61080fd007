package inboxtest

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
)

// A rig is a store under test. What it does besides calling the store is to
// check what holds of every answer.
type rig struct {
	testing.TB
	open   func(heymanito.InboxBounds) heymanito.Inbox
	reopen func(heymanito.Inbox, heymanito.InboxBounds) heymanito.Inbox
	store  heymanito.Inbox
	epoch  string    // of the store, once it has said
	fixed  time.Time // what now says, unless zero
}

// start begins with an empty store.
func (r *rig) start(b heymanito.InboxBounds) {
	r.store, r.epoch = r.open(b), ""
}

// broken fails the test of a store that did what format says, against the rule.
func (r *rig) broken(s rule, format string, args ...any) {
	r.Helper()
	r.Fatalf("%s\n\tbut the contract says: %q", fmt.Sprintf(format, args...), string(s))
}

// now is the time of entries that are made now. It stands still while the store
// works: so the same call makes the same entry.
func (r *rig) now() time.Time {
	if !r.fixed.IsZero() {
		return r.fixed
	}
	return time.Now().Truncate(time.Millisecond)
}

// message is an entry as sendMessage makes them.
func (r *rig) message(user, peer, id string) heymanito.Entry {
	return heymanito.Entry{
		Key:  heymanito.Key{User: user, Event: "receiveMessage", Peer: peer, ID: id},
		Time: r.now(),
		Body: fmt.Appendf(nil, `{"id":%s,"senderChatPath":%q}`, id, peer),
	}
}

// messages are n messages of one peer, with the ids from, from+1, …
func (r *rig) messages(user, peer string, from, n int) []heymanito.Entry {
	es := make([]heymanito.Entry, n)
	for i := range es {
		es[i] = r.message(user, peer, fmt.Sprint(from+i))
	}
	return es
}

// receipt is an entry with a Mark.
func (r *rig) receipt(user, event, peer string, mark uint64, covers string) heymanito.Entry {
	return heymanito.Entry{
		Key:    heymanito.Key{User: user, Event: event, Peer: peer, ID: fmt.Sprint(mark)},
		Mark:   mark,
		Covers: covers,
		Time:   r.now(),
		Body:   fmt.Appendf(nil, `{"upToId":%d}`, mark),
	}
}

// noise is n bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(b)
	return b
}

// big is a message with a body of n bytes.
func (r *rig) big(user, peer, id string, n int) heymanito.Entry {
	e := r.message(user, peer, id)
	e.Body = noise(n)
	return e
}

// append appends entries.
func (r *rig) append(entries ...heymanito.Entry) []heymanito.Receipt {
	r.Helper()
	receipts, err := r.store.Append(context.Background(), entries...)
	if err != nil {
		r.Fatalf("Append: %v", err)
	}
	if len(receipts) != len(entries) {
		r.broken(ruleAppend, "Append of %d entries returned %d receipts", len(entries), len(receipts))
	}
	return receipts
}

// add appends entries that are new, and returns the seqs they get.
func (r *rig) add(entries ...heymanito.Entry) []uint64 {
	r.Helper()
	next := map[string]uint64{}
	for _, e := range entries {
		if _, ok := next[e.User]; !ok {
			next[e.User] = r.head(e.User).Last + 1
		}
	}
	var seqs []uint64
	receipts := r.append(entries...)
	for i, e := range entries {
		got := receipts[i]
		if got.Duplicate {
			r.broken(rulesOf(e), "%s, which is new, was called a duplicate: %s", describe(e), describeReceipt(got))
		}
		if want := next[e.User]; e.Seq != 0 && got.Seq == e.Seq && got.Seq != want {
			r.broken(ruleSeq, "%s got the seq %d, which it came with", describe(e), got.Seq)
		} else if got.Seq != want {
			r.broken(ruleSeqs, "%s got the seq %d: the next one is %d", describe(e), got.Seq, want)
		}
		seqs = append(seqs, got.Seq)
		next[e.User]++
	}
	return seqs
}

// addOne is add for one entry.
func (r *rig) addOne(e heymanito.Entry) uint64 {
	r.Helper()
	return r.add(e)[0]
}

// again appends an entry that is a duplicate of first, at seq.
func (r *rig) again(e, first heymanito.Entry, seq uint64) {
	r.Helper()
	last := r.head(e.User).Last
	got := r.append(e)[0]
	if !got.Duplicate {
		r.broken(rulesOf(e), "%s is a duplicate of %s at %d, and was appended at %d", describe(e), describe(first), seq, got.Seq)
	}
	r.isReceipt(got, first, seq)
	if now := r.head(e.User).Last; now != last {
		r.broken(ruleDuplicate, "a duplicate has moved Last from %d to %d", last, now)
	}
}

// isReceipt checks the Receipt of a duplicate.
func (r *rig) isReceipt(got heymanito.Receipt, first heymanito.Entry, seq uint64) {
	r.Helper()
	want := heymanito.Receipt{Seq: seq, Duplicate: true, Time: first.Time, Note: first.Note}
	if !sameReceipt(got, want) {
		r.broken(ruleDuplicate, "the receipt of a duplicate of %s is %s, want %s", describe(first), describeReceipt(got), describeReceipt(want))
	}
}

func sameReceipt(a, b heymanito.Receipt) bool {
	return a.Seq == b.Seq && a.Duplicate == b.Duplicate && a.Time.Equal(b.Time) && a.Note == b.Note
}

// rulesOf says what makes an entry a duplicate.
func rulesOf(e heymanito.Entry) rule {
	if e.Mark != 0 {
		return ruleMark
	}
	return ruleKey
}

// since calls Since and checks the form of the answer.
func (r *rig) since(user string, after uint64, limit int) heymanito.Page {
	r.Helper()
	page, err := r.store.Since(context.Background(), user, after, limit)
	if err != nil {
		r.Fatalf("Since: %v", err)
	}
	if err := checkPage(page, user, after, limit); err != nil {
		r.Fatal(err)
	}
	if r.epoch == "" {
		r.epoch = page.Epoch
	}
	if page.Epoch != r.epoch {
		r.broken(ruleEpoch, "the epoch was %q and is %q, and nothing was lost", r.epoch, page.Epoch)
	}
	return page
}

// checkPage checks what holds of every Page.
func checkPage(page heymanito.Page, user string, after uint64, limit int) error {
	broken := func(s rule, format string, args ...any) error {
		return fmt.Errorf("Since(%q, %d, %d): %s\n\tbut the contract says: %q", user, after, limit, fmt.Sprintf(format, args...), string(s))
	}
	h := page.Head
	switch {
	case h.Epoch == "" || len(h.Epoch) > 64 || strings.ContainsFunc(h.Epoch, func(c rune) bool { return c <= ' ' || c > '~' }):
		return broken(ruleEpochs, "the epoch is %q", h.Epoch)
	case h.Given > h.Last:
		return broken(ruleAck, "Given is %d, Last %d", h.Given, h.Last)
	case h.Dropped > h.Last:
		return broken(ruleDropped, "Dropped is %d, Last %d", h.Dropped, h.Last)
	case h.Began > h.Dropped:
		return broken(ruleBegan, "Began is %d, Dropped %d", h.Began, h.Dropped)
	case limit == 0 && len(page.Entries) > 0:
		return broken(ruleHead, "it returned %d entries", len(page.Entries))
	case len(page.Entries) > limit:
		return broken(ruleSince, "it returned %d entries", len(page.Entries))
	case limit > 0 && len(page.Entries) == 0 && h.Last > max(after, h.Dropped):
		return broken(ruleSince, "it returned nothing; Last is %d, Dropped %d", h.Last, h.Dropped)
	}
	next := max(after, h.Dropped) + 1
	for i, e := range page.Entries {
		switch {
		case e.Seq <= h.Dropped:
			return broken(ruleDropped, "entry %d is there; Dropped is %d", e.Seq, h.Dropped)
		case e.Seq != next+uint64(i):
			return broken(ruleSince, "entry %d of the page has the seq %d, not %d; Dropped is %d", i, e.Seq, next+uint64(i), h.Dropped)
		case e.Seq > h.Last:
			return broken(ruleOrder, "entry %d is there; Last is %d", e.Seq, h.Last)
		case e.User != user:
			return broken(ruleSince, "entry %d is of %q", e.Seq, e.User)
		}
	}
	return nil
}

func (r *rig) head(user string) heymanito.Head {
	r.Helper()
	return r.since(user, 0, 0).Head
}

// all reads a whole inbox.
func (r *rig) all(user string) heymanito.Page {
	r.Helper()
	all := r.since(user, 0, 1000)
	for at := all.Dropped; ; {
		if n := len(all.Entries); n > 0 {
			at = all.Entries[n-1].Seq
		}
		if at == all.Last {
			return all
		}
		all.Entries = append(all.Entries, r.since(user, at, 1000).Entries...)
	}
}

// holds checks that what is kept of a user is want, which begins behind the seq
// dropped.
func (r *rig) holds(user string, dropped uint64, want ...heymanito.Entry) {
	r.Helper()
	page := r.all(user)
	if page.Dropped != dropped || page.Last != dropped+uint64(len(want)) {
		r.broken(ruleDropped, "%q has the entries behind %d up to %d, want %d up to %d", user, page.Dropped, page.Last, dropped, dropped+uint64(len(want)))
	}
	for i, e := range want {
		switch what := difference(page.Entries[i], e); {
		case what == "":
		case e.Event == heymanito.EventErased:
			r.broken(ruleErased, "entry %d of %q is of somebody who was forgotten, and not what is left of it: %s", page.Entries[i].Seq, user, what)
		default:
			r.broken(ruleKeep, "entry %d of %q is not as it was appended: %s", page.Entries[i].Seq, user, what)
		}
	}
}

// difference says in what got differs from the entry that was appended.
func difference(got, want heymanito.Entry) string {
	differ := func(what string, got, want any) string {
		return fmt.Sprintf("%s is %.300v, want %.300v", what, got, want)
	}
	switch {
	case got.Key != want.Key:
		return differ("Key", fmt.Sprintf("%+q", got.Key), fmt.Sprintf("%+q", want.Key))
	case got.Mark != want.Mark:
		return differ("Mark", got.Mark, want.Mark)
	case got.Covers != want.Covers:
		return differ("Covers", got.Covers, want.Covers)
	case !got.Time.Equal(want.Time):
		return differ("Time", got.Time, want.Time)
	case !bytes.Equal(got.Body, want.Body):
		return differ("Body", fmt.Sprintf("%q", got.Body), fmt.Sprintf("%q", want.Body))
	case !slices.EqualFunc(got.Attachments, want.Attachments, bytes.Equal):
		return differ("Attachments", fmt.Sprintf("%q", got.Attachments), fmt.Sprintf("%q", want.Attachments))
	case got.Origin != want.Origin:
		return differ("Origin", got.Origin, want.Origin)
	case got.Note != want.Note:
		return differ("Note", got.Note, want.Note)
	}
	return ""
}

// find calls Find.
func (r *rig) find(k heymanito.Key, through uint64) (heymanito.Found, bool) {
	r.Helper()
	found, ok, err := r.store.Find(context.Background(), k, through)
	if err != nil {
		r.Fatalf("Find: %v", err)
	}
	return found, ok
}

// finds checks that Find finds the entry e at seq.
func (r *rig) finds(s rule, k heymanito.Key, through uint64, e heymanito.Entry, seq uint64) {
	r.Helper()
	got, ok := r.find(k, through)
	if !ok {
		r.broken(s, "Find(%+q, %d) did not find %s at %d", k, through, describe(e), seq)
	}
	want := heymanito.Receipt{Seq: seq, Duplicate: true, Time: e.Time, Note: e.Note}
	if !sameReceipt(got.Receipt, want) || got.ID != e.ID {
		r.broken(s, "Find(%+q, %d) found %s with the id %s, want %s with the id %s",
			k, through, describeReceipt(got.Receipt), got.ID, describeReceipt(want), e.ID)
	}
}

// lacks checks that Find finds nothing.
func (r *rig) lacks(s rule, k heymanito.Key, through uint64) {
	r.Helper()
	if got, ok := r.find(k, through); ok {
		r.broken(s, "Find(%+q, %d) found %s with the id %s: there is none", k, through, describeReceipt(got.Receipt), got.ID)
	}
}

func (r *rig) ack(user string, seq uint64) {
	r.Helper()
	if err := r.store.AckThrough(context.Background(), user, seq); err != nil {
		r.Fatalf("AckThrough: %v", err)
	}
}

// given checks Head.Given.
func (r *rig) given(s rule, user string, want uint64) {
	r.Helper()
	if h := r.head(user); h.Given != want {
		r.broken(s, "Given of %q is %d, want %d", user, h.Given, want)
	}
}

func (r *rig) forget(user string) {
	r.Helper()
	if err := r.store.Forget(context.Background(), user); err != nil {
		r.Fatalf("Forget: %v", err)
	}
}

// beginsAt checks that nothing is known of a user, and that the inbox begins
// behind floor. No total bound has ended any.
func (r *rig) beginsAt(user string, floor uint64) {
	r.Helper()
	r.standsAt(user, floor)
	r.began(user, floor)
}

// standsAt is beginsAt where a total bound may have ended inboxes.
func (r *rig) standsAt(user string, floor uint64) {
	r.Helper()
	if h := r.head(user); h.Last != floor || h.Given != floor || h.Dropped != floor {
		r.broken(ruleBegin, "nothing is known of %q, and Last, Given and Dropped are %d, %d and %d, want %d", user, h.Last, h.Given, h.Dropped, floor)
	}
}

// began checks Head.Began.
func (r *rig) began(user string, want uint64) {
	r.Helper()
	if h := r.head(user); h.Began != want {
		r.broken(ruleBegan, "the inbox of %q began behind %d, and Began is %d", user, want, h.Began)
	}
}

// stats returns the numbers of the store, if it has any.
func (r *rig) stats() (s heymanito.InboxStats, ok bool) {
	if store, ok := r.store.(interface{ Stats() heymanito.InboxStats }); ok {
		return store.Stats(), true
	}
	return s, false
}

// far is a through that is behind everything.
const far = math.MaxUint64

func describe(e heymanito.Entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %.40q for %.40q", e.Event, e.Peer, e.User)
	if e.Mark != 0 {
		fmt.Fprintf(&b, " with the Mark %d", e.Mark)
	}
	if e.ID != "" {
		fmt.Fprintf(&b, " with the id %.40s", e.ID)
	}
	return b.String()
}

func describeReceipt(r heymanito.Receipt) string {
	return fmt.Sprintf("{Seq: %d, Duplicate: %t, Time: %s, Note: %q}", r.Seq, r.Duplicate, r.Time.UTC().Format(time.RFC3339Nano), r.Note)
}
