package oona_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

func TestServesWhatWasPublishedBeforeTheFirstStart(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		publish(t, c, requests(500)...)
		stop := consume(t, c, oona.Subscription{}, answering())
		eventually(t, settled(t, rdb, c.Streams().KernelRequests, 500))
		stop()
		oneEach(t, answers(t, rdb, c.Streams()), 500)
	})
}

func TestPoisonStopsNobodyElse(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		poison := poisonedEntries(t)
		good := requests(200)
		total := 0
		for i, msg := range good {
			publish(t, c, msg)
			total++
			if i%10 == 9 {
				add(t, rdb, c.Streams().KernelRequests, poison[i/10%len(poison)].fields)
				total++
			}
		}
		stop := consume(t, c, oona.Subscription{Types: []pb.BusMessageType{pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_REQUEST}}, answering())
		eventually(t, settled(t, rdb, c.Streams().KernelRequests, int64(total)))
		stop()
		oneEach(t, answers(t, rdb, c.Streams()), 200)
		want := make(map[leyline.Reason]uint64)
		for i := range 20 {
			want[poison[i%len(poison)].reason]++
		}
		eventually(t, func() error {
			got := make(map[leyline.Reason]uint64)
			for _, r := range c.Refusals().Snapshot() {
				got[r.Reason] += r.Count
			}
			if diff := cmp.Diff(want, got); diff != "" {
				return fmt.Errorf("refusals (-want +got):\n%s", diff)
			}
			return nil
		})
		var dead uint64
		for reason, n := range want {
			if reason.Authentic() {
				dead += n
			}
		}
		if n := rdb.XLen(t.Context(), c.Streams().DeadLetter).Val(); uint64(n) != dead {
			t.Errorf("%d dead letters, want %d", n, dead)
		}
	})
}

func TestReplayIsRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		publish(t, c, requests(3)...)
		entries, err := rdb.XRange(t.Context(), c.Streams().KernelRequests, "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		// Once in the same batch, and once after the first was served.
		add(t, rdb, c.Streams().KernelRequests, entries[0].Values)
		consume(t, c, oona.Subscription{}, answering())
		eventually(t, settled(t, rdb, c.Streams().KernelRequests, 4))
		add(t, rdb, c.Streams().KernelRequests, entries[1].Values)
		// Another message with the same id, issued at another time.
		publish(t, c, request("req-2"))
		eventually(t, settled(t, rdb, c.Streams().KernelRequests, 6))
		oneEach(t, answers(t, rdb, c.Streams()), 3)
		wantRefused(t, leyline.Replayed, 3, c)
	})
}

func TestFailedAttemptsAreRetriedThenDeadLettered(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		publish(t, c, requests(2)...)
		var calls atomic.Int64
		h := oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, m *oona.Message) ([]proto.Message, error) {
			if r.GetRequestId() == "req-1" {
				calls.Add(1)
				return nil, errors.New("no kernel today")
			}
			if m.Attempts == 0 {
				panic("first time")
			}
			return []proto.Message{&pb.KernelArtifactReady{RequestId: r.GetRequestId()}}, nil
		})
		consume(t, c, oona.Subscription{MaxAttempts: 3, RetryBase: 1, RetryMax: 1}, h)
		eventually(t, settled(t, rdb, c.Streams().KernelRequests, 2))
		oneEach(t, answers(t, rdb, c.Streams()), 1)
		if n := calls.Load(); n != 3 {
			t.Errorf("handler was called %d times, want 3", n)
		}
		dead, err := rdb.XRange(t.Context(), c.Streams().DeadLetter, "-", "+").Result()
		if err != nil || len(dead) != 1 {
			t.Fatalf("dead letters: %v, %v", dead, err)
		}
		original := rdb.XRange(t.Context(), c.Streams().KernelRequests, "-", "+").Val()[1]
		got := dead[0].Values
		for _, volatile := range []string{"first_failed_at_ms", "last_failed_at_ms"} {
			if got[volatile] == "" || got[volatile] == "0" {
				t.Errorf("%s is %v", volatile, got[volatile])
			}
			delete(got, volatile)
		}
		want := map[string]any{
			"payload": original.Values["payload"], "signature": original.Values["signature"],
			"reason": "attempts_exhausted", "error": "no kernel today", "attempts": "3", "deliveries": "1",
			"stream": c.Streams().KernelRequests, "group": "weatherlight", "entry_id": original.ID, "consumer": "a",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("dead letter (-want +got):\n%s", diff)
		}
		if n := rdb.HLen(t.Context(), "oona:failures:weatherlight:"+c.Streams().KernelRequests).Val(); n != 0 {
			t.Errorf("%d failure records left", n)
		}
	})
}
