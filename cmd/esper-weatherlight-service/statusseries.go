package main

import "time"

// seriesLength is how many points a sparkline can have.
const seriesLength = 60

// series are figures of the whole fleet over time, oldest first, one point for
// each interval.
type series struct {
	rates   []float64 // prefetches per second
	latency []float64 // ms, of the slowest process
}

// series adds up the steps of all processes by the time at which they were told,
// by the clock of Redis, in intervals in which each process tells once. Those
// before the first one that is known are left out.
func (f *fleet) series(now time.Time, interval time.Duration) series {
	s := series{make([]float64, seriesLength), make([]float64, seriesLength)}
	for _, i := range f.instances {
		interval = max(interval, i.interval(interval))
	}
	known := 0
	for _, i := range f.instances {
		offset := i.latest.Arrived.Sub(i.latest.Made)
		for _, st := range i.steps {
			ago := int(now.Sub(st.To.Add(offset)) / interval)
			if ago < 0 || ago >= seriesLength {
				continue
			}
			at := seriesLength - 1 - ago
			s.rates[at] += st.Prefetches / interval.Seconds()
			s.latency[at] = max(s.latency[at], st.LatencyMS)
			known = max(known, ago+1)
		}
	}
	s.rates, s.latency = s.rates[seriesLength-known:], s.latency[seriesLength-known:]
	return s
}
