package middleware_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
	"github.com/heymanito/heymanito/middleware"
)

// logged is a log at Debug, of whatever writes into it.
type logged struct {
	mu   sync.Mutex // guards the rest
	buf  bytes.Buffer
	more chan struct{} // closed with the next line; nil: nobody waits
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// take returns what there is, and forgets it.
func (l *logged) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.buf.Reset()
	return l.buf.String()
}

// await waits until the log has these words.
func (l *logged) await(t *testing.T, words string) {
	t.Helper()
	deadline := time.After(wiretest.Timeout)
	for {
		l.mu.Lock()
		there := strings.Contains(l.buf.String(), words)
		if l.more == nil {
			l.more = make(chan struct{})
		}
		more := l.more
		l.mu.Unlock()
		if there {
			return
		}
		select {
		case <-more:
		case <-deadline:
			t.Errorf("the log does not say %q: %s", words, l)
			return
		}
	}
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// house is a host with both doors, and all of this package in front of them.
type house struct {
	*httptest.Server
	rt      *heymanito.Server
	log     *logged
	devices chan heymanito.Device // that were let in
	secrets map[string]bool       // parts of the tokens that were brought
	end     sync.Once
}

func newHouse(t *testing.T, key middleware.KeyFunc, opts ...heymanito.Option) *house {
	h := &house{log: &logged{}, devices: make(chan heymanito.Device, 10_000), secrets: map[string]bool{}}
	log := h.log.logger()
	tokens := middleware.NewJWT(key,
		middleware.WithIssuer("https://login.example"), middleware.WithAudience("chat", "chat-staging"),
		middleware.WithCookie("session", "https://web.example.com"), middleware.WithQueryToken("access_token"),
		middleware.WithLogger(log))
	h.rt = heymanito.New(append([]heymanito.Option{
		heymanito.WithAuth(tokens.Auth),
		heymanito.WithOrigins("https://app.example.com", "https://web.example.com"),
		heymanito.WithHooks(heymanito.Hooks{
			OnConnect: func(_ context.Context, d heymanito.Device) { h.devices <- d },
			Contacts:  func(context.Context, string) ([]string, error) { return nil, nil },
		}),
		heymanito.WithLogger(log),
	}, opts...)...)
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", middleware.HandshakeLimit(1_000_000, 1_000_000)(h.rt))
	mux.Handle("/api/", tokens.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, middleware.ChatPath(r.Context()))
	})))
	h.Server = httptest.NewUnstartedServer(middleware.SecurityLog(log, middleware.WithRemoteAddr(func(r *http.Request) string {
		return cmp.Or(r.Header.Get("X-Real-Ip"), r.RemoteAddr) // who wants to be told from others
	}))(mux))
	h.Config.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	h.Start()
	t.Cleanup(func() { h.close(t) })
	return h
}

// close ends both doors, and looks for what was brought in what was logged.
func (h *house) close(t *testing.T) {
	h.end.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), wiretest.Timeout)
		defer cancel()
		if err := h.rt.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		h.Close()
		wiretest.NoLeaks(t, "github.com/heymanito/heymanito", "github.com/heymanito/heymanito/internal/engineio", "github.com/heymanito/heymanito/internal/socketio")
		log := h.log.String()
		for secret := range h.secrets {
			if strings.Contains(log, secret) {
				t.Errorf("%.100s was brought, and is in the log", secret)
			}
		}
		for line := range strings.Lines(log) {
			if len(line) > 1<<10 {
				t.Errorf("a line of %d bytes is in the log: %.300s…", len(line), line)
			}
		}
	})
}

// keep remembers what must not be logged: what is long in what is brought.
func (h *house) keep(b bring) {
	brought := strings.Join(b.lines, " ") + " " + b.query + " " + b.auth
	for part := range strings.FieldsFuncSeq(brought, func(r rune) bool { return strings.ContainsRune(` .:;=&"`, r) }) {
		if len(part) > 20 {
			h.secrets[part] = true
		}
	}
}

// lines are those of the head, for this house.
func (h *house) lines(b bring) []string {
	l := slices.Clone(b.lines)
	for i := range l {
		l[i] = strings.ReplaceAll(l[i], "HOST", strings.TrimPrefix(h.URL, "http://"))
	}
	return l
}

// answered is what the server says to a CONNECT packet.
func answered(packet string) (outcome, words string) {
	data, isError := strings.CutPrefix(packet, "44")
	if !isError {
		return accepted, ""
	}
	var e struct {
		Message string
		Data    struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		return "a CONNECT_ERROR that is no JSON: " + data, ""
	}
	if e.Data.Code != e.Message {
		return "a CONNECT_ERROR of two minds: " + data, ""
	}
	return e.Data.Code, e.Data.Message
}

// webSocket tries to connect on a WebSocket.
func (h *house) webSocket(b bring) (outcome, words string) {
	ws, err := wiretest.DialWS(h.URL, "EIO=4&transport=websocket&userId=ana"+b.query, h.lines(b)...)
	if e, ok := errors.AsType[*wiretest.ErrStatus](err); ok {
		return fmt.Sprint("HTTP ", e.Status), e.Body
	}
	if err != nil {
		return err.Error(), ""
	}
	defer ws.Close()
	if _, err := ws.Text(); err != nil { // the open packet
		return err.Error(), ""
	}
	if err := ws.Send("40" + b.auth); err != nil {
		return closed, err.Error()
	}
	packet, err := ws.Text()
	if err != nil {
		return closed, err.Error()
	}
	return answered(packet)
}

// withLines is a client whose requests all have these lines in their head.
type withLines []string

func (l withLines) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for _, one := range l {
		name, value, _ := strings.Cut(one, ": ")
		r.Header.Add(name, value)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// polling tries to connect on polling.
func (h *house) polling(b bring) (outcome, words string) {
	p := &wiretest.Poll{
		URL:  h.URL + "/socket.io/?EIO=4&transport=polling&userId=ana" + b.query,
		HTTP: &http.Client{Transport: withLines(h.lines(b)), Timeout: wiretest.Timeout},
	}
	a, err := p.Get(context.Background())
	if err != nil {
		return err.Error(), ""
	}
	var open struct{ SID string }
	if a.Status != http.StatusOK {
		return fmt.Sprint("HTTP ", a.Status), a.Body
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(a.Body, "0")), &open); err != nil {
		return err.Error(), a.Body
	}
	p.URL += "&sid=" + url.QueryEscape(open.SID)
	defer func() { _, _ = p.Post("1") }()
	if a, err = p.Post("40" + b.auth); err != nil || a.Status == http.StatusRequestEntityTooLarge {
		return fmt.Sprint("HTTP ", a.Status), a.Body
	}
	if a, err = p.Get(context.Background()); err != nil {
		return err.Error(), ""
	}
	if !strings.HasPrefix(a.Body, "4") {
		return closed, a.Body
	}
	return answered(a.Packets[0])
}

// rest asks for something behind Handler.
func (h *house) rest(t *testing.T, b bring) (outcome, words string) {
	r, err := http.NewRequest(http.MethodPost, h.URL+"/api/me?x=y"+b.query, nil)
	if err != nil {
		return err.Error(), ""
	}
	resp, err := (&http.Client{Transport: withLines(h.lines(b)), Timeout: wiretest.Timeout}).Do(r)
	if err != nil {
		return err.Error(), ""
	}
	defer resp.Body.Close()
	body := must(io.ReadAll(resp.Body))
	if resp.StatusCode == http.StatusOK && string(body) == "ana" {
		return accepted, ""
	}
	var e struct{ Code, Message string }
	if err := json.Unmarshal(body, &e); err != nil {
		return fmt.Sprint("HTTP ", resp.StatusCode), string(body)
	}
	challenge := resp.Header.Get("WWW-Authenticate")
	switch {
	case resp.StatusCode == http.StatusUnauthorized && e.Code == unauthorized && strings.HasPrefix(challenge, "Bearer"):
		if strings.HasPrefix(e.Message, "there is no token") != (challenge == "Bearer") { // RFC 6750, 3.1
			t.Errorf("WWW-Authenticate = %q for %q", challenge, e.Message)
		}
	case resp.StatusCode == http.StatusForbidden && e.Code == forbidden && challenge == "":
	case resp.StatusCode == http.StatusServiceUnavailable && e.Code == "unavailable" && resp.Header.Get("Retry-After") != "":
	case resp.StatusCode == http.StatusInternalServerError && e.Code == "internal":
	default:
		t.Errorf("%d with code %q and WWW-Authenticate %q", resp.StatusCode, e.Code, challenge)
	}
	return e.Code, e.Message
}

// brave brings all of an attack to every door, and returns how many were let in
// to the realtime server.
func (h *house) brave(t *testing.T, a attack) (letIn int) {
	doors := []struct {
		name string
		try  func(bring) (outcome, words string)
		want string
	}{
		{"WebSocket", h.webSocket, a.socket},
		{"polling", h.polling, a.socket},
		{"Handler", func(b bring) (string, string) { return h.rest(t, b) }, a.rest},
	}
	for _, b := range a.brings {
		h.keep(b)
		for _, d := range doors {
			if d.want == "" || d.name == "Handler" && b.auth != "" && len(b.lines) == 0 {
				continue // there is no payload in REST
			}
			got, words := d.try(b)
			if !slices.Contains(strings.Split(d.want, " or "), got) {
				t.Errorf("%s, %s: got %s (%s), want %s; it brought %.300q", a.name, d.name, got, words, d.want, b)
			}
			if (got == unauthorized || got == forbidden) && !strings.Contains(words, a.words) {
				t.Errorf("%s, %s: was told %q, want it to say %q", a.name, d.name, words, a.words)
			}
			if got == accepted && d.name != "Handler" {
				letIn++
			}
		}
	}
	return letIn
}
