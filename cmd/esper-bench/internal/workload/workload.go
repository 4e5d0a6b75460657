// Package workload does the work with one contender at a time and measures it.
package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/contender"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/process"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/redisserver"
)

// Load says how much work there is, and around it.
type Load struct {
	Batch     int // messages per round trip
	Payload   int // bytes of a request
	Replicas  int // processes that serve
	Followers int // processes that read all answers beside the asker
	Catalogue int // artifacts in the library
	Nonces    int // nonces in the replay store beforehand
	Nodes     int // of the server's cluster, zero if it is in none
	Backlog   int // requests that wait behind those that are measured
}

// Bench measures on one server.
type Bench struct {
	Server *redisserver.Server
	Load   Load
	// Dir is a folder of the bench's own, for libraries and what is built.
	Dir string
	// Program is the service's binary; empty builds it when it is needed.
	Program string
	// Profiles are written by the first process that serves.
	Profiles process.Profiles
	// MaxProcs is GOMAXPROCS of what serves; zero leaves it.
	MaxProcs int
}

// Throughput is one measurement of many prefetches.
type Throughput struct {
	Prefetches int
	Elapsed    time.Duration
	Service    process.Usage // of all replicas
	Followers  process.Usage
	Publisher  time.Duration // CPU
	Redis      time.Duration // CPU
	// Commands ran in the server, in scripts or not.
	Commands map[string]redisserver.Command
}

// PerSecond returns prefetches per second.
func (t Throughput) PerSecond() float64 { return float64(t.Prefetches) / t.Elapsed.Seconds() }

// Each returns v per prefetch.
func (t Throughput) Each(v int64) float64 { return float64(v) / float64(t.Prefetches) }

// CPU returns what all processes together used.
func (t Throughput) CPU() time.Duration {
	return t.Service.CPU + t.Followers.CPU + t.Publisher + t.Redis
}

// options are what the contender of one process is told.
func (b *Bench) options(consumer string) contender.Options {
	return contender.Options{
		Addr: b.Server.Addr(), Cluster: b.Server.Cluster(), Consumer: consumer,
		Batch: b.Load.Batch, Payload: b.Load.Payload, Catalogue: b.Load.Catalogue, Dir: b.libraryDir(), Program: b.Program,
	}
}

// start starts a process of a role.
func (b *Bench) start(ctx context.Context, k contender.Kind, role process.Role, i int, counting bool) (*process.Child, error) {
	job := process.Job{
		Role: role, Kind: k.Name, MaxProcs: b.MaxProcs, CountAllocs: counting,
		Options: b.options(fmt.Sprintf("bench-%s-%d", role, i)),
	}
	if role == process.Serve && i == 0 {
		job.Profiles = b.Profiles.Of(k.Name)
	}
	return process.Start(ctx, job)
}

// group is the processes of one role.
type group []*process.Child

func (b *Bench) startAll(ctx context.Context, k contender.Kind, role process.Role, n int, counting bool) (group, error) {
	var g group
	for i := range n {
		c, err := b.start(ctx, k, role, i, counting)
		if err != nil {
			return nil, errors.Join(err, g.stop())
		}
		g = append(g, c)
	}
	return g, nil
}

func (g group) report() (sum process.Usage, err error) {
	for _, c := range g {
		u, err := c.Report()
		if err != nil {
			return sum, err
		}
		sum = sum.Plus(u)
	}
	return sum, nil
}

func (g group) mark() error   { return g.each((*process.Child).Mark) }
func (g group) pause() error  { return g.each((*process.Child).Pause) }
func (g group) resume() error { return g.each((*process.Child).Resume) }
func (g group) stop() error   { return g.each((*process.Child).Stop) }

func (g group) each(do func(*process.Child) error) error {
	var errs []error
	for _, c := range g {
		errs = append(errs, do(c))
	}
	return errors.Join(errs...)
}

// pollInterval is how often the number of answers is asked for: often enough to
// time a second to a few thousandths, too rarely to be work.
const pollInterval = 2 * time.Millisecond

// patience is how long the number of answers may stand still.
const patience = 20 * time.Second

// awaitAnswers returns when n answers were published.
func awaitAnswers(ctx context.Context, c contender.Contender, n int) error {
	last, since := -1, time.Now()
	for {
		have, err := c.Answered(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("workload: answers: %w", err)
		case have >= n:
			return nil
		case have != last:
			last, since = have, time.Now()
		case time.Since(since) > patience:
			return fmt.Errorf("workload: stuck at %d of %d answers", have, n)
		}
		time.Sleep(pollInterval)
	}
}
