package oona_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/oona"
)

// TestQueues: what waits is told for each group, with the age of the oldest,
// whether or not it was delivered already.
func TestQueues(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stream := c.Streams().KernelRequests
		at := time.UnixMilli(1_758_801_600_000)
		group := func(name, from string) {
			if err := rdb.XGroupCreateMkStream(t.Context(), stream, name, from).Err(); err != nil {
				t.Fatal(err)
			}
		}
		group("busy", "0")
		group("idle", "0")
		for i := range 5 {
			id := oona.EntryID{Ms: uint64(at.UnixMilli() + int64(i)*1000)}.String()
			if err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, ID: id, Values: []string{"payload", "x"}}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		group("done", "$")
		read, err := rdb.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "busy", Consumer: "c", Streams: []string{stream, ">"}, Count: 3}).Result()
		if err != nil {
			t.Fatal(err)
		}
		if err := rdb.XAck(t.Context(), stream, "busy", read[0].Messages[0].ID).Err(); err != nil {
			t.Fatal(err)
		}
		queues, err := c.Queues(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]oona.Queue)
		for _, q := range queues {
			if q.Stream == stream {
				got[q.Group] = q
			} else if diff := cmp.Diff(oona.Queue{Stream: q.Stream}, q); diff != "" {
				t.Errorf("a stream that nobody uses (-want +got):\n%s", diff)
			}
		}
		want := map[string]oona.Queue{
			"busy": {Stream: stream, Group: "busy", Undelivered: 2, Pending: 2, Oldest: at.Add(time.Second), Consumers: 1, Length: 5},
			"idle": {Stream: stream, Group: "idle", Undelivered: 5, Oldest: at, Length: 5},
			"done": {Stream: stream, Group: "done", Length: 5},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("queues (-want +got):\n%s", diff)
		}
		if n := got["busy"].Waiting(); n != 4 {
			t.Errorf("%d wait", n)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Queues(gone); err == nil {
			t.Error("no error, though nobody was asked")
		}
	})
}
