package kasmina

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/sethvargo/go-retry"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// flight is a blueprint that is being asked for. It is in Coordinator.flights
// from the first waiter until it lands, or the last waiter left. Coordinator.mu
// guards it, but for what says otherwise.
type flight struct {
	want    Want
	since   time.Time
	waiters []*waiter
	ids     []string // of the requests that were sent
	stop    func()   // ends its goroutine; nil before that was started
	ended   bool
	// outdated is set when the library announced a change meanwhile: the
	// answer may be the one from before.
	outdated bool

	answers  chan answer // one place; the receiver never blocks on it
	requests int         // sent so far; its goroutine's own
}

// waiter is one who wants the kernel.
type waiter struct {
	done func(context.Context, *Kernel, error)
}

// answer is what the library said: an artifact, or a reason why there is none.
type answer struct {
	artifact Artifact
	reason   string
}

func newFlight(want Want) *flight {
	return &flight{want: want, since: time.Now(), answers: make(chan answer, 1)}
}

func (f *flight) remove(w *waiter) bool {
	i := slices.Index(f.waiters, w)
	if i < 0 {
		return false
	}
	f.waiters = slices.Delete(f.waiters, i, i+1)
	return true
}

// startLocked gives a flight its goroutine in the present crew.
func (c *Coordinator) startLocked(f *flight) {
	ctx, stop := context.WithCancel(c.crew.ctx)
	f.stop = stop
	c.crew.wg.Go(func() {
		defer stop()
		kernel, err := c.obtain(ctx, f)
		if ctx.Err() == nil {
			c.land(ctx, f, kernel, err)
			return
		}
		// Nobody waits any more, or another Run goes on.
		if kernel != nil {
			kernel.Release()
		}
	})
}

// endLocked forgets a flight; answers to its requests are duplicates from now on.
func (c *Coordinator) endLocked(f *flight) {
	f.ended = true
	delete(c.flights, f.want.BlueprintID)
	for _, id := range f.ids {
		delete(c.asked, id)
		c.settled.add(id)
	}
}

// land hands out what became of a flight.
func (c *Coordinator) land(ctx context.Context, f *flight, kernel *Kernel, err error) {
	c.mu.Lock()
	var waiters []*waiter
	if !f.ended {
		c.endLocked(f)
		waiters, f.waiters = f.waiters, nil
		c.waiting -= len(waiters)
		if f.outdated {
			c.cfg.Cache.Expire(f.want.BlueprintID)
		}
	}
	c.mu.Unlock()
	c.counts.latency.Store(int64(time.Since(f.since)))
	for _, w := range waiters {
		if err != nil {
			w.done(ctx, nil, err)
			continue
		}
		w.done(ctx, kernel.Retain(), nil)
	}
	if err == nil {
		kernel.Release()
	}
}

// errLost is a request that got no answer in its time.
var errLost = errors.New("kasmina: answer lost")

// errAgain is an answer that is not the last word.
var errAgain = errors.New("kasmina: ask again")

// obtain asks until there is a kernel, or no hope for one.
func (c *Coordinator) obtain(ctx context.Context, f *flight) (*Kernel, error) {
	last := ErrNoAnswer
	for f.requests < c.cfg.MaxRequests {
		timeout := doubled(c.cfg.AnswerTimeout, f.requests)
		a, err := c.ask(ctx, f, timeout)
		var kernel *Kernel
		if err == nil {
			kernel, err = c.take(ctx, f, a)
		}
		switch {
		case ctx.Err() != nil && err != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, errLost):
			c.counts.lost.Add(1)
			c.cfg.Logger.WarnContext(ctx, "no answer to a request for a kernel", "blueprint_id", f.want.BlueprintID, "waited", timeout)
		case errors.Is(err, errAgain):
			last = err
			if err := pause(ctx, doubled(againAfter, f.requests-1)); err != nil {
				return nil, err
			}
		default:
			return kernel, err
		}
	}
	return nil, fmt.Errorf("%w after %d requests for blueprint %q", last, f.requests, f.want.BlueprintID)
}

// againAfter is how long a transient error is left alone the first time.
const againAfter = time.Second

// doubled returns d doubled n times, as long as it is below an hour.
func doubled(d time.Duration, n int) time.Duration {
	const most = time.Hour
	for ; n > 0 && d < most; n-- {
		d *= 2
	}
	return d
}

// reasonUnavailable is the one reason that passes by itself.
const reasonUnavailable = "catalog_unavailable"

// take turns an answer into a kernel.
func (c *Coordinator) take(ctx context.Context, f *flight, a answer) (*Kernel, error) {
	if a.reason != "" {
		err := &AnswerError{BlueprintID: f.want.BlueprintID, Reason: a.reason}
		if a.reason == reasonUnavailable {
			return nil, fmt.Errorf("%w: %w", errAgain, err)
		}
		return nil, err
	}
	kernel, err := c.cfg.Cache.Load(ctx, a.artifact)
	if (err != nil || kernel.Fallback()) && c.outdated(f) {
		// The library put another file in its place since it answered.
		if err == nil {
			err = kernel.Cause()
			kernel.Release()
		}
		return nil, fmt.Errorf("%w: %w", errAgain, err)
	}
	return kernel, err
}

// outdated reports, once, whether a change was announced since the last request.
func (c *Coordinator) outdated(f *flight) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := f.outdated
	f.outdated = false
	return was
}

// ask sends one request and waits for an answer to any request of the flight.
func (c *Coordinator) ask(ctx context.Context, f *flight, timeout time.Duration) (answer, error) {
	request := &pb.KernelPrefetchRequest{
		RequestId:     "prefetch-" + uuid.NewString(),
		BlueprintId:   f.want.BlueprintID,
		TrainingRunId: f.want.TrainingRunID,
	}
	// Before it is sent: the answer may be quicker than the reply of the bus.
	if !c.expect(f, request.RequestId) {
		return answer{}, context.Canceled
	}
	f.requests++
	a, answered, err := c.send(ctx, f, request)
	if answered || err != nil {
		return a, err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case a := <-f.answers:
		return a, nil
	case <-timer.C:
		return answer{}, errLost
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
}

// expect notes the id of a request, and reports whether the flight still needs it.
func (c *Coordinator) expect(f *flight, id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.ended {
		return false
	}
	f.ids = append(f.ids, id)
	c.asked[id] = f
	return true
}

// send publishes a request, and again while the bus is away. Its id is a nonce, so
// a second copy of a request whose reply was lost is refused and does no harm. An
// answer may come first.
func (c *Coordinator) send(ctx context.Context, f *flight, request *pb.KernelPrefetchRequest) (answer, bool, error) {
	backoff := retry.WithJitterPercent(25, retry.WithCappedDuration(2*time.Second, retry.NewExponential(100*time.Millisecond)))
	for {
		request.IssuedAt = timestamppb.New(c.cfg.Bus.Now())
		_, err := c.cfg.Bus.Publish(ctx, request)
		if err == nil {
			c.counts.requests.Add(1)
			return answer{}, false, nil
		}
		if ctx.Err() != nil {
			return answer{}, false, context.Cause(ctx)
		}
		if leyline.ReasonOf(err) != "" {
			return answer{}, false, fmt.Errorf("kasmina: request for blueprint %q: %w", f.want.BlueprintID, err)
		}
		c.counts.publishErrors.Add(1)
		wait, _ := backoff.Next()
		select {
		case a := <-f.answers:
			return a, true, nil
		case <-time.After(wait):
		case <-ctx.Done():
			return answer{}, false, context.Cause(ctx)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
