package urza

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// Bus is what a [PrefetchWorker] reads; *oona.Client satisfies it.
type Bus interface {
	Streams() oona.Streams
	Consume(ctx context.Context, sub oona.Subscription, h oona.Handler) error
}

// Answerer answers one request; *[Library] and *[Prefetcher] satisfy it. It fails
// only where there is no answer yet.
type Answerer interface {
	Answer(ctx context.Context, request *leylinepb.KernelPrefetchRequest) (proto.Message, error)
}

// PrefetchConfig configures a [PrefetchWorker].
type PrefetchConfig struct {
	// Group is the consumer group that shares the requests. Required.
	Group string
	// MaxAttempts, HandlerTimeout, ReclaimIdle, DrainTimeout and TTL are those
	// of [oona.Subscription]; zero means its defaults.
	MaxAttempts    int
	HandlerTimeout time.Duration
	ReclaimIdle    time.Duration
	DrainTimeout   time.Duration
	TTL            time.Duration
}

// PrefetchWorker serves the kernel requests on the bus: those on their own
// stream, and those that a producer in its conservative mode put on the
// emergency stream. It is a worker for a supervisor.
type PrefetchWorker struct {
	answers Answerer
	bus     Bus
	cfg     PrefetchConfig
}

// NewPrefetchWorker returns a worker that answers from answers.
func NewPrefetchWorker(answers Answerer, bus Bus, cfg PrefetchConfig) *PrefetchWorker {
	return &PrefetchWorker{answers, bus, cfg}
}

// Run serves until ctx ends, and then returns nil once what it was doing is
// committed or handed back.
func (w *PrefetchWorker) Run(ctx context.Context) error { return w.RunReady(ctx, func() {}) }

// RunReady is Run that calls ready when both streams are being read.
func (w *PrefetchWorker) RunReady(ctx context.Context, ready func()) error {
	streams := w.bus.Streams()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var begun atomic.Int32
	var reading sync.WaitGroup
	errs := make([]error, 2)
	for i, sub := range []oona.Subscription{
		{Stream: streams.KernelRequests, Others: oona.DeadLetterOthers},
		{Stream: streams.Emergency, Others: oona.AcknowledgeOthers},
	} {
		sub = w.subscription(sub)
		sub.Ready = func() {
			if begun.Add(1) == int32(len(errs)) {
				ready()
			}
		}
		reading.Go(func() {
			defer stop() // one stream alone is half a service
			errs[i] = w.bus.Consume(ctx, sub, w)
		})
	}
	reading.Wait()
	return errors.Join(errs...)
}

func (w *PrefetchWorker) subscription(sub oona.Subscription) oona.Subscription {
	sub.Group = w.cfg.Group
	sub.Types = []leylinepb.BusMessageType{leylinepb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_REQUEST}
	sub.MaxAttempts, sub.HandlerTimeout = w.cfg.MaxAttempts, w.cfg.HandlerTimeout
	sub.ReclaimIdle, sub.DrainTimeout, sub.TTL = w.cfg.ReclaimIdle, w.cfg.DrainTimeout, w.cfg.TTL
	return sub
}

// patience is how long a batch waits for artifacts that are being hashed, and
// askAgain when a request that was not answered by then comes back. So a large
// artifact holds up nobody but those who ask for it, and they wait in memory for
// the one hash that is under way.
const (
	patience = 50 * time.Millisecond
	askAgain = 100 * time.Millisecond
)

// Handle answers a batch of requests; see [oona.Handler].
func (w *PrefetchWorker) Handle(ctx context.Context, batch []*oona.Message) []oona.Result {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	results := make([]oona.Result, len(batch))
	for i, m := range batch {
		request, _ := m.Body.(*leylinepb.KernelPrefetchRequest)
		answer, err := w.answers.Answer(waiting, request)
		switch {
		case err == nil:
			results[i].Answers = []proto.Message{answer}
		case waiting.Err() != nil && ctx.Err() == nil:
			results[i].Err = oona.RetryAfter(askAgain)
		default:
			results[i].Err = err
		}
	}
	return results
}
