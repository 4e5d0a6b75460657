package main

import (
	"context"
	"math"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
)

// A histogram travels in telemetry as figures <name>.bucket, one per bound, each
// with how many values were at most that bound, and <name>.sum and <name>.count.
const (
	suffixBucket   = ".bucket"
	suffixSum      = ".sum"
	suffixCount    = ".count"
	attributeBound = "le" // the bound, in the unit of the figure; "+Inf" for all
)

// Figures of the main job that the service measures itself, in ms: from the
// arrival of a request on the bus to the start of the handling that answered it,
// and to that answer. They include what it waited while nobody served, and
// retries.
const (
	figureWait     = "urza.prefetch.wait_ms"
	figureDuration = "urza.prefetch.duration_ms"
)

// durationBounds are the upper bounds of the buckets, in ms. Times on the bus are
// whole milliseconds, so nothing below one can be told apart.
var durationBounds = [...]float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000}

// histogram counts values in buckets, without a lock. The zero histogram is ready
// to use.
type histogram struct {
	counts [len(durationBounds) + 1]atomic.Uint64 // the last one is beyond all bounds
	micros atomic.Int64                           // sum of all values
}

// tallied is values counted by one goroutine, to be added to a histogram at once.
type tallied struct {
	counts [len(durationBounds) + 1]uint64
	micros int64
	last   time.Duration // what was observed last, in the bucket at
	at     int
}

// observe counts a value. What arrives together mostly took equally long, so the
// bucket is searched only when it did not.
func (t *tallied) observe(d time.Duration) {
	if d = max(0, d); d != t.last {
		t.last = d
		t.at, _ = slices.BinarySearch(durationBounds[:], float64(d)/float64(time.Millisecond))
	}
	t.counts[t.at]++
	t.micros += d.Microseconds()
}

func (h *histogram) add(t *tallied) {
	for i, n := range t.counts {
		if n > 0 {
			h.counts[i].Add(n)
		}
	}
	h.micros.Add(t.micros)
}

// appendMetrics appends the histogram as figures of that name.
func (h *histogram) appendMetrics(dst []leyline.Metric, name string) []leyline.Metric {
	var cumulative uint64
	for i := range h.counts {
		cumulative += h.counts[i].Load()
		dst = append(dst, leyline.Metric{
			Name: name + suffixBucket, Value: float64(cumulative), Unit: leyline.UnitCount, Attributes: boundAttributes[i],
		})
	}
	return append(dst,
		leyline.Metric{Name: name + suffixSum, Value: float64(h.micros.Load()) / 1000, Unit: leyline.UnitMillis},
		leyline.Metric{Name: name + suffixCount, Value: float64(cumulative), Unit: leyline.UnitCount},
	)
}

// boundAttributes are shared by all figures: they are only read.
var boundAttributes = func() (all [len(durationBounds) + 1]map[string]string) {
	for i := range all {
		bound := math.Inf(1)
		if i < len(durationBounds) {
			bound = durationBounds[i]
		}
		all[i] = map[string]string{attributeBound: strconv.FormatFloat(bound, 'g', -1, 64)}
	}
	return all
}()

// timedBus is the bus of the prefetch worker, with a clock on every message: how
// long it waited, and how long until it was answered. It costs two readings of
// the clock a batch and is safe for concurrent use.
type timedBus struct {
	*oona.Client
	wait, duration histogram
}

// Consume is that of the client, timed.
func (b *timedBus) Consume(ctx context.Context, sub oona.Subscription, h oona.Handler) error {
	return b.Client.Consume(ctx, sub, oona.HandlerFunc(func(ctx context.Context, batch []*oona.Message) []oona.Result {
		began := b.Now()
		results := h.Handle(ctx, batch)
		b.time(batch, results, began, b.Now())
		return results
	}))
}

// time counts a batch. What was not answered will come again.
func (b *timedBus) time(batch []*oona.Message, results []oona.Result, began, ended time.Time) {
	var wait, duration tallied
	for i, m := range batch {
		if i < len(results) && results[i].Err == nil {
			wait.observe(began.Sub(m.Arrival))
			duration.observe(ended.Sub(m.Arrival))
		}
	}
	b.wait.add(&wait)
	b.duration.add(&duration)
}

// AppendMetrics appends the histograms of wait and duration.
func (b *timedBus) AppendMetrics(dst []leyline.Metric) []leyline.Metric {
	dst = b.wait.appendMetrics(dst, figureWait)
	return b.duration.appendMetrics(dst, figureDuration)
}
