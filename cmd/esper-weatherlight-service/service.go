package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/esper-lite/esper/kasmina"
	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/tamiyo"
	"github.com/esper-lite/esper/urza"
	"github.com/esper-lite/esper/weatherlight"
)

// Names of the workers, as dashboards know them (contract section 5).
const (
	workerPrefetch  = "urza_prefetch"
	workerKernels   = "kasmina_prefetch"
	workerPolicy    = "tamiyo_policy"
	workerTelemetry = "telemetry"
	workerHousekeep = "housekeeping"
	workerMaintain  = "urza_maintenance" // these two unless
	workerScrub     = "urza_scrub"       // they are switched off
	workerSeeds     = "kasmina_seeds"    // these two only where commands
	workerCommands  = "kasmina_commands" // are carried out
)

// consumerGroup is the group that Weatherlight reads work in (contract
// section 1).
const consumerGroup = "weatherlight"

// service is everything that runs in one process.
type service struct {
	log        *slog.Logger
	instance   string // names this process among the replicas
	bus        *oona.Client
	library    *urza.Library
	supervisor *weatherlight.Supervisor
	reporter   *weatherlight.Reporter
	kernels    *kasmina.Coordinator
	seeds      *kasmina.Manager
	commands   *kasmina.Commands // nil where commands are for others
	policies   *tamiyo.Consumer
	secret     *secretCheck
	sources    []weatherlight.Source // of figures
	metrics    *metricsServer        // nil where nobody may ask
}

// newService connects and composes; nothing is consumed before run.
func newService(ctx context.Context, s settings, keys *leyline.Keyring, id identity, log *slog.Logger) (*service, error) {
	if _, err := libraryConfig(s, log); err != nil {
		return nil, err // wrong settings are said before anything is waited for
	}
	bus, err := connect(ctx, s, keys, id, "weatherlight", log)
	if err != nil {
		return nil, err
	}
	return newServiceOn(ctx, bus, s, keys, id, log)
}

// newServiceOn is newService over a bus that is connected; the service closes
// it, also when it returns an error.
func newServiceOn(ctx context.Context, bus *oona.Client, s settings, keys *leyline.Keyring, id identity, log *slog.Logger) (*service, error) {
	svc := &service{log: log, instance: id.instance(), bus: bus}
	svc.secret = newSecretCheck(s, keys, id, bus.Refusals(), log)
	cfg, err := libraryConfig(s, log)
	if err != nil {
		return nil, errors.Join(err, svc.close())
	}
	cfg.OnIntegrity = svc.tellIntegrity
	if svc.library, err = openLibrary(ctx, cfg); err != nil {
		return nil, errors.Join(err, svc.close())
	}
	if err := svc.compose(ctx, s, keys); err != nil {
		return nil, errors.Join(err, svc.close())
	}
	log.Info("connected", "redis", bus.Address(), "instance", svc.instance, "consumer", id.consumer(), "mode", s.Mode.String())
	return svc, nil
}

// compose puts the workers under the supervisor.
func (svc *service) compose(ctx context.Context, s settings, keys *leyline.Keyring) error {
	supervisor, err := weatherlight.New(weatherlight.Config{
		BootTimeout:     s.BootTimeout,
		ShutdownTimeout: s.ShutdownTimeout,
		Logger:          svc.log,
	})
	if err != nil {
		return err
	}
	svc.supervisor = supervisor
	if svc.reporter, err = svc.newReporter(s); err != nil {
		return err
	}
	if err := svc.newSeeds(s, keys); err != nil {
		return err
	}
	if svc.policies, err = svc.newPolicies(ctx, s); err != nil {
		return err
	}
	housekeeper, err := svc.bus.Housekeeper(oona.Housekeeping{Group: consumerGroup})
	if err != nil {
		return err
	}
	timed := &timedBus{Client: svc.bus}
	prefetch := svc.prefetchWorker(s, timed)
	svc.sources = []weatherlight.Source{svc.bus, prefetch, timed, svc.library, svc.kernels, svc.seeds, svc.policies, svc.secret}
	// Telemetry comes first and ends last: it reports how the others ended.
	last := []string{workerTelemetry}
	specs := []weatherlight.Spec{
		{Name: workerTelemetry, Worker: &telemetryWorker{reporter: svc.reporter, bus: svc.bus, hold: s.EmergencyHold, log: svc.log}},
		{Name: workerPrefetch, Worker: prefetch, After: last},
		{Name: workerKernels, Worker: svc.kernels, After: last},
		{Name: workerPolicy, Worker: svc.policies, After: last},
		{Name: workerHousekeep, Worker: housekeeper, After: last},
	}
	specs = append(specs, svc.upkeep(s, last)...)
	if svc.commands != nil {
		svc.sources = append(svc.sources, svc.commands)
		specs = append(specs,
			weatherlight.Spec{Name: workerSeeds, Worker: svc.seeds, After: []string{workerKernels}},
			weatherlight.Spec{Name: workerCommands, Worker: svc.commands, After: []string{workerSeeds}},
		)
	}
	for _, spec := range specs {
		if _, err := supervisor.Add(spec); err != nil {
			return fmt.Errorf("worker %s: %w", spec.Name, err)
		}
	}
	if s.MetricsAddr != "" {
		svc.metrics, err = newMetricsServer(s.MetricsAddr, svc.reporter.Health, svc.log, svc.reporter, figures{svc})
	}
	return err
}

// prefetchWorker serves kernel requests.
func (svc *service) prefetchWorker(s settings, bus urza.Bus) *urza.PrefetchWorker {
	return urza.NewPrefetchWorker(svc.library, bus, urza.PrefetchConfig{
		Group:          consumerGroup,
		MaxAttempts:    s.MaxAttempts,
		HandlerTimeout: s.HandlerTimeout,
		ReclaimIdle:    s.ReclaimIdle,
		DrainTimeout:   s.ShutdownTimeout / 2,
		TTL:            s.messageTTL(),
	})
}

// run blocks until ctx ends and everything has stopped in order.
func (svc *service) run(ctx context.Context) error {
	if svc.metrics != nil {
		defer svc.metrics.beside(ctx)()
	}
	return svc.supervisor.Run(ctx)
}

// close lets go of what newService opened.
func (svc *service) close() error {
	var errs []error
	if svc.metrics != nil {
		errs = append(errs, svc.metrics.Close())
	}
	if svc.library != nil {
		errs = append(errs, svc.library.Close())
	}
	return errors.Join(append(errs, svc.bus.Close())...)
}
