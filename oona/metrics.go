package oona

import (
	"sync/atomic"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// AppendMetrics appends the client's figures to dst, under the names of
// leyline/contract.md, section 5, and ours. It sends nothing: depths are as last seen, see
// [Client.Depth].
func (c *Client) AppendMetrics(dst []leyline.Metric) []leyline.Metric {
	dst = c.appendPublishing(dst)
	dst = c.appendConsuming(dst)
	dst = c.appendDepths(dst)
	dst = c.appendKernelRefusals(dst)
	return c.stats.refusals.AppendMetrics(dst)
}

func count[N int | int64 | uint64](name string, n N) leyline.Metric {
	return leyline.Metric{Name: name, Value: float64(n), Unit: leyline.UnitCount}
}

func millis(name string, nanos *atomic.Int64) leyline.Metric {
	return leyline.Metric{Name: name, Value: float64(nanos.Load()) / float64(time.Millisecond), Unit: leyline.UnitMillis}
}

func (c *Client) appendPublishing(dst []leyline.Metric) []leyline.Metric {
	s := &c.stats
	dst = append(dst,
		count("oona.publish_total", s.publishTotal.Load()),
		count("oona.publish_rerouted", s.publishRerouted.Load()),
		count("oona.publish_dropped", s.publishDropped.Load()),
		millis("oona.publish_latency_ms", &s.publishNanos),
		count("oona.publish_breaker_state", int(c.publishing.state())),
		count("oona.consume_breaker_state", int(c.consumers.breaker())),
		count("oona.breaker_publish_open", s.publishBreaks.Load()),
		count("oona.breaker_consume_open", s.consumeBreaks.Load()),
		leyline.Metric{Name: "oona.conservative_mode", Value: boolean(c.conservative.on.Load()), Unit: leyline.UnitBool},
	)
	return c.emergencies.appendMetrics(dst)
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (c *Client) appendConsuming(dst []leyline.Metric) []leyline.Metric {
	s := &c.stats
	held, retrying := c.consumers.held()
	return append(dst,
		millis("oona.consume_latency_ms", &s.consumeNanos),
		count("oona.consume_total", s.finishedTotal.Load()),
		count("oona.answers_total", s.answersTotal.Load()),
		count("oona.retry_total", s.retryTotal.Load()),
		count("oona.dead_letter_total", s.deadLetterTotal.Load()),
		count("oona.read_total", s.readTotal.Load()),
		count("oona.reclaimed_total", s.reclaimedTotal.Load()),
		count("oona.duplicates_total", s.duplicateTotal.Load()),
		count("oona.ownership_lost_total", s.ownershipLost.Load()),
		count("oona.data_loss_total", s.dataLossTotal.Load()),
		count("oona.gaps_total", s.gapTotal.Load()),
		count("oona.handler_failures_total", s.handlerFailures.Load()),
		count("oona.handlers_abandoned_total", s.handlersAbandoned.Load()),
		count("oona.bus_errors_total", s.busErrors.Load()),
		count("oona.clock_alarms_total", s.clockAlarms.Load()),
		count("oona.trimmed_total", s.trimmedTotal.Load()),
		count("oona.consumers_removed_total", s.consumersRemoved.Load()),
		count("oona.blocked_streams", s.blockedStreams.Load()),
		count("oona.held", held),
		count("oona.retrying", retrying),
	)
}

func (c *Client) appendDepths(dst []leyline.Metric) []leyline.Metric {
	s := &c.cfg.Streams
	var sum, most int64
	for _, name := range s.All() {
		if name != s.DeadLetter {
			waiting := c.Depth(name).Waiting
			sum, most = sum+waiting, max(most, waiting)
		}
	}
	return append(dst,
		count("oona.queue.depth", sum),
		count("oona.queue_depth_max", most),
		count("oona.queue_depth_normal", c.Depth(s.Normal).Waiting),
		count("oona.queue_depth_emergency", c.Depth(s.Emergency).Waiting),
		count("oona.queue_depth_kernel_requests", c.Depth(s.KernelRequests).Waiting),
		count("oona.queue_depth_kernel_ready", c.Depth(s.KernelReady).Waiting),
		count("oona.queue_depth_kernel_errors", c.Depth(s.KernelErrors).Waiting),
		count("oona.dead_letters", c.Depth(s.DeadLetter).Length),
	)
}

// appendKernelRefusals sums up what dashboards know under one name each.
func (c *Client) appendKernelRefusals(dst []leyline.Metric) []leyline.Metric {
	var stale, replayed uint64
	for _, r := range c.stats.refusals.Snapshot() {
		switch r.Type {
		case "KERNEL_PREFETCH_REQUEST", "KERNEL_PREFETCH_READY", "KERNEL_PREFETCH_ERROR":
		default:
			continue
		}
		switch r.Reason {
		case leyline.Stale:
			stale += r.Count
		case leyline.Replayed:
			replayed += r.Count
		}
	}
	return append(dst,
		count("oona.kernel_stale_dropped", stale),
		count("oona.kernel_replay_dropped", replayed),
	)
}
