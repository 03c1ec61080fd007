//go:build linux

package main

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// heading says what the table comes from.
func (s *settings) heading(ctx context.Context, pinned string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "- "+format+"\n", args...) }
	line("%s, %s; %s", time.Now().UTC().Format(time.DateOnly), machine(), pinned)
	line("%s", s.versions(ctx))
	if s.quick {
		line("**-quick**: the figures show that everything works, and nothing else")
	} else {
		line("%d rounds in turns, a fresh server each time: median (least); ÷ is the median of the rounds' ratios", s.rounds)
	}
	for _, l := range s.loads {
		line("%s: %s", l.name, l.about)
	}
	return b.String()
}

func machine() string {
	model := "CPU unknown"
	info, _ := os.ReadFile("/proc/cpuinfo") // unknown is said
	for line := range strings.Lines(string(info)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	kernel := "unknown"
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		kernel = unix.ByteSliceToString(name.Release[:])
	}
	return fmt.Sprintf("%s, %d cores, Linux %s", model, runtime.NumCPU(), kernel)
}

// versions is what the peers are made of.
func (s *settings) versions(ctx context.Context) string {
	var all []string
	for _, name := range s.columns() {
		switch name {
		case node:
			version, _ := exec.CommandContext(ctx, "node", "--version").Output() // absent is said
			all = append(all, fmt.Sprintf("node %s with socket.io %s", strings.TrimSpace(string(version)), s.socketIO()))
		case ours:
			all = append(all, "heymanito "+built(filepath.Join(s.places.bin, "example"), ""))
		case other:
			all = append(all, "other "+built(filepath.Join(s.places.other, "example"), ""))
		case bare:
			all = append(all, "bare "+built(filepath.Join(s.places.bin, bare), "github.com/zishang520/socket.io/servers/socket/"))
		case floor:
			all = append(all, "floor "+built(filepath.Join(s.places.bin, floor), "github.com/gorilla/websocket"))
		}
	}
	return strings.Join(all, "; ")
}

func (s *settings) socketIO() string {
	var p struct{ Version string }
	file, err := os.ReadFile(filepath.Join(s.places.node, "node_modules", "socket.io", "package.json")) //nolint:gosec // the flags say where
	if err != nil || json.Unmarshal(file, &p) != nil {
		return "(unknown)"
	}
	return p.Version
}

// built says with what a program was built: Go, and the modules that begin with
// dep; without one, the revision.
func built(file, dep string) string {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return "(unknown)"
	}
	parts := []string{info.GoVersion}
	for _, d := range info.Deps {
		if dep != "" && strings.HasPrefix(d.Path, dep) {
			parts = append(parts, d.Path+" "+d.Version)
		}
	}
	for _, key := range []string{"vcs.revision", "vcs.modified"} {
		i := slices.IndexFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == key })
		switch {
		case dep != "" || i < 0:
		case key == "vcs.modified" && info.Settings[i].Value == "true":
			parts = append(parts, "with changes")
		case key == "vcs.revision":
			parts = append(parts, info.Settings[i].Value[:min(12, len(info.Settings[i].Value))])
		}
	}
	return strings.Join(parts, " ")
}
