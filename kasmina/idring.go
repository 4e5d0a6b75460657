package kasmina

// idRing remembers the last so many ids.
type idRing struct {
	ids   []string
	next  int
	known map[string]int // where in ids
}

func newIDRing(size int) idRing {
	return idRing{ids: make([]string, size), known: make(map[string]int)}
}

// add forgets the oldest id for a new one.
func (r *idRing) add(id string) {
	if r.has(id) {
		return
	}
	r.remove(r.ids[r.next])
	r.ids[r.next] = id
	r.known[id] = r.next
	r.next = (r.next + 1) % len(r.ids)
}

func (r *idRing) has(id string) bool {
	_, ok := r.known[id]
	return ok
}

func (r *idRing) remove(id string) {
	if i, ok := r.known[id]; ok {
		delete(r.known, id)
		r.ids[i] = ""
	}
}
