package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sethvargo/go-retry"
	"google.golang.org/protobuf/proto"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/weatherlight"
)

// telemetryWorker reports, and watches for emergency signals, which it reports
// too but does not obey (contract section 2). It is no reason for it to fail that
// the bus is away: the reporter keeps what it has to say.
type telemetryWorker struct {
	reporter *weatherlight.Reporter
	bus      *oona.Client
	hold     time.Duration // how far back signals still count
	log      *slog.Logger

	// Of the one that watches.
	cursor oona.Cursor // nil before the first Run
}

// Run reports until ctx ends, and then once more.
func (w *telemetryWorker) Run(ctx context.Context) error { return w.RunReady(ctx, func() {}) }

// RunReady is Run that calls ready when no signal will be missed.
func (w *telemetryWorker) RunReady(ctx context.Context, ready func()) error {
	watching, stop := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer stop()
	watcher.Go(func() {
		if w.resume(watching) == nil {
			ready()
			w.watch(watching)
		}
	})
	return w.reporter.Run(ctx)
}

// resume finds where to watch from: where the last Run stopped, or else the
// oldest signal that still counts. It waits while the bus is away; the error is
// ctx's.
func (w *telemetryWorker) resume(ctx context.Context) error {
	if w.cursor != nil {
		return nil
	}
	backoff := retry.WithCappedDuration(2*time.Second, retry.NewExponential(100*time.Millisecond))
	return retry.Do(ctx, backoff, func(ctx context.Context) (err error) {
		w.cursor, err = w.bus.Since(ctx, w.bus.Now().Add(-w.hold), w.bus.Streams().Emergency)
		if err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "the bus does not say how far its streams are, retrying", "error", err)
		}
		return retry.RetryableError(err)
	})
}

// watch takes signals until ctx ends.
func (w *telemetryWorker) watch(ctx context.Context) {
	err := w.bus.Follow(ctx, oona.Following{
		From:    w.cursor,
		Types:   []pb.BusMessageType{pb.BusMessageType_BUS_MESSAGE_TYPE_EMERGENCY_SIGNAL},
		Advance: func(stream string, at oona.Position) { w.cursor[stream] = at },
		// Whoever watches the fleet shall not take this process for dead any longer.
		Recovered: w.reporter.Retry,
	}, oona.Each(w.signalled))
	if err != nil {
		w.log.ErrorContext(ctx, "emergency signals are not followed", "error", err)
	}
}

func (w *telemetryWorker) signalled(ctx context.Context, signal *pb.EmergencySignal, m *oona.Message) ([]proto.Message, error) {
	w.log.WarnContext(ctx, "emergency signal", "level", signal.GetLevel().String(), "origin", signal.GetOrigin(), "reason", signal.GetReason(), "run_id", signal.GetRunId())
	ago := max(0, w.bus.Now().Sub(m.Arrival)) // both by the clock of the bus
	w.reporter.Emergency(signal, time.Now().Add(-ago))
	return nil, nil
}
