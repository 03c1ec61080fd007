package metrics_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/metrics"
)

// fixed has always the same numbers.
type fixed heymanito.Stats

func (f fixed) Stats() heymanito.Stats { return heymanito.Stats(f) }

func full() fixed {
	return fixed{
		Users: 2, Devices: 3, Connections: 4, QueueBytes: 5, Connected: 6,
		Refused: map[heymanito.Code]uint64{"unauthorized": 7},
		Closed:  map[string]uint64{"ping timeout": 8},
		Events:  map[string]map[string]uint64{"sendMessage": {"ok": 9, "rate_limited": 10}, "": {"invalid": 11}},
		Calls:   map[heymanito.CallReason]uint64{"hangup": 12},
		Hooks:   map[string]heymanito.Latency{"Authorize": {Count: 3, Total: 1500 * time.Millisecond, Within: [5]uint64{1, 1, 2, 2, 3}}},
		Stores:  map[string]heymanito.Latency{"Inbox.Append": {Count: 1, Total: time.Second, Within: [5]uint64{0, 0, 0, 1, 1}}},
		Inbox:   &heymanito.InboxStats{Users: 13, Entries: 14, Bytes: 15, Dropped: 16},
	}
}

func TestCollector(t *testing.T) {
	want := `
# HELP heymanito_events_total Events of clients, by name and by outcome: ok, or the code of the ack.
# TYPE heymanito_events_total counter
heymanito_events_total{event="",outcome="invalid"} 11
heymanito_events_total{event="sendMessage",outcome="ok"} 9
heymanito_events_total{event="sendMessage",outcome="rate_limited"} 10
# HELP heymanito_hook_seconds How long the host's hooks took.
# TYPE heymanito_hook_seconds histogram
heymanito_hook_seconds_bucket{hook="Authorize",le="0.001"} 1
heymanito_hook_seconds_bucket{hook="Authorize",le="0.01"} 1
heymanito_hook_seconds_bucket{hook="Authorize",le="0.1"} 2
heymanito_hook_seconds_bucket{hook="Authorize",le="1"} 2
heymanito_hook_seconds_bucket{hook="Authorize",le="10"} 3
heymanito_hook_seconds_bucket{hook="Authorize",le="+Inf"} 3
heymanito_hook_seconds_sum{hook="Authorize"} 1.5
heymanito_hook_seconds_count{hook="Authorize"} 3
# HELP heymanito_inbox_dropped_total Entries that were dropped to stay within a bound.
# TYPE heymanito_inbox_dropped_total counter
heymanito_inbox_dropped_total 16
# HELP heymanito_users Users with a device on this server.
# TYPE heymanito_users gauge
heymanito_users 2
`
	c := metrics.NewCollector(full())
	if err := testutil.CollectAndCompare(c, strings.NewReader(want),
		"heymanito_events_total", "heymanito_hook_seconds", "heymanito_inbox_dropped_total", "heymanito_users"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.CollectAndLint(c); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// A server that has just begun can be scraped, and the README's lines serve it.
func TestScrape(t *testing.T) {
	rt := heymanito.New(heymanito.WithLogger(slog.New(slog.DiscardHandler)))
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.NewCollector(rt))
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "\nheymanito_devices 0\n") {
		t.Errorf("%d\n%s", w.Code, w.Body)
	}
}

// The dashboard asks for nothing that there is not, and leaves nothing out.
func TestDashboard(t *testing.T) {
	b, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title  string
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &dashboard); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.NewCollector(full()))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, f := range families {
		shown[f.GetName()] = false
	}
	name := regexp.MustCompile(`heymanito_[a-z_]+`)
	for _, p := range dashboard.Panels {
		if len(p.Targets) == 0 || p.Title == "" {
			t.Errorf("the panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			for _, found := range name.FindAllString(target.Expr, -1) {
				base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(found, "_bucket"), "_sum"), "_count")
				if _, ok := shown[base]; !ok {
					t.Errorf("the panel %q asks for %s, which there is not", p.Title, found)
				}
				shown[base] = true
			}
		}
	}
	for metric, is := range shown {
		if !is {
			t.Errorf("no panel shows %s", metric)
		}
	}
}

func Example() {
	rt := heymanito.New(heymanito.WithLogger(slog.New(slog.DiscardHandler)))
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(rt))

	mux := http.NewServeMux()
	mux.Handle("/socket.io/", rt)
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "heymanito_devices") {
			fmt.Print(line)
		}
	}
	// Output: heymanito_devices 0
}
