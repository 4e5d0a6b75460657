package oona

import (
	"context"
	"sync"
	"time"
)

// callContext is the context of one call of a handler, with a deadline. It sets a
// timer only when somebody waits for it: most handlers are done in less time than a
// timer takes to set and to stop. Make one with newCallContext, and end it. It is
// safe for concurrent use.
type callContext struct {
	parent   context.Context
	deadline time.Time

	mu     sync.Mutex
	timed  context.Context // once somebody waits
	cancel context.CancelFunc
	ended  bool
}

func newCallContext(parent context.Context, timeout time.Duration) *callContext {
	return &callContext{parent: parent, deadline: time.Now().Add(timeout)}
}

// end cancels it, once the call is over.
func (c *callContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
}

// Deadline implements [context.Context].
func (c *callContext) Deadline() (time.Time, bool) {
	if earlier, ok := c.parent.Deadline(); ok && earlier.Before(c.deadline) {
		return earlier, true
	}
	return c.deadline, true
}

// Done implements [context.Context].
func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.timedLocked().Done()
}

// Err implements [context.Context].
func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil && !c.overLocked() {
		return nil
	}
	return c.timedLocked().Err() // from now on the same
}

// Value implements [context.Context]. What package context keeps of a context that
// can be cancelled is found here, too: who derives one has waited for this one.
func (c *callContext) Value(key any) any {
	c.mu.Lock()
	if c.timed == nil && c.overLocked() {
		c.timedLocked() // for context.Cause
	}
	timed := c.timed
	c.mu.Unlock()
	if timed != nil {
		return timed.Value(key)
	}
	return c.parent.Value(key)
}

// overLocked reports whether it has ended, where nobody waits for it.
func (c *callContext) overLocked() bool {
	return c.ended || c.parent.Err() != nil || !time.Now().Before(c.deadline)
}

// timedLocked sets the timer, once.
func (c *callContext) timedLocked() context.Context {
	if c.timed == nil {
		c.timed, c.cancel = context.WithDeadlineCause(c.parent, c.deadline, errOverran)
		if c.ended {
			c.cancel()
		}
	}
	return c.timed
}
