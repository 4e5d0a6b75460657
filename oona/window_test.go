package oona_test

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
)

// clientWithWindow is newClient with another freshness window.
func clientWithWindow(t *testing.T, rdb redis.UniversalClient, window time.Duration, log *logLines) *oona.Client {
	t.Helper()
	guard, err := leyline.NewGuard(leyline.GuardConfig{Window: window})
	if err != nil {
		t.Fatal(err)
	}
	c, err := oona.New(t.Context(), rdb, oona.Config{
		Codec: newCodec(t), Consumer: "a", Guard: guard, Logger: slog.New(slog.NewJSONHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The freshness window may be changed from one start to the next, either way: what
// waits is served, what was served is still known, and nobody speaks of the clock.
func TestWindowIsChanged(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		var log logLines
		served := int64(0)
		for i, window := range []time.Duration{time.Minute, 20 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Second, 10 * time.Minute, time.Minute} {
			c := clientWithWindow(t, rdb, window, &log)
			publish(t, c, request("waits-"+strconv.Itoa(i)))
			stop := consume(t, c, oona.Subscription{}, answering())
			served++
			eventually(t, settled(t, rdb, c.Streams().KernelRequests, -1))
			if n := rdb.XLen(t.Context(), c.Streams().KernelReady).Val(); n != served {
				t.Fatalf("window %v: %d answers, want %d", window, n, served)
			}
			// All that was served before, once more.
			for j := range i + 1 {
				again := request("waits-" + strconv.Itoa(j))
				again.IssuedAt = timestamppb.New(time.Now().Add(-time.Second))
				publish(t, c, again)
			}
			eventually(t, settled(t, rdb, c.Streams().KernelRequests, -1))
			eventually(t, func() error { return metricIs(c, "oona.refused.replayed", float64(i+1)) })
			stop()
			if n := rdb.XLen(t.Context(), c.Streams().KernelReady).Val(); n != served {
				t.Fatalf("window %v: %d answers, want %d", window, n, served)
			}
		}
		if line := log.line("the clock of redis was put back: messages issued before this moment may be refused as stale"); line != nil {
			t.Error(line)
		}
	})
}

// Nonces are not kept for longer than is said.
func TestWindowIsTooLong(t *testing.T) {
	for window, ok := range map[time.Duration]bool{
		oona.MaxRetention - leyline.DefaultClockSkew:     true,
		oona.MaxRetention - leyline.DefaultClockSkew + 1: false,
	} {
		guard, err := leyline.NewGuard(leyline.GuardConfig{Window: window})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // Redis is not reached
		_, err = oona.Connect(ctx, oona.Config{URL: "redis://127.0.0.1:1", Codec: newCodec(t), Guard: guard})
		if err == nil || strings.Contains(err.Error(), "nonces are kept") == ok {
			t.Errorf("window %v: %v", window, err)
		}
	}
}
