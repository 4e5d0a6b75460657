package oona_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// A consumer that stops under load finishes what runs and hands back the rest; a
// second one takes that at its next scan, long before it would be idle.
func TestStopUnderLoadHandsBack(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		a, b := newClient(t, rdb, "a"), newClient(t, rdb, "b")
		var handled atomic.Int64
		slow := oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
			handled.Add(1)
			time.Sleep(time.Millisecond)
			return []proto.Message{&pb.KernelArtifactReady{RequestId: r.GetRequestId()}}, nil
		})
		publish(t, a, requests(1000)...)
		sub := oona.Subscription{ReclaimIdle: 30 * time.Second}
		stop := consume(t, a, sub, slow)
		eventually(t, func() error {
			if handled.Load() < 50 {
				return fmt.Errorf("%d handled", handled.Load())
			}
			return nil
		})
		stop()
		if n := handled.Load(); n == 1000 {
			t.Fatal("the first consumer did everything; nothing was tested")
		}
		pending, err := rdb.XPending(t.Context(), a.Streams().KernelRequests, "weatherlight").Result()
		if err != nil || pending.Count == 0 {
			t.Fatalf("pending after the stop: %v, %v", pending, err)
		}
		if len(answers(t, rdb, a.Streams())) != int(handled.Load()) {
			t.Errorf("%d answers to %d handled", len(answers(t, rdb, a.Streams())), handled.Load())
		}
		consume(t, b, sub, answering())
		eventually(t, settled(t, rdb, a.Streams().KernelRequests, 1000))
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
