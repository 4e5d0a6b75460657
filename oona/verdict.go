package oona

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
)

// outcomesOf turns a handler's results into what is committed. Deliveries that
// ask for another try without charge go straight to the retry queue.
func (c *consumer) outcomesOf(ctx context.Context, ds []*delivery, results []Result) []outcome {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errOverran):
		results = sameResult(len(ds), errOverran)
	case results == nil:
		return nil // stopping: not done, and handed back
	}
	outcomes := make([]outcome, 0, len(ds))
	for i, d := range ds {
		if o, ok := c.outcomeOf(d, results[i]); ok {
			outcomes = append(outcomes, o)
		}
	}
	return outcomes
}

func (c *consumer) outcomeOf(d *delivery, r Result) (outcome, bool) {
	if r.Err == nil {
		return c.answer(d, r.Answers), true
	}
	if again, ok := errors.AsType[*retryError](r.Err); ok {
		c.postpone(d, again.after)
		return outcome{}, false
	}
	if drop, ok := errors.AsType[*dropError](r.Err); ok {
		return outcome{d: d, verb: acknowledge, reason: reasonOf(drop)}, true
	}
	now := c.client.clock.now()
	if dead, ok := errors.AsType[*deadLetterError](r.Err); ok {
		d.failed.note(now, dead.cause)
		return outcome{d: d, verb: bury, reason: reasonOf(dead)}, true
	}
	d.failed.note(now, r.Err)
	d.Attempts = d.failed.attempts
	c.client.stats.handlerFailures.Add(1)
	if panicked, ok := errors.AsType[*panicError](r.Err); ok {
		c.log.Error("handler panicked", "entry_id", d.text, "panic", panicked.value, "stack", string(panicked.stack))
	}
	if d.failed.attempts >= c.sub.MaxAttempts {
		return outcome{d: d, verb: bury, reason: leyline.AttemptsExhausted}, true
	}
	return outcome{d: d, verb: keep, retryIn: retryDelay(c.sub.RetryBase, c.sub.RetryMax, d.failed.attempts)}, true
}

// answer seals the answers. One that cannot be sealed is the handler's failure,
// and no retry would mend it.
func (c *consumer) answer(d *delivery, msgs []proto.Message) outcome {
	o := outcome{d: d, verb: finish}
	if len(msgs) == 0 {
		return o
	}
	o.answers = make([]sealedMessage, len(msgs))
	header := leyline.Header{TraceParent: d.Envelope.TraceParent()}
	for i, m := range msgs {
		s, err := c.client.seal(nil, Outgoing{Message: m, Header: header})
		if err != nil {
			d.failed.note(c.client.clock.now(), err)
			return outcome{d: d, verb: bury, reason: leyline.Rejected}
		}
		o.answers[i] = s
	}
	return o
}

// postpone keeps a delivery for another try.
func (c *consumer) postpone(d *delivery, in time.Duration) {
	if !c.held.wait(d, time.Now().Add(in), c.sub.MaxHeld) {
		c.client.stats.retriesReleased.Add(1)
	}
	c.client.stats.retryTotal.Add(1)
	signal(c.wake)
	signal(c.room)
}

// retryDelay is the backoff after the n-th failure: base doubling up to most,
// ±25 %, so that what failed together does not come back together.
func retryDelay(base, most time.Duration, n int) time.Duration {
	d := most
	if shift := n - 1; shift < 32 && base<<shift < d {
		d = base << shift
	}
	return time.Duration(float64(d) * (0.75 + 0.5*rand.Float64()))
}

// signal wakes whoever waits on ch, if anybody does.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
