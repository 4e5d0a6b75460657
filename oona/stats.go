package oona

import (
	"sync/atomic"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// stats counts what a client did since it was made.
type stats struct {
	publishTotal    atomic.Int64
	publishDropped  atomic.Int64
	publishRerouted atomic.Int64
	publishBreaks   atomic.Int64 // how often the breaker opened
	consumeBreaks   atomic.Int64
	publishNanos    atomic.Int64 // of the last publish
	consumeNanos    atomic.Int64 // of the last finished message, from arrival to commit

	readTotal         atomic.Int64
	finishedTotal     atomic.Int64
	answersTotal      atomic.Int64
	retryTotal        atomic.Int64
	deadLetterTotal   atomic.Int64
	retriesReleased   atomic.Int64
	reclaimedTotal    atomic.Int64
	duplicateTotal    atomic.Int64
	ownershipLost     atomic.Int64
	dataLossTotal     atomic.Int64
	gapTotal          atomic.Int64
	handlerFailures   atomic.Int64
	handlersAbandoned atomic.Int64
	busErrors         atomic.Int64
	clockAlarms       atomic.Int64
	trimmedTotal      atomic.Int64
	consumersRemoved  atomic.Int64
	blockedStreams    atomic.Int64 // as housekeeping last saw

	refusals leyline.Refusals
}

func (s *stats) published(ok, failed int, took time.Duration) {
	s.publishTotal.Add(int64(ok))
	s.publishDropped.Add(int64(failed))
	s.publishNanos.Store(int64(took))
}

func (s *stats) finished(answers int, since time.Duration) {
	s.finishedTotal.Add(1)
	s.answersTotal.Add(int64(answers))
	s.consumeNanos.Store(int64(since))
}

// Refusals returns the counters of messages that were not handled.
func (c *Client) Refusals() *leyline.Refusals { return &c.stats.refusals }
