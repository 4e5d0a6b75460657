package weatherlight

import "time"

// State is what a worker is doing.
type State uint8

const (
	// StateWaiting: not started yet, because the supervisor does not run or
	// workers that it is After are not ready.
	StateWaiting State = iota
	// StateStarting: started, and has not yet said that it is ready.
	StateStarting
	// StateRunning: ready.
	StateRunning
	// StateBackingOff: failed, and will be restarted after a delay.
	StateBackingOff
	// StateStopping: was told to stop and has not returned.
	StateStopping
	// StateStopped: was told to stop, and has returned or was given up.
	StateStopped
	// StateEnded: ended by itself, and its policy says that it stays so.
	StateEnded
	// StateParked: exceeded its [Limit] and is left down.
	StateParked

	numStates
)

var stateNames = [numStates]string{
	"waiting", "starting", "running", "backing off", "stopping", "stopped", "ended", "parked",
}

// String returns the state in lower case.
func (s State) String() string {
	if s < numStates {
		return stateNames[s]
	}
	return "unknown"
}

// phase is a State and a time in one word, so that a reader without a lock
// never sees the state of one moment with the time of another: 4 bits of state,
// 60 bits of nanoseconds, 36 years, since the supervisor was made.
type phase uint64

const stateBits = 4

func newPhase(s State, at time.Duration) phase {
	return phase(at)<<stateBits | phase(s)
}

func (p phase) state() State      { return State(p & (1<<stateBits - 1)) }
func (p phase) at() time.Duration { return time.Duration(p >> stateBits) }
