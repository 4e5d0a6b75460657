package weatherlight

import (
	"cmp"
	"fmt"
	"runtime"
	"time"

	"github.com/sethvargo/go-retry"
)

// past is what is remembered of the failures of a worker.
type past struct {
	delays   retry.Backoff // of the present series
	failures failures      // as many as its limit needs
}

// aftermath is what the end of a life asks of the supervisor, which must be done
// without holding Handle.mu.
type aftermath struct {
	done  bool   // it ended well: what others waited for is done
	fatal error  // the supervisor must end
	round *round // all workers must be restarted
}

// end says what follows the end of l, which returned err: another life, or nil
// if the goroutine of w is to end.
func (w *Handle) end(l *life, err error) *life {
	w.mu.Lock()
	if w.life != l { // given up, and another goroutine went on
		w.mu.Unlock()
		w.sup.foundAgain(l)
		return nil
	}
	next := w.concludeLocked(l, err)
	w.mu.Unlock()
	if next == nil {
		w.sup.over(w)
	} else if next.delay == 0 {
		runtime.Gosched() // one that fails at once must not keep its processor
	}
	return next
}

// abandon gives l up: whatever follows its end follows now, on another
// goroutine.
func (w *Handle) abandon(l *life) {
	w.sup.mu.Lock()
	w.mu.Lock()
	if w.life != l || l.stop == nil {
		w.mu.Unlock()
		w.sup.mu.Unlock()
		return
	}
	w.sup.loseLocked(l)
	w.publish(Event{Kind: EventAbandoned, At: time.Now(), Err: l.stop})
	next := w.concludeLocked(l, nil)
	w.mu.Unlock()
	w.sup.mu.Unlock()
	if next == nil {
		w.sup.over(w)
		return
	}
	go w.supervise(next)
}

// concludeLocked decides what follows l: from why it was told to stop, if it
// was, and from how it ended otherwise.
func (w *Handle) concludeLocked(l *life, err error) *life {
	now := time.Now()
	w.life = nil
	l.disarm()
	l.cancel(causeReturned)
	switch {
	case l.stop == nil:
		return w.judgeLocked(l, err, now)
	case l.stop.Reason == ErrWatchdog:
		silence := fmt.Errorf("%w for %v", ErrWatchdog, w.policy.heartbeat)
		return w.failLocked(l, silence, now)
	case l.stop.Reason == ErrRestartAsked:
		return w.againLocked(0, now)
	case l.stop.Reason == ErrSiblingFailed:
		w.moveLocked(StateWaiting, now)
	default:
		w.moveLocked(StateStopped, now)
	}
	if !l.lost {
		w.publish(Event{Kind: EventStopped, At: now, Err: err})
	}
	return nil
}

// judgeLocked decides about a life that ended by itself.
func (w *Handle) judgeLocked(l *life, err error, now time.Time) *life {
	if err != nil {
		return w.failLocked(l, err, now)
	}
	if w.policy.restart == Permanent {
		return w.failLocked(l, ErrReturned, now)
	}
	w.after = &aftermath{done: true}
	w.moveLocked(StateEnded, now)
	w.publish(Event{Kind: EventEnded, At: now})
	return nil
}

// failLocked decides about a life that failed.
func (w *Handle) failLocked(l *life, err error, now time.Time) *life {
	f := &Failure{Worker: w.path, At: now, Err: err}
	if l.begun {
		f.Ran = w.sup.since(now) - l.begunAt
	}
	w.failure.Store(f)
	w.sup.figures.failed(f)
	if w.policy.restart == Temporary {
		w.moveLocked(StateEnded, now)
		w.publish(Event{Kind: EventFailed, At: now, Err: err})
		w.publish(Event{Kind: EventEnded, At: now, Err: err})
		return nil
	}
	if w.past == nil {
		w.past = &past{}
	}
	if w.past.failures.exceeds(w.policy.limit, f) {
		return w.exceededLocked(f)
	}
	delay, together := w.delayLocked(l, now), w.sup.cfg.Strategy == OneForAll
	until := now.Add(delay)
	if delay > 0 || together {
		w.moveLocked(StateBackingOff, until)
	}
	w.publish(Event{Kind: EventFailed, At: now, Err: err, Backoff: delay})
	if together {
		w.after = &aftermath{round: &round{sibling: w.path, until: until}}
		return nil
	}
	return w.againLocked(delay, now)
}

// exceededLocked handles a failure that was one too many.
func (w *Handle) exceededLocked(f *Failure) *life {
	failed := Event{Kind: EventFailed, At: f.At, Err: f.Err}
	if w.policy.limit.Then == Escalate {
		w.after = &aftermath{fatal: &EscalationError{
			Worker:   w.path,
			Limit:    w.policy.limit,
			Failures: w.past.failures.latest(maxEscalated),
		}}
		w.moveLocked(StateEnded, f.At)
		w.publish(failed)
		w.publish(Event{Kind: EventEnded, At: f.At, Err: f.Err})
		return nil
	}
	w.moveLocked(StateParked, f.At)
	w.publish(failed)
	w.publish(Event{Kind: EventParked, At: f.At, Err: f.Err})
	return nil
}

// delayLocked returns how long to wait after the failure of l.
func (w *Handle) delayLocked(l *life, now time.Time) time.Duration {
	if w.policy.backoff.Initial == AtOnce {
		return 0
	}
	stable := l.up && w.sup.since(now)-l.upAt >= w.policy.stableAfter
	if stable || w.past.delays == nil {
		w.past.delays = w.policy.backoff.sequence()
	}
	delay, _ := w.past.delays.Next()
	return delay
}

// againLocked makes the next life, which begins after the delay.
func (w *Handle) againLocked(delay time.Duration, now time.Time) *life {
	next := w.newLifeLocked(delay)
	if delay == 0 {
		w.restartedLocked(next, now)
	}
	return next
}

// over settles accounts when w has come to rest: its goroutine is about to end,
// or was given up.
func (s *Supervisor) over(w *Handle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.mu.Lock()
	var after aftermath
	if w.after != nil {
		after, w.after = *w.after, nil
	}
	fresh := after.done && !w.ready
	if after.round != nil && s.plan.shutsDown() {
		after.round = nil
		w.moveLocked(StateStopped, time.Now())
	}
	stale := w.ready && !after.done
	w.alive, w.ready = false, after.done
	w.changedLocked()
	state := w.state()
	w.mu.Unlock()

	s.alive--
	if stale {
		s.countUnreadyLocked(w)
	}
	s.afterLocked(after)
	switch {
	case fresh:
		s.readiedLocked(w)
	case w.pending && (state == StateEnded || state == StateParked):
		s.failBootLocked(w)
	case state == StateStopped:
		s.releaseLocked(w)
	}
	s.resumeStopLocked(w)
	if w.removed {
		s.dropLocked(w)
	}
	if s.alive == 0 {
		s.notify()
	}
}

// afterLocked does what the end of a life asks for.
func (s *Supervisor) afterLocked(after aftermath) {
	if after.fatal != nil {
		s.failLocked(after.fatal)
	}
	if after.round == nil {
		return
	}
	if s.round == nil {
		s.round = after.round
	} else if after.round.until.After(s.round.until) {
		s.round.until = after.round.until
	}
	s.notify()
}

// failLocked makes Run end with err, if it has no other reason yet.
func (s *Supervisor) failLocked(err error) {
	s.fatal = cmp.Or(s.fatal, err)
	s.notify()
}
