package workload

import (
	"context"
	"errors"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/contender"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/process"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/redisserver"
)

// Exact is what one prefetch costs in countable things. The counting slows the
// work down, so nothing is timed.
type Exact struct {
	Prefetches int
	// Calls are the commands of the service, with those of starting up.
	Calls redisserver.Calls
	// Service has its allocations by place.
	Service process.Usage
}

// Count serves a backlog of n requests and counts.
func (b *Bench) Count(ctx context.Context, k contender.Kind, n int) (x Exact, err error) {
	if err := b.prepare(ctx, k); err != nil {
		return x, err
	}
	c, err := k.New(ctx, b.options("bench-asker"))
	if err != nil {
		return x, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	service, err := b.startAll(ctx, k, process.Serve, 1, true)
	if err != nil {
		return x, err
	}
	defer func() { err = errors.Join(err, service.stop()) }()
	warm := b.warmup()
	if err := errors.Join(c.Publish(ctx, 0, warm), awaitAnswers(ctx, c, warm), service.mark()); err != nil {
		return x, err
	}
	// The service is stopped while the rest is published, so that it finds full
	// batches, and no command of the publisher is counted as its own.
	if err := errors.Join(service.pause(), c.Publish(ctx, warm, n)); err != nil {
		return x, err
	}
	stop, err := b.Server.Monitor("xlen", "llen")
	if err != nil {
		return x, err
	}
	if err := errors.Join(service.resume(), awaitAnswers(ctx, c, warm+n)); err != nil {
		return x, err
	}
	x.Prefetches = n
	var errCalls, errUsage error
	x.Calls, errCalls = stop()
	x.Service, errUsage = service.report()
	return x, errors.Join(errCalls, errUsage)
}
