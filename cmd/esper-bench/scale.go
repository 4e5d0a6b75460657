package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/contender"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/redisserver"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/report"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/workload"
)

// scale measures the cost of a prefetch along every axis that has more than one
// value.
func (m *session) scale(ctx context.Context) error {
	for _, axis := range axes {
		if len(m.settings.axes[axis.name]) < 2 {
			continue
		}
		if err := m.along(ctx, axis); err != nil {
			return fmt.Errorf("%s: %w", axis.name, err)
		}
	}
	return nil
}

// along measures the contenders at every value of an axis, taking turns.
func (m *session) along(ctx context.Context, axis axis) error {
	values, kinds := m.settings.axes[axis.name], m.settings.scaleKinds(axis)
	runs := make(map[string][][]workload.Throughput)
	for _, k := range kinds {
		runs[k.Name] = make([][]workload.Throughput, len(values))
	}
	for range m.settings.scaleRounds {
		for i, v := range values {
			progress(axis.name, v)
			for _, k := range kinds {
				t, err := m.at(ctx, axis.name, v, k)
				if err != nil {
					return fmt.Errorf("%d: %s: %w", v, k.Name, err)
				}
				runs[k.Name][i] = append(runs[k.Name][i], t)
			}
		}
	}
	for _, k := range kinds {
		m.results.Scaling = append(m.results.Scaling, report.NewScaling(axis.name, k.Name, values, runs))
	}
	return nil
}

// at measures one contender at one value of an axis.
func (m *session) at(ctx context.Context, axis string, value int, k contender.Kind) (t workload.Throughput, err error) {
	bench := *m.bench
	bench.Load = m.settings.load(axis, value)
	if bench.Server, err = m.server(ctx, bench.Load.Nodes); err != nil {
		return t, err
	}
	t, err = bench.Streaming(ctx, k, min(m.settings.scaleN, mostPublished/bench.Load.Payload))
	m.bench.Program = bench.Program // built by whoever needed it first
	return t, err
}

// server returns the server of a cluster of so many nodes, started when it is
// needed first.
func (m *session) server(ctx context.Context, nodes int) (s *redisserver.Server, err error) {
	if s = m.servers[nodes]; s != nil {
		return s, nil
	}
	if nodes == 0 {
		s, err = redisserver.Start(ctx, m.settings.redis)
	} else {
		s, err = redisserver.StartCluster(ctx, m.settings.redis, nodes)
	}
	if err == nil {
		m.servers[nodes] = s
	}
	return s, err
}

// stop ends all servers.
func (m *session) stop() error {
	var errs []error
	for _, s := range m.servers {
		errs = append(errs, s.Stop())
	}
	return errors.Join(errs...)
}
