package supervisor

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// startStop measures n workers that do nothing: how long it takes to add and
// start them, until the last one runs; what they take of memory; how long it
// takes to stop them.
func startStop(n int) func(context.Context, contender) ([]sample, error) {
	return func(ctx context.Context, c contender) ([]sample, error) {
		bodies, up := idleBodies(n)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		memory() // frees what the side before has left, lest the crowd settles in it
		defer crowd()()
		before := memory()

		begun := time.Now()
		t, err := c.make()
		if err != nil {
			return nil, err
		}
		for _, b := range bodies {
			if err := t.add(b); err != nil {
				return nil, err
			}
		}
		wait := t.start(ctx)
		<-up
		started := time.Since(begun)

		used := memory() - before
		begun = time.Now()
		cancel()
		if err := wait(); err != nil {
			return nil, err
		}
		stopped := time.Since(begun)
		runtime.KeepAlive(bodies)
		each := float64(n)
		return []sample{
			{fmt.Sprintf("start %d workers, each", n), "ns", float64(started) / each},
			{fmt.Sprintf("stop %d workers, each", n), "ns", float64(stopped) / each},
			{fmt.Sprintf("memory of %d workers, each", n), "B", float64(used) / each},
		}, nil
	}
}

// idleBodies returns n bodies that wait, and a channel that is closed when all of
// them do.
func idleBodies(n int) ([]*body, <-chan struct{}) {
	up := make(chan struct{})
	var running atomic.Int64
	run := func(ctx context.Context) error {
		if running.Add(1) == int64(n) {
			close(up)
		}
		<-ctx.Done()
		return ctx.Err()
	}
	return bodiesOf(n, run), up
}

func bodiesOf(n int, run func(context.Context) error) []*body {
	bodies := make([]*body, n)
	for i := range bodies {
		bodies[i] = &body{"worker " + strconv.Itoa(i), run}
	}
	return bodies
}

// crowd starts goroutines that do nothing and returns a function that ends them.
// The runtime gives a new goroutine a stack of the size that goroutines used on
// average at the last collection. Without a crowd, that is decided by the few of
// the test itself if a collection comes before the workers are up, which doubles
// the stacks of all workers of whichever side it hits.
func crowd() (disperse func()) {
	const shallow = 1000
	release := make(chan struct{})
	var all sync.WaitGroup
	for range shallow {
		all.Go(func() { <-release })
	}
	return func() {
		close(release)
		all.Wait()
	}
}

// memory returns the bytes of heap and stacks that are in use.
func memory() int64 {
	runtime.GC()
	runtime.GC() // the first one leaves stacks to be freed
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
