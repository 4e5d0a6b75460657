package weatherlight

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/leyline/leylinepb"
)

// report makes a packet, with the emergency signal that waits if alarm is true,
// and leaves it to be published.
func (r *Reporter) report(snap Snapshot, h health, now time.Time, alarm bool) {
	packet := r.packet(snap, h, now)
	if alarm {
		if signal := r.emergency.take(); signal != nil {
			packet.Level = leylinepb.TelemetryLevel_TELEMETRY_LEVEL_CRITICAL
			packet.Events = append(packet.Events, emergencyEvent(signal))
		}
	}
	r.lastStatus, r.made = h.status, now
	r.own.push(letter{packet, Priority(packet)})
}

// farewell makes the last packet.
func (r *Reporter) farewell() {
	now := time.Now()
	snap := r.cfg.Supervisor.Snapshot()
	h := r.judge(snap, now)
	h.summary = summaryShutdown
	r.report(snap, h, now, true)
}

// packet makes a packet of contract section 5.
func (r *Reporter) packet(snap Snapshot, h health, now time.Time) *leylinepb.TelemetryPacket {
	r.metrics, r.workers = r.appendOwn(r.metrics[:0], r.workers[:0], snap, now)
	for _, source := range r.cfg.Sources {
		r.metrics = source.AppendMetrics(r.metrics)
	}
	r.metrics = r.appendObjectives(r.metrics)
	packet := &leylinepb.TelemetryPacket{
		PacketId:        "weatherlight-" + uuid.NewString(),
		Timestamp:       timestamppb.New(now),
		SourceSubsystem: "weatherlight",
		Level:           leylinepb.TelemetryLevel_TELEMETRY_LEVEL_INFO,
		Metrics:         make([]*leylinepb.MetricPoint, 0, len(r.metrics)),
		SystemHealth: &leylinepb.SystemHealth{
			Status:  h.status,
			Summary: h.summary,
			Indicators: map[string]string{
				"instance":            r.cfg.Instance,
				"workers_running":     strconv.Itoa(snap.Running),
				"workers_backing_off": strconv.Itoa(snap.BackingOff),
				"workers_parked":      strconv.Itoa(snap.Parked),
				"workers_abandoned":   strconv.Itoa(snap.Abandoned),
			},
		},
	}
	for _, m := range r.metrics {
		if finite(m.Value) {
			packet.Metrics = append(packet.Metrics, m.Point())
		}
	}
	if event := r.errorEvent(snap.LastFailure, now); event != nil {
		packet.Events = append(packet.Events, event)
	}
	return packet
}

// errorEvent returns the event about the last failure, nil if there was none
// lately. As long as it is about the same failure it keeps its id.
func (r *Reporter) errorEvent(last *Failure, now time.Time) *leylinepb.TelemetryEvent {
	if last == nil || !now.Before(last.At.Add(r.cfg.RecentError)) {
		return nil
	}
	if last != r.lastFailed {
		r.lastFailed = last
		r.lastError = &leylinepb.TelemetryEvent{
			EventId:     uuid.NewString(),
			Description: "worker_error",
			Level:       leylinepb.TelemetryLevel_TELEMETRY_LEVEL_WARNING,
			Attributes: map[string]string{
				"worker":        last.Worker,
				"error":         clip(last.Err.Error()),
				"last_error_ts": strconv.FormatFloat(unixSeconds(last.At), 'f', 3, 64),
			},
		}
	}
	return r.lastError
}

// appendOwn appends the figures that are not those of a source to dst. It uses
// workers as scratch space and returns it too.
func (r *Reporter) appendOwn(dst []leyline.Metric, workers []WorkerStatus, snap Snapshot, now time.Time) ([]leyline.Metric, []WorkerStatus) {
	dst = append(dst,
		count("weatherlight.tasks.running", snap.Running),
		count("weatherlight.tasks.backing_off", snap.BackingOff),
		count("weatherlight.tasks.parked", snap.Parked),
		count("weatherlight.tasks.abandoned", snap.Abandoned),
		count("weatherlight.restarts_total", snap.Restarts),
		count("weatherlight.failures_total", snap.Failures),
		count("weatherlight.events_dropped_total", snap.EventsDropped),
		count("weatherlight.telemetry.queued", r.own.len()+r.forwarded.len()),
		count("weatherlight.telemetry.dropped_total", r.own.dropped.Load()),
		count("weatherlight.telemetry.publish_errors_total", r.own.failed.Load()+r.forwarded.failed.Load()),
		count("kasmina.telemetry.dropped_total", r.forwarded.dropped.Load()),
	)
	if !snap.Started.IsZero() {
		dst = append(dst,
			leyline.Metric{Name: "weatherlight.started_at", Value: unixSeconds(snap.Started), Unit: leyline.UnitUnix},
			leyline.Metric{Name: "weatherlight.uptime_s", Value: max(0, now.Sub(snap.Started)).Seconds(), Unit: leyline.UnitSeconds},
		)
	}
	if snap.LastFailure != nil {
		dst = append(dst, leyline.Metric{
			Name: "weatherlight.last_error_ts", Value: unixSeconds(snap.LastFailure.At), Unit: leyline.UnitUnix,
		})
	}
	dst = r.emergency.appendMetrics(dst, now)
	workers = r.cfg.Supervisor.AppendWorkers(workers)
	return r.appendWorkers(dst, workers), workers
}

// appendWorkers appends the figures of each worker, if there are not too many;
// else those that are not running come first.
func (r *Reporter) appendWorkers(dst []leyline.Metric, workers []WorkerStatus) []leyline.Metric {
	if omitted := len(workers) - r.cfg.MaxWorkers; omitted > 0 {
		slices.SortStableFunc(workers, func(a, b WorkerStatus) int { return btoi(a.up()) - btoi(b.up()) })
		workers = workers[:r.cfg.MaxWorkers]
		dst = append(dst, count("weatherlight.workers_omitted", omitted))
	}
	for _, w := range workers {
		prefix := "weatherlight.worker." + w.Name
		dst = append(dst,
			leyline.Metric{Name: prefix + ".running", Value: float64(btoi(w.up())), Unit: leyline.UnitBool},
			count(prefix+".restarts", w.Restarts),
		)
		if w.State == StateBackingOff {
			dst = append(dst, leyline.Metric{
				Name: prefix + ".backoff_seconds", Value: w.Backoff.Seconds(), Unit: leyline.UnitSeconds,
			})
		}
	}
	return dst
}

// appendObjectives appends the pairs for those objectives whose figure is in dst.
func (r *Reporter) appendObjectives(dst []leyline.Metric) []leyline.Metric {
	figures := dst
	for _, o := range r.cfg.Objectives {
		i := slices.IndexFunc(figures, func(m leyline.Metric) bool { return m.Name == o.Metric })
		if i < 0 || !finite(figures[i].Value) {
			continue
		}
		dst = append(dst,
			leyline.Metric{Name: "slo." + o.Name + "_objective", Value: o.Value, Unit: figures[i].Unit},
			leyline.Metric{Name: "slo." + o.Name + "_actual", Value: figures[i].Value, Unit: figures[i].Unit},
		)
	}
	return dst
}

// up reports whether the worker is ready.
func (s WorkerStatus) up() bool { return s.State == StateRunning }

func count[N int | uint64](name string, n N) leyline.Metric {
	return leyline.Metric{Name: name, Value: float64(n), Unit: leyline.UnitCount}
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
