package oona

import (
	"context"
	"time"
)

// keep brings back what waits for a retry, keeps siblings away from what is
// held, takes over what dead consumers left, and lets old nonces go, until ctx
// ends. It waits for nobody but Redis, and not for long.
func (c *consumer) keep(ctx context.Context) {
	heartbeat := time.NewTicker(c.sub.ReclaimIdle / 3)
	defer heartbeat.Stop()
	scan := time.NewTicker(max(c.sub.ReclaimIdle/6, time.Second))
	defer scan.Stop()
	mark := time.NewTicker(markInterval)
	defer mark.Stop()
	retries := time.NewTimer(0)
	defer retries.Stop()
	c.attend(ctx, "reclaim", c.reclaim)
	for {
		select {
		case <-ctx.Done():
			return
		case <-heartbeat.C:
			c.attend(ctx, "heartbeat", c.beat)
		case <-scan.C:
			c.attend(ctx, "reclaim", c.reclaim)
		case <-mark.C:
			c.attend(ctx, "mark", c.raiseMark)
		case <-c.wake:
			c.retryDue(retries)
		case <-retries.C:
			c.retryDue(retries)
		}
	}
}

// keepWhileDraining keeps siblings away from what handlers that were given time
// to end still work on.
func (c *consumer) keepWhileDraining(ctx context.Context) {
	heartbeat := time.NewTicker(c.sub.ReclaimIdle / 3)
	defer heartbeat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-heartbeat.C:
			c.attend(ctx, "heartbeat", c.beat)
		}
	}
}

// attend does one step of upkeep. A failure waits for the next turn: the reader
// says that Redis is away, and a late turn loses nothing.
func (c *consumer) attend(ctx context.Context, what string, step func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, c.sub.ReclaimIdle/3)
	defer cancel()
	if err := step(ctx); err != nil && ctx.Err() == nil {
		c.client.stats.busErrors.Add(1)
		c.log.DebugContext(ctx, "upkeep failed, will try again", "step", what, "error", err)
	}
}

// retryDue makes ready what is due and sets the timer for the next.
func (c *consumer) retryDue(timer *time.Timer) {
	if next := c.held.requeue(time.Now()); !next.IsZero() {
		timer.Reset(max(0, time.Until(next)))
	}
}
