package oona

import (
	"container/heap"
	"sync"
	"time"
)

// held is what a consumer owns in memory, by entry id: queued, being handled,
// being committed or waiting for a retry. It is safe for concurrent use.
type held struct {
	mu      sync.Mutex
	all     map[string]*delivery
	waiting retryHeap
}

func newHeld() held { return held{all: make(map[string]*delivery)} }

// add takes deliveries that are not held yet and returns them; an entry that
// came twice, by a read and a reclaim, is handled once.
func (h *held) add(ds []*delivery) []*delivery {
	h.mu.Lock()
	defer h.mu.Unlock()
	fresh := ds[:0]
	for _, d := range ds {
		if _, ok := h.all[d.text]; ok {
			continue
		}
		h.all[d.text] = d
		fresh = append(fresh, d)
	}
	return fresh
}

func (h *held) remove(d *delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all[d.text] == d {
		delete(h.all, d.text)
	}
}

// active is the number of deliveries that are not waiting for a retry.
func (h *held) active() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all) - len(h.waiting)
}

// wait schedules a delivery for another try. It reports false, and lets go of
// it, when limit deliveries are held already.
func (h *held) wait(d *delivery, until time.Time, limit int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all[d.text] != d {
		return true // taken over meanwhile
	}
	if len(h.all) > limit {
		delete(h.all, d.text)
		return false
	}
	heap.Push(&h.waiting, retryAt{d, until})
	return true
}

// due returns up to n deliveries whose time has come, and when the next one's
// will; zero when none waits.
func (h *held) due(now time.Time, n int) (ready []*delivery, next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.waiting) > 0 {
		if first := h.waiting[0]; first.at.After(now) || len(ready) == n {
			return ready, first.at
		}
		d := heap.Pop(&h.waiting).(retryAt).d
		if h.all[d.text] == d {
			ready = append(ready, d)
		}
	}
	return ready, time.Time{}
}

// unconfirmed returns deliveries that were last known to be ours before the
// given time, and notes that they are being confirmed now.
func (h *held) unconfirmed(before, now time.Time) []*delivery {
	h.mu.Lock()
	defer h.mu.Unlock()
	var old []*delivery
	for _, d := range h.all {
		if d.since.Before(before) {
			d.since = now
			old = append(old, d)
		}
	}
	return old
}

// replace puts copies in the place of deliveries with the same ids.
func (h *held) replace(ds []*delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range ds {
		if _, ok := h.all[d.text]; ok {
			h.all[d.text] = d
		}
	}
}

// retryAt is a delivery and when to try it again.
type retryAt struct {
	d  *delivery
	at time.Time
}

// retryHeap has the earliest first; see container/heap.
type retryHeap []retryAt

func (r retryHeap) Len() int           { return len(r) }
func (r retryHeap) Less(i, j int) bool { return r[i].at.Before(r[j].at) }
func (r retryHeap) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *retryHeap) Push(x any)        { *r = append(*r, x.(retryAt)) }
func (r *retryHeap) Pop() any {
	old := *r
	last := old[len(old)-1]
	old[len(old)-1] = retryAt{}
	*r = old[:len(old)-1]
	return last
}
