package kasmina

import (
	"time"

	"github.com/esper-lite/esper/leyline"
)

// cacheCounts is guarded by Cache.mu.
type cacheCounts struct {
	hits, misses, reused, evictions, full int64
	loads, loadErrors                     int64
	lastLoad, lastPrewarm                 time.Duration
}

// countLoad counts one load and remembers its times.
func (c *Cache) countLoad(s *shared, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.loads++
	if err != nil {
		c.counts.loadErrors++
	}
	c.counts.lastLoad = s.loadTime
	if s.prewarmTime > 0 {
		c.counts.lastPrewarm = s.prewarmTime
	}
}

// AppendMetrics appends the cache's figures to dst. The latencies are those of
// the last load.
func (c *Cache) AppendMetrics(dst []leyline.Metric) []leyline.Metric {
	c.mu.Lock()
	counts, kernels, bytes, idle := c.counts, c.kernels, c.bytes, c.idle.Len()
	c.mu.Unlock()
	count := func(name string, v int64) {
		dst = append(dst, leyline.Metric{Name: name, Value: float64(v), Unit: leyline.UnitCount})
	}
	count("kasmina.cache.kernel_size", int64(kernels))
	count("kasmina.cache.kernels_in_use", int64(kernels-idle))
	count("kasmina.cache.kernel_capacity", int64(c.cfg.MaxKernels))
	count("kasmina.cache.kernel_hits", counts.hits)
	count("kasmina.cache.kernel_misses", counts.misses)
	count("kasmina.cache.kernel_reused", counts.reused)
	count("kasmina.cache.kernel_evictions", counts.evictions)
	count("kasmina.cache.full_total", counts.full)
	count("kasmina.kernel.loads_total", counts.loads)
	count("kasmina.kernel.load_errors_total", counts.loadErrors)
	return append(dst,
		leyline.Metric{Name: "kasmina.cache.bytes", Value: float64(bytes), Unit: leyline.UnitBytes},
		leyline.Metric{Name: "kasmina.cache.capacity_bytes", Value: float64(c.cfg.MaxBytes), Unit: leyline.UnitBytes},
		leyline.Metric{Name: "kasmina.kernel.fetch_latency_ms", Value: millis(counts.lastLoad), Unit: leyline.UnitMillis},
		leyline.Metric{Name: "kasmina.prewarm.latency_ms", Value: millis(counts.lastPrewarm), Unit: leyline.UnitMillis},
	)
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
