package weatherlight

import (
	"cmp"
	"slices"
	"time"
)

// defaultLimitWithin is the period of a [Limit] that names none.
const defaultLimitWithin = time.Minute

// maxLimit bounds the failures that are remembered for one worker.
const maxLimit = 10_000

// Exceeded says what follows when a worker fails more often than its limit.
type Exceeded uint8

const (
	// Escalate ends the supervisor: its Run stops the other workers and
	// returns an [*EscalationError]. A supervisor above it counts that as a
	// failure of this one.
	Escalate Exceeded = iota
	// Park leaves the worker down, in [StateParked], and the others up. It
	// comes back with [Handle.Restart].
	Park
)

// Limit bounds how often a worker may fail.
type Limit struct {
	// Failures is how many failures are tolerated within the period: one more
	// exceeds the limit. Zero means any number; at most 10000.
	Failures int
	// Within is the period. Zero means one minute.
	Within time.Duration
	// Then is what follows. Zero means Escalate.
	Then Exceeded
}

func (l Limit) withDefaults() Limit {
	if l.Failures == 0 {
		return Limit{}
	}
	l.Within = cmp.Or(l.Within, defaultLimitWithin)
	return l
}

// wrong says what is wrong with l, empty if nothing.
func (l Limit) wrong() string {
	switch {
	case l.Failures < 0:
		return "Limit.Failures is negative"
	case l.Failures > maxLimit:
		return "Limit.Failures is above 10000"
	case l.Within < 0:
		return "Limit.Within is negative"
	case l.Then > Park:
		return "Limit.Then is unknown"
	case l.Failures == 0 && l != Limit{}:
		return "Limit.Failures is zero, but its other fields are not"
	}
	return ""
}

// failures are the last ones of a worker, oldest first: at most one more than
// its limit tolerates.
type failures []*Failure

// exceeds adds f and reports whether l is exceeded.
func (p *failures) exceeds(l Limit, f *Failure) bool {
	if l.Failures == 0 {
		return false
	}
	start := f.At.Add(-l.Within)
	*p = slices.DeleteFunc(*p, func(old *Failure) bool { return !old.At.After(start) })
	*p = append(*p, f)
	return len(*p) > l.Failures
}

// latest returns a copy of the last n.
func (p failures) latest(n int) []*Failure {
	return slices.Clone(p[max(0, len(p)-n):])
}
