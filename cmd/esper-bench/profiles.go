package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/contender"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/process"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/report"
)

// profileAll writes every profile of what serves, under load, into a folder. Each
// has a run of its own, since one recorder would show up in another's profile;
// allocations have a short one, since all of them are noted.
func (m *session) profileAll(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, one := range []struct {
		profiles process.Profiles
		n        int
	}{
		{process.Profiles{CPU: path("cpu.pprof")}, m.settings.n},
		{process.Profiles{Mem: path("allocs.pprof")}, m.settings.countN},
		{process.Profiles{Mutex: path("mutex.pprof")}, m.settings.n},
		{process.Profiles{Block: path("block.pprof")}, m.settings.n},
		{process.Profiles{Trace: path("trace.out")}, m.settings.countN},
	} {
		progress("for a profile")
		bench := *m.bench
		bench.Profiles = one.profiles
		for _, k := range m.settings.profiled() {
			if _, err := bench.Streaming(ctx, k, one.n); err != nil {
				return fmt.Errorf("%s: %w", k.Name, err)
			}
			if one.profiles.CPU == "" {
				continue
			}
			spent, err := report.ReadSpent(k.Name, one.profiles.Of(k.Name).CPU, one.n)
			if err != nil {
				return err
			}
			m.results.Spent = append(m.results.Spent, spent)
		}
	}
	return nil
}

// profiled are the contenders whose own code serves: all that were named, or the
// floor and ours.
func (s *settings) profiled() (kinds []contender.Kind) {
	for _, k := range batching(s.kinds) {
		if !k.Program && (s.only != "" || k.Name == "floor" || k.Name == "service") {
			kinds = append(kinds, k)
		}
	}
	return kinds
}
