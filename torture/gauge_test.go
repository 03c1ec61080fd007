package torture

import (
	"strings"
	"testing"

	"github.com/heymanito/heymanito"
)

// Each number that differs is named, and nothing else.
func TestExcess(t *testing.T) {
	t.Parallel()
	fresh := func() *gauge {
		return &gauge{Goroutines: 8, Descriptors: 13, Stats: heymanito.Stats{Inbox: &heymanito.InboxStats{}}}
	}
	for name, tt := range map[string]struct {
		change    func(*gauge)
		forgotten bool
		found     string
	}{
		"nothing":                  {func(*gauge) {}, true, ""},
		"the heap":                 {func(g *gauge) { g.Heap++ }, true, ""},
		"a goroutine":              {func(g *gauge) { g.Goroutines++ }, true, "9 goroutines, 8 at the start"},
		"a goroutine less":         {func(g *gauge) { g.Goroutines-- }, true, "7 goroutines, 8 at the start"},
		"a descriptor":             {func(g *gauge) { g.Descriptors++ }, true, "14 open descriptors, 13 at the start"},
		"a connection":             {func(g *gauge) { g.Stats.Connections++ }, true, "1 connections, 0 at the start"},
		"a device":                 {func(g *gauge) { g.Stats.Devices++ }, true, "1 devices, 0 at the start"},
		"a user":                   {func(g *gauge) { g.Stats.Users++ }, true, "1 users with devices, 0 at the start"},
		"a queue":                  {func(g *gauge) { g.Stats.QueueBytes++ }, true, "1 bytes queued, 0 at the start"},
		"somebody who is online":   {func(g *gauge) { g.Online++ }, true, "1 users online, 0 at the start"},
		"a call":                   {func(g *gauge) { g.Calls++ }, true, "1 calls, 0 at the start"},
		"an entry":                 {func(g *gauge) { g.Stats.Inbox.Entries++ }, false, "1 inbox entries, 0 at the start"},
		"what is known":            {func(g *gauge) { g.Stats.Inbox.Bytes++ }, false, ""},
		"what is known afterwards": {func(g *gauge) { g.Stats.Inbox.Bytes++ }, true, "1 bytes of inboxes, 0 at the start"},
		"an inbox afterwards":      {func(g *gauge) { g.Stats.Inbox.Users++ }, true, "1 inboxes, 0 at the start"},
	} {
		g := fresh()
		tt.change(g)
		if base := (&gauge{Goroutines: unknown, Descriptors: unknown, Stats: fresh().Stats}); strings.Contains(strings.Join(g.excess(base, true), ""), "oroutines") {
			t.Errorf("%s: what is unknown is compared", name)
		}
		if got := strings.Join(g.excess(fresh(), tt.forgotten), "; "); got != tt.found {
			t.Errorf("%s: %q, want %q", name, got, tt.found)
		}
	}
}

func TestGrowth(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		sizes []int
		want  int
	}{
		{nil, 0},
		{[]int{700}, 0},
		{[]int{700, 710, 720}, 20}, // it leaks
		{[]int{700, 701, 702, 703, 704, 705, 706, 707, 708}, 6},    // it leaks slowly
		{[]int{700, 900, 700, 950, 700, 900, 950, 700, 900}, 0},    // it goes up, and down again
		{[]int{900, 700, 700, 700, 700, 700, 700, 900, 900}, 0},    // the same
		{[]int{900, 900, 900, 700, 700, 700, 700, 700, 700}, -200}, // it was warm late
	} {
		if got := growth(tt.sizes); got != tt.want {
			t.Errorf("of %v: %d, want %d", tt.sizes, got, tt.want)
		}
	}
}

func TestNewStacks(t *testing.T) {
	t.Parallel()
	const then = "goroutine profile: total 3\n2 @ 0x1 0x2\n#\tmain.a\n\n1 @ 0x3\n#\tmain.b\n"
	const now = "goroutine profile: total 6\n2 @ 0x1 0x2\n#\tmain.a\n\n3 @ 0x3\n#\tmain.b\n\n1 @ 0x4\n#\tmain.c\n\n1 @ 0x5\n#\truntime/pprof.x\n"
	got := newStacks(then, now)
	if !strings.Contains(got, "2 more goroutines at\n#\tmain.b\n") || !strings.Contains(got, "1 more goroutines at\n#\tmain.c\n") || strings.Contains(got, "main.a") || strings.Contains(got, "pprof") {
		t.Errorf("what is new is\n%s", got)
	}
	if got := newStacks(now, now); got != "" {
		t.Errorf("where nothing is new, this is:\n%s", got)
	}
}
