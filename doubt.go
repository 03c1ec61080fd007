package heymanito

import (
	"sync"
	"sync/atomic"
)

// doubts are the entries whose Append has failed: it may have appended them all
// the same, and nobody was told. Whoever appends one again, and finds that it is
// there already, has to do what the first one could not.
type doubts struct {
	some atomic.Bool // there are any

	mu         sync.Mutex // guards the rest
	young, old map[Key]bool
}

// maxDoubts is how many young ones there may be before they are the old ones,
// and what was old is forgotten: of those a device learns when it connects
// again.
const maxDoubts = 5000

func (d *doubts) add(k Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.young == nil || len(d.young) >= maxDoubts {
		d.young, d.old = map[Key]bool{}, d.young
	}
	d.young[k] = true
	d.some.Store(true)
}

// settle reports whether there was a doubt, and ends it.
func (d *doubts) settle(k Key) bool {
	if !d.some.Load() {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	was := d.young[k] || d.old[k]
	delete(d.young, k)
	delete(d.old, k)
	d.some.Store(len(d.young)+len(d.old) > 0)
	return was
}
