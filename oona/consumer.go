package oona

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sethvargo/go-retry"
)

// ErrNoConsumer is returned by Consume when Config.Consumer is empty.
var ErrNoConsumer = errors.New("oona: Config.Consumer is missing")

// errDrained is the cause of a handler's context when its consumer stopped and
// would wait no longer.
var errDrained = errors.New("oona: consumer stopped before the handler did")

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
	return consumer.run(ctx)
}

// consumer is one call of Consume. Entries flow reader → workers → committer;
// the keeper brings back what waits for a retry, and keeps siblings away from
// what is held.
type consumer struct {
	client  *Client
	sub     Subscription
	handler Handler
	log     *slog.Logger

	held     held
	work     chan []*delivery
	outcomes chan []outcome
	room     chan struct{} // signalled when the reader may find room
	wake     chan struct{} // signalled when a retry was scheduled
	idsAhead atomic.Bool   // the stream's ids are ahead of the clock

	args commitArgs // the committer's
}

func newConsumer(c *Client, sub Subscription, h Handler) *consumer {
	return &consumer{
		client:   c,
		sub:      sub,
		handler:  h,
		log:      c.log.With("stream", sub.Stream, "group", sub.Group),
		held:     newHeld(),
		work:     make(chan []*delivery),
		outcomes: make(chan []outcome, sub.Workers),
		room:     make(chan struct{}, 1),
		wake:     make(chan struct{}, 1),
	}
}

// run starts the parts in the order in which entries pass them and stops them in
// the same order, so that each part outlives what feeds it.
func (c *consumer) run(ctx context.Context) error {
	if err := c.untilDone(ctx, "prepare", c.prepare); err != nil {
		return nil // ctx ended first
	}
	if c.sub.Ready != nil {
		c.sub.Ready()
	}
	stop := context.WithoutCancel(ctx)
	handling, cancelHandling := context.WithCancelCause(stop)
	defer cancelHandling(nil)
	committing, cancelCommitting := context.WithCancel(stop)
	defer cancelCommitting()

	var sources, workers, committer sync.WaitGroup
	sources.Go(func() { c.read(ctx) })
	sources.Go(func() { c.keep(ctx) })
	for range c.sub.Workers {
		workers.Go(func() { c.handle(ctx, handling) })
	}
	committer.Go(func() { c.commitAll(committing) })

	<-ctx.Done()
	drain := time.AfterFunc(c.sub.DrainTimeout, func() { cancelHandling(errDrained) })
	defer drain.Stop()
	sources.Wait()
	close(c.work)
	workers.Wait()
	close(c.outcomes)
	bound := time.AfterFunc(commitTimeout, cancelCommitting)
	defer bound.Stop()
	committer.Wait()
	return c.handBack(stop)
}

// commitTimeout bounds how long a stopping consumer waits for its last commits
// and for handing back the rest, each.
const commitTimeout = 2 * time.Second

func (c *consumer) prepare(ctx context.Context) error {
	if err := c.client.ensureGroup(ctx, c.sub.Stream, c.sub.Group); err != nil {
		return err
	}
	return c.raiseMark(ctx)
}

// untilDone repeats a step until it succeeds or ctx ends, with backoff. It logs
// the first failure and the recovery, not what lies between.
func (c *consumer) untilDone(ctx context.Context, what string, step func(context.Context) error) error {
	failed := false
	err := retry.Do(ctx, c.backoff(), func(ctx context.Context) error {
		err := step(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !failed {
			failed = true
			c.log.WarnContext(ctx, "bus is not available, retrying", "step", what, "error", err)
		}
		c.client.stats.busErrors.Add(1)
		if groupLost(err) {
			return retry.RetryableError(errors.Join(err, c.client.ensureGroup(ctx, c.sub.Stream, c.sub.Group)))
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

// backoff between tries of one Redis step: 50 ms doubling to 2 s, so that the
// service continues soon after a failover without a hot loop before it.
func (c *consumer) backoff() retry.Backoff {
	return retry.WithJitterPercent(25, retry.WithCappedDuration(2*time.Second, retry.NewExponential(50*time.Millisecond)))
}
