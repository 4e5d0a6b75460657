package main

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
	"github.com/esper-lite/esper/weatherlight"
)

// TestTelemetryAfterAnOutage: when Redis is back, a packet says so at once, not
// when the next one is due: nobody takes the process for dead meanwhile.
func TestTelemetryAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := oonatest.New()
		defer bus.Close()
		faults := oonatest.NewFaults(bus.Dial)
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", MaxRetries: -1, Dialer: faults.Dial})
		defer func() { _ = rdb.Close() }()
		clean := bus.Redis()
		defer func() { _ = clean.Close() }()
		keys, err := leyline.NewKeyring(leyline.NewSecret(testSecret))
		if err != nil {
			t.Fatal(err)
		}
		codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		client, err := oona.New(t.Context(), rdb, oona.Config{Codec: codec})
		if err != nil {
			t.Fatal(err)
		}
		supervisor, err := weatherlight.New(weatherlight.Config{})
		if err != nil {
			t.Fatal(err)
		}
		reporter, err := weatherlight.NewReporter(weatherlight.ReporterConfig{
			Supervisor: supervisor, Publisher: packetPublisher{client}, Instance: "alpha-1", Interval: 10 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		worker := &telemetryWorker{reporter: reporter, bus: client, hold: time.Minute, log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = worker.Run(ctx) })

		time.Sleep(5 * time.Second)
		faults.Plan(func(int, string) oonatest.Fault { return oonatest.Fault{Kind: oonatest.BreakBefore} })
		time.Sleep(59 * time.Second)
		faults.Plan(nil)
		back := time.Now()
		time.Sleep(3 * time.Second) // the follower tries every two, ±25 %
		entries := clean.XRange(t.Context(), client.Streams().Telemetry, "-", "+").Val()
		if len(entries) != 8 {
			t.Errorf("%d packets, want one at the start, six that waited, and one at once", len(entries))
		}
		last, err := oona.ParseEntryID(entries[len(entries)-1].ID)
		if err != nil || last.Time().Before(back) {
			t.Errorf("the last packet came at %v, %v before Redis was back", last.Time(), back.Sub(last.Time()))
		}
		cancel()
		running.Wait()
	})
}
