//go:build linux

package main

import (
	"cmp"
	"math"
	"slices"
)

// median is the middle of all, or the mean of the two in the middle; NaN if
// there are none.
func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	n := len(s)
	if n == 0 {
		return math.NaN()
	}
	return (s[(n-1)/2] + s[n/2]) / 2
}

// quantile is the least of sorted that a share of q of them do not exceed.
func quantile[T cmp.Ordered](sorted []T, q float64) T {
	i := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// ratio is the median of a in b, pair by pair: those of one round, so that what
// changes from round to round does not count. NaN if there are no pairs.
func ratio(a, b map[int]float64) float64 {
	var all []float64
	for round, v := range a {
		if w, ok := b[round]; ok && w != 0 {
			all = append(all, v/w)
		}
	}
	return median(all)
}
