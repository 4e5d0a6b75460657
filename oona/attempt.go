package oona

import (
	"context"
	"sync/atomic"
	"time"
)

// attempt is one call of the handler, in the goroutine of the worker that makes
// it. A handler that overruns its deadline, or that goes on when its consumer
// stops, is left behind with that goroutine, and another takes the worker's place:
// whatever the handler still does, the messages have failed this time.
type attempt struct {
	consumer *consumer
	until    phases
	ctx      context.Context
	alone    bool
	ds       []*delivery
	decided  []outcome // of other deliveries of the chunk
	began    time.Time
	over     atomic.Bool   // the handler returned, or was left behind
	returned chan struct{} // closed when it returned in time
}

// attempt calls the handler once, says what becomes of each message and commits
// that. It reports false when it was left behind.
func (c *consumer) attempt(until phases, alone bool, ds []*delivery, decided []outcome) (ours bool) {
	ctx, cancel := context.WithTimeoutCause(until.handling, c.sub.HandlerTimeout, errOverran)
	defer cancel()
	a := &attempt{
		consumer: c, until: until, ctx: ctx, alone: alone, ds: ds, decided: decided,
		began: time.Now(), returned: make(chan struct{}),
	}
	unwatch := context.AfterFunc(ctx, a.watch)
	batch := make([]*Message, len(ds))
	for i, d := range ds {
		batch[i] = &d.Message
	}
	var results []Result
	exited := true
	defer func() { // also when the handler ends its goroutine
		unwatch()
		if ours = a.over.CompareAndSwap(false, true); !ours {
			c.held.returned()
			return
		}
		close(a.returned)
		a.finish(ds, results, context.Cause(ctx))
		if exited {
			go c.work(until)
		}
	}()
	results = protect(ctx, c.handler, batch)
	exited = false
	return true
}

// finish commits what the handler's results mean, given why its context ended, if
// it did.
func (a *attempt) finish(ds []*delivery, results []Result, cause error) {
	c := a.consumer
	c.pace.note(time.Since(a.began), len(ds))
	if cause == errOverran {
		results = sameResult(len(ds), errOverran)
	}
	c.decide(a.until, a.alone, c.outcomesOf(a.decided, ds, results, cause == errDrained))
}

// watch waits for a handler whose context ended: one that obeys it returns at
// once. It takes the place of one that does not.
func (a *attempt) watch() {
	grace := time.NewTimer(handlerGrace)
	defer grace.Stop()
	select {
	case <-a.returned:
		return
	case <-grace.C:
	}
	if !a.over.CompareAndSwap(false, true) {
		return
	}
	fresh := a.leaveBehind()
	if cause := context.Cause(a.ctx); cause == errDrained {
		a.consumer.decide(a.until, a.alone, a.decided) // the rest is handed back
	} else {
		a.finish(fresh, nil, cause)
	}
	a.consumer.work(a.until)
}

// leaveBehind gives up on a handler that ignores its context. It still has the
// messages, so what goes on is copies, decoded anew.
func (a *attempt) leaveBehind() []*delivery {
	c := a.consumer
	c.client.stats.handlersAbandoned.Add(1)
	c.log.ErrorContext(a.ctx, "handler ignores its deadline and is left behind",
		"messages", len(a.ds), "entry_id", a.ds[0].text, "cause", context.Cause(a.ctx))
	c.held.abandon()
	fresh := c.held.replace(a.ds)
	for _, d := range fresh {
		d.decodeAgain()
	}
	return fresh
}
