package oona

import (
	"sync"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// consumers knows what a client consumes.
type consumers struct {
	mu  sync.Mutex
	all map[subscribed]*consumer
}

type subscribed struct{ stream, group string }

func (s *Subscription) key() subscribed { return subscribed{s.Stream, s.Group} }

func (cs *consumers) add(c *consumer) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.all == nil {
		cs.all = make(map[subscribed]*consumer)
	}
	if cs.all[c.sub.key()] != nil {
		return false
	}
	cs.all[c.sub.key()] = c
	return true
}

func (cs *consumers) remove(c *consumer) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.all, c.sub.key())
}

// held sums up what all consumers hold.
func (cs *consumers) held() (all, waiting int) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, c := range cs.all {
		a, w := c.held.size()
		all, waiting = all+a, waiting+w
	}
	return all, waiting
}

// breaker is the worst state of what reads.
func (cs *consumers) breaker() pb.CircuitBreakerState {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	worst := pb.CircuitBreakerState_CIRCUIT_STATE_CLOSED
	for _, c := range cs.all {
		switch state := c.reading.state(); {
		case state == pb.CircuitBreakerState_CIRCUIT_STATE_OPEN:
			return state
		case state != worst:
			worst = state
		}
	}
	return worst
}
