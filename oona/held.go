package oona

import (
	"container/heap"
	"strings"
	"sync"
	"time"
)

// held is what a consumer owns in memory, by entry id: ready to be handled,
// being handled, being committed or waiting for a retry. It says what is to be
// done next, see task.go. It is safe for concurrent use.
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
