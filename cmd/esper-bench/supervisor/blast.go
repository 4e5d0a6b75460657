package supervisor

import (
	"context"
	"time"
)

// innocent is the worker that fails once, next to one that crashes all the time.
const innocent = "innocent"

// blast measures for how long an innocent worker is down that fails once while a
// sibling is in a crash loop, both with a backoff as they come. The innocent one
// of ours is restarted without a delay of its own, so whatever is measured is
// the sibling's doing.
func blast(backoff time.Duration) func(context.Context, contender) ([]sample, error) {
	return func(ctx context.Context, c contender) ([]sample, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		t, err := c.cautious(backoff)
		if err != nil {
			return nil, err
		}
		fail, back := make(chan struct{}), make(chan time.Time, 1)
		lives := 0
		err = t.add(&body{innocent, func(ctx context.Context) error {
			if lives++; lives == 2 {
				back <- time.Now()
			}
			select {
			case <-fail:
				return errCrash
			case <-ctx.Done():
				return ctx.Err()
			}
		}})
		if err != nil {
			return nil, err
		}
		if err := t.add(&body{"crashing", func(context.Context) error { return errCrash }}); err != nil {
			return nil, err
		}
		wait := t.start(ctx)
		time.Sleep(backoff / 4) // the loop is in its backoff now
		down := time.Now()
		fail <- struct{}{}
		up := <-back
		cancel()
		return []sample{{"innocent sibling down", "ms", float64(up.Sub(down)) / float64(time.Millisecond)}}, wait()
	}
}
