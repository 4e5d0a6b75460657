package workload

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/contender"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/process"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/redisserver"
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
	if err := errors.Join(b.prepare(ctx, k), b.fillNonces(ctx)); err != nil {
		return t, err
	}
	c, err := k.New(ctx, b.options("bench-asker"))
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	followers, err := b.startAll(ctx, k, process.Follow, b.Load.Followers, false)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, followers.stop()) }()
	service, err := b.startAll(ctx, k, process.Serve, b.Load.Replicas, false)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, service.stop()) }()
	warm := b.warmup()
	if err := errors.Join(c.Publish(ctx, 0, warm), awaitAnswers(ctx, c, warm)); err != nil {
		return t, err
	}
	m := measurement{server: b.Server, contender: c, service: service, followers: followers}
	before, during := b.Load.Backlog, n
	if !streaming {
		before, during = before+n, 0
	}
	return m.take(ctx, warm, n, before, during)
}

// warmup is how many requests are answered before anything is measured: what is
// made once was made, and every artifact was asked for and its hash is known.
func (b *Bench) warmup() int { return max(4*b.Load.Batch, b.Load.Catalogue) }

// askers is how many goroutines ask at once. While one waits for its round trip, the
// other makes its next batch: with one alone, a service that keeps up would be
// measured by the pace of its asker.
const askers = 2

// ask publishes n requests, each asker an equal part of them.
func ask(ctx context.Context, c contender.Contender, first, n int) error {
	var wg sync.WaitGroup
	var errs [askers]error
	for i := range askers {
		from, to := n*i/askers, n*(i+1)/askers
		wg.Go(func() { errs[i] = c.Publish(ctx, first+from, to-from) })
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

// measurement is what runs while it is measured.
type measurement struct {
	server             *redisserver.Server
	contender          contender.Contender
	service, followers group
}

// take measures until n answers were published, to requests numbered from first.
// Of the requests, before are published while the service stands still, and
// during while it is measured. What is published first is answered first, so a
// backlog beyond n waits behind what is measured.
func (m *measurement) take(ctx context.Context, first, n, before, during int) (t Throughput, err error) {
	if err := errors.Join(m.service.mark(), m.followers.mark()); err != nil {
		return t, err
	}
	if before > 0 {
		if err := errors.Join(m.service.pause(), m.contender.Publish(ctx, first, before)); err != nil {
			return t, errors.Join(err, m.service.resume())
		}
	}
	redisBefore, err := m.server.CPU(ctx)
	if err := errors.Join(err, m.server.ForgetCommands(ctx), m.service.resume()); err != nil {
		return t, err
	}
	own, start := process.Measure(), time.Now()
	waiting, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	published := make(chan error, 1)
	go func() {
		err := ask(ctx, m.contender, first+before, during)
		if err != nil {
			giveUp(err)
		}
		published <- err
	}()
	waitErr := awaitAnswers(waiting, m.contender, first+n)
	t.Prefetches, t.Elapsed = n, time.Since(start)
	t.Publisher = process.Measure().Since(own).CPU
	if err := errors.Join(waitErr, <-published); err != nil {
		return t, err
	}
	var errs [4]error
	var redisAfter time.Duration
	t.Service, errs[0] = m.service.report()
	t.Followers, errs[1] = m.followers.report()
	redisAfter, errs[2] = m.server.CPU(ctx)
	t.Redis = redisAfter - redisBefore
	t.Commands, errs[3] = m.server.Commands(ctx)
	return t, errors.Join(errs[:]...)
}
