package main

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// tally sums counters of several processes by reason and stream.
type tally struct {
	total, recent map[countKey]float64
}

func newTally() *tally {
	return &tally{make(map[countKey]float64), make(map[countKey]float64)}
}

// add adds a process: what it has counted, and by how much that rose lately.
func (t *tally) add(i *instance, totals map[countKey]float64, of func(step) map[countKey]float64) {
	for key, n := range totals {
		key.Type = ""
		t.total[key] += n
	}
	steps, _ := i.within(rateWindow)
	for _, s := range steps {
		for key, n := range of(s) {
			key.Type = ""
			t.recent[key] += n
		}
	}
}

// rows returns the counters, what rises first.
func (t *tally) rows() []refusalView {
	rows := []refusalView{}
	for key, n := range t.total {
		rows = append(rows, refusalView{printable(key.Reason), printable(key.Stream), n, t.recent[key]})
	}
	slices.SortFunc(rows, func(a, b refusalView) int {
		return cmp.Or(cmp.Compare(b.Recent, a.Recent), cmp.Compare(b.Total, a.Total),
			cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Stream, b.Stream))
	})
	return rows
}

// add adds what one process has answered.
func (v *prefetchView) add(i *instance, one instanceView) {
	s := &i.latest
	v.RatePerS += one.RatePerS
	v.Hits += s.figure("urza.prefetch.hits")
	v.Misses += s.figure("urza.prefetch.misses")
	v.Errors += s.figure("urza.prefetch.errors")
	steps, took := i.within(rateWindow)
	errors := 0.0
	for _, st := range steps {
		errors += st.Errors
	}
	v.ErrorsPerS += perSecond(errors, took)
	if objective := known(s.Figures, "slo.urza_prefetch_latency_ms_objective"); objective != nil {
		if v.ObjectiveMS == nil || *objective < *v.ObjectiveMS {
			v.ObjectiveMS = objective
		}
	}
}

// percentiles sums the histograms of several processes over the last minute.
type percentiles struct {
	cumulative map[float64]float64 // count up to a bound in ms
	worstP95   *float64            // what processes say of themselves
}

func newPercentiles() *percentiles { return &percentiles{cumulative: make(map[float64]float64)} }

func (p *percentiles) add(i *instance) {
	for bound := range i.latest.Duration {
		p.cumulative[bound] += 0 // a bucket that did not rise still bounds the next
	}
	steps, _ := i.within(rateWindow)
	for _, s := range steps {
		for bound, n := range s.Duration {
			p.cumulative[bound] += n
		}
	}
	if p95 := known(i.latest.Figures, "slo.urza_prefetch_latency_ms_actual"); p95 != nil && (p.worstP95 == nil || *p95 > *p.worstP95) {
		p.worstP95 = p95
	}
}

// into fills in the percentiles: of the histograms where there is one, else the
// 95th that processes report themselves.
func (p *percentiles) into(v *prefetchView) {
	v.P50MS, v.P95MS, v.P99MS = p.quantile(0.50), p.quantile(0.95), p.quantile(0.99)
	if v.P95MS == nil {
		v.P95MS = p.worstP95
	}
}

// quantile interpolates within the bucket that holds the q-th value; nil where
// nothing was counted. Beyond the last finite bound it is that bound.
func (p *percentiles) quantile(q float64) *float64 {
	bounds := slices.Sorted(maps.Keys(p.cumulative))
	if len(bounds) == 0 {
		return nil
	}
	total := 0.0
	for _, n := range p.cumulative {
		total = max(total, n)
	}
	below, lower := 0.0, 0.0
	for _, bound := range bounds {
		n := max(below, p.cumulative[bound])
		if n >= q*total && n > below {
			if math.IsInf(bound, 1) {
				return &lower
			}
			return new(lower + (bound-lower)*(q*total-below)/(n-below))
		}
		below, lower = n, bound
	}
	return nil
}

// perSecond is a count over a time; 0 for no time.
func perSecond(n float64, took time.Duration) float64 {
	if took <= 0 {
		return 0
	}
	return n / took.Seconds()
}

// known returns a figure, nil where there is none.
func known(figures map[string]float64, name string) *float64 {
	if v, ok := figures[name]; ok {
		return &v
	}
	return nil
}

// parseBound reads the upper bound of a bucket.
func parseBound(text string) (float64, bool) {
	v, err := strconv.ParseFloat(text, 64)
	return v, err == nil && !math.IsNaN(v)
}

// parseUnix reads Unix seconds.
func parseUnix(text string) (time.Time, bool) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v <= 0 || v > 1<<40 || math.IsNaN(v) {
		return time.Time{}, false
	}
	return time.UnixMicro(int64(v * 1e6)), true
}

// printable makes one line of text from elsewhere that may be shown on a
// terminal: whatever could steer one is replaced.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case !unicode.IsPrint(r) || r == unicode.ReplacementChar:
			return '?'
		}
		return r
	}, s)
}
