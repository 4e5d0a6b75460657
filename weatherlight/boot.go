package weatherlight

import "time"

// restLocked forgets what w was, before Run starts it anew.
func (w *Handle) restLocked(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready = false
	w.waits = 0
	if w.links != nil {
		w.waits = len(w.links.deps)
	}
	w.past = nil
	w.moveLocked(StateWaiting, now)
}

// restarted counts w as restarted if it is to be started again with its
// siblings, and reports that.
func (w *Handle) restarted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.state() {
	case StateBackingOff:
		w.moveLocked(StateWaiting, time.Now())
	case StateWaiting:
	default:
		return false
	}
	w.restarts.Add(1)
	w.sup.figures.restarts.Add(1)
	return true
}

// startAllLocked starts those workers that include chooses, in order, as far as
// they need not wait.
func (s *Supervisor) startAllLocked(include func(*Handle) bool) {
	var chosen []*Handle
	for w := range s.workers.all() {
		if !w.alive && include(w) {
			chosen = append(chosen, w)
		}
	}
	for _, w := range chosen {
		s.startLocked(w)
	}
}

// startLocked starts w if it is at rest and need not wait, and then those workers
// that waited only for it.
func (s *Supervisor) startLocked(w *Handle) {
	for queue := []*Handle{w}; len(queue) > 0; queue = queue[1:] {
		if w := queue[0]; s.startOneLocked(w) && w.ready {
			queue = s.countReadyLocked(w, queue)
		}
	}
}

// startOneLocked starts w if it is at rest and need not wait.
func (s *Supervisor) startOneLocked(w *Handle) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.alive || w.removed || w.waits > 0 || w.state() != StateWaiting {
		return false
	}
	if w.ready { // it had ended well
		s.countUnreadyLocked(w)
	}
	w.alive, w.ready = true, !w.says
	w.starts++
	s.alive++
	l := w.newLifeLocked(0)
	w.beginLocked(l, time.Now())
	go w.supervise(l)
	return true
}

// readiedLocked is called when w has become ready, and starts those workers that
// waited only for it.
func (s *Supervisor) readiedLocked(w *Handle) {
	for _, next := range s.countReadyLocked(w, nil) {
		s.startLocked(next)
	}
}

// countReadyLocked counts w, which was not ready, as ready, and appends those
// that need not wait any longer to queue. Handle.waits is at any time the number
// of deps that are not ready.
func (s *Supervisor) countReadyLocked(w *Handle, queue []*Handle) []*Handle {
	s.releaseLocked(w)
	if w.links == nil {
		return queue
	}
	for _, d := range w.links.dependents {
		if d.waits--; d.waits == 0 && s.plan == nil {
			queue = append(queue, d)
		}
	}
	return queue
}

// countUnreadyLocked counts w, which was ready, as not ready.
func (s *Supervisor) countUnreadyLocked(w *Handle) {
	if w.links == nil {
		return
	}
	for _, d := range w.links.dependents {
		d.waits++
	}
}

// releaseLocked lets boot wait for w no longer.
func (s *Supervisor) releaseLocked(w *Handle) {
	if !w.pending {
		return
	}
	w.pending = false
	if s.pending--; s.pending == 0 {
		s.notify()
	}
}

// failBootLocked ends Run because w, which others or the boot wait for, ended
// before it was ready.
func (s *Supervisor) failBootLocked(w *Handle) {
	now := time.Now()
	s.failLocked(&BootError{
		Workers: []WorkerStatus{w.status(s.since(now))},
		After:   now.Sub(*s.figures.started.Load()),
	})
}

// bootError names the workers that are not ready.
func (s *Supervisor) bootError(after time.Duration) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	failed := &BootError{After: after}
	now := s.since(time.Now())
	for w := range s.workers.all() {
		if w.pending {
			failed.Workers = append(failed.Workers, w.status(now))
		}
	}
	return failed
}
