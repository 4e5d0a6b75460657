package main

import (
	"context"
	"fmt"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/weatherlight"
)

// prefetchObjectiveMS is the service level for the latency of prefetches, in ms
// (contract section 1: delivery p95 < 100 ms).
const prefetchObjectiveMS = 100

// newReporter returns what sends telemetry packets about the service.
func (svc *service) newReporter(s settings) (*weatherlight.Reporter, error) {
	return weatherlight.NewReporter(weatherlight.ReporterConfig{
		Supervisor:     svc.supervisor,
		Publisher:      packetPublisher{svc.bus},
		Instance:       svc.instance,
		Sources:        []weatherlight.Source{figures{svc}},
		Objectives:     []weatherlight.Objective{{Name: "prefetch_latency_ms", Metric: "urza.prefetch.latency_ms", Value: prefetchObjectiveMS}},
		Interval:       s.TelemetryInterval,
		EmergencyHold:  s.EmergencyHold,
		Degraded:       svc.secret.degraded,
		PublishTimeout: s.ShutdownTimeout / 4,
		Logger:         svc.log,
	})
}

// figures are those of every part of the service, known when they are asked for.
type figures struct{ svc *service }

// AppendMetrics appends the figures of all sources.
func (f figures) AppendMetrics(dst []leyline.Metric) []leyline.Metric {
	for _, source := range f.svc.sources {
		dst = source.AppendMetrics(dst)
	}
	return dst
}

// packetPublisher puts packets on the telemetry stream, and those of high
// priority on the emergency stream as well: the Python side puts them there only,
// where Nissa never looks (contract section 5).
type packetPublisher struct{ bus *oona.Client }

// Publish sends one packet; see [weatherlight.Publisher].
func (p packetPublisher) Publish(ctx context.Context, packet *pb.TelemetryPacket, priority pb.MessagePriority) error {
	out := []oona.Outgoing{{Message: packet}}
	if priority >= pb.MessagePriority_MESSAGE_PRIORITY_HIGH {
		out = append(out, oona.Outgoing{Message: packet, Stream: p.bus.Streams().Emergency})
	}
	receipts, err := p.bus.Send(ctx, out...)
	switch {
	case err != nil && len(receipts) == 0: // it cannot be sealed, now or ever
		return fmt.Errorf("%w: %w", weatherlight.ErrRejected, err)
	case len(receipts) > 0 && receipts[0].Err == nil:
		return nil // it is on its own stream; the copy is a courtesy
	}
	return err
}

// forward hands telemetry of a subsystem to the reporter. Its events say which of
// the replicas they are from.
func (svc *service) forward(packet *pb.TelemetryPacket, priority pb.MessagePriority) {
	for _, e := range packet.GetEvents() {
		if e.Attributes == nil {
			e.Attributes = make(map[string]string)
		}
		e.Attributes["instance"] = svc.instance
	}
	svc.reporter.Forward(packet, priority)
}
