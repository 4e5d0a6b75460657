package weatherlight

import (
	"slices"
	"sync/atomic"
	"time"
)

// Snapshot is a supervisor at one moment, with all that are nested below it. A
// nested supervisor is also a worker of the one above and counted as such. The
// figures are read one after the other, so that a worker which changes its state
// in between may be counted under both states or neither.
type Snapshot struct {
	// Workers is how many there are; the next eight are how many of them are
	// in each state.
	Workers    int
	Waiting    int
	Starting   int
	Running    int
	BackingOff int
	Stopping   int
	Stopped    int
	Ended      int
	Parked     int
	// Abandoned is how many goroutines of workers did not end when they had to,
	// and are still there.
	Abandoned int
	// Restarts is how often a worker was started again, by itself.
	Restarts uint64
	// Failures is how often a worker failed.
	Failures uint64
	// LastFailure is the latest failure, nil if there was none.
	LastFailure *Failure
	// Started is when Run was called, zero while the supervisor does not run.
	Started time.Time
	// ShuttingDown is whether Run is about to return: all workers are being
	// stopped.
	ShuttingDown bool
	// EventsDropped is how many events subscribers have missed, see
	// [Supervisor.Subscribe].
	EventsDropped uint64
}

// WorkerStatus is a worker at one moment.
type WorkerStatus struct {
	// Name is the worker's, after those of nested supervisors, joined by "/".
	Name string
	// Restarts is how often it was started again.
	Restarts uint64
	// For is how long it has been in its state.
	For time.Duration
	// Backoff is how long it will still be in StateBackingOff; zero in others.
	Backoff time.Duration
	// LastFailure is its latest failure, nil if there was none.
	LastFailure *Failure
	// Abandoned is how many of its goroutines did not end when they had to, and
	// are still there.
	Abandoned uint32
	// State is what it is doing.
	State State
}

// Snapshot returns the figures of the tree. It takes well under a microsecond
// for any number of workers, and somewhat more for each nested supervisor; it
// never waits.
func (s *Supervisor) Snapshot() Snapshot {
	var snap Snapshot
	s.addTo(&snap)
	if at := s.figures.started.Load(); at != nil {
		snap.Started = *at
	}
	snap.ShuttingDown = s.figures.shuttingDown.Load()
	return snap
}

func (s *Supervisor) addTo(snap *Snapshot) {
	s.figures.addTo(snap)
	snap.EventsDropped += s.events.dropped.Load()
	for _, child := range s.below() {
		child.addTo(snap)
	}
}

// AppendWorkers appends the status of every worker to dst, in the order they
// were added, those of a nested supervisor right after it. Into a slice with
// room for them it allocates nothing. It waits only while the supervisor starts
// or stops all of its workers, never for a worker.
func (s *Supervisor) AppendWorkers(dst []WorkerStatus) []WorkerStatus {
	s.mu.RLock()
	defer s.mu.RUnlock()
	now := s.since(time.Now())
	nests := len(s.below()) > 0
	for _, w := range s.workers.list {
		if w == nil {
			continue
		}
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, len(s.workers.list))
		}
		dst = dst[:len(dst)+1] // without writing every entry twice
		w.fill(&dst[len(dst)-1], now)
		if nests {
			if child := nestedIn(w.worker); child != nil {
				dst = child.AppendWorkers(dst)
			}
		}
	}
	return dst
}

// status returns the status of w, see fill.
func (w *Handle) status(now time.Duration) WorkerStatus {
	var st WorkerStatus
	w.fill(&st, now)
	return st
}

// fill sets all of st to the status of w. now is as a phase counts time. The
// caller holds sup.mu, at least for reading.
func (w *Handle) fill(st *WorkerStatus, now time.Duration) {
	p := phase(w.phase.Load())
	st.Name = w.path
	st.Restarts = w.restarts.Load()
	st.LastFailure = w.failure.Load()
	st.Abandoned = uint32(w.lost.Load())
	st.State = p.state()
	if st.State != StateBackingOff {
		st.For, st.Backoff = max(0, now-p.at()), 0
		return
	}
	st.For, st.Backoff = 0, max(0, p.at()-now)
	if st.LastFailure != nil { // which began the backoff
		st.For = max(0, now-w.sup.since(st.LastFailure.At))
	}
}

// figures are what a Snapshot reads.
type figures struct {
	counts       [numStates]atomic.Int64
	abandoned    atomic.Int64
	restarts     atomic.Uint64
	failures     atomic.Uint64
	lastFailure  atomic.Pointer[Failure]
	started      atomic.Pointer[time.Time] // nil while not running
	shuttingDown atomic.Bool
}

func (f *figures) failed(last *Failure) {
	f.failures.Add(1)
	f.lastFailure.Store(last)
}

func (f *figures) addTo(snap *Snapshot) {
	for state, into := range []*int{
		StateWaiting:    &snap.Waiting,
		StateStarting:   &snap.Starting,
		StateRunning:    &snap.Running,
		StateBackingOff: &snap.BackingOff,
		StateStopping:   &snap.Stopping,
		StateStopped:    &snap.Stopped,
		StateEnded:      &snap.Ended,
		StateParked:     &snap.Parked,
	} {
		n := int(f.counts[state].Load())
		*into += n
		snap.Workers += n
	}
	snap.Abandoned += int(f.abandoned.Load())
	snap.Restarts += f.restarts.Load()
	snap.Failures += f.failures.Load()
	if last := f.lastFailure.Load(); last != nil &&
		(snap.LastFailure == nil || last.At.After(snap.LastFailure.At)) {
		snap.LastFailure = last
	}
}
