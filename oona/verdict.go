package oona

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
)

// outcomesOf turns a handler's results into what is committed, behind what was decided
// before. Left out are deliveries that ask for another try without charge, which wait
// for it, and those that failed because the consumer stops, which are handed back.
func (c *consumer) outcomesOf(outcomes []outcome, ds []*delivery, results []Result, stopping bool) []outcome {
	if results == nil {
		results = sameResult(len(ds), errExited)
	}
	outcomes = slices.Grow(outcomes, len(ds))
	sealer := c.client.sealer(len(ds))
	defer sealer.memory.done()
	for i, d := range ds {
		if stopping && failed(results[i].Err) {
			if d.suspect() { // its start is taken back
				outcomes = append(outcomes, outcome{d: d, verb: keep, free: true})
			}
			continue
		}
		if o, ok := c.outcomeOf(d, results[i], &sealer); ok {
			outcomes = append(outcomes, o)
		}
	}
	return outcomes
}

// failed reports whether err is a failed attempt, and no choice of the handler's.
func failed(err error) bool {
	_, again := errors.AsType[*retryError](err)
	_, drop := errors.AsType[*dropError](err)
	_, dead := errors.AsType[*deadLetterError](err)
	return err != nil && !again && !drop && !dead
}

func (c *consumer) outcomeOf(d *delivery, r Result, sealer *sealer) (outcome, bool) {
	if r.Err == nil {
		return c.answer(d, r.Answers, sealer), true
	}
	if again, ok := errors.AsType[*retryError](r.Err); ok {
		if d.suspect() { // its start is taken back
			return outcome{d: d, verb: keep, retryIn: again.after, free: true}, true
		}
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
		c.log.LogAttrs(context.Background(), slog.LevelError, "handler panicked", d.logged(
			slog.Any("panic", panicked.value), slog.String("stack", string(panicked.stack)))...)
	}
	_, shared := errors.AsType[*sharedError](r.Err)
	d.single = d.single || shared
	if d.failed.attempts >= c.sub.MaxAttempts && !shared {
		return outcome{d: d, verb: bury, reason: leyline.AttemptsExhausted}, true
	}
	return outcome{d: d, verb: keep, retryIn: retryDelay(c.sub.RetryBase, c.sub.RetryMax, d.failed.attempts)}, true
}

// answer seals the answers. One that cannot be sealed is the handler's failure,
// and no retry would mend it.
func (c *consumer) answer(d *delivery, msgs []proto.Message, sealer *sealer) outcome {
	o := outcome{d: d, verb: finish}
	if len(msgs) == 0 {
		return o
	}
	o.answers = sealer.room(len(msgs))
	header := sealer.answerHeader(&d.Envelope)
	for i, m := range msgs {
		s, err := sealer.sealAnswer(m, header)
		if err != nil {
			d.failed.note(c.client.clock.now(), err)
			return outcome{d: d, verb: bury, reason: leyline.Rejected}
		}
		o.answers[i] = s
	}
	o.memory = sealer.memory
	o.memory.use()
	return o
}

// answerHeader carries on to the answer who asked and in which trace. Requests
// that come together mostly come from one process, whose name is copied once.
func (s *sealer) answerHeader(request *leyline.Envelope) leyline.Header {
	if !request.SourceIs(s.asker) {
		s.asker = request.Source()
	}
	return leyline.Header{TraceParent: request.TraceParent(), RequestSource: s.asker}
}

// sealAnswer seals a message for the stream of its type.
func (s *sealer) sealAnswer(m proto.Message, h leyline.Header) (sealedMessage, error) {
	stream, err := s.client.route(m)
	if err != nil {
		return sealedMessage{}, err
	}
	return s.seal(stream, &Outgoing{Message: m, Header: h})
}

// postpone keeps a delivery for another try.
func (c *consumer) postpone(d *delivery, in time.Duration) {
	c.client.stats.retryTotal.Add(1)
	d.detach(c.client.cfg.Codec)
	if !c.held.retry(d, time.Now().Add(in), c.sub.MaxHeld) {
		c.client.stats.retriesReleased.Add(1)
		return
	}
	signal(c.wake)
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
