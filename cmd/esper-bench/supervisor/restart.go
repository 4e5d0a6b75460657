package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var errCrash = errors.New("crash")

// restarts measures n crashes in a row of one worker, each with its restart.
func restarts(n int, how string) func(context.Context, contender) ([]sample, error) {
	return func(ctx context.Context, c contender) ([]sample, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		t, err := c.make()
		if err != nil {
			return nil, err
		}
		var lives int // only one life at a time
		done := make(chan struct{})
		err = t.add(&body{"crashing", func(ctx context.Context) error {
			if lives++; lives <= n {
				if how == "panic" {
					panic(errCrash)
				}
				return errCrash
			}
			close(done)
			<-ctx.Done()
			return ctx.Err()
		}})
		if err != nil {
			return nil, err
		}
		begun := time.Now()
		wait := t.start(ctx)
		<-done
		took := time.Since(begun)
		cancel()
		return []sample{{fmt.Sprintf("crash and restart by %s", how), "ns", float64(took) / float64(n)}}, wait()
	}
}
