package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// started is how many servers of serve are running; tests here are not parallel.
var started int

// start serves the program's handler as its flags say, without LiveKit.
func start(t *testing.T, flags ...string) (url string, rt *heymanito.Server) {
	t.Helper()
	s, err := parseFlags(append([]string{"-no-livekit"}, flags...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, s, &rooms{})
}

// serve serves the program's handler. With the last of them everything has to
// end.
func serve(t *testing.T, s *settings, talk *rooms) (url string, rt *heymanito.Server) {
	t.Helper()
	s.options = append(s.options, heymanito.WithDrain(0))
	inbox, err := openInbox(s)
	if err != nil {
		t.Fatal(err)
	}
	app, rt := newApp(s, talk, slog.New(slog.DiscardHandler))
	srv := httptest.NewServer(app)
	started++
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), wiretest.Timeout)
		defer cancel()
		if err := rt.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := inbox.Close(); err != nil {
			t.Errorf("the inbox: %v", err)
		}
		srv.Close()
		if started--; started == 0 {
			nothingLeft(t)
		}
	})
	return srv.URL, rt
}

// nothingLeft waits until no goroutine is in the package any more.
func nothingLeft(t *testing.T) {
	t.Helper()
	ours := regexp.MustCompile(`github\.com/heymanito/heymanito(/boltinbox|/internal/(engineio|socketio))?\.`)
	var left string
	for end := time.Now().Add(wiretest.Timeout); time.Now().Before(end); time.Sleep(time.Millisecond) {
		stacks := make([]byte, 4<<20)
		left = ""
		for one := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if ours.MatchString(one) {
				left += one + "\n\n"
			}
		}
		if left == "" {
			return
		}
	}
	t.Errorf("goroutines of the server are left:\n%s", left)
}

type loggedIn struct {
	ChatPath    string `json:"chatPath"`
	Token       string `json:"token"`
	ExpiresInMs int64  `json:"expiresInMs"`
	Code        string `json:"code"`
}

func login(t *testing.T, url, body string) (int, loggedIn) {
	t.Helper()
	resp, err := http.Post(url+"/login", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var l loggedIn
	if err := json.NewDecoder(resp.Body).Decode(&l); err != nil {
		t.Fatalf("login %s: %v", body, err)
	}
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("a token may be cached: Cache-Control is %q", got)
	}
	return resp.StatusCode, l
}

// token logs name in.
func token(t *testing.T, url, name string) string {
	t.Helper()
	status, l := login(t, url, `{"name":`+strconv.Quote(name)+`}`)
	if status != http.StatusOK || l.ChatPath != name || l.ExpiresInMs <= 0 {
		t.Fatalf("logging %s in: %d %+v", name, status, l)
	}
	return l.Token
}

func auth(token string) wiretest.Option { return wiretest.Auth(`{"token":"` + token + `"}`) }

func TestLoginOpensTheSocketForThatUserAlone(t *testing.T) {
	url, _ := start(t)
	ana := wiretest.Connect(t, url, "ana", auth(token(t, url, "ana")))
	luis := wiretest.Connect(t, url, "luis", auth(token(t, url, "luis")))
	if got := ana.Expect("contact_online").String(); got != `contact_online("luis")` {
		t.Errorf("ana was told %s", got)
	}

	ack := ana.EmitAck("sendMessage", `{"id":1,"senderChatPath":"ana","recipientChatPath":"luis","content":{"text":"hola"}}`)
	if ack.Status != "ok" || ack.Delivery != "sent" {
		t.Errorf("sendMessage was answered %s", ack.Raw)
	}
	if got := luis.Expect("receiveMessage").String(); !strings.Contains(got, `"content":{"text":"hola"}`) {
		t.Errorf("luis got %s", got)
	}

	other, _ := start(t) // another process has another key
	for name, c := range map[string]struct {
		user, token, code string
	}{
		"no token":          {"eva", "", "unauthorized"},
		"rubbish":           {"eva", "rubbish", "unauthorized"},
		"somebody else's":   {"eva", token(t, url, "ana"), "identity_mismatch"},
		"another process's": {"eva", token(t, other, "eva"), "unauthorized"},
		"no user":           {"null", token(t, url, "ana"), "missing_user"},
	} {
		_, err := wiretest.TryConnect(t, url, c.user, auth(c.token))
		var refused *wiretest.ErrRefused
		if !errors.As(err, &refused) || !strings.Contains(refused.Payload, `"code":"`+c.code+`"`) {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}

func TestLogin(t *testing.T) {
	url, _ := start(t)
	for body, want := range map[string]struct {
		status int
		path   string
		code   string
	}{
		`{"name":"ana"}`:      {200, "ana", ""},
		`{"name":"  ana \n"}`: {200, "ana", ""},
		`{"name":"Ñandú 🐦"}`:  {200, "Ñandú 🐦", ""},
		`{"name":"\u200bñ"}`:  {200, "\u200bñ", ""},
		`{"name":""}`:         {400, "", "invisible"},
		`{"name":"   "}`:      {400, "", "invisible"},
		`{}`:                  {400, "", "invisible"},
		`{"name":"\u200b\u2060\ufeff\u00ad\u2800\u3164\ufe0f\udb40\udc61"}`: {400, "", "invisible"},
		`{"name":"null"}`:                                {400, "", "name"},
		`{"name":"undefined"}`:                           {400, "", "name"},
		`{"name":"a\u0007b"}`:                            {400, "", "name"},
		`{"name":"` + strings.Repeat("x", 257) + `"}`:    {400, "", "name"},
		`{"name":"` + strings.Repeat("x", 10_000) + `"}`: {400, "", "invalid"},
		`{"name":7}`:                                     {400, "", "invalid"},
		`no`:                                             {400, "", "invalid"},
	} {
		status, l := login(t, url, body)
		if status != want.status || l.ChatPath != want.path || l.Code != want.code || (l.Token != "") != (status == 200) {
			t.Errorf("%.40s: %d %+v, want %+v", body, status, l, want)
		}
	}
}

func TestHooks(t *testing.T) {
	url, _ := start(t)
	ana := wiretest.Connect(t, url, "ana", auth(token(t, url, "ana")))
	for content, code := range map[string]string{
		`{"text":"hola"}`: "", `{"text":"","photo":{}}`: "", `"hola"`: "", `null`: "", `7`: "", `{"text":7}`: "",
		`{"text":""}`: "invalid", `{"text":" \n"}`: "invalid",
	} {
		ack := ana.EmitAck("sendMessage", `{"id":`+strconv.Quote(content)+`,"senderChatPath":"ana","recipientChatPath":"luis","content":`+content+`}`)
		if ack.Code != code {
			t.Errorf("%s was answered %s, want code %q", content, ack.Raw, code)
		}
	}
}

func TestTypingIsRelayed(t *testing.T) {
	url, _ := start(t)
	ana := wiretest.Connect(t, url, "ana", auth(token(t, url, "ana")))
	luis := wiretest.Connect(t, url, "luis", auth(token(t, url, "luis")))
	payload := `{"senderChatPath":"ana","recipientChatPath":"luis"}`
	if ack := ana.EmitAck("typing", payload); ack.Status != "ok" {
		t.Errorf("typing was answered %s", ack.Raw)
	}
	if got := luis.Expect("typing").String(); got != "typing("+payload+")" {
		t.Errorf("luis got %s", got)
	}
	if ack := luis.EmitAck("typing", payload); ack.Code != "identity_mismatch" {
		t.Errorf("typing for somebody else was answered %s", ack.Raw)
	}
}

func TestInsecure(t *testing.T) {
	url, _ := start(t, "-insecure")
	eva := wiretest.Connect(t, url, "eva")
	ack := eva.EmitAck("sendMessage", `{"id":1,"senderChatPath":"eva","recipientChatPath":"eva","content":{"text":""}}`)
	if ack.Status != "ok" { // no rules of the host's
		t.Errorf("an empty message was answered %s", ack.Raw)
	}
}

func TestPage(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{clientFile: "export const io = 1", clientFile + ".map": "{}", typedFile: "export class Client", "secret.js": "secret", "secret.txt": "secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	with, _ := start(t, "-client", dir, "-heymanito-client", dir)
	without := httptest.NewServer(newPage(&settings{}, ""))
	defer without.Close()

	for _, c := range []struct {
		url         string
		status      int
		kind, words string
	}{
		{with + "/", 200, "text/html; charset=utf-8", `<html lang="es">`},
		{with + "/style.css", 200, "text/css; charset=utf-8", "prefers-color-scheme: dark"},
		{with + "/icon.svg", 200, "image/svg+xml", "<svg"},
		{with + "/js/app.js", 200, "text/javascript; charset=utf-8", "import "},
		{with + "/js/", 404, "", ""},
		{with + "/nothing", 404, "", ""},
		{with + "/client/" + clientFile, 200, "text/javascript; charset=utf-8", "export const io"},
		{with + "/client/heymanito/" + typedFile, 200, "text/javascript; charset=utf-8", "export class Client"},
		{with + "/client/secret.js", 404, "", ""},
		{with + "/client/heymanito/secret.txt", 404, "", ""},
		{with + "/client/", 404, "", ""},
		{without.URL + "/", 200, "text/html; charset=utf-8", "app.js"},
		{without.URL + "/client/" + clientFile, 404, "", "make setup"},
		{without.URL + "/client/" + livekitFile, 404, "", "make setup"},
		{without.URL + "/client/heymanito/" + typedFile, 404, "", "make setup"},
	} {
		resp, err := http.Get(c.url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		path := resp.Request.URL.Path
		if resp.StatusCode != c.status || !strings.Contains(string(body), c.words) {
			t.Errorf("%s: %d %.100q, want %d and %q", path, resp.StatusCode, body, c.status, c.words)
		}
		if kind := resp.Header.Get("Content-Type"); c.kind != "" && kind != c.kind {
			t.Errorf("%s: Content-Type %q, want %q", path, kind, c.kind)
		}
		policy := resp.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'self'; connect-src 'self' ws: wss:;") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: Content-Security-Policy %q", path, policy)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s may be sniffed", path)
		}
	}
}

// The page has no inline scripts or styles, which its policy would stop, and
// loads nothing from elsewhere.
func TestPageIsItsOwn(t *testing.T) {
	foreign := regexp.MustCompile(`(?i)(<script(?:>| [^>]*[^/]>[^<])|\son[a-z]+=|\sstyle=|(?:src|href)="(?:https?:)?//|@import|(?-i:\burl\()|innerHTML|outerHTML|insertAdjacentHTML|document\.write)`)
	err := filepath.WalkDir("web", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if found := foreign.Find(text); found != nil {
			t.Errorf("%s has %q", path, found)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Both languages have the same words.
func TestWords(t *testing.T) {
	text, err := os.ReadFile("web/js/i18n.js")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(text, []byte("\n  es: {\n"))
	es, rest, _ := bytes.Cut(rest, []byte("\n  en: {\n"))
	en, _, ok := bytes.Cut(rest, []byte("\n};"))
	if !ok {
		t.Fatal("where are the words?")
	}
	keys := func(b []byte) string {
		found := regexp.MustCompile(`(?m)^ {4}(\w+): `).FindAllSubmatch(b, -1)
		var list []string
		for _, f := range found {
			list = append(list, string(f[1]))
		}
		return strings.Join(list, "\n")
	}
	if keys(es) != keys(en) || len(keys(es)) < 500 {
		t.Errorf("the languages differ:\n%s\n\n%s", keys(es), keys(en))
	}
	for _, file := range []string{"web/index.html"} {
		page, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`data-t(?:-label|-placeholder)?="(\w+)"`).FindAllSubmatch(page, -1) {
			if !bytes.Contains(es, []byte("\n    "+string(m[1])+": ")) {
				t.Errorf("%s: there are no words for %q", file, m[1])
			}
		}
	}
}

func TestFlags(t *testing.T) {
	if s, err := parseFlags(nil, io.Discard); err != nil || len(s.options) != 0 || s.insecure || s.addr != "127.0.0.1:8080" {
		t.Errorf("without flags: %+v, %v", s, err)
	}
	all := []string{
		"-addr", ":0", "-insecure", "-origins", "https://app.example.com, capacitor://localhost", "-transports", "websocket",
		"-ping-interval", "1s", "-ping-timeout", "2s", "-client-timeout", "3s", "-write-timeout", "4s", "-offline-grace", "0s",
		"-drain", "6s", "-ring-timeout", "7s", "-rings-per-pair", "8", "-no-livekit", "-max-payload", "8000", "-max-queue", "9000", "-max-devices", "10",
		"-handshake-timeout", "11s", "-handshake-bytes", "12000", "-handshake-events", "13",
		"-max-handshakes-per-address", "14", "-max-handshakes", "15",
	}
	s, err := parseFlags(all, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.options) != 14 || s.shutdownTime() != 16*time.Second || !s.insecure {
		t.Errorf("with all flags: %d options, %v, %+v", len(s.options), s.shutdownTime(), s)
	}

	for _, c := range []struct{ flags, words string }{
		{"-ping-interval -1s", "WithHeartbeat"},
		{"-ping-timeout 0s", "WithHeartbeat"},
		{"-max-devices 0", "WithMaxDevices"},
		{"-transports carrier-pigeon", "carrier-pigeon"},
		{"-transports ,", "WithTransports"},
		{"-origins *", "WithInsecureAnyOrigin"},
		{"-client /nowhere", clientFile},
		{"-heymanito-client /nowhere", typedFile},
		{"-livekit-client /nowhere", livekitFile},
		{"-livekit-server /nowhere/at/all", "-livekit-server"},
		{"-no-livekit -livekit-server x", "-no-livekit"},
		{"-no-livekit -livekit-client x", "-no-livekit"},
		{"-peer-return -1s", "WithCallTimes"},
		{"-rings-per-caller 0", "WithRingLimits"},
		{"-max-payload many", "max-payload"},
		{"-no-inbox -data x", "-data"},
		{"-no-inbox -inbox-age 1h", "-inbox-age"},
		{"-data= ", "which directory"},
		{"-inbox-entries 0", "-inbox-entries"},
		{"-inbox-bytes -1", "-inbox-bytes"},
		{"-inbox-age -1h", "-inbox-age"},
		{"-inbox-total -1", "-inbox-total"},
		{"run", "run"},
		{"-what", "what"},
	} {
		if _, err := parseFlags(strings.Fields(c.flags), io.Discard); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want an error about %s", c.flags, err, c.words)
		}
	}

	var usage bytes.Buffer
	if err := run(t.Context(), []string{"-h"}, io.Discard, &usage); !errors.Is(err, flag.ErrHelp) || !strings.Contains(usage.String(), "-offline-grace") {
		t.Errorf("-h: %v\n%s", err, &usage)
	}
}

// What the usage says are the defaults is what a client is told.
func TestDefaults(t *testing.T) {
	url, _ := start(t)
	resp, err := http.Get(url + "/socket.io/?EIO=4&transport=polling&userId=ana")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	want := `"pingInterval":20000,"pingTimeout":40000,"maxPayload":1000000}`
	if err != nil || !strings.HasSuffix(string(body), want) {
		t.Errorf("%s, %v, want %s", body, err, want)
	}
}

// Every option of the package is a flag, or has a reason not to be.
func TestEveryOptionIsAFlag(t *testing.T) {
	const none = "WithAuth WithHooks WithLogger " + // main.go uses them
		"WithInbox WithoutInbox " + // inbox.go uses them
		"WithRooms " + // livekit.go is about it
		"WithPresence WithCalls WithRemoteAddr WithBridge " + // need a program
		"WithInsecureAnyOrigin" // nobody should
	options, err := os.ReadFile("../options.go")
	if err != nil {
		t.Fatal(err)
	}
	flags, err := os.ReadFile("flags.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^func (With\w+)\(.*\) Option \{`).FindAllSubmatch(options, -1) {
		name := string(m[1])
		if !bytes.Contains(flags, []byte("heymanito."+name+"(")) && !strings.Contains(none, name) {
			t.Errorf("heymanito.%s has no flag", name)
		}
	}
}

// The whole program, from the first line to the last goroutine.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout, say := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-addr", "127.0.0.1:0", "-insecure", "-drain", "10ms", "-no-livekit"}, say, io.Discard)
		_ = say.Close()
	}()
	out := bufio.NewReader(stdout)
	first, err := out.ReadString('\n')
	m := regexp.MustCompile(`^listening on (http://127\.0\.0\.1:[1-9]\d*)\n$`).FindStringSubmatch(first)
	if err != nil || m == nil {
		t.Fatalf("the first line is %q, %v", first, err)
	}
	rest := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(out) // ends with the program
		rest <- string(b)
	}()

	ana := wiretest.Connect(t, m[1], "ana")
	cancel()
	var closed *wiretest.CloseError
	if err := ana.Closed(wiretest.Timeout); !errors.As(err, &closed) {
		t.Errorf("ana's connection ended with %v, want a close frame", err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("run: %v", err)
		}
	case <-time.After(wiretest.Timeout):
		t.Fatal("run does not end")
	}
	if text := <-rest; !strings.Contains(text, "INSECURE") || !strings.Contains(text, "two tabs") {
		t.Errorf("it said %s", text)
	}
	nothingLeft(t)
}

func TestRunFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := run(t.Context(), []string{"-addr", taken.Addr().String()}, io.Discard, io.Discard); err == nil {
		t.Error("two programs on one port")
	}
	nothingLeft(t)
}

func TestGreet(t *testing.T) {
	for _, c := range []struct{ ip, want string }{
		{"127.0.0.1", "listening on http://127.0.0.1:80\n"},
		{"0.0.0.0", "listening on http://localhost:80\n"},
		{"::", "listening on http://localhost:80\n"},
		{"::1", "listening on http://[::1]:80\n"},
	} {
		var b strings.Builder
		greet(&b, &net.TCPAddr{IP: net.ParseIP(c.ip), Port: 80}, &settings{}, &rooms{})
		if got := b.String(); !strings.HasPrefix(got, c.want) || !strings.Contains(got, "make setup") || strings.Contains(got, "INSECURE") {
			t.Errorf("on %s it says %s", c.ip, got)
		}
	}
}
