package main

import (
	"cmp"
	"context"

	"github.com/esper-lite/esper/kasmina"
	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/urza"
)

// newSeeds makes the coordinator that gets kernels, the manager of the seeds that
// commands create, and what carries commands out, if the settings want it to.
func (svc *service) newSeeds(s settings, keys *leyline.Keyring) (err error) {
	svc.kernels, err = kasmina.NewCoordinator(kasmina.CoordinatorConfig{Bus: svc.bus, Logger: svc.log})
	if err != nil {
		return err
	}
	svc.seeds, err = kasmina.NewManager(kasmina.ManagerConfig{
		Kernels:    svc.kernels,
		Blueprints: blueprints{svc.library},
		Report:     svc.forward,
		Logger:     svc.log,
	})
	if err != nil || !s.Commands {
		return err
	}
	svc.commands, err = svc.newCommands(s, keys)
	return err
}

// claimScope is where replicas claim commands.
const claimScope = "kasmina"

// newCommands follows commands for the seeds of this service. Their window is the
// contract's, whatever that of kernel requests is.
func (svc *service) newCommands(s settings, keys *leyline.Keyring) (*kasmina.Commands, error) {
	guard, err := leyline.NewGuard(leyline.GuardConfig{ClockSkew: cmp.Or(s.ClockSkew, -1)}) // the guard's zero means its default
	if err != nil {
		return nil, err
	}
	return kasmina.NewCommands(kasmina.CommandsConfig{
		Bus:      svc.bus,
		Manager:  svc.seeds,
		Keys:     keys,
		Claims:   svc.bus.ReplayStore(claimScope),
		Instance: svc.instance,
		Guard:    guard,
		Logger:   svc.log,
	})
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
