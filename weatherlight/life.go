package weatherlight

import (
	"context"
	"runtime/pprof"
	"time"
)

// life is one call of a worker's method, and the backoff before it. Fields
// without a remark are guarded by Handle.mu; times are as a phase counts them.
type life struct {
	w      *Handle
	ctx    context.Context         // never changed
	cancel context.CancelCauseFunc // never changed
	delay  time.Duration           // before it begins; never changed

	begun, up, lost bool // was called; is or was ready; was given up
	begunAt, upAt   time.Duration

	stop      *Cause // why it was told to stop, nil if it was not
	stoppedAt time.Duration
	timer     *time.Timer // gives it up; at a stop of all, the plan does

	beats *heartbeat // never changed after begin; nil if it is not watched
}

// labelKey is the profiler label of a worker's goroutines, by which their stacks
// are found when they do not stop.
const labelKey = "weatherlight.worker"

// newLifeLocked makes the next life of w.
func (w *Handle) newLifeLocked(delay time.Duration) *life {
	ctx, cancel := context.WithCancelCause(w.sup.base)
	w.life = &life{w: w, ctx: ctx, cancel: cancel, delay: delay}
	return w.life
}

// beginLocked marks the moment at which the worker's method is called.
func (w *Handle) beginLocked(l *life, now time.Time) {
	l.begun, l.begunAt = true, w.sup.since(now)
	if w.says {
		w.moveLocked(StateStarting, now)
		w.publish(Event{Kind: EventStarted, At: now})
	} else {
		w.publish(Event{Kind: EventStarted, At: now})
		w.readyLocked(l, now)
	}
	w.watchLocked(l)
}

// readyLocked marks the moment at which the worker is ready.
func (w *Handle) readyLocked(l *life, now time.Time) {
	l.up, l.upAt = true, w.sup.since(now)
	w.moveLocked(StateRunning, now)
	w.publish(Event{Kind: EventReady, At: now})
}

// supervise runs lives of w, beginning with l, until there is no next one. It is
// the body of the worker's only goroutine.
func (w *Handle) supervise(l *life) {
	for l != nil {
		var err error
		if l.delay == 0 || l.backOff() {
			err = l.run()
		}
		l = w.end(l, err)
	}
}

// backOff waits, and then begins l. It returns false if l was told to stop.
func (l *life) backOff() bool {
	timer := time.NewTimer(l.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.ctx.Done():
	}
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if l.w.life != l || l.stop != nil {
		return false
	}
	l.w.restartedLocked(l, time.Now())
	return true
}

// restartedLocked begins a life that is not the first one.
func (w *Handle) restartedLocked(l *life, now time.Time) {
	w.restarts.Add(1)
	w.sup.figures.restarts.Add(1)
	w.beginLocked(l, now)
}

// run calls the worker and returns how it ended.
func (l *life) run() (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		value := recover()
		switch {
		case value == nil:
			// runtime.Goexit: this goroutine ends here, another one goes on.
			go l.w.supervise(l.w.end(l, ErrGoexit))
		case l.w.policy.panics == LetPanicsThrough:
			panic(value)
		default:
			err = newPanicError(value)
		}
	}()
	ctx := pprof.WithLabels(l.ctx, pprof.Labels(labelKey, l.w.path))
	pprof.SetGoroutineLabels(ctx)
	// Not in a function of its own: every frame counts times the workers.
	switch worker := l.w.worker.(type) {
	case beatingWorker:
		err = worker.RunBeating(ctx, l.ready, l.beat)
	case readyWorker:
		err = worker.RunReady(ctx, l.ready)
	default:
		err = worker.Run(ctx)
	}
	returned = true
	return err
}

// ready is what a worker calls when it is ready.
func (l *life) ready() {
	l.beat()
	w := l.w
	w.mu.Lock()
	if w.ready || !l.unreadyLocked() {
		if l.unreadyLocked() {
			w.readyLocked(l, time.Now())
		}
		w.mu.Unlock()
		return
	}
	w.mu.Unlock()

	// The first time since the worker was started from rest: others may wait.
	w.sup.mu.Lock()
	defer w.sup.mu.Unlock()
	w.mu.Lock()
	fresh := l.unreadyLocked()
	if fresh {
		w.readyLocked(l, time.Now())
		w.ready = true
	}
	w.mu.Unlock()
	if fresh {
		w.sup.readiedLocked(w)
	}
}

func (l *life) unreadyLocked() bool {
	return l.w.life == l && l.stop == nil && !l.up
}
