package oona

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// stats counts what a client did since it was made.
type stats struct {
	publishTotal      atomic.Int64
	publishDropped    atomic.Int64
	publishNanos      atomic.Int64 // of the last publish
	consumeNanos      atomic.Int64 // of the last finished message, from arrival to commit
	read              atomic.Int64
	finishedTotal     atomic.Int64
	answersTotal      atomic.Int64
	retries           atomic.Int64
	retriesReleased   atomic.Int64
	reclaimed         atomic.Int64
	duplicates        atomic.Int64
	lostOwnership     atomic.Int64
	dataLoss          atomic.Int64
	gaps              atomic.Int64
	handlerFailures   atomic.Int64
	handlersAbandoned atomic.Int64
	consumeErrors     atomic.Int64

	refusals *refusals
}

func newStats() stats { return stats{refusals: &refusals{counts: make(map[refusal_]*refusalCount)}} }

func (s *stats) published(ok, failed int, took time.Duration) {
	s.publishTotal.Add(int64(ok))
	s.publishDropped.Add(int64(failed))
	s.publishNanos.Store(int64(took))
}

func (s *stats) handled(int, time.Duration) {}

func (s *stats) finished(answers int, since time.Duration) {
	s.finishedTotal.Add(1)
	s.answersTotal.Add(int64(answers))
	s.consumeNanos.Store(int64(since))
}

func (s *stats) refuse(stream string, t pb.BusMessageType, r leyline.Reason) {
	s.refusals.add(refusal_{stream, t, r}, false)
}

func (s *stats) bury(stream string, t pb.BusMessageType, r leyline.Reason) {
	s.refusals.add(refusal_{stream, t, r}, true)
}

type refusal_ struct {
	stream string
	typ    pb.BusMessageType
	reason leyline.Reason
}
type refusalCount struct{ refused, buried int64 }
type refusals struct {
	mu     sync.Mutex
	counts map[refusal_]*refusalCount
}

func (r *refusals) add(k refusal_, buried bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.counts[k]
	if c == nil {
		c = new(refusalCount)
		r.counts[k] = c
	}
	if buried {
		c.buried++
	} else {
		c.refused++
	}
}
