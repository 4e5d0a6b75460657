package weatherlight

import (
	"context"
	"fmt"
	"time"
)

// Run starts the workers in order, keeps them up until ctx ends, stops them in
// reverse order and returns. No worker's goroutine is left then, except of those
// that an error names. Run may be called again after it has returned: all
// workers are started anew, also those that were stopped, ended or parked.
//
// It returns nil when ctx has ended and all workers have stopped in time.
// Otherwise the error is or wraps [ErrRunning] if Run is running already,
// [ErrUnknown] or [*CycleError] if the workers cannot be put in order (nothing
// was started), [*BootError], [*EscalationError], and, also together with one of
// these, [*StopError].
//
// The values of ctx are those of the workers' contexts; its end and its deadline
// are not, since they are stopped one after the other.
func (s *Supervisor) Run(ctx context.Context) error {
	return s.RunReady(ctx, func() {})
}

// RunReady is Run; it calls ready once all workers that were there at the start
// are ready. ready must not block.
func (s *Supervisor) RunReady(ctx context.Context, ready func()) error {
	logged, err := s.start(ctx)
	if err != nil {
		return err
	}
	defer logged()
	err = s.keepUp(ctx, ready)
	s.figures.shuttingDown.Store(true)
	s.publish(Event{Kind: EventShuttingDown, At: time.Now(), Err: err})
	s.stopAll(s.shutdownPlan(ctx))
	s.finish()

	lost := s.unstopped(nil)
	switch {
	case err == nil:
		err = lost
	case lost != nil:
		err = fmt.Errorf("%w; %w", err, lost)
	}
	s.publish(Event{Kind: EventShutdown, At: time.Now(), Err: err})
	return err
}

// start puts the workers in order and starts those that wait for no other. What
// it returns is to be called when there is nothing more to log.
func (s *Supervisor) start(ctx context.Context) (logged func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		return nil, ErrRunning
	}
	if err := s.linkAllLocked(); err != nil {
		return nil, err
	}
	s.running = true
	logged = s.logEvents() // from before the first event on
	s.base = context.WithValue(context.WithoutCancel(ctx), supervisedBy{}, s)
	s.fatal, s.round, s.plan, s.pending = nil, nil, nil, 0
	now := time.Now()
	s.figures.started.Store(&now)
	for w := range s.workers.all() {
		w.restLocked(now)
		w.pending = true
		s.pending++
	}
	if ctx.Err() == nil {
		s.startAllLocked(func(*Handle) bool { return true })
	}
	return logged, nil
}

// finish ends what start began.
func (s *Supervisor) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.workers.all() {
		w.mu.Lock()
		if w.state() == StateBackingOff { // its siblings will not come back either
			w.moveLocked(StateStopped, time.Now())
		}
		w.mu.Unlock()
	}
	s.running, s.base = false, nil
	s.round, s.plan = nil, nil
	s.figures.started.Store(nil)
	s.figures.shuttingDown.Store(false)
}

// keepUp returns nil when ctx ends, and an error when it cannot go on. Workers
// look after themselves; what is left to do here concerns all of them.
func (s *Supervisor) keepUp(ctx context.Context, ready func()) error {
	begun := time.Now()
	boot := newBootTimer(s.cfg.BootTimeout)
	defer boot.Stop()
	booting := true
	for ctx.Err() == nil {
		round, pending, fatal := s.wanted()
		if fatal != nil {
			return fatal
		}
		if booting && pending == 0 {
			booting = false
			boot.Stop()
			s.publish(Event{Kind: EventBooted, At: time.Now()})
			ready()
		}
		if round != nil {
			s.restartAll(ctx, round)
			continue
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-boot.C:
			if booting {
				return s.bootError(time.Since(begun))
			}
		}
	}
	return nil
}

// wanted returns what keepUp must see to.
func (s *Supervisor) wanted() (r *round, pending int, fatal error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.round, s.pending, s.fatal
}

// newBootTimer returns a timer that never fires for a negative timeout.
func newBootTimer(timeout time.Duration) *time.Timer {
	timer := time.NewTimer(max(0, timeout))
	if timeout < 0 {
		timer.Stop()
	}
	return timer
}

// round is a restart of all workers of a OneForAll supervisor.
type round struct {
	sibling string    // which failed
	until   time.Time // end of its backoff
}

// restartAll carries out r, unless ctx ends first.
func (s *Supervisor) restartAll(ctx context.Context, r *round) {
	s.stopAll(&plan{
		reason:   ErrSiblingFailed,
		sibling:  r.sibling,
		deadline: time.Now().Add(s.cfg.ShutdownTimeout),
	})
	for {
		r, _, fatal := s.wanted() // another one may have failed while it was stopped
		wait := time.Until(r.until)
		if wait <= 0 || fatal != nil {
			break
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plan, s.round = nil, nil
	if s.fatal == nil {
		s.startAllLocked((*Handle).restarted)
	}
}
