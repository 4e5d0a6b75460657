package oona_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/oona"
)

// TestHandlersThatEndTheirGoroutine: that is a failure of the messages, and takes
// no worker away, however many do so.
func TestHandlersThatEndTheirGoroutine(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		publish(t, c, requests(20)...)
		var exits atomic.Int64
		h := oona.HandlerFunc(func(ctx context.Context, batch []*oona.Message) []oona.Result {
			if len(batch) > 1 || batch[0].Attempts == 1 {
				exits.Add(1)
				runtime.Goexit()
			}
			return answering().Handle(ctx, batch)
		})
		stop := consume(t, c, oona.Subscription{Workers: 2, RetryBase: time.Millisecond}, h)
		eventually(t, settled(t, rdb, c.Streams().KernelRequests, 20))
		eventually(t, func() error {
			if n := rdb.XLen(t.Context(), c.Streams().KernelReady).Val(); n != 20 {
				return fmt.Errorf("%d answers", n)
			}
			return nil
		})
		if exits.Load() < 3 {
			t.Errorf("%d handlers ended their goroutine; nothing was tested", exits.Load())
		}
		stop()
	})
}
