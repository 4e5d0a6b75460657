package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/weatherlight"
)

// prefetchObjectiveMS is the service level for the latency of prefetches, in ms
// (contract section 1: delivery p95 < 100 ms).
const prefetchObjectiveMS = 100

// newReporter returns what sends telemetry packets about the service.
func (svc *service) newReporter(s settings, id identity) (*weatherlight.Reporter, error) {
	return weatherlight.NewReporter(weatherlight.ReporterConfig{
		Supervisor:     svc.supervisor,
		Publisher:      packetPublisher{svc.bus},
		Instance:       id.instance(),
		Sources:        []weatherlight.Source{figures{svc}},
		Objectives:     []weatherlight.Objective{{Name: "prefetch_latency_ms", Metric: "urza.prefetch.latency_ms", Value: prefetchObjectiveMS}},
		Interval:       s.TelemetryInterval,
		EmergencyHold:  s.EmergencyHold,
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
	case leyline.ReasonOf(err) == leyline.TooLarge:
		return fmt.Errorf("%w: %w", weatherlight.ErrRejected, err)
	case len(receipts) > 0 && receipts[0].Err == nil:
		return nil // it is on its own stream; the copy is a courtesy
	}
	return err
}

// telemetryWorker reports, and watches for emergency signals, which it reports
// too but does not obey (contract section 2).
type telemetryWorker struct {
	reporter *weatherlight.Reporter
	bus      *oona.Client
	log      *slog.Logger
}

// Run reports until ctx ends, and then once more.
func (w *telemetryWorker) Run(ctx context.Context) error { return w.RunReady(ctx, func() {}) }

// RunReady is Run that calls ready when signals from now on will be seen.
func (w *telemetryWorker) RunReady(ctx context.Context, ready func()) error {
	tail, err := w.bus.Tail(ctx, w.bus.Streams().Emergency)
	if err != nil {
		return err
	}
	ready()
	return together(ctx, w.reporter.Run, func(ctx context.Context) error {
		return w.bus.Follow(ctx, oona.Following{
			From:  tail,
			Types: []pb.BusMessageType{pb.BusMessageType_BUS_MESSAGE_TYPE_EMERGENCY_SIGNAL},
		}, oona.Each(w.signalled))
	})
}

func (w *telemetryWorker) signalled(ctx context.Context, signal *pb.EmergencySignal, _ *oona.Message) ([]proto.Message, error) {
	w.log.WarnContext(ctx, "emergency signal", "level", signal.GetLevel().String(), "origin", signal.GetOrigin(), "reason", signal.GetReason(), "run_id", signal.GetRunId())
	w.reporter.Emergency(signal, time.Now())
	return nil, nil
}

// together runs parts of one worker until all have returned. One alone is half a
// worker, so the first that returns ends the others.
func together(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(parts))
	var running sync.WaitGroup
	for i, part := range parts {
		running.Go(func() {
			defer stop()
			errs[i] = part(ctx)
		})
	}
	running.Wait()
	return errors.Join(errs...)
}
