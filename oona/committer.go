package oona

import (
	"context"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// commitAll commits outcomes until there are none. What came in while a commit
// was under way goes into the next one together, so batches grow with the load
// and a message that is alone waits for nobody.
func (c *consumer) commitAll(ctx context.Context) {
	var batch []outcome
	for first := range c.outcomes {
		batch = append(batch[:0], first...)
		for more := true; more && len(batch) < c.sub.Batch; {
			select {
			case next, ok := <-c.outcomes:
				batch = append(batch, next...)
				more = ok
			default:
				more = false
			}
		}
		for start := 0; start < len(batch); start += maxBatch {
			c.commitBatch(ctx, batch[start:min(start+maxBatch, len(batch))])
		}
		clear(batch)
	}
}

// commitBatch commits until it is known to have taken effect, or ctx ends:
// then the entries are still pending, and are handed back.
func (c *consumer) commitBatch(ctx context.Context, batch []outcome) {
	var codes string
	tries := 0
	err := c.untilDone(ctx, "commit", func(ctx context.Context) (err error) {
		tries++
		codes, err = c.commit(ctx, batch)
		return err
	})
	if err != nil {
		return
	}
	for i := range batch {
		c.settle(ctx, &batch[i], codes[i], tries > 1)
	}
}

// settle takes note of what a commit did with one entry. After a repeated
// commit "not pending" most likely means that the first one took effect, and its
// reply was lost.
func (c *consumer) settle(ctx context.Context, o *outcome, code byte, repeated bool) {
	s := &c.client.stats
	switch {
	case code == codeFailed:
		c.log.WarnContext(ctx, "commit could not write, will retry", "entry_id", o.d.text)
		c.postpone(o.d, c.sub.RetryBase)
		return
	case o.verb == keep && code == codeApplied:
		c.log.InfoContext(ctx, "handler failed, will retry", "entry_id", o.d.text, "attempt", o.d.failed.attempts, "in", o.retryIn, "error", o.d.failed.err)
		c.postpone(o.d, o.retryIn)
		return
	case code == codeNotOurs && !repeated:
		s.ownershipLost.Add(1)
	case code == codeReplayed:
		s.refusals.Count(c.sub.Stream, o.d.Envelope.Type, leyline.Replayed)
	case code == codeBelowMark:
		s.refusals.Count(c.sub.Stream, o.d.Envelope.Type, leyline.Stale)
	case code == codeDone:
		s.duplicateTotal.Add(1)
	case o.verb == finish:
		s.finished(len(o.answers), c.client.clock.now().Sub(o.d.Arrival))
	case o.verb == acknowledge && o.reason != "":
		s.refusals.Count(c.sub.Stream, o.d.Envelope.Type, o.reason)
		c.log.DebugContext(ctx, "refused", "entry_id", o.d.text, "reason", string(o.reason))
	case o.verb == bury:
		s.refusals.Count(c.sub.Stream, o.d.Envelope.Type, o.reason)
		c.log.WarnContext(ctx, "dead-lettered", "entry_id", o.d.text, "reason", string(o.reason), "attempts", o.d.failed.attempts, "error", o.d.failed.err)
	}
	c.release(o.d)
}

// keep brings back what waits for a retry, keeps siblings away from what is
// held, takes over what dead consumers left, and lets old nonces go, until ctx
// ends.
func (c *consumer) keep(ctx context.Context) {
	heartbeat := time.NewTicker(c.sub.ReclaimIdle / 3)
	defer heartbeat.Stop()
	scan := time.NewTicker(c.sub.ReclaimIdle / 2)
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
			c.retryDue(ctx, retries)
		case <-retries.C:
			c.retryDue(ctx, retries)
		}
	}
}

// markInterval is how often the low-water mark rises; nonces are kept that much
// longer than needed.
const markInterval = 10 * time.Second

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

// retryDue hands out what is due and sets the timer for the next.
func (c *consumer) retryDue(ctx context.Context, timer *time.Timer) {
	ready, next := c.held.due(time.Now(), c.sub.Batch)
	c.queue(ctx, ready)
	if !next.IsZero() {
		timer.Reset(max(0, time.Until(next)))
	}
}
