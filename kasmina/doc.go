// Package kasmina keeps the seeds that grow into a network while it trains, and
// gets them their kernels.
//
// A seed lives along a fixed table ([Allowed]), from DORMANT by GERMINATED,
// TRAINING, BLENDING, SHADOWING and PROBATIONARY to FOSSILIZED, or is culled on
// the way. A [Manager] holds the table and the gates between its stages; what
// this process can know is always checked, what only the trainer can judge is the
// embedder's to judge ([Gates]). Nothing moves a seed but the table.
//
// A [Coordinator] asks the fleet's library for kernels over the bus: once for any
// number of seeds that want the same blueprint, and again when an answer is lost.
// A [Cache] loads what was answered, verifies it, and shares it by reference. A
// [Commands] carries out the signed commands that others send.
//
//	cache, err := kasmina.NewCache(kasmina.CacheConfig{})
//	coordinator, err := kasmina.NewCoordinator(kasmina.CoordinatorConfig{Bus: client, Cache: cache})
//	manager, err := kasmina.NewManager(kasmina.ManagerConfig{Kernels: coordinator})
//	go coordinator.Run(ctx)
//	_, err = manager.Germinate(ctx, kasmina.Germination{SeedID: "seed-1", BlueprintID: "BP001"})
//	seed, err := manager.AwaitTraining(ctx, "seed-1")
//
// Seeds live in memory and end with the process. Everything that happens to them
// is told as telemetry events ([Report]).
//
// # Bounds
//
// Seeds: ManagerConfig.MaxSeeds. Requests on the way: CoordinatorConfig.MaxPending
// and MaxWaiting. Loaded kernels: CacheConfig.MaxBytes and MaxKernels. Events that
// wait for a slow receiver: [MaxEvents]. Each says what happens at the bound.
package kasmina
