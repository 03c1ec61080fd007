package heymanito_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// transcript is a file of testdata/wire: what one version of one client writes,
// and what the server has to answer. testdata/wire/README.md has the format.
type transcript struct {
	path  string
	head  map[string][]string
	steps []step
}

// step is a line of a transcript, with the header lines below it.
type step struct {
	line    int
	verb    string
	arg     string
	headers []string
}

// headKeys are what may stand at the head of a transcript, and whether it must.
var headKeys = map[string]bool{"client": true, "version": true, "with": false, "app": true, "source": true, "pong": true}

// argument says what a step's argument has to be.
type argument func(string) error

func something(s string) error {
	if s == "" {
		return errors.New("there is nothing behind it")
	}
	return nil
}

func nothingAtAll(s string) error {
	if s != "" {
		return fmt.Errorf("%q behind it, where nothing may be", s)
	}
	return nil
}

func target(s string) error {
	if !strings.HasPrefix(s, "/socket.io/?") {
		return fmt.Errorf("%q is no target: it begins with /socket.io/?", s)
	}
	return nil
}

func hexadecimal(s string) error {
	if _, err := hex.DecodeString(s); err != nil {
		return fmt.Errorf("%q is not hexadecimal", s)
	}
	return nil
}

func closeCode(s string) error {
	if n, err := strconv.Atoi(s); s != "" && (err != nil || n < 1000 || n > 4999) {
		return fmt.Errorf("%q is no close code", s)
	}
	return nil
}

// eventAndArgs is the name of an event and its arguments.
func eventAndArgs(s string) error {
	name, args, _ := strings.Cut(s, " ")
	if name == "" || args != "" && !strings.ContainsAny(args[:1], `{["`) {
		return fmt.Errorf("%q is not the name of an event and its arguments", s)
	}
	return nil
}

// verbs are the lines of a transcript's body.
var verbs = map[string]argument{
	"GET": target, "POLL": target, "POST": target, "WEBSOCKET": target,
	"LAST": nothingAtAll, "WAIT": nothingAtAll,
	">": something, ">x": hexadecimal, ">close": closeCode, "=": something, "=|": something,
	"<": something, "<|": something, "<ws": something, "<x": hexadecimal, "<close": closeCode,
	"+connects": nothingAtAll, "+emits": eventAndArgs, "+hears": eventAndArgs, "+x": hexadecimal, "+leaves": nothingAtAll,
}

// requests are the steps that have headers.
var requests = map[string]bool{"GET": true, "POLL": true, "POST": true, "WEBSOCKET": true}

// readTranscript reads and checks a file.
func readTranscript(path string) (*transcript, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseTranscript(filepath.ToSlash(path), string(b))
}

// name is what tests call it.
func (f *transcript) name() string { return strings.TrimPrefix(f.path, "testdata/wire/") }

func parseTranscript(path, text string) (*transcript, error) {
	t := &transcript{path: path, head: map[string][]string{}}
	wrong := func(line int, format string, args ...any) (*transcript, error) {
		return nil, fmt.Errorf("%s:%d: %w", path, line, fmt.Errorf(format, args...))
	}
	inHead := true
	for i, s := range strings.Split(text, "\n") {
		line := i + 1
		switch {
		case strings.HasPrefix(s, "#"):
		case inHead && s == "":
			for key, required := range headKeys {
				if required && t.head[key] == nil {
					return wrong(line, "the head does not say %q", key)
				}
			}
			inHead = false
		case inHead:
			key, value, _ := strings.Cut(s, ":")
			if _, known := headKeys[key]; !known {
				return wrong(line, "%q is nothing that a head says", s)
			}
			if value = strings.TrimSpace(value); value == "" {
				return wrong(line, "%s: is empty", key)
			}
			t.head[key] = append(t.head[key], value)
		case s == "":
		case strings.HasPrefix(s, "|"):
			last := len(t.steps) - 1
			name, value, ok := strings.Cut(strings.TrimPrefix(s, "| "), ": ")
			if last < 0 || !requests[t.steps[last].verb] {
				return wrong(line, "a header that belongs to no request")
			}
			if !ok || name == "" || value == "" {
				return wrong(line, "%q is no header", s)
			}
			t.steps[last].headers = append(t.steps[last].headers, name+": "+value)
		default:
			verb, arg, _ := strings.Cut(s, " ")
			if rest, ok := strings.CutPrefix(s, "+ "); ok {
				verb, arg, _ = strings.Cut(rest, " ")
				verb = "+" + verb
			}
			check, known := verbs[verb]
			if !known {
				return wrong(line, "unknown directive %q", verb)
			}
			if err := check(arg); err != nil {
				return wrong(line, "%s: %w", verb, err)
			}
			if head, ok := strings.CutSuffix(verb, "|"); ok {
				if last := len(t.steps) - 1; last < 0 || t.steps[last].verb != head && t.steps[last].verb != verb {
					return wrong(line, "%s goes with a %s above it", verb, head)
				}
			}
			t.steps = append(t.steps, step{line: line, verb: verb, arg: arg})
		}
	}
	if inHead || len(t.steps) == 0 {
		return wrong(1, "there is nothing below the head, and its blank line")
	}
	if version := t.head["version"][0]; !strings.HasPrefix(filepath.Base(path), version+"-") {
		return wrong(1, "the file's name does not begin with the version, %s", version)
	}
	return t, nil
}
