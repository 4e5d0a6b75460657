package oona

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// handlerGrace is how long a handler may take to notice that its context ended.
const handlerGrace = 100 * time.Millisecond

var (
	// errOverran is the cause of a handler's context that passed its deadline.
	errOverran = errors.New("oona: handler overran its deadline")
	// errDrained is the cause of a handler's context when its consumer stopped
	// and would wait no longer.
	errDrained = errors.New("oona: consumer stopped before the handler did")
	// errResults is the failure of a handler that broke its contract.
	errResults = errors.New("oona: handler returned another number of results than messages")
	// errExited is the failure of a handler that ended its goroutine.
	errExited = errors.New("oona: handler ended its goroutine")
)

// protect runs a handler and turns a panic, or a broken contract, into a failure
// of every message.
func protect(ctx context.Context, h Handler, batch []*Message) (results []Result) {
	defer func() {
		if v := recover(); v != nil {
			results = sameResult(len(batch), newPanicError(v))
		}
	}()
	results = h.Handle(ctx, batch)
	if len(results) != len(batch) {
		return sameResult(len(batch), errResults)
	}
	return results
}

// sharedError is what failed several messages together. Which of them was to
// blame is found out by trying each by itself.
type sharedError struct{ cause error }

func (e *sharedError) Error() string { return e.cause.Error() }
func (e *sharedError) Unwrap() error { return e.cause }

// sameResult is the failure of n messages together.
func sameResult(n int, err error) []Result {
	if n > 1 {
		err = &sharedError{err}
	}
	results := make([]Result, n)
	for i := range results {
		results[i].Err = err
	}
	return results
}

// panicError is a panic of a handler.
type panicError struct {
	value any
	stack []byte
}

func newPanicError(v any) error { return &panicError{v, debug.Stack()} }

func (e *panicError) Error() string { return fmt.Sprintf("oona: handler panicked: %v", e.value) }
