//go:build linux

package main

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	l := load{name: "relay", figures: []figure{
		{name: "cost", unit: "µs", demands: []demand{{node, 0.27}, {floor, 0.75}}},
		{name: "memory", demands: []demand{{"", 14}}},
		{name: "nobody has it"},
	}}
	r := results{}
	for round, cost := range []float64{10, 12, 11} {
		r.add(l, ours, round, figures{"cost": cost, "memory": 20})
		r.add(l, node, round, figures{"cost": 100})
		r.add(l, floor, round, figures{"cost": 16})
	}
	text, unmet := r.table([]load{l}, []string{ours, node, floor})
	want := `| load | figure | heymanito | node | floor | ÷ node | ÷ floor | demand |  |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
| relay | cost, µs | 11.0 (10.0) | 100 (100) | 16.0 (16.0) | 0.11 | 0.69 | ≤ 0.27 of node, ≤ 0.75 of floor | ok |
|  | memory | 20.0 (20.0) |  |  |  |  | ≤ 14.0 | NOT MET |
`
	if text != want || unmet != 1 {
		t.Errorf("%d are not met in\n%s", unmet, text)
	}
}

func TestJudge(t *testing.T) {
	demands := []demand{{node, 0.27}, {floor, 0.75}}
	for _, c := range []struct {
		node, floor map[int]float64
		want        string
	}{
		{map[int]float64{0: 100}, map[int]float64{0: 20}, "ok"},
		{map[int]float64{0: 100}, map[int]float64{0: 10}, notMet},
		{map[int]float64{0: 10}, map[int]float64{0: 20}, notMet},
		{map[int]float64{0: 100}, nil, "ok"},
		{nil, nil, ""},
	} {
		_, got := judge(demands, map[string]map[int]float64{ours: {0: 10}, node: c.node, floor: c.floor})
		if got != c.want {
			t.Errorf("node %v, floor %v: %q, not %q", c.node, c.floor, got, c.want)
		}
	}
}

func TestFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-loads relay100,nonsense": "nonsense", "-peers nonsense": "nonsense", "-peers other": "other", "-rounds 0": "rounds", "more": "more",
	} {
		_, err := parseFlags(strings.Fields(args), t.Output())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
	s, err := parseFlags(strings.Fields("-loads fan,relay100 -peers floor,node -quick"), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.columns(), " "); got != "node floor" || s.loads[0].name != "fan" || s.rounds != 1 {
		t.Errorf("peers %s, %d rounds, first %s", got, s.rounds, s.loads[0].name)
	}
}
