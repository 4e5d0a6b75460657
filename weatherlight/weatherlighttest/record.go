package weatherlighttest

import (
	"slices"
	"sync"
	"testing"

	"github.com/esper-lite/esper/weatherlight"
)

// Record is what has happened in a supervisor.
type Record struct {
	flush chan chan struct{} // asks to take what there is
	ended chan struct{}      // closed when all is taken that there will be

	mu     sync.Mutex
	events []weatherlight.Event
}

// NewRecord records the events of s until the test ends.
func NewRecord(t testing.TB, s *weatherlight.Supervisor) *Record {
	t.Helper()
	r := &Record{flush: make(chan chan struct{}), ended: make(chan struct{})}
	events, unsubscribe := s.Subscribe(4096)
	go r.take(t, events)
	t.Cleanup(func() {
		unsubscribe()
		<-r.ended
	})
	return r
}

// take appends events until there are no more.
func (r *Record) take(t testing.TB, events <-chan weatherlight.Event) {
	defer close(r.ended)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			r.append(t, e)
		case taken := <-r.flush:
			for range len(events) {
				r.append(t, <-events)
			}
			close(taken)
		}
	}
}

func (r *Record) append(t testing.TB, e weatherlight.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Missed > 0 {
		t.Errorf("weatherlighttest: %d events missed", e.Missed)
	}
	r.events = append(r.events, e)
}

// Events returns what has happened so far, oldest first: after [Running.Stop] or
// [Running.Wait] all of it. While the supervisor runs in a bubble, call
// [testing/synctest.Wait] before, so that what is to happen has.
func (r *Record) Events() []weatherlight.Event {
	taken := make(chan struct{})
	select {
	case r.flush <- taken:
		<-taken
	case <-r.ended:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// Lines returns what has happened so far as "worker kind", or "kind" alone for
// the topmost supervisor. With kinds, others are left out.
func (r *Record) Lines(kinds ...weatherlight.EventKind) []string {
	var lines []string
	for _, e := range r.Events() {
		if len(kinds) > 0 && !slices.Contains(kinds, e.Kind) {
			continue
		}
		if e.Worker == "" {
			lines = append(lines, e.Kind.String())
		} else {
			lines = append(lines, e.Worker+" "+e.Kind.String())
		}
	}
	return lines
}
