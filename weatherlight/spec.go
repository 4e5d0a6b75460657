package weatherlight

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Defaults of a [Spec] and its parts.
const (
	DefaultStableAfter = 30 * time.Second
	DefaultStopTimeout = 5 * time.Second
)

// Restart says what follows when a worker ends by itself, that is, while its
// context lives. A worker that a supervisor has stopped is no matter for it.
type Restart uint8

const (
	// Permanent workers are restarted always. To return, even nil, is a
	// failure: [ErrReturned].
	Permanent Restart = iota
	// Transient workers are restarted after a failure. One that returns nil
	// is done.
	Transient
	// Temporary workers are never restarted.
	Temporary
)

// Panics says what to do with a panic of a worker.
type Panics uint8

const (
	// RecoverPanics makes a panic a failure like any other: a [*PanicError].
	RecoverPanics Panics = iota
	// LetPanicsThrough lets it end the process.
	LetPanicsThrough
)

// Spec describes a worker. Name and Worker are required.
type Spec struct {
	// Name is unique within the supervisor, without "/", which joins the
	// names of nested supervisors to those of their workers.
	Name string
	// Worker does the work.
	Worker Worker
	// After names workers of the same supervisor. This one is started when
	// all of them are ready, and they are stopped when it has stopped. That
	// is the order of boot and of shutdown: when one of them is restarted
	// later, this one stays up.
	After []string
	// Restart is what follows when the worker ends by itself. Zero means
	// Permanent.
	Restart Restart
	// Backoff is how long to wait before a restart after a failure.
	Backoff Backoff
	// StableAfter is how long the worker must have been ready for its next
	// failure to count as the first one, so that Backoff starts over. Zero
	// means 30s.
	StableAfter time.Duration
	// StopTimeout is how long the worker may take to return when its context
	// has ended. One that takes longer is given up: its goroutine cannot be
	// ended from outside, but nobody waits for it any more and it is named,
	// see [StopError]. Zero means 5s. At shutdown it may be less, see
	// [Config.ShutdownTimeout].
	StopTimeout time.Duration
	// Limit bounds how often the worker may fail. Zero means no limit.
	Limit Limit
	// Heartbeat is how long the worker may be silent. One that is silent for
	// longer, counted from its start, is stopped and restarted: a failure,
	// [ErrWatchdog]. It needs the method RunBeating, see [Worker]. Zero means
	// that it is not watched.
	Heartbeat time.Duration
	// Panics is what to do with a panic. Zero means RecoverPanics.
	Panics Panics
}

// policy is the part of a Spec that many workers have in common.
type policy struct {
	restart     Restart
	panics      Panics
	backoff     Backoff
	stableAfter time.Duration
	stopTimeout time.Duration
	limit       Limit
	heartbeat   time.Duration
}

func (s Spec) policy() policy {
	return policy{
		restart:     s.Restart,
		panics:      s.Panics,
		backoff:     s.Backoff.withDefaults(),
		stableAfter: cmp.Or(s.StableAfter, DefaultStableAfter),
		stopTimeout: cmp.Or(s.StopTimeout, DefaultStopTimeout),
		limit:       s.Limit.withDefaults(),
		heartbeat:   s.Heartbeat,
	}
}

// validate says what is wrong with s, without regard to other workers.
func (s Spec) validate() error {
	var errs []error
	bad := func(wrong bool, what string) {
		if wrong {
			errs = append(errs, errors.New(what))
		}
	}
	_, beats := s.Worker.(beatingWorker)
	bad(s.Name == "", "Name is empty")
	bad(strings.Contains(s.Name, "/"), `Name contains "/"`)
	bad(s.Worker == nil, "Worker is nil")
	bad(slices.Contains(s.After, s.Name), "After names the worker itself")
	bad(s.Restart > Temporary, "Restart is unknown")
	bad(s.Panics > LetPanicsThrough, "Panics is unknown")
	bad(s.StableAfter < 0, "StableAfter is negative")
	bad(s.StopTimeout < 0, "StopTimeout is negative")
	bad(s.Heartbeat < 0, "Heartbeat is negative")
	bad(s.Heartbeat > 0 && !beats, "Heartbeat is set but Worker has no method RunBeating")
	errs = append(errs, s.Backoff.validate(), s.Limit.validate())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("weatherlight: worker %q: %w", s.Name, err)
	}
	return nil
}
