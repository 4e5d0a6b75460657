package oona

import (
	"sync/atomic"
	"time"
)

// pace follows how long a handler takes for a message. A consumer takes no more
// than its workers do soon, so that siblings get their share, and gives a handler
// no more at once than it does long before its deadline.
type pace struct {
	soon time.Duration
	mean atomic.Int64 // ns for a message; 0 while nothing is known
}

// soonest bounds what a worker is given at once, and what waits for it beside
// that, each.
const soonest = time.Second

func newPace(handlerTimeout time.Duration) *pace {
	return &pace{soon: min(soonest, handlerTimeout/4)}
}

// note takes in how long a batch took.
func (p *pace) note(took time.Duration, messages int) {
	each := max(1, int64(took)/int64(messages))
	if mean := p.mean.Load(); mean != 0 {
		each = (3*mean + each) / 4
	}
	p.mean.Store(each)
}

// most is how many messages a worker does soon, at least one.
func (p *pace) most() int {
	mean := p.mean.Load()
	if mean == 0 {
		return minChunk
	}
	return int(max(1, int64(p.soon)/mean))
}
