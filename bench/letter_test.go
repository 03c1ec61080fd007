//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestLetter(t *testing.T) {
	for size, head := range map[int]int{1: 8, 100: 8, 16_000: 8, 70_000: 14} {
		l := newLetter("u1", "u2", size)
		var last []byte
		for n := 1; n <= 1234; n++ {
			frame := l.next()
			if bytes.Equal(frame, last) {
				t.Fatalf("message %d is the same as the one before", n)
			}
			last = bytes.Clone(frame)
		}
		packet, ok := bytes.CutPrefix(last[head:], []byte("42000001234"))
		if !ok {
			t.Fatalf("the packet begins with %q", last[head:][:20])
		}
		var args []json.RawMessage
		var m struct {
			ID, SenderChatPath, RecipientChatPath string
			Content                               struct{ Text string }
		}
		if err := json.Unmarshal(packet, &args); err != nil || len(args) != 2 {
			t.Fatalf("%s: %v", packet, err)
		}
		if err := json.Unmarshal(args[1], &m); err != nil {
			t.Fatal(err)
		}
		if m.ID != "m000001234" || m.SenderChatPath != "u1" || m.RecipientChatPath != "u2" || len(m.Content.Text) != size {
			t.Fatalf("the message is %s", args[1])
		}
	}
}
