package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"unicode/utf8"

	"github.com/heymanito/heymanito"
)

// hooks is this host's part in what happens: it writes a log, and has one rule
// about messages. With bare, for tools and tests, there is no rule.
func hooks(log *slog.Logger, bare bool) heymanito.Hooks {
	h := heymanito.Hooks{
		OnConnect: func(ctx context.Context, d heymanito.Device) {
			log.InfoContext(ctx, "connected", "user", d.ChatPath, "socket", d.SocketID, "addr", d.RemoteAddr)
		},
		OnDisconnect: func(ctx context.Context, d heymanito.Device, reason string) {
			log.InfoContext(ctx, "disconnected", "user", d.ChatPath, "socket", d.SocketID, "reason", reason)
		},
		OnCall: func(ctx context.Context, c heymanito.Call) {
			log.InfoContext(ctx, "call", "id", c.ID, "state", c.State, "reason", c.Reason, "caller", c.Caller, "callee", c.Callee)
		},
		OnUndelivered: func(ctx context.Context, m heymanito.Message) {
			log.InfoContext(ctx, "nobody was there: a real host sends a push notification now", "to", m.To)
		},
	}
	if !bare {
		// A real host stores the message here: what fails now is not delivered.
		h.BeforeMessage = func(_ context.Context, m heymanito.Message) error { return refuseEmpty(m) }
	}
	return h
}

// refuseEmpty keeps messages from being delivered that say nothing. The code
// and the words are the sender's ack.
func refuseEmpty(m heymanito.Message) error {
	// Nearly all begin with a letter, and need not be taken apart.
	if text, ok := bytes.CutPrefix(m.Content, []byte(`{"text":"`)); ok && len(text) > 0 && text[0] > ' ' && text[0] < utf8.RuneSelf && text[0] != '"' && text[0] != '\\' {
		return nil
	}
	var content struct {
		Text  *string         `json:"text"`
		Photo json.RawMessage `json:"photo"`
	}
	if json.Unmarshal(m.Content, &content) != nil {
		return nil // another client's shape: not ours to judge
	}
	if content.Text != nil && strings.TrimSpace(*content.Text) == "" && content.Photo == nil {
		return heymanito.Errorf(heymanito.CodeInvalid, "an empty message")
	}
	return nil
}
