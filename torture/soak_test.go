package torture

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
)

var (
	soakFlag  = flag.Duration("soak", 0, "how long to soak, in all; 0: not at all")
	basinFlag = flag.Bool("basin", false, "be the server of a soak")
	leakFlag  = flag.String("leak", "", "that the server of a soak has")
	muteFlag  = flag.Duration("mute", 0, "for how long the server of a soak bears silence")
)

// Nothing that a server takes for those who come and go stays when they have
// gone, and nothing grows.
func TestSoak(t *testing.T) {
	if *soakFlag == 0 {
		t.Skip("make soak")
	}
	begin := time.Now()
	w := newWatch(t, noLeak, 8*time.Second)
	w.soak.lasts, w.soak.storm.users = 12*time.Second, 12
	w.soak.takes, w.soak.visits, w.soak.guests = 5, 1000, 100
	w.soak.long, w.soak.storm.fates = longScenes(), everyFate()
	w.warmUp(2)
	for n := 1; len(w.troubles)+len(w.wrong) == 0 && (n <= 3 || time.Since(begin)+w.longest < *soakFlag); n++ {
		w.round(n)
	}
	w.judge()
	w.everythingHappened()
	for _, wrong := range append(w.troubles, w.wrong...) {
		t.Error(wrong)
	}
}

// watch watches a basin while there is a soak in it.
type watch struct {
	t       *testing.T
	soak    soak
	server  *server
	plain   string
	client  *http.Client
	turn    atomic.Int64
	longest time.Duration // that a round took
	steady  time.Duration // for how long nothing changes before it is taken for what stays: longer than the server waits for anything

	base gauge // what there has to be when everybody has gone
	last gauge

	heaps, objects []int // after each round

	troubles []string // that clients had
	wrong    []string // what has stayed
}

func newWatch(t *testing.T, planted leak, mute time.Duration) *watch {
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	w := &watch{
		t: t, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute},
		server: &server{bin: os.Args[0], log: log, args: []string{"-basin", "-leak", string(planted), "-mute", mute.String()}},
	}
	if err := w.server.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.server.stop(20 * time.Second); err != nil {
			t.Errorf("the server's end: %v", err)
		}
		_ = log.Close()
		readLog(t, log.Name())
	})
	w.soak = soak{scenes: calls(), takes: 1, lasts: time.Second, visits: 100, guests: 10, storm: config{
		seed: max(*seedFlag, 1), users: 3, addr: w.where, life: time.Second, think: 100 * time.Millisecond,
		fates: []fate{fateIdle, fateGoodbye, fateConnect, fateProbe}, calm: 20 * time.Second,
	}}
	w.steady = pingEvery + mute + 5*time.Second
	first := w.gauge(false)
	w.base, w.plain = first.gauge, first.Plain
	return w
}

// where is one address of the server, and then the other.
func (w *watch) where() string {
	if w.turn.Add(1)%2 == 0 {
		return w.plain
	}
	return w.server.where()
}

func (w *watch) complain(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// ask asks the server, about everybody.
func (w *watch) ask(what string, collect bool) []byte {
	w.t.Helper()
	body, err := json.Marshal(question{w.soak.people(), collect})
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := w.client.Post("http://"+w.server.where()+what, "application/json", bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatalf("%s was answered %d %s, %v", what, resp.StatusCode, answer, err)
	}
	return answer
}

func (w *watch) gauge(collect bool) (f fact) {
	w.t.Helper()
	if err := json.Unmarshal(w.ask("/gauge", collect), &f); err != nil {
		w.t.Fatal(err)
	}
	return f
}

// warmUp is some rounds like any other, in which maps get most of the room that
// they will need. What the server has of goroutines and descriptors when nothing
// changes any more, it has started once and for all: that is what it may have from
// then on. Of all else it may have what it had before anybody came, which is
// nothing.
func (w *watch) warmUp(rounds int) {
	w.base.Goroutines, w.base.Descriptors = unknown, unknown
	for range rounds {
		w.play()
		w.empty()
	}
	last, since := w.gauge(false), time.Now()
	for end := since.Add(time.Minute); time.Since(since) < w.steady && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		now := w.gauge(false)
		if now.Goroutines != last.Goroutines || now.Descriptors != last.Descriptors {
			since = time.Now()
		}
		last = now
	}
	w.base.Goroutines, w.base.Descriptors = last.Goroutines, last.Descriptors
	w.last.Goroutines, w.last.Descriptors = last.Goroutines, last.Descriptors
	w.ask("/mark", false)
	w.t.Logf("warmed up: %s", w.line())
}

// round is one round, with what has to be true at its end.
func (w *watch) round(n int) {
	begin := time.Now()
	w.play()
	w.empty()
	w.heaps, w.objects = append(w.heaps, w.last.Heap), append(w.objects, w.last.Objects)
	w.longest = max(w.longest, time.Since(begin))
	w.t.Logf("round %d, %v: %s", n, time.Since(begin).Round(time.Second), w.line())
}

func (w *watch) play() {
	if err := w.soak.round(); err != nil {
		w.troubles = append(w.troubles, err.Error())
	}
}

// empty waits until everything is gone, deletes everybody, and measures what
// there is then. An account that is deleted takes along what the inbox knows of
// messages that it keeps no more, for a day: that is by contract, not a leak.
func (w *watch) empty() {
	excess := w.quiet(false)
	if len(excess) == 0 {
		w.ask("/forget", false)
		excess = w.quiet(true)
	}
	if len(excess) > 0 {
		w.complain("when everybody has gone there are %s", strings.Join(excess, "; "))
	}
	f := w.gauge(true)
	w.last.Heap, w.last.Objects = f.Heap, f.Objects
}

// quiet waits until there is what was there at the start, or nothing changes any
// more, and returns what there is else.
func (w *watch) quiet(forgotten bool) (excess []string) {
	since := time.Now()
	for end := since.Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		w.last = w.gauge(false).gauge
		before := excess
		excess = w.last.excess(&w.base, forgotten)
		if !slices.Equal(excess, before) {
			since = time.Now()
		}
		if len(excess) == 0 || time.Since(since) > w.steady || time.Now().After(end) {
			return excess
		}
	}
}

func (w *watch) line() string {
	g := &w.last
	return fmt.Sprintf("%d goroutines, %d descriptors, heap %d KB in %d objects, inbox %d B, %d connected so far",
		g.Goroutines, g.Descriptors, g.Heap>>10, g.Objects, g.Stats.Inbox.Bytes, g.Stats.Connected)
}

// What the heap may grow by. Maps keep the room that they once had, of up to a
// thousand entries each: that is found out late, and 60 KB at a time. As objects
// they are few: those go up and down by 200, and a leak is many.
const (
	slackBytes   = 256 << 10
	slackObjects = 400
)

// judge complains if the heap has grown, and says what has if anything is wrong.
func (w *watch) judge() {
	if grown := growth(w.heaps); grown > slackBytes {
		w.complain("the heap has grown by %d KB: %v", grown>>10, w.heaps)
	}
	if grown := growth(w.objects); grown > slackObjects {
		w.complain("the heap has grown by %d objects: %v", grown, w.objects)
	}
	if len(w.wrong) > 0 {
		w.t.Logf("what has grown:\n%s", w.ask("/grown", false))
	}
}

// everythingHappened complains unless the soak was one.
func (w *watch) everythingHappened() {
	s := &w.last.Stats
	happened := maps.Clone(w.soak.counts)
	for reason, n := range s.Closed {
		happened["closed: "+reason] = int(n)
	}
	for reason, n := range s.Calls {
		happened["call: "+string(reason)] = int(n)
	}
	happened["rate limited"] = int(s.Events[sendMessage]["rate_limited"])
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(happened)) {
		fmt.Fprintf(&b, "%8d %s\n", happened[what], what)
	}
	w.t.Logf("%d connections were let in\n%s", s.Connected, b.String())
	expected := []string{
		"rate limited", "closed: slow reader", "closed: ping timeout", "closed: transport close", "closed: client namespace disconnect",
		"acked sent", "acked queued", "acked duplicates", "callbacks", "upgraded", markAsRead, markAsDelivered,
	}
	for _, reason := range []heymanito.CallReason{
		heymanito.CallHangup, heymanito.CallDeclined, heymanito.CallTimeout, heymanito.CallCallerCancelled,
		heymanito.CallCallerGone, heymanito.CallLeft, heymanito.CallSilent,
	} {
		expected = append(expected, "call: "+string(reason))
	}
	for _, scene := range slices.Concat(w.soak.scenes, w.soak.long) {
		expected = append(expected, "scene: "+scene.name)
	}
	for _, what := range expected {
		if happened[what] == 0 {
			w.complain("never happened: %s", what)
		}
	}
}

// What leaks is found, and nothing is found where nothing leaks.
func TestSoakFindsLeaks(t *testing.T) {
	t.Parallel()
	for planted, found := range map[leak]string{
		noLeak: "", leakGoroutine: " goroutines, ", leakDescriptor: " open descriptors, ", leakEntries: " bytes of inboxes, ", leakMemory: "the heap has grown",
	} {
		t.Run("leak="+string(planted), func(t *testing.T) {
			t.Parallel()
			if planted == leakDescriptor && descriptors() == unknown {
				t.Skip("this system does not say what is open")
			}
			w := newWatch(t, planted, 2*time.Second)
			w.warmUp(1)
			for n := 1; len(w.wrong) == 0 && n <= 3; n++ {
				w.round(n)
			}
			w.judge()
			all := strings.Join(w.wrong, "\n")
			if found == "" && all != "" || !strings.Contains(all, found) {
				t.Errorf("found was: %s\n%s", all, w.troubles)
			}
		})
	}
}
