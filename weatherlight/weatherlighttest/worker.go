package weatherlighttest

import (
	"context"
	"runtime"
	"sync"
)

// life is one call of a worker's method, for an order to act on.
type life struct {
	ready, beat func()
	ended       bool
	err         error
}

// order is what a test tells a worker to do.
type order func(*life)

// Worker is a worker that runs until its context ends or the test makes it end.
// Use [NewWorker]. The methods that tell it what to do block until a life of the
// worker has taken the order: the present one, or the next one.
type Worker struct {
	orders  chan order
	release chan struct{} // closed: ends lives that ignore their context

	mu       sync.Mutex
	lives    int
	cause    error
	stubborn bool
}

// NewWorker returns a worker.
func NewWorker() *Worker {
	return &Worker{orders: make(chan order), release: make(chan struct{})}
}

// Run is what the supervisor calls. When ctx ends it returns ctx.Err().
func (w *Worker) Run(ctx context.Context) error { return w.run(ctx, &life{}) }

func (w *Worker) run(ctx context.Context, l *life) error {
	w.mu.Lock()
	w.lives++
	w.mu.Unlock()
	for !l.ended {
		select {
		case do := <-w.orders:
			do(l)
		case <-ctx.Done():
			return w.stop(ctx)
		}
	}
	return l.err
}

func (w *Worker) stop(ctx context.Context) error {
	w.mu.Lock()
	w.cause = context.Cause(ctx)
	stubborn := w.stubborn
	w.mu.Unlock()
	if stubborn {
		<-w.release
	}
	return ctx.Err()
}

// carryOut waits until a life has done what it is told.
func (w *Worker) carryOut(do order) {
	done := make(chan struct{})
	w.orders <- func(l *life) {
		do(l)
		close(done)
	}
	<-done
}

// Return makes the worker return err.
func (w *Worker) Return(err error) {
	w.orders <- func(l *life) { l.ended, l.err = true, err }
}

// Panic makes the worker panic with value.
func (w *Worker) Panic(value any) { w.orders <- func(*life) { panic(value) } }

// Goexit makes the worker call [runtime.Goexit].
func (w *Worker) Goexit() { w.orders <- func(*life) { runtime.Goexit() } }

// IgnoreStop makes the worker stay when its context ends, until [Worker.Release].
func (w *Worker) IgnoreStop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stubborn = true
}

// Release lets all lives go that have stayed, and those to come. It may be
// called once.
func (w *Worker) Release() { close(w.release) }

// Lives returns how often Run was called.
func (w *Worker) Lives() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lives
}

// Cause returns why the context of the latest life to be stopped has ended, nil
// if none was.
func (w *Worker) Cause() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cause
}

// ReadyWorker is a [Worker] that is ready when the test says so, in each life
// anew. Use [NewReadyWorker].
type ReadyWorker struct{ *Worker }

// NewReadyWorker returns a worker that is not ready.
func NewReadyWorker() *ReadyWorker { return &ReadyWorker{NewWorker()} }

// Ready makes the worker say that it is ready, and returns when it has.
func (w *ReadyWorker) Ready() { w.carryOut(func(l *life) { l.ready() }) }

// RunReady is what the supervisor calls.
func (w *ReadyWorker) RunReady(ctx context.Context, ready func()) error {
	return w.run(ctx, &life{ready: ready})
}

// BeatingWorker is a [ReadyWorker] that beats when the test says so. Use
// [NewBeatingWorker].
type BeatingWorker struct{ *ReadyWorker }

// NewBeatingWorker returns a worker that is not ready and does not beat.
func NewBeatingWorker() *BeatingWorker { return &BeatingWorker{NewReadyWorker()} }

// Beat makes the worker beat, and returns when it has.
func (w *BeatingWorker) Beat() { w.carryOut(func(l *life) { l.beat() }) }

// RunBeating is what the supervisor calls.
func (w *BeatingWorker) RunBeating(ctx context.Context, ready, beat func()) error {
	return w.run(ctx, &life{ready: ready, beat: beat})
}
