//go:build linux

package livekittest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/livekit/protocol/auth"
	lkproto "github.com/livekit/protocol/livekit"
	"github.com/twitchtv/twirp"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/livekit"
)

const patience = 30 * time.Second

// startServer runs the real LiveKit server, which posts its webhooks to hook,
// and returns where it is.
func startServer(t *testing.T, hook string) string {
	t.Helper()
	port, rtc, udp := freePort(t, "tcp"), freePort(t, "tcp"), freePort(t, "udp")
	config := fmt.Sprintf(`port: %d
bind_addresses: [127.0.0.1]
keys: {%s: %q}
rtc:
  tcp_port: %d
  udp_port: %d
  use_external_ip: false
  node_ip: 127.0.0.1
  enable_loopback_candidate: true
  stun_servers: ["127.0.0.1:3478"]
  interfaces: {includes: [lo]}
  ips: {includes: [127.0.0.0/8]}
webhook: {api_key: %s, urls: [%q]}
`, port, key, secret, rtc, udp, key, hook)
	file := filepath.Join(t.TempDir(), "livekit.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(os.Getenv(insideEnv), "--config", file)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Logf("the server: %s", said)
		}
	})
	where := fmt.Sprintf("127.0.0.1:%d", port)
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		nc, err := net.Dial("tcp", where)
		if err == nil {
			_ = nc.Close()
			return where
		}
		if time.Now().After(end) {
			t.Fatalf("the server does not answer: %v", err)
		}
	}
}

func freePort(t *testing.T, network string) int {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.LocalAddr().(*net.UDPAddr).Port
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// The real server signs its webhooks so that we take them, and takes our tokens
// for the room that they are for.
func TestRealServer(t *testing.T) {
	lk := livekit.New("ws://127.0.0.1", key, secret)
	told := make(chan heymanito.RoomEvent, 100)
	lk.Watch(func(_ context.Context, e heymanito.RoomEvent) error {
		told <- e
		return nil
	})
	codes := make(chan int, 100)
	handler := lk.WebhookHandler()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		codes <- rec.Code
		w.WriteHeader(rec.Code)
	}))
	t.Cleanup(srv.Close)
	where := startServer(t, srv.URL)

	rooms := lkproto.NewRoomServiceProtobufClient("http://"+where, http.DefaultClient)
	admin := func(grant *auth.VideoGrant) context.Context {
		token, err := auth.NewAccessToken(key, secret).SetVideoGrant(grant).SetValidFor(time.Minute).ToJWT()
		if err != nil {
			t.Fatal(err)
		}
		return withToken(t, token)
	}
	if _, err := rooms.CreateRoom(admin(&auth.VideoGrant{RoomCreate: true}), &lkproto.CreateRoomRequest{Name: "hm_1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := rooms.DeleteRoom(admin(&auth.VideoGrant{RoomCreate: true}), &lkproto.DeleteRoomRequest{Room: "hm_1"}); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-told:
		if e.Kind != heymanito.RoomFinished || e.Room != "hm_1" || time.Since(e.Time).Abs() > time.Hour {
			t.Errorf("told %+v", e)
		}
	case <-time.After(patience):
		t.Fatal("the end of the room was not told")
	}
	for len(codes) > 0 {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("a webhook was answered %d", code)
		}
	}

	tok, err := lk.Token(heymanito.RoomGrant{Room: "hm_1", Identity: "YW5u.phone"})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"/rtc/validate?access_token=" + tok.Token:       http.StatusOK,
		"/rtc/validate?access_token=" + tok.Token + "x": http.StatusUnauthorized,
	} {
		resp, err := http.Get("http://" + where + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("the server answers %d, want %d", resp.StatusCode, want)
		}
	}
	// A participant's token administers nothing.
	if _, err := rooms.ListRooms(withToken(t, tok.Token), &lkproto.ListRoomsRequest{}); err == nil {
		t.Error("a participant may list the rooms")
	}
}

// withToken is a context with which twirp sends an Authorization header.
func withToken(t *testing.T, token string) context.Context {
	t.Helper()
	ctx, err := twirp.WithHTTPRequestHeaders(t.Context(), http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}
