// Custom-worker keeps two workers of its own up with the Supervisor alone: no
// Redis, no settings. The importer starts when the cache is ready. Its first life
// ends in a panic, its second one hangs and misses its heartbeat; the cache notices
// nothing of either. The third one does the job. They are stopped in reverse order.
//
//	cache     started
//	cache     ready
//	importer  started
//	importer  ready
//	importer  failed: panic: line 3 is empty
//	importer  started
//	importer  ready
//	importer  stopping: weatherlight: no heartbeat
//	importer  failed: weatherlight: no heartbeat for 250ms
//	importer  started
//	importer  ready
//	importer  stopping: weatherlight: shutdown
//	importer  stopped
//	cache     stopping: weatherlight: shutdown
//	cache     stopped
package main

import (
	"context"
	"fmt"
	"log"
	"os/signal"
	"syscall"
	"time"

	"github.com/esper-lite/esper/weatherlight"
)

// cache is a worker that says when it is ready: the supervisor finds RunReady and
// calls it instead of Run.
type cache struct{}

func (c cache) Run(ctx context.Context) error { return c.RunReady(ctx, func() {}) }

func (cache) RunReady(ctx context.Context, ready func()) error {
	time.Sleep(20 * time.Millisecond) // it warms up
	ready()
	<-ctx.Done()
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	supervisor, err := weatherlight.New(weatherlight.Config{ShutdownTimeout: 5 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	for _, spec := range []weatherlight.Spec{
		{Name: "cache", Worker: cache{}},
		{
			Name:      "importer",
			Worker:    weatherlight.BeatingFunc((&importer{done: stop}).run),
			Heartbeat: 250 * time.Millisecond, // how long it may be silent
			After:     []string{"cache"},
			Backoff:   weatherlight.Backoff{Initial: 50 * time.Millisecond},
		},
	} {
		if _, err := supervisor.Add(spec); err != nil {
			log.Fatal(err)
		}
	}
	events, unsubscribe := supervisor.Subscribe(100)
	err = supervisor.Run(ctx) // blocks until everything has stopped
	unsubscribe()
	for event := range events {
		show(event)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func show(event weatherlight.Event) {
	switch {
	case event.Worker == "": // the supervisor itself
	case event.Err != nil:
		fmt.Printf("%-9s %v: %v\n", event.Worker, event.Kind, event.Err)
	default:
		fmt.Printf("%-9s %v\n", event.Worker, event.Kind)
	}
}
