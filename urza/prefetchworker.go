package urza

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// DefaultPrefetchObjective is the latency that a prefetch request is to stay
// below.
const DefaultPrefetchObjective = 200 * time.Millisecond

// Bus is what a [PrefetchWorker] reads; *oona.Client satisfies it.
type Bus interface {
	Streams() oona.Streams
	Consume(ctx context.Context, sub oona.Subscription, h oona.Handler) error
}

// Answerer answers one request; *[Library] satisfies it. It fails only where
// there is no answer yet. It is called from several goroutines at once.
//
// Where it also has the method AnswerKnown of [Library], that is asked first, for
// one request after the other, and Answer only where it reports false.
type Answerer interface {
	Answer(ctx context.Context, request *leylinepb.KernelPrefetchRequest) (proto.Message, error)
}

// knower answers what needs no waiting into memory of the caller's.
type knower interface {
	AnswerKnown(request *leylinepb.KernelPrefetchRequest, answer *leylinepb.KernelArtifactReady) bool
}

// knowsNothing is for an [Answerer] without that method.
type knowsNothing struct{}

func (knowsNothing) AnswerKnown(*leylinepb.KernelPrefetchRequest, *leylinepb.KernelArtifactReady) bool {
	return false
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
	// Objective is the latency that 95 of 100 requests are to stay below, for
	// the SLO figures. Zero means [DefaultPrefetchObjective].
	Objective time.Duration
}

// PrefetchWorker serves the kernel requests on the bus: those on their own
// stream, and those that a producer in its conservative mode put on the
// emergency stream. It is a worker for a supervisor.
type PrefetchWorker struct {
	answers Answerer
	known   knower
	bus     Bus
	cfg     PrefetchConfig

	count   prefetchCounters
	latency latencies
}

// NewPrefetchWorker returns a worker that answers from answers.
func NewPrefetchWorker(answers Answerer, bus Bus, cfg PrefetchConfig) *PrefetchWorker {
	cfg.Objective = cmp.Or(cfg.Objective, DefaultPrefetchObjective)
	known, ok := answers.(knower)
	if !ok {
		known = knowsNothing{}
	}
	return &PrefetchWorker{answers: answers, known: known, bus: bus, cfg: cfg}
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

var errPatience = errors.New("urza: artifact is still being verified")

// Handle answers a batch of requests; see [oona.Handler]. What is known is
// answered at once, one after the other; the rest, which may have to be waited
// for, side by side.
func (w *PrefetchWorker) Handle(ctx context.Context, batch []*oona.Message) []oona.Result {
	results := make([]oona.Result, len(batch))
	if rest := w.answerAllKnown(batch, results); len(rest) > 0 {
		w.answerAll(ctx, batch, results, rest)
	}
	return results
}

// answerAll answers those messages of a batch whose indexes are given.
func (w *PrefetchWorker) answerAll(ctx context.Context, batch []*oona.Message, results []oona.Result, indexes []int) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errPatience)
	defer cancel()
	var wg sync.WaitGroup
	for _, i := range indexes[1:] {
		wg.Go(func() { results[i] = w.answer(ctx, batch[i]) })
	}
	results[indexes[0]] = w.answer(ctx, batch[indexes[0]])
	wg.Wait()
}

func (w *PrefetchWorker) answer(ctx context.Context, m *oona.Message) (result oona.Result) {
	defer keepPanic(&result)
	request, ok := m.Body.(*leylinepb.KernelPrefetchRequest)
	if !ok {
		return oona.Result{Err: oona.DeadLetter(fmt.Errorf("%w: %T", leyline.UnexpectedType, m.Body))}
	}
	start := time.Now()
	answer, err := w.answers.Answer(ctx, request)
	switch {
	case errors.Is(err, errPatience):
		return oona.Result{Err: oona.RetryAfter(askAgain)}
	case err != nil:
		return oona.Result{Err: err}
	}
	w.count.answered(answer)
	w.latency.add(time.Since(start))
	return oona.Result{Answers: []proto.Message{answer}}
}

// keepPanic turns a panic into the failure of one message. The bus cannot: the
// goroutine may be ours, and the other messages of the batch are fine.
func keepPanic(result *oona.Result) {
	if v := recover(); v != nil {
		*result = oona.Result{Err: fmt.Errorf("urza: panic: %v\n%s", v, debug.Stack())}
	}
}
