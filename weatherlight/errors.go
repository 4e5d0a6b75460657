package weatherlight

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Why a call on a [Supervisor] or a [Handle] was refused.
var (
	// ErrRunning: the supervisor runs already, or it cannot be done while it
	// runs.
	ErrRunning = errors.New("weatherlight: supervisor is running")
	// ErrNotRunning: the supervisor does not run.
	ErrNotRunning = errors.New("weatherlight: supervisor is not running")
	// ErrDuplicate: there is a worker of this name.
	ErrDuplicate = errors.New("weatherlight: duplicate worker")
	// ErrUnknown: After names a worker that does not exist.
	ErrUnknown = errors.New("weatherlight: unknown worker")
	// ErrNeeded: another worker names this one in After.
	ErrNeeded = errors.New("weatherlight: worker is needed by another")
	// ErrRemoved: the worker was removed.
	ErrRemoved = errors.New("weatherlight: worker is removed")
)

// CycleError is returned when workers wait for each other by [Spec.After].
type CycleError struct {
	// Names is the cycle: each worker is after the next, the last one after
	// the first.
	Names []string
}

// Error names the cycle.
func (e *CycleError) Error() string {
	return fmt.Sprintf("weatherlight: After is a cycle: %s -> %s",
		strings.Join(e.Names, " -> "), e.Names[0])
}

// BootError is returned by [Supervisor.Run] when not all workers became ready.
// What had been started was stopped again.
type BootError struct {
	// Workers are those that were not ready, in the order they were added.
	Workers []WorkerStatus
	// After is how long they had.
	After time.Duration
}

// maxNamed bounds the workers that an error's text names.
const maxNamed = 8

// Error names the first workers and their last failures.
func (e *BootError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "weatherlight: boot failed after %v: ", e.After.Round(time.Millisecond))
	for i, w := range e.Workers[:min(maxNamed, len(e.Workers))] {
		if i > 0 {
			b.WriteString("; ")
		}
		if w.State == StateStarting {
			fmt.Fprintf(&b, "%s has not called ready", w.Name)
		} else {
			fmt.Fprintf(&b, "%s is %v", w.Name, w.State)
		}
		if w.LastFailure != nil {
			fmt.Fprintf(&b, " (%v)", w.LastFailure.Err)
		}
	}
	appendRest(&b, len(e.Workers))
	return b.String()
}

// Unwrap returns the last failures of the workers.
func (e *BootError) Unwrap() []error {
	var errs []error
	for _, w := range e.Workers {
		if w.LastFailure != nil {
			errs = append(errs, w.LastFailure.Err)
		}
	}
	return errs
}

// maxEscalated bounds the failures that an EscalationError carries.
const maxEscalated = 8

// EscalationError is returned by [Supervisor.Run] when a worker failed more
// often than its [Limit] tolerates.
type EscalationError struct {
	// Worker is its name.
	Worker string
	// Limit is what it exceeded.
	Limit Limit
	// Failures are the last ones, oldest first, at most 8.
	Failures []*Failure
}

// Error names the worker, the limit and the last failures.
func (e *EscalationError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "weatherlight: %s failed more than %d times within %v: ",
		e.Worker, e.Limit.Failures, e.Limit.Within)
	for i, f := range e.Failures {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(f.Err.Error())
	}
	return b.String()
}

// Unwrap returns the errors of the failures.
func (e *EscalationError) Unwrap() []error {
	errs := make([]error, len(e.Failures))
	for i, f := range e.Failures {
		errs[i] = f.Err
	}
	return errs
}

// Unstopped is a worker that was told to stop and did not.
type Unstopped struct {
	// Worker is its name, with those of nested supervisors before it.
	Worker string
	// Reason is why it was told to, as in [Cause].
	Reason error
	// For is how long ago that was.
	For time.Duration
	// Stack is where its goroutine is now, and those that it has started:
	// the innermost call first, two lines each as [PanicError.Stack] has
	// them, goroutines separated by an empty line.
	Stack string
}

// StopError says that workers did not stop in time. Their goroutines are still
// there; whatever they hold, they hold still.
type StopError struct {
	// Workers are all of them, those of nested supervisors and those that
	// were given up earlier included.
	Workers []Unstopped
}

// Error names the workers and for how long they have not stopped.
func (e *StopError) Error() string {
	var b strings.Builder
	b.WriteString("weatherlight: not stopped: ")
	for i, w := range e.Workers[:min(maxNamed, len(e.Workers))] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (for %v)", w.Worker, w.For.Round(time.Millisecond))
	}
	appendRest(&b, len(e.Workers))
	return b.String()
}

func appendRest(b *strings.Builder, n int) {
	if n > maxNamed {
		fmt.Fprintf(b, " and %d more", n-maxNamed)
	}
}
