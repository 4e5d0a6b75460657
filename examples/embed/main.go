// Embed is a program that has Weatherlight inside: its own worker, here a trainer
// that asks for a kernel, runs under the same supervisor, on the same bus, beside
// the workers that answer and report. The bus is inside as well, so that it runs
// without a Redis; with one, oona.Connect takes the place of oona.New.
//
//	answer: BP001 is BP001-….pt
//	telemetry: HEALTH_STATUS_HEALTHY, 4 workers running
package main

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/esper-lite/esper/oona/oonatest"
	"github.com/esper-lite/esper/tamiyo"
	"github.com/esper-lite/esper/urza"
	"github.com/esper-lite/esper/weatherlight"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "embed-")
	if err == nil {
		err = errors.Join(run(ctx, stop, dir), os.RemoveAll(dir))
	}
	if err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx ends; done ends it.
func run(ctx context.Context, done func(), dir string) error {
	inside := oonatest.New()
	defer inside.Close()
	bus, err := connect(ctx, inside.Redis())
	if err != nil {
		return err
	}
	library, err := urza.Open(ctx, urza.Config{DatabaseURL: "sqlite://", ArtifactDir: filepath.Join(dir, "artifacts")})
	if err != nil {
		return err
	}
	defer func() { _ = library.Close() }()
	kernel := urza.Addition{BlueprintID: "BP001", File: "kernel.pt", Reader: strings.NewReader("compiled")}
	if _, err := library.Add(ctx, kernel); err != nil {
		return err
	}
	supervisor, err := weatherlight.New(weatherlight.Config{Logger: slog.Default()})
	if err != nil {
		return err
	}
	policies, err := tamiyo.Open(ctx, tamiyo.Config{Bus: bus, Dir: filepath.Join(dir, "policies")})
	if err != nil {
		return err
	}
	prefetch := urza.NewPrefetchWorker(library, bus, urza.PrefetchConfig{Group: "weatherlight"})
	reporter, err := weatherlight.NewReporter(weatherlight.ReporterConfig{
		Supervisor: supervisor,
		Publisher:  publisher{bus},
		Instance:   "example-1",
		Interval:   time.Second,
		Sources:    []weatherlight.Source{prefetch, library, policies},
	})
	if err != nil {
		return err
	}
	for _, spec := range []weatherlight.Spec{
		{Name: "telemetry", Worker: reporter},
		{Name: "urza_prefetch", Worker: prefetch, After: []string{"telemetry"}},
		{Name: "tamiyo_policy", Worker: policies, After: []string{"telemetry"}},
		{Name: "trainer", Worker: trainer{bus, done}, After: []string{"urza_prefetch"}},
	} {
		if _, err := supervisor.Add(spec); err != nil {
			return err
		}
	}
	return supervisor.Run(ctx)
}
