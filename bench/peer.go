//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// places is where the peers' programs are.
type places struct {
	bin, other string // directories
	node       string // the directory of server.mjs
	cert       *certificate
}

// serve is what a load wants of a server.
type serve struct {
	secure   bool
	limits   bool // on how much a client may send, as they are by default; else no client reaches them
	scoped   bool // presence goes to contacts only
	contacts int  // so many, if scoped
	users    int  // who are next to each other, if they have contacts
}

// argv is the command that serves as peer, with the program that stands for us.
func (at places) argv(peer, server string, s serve) []string {
	var argv []string
	switch peer {
	case ours:
		argv = []string{filepath.Join(at.bin, server)}
	case other:
		argv = []string{filepath.Join(at.other, server)}
	case node:
		argv = []string{"node", filepath.Join(at.node, "server.mjs")}
	default:
		argv = []string{filepath.Join(at.bin, peer)}
	}
	argv = append(argv, "-addr", "127.0.0.1:0")
	if server == "example" && (peer == ours || peer == other) {
		argv = append(argv, "-insecure", "-no-livekit")
		if !s.limits {
			for _, of := range []string{"device", "user"} { // what it costs to look is measured all the same
				argv = append(argv, "-"+of+"-rate", "1e9", "-"+of+"-burst", "1000000000")
			}
		}
	}
	if s.scoped {
		argv = append(argv, "-contacts", strconv.Itoa(s.contacts), "-users", strconv.Itoa(s.users))
	}
	if s.secure {
		argv = append(argv, "-tls-cert", at.cert.certFile, "-tls-key", at.cert.keyFile)
	}
	return argv
}

// launcher starts processes that are pinned to a core and end with this one:
// both hang on the thread that starts them, which has to be there all the time.
type launcher struct {
	jobs chan func()
	core int // -1: any
}

func newLauncher(core int) (*launcher, error) {
	l := &launcher{jobs: make(chan func()), core: core}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for good
		if core >= 0 {
			ready <- pinThread(0, []int{core})
		}
		close(ready)
		for job := range l.jobs {
			job()
		}
	}()
	return l, <-ready
}

func (l *launcher) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	l.jobs <- func() { started <- cmd.Start() }
	return <-started
}

// peer is a server that runs.
type peer struct {
	target target
	name   string
	cmd    *exec.Cmd
	over   chan struct{} // closed when it has ended
	said   tail
	debug  bool // it serves /debug/goroutines
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	const most = 2 << 10
	t.kept = t.kept[max(0, len(t.kept)-most):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.kept))
}

var errSilent = errors.New("it ended without having said where it listens")

// startTime is how long a server may take until it listens.
const startTime = 20 * time.Second

// startPeer starts a server and returns when it listens.
func startPeer(ctx context.Context, l *launcher, name string, argv []string) (*peer, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &peer{name: name, cmd: exec.CommandContext(ctx, argv[0], argv[1:]...), over: make(chan struct{})} //nolint:gosec // the flags say what
	p.cmd.Stdout, p.cmd.Stderr = in, in
	err = l.start(p.cmd)
	_ = in.Close() // the child has its own
	if err != nil {
		_ = out.Close() // nothing is in it
		return nil, fmt.Errorf("%w: make build-bench builds the peers", err)
	}
	where := make(chan string, 1)
	go p.listen(out, where)
	go func() {
		_ = p.cmd.Wait() // how it ends says nothing: it is killed
		close(p.over)
	}()
	select {
	case p.target.addr = <-where:
		if p.target.addr != "" {
			return p, nil
		}
		err = errSilent
	case <-time.After(startTime):
		err = fmt.Errorf("%v have passed and it has not said where it listens", startTime)
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.stop()
	return nil, fmt.Errorf("%s: %w; its last words: %s", strings.Join(argv, " "), err, &p.said)
}

// listen finds in what the server says where it listens; "" if it never does.
func (p *peer) listen(out io.ReadCloser, where chan<- string) {
	defer func() { _ = out.Close() }() // it was read to its end
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`)
	r := bufio.NewReader(io.TeeReader(out, &p.said))
	found := ""
	for found == "" {
		line, err := r.ReadString('\n')
		if found = address.FindString(line); found == "" && err != nil {
			break
		}
	}
	where <- found
	_, _ = io.Copy(io.Discard, r) // until it has ended
}

// stop ends the server at once: what it has to say to its clients is not asked.
func (p *peer) stop() {
	_ = p.cmd.Process.Kill() // if that fails it has ended already
	<-p.over
}

func (p *peer) cpu() (time.Duration, error) {
	t, err := cpuTime(p.cmd.Process.Pid)
	return t, p.alive(err)
}

func (p *peer) memory() (memory, error) {
	m, err := memoryOf(p.cmd.Process.Pid)
	return m, p.alive(err)
}

// alive is err, or that the server has ended if it has.
func (p *peer) alive(err error) error {
	select {
	case <-p.over:
		return fmt.Errorf("the server has ended (%v); its last words: %s", p.cmd.ProcessState, &p.said)
	default:
		return err
	}
}

// subject is a peer that a load runs against.
type subject struct {
	name     string
	server   string // see load
	places   places
	launcher *launcher
	among    []string // all who take part in the load
	rates    *rates
}

// start starts a server of the subject's.
func (s *subject) start(ctx context.Context, how serve) (*peer, error) {
	p, err := startPeer(ctx, s.launcher, s.name, s.places.argv(s.name, s.server, how))
	if err != nil {
		return nil, err
	}
	p.debug = s.server == "host" && (s.name == ours || s.name == other) && !how.secure
	if how.secure {
		p.target.tls = &tls.Config{RootCAs: s.places.cert.pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	}
	return p, nil
}

// slower is n, or half of it for the peers that take long.
func (s *subject) slower(n int) int {
	if slices.Contains([]string{node, bare}, s.name) {
		return n / 2
	}
	return n
}
