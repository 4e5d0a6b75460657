package kasmina

import (
	"context"
	"errors"
	"time"
)

// deferred is a command that is left to the owner of its seed until due.
type deferred struct {
	order order
	due   time.Time
}

// deferOrder leaves a command to others for a while, and reports whether there
// was room. All wait equally long, so the list is in the order of due.
func (c *Commands) deferOrder(o order) bool {
	c.mu.Lock()
	room := len(c.deferred) < MaxDeferred
	if room {
		c.deferred = append(c.deferred, deferred{o, time.Now().Add(c.cfg.TakeoverAfter)})
	}
	c.mu.Unlock()
	if !room {
		return false
	}
	c.counts.deferred.Add(1)
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return true
}

// settleDeferred settles what is due, until ctx ends. What is left then waits for
// another Run.
func (c *Commands) settleDeferred(ctx context.Context) {
	for {
		o, wait := c.nextDue()
		if o != nil {
			c.takeOver(ctx, *o)
			continue
		}
		var due <-chan time.Time // none, while nothing waits
		if wait > 0 {
			due = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-due:
		case <-c.wake:
		}
	}
}

// nextDue takes the next command that is due, or says how long until then; 0 when
// none waits.
func (c *Commands) nextDue() (o *order, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.deferred) == 0 {
		return nil, 0
	}
	first := c.deferred[0]
	if wait := time.Until(first.due); wait > 0 {
		return nil, wait
	}
	c.deferred = c.deferred[1:]
	return &first.order, 0
}

// errUnknownSeed is the answer to a command for a seed that no replica has.
var errUnknownSeed = errors.New("unknown_seed")

// takeOver settles a command that its owner had time to claim.
func (c *Commands) takeOver(ctx context.Context, o order) {
	for c.carryOut(ctx, o) != nil {
		if pause(ctx, tryAgainAfter) != nil {
			return // the process ends, and the command is nobody's
		}
	}
}
