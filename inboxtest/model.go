package inboxtest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/heymanito/heymanito"
)

// model is what the contract says an inbox does, for one call at a time and
// without the bounds in bytes.
type model struct {
	bounds heymanito.InboxBounds
	users  map[string]*modelUser
	marks  map[heymanito.Key]modelMark // by a Key without an ID
	floor  uint64
}

type modelUser struct {
	last, given, dropped uint64
	began                uint64            // entries[0] is behind it
	entries              []heymanito.Entry // all there ever were
}

type modelMark struct {
	mark  uint64
	first heymanito.Receipt
}

func (u *modelUser) known(e heymanito.Entry, now time.Time) bool {
	return e.Seq > u.dropped || now.Sub(e.Time) < heymanito.DuplicateAge && e.Seq+heymanito.DuplicateCount > u.last
}

func (m *model) head(user string) modelUser {
	if u := m.users[user]; u != nil {
		return *u
	}
	return modelUser{last: m.floor, given: m.floor, dropped: m.floor, began: m.floor}
}

func (u *modelUser) age(bound time.Duration, now time.Time) {
	for u.dropped < u.last && now.Sub(u.entries[u.dropped-u.began].Time) > bound {
		u.dropped++
	}
}

func (m *model) tidy(now time.Time) {
	for _, u := range m.users {
		u.age(m.bounds.Age, now)
	}
}

// find is the newest entry that is known and that fits.
func (m *model) find(user string, now time.Time, fits func(heymanito.Entry) bool) (found heymanito.Entry, ok bool) {
	if u := m.users[user]; u != nil {
		for _, e := range u.entries {
			if e.Event != heymanito.EventErased && u.known(e, now) && fits(e) {
				found, ok = e, true
			}
		}
	}
	return found, ok
}

func (m *model) duplicate(e heymanito.Entry, now time.Time) heymanito.Receipt {
	if e.Mark > 0 {
		k := e.Key
		k.ID = ""
		if was, ok := m.marks[k]; ok && was.mark >= e.Mark {
			return was.first
		}
		return heymanito.Receipt{}
	}
	if first, ok := m.find(e.User, now, func(o heymanito.Entry) bool { return o.Mark == 0 && o.Key == e.Key }); ok {
		return duplicateOf(first)
	}
	return heymanito.Receipt{}
}

func duplicateOf(e heymanito.Entry) heymanito.Receipt {
	return heymanito.Receipt{Seq: e.Seq, Duplicate: true, Time: e.Time, Note: e.Note}
}

func (m *model) append(entries []heymanito.Entry, now time.Time) []heymanito.Receipt {
	m.tidy(now)
	receipts := make([]heymanito.Receipt, len(entries))
	own := map[string]uint64{}
	for i, e := range entries {
		if receipts[i] = m.duplicate(e, now); receipts[i].Duplicate {
			if i == 0 {
				return receipts
			}
			continue
		}
		u := m.users[e.User]
		if u == nil {
			began := m.head(e.User)
			u = &began
			m.users[e.User] = u
		}
		u.last++
		if e.Seq = u.last; e.Origin != "" && u.given == e.Seq-1 {
			u.given = e.Seq
		}
		u.entries = append(u.entries, e)
		own[e.User]++
		for _, event := range []string{e.Event, e.Covers} {
			k := heymanito.Key{User: e.User, Event: event, Peer: e.Peer}
			if event != "" && m.marks[k].mark < e.Mark {
				m.marks[k] = modelMark{e.Mark, duplicateOf(e)}
			}
		}
		receipts[i] = heymanito.Receipt{Seq: e.Seq}
	}
	for user, n := range own {
		u := m.users[user]
		if keep := max(uint64(m.bounds.Entries), n); u.last-u.dropped > keep {
			u.dropped = u.last - keep
		}
	}
	return receipts
}

func (m *model) forget(user string) {
	if u := m.users[user]; u != nil {
		m.floor = max(m.floor, u.last)
		delete(m.users, user)
	}
	for _, u := range m.users {
		u.entries = erased(user, u.entries...)
	}
	for k := range m.marks {
		if k.User == user || k.Peer == user {
			delete(m.marks, k)
		}
	}
}

// checkModel does everything in any order, and compares each answer with the
// model's.
func checkModel(r *rig) {
	b := heymanito.InboxBounds{Entries: 8, Age: 10 * time.Hour}
	r.start(b)
	m := &model{bounds: b, users: map[string]*modelUser{}, marks: map[heymanito.Key]modelMark{}}
	random := rand.New(rand.NewPCG(7, 7))
	user := func() string { return fmt.Sprint("user ", random.IntN(4)) }
	var story []string
	failed := func(s rule, what string, got, want any) {
		r.Helper()
		for _, line := range story[max(0, len(story)-15):] {
			r.Log(line)
		}
		r.broken(s, "step %d: %s is\n\t%v, want\n\t%v", len(story), what, got, want)
	}
	for step := range 1500 {
		who := user()
		now := time.Now()
		switch n := random.IntN(100); {
		case n < 55:
			var es []heymanito.Entry
			for range 1 + random.IntN(3) {
				e := r.message(who, user(), fmt.Sprint(random.IntN(20)))
				if random.IntN(4) == 0 {
					e = r.receipt(who, []string{read, delivered}[random.IntN(2)], e.Peer, uint64(step/10+random.IntN(10)+1), "")
					if e.Event == read && random.IntN(2) == 0 {
						e.Covers = delivered
					}
				}
				if random.IntN(3) == 0 {
					e.Origin = "socket-1"
				}
				e.Note = fmt.Sprint("note ", step)
				es = append(es, e)
				who = user()
			}
			story = append(story, fmt.Sprintf("%d: Append %v", step, describeAll(es)))
			got, want := r.append(es...), m.append(es, now)
			for i := range got {
				if !sameReceipt(got[i], want[i]) {
					failed(rulesOf(es[i]), "the receipt of "+describe(es[i]), describeReceipt(got[i]), describeReceipt(want[i]))
				}
			}
		case n < 65:
			seq := m.head(who).given + uint64(random.IntN(5))
			story = append(story, fmt.Sprintf("%d: AckThrough %s %d", step, who, seq))
			r.ack(who, seq)
			if u := m.users[who]; u != nil {
				u.given = max(u.given, min(seq, u.last))
			}
		case n < 67:
			story = append(story, fmt.Sprintf("%d: Forget %s", step, who))
			r.forget(who)
			m.forget(who)
		case n < 80:
			k := r.message(who, user(), fmt.Sprint(random.IntN(20))).Key
			fits := func(e heymanito.Entry) bool { return e.Mark == 0 && e.Key == k }
			through := m.head(who).last - min(m.head(who).last, uint64(random.IntN(12)))
			if random.IntN(2) == 0 {
				k.ID = ""
				fits = func(e heymanito.Entry) bool { return e.Event == k.Event && e.Peer == k.Peer && e.Seq <= through }
			}
			m.tidy(now)
			want, known := m.find(who, now, fits)
			story = append(story, fmt.Sprintf("%d: Find %+q %d", step, k, through))
			got, ok := r.find(k, through)
			if ok != known || ok && (!sameReceipt(got.Receipt, duplicateOf(want)) || got.ID != want.ID) {
				failed(ruleFind, fmt.Sprintf("Find(%+q, %d)", k, through), fmt.Sprint(ok, got), fmt.Sprint(known, want.ID, duplicateOf(want)))
			}
		case n < 85 && r.fixed.IsZero():
			time.Sleep(time.Duration(random.IntN(6)) * time.Hour)
			story = append(story, fmt.Sprintf("%d: it is %s", step, time.Now().UTC().Format(time.DateTime)))
		}
		if step%3 != 0 {
			continue
		}
		m.tidy(time.Now())
		who = user()
		want, page := m.head(who), r.all(who)
		if page.Last != want.last || page.Given != want.given || page.Dropped != want.dropped {
			failed(ruleDropped, "the head of "+who, fmt.Sprintf("%+v", page.Head), fmt.Sprintf("{Last:%d Given:%d Dropped:%d}", want.last, want.given, want.dropped))
		}
		if page.Began != want.began {
			failed(ruleBegan, "Began of "+who, page.Began, want.began)
		}
		for _, e := range page.Entries {
			if what := difference(e, want.entries[e.Seq-want.began-1]); what != "" {
				failed(ruleSince, fmt.Sprintf("entry %d of %s", e.Seq, who), what, "")
			}
		}
	}
}

func describeAll(es []heymanito.Entry) (all []string) {
	for _, e := range es {
		s := describe(e)
		if e.Covers != "" {
			s += " that covers " + e.Covers
		}
		if e.Origin != "" {
			s += " of " + e.Origin
		}
		all = append(all, s)
	}
	return all
}
