package weatherlight

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Defaults of a [Spec] and its parts.
const (
	defaultStableAfter = 30 * time.Second
	defaultStopTimeout = 5 * time.Second
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
	// [ErrWatchdog]. It needs the method RunBeating, see [Worker] and
	// [BeatingFunc]. Zero means that it is not watched.
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
		stableAfter: cmp.Or(s.StableAfter, defaultStableAfter),
		stopTimeout: cmp.Or(s.StopTimeout, defaultStopTimeout),
		limit:       s.Limit.withDefaults(),
		heartbeat:   s.Heartbeat,
	}
}

// validate says what is wrong with s, without regard to other workers.
func (s Spec) validate() error {
	if wrong := s.wrong(); wrong != "" {
		return fmt.Errorf("weatherlight: worker %q: %s", s.Name, wrong)
	}
	return nil
}

// wrong says what is wrong with s, empty if nothing.
func (s Spec) wrong() string {
	switch {
	case s.Name == "":
		return "Name is empty"
	case strings.Contains(s.Name, "/"):
		return `Name contains "/"`
	case isNil(s.Worker):
		return "Worker is nil"
	case slices.Contains(s.After, s.Name):
		return "After names the worker itself"
	case s.Restart > Temporary:
		return "Restart is unknown"
	case s.Panics > LetPanicsThrough:
		return "Panics is unknown"
	case s.StableAfter < 0:
		return "StableAfter is negative"
	case s.StopTimeout < 0:
		return "StopTimeout is negative"
	case s.Heartbeat < 0:
		return "Heartbeat is negative"
	}
	if s.Heartbeat > 0 {
		if _, beats := s.Worker.(beatingWorker); !beats {
			return "Heartbeat is set but Worker has no method RunBeating"
		}
	}
	return cmp.Or(s.Backoff.wrong(), s.Limit.wrong())
}
