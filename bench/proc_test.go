//go:build linux

package main

import (
	"os"
	"testing"
	"time"
)

func TestStatTime(t *testing.T) {
	stat := "4242 (a (b) c) S 1 4242 4242 0 -1 4194304 100 0 0 0 250 50 7 8 20 0 9 0 100 1000 200"
	got, err := statTime([]byte(stat))
	if err != nil || got != 3*time.Second {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "1 (a)", "1 (a) S 1 2", "1 (a) S 1 2 3 4 5 6 7 8 9 10 x y z"} {
		if got, err := statTime([]byte(bad)); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

func TestKilobytes(t *testing.T) {
	file := []byte("Name:\tx\nRss:                 12 kB\nRss_other: 13 kB\n")
	if got, err := kilobytes(file, "Rss:"); err != nil || got != 12<<10 {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := kilobytes(file, "VmHWM:"); err == nil {
		t.Error("what is not there is found")
	}
}

func TestOwnProcess(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Millisecond); time.Now().Before(end); {
	}
	after, err := cpuTime(os.Getpid())
	if err != nil || after-before < time.Millisecond || after-before > time.Minute {
		t.Errorf("30 ms of work took %v, %v", after-before, err)
	}
	m, err := memoryOf(os.Getpid())
	if err != nil || m.resident < 1<<20 || m.peak < m.resident {
		t.Errorf("%+v, %v", m, err)
	}
}
