//go:build linux

package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// results has what every run has measured: by load, figure, peer and round.
type results map[string]map[string]map[string]map[int]float64

// add takes note of what a run has measured.
func (r results) add(l load, peer string, round int, f figures) {
	if r[l.name] == nil {
		r[l.name] = map[string]map[string]map[int]float64{}
	}
	for name, v := range f {
		byPeer := r[l.name][name]
		if byPeer == nil {
			byPeer = map[string]map[int]float64{}
			r[l.name][name] = byPeer
		}
		if byPeer[peer] == nil {
			byPeer[peer] = map[int]float64{}
		}
		byPeer[peer][round] = v
	}
}

// table is the results in Markdown, and how many demands are not met.
func (r results) table(loads []load, peers []string) (text string, unmet int) {
	var b strings.Builder
	head := append([]string{"load", "figure"}, peers...)
	head = append(head, "÷ node", "÷ floor", "demand", "")
	row(&b, head)
	row(&b, slices.Repeat([]string{"---"}, len(head)))
	for _, l := range loads {
		name := l.name
		for _, f := range l.figures {
			byPeer := r[l.name][f.name]
			if len(byPeer) == 0 {
				continue
			}
			cells := []string{name, f.name + unit(f)}
			name = ""
			for _, peer := range peers {
				cells = append(cells, cell(byPeer[peer]))
			}
			for _, peer := range []string{node, floor} {
				cells = append(cells, decimal(ratio(byPeer[ours], byPeer[peer])))
			}
			said, verdict := judge(f.demands, byPeer)
			if strings.HasPrefix(verdict, notMet) {
				unmet++
			}
			row(&b, append(cells, said, verdict))
		}
	}
	return b.String(), unmet
}

func row(b *strings.Builder, cells []string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

func unit(f figure) string {
	if f.unit == "" {
		return ""
	}
	return ", " + f.unit
}

// cell is the median of what a peer was measured at, and the least.
func cell(byRound map[int]float64) string {
	all := slices.Sorted(maps.Values(byRound))
	switch len(all) {
	case 0:
		return ""
	case 1:
		return decimal(all[0])
	}
	return fmt.Sprintf("%s (%s)", decimal(median(all)), decimal(all[0]))
}

// decimal is v with three digits or so; nothing if it is no number.
func decimal(v float64) string {
	digits := 0
	switch abs := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return ""
	case v == 0: // 0, without digits
	case abs < 0.1:
		digits = 3
	case abs < 10:
		digits = 2
	case abs < 100:
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

const notMet = "NOT MET"

// judge says what is demanded, and whether it is so.
func judge(demands []demand, byPeer map[string]map[int]float64) (said, verdict string) {
	var parts []string
	for _, d := range demands {
		is, text := median(slices.Collect(maps.Values(byPeer[ours]))), fmt.Sprintf("≤ %s", decimal(d.most))
		if d.against != "" {
			is, text = ratio(byPeer[ours], byPeer[d.against]), text+" of "+d.against
		}
		parts = append(parts, text)
		switch {
		case math.IsNaN(is): // one of the two was not measured
		case is > d.most:
			verdict = notMet
		case verdict == "":
			verdict = "ok"
		}
	}
	return strings.Join(parts, ", "), verdict
}
