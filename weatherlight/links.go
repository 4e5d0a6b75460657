package weatherlight

import (
	"fmt"
	"slices"
)

// links are the neighbours of a worker in the order of boot. All fields are
// guarded by Supervisor.mu. Workers without neighbours have none.
type links struct {
	after      []string  // Spec.After
	deps       []*Handle // the workers of these names
	dependents []*Handle // workers that are after this one
	depth      int       // length of the longest chain of deps
	holds      int       // during a stop: dependents that are still alive
}

// linkLocked finds the workers that w is After, all of which must exist.
func (s *Supervisor) linkLocked(w *Handle) error {
	if w.links == nil {
		return nil
	}
	deps := make([]*Handle, 0, len(w.links.after))
	for _, name := range w.links.after {
		dep := s.workers.find(name)
		if dep == nil || dep.removed {
			return fmt.Errorf("%w: %q, which %q is after", ErrUnknown, name, w.name)
		}
		deps = append(deps, dep)
	}
	w.links.deps = deps
	w.links.depth = chainLength(deps)
	return nil
}

// attach makes w known to the workers that it is after.
func (l *links) attach(w *Handle) {
	for _, dep := range l.deps {
		if dep.links == nil {
			dep.links = &links{}
		}
		dep.links.dependents = append(dep.links.dependents, w)
	}
}

// detach undoes attach.
func (l *links) detach(w *Handle) {
	for _, dep := range l.deps {
		dep.links.dependents = slices.DeleteFunc(dep.links.dependents,
			func(other *Handle) bool { return other == w })
	}
}

func chainLength(deps []*Handle) int {
	n := 0
	for _, dep := range deps {
		n = max(n, 1+dep.depth())
	}
	return n
}

func (w *Handle) depth() int {
	if w.links == nil {
		return 0
	}
	return w.links.depth
}

// linkAllLocked links all workers anew, and refuses names that do not exist and
// cycles.
func (s *Supervisor) linkAllLocked() error {
	for w := range s.workers.all() {
		if w.links != nil {
			w.links.dependents = nil
		}
	}
	for w := range s.workers.all() {
		if err := s.linkLocked(w); err != nil {
			return err
		}
		if w.links != nil {
			w.links.attach(w)
		}
	}
	return s.orderLocked()
}

// orderLocked sets the depth of every worker, or returns a CycleError.
func (s *Supervisor) orderLocked() error {
	missing := make(map[*Handle]int) // deps whose depth is not known yet
	var known []*Handle
	for w := range s.workers.all() {
		switch {
		case w.links == nil:
		case len(w.links.deps) == 0:
			known = append(known, w)
		default:
			missing[w] = len(w.links.deps)
		}
	}
	for len(known) > 0 {
		w := known[len(known)-1]
		known = known[:len(known)-1]
		w.links.depth = chainLength(w.links.deps)
		for _, d := range w.links.dependents {
			if missing[d]--; missing[d] == 0 {
				delete(missing, d)
				known = append(known, d)
			}
		}
	}
	for w := range s.workers.all() {
		if missing[w] > 0 {
			return cycleFrom(w, missing)
		}
	}
	return nil
}

// cycleFrom follows After from w, which leads into a cycle or lies on one, until
// it meets a worker again.
func cycleFrom(w *Handle, missing map[*Handle]int) error {
	var path []*Handle
	for {
		if i := slices.Index(path, w); i >= 0 {
			names := make([]string, 0, len(path)-i)
			for _, on := range path[i:] {
				names = append(names, on.name)
			}
			return &CycleError{Names: names}
		}
		path = append(path, w)
		w = w.links.deps[slices.IndexFunc(w.links.deps, func(d *Handle) bool { return missing[d] > 0 })]
	}
}
