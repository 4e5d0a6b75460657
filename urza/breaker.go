package urza

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/esper-lite/esper/leyline/leylinepb"
)

// The breaker opens after so many slow or failed reads in a row, and closes
// again after so many good ones once it let some through.
const (
	breakerFailures  = 3
	breakerSuccesses = 2
	breakerTimeout   = 30 * time.Second
)

var (
	errSlow        = errors.New("slow catalogue")
	errBreakerOpen = errors.New("breaker is open")
)

// breaker keeps requests from queueing up before a catalogue that is too slow.
type breaker struct {
	gate   *gobreaker.TwoStepCircuitBreaker[struct{}]
	opened atomic.Uint64
	denied atomic.Uint64
	wary   atomic.Bool // from opening until closing
}

func newBreaker() *breaker {
	b := &breaker{}
	b.gate = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests: breakerSuccesses,
		Timeout:     breakerTimeout,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFailures },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			switch to {
			case gobreaker.StateOpen:
				b.opened.Add(1)
				b.wary.Store(true)
			case gobreaker.StateClosed:
				b.wary.Store(false)
			}
		},
	})
	return b
}

// allow returns the function that takes the outcome, or false.
func (b *breaker) allow() (done func(error), ok bool) {
	done, err := b.gate.Allow()
	if err != nil {
		b.denied.Add(1)
		return nil, false
	}
	return done, true
}

// state returns the state as the contract numbers it.
func (b *breaker) state() leylinepb.CircuitBreakerState {
	switch b.gate.State() {
	case gobreaker.StateOpen:
		return leylinepb.CircuitBreakerState_CIRCUIT_STATE_OPEN
	case gobreaker.StateHalfOpen:
		return leylinepb.CircuitBreakerState_CIRCUIT_STATE_HALF_OPEN
	default:
		return leylinepb.CircuitBreakerState_CIRCUIT_STATE_CLOSED
	}
}
