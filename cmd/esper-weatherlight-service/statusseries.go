package main

import "time"

// seriesLength is how many points a sparkline can have.
const seriesLength = 60

// series are figures over time, oldest first, one point for each interval.
type series struct {
	rates   []float64 // prefetches per second
	latency []float64 // ms, that 95 of 100 answers took at most; 0 where there was none
}

// series adds up the steps of all processes, by the clock of Redis. It ends when
// the process that reported longest ago of those that live did, so that the
// newest point knows all of them; what is before the first report is left out.
func (f *fleet) series(now time.Time, interval time.Duration) series {
	var all []*instance
	for _, i := range f.sorted() {
		all = append(all, i)
		interval = max(interval, i.interval(interval))
	}
	end := time.Time{}
	for _, i := range all {
		if h := i.health(now, interval); h == healthSilent || h == healthStopped {
			continue
		}
		if at := i.latest.Arrived; end.IsZero() || at.Before(end) {
			end = at
		}
	}
	if end.IsZero() { // nobody lives: as it was
		for _, i := range all {
			if i.latest.Arrived.After(end) {
				end = i.latest.Arrived
			}
		}
	}
	return seriesOf(all, end, interval)
}

// seriesOf is the series of some processes, up to end.
func seriesOf(all []*instance, end time.Time, interval time.Duration) series {
	s := series{make([]float64, seriesLength), make([]float64, seriesLength)}
	durations := make([]*percentiles, seriesLength)
	known := 0
	for _, i := range all {
		offset := i.latest.Arrived.Sub(i.latest.Made)
		for _, st := range i.steps {
			from, to := end.Sub(st.From.Add(offset)), end.Sub(st.To.Add(offset)) // ago
			if to >= from {
				continue
			}
			first, last := int(max(0, to)/interval), int((max(0, from)-1)/interval)
			for ago := first; ago <= last && ago < seriesLength; ago++ {
				at := seriesLength - 1 - ago
				overlap := min(from, time.Duration(ago+1)*interval) - max(to, time.Duration(ago)*interval)
				if overlap <= 0 {
					continue
				}
				s.rates[at] += st.Prefetches * overlap.Seconds() / (from - to).Seconds() / interval.Seconds()
				if 2*overlap > min(interval, from-to) { // the point that has most of it
					s.latency[at] = max(s.latency[at], st.LatencyMS)
					if durations[at] == nil {
						durations[at] = newPercentiles()
					}
					durations[at].addStep(i, &st)
				}
				known = max(known, ago+1)
			}
		}
	}
	for at, d := range durations {
		if d == nil {
			continue
		}
		if p95 := d.quantile(0.95); p95 != nil {
			s.latency[at] = *p95
		} else if len(d.cumulative) > 0 {
			s.latency[at] = 0 // nothing was answered
		}
	}
	s.rates, s.latency = s.rates[seriesLength-known:], s.latency[seriesLength-known:]
	return s
}

// addStep adds what was answered in one step of a process.
func (p *percentiles) addStep(i *instance, s *step) {
	for bound := range i.latest.Duration {
		p.cumulative[bound] += s.Duration[bound] // a bucket that did not rise still bounds the next
	}
}
