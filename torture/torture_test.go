package torture

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	seedFlag     = flag.Uint64("seed", 0, "of the torture test; 0: a new one")
	durationFlag = flag.Duration("duration", 2*time.Minute, "of the torture test, in all")
	usersFlag    = flag.Int("users", 50, "of the torture test")
	exampleFlag  = flag.String("example", "", "the `program` to torture; built if not given")
)

// The proofs of the checker mostly wait: some at once take as long as one.
func TestMain(m *testing.M) {
	flag.Parse()
	if *basinFlag {
		if err := new(basin).serve(leak(*leakFlag), *muteFlag); err != nil {
			fmt.Fprintln(os.Stderr, "level=ERROR", err)
			os.Exit(1)
		}
		return
	}
	_ = flag.Set("test.parallel", "10")
	m.Run()
}

// One storm is at most this long; a longer test has several, each with a seed
// and a server of its own.
const longestStorm = 4 * time.Minute

// settling is the part of the time that is kept for coming to rest.
const settling = 35 * time.Second

// Nothing that was acked is lost and nothing is shown twice, whatever happens
// to connections and to the server.
func TestTorture(t *testing.T) {
	bin := *exampleFlag
	if bin == "" {
		bin = buildExample(t)
	}
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64N(1_000_000)
	}
	end := time.Now().Add(*durationFlag)
	for left := *durationFlag; left == *durationFlag || left > 2*settling && !t.Failed(); left = time.Until(end) {
		one := min(left, longestStorm)
		if rest := left - one; rest > 0 && rest < longestStorm/2 {
			one = left / 2
		}
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			torture(t, bin, seed, max(one-settling, one/2))
		})
		seed++
	}
}

func buildExample(t *testing.T) string {
	bin := filepath.Join(t.TempDir(), "example.exe")
	cmd := exec.Command("go", "build", "-race", "-o", bin, ".")
	cmd.Dir = filepath.Join("..", "example")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// torture is one storm, and the calm after it.
func torture(t *testing.T, bin string, seed uint64, lasts time.Duration) {
	dir := t.TempDir()
	logFile, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logFile.Close()
	srv := &server{bin: bin, log: logFile, args: []string{
		"-addr", "127.0.0.1:0", "-insecure", "-no-livekit", "-data", filepath.Join(dir, "data"),
		"-ping-interval", "2s", "-ping-timeout", "3s", "-client-timeout", "3s", "-write-timeout", "5s",
		"-offline-grace", "1s", "-drain", "500ms", "-handshake-timeout", "5s", "-max-queue", "131072",
		"-inbox-entries", "1000000", "-inbox-bytes", "1000000000", "-inbox-total", "4000000000",
	}}
	if err := srv.start(); err != nil {
		t.Fatal(err)
	}
	defer srv.kill()

	s := newStorm(config{
		seed: seed, users: *usersFlag, addr: srv.where, restarts: true,
		life: 4 * time.Second, think: 700 * time.Millisecond, fates: everyFate(), calm: 20 * time.Second,
	})
	begin := time.Now()
	s.start()
	restarts(t, s, srv, rand.New(rand.NewPCG(seed, 1<<32)), begin.Add(lasts))
	h, found := s.settle()
	rested := time.Since(begin) - lasts
	if err := srv.stop(20 * time.Second); err != nil {
		t.Errorf("the server's end: %v", err)
	}
	report(t, found)
	said := readLog(t, logFile.Name())
	s.counts["slow readers cut by the server"] = bytes.Count(said, []byte("a device that does not read was cut off"))
	t.Logf("%v of storm, at rest %v later, %d records\n%s", lasts, rested.Round(time.Millisecond), size(h), s.summary())
	if lasts >= time.Minute {
		for _, what := range everything() {
			if s.counts[what] == 0 {
				t.Errorf("never happened: %s", what)
			}
		}
	}
	if t.Failed() {
		keep(t, h, said)
		t.Logf("again, and keeping what was said and heard: go test -race -artifacts -run Torture -seed %d -duration %v", seed, lasts+settling)
	}
}

// everything is what has to happen in a storm of a minute, or it is none.
func everything() []string {
	all := []string{
		"server killed", "server stopped", "server killed while it stopped", "slow readers cut by the server", "sent a lot to a slow reader", "died during the replay",
		"sent with CONNECT", "sent again", "sent twice at once", "sent by two devices", "sent once more", "acked duplicates", "acked sent",
		"acked queued", "callbacks", "upgraded", markAsRead, markAsDelivered, "receipts for what never was", "refused: not_found",
	}
	for step := range upgradeDone {
		all = append(all, fmt.Sprintf("%s, step %d", fateProbe, step))
	}
	for _, f := range everyFate() {
		if f != fateReplay && f != fateProbe { // counted when they have come to pass
			all = append(all, string(f))
		}
	}
	return all
}

// restarts ends the server now and then, and starts it again.
func restarts(t *testing.T, s *storm, srv *server, random *rand.Rand, end time.Time) {
	for n := 0; ; n++ {
		up := 5*time.Second + time.Duration(random.IntN(int(10*time.Second)))
		if time.Until(end) < up+5*time.Second {
			time.Sleep(time.Until(end))
			return
		}
		time.Sleep(up)
		switch n % 4 {
		case 1:
			if err := srv.stop(20 * time.Second); err != nil {
				t.Errorf("the server's end: %v", err)
			}
			s.count("server stopped")
		case 3:
			_ = srv.stop(time.Duration(random.IntN(int(time.Second)))) // it may be quicker
			s.count("server killed while it stopped")
		default:
			srv.kill()
			s.count("server killed")
		}
		time.Sleep(time.Duration(random.IntN(int(time.Second))))
		if err := srv.start(); err != nil {
			t.Errorf("starting the server again: %v", err)
			return
		}
	}
}

// report fails the test with the first of each kind of violation.
func report(t *testing.T, found []violation) {
	t.Helper()
	counts := map[rule]int{}
	for _, v := range found {
		if counts[v.rule]++; counts[v.rule] <= 5 {
			t.Errorf("%s: %s", v.rule, v.text)
		}
	}
	for r, n := range counts {
		if n > 5 {
			t.Errorf("%s: %d in all", r, n)
		}
	}
}

func size(h *history) (n int) {
	for _, l := range h.devices {
		n += len(l.records)
	}
	return n
}

// keep writes down what has happened, for whoever has to find out why: with
// -artifacts it is kept.
func keep(t *testing.T, h *history, said []byte) {
	var b bytes.Buffer
	for _, l := range h.devices {
		for i := range l.records {
			r := &l.records[i]
			fmt.Fprintf(&b, "%d %s/%d %s\n", r.at, l.device, r.conn, r.details())
		}
	}
	for name, text := range map[string][]byte{"history": b.Bytes(), "log": said} {
		if err := os.WriteFile(filepath.Join(t.ArtifactDir(), name), text, 0o600); err != nil {
			t.Error(err)
		}
	}
}

// readLog returns what the server has logged, and fails the test for what it
// must not log.
func readLog(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if i := bytes.Index(b, []byte("WARNING: DATA RACE")); i >= 0 {
		t.Errorf("the server has a race:\n%s", b[i:min(len(b), i+6000)])
	}
	bad := 0
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "context deadline exceeded") {
			continue // the machine is busy: what was not done in time is done later
		}
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "panic") {
			if bad++; bad <= 10 {
				t.Errorf("the server said: %s", line)
			}
		}
	}
	return b
}
