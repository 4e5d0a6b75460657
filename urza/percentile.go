package urza

import (
	"math"
	"slices"
)

// percentiles returns the 50th and the 95th percentile of samples, by linear
// interpolation between closest ranks; 0 where there are none. Samples that
// are not finite are left out.
func percentiles(samples []float64) (p50, p95 float32) {
	var usual [MaxPrewarmSamples]float64
	sorted := usual[:0]
	for _, s := range samples {
		if !math.IsNaN(s) && !math.IsInf(s, 0) {
			sorted = append(sorted, s)
		}
	}
	slices.Sort(sorted)
	return float32(quantile(sorted, 0.50)), float32(quantile(sorted, 0.95))
}

// quantile expects sorted samples.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	position := float64(len(sorted)-1) * q
	lower := int(position)
	upper := min(lower+1, len(sorted)-1)
	return sorted[lower] + (sorted[upper]-sorted[lower])*(position-float64(lower))
}
