package contender

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/urza"
	"github.com/esper-lite/esper/weatherlight"
)

// service is what the service's binary runs for prefetches: the worker over a
// library on disk, under the supervisor, with telemetry and housekeeping.
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

// collectAt is the collector's pace that the service's binary sets.
const collectAt = 400

func (s *service) Serve(ctx context.Context, ready func()) (err error) {
	debug.SetGCPercent(collectAt)
	lib, err := library(ctx, s.opts.Dir)
	if err != nil {
		return fmt.Errorf("contender: service: %w", err)
	}
	defer func() { err = errors.Join(err, lib.Close()) }()
	supervisor, err := s.compose(lib, sync.OnceFunc(ready))
	if err != nil {
		return fmt.Errorf("contender: service: %w", err)
	}
	return stopped(ctx, supervisor.Run(ctx))
}

// compose puts the workers under a supervisor, as the service does.
func (s *service) compose(lib *urza.Library, ready func()) (*weatherlight.Supervisor, error) {
	supervisor, err := weatherlight.New(weatherlight.Config{})
	if err != nil {
		return nil, err
	}
	worker := urza.NewPrefetchWorker(lib, s.client, urza.PrefetchConfig{Group: group, TTL: 15 * time.Minute})
	reporter, err := weatherlight.NewReporter(weatherlight.ReporterConfig{
		Supervisor: supervisor,
		Publisher:  packets{s.client},
		Instance:   s.opts.Consumer,
		Sources:    []weatherlight.Source{s.client, worker, lib},
	})
	if err != nil {
		return nil, err
	}
	housekeeper, err := s.client.Housekeeper(oona.Housekeeping{Group: group})
	if err != nil {
		return nil, err
	}
	for _, spec := range []weatherlight.Spec{
		{Name: "telemetry", Worker: reporter},
		{Name: "urza_prefetch", Worker: signalling{worker, ready}, After: []string{"telemetry"}},
		{Name: "housekeeping", Worker: housekeeper, After: []string{"telemetry"}},
	} {
		if _, err := supervisor.Add(spec); err != nil {
			return nil, err
		}
	}
	return supervisor, nil
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

// packets publishes telemetry.
type packets struct{ client *oona.Client }

func (p packets) Publish(ctx context.Context, packet *pb.TelemetryPacket, _ pb.MessagePriority) error {
	_, err := p.client.Publish(ctx, packet)
	return err
}

// ServiceEnvironment returns the settings under which the service's binary does
// this work.
func ServiceEnvironment(o Options) []string {
	return []string{
		"ESPER_LEYLINE_SECRET=" + secret,
		"REDIS_URL=" + o.url(),
		"URZA_DATABASE_URL=sqlite:///" + catalogue(o.Dir),
		"URZA_ARTIFACT_DIR=" + artifacts(o.Dir),
		"TAMIYO_POLICY_DIR=" + filepath.Join(o.Dir, "policies"),
		"ESP_LOG_LEVEL=ERROR",
	}
}
