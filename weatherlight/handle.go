package weatherlight

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Handle is a worker in its supervisor. [Supervisor.Add] returns it; all
// methods may be called from any goroutine, also that of a worker, but a worker
// that waits for its own end waits until it is given up.
type Handle struct {
	// What AppendWorkers reads, without a lock but for path, side by side so
	// that a worker costs it one cache line or two.
	path     string // with the names of nested supervisors; guarded by sup.mu
	phase    atomic.Uint64
	restarts atomic.Uint64
	lost     atomic.Int64 // lives that were given up and are still there
	failure  atomic.Pointer[Failure]

	sup    *Supervisor
	name   string
	worker Worker
	policy *policy
	says   bool // says itself when it is ready
	links  *links

	// Guarded by sup.mu.
	index   int
	waits   int  // deps that are not ready
	pending bool // boot waits for it
	removed bool // is about to leave the roster

	// Written with sup.mu and mu held, read with either.
	alive bool // has a goroutine that is not given up
	ready bool // has been ready since it was last started from rest

	mu      sync.Mutex
	life    *life         // nil while there is none
	starts  uint64        // how often it was started from rest
	past    *past         // nil before its first failure
	after   *aftermath    // what the end of the last life asks of the supervisor, nil for nothing
	changed chan struct{} // closed at the next change, nil if nobody waits
}

func newHandle(s *Supervisor, spec Spec) *Handle {
	w := &Handle{
		path:   s.prefix + spec.Name,
		sup:    s,
		name:   spec.Name,
		worker: spec.Worker,
		policy: s.sharedPolicyLocked(spec.policy()),
		says:   saysReady(spec.Worker),
	}
	if len(spec.After) > 0 {
		w.links = &links{after: slices.Clone(spec.After)}
	}
	return w
}

// Name returns the name of the worker, without those of nested supervisors.
func (w *Handle) Name() string { return w.name }

// Status returns the state of the worker.
func (w *Handle) Status() WorkerStatus {
	w.sup.mu.RLock()
	defer w.sup.mu.RUnlock()
	return w.status(w.sup.since(time.Now()))
}

// WaitReady blocks until the worker is ready, or ctx ends: then it returns the
// cause. It returns at once if the worker is ready. One that has ended, or was
// stopped, may never be.
func (w *Handle) WaitReady(ctx context.Context) error {
	return w.await(ctx, func() bool { return w.state() == StateRunning })
}

// Stop stops the worker, waits for its end, and leaves it in [StateStopped]
// until [Handle.Restart] or the next Run of the supervisor. Workers that are
// After it stay up. If ctx ends before that, Stop returns its cause while the
// worker goes on stopping. The error is a [*StopError] if the worker was given
// up, and [ErrNotRunning] if the supervisor does not run.
func (w *Handle) Stop(ctx context.Context) error {
	for {
		t, err := w.stop()
		if err != nil || t.rested {
			return err
		}
		if err := w.await(ctx, func() bool { return !w.alive || w.starts != t.starts }); err != nil {
			return err
		}
		if t.life != nil {
			return w.sup.unstopped(func(lost *life) bool { return lost == t.life })
		}
		// It was about to come to rest by itself: make sure that it stays there.
	}
}

// target is what a call was about to change.
type target struct {
	life   *life  // nil if it was about to come to rest
	starts uint64 // from rest, until now
	rested bool   // it was at rest: the call is done
}

// stop leaves w stopped if it is at rest, and otherwise tells its life to end.
func (w *Handle) stop() (target, error) {
	s := w.sup
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return target{}, ErrNotRunning
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t := target{w.life, w.starts, !w.alive}
	switch {
	case w.life != nil:
		w.interruptAloneLocked(ErrStopAsked)
	case !w.alive && !w.removed:
		w.moveLocked(StateStopped, time.Now())
		s.releaseLocked(w)
	}
	return t, nil
}

// Restart stops the worker if it is up, without counting a failure, and starts
// it again without delay; one that is stopped, ended or parked is started. It
// returns when the new life has begun, or with the cause when ctx ends before
// that. A worker that does not stop in time is given up and started beside what
// is left of it. The error is [ErrNotRunning] if the supervisor does not run or
// shuts down, and [ErrRemoved] if the worker was removed.
func (w *Handle) Restart(ctx context.Context) error {
	for {
		t, err := w.restart()
		if err != nil || t.rested {
			return err
		}
		up := false
		err = w.await(ctx, func() bool {
			up = w.starts != t.starts || w.life != nil && w.life != t.life
			return up || !w.alive
		})
		if err != nil || up {
			return err
		}
		// It came to rest for another reason: start it from there.
	}
}

// restart starts w if it is at rest, and otherwise tells its life to end.
func (w *Handle) restart() (target, error) {
	s := w.sup
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case w.removed:
		return target{}, ErrRemoved
	case s.round != nil && s.running:
		return target{rested: true}, nil // about to be started with its siblings
	case !s.running || s.plan != nil:
		return target{}, ErrNotRunning
	}
	w.mu.Lock()
	t := target{w.life, w.starts, !w.alive}
	if t.rested {
		w.moveLocked(StateWaiting, time.Now())
		w.past = nil
		w.mu.Unlock()
		s.startLocked(w)
		return t, nil
	}
	if w.life != nil {
		w.interruptAloneLocked(ErrRestartAsked)
	}
	w.mu.Unlock()
	return t, nil
}

// Remove stops the worker like [Handle.Stop] and takes it out of the supervisor;
// its name is free again. The error is [ErrNeeded], and nothing happens, if
// another worker is After it. It may also be called while the supervisor does
// not run.
func (w *Handle) Remove(ctx context.Context) error {
	s := w.sup
	s.mu.Lock()
	if w.removed {
		s.mu.Unlock()
		return ErrRemoved
	}
	if s.neededLocked(w) {
		s.mu.Unlock()
		return ErrNeeded
	}
	w.removed = true
	if !w.alive {
		s.dropLocked(w)
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	err := w.Stop(ctx)
	if errors.Is(err, ErrNotRunning) {
		return nil // it stopped with the supervisor meanwhile
	}
	return err
}

// neededLocked reports whether a worker is after w.
func (s *Supervisor) neededLocked(w *Handle) bool {
	if s.running {
		return w.links != nil && len(w.links.dependents) > 0
	}
	for other := range s.workers.all() {
		if other.links != nil && slices.Contains(other.links.after, w.name) {
			return true
		}
	}
	return false
}

// dropLocked takes w, which is at rest and marked as removed, out of s.
func (s *Supervisor) dropLocked(w *Handle) {
	s.workers.remove(w)
	s.figures.counts[w.state()].Add(-1)
	s.releaseLocked(w)
	if w.links != nil {
		w.links.detach(w)
	}
	if child := nestedIn(w.worker); child != nil {
		s.disown(child)
	}
}

// await blocks until cond, which is called with w.mu held, is true.
func (w *Handle) await(ctx context.Context, cond func() bool) error {
	for {
		w.mu.Lock()
		if cond() {
			w.mu.Unlock()
			return nil
		}
		if w.changed == nil {
			w.changed = make(chan struct{})
		}
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// changedLocked wakes those who await.
func (w *Handle) changedLocked() {
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

func (w *Handle) state() State { return phase(w.phase.Load()).state() }

// moveLocked puts w into a state. at is when it came to it, or for
// StateBackingOff when it will leave it.
func (w *Handle) moveLocked(to State, at time.Time) {
	from := w.state()
	w.phase.Store(uint64(newPhase(to, w.sup.since(at))))
	if from != to {
		w.sup.figures.counts[from].Add(-1)
		w.sup.figures.counts[to].Add(1)
	}
	w.changedLocked()
}
