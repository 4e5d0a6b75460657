package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/thejerf/suture/v4"

	"github.com/esper-lite/esper/weatherlight"
)

// body is a worker, the same for both.
type body struct {
	name string
	run  func(ctx context.Context) error
}

// Run is for weatherlight.
func (b *body) Run(ctx context.Context) error { return b.run(ctx) }

// Serve is for suture.
func (b *body) Serve(ctx context.Context) error { return b.run(ctx) }

// String spares suture the default name, which is costly.
func (b *body) String() string { return b.name }

// tree is a supervisor under test. Workers are restarted without any delay,
// however often they fail.
type tree interface {
	add(b *body) error
	// start runs the tree until ctx ends; the function waits for that.
	start(ctx context.Context) (wait func() error)
	// list lists the workers and returns how many there are.
	list() int
}

// contender makes trees.
type contender struct {
	name string
	// make returns an empty tree.
	make func() (tree, error)
	// cautious returns an empty tree that backs off for the given time after a
	// few failures, as it does by default; suture stops restarting anybody then.
	cautious func(backoff time.Duration) (tree, error)
}

func contenders() []contender {
	return []contender{
		{"ours", func() (tree, error) { return newOurs(nil) }, newCautiousOurs},
		{"suture", func() (tree, error) { return newSuture(suture.Spec{FailureThreshold: 1e18}), nil }, newCautiousSuture},
	}
}

type ours struct {
	*weatherlight.Supervisor
	backoff func(name string) weatherlight.Backoff
	workers []weatherlight.WorkerStatus
}

func newOurs(backoff func(name string) weatherlight.Backoff) (tree, error) {
	s, err := weatherlight.New(weatherlight.Config{})
	return &ours{Supervisor: s, backoff: backoff}, err
}

func newCautiousOurs(backoff time.Duration) (tree, error) {
	return newOurs(func(name string) weatherlight.Backoff {
		if name == innocent {
			return weatherlight.Backoff{Initial: weatherlight.AtOnce}
		}
		return weatherlight.Backoff{Initial: backoff, Max: backoff, Jitter: -1}
	})
}

func (o *ours) add(b *body) error {
	spec := weatherlight.Spec{Name: b.name, Worker: b, Backoff: weatherlight.Backoff{Initial: weatherlight.AtOnce}}
	if o.backoff != nil {
		spec.Backoff = o.backoff(b.name)
	}
	_, err := o.Add(spec)
	return err
}

func (o *ours) start(ctx context.Context) func() error {
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	return func() error { return <-done }
}

func (o *ours) list() int {
	o.workers = o.AppendWorkers(o.workers[:0])
	return len(o.workers)
}

type sutureTree struct{ *suture.Supervisor }

func newSuture(spec suture.Spec) tree {
	spec.EventHook = func(suture.Event) {}
	return sutureTree{suture.New("bench", spec)}
}

func newCautiousSuture(backoff time.Duration) (tree, error) {
	return newSuture(suture.Spec{FailureBackoff: backoff, BackoffJitter: suture.NoJitter{}}), nil
}

func (s sutureTree) add(b *body) error {
	s.Add(b)
	return nil
}

func (s sutureTree) start(ctx context.Context) func() error {
	done := s.ServeBackground(ctx)
	return func() error {
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("suture: %w", err)
		}
		return nil
	}
}

func (s sutureTree) list() int { return len(s.Services()) }
