//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the CPU time of a process, threads that have ended included. The
// kernel has it in nanoseconds as a clock; /proc/PID/stat counts in hundredths
// of a second, and /proc/PID/schedstat knows one thread.
func cpuTime(pid int) (time.Duration, error) {
	const whole = 2 // CPUCLOCK_SCHED, of the process rather than a thread: see clock_getcpuclockid(3)
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|whole), &t); err == nil {
		return time.Duration(t.Nano()), nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return statTime(stat)
}

var errProc = errors.New("this kernel's /proc is not as expected")

// statTime is utime + stime of /proc/PID/stat.
func statTime(stat []byte) (time.Duration, error) {
	_, rest, ok := cutLast(string(stat), ") ") // the name before it may contain anything
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("%w: stat is %q", errProc, stat)
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	const tick = 10 * time.Millisecond // USER_HZ is 100 wherever Go runs
	return time.Duration(user+system) * tick, errors.Join(err, err2)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// memory is what a process has of it, in bytes.
type memory struct {
	resident int64
	peak     int64 // that it was resident at any time
}

func memoryOf(pid int) (memory, error) {
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid)) // exact, unlike statm
	if err != nil {
		return memory{}, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, err
	}
	resident, err := kilobytes(rollup, "Rss:")
	peak, err2 := kilobytes(status, "VmHWM:")
	return memory{resident, max(peak, resident)}, errors.Join(err, err2)
}

// kilobytes is the line of a file in /proc that begins with key, in bytes.
func kilobytes(file []byte, key string) (int64, error) {
	lines := bufio.NewScanner(bytes.NewReader(file))
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), key)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		return n << 10, err
	}
	return 0, fmt.Errorf("%w: there is no %s", errProc, key)
}

// cores are those that this process may use.
func cores() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	var all []int
	for i := 0; len(all) < set.Count(); i++ {
		if set.IsSet(i) {
			all = append(all, i)
		}
	}
	return all, nil
}

// pinThreads restricts all threads of this process, and those to come, to cores.
func pinThreads(cores []int) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		if err := pinThread(id, cores); err != nil && !errors.Is(err, unix.ESRCH) { // it may have ended
			return err
		}
	}
	return nil
}

// pinThread restricts a thread; 0 is the one that calls.
func pinThread(id int, cores []int) error {
	var set unix.CPUSet
	for _, core := range cores {
		set.Set(core)
	}
	return unix.SchedSetaffinity(id, &set)
}
