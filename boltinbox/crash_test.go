package boltinbox

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
)

// crashFile names, in the environment of a test process, the file that it
// appends to until it is killed.
const crashFile = "BOLTINBOX_CRASH_FILE"

// crashBounds let nothing be dropped.
var crashBounds = WithBounds(heymanito.InboxBounds{Entries: 1 << 30, Bytes: 1 << 30, Total: 1 << 30})

// letterPair is a message of the crash test, in two inboxes.
func letterPair(id int) []heymanito.Entry {
	to := message(fmt.Sprint("user ", id%5), id)
	to.Body = fmt.Appendf(nil, `{"content":"%d %s"}`, id, strings.Repeat("x", id%7*200))
	own := to
	own.User, own.Event, own.Origin = "sender", "messageSent", "socket"
	return []heymanito.Entry{to, own}
}

// fromGuest is what the guest of the crash test sends to his host.
func fromGuest(id int) heymanito.Entry {
	e := message("host", id)
	e.Peer = "guest"
	return e
}

// TestCrashChild is not a test of its own: TestKill runs it as a process.
func TestCrashChild(t *testing.T) {
	path := os.Getenv(crashFile)
	if path == "" {
		t.Skip("TestKill runs this")
	}
	s, err := Open(path, crashBounds)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format, args...) // one write
	}
	first := 1000 * int(mustSince(t, s, "sender", 0, 0).Last+1) // beyond those of the rounds before
	const callers = 24
	for c := range callers {
		go func() {
			for id := first + c; ; id += callers {
				receipts, err := s.Append(t.Context(), letterPair(id)...)
				if err != nil {
					say("error %v\n", err)
					return
				}
				say("acked %d %d %d\n", id, receipts[0].Seq, receipts[1].Seq)
				if id%5 == 0 {
					s.AckThrough(t.Context(), "sender", receipts[1].Seq)
				}
			}
		}()
	}
	for i := first; ; i += 2 { // and one who comes and goes
		receipts, err := s.Append(t.Context(), message("guest", i), message("guest", i+1), fromGuest(i))
		if err == nil {
			say("guest %d %d\n", receipts[1].Seq, receipts[2].Seq)
			err = s.Forget(t.Context(), "guest")
		}
		if err != nil {
			say("error %v\n", err)
			return
		}
		say("forgot 0\n")
	}
}

// Whoever got a receipt has an entry, whenever the process is killed.
func TestKill(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	path := filepath.Join(t.TempDir(), "inbox.db")
	acked := map[int][2]uint64{}
	var epoch string
	var guest uint64        // the highest seq that the guest was told
	var forgotten bool      // the guest has nothing since
	var host, erased uint64 // the same of his host, and up to where nothing is left of the guest
	for round := range rounds {
		lines := crash(t, path, rand.IntN(700), time.Duration(rand.IntN(3000))*time.Microsecond)
		known := len(acked)
		for _, line := range lines {
			var id int
			var seqs [2]uint64
			switch n, _ := fmt.Sscanf(line, "acked %d %d %d", &id, &seqs[0], &seqs[1]); {
			case n == 3:
				acked[id] = seqs
			case strings.HasPrefix(line, "guest"):
				fmt.Sscanf(line, "guest %d %d", &seqs[0], &seqs[1])
				if seqs[0] < guest+2 {
					t.Errorf("round %d: the guest got the seq %d again, after %d", round, seqs[0], guest)
				}
				guest, forgotten = max(guest, seqs[0]), false
				host = max(host, seqs[1])
			case strings.HasPrefix(line, "forgot"):
				forgotten, erased = true, host
			default:
				t.Errorf("round %d: the process said %q", round, line)
			}
		}
		s := mustOpen(t, path, crashBounds)
		if page := mustSince(t, s, "guest", 0, 10); epoch == "" {
			epoch = page.Epoch
		} else if page.Epoch != epoch {
			t.Errorf("round %d: the epoch was %q and is %q", round, epoch, page.Epoch)
		} else if page.Last < guest {
			t.Errorf("round %d: the guest's Last is %d, and was %d", round, page.Last, guest)
		} else if n := len(page.Entries); n%2 != 0 || forgotten && n > 0 && page.Entries[0].Seq <= guest {
			t.Errorf("round %d: the guest, whom we have forgotten: %v, has %d entries from %+v", round, forgotten, n, page.Head)
		}
		checkHost(t, s, round, host, erased)
		if round%2 == 1 { // what a Forget has left undone the next one does
			if err := s.Forget(t.Context(), "guest"); err != nil {
				t.Fatal(err)
			}
			forgotten, erased = true, mustSince(t, s, "host", 0, 0).Last
			checkHost(t, s, round, host, erased)
		}
		there := checkInboxes(t, s, round)
		for id, seqs := range acked {
			if there[id] != seqs {
				t.Errorf("round %d: %d was acked as %d, and is %d", round, id, seqs, there[id])
			}
		}
		for id, seqs := range acked { // in any order
			receipts := mustAppend(t, s, letterPair(id)...)
			if !receipts[0].Duplicate || receipts[0].Seq != seqs[0] {
				t.Errorf("round %d: %d was acked as %d; again it got %+v", round, id, seqs, receipts)
			}
			if known++; known > len(acked)+50 {
				break
			}
		}
		mustClose(t, s)
		if t.Failed() {
			return
		}
	}
	if len(acked) < rounds*100 {
		t.Errorf("%d messages in %d rounds show little", len(acked), rounds)
	}
	t.Logf("%d messages, %d rounds", len(acked), rounds)
}

// crash runs TestCrashChild until it has said so many lines and a little
// longer, and returns all that it has said.
func crash(t *testing.T, path string, lines int, longer time.Duration) (said []string) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashChild$")
	child.Env = append(os.Environ(), crashFile+"="+path)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	kill := func() {
		if err := child.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
	}
	if lines == 0 {
		time.AfterFunc(longer, kill)
	}
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			if err != io.EOF || line != "" {
				t.Errorf("the process's last words were %q: %v", line, err)
			}
			return said
		}
		if said = append(said, strings.TrimSpace(line)); len(said) == lines {
			time.AfterFunc(longer, kill)
		}
	}
}

// checkHost checks that the guest's host has all that was acked, up to the seq
// last at least, and that up to the seq erased nothing of it is the guest's.
func checkHost(t *testing.T, s *Inbox, round int, last, erased uint64) {
	t.Helper()
	page := all(t, s, "host")
	if page.Dropped != 0 || page.Last != uint64(len(page.Entries)) || page.Last < last {
		t.Errorf("round %d: the host has %d entries and %+v, and was told of %d", round, len(page.Entries), page.Head, last)
	}
	for i, e := range page.Entries {
		left := heymanito.Erased(e)
		isErased := e.Key == left.Key && string(e.Body) == string(left.Body)
		if e.Seq != uint64(i+1) || !isErased && (e.Seq <= erased || e.Peer != "guest") {
			t.Errorf("round %d: entry %d of the host, of whose up to %d are erased, is %+v", round, i+1, erased, e)
		}
	}
}

// checkInboxes checks that the inboxes have no gaps, that all entries are whole,
// and that of each pair both are there. It returns their seqs.
func checkInboxes(t *testing.T, s *Inbox, round int) map[int][2]uint64 {
	t.Helper()
	there := map[int][2]uint64{}
	for i, name := range []string{"user 0", "user 1", "user 2", "user 3", "user 4", "sender"} {
		which := i / 5
		page := all(t, s, name)
		if page.Dropped != 0 || page.Last != uint64(len(page.Entries)) {
			t.Errorf("round %d: %s has %d entries and %+v", round, name, len(page.Entries), page.Head)
		}
		for j, e := range page.Entries {
			var id int
			fmt.Sscanf(e.ID, `"%d"`, &id)
			want := letterPair(id)[which]
			if e.Seq != uint64(j+1) || e.Key != want.Key || string(e.Body) != string(want.Body) || e.Origin != want.Origin {
				t.Errorf("round %d: entry %d of %s is %+v", round, j+1, name, e)
			}
			seqs := there[id]
			if seqs[which] != 0 {
				t.Errorf("round %d: %s has %d twice", round, name, id)
			}
			seqs[which] = e.Seq
			there[id] = seqs
		}
	}
	for id, seqs := range there {
		if seqs[0] == 0 || seqs[1] == 0 {
			t.Errorf("round %d: of %d only a half is there: %d", round, id, seqs)
		}
	}
	return there
}
