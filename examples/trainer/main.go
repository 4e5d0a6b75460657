// Trainer germinates seeds of blueprints, as many generations as -seeds says, asks
// the fleet for their kernels, and attaches them; if no seed at all gets as far as
// TRAINING, that is an error. It needs a bus with a service on
// it, for example
//
//	export ESPER_LEYLINE_SECRET=try-it-out-12345678 REDIS_URL=redis://localhost:6379/0
//	echo compiled >kernel.pt
//	esper-weatherlight-service urza add kernel.pt --blueprint BP001
//	esper-weatherlight-service run --embedded &
//
// and then go run ./examples/trainer -seeds 2 BP001 BP404 prints
//
//	BP001/1 is in TRAINING, with a kernel of 9 bytes
//	BP404/1 is culled: kasmina: no kernel for blueprint "BP404": missing_artifact
//	BP001/2 is in TRAINING, with a kernel of 9 bytes
//	BP404/2 is culled: kasmina: no kernel for blueprint "BP404": missing_artifact
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"

	"github.com/esper-lite/esper/kasmina"
)

func main() {
	seeds := flag.Int("seeds", 1, "seeds of each blueprint")
	flag.Parse()
	if err := run(context.Background(), *seeds, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, seeds int, blueprints []string) error {
	bus, err := connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = bus.Close() }()
	cache, err := kasmina.NewCache(kasmina.CacheConfig{MaxAge: -1}) // each generation asks the fleet anew
	if err != nil {
		return err
	}
	kernels, err := kasmina.NewCoordinator(kasmina.CoordinatorConfig{Bus: bus, Cache: cache})
	if err != nil {
		return err
	}
	manager, err := kasmina.NewManager(kasmina.ManagerConfig{Kernels: kernels})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	asking := make(chan error, 1)
	go func() { asking <- kernels.Run(ctx) }()
	trained := 0
	for n := 1; n <= seeds && err == nil; n++ {
		var grown int
		grown, err = grow(ctx, manager, blueprints, n)
		trained += grown
	}
	if err == nil && trained == 0 {
		err = errors.New("no seed reached TRAINING")
	}
	stop()
	return errors.Join(err, <-asking)
}

// grow germinates a seed of each blueprint, all at once, since a germination only
// asks. Then it waits until each has its kernel and trains, or has been culled, and
// returns how many train.
func grow(ctx context.Context, manager *kasmina.Manager, blueprints []string, n int) (trained int, err error) {
	for _, blueprint := range blueprints {
		seed := kasmina.Germination{SeedID: fmt.Sprintf("%s/%d", blueprint, n), BlueprintID: blueprint}
		if _, err := manager.Germinate(ctx, seed); err != nil {
			return trained, err
		}
	}
	for _, blueprint := range blueprints {
		seed, err := manager.AwaitTraining(ctx, fmt.Sprintf("%s/%d", blueprint, n))
		if culled, ok := errors.AsType[*kasmina.CulledError](err); ok {
			fmt.Printf("%s is culled: %s\n", culled.Seed.ID, culled.Seed.Reason)
			continue
		} else if err != nil {
			return trained, err
		}
		kernel, err := manager.Kernel(seed.ID)
		if err != nil {
			return trained, err
		}
		fmt.Printf("%s is in TRAINING, with a kernel of %d bytes\n", seed.ID, kernel.Program().Size())
		kernel.Release()
		trained++
	}
	return trained, nil
}
