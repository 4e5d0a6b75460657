package main

import "strings"

// sparks are the heights that a sparkline can show.
var sparks = []rune("▁▂▃▄▅▆▇█")

// sparkline draws the newest values, at most width of them, between 0 and the
// largest.
func sparkline(values []float64, width int) string {
	if width <= 0 {
		return ""
	}
	values = values[max(0, len(values)-width):]
	most := 0.0
	for _, v := range values {
		most = max(most, v)
	}
	var b strings.Builder
	for _, v := range values {
		height := 0
		if most > 0 && v > 0 {
			height = min(len(sparks)-1, int(v/most*float64(len(sparks)-1)+0.5))
		}
		b.WriteRune(sparks[height])
	}
	return b.String()
}

// most is the largest of values, 0 for none.
func most(values []float64) (largest float64) {
	for _, v := range values {
		largest = max(largest, v)
	}
	return largest
}
