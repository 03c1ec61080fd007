// Package metrics has the numbers of a heymanito server for Prometheus. It is a
// module of its own: who does not measure pays nothing for it.
//
//	registry.MustRegister(metrics.NewCollector(rt))
//	r.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
//
// dashboard.json beside this file is a dashboard of them for Grafana.
package metrics

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/heymanito/heymanito"
)

// Source is what is measured, a [heymanito.Server].
type Source interface{ Stats() heymanito.Stats }

// Collector is a [prometheus.Collector] of one server's Stats, which it asks for
// at each scrape. These are its metrics, with their labels:
//
//	heymanito_users                  users with a device on this server
//	heymanito_devices                devices that are let in
//	heymanito_connections            those in their handshake included
//	heymanito_queue_bytes            that clients have yet to take
//	heymanito_connected_total        devices that were let in so far
//	heymanito_refused_total          handshakes that were not; code
//	heymanito_closed_total           devices that have gone; reason
//	heymanito_events_total           of clients; event, outcome: ok, or the code
//	heymanito_calls_total            that have ended; reason
//	heymanito_hook_seconds           histogram; hook
//	heymanito_store_seconds          histogram; call
//	heymanito_inbox_users            with entries; of stores that count, as all below
//	heymanito_inbox_entries
//	heymanito_inbox_bytes            that count against InboxBounds.Total
//	heymanito_inbox_dropped_total    entries, to stay within a bound
//
// The label event has the names of events that the server knows, and is empty for
// all others: clients cannot make new series.
type Collector struct {
	source Source
	m      map[string]*prometheus.Desc
}

var _ prometheus.Collector = (*Collector)(nil)

// NewCollector returns the Collector of a server. For several servers in one
// registry wrap the registry with a label (prometheus.WrapRegistererWith).
// It panics when source is nil.
func NewCollector(source Source) *Collector {
	if source == nil {
		panic("metrics.NewCollector: the server is nil")
	}
	c := &Collector{source: source, m: map[string]*prometheus.Desc{}}
	for _, d := range []struct {
		name, help string
		labels     []string
	}{
		{"users", "Users with a device on this server.", nil},
		{"devices", "Devices that were let in.", nil},
		{"connections", "Connections, those in their handshake included.", nil},
		{"queue_bytes", "Bytes that clients have yet to take.", nil},
		{"connected_total", "Devices that were let in so far.", nil},
		{"refused_total", "Handshakes that were refused, by code.", []string{"code"}},
		{"closed_total", "Devices that have gone, by reason.", []string{"reason"}},
		{"events_total", "Events of clients, by name and by outcome: ok, or the code of the ack.", []string{"event", "outcome"}},
		{"calls_total", "Calls that have ended, by reason.", []string{"reason"}},
		{"hook_seconds", "How long the host's hooks took.", []string{"hook"}},
		{"store_seconds", "How long calls of the host's stores took.", []string{"call"}},
		{"inbox_users", "Users with entries in the inbox.", nil},
		{"inbox_entries", "Entries in the inbox.", nil},
		{"inbox_bytes", "Bytes that count against the inbox's total bound.", nil},
		{"inbox_dropped_total", "Entries that were dropped to stay within a bound.", nil},
	} {
		c.m[d.name] = prometheus.NewDesc("heymanito_"+d.name, d.help, d.labels, nil)
	}
	return c
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, name := range slices.Sorted(maps.Keys(c.m)) {
		ch <- c.m[name]
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	s := c.source.Stats()
	gauge := func(name string, v int) {
		ch <- prometheus.MustNewConstMetric(c.m[name], prometheus.GaugeValue, float64(v))
	}
	counter := func(name string, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(c.m[name], prometheus.CounterValue, float64(v), labels...)
	}
	gauge("users", s.Users)
	gauge("devices", s.Devices)
	gauge("connections", s.Connections)
	gauge("queue_bytes", s.QueueBytes)
	counter("connected_total", s.Connected)
	for code, n := range s.Refused {
		counter("refused_total", n, string(code))
	}
	for reason, n := range s.Closed {
		counter("closed_total", n, reason)
	}
	for event, outcomes := range s.Events {
		for outcome, n := range outcomes {
			counter("events_total", n, event, outcome)
		}
	}
	for reason, n := range s.Calls {
		counter("calls_total", n, string(reason))
	}
	c.latencies(ch, "hook_seconds", s.Hooks)
	c.latencies(ch, "store_seconds", s.Stores)
	if s.Inbox != nil {
		gauge("inbox_users", s.Inbox.Users)
		gauge("inbox_entries", s.Inbox.Entries)
		gauge("inbox_bytes", s.Inbox.Bytes)
		counter("inbox_dropped_total", s.Inbox.Dropped)
	}
}

func (c *Collector) latencies(ch chan<- prometheus.Metric, name string, all map[string]heymanito.Latency) {
	for what, l := range all {
		within := map[float64]uint64{}
		for i, bound := range heymanito.LatencyBounds() {
			within[bound.Seconds()] = l.Within[i]
		}
		ch <- prometheus.MustNewConstHistogram(c.m[name], l.Count, l.Total.Seconds(), within, what)
	}
}
