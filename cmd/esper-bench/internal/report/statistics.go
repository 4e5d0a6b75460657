// Package report turns measurements into tables and JSON.
package report

import (
	"cmp"
	"slices"
)

// Median returns the median of values, zero where there are none.
func Median[T cmp.Ordered](values []T) T { return Quantile(values, 0.5) }

// Quantile returns the value at the nearest rank to q, from 0 to 1.
func Quantile[T cmp.Ordered](values []T, q float64) T {
	var zero T
	if len(values) == 0 {
		return zero
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}
