package tamiyo

import (
	"sync/atomic"

	"github.com/esper-lite/esper/leyline"
)

// counters count since the consumer was opened.
type counters struct {
	applied    atomic.Uint64
	noted      atomic.Uint64
	rolledBack atomic.Uint64
	gaps       atomic.Uint64
	unrecorded atomic.Uint64 // tries to record an update that failed
	restored   atomic.Bool
	refused    [8]atomic.Uint64 // by the order of Reasons; the last is for none of them
}

func (c *counters) refuse(r Reason) {
	for i, known := range Reasons() {
		if r == known {
			c.refused[i].Add(1)
			return
		}
	}
	c.refused[len(c.refused)-1].Add(1)
}

// AppendMetrics appends the figures named tamiyo.policy.* to dst. The figure
// tamiyo.policy.active has the version and the id of the policy that runs as
// attributes.
func (c *Consumer) AppendMetrics(dst []leyline.Metric) []leyline.Metric {
	count := func(name string, value uint64) {
		dst = append(dst, leyline.Metric{Name: "tamiyo.policy." + name, Value: float64(value), Unit: leyline.UnitCount})
	}
	count("applied_total", c.count.applied.Load())
	count("noted_total", c.count.noted.Load())
	count("rolled_back_total", c.count.rolledBack.Load())
	count("gaps_total", c.count.gaps.Load())
	count("record_failures_total", c.count.unrecorded.Load())
	for i, reason := range Reasons() {
		count("refused."+string(reason), c.count.refused[i].Load())
	}
	active := leyline.Metric{Name: "tamiyo.policy.active", Unit: leyline.UnitBool}
	if u, ok := c.Current(); ok {
		active.Value = 1
		active.Attributes = map[string]string{"tamiyo_policy_version": u.Version, "policy_id": u.PolicyID}
		dst = append(dst, leyline.Metric{Name: "tamiyo.policy.issued_at", Value: float64(u.IssuedAt.UnixMilli()) / 1000, Unit: leyline.UnitUnix})
	}
	return append(dst, active)
}
