package kasmina

// idRing remembers the last so many ids.
type idRing struct {
	size  int
	ids   []string // grows up to size
	next  int
	known map[string]int // where in ids
}

func newIDRing(size int) idRing {
	return idRing{size: size, known: make(map[string]int)}
}

// add forgets the oldest id for a new one, where there is no room.
func (r *idRing) add(id string) {
	if r.has(id) {
		return
	}
	if len(r.ids) < r.size {
		r.known[id] = len(r.ids)
		r.ids = append(r.ids, id)
		return
	}
	delete(r.known, r.ids[r.next])
	r.ids[r.next] = id
	r.known[id] = r.next
	r.next = (r.next + 1) % r.size
}

func (r *idRing) has(id string) bool {
	_, ok := r.known[id]
	return ok
}

// remove forgets an id; its place stays, empty.
func (r *idRing) remove(id string) {
	if i, ok := r.known[id]; ok {
		delete(r.known, id)
		r.ids[i] = ""
	}
}
