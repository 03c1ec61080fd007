//go:build unix

package heymanito_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// lean is a client that costs next to nothing, so that what a benchmark
// measures is the server: it looks at the first bytes of a frame at most, and
// sends frames that were encoded before.
type lean struct {
	nc net.Conn
	r  *bufio.Reader
}

func dialLean(addr, user, auth string) (*lean, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &lean{nc, bufio.NewReaderSize(nc, 16<<10)}
	_, err = fmt.Fprintf(nc, "GET /socket.io/?%s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n%s", query(user), addr, wiretest.Texts("40"+auth))
	for line := ""; err == nil && line != "\r\n"; {
		line, err = c.r.ReadString('\n')
	}
	return c, err
}

// next reads on until a text message that begins with prefix; it answers pings.
func (c *lean) next(prefix string) error {
	for {
		head, err := c.r.Peek(2)
		if err != nil {
			return err
		}
		size, skip := int(head[1]), 2
		switch size {
		case 126:
			if head, err = c.r.Peek(4); err != nil {
				return err
			}
			size, skip = int(binary.BigEndian.Uint16(head[2:])), 4
		case 127:
			if head, err = c.r.Peek(10); err != nil {
				return err
			}
			size, skip = int(binary.BigEndian.Uint64(head[2:])), 10
		}
		if _, err := c.r.Discard(skip); err != nil {
			return err
		}
		begin, err := c.r.Peek(min(size, len(prefix)))
		if err != nil {
			return err
		}
		found, ping := string(begin) == prefix, size == 1 && begin[0] == '2'
		if _, err := c.r.Discard(size); err != nil {
			return err
		}
		if ping {
			if _, err := c.nc.Write(pong); err != nil {
				return err
			}
		}
		if found {
			return nil
		}
	}
}

var pong = wiretest.Texts("3")

// chatter is a user who writes to another, with four messages on the way.
type chatter struct {
	from, to *lean
	frame    []byte // a message, unmasked; its number is at the places of at
	at       []int
	n        int
}

const chatWindow = 4

func newChatter(addr string, i int) (*chatter, error) {
	const number = "000000000"
	from, to := fmt.Sprint("from", i), fmt.Sprint("to", i)
	packet := `42` + number + `["sendMessage",{"id":` + "1" + number + `,"senderChatPath":"` + from + `","recipientChatPath":"` + to +
		`","content":{"text":"` + string(bytes.Repeat([]byte("x"), 100)) + `"},"senderProfile":{"name":"` + from + `"}}]`
	c := &chatter{frame: append([]byte{0x81, 0x80 | 126, byte(len(packet) >> 8), byte(len(packet)), 0, 0, 0, 0}, packet...)}
	for at := 0; ; {
		n := bytes.Index(c.frame[at:], []byte(number))
		if n < 0 {
			break
		}
		c.at = append(c.at, at+n)
		at += n + len(number)
	}
	var err error
	if c.to, err = dialLean(addr, to, ""); err != nil {
		return nil, err
	}
	if err = c.to.next(`42["online_users"`); err != nil {
		return nil, err
	}
	if c.from, err = dialLean(addr, from, ""); err != nil {
		return nil, err
	}
	return c, c.from.next(`42["online_users"`)
}

// say sends n messages and waits for their acks, and for them to arrive.
func (c *chatter) say(n int) error {
	arrived := make(chan error, 1)
	go func() {
		for range n {
			if err := c.to.next(`42["receiveMessage"`); err != nil {
				arrived <- err
				return
			}
		}
		arrived <- nil
	}()
	for i := range n + chatWindow {
		if i >= chatWindow {
			if err := c.from.next("43"); err != nil {
				return err
			}
		}
		if i < n {
			if err := c.write(); err != nil {
				return err
			}
		}
	}
	return <-arrived
}

// write sends the next message.
func (c *chatter) write() error {
	c.n++
	for _, at := range c.at {
		for d, v := at+8, c.n; v > 0; d, v = d-1, v/10 {
			c.frame[d] = '0' + byte(v%10)
		}
	}
	_, err := c.from.nc.Write(c.frame)
	return err
}

// sayOne is say(1) on this goroutine, and allocates nothing.
func (c *chatter) sayOne() error {
	err := c.write()
	if err == nil {
		err = c.from.next("43")
	}
	if err == nil {
		err = c.to.next(`42["receiveMessage"`)
	}
	return err
}

// cpu is the CPU time that the process has taken.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// benchServer is a server in a process of its own, so that its CPU time is
// that of nobody else, and its heap as well.
type benchServer struct {
	addr string
	in   io.Writer
	out  *bufio.Reader
}

const benchServerEnv = "HEYMANITO_BENCH_SERVER"

// benchServerProcess reports whether this process is to be such a server, and
// has been one.
func benchServerProcess() bool {
	kind := os.Getenv(benchServerEnv)
	if kind == "" {
		return false
	}
	if err := serveBench(kind); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return true
}

// serveBench is that process: it says where it listens, and then, for each line
// that it is sent, how much CPU time it has taken.
func serveBench(kind string) error {
	opts := []heymanito.Option{heymanito.WithLogger(slog.New(slog.DiscardHandler))}
	switch kind {
	case "none":
		opts = append(opts, heymanito.WithoutInbox())
	case "calls":
		opts = append(opts, heymanito.WithRingLimits(1_000_000, 1_000_000))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(l, heymanito.New(opts...)) }() // until the process ends
	fmt.Println(l.Addr())
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println(cpu().Nanoseconds())
	}
	return lines.Err()
}

func startBenchServer(b *testing.B, kind string) *benchServer {
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), benchServerEnv+"="+kind)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // it may have been ended by the context
	})
	s := &benchServer{in: in, out: bufio.NewReader(out)}
	if _, err := fmt.Fscanln(s.out, &s.addr); err != nil {
		b.Fatal(err)
	}
	return s
}

func (s *benchServer) cpu(b *testing.B) (ns float64) {
	if _, err := fmt.Fprintln(s.in); err != nil {
		b.Fatal(err)
	}
	if _, err := fmt.Fscanln(s.out, &ns); err != nil {
		b.Fatal(err)
	}
	return ns
}

// BenchmarkRelay is what a message of 100 bytes costs the server in CPU time,
// with the memory inbox and without one, which take turns: 50 users write to 50
// others, each with four messages on the way.
func BenchmarkRelay(b *testing.B) {
	const pairs, each = 50, 400
	kinds := []string{"inbox", "none"}
	turns := map[string]func() float64{}
	for _, kind := range kinds {
		srv := startBenchServer(b, kind)
		var all []*chatter
		for i := range pairs {
			c, err := newChatter(srv.addr, i)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _, _ = c.from.nc.Close(), c.to.nc.Close() })
			all = append(all, c)
		}
		turns[kind] = func() float64 {
			began := srv.cpu(b)
			var talking sync.WaitGroup
			for _, c := range all {
				talking.Go(func() {
					if err := c.say(each); err != nil {
						b.Error(kind, err)
					}
				})
			}
			talking.Wait()
			return (srv.cpu(b) - began) / (pairs * each)
		}
	}
	took := map[string][]float64{}
	var ratios []float64
	for b.Loop() {
		for _, kind := range kinds {
			took[kind] = append(took[kind], turns[kind]())
		}
		n := len(took["none"]) - 1
		ratios = append(ratios, took["inbox"][n]/took["none"][n])
		slices.Reverse(kinds)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(took["inbox"]), "cpu-ns/msg")
	b.ReportMetric(median(took["none"]), "cpu-ns/msg-without")
	b.ReportMetric(median(ratios), "ratio")
}

// call has from call to, who answers and hangs up.
func (c *chatter) call(i int) error {
	from, to := fmt.Sprint("from", i), fmt.Sprint("to", i)
	dial := wiretest.Texts(`421["initiateCall",{"recipientId":"` + to + `","callerId":"` + from + `","callerInfo":{"name":"` + from + `"},"roomName":"r"}]`)
	accept := wiretest.Texts(`422["acceptCall",{"callerId":"` + from + `","roomName":"r"}]`)
	reject := wiretest.Texts(`423["rejectCall",{"callerId":"` + from + `","recipientId":"` + to + `","roomName":"r"}]`)
	for _, step := range []struct {
		by   *lean
		say  []byte
		then *lean
		hear string
	}{
		{c.from, dial, c.to, `42["incomingCall"`}, {c.to, accept, c.from, `42["callAccepted"`}, {c.to, reject, c.from, `42["callRejected"`},
	} {
		if _, err := step.by.nc.Write(step.say); err != nil {
			return err
		}
		if err := step.then.next(step.hear); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkCall is what a call costs the server in CPU time, from the ring to
// the hang-up, in relayed messages of 100 bytes: the two take turns. Each pair
// has one call in a turn: few enough for the server to have no more of them in
// mind than it has of people.
func BenchmarkCall(b *testing.B) {
	const pairs, messages = 400, 50
	srv := startBenchServer(b, "calls")
	var all []*chatter
	for i := range pairs {
		c, err := newChatter(srv.addr, i)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _, _ = c.from.nc.Close(), c.to.nc.Close() })
		all = append(all, c)
	}
	turn := func(n int, do func(i int, c *chatter) error) float64 {
		began := srv.cpu(b)
		var going sync.WaitGroup
		for i, c := range all {
			going.Go(func() {
				if err := do(i, c); err != nil {
					b.Error(err)
				}
			})
		}
		going.Wait()
		return (srv.cpu(b) - began) / float64(pairs*n)
	}
	var message, call, ratios []float64
	for b.Loop() {
		message = append(message, turn(messages, func(_ int, c *chatter) error { return c.say(messages) }))
		call = append(call, turn(1, func(i int, c *chatter) error { return c.call(i) }))
		ratios = append(ratios, call[len(call)-1]/message[len(message)-1])
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(message), "cpu-ns/msg")
	b.ReportMetric(median(call), "cpu-ns/call")
	b.ReportMetric(median(ratios), "messages/call")
}

// BenchmarkReplay is what it costs in CPU time to bring a device 10,000
// messages of 100 bytes that it has missed, the client included.
func BenchmarkReplay(b *testing.B) {
	const missed = 10_000
	inbox := heymanito.NewMemoryInbox(heymanito.InboxBounds{})
	bed := newBed(b, heymanito.WithInbox(inbox))
	for i := range missed {
		id := fmt.Sprint(i)
		body := `{"id":` + id + `,"senderChatPath":"ann","recipientChatPath":"bob","content":{"text":"` + string(bytes.Repeat([]byte("x"), 100)) + `"},"ts":1}`
		_, err := inbox.Append(b.Context(), heymanito.Entry{
			Key:  heymanito.Key{User: "bob", Event: "receiveMessage", Peer: "ann", ID: id},
			Time: time.UnixMilli(time.Now().UnixMilli()), Body: []byte(body),
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	began, n := cpu(), 0
	for b.Loop() {
		n++
		c, err := dialLean(bed.Addr, "bob", `{"since":{}}`)
		if err == nil {
			err = c.next(`42["inboxReady"`)
		}
		if err != nil && err != io.EOF {
			b.Fatal(err)
		}
		_ = c.nc.Close()
	}
	b.ReportMetric((cpu()-began).Seconds()/float64(n), "cpu-s/replay")
}
