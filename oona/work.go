package oona

import (
	"context"
	"time"
)

// handle takes chunks until the consumer stops.
func (c *consumer) handle(ctx, handling context.Context) {
	var buf []*delivery
	for {
		chunk, alone := c.held.next(buf[:0])
		if len(chunk) == 0 {
			return
		}
		c.process(ctx, handling, chunk, alone)
		clear(chunk)
		buf = chunk
	}
}

// process decides on a chunk and passes on what was decided. What is left out
// was not started because ctx ended: it is handed back.
func (c *consumer) process(ctx, handling context.Context, chunk []*delivery, alone bool) {
	defer c.held.done(alone)
	admitted, decided := c.admit(chunk)
	if c.sub.ClaimFirst && len(admitted) > 0 {
		admitted, decided = c.claim(ctx, admitted, decided)
	}
	if alone && len(admitted) > 0 && !c.noteStart(ctx, admitted[0]) {
		admitted = nil
	}
	if len(admitted) > 0 {
		decided = append(decided, c.attempt(handling, admitted)...)
	}
	if len(decided) > 0 {
		c.outcomes <- decided
	}
}

// attempt calls the handler once and says what becomes of each message. A
// handler that overruns its deadline is left alone and its results are dropped:
// whatever it still does, the messages have failed this time.
func (c *consumer) attempt(handling context.Context, ds []*delivery) []outcome {
	ctx, cancel := context.WithTimeoutCause(handling, c.sub.HandlerTimeout, errOverran)
	defer cancel()
	batch := make([]*Message, len(ds))
	for i, d := range ds {
		batch[i] = &d.Message
	}
	began := time.Now()
	defer func() { c.pace.note(time.Since(began), len(ds)) }()
	done := make(chan []Result, 1)
	go func() {
		var results []Result
		defer func() { done <- results }() // also when the handler ends its goroutine
		results = protect(ctx, c.handler, batch)
	}()
	select {
	case results := <-done:
		return c.outcomesOf(ds, results, context.Cause(ctx) == errDrained)
	case <-ctx.Done():
	}
	grace := time.NewTimer(handlerGrace)
	defer grace.Stop()
	var results []Result
	select { // a handler that obeys its context answers at once
	case results = <-done:
	case <-grace.C:
		ds = c.leaveBehind(ctx, ds, done)
		if context.Cause(ctx) == errDrained {
			return nil // not done, and handed back
		}
	}
	if context.Cause(ctx) == errDrained {
		return c.outcomesOf(ds, results, true)
	}
	return c.outcomesOf(ds, sameResult(len(ds), errOverran), false)
}

// leaveBehind gives up on a handler that ignores its context. It still has the
// messages, so what goes on is copies, decoded anew.
func (c *consumer) leaveBehind(ctx context.Context, ds []*delivery, done <-chan []Result) []*delivery {
	c.client.stats.handlersAbandoned.Add(1)
	c.log.ErrorContext(ctx, "handler ignores its deadline and is left behind", "messages", len(ds), "entry_id", ds[0].text, "cause", context.Cause(ctx))
	c.held.abandon()
	go func() {
		<-done
		c.held.returned()
	}()
	fresh := c.held.replace(ds)
	for _, d := range fresh {
		d.decodeAgain()
	}
	return fresh
}
