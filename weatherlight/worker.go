package weatherlight

import "context"

// A Worker is a long-running activity. It needs to know nothing of this
// package: a type of any package with this method fits.
//
// Run does its work until ctx ends, and then returns as soon as it can; what it
// returns then is not a failure, whatever it is. What it means when Run returns
// before ctx ends is up to [Spec.Restart]. [context.Cause] of ctx is a [*Cause].
// A worker that is restarted gets another call of Run, after the one before has
// returned or was given up (see [Spec.StopTimeout]).
//
// A worker may offer more, with one of two further methods. They are found by
// assertion and called instead of Run, which such a type has all the same; their
// parameters are plain, so that nobody has to import this package to have them:
//
//	RunReady(ctx context.Context, ready func()) error
//	RunBeating(ctx context.Context, ready, beat func()) error
//
// A worker with one of them is ready when it has called ready (from any
// goroutine; further calls do nothing), others as soon as they are started.
// Workers that name it in [Spec.After] wait for that. The second one also
// promises to call beat (from any goroutine, as often as it likes, it costs
// nanoseconds) at least every [Spec.Heartbeat]; ready counts as a beat. A
// [BeatingFunc] has it.
//
// A [*Supervisor] is a Worker.
type Worker interface {
	Run(ctx context.Context) error
}

// WorkerFunc is a function as a [Worker].
type WorkerFunc func(ctx context.Context) error

// Run calls f.
func (f WorkerFunc) Run(ctx context.Context) error { return f(ctx) }

// BeatingFunc is a function as a [Worker] that says when it is ready and that it
// is not stuck. A method of any type with these parameters is one:
//
//	weatherlight.Spec{Name: "importer", Worker: weatherlight.BeatingFunc(i.run), Heartbeat: time.Minute}
//
// Without a [Spec.Heartbeat] it may call ready only.
type BeatingFunc func(ctx context.Context, ready, beat func()) error

// Run calls f, whose ready and beat then tell nobody.
func (f BeatingFunc) Run(ctx context.Context) error { return f(ctx, func() {}, func() {}) }

// RunBeating calls f.
func (f BeatingFunc) RunBeating(ctx context.Context, ready, beat func()) error {
	return f(ctx, ready, beat)
}

// readyWorker and beatingWorker are what a Worker may be besides.
type (
	readyWorker interface {
		RunReady(ctx context.Context, ready func()) error
	}
	beatingWorker interface {
		RunBeating(ctx context.Context, ready, beat func()) error
	}
)

// isNil reports whether w is nil, or one of this package that has nothing to call.
// A nil of another type may be a good worker.
func isNil(w Worker) bool {
	switch w := w.(type) {
	case nil:
		return true
	case WorkerFunc:
		return w == nil
	case BeatingFunc:
		return w == nil
	case *Supervisor:
		return w == nil
	}
	return false
}

// saysReady reports whether w says itself when it is ready.
func saysReady(w Worker) bool {
	switch w.(type) {
	case readyWorker, beatingWorker:
		return true
	}
	return false
}
