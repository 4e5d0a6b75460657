package weatherlight

import (
	"slices"
	"strings"
	"time"
)

// loseLocked counts l, which did not stop in time, as given up.
func (s *Supervisor) loseLocked(l *life) {
	if s.abandoned == nil {
		s.abandoned = make(map[*life]struct{})
	}
	l.lost = true
	s.abandoned[l] = struct{}{}
	s.figures.abandoned.Add(1)
	l.w.lost.Add(1)
}

// foundAgain undoes loseLocked: l has returned after all.
func (s *Supervisor) foundAgain(l *life) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.abandoned, l)
	s.figures.abandoned.Add(-1)
	l.w.lost.Add(-1)
	l.w.publish(Event{Kind: EventReturned, At: time.Now()})
}

// unstopped returns a StopError with those lives of the tree that were given up,
// are still there, and are chosen by include, nil meaning all; or nil if there
// are none.
func (s *Supervisor) unstopped(include func(*life) bool) error {
	lost := s.appendUnstopped(nil, include)
	if len(lost) == 0 {
		return nil
	}
	slices.SortFunc(lost, func(a, b Unstopped) int { return strings.Compare(a.Worker, b.Worker) })
	names := make([]string, len(lost))
	for i, u := range lost {
		names[i] = u.Worker
	}
	stacks := stacksOf(names)
	for i := range lost {
		lost[i].Stack = stacks[lost[i].Worker]
	}
	return &StopError{Workers: lost}
}

func (s *Supervisor) appendUnstopped(lost []Unstopped, include func(*life) bool) []Unstopped {
	s.mu.RLock()
	for l := range s.abandoned {
		if include == nil || include(l) {
			lost = append(lost, Unstopped{Worker: l.w.path, Reason: l.stop.Reason, For: s.since(time.Now()) - l.stoppedAt})
		}
	}
	s.mu.RUnlock()
	for _, child := range s.below() {
		lost = child.appendUnstopped(lost, include)
	}
	return lost
}
