package oona

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// maxCommits is how many commits of one consumer are under way at once: while Redis
// works on one, the next is written.
const maxCommits = 2

// commits collects what is to be committed. What comes in while commits are under
// way goes into the next one together, so batches grow with the load and a message
// that is alone waits for nobody. It holds no more than is held.
type commits struct {
	mu      sync.Mutex
	waiting []outcome
	busy    int
	idle    []*committer
}

// committer is the memory of one commit at a time.
type committer struct {
	args    commitArgs
	batch   []outcome
	settled []*delivery
}

// commitSoon commits what was decided, and what others decided meanwhile, or leaves
// that to those who commit already.
func (c *consumer) commitSoon(ctx context.Context, decided []outcome) {
	q := &c.commits
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, decided...)
	for {
		cm := q.takeLocked(c.sub.Batch)
		if cm == nil {
			return
		}
		q.mu.Unlock()
		c.commitAll(ctx, cm)
		q.mu.Lock()
		q.busy--
		q.idle = append(q.idle, cm)
	}
}

// takeLocked takes the next batch, if it is not to wait for more: beside a commit
// that is under way only a full one pays.
func (q *commits) takeLocked(most int) *committer {
	n := min(len(q.waiting), most)
	if n == 0 || q.busy == maxCommits || q.busy > 0 && n < most {
		return nil
	}
	cm := new(committer)
	if last := len(q.idle) - 1; last >= 0 {
		cm, q.idle = q.idle[last], q.idle[:last]
	}
	q.busy++
	cm.batch = append(cm.batch[:0], q.waiting[:n]...)
	q.waiting = slices.Delete(q.waiting, 0, n)
	return cm
}

// commitAll commits a batch, in as many commits as it takes.
func (c *consumer) commitAll(ctx context.Context, cm *committer) {
	for rest := cm.batch; len(rest) > 0; {
		n := cm.args.fit(c.client.keys, rest)
		c.commitBatch(ctx, cm, rest[:n])
		rest = rest[n:]
	}
	clear(cm.batch)
}

// commitBatch commits until it is known to have taken effect, or ctx ends:
// then the entries are still pending, and are handed back.
func (c *consumer) commitBatch(ctx context.Context, cm *committer, batch []outcome) {
	var codes []byte
	tries := 0
	err := c.untilDone(ctx, "commit", func(ctx context.Context) (err error) {
		tries++
		codes, err = c.commit(ctx, &cm.args, batch)
		return err
	})
	if err != nil {
		return
	}
	settled := cm.settled[:0]
	now := c.client.clock.now()
	for i := range batch {
		if c.settle(ctx, &batch[i], codes[i], tries > 1, now) {
			batch[i].memory.done()
			settled = append(settled, batch[i].d)
		}
	}
	c.held.release(settled...)
	clear(settled)
	cm.settled = settled
}

// settle takes note of what a commit did with one entry and reports whether it
// is done with. After a repeated commit "not pending" most likely means that the
// first one took effect, and its reply was lost.
func (c *consumer) settle(ctx context.Context, o *outcome, code byte, repeated bool, now time.Time) bool {
	s := &c.client.stats
	switch {
	case code == codeFailed:
		c.log.LogAttrs(ctx, slog.LevelWarn, "could not write an answer or a dead letter, will try again", o.d.logged()...)
		decided := *o
		o.d.decided = &decided
		c.postpone(o.d, c.sub.RetryBase)
		return false
	case o.verb == keep && code == codeApplied && o.free:
		c.postpone(o.d, o.retryIn)
		return false
	case o.verb == keep && code == codeApplied:
		c.log.LogAttrs(ctx, slog.LevelInfo, "handler failed, will retry", o.d.logged(
			slog.Int("attempt", o.d.failed.attempts), slog.Duration("in", o.retryIn), slog.String("error", o.d.failed.err))...)
		c.postpone(o.d, o.retryIn)
		return false
	case code == codeNotOurs && !repeated:
		s.ownershipLost.Add(1)
	case code == codeReplayed:
		c.refused(ctx, o, leyline.Replayed)
	case code == codeBelowMark:
		c.refused(ctx, o, leyline.Stale)
	case code == codeDone:
		s.duplicateTotal.Add(1)
	case o.verb == finish:
		s.finished(len(o.answers), now.Sub(o.d.Arrival))
		if c.log.Enabled(ctx, slog.LevelDebug) {
			c.log.LogAttrs(ctx, slog.LevelDebug, "handled", o.d.logged(slog.Int("answers", len(o.answers)))...)
		}
	case o.verb == acknowledge && o.reason != "":
		c.refused(ctx, o, o.reason)
	case o.verb == bury:
		s.deadLetterTotal.Add(1)
		s.refusals.Count(c.sub.Stream, o.d.Envelope.Type, o.reason)
		c.log.LogAttrs(ctx, slog.LevelWarn, "dead-lettered", o.d.logged(
			slog.String("reason", string(o.reason)), slog.Int("attempts", o.d.failed.attempts), slog.String("error", o.d.failed.err))...)
	}
	return true
}

func (c *consumer) refused(ctx context.Context, o *outcome, reason leyline.Reason) {
	c.client.stats.refusals.Count(c.sub.Stream, o.d.Envelope.Type, reason)
	if level := refusalLevel(reason); c.log.Enabled(ctx, level) {
		c.log.LogAttrs(ctx, level, "refused", o.d.logged(slog.String("reason", string(reason)))...)
	}
}
