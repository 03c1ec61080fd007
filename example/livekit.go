package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/heymanito/heymanito/livekit"
)

// webhookPath is where LiveKit tells what happens in its rooms.
const webhookPath = "/livekit/webhook"

// livekitSettings is what the flags and the environment say about LiveKit.
type livekitSettings struct {
	off              bool
	client           string // a directory; "": there is none
	server           string // a program; "": there is none
	url, key, secret string // of one that runs elsewhere; else empty
}

// find completes what the flags say: with the environment, and with what make
// setup has put into its place.
func (l *livekitSettings) find() (err error) {
	if l.off {
		if l.server != "" || l.client != "" {
			return errors.New("-no-livekit is without LiveKit, and -livekit-server or -livekit-client is about it")
		}
		return nil
	}
	if l.client, err = findClient("-livekit-client", l.client, livekitFile, installed("livekit-client")); err != nil {
		return err
	}
	if l.server != "" {
		if l.server, err = exec.LookPath(l.server); err != nil {
			return fmt.Errorf("-livekit-server: %w", err)
		}
		return nil
	}
	l.url, l.key, l.secret = os.Getenv("LIVEKIT_URL"), os.Getenv("LIVEKIT_API_KEY"), os.Getenv("LIVEKIT_API_SECRET")
	if l.url+l.key+l.secret != "" {
		if err := tried(func() { livekit.New(l.url, l.key, l.secret) }); err != nil {
			return fmt.Errorf("LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET: %w", err)
		}
		return nil
	}
	built := filepath.Join(".build", "livekit", "server")
	for _, path := range []string{built, filepath.Join("..", built)} { // the program may be started in example/, too
		if found, err := exec.LookPath(path); err == nil {
			l.server = found
			break
		}
	}
	return nil
}

// rooms is where calls talk.
type rooms struct {
	*livekit.LiveKit        // nil: nowhere, calls are signalling alone
	url              string // of it, as browsers reach it
	where            string // the same in words, for the greeting
	own              *child // nil: it is somebody else's
}

// openRooms finds the LiveKit that the environment names, or starts one beside
// this program, which listens on self. Without either, where says why. It has
// to be closed.
func openRooms(ctx context.Context, s livekitSettings, self net.Addr, stderr io.Writer, log *slog.Logger) *rooms {
	switch {
	case s.off:
		return &rooms{where: "calls are signalling alone (-no-livekit)"}
	case s.url != "":
		return &rooms{
			LiveKit: livekit.New(s.url, s.key, s.secret, livekit.WithLogger(log)),
			url:     s.url,
			where:   "calls talk at " + s.url + ", which has to post its webhooks to " + webhookPath + " here",
		}
	case s.server == "":
		return &rooms{where: "calls are signalling alone: LiveKit is not there yet, make setup-livekit builds it"}
	}
	key, secret := "demo"+secretText(6), secretText(32) // as old as the process
	own, err := startLiveKit(ctx, s.server, key, secret, webhookAddress(self), stderr, log)
	if err != nil {
		return &rooms{where: "calls are signalling alone: LiveKit could not be started: " + err.Error()}
	}
	return &rooms{
		LiveKit: livekit.New(own.url, key, secret, livekit.WithLogger(log)),
		url:     own.url,
		where:   "calls talk at LiveKit, which runs beside it, for browsers on this machine",
		own:     own,
	}
}

// Close ends the LiveKit that was started.
func (r *rooms) Close() {
	if r.own != nil {
		r.own.end()
	}
}

func secretText(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// webhookAddress is where a LiveKit on this machine reaches this program.
func webhookAddress(self net.Addr) string {
	host, port, _ := net.SplitHostPort(self.String()) // a TCP address has both
	if ip := net.ParseIP(host); ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + webhookPath
}

// child is a LiveKit server that runs beside this program, and no longer.
type child struct {
	url   string
	end   func()
	ended <-chan struct{}
}

// livekitStart is how long LiveKit may take until it listens.
const livekitStart = 20 * time.Second

// startLiveKit runs the server on loopback alone: it asks no STUN server who it
// is, and offers its clients no other address.
func startLiveKit(ctx context.Context, program, key, secret, webhook string, stderr io.Writer, log *slog.Logger) (*child, error) {
	port, tcp, udp, err := freePorts()
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`port: %d
bind_addresses: [127.0.0.1]
keys: {%s: %s}
logging: {level: error}
rtc:
  tcp_port: %d
  udp_port: %d
  use_external_ip: false
  node_ip: 127.0.0.1
  enable_loopback_candidate: true
  stun_servers: ["127.0.0.1:3478"]
  interfaces: {includes: [lo, lo0]}
  ips: {includes: [127.0.0.0/8]}
webhook: {api_key: %s, urls: [%q]}
`, port, key, secret, tcp, udp, key, webhook)
	cmd := exec.Command(program)
	cmd.Env = []string{"LIVEKIT_CONFIG=" + config} // not among the arguments, where everybody can read it
	cmd.Stdout, cmd.Stderr = stderr, stderr
	tie(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended, ending := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		err := cmd.Wait()
		select {
		case <-ending:
		default:
			log.Error("LiveKit has ended: calls have no sound and no pictures any more", "err", err)
		}
	}()
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	c := &child{url: "ws://" + addr, ended: ended, end: func() {
		close(ending)
		_ = cmd.Process.Kill() // it keeps nothing, and would wait for those who talk
		<-ended
	}}
	if err := c.listens(ctx, addr); err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

// listens waits until the server answers at addr.
func (c *child) listens(ctx context.Context, addr string) error {
	late := time.After(livekitStart)
	for {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			return nc.Close()
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-c.ended:
			return errors.New("it has ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return err
		}
	}
}

// freePorts finds two TCP ports and a UDP port that nobody has now.
func freePorts() (http, tcp, udp int, err error) {
	var open []io.Closer
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for _, port := range []*int{&http, &tcp} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, 0, 0, err
		}
		open = append(open, l)
		*port = l.Addr().(*net.TCPAddr).Port
	}
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, 0, err
	}
	open = append(open, p)
	return http, tcp, p.LocalAddr().(*net.UDPAddr).Port, nil
}
