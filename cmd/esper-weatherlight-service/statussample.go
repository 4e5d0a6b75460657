package main

import (
	"cmp"
	"math"
	"strings"
	"time"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// subsystem is what a packet of ours says in source_subsystem.
const subsystem = "weatherlight"

// summaryShutdown is the summary of the last packet of a process that stopped in
// order.
const summaryShutdown = "shutdown"

// maxFigure bounds what a figure may be, so that sums of them stay finite.
const maxFigure = 1e18

// countKey says what a counter of messages that were not handled counts.
type countKey struct {
	Stream string
	Type   string
	Reason string
}

// workerFailure is the last error of a worker.
type workerFailure struct {
	Text string
	At   time.Time
}

// sample is what one telemetry packet of a Weatherlight process says, in a form
// that can be compared with the next one.
type sample struct {
	Instance string
	Arrived  time.Time // by the clock of Redis
	Made     time.Time // by the clock of the process
	Health   pb.HealthStatus
	Summary  string
	// Indicators are those of the packet's health.
	Indicators map[string]string
	// Figures are the metrics without attributes of their own, by name; of a
	// repeated name the last one counts.
	Figures map[string]float64
	// Refused and Dead are the counters of messages that were not handled.
	Refused, Dead map[countKey]float64
	// States are what workers say of themselves beyond running or not.
	States map[string]string
	// Policies are the versions of the policies in use.
	Policies []string
	// Duration is the histogram of the time from the arrival of a request to
	// its answer, cumulative counts by upper bound in ms; nil where not told.
	Duration map[float64]float64
	// Failures are the errors that the packet reports, by worker.
	Failures map[string]workerFailure
}

// instanceOf names the process that made a packet: by itself, by who signed it,
// or, of a Python process that does neither, by its subsystem.
func instanceOf(packet *pb.TelemetryPacket, signer string) string {
	if name := packet.GetSystemHealth().GetIndicators()["instance"]; name != "" {
		return name
	}
	if _, name, ok := strings.Cut(signer, "/"); ok && name != "" {
		return name
	}
	return packet.GetSourceSubsystem()
}

// sampleOf reads a packet.
func sampleOf(m *oona.Message, packet *pb.TelemetryPacket) sample {
	s := sample{
		Instance:   instanceOf(packet, m.Envelope.Source()),
		Arrived:    m.Arrival,
		Made:       packet.GetTimestamp().AsTime(),
		Health:     packet.GetSystemHealth().GetStatus(),
		Summary:    packet.GetSystemHealth().GetSummary(),
		Indicators: packet.GetSystemHealth().GetIndicators(),
		Figures:    make(map[string]float64, len(packet.GetMetrics())),
	}
	if packet.GetTimestamp() == nil {
		s.Made = m.Arrival
	}
	for _, point := range packet.GetMetrics() {
		if v := point.GetValue(); !math.IsNaN(v) && !math.IsInf(v, 0) {
			s.take(point.GetName(), min(max(v, -maxFigure), maxFigure), point.GetAttributes())
		}
	}
	for _, event := range packet.GetEvents() {
		s.takeEvent(event)
	}
	return s
}

// take reads one figure.
func (s *sample) take(name string, value float64, attributes map[string]string) {
	if reason, ok := strings.CutPrefix(name, "oona.refused."); ok {
		addTo(&s.Refused, countKey{attributes["stream"], attributes["type"], reason}, value)
		return
	}
	if reason, ok := strings.CutPrefix(name, "oona.dead_lettered."); ok {
		addTo(&s.Dead, countKey{attributes["stream"], attributes["type"], reason}, value)
		return
	}
	if name == figureDuration+suffixBucket {
		if bound, ok := parseBound(attributes[attributeBound]); ok {
			addTo(&s.Duration, bound, value)
		}
		return
	}
	if name == "tamiyo.policy.active" && value != 0 {
		s.Policies = append(s.Policies, cmp.Or(attributes["tamiyo_policy_version"], "without a version"))
	}
	if state := attributes["state"]; state != "" {
		if worker, ok := workerOf(name, ".running"); ok {
			if s.States == nil {
				s.States = make(map[string]string)
			}
			s.States[worker] = state
		}
	}
	s.Figures[name] = value
}

func (s *sample) takeEvent(event *pb.TelemetryEvent) {
	if event.GetDescription() != "worker_error" {
		return
	}
	attributes := event.GetAttributes()
	failure := workerFailure{Text: attributes["error"], At: s.Made}
	if at, ok := parseUnix(attributes["last_error_ts"]); ok {
		failure.At = at
	}
	if s.Failures == nil {
		s.Failures = make(map[string]workerFailure)
	}
	s.Failures[attributes["worker"]] = failure
}

// workerOf returns the worker that a figure weatherlight.worker.<name><suffix>
// is about.
func workerOf(name, suffix string) (worker string, ok bool) {
	rest, ok := strings.CutPrefix(name, "weatherlight.worker.")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, suffix)
}

// figure returns the value of a figure, 0 where the packet has none.
func (s *sample) figure(name string) float64 { return s.Figures[name] }

// prefetches is how many requests were answered, in whichever way.
func (s *sample) prefetches() float64 {
	return s.figure("urza.prefetch.hits") + s.figure("urza.prefetch.misses") + s.figure("urza.prefetch.errors")
}

// hostOf is the part of an instance's name before the boot id.
func hostOf(instance string) string {
	if i := strings.LastIndexByte(instance, '-'); i > 0 {
		return instance[:i]
	}
	return instance
}

func addTo[K comparable](m *map[K]float64, key K, value float64) {
	if *m == nil {
		*m = make(map[K]float64)
	}
	(*m)[key] += value
}

// healthName is a health status in one lower-case word.
func healthName(h pb.HealthStatus) string {
	return strings.ToLower(strings.TrimPrefix(h.String(), "HEALTH_STATUS_"))
}
