package kasmina

import (
	"sync/atomic"

	"github.com/esper-lite/esper/leyline"
)

type commandCounts struct {
	received, ignored, deferred, executed, rejected atomic.Int64
	replayed, elsewhere, disowned, gaps             atomic.Int64
	refusals                                        leyline.Refusals
}

// AppendMetrics appends the figures named kasmina.commands.* to dst. Those that
// were rejected for what they are, are counted once more by reason.
func (c *Commands) AppendMetrics(dst []leyline.Metric) []leyline.Metric {
	c.mu.Lock()
	waiting := len(c.deferred)
	c.mu.Unlock()
	for _, m := range []struct {
		name  string
		value int64
	}{
		{"received_total", c.counts.received.Load()},
		{"ignored_total", c.counts.ignored.Load()},
		{"executed_total", c.counts.executed.Load()},
		{"rejected_total", c.counts.rejected.Load()},
		{"replayed_total", c.counts.replayed.Load()},
		{"elsewhere_total", c.counts.elsewhere.Load()},
		{"deferred_total", c.counts.deferred.Load()},
		{"waiting", int64(waiting)},
		{"disowned_total", c.counts.disowned.Load()},
		{"gaps_total", c.counts.gaps.Load()},
	} {
		dst = append(dst, leyline.Metric{Name: "kasmina.commands." + m.name, Value: float64(m.value), Unit: leyline.UnitCount})
	}
	for _, r := range c.counts.refusals.Snapshot() {
		dst = append(dst, leyline.Metric{Name: "kasmina.commands.rejected." + string(r.Reason), Value: float64(r.Count), Unit: leyline.UnitCount})
	}
	return dst
}
