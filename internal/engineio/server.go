package engineio

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"hash/maphash"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Transports a server can be limited to.
const (
	Polling   = "polling"
	WebSocket = "websocket"
)

// Config has no defaults of its own: the package's one user sets every field.
type Config struct {
	PingInterval time.Duration // between pings to a client
	PingTimeout  time.Duration // without a sign of life after a ping: closed
	// ClientTimeout is announced as pingTimeout: how long past PingInterval a
	// client waits for a ping before it gives the server up. Longer than
	// PingTimeout, because a ping waits behind a message in flight and stock
	// clients take nothing but a ping for life.
	ClientTimeout  time.Duration
	WriteTimeout   time.Duration // a write that makes no progress for so long fails
	UpgradeTimeout time.Duration // from a WebSocket's probe to the end of the upgrade
	CloseTimeout   time.Duration // for a closing client to take what is queued

	MaxPayload  int // bytes of one message, and of one polling request
	MaxReadPast int // bytes of a WebSocket message that is read past, not stored
	MaxQueue    int // bytes queued for a client that does not read; or one message, however big

	OpenTimeout       time.Duration // until Socket.Accept
	OpenBytes         int           // read from a client until Socket.Accept
	MaxOpening        int           // sockets not yet accepted, in total
	MaxOpeningPerAddr int           // and per address (IPv6: per /64)

	Transports []string                          // accepted; Polling and WebSocket
	RemoteAddr func(*http.Request) string        // the client's address, for the caps
	Keep       func(*http.Request) *http.Request // what of the opening request outlives it, for Socket.Request
	Open       func(*Socket) Handler             // called for every new socket, before anything of it is handled
	Log        *slog.Logger                      // never sees a session id
}

// Server accepts Engine.IO clients. It is an http.Handler that looks at the
// query of a request only, never at its path.
type Server struct {
	cfg     Config
	seed    maphash.Seed
	shards  [64]shard
	beats   wheel
	opening openingCaps
	parking parking
	epoch   time.Time

	ping *Frame

	buffers     buffers // of outboxes
	readBuffers buffers
	flushers    []flusher     // the sockets share them out
	admitted    atomic.Uint64 // sockets so far

	mu       sync.Mutex // guards draining, and with it running.Add against running.Wait
	draining bool
	running  sync.WaitGroup // every open socket, and the goroutines of all

	oldClient sync.Once // the log line about Engine.IO 3
	noHijack  sync.Once // the log line about a middleware that hides the connection
}

type shard struct {
	mu      sync.Mutex // guards sockets
	sockets map[string]*Socket
}

// NewServer starts nothing: the heartbeat runs while there are sockets.
func NewServer(cfg Config) *Server {
	s := &Server{cfg: cfg, seed: maphash.MakeSeed(), epoch: time.Now(), ping: packet("2"), flushers: make([]flusher, runtime.GOMAXPROCS(0))}
	for i := range s.shards {
		s.shards[i].sockets = map[string]*Socket{}
	}
	s.beats.init(s)
	s.buffers.size, s.readBuffers.size = outboxBuffer, readBuffer
	for i := range s.flushers {
		f := &s.flushers[i]
		f.srv, f.work = s, f.run
	}
	s.opening.init(cfg.MaxOpening, cfg.MaxOpeningPerAddr)
	return s
}

// Error codes of Engine.IO, as the reference server sends them.
const (
	codeUnknownTransport = 0
	codeUnknownSession   = 1
	codeBadMethod        = 2
	codeBadRequest       = 3
	codeForbidden        = 4
	codeBadVersion       = 5
)

// Refuse answers a request with an Engine.IO error body. RetryAfter > 0 adds
// the header of that name. The connection of one that asks for a WebSocket is
// closed, as by the reference server: Swift's client hears of nothing else.
func Refuse(w http.ResponseWriter, r *http.Request, status, code int, message string, retryAfter time.Duration) {
	body, err := json.Marshal(struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{code, message})
	if err != nil { // cannot be: a number and a string
		body = nil
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if r.ProtoMajor == 1 && isUpgrade(r) {
		h.Set("Connection", "close")
	}
	if retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((retryAfter+time.Second-1)/time.Second)))
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone needs no answer
}

// Forbid answers a request that the host's origin rules refuse.
func Forbid(w http.ResponseWriter, r *http.Request, message string) {
	Refuse(w, r, http.StatusForbidden, codeForbidden, message, 0)
}

func badRequest(w http.ResponseWriter, r *http.Request, message string) {
	Refuse(w, r, http.StatusBadRequest, codeBadRequest, message, 0)
}

func unknownSession(w http.ResponseWriter, r *http.Request) {
	Refuse(w, r, http.StatusBadRequest, codeUnknownSession, "Session ID unknown", 0)
}

// ServeHTTP handles one request of a client: a handshake, a poll, a POST or a
// WebSocket.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		badRequest(w, r, "Bad request: the query cannot be parsed")
		return
	}
	if v := q.Get("EIO"); v != "4" {
		if v == "3" {
			s.oldClient.Do(func() {
				s.cfg.Log.Warn("a client speaks Engine.IO 3 (Socket.IO 2): update it to Socket.IO 4; said once")
			})
		}
		Refuse(w, r, http.StatusBadRequest, codeBadVersion, "Unsupported protocol version", 0)
		return
	}
	transport := q.Get("transport")
	if !slices.Contains(s.cfg.Transports, transport) {
		Refuse(w, r, http.StatusBadRequest, codeUnknownTransport, "Transport unknown", 0)
		return
	}
	sid := q.Get("sid")
	if transport == WebSocket {
		s.serveWebSocket(w, r, sid)
		return
	}
	if isUpgrade(r) {
		badRequest(w, r, "Bad request: a WebSocket needs transport=websocket")
		return
	}
	if sid == "" {
		s.servePollingHandshake(w, r)
		return
	}
	sock := s.socket(sid)
	if sock == nil {
		unknownSession(w, r)
		return
	}
	switch r.Method {
	case http.MethodGet:
		sock.servePoll(w, r)
	case http.MethodPost:
		sock.servePost(w, r)
	default:
		badRequest(w, r, "Bad request: a session is polled with GET and sent to with POST")
	}
}

// admit makes the socket of a new client, or answers why not.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) *Socket {
	s.mu.Lock()
	draining := s.draining
	s.mu.Unlock()
	if draining {
		Refuse(w, r, http.StatusServiceUnavailable, codeBadRequest, "draining: the server shuts down", time.Second)
		return nil
	}
	addr := s.cfg.RemoteAddr(r)
	key := addrKey(addr)
	if !s.opening.take(key) {
		Refuse(w, r, http.StatusServiceUnavailable, codeBadRequest, "unavailable: too many connections in their handshake", 2*time.Second)
		return nil
	}
	return &Socket{srv: s, id: newID(), number: s.admitted.Add(1), remote: addr, capKey: key, request: s.cfg.Keep(r), opened: s.now()}
}

// enlist makes sock known; false when the server has begun to shut down.
func (s *Server) enlist(sock *Socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.running.Add(2) // until its handler's OnClose has returned, and until it is closed
	sh := s.shardOf(sock.id)
	sh.mu.Lock()
	sh.sockets[sock.id] = sock
	sh.mu.Unlock()
	return true
}

func (s *Server) delist(sock *Socket) {
	sh := s.shardOf(sock.id)
	sh.mu.Lock()
	delete(sh.sockets, sock.id)
	sh.mu.Unlock()
}

func (s *Server) socket(sid string) *Socket {
	sh := s.shardOf(sid)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.sockets[sid]
}

func (s *Server) shardOf(sid string) *shard {
	return &s.shards[maphash.String(s.seed, sid)%uint64(len(s.shards))]
}

func (s *Server) all() []*Socket {
	var l []*Socket
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for _, sock := range sh.sockets {
			l = append(l, sock)
		}
		sh.mu.Unlock()
	}
	return l
}

// Load returns how many sockets there are, and how many bytes are queued for them.
func (s *Server) Load() (sockets, bytes int) {
	all := s.all()
	for _, sock := range all {
		bytes += sock.Queued()
	}
	return len(all), bytes
}

// goRun starts f on a goroutine that Shutdown waits for. The caller is, or
// acts for, a socket that is still counted in running. A mistake of ours must
// cost no more than the one who has found it: a panic is logged.
func (s *Server) goRun(f func()) {
	s.running.Go(func() {
		defer func() {
			if r := recover(); r != nil {
				s.cfg.Log.Error("panic", "panic", r, "stack", string(debug.Stack()))
			}
		}()
		f()
	})
}

func (s *Server) now() int64 { return int64(time.Since(s.epoch)) }

// closePace is the least time between two closes of Shutdown.
const closePace = 5 * time.Millisecond

// Shutdown refuses new clients, closes every socket with the reason Draining,
// spread evenly over at most spread so that the clients do not come back all
// at once, and waits until their handlers and goroutines have ended. When ctx
// ends first it cuts what is left, waits for that, and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context, spread time.Duration) error {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()

	socks := s.all()
	if len(socks) > 0 {
		pace := min(spread/time.Duration(len(socks)), closePace)
		begin := time.Now()
		for i, sock := range socks {
			wait := time.Until(begin.Add(time.Duration(i) * pace))
			if wait > 0 && sleep(ctx, wait) != nil {
				break
			}
			sock.Close(Draining)
		}
	}
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		for _, sock := range s.all() {
			sock.kill(Draining)
		}
		<-done
	}
	s.beats.stop()
	s.parking.close()
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// newID returns 128 random bits.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// addrKey is what an address counts as in the caps: a client has a whole /64
// of IPv6.
func addrKey(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if ip = ip.Unmap(); ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}

// openingCaps counts the sockets that are not yet accepted.
type openingCaps struct {
	mu          sync.Mutex // guards the rest
	total, max  int
	maxPerAddr  int
	connections map[string]int
}

func (c *openingCaps) init(total, perAddr int) {
	c.max, c.maxPerAddr, c.connections = total, perAddr, map[string]int{}
}

func (c *openingCaps) take(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total >= c.max || c.connections[key] >= c.maxPerAddr {
		return false
	}
	c.total++
	c.connections[key]++
	return true
}

func (c *openingCaps) release(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	if c.connections[key]--; c.connections[key] <= 0 {
		delete(c.connections, key)
	}
}

func headerHas(h http.Header, name, token string) bool {
	for _, v := range h.Values(name) {
		for part := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

func isUpgrade(r *http.Request) bool { return headerHas(r.Header, "Upgrade", "websocket") }
