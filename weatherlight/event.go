package weatherlight

import (
	"sync"
	"sync/atomic"
	"time"
)

// EventKind says what has happened.
type EventKind uint8

const (
	// EventStarted: a worker's method was called.
	EventStarted EventKind = iota + 1
	// EventReady: a worker is ready.
	EventReady
	// EventFailed: a worker failed with Err, and will be restarted after
	// Backoff, unless EventEnded or EventParked follows.
	EventFailed
	// EventEnded: a worker ended by itself, and its policy lets it.
	EventEnded
	// EventParked: a worker exceeded its limit and is left down.
	EventParked
	// EventStopping: a worker was told to stop; Err is the [*Cause].
	EventStopping
	// EventStopped: a worker that was told to stop is at rest; Err is what it
	// returned.
	EventStopped
	// EventAbandoned, instead of EventStopped: a worker that was told to stop,
	// for the [*Cause] Err, did not in time and was given up.
	EventAbandoned
	// EventReturned: a worker that had been given up has returned after all.
	EventReturned
	// EventBooted: all workers of a supervisor are ready.
	EventBooted
	// EventShuttingDown: a supervisor begins to stop its workers. Err is why,
	// nil if its context has ended.
	EventShuttingDown
	// EventShutdown: a supervisor has stopped; Err is what its Run returns.
	EventShutdown
)

var eventNames = [...]string{
	EventStarted: "started", EventReady: "ready", EventFailed: "failed", EventEnded: "ended",
	EventParked: "parked", EventStopping: "stopping", EventStopped: "stopped",
	EventAbandoned: "abandoned", EventReturned: "returned", EventBooted: "booted",
	EventShuttingDown: "shutting down", EventShutdown: "shutdown",
}

// String returns the kind in lower case.
func (k EventKind) String() string {
	if k == 0 || int(k) >= len(eventNames) {
		return "unknown"
	}
	return eventNames[k]
}

// Event is something that happened to a worker or a supervisor.
type Event struct {
	Kind EventKind
	// At is when it happened.
	At time.Time
	// Worker is the worker's name, with those of nested supervisors before
	// it. For what happened to a supervisor it is the supervisor's, empty for
	// the topmost one.
	Worker string
	// Err is as the kind says, else nil.
	Err error
	// Backoff is the delay before the restart, for EventFailed.
	Backoff time.Duration
	// Missed is how many events the subscriber has missed just before this one.
	Missed uint64
}

// Subscribe returns a channel with a buffer of n (at least 1) that receives what
// happens from now on in the supervisor and all below it, and a function that
// ends the subscription and closes the channel. Events of one worker come in
// order, and after the change of its [State] that they tell of, so that a
// [Snapshot] taken on an event shows it, or a later one; only [EventAbandoned]
// comes before. Nobody waits for a subscriber: an event that finds the buffer full is
// dropped for this subscriber, and counted in [Event.Missed] of the next one and
// in [Snapshot.EventsDropped].
func (s *Supervisor) Subscribe(n int) (<-chan Event, func()) {
	return s.events.subscribe(n)
}

// publish hands e, which concerns s itself, to all who listen to s or above.
func (s *Supervisor) publish(e Event) {
	if !s.heard() {
		return
	}
	s.mu.RLock()
	if n := len(s.prefix); n > 0 {
		e.Worker = s.prefix[:n-1]
	}
	s.mu.RUnlock()
	s.deliver(e)
}

// publish hands e, which concerns w, to all who listen. Handle.mu is held, or
// Supervisor.mu, so that the events of a worker stay in order.
func (w *Handle) publish(e Event) {
	if !w.sup.heard() {
		return
	}
	e.Worker = w.path
	w.sup.deliver(e)
}

// heard reports whether anybody listens.
func (s *Supervisor) heard() bool {
	for ; s != nil; s = s.parent.Load() {
		if s.events.listeners.Load() > 0 {
			return true
		}
	}
	return false
}

func (s *Supervisor) deliver(e Event) {
	for ; s != nil; s = s.parent.Load() {
		s.events.publish(e)
	}
}

// broadcast hands events to subscribers.
type broadcast struct {
	listeners atomic.Int64
	dropped   atomic.Uint64
	mu        sync.Mutex // after all others
	subs      map[*subscription]struct{}
	wakes     map[chan struct{}]struct{}
}

type subscription struct {
	c      chan Event
	missed uint64
}

func (b *broadcast) subscribe(n int) (<-chan Event, func()) {
	sub := &subscription{c: make(chan Event, max(1, n))}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subs == nil {
		b.subs = make(map[*subscription]struct{})
	}
	b.subs[sub] = struct{}{}
	b.listeners.Add(1)
	return sub.c, func() { b.unsubscribe(sub) }
}

func (b *broadcast) unsubscribe(sub *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.subs[sub]; !ok {
		return
	}
	delete(b.subs, sub)
	b.listeners.Add(-1)
	close(sub.c)
}

// subscribeWake returns a channel that holds a token whenever something has
// happened since the last one was taken, and a function that ends that.
func (b *broadcast) subscribeWake() (<-chan struct{}, func()) {
	wake := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wakes == nil {
		b.wakes = make(map[chan struct{}]struct{})
	}
	b.wakes[wake] = struct{}{}
	b.listeners.Add(1)
	return wake, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.wakes, wake)
		b.listeners.Add(-1)
	}
}

func (b *broadcast) publish(e Event) {
	if b.listeners.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for sub := range b.subs {
		e.Missed = sub.missed
		select {
		case sub.c <- e:
			sub.missed = 0
		default:
			sub.missed++
			b.dropped.Add(1)
		}
	}
	for wake := range b.wakes {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}
