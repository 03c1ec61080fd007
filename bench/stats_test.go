//go:build linux

package main

import (
	"math"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		all  []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.all); got != c.want {
			t.Errorf("median(%v) = %v, not %v", c.all, got, c.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing = %v", got)
	}
}

func TestQuantile(t *testing.T) {
	all := make([]int, 1000)
	for i := range all {
		all[i] = i + 1
	}
	for q, want := range map[float64]int{0: 1, 0.5: 500, 0.99: 990, 0.999: 999, 1: 1000} {
		if got := quantile(all, q); got != want {
			t.Errorf("quantile %v = %d, not %d", q, got, want)
		}
	}
	if got := quantile([]int{7}, 0.999); got != 7 {
		t.Errorf("quantile of one = %d", got)
	}
}

func TestRatio(t *testing.T) {
	// Round 1 was slow for both, in round 3 the other failed.
	a, b := map[int]float64{0: 1, 1: 10, 2: 3}, map[int]float64{0: 4, 1: 40}
	if got := ratio(a, b); got != 0.25 {
		t.Errorf("ratio = %v", got)
	}
	if got := ratio(a, nil); !math.IsNaN(got) {
		t.Errorf("ratio to nobody = %v", got)
	}
}
