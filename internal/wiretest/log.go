package wiretest

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// Log is what a server logs, a line each.
type Log struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Logger returns a logger that writes to it, from Info on.
func (l *Log) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// Count returns how many lines have part in them.
func (l *Log) Count(part string) int {
	n := 0
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

// Show prints it with the test's own log, its lines cut.
func (l *Log) Show(t testing.TB) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		t.Logf("server: %.300s", strings.TrimSpace(line))
	}
}
