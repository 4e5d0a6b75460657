package oona_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// A context whose deadline passes is a stop in order, and no trouble with Redis:
// neither in the log, nor in the figures, nor in what is returned.
func TestDeadlineIsNoOutage(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var log logLines
	client, err := oona.New(t.Context(), server.Client(), oona.Config{
		Codec: newCodec(t), Consumer: "a", Logger: slog.New(slog.NewJSONHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	streams := client.Streams()
	cursor, err := client.Tail(t.Context(), streams.Policy)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		var reading sync.WaitGroup
		reading.Go(func() {
			if err := client.Consume(ctx, oona.Subscription{Stream: streams.KernelRequests, Group: "g"}, answering()); err != nil {
				t.Error(err)
			}
		})
		reading.Go(func() {
			if err := client.Follow(ctx, oona.Following{From: cursor}, answering()); err != nil {
				t.Error(err)
			}
		})
		reading.Wait()
		cancel()
	}
	if line := log.line("bus is not available, retrying"); line != nil {
		t.Error(line)
	}
	if err := metricIs(client, "oona.bus_errors_total", 0); err != nil {
		t.Error(err)
	}
}
