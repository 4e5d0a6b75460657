package oona

import "time"

// task is what one goroutine of a consumer does next: it handles a chunk, or
// reads. The zero task is its end.
type task struct {
	chunk []*delivery
	alone bool // the chunk is a suspect
	read  int  // how many entries
}

// next blocks until there is something to do. Handling goes before reading. A
// chunk, appended to buf, is small enough that all workers have something to do
// and none has for long; or it is one suspect, which then is the only delivery
// being handled until done says so. One goroutine reads at a time, until wasRead.
// There is nothing to do once the consumer stops: what was not started is handed
// back.
func (h *held) next(buf []*delivery) task {
	h.mu.Lock()
	defer h.mu.Unlock()
	for !h.closed {
		t, ok := h.handleLocked(buf)
		if !ok {
			t.read, ok = h.roomLocked()
			h.reading = h.reading || ok
		}
		if ok {
			h.passLocked(t)
			return t
		}
		h.tasks.Wait()
	}
	return task{}
}

// reliefAfter is how long a goroutine that has few messages to handle may take
// before another reads. Most are back sooner and read again themselves, which takes
// a third of the context switches, and lets Redis have the answer first.
const reliefAfter = 5 * time.Millisecond

// passLocked wakes another goroutine if there is something to do beside t.
func (h *held) passLocked(t task) {
	switch {
	case h.ready.n > 0 || h.suspects.n > 0:
		h.tasks.Signal()
	case h.reading:
		h.relief.Stop()
	case len(t.chunk) > h.pace.few():
		h.tasks.Signal()
	default:
		h.relief.Reset(reliefAfter)
	}
}

// relieve has somebody read.
func (h *held) relieve() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.signalRoomLocked()
}

func (h *held) handleLocked(buf []*delivery) (t task, ok bool) {
	for !h.alone && h.running+h.abandoned < h.workers {
		switch {
		case h.suspects.n > 0 && (h.credit <= 0 || h.ready.n == 0):
			if h.running > 0 {
				return task{}, false // it starts when they are done
			}
			if d := h.suspects.pop(); h.all[d.text] == d {
				h.alone, h.credit = true, h.workers
				return task{chunk: append(buf, d), alone: true}, true
			}
		case h.ready.n > 0:
			if buf = h.chunkLocked(buf); len(buf) > 0 {
				h.running++
				h.credit--
				return task{chunk: buf}, true
			}
		default:
			return task{}, false
		}
	}
	return task{}, false
}

// roomLocked returns how many entries to read, if it is time to.
func (h *held) roomLocked() (n int, ok bool) {
	if h.reading {
		return 0, false
	}
	n = min(h.limit()-h.activeLocked(), h.batch)
	return n, n > 0
}

func (h *held) chunkLocked(buf []*delivery) []*delivery {
	size := (h.ready.n + h.workers - 1) / h.workers
	size = min(max(size, h.pace.few()), h.batch, h.pace.most())
	for h.ready.n > 0 && len(buf) < size {
		single := h.ready.head.single
		if single && len(buf) > 0 {
			break
		}
		// What was lost to a sibling meanwhile is not started.
		if d := h.ready.pop(); h.all[d.text] == d {
			buf = append(buf, d)
			if single {
				break
			}
		}
	}
	return buf
}

// done ends the handling of a chunk.
func (h *held) done(alone bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if alone {
		h.alone = false
	} else {
		h.running--
	}
	if h.ready.n > 0 || h.suspects.n > 0 {
		h.tasks.Signal()
	}
	h.idle.Broadcast()
}

// awaitIdle blocks until no handler runs that was not left behind.
func (h *held) awaitIdle() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.alone || h.running > 0 {
		h.idle.Wait()
	}
}

// abandon notes a handler that was left behind. It keeps the place of a worker
// until it returns, so that there are never more handlers than workers.
func (h *held) abandon() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.abandoned++
}

// returned notes that an abandoned handler came back.
func (h *held) returned() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.abandoned--
	h.tasks.Signal()
}

// stalled reports whether every worker has left a handler behind.
func (h *held) stalled() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.abandoned >= h.workers
}

// signalRoomLocked wakes somebody to read, if it is time to.
func (h *held) signalRoomLocked() {
	if _, ok := h.roomLocked(); ok {
		h.tasks.Signal()
	}
}

// close ends all waiting for something to do.
func (h *held) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.relief.Stop()
	h.tasks.Broadcast()
}
