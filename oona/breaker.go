package oona

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// ErrBreakerOpen is returned for a message that was not even sent, because
// Redis failed several times just now. A second later one is let through to see.
var ErrBreakerOpen = errors.New("oona: redis failed repeatedly, not tried")

// breaker keeps from asking a Redis that does not answer. Only the transport and
// the state of the server count: what a handler or the server says of a message
// does not.
type breaker struct {
	two *gobreaker.TwoStepCircuitBreaker[struct{}]
}

const (
	breakerFailures = 5
	breakerTimeout  = time.Second
)

// newBreaker returns a breaker that counts how often it opens.
func newBreaker(opened *atomic.Int64) *breaker {
	return &breaker{gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout:     breakerTimeout,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFailures },
		// Who gives up by itself says nothing of Redis.
		IsExcluded: func(err error) bool { return errors.Is(err, context.Canceled) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			if to == gobreaker.StateOpen {
				opened.Add(1)
			}
		},
	})}
}

// allow asks whether to try; done takes what came of it.
func (b *breaker) allow() (done func(error), err error) {
	done, err = b.two.Allow()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBreakerOpen, err)
	}
	return done, nil
}

// state is the contract's name for the state.
func (b *breaker) state() pb.CircuitBreakerState {
	switch b.two.State() {
	case gobreaker.StateOpen:
		return pb.CircuitBreakerState_CIRCUIT_STATE_OPEN
	case gobreaker.StateHalfOpen:
		return pb.CircuitBreakerState_CIRCUIT_STATE_HALF_OPEN
	}
	return pb.CircuitBreakerState_CIRCUIT_STATE_CLOSED
}
