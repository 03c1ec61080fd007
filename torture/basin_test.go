package torture

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// basin is the server of the soak, in a process of its own, so that all that
// there is in it is its own. It says what that is.
type basin struct {
	rt    *heymanito.Server
	plain string // address of the listener whose connections do not say that they are TCP

	mu         sync.Mutex // guards the rest
	goroutines string     // at the mark, as the heap
	heap       map[[32]uintptr]runtime.MemProfileRecord
}

// options have all times short, so that what is kept for a time is gone at the
// end of a round; and hooks, so that it is kept what they will be told.
func (*basin) options(planted leak, mute time.Duration) []heymanito.Option {
	return []heymanito.Option{
		heymanito.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))),
		heymanito.WithHeartbeat(pingEvery, mute),
		heymanito.WithClientTimeout(mute + 4*time.Second),
		heymanito.WithWriteTimeout(5 * time.Second),
		heymanito.WithHandshakeLimits(5*time.Second, 64<<10, 16),
		heymanito.WithOfflineGrace(500 * time.Millisecond),
		heymanito.WithMaxQueue(128 << 10),
		heymanito.WithDrain(0),
		heymanito.WithInbox(planted.inbox()),
		heymanito.WithRates(heymanito.Rate{PerSecond: 50, Burst: 300}, heymanito.Rate{PerSecond: 200, Burst: 1000}),
		heymanito.WithRingLimits(1000, 1000),
		heymanito.WithCallTimes(heymanito.CallTimes{
			Ring: 5 * time.Second, CallerReturn: 500 * time.Millisecond, Connect: 2 * time.Second,
			PeerReturn: 500 * time.Millisecond, Memory: time.Second,
		}),
		heymanito.WithHooks(heymanito.Hooks{
			AfterMessage:  func(context.Context, heymanito.Message, heymanito.Delivery) {},
			OnUndelivered: func(context.Context, heymanito.Message) {},
			OnCall:        func(context.Context, heymanito.Call) {},
			OnRing:        func(context.Context, heymanito.Call, []heymanito.Device) {},
			OnRingEnd:     func(context.Context, heymanito.Call) {},
		}),
	}
}

// keeps is for how long the inbox keeps an entry: longer than most are away, and
// not longer than it takes to wait for its end.
const keeps = 3 * time.Second

// pingEvery is how often a basin pings.
const pingEvery = 2 * time.Second

// serve serves until the process is told to end.
func (b *basin) serve(planted leak, mute time.Duration) error {
	runtime.MemProfileRate = 4 << 10
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b.rt = heymanito.New(b.options(planted, mute)...)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.plain = plain.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("/gauge", b.gauge)
	mux.HandleFunc("/forget", b.forget)
	mux.HandleFunc("/mark", b.mark)
	mux.HandleFunc("/grown", b.grown)
	mux.Handle("/socket.io/", planted.in(b.rt))
	open := &http.Server{Handler: mux, ReadHeaderTimeout: 3 * time.Second, IdleTimeout: 3 * time.Second}
	hidden := &http.Server{Handler: wiretest.Wrapping(planted.in(b.rt)), ReadHeaderTimeout: 3 * time.Second, IdleTimeout: 3 * time.Second}
	go func() { _ = open.Serve(ln) }()
	go func() { _ = hidden.Serve(wiretest.Hiding(plain)) }()
	fmt.Println("listening on http://" + ln.Addr().String())
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = b.rt.Shutdown(ctx)
	return errors.Join(err, open.Shutdown(ctx), hidden.Shutdown(ctx))
}

// question is what a basin is asked.
type question struct {
	People  []string
	Collect bool // garbage, first
}

// fact is a gauge, and where else the basin listens.
type fact struct {
	gauge
	Plain string
}

func (b *basin) gauge(w http.ResponseWriter, r *http.Request) {
	var q question
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f := fact{Plain: b.plain}
	for _, user := range q.People { // which has the inbox and the calls drop what is too old, too
		v, err := b.rt.Inspect(r.Context(), user)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		f.Calls += len(v.Calls)
		if v.Online {
			f.Online++
		}
	}
	f.Goroutines, f.Descriptors, f.Stats = runtime.NumGoroutine(), descriptors(), b.rt.Stats()
	if q.Collect {
		runtime.GC()
		runtime.GC() // pools give up what they hold at the second
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f.Heap, f.Objects = int(m.HeapAlloc), int(m.HeapObjects)
	_ = json.NewEncoder(w).Encode(f)
}

// descriptors is how many files the process has open, or unknown.
func descriptors() int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return unknown
	}
	return len(all)
}

func (b *basin) forget(w http.ResponseWriter, r *http.Request) {
	var q question
	err := json.NewDecoder(r.Body).Decode(&q)
	for _, user := range q.People {
		err = errors.Join(err, b.rt.Forget(r.Context(), user))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// mark remembers what there is, for grown.
func (b *basin) mark(http.ResponseWriter, *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.goroutines, b.heap = goroutineProfile(), heapProfile()
}

// grown says what there is that was not at the mark.
func (b *basin) grown(w http.ResponseWriter, _ *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, _ = io.WriteString(w, newStacks(b.goroutines, goroutineProfile()))
	type place struct {
		bytes, objects int64
		stack          []uintptr
	}
	var places []place
	for at, r := range heapProfile() {
		then := b.heap[at]
		bytes, objects := inUse(&r)
		before, fewer := inUse(&then)
		if bytes > before {
			places = append(places, place{bytes - before, objects - fewer, r.Stack()})
		}
	}
	slices.SortFunc(places, func(x, y place) int { return cmp.Compare(y.bytes, x.bytes) })
	for _, p := range places[:min(10, len(places))] {
		fmt.Fprintf(w, "%d bytes more in %d objects, allocated at\n", p.bytes, p.objects)
		frames := runtime.CallersFrames(p.stack)
		for more := true; more; {
			var f runtime.Frame
			f, more = frames.Next()
			fmt.Fprintf(w, "#\t%s\t%s:%d\n", f.Function, f.File, f.Line)
		}
	}
}

func goroutineProfile() string {
	var b strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
	return b.String()
}

// heapProfile is what is in use, by where it was allocated.
func heapProfile() map[[32]uintptr]runtime.MemProfileRecord {
	runtime.GC()
	runtime.GC() // the profile is that of the last but one
	n, _ := runtime.MemProfile(nil, false)
	var all []runtime.MemProfileRecord
	for ok := false; !ok; {
		all = make([]runtime.MemProfileRecord, n+100)
		n, ok = runtime.MemProfile(all, false)
	}
	found := map[[32]uintptr]runtime.MemProfileRecord{}
	for _, r := range all[:n] {
		before := found[r.Stack0]
		r.AllocBytes, r.FreeBytes = r.AllocBytes+before.AllocBytes, r.FreeBytes+before.FreeBytes
		r.AllocObjects, r.FreeObjects = r.AllocObjects+before.AllocObjects, r.FreeObjects+before.FreeObjects
		found[r.Stack0] = r
	}
	return found
}

// inUse is what a record stands for: it is of samples.
func inUse(r *runtime.MemProfileRecord) (bytes, objects int64) {
	bytes, objects = r.InUseBytes(), r.InUseObjects()
	if objects == 0 {
		return 0, 0
	}
	size := float64(bytes) / float64(objects)
	scale := 1 / (1 - math.Exp(-size/float64(runtime.MemProfileRate)))
	return int64(float64(bytes) * scale), int64(float64(objects) * scale)
}

// leak is a fault in a basin, for a proof that the soak finds it.
type leak string

const (
	noLeak         leak = ""
	leakGoroutine  leak = "goroutine"
	leakDescriptor leak = "descriptor"
	leakMemory     leak = "memory"
	leakEntries    leak = "entries"
)

// inbox is the basin's, which may forget to forget.
func (l leak) inbox() heymanito.Inbox {
	inbox := heymanito.NewMemoryInbox(heymanito.InboxBounds{Age: keeps})
	if l == leakEntries {
		return &loyalInbox{MemoryInbox: inbox}
	}
	return inbox
}

// loyalInbox remembers some of those whom it should forget.
type loyalInbox struct {
	*heymanito.MemoryInbox
	asked atomic.Int64
}

func (i *loyalInbox) Forget(ctx context.Context, user string) error {
	if i.asked.Add(1)%10 == 0 {
		return nil
	}
	return i.MemoryInbox.Forget(ctx, user)
}

// in plants the leak in front of a handler: one in fifty requests leaves
// something behind.
func (l leak) in(next http.Handler) http.Handler {
	if l == noLeak || l == leakEntries {
		return next
	}
	var mu sync.Mutex // guards the rest
	var n int
	var files []*os.File
	var kept [][]byte
	spring := func() {
		mu.Lock()
		defer mu.Unlock()
		if n++; n%50 > 0 {
			return
		}
		switch l {
		case leakGoroutine:
			go func() { select {} }()
		case leakDescriptor:
			f, err := os.Open(os.DevNull)
			if err == nil {
				files = append(files, f)
			}
		case leakMemory:
			kept = append(kept, make([]byte, 50<<10))
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		spring()
		next.ServeHTTP(w, r)
	})
}
