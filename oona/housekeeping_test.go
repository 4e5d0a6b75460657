package oona_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// agedEntries adds n entries to a stream with ids from the given time on.
func agedEntries(t *testing.T, rdb *redis.Client, stream string, from time.Time, n int) {
	t.Helper()
	pipe := rdb.Pipeline()
	for i := range n {
		pipe.XAdd(t.Context(), &redis.XAddArgs{
			Stream: stream, ID: fmt.Sprintf("%d-%d", from.UnixMilli(), i+1), Values: []any{"payload", strconv.Itoa(i)},
		})
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// keepHouse runs rounds until the test says that it has seen enough.
func keepHouse(t *testing.T, c *oona.Client, enough func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Housekeep(ctx, oona.Housekeeping{Interval: 10 * time.Millisecond, Group: "weatherlight", ConsumerIdle: time.Millisecond}); err != nil {
			t.Errorf("housekeep: %v", err)
		}
	})
	defer wg.Wait()
	defer cancel()
	eventually(t, enough)
}

// TestTrimming: old work that is done goes, old work that is not stays, whoever's
// it is; answers go by age, policies by number, dead letters never.
func TestTrimming(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		s := c.Streams()
		old := time.Now().Add(-time.Hour)
		for _, stream := range s.All() {
			agedEntries(t, rdb, stream, old, 1000)
			agedEntries(t, rdb, stream, time.Now(), 10)
		}
		// Requests: everything was delivered, one entry is still pending.
		if err := rdb.XGroupCreate(t.Context(), s.KernelRequests, "weatherlight", "0").Err(); err != nil {
			t.Fatal(err)
		}
		read, err := rdb.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "weatherlight", Consumer: "x", Streams: []string{s.KernelRequests, ">"}, Count: 2000}).Result()
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range read[0].Messages {
			if i != 600 {
				rdb.XAck(t.Context(), s.KernelRequests, "weatherlight", m.ID)
			}
		}
		// Normal: a group that has read half of it.
		if err := rdb.XGroupCreate(t.Context(), s.Normal, "others", fmt.Sprintf("%d-500", old.UnixMilli())).Err(); err != nil {
			t.Fatal(err)
		}
		// At least so many stay, and, by whole nodes, at most a hundred more.
		want := map[string]int64{
			s.KernelRequests: 410, s.Normal: 510, s.Emergency: 10, s.KernelReady: 10, s.KernelErrors: 10,
			s.Telemetry: 10, s.Policy: 64, s.DeadLetter: 1010,
		}
		keepHouse(t, c, func() error {
			for stream, least := range want {
				if n := rdb.XLen(t.Context(), stream).Val(); n < least || n > least+100 {
					return fmt.Errorf("%s has %d entries, want %d", stream, n, least)
				}
			}
			return nil
		})
		if p := rdb.XPending(t.Context(), s.KernelRequests, "weatherlight").Val(); p.Count != 1 {
			t.Fatalf("%d pending", p.Count)
		}
		first := rdb.XRangeN(t.Context(), s.KernelRequests, read[0].Messages[600].ID, "+", 1).Val()
		if len(first) != 1 || first[0].ID != read[0].Messages[600].ID {
			t.Errorf("the pending entry is gone: %v", first)
		}
	})
}

// TestIdleConsumersAreRemoved: only those that hold nothing.
func TestIdleConsumersAreRemoved(t *testing.T) {
	rdb := redistest.Start(t).Client()
	c := newClient(t, rdb, "a")
	stream := c.Streams().KernelRequests
	agedEntries(t, rdb, stream, time.Now(), 1)
	if err := rdb.XGroupCreate(t.Context(), stream, "weatherlight", "0").Err(); err != nil {
		t.Fatal(err)
	}
	err := rdb.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "weatherlight", Consumer: "holds", Streams: []string{stream, ">"}}).Err()
	if err != nil {
		t.Fatal(err)
	}
	if err := rdb.XGroupCreateConsumer(t.Context(), stream, "weatherlight", "empty").Err(); err != nil {
		t.Fatal(err)
	}
	keepHouse(t, c, func() error {
		left := rdb.XInfoConsumers(t.Context(), stream, "weatherlight").Val()
		if len(left) != 1 || left[0].Name != "holds" {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
}
