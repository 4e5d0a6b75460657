package urza

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// counters are the figures of a library; the zero value is ready to use.
type counters struct {
	hits, misses, errors, expired, evictions, integrity, slow atomic.Uint64

	lookup lastDuration
}

// lastDuration holds the latest of many measured times.
type lastDuration struct{ millis atomic.Uint64 }

func (d *lastDuration) set(t time.Duration) {
	d.millis.Store(math.Float64bits(float64(t) / float64(time.Millisecond)))
}

func (d *lastDuration) get() float64 { return math.Float64frombits(d.millis.Load()) }

// AppendMetrics appends the figures named urza.library.* in the contract.
// breaker_state is a CircuitBreakerState.
func (l *Library) AppendMetrics(dst []leyline.Metric) []leyline.Metric {
	count := func(name string, value float64) {
		dst = append(dst, leyline.Metric{Name: "urza.library." + name, Value: value, Unit: leyline.UnitCount})
	}
	wary := 0.0
	if l.breaker.wary.Load() {
		wary = 1
	}
	count("cache_hits", float64(l.count.hits.Load()))
	count("cache_misses", float64(l.count.misses.Load()))
	count("cache_errors", float64(l.count.errors.Load()))
	count("cache_expired", float64(l.count.expired.Load()))
	count("cache_size", float64(l.index.len()))
	dst = append(dst, leyline.Metric{
		Name: "urza.library.lookup_latency_ms", Value: l.count.lookup.get(), Unit: leyline.UnitMillis,
	})
	count("evictions", float64(l.count.evictions.Load()))
	count("integrity_failures", float64(l.count.integrity.Load()))
	count("slow_queries", float64(l.count.slow.Load()))
	count("breaker_open_total", float64(l.breaker.opened.Load()))
	count("breaker_denied", float64(l.breaker.denied.Load()))
	count("breaker_state", float64(l.breaker.state()))
	count("conservative_mode", wary)
	return dst
}
