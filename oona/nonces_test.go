package oona_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// maxNonceBytes is what a nonce may take in Redis.
const maxNonceBytes = 120

// A replay is refused after many other messages, and each of these takes no more
// than 120 bytes of Redis: 20,000 of them, or OONA_TEST_NONCES.
func TestReplayAfterManyNonces(t *testing.T) {
	n := 20_000
	if text := os.Getenv("OONA_TEST_NONCES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	rdb := realRedis(t)
	c, err := oona.New(t.Context(), rdb, oona.Config{Codec: newCodec(t), Consumer: "a", MaxQueueDepth: int64(2 * max(n, oona.DefaultMaxQueueDepth))})
	if err != nil {
		t.Fatal(err)
	}
	stream := c.Streams().KernelRequests
	publish(t, c, request("the one"))
	recorded := rdb.XRange(t.Context(), stream, "-", "+").Val()
	consume(t, c, oona.Subscription{}, answering())
	const batch = 1000
	for done := 0; done < n; done += batch {
		msgs := make([]proto.Message, min(batch, n-done))
		for i := range msgs {
			msgs[i] = request(uuid.NewString())
		}
		publish(t, c, msgs...)
	}
	eventuallyWithin(t, 10*time.Minute, settled(t, rdb, stream, int64(n)+1))

	var held, bytes int64
	keys, err := rdb.Keys(t.Context(), "oona:nonces:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		held += rdb.HLen(t.Context(), key).Val()
		bytes += rdb.MemoryUsage(t.Context(), key, 0).Val() // 0 means all of it
	}
	each := float64(bytes) / float64(held)
	t.Logf("%d nonces of 36 characters, %.1f bytes each", held, each)
	if each > maxNonceBytes {
		t.Errorf("a nonce takes %.1f bytes, want at most %d", each, maxNonceBytes)
	}
	if held == 0 || n <= 20_000 && held != int64(n)+1 {
		t.Errorf("%d nonces are held after %d messages", held, n+1)
	}

	add(t, rdb, stream, recorded[0].Values)
	eventually(t, settled(t, rdb, stream, int64(n)+2))
	eventually(t, func() error {
		refused := c.Refusals().Total(leyline.Replayed) + c.Refusals().Total(leyline.Stale) // if it took a minute
		return wrongCount("refusals", int64(refused), 1)
	})
	if got := rdb.XLen(t.Context(), c.Streams().KernelReady).Val(); got != int64(n)+1 {
		t.Errorf("%d answers to %d requests", got, n+1)
	}
}

// A handler that failed after its nonce was claimed gets its message again, in
// this process or in another one, and that is no replay.
func TestRetryOfAClaimIsNoReplay(t *testing.T) { onBoth(t, testRetryOfAClaim) }

func testRetryOfAClaim(t *testing.T, rdb *redis.Client) {
	a, b := newClient(t, rdb, "a"), newClient(t, rdb, "b")
	stream := a.Streams().KernelRequests
	sub := oona.Subscription{ClaimFirst: true, MaxAttempts: 10, RetryBase: 1, RetryMax: 1, ReclaimIdle: time.Second}
	var failed atomic.Int64
	publish(t, a, requests(20)...)
	// In one process every message fails; it stops with all of them claimed.
	failing := oona.Each(func(context.Context, *pb.KernelPrefetchRequest, *oona.Message) ([]proto.Message, error) {
		failed.Add(1)
		return nil, oona.RetryAfter(time.Hour)
	})
	stop := consume(t, a, sub, failing)
	eventually(t, func() error { return wrongCount("failures", failed.Load(), 20) })
	stop()
	// The other one fails each once more, and then answers.
	consume(t, b, sub, oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, m *oona.Message) ([]proto.Message, error) {
		if m.Attempts == 0 {
			return nil, errors.New("not yet")
		}
		return []proto.Message{&pb.KernelArtifactReady{RequestId: r.GetRequestId()}}, nil
	}))
	eventually(t, settled(t, rdb, stream, 20))
	oneEach(t, answers(t, rdb, a.Streams()), 20)
	wantRefused(t, leyline.Replayed, 0, a, b)
}

// wrongCount returns nil where a count is as wanted.
func wrongCount(what string, got, want int64) error {
	if got == want {
		return nil
	}
	return fmt.Errorf("%d %s, want %d", got, what, want)
}
