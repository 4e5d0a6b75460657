package contender

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/urza"
	"github.com/esper-lite/esper/weatherlight"
)

// service is what the service binary runs for prefetches: the worker over a
// library on disk, under the supervisor, with telemetry.
type service struct {
	*ours
}

func newService(ctx context.Context, o Options) (Contender, error) {
	c, err := openOurs(ctx, o)
	if err != nil {
		return nil, err
	}
	return &service{c}, nil
}

func (s *service) Serve(ctx context.Context, ready func()) (err error) {
	lib, err := library(ctx, s.opts.Dir)
	if err != nil {
		return fmt.Errorf("contender: service: %w", err)
	}
	defer func() { err = errors.Join(err, lib.Close()) }()
	worker := urza.NewPrefetchWorker(lib, s.client, urza.PrefetchConfig{Group: group, TTL: 15 * time.Minute})
	supervisor, err := weatherlight.New(weatherlight.Config{})
	if err != nil {
		return fmt.Errorf("contender: service: %w", err)
	}
	if _, err := supervisor.Add(weatherlight.Spec{Name: "urza_prefetch", Worker: signalling{worker, sync.OnceFunc(ready)}}); err != nil {
		return fmt.Errorf("contender: service: %w", err)
	}
	reporting, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.telemetry(reporting, lib, worker) })
	err = supervisor.Run(ctx)
	stop()
	wg.Wait()
	return stopped(ctx, err)
}

// signalling tells the bench, too, when the worker is ready.
type signalling struct {
	*urza.PrefetchWorker
	ready func()
}

func (w signalling) RunReady(ctx context.Context, ready func()) error {
	return w.PrefetchWorker.RunReady(ctx, func() {
		ready()
		w.ready()
	})
}

// telemetryInterval is the service's default.
const telemetryInterval = 10 * time.Second

// telemetry publishes the figures of library and worker until ctx ends. What
// cannot be published is left out, as in the service.
func (s *service) telemetry(ctx context.Context, lib *urza.Library, worker *urza.PrefetchWorker) {
	tick := time.NewTicker(telemetryInterval)
	defer tick.Stop()
	var figures []leyline.Metric
	for {
		figures = worker.AppendMetrics(lib.AppendMetrics(figures[:0]))
		packet := &pb.TelemetryPacket{
			PacketId:        "weatherlight-" + uuid.NewString(),
			SourceSubsystem: "weatherlight",
			Level:           pb.TelemetryLevel_TELEMETRY_LEVEL_INFO,
			Timestamp:       timestamppb.Now(),
		}
		for _, f := range figures {
			packet.Metrics = append(packet.Metrics, &pb.MetricPoint{Name: f.Name, Value: f.Value, Unit: f.Unit})
		}
		_, _ = s.client.Publish(ctx, packet)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ServiceEnvironment returns the settings under which the service's binary does
// this work.
func ServiceEnvironment(o Options) []string {
	return []string{
		"ESPER_LEYLINE_SECRET=" + secret,
		"REDIS_URL=redis://" + o.Addr + "/0",
		"URZA_DATABASE_URL=sqlite:///" + catalogue(o.Dir),
		"URZA_ARTIFACT_DIR=" + artifacts(o.Dir),
		"TAMIYO_POLICY_DIR=" + filepath.Join(o.Dir, "policies"),
		"ESP_LOG_LEVEL=ERROR",
	}
}
