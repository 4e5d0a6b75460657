package weatherlight

import (
	"sync/atomic"
	"time"
)

// heartbeat watches one life of a worker.
type heartbeat struct {
	last  atomic.Int64 // when it beat last, as a phase counts time
	timer *time.Timer  // looks at last; guarded by Handle.mu
}

// watchLocked starts to watch l, if its worker promises heartbeats.
func (w *Handle) watchLocked(l *life) {
	if w.policy.heartbeat == 0 {
		return
	}
	l.beats = &heartbeat{}
	l.beats.last.Store(int64(l.begunAt))
	l.beats.timer = time.AfterFunc(w.policy.heartbeat, l.checkBeat)
}

// beat is what a worker calls to show that it is not stuck.
func (l *life) beat() {
	if l.beats != nil {
		l.beats.last.Store(int64(l.w.sup.since(time.Now())))
	}
}

// checkBeat stops l if it was silent for too long, and looks again when it could
// be otherwise.
func (l *life) checkBeat() {
	w := l.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.life != l || l.stop != nil {
		return
	}
	silence := w.sup.since(time.Now()) - time.Duration(l.beats.last.Load())
	if silence < w.policy.heartbeat {
		l.beats.timer.Reset(w.policy.heartbeat - silence)
		return
	}
	w.interruptAloneLocked(ErrWatchdog)
}

// disarm stops the timers of a life that has ended.
func (l *life) disarm() {
	if l.timer != nil {
		l.timer.Stop()
	}
	if l.beats != nil {
		l.beats.timer.Stop()
	}
}
