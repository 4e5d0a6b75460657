package workload

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/contender"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/process"
)

// warmup is how many prefetches come before those that are timed.
const warmup = 200

// OneAtATime asks, waits for the answer and asks again, n times. It returns how
// long each took, from before the request is published until its asker, who
// follows the answers, has it.
func (b *Bench) OneAtATime(ctx context.Context, k contender.Kind, n int) ([]time.Duration, error) {
	answered := make(chan struct{}, 1)
	var awaited atomic.Int64
	seen := func(number int) {
		if int64(number) == awaited.Load() {
			answered <- struct{}{}
		}
	}
	var times []time.Duration
	err := b.asking(ctx, k, seen, func(c contender.Contender) error {
		for i := range warmup + n {
			awaited.Store(int64(i))
			start := time.Now()
			if err := c.Publish(ctx, i, 1); err != nil {
				return err
			}
			select {
			case <-answered:
			case <-time.After(patience):
				return fmt.Errorf("workload: no answer to request %d", i)
			}
			if i >= warmup {
				times = append(times, time.Since(start))
			}
		}
		return nil
	})
	return times, err
}

// tick is how often the requests that are due are published.
const tick = time.Millisecond

// AtRate publishes perSecond requests a second for a while, whether answers come
// or not. It returns how long each took, from the moment at which it was due.
func (b *Bench) AtRate(ctx context.Context, k contender.Kind, perSecond float64, d time.Duration) ([]time.Duration, error) {
	n := int(perSecond * d.Seconds())
	arrived := make([]time.Time, n)
	var count atomic.Int64
	seen := func(number int) {
		arrived[number] = time.Now()
		count.Add(1)
	}
	start := time.Now()
	err := b.asking(ctx, k, seen, func(c contender.Contender) error {
		start = time.Now()
		for next := 0; next < n; {
			due := min(n, int(time.Since(start).Seconds()*perSecond)+1)
			if due > next {
				if err := c.Publish(ctx, next, due-next); err != nil {
					return err
				}
				next = due
			}
			time.Sleep(tick)
		}
		for end := time.Now().Add(patience); count.Load() < int64(n); time.Sleep(pollInterval) {
			if time.Now().After(end) {
				return fmt.Errorf("workload: %d of %d answers came", count.Load(), n)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	times := make([]time.Duration, n)
	for i, at := range arrived {
		due := start.Add(time.Duration(float64(i) / perSecond * float64(time.Second)))
		times[i] = at.Sub(due)
	}
	return times, nil
}

// asking runs ask beside a service and a follower in this process.
func (b *Bench) asking(ctx context.Context, k contender.Kind, seen func(int), ask func(contender.Contender) error) (err error) {
	if err := b.prepare(ctx, k); err != nil {
		return err
	}
	made, err := k.New(ctx, b.options("bench-asker"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, made.Close()) }()
	c, ok := made.(contender.Follower)
	if !ok {
		return fmt.Errorf("workload: answers of %s cannot be followed", k.Name)
	}
	service, err := b.startAll(ctx, k, process.Serve, b.Load.Replicas, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, service.stop()) }()

	following, stop := context.WithCancel(ctx)
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- c.Follow(following, func() { close(ready) }, seen) }()
	select {
	case <-ready:
	case err := <-ended:
		stop()
		return err
	}
	err = ask(c)
	stop()
	return errors.Join(err, <-ended)
}
