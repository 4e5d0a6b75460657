package oona_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// A group that is deleted is made anew at the start of the stream. What was
// answered is known by its nonce; what was not, is answered.
func TestLostGroup(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stream := c.Streams().KernelRequests
		publish(t, c, requests(100)...)
		stop := consume(t, c, oona.Subscription{}, answering())
		eventually(t, settled(t, rdb, stream, 100))
		stop()
		for i := 100; i < 150; i++ {
			publish(t, c, request(fmt.Sprintf("req-%d", i)))
		}
		consume(t, c, oona.Subscription{}, answering())
		eventually(t, settled(t, rdb, stream, 150))
		if err := rdb.XGroupDestroy(t.Context(), stream, "weatherlight").Err(); err != nil {
			t.Fatal(err)
		}
		for i := 150; i < 200; i++ {
			publish(t, c, request(fmt.Sprintf("req-%d", i)))
		}
		eventually(t, settled(t, rdb, stream, 200))
		oneEach(t, answers(t, rdb, c.Streams()), 200)
		if n := c.Refusals().Total(leyline.Replayed); n != 0 {
			t.Errorf("%d messages were taken for replays", n)
		}
	})
}

func TestLostStream(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stream := c.Streams().KernelRequests
		consume(t, c, oona.Subscription{}, answering())
		publish(t, c, requests(50)...)
		eventually(t, settled(t, rdb, stream, 50))
		if err := rdb.Del(t.Context(), stream).Err(); err != nil {
			t.Fatal(err)
		}
		for i := 50; i < 100; i++ {
			publish(t, c, request(fmt.Sprintf("req-%d", i)))
		}
		eventually(t, settled(t, rdb, stream, 50))
		oneEach(t, answers(t, rdb, c.Streams()), 100)
	})
}

// Redis is killed and comes back, several times, while messages are published
// and consumed. Whoever publishes asks again when it does not know whether it
// succeeded: the nonce tells.
func TestRedisRestartsUnderLoad(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	connect := func(name string) *oona.Client {
		c, err := oona.Connect(t.Context(), oona.Config{URL: server.URL(), Codec: newCodec(t), Consumer: name})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	a, b, publisher := connect("a"), connect("b"), connect("p")
	sub := oona.Subscription{ReclaimIdle: time.Second, Batch: 32}
	consume(t, a, sub, answering())
	consume(t, b, sub, answering())
	const n = 2000
	var wg sync.WaitGroup
	wg.Go(func() {
		for start := 0; start < n; start += 20 {
			var msgs []proto.Message
			for i := start; i < start+20; i++ {
				msgs = append(msgs, request(fmt.Sprintf("req-%d", i)))
			}
			publishUntilSure(t, publisher, msgs)
		}
	})
	for range 3 {
		pause(t, 300*time.Millisecond)
		server.Kill()
		pause(t, 200*time.Millisecond)
		server.Restart()
	}
	wg.Wait()
	eventuallyWithin(t, 30*time.Second, func() error {
		if got := len(answers(t, rdb, a.Streams())); got != n {
			return fmt.Errorf("%d of %d answered", got, n)
		}
		return nil
	})
	oneEach(t, answers(t, rdb, a.Streams()), n)
}

// publishUntilSure publishes the same messages until it knows that it did.
func publishUntilSure(t testing.TB, c *oona.Client, msgs []proto.Message) {
	for {
		_, err := c.Publish(t.Context(), msgs...)
		if err == nil {
			return
		}
		if t.Context().Err() != nil {
			t.Error(err)
			return
		}
		pause(t, 50*time.Millisecond)
	}
}

// pause lets d pass on the wall clock, for tests with processes of their own.
func pause(t testing.TB, d time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
}
