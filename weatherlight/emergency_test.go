package weatherlight_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/weatherlight"
)

const (
	elevated     = leylinepb.EmergencyLevel_EMERGENCY_LEVEL_ELEVATED
	conservative = leylinepb.EmergencyLevel_EMERGENCY_LEVEL_CONSERVATIVE
	halt         = leylinepb.EmergencyLevel_EMERGENCY_LEVEL_HALT
)

func signal(level leylinepb.EmergencyLevel) *leylinepb.EmergencySignal {
	return &leylinepb.EmergencySignal{Level: level}
}

func TestEmergencyIsReportedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{})
		st.start(t)
		first := st.wire.take()[0].packet
		wantMetric(t, first, "weatherlight.emergency.detections_total", 0)
		if _, ok := metricOf(first, "weatherlight.emergency.last_level"); ok {
			t.Error("last_level before there was a signal")
		}
		time.Sleep(time.Second)
		st.reporter.Emergency(&leylinepb.EmergencySignal{
			Level:       halt,
			Reason:      strings.Repeat("gradient explosion ", 100),
			Origin:      "tolaria",
			RunId:       "run-1",
			TriggeredAt: timestamppb.New(time.Now()),
			Attributes:  map[string]string{"left": "out"},
		}, time.Now().Add(-250*time.Millisecond))
		got := st.wire.take()
		if len(got) != 1 {
			t.Fatalf("%d packets", len(got))
		}
		p := got[0].packet
		if got[0].priority != leylinepb.MessagePriority_MESSAGE_PRIORITY_HIGH || p.GetLevel() != leylinepb.TelemetryLevel_TELEMETRY_LEVEL_CRITICAL {
			t.Errorf("priority %v, level %v", got[0].priority, p.GetLevel())
		}
		if h := p.GetSystemHealth(); h.GetStatus() != leylinepb.HealthStatus_HEALTH_STATUS_UNHEALTHY || h.GetSummary() != "emergency_halt" {
			t.Errorf("health %v", h)
		}
		events := eventsOf(p, "emergency_signal_received")
		if len(events) != 1 || events[0].GetLevel() != leylinepb.TelemetryLevel_TELEMETRY_LEVEL_CRITICAL {
			t.Fatalf("events %v", p.GetEvents())
		}
		want := map[string]string{
			"level": "EMERGENCY_LEVEL_HALT", "reason": strings.Repeat("gradient explosion ", 100)[:512],
			"origin": "tolaria", "run_id": "run-1", "triggered_at": "2000-01-01T00:00:01Z",
		}
		if diff := cmp.Diff(want, events[0].GetAttributes()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		wantMetric(t, p, "weatherlight.emergency.detections_total", 1)
		wantMetric(t, p, "weatherlight.emergency.skipped_total", 0)
		wantMetric(t, p, "weatherlight.emergency.last_level", 4)
		wantMetric(t, p, "weatherlight.emergency.last_detect_ms_ago", 250)
	})
}

func TestEmergencyHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{Interval: time.Hour, EmergencyHold: time.Minute})
		start := time.Now()
		st.start(t)
		time.Sleep(time.Second)
		st.reporter.Emergency(signal(halt), time.Now())
		time.Sleep(30 * time.Second)
		st.reporter.Emergency(signal(conservative), time.Now()) // must not lower what a halt has raised
		time.Sleep(9 * time.Second)
		st.reporter.Emergency(signal(elevated), time.Now()) // does not show in the health
		time.Sleep(10 * time.Minute)
		wantLines(t, []string{
			"0s healthy steady",
			"1s unhealthy emergency_halt",
			"31s unhealthy emergency_halt",
			"40s unhealthy emergency_halt",
			"1m1s degraded emergency_conservative",
			"1m31s healthy steady",
		}, st.lines(start))
	})
}

func TestEmergencyFloodIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{})
		st.start(t)
		st.wire.take()
		start := time.Now()
		for i := range 1000 { // one per millisecond, one of them graver
			level := conservative
			if i == 500 {
				level = halt
			}
			st.reporter.Emergency(signal(level), time.Now())
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		got := st.wire.take()
		var levels []string
		var last time.Time
		for _, s := range got {
			if d := s.at.Sub(last); d < 200*time.Millisecond {
				t.Errorf("packets %v apart", d)
			}
			last = s.at
			for _, e := range eventsOf(s.packet, "emergency_signal_received") {
				levels = append(levels, strings.TrimPrefix(e.GetAttributes()["level"], "EMERGENCY_LEVEL_"))
			}
		}
		wantLines(t, []string{"CONSERVATIVE", "CONSERVATIVE", "CONSERVATIVE", "HALT", "CONSERVATIVE", "CONSERVATIVE"}, levels)
		end := got[len(got)-1].packet
		wantMetric(t, end, "weatherlight.emergency.detections_total", 1000)
		wantMetric(t, end, "weatherlight.emergency.skipped_total", 1000-6)
		if d := last.Sub(start); d != time.Second {
			t.Errorf("the last one after %v", d)
		}
	})
}

// A packet that is due must not carry a signal earlier than allowed.
func TestEmergencyAndDuePacketTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{})
		st.start(t)
		time.Sleep(9950 * time.Millisecond)
		st.reporter.Emergency(signal(elevated), time.Now())
		time.Sleep(10 * time.Millisecond)
		st.reporter.Emergency(signal(elevated), time.Now())
		time.Sleep(time.Second)
		var at []time.Duration
		start := st.supervisor.Snapshot().Started
		for _, s := range st.wire.take() {
			if len(eventsOf(s.packet, "emergency_signal_received")) > 0 {
				at = append(at, s.at.Sub(start).Round(time.Millisecond))
			}
		}
		if diff := cmp.Diff([]time.Duration{9950 * time.Millisecond, 10150 * time.Millisecond}, at); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}
