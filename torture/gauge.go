package torture

import (
	"fmt"
	"slices"
	"strings"

	"github.com/heymanito/heymanito"
)

// gauge is what a server takes at one moment.
type gauge struct {
	Goroutines  int
	Descriptors int // open files
	Heap        int // bytes in use; right after a collection what is needed
	Objects     int // that they are
	Online      int // of the people asked about
	Calls       int // theirs
	Stats       heymanito.Stats
}

// unknown is a number that is not known: how many files are open, on a system
// that does not say.
const unknown = -1

// excess says what there is more, or less, of than in base, as far as that is
// known. The inbox knows of entries that it keeps no more: they are left out until
// their people are forgotten.
func (g *gauge) excess(base *gauge, forgotten bool) []string {
	numbers := func(g *gauge) []int {
		s := &g.Stats
		all := []int{g.Goroutines, g.Descriptors, s.Connections, s.Devices, s.Users, s.QueueBytes, g.Online, g.Calls, s.Inbox.Entries}
		if forgotten {
			all = append(all, s.Inbox.Users, s.Inbox.Bytes)
		}
		return all
	}
	names := []string{
		"goroutines", "open descriptors", "connections", "devices", "users with devices", "bytes queued", "users online",
		"calls", "inbox entries", "inboxes", "bytes of inboxes",
	}
	var found []string
	now, then := numbers(g), numbers(base)
	for i, n := range now {
		if n != then[i] && then[i] != unknown {
			found = append(found, fmt.Sprintf("%d %s, %d at the start", n, names[i], then[i]))
		}
	}
	return found
}

// growth is by how much a size is bigger in the last third of the rounds than in
// the first. It compares the lowest of each third: what has not been given back
// yet, or is in a cache, comes on top of what is needed and goes again, and what
// leaks is in the lowest too.
func growth(sizes []int) int {
	third := (len(sizes) + 2) / 3
	if third == 0 {
		return 0
	}
	return slices.Min(sizes[len(sizes)-third:]) - slices.Min(sizes[:third])
}

// stacks are the goroutines of a profile, as text, that are in the same place.
func stacks(profile string) map[string]int {
	found := map[string]int{}
	_, blocks, _ := strings.Cut(profile, "\n") // how many there are in all
	for block := range strings.SplitSeq(blocks, "\n\n") {
		head, where, _ := strings.Cut(block, "\n")
		var n int
		if _, err := fmt.Sscanf(head, "%d @", &n); err == nil && !strings.Contains(where, "runtime/pprof.") { // who looks
			found[strings.TrimSpace(where)] += n
		}
	}
	return found
}

// newStacks says where there are more goroutines than in an earlier profile.
func newStacks(then, now string) string {
	var b strings.Builder
	before := stacks(then)
	for where, n := range stacks(now) {
		if more := n - before[where]; more > 0 {
			fmt.Fprintf(&b, "%d more goroutines at\n%s\n", more, where)
		}
	}
	return b.String()
}
