package weatherlight

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline/leylinepb"
)

// Priority returns the priority of a packet: what its indicator "priority" says,
// else HIGH for a packet at WARNING or above, else NORMAL.
func Priority(packet *leylinepb.TelemetryPacket) leylinepb.MessagePriority {
	if said := saidPriority(packet); said != leylinepb.MessagePriority_MESSAGE_PRIORITY_UNSPECIFIED {
		return said
	}
	if packet.GetLevel() >= leylinepb.TelemetryLevel_TELEMETRY_LEVEL_WARNING {
		return leylinepb.MessagePriority_MESSAGE_PRIORITY_HIGH
	}
	return leylinepb.MessagePriority_MESSAGE_PRIORITY_NORMAL
}

// saidPriority returns the priority that the packet itself names, UNSPECIFIED if
// it names none that exists.
func saidPriority(packet *leylinepb.TelemetryPacket) leylinepb.MessagePriority {
	name := packet.GetSystemHealth().GetIndicators()["priority"]
	return leylinepb.MessagePriority(leylinepb.MessagePriority_value[name])
}

// mend takes out of a packet what its readers fail on.
func mend(packet *leylinepb.TelemetryPacket, now time.Time) {
	if packet.GetTimestamp() == nil || packet.GetTimestamp().CheckValid() != nil {
		packet.Timestamp = timestamppb.New(now)
	}
	packet.Metrics = slices.DeleteFunc(packet.GetMetrics(), func(m *leylinepb.MetricPoint) bool {
		return m == nil || !finite(m.GetValue())
	})
	for _, span := range packet.GetSpans() {
		for _, at := range []**timestamppb.Timestamp{&span.StartTime, &span.EndTime} {
			if *at != nil && (*at).CheckValid() != nil {
				*at = nil
			}
		}
	}
}

// maxText bounds what of a text that comes from elsewhere goes into a packet.
const maxText = 512

// clip returns s as valid UTF-8 of at most maxText bytes.
func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "")
}
