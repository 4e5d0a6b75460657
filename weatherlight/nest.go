package weatherlight

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// nesting guards the links between supervisors and those above them, of all
// trees, so that no two calls at once can close a circle.
var nesting sync.Mutex

// nestedIn returns the supervisor that w is or embeds, nil if none.
func nestedIn(w Worker) *Supervisor {
	if n, ok := w.(interface{ supervisor() *Supervisor }); ok {
		return n.supervisor()
	}
	return nil
}

func (s *Supervisor) supervisor() *Supervisor { return s }

// adoptLocked makes child a supervisor below s, under the given path.
func (s *Supervisor) adoptLocked(child *Supervisor, path string) error {
	nesting.Lock()
	defer nesting.Unlock()
	for above := s; above != nil; above = above.parent.Load() {
		if above == child {
			return fmt.Errorf("weatherlight: worker %q is the supervisor itself or one above it", path)
		}
	}
	if child.parent.Load() != nil {
		return fmt.Errorf("weatherlight: worker %q is part of a tree already", path)
	}
	if err := child.rename(path + "/"); err != nil {
		return fmt.Errorf("weatherlight: worker %q: %w", path, err)
	}
	child.parent.Store(s)
	list := append(slices.Clip(s.below()), child)
	s.nested.Store(&list)
	return nil
}

// disown undoes adoptLocked.
func (s *Supervisor) disown(child *Supervisor) {
	nesting.Lock()
	defer nesting.Unlock()
	child.parent.Store(nil)
	list := slices.DeleteFunc(slices.Clone(s.below()), func(n *Supervisor) bool { return n == child })
	s.nested.Store(&list)
}

// below returns the supervisors directly below s. The caller must not change
// the slice.
func (s *Supervisor) below() []*Supervisor {
	if list := s.nested.Load(); list != nil {
		return *list
	}
	return nil
}

// rename gives all workers of s and below their paths.
func (s *Supervisor) rename(prefix string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		return ErrRunning
	}
	s.prefix = prefix
	for w := range s.workers.all() {
		w.path = prefix + w.name
		if child := nestedIn(w.worker); child != nil {
			if err := child.rename(w.path + "/"); err != nil {
				return err
			}
		}
	}
	return nil
}

// supervisedBy is the key of the context value by which a worker knows the
// supervisor that runs it.
type supervisedBy struct{}

// supervises reports whether ctx is that of a worker of s or below it.
func (s *Supervisor) supervises(ctx context.Context) bool {
	by, _ := ctx.Value(supervisedBy{}).(*Supervisor)
	for ; by != nil; by = by.parent.Load() {
		if by == s {
			return true
		}
	}
	return false
}
