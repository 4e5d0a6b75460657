package main

import (
	"context"
	"fmt"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/contender"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/report"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/workload"
)

// scale measures the cost of a prefetch along every axis that has more than one
// value, for all contenders that batch.
func (m *session) scale(ctx context.Context) error {
	for _, axis := range axes {
		values := m.settings.axes[axis.name]
		if len(values) < 2 {
			continue
		}
		for _, k := range batching(m.settings.kinds) {
			s, err := m.along(ctx, axis.name, values, k)
			if err != nil {
				return fmt.Errorf("%s of %s: %w", axis.name, k.Name, err)
			}
			m.results.Scaling = append(m.results.Scaling, s)
		}
	}
	return nil
}

// along measures one contender at every value of an axis, taking turns.
func (m *session) along(ctx context.Context, axis string, values []int, k contender.Kind) (report.Scaling, error) {
	s := report.Scaling{Axis: axis, Name: k.Name}
	runs := make([][]workload.Throughput, len(values))
	for range m.settings.rounds {
		for i, v := range values {
			bench := *m.bench
			bench.Load = m.settings.load(axis, v)
			t, err := bench.Streaming(ctx, k, m.settings.n)
			if err != nil {
				return s, fmt.Errorf("%d: %w", v, err)
			}
			runs[i] = append(runs[i], t)
		}
	}
	s.Points = report.Points(values, runs)
	return s, nil
}
