//go:build linux

// The benchmark: the same work for the example, for the server that the app has
// today, for the server of the library underneath, and for one that does next to
// nothing, in turns, each server a process of its own on a core of its own.
//
//	make bench
//
// main.go says what runs in which order, load.go what a load is. relay.go,
// latency.go, storm.go and idle.go are the loads; client.go and poll.go are the
// clients, letter.go is what they write. peer.go starts the servers, proc.go
// knows what they take, and table.go says it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	switch err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings is what the flags say.
type settings struct {
	places places
	loads  []load
	peers  []string // those that are asked for, in the order of the table
	rounds int
	quick  bool
	check  bool
	limit  time.Duration
	out    string // a file; "": none
}

func parseFlags(args []string, usage io.Writer) (*settings, error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(usage)
	s := &settings{}
	f.StringVar(&s.places.bin, "bin", ".build/bench", "`directory` of the peers example, host, bare and floor")
	f.StringVar(&s.places.node, "node", "bench/node", "`directory` of the peer node")
	f.StringVar(&s.places.other, "other", "", "`directory` of other builds of example and host: the peer other")
	loads := f.String("loads", "", "comma-separated `loads` (default: all)")
	peers := f.String("peers", "", "comma-separated `peers` (default: all)")
	f.IntVar(&s.rounds, "rounds", 3, "how often each peer has its turn with each load")
	f.BoolVar(&s.quick, "quick", false, "everything once and tiny: shows that it works, not how fast")
	f.BoolVar(&s.check, "check", false, "fail if a demand is not met")
	f.DurationVar(&s.limit, "limit", 2*time.Hour, "how long the whole may take")
	f.StringVar(&s.out, "o", "", "`file` for the table, which goes to stdout as well")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("what is %q? There are only flags, see -h", f.Arg(0))
	}
	sizes := fullScale()
	if s.quick {
		s.rounds, sizes = 1, quickScale()
	}
	if s.rounds < 1 {
		return nil, errors.New("-rounds: use at least 1")
	}
	var err error
	if s.loads, err = choose(allLoads(sizes), *loads); err != nil {
		return nil, err
	}
	if s.quick {
		for _, l := range s.loads {
			for i := range l.figures {
				l.figures[i].demands = nil // they are of the full size
			}
		}
	}
	s.peers, err = choosePeers(*peers, s.places.other != "")
	return s, err
}

// choosePeers is the peers that are named, or all.
func choosePeers(names string, another bool) ([]string, error) {
	all := []string{ours, node, bare, floor}
	if another {
		all = slices.Insert(all, 1, other)
	}
	if names == "" {
		return all, nil
	}
	asked := strings.Split(names, ",")
	for _, name := range asked {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("-peers: there is no peer %q; there are %s (other needs -other)", name, strings.Join(all, ", "))
		}
	}
	return slices.DeleteFunc(all, func(name string) bool { return !slices.Contains(asked, name) }), nil
}

var errUnmet = errors.New("demands are not met")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	s, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	temp, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	if s.places.cert, err = newCertificate(temp); err != nil {
		return err
	}
	if err := moreFiles(); err != nil {
		return err
	}
	l, pinned, err := pin()
	if err != nil {
		return err
	}

	r, failures := s.measure(ctx, l, stderr)
	table, unmet := r.table(s.loads, s.columns())
	text := s.heading(ctx, pinned) + "\n" + table
	_, _ = io.WriteString(stdout, text) // who closed stdout does not want to know
	if s.out != "" {
		failures = errors.Join(failures, os.WriteFile(s.out, []byte(text), 0o644)) //nolint:gosec // it is for everybody to read
	}
	if s.check && unmet > 0 {
		failures = errors.Join(failures, fmt.Errorf("%w: %d", errUnmet, unmet))
	}
	return failures
}

// moreFiles lets this process, and those that it starts, have as many files open
// as it may.
func moreFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// pin gives the servers the first core and this process the others, and says so.
func pin() (l *launcher, pinned string, err error) {
	all, err := cores()
	if err != nil {
		return nil, "", err
	}
	if len(all) == 1 {
		l, err = newLauncher(-1)
		return l, "**not pinned**: there is one core, and the clients share it with the server", err
	}
	if err := pinThreads(all[1:]); err != nil {
		return nil, "", err
	}
	l, err = newLauncher(all[0])
	return l, fmt.Sprintf("each server on core %d, the clients on %d other(s)", all[0], len(all)-1), err
}

// How long one peer may take for one load.
const (
	runTime      = 4 * time.Minute
	quickRunTime = 40 * time.Second
)

// measure runs everything. A failure does not keep the others from their turn.
func (s *settings) measure(ctx context.Context, l *launcher, log io.Writer) (results, error) {
	r, failures := results{}, []error(nil)
	rates := &rates{}
	for _, load := range s.loads {
		turns := s.turns(load)
		for round := range s.rounds {
			for _, name := range turns {
				sub := &subject{name: name, server: load.server, places: s.places, launcher: l, among: turns, rates: rates}
				began := time.Now()
				f, err := s.attempt(ctx, load, sub)
				if err != nil {
					err = fmt.Errorf("%s, %s, round %d: %w", load.name, name, round+1, err)
					failures = append(failures, err)
					_, _ = fmt.Fprintln(log, "FAILED:", err) // it is returned as well
					if ctx.Err() != nil {
						return r, errors.Join(failures...)
					}
					continue
				}
				r.add(load, name, round, f)
				_, _ = fmt.Fprintf(log, "%-12s %-10s round %d  %5.1f s  %s\n", // progress
					load.name, name, round+1, time.Since(began).Seconds(), f.line(load))
			}
			slices.Reverse(turns)
		}
	}
	return r, errors.Join(failures...)
}

func (s *settings) attempt(ctx context.Context, l load, sub *subject) (figures, error) {
	most := runTime
	if s.quick {
		most = quickRunTime
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	return l.run(ctx, sub)
}

// turns is who takes part in a load.
func (s *settings) turns(l load) []string {
	var all []string
	for _, name := range s.peers {
		if slices.Contains(l.peers, name) || name == other {
			all = append(all, name)
		}
	}
	return all
}

// columns are the peers that take part in any load.
func (s *settings) columns() []string {
	var all []string
	for _, name := range s.peers {
		if slices.ContainsFunc(s.loads, func(l load) bool { return slices.Contains(s.turns(l), name) }) {
			all = append(all, name)
		}
	}
	return all
}

// line is what a run has measured, in a line.
func (f figures) line(l load) string {
	var all []string
	for _, fig := range l.figures {
		if v, ok := f[fig.name]; ok {
			all = append(all, fig.name+" "+decimal(v)+" "+fig.unit)
		}
	}
	return strings.Join(all, ", ")
}
