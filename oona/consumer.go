package oona

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sethvargo/go-retry"
)

// Errors of Consume.
var (
	// ErrNoConsumer: Config.Consumer is empty.
	ErrNoConsumer = errors.New("oona: Config.Consumer is missing")
	// ErrConsuming: this client consumes the stream in that group already. Two
	// consumers of one name would take each other's entries; raise
	// Subscription.Workers instead.
	ErrConsuming = errors.New("oona: the client consumes this stream in this group already")
)

// Consume reads a stream as a member of a group and blocks until ctx ends. While
// Redis is away it waits, with backoff; only a subscription that cannot work is
// an error at once. It returns nil when it stopped in order: the handlers that
// ran were finished and committed, or given DrainTimeout to do so, and what was
// not done was handed back, for a sibling to take at its next scan.
//
// Within one consumer, messages are handled in about the order of the stream;
// nothing is promised, since batches run side by side and retries come later.
func (c *Client) Consume(ctx context.Context, sub Subscription, h Handler) error {
	if c.cfg.Consumer == "" {
		return ErrNoConsumer
	}
	sub, err := sub.withDefaults()
	if err != nil {
		return err
	}
	consumer := newConsumer(c, sub, h)
	if err := c.ofOneSlot(sub.Stream); err != nil {
		return err
	}
	if !c.consumers.add(consumer) {
		return fmt.Errorf("%w: %s, %s", ErrConsuming, sub.Stream, sub.Group)
	}
	defer c.consumers.remove(consumer)
	return consumer.run(ctx)
}

// consumer is one call of Consume. Its goroutines are alike: each does what is
// next, see work.go. The keeper brings back what waits for a retry, and keeps
// siblings away from what is held.
type consumer struct {
	client  *Client
	sub     Subscription
	handler Handler
	log     *slog.Logger

	held       *held
	pace       *pace
	reading    *breaker
	size       entrySize
	reader     reader // of whoever reads
	commits    commits
	workers    sync.WaitGroup
	wake       chan struct{} // signalled when a retry was scheduled
	idsAhead   atomic.Bool   // the stream's ids are ahead of the clock
	othersLate atomic.Bool   // another stream keeps nonces from being let go
}

func newConsumer(c *Client, sub Subscription, h Handler) *consumer {
	pace := newPace(sub.HandlerTimeout)
	consumer := &consumer{
		client:  c,
		sub:     sub,
		handler: h,
		log:     c.log.With("stream", sub.Stream, "group", sub.Group),
		pace:    pace,
		reading: newBreaker(&c.stats.consumeBreaks),
		wake:    make(chan struct{}, 1),
	}
	consumer.held = newHeld(sub.Batch, sub.Workers, pace, consumer.mostActive)
	return consumer
}

func (c *consumer) run(ctx context.Context) error {
	if err := c.prepare(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	if c.sub.Ready != nil {
		c.sub.Ready()
	}
	c.client.untilStopped(ctx, func(rdb redis.UniversalClient) {
		c.reader.rdb = rdb
		c.serve(ctx)
	})
	return nil
}

// serve starts everything, and stops in the order in which entries pass: reading,
// handling, committing.
func (c *consumer) serve(ctx context.Context) {
	stop := context.WithoutCancel(ctx)
	handling, cancelHandling := context.WithCancelCause(stop)
	defer cancelHandling(nil)
	committing, cancelCommitting := context.WithCancel(stop)
	defer cancelCommitting()
	draining, drained := context.WithCancel(stop)
	defer drained()

	var keepers sync.WaitGroup
	keepers.Go(func() { c.keep(ctx) })
	until := phases{reading: ctx, handling: handling, committing: committing}
	for range 1 + c.sub.Workers + maxCommits {
		c.workers.Add(1)
		go c.work(until)
	}

	<-ctx.Done()
	c.held.close()
	keepers.Go(func() { c.keepWhileDraining(draining) })
	drain := time.AfterFunc(c.sub.DrainTimeout, func() { cancelHandling(errDrained) })
	defer drain.Stop()
	bound := time.AfterFunc(c.sub.DrainTimeout+commitTimeout, cancelCommitting)
	defer bound.Stop()
	c.held.awaitIdle()
	bound.Reset(commitTimeout)
	c.workers.Wait()
	drained()
	keepers.Wait()
	c.leave(stop)
}

// leave raises the mark a last time, so that nobody can date an entry back into
// the time before the stop, and hands back what is left.
func (c *consumer) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	c.attend(ctx, "mark", c.raiseMark)
	c.handBack(ctx)
}

// commitTimeout bounds how long a stopping consumer waits for its last commits
// and for handing back the rest, each.
const commitTimeout = 2 * time.Second

// prepare makes the group and raises the mark. What the server refuses for good,
// because the key is no stream or we have no right to it, is an error.
func (c *consumer) prepare(ctx context.Context) error {
	var permanent error
	err := c.untilDone(ctx, "prepare", func(ctx context.Context) error {
		err := c.client.ensureGroup(ctx, c.sub.Stream, c.sub.Group)
		if err == nil {
			err = c.raiseMark(ctx)
		}
		if err != nil && !transient(err) && !groupLost(err) && !noSuchKey(err) {
			permanent = err
			return nil
		}
		return err
	})
	if over(ctx) {
		return nil
	}
	return errors.Join(permanent, err)
}

// untilDone repeats a step until it succeeds or ctx ends, with backoff. It logs
// the first failure and the recovery, not what lies between.
func (c *consumer) untilDone(ctx context.Context, what string, step func(context.Context) error) error {
	failed := false
	err := retry.Do(ctx, busBackoff(), func(ctx context.Context) error {
		err := step(ctx)
		if err == nil || over(ctx) {
			return err
		}
		if !failed {
			failed = true
			c.log.WarnContext(ctx, "bus is not available, retrying", "step", what, "error", err)
		}
		c.client.stats.busErrors.Add(1)
		lookAgain(ctx, c.client.rdb, err)
		if groupLost(err) {
			err = errors.Join(err, c.regroup(ctx))
		}
		return retry.RetryableError(err)
	})
	if err != nil {
		return fmt.Errorf("oona: %s on %s: %w", what, c.sub.Stream, err)
	}
	if failed {
		c.log.InfoContext(ctx, "bus is available again", "step", what)
	}
	return nil
}

// over reports whether ctx has ended or is about to. A connection has the same
// deadline, and may notice a moment earlier that it has passed: that is no
// trouble with the bus.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// regroup makes a group that is gone anew, from the start of the stream: what
// was finished is known by its nonce or lies below the mark.
func (c *consumer) regroup(ctx context.Context) error {
	c.log.ErrorContext(ctx, "the consumer group is gone and is made anew, from the start of the stream")
	return c.client.ensureGroup(ctx, c.sub.Stream, c.sub.Group)
}

// busBackoff between tries of one Redis step: 50 ms doubling to 2 s, so that the
// service continues soon after a failover without a hot loop before it.
func busBackoff() retry.Backoff {
	return retry.WithJitterPercent(25, retry.WithCappedDuration(2*time.Second, retry.NewExponential(50*time.Millisecond)))
}
