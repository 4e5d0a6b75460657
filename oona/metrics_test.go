package oona_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
)

// contractMetrics are the names that dashboards know (contract section 5).
var contractMetrics = map[string]string{
	"publish_total": "count", "publish_rerouted": "count", "publish_dropped": "count", "publish_latency_ms": "ms",
	"consume_latency_ms": "ms", "queue_depth_max": "count", "queue_depth_normal": "count", "queue_depth_emergency": "count",
	"queue_depth_kernel_requests": "count", "queue_depth_kernel_ready": "count", "queue_depth_kernel_errors": "count",
	"retry_total": "count", "dead_letter_total": "count", "publish_breaker_state": "count", "consume_breaker_state": "count",
	"breaker_publish_open": "count", "breaker_consume_open": "count", "conservative_mode": "bool",
	"kernel_stale_dropped": "count", "kernel_replay_dropped": "count", "emergency_published": "count",
	"emergency_rate_dropped": "count", "queue.depth": "count",
}

func TestMetricNames(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		got := make(map[string]string)
		for _, m := range c.AppendMetrics(nil) {
			if _, ok := got[m.Name]; ok {
				t.Errorf("%s is reported twice", m.Name)
			}
			got[m.Name] = m.Unit
		}
		for name, unit := range contractMetrics {
			if got["oona."+name] != unit {
				t.Errorf("oona.%s is in %q, want %q", name, got["oona."+name], unit)
			}
		}
	})
}

func TestMetricsCount(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		s := c.Streams()
		publish(t, c, requests(10)...)
		entries := rdb.XRange(t.Context(), s.KernelRequests, "-", "+").Val()
		for _, e := range entries[:3] {
			add(t, rdb, s.KernelRequests, e.Values)
		}
		add(t, rdb, s.KernelRequests, sealedAged(t, "old", 1e12))
		add(t, rdb, s.KernelRequests, map[string]any{"payload": "x"})
		add(t, rdb, s.KernelRequests, sealed(t, newCodec(t), ready("misplaced")))
		rdb.XGroupCreateMkStream(t.Context(), s.Normal, "nissa", "0")
		add(t, rdb, s.Normal, map[string]any{"bootstrap": "1"})
		if err := c.Sample(t.Context()); err != nil { // before the group: nothing waits for it
			t.Fatal(err)
		}
		if err := metricIs(c, "oona.queue.depth", 1); err != nil {
			t.Error(err)
		}
		consume(t, c, oona.Subscription{Types: requestType}, answering())
		eventually(t, settled(t, rdb, s.KernelRequests, 16))
		eventually(t, func() error { return metricIs(c, "oona.consume_total", 10) })
		eventually(t, func() error { return metricIs(c, "oona.held", 0) })
		if err := c.Sample(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := map[string]float64{
			"oona.publish_total": 10, "oona.consume_total": 10, "oona.answers_total": 10, "oona.read_total": 16,
			"oona.dead_letter_total": 1, "oona.dead_letters": 1, "oona.held": 0,
			"oona.kernel_stale_dropped": 1, "oona.kernel_replay_dropped": 3,
			"oona.queue.depth": 1, "oona.queue_depth_max": 1, "oona.queue_depth_normal": 1, "oona.queue_depth_kernel_requests": 0,
			"oona.refused.replayed": 3, "oona.refused.stale": 1, "oona.refused.bad_signature": 0, "oona.refused.unsigned": 1,
			"oona.dead_lettered.unexpected_type": 1,
		}
		got := make(map[string]float64)
		for name := range want {
			got[name] = 0
		}
		for _, m := range c.AppendMetrics(nil) {
			if _, ok := want[m.Name]; ok {
				got[m.Name] = m.Value
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("figures (-want +got):\n%s", diff)
		}
		if m := c.AppendMetrics([]leyline.Metric{{Name: "first"}}); m[0].Name != "first" {
			t.Error("what was there is gone")
		}
	})
}
