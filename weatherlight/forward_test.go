package weatherlight_test

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/weatherlight"
)

func TestForward(t *testing.T) {
	normal, high, critical := leylinepb.MessagePriority_MESSAGE_PRIORITY_NORMAL, leylinepb.MessagePriority_MESSAGE_PRIORITY_HIGH, leylinepb.MessagePriority_MESSAGE_PRIORITY_CRITICAL
	says := func(name string) *leylinepb.SystemHealth {
		return &leylinepb.SystemHealth{Indicators: map[string]string{"priority": name}}
	}
	warning := leylinepb.TelemetryLevel_TELEMETRY_LEVEL_WARNING
	cases := []struct {
		packet   *leylinepb.TelemetryPacket
		priority leylinepb.MessagePriority
		want     leylinepb.MessagePriority
	}{
		{&leylinepb.TelemetryPacket{}, 0, normal},
		{&leylinepb.TelemetryPacket{Level: warning}, 0, high},
		{&leylinepb.TelemetryPacket{Level: warning}, normal, normal},
		{&leylinepb.TelemetryPacket{}, critical, critical},
		{&leylinepb.TelemetryPacket{SystemHealth: says("MESSAGE_PRIORITY_CRITICAL")}, normal, critical},
		{&leylinepb.TelemetryPacket{Level: warning, SystemHealth: says("MESSAGE_PRIORITY_NORMAL")}, 0, normal},
		{&leylinepb.TelemetryPacket{Level: warning, SystemHealth: says("urgent!")}, 0, high},
	}
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{})
		st.start(t)
		st.wire.take()
		for i, tc := range cases {
			tc.packet.PacketId = fmt.Sprint(i)
			st.reporter.Forward(tc.packet, tc.priority)
		}
		got := st.wire.take()
		for i, s := range got {
			if s.packet.GetPacketId() != fmt.Sprint(i) || s.priority != cases[i].want {
				t.Errorf("packet %s has %v, want %v", s.packet.GetPacketId(), s.priority, cases[i].want)
			}
		}
		if len(got) != len(cases) {
			t.Errorf("%d packets, want %d", len(got), len(cases))
		}
	})
}

func TestForwardIsBoundedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{ForwardSize: 3})
		for i := range 5 { // nobody publishes yet
			st.reporter.Forward(&leylinepb.TelemetryPacket{PacketId: fmt.Sprint(i)}, 0)
		}
		st.start(t)
		var ids []string
		for _, s := range st.wire.take() {
			if s.packet.GetSourceSubsystem() == "weatherlight" {
				wantMetric(t, s.packet, "kasmina.telemetry.dropped_total", 2)
				wantMetric(t, s.packet, "weatherlight.telemetry.dropped_total", 0)
			} else {
				ids = append(ids, s.packet.GetPacketId())
			}
		}
		wantLines(t, []string{"2", "3", "4"}, ids)
	})
}

func TestForwardMendsWhatReadersFailOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{})
		st.start(t)
		st.wire.take()
		bad := &timestamppb.Timestamp{Seconds: 1, Nanos: -1}
		good := timestamppb.New(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
		st.reporter.Forward(&leylinepb.TelemetryPacket{
			Timestamp: &timestamppb.Timestamp{Seconds: math.MaxInt64},
			Metrics: []*leylinepb.MetricPoint{
				{Name: "a", Value: math.NaN()}, {Name: "b", Value: math.Inf(1)}, nil, {Name: "c", Value: 1},
			},
			Spans: []*leylinepb.TraceSpan{{StartTime: bad, EndTime: good}},
		}, 0)
		st.reporter.Forward(&leylinepb.TelemetryPacket{Timestamp: good}, 0)
		got := st.wire.take()
		first := got[0].packet
		if !first.GetTimestamp().AsTime().Equal(time.Now()) || len(first.GetMetrics()) != 1 || first.GetMetrics()[0].GetName() != "c" {
			t.Errorf("%v", first)
		}
		if span := first.GetSpans()[0]; span.GetStartTime() != nil || !proto.Equal(span.GetEndTime(), good) {
			t.Errorf("%v", span)
		}
		if !proto.Equal(got[1].packet.GetTimestamp(), good) {
			t.Errorf("a good timestamp became %v", got[1].packet.GetTimestamp())
		}
	})
}
