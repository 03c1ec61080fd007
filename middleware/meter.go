package middleware

import (
	"container/heap"
	"hash/maphash"
	"sync"
	"time"
)

// maxMetered is how many debtors a meter remembers: 3.5 MB.
const maxMetered = 1 << 16

// meter limits how often each of many may come: so many at once, and so many a
// minute. What somebody has come too often is a debt, and time pays it off.
//
// It remembers those who have the most to pay off. A stranger, when it can
// remember nobody more, is taken for the one who has the least: so that being
// forgotten is no way to get rid of a debt (Metwally's Space-Saving). The price
// is that strangers pay for others while more than maxMetered of them are in debt
// at once.
type meter struct {
	interval time.Duration // each time costs so much
	slack    time.Duration // the debt with which one may still come
	most     int           // remembered
	seed     maphash.Seed
	epoch    time.Time

	mu    sync.Mutex // guards debts
	debts debts
}

// newMeter returns a meter for burst at once and perMinute a minute.
func newMeter(perMinute, burst int) *meter {
	interval := time.Minute / time.Duration(perMinute)
	return &meter{
		interval: interval,
		slack:    time.Duration(burst-1) * interval,
		most:     maxMetered,
		seed:     maphash.MakeSeed(),
		epoch:    time.Now(),
		debts:    debts{at: map[uint64]int{}},
	}
}

// take reports how long who has the key must wait until he may come; 0: he may
// now, and has. To be turned away costs nothing more.
func (m *meter) take(key []byte) (wait time.Duration) {
	who := maphash.Bytes(m.seed, key)
	now := time.Since(m.epoch)
	m.mu.Lock()
	defer m.mu.Unlock()
	d := &m.debts
	for range 2 { // more than come in
		if len(d.list) > 0 && d.list[0].until <= now {
			heap.Pop(d)
		}
	}
	i, known := d.at[who]
	full := len(d.list) == m.most
	from := now
	switch {
	case known:
		from = max(from, d.list[i].until)
	case full:
		from = max(from, d.list[0].until)
	}
	if wait = from - now - m.slack; wait > 0 {
		return wait
	}
	one := debt{who, from + m.interval}
	switch {
	case known:
		d.list[i] = one
		heap.Fix(d, i)
	case full:
		delete(d.at, d.list[0].who)
		d.list[0], d.at[who] = one, 0
		heap.Fix(d, 0)
	default:
		heap.Push(d, one)
	}
	return 0
}

// debt is what somebody has to pay off.
type debt struct {
	who   uint64        // a hash
	until time.Duration // from the meter's epoch
}

// debts is a heap, the least debt first, and where in it everybody is.
type debts struct {
	list []debt
	at   map[uint64]int
}

// Len implements heap.Interface.
func (d *debts) Len() int { return len(d.list) }

// Less implements heap.Interface.
func (d *debts) Less(i, j int) bool { return d.list[i].until < d.list[j].until }

// Swap implements heap.Interface.
func (d *debts) Swap(i, j int) {
	d.list[i], d.list[j] = d.list[j], d.list[i]
	d.at[d.list[i].who], d.at[d.list[j].who] = i, j
}

// Push implements heap.Interface.
func (d *debts) Push(x any) {
	one := x.(debt)
	d.at[one.who] = len(d.list)
	d.list = append(d.list, one)
}

// Pop implements heap.Interface.
func (d *debts) Pop() any {
	last := len(d.list) - 1
	one := d.list[last]
	d.list = d.list[:last]
	delete(d.at, one.who)
	return one
}
