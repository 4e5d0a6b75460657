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

// TestDepthAfterARestartOfRedis: Redis counts too little as read by a group when
// it loads its append-only file, and so tells of a lag that there is not.
func TestDepthAfterARestartOfRedis(t *testing.T) {
	rdb := realRedis(t)
	c := newClient(t, rdb, "a")
	stream := c.Streams().KernelRequests
	publish(t, c, requests(200)...)
	for _, at := range []struct {
		last    string // what was delivered last
		read    int    // what Redis counts as read
		waiting int64
	}{{"$", 10, 0}, {"0", 0, 200}} {
		err := rdb.Do(t.Context(), "xgroup", "create", stream, "g", at.last, "entriesread", at.read).Err()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Sample(t.Context()); err != nil {
			t.Fatal(err)
		}
		queues, err := c.Queues(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range queues {
			if q.Stream == stream && q.Waiting() != at.waiting {
				t.Errorf("after %s %d wait, want %d", at.last, q.Waiting(), at.waiting)
			}
		}
		if n := c.Depth(stream).Waiting; n != at.waiting {
			t.Errorf("after %s the depth is %d, want %d", at.last, n, at.waiting)
		}
		if err := rdb.XGroupDestroy(t.Context(), stream, "g").Err(); err != nil {
			t.Fatal(err)
		}
	}
}
