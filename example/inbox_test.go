package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/boltinbox"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// launch runs the program; end ends it, and fails the test if it did not end
// well.
func launch(t *testing.T, flags ...string) (url string, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stdout, say := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		args := append([]string{"-addr", "127.0.0.1:0", "-insecure", "-drain", "0s"}, flags...)
		ended <- run(ctx, args, say, io.Discard)
		_ = say.Close()
	}()
	out := bufio.NewReader(stdout)
	line, err := out.ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		cancel()
		t.Fatalf("it said %q, and ended with %v", line, <-ended)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the program
	return url, func() {
		t.Helper()
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(wiretest.Timeout):
			t.Fatal("run does not end")
		}
	}
}

// say is a message of ana's.
func say(id, to string) string {
	return `{"id":"` + id + `","senderChatPath":"ana","recipientChatPath":"` + to + `","content":{"text":"hola"}}`
}

// What waits for somebody outlives the program, and the store is closed with it.
func TestData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	for _, id := range []string{"first", "second"} {
		url, end := launch(t, "-data", dir)
		ana := wiretest.Connect(t, url, "ana")
		if ack := ana.EmitAck("sendMessage", say(id, "luis")); ack.Delivery != "queued" {
			t.Errorf("%s was answered %s", id, ack.Raw)
		}
		if ack := ana.EmitAck("sendMessage", say("first", "luis")); !ack.Duplicate {
			t.Errorf("first, again, was answered %s", ack.Raw)
		}
		ana.Cut()
		end()
		// Who leaves it open keeps others out.
		store, err := boltinbox.Open(filepath.Join(dir, inboxFile))
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
	url, end := launch(t, "-data", dir)
	luis := wiretest.Connect(t, url, "luis")
	for _, id := range []string{"first", "second"} {
		if got := luis.Expect("receiveMessage").String(); !strings.Contains(got, `"id":"`+id+`"`) {
			t.Errorf("luis got %s, want %s", got, id)
		}
	}
	if got := luis.Expect("inboxReady").String(); !strings.Contains(got, `"complete":true`) {
		t.Error(got)
	}
	luis.Cut()
	end()
	nothingLeft(t)
}

func TestInMemory(t *testing.T) {
	url, _ := start(t, "-insecure", "-inbox-entries", "2")
	ana := wiretest.Connect(t, url, "ana")
	for _, id := range []string{"1", "2", "3"} {
		if ack := ana.EmitAck("sendMessage", say(id, "luis")); ack.Delivery != "queued" || ack.Seq == 0 {
			t.Errorf("it was answered %s", ack.Raw)
		}
	}
	luis := wiretest.Connect(t, url, "luis")
	luis.Expect("inboxReady")
	if got := luis.Named("receiveMessage"); len(got) != 2 || !strings.Contains(got[0].String(), `"id":"2"`) {
		t.Errorf("luis got %v", got)
	}
}

func TestNoInbox(t *testing.T) {
	url, _ := start(t, "-insecure", "-no-inbox")
	ana := wiretest.Connect(t, url, "ana")
	if ack := ana.EmitAck("sendMessage", say("1", "luis")); ack.Delivery != "offline" || ack.Seq != 0 {
		t.Errorf("it was answered %s", ack.Raw)
	}
	luis := wiretest.Connect(t, url, "luis")
	luis.Sync()
	if got := luis.Named("receiveMessage"); len(got) != 0 || len(luis.Named("inboxReady")) != 0 {
		t.Errorf("luis got %v", luis.Log())
	}
}

func TestInboxFlags(t *testing.T) {
	s, err := parseFlags([]string{"-inbox-entries", "1", "-inbox-bytes", "2", "-inbox-age", "3s", "-inbox-total", "4", "-data", "x"}, io.Discard)
	want := heymanito.InboxBounds{Entries: 1, Bytes: 2, Age: 3 * time.Second, Total: 4}
	if err != nil || s.bounds != want || s.data != "x" {
		t.Errorf("%+v, %v", s, err)
	}
	// What the usage says are the defaults are the package's.
	s, err = parseFlags(nil, io.Discard)
	if err != nil || s.bounds != (heymanito.InboxBounds{}).WithDefaults(0) || s.noInbox || s.data != "" {
		t.Errorf("without flags: %+v, %v", s, err)
	}
}

// A directory that cannot be used ends the program in words that name it.
func TestBadData(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	damaged := filepath.Join(t.TempDir(), inboxFile)
	for _, name := range []string{file, damaged} {
		if err := os.WriteFile(name, []byte(strings.Repeat("not an inbox ", 1_000)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	used := t.TempDir()
	store, err := boltinbox.Open(filepath.Join(used, inboxFile))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for _, c := range []struct{ dir, words string }{
		{file, file},
		{filepath.Join(file, "in a file"), file},
		{filepath.Dir(damaged), damaged},
		{used, used},
	} {
		err := run(t.Context(), []string{"-addr", "127.0.0.1:0", "-data", c.dir}, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("-data %s: %v", c.dir, err)
		}
	}
	if text, err := os.ReadFile(damaged); err != nil || !strings.HasPrefix(string(text), "not an inbox") {
		t.Errorf("the file that is none has become %.20q, %v", text, err)
	}
}

// A program that cannot listen has not kept the inbox either.
func TestDataIsClosedWhenRunFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	if err := run(t.Context(), []string{"-addr", taken.Addr().String(), "-data", dir}, io.Discard, io.Discard); err == nil {
		t.Error("two programs on one port")
	}
	store, err := boltinbox.Open(filepath.Join(dir, inboxFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	nothingLeft(t)
}
