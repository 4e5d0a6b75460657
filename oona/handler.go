package oona

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
)

// Handler handles messages in batches. Handle returns one [Result] per message,
// in their order. It may be called from several goroutines at once, and must be
// done by the time ctx ends: the result of a handler that overran its deadline
// no longer counts.
//
// That, a panic and a slice of another length are a failure of every message of
// the batch. Each of them is then tried by itself, so that only the one that is
// to blame uses up its attempts. How large a batch is follows how long the
// handler takes: it is given about a second's work at once, at most a quarter of
// its deadline.
//
// Delivery is at least once: Handle may see a message again, with the same id,
// after a crash or a failure. Its answers are published exactly once, together
// with the acknowledgement.
type Handler interface {
	Handle(ctx context.Context, batch []*Message) []Result
}

// HandlerFunc is a function that is a [Handler].
type HandlerFunc func(ctx context.Context, batch []*Message) []Result

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, batch []*Message) []Result { return f(ctx, batch) }

// Result is what became of one message.
type Result struct {
	// Answers are published in the same step as the acknowledgement: both
	// happen, or neither. They are ignored when Err is not nil.
	Answers []proto.Message
	// Err says what to do instead of acknowledging: [RetryAfter], [DeadLetter]
	// and [Drop] choose; any other error is a failed attempt, retried with
	// backoff until the attempts are exhausted.
	Err error
}

// Each makes a [Handler] of a function that handles one message of type T at a
// time, in their order. A message of another type is a failure; Types of the
// subscription should not let it through.
func Each[T proto.Message](handle func(ctx context.Context, body T, m *Message) ([]proto.Message, error)) Handler {
	return HandlerFunc(func(ctx context.Context, batch []*Message) []Result {
		results := make([]Result, len(batch))
		for i, m := range batch {
			results[i] = handleOne(ctx, handle, m)
		}
		return results
	})
}

// handleOne keeps a panic to the message that caused it.
func handleOne[T proto.Message](ctx context.Context, handle func(context.Context, T, *Message) ([]proto.Message, error), m *Message) (r Result) {
	defer func() {
		if v := recover(); v != nil {
			r = Result{Err: newPanicError(v)}
		}
	}()
	body, ok := m.Body.(T)
	if !ok {
		return Result{Err: DeadLetter(fmt.Errorf("%w: %T", leyline.UnexpectedType, m.Body))}
	}
	answers, err := handle(ctx, body, m)
	return Result{Answers: answers, Err: err}
}

// retryError asks for a later try that costs no attempt.
type retryError struct{ after time.Duration }

func (e *retryError) Error() string { return fmt.Sprintf("oona: retry after %v", e.after) }

// RetryAfter returns an error that asks for the message again after d, at the
// earliest, without charging an attempt: the message is fine, the moment is not.
// The message stays pending with this consumer meanwhile.
func RetryAfter(d time.Duration) error { return &retryError{max(0, d)} }

// deadLetterError gives a message up.
type deadLetterError struct{ cause error }

func (e *deadLetterError) Error() string { return "oona: dead letter: " + e.cause.Error() }
func (e *deadLetterError) Unwrap() error { return e.cause }

// DeadLetter returns an error that moves the message to the dead letters at
// once. The reason that stands there is the [leyline.Reason] in cause's tree,
// [leyline.Rejected] where there is none; cause's text stands beside it.
func DeadLetter(cause error) error {
	if cause == nil {
		cause = leyline.Rejected
	}
	return &deadLetterError{cause}
}

// dropError forgets a message.
type dropError struct{ cause error }

func (e *dropError) Error() string { return "oona: drop: " + e.cause.Error() }
func (e *dropError) Unwrap() error { return e.cause }

// Drop returns an error that acknowledges the message without any answer and
// counts it as refused, by the [leyline.Reason] in cause's tree or as
// [leyline.Rejected].
func Drop(cause error) error {
	if cause == nil {
		cause = leyline.Rejected
	}
	return &dropError{cause}
}

// reasonOf names what the dead letters and the counters call err.
func reasonOf(err error) leyline.Reason {
	if r := leyline.ReasonOf(err); r != "" {
		return r
	}
	return leyline.Rejected
}
