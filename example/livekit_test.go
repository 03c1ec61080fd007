package main

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/heymanito/heymanito/internal/wiretest"
)

// elsewhere says that LiveKit is there, and runs the program in a directory
// where nothing is installed.
func elsewhere(t *testing.T, url, key, secret string) {
	t.Helper()
	t.Chdir(t.TempDir())
	t.Setenv("LIVEKIT_URL", url)
	t.Setenv("LIVEKIT_API_KEY", key)
	t.Setenv("LIVEKIT_API_SECRET", secret)
}

func TestLiveKitElsewhere(t *testing.T) {
	elsewhere(t, "wss://livekit.test", "key", "secret")
	s, err := parseFlags(nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	talk := openRooms(t.Context(), s.livekit, &net.TCPAddr{}, io.Discard, slog.New(slog.DiscardHandler))
	defer talk.Close()
	if talk.LiveKit == nil || talk.own != nil || talk.url != "wss://livekit.test" {
		t.Errorf("it opens %+v", talk)
	}
	url, _ := serve(t, s, talk)
	ana := wiretest.Connect(t, url, "ana", auth(token(t, url, "ana")))
	luis := wiretest.Connect(t, url, "luis", auth(token(t, url, "luis")))
	ana.EmitAck("initiateCall", `{"recipientId":"luis","callerId":"ana"}`)
	ack := luis.EmitAck("acceptCall", `{"callerId":"ana"}`)
	if !strings.Contains(string(ack.Raw), `"token":"ey`) || !strings.Contains(string(ack.Raw), `"url":"wss://livekit.test"`) {
		t.Errorf("acceptCall was answered %s", ack.Raw)
	}

	resp, err := http.Post(url+webhookPath, "application/webhook+json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a webhook without a signature: %d", resp.StatusCode)
	}
	resp, err = http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if policy := resp.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "connect-src 'self' ws: wss: https://livekit.test;") {
		t.Errorf("Content-Security-Policy %q", policy)
	}

	if s, err := parseFlags([]string{"-no-livekit"}, io.Discard); err != nil || s.livekit.url != "" {
		t.Errorf("-no-livekit: %+v, %v", s, err)
	}
	for _, c := range [][3]string{{"", "key", "secret"}, {"wss://livekit.test", "", "secret"}, {"wss://livekit.test", "key", ""}, {"livekit.test", "key", "secret"}} {
		elsewhere(t, c[0], c[1], c[2])
		if _, err := parseFlags(nil, io.Discard); err == nil || !strings.Contains(err.Error(), "LIVEKIT_API_SECRET") {
			t.Errorf("%q: %v", c, err)
		}
	}
}

// Without a LiveKit calls ring all the same.
func TestNoLiveKit(t *testing.T) {
	elsewhere(t, "", "", "")
	broken := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for want, flags := range map[string][]string{
		"make setup-livekit": nil,
		"-no-livekit":        {"-no-livekit"},
		"it has ended":       {"-livekit-server", broken},
	} {
		s, err := parseFlags(flags, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		talk := openRooms(t.Context(), s.livekit, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, io.Discard, slog.New(slog.DiscardHandler))
		if talk.LiveKit != nil || !strings.Contains(talk.where, want) || !strings.Contains(talk.where, "signalling alone") {
			t.Errorf("%q: %+v", flags, talk)
		}
		talk.Close()
		url, _ := serve(t, s, talk)
		resp, err := http.Post(url+webhookPath, "application/webhook+json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("a webhook is taken")
		}
	}
}

func TestWebhookAddress(t *testing.T) {
	for ip, want := range map[string]string{
		"127.0.0.1": "http://127.0.0.1:80/livekit/webhook",
		"0.0.0.0":   "http://127.0.0.1:80/livekit/webhook",
		"::":        "http://127.0.0.1:80/livekit/webhook",
		"::1":       "http://[::1]:80/livekit/webhook",
	} {
		if got := webhookAddress(&net.TCPAddr{IP: net.ParseIP(ip), Port: 80}); got != want {
			t.Errorf("on %s: %s, want %s", ip, got, want)
		}
	}
}
