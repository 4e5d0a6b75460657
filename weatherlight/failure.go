package weatherlight

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"
)

// How a worker can fail without an error of its own.
var (
	// ErrReturned: it returned nil, but its policy is [Permanent].
	ErrReturned = errors.New("weatherlight: worker returned though it is permanent")
	// ErrGoexit: it called [runtime.Goexit].
	ErrGoexit = errors.New("weatherlight: worker called runtime.Goexit")
)

// Failure is one failure of a worker. It is never changed once it can be seen.
type Failure struct {
	// Worker is its name, with those of nested supervisors before it.
	Worker string
	// At is when it failed.
	At time.Time
	// Ran is how long it had been up, from its start.
	Ran time.Duration
	// Err is what it returned, or a [*PanicError], or wraps [ErrReturned],
	// [ErrGoexit] or [ErrWatchdog].
	Err error
}

// maxFrames bounds the stack that is kept of a panic.
const maxFrames = 64

// PanicError is a panic of a worker.
type PanicError struct {
	// Value is what it panicked with.
	Value any

	pcs []uintptr
}

// newPanicError is to be called by the function that was deferred when the
// panic came.
func newPanicError(value any) *PanicError {
	var pcs [maxFrames]uintptr
	n := runtime.Callers(3, pcs[:]) // without Callers, newPanicError and the deferred function
	return &PanicError{value, append([]uintptr(nil), pcs[:n]...)}
}

// Error names the value.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value if it is an error, and nil otherwise.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Stack returns the stack of the panic, innermost call first, at most 64 of
// them, two lines each: the function, then a tab, file and line. It is made when
// it is asked for; a panic costs no formatting.
func (e *PanicError) Stack() string {
	var b strings.Builder
	frames := runtime.CallersFrames(e.pcs)
	for {
		frame, more := frames.Next()
		if frame.Function != "" {
			fmt.Fprintf(&b, "%s\n\t%s:%d\n", frame.Function, frame.File, frame.Line)
		}
		if !more {
			return b.String()
		}
	}
}
