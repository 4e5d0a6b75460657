package oona

import (
	"container/heap"
	"strings"
	"sync"
	"time"
)

// held is what a consumer owns in memory, by entry id: ready to be handled,
// being handled, being committed or waiting for a retry. It says what is to be
// done next. It is safe for concurrent use.
//
// Everything waits on conditions, never on a mutex that somebody holds for long:
// a handler may take its time. Whoever takes a task wakes another if there is a
// second one.
type held struct {
	mu     sync.Mutex
	tasks  sync.Cond   // there may be something to do
	idle   sync.Cond   // a handler has ended
	relief *time.Timer // somebody else is to read

	batch   int // most deliveries of one chunk
	workers int
	pace    *pace
	limit   func() int // how many active deliveries end the reading

	all      map[string]*delivery
	ready    fifo
	suspects fifo // see suspects.go
	waiting  retryHeap

	reading   bool // somebody reads, or nobody is to any more
	running   int  // chunks being handled
	alone     bool // a suspect is being handled, and nothing else may
	credit    int  // chunks that go before the next suspect
	abandoned int  // handlers that were left behind and have not returned
	closed    bool
}

func newHeld(batch, workers int, pace *pace, limit func() int) *held {
	h := &held{all: make(map[string]*delivery), batch: batch, workers: workers, pace: pace, limit: limit}
	h.tasks.L, h.idle.L = &h.mu, &h.mu
	h.relief = time.AfterFunc(time.Hour, h.relieve)
	h.relief.Stop()
	return h
}

// add takes deliveries that are not held yet and makes them ready; an entry
// that came twice, by a read and a reclaim, is handled once.
func (h *held) add(ds []*delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addLocked(ds)
	h.tasks.Signal()
}

// wasRead ends a task of reading. It wakes nobody: who read goes on to handle it.
func (h *held) wasRead(ds []*delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addLocked(ds)
	h.reading = false
}

func (h *held) addLocked(ds []*delivery) {
	for _, d := range ds {
		if _, ok := h.all[d.text]; ok {
			continue
		}
		h.all[d.text] = d
		h.queueLocked(d)
	}
}

func (h *held) queueLocked(d *delivery) {
	if d.suspect() {
		h.suspects.push(d)
	} else {
		h.ready.push(d)
	}
}

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
const reliefAfter = time.Millisecond

// passLocked wakes another goroutine if there is something to do beside t.
func (h *held) passLocked(t task) {
	switch {
	case h.ready.n > 0 || h.suspects.n > 0:
		h.tasks.Signal()
	case h.reading:
		h.relief.Stop()
	case len(t.chunk) > minChunk:
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
	size = min(max(size, minChunk), h.batch, h.pace.most())
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

// minChunk keeps a small batch together: below it, handing work to another
// goroutine costs more than doing it.
const minChunk = 16

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

// release lets go of deliveries and makes room.
func (h *held) release(ds ...*delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, had := h.roomLocked()
	for _, d := range ds {
		h.forgetLocked(d)
	}
	if !had { // or else who releases reads, or is relieved
		h.signalRoomLocked()
	}
}

// signalRoomLocked wakes somebody to read, if it is time to.
func (h *held) signalRoomLocked() {
	if _, ok := h.roomLocked(); ok {
		h.tasks.Signal()
	}
}

func (h *held) forgetLocked(d *delivery) {
	if h.all[d.text] != d {
		return
	}
	delete(h.all, d.text)
	if d.inHeap {
		heap.Remove(&h.waiting, d.heapIndex)
	}
}

// retry schedules a delivery for another try. It reports false, and lets go of
// it, when limit deliveries are held already.
func (h *held) retry(d *delivery, at time.Time, limit int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.signalRoomLocked()
	if h.all[d.text] != d {
		return true // lost to a sibling meanwhile
	}
	if len(h.all) > limit {
		delete(h.all, d.text)
		return false
	}
	delete(h.all, d.text)
	d.text = strings.Clone(d.text) // see detach
	h.all[d.text] = d
	d.retryAt = at
	heap.Push(&h.waiting, d)
	return true
}

// requeue makes ready what is due, and returns when the next will be; zero when
// none waits.
func (h *held) requeue(now time.Time) (next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.waiting) > 0 {
		if first := h.waiting[0]; first.retryAt.After(now) {
			return first.retryAt
		}
		h.queueLocked(heap.Pop(&h.waiting).(*delivery))
		h.tasks.Signal()
	}
	return time.Time{}
}

// room is how many may come before limit are active, at most a batch.
func (h *held) room(limit int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(0, min(limit-h.activeLocked(), h.batch))
}

// activeLocked is the number of deliveries that are not waiting for a retry.
func (h *held) activeLocked() int { return len(h.all) - len(h.waiting) }

// size is the number of deliveries held, and of those waiting for a retry.
func (h *held) size() (all, waiting int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all), len(h.waiting)
}

// strangers returns the ids that are not held.
func (h *held) strangers(ids []string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var unknown []string
	for _, id := range ids {
		if _, ok := h.all[id]; !ok {
			unknown = append(unknown, id)
		}
	}
	return unknown
}

// unconfirmed returns the ids of deliveries that were last known to be ours
// before the given time, and notes that they are being confirmed now.
func (h *held) unconfirmed(before, now time.Time) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var old []string
	for id, d := range h.all {
		if d.since.Before(before) {
			d.since = now
			old = append(old, id)
		}
	}
	return old
}

// lose lets go of what turned out to be somebody else's.
func (h *held) lose(ids []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		if d := h.all[id]; d != nil {
			h.forgetLocked(d)
		}
	}
	h.signalRoomLocked()
}

// replace puts a copy in the place of each delivery and returns the copies.
func (h *held) replace(ds []*delivery) []*delivery {
	h.mu.Lock()
	defer h.mu.Unlock()
	fresh := make([]*delivery, len(ds))
	for i, d := range ds {
		copied := *d
		fresh[i] = &copied
		if h.all[d.text] == d {
			h.all[d.text] = fresh[i]
		}
	}
	return fresh
}

// close ends all waiting for something to do.
func (h *held) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.relief.Stop()
	h.tasks.Broadcast()
}
