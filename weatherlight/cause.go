package weatherlight

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Why the context of a worker ended. [errors.Is] finds them in
// [context.Cause]; the first is also why a [Supervisor] refuses a call.
var (
	// ErrShutdown: the supervisor stops, and all its workers with it.
	ErrShutdown = errors.New("weatherlight: shutdown")
	// ErrStopAsked: [Handle.Stop] or [Handle.Remove].
	ErrStopAsked = errors.New("weatherlight: stop asked")
	// ErrRestartAsked: [Handle.Restart].
	ErrRestartAsked = errors.New("weatherlight: restart asked")
	// ErrSiblingFailed: another worker of a [OneForAll] supervisor failed.
	ErrSiblingFailed = errors.New("weatherlight: sibling failed")
	// ErrWatchdog: the worker was silent for longer than [Spec.Heartbeat].
	ErrWatchdog = errors.New("weatherlight: no heartbeat")
)

// Cause is why the context of a worker ended, and until when it has time.
// [context.Cause] of every context that a [Supervisor] hands out returns one,
// so errors.Is(context.Cause(ctx), weatherlight.ErrShutdown) tells a shutdown
// from a restart. What a worker leaves running when it returns by itself finds
// [context.Canceled] as the reason.
type Cause struct {
	// Reason is one of ErrShutdown, ErrStopAsked, ErrRestartAsked,
	// ErrSiblingFailed and ErrWatchdog.
	Reason error
	// Deadline is when the worker is given up if it has not returned.
	Deadline time.Time
	// Sibling is the worker that failed, for ErrSiblingFailed.
	Sibling string
}

// Error names the reason.
func (c *Cause) Error() string {
	if c.Sibling != "" {
		return c.Reason.Error() + ": " + c.Sibling
	}
	return c.Reason.Error()
}

// Unwrap returns the reason.
func (c *Cause) Unwrap() error { return c.Reason }

// causeReturned ends the context of a worker that has returned by itself.
var causeReturned = &Cause{Reason: context.Canceled}

// reasons, the weaker before the stronger: a worker that is told to stop for two
// of them stops for the stronger one.
var reasons = []error{ErrRestartAsked, ErrWatchdog, ErrSiblingFailed, ErrStopAsked, ErrShutdown}

// outweighs reports whether c is a stronger reason to stop than other.
func (c *Cause) outweighs(other *Cause) bool {
	return other == nil || slices.Index(reasons, c.Reason) > slices.Index(reasons, other.Reason)
}
