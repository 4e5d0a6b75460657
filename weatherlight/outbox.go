package weatherlight

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/esper-lite/esper/leyline/leylinepb"
)

// letter is a packet that waits to be published.
type letter struct {
	packet   *leylinepb.TelemetryPacket
	priority leylinepb.MessagePriority
}

// outbox is a queue of bounded length. When it is full, the oldest letter is
// dropped for a new one.
type outbox struct {
	size    int
	filled  chan struct{} // a token: there may be letters
	again   chan struct{} // a token: the next try need not wait
	dropped atomic.Uint64 // letters that will never be published
	failed  atomic.Uint64 // tries to publish that failed

	mu      sync.Mutex
	letters []letter // oldest first
	taken   int      // letters taken and neither put back nor sent: 0 or 1
}

func newOutbox(size int) *outbox {
	return &outbox{size: size, filled: make(chan struct{}, 1), again: make(chan struct{}, 1)}
}

// len returns how many letters wait, one that is being sent included.
func (b *outbox) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.letters) + b.taken
}

// push adds a letter at the end.
func (b *outbox) push(l letter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.letters) == b.size {
		b.letters = slices.Delete(b.letters, 0, 1)
		b.dropped.Add(1)
	}
	b.letters = append(b.letters, l)
	give(b.filled)
}

// take takes the oldest letter out, if there is one. sent or putBack must follow.
func (b *outbox) take() (letter, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.letters) == 0 {
		return letter{}, false
	}
	l := b.letters[0]
	b.letters = slices.Delete(b.letters, 0, 1)
	b.taken = 1
	return l, true
}

// sent says that the letter that was taken is done with.
func (b *outbox) sent() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken = 0
}

// putBack makes l, which was taken, the oldest letter again, or drops it if the
// queue is full by now.
func (b *outbox) putBack(l letter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken = 0
	if len(b.letters) == b.size {
		b.dropped.Add(1)
		return
	}
	b.letters = slices.Insert(b.letters, 0, l)
}
