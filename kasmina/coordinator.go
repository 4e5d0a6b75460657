package kasmina

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// Defaults of [CoordinatorConfig].
const (
	DefaultAnswerTimeout = 15 * time.Second
	DefaultMaxRequests   = 4
	DefaultMaxPending    = 1024
	DefaultMaxWaiting    = 65536
)

// ErrNoAnswer: every request for a kernel stayed without an answer.
var ErrNoAnswer = errors.New("kasmina: no answer")

// AnswerError is the library's answer that there is no kernel.
type AnswerError struct {
	BlueprintID string
	// Reason is missing_artifact, artifact_not_found, checksum_mismatch,
	// catalog_unavailable, artifact_unreadable or malformed_record, or one of a
	// newer service; infra/operations.md explains them.
	Reason string
}

// Error names blueprint and reason.
func (e *AnswerError) Error() string {
	return fmt.Sprintf("kasmina: no kernel for blueprint %q: %s", e.BlueprintID, e.Reason)
}

// CoordinatorConfig configures a [Coordinator].
type CoordinatorConfig struct {
	// Bus carries requests and answers. Required.
	Bus Bus
	// Cache loads and keeps kernels. Nil means one with the defaults of
	// [CacheConfig].
	Cache *Cache
	// AnswerTimeout is how long the first request for a kernel waits for its
	// answer; every further one waits twice as long as the one before. Time in
	// which the bus takes no request is not counted. Zero means
	// [DefaultAnswerTimeout].
	AnswerTimeout time.Duration
	// MaxRequests is how often a kernel is asked for, each time under a new
	// request id, before those who wait for it get [ErrNoAnswer]. Zero means
	// [DefaultMaxRequests].
	MaxRequests int
	// MaxPending bounds the blueprints that are asked for at the same time, and
	// MaxWaiting those who wait for them. At the bound Request fails with
	// [ErrFull]. Zero means [DefaultMaxPending] and [DefaultMaxWaiting].
	MaxPending, MaxWaiting int
	// Logger receives what an operator must know. Nil discards.
	Logger *slog.Logger
}

func (c CoordinatorConfig) withDefaults() (CoordinatorConfig, error) {
	if c.Bus == nil {
		return c, errors.New("kasmina: CoordinatorConfig.Bus is missing")
	}
	if c.AnswerTimeout < 0 || c.MaxRequests < 0 || c.MaxPending < 0 || c.MaxWaiting < 0 {
		return c, errors.New("kasmina: CoordinatorConfig with a negative setting")
	}
	if c.Cache == nil {
		cache, err := NewCache(CacheConfig{Logger: c.Logger})
		if err != nil {
			return c, err
		}
		c.Cache = cache
	}
	c.AnswerTimeout = cmp.Or(c.AnswerTimeout, DefaultAnswerTimeout)
	c.MaxRequests = cmp.Or(c.MaxRequests, DefaultMaxRequests)
	c.MaxPending = cmp.Or(c.MaxPending, DefaultMaxPending)
	c.MaxWaiting = cmp.Or(c.MaxWaiting, DefaultMaxWaiting)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Coordinator asks the library of the fleet for kernels, over the bus, and is the
// [Source] of a [Manager]. It is safe for concurrent use. [Coordinator.Run] does
// the work; requests made while it does not run wait for it.
//
// Whoever wants a blueprint that somebody else is already waiting for joins the
// request that is on its way, and a blueprint that is in the cache is not asked
// for. An answer counts only if its request id is one that this coordinator sent
// and still waits for: of all answers on the streams, most are for others.
type Coordinator struct {
	cfg    CoordinatorConfig
	counts coordinatorCounts
	trail  trail

	mu      sync.Mutex
	flights map[string]*flight // by blueprint
	asked   map[string]*flight // by the ids of their requests
	settled idRing             // ids that were asked for once
	waiting int                // in all flights
	crew    *crew              // nil while Run does not run
}

// crew are the goroutines of one Run.
type crew struct {
	ctx context.Context
	wg  sync.WaitGroup
}

// NewCoordinator returns a coordinator, or an error that says what is wrong with
// cfg.
func NewCoordinator(cfg CoordinatorConfig) (*Coordinator, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Coordinator{
		cfg:     cfg,
		flights: make(map[string]*flight),
		asked:   make(map[string]*flight),
		settled: newIDRing(settledIDs),
	}, nil
}

// Cache returns the cache that kernels are loaded into.
func (c *Coordinator) Cache() *Cache { return c.cfg.Cache }

// maxWantText bounds the ids of a request, in bytes.
const maxWantText = 1024

// Request asks for a kernel, as [Source] says. It fails with [ErrFull] at the
// bounds of the configuration, and for a blueprint without an id. done is called
// on a goroutine of Run, after those that asked earlier, or before Request
// returns where the kernel is in the cache; it should not block for long.
func (c *Coordinator) Request(want Want, done func(context.Context, *Kernel, error)) (cancel func() bool, err error) {
	for _, id := range []string{want.BlueprintID, want.TrainingRunID} {
		if len(id) > maxWantText || !utf8.ValidString(id) {
			return nil, fmt.Errorf("kasmina: request for %.60q: not a UTF-8 id of at most %d bytes", id, maxWantText)
		}
	}
	if want.BlueprintID == "" {
		return nil, errors.New("kasmina: request without a blueprint id")
	}
	w := &waiter{done}
	kernel, f, err := c.join(want, w)
	switch {
	case err != nil:
		return nil, err
	case kernel != nil:
		done(context.Background(), kernel, nil)
		return func() bool { return false }, nil
	}
	return func() bool { return c.leave(f, w) }, nil
}

// join returns the kernel, where it is there, or the flight that w waits on.
func (c *Coordinator) join(want Want, w *waiter) (*Kernel, *flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.flights[want.BlueprintID]
	if f == nil {
		if kernel, ok := c.cfg.Cache.Lookup(want.BlueprintID); ok {
			return kernel, nil, nil
		}
	}
	if c.waiting >= c.cfg.MaxWaiting {
		return nil, nil, fmt.Errorf("%w: %d wait for kernels", ErrFull, c.waiting)
	}
	if f != nil {
		c.counts.joined.Add(1)
	} else {
		if len(c.flights) >= c.cfg.MaxPending {
			return nil, nil, fmt.Errorf("%w: %d blueprints are asked for", ErrFull, len(c.flights))
		}
		f = newFlight(want)
		c.flights[want.BlueprintID] = f
		if c.crew != nil {
			c.startLocked(f)
		}
	}
	f.waiters = append(f.waiters, w)
	c.waiting++
	return nil, f, nil
}

// leave takes a waiter back; with the last one the flight ends.
func (c *Coordinator) leave(f *flight, w *waiter) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !f.remove(w) {
		return false
	}
	c.waiting--
	if len(f.waiters) == 0 {
		c.endLocked(f)
		if f.stop != nil {
			f.stop()
		}
	}
	return true
}

// Await asks for a kernel and blocks until it is there, ctx has ended, or it
// cannot be had. The caller releases the kernel. The error wraps ctx's cause, is
// an [*AnswerError], [ErrNoAnswer], [ErrFull], or that of loading it.
func (c *Coordinator) Await(ctx context.Context, want Want) (*Kernel, error) {
	type outcome struct {
		kernel *Kernel
		err    error
	}
	arrived := make(chan outcome, 1)
	var gone atomic.Bool // whoever sets it second has the kernel to release
	cancel, err := c.Request(want, func(_ context.Context, kernel *Kernel, err error) {
		arrived <- outcome{kernel, err}
		if gone.Swap(true) && kernel != nil {
			kernel.Release()
		}
	})
	if err != nil {
		return nil, err
	}
	select {
	case o := <-arrived:
		return o.kernel, o.err
	case <-ctx.Done():
		if !cancel() && gone.Swap(true) {
			if o := <-arrived; o.kernel != nil {
				o.kernel.Release()
			}
		}
		return nil, fmt.Errorf("kasmina: kernel of blueprint %q: %w", want.BlueprintID, context.Cause(ctx))
	}
}

// Run asks and receives until ctx ends, and then returns nil; while the bus is
// away it waits. Requests that are pending then stay pending, for another Run.
// Only one Run at a time: a second one fails.
func (c *Coordinator) Run(ctx context.Context) error {
	return c.RunReady(ctx, func() {})
}

// RunReady is [Coordinator.Run], and calls ready as soon as no answer can be
// missed any more.
func (c *Coordinator) RunReady(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	streams := c.cfg.Bus.Streams()
	cursor, err := c.trail.resume(ctx, c.cfg.Logger, func(ctx context.Context) (oona.Cursor, error) {
		return c.cfg.Bus.Tail(ctx, streams.KernelReady, streams.KernelErrors, streams.Emergency)
	})
	if err != nil {
		return nil // ctx ended
	}
	if err := c.muster(ctx); err != nil {
		return err
	}
	ready()
	err = c.cfg.Bus.Follow(ctx, oona.Following{
		From: cursor,
		Types: []pb.BusMessageType{
			pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_READY,
			pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_ERROR,
			pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_CATALOG_UPDATE,
		},
		Advance: c.trail.advance,
		OnGap:   func(oona.Gap) { c.counts.gaps.Add(1) },
	}, oona.HandlerFunc(c.receive))
	cancel()
	c.dismiss()
	return err
}

// muster starts whatever waits for this Run.
func (c *Coordinator) muster(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.crew != nil {
		return errors.New("kasmina: the coordinator runs already")
	}
	c.crew = &crew{ctx: ctx}
	for _, f := range c.flights {
		c.startLocked(f)
	}
	return nil
}

// dismiss waits until all goroutines of this Run have ended.
func (c *Coordinator) dismiss() {
	c.mu.Lock()
	crew := c.crew
	c.crew = nil
	c.mu.Unlock()
	crew.wg.Wait()
}
