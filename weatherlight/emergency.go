package weatherlight

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/leyline/leylinepb"
)

// emergency is what is known of emergency signals. They are reported, not
// obeyed.
type emergency struct {
	hold time.Duration

	mu           sync.Mutex
	detections   uint64
	skipped      uint64
	last         time.Time // when the last one came in
	lastLevel    leylinepb.EmergencyLevel
	halt         time.Time // when the last one of level HALT came in
	conservative time.Time // when the last one of level CONSERVATIVE came in
	waiting      *leylinepb.EmergencySignal
}

// receive takes a signal. Of those that come before there is a packet, the
// gravest one is reported, and the others are counted.
func (e *emergency) receive(signal *leylinepb.EmergencySignal, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.detections++
	if !at.Before(e.last) {
		e.last, e.lastLevel = at, signal.GetLevel()
	}
	switch signal.GetLevel() {
	case leylinepb.EmergencyLevel_EMERGENCY_LEVEL_HALT:
		e.halt = later(e.halt, at)
	case leylinepb.EmergencyLevel_EMERGENCY_LEVEL_CONSERVATIVE:
		e.conservative = later(e.conservative, at)
	}
	if e.waiting != nil {
		e.skipped++
		if e.waiting.GetLevel() > signal.GetLevel() {
			return
		}
	}
	e.waiting = signal
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// waits reports whether there is a signal that no packet has reported.
func (e *emergency) waits() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.waiting != nil
}

// take returns the signal that waits, nil if none, which is then reported.
func (e *emergency) take() *leylinepb.EmergencySignal {
	e.mu.Lock()
	defer e.mu.Unlock()
	signal := e.waiting
	e.waiting = nil
	return signal
}

// holds returns until when a halt and a conservative mode show in the health,
// zero if there was none.
func (e *emergency) holds() (halt, conservative time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.halt.IsZero() {
		halt = e.halt.Add(e.hold)
	}
	if !e.conservative.IsZero() {
		conservative = e.conservative.Add(e.hold)
	}
	return halt, conservative
}

func (e *emergency) appendMetrics(dst []leyline.Metric, now time.Time) []leyline.Metric {
	e.mu.Lock()
	defer e.mu.Unlock()
	dst = append(dst,
		count("weatherlight.emergency.detections_total", e.detections),
		count("weatherlight.emergency.skipped_total", e.skipped),
	)
	if e.detections == 0 {
		return dst
	}
	ago := max(0, now.Sub(e.last))
	return append(dst,
		leyline.Metric{Name: "weatherlight.emergency.last_level", Value: float64(e.lastLevel), Unit: leyline.UnitCount},
		leyline.Metric{Name: "weatherlight.emergency.last_detect_ms_ago", Value: millis(ago), Unit: leyline.UnitMillis},
	)
}

// emergencyEvent is the event that reports a signal.
func emergencyEvent(signal *leylinepb.EmergencySignal) *leylinepb.TelemetryEvent {
	attributes := map[string]string{"level": signal.GetLevel().String()}
	for key, value := range map[string]string{
		"reason": signal.GetReason(),
		"origin": signal.GetOrigin(),
		"run_id": signal.GetRunId(),
	} {
		if value != "" {
			attributes[key] = clip(value)
		}
	}
	if at := signal.GetTriggeredAt(); at != nil && at.CheckValid() == nil {
		attributes["triggered_at"] = at.AsTime().Format(time.RFC3339Nano)
	}
	return &leylinepb.TelemetryEvent{
		EventId:     uuid.NewString(),
		Description: "emergency_signal_received",
		Level:       leylinepb.TelemetryLevel_TELEMETRY_LEVEL_CRITICAL,
		Attributes:  attributes,
	}
}
