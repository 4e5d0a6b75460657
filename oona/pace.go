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
		return fewUnknown
	}
	return int(max(1, int64(p.soon)/mean))
}

// few is how many messages stay together: a worker does them before another would
// have been woken for a part.
func (p *pace) few() int {
	mean := p.mean.Load()
	if mean == 0 {
		return fewUnknown
	}
	return int(min(max(1, int64(wakeTime)/mean), mostFew))
}

const (
	// wakeTime is about how long it takes until another goroutine runs, and with it
	// another thread, on a machine that has something else to do.
	wakeTime = 200 * time.Microsecond
	// mostFew bounds few: what surrounds the handler takes time, too.
	mostFew = 64
	// fewUnknown stands for what is not known yet.
	fewUnknown = 16
)
