package oona_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
)

// aloneAndTogether runs a test with one message, which has a script of its own, and
// with a few, which are a batch: the same must become of both.
func aloneAndTogether(t *testing.T, test func(t *testing.T, rdb *redis.Client, n int)) {
	for _, n := range []int{1, 3} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			onBoth(t, func(t *testing.T, rdb *redis.Client) { test(t, rdb, n) })
		})
	}
}

// agedRequests are n requests, always the same, that were issued that long ago.
func agedRequests(n int, age time.Duration) []proto.Message {
	msgs := make([]proto.Message, n)
	for i := range msgs {
		msgs[i] = aged("req-"+strconv.Itoa(i), age)
	}
	return msgs
}

// A request is known whatever time its copy was issued, earlier or later.
func TestCopyIssuedAtAnotherTime(t *testing.T) {
	for _, ages := range [][2]time.Duration{{0, 58 * time.Second}, {58 * time.Second, 0}, {0, 30 * time.Second}, {30 * time.Second, 0}} {
		t.Run(fmt.Sprint(ages[0], " then ", ages[1]), func(t *testing.T) {
			aloneAndTogether(t, func(t *testing.T, rdb *redis.Client, n int) {
				c := newClient(t, rdb, "a")
				stream := c.Streams().KernelRequests
				for _, age := range ages {
					publish(t, c, agedRequests(n, age)...)
					stop := consume(t, c, oona.Subscription{}, answering())
					eventually(t, settled(t, rdb, stream, -1))
					stop()
				}
				oneEach(t, answers(t, rdb, c.Streams()), n)
				wantRefused(t, leyline.Replayed, uint64(n), c)
			})
		})
	}
}

// Where nonces were let go, nobody can tell whether a message was there before.
func TestIssuedBelowTheFloor(t *testing.T) {
	aloneAndTogether(t, func(t *testing.T, rdb *redis.Client, n int) {
		c := newClient(t, rdb, "a")
		publish(t, c, agedRequests(n, 0)...)
		future := time.Now().Add(time.Minute).UnixMilli() / (oona.MaxRetention / 19).Milliseconds()
		rdb.HSet(t.Context(), "oona:marks:weatherlight", "#floor", future)
		consume(t, c, oona.Subscription{}, answering())
		eventually(t, settled(t, rdb, c.Streams().KernelRequests, -1))
		wantRefused(t, leyline.Stale, uint64(n), c)
		oneEach(t, answers(t, rdb, c.Streams()), 0)
	})
}

// An answer that Redis refuses leaves its request as it was: pending, and not known.
func TestAnswerIsRefused(t *testing.T) {
	aloneAndTogether(t, func(t *testing.T, rdb *redis.Client, n int) {
		var log logLines
		c := clientWithWindow(t, rdb, leyline.DefaultWindow, &log)
		s := c.Streams()
		rdb.Set(t.Context(), s.KernelReady, "no stream", 0)
		publish(t, c, agedRequests(n, 0)...)
		consume(t, c, oona.Subscription{RetryBase: 50 * time.Millisecond}, answering())
		eventually(t, func() error {
			if log.line("could not write an answer or a dead letter, will try again") == nil {
				return fmt.Errorf("nothing is said about the answer")
			}
			return nil
		})
		if p := rdb.XPending(t.Context(), s.KernelRequests, "weatherlight").Val(); p == nil || p.Count != int64(n) {
			t.Errorf("pending: %+v, want %d", p, n)
		}
		rdb.Del(t.Context(), s.KernelReady)
		eventually(t, func() error { return metricIs(c, "oona.consume_total", float64(n)) })
		oneEach(t, answers(t, rdb, s), n)
	})
}
