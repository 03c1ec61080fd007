package heymanito_test

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// wirePeer is whom the clients of the transcripts talk to.
const wirePeer = "luis"

// replay is a transcript that is being played to a server: the client's bytes
// go out as they stand in the file, and what comes back is held against it.
type replay struct {
	t     testing.TB
	file  *transcript
	where place
	vars  map[string]string // what the placeholders stand for

	ws       *wiretest.WS
	writing  sync.Mutex // of the WebSocket, beside the pongs
	polls    *lane
	posts    *lane
	posting  sync.Mutex // one POST at a time, as the clients do; guards post
	post     step
	last     atomic.Bool   // the poll that is pending is the last
	polled   chan struct{} // closed when no poll will come any more
	upgraded chan arrival  // what the WebSocket brings to the client's probe
	came     chan arrival  // everything else

	peer  *wiretest.Client
	heard map[string]int // events of the peer's by name
}

// place is where a server is.
type place struct {
	base string // its URL
	dial func() (net.Conn, error)
	peer []wiretest.Option // how to reach it
	rest func()            // returns when nothing is under way there; nil: that cannot be known
}

// at is the place of a bed, and a place of its own in memory.
func (b *bed) at() place {
	return place{base: b.URL, dial: func() (net.Conn, error) { return net.Dial("tcp", b.Addr) }}
}

func (a *app) at() place {
	return place{base: host, dial: a.net.Dial, peer: []wiretest.Option{wiretest.On(a.net)}, rest: synctest.Wait}
}

// arrival is something that the server sent, or why nothing more comes.
type arrival struct {
	text   string
	binary bool
	err    error
}

func (r arrival) String() string {
	switch {
	case r.err != nil:
		return fmt.Sprintf("the end (%v)", r.err)
	case r.binary:
		return "binary " + hex.EncodeToString([]byte(r.text))
	}
	return r.text
}

// lane is a connection of HTTP requests, one after the other.
type lane struct {
	nc net.Conn
	r  *bufio.Reader
}

// ask sends a request and returns the body of its answer.
func (l *lane) ask(request string) (string, error) {
	if err := l.nc.SetDeadline(time.Now().Add(3 * wiretest.Timeout)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(l.nc, request); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(l.r, nil)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", &wiretest.ErrStatus{Status: resp.StatusCode, Body: string(body)}
	}
	return string(body), nil
}

// play plays a transcript to a server. The error names the line.
func play(t testing.TB, file *transcript, where place) error {
	key := make([]byte, 16)
	_, _ = rand.Read(key) // never fails since Go 1.24
	r := &replay{
		t: t, file: file, where: where,
		vars:     map[string]string{"host": strings.TrimPrefix(where.base, "http://"), "key": base64.StdEncoding.EncodeToString(key)},
		polled:   make(chan struct{}),
		upgraded: make(chan arrival, 16), came: make(chan arrival, 1024),
		heard: map[string]int{},
	}
	defer r.close()
	for i := 0; i < len(file.steps); {
		n, err := r.step(file.steps[i:])
		if err != nil {
			return fmt.Errorf("%s:%d: %w", file.path, file.steps[i].line, err)
		}
		i += n
	}
	if err := r.nothingElse(); err != nil {
		return fmt.Errorf("%s: at the end: %w", file.path, err)
	}
	return nil
}

func (r *replay) close() {
	r.last.Store(true)
	for _, l := range []*lane{r.polls, r.posts} {
		if l != nil {
			_ = l.nc.Close()
		}
	}
	if r.ws != nil {
		r.ws.Close()
	}
}

// step does the first of the steps, and says how many that were.
func (r *replay) step(steps []step) (int, error) {
	s := steps[0]
	switch s.verb {
	case "GET":
		return 1, r.get(s)
	case "POLL":
		go r.poll(s)
		return 1, nil
	case "POST":
		r.posting.Lock()
		defer r.posting.Unlock()
		r.post = s
		return 1, nil
	case "WEBSOCKET":
		return 1, r.webSocket(s)
	case "LAST":
		r.last.Store(true)
		return 1, nil
	case "WAIT":
		select {
		case <-r.polled:
			return 1, nil
		case <-time.After(wiretest.Timeout):
			return 0, errors.New("the pending poll is not answered")
		}
	case "=":
		n := 1 + run(steps[1:], "=|")
		var packets []string
		for _, s := range steps[:n] {
			packets = append(packets, r.fill(s.arg))
		}
		return n, r.send(packets...)
	case ">":
		return 1, r.write(wiretest.Texts(r.fill(s.arg)))
	case ">x", ">close":
		p, err := payload(s)
		if err != nil {
			return 0, err
		}
		op := byte(wiretest.OpBinary)
		if s.verb == ">close" {
			op = wiretest.OpClose
		}
		return 1, r.write(wiretest.Frame(true, op, p))
	case "<":
		n := 1 + run(steps[1:], "<|")
		return n, r.expect(steps[:n])
	case "<ws":
		return 1, r.next(r.upgraded, func(got arrival) error { return r.match(s.arg, got) })
	case "<x":
		return 1, r.next(r.came, func(got arrival) error { return same(s, got) })
	case "<close":
		return 1, r.next(r.came, func(got arrival) error { return ended(s, got) })
	}
	return r.other(steps)
}

// run is how many of the steps, from the first on, have the verb.
func run(steps []step, verb string) int {
	n := slices.IndexFunc(steps, func(s step) bool { return s.verb != verb })
	if n < 0 {
		return len(steps)
	}
	return n
}

// payload is what a binary frame or a close frame has in it.
func payload(s step) ([]byte, error) {
	if s.verb != ">close" {
		return hex.DecodeString(s.arg)
	}
	if s.arg == "" {
		return nil, nil
	}
	code, err := strconv.ParseUint(s.arg, 10, 16)
	return binary.BigEndian.AppendUint16(nil, uint16(code)), err
}

// fill puts in what the placeholders stand for. ⏎ is a line feed.
func (r *replay) fill(s string) string {
	for name, value := range r.vars {
		s = strings.ReplaceAll(s, "${"+name+"}", value)
	}
	return strings.ReplaceAll(s, "⏎", "\n")
}

// request is the bytes of a request.
func (r *replay) request(method string, s step, body string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", method, r.fill(s.arg))
	for _, h := range s.headers {
		fmt.Fprintf(&b, "%s\r\n", strings.ReplaceAll(r.fill(h), "${length}", strconv.Itoa(len(body))))
	}
	return b.String() + "\r\n" + body
}

// get opens the session on polling.
func (r *replay) get(s step) error {
	for _, l := range []**lane{&r.polls, &r.posts} {
		nc, err := r.where.dial()
		if err != nil {
			return err
		}
		*l = &lane{nc, bufio.NewReader(nc)}
	}
	body, err := r.polls.ask(r.request(http.MethodGet, s, ""))
	if err != nil {
		return err
	}
	r.take(body)
	return nil
}

// poll polls, as soon as there is an answer again.
func (r *replay) poll(s step) {
	defer close(r.polled)
	request := r.request(http.MethodGet, s, "")
	for !r.last.Load() {
		body, err := r.polls.ask(request)
		if err != nil {
			if !r.last.Load() {
				r.came <- arrival{err: err}
			}
			return
		}
		r.take(body)
	}
}

// take takes a payload apart. All clients answer a ping at once, and a noop is
// for none of them.
func (r *replay) take(body string) {
	for p := range strings.SplitSeq(body, "\x1e") {
		switch data, isBinary := strings.CutPrefix(p, "b"); {
		case p == "6":
		case p == "2":
			if err := r.send(r.file.head["pong"][0]); err != nil {
				r.came <- arrival{err: fmt.Errorf("the pong: %w", err)}
			}
		case isBinary:
			raw, err := base64.StdEncoding.DecodeString(data)
			r.came <- arrival{text: string(raw), binary: true, err: err}
		default:
			r.came <- arrival{text: p}
		}
	}
}

// send posts packets.
func (r *replay) send(packets ...string) error {
	r.posting.Lock()
	defer r.posting.Unlock()
	if r.post.arg == "" {
		return errors.New("no POST line says how packets are posted")
	}
	body, err := r.posts.ask(r.request(http.MethodPost, r.post, strings.Join(packets, "\x1e")))
	if err == nil && body != "ok" {
		err = fmt.Errorf("the POST is answered %q", body)
	}
	return err
}

func (r *replay) webSocket(s step) error {
	nc, err := r.where.dial()
	if err != nil {
		return err
	}
	if r.ws, err = wiretest.RequestWS(nc, r.request(http.MethodGet, s, "")); err != nil {
		_ = nc.Close()
		return err
	}
	go r.read()
	return nil
}

// read reads from the WebSocket until that ends.
func (r *replay) read() {
	for {
		op, p, err := r.ws.ReadWithin(0)
		got := arrival{text: string(p), binary: op == wiretest.OpBinary, err: err}
		switch {
		case err == nil && got.text == "2":
			_ = r.write(wiretest.Texts(r.file.head["pong"][0])) // if it fails, reading will too
		case got.text == "3probe":
			r.upgraded <- got
		default:
			r.came <- got
		}
		if err != nil {
			return
		}
	}
}

func (r *replay) write(b []byte) error {
	if r.ws == nil {
		return errors.New("there is no WEBSOCKET yet")
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	return r.ws.Write(b)
}

// next gives check what comes next.
func (r *replay) next(from <-chan arrival, check func(arrival) error) error {
	select {
	case got := <-from:
		if got.err == nil {
			if err := taken(got); err != nil {
				return fmt.Errorf("the clients do not take %v: %w", got, err)
			}
		}
		return check(got)
	case <-time.After(wiretest.Timeout):
		return fmt.Errorf("nothing came within %v", wiretest.Timeout)
	}
}

// taken checks that the clients can read a packet.
func taken(got arrival) error {
	switch {
	case got.binary || got.text == "3probe":
		return nil
	case strings.HasPrefix(got.text, "0"):
		return opensTake(got.text[1:])
	case strings.HasPrefix(got.text, "4"):
		return parsersTake(got.text[1:])
	}
	return errors.New("not a packet of the server's")
}

// expect takes as many packets as there are steps, in any order.
func (r *replay) expect(steps []step) error {
	left := slices.Clone(steps)
	for len(left) > 0 {
		err := r.next(r.came, func(got arrival) error {
			var first error
			for i, s := range left {
				err := r.match(s.arg, got)
				if err == nil {
					left = slices.Delete(left, i, i+1)
					return nil
				}
				if first == nil {
					first = err
				}
			}
			return first
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// placeholder is what a transcript has in place of what differs each time.
var placeholder = regexp.MustCompile(`\$\{([a-z_]+)\}`)

// match holds a packet against a line. A placeholder takes whatever has the
// form of an id, a number or an opaque string, and the same every time, except
// for ${_}.
func (r *replay) match(line string, got arrival) error {
	var pattern strings.Builder
	pattern.WriteString("^")
	rest, names := line, []string(nil)
	for m := placeholder.FindStringSubmatchIndex(rest); m != nil; m = placeholder.FindStringSubmatchIndex(rest) {
		pattern.WriteString(regexp.QuoteMeta(rest[:m[0]]))
		name := rest[m[2]:m[3]]
		if value, known := r.vars[name]; known {
			pattern.WriteString(regexp.QuoteMeta(value))
		} else {
			pattern.WriteString(`([A-Za-z0-9_.-]+)`)
			names = append(names, name)
		}
		rest = rest[m[1]:]
	}
	pattern.WriteString(regexp.QuoteMeta(rest) + "$")
	m := regexp.MustCompile(pattern.String()).FindStringSubmatch(got.text)
	if m == nil || got.binary || got.err != nil {
		return fmt.Errorf("expected %s\ngot %v", line, got)
	}
	for i, name := range names {
		if name == "_" {
			continue
		}
		if before, known := r.vars[name]; known && before != m[i+1] {
			return fmt.Errorf("expected %s\ngot %v: ${%s} was %s", line, got, name, before)
		}
		r.vars[name] = m[i+1]
	}
	return nil
}

func same(s step, got arrival) error {
	if !got.binary || got.err != nil || hex.EncodeToString([]byte(got.text)) != s.arg {
		return fmt.Errorf("expected binary %s\ngot %v", s.arg, got)
	}
	return nil
}

// ended checks that the server has closed the WebSocket, and how.
func ended(s step, got arrival) error {
	var ce *wiretest.CloseError
	if !errors.As(got.err, &ce) || s.arg != "" && strconv.Itoa(ce.Code) != s.arg {
		return fmt.Errorf("expected close frame %s\ngot %v", s.arg, got)
	}
	return nil
}

// other does the steps of the other user, who is a stock client.
func (r *replay) other(steps []step) (int, error) {
	s := steps[0]
	if s.verb == "+connects" {
		return 1, r.connect()
	}
	if r.peer == nil {
		return 0, fmt.Errorf("%s is not connected yet", wirePeer)
	}
	n := 1 + run(steps[1:], "+x")
	name, args, _ := strings.Cut(s.arg, " ")
	switch s.verb {
	case "+emits":
		return n, r.emit(name, r.fill(args), steps[1:n])
	case "+hears":
		return n, r.hear(name, args, steps[1:n])
	case "+leaves":
		r.peer.Goodbye()
		return 1, nil
	}
	return 0, fmt.Errorf("%s belongs to no line above it", s.verb)
}

func (r *replay) connect() (err error) {
	if r.peer, err = wiretest.TryConnect(r.t, r.where.base, wirePeer, r.where.peer...); err != nil {
		return err
	}
	for _, name := range []string{"online_users", "inboxReady"} {
		r.heard[name]++
		if _, err := r.peer.Wait(name, wiretest.Timeout); err != nil {
			return err
		}
	}
	return nil
}

// emit sends an event of the peer's, which has to be acked "ok".
func (r *replay) emit(name, args string, attachments []step) error {
	r.heard["ack"]++
	id := strconv.Itoa(1000 + r.heard["ack"]) // not the client's own
	head := "42"
	if len(attachments) > 0 {
		head = fmt.Sprintf("45%d-", len(attachments))
	}
	if err := r.peer.Send(fmt.Sprintf("%s%s[%q,%s]", head, id, name, args)); err != nil {
		return err
	}
	for _, a := range attachments {
		p, err := payload(a)
		if err != nil {
			return err
		}
		if err := r.peer.WS.SendBinary(p); err != nil {
			return err
		}
	}
	ack, err := r.peer.Wait("ack "+id, wiretest.Timeout)
	if err == nil && (len(ack.Args) != 1 || !strings.HasPrefix(string(ack.Args[0]), `{"status":"ok"`)) {
		err = fmt.Errorf("%s is acked %v", name, ack)
	}
	return err
}

// hear waits for an event at the peer's.
func (r *replay) hear(name, args string, attachments []step) error {
	r.heard[name]++
	e, err := r.peer.Wait(name, wiretest.Timeout)
	if err != nil {
		return err
	}
	var parts []string
	for _, a := range e.Args {
		parts = append(parts, string(a))
	}
	if err := r.match(args, arrival{text: strings.Join(parts, ",")}); err != nil {
		return err
	}
	if len(e.Attachments) != len(attachments) {
		return fmt.Errorf("%d attachments came", len(e.Attachments))
	}
	for i, a := range attachments {
		if err := same(a, arrival{text: string(e.Attachments[i]), binary: true}); err != nil {
			return err
		}
	}
	return nil
}

// nothingElse checks that the file has everything that was sent.
func (r *replay) nothingElse() error {
	if r.where.rest != nil {
		r.where.rest()
	}
	for _, from := range []chan arrival{r.upgraded, r.came} {
		for len(from) > 0 {
			if got := <-from; got.err == nil {
				return fmt.Errorf("the server has also sent %v", got)
			}
		}
	}
	if r.peer == nil {
		return nil
	}
	r.peer.Sync() // it has now what was for it
	r.heard["ack"]++
	counts := map[string]int{}
	for _, e := range r.peer.Log() {
		name := e.Name
		if strings.HasPrefix(name, "ack ") {
			name = "ack"
		}
		if counts[name]++; counts[name] > r.heard[name] {
			return fmt.Errorf("%s has also got %v", wirePeer, e)
		}
	}
	return nil
}

// photos declares the event of the host's that the transcripts have.
func photos() heymanito.Option { return heymanito.Relay("photo") }

func transcripts(t testing.TB) []*transcript {
	t.Helper()
	paths, err := filepath.Glob("testdata/wire/*/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("there are no transcripts: %v", err)
	}
	var all []*transcript
	for _, path := range paths {
		file, err := readTranscript(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, file)
	}
	return all
}

// What the Swift, the Java and the Dart client write, byte for byte, is
// understood, and they are answered what they expect.
func TestWire(t *testing.T) {
	all := transcripts(t)
	for _, client := range []string{"swift/", "java/", "dart/"} {
		for _, transport := range []string{"-websocket.txt", "-polling.txt", "-upgrade.txt"} {
			if !slices.ContainsFunc(all, func(f *transcript) bool {
				return strings.HasPrefix(f.name(), client) && strings.HasSuffix(f.name(), transport)
			}) {
				t.Errorf("there is no transcript %s*%s", client, transport)
			}
		}
	}
	for _, file := range all {
		t.Run(file.name(), func(t *testing.T) {
			t.Parallel()
			if err := play(t, file, newBed(t, photos()).at()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A replay fails, and names the line, when the server answers anything else
// than a line says, or something that no line has.
func TestWireNotices(t *testing.T) {
	for _, file := range transcripts(t) {
		if !slices.Contains([]string{"swift/16.1.1-websocket.txt", "java/2.1.2-jvm-polling.txt", "dart/3.1.6-web-upgrade.txt"}, file.name()) {
			continue // one of each transport is enough
		}
		t.Run(file.name(), func(t *testing.T) {
			t.Parallel()
			for i, s := range file.steps {
				other, expects := altered(s)
				if !expects || s.verb == "+x" && file.steps[i-1].verb == "+emits" {
					continue
				}
				changed, missing := *file, *file
				changed.steps = slices.Concat(file.steps[:i], []step{other}, file.steps[i+1:])
				missing.steps = slices.Delete(slices.Clone(file.steps), i, i+1)
				if s.verb == "<" && i+1 < len(file.steps) && file.steps[i+1].verb == "<|" {
					missing.steps[i].verb = "<"
				}
				synctest.Test(t, func(t *testing.T) {
					if err := play(t, &changed, inMemory(t)); err == nil || !strings.Contains(err.Error(), file.path+":") {
						t.Errorf("%s:%d: with %s changed to %s: %v", file.path, s.line, s.arg, other.arg, err)
					}
				})
				// Whoever does not wait for the end, or for a receipt that takes
				// its time, has gone before it comes.
				if s.verb != "<close" && !strings.Contains(s.arg, "messagesDelivered") {
					synctest.Test(t, func(t *testing.T) {
						if err := play(t, &missing, inMemory(t)); err == nil || !strings.Contains(err.Error(), file.path+":") {
							t.Errorf("%s:%d: without %s: %v", file.path, s.line, s.arg, err)
						}
					})
				}
			}
		})
	}
}

func inMemory(t *testing.T) place {
	return start(t, photos(), heymanito.WithInbox(heymanito.NewMemoryInbox(heymanito.InboxBounds{}))).at()
}

// altered is a step that expects something else, if it expects anything.
func altered(s step) (other step, expects bool) {
	other = s
	switch s.verb {
	case "<", "<|", "<ws", "+hears":
		other.arg += "!"
	case "<x", "+x":
		other.arg += "00"
	case "<close":
		other.arg = "1006"
	default:
		return s, false
	}
	return other, true
}

// A transcript with a mistake in it says so, and is not played as if it said
// something else.
func TestWireBroken(t *testing.T) {
	const head = "client: c\nversion: 1\napp: a\nsource: s\npong: 3\n"
	for _, c := range []struct{ text, says string }{
		{"", `f/1-x.txt:1: the head does not say "`},
		{"client: c\napp: a\nsource: s\npong: 3\n\n> 2", `:5: the head does not say "version"`},
		{"client: c\nversion: 1\napp: a\npong: 3\n\n> 2", `:5: the head does not say "source"`},
		{"client: c\nversion:\n", ":2: version: is empty"},
		{"client: c\nverzion: 1\n", `:2: "verzion: 1" is nothing that a head says`},
		{strings.Replace(head, "1", "2", 1) + "\n> 2", ":1: the file's name does not begin with the version, 2"},
		{head, ":1: there is nothing below the head"},
		{head + "\n# nothing\n", ":1: there is nothing below the head"},
		{head + "\n>> 2", `:7: unknown directive ">>"`},
		{head + "\n+ shouts x", `:7: unknown directive "+shouts"`},
		{head + "\n>", ":7: >: there is nothing behind it"},
		{head + "\nLAST one", `:7: LAST: "one" behind it`},
		{head + "\nGET http://x/", `:7: GET: "http://x/" is no target`},
		{head + "\n>x 0g", `:7: >x: "0g" is not hexadecimal`},
		{head + "\n>close 99", `:7: >close: "99" is no close code`},
		{head + "\n+ hears", `:7: +hears: "" is not the name of an event`},
		{head + "\n+ hears photo what", `:7: +hears: "photo what" is not the name of an event`},
		{head + "\n> 2\n<| 3", ":8: <| goes with a < above it"},
		{head + "\n=| 2", ":7: =| goes with a = above it"},
		{head + "\n> 2\n| Host: x", ":8: a header that belongs to no request"},
		{head + "\nGET /socket.io/?\n| Host", `:8: "| Host" is no header`},
	} {
		if _, err := parseTranscript("f/1-x.txt", c.text); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q is read with %v, want %s", c.text, err, c.says)
		}
	}
	for _, c := range []struct{ text, says string }{
		{"> 2", ":7: there is no WEBSOCKET yet"},
		{"= 2", ":7: no POST line says how packets are posted"},
		{"+ emits x 1", `"x 1" is not the name of an event`},
		{"+ emits x {}", ":7: luis is not connected yet"},
		{"+ connects\n+x 00", ":8: +x belongs to no line above it"},
		{"WEBSOCKET /socket.io/?EIO=4&transport=websocket", `:7: handshake answered 400`},
	} {
		file, err := parseTranscript("f/1-x.txt", head+"\n"+c.text)
		if err == nil {
			synctest.Test(t, func(t *testing.T) { err = play(t, file, inMemory(t)) })
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q is played with %v, want %s", c.text, err, c.says)
		}
	}
}
