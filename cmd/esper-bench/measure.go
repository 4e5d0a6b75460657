package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/contender"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/redisserver"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/report"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/workload"
)

// session is one run of the bench.
type session struct {
	settings settings
	servers  map[int]*redisserver.Server // by nodes of their cluster
	bench    *workload.Bench
	results  *report.Results
}

// measure starts a server and measures everything that was asked for.
func measure(ctx context.Context, s settings) (_ *report.Results, err error) {
	dir, err := os.MkdirTemp("", "esper-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	m := session{settings: s, servers: make(map[int]*redisserver.Server)}
	defer func() { err = errors.Join(err, m.stop()) }()
	server, err := m.server(ctx, s.load("", 0).Nodes)
	if err != nil {
		return nil, err
	}
	version, err := server.Version(ctx)
	if err != nil {
		return nil, err
	}
	m.bench = &workload.Bench{Server: server, Load: s.load("", 0), Dir: dir, Program: s.binary, MaxProcs: s.maxProcs}
	m.results = &report.Results{
		Machine:    report.Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), Redis: version, Load1: loadAverage()},
		Rounds:     s.rounds,
		Throughput: make(map[string][]report.Rate),
		Latency:    make(map[string][]report.Delays),
	}
	for _, name := range s.workloads {
		progress(name)
		if err := m.workload(ctx, name); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := m.scale(ctx); err != nil {
		return nil, err
	}
	if s.profiles != "" {
		if err := m.profileAll(ctx, s.profiles); err != nil {
			return nil, fmt.Errorf("profiles: %w", err)
		}
	}
	m.results.SetAims()
	return m.results, nil
}

// progress says on stderr what is measured now.
func progress(what ...any) { fmt.Fprintln(os.Stderr, append([]any{"measuring"}, what...)...) }

func loadAverage() (load float64) {
	text, err := os.ReadFile("/proc/loadavg")
	if err == nil {
		_, _ = fmt.Sscan(string(text), &load)
	}
	return load
}

func (m *session) workload(ctx context.Context, name string) error {
	switch name {
	case "streaming":
		return m.throughput(ctx, name, m.bench.Streaming, batching(m.settings.kinds))
	case "backlog":
		return m.throughput(ctx, name, m.bench.Backlog, m.settings.kinds)
	case "latency":
		return m.latency(ctx, name, func(k contender.Kind) ([]time.Duration, float64, error) {
			times, err := m.bench.OneAtATime(ctx, k, m.settings.latencyN)
			return times, 0, err
		})
	case "half":
		return m.half(ctx)
	case "count":
		return m.count(ctx)
	case "binary":
		b, err := m.bench.Binary(ctx)
		m.results.Binary = report.NewBinary(b)
		return err
	}
	return fmt.Errorf("not measured by this version")
}

// batching returns the kinds that work in batches.
func batching(kinds []contender.Kind) (some []contender.Kind) {
	for _, k := range kinds {
		if k.Batches {
			some = append(some, k)
		}
	}
	return some
}

// eachRound calls do for every kind, round by round, so that what changes on the
// machine meets all of them. Every other round is in reverse order.
func (m *session) eachRound(kinds []contender.Kind, do func(contender.Kind) error) error {
	for round := range m.settings.rounds {
		for i := range kinds {
			if round%2 == 1 {
				i = len(kinds) - 1 - i
			}
			if err := do(kinds[i]); err != nil {
				return fmt.Errorf("%s: %w", kinds[i].Name, err)
			}
		}
	}
	return nil
}

func (m *session) throughput(ctx context.Context, name string, once func(context.Context, contender.Kind, int) (workload.Throughput, error), kinds []contender.Kind) error {
	var rounds report.Rounds[workload.Throughput]
	err := m.eachRound(kinds, func(k contender.Kind) error {
		t, err := once(ctx, k, m.size(k))
		if err == nil {
			rounds.Add(k.Name, t)
		}
		return err
	})
	m.results.Throughput[name] = report.Rates(rounds)
	return err
}

// size is how many prefetches a kind has to do in one round.
func (m *session) size(k contender.Kind) int {
	if k.Peer {
		return m.settings.peerN
	}
	return m.settings.n
}

func (m *session) latency(_ context.Context, name string, once func(contender.Kind) ([]time.Duration, float64, error)) error {
	var rounds report.Rounds[report.Timed]
	err := m.eachRound(batching(m.settings.kinds), func(k contender.Kind) error {
		times, rate, err := once(k)
		if err == nil {
			rounds.Add(k.Name, report.NewTimed(rate, times))
		}
		return err
	})
	m.results.Latency[name] = report.Latencies(rounds)
	return err
}

// halfFor is how long a contender is kept at half of its rate.
const halfFor = 2 * time.Second

// half measures latency at half of the highest rate at which answers came while
// requests were published.
func (m *session) half(ctx context.Context) error {
	highest := make(map[string]float64)
	for _, r := range m.results.Throughput["streaming"] {
		highest[r.Name] = r.PerSecond
	}
	return m.latency(ctx, "half", func(k contender.Kind) ([]time.Duration, float64, error) {
		times, err := m.bench.AtRate(ctx, k, highest[k.Name]/2, halfFor)
		return times, highest[k.Name] / 2, err
	})
}

func (m *session) count(ctx context.Context) error {
	for _, k := range m.settings.kinds {
		if k.Program {
			continue
		}
		n := m.settings.countN
		if k.Peer {
			n /= 10
		}
		x, err := m.bench.Count(ctx, k, n)
		if err != nil {
			return fmt.Errorf("%s: %w", k.Name, err)
		}
		m.results.Counts = append(m.results.Counts, report.NewCount(k.Name, x))
	}
	return nil
}
