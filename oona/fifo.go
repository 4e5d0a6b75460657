package oona

// fifo is a queue of deliveries, linked through them: a delivery is in at most
// one.
type fifo struct {
	head, tail *delivery
	n          int
}

func (q *fifo) push(d *delivery) {
	d.behind = nil
	if q.tail == nil {
		q.head = d
	} else {
		q.tail.behind = d
	}
	q.tail = d
	q.n++
}

func (q *fifo) pop() *delivery {
	d := q.head
	q.head, d.behind = d.behind, nil
	if q.head == nil {
		q.tail = nil
	}
	q.n--
	return d
}

// retryHeap has the earliest first; see container/heap.
type retryHeap []*delivery

func (r retryHeap) Len() int           { return len(r) }
func (r retryHeap) Less(i, j int) bool { return r[i].retryAt.Before(r[j].retryAt) }
func (r retryHeap) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].heapIndex, r[j].heapIndex = i, j
}
func (r *retryHeap) Push(x any) {
	d := x.(*delivery)
	d.inHeap, d.heapIndex = true, len(*r)
	*r = append(*r, d)
}
func (r *retryHeap) Pop() any {
	old := *r
	last := old[len(old)-1]
	old[len(old)-1] = nil
	last.inHeap = false
	*r = old[:len(old)-1]
	return last
}
