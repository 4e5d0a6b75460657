package oona_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/oona"
)

// TestSince: a follower begins with what was added at the time or later, and what
// was deleted before is no gap.
func TestSince(t *testing.T) {
	tests := []struct {
		name   string
		ages   []time.Duration // of the entries, the oldest first
		delete int             // so many of the oldest
		want   []string        // by their place in ages
	}{
		{name: "no stream"},
		{name: "all before", ages: []time.Duration{4 * time.Second, 3 * time.Second}},
		{name: "exactly then", ages: []time.Duration{3 * time.Second, 2 * time.Second}, want: []string{"1"}},
		{name: "some after", ages: []time.Duration{4 * time.Second, 3 * time.Second, time.Second, 0}, want: []string{"2", "3"}},
		{name: "all after", ages: []time.Duration{time.Second, 0}, want: []string{"0", "1"}},
		{name: "the older deleted", ages: []time.Duration{4 * time.Second, 3 * time.Second, time.Second}, delete: 2, want: []string{"2"}},
		{name: "some of the newer deleted too", ages: []time.Duration{3 * time.Second, time.Second, 0}, delete: 2, want: []string{"2"}},
		{name: "all deleted", ages: []time.Duration{time.Second, 0}, delete: 2},
	}
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "follower")
		stream := c.Streams().KernelReady
		for _, test := range tests {
			if err := rdb.Del(t.Context(), stream).Err(); err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			for i, age := range test.ages {
				publishReady(t, c, []string{fmt.Sprint(i)})
				redate(t, rdb, stream, now.Add(-age))
			}
			if test.delete > 0 {
				if err := rdb.XTrimMaxLen(t.Context(), stream, int64(len(test.ages)-test.delete)).Err(); err != nil {
					t.Fatal(err)
				}
			}
			cursor, err := c.Since(t.Context(), now.Add(-2*time.Second), stream)
			if err != nil {
				t.Fatal(err)
			}
			j := &journal{}
			stop := follow(t, c, oona.Following{From: cursor}, j)
			publishReady(t, c, []string{"last"})
			eventually(t, j.wants(append(test.want, "last")...))
			stop()
			if err := metricIs(c, "oona.gaps_total", 0); err != nil {
				t.Errorf("%s: %v, from %v", test.name, err, cursor)
			}
		}
	})
}

// redate gives the newest entry of a stream the id of another time.
func redate(t *testing.T, rdb *redis.Client, stream string, at time.Time) {
	t.Helper()
	newest, err := rdb.XRevRangeN(t.Context(), stream, "+", "-", 1).Result()
	if err != nil {
		t.Fatal(err)
	}
	all, err := rdb.XRange(t.Context(), stream, "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	pipe := rdb.TxPipeline()
	pipe.Del(t.Context(), stream)
	for _, e := range all[:len(all)-1] {
		pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, ID: e.ID, Values: e.Values})
	}
	pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, ID: fmt.Sprint(at.UnixMilli()) + "-0", Values: newest[0].Values})
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}
