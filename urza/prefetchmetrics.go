package urza

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/leyline/leylinepb"
)

type prefetchCounters struct {
	hits, misses, errors atomic.Uint64
}

// answered counts an answer as the contract's figures divide them.
func (c *prefetchCounters) answered(answer proto.Message) {
	failure, failed := answer.(*leylinepb.KernelArtifactError)
	switch {
	case !failed:
		c.hits.Add(1)
	case failure.GetReason() == ReasonMissingArtifact:
		c.misses.Add(1)
	default:
		c.errors.Add(1)
	}
}

// latencies holds the newest of many latencies, without a lock: a figure may
// mix those of one moment with those of the next.
type latencies struct {
	added  atomic.Uint64
	newest [1024]atomic.Uint64 // milliseconds, as the bits of a float64
}

func (l *latencies) add(t time.Duration) {
	at := (l.added.Add(1) - 1) % uint64(len(l.newest))
	l.newest[at].Store(math.Float64bits(float64(t) / float64(time.Millisecond)))
}

// last returns the newest latency and the 95th percentile of all that are held,
// in milliseconds; false if there are none.
func (l *latencies) last() (newest, p95 float64, ok bool) {
	added := l.added.Load()
	if added == 0 {
		return 0, 0, false
	}
	held := make([]float64, min(added, uint64(len(l.newest))))
	for i := range held {
		held[i] = math.Float64frombits(l.newest[i].Load())
	}
	newest = held[(added-1)%uint64(len(l.newest))]
	slices.Sort(held)
	return newest, quantile(held, 0.95), true
}

// AppendMetrics appends the figures named urza.prefetch.* in the contract, and
// once there was a request the SLO of its latency: the 95th percentile of the
// last 1024, with the objective.
func (w *PrefetchWorker) AppendMetrics(dst []leyline.Metric) []leyline.Metric {
	newest, p95, measured := w.latency.last()
	dst = append(dst,
		leyline.Metric{Name: "urza.prefetch.hits", Value: float64(w.count.hits.Load()), Unit: leyline.UnitCount},
		leyline.Metric{Name: "urza.prefetch.misses", Value: float64(w.count.misses.Load()), Unit: leyline.UnitCount},
		leyline.Metric{Name: "urza.prefetch.errors", Value: float64(w.count.errors.Load()), Unit: leyline.UnitCount},
		leyline.Metric{Name: "urza.prefetch.latency_ms", Value: newest, Unit: leyline.UnitMillis},
	)
	if !measured {
		return dst
	}
	objective := float64(w.cfg.Objective) / float64(time.Millisecond)
	return append(dst,
		leyline.Metric{Name: "slo.urza_prefetch_latency_ms_objective", Value: objective, Unit: leyline.UnitMillis},
		leyline.Metric{Name: "slo.urza_prefetch_latency_ms_actual", Value: p95, Unit: leyline.UnitMillis},
	)
}
