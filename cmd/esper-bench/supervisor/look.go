package supervisor

import (
	"context"
	"slices"
	"time"
)

const lookedAt = 10_000

// lookBudget bounds how long one turn looks.
const lookBudget = 3 * time.Second

// look measures how long it takes to look at 10,000 workers, idle or crashing all
// the time. Suture has no counts, so those of ours stand alone.
func look(times int, what string) func(context.Context, contender) ([]sample, error) {
	return func(ctx context.Context, c contender) ([]sample, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		t, err := c.make()
		if err != nil {
			return nil, err
		}
		bodies, up := idleBodies(lookedAt)
		if what != "idle" {
			crash := func(context.Context) error { return errCrash }
			bodies = append(bodies[:1], bodiesOf(lookedAt, crash)[1:]...)
			ready := make(chan struct{})
			close(ready)
			up = ready
		}
		for _, b := range bodies {
			if err := t.add(b); err != nil {
				return nil, err
			}
		}
		wait := t.start(ctx)
		<-up
		time.Sleep(100 * time.Millisecond) // let it settle

		samples := percentiles("list of 10000 workers, "+what, times, func() { t.list() })
		if o, ok := t.(*ours); ok {
			samples = append(samples, percentiles("counts of 10000 workers, "+what, times, func() { o.Snapshot() })...)
		}
		cancel()
		return samples, wait()
	}
}

// percentiles calls f up to so many times.
func percentiles(name string, times int, f func()) []sample {
	f() // the first one makes the slices that the others reuse
	var took []time.Duration
	for begun := time.Now(); len(took) < times && time.Since(begun) < lookBudget; {
		at := time.Now()
		f()
		took = append(took, time.Since(at))
	}
	slices.Sort(took)
	return []sample{
		{name + ", p50", "ns", float64(took[len(took)/2])},
		{name + ", p99", "ns", float64(took[len(took)*99/100])},
	}
}
