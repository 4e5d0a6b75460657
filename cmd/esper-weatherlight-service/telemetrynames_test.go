package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
	"github.com/esper-lite/esper/weatherlight"
)

// contractNames are the names that dashboards know, with their units (contract
// section 5), but for those that are there only once a worker has failed.
func contractNames() map[string]string {
	names := map[string]string{
		"weatherlight.tasks.running": "count", "weatherlight.tasks.backing_off": "count", "weatherlight.restarts_total": "count",
		"weatherlight.uptime_s": "seconds", "weatherlight.started_at": "unix_s",
		"urza.prefetch.latency_ms": "ms", "oona.publish_latency_ms": "ms", "oona.consume_latency_ms": "ms", "urza.library.lookup_latency_ms": "ms",
		"weatherlight.emergency.detections_total": "count", "weatherlight.emergency.skipped_total": "count",
		"weatherlight.emergency.last_level": "count", "weatherlight.emergency.last_detect_ms_ago": "ms",
		"kasmina.telemetry.dropped_total": "count", "oona.queue.depth": "count",
		"slo.urza_prefetch_latency_ms_objective": "ms", "slo.urza_prefetch_latency_ms_actual": "ms",
		"oona.refused.bad_signature": "count", "oona.dead_lettered.unexpected_type": "count",
		"oona.breaker_publish_open": "count", "oona.breaker_consume_open": "count", "oona.conservative_mode": "bool", "urza.library.conservative_mode": "count",
	}
	for _, worker := range []string{"urza_prefetch", "kasmina_prefetch", "tamiyo_policy", "telemetry", "housekeeping", "urza_maintenance", "urza_scrub"} {
		names["weatherlight.worker."+worker+".running"] = "bool"
		names["weatherlight.worker."+worker+".restarts"] = "count"
	}
	for prefix, counts := range map[string]string{
		"urza.prefetch.": "hits misses errors",
		"oona.": "publish_total publish_rerouted publish_dropped queue_depth_max queue_depth_normal queue_depth_emergency queue_depth_kernel_requests " +
			"queue_depth_kernel_ready queue_depth_kernel_errors retry_total dead_letter_total publish_breaker_state consume_breaker_state " +
			"kernel_stale_dropped kernel_replay_dropped emergency_published emergency_rate_dropped",
		"urza.library.": "cache_hits cache_misses cache_errors cache_expired cache_size evictions integrity_failures slow_queries " +
			"breaker_open_total breaker_denied breaker_state",
	} {
		for name := range strings.FieldsSeq(counts) {
			names[prefix+name] = "count"
		}
	}
	return names
}

// namesOf returns the names and units of a packet, and those that it has twice.
func namesOf(p *pb.TelemetryPacket) (names map[string]string, twice []string) {
	names = make(map[string]string)
	for _, m := range p.GetMetrics() {
		if _, ok := names[m.GetName()]; ok && len(m.GetAttributes()) == 0 {
			twice = append(twice, m.GetName())
		}
		names[m.GetName()] = m.GetUnit()
	}
	return names, twice
}

// TestEveryNameOnTheStream: the program, on a real Redis, tells every name that
// dashboards know.
func TestEveryNameOnTheStream(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	client := busClient(t, redis.URL(), "test")
	packets := watchPackets(t, client, "")
	urgent := watchPackets(t, client, client.Streams().Emergency)
	service := start(t, serviceDir(t), with(serviceEnv(redis), "WEATHERLIGHT_TELEMETRY_INTERVAL", "200ms"))
	eventually(t, func() error { return errIf(len(packets.from("weatherlight")) == 0, "no telemetry") })

	// Whatever is told only once there was something.
	if err := redis.Client().Do(t.Context(), "XADD", client.Streams().KernelRequests, "*", "payload", "x", "signature", strings.Repeat("A", 43)+"=").Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Send(t.Context(), outgoing(&pb.FieldReport{ReportId: "1"}, client.Streams().KernelRequests)); err != nil {
		t.Fatal(err)
	}
	publishRequests(t, client, 0, 1)
	signal := &pb.EmergencySignal{Version: 1, Level: pb.EmergencyLevel_EMERGENCY_LEVEL_HALT, Origin: "test", Reason: "drill", TriggeredAt: timestamppb.Now()}
	if _, err := client.Publish(t.Context(), signal); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		all := packets.from("weatherlight")
		names, twice := namesOf(all[len(all)-1])
		var wrong []string
		for name, unit := range contractNames() {
			if names[name] != unit {
				wrong = append(wrong, fmt.Sprintf("%s in %q, want %q", name, names[name], unit))
			}
		}
		slices.Sort(wrong)
		if len(wrong) > 0 || len(twice) > 0 {
			return fmt.Errorf("wrong: %q; twice: %q", wrong, twice)
		}
		return nil
	})
	eventually(t, func() error {
		signalled := func(l *packetLog) bool { return len(l.events("weatherlight", "emergency_signal_received")) > 0 }
		return errIf(!signalled(packets) || !signalled(urgent), "the emergency is not told on both streams")
	})
	service.terminate(10 * time.Second)
	eventually(t, func() error {
		all := packets.from("weatherlight")
		return errIf(all[len(all)-1].GetSystemHealth().GetSummary() != "shutdown", "no last packet")
	})
	all := packets.from("weatherlight")
	for _, p := range all {
		checkForm(t, p)
	}
	if h := all[len(all)-1].GetSystemHealth(); h.GetStatus() != pb.HealthStatus_HEALTH_STATUS_UNHEALTHY {
		t.Errorf("health after a halt is %v", h)
	}
}

// checkForm checks what holds of every packet of ours.
func checkForm(t *testing.T, p *pb.TelemetryPacket) {
	t.Helper()
	indicators := p.GetSystemHealth().GetIndicators()
	host, _ := os.Hostname()
	switch {
	case !strings.HasPrefix(p.GetPacketId(), "weatherlight-"), p.GetTimestamp().CheckValid() != nil,
		p.GetLevel() < pb.TelemetryLevel_TELEMETRY_LEVEL_INFO:
		t.Errorf("packet %q at %v of level %v", p.GetPacketId(), p.GetTimestamp(), p.GetLevel())
	case !strings.HasPrefix(indicators["instance"], host+"-"), indicators["workers_running"] == "", indicators["workers_backing_off"] == "":
		t.Errorf("indicators %v", indicators)
	}
}

// TestFailureOnTheStream: what is told only when a worker has failed, by the whole
// service with one more worker, on a real Redis.
func TestFailureOnTheStream(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	dir := t.TempDir()
	client := busClient(t, redis.URL(), "test")
	packets := watchPackets(t, client, "")
	urgent := watchPackets(t, client, client.Streams().Emergency)
	s, _, err := loadSettings([]string{
		"ESPER_LEYLINE_SECRET=" + testSecret, "REDIS_URL=" + redis.URL(),
		"URZA_DATABASE_URL=sqlite:///" + filepath.Join(dir, "catalog.db"),
		"URZA_ARTIFACT_DIR=" + filepath.Join(dir, "artifacts"),
		"TAMIYO_POLICY_DIR=" + filepath.Join(dir, "policies"),
	})
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	keys, err := openKeys(s, quiet)
	if err != nil {
		t.Fatal(err)
	}
	svc, err := newService(t.Context(), s, keys.Keyring(), newIdentity(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("out of order")
	fail := make(chan struct{})
	_, err = svc.supervisor.Add(weatherlight.Spec{Name: "broken", Backoff: weatherlight.Backoff{Initial: time.Hour}, Worker: weatherlight.WorkerFunc(func(ctx context.Context) error {
		select {
		case <-fail:
			return broken
		case <-ctx.Done():
			return nil
		}
	})})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- svc.run(ctx) }()
	latest := func() *pb.TelemetryPacket {
		all := packets.from("weatherlight")
		if len(all) == 0 {
			return nil
		}
		return all[len(all)-1]
	}
	eventually(t, func() error {
		return errIf(latest().GetSystemHealth().GetSummary() != "steady", "not steady")
	})
	// The interval is 10 s: what comes now comes because health has changed.
	close(fail)
	eventually(t, func() error {
		return errIf(latest().GetSystemHealth().GetSummary() != "backoff", "not backing off")
	})
	names, _ := namesOf(latest())
	for name, unit := range map[string]string{
		"weatherlight.last_error_ts": "unix_s", "weatherlight.worker.broken.backoff_seconds": "seconds", "weatherlight.worker.broken.running": "bool",
	} {
		if names[name] != unit {
			t.Errorf("%s in %q, want %q; there are %v", name, names[name], unit, slices.Sorted(maps.Keys(names)))
		}
	}
	if h := latest().GetSystemHealth(); h.GetStatus() != pb.HealthStatus_HEALTH_STATUS_DEGRADED || h.GetIndicators()["workers_backing_off"] != "1" {
		t.Errorf("health is %v", h)
	}
	told := packets.events("weatherlight", "worker_error")
	if len(told) == 0 || told[0].GetLevel() != pb.TelemetryLevel_TELEMETRY_LEVEL_WARNING || told[0].GetAttributes()["worker"] != "broken" || told[0].GetAttributes()["error"] != broken.Error() {
		t.Errorf("events: %v", told)
	}

	// Packets of subsystems go out with their priority, and say from where.
	svc.forward(&pb.TelemetryPacket{PacketId: "1", SourceSubsystem: "kasmina", Level: pb.TelemetryLevel_TELEMETRY_LEVEL_INFO, Events: []*pb.TelemetryEvent{{Description: "low"}}}, 0)
	svc.forward(&pb.TelemetryPacket{PacketId: "2", SourceSubsystem: "kasmina", Level: pb.TelemetryLevel_TELEMETRY_LEVEL_WARNING, Events: []*pb.TelemetryEvent{{Description: "high"}}}, 0)
	// One that nobody could read is dropped, and stops nothing.
	svc.forward(&pb.TelemetryPacket{PacketId: "3", SourceSubsystem: "kasmina", Events: []*pb.TelemetryEvent{{Description: "\xff"}}}, 0)
	svc.forward(&pb.TelemetryPacket{
		PacketId: "4", SourceSubsystem: "kasmina", Level: pb.TelemetryLevel_TELEMETRY_LEVEL_INFO, Events: []*pb.TelemetryEvent{{Description: "said"}},
		SystemHealth: &pb.SystemHealth{Indicators: map[string]string{"priority": "MESSAGE_PRIORITY_CRITICAL"}},
	}, pb.MessagePriority_MESSAGE_PRIORITY_LOW)
	eventually(t, func() error {
		calm, loud := packets.events("kasmina", "low", "high", "said"), urgent.events("kasmina", "low", "high", "said")
		return errIf(len(calm) != 3 || len(loud) != 2, fmt.Sprintf("%v on their stream, %v on the emergency stream", calm, loud))
	})
	for _, e := range packets.events("kasmina", "low", "high", "said") {
		if e.GetAttributes()["instance"] != svc.instance {
			t.Errorf("event is from %v", e.GetAttributes())
		}
	}
	stop()
	if err := errors.Join(<-ended, svc.close()); err != nil {
		t.Error(err)
	}
	eventually(t, func() error { return errIf(latest().GetSystemHealth().GetSummary() != "shutdown", "no last packet") })
	var dropped float64
	for _, m := range latest().GetMetrics() {
		if m.GetName() == "kasmina.telemetry.dropped_total" {
			dropped = m.GetValue()
		}
	}
	if dropped != 1 {
		t.Errorf("%v packets were dropped, want 1", dropped)
	}
}

// TestEmergencyOutlivesARestart: a process that begins shows a halt that still
// counts.
func TestEmergencyOutlivesARestart(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	client := busClient(t, redis.URL(), "test")
	packets := watchPackets(t, client, "")
	signal := &pb.EmergencySignal{Version: 1, Level: pb.EmergencyLevel_EMERGENCY_LEVEL_HALT, Origin: "test", TriggeredAt: timestamppb.Now()}
	if _, err := client.Publish(t.Context(), signal); err != nil {
		t.Fatal(err)
	}
	service := start(t, serviceDir(t), serviceEnv(redis))
	eventually(t, func() error {
		for _, p := range packets.from("weatherlight") {
			if h := p.GetSystemHealth(); h.GetSummary() == "emergency_halt" && h.GetStatus() == pb.HealthStatus_HEALTH_STATUS_UNHEALTHY {
				return nil
			}
		}
		return errors.New("the halt does not show")
	})
	service.terminate(10 * time.Second)
}
