package kasmina

import (
	"sync/atomic"
	"time"

	"github.com/esper-lite/esper/leyline"
)

type coordinatorCounts struct {
	requests, joined, publishErrors   atomic.Int64
	answers, errors, lost             atomic.Int64
	duplicates, strangers, mismatched atomic.Int64
	catalogUpdates, gaps              atomic.Int64
	latency/* of the last flight, in ns */ atomic.Int64
}

// AppendMetrics appends the figures of the coordinator and of its cache to dst.
func (c *Coordinator) AppendMetrics(dst []leyline.Metric) []leyline.Metric {
	c.mu.Lock()
	pending, waiting := len(c.flights), c.waiting
	c.mu.Unlock()
	for _, m := range []struct {
		name  string
		value int64
	}{
		{"pending", int64(pending)},
		{"waiting", int64(waiting)},
		{"requests_total", c.counts.requests.Load()},
		{"joined_total", c.counts.joined.Load()},
		{"publish_errors_total", c.counts.publishErrors.Load()},
		{"answers_total", c.counts.answers.Load()},
		{"errors_total", c.counts.errors.Load()},
		{"lost_total", c.counts.lost.Load()},
		{"duplicates_total", c.counts.duplicates.Load()},
		{"strangers_total", c.counts.strangers.Load()},
		{"mismatched_total", c.counts.mismatched.Load()},
		{"catalog_updates_total", c.counts.catalogUpdates.Load()},
		{"gaps_total", c.counts.gaps.Load()},
	} {
		dst = append(dst, leyline.Metric{Name: "kasmina.prefetch." + m.name, Value: float64(m.value), Unit: leyline.UnitCount})
	}
	dst = append(dst, leyline.Metric{
		Name: "kasmina.prefetch.latency_ms", Value: millis(time.Duration(c.counts.latency.Load())), Unit: leyline.UnitMillis,
	})
	return c.cfg.Cache.AppendMetrics(dst)
}
