package weatherlight_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/weatherlight"
)

// Two workers, one after the other, and a context that ends when the work is
// done.
func Example() {
	supervisor, err := weatherlight.New(weatherlight.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	for _, spec := range []weatherlight.Spec{
		{
			Name:  "consumer",
			After: []string{"store"},
			Worker: weatherlight.WorkerFunc(func(ctx context.Context) error {
				fmt.Println("consumer: up, the store is ready")
				cancel() // in a service: a signal
				<-ctx.Done()
				fmt.Println("consumer: down for", context.Cause(ctx))
				return nil
			}),
		},
		{Name: "store", Worker: store{}},
	} {
		if _, err := supervisor.Add(spec); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println("error:", supervisor.Run(ctx))
	// Output:
	// store: open
	// consumer: up, the store is ready
	// consumer: down for weatherlight: shutdown
	// store: closed
	// error: <nil>
}

// store says when it is ready.
type store struct{}

func (s store) Run(ctx context.Context) error { return s.RunReady(ctx, func() {}) }

func (store) RunReady(ctx context.Context, ready func()) error {
	fmt.Println("store: open")
	ready()
	<-ctx.Done()
	fmt.Println("store: closed")
	return nil
}

// A worker that is silent for longer than it promised is restarted.
func ExampleBeatingFunc() {
	supervisor, err := weatherlight.New(weatherlight.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	hung := false
	handle, err := supervisor.Add(weatherlight.Spec{
		Name: "poller",
		Worker: weatherlight.BeatingFunc(func(ctx context.Context, ready, beat func()) error {
			if !hung {
				hung = true
				<-ctx.Done() // a call that does not come back, were it not for ctx
				return ctx.Err()
			}
			ready()
			for range 3 {
				beat() // after each piece of work
			}
			cancel()
			<-ctx.Done()
			return nil
		}),
		Heartbeat: 20 * time.Millisecond,
		Backoff:   weatherlight.Backoff{Initial: weatherlight.AtOnce},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(supervisor.Run(ctx), handle.Status().LastFailure.Err)
	// Output: <nil> weatherlight: no heartbeat for 20ms
}

// A worker that fails is restarted, here at once and at most twice a minute; the
// third time ends the supervisor.
func ExampleLimit() {
	supervisor, err := weatherlight.New(weatherlight.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = supervisor.Add(weatherlight.Spec{
		Name:    "flaky",
		Worker:  weatherlight.WorkerFunc(func(context.Context) error { return errors.New("no luck") }),
		Backoff: weatherlight.Backoff{Initial: weatherlight.AtOnce},
		Limit:   weatherlight.Limit{Failures: 2},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = supervisor.Run(context.Background())
	if escalation, ok := errors.AsType[*weatherlight.EscalationError](err); ok {
		fmt.Println(escalation.Worker, "failed", len(escalation.Failures), "times")
	}
	fmt.Println(err)
	// Output:
	// flaky failed 3 times
	// weatherlight: flaky failed more than 2 times within 1m0s: no luck; no luck; no luck
}

// Workers that cannot do without each other go into a supervisor of their own,
// which restarts all of them when one fails.
func ExampleSupervisor_nested() {
	outer, err := weatherlight.New(weatherlight.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	pair, err := weatherlight.New(weatherlight.Config{Strategy: weatherlight.OneForAll})
	if err != nil {
		fmt.Println(err)
		return
	}
	wait := weatherlight.WorkerFunc(func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	})
	for _, add := range []struct {
		to   *weatherlight.Supervisor
		spec weatherlight.Spec
	}{
		{pair, weatherlight.Spec{Name: "reader", Worker: wait}},
		{pair, weatherlight.Spec{Name: "writer", Worker: wait}},
		{outer, weatherlight.Spec{Name: "log", Worker: wait}},
		{outer, weatherlight.Spec{Name: "pair", Worker: pair, After: []string{"log"}}},
	} {
		if _, err := add.to.Add(add.spec); err != nil {
			fmt.Println(err)
			return
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	err = outer.RunReady(ctx, func() {
		for _, w := range outer.AppendWorkers(nil) {
			fmt.Println(w.Name, "is", w.State)
		}
		cancel()
	})
	fmt.Println(err)
	// Output:
	// log is running
	// pair is running
	// pair/reader is running
	// pair/writer is running
	// <nil>
}

// Events are logged by a goroutine that the supervisor does not wait for.
func ExampleLogEvents() {
	supervisor, err := weatherlight.New(weatherlight.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	lives := 0
	_, err = supervisor.Add(weatherlight.Spec{
		Name:    "worker",
		Backoff: weatherlight.Backoff{Initial: time.Millisecond, Jitter: -1},
		Worker: weatherlight.WorkerFunc(func(ctx context.Context) error {
			if lives++; lives == 1 {
				return errors.New("connection lost")
			}
			cancel()
			<-ctx.Done()
			return nil
		}),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))

	events, unsubscribe := supervisor.Subscribe(1024)
	var logged sync.WaitGroup
	logged.Go(func() { weatherlight.LogEvents(events, log) })
	if err := supervisor.Run(ctx); err != nil {
		fmt.Println(err)
	}
	unsubscribe()
	logged.Wait()
	// Unordered output:
	// level=INFO msg="supervisor booted"
	// level=WARN msg="worker failed" worker=worker error="connection lost" backoff=1ms
	// level=INFO msg="worker ready again" worker=worker
	// level=INFO msg="supervisor shutting down"
	// level=INFO msg="supervisor shutdown"
}

// printer publishes packets by printing them, and says that it did.
type printer struct{ printed func() }

func (p printer) Publish(_ context.Context, packet *leylinepb.TelemetryPacket, priority leylinepb.MessagePriority) error {
	fmt.Println(packet.GetSystemHealth().GetSummary(), "with priority", priority)
	for _, m := range packet.GetMetrics() {
		if m.GetName() == "demo.temperature" {
			fmt.Println(m.GetName(), m.GetValue(), m.GetUnit())
		}
	}
	p.printed()
	return nil
}

// thermometer is a part of the process that has figures.
type thermometer struct{}

func (thermometer) AppendMetrics(dst []leyline.Metric) []leyline.Metric {
	return append(dst, leyline.Metric{Name: "demo.temperature", Value: 21, Unit: "celsius"})
}

// A reporter is one of the workers that it reports on. What it is to report the
// end of comes after it.
func ExampleNewReporter() {
	supervisor, err := weatherlight.New(weatherlight.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	reporter, err := weatherlight.NewReporter(weatherlight.ReporterConfig{
		Supervisor: supervisor,
		Publisher:  printer{cancel}, // in a service: a signal
		Instance:   "host-boot",
		Sources:    []weatherlight.Source{thermometer{}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := supervisor.Add(weatherlight.Spec{Name: "telemetry", Worker: reporter}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(supervisor.Run(ctx))
	// Output:
	// steady with priority MESSAGE_PRIORITY_NORMAL
	// demo.temperature 21 celsius
	// shutdown with priority MESSAGE_PRIORITY_NORMAL
	// demo.temperature 21 celsius
	// <nil>
}

// A worker can be restarted, stopped and removed while the others run.
func ExampleHandle() {
	supervisor, err := weatherlight.New(weatherlight.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	handle, err := supervisor.Add(weatherlight.Spec{
		Name: "worker",
		Worker: weatherlight.WorkerFunc(func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		}),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := supervisor.Run(ctx); err != nil {
			fmt.Println(err)
		}
	})
	for _, step := range []func(context.Context) error{
		handle.WaitReady, handle.Restart, handle.Stop, handle.Restart, handle.WaitReady,
	} {
		if err := step(ctx); err != nil {
			fmt.Println(err)
		}
		fmt.Println(handle.Status().State, "after", handle.Status().Restarts, "restarts")
	}
	fmt.Println(handle.Remove(ctx), supervisor.Snapshot().Workers)
	cancel()
	running.Wait()
	// Output:
	// running after 0 restarts
	// running after 1 restarts
	// stopped after 1 restarts
	// running after 1 restarts
	// running after 1 restarts
	// <nil> 0
}
