package oona_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// readAs reads up to n entries as a consumer that never finishes them.
func readAs(t testing.TB, rdb *redis.Client, stream, consumer string, n int64) []redis.XMessage {
	t.Helper()
	_ = rdb.XGroupCreateMkStream(t.Context(), stream, "weatherlight", "0").Err() // it may be there
	streams, err := rdb.XReadGroup(t.Context(), &redis.XReadGroupArgs{
		Group: "weatherlight", Consumer: consumer, Streams: []string{stream, ">"}, Count: n, Block: -1,
	}).Result()
	if err != nil {
		t.Fatal(err)
	}
	return streams[0].Messages
}

func TestServesWhatADeadConsumerLeft(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		publish(t, c, requests(500)...)
		if got := readAs(t, rdb, c.Streams().KernelRequests, "dead", 500); len(got) != 500 {
			t.Fatalf("the dead consumer read %d entries", len(got))
		}
		consume(t, c, oona.Subscription{ReclaimIdle: time.Second}, answering())
		eventually(t, settled(t, rdb, c.Streams().KernelRequests, 500))
		oneEach(t, answers(t, rdb, c.Streams()), 500)
		if n := c.Refusals().Total(leyline.Replayed); n != 0 {
			t.Errorf("%d reclaimed entries were taken for replays", n)
		}
	})
}

// What was read and never arrived is pending under our own name: it is taken up
// at the start, without waiting until it is idle.
func TestTakesUpItsOwnPendingEntries(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		publish(t, c, requests(50)...)
		readAs(t, rdb, c.Streams().KernelRequests, "a", 30)
		consume(t, c, oona.Subscription{ReclaimIdle: time.Hour}, answering())
		eventually(t, settled(t, rdb, c.Streams().KernelRequests, 50))
		oneEach(t, answers(t, rdb, c.Streams()), 50)
	})
}

func TestTwoConsumersShare(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		a, b := newClient(t, rdb, "a"), newClient(t, rdb, "b")
		var byA, byB atomic.Int64
		var both sync.WaitGroup // until each has got something
		both.Add(2)
		counting := func(n *atomic.Int64) oona.Handler {
			return oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
				if n.Add(1) == 1 {
					both.Done()
				}
				both.Wait() // who holds a share meanwhile leaves the rest to the other
				return []proto.Message{&pb.KernelArtifactReady{RequestId: r.GetRequestId()}}, nil
			})
		}
		publish(t, a, requests(400)...)
		sub := oona.Subscription{Batch: 20, Workers: 2}
		consume(t, a, sub, counting(&byA))
		consume(t, b, sub, counting(&byB))
		eventually(t, settled(t, rdb, a.Streams().KernelRequests, 400))
		oneEach(t, answers(t, rdb, a.Streams()), 400)
		if byA.Load() == 0 || byB.Load() == 0 || byA.Load()+byB.Load() != 400 {
			t.Errorf("handled %d and %d, want 400 together", byA.Load(), byB.Load())
		}
	})
}

func TestOneConsumerPerStreamAndGroup(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stop := consume(t, c, oona.Subscription{}, answering())
		publish(t, c, request("req-0"))
		eventually(t, settled(t, rdb, c.Streams().KernelRequests, 1))
		sub := oona.Subscription{Stream: c.Streams().KernelRequests, Group: "weatherlight"}
		if err := c.Consume(t.Context(), sub, answering()); err == nil {
			t.Error("a second consumer of the same name was let in")
		}
		stop()
		consume(t, c, oona.Subscription{}, answering())
		publish(t, c, request("req-1"))
		eventually(t, settled(t, rdb, c.Streams().KernelRequests, 2))
	})
}

// A wrong key or a missing right is said at once, not retried for ever.
func TestConsumeFailsOnWhatIsNoStream(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		if err := rdb.Set(t.Context(), "text", "no stream", 0).Err(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := c.Consume(ctx, oona.Subscription{Stream: "text", Group: "g"}, answering()); err == nil {
			t.Error("consuming a string succeeded")
		}
	})
}

// An entry that somebody trimmed while it was pending is counted, and one that
// we hold is answered all the same.
func TestEntriesTrimmedWhilePending(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stream := c.Streams().KernelRequests
		publish(t, c, requests(3)...)
		left := readAs(t, rdb, stream, "dead", 2)
		started, release := make(chan struct{}), make(chan struct{})
		h := oona.Each(func(ctx context.Context, r *pb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
			close(started)
			<-release
			return []proto.Message{&pb.KernelArtifactReady{RequestId: r.GetRequestId()}}, nil
		})
		consume(t, c, oona.Subscription{ReclaimIdle: time.Hour}, h)
		<-started
		if err := rdb.XTrimMaxLen(t.Context(), stream, 0).Err(); err != nil {
			t.Fatal(err)
		}
		close(release)
		eventually(t, func() error { return onlyAnswer(t, rdb, c, "req-2") })

		var log lockedLog
		b, err := oona.New(t.Context(), rdb, oona.Config{Codec: newCodec(t), Consumer: "b", Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		consume(t, b, oona.Subscription{ReclaimIdle: time.Second}, answering())
		eventually(t, func() error { return metricIs(b, "oona.data_loss_total", float64(len(left))) })
		eventually(t, func() error { // it is logged after it is counted
			for _, e := range left {
				if !strings.Contains(log.String(), e.ID) {
					return fmt.Errorf("the log does not tell of %s:\n%s", e.ID, log.String())
				}
			}
			return nil
		})
	})
}

// lockedLog may be written and read at once.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
