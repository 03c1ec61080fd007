package heymanito

import (
	"cmp"
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// maxCallBytes bounds what a [MemoryCalls] holds. A caller has at most as
	// many calls as the ring limits let him dial in the time of one.
	maxCallBytes = 256 << 20
	// callOverhead is what a call takes besides its strings and bytes.
	callOverhead = 1024
	// sessionOverhead is that of one of its Sessions.
	sessionOverhead = 40
)

// MemoryCalls is a [CallStore] in memory, for one process. Make one with
// [NewMemoryCalls]. It holds 256 MB of calls, a quarter of a million of those that
// carry little; beyond that Create fails with [ErrCallsFull]. Those that have ended
// give back what they carried, and when they are forgotten the rest.
type MemoryCalls struct {
	mu     sync.Mutex // guards the rest
	byID   map[string]*heldCall
	byUser map[string][]*heldCall // by Order
	byPair map[[2]string]*heldCall
	live   dueHeap // that have not ended
	ended  dueHeap
	order  uint64
	bytes  int
}

var _ CallStore = (*MemoryCalls)(nil)

// heldCall is a call and where it is in its heap.
type heldCall struct {
	Call
	place int
	size  int
}

// NewMemoryCalls returns an empty MemoryCalls. It starts nothing and needs no
// closing.
func NewMemoryCalls() *MemoryCalls {
	return &MemoryCalls{byID: map[string]*heldCall{}, byUser: map[string][]*heldCall{}, byPair: map[[2]string]*heldCall{}}
}

// dueHeap is a heap.Interface of calls, the earliest Due first.
type dueHeap []*heldCall

// Len implements heap.Interface.
func (h *dueHeap) Len() int { return len(*h) }

// Less implements heap.Interface.
func (h *dueHeap) Less(i, k int) bool { return (*h)[i].Due.Before((*h)[k].Due) }

// Swap implements heap.Interface.
func (h *dueHeap) Swap(i, k int) {
	all := *h
	all[i], all[k] = all[k], all[i]
	all[i].place, all[k].place = i, k
}

// Push implements heap.Interface.
func (h *dueHeap) Push(x any) {
	c := x.(*heldCall)
	c.place = len(*h)
	*h = append(*h, c)
}

// Pop implements heap.Interface.
func (h *dueHeap) Pop() any {
	old := *h
	c := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return c
}

func pairOf(c *Call) [2]string {
	return [2]string{min(c.Caller, c.Callee), max(c.Caller, c.Callee)}
}

// exclusive reports whether c keeps another call between the two from being.
func exclusive(c *Call) bool { return c.State != CallEnded && c.Withheld == "" }

func callSize(c *Call) int {
	n := callOverhead + len(c.Room) + len(c.Caller) + len(c.Callee) + len(c.Media) + len(c.CallerInfo)
	for _, a := range c.Attachments {
		n += len(a)
	}
	for _, s := range c.Sessions {
		n += sessionOverhead + len(s.ID) + len(s.User)
	}
	return n
}

// Create implements [CallStore].
func (m *MemoryCalls) Create(ctx context.Context, c Call) (Call, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Call{}, err
	}
	m.tidy()
	if other := m.byID[c.ID]; other != nil {
		return other.Call, ErrCallExists
	}
	if other := m.byPair[pairOf(&c)]; other != nil && exclusive(&c) {
		return other.Call, ErrCallExists
	}
	if m.bytes+callSize(&c) > maxCallBytes {
		return Call{}, ErrCallsFull
	}
	m.order++
	c.Order, c.Version = m.order, 1
	h := &heldCall{Call: c, size: callSize(&c)}
	m.bytes += h.size
	m.byID[c.ID] = h
	m.byUser[c.Caller] = append(m.byUser[c.Caller], h)
	if c.Callee != c.Caller {
		m.byUser[c.Callee] = append(m.byUser[c.Callee], h)
	}
	if exclusive(&c) {
		m.byPair[pairOf(&c)] = h
	}
	heap.Push(m.heapOf(h), h)
	return c, nil
}

func (m *MemoryCalls) heapOf(h *heldCall) *dueHeap {
	if h.State == CallEnded {
		return &m.ended
	}
	return &m.live
}

// tidy forgets what has been over for long enough. With mu.
func (m *MemoryCalls) tidy() {
	for now := time.Now(); len(m.ended) > 0 && !now.Before(m.ended[0].Due); {
		m.drop(m.ended[0])
	}
}

func (m *MemoryCalls) drop(h *heldCall) { // with mu
	heap.Remove(m.heapOf(h), h.place)
	delete(m.byID, h.ID)
	if m.byPair[pairOf(&h.Call)] == h {
		delete(m.byPair, pairOf(&h.Call))
	}
	m.dropFrom(h.Caller, h)
	if h.Callee != h.Caller {
		m.dropFrom(h.Callee, h)
	}
	m.bytes -= h.size
}

func (m *MemoryCalls) dropFrom(user string, h *heldCall) { // with mu
	all := m.byUser[user]
	i, _ := slices.BinarySearchFunc(all, h.Order, func(o *heldCall, order uint64) int { return cmp.Compare(o.Order, order) })
	if all = slices.Delete(all, i, i+1); len(all) == 0 {
		delete(m.byUser, user)
	} else {
		m.byUser[user] = all
	}
}

// Get implements [CallStore].
func (m *MemoryCalls) Get(ctx context.Context, id string) (Call, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Call{}, false, err
	}
	m.tidy()
	h := m.byID[id]
	if h == nil {
		return Call{}, false, nil
	}
	return h.Call, true, nil
}

// CompareAndSwap implements [CallStore].
func (m *MemoryCalls) CompareAndSwap(ctx context.Context, c Call) (Call, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Call{}, false, err
	}
	m.tidy()
	h := m.byID[c.ID]
	switch {
	case h == nil:
		return Call{}, false, nil
	case h.Version != c.Version:
		return h.Call, false, nil
	}
	c.Version++
	kept := c
	if c.State == CallEnded { // what it carried is told, or never will be
		kept.CallerInfo, kept.Attachments = nil, nil
	}
	heap.Remove(m.heapOf(h), h.place)
	m.bytes -= h.size
	h.Call, h.size = kept, callSize(&kept)
	m.bytes += h.size
	heap.Push(m.heapOf(h), h)
	if !exclusive(&h.Call) && m.byPair[pairOf(&h.Call)] == h {
		delete(m.byPair, pairOf(&h.Call))
	}
	return c, true, nil
}

// ByUser implements [CallStore].
func (m *MemoryCalls) ByUser(ctx context.Context, user string) ([]Call, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.tidy()
	held := m.byUser[user]
	calls := make([]Call, len(held))
	for i, h := range held {
		calls[i] = h.Call
	}
	return calls, nil
}

// Due implements [CallStore].
func (m *MemoryCalls) Due(ctx context.Context, now time.Time, limit int) (due []Call, next time.Time, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, err
	}
	m.tidy()
	var taken []*heldCall
	for len(taken) < limit && len(m.live) > 0 && !now.Before(m.live[0].Due) {
		taken = append(taken, heap.Pop(&m.live).(*heldCall))
	}
	if len(m.live) > 0 {
		next = m.live[0].Due
	}
	for _, h := range taken {
		due = append(due, h.Call)
		heap.Push(&m.live, h)
	}
	return due, next, nil
}

// Forget implements [CallStore].
func (m *MemoryCalls) Forget(ctx context.Context, user string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, h := range slices.Clone(m.byUser[user]) {
		m.drop(h)
	}
	return nil
}
