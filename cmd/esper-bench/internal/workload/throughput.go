package workload

import (
	"context"
	"errors"
	"time"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/contender"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/process"
)

// Streaming publishes n requests while they are served.
func (b *Bench) Streaming(ctx context.Context, k contender.Kind, n int) (Throughput, error) {
	return b.throughput(ctx, k, n, true)
}

// Backlog serves n requests that were all published before.
func (b *Bench) Backlog(ctx context.Context, k contender.Kind, n int) (Throughput, error) {
	return b.throughput(ctx, k, n, false)
}

func (b *Bench) throughput(ctx context.Context, k contender.Kind, n int, streaming bool) (t Throughput, err error) {
	if err := b.Server.Flush(ctx); err != nil {
		return t, err
	}
	c, err := k.New(ctx, b.options("bench-asker"))
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := b.fillNonces(ctx); err != nil {
		return t, err
	}
	before := b.Load.Backlog
	if !streaming {
		before += n
	}
	// What is published first is answered first, so a backlog beyond n waits
	// behind it.
	if err := c.Publish(ctx, 0, before); err != nil {
		return t, err
	}
	followers, err := b.startAll(ctx, k, process.Follow, b.Load.Followers, false)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, followers.stop()) }()
	m := measurement{bench: b, kind: k, contender: c, followers: followers}
	if streaming {
		return m.take(ctx, n, func() error { return c.Publish(ctx, before, n) })
	}
	return m.take(ctx, n, func() error { return nil })
}

// measurement is what is running while it is measured.
type measurement struct {
	bench     *Bench
	kind      contender.Kind
	contender contender.Contender
	followers group
}

// take measures from the moment at which the service could begin until n answers
// were published; meanwhile publish is called.
func (m *measurement) take(ctx context.Context, n int, publish func() error) (t Throughput, err error) {
	redisBefore, err := m.bench.Server.CPU(ctx)
	if err != nil {
		return t, err
	}
	if err := m.followers.mark(); err != nil {
		return t, err
	}
	service, err := m.bench.startAll(ctx, m.kind, process.Serve, m.bench.Load.Replicas, false)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, service.stop()) }()
	if err := service.mark(); err != nil {
		return t, err
	}
	own, start := process.Measure(), time.Now()
	published := make(chan error, 1)
	go func() { published <- publish() }()
	waitErr := awaitAnswers(ctx, m.contender, n)
	t.Prefetches, t.Elapsed = n, time.Since(start)
	t.Publisher = process.Measure().Since(own).CPU
	if err := errors.Join(waitErr, <-published); err != nil {
		return t, err
	}
	var errs [3]error
	var redisAfter time.Duration
	t.Service, errs[0] = service.report()
	t.Followers, errs[1] = m.followers.report()
	redisAfter, errs[2] = m.bench.Server.CPU(ctx)
	t.Redis = redisAfter - redisBefore
	return t, errors.Join(errs[:]...)
}
