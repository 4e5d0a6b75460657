package weatherlight

import "iter"

// roster holds workers in the order they were added. Removing one leaves a
// hole, so that it costs the same among ten as among 100,000; when most of the
// list is holes, it is closed up.
type roster struct {
	list   []*Handle
	byName map[string]*Handle
}

// minHoles keeps short lists from being closed up all the time.
const minHoles = 32

func (r *roster) find(name string) *Handle { return r.byName[name] }

func (r *roster) add(w *Handle) {
	if r.byName == nil {
		r.byName = make(map[string]*Handle)
	}
	r.byName[w.name] = w
	w.index = len(r.list)
	r.list = append(r.list, w)
}

func (r *roster) remove(w *Handle) {
	delete(r.byName, w.name)
	r.list[w.index] = nil
	if holes := len(r.list) - len(r.byName); holes > minHoles && holes > len(r.list)/2 {
		r.closeUp()
	}
}

func (r *roster) closeUp() {
	list := make([]*Handle, 0, 2*len(r.byName))
	for w := range r.all() {
		w.index = len(list)
		list = append(list, w)
	}
	r.list = list
}

// all yields the workers in the order they were added.
func (r *roster) all() iter.Seq[*Handle] {
	return func(yield func(*Handle) bool) {
		for _, w := range r.list {
			if w != nil && !yield(w) {
				return
			}
		}
	}
}

// backward yields the workers in reverse order.
func (r *roster) backward() iter.Seq[*Handle] {
	return func(yield func(*Handle) bool) {
		for i := len(r.list) - 1; i >= 0; i-- {
			if w := r.list[i]; w != nil && !yield(w) {
				return
			}
		}
	}
}
