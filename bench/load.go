//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The peers, as the table calls them.
const (
	ours  = "heymanito"
	other = "other" // another build of ours
	node  = "node"
	bare  = "bare"
	floor = "floor"
)

// load is work that is the same for every peer.
type load struct {
	name, about string
	server      string // which of our programs stands for us: example or host
	peers       []string
	figures     []figure
	run         func(context.Context, *subject) (figures, error)
}

// figure is something that a load measures.
type figure struct {
	name, unit string
	demands    []demand
}

// figures are what a run of a load has measured.
type figures map[string]float64

// demand is what a figure has to be.
type demand struct {
	against string // a peer; "": nobody, most is absolute
	most    float64
}

// scale is how big the loads are.
type scale struct {
	talkers, warm, messages int
	devices                 int
	open, slow, flood       time.Duration // how long the loads last that have a pace
	storms                  []int
	scoped                  int
	websockets, polls       int
	rest                    time.Duration // before memory is looked at
	silence                 time.Duration // after which whoever has not been told never will be
}

func fullScale() scale {
	return scale{
		talkers: 100, warm: 2000, messages: 40_000, devices: 20,
		open: 10 * time.Second, slow: 15 * time.Second, flood: 5 * time.Second,
		storms: []int{1000, 2000}, scoped: 5000, websockets: 8000, polls: 2000, rest: 3 * time.Second, silence: 10 * time.Second,
	}
}

// quickScale shows that everything works; its figures mean nothing.
func quickScale() scale {
	return scale{
		talkers: 10, warm: 100, messages: 1000, devices: 5,
		open: 300 * time.Millisecond, slow: 500 * time.Millisecond, flood: 300 * time.Millisecond,
		storms: []int{50}, scoped: 100, websockets: 100, polls: 50, rest: 100 * time.Millisecond, silence: 2 * time.Second,
	}
}

// allLoads is every load, in the order in which they run.
func allLoads(s scale) []load {
	relays := []string{ours, node, bare, floor}
	half := demand{node, 0.5}
	loads := []load{
		relayLoad("relay100", "example", relays, false, s, 100, demand{node, 0.27}, demand{floor, 0.75}),
		relayLoad("relay2k", "example", relays, false, s, 2000, demand{node, 0.27}, demand{floor, 0.75}),
		relayLoad("relay-tls", "host", []string{ours, node}, true, s, 100, half),
		fanLoad(s),
		latencyLoad(s),
		slowLoad(s),
		floodLoad(s),
	}
	for _, n := range s.storms {
		loads = append(loads, stormLoad(s, n))
	}
	return append(loads, scopedLoad(s), idleLoad(s, idleWebSocket()), idleLoad(s, idleUpgraded()), idleLoad(s, idlePolling()))
}

// choose is the loads that are named, or all.
func choose(all []load, names string) ([]load, error) {
	if names == "" {
		return all, nil
	}
	var some []load
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(l load) bool { return l.name == name })
		if i < 0 {
			var known []string
			for _, l := range all {
				known = append(known, l.name)
			}
			return nil, fmt.Errorf("-loads: there is no load %q; there are %s", name, strings.Join(known, ", "))
		}
		some = append(some, all[i])
	}
	return some, nil
}
