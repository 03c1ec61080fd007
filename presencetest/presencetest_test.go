package presencetest_test

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/presencetest"
)

func newMemory(*testing.T) heymanito.PresenceStore { return heymanito.NewMemoryPresence() }

func TestMemoryPresence(t *testing.T) { presencetest.Run(t, newMemory) }

func TestActor(t *testing.T) { presencetest.Run(t, newActor) }

// TestSlowStore shows that a store may take its time.
func TestSlowStore(t *testing.T) {
	presencetest.Run(t, func(t *testing.T) heymanito.PresenceStore {
		inner := newActor(t)
		pause := func() { time.Sleep(200 * time.Microsecond) }
		return &fault{
			PresenceStore: inner,
			set: func(ctx context.Context, p heymanito.Presence) error {
				defer pause()
				return inner.Set(ctx, p)
			},
			watch: func(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
				n := 0
				return inner.Watch(ctx, ready, func(e heymanito.Edge) {
					if n++; n%10 == 0 {
						pause()
					}
					if ctx.Err() == nil {
						edge(e)
					}
				})
			},
		}
	})
}

// TestRules keeps what failures quote to what the contract says.
func TestRules(t *testing.T) {
	source, err := os.ReadFile("../presencestore.go")
	if err != nil {
		t.Fatal(err)
	}
	words := regexp.MustCompile(`[\s/]+`)
	contract := words.ReplaceAllString(string(source), " ")
	for _, rule := range presencetest.Rules {
		if !strings.Contains(contract, words.ReplaceAllString(string(rule), " ")) {
			t.Errorf("presencestore.go does not say %q", rule)
		}
	}
}

// fault is a store whose methods can be replaced one by one.
type fault struct {
	heymanito.PresenceStore
	set      func(context.Context, heymanito.Presence) error
	online   func(context.Context, []string) ([]heymanito.Presence, error)
	snapshot func(context.Context) iter.Seq2[heymanito.Presence, error]
	watch    func(context.Context, func(), func(heymanito.Edge)) error
	forget   func(context.Context, string) error
}

func (f *fault) Set(ctx context.Context, p heymanito.Presence) error {
	if f.set != nil {
		return f.set(ctx, p)
	}
	return f.PresenceStore.Set(ctx, p)
}

func (f *fault) Online(ctx context.Context, users []string) ([]heymanito.Presence, error) {
	if f.online != nil {
		return f.online(ctx, users)
	}
	return f.PresenceStore.Online(ctx, users)
}

func (f *fault) Snapshot(ctx context.Context) iter.Seq2[heymanito.Presence, error] {
	if f.snapshot != nil {
		return f.snapshot(ctx)
	}
	return f.PresenceStore.Snapshot(ctx)
}

func (f *fault) Watch(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
	if f.watch != nil {
		return f.watch(ctx, ready, edge)
	}
	return f.PresenceStore.Watch(ctx, ready, edge)
}

func (f *fault) Forget(ctx context.Context, user string) error {
	if f.forget != nil {
		return f.forget(ctx, user)
	}
	return f.PresenceStore.Forget(ctx, user)
}

// edges replaces what Watch hands on: plant is called once for each Watch and
// returns what to do with each edge.
func edges(plant func(edge func(heymanito.Edge)) func(heymanito.Edge)) func(*fault) {
	return func(f *fault) {
		f.watch = func(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
			return f.PresenceStore.Watch(ctx, ready, plant(edge))
		}
	}
}

// known replaces what Online says of each user.
func known(change func(*heymanito.Presence)) func(*fault) {
	return func(f *fault) {
		f.online = func(ctx context.Context, users []string) ([]heymanito.Presence, error) {
			ps, err := f.PresenceStore.Online(ctx, users)
			for i := range ps {
				change(&ps[i])
			}
			return ps, err
		}
	}
}

// yielded replaces what Snapshot yields: change has all that it should.
func yielded(change func(f *fault, ps []heymanito.Presence) []heymanito.Presence) func(*fault) {
	return func(f *fault) {
		f.snapshot = func(ctx context.Context) iter.Seq2[heymanito.Presence, error] {
			return func(yield func(heymanito.Presence, error) bool) {
				ps, err := collect(f.PresenceStore.Snapshot(ctx))
				for _, p := range change(f, ps) {
					if !yield(p, nil) {
						return
					}
				}
				if err != nil {
					yield(heymanito.Presence{}, err)
				}
			}
		}
	}
}

func collect(seq iter.Seq2[heymanito.Presence, error]) ([]heymanito.Presence, error) {
	var ps []heymanito.Presence
	for p, err := range seq {
		if err != nil {
			return ps, err
		}
		ps = append(ps, p)
	}
	return ps, nil
}

func one(s heymanito.PresenceStore, user string) heymanito.Presence {
	ps, err := s.Online(context.Background(), []string{user})
	if err != nil {
		panic(err)
	}
	return ps[0]
}

// waits is the patience with a store whose fault is that something does not
// happen, so that the suite may find it only by waiting. For other faults it is
// zero, and the suite has the patience of Run.
const waits = time.Second

// faults are things a store can do wrong, each with the check that finds it
// and the rule it is to quote.
var faults = []struct {
	name  string
	check string
	rule  presencetest.Rule
	waits time.Duration
	plant func(*fault)
}{
	{"change seen later", "SetIsVisible", presencetest.RuleVisible, 0, func(f *fault) {
		var late heymanito.Presence
		f.set = func(ctx context.Context, p heymanito.Presence) error {
			before := late
			if late = p; before.User == "" {
				return nil
			}
			return f.PresenceStore.Set(ctx, before)
		}
	}},
	{"snapshot lags", "SetIsVisible", presencetest.RuleVisible, 0, func(f *fault) {
		var cache []heymanito.Presence
		yielded(func(_ *fault, ps []heymanito.Presence) []heymanito.Presence {
			was := cache
			cache = ps
			return was
		})(f)
	}},
	{"keeps the first socket", "SetIsVisible", presencetest.RuleSocketID, 0, known(func(p *heymanito.Presence) {
		if p.SocketID == "a2" {
			p.SocketID = "a1"
		}
	})},
	{"forgets the socket of who is offline", "SetIsVisible", presencetest.RuleSocketID, 0, known(func(p *heymanito.Presence) {
		if !p.Online {
			p.SocketID = ""
		}
	})},

	{"LastSeen of who is online", "LastSeen", presencetest.RuleLastSeen, 0, known(func(p *heymanito.Presence) {
		if p.Online {
			p.LastSeen = time.UnixMilli(1)
		}
	})},
	{"no LastSeen", "LastSeen", presencetest.RuleLastSeen, 0, known(func(p *heymanito.Presence) {
		p.LastSeen = time.Time{}
	})},
	{"LastSeen with microseconds", "LastSeen", presencetest.RuleLastSeen, 0, known(func(p *heymanito.Presence) {
		if !p.LastSeen.IsZero() {
			p.LastSeen = p.LastSeen.Add(time.Microsecond)
		}
	})},
	{"LastSeen is now", "LastSeen", presencetest.RuleLastSeen, 0, known(func(p *heymanito.Presence) {
		if !p.LastSeen.IsZero() {
			p.LastSeen = time.Now().Truncate(time.Millisecond)
		}
	})},
	{"LastSeen is the caller's", "LastSeen", presencetest.RuleSet, 0, known(func(p *heymanito.Presence) {
		if !p.LastSeen.IsZero() {
			p.LastSeen = time.Unix(1, 0)
		}
	})},
	{"LastSeen of the second Set", "LastSeen", presencetest.RuleLastSeen, 0, func(f *fault) {
		f.set = func(ctx context.Context, p heymanito.Presence) error {
			if was := one(f.PresenceStore, p.User); !p.Online && !was.LastSeen.IsZero() {
				_ = f.PresenceStore.Set(ctx, heymanito.Presence{User: p.User, Online: true, SocketID: p.SocketID})
			}
			return f.PresenceStore.Set(ctx, p)
		}
	}},
	{"edge without LastSeen", "LastSeen", presencetest.RuleLastSeen, 0, edges(func(edge func(heymanito.Edge)) func(heymanito.Edge) {
		return func(e heymanito.Edge) {
			e.LastSeen = time.Time{}
			edge(e)
		}
	})},
	{"edge with another LastSeen", "LastSeen", presencetest.RuleLastSeen, 0, edges(func(edge func(heymanito.Edge)) func(heymanito.Edge) {
		return func(e heymanito.Edge) {
			if !e.Online {
				e.LastSeen = e.LastSeen.Add(time.Second)
			}
			edge(e)
		}
	})},

	{"sorted", "Online", presencetest.RuleOnline, 0, func(f *fault) {
		f.online = func(ctx context.Context, users []string) ([]heymanito.Presence, error) {
			return f.PresenceStore.Online(ctx, slices.Sorted(slices.Values(users)))
		}
	}},
	{"each user once", "Online", presencetest.RuleOnline, 0, func(f *fault) {
		f.online = func(ctx context.Context, users []string) ([]heymanito.Presence, error) {
			var once []string
			for _, user := range users {
				if !slices.Contains(once, user) {
					once = append(once, user)
				}
			}
			return f.PresenceStore.Online(ctx, once)
		}
	}},
	{"unknown users left out", "Online", presencetest.RuleOnline, 0, func(f *fault) {
		f.online = func(ctx context.Context, users []string) ([]heymanito.Presence, error) {
			ps, err := f.PresenceStore.Online(ctx, users)
			return slices.DeleteFunc(ps, func(p heymanito.Presence) bool { return p.SocketID == "" }), err
		}
	}},
	{"unknown users unnamed", "Online", presencetest.RuleOnline, 0, known(func(p *heymanito.Presence) {
		if p.SocketID == "" {
			p.User = ""
		}
	})},
	{"never online, but seen", "Online", presencetest.RuleLastSeen, 0, func(f *fault) {
		f.set = func(ctx context.Context, p heymanito.Presence) error {
			if was := one(f.PresenceStore, p.User); !p.Online && was.SocketID == "" {
				_ = f.PresenceStore.Set(ctx, heymanito.Presence{User: p.User, Online: true, SocketID: p.SocketID})
			}
			return f.PresenceStore.Set(ctx, p)
		}
	}},

	{"case folded", "Names", presencetest.RuleOnline, 0, renamed(strings.ToLower)},
	{"trimmed", "Names", presencetest.RuleOnline, 0, renamed(strings.TrimSpace)},
	{"cut at 255 bytes", "Names", presencetest.RuleOnline, 0, renamed(func(s string) string { return s[:min(len(s), 255)] })},

	{"snapshot with who is offline", "Snapshot", presencetest.RuleSnapshot, 0, yielded(func(f *fault, ps []heymanito.Presence) []heymanito.Presence {
		return append(ps, one(f.PresenceStore, "user 000"))
	})},
	{"snapshot yields twice", "Snapshot", presencetest.RuleSnapshot, 0, yielded(func(_ *fault, ps []heymanito.Presence) []heymanito.Presence {
		return append(ps, ps[:min(len(ps), 1)]...)
	})},
	{"snapshot of 100", "Snapshot", presencetest.RuleSnapshot, 0, yielded(func(_ *fault, ps []heymanito.Presence) []heymanito.Presence {
		return ps[:min(len(ps), 100)]
	})},
	{"snapshot goes on after break", "SnapshotBreak", presencetest.RuleSnapshot, 0, func(f *fault) {
		f.snapshot = func(ctx context.Context) iter.Seq2[heymanito.Presence, error] {
			return func(yield func(heymanito.Presence, error) bool) {
				for p, err := range f.PresenceStore.Snapshot(ctx) {
					yield(p, err)
				}
			}
		}
	}},
	{"snapshot break keeps the lock", "SnapshotBreak", "", waits, func(f *fault) {
		var mu sync.Mutex
		f.set = func(ctx context.Context, p heymanito.Presence) error {
			mu.Lock()
			defer mu.Unlock()
			return f.PresenceStore.Set(ctx, p)
		}
		f.snapshot = func(ctx context.Context) iter.Seq2[heymanito.Presence, error] {
			return func(yield func(heymanito.Presence, error) bool) {
				mu.TryLock()
				for p, err := range f.PresenceStore.Snapshot(ctx) {
					if !yield(p, err) {
						return
					}
				}
				mu.Unlock()
			}
		}
	}},
	{"snapshot hides the ctx", "SnapshotCancelled", presencetest.RuleCtx, 0, func(f *fault) {
		f.snapshot = func(ctx context.Context) iter.Seq2[heymanito.Presence, error] {
			return func(yield func(heymanito.Presence, error) bool) {
				for p, err := range f.PresenceStore.Snapshot(ctx) {
					if err != nil || !yield(p, nil) {
						return
					}
				}
			}
		}
	}},
	{"snapshot stops short without an error", "SnapshotCancelled", presencetest.RuleCtx, 0, func(f *fault) {
		f.snapshot = func(ctx context.Context) iter.Seq2[heymanito.Presence, error] {
			return func(yield func(heymanito.Presence, error) bool) {
				if err := ctx.Err(); err != nil {
					yield(heymanito.Presence{}, err)
					return
				}
				for p, err := range f.PresenceStore.Snapshot(context.Background()) {
					if ctx.Err() != nil || !yield(p, err) {
						return
					}
				}
			}
		}
	}},
	{"snapshot goes on after an error", "SnapshotCancelled", presencetest.RuleSnapshotE, 0, func(f *fault) {
		f.snapshot = func(ctx context.Context) iter.Seq2[heymanito.Presence, error] {
			return func(yield func(heymanito.Presence, error) bool) {
				for p := range f.PresenceStore.Snapshot(context.Background()) {
					if err := ctx.Err(); err != nil && !yield(heymanito.Presence{}, err) || !yield(p, nil) {
						return
					}
				}
			}
		}
	}},
	{"snapshot under a lock", "SnapshotCallsStore", presencetest.RuleBeside, waits, func(f *fault) {
		var mu sync.Mutex
		f.set = func(ctx context.Context, p heymanito.Presence) error {
			mu.Lock()
			defer mu.Unlock()
			return f.PresenceStore.Set(ctx, p)
		}
		f.snapshot = func(ctx context.Context) iter.Seq2[heymanito.Presence, error] {
			return func(yield func(heymanito.Presence, error) bool) {
				mu.Lock()
				defer mu.Unlock()
				f.PresenceStore.Snapshot(ctx)(yield)
			}
		}
	}},
	{"snapshot by index", "SnapshotBesideSet", presencetest.RuleSnapshot, 0, func(f *fault) {
		// Pages of a list that changes meanwhile: as with a cursor that is a
		// position.
		f.snapshot = func(ctx context.Context) iter.Seq2[heymanito.Presence, error] {
			return func(yield func(heymanito.Presence, error) bool) {
				for at := 0; ; at += 5 {
					ps, err := collect(f.PresenceStore.Snapshot(ctx))
					if err != nil {
						yield(heymanito.Presence{}, err)
						return
					}
					slices.SortFunc(ps, func(a, b heymanito.Presence) int { return -cmp.Compare(a.User, b.User) })
					if at >= len(ps) {
						return
					}
					for _, p := range ps[at:min(at+5, len(ps))] {
						if !yield(p, nil) {
							return
						}
					}
					time.Sleep(time.Millisecond)
				}
			}
		}
	}},

	{"Moved swallowed", "Edges", presencetest.RuleMoved, waits, edges(func(edge func(heymanito.Edge)) func(heymanito.Edge) {
		return func(e heymanito.Edge) {
			if !e.Moved {
				edge(e)
			}
		}
	})},
	{"Moved not marked", "Edges", presencetest.RuleMoved, 0, edges(func(edge func(heymanito.Edge)) func(heymanito.Edge) {
		return func(e heymanito.Edge) {
			e.Moved = false
			edge(e)
		}
	})},
	{"Moved as going and coming", "Edges", presencetest.RuleMoved, 0, edges(func(edge func(heymanito.Edge)) func(heymanito.Edge) {
		return func(e heymanito.Edge) {
			if e.Moved {
				e.Moved = false
				was := e
				was.Online, was.LastSeen = false, time.Now().Truncate(time.Millisecond)
				edge(was)
			}
			edge(e)
		}
	})},
	{"coming marked Moved when the socket is new", "Edges", presencetest.RuleEdges, 0, edges(func(edge func(heymanito.Edge)) func(heymanito.Edge) {
		last := map[string]string{}
		return func(e heymanito.Edge) {
			if was, seen := last[e.User]; e.Online && seen && was != e.SocketID {
				e.Moved = true
			}
			last[e.User] = e.SocketID
			edge(e)
		}
	})},
	{"edge doubled", "Edges", presencetest.RuleEdges, 0, edges(func(edge func(heymanito.Edge)) func(heymanito.Edge) {
		return func(e heymanito.Edge) {
			edge(e)
			edge(e)
		}
	})},
	{"last edge doubled, late", "Edges", presencetest.RuleMoved, 0, edges(func(edge func(heymanito.Edge)) func(heymanito.Edge) {
		var late []heymanito.Edge
		return func(e heymanito.Edge) {
			for _, e := range late {
				edge(e)
			}
			if late = nil; e.SocketID == "a4" {
				late = append(late, e)
			}
			edge(e)
		}
	})},
	{"edge of who is set so already", "SetIsIdempotent", presencetest.RuleIdempotent, 0, func(f *fault) {
		f.set = func(ctx context.Context, p heymanito.Presence) error {
			if was := one(f.PresenceStore, p.User); was.Online && p.Online && was.SocketID == p.SocketID {
				_ = f.PresenceStore.Set(ctx, heymanito.Presence{User: p.User, Online: true, SocketID: "other"})
			}
			return f.PresenceStore.Set(ctx, p)
		}
	}},
	{"edge of who is offline already", "SetIsIdempotent", presencetest.RuleIdempotent, 0, func(f *fault) {
		f.set = func(ctx context.Context, p heymanito.Presence) error {
			if was := one(f.PresenceStore, p.User); !was.Online && !p.Online {
				_ = f.PresenceStore.Set(ctx, heymanito.Presence{User: p.User, Online: true, SocketID: p.SocketID})
			}
			return f.PresenceStore.Set(ctx, p)
		}
	}},
	{"one edge dropped", "EdgesUnderChurn", presencetest.RuleEdges, 0, edges(func(edge func(heymanito.Edge)) func(heymanito.Edge) {
		n := 0
		return func(e heymanito.Edge) {
			if !e.Moved {
				n++
			}
			if e.Moved || n != 100 {
				edge(e)
			}
		}
	})},
	{"two edges of one user swapped", "EdgesUnderChurn", presencetest.RuleEdges, 0, edges(func(edge func(heymanito.Edge)) func(heymanito.Edge) {
		var held *heymanito.Edge
		n := 0
		return func(e heymanito.Edge) {
			n++
			switch {
			case n == 100:
				held = &e
			case held != nil && held.User == e.User:
				edge(e)
				edge(*held)
				held = nil
			default:
				edge(e)
			}
		}
	})},
	{"a coming and a going that cancel out", "EdgesUnderChurn", presencetest.RuleEdges, waits, edges(func(edge func(heymanito.Edge)) func(heymanito.Edge) {
		held := map[string]heymanito.Edge{}
		return func(e heymanito.Edge) {
			came, waits := held[e.User]
			delete(held, e.User)
			switch {
			case waits && !e.Online:
			case e.Online && !e.Moved:
				held[e.User] = e
			default:
				if waits {
					edge(came)
				}
				edge(e)
			}
		}
	})},
	{"edges decided outside the lock", "EdgesUnderChurn", presencetest.RuleEdges, waits, func(f *fault) {
		// The change is right, but its edge goes out by a goroutine of its own.
		out := make(chan heymanito.Edge, 10_000)
		f.watch = func(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
			go func() {
				var batch []heymanito.Edge
				for e := range out {
					if batch = append(batch, e); len(batch) == 100 {
						slices.Reverse(batch)
						for _, e := range batch {
							edge(e)
						}
						batch = nil
					}
				}
			}()
			return f.PresenceStore.Watch(ctx, ready, func(e heymanito.Edge) { out <- e })
		}
	}},

	{"ready too early", "WatchReady", presencetest.RuleReady, 0, func(f *fault) {
		f.watch = func(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
			if ready != nil {
				ready()
			}
			return f.PresenceStore.Watch(ctx, nil, edge)
		}
	}},
	{"ready never", "WatchReady", presencetest.RuleReady, waits, func(f *fault) {
		f.watch = func(ctx context.Context, _ func(), edge func(heymanito.Edge)) error {
			return f.PresenceStore.Watch(ctx, nil, edge)
		}
	}},
	{"ready under a lock", "WatchReady", presencetest.RuleReady, waits, func(f *fault) {
		var mu sync.Mutex
		f.set = func(ctx context.Context, p heymanito.Presence) error {
			mu.Lock()
			defer mu.Unlock()
			return f.PresenceStore.Set(ctx, p)
		}
		f.watch = func(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
			return f.PresenceStore.Watch(ctx, func() {
				mu.Lock()
				defer mu.Unlock()
				ready()
			}, edge)
		}
	}},
	{"past edges reported", "WatchFromNowOn", presencetest.RuleWatch, 0, func(f *fault) {
		f.watch = func(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
			for p := range f.PresenceStore.Snapshot(ctx) {
				edge(heymanito.Edge{Presence: p})
			}
			return f.PresenceStore.Watch(ctx, ready, edge)
		}
	}},
	{"two watches share the edges", "Edges", presencetest.RuleEdges, waits, func(f *fault) {
		var mu sync.Mutex
		taken := map[string]bool{}
		f.watch = func(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
			n := 0
			return f.PresenceStore.Watch(ctx, ready, func(e heymanito.Edge) {
				n++
				key := strings.Repeat(".", n)
				mu.Lock()
				mine := !taken[key]
				taken[key] = true
				mu.Unlock()
				if mine {
					edge(e)
				}
			})
		}
	}},
	{"two calls of edge at once", "WatchOneAtATime", presencetest.RuleEdges, 0, edges(func(edge func(heymanito.Edge)) func(heymanito.Edge) {
		return func(e heymanito.Edge) { go edge(e) }
	})},
	{"edge called under a lock of Set's", "WatchCallsStore", presencetest.RuleCallback, waits, edgeUnderLock},
	{"Set waits for a slow edge", "WatchSlow", presencetest.RuleCallback, waits, edgeUnderLock},
	{"edges lost behind a slow edge", "WatchSlow", presencetest.RuleEdges, waits, func(f *fault) {
		f.watch = func(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
			queue := make(chan heymanito.Edge, 100)
			go func() {
				for {
					select {
					case e := <-queue:
						edge(e)
					case <-ctx.Done():
						return
					}
				}
			}()
			return f.PresenceStore.Watch(ctx, ready, func(e heymanito.Edge) {
				select {
				case queue <- e:
				default:
				}
			})
		}
	}},
	{"watches wait for each other", "WatchSlow", presencetest.RuleEdges, waits, func(f *fault) {
		var mu sync.Mutex
		f.watch = func(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
			return f.PresenceStore.Watch(ctx, ready, func(e heymanito.Edge) {
				mu.Lock()
				defer mu.Unlock()
				edge(e)
			})
		}
	}},
	{"Watch returns nil", "WatchEnds", presencetest.RuleWatch, 0, func(f *fault) {
		f.watch = func(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
			_ = f.PresenceStore.Watch(ctx, ready, edge)
			return nil
		}
	}},
	{"Watch stays", "WatchEnds", presencetest.RuleWatch, waits, func(f *fault) {
		f.watch = func(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
			return f.PresenceStore.Watch(context.WithoutCancel(ctx), ready, edge)
		}
	}},
	{"edges after Watch", "WatchEnds", presencetest.RuleWatch, 0, func(f *fault) {
		f.watch = func(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
			go func() {
				_ = f.PresenceStore.Watch(context.WithoutCancel(ctx), ready, edge)
			}()
			<-ctx.Done()
			return ctx.Err()
		}
	}},
	{"waiting edges after ctx", "WatchEnds", presencetest.RuleWatch, 0, func(f *fault) {
		f.watch = func(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
			var mu sync.Mutex
			var all []heymanito.Edge
			more := make(chan struct{}, 1)
			inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
			defer cancel()
			go func() {
				_ = f.PresenceStore.Watch(inner, ready, func(e heymanito.Edge) {
					mu.Lock()
					defer mu.Unlock()
					all = append(all, e)
					select {
					case more <- struct{}{}:
					default:
					}
				})
			}()
			for {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-more:
				}
				for done := false; !done; {
					mu.Lock()
					batch := all
					all = nil
					mu.Unlock()
					for _, e := range batch {
						edge(e)
					}
					done = len(batch) == 0
				}
			}
		}
	}},
	{"Watch leaves a goroutine", "WatchLeavesNothing", presencetest.RuleWatch, waits, func(f *fault) {
		never := make(chan struct{})
		f.watch = func(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
			go func() { <-never }()
			return f.PresenceStore.Watch(ctx, ready, edge)
		}
	}},

	{"Forget keeps last seen", "Forget", presencetest.RuleForget, 0, func(f *fault) {
		f.forget = func(ctx context.Context, user string) error {
			return f.PresenceStore.Set(ctx, heymanito.Presence{User: user, SocketID: one(f.PresenceStore, user).SocketID})
		}
	}},
	{"Forget spares who is online", "Forget", presencetest.RuleForget, 0, func(f *fault) {
		f.forget = func(ctx context.Context, user string) error {
			if one(f.PresenceStore, user).Online {
				return nil
			}
			return f.PresenceStore.Forget(ctx, user)
		}
	}},
	{"Forget reports nothing", "Forget", presencetest.RuleForget, 0, func(f *fault) {
		// Without the edge of the going, that of the next coming is lost too.
		f.forget = func(ctx context.Context, user string) error {
			return f.PresenceStore.Forget(ctx, user)
		}
		edges(func(edge func(heymanito.Edge)) func(heymanito.Edge) {
			return func(e heymanito.Edge) {
				if one(f.PresenceStore, e.User).LastSeen.IsZero() && !e.Online {
					return
				}
				edge(e)
			}
		})(f)
	}},
	{"Forget reports who was offline", "Forget", presencetest.RuleForget, 0, func(f *fault) {
		f.forget = func(ctx context.Context, user string) error {
			if p := one(f.PresenceStore, user); p.SocketID != "" && !p.Online {
				p.Online = true
				_ = f.PresenceStore.Set(ctx, p)
			}
			return f.PresenceStore.Forget(ctx, user)
		}
	}},
	{"Forget erases all", "Forget", presencetest.RuleForget, 0, func(f *fault) {
		f.forget = func(ctx context.Context, user string) error {
			for p := range f.PresenceStore.Snapshot(ctx) {
				_ = f.PresenceStore.Forget(ctx, p.User)
			}
			return f.PresenceStore.Forget(ctx, user)
		}
	}},
	{"Forget of unknown users fails", "Forget", "", 0, func(f *fault) {
		f.forget = func(ctx context.Context, user string) error {
			if one(f.PresenceStore, user).SocketID == "" {
				return os.ErrNotExist
			}
			return f.PresenceStore.Forget(ctx, user)
		}
	}},

	{"Set without ctx", "CancelledContext", presencetest.RuleCtx, 0, func(f *fault) {
		f.set = func(_ context.Context, p heymanito.Presence) error {
			return f.PresenceStore.Set(context.Background(), p)
		}
	}},
	{"Online without ctx", "CancelledContext", presencetest.RuleCtx, 0, func(f *fault) {
		f.online = func(_ context.Context, users []string) ([]heymanito.Presence, error) {
			return f.PresenceStore.Online(context.Background(), users)
		}
	}},
	{"Forget without ctx", "CancelledContext", presencetest.RuleCtx, 0, func(f *fault) {
		f.forget = func(_ context.Context, user string) error {
			return f.PresenceStore.Forget(context.Background(), user)
		}
	}},
	{"own error for ctx's", "CancelledContext", presencetest.RuleCtx, 0, func(f *fault) {
		f.online = func(ctx context.Context, users []string) ([]heymanito.Presence, error) {
			ps, err := f.PresenceStore.Online(ctx, users)
			if err != nil {
				err = &heymanito.Error{Code: heymanito.CodeUnavailable}
			}
			return ps, err
		}
	}},
}

// renamed is a store that knows users by a key it makes of their names.
func renamed(key func(string) string) func(*fault) {
	return func(f *fault) {
		f.set = func(ctx context.Context, p heymanito.Presence) error {
			p.User = key(p.User)
			return f.PresenceStore.Set(ctx, p)
		}
		f.online = func(ctx context.Context, users []string) ([]heymanito.Presence, error) {
			var keys []string
			for _, user := range users {
				keys = append(keys, key(user))
			}
			ps, err := f.PresenceStore.Online(ctx, keys)
			for i := range ps {
				ps[i].User = users[i]
			}
			return ps, err
		}
	}
}

// edgeUnderLock is the obvious store: Set calls whoever watches.
func edgeUnderLock(f *fault) {
	var mu sync.Mutex
	watching := map[int]func(heymanito.Edge){}
	f.set = func(ctx context.Context, p heymanito.Presence) error {
		mu.Lock()
		defer mu.Unlock()
		was := one(f.PresenceStore, p.User)
		if err := f.PresenceStore.Set(ctx, p); err != nil {
			return err
		}
		is := one(f.PresenceStore, p.User)
		if is == was {
			return nil
		}
		for _, id := range slices.Sorted(maps.Keys(watching)) {
			watching[id](heymanito.Edge{Presence: is, Moved: was.Online && is.Online})
		}
		return nil
	}
	f.watch = func(ctx context.Context, ready func(), edge func(heymanito.Edge)) error {
		mu.Lock()
		watching[len(watching)] = edge
		mu.Unlock()
		if ready != nil {
			ready()
		}
		<-ctx.Done()
		return ctx.Err()
	}
}

// TestFaults shows that the suite fails when it should: every check has faults
// that it finds, for the right reason.
func TestFaults(t *testing.T) {
	// All that have to wait wait at once; they do not use the processor.
	waiting := make(map[string]<-chan error)
	for _, tt := range faults {
		if tt.waits == 0 {
			continue
		}
		found := make(chan error, 1)
		waiting[tt.name] = found
		go func() { found <- plantAndCheck(tt.plant, tt.check, tt.waits) }()
	}
	proven := make(map[string]bool)
	for _, tt := range faults {
		proven[tt.check] = true
		t.Run(tt.check+"/"+tt.name, func(t *testing.T) {
			var err error
			if tt.waits == 0 {
				err = plantAndCheck(tt.plant, tt.check, 10*time.Second)
			} else {
				err = <-waiting[tt.name]
			}
			if err == nil {
				t.Fatal("the check passes")
			}
			if !strings.Contains(err.Error(), string(tt.rule)) {
				t.Errorf("want an error that quotes %q", tt.rule)
			}
			t.Log(err)
		})
	}
	for _, name := range presencetest.CheckNames() {
		if !proven[name] {
			t.Errorf("no fault shows that check %s can fail", name)
		}
	}
}

func plantAndCheck(plant func(*fault), check string, patience time.Duration) error {
	f := &fault{PresenceStore: heymanito.NewMemoryPresence()}
	plant(f)
	return presencetest.Check(check, patience, f)
}
