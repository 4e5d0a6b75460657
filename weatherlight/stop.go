package weatherlight

import (
	"context"
	"errors"
	"time"
)

// plan is a stop of all workers that is under way.
type plan struct {
	reason   error     // ErrShutdown or ErrSiblingFailed
	sibling  string    // for ErrSiblingFailed
	deadline time.Time // of all together
	look     time.Time // when the first of those told to stop is to be given up
}

func (p *plan) shutsDown() bool { return p != nil && p.reason == ErrShutdown }

// interruptLocked tells l, the life of w, to stop for the given cause.
func (w *Handle) interruptLocked(l *life, cause *Cause, now time.Time) {
	if !cause.outweighs(l.stop) {
		return
	}
	if l.stop == nil {
		l.stoppedAt = w.sup.since(now)
	}
	l.stop = cause
	w.moveLocked(StateStopping, now)
	w.publish(Event{Kind: EventStopping, At: now, Err: cause})
	l.cancel(cause)
}

// interruptAloneLocked tells the life of w to stop, and gives it up when it has
// not after the worker's StopTimeout.
func (w *Handle) interruptAloneLocked(reason error) {
	l, now := w.life, time.Now()
	if l.timer == nil {
		l.timer = time.AfterFunc(w.policy.stopTimeout, func() { w.abandon(l) })
	}
	w.interruptLocked(l, &Cause{Reason: reason, Deadline: now.Add(w.policy.stopTimeout)}, now)
}

// interruptByPlanLocked tells the life of w, whose turn it is, to stop.
func (s *Supervisor) interruptByPlanLocked(w *Handle, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.life == nil {
		return
	}
	share := s.plan.deadline.Sub(now) / time.Duration(w.depth()+1)
	deadline := now.Add(max(0, min(w.policy.stopTimeout, share)))
	w.interruptLocked(w.life, &Cause{Reason: s.plan.reason, Deadline: deadline, Sibling: s.plan.sibling}, now)
	if s.plan.look.IsZero() || deadline.Before(s.plan.look) {
		s.plan.look = deadline
		s.notify()
	}
}

// stopAll stops all workers in reverse order and returns when each has returned
// or was given up. s.plan stays as it is then.
func (s *Supervisor) stopAll(p *plan) {
	s.mu.Lock()
	s.plan = p
	s.holdLocked()
	now := time.Now()
	for w := range s.workers.backward() {
		if w.alive && (w.links == nil || w.links.holds == 0) {
			s.interruptByPlanLocked(w, now)
		}
	}
	s.mu.Unlock()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		alive, look := s.giveUpLate()
		if alive == 0 {
			return
		}
		if !look.IsZero() {
			timer.Reset(time.Until(look))
		}
		select {
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// holdLocked counts for every worker those that must stop before it.
func (s *Supervisor) holdLocked() {
	for w := range s.workers.all() {
		if w.links == nil {
			continue
		}
		w.links.holds = 0
		for _, d := range w.links.dependents {
			if d.alive {
				w.links.holds++
			}
		}
	}
}

// resumeStopLocked goes on with the stop that is under way, if there is one, now
// that w is at rest.
func (s *Supervisor) resumeStopLocked(w *Handle) {
	if s.plan == nil || w.links == nil {
		return
	}
	for _, dep := range w.links.deps {
		dep.links.holds--
		if dep.links.holds == 0 && dep.alive {
			s.interruptByPlanLocked(dep, time.Now())
		}
	}
}

// giveUpLate gives up every worker that has not stopped in time. It returns how
// many are still alive and when to look again.
func (s *Supervisor) giveUpLate() (alive int, look time.Time) {
	now := time.Now()
	for _, l := range s.late(now) {
		l.w.abandon(l)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.alive, s.plan.look
}

// late returns the lives whose deadline has come, if it is time to look.
func (s *Supervisor) late(now time.Time) []*life {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plan.look.IsZero() || now.Before(s.plan.look) {
		return nil
	}
	s.plan.look = time.Time{}
	var late []*life
	for w := range s.workers.all() {
		w.mu.Lock()
		if l := w.life; l != nil && l.stop != nil {
			switch {
			case !l.stop.Deadline.After(now):
				late = append(late, l)
			case s.plan.look.IsZero() || l.stop.Deadline.Before(s.plan.look):
				s.plan.look = l.stop.Deadline
			}
		}
		w.mu.Unlock()
	}
	return late
}

// shutdownPlan is how to stop for good, in the time that the supervisor above
// grants if there is one.
func (s *Supervisor) shutdownPlan(ctx context.Context) *plan {
	budget := s.cfg.ShutdownTimeout
	if cause, ok := errors.AsType[*Cause](context.Cause(ctx)); ok && !cause.Deadline.IsZero() {
		budget = min(budget, time.Until(cause.Deadline)*9/10)
	}
	return &plan{reason: ErrShutdown, deadline: time.Now().Add(budget)}
}
