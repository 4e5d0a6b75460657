package oona_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/oona"
)

// A consumer that stops under load finishes what runs and hands back the rest; a
// second one takes that at its next scan, long before it would be idle.
func TestStopUnderLoadHandsBack(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		a, b := newClient(t, rdb, "a"), newClient(t, rdb, "b")
		var handled calls
		publish(t, a, requests(1000)...)
		sub := oona.Subscription{ReclaimIdle: 30 * time.Second}
		stop := consume(t, a, sub, slow(10*time.Millisecond, &handled)) // all of it takes seconds
		eventually(t, func() error {
			if handled.count() < 50 {
				return fmt.Errorf("%d handled", handled.count())
			}
			return nil
		})
		stop()
		if n := handled.count(); n == 1000 {
			t.Fatal("the first consumer did everything; nothing was tested")
		}
		pending, err := rdb.XPending(t.Context(), a.Streams().KernelRequests, "weatherlight").Result()
		if err != nil || pending.Count == 0 {
			t.Fatalf("pending after the stop: %v, %v", pending, err)
		}
		if len(answers(t, rdb, a.Streams())) != handled.count() {
			t.Errorf("%d answers to %d handled", len(answers(t, rdb, a.Streams())), handled.count())
		}
		consume(t, b, sub, answering())
		eventuallyWithin(t, 30*time.Second, settled(t, rdb, a.Streams().KernelRequests, 1000)) // it scans every five
		oneEach(t, answers(t, rdb, a.Streams()), 1000)
	})
}

// A consumer without pending entries leaves no name behind.
func TestStopRemovesTheConsumer(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stop := consume(t, c, oona.Subscription{}, answering())
		publish(t, c, requests(10)...)
		eventually(t, settled(t, rdb, c.Streams().KernelRequests, 10))
		stop()
		got, err := rdb.XInfoConsumers(t.Context(), c.Streams().KernelRequests, "weatherlight").Result()
		if err != nil || len(got) != 0 {
			t.Errorf("consumers %v, %v", got, err)
		}
	})
}
