package weatherlighttest

import (
	"slices"
	"sync"
	"testing"

	"github.com/esper-lite/esper/weatherlight"
)

// Record is what has happened in a supervisor.
type Record struct {
	mu     sync.Mutex
	events []weatherlight.Event
}

// NewRecord records the events of s until the test ends.
func NewRecord(t testing.TB, s *weatherlight.Supervisor) *Record {
	t.Helper()
	r := &Record{}
	events, unsubscribe := s.Subscribe(4096)
	var wg sync.WaitGroup
	wg.Go(func() {
		for e := range events {
			r.mu.Lock()
			if e.Missed > 0 {
				t.Errorf("weatherlighttest: %d events missed", e.Missed)
			}
			r.events = append(r.events, e)
			r.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		unsubscribe()
		wg.Wait()
	})
	return r
}

// Events returns what has happened so far, oldest first. In a bubble, call
// [testing/synctest.Wait] before.
func (r *Record) Events() []weatherlight.Event {
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
