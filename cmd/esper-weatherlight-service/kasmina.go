package main

import (
	"context"
	"errors"
	"sync"

	"github.com/esper-lite/esper/kasmina"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/urza"
)

// newSeeds makes the coordinator that gets kernels, and the manager of the seeds
// that commands create.
func (svc *service) newSeeds() (err error) {
	svc.kernels, err = kasmina.NewCoordinator(kasmina.CoordinatorConfig{Bus: svc.bus, Logger: svc.log})
	if err != nil {
		return err
	}
	svc.seeds, err = kasmina.NewManager(kasmina.ManagerConfig{
		Kernels:    svc.kernels,
		Blueprints: blueprints{svc.library},
		Report:     svc.reporter.Forward,
		Logger:     svc.log,
	})
	return err
}

// blueprints lets the first gate check what the library knows of a blueprint.
type blueprints struct{ library *urza.Library }

// Blueprint returns the descriptor of a blueprint; see [kasmina.Blueprints].
func (b blueprints) Blueprint(ctx context.Context, id string) (*pb.BlueprintDescriptor, error) {
	record, err := b.library.Record(ctx, id)
	if err != nil {
		return nil, err
	}
	return record.Descriptor, nil
}

// kasminaWorker gets kernels and tells what happens to the seeds.
type kasminaWorker struct {
	kernels *kasmina.Coordinator
	seeds   *kasmina.Manager
}

// Run works until ctx ends.
func (w *kasminaWorker) Run(ctx context.Context) error { return w.RunReady(ctx, func() {}) }

// RunReady is Run that calls ready when answers from now on will be seen.
func (w *kasminaWorker) RunReady(ctx context.Context, ready func()) error {
	return together(ctx,
		func(ctx context.Context) error { return w.kernels.RunReady(ctx, ready) },
		w.seeds.Run,
	)
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
