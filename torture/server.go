package torture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// server is the example in a process of its own, with its inbox on disk.
type server struct {
	bin  string
	args []string
	log  *os.File // what all of its lives have logged

	mu   sync.Mutex // guards the rest
	cmd  *exec.Cmd
	addr string     // "" while it is down
	over chan error // has its end
}

// where is the server's address, or "" while it is down.
func (s *server) where() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// start starts the server, and returns when it listens.
func (s *server) start() error {
	cmd := exec.Command(s.bin, s.args...) //nolint:gosec // the test has built it
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = s.log
	started, over := make(chan error, 1), make(chan error, 1)
	go func() { over <- alive(cmd, started) }()
	if err := <-started; err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on http://")
	if !ok {
		return fmt.Errorf("the server said %q (%w), and ended: %w", line, err, shoot(cmd, over))
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cmd, s.addr, s.over = cmd, addr, over
	return nil
}

// kill ends the server at once.
func (s *server) kill() {
	if cmd, over := s.down(); cmd != nil {
		_ = shoot(cmd, over)
	}
}

// shoot kills a process, and returns how it ended.
func shoot(cmd *exec.Cmd, over <-chan error) error {
	_ = cmd.Process.Kill() // if that fails it has ended already
	return <-over
}

// stop ends the server as the operating system does, and returns how it ended.
func (s *server) stop(patience time.Duration) error {
	cmd, over := s.down()
	if cmd == nil {
		return errors.New("the server is not running")
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-over:
		return err
	case <-time.After(patience):
		return fmt.Errorf("the server had not ended %v after SIGTERM: %w", patience, shoot(cmd, over))
	}
}

func (s *server) down() (*exec.Cmd, chan error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cmd := s.cmd
	s.cmd, s.addr = nil, ""
	return cmd, s.over
}
