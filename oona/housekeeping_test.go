package oona_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/oona"
)

func housekeeper(t testing.TB, c *oona.Client, cfg oona.Housekeeping) *oona.Housekeeper {
	t.Helper()
	if cfg.Group == "" {
		cfg.Group = "weatherlight"
	}
	h, err := c.Housekeeper(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func sweep(t testing.TB, h *oona.Housekeeper) {
	t.Helper()
	if err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// fillAged adds n entries, the first that old and the last new.
func fillAged(t testing.TB, rdb redis.UniversalClient, stream string, n int, oldest time.Duration) {
	t.Helper()
	step := oldest / time.Duration(n-1)
	pipe := rdb.Pipeline()
	for i := range n {
		pipe.XAdd(t.Context(), &redis.XAddArgs{
			Stream: stream, ID: agedID(oldest - time.Duration(i)*step), Values: map[string]any{"bootstrap": strconv.Itoa(i)},
		})
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// left returns what is left of the entries of fillAged.
func left(t testing.TB, rdb redis.UniversalClient, stream string) (first, n int) {
	t.Helper()
	entries, err := rdb.XRange(t.Context(), stream, "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) == 0 {
		return -1, 0
	}
	first, _ = strconv.Atoi(entries[0].Values["bootstrap"].(string))
	return first, len(entries)
}

// Each stream is trimmed as the table of the design says.
func TestTrimming(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		s := c.Streams()
		h := housekeeper(t, c, oona.Housekeeping{})
		sweep(t, h) // nothing is there yet
		for _, stream := range s.All() {
			fillAged(t, rdb, stream, 301, 5*time.Hour) // a minute apart, 285 of them older than 15 minutes
		}
		sweep(t, h)
		type rest struct{ First, Length int }
		check := func(want map[string]rest) {
			t.Helper()
			for stream, want := range want {
				first, n := left(t, rdb, stream)
				if got := (rest{first, n}); got.Length < want.Length-1 || got.Length > want.Length || got.First < want.First || got.First > want.First+1 {
					t.Errorf("%s: %+v left, want %+v or one less", stream, got, want)
				}
			}
		}
		check(map[string]rest{
			s.KernelRequests: {0, 301}, s.Emergency: {0, 301}, // nobody has read them yet
			s.Normal: {285, 16}, s.KernelReady: {285, 16}, s.KernelErrors: {285, 16}, s.Telemetry: {285, 16},
			s.Policy: {237, 64}, s.DeadLetter: {0, 301},
		})
		// A group that has read 100, of which it finished all but one.
		pending := readAs(t, rdb, s.KernelRequests, "dead", 100)
		for i, e := range pending {
			if i != 60 {
				rdb.XAck(t.Context(), s.KernelRequests, "weatherlight", e.ID)
			}
		}
		sweep(t, h)
		check(map[string]rest{s.KernelRequests: {60, 241}})
		rdb.XAck(t.Context(), s.KernelRequests, "weatherlight", pending[60].ID)
		sweep(t, h)
		check(map[string]rest{s.KernelRequests: {100, 201}})
		// A second group is further behind; then it is further ahead.
		rdb.XGroupCreate(t.Context(), s.KernelRequests, "nissa", pending[99].ID)
		for _, e := range readAs(t, rdb, s.KernelRequests, "dead", 500) {
			rdb.XAck(t.Context(), s.KernelRequests, "weatherlight", e.ID)
		}
		sweep(t, h)
		check(map[string]rest{s.KernelRequests: {100, 201}})
		rdb.XGroupDestroy(t.Context(), s.KernelRequests, "nissa")
		sweep(t, h)
		check(map[string]rest{s.KernelRequests: {285, 16}})
		// Normal messages stay for the groups that there are.
		rdb.XGroupCreate(t.Context(), s.Normal, "nissa", "0")
		rdb.XTrimMaxLen(t.Context(), s.Normal, 0)
		fillAged(t, rdb, "other", 2, time.Hour)
		sweep(t, h)
		check(map[string]rest{"other": {0, 2}})
	})
}

// Nothing that anybody still needs is trimmed while it is consumed.
func TestTrimmingDuringConsumption(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		h := housekeeper(t, c, oona.Housekeeping{Retentions: []oona.Retention{
			{Stream: c.Streams().KernelRequests, Age: 1, Unfinished: true, Group: "weatherlight"},
		}})
		consume(t, c, oona.Subscription{Batch: 10}, answering())
		for start := 0; start < 1000; start += 50 {
			for i := start; i < start+50; i++ {
				publish(t, c, request("req-"+strconv.Itoa(i)))
			}
			sweep(t, h)
		}
		eventually(t, func() error { return metricIs(c, "oona.consume_total", 1000) })
		sweep(t, h)
		oneEach(t, answers(t, rdb, c.Streams()), 1000)
		if n := rdb.XLen(t.Context(), c.Streams().KernelRequests).Val(); n > 1 {
			t.Errorf("%d entries left", n)
		}
	})
}

// Ids that are ahead of the clock do not make a stream grow for ever.
func TestTrimmingAheadOfTheClock(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		s := c.Streams()
		for _, stream := range []string{s.KernelRequests, s.KernelReady} {
			addAt(t, rdb, stream, "9223372036854775807-1", map[string]any{"bootstrap": "0"})
			for i := range 50 {
				add(t, rdb, stream, map[string]any{"bootstrap": strconv.Itoa(i + 1)})
			}
		}
		for i, e := range readAs(t, rdb, s.KernelRequests, "x", 40) {
			if i != 30 {
				rdb.XAck(t.Context(), s.KernelRequests, "weatherlight", e.ID)
			}
		}
		sweep(t, housekeeper(t, c, oona.Housekeeping{}))
		if first, n := left(t, rdb, s.KernelRequests); first != 30 || n != 21 {
			t.Errorf("requests: %d left from %d on, want 21 from 30 on", n, first)
		}
		if _, n := left(t, rdb, s.KernelReady); n != 51 {
			t.Errorf("answers: %d left, want all 51", n)
		}
	})
}

func TestRemovesConsumersThatAreGone(t *testing.T) {
	t.Parallel()
	const idle = 5 * time.Second // long enough for the new one to be new when it is looked at
	rdb := realRedis(t)
	c := newClient(t, rdb, "a")
	stream := c.Streams().KernelRequests
	publish(t, c, requests(2)...)
	readAs(t, rdb, stream, "holds something", 1)
	for _, name := range []string{"gone", "also gone"} {
		rdb.XGroupCreateConsumer(t.Context(), stream, "weatherlight", name)
	}
	eventuallyWithin(t, 30*time.Second, func() error {
		for _, c := range rdb.XInfoConsumers(t.Context(), stream, "weatherlight").Val() {
			if c.Idle <= idle {
				return fmt.Errorf("%s is idle for %v", c.Name, c.Idle)
			}
		}
		return nil
	})
	rdb.XGroupCreateConsumer(t.Context(), stream, "weatherlight", "new")
	sweep(t, housekeeper(t, c, oona.Housekeeping{ConsumerIdle: idle}))
	var got []string
	for _, c := range rdb.XInfoConsumers(t.Context(), stream, "weatherlight").Val() {
		got = append(got, c.Name)
	}
	if diff := cmp.Diff([]string{"holds something", "new"}, got); diff != "" {
		t.Errorf("consumers (-want +got):\n%s", diff)
	}
	if err := metricIs(c, "oona.consumers_removed_total", 2); err != nil {
		t.Error(err)
	}
}

// A group that nobody reads any more is reported; one that is merely slow is not.
func TestReportsWhatBlocksTrimming(t *testing.T) {
	rdb := realRedis(t)
	c := newClient(t, rdb, "a")
	s := c.Streams()
	fillAged(t, rdb, s.Normal, 10, time.Hour)
	rdb.XGroupCreate(t.Context(), s.Normal, "slow", "0")
	rdb.XGroupCreateConsumer(t.Context(), s.Normal, "slow", "alive")
	sweep(t, housekeeper(t, c, oona.Housekeeping{}))
	if err := metricIs(c, "oona.blocked_streams", 0); err != nil {
		t.Error(err)
	}
	pause(t, 30*time.Millisecond)
	h := housekeeper(t, c, oona.Housekeeping{ConsumerIdle: 20 * time.Millisecond})
	sweep(t, h)
	if err := metricIs(c, "oona.blocked_streams", 1); err != nil {
		t.Error(err)
	}
	if _, n := left(t, rdb, s.Normal); n != 10 {
		t.Errorf("%d left, want 10", n)
	}
	rdb.XGroupDestroy(t.Context(), s.Normal, "slow")
	sweep(t, h)
	sweep(t, h)
	if err := metricIs(c, "oona.blocked_streams", 0); err != nil {
		t.Error(err)
	}
}

// What somebody else deletes before a group has read it is counted once.
func TestCountsUnreadEntriesThatWereDeleted(t *testing.T) {
	rdb := realRedis(t)
	c := newClient(t, rdb, "a")
	stream := c.Streams().KernelRequests
	h := housekeeper(t, c, oona.Housekeeping{})
	publish(t, c, requests(20)...)
	for _, e := range readAs(t, rdb, stream, "x", 5) {
		rdb.XAck(t.Context(), stream, "weatherlight", e.ID)
	}
	sweep(t, h)
	if err := metricIs(c, "oona.data_loss_total", 0); err != nil {
		t.Error(err)
	}
	rdb.XTrimMaxLen(t.Context(), stream, 8)
	for range 2 {
		sweep(t, h)
		if err := metricIs(c, "oona.data_loss_total", 7); err != nil {
			t.Error(err)
		}
	}
	rdb.XTrimMaxLen(t.Context(), stream, 0)
	sweep(t, h)
	if err := metricIs(c, "oona.data_loss_total", 15); err != nil {
		t.Error(err)
	}
}

func TestHousekeeperRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		h := housekeeper(t, c, oona.Housekeeping{})
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Minute)
		defer cancel()
		done := make(chan error)
		go func() { done <- h.Run(ctx) }()
		for i := range 20 {
			add(t, rdb, c.Streams().KernelReady, map[string]any{"bootstrap": strconv.Itoa(i)})
			time.Sleep(time.Minute)
		}
		if first, n := left(t, rdb, c.Streams().KernelReady); n < 15 || n > 16 || first+n != 20 {
			t.Errorf("%d left, from %d on", n, first)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, n := left(t, rdb, c.Streams().KernelReady); n != 0 {
			t.Errorf("%d left at the end", n)
		}
	})
}

func TestHousekeeperRefusesNonsense(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		for name, cfg := range map[string]oona.Housekeeping{
			"no group":     {},
			"negative":     {Group: "g", Interval: -1},
			"no stream":    {Retentions: []oona.Retention{{}}},
			"dead letters": {Retentions: []oona.Retention{{Stream: c.Streams().DeadLetter}}},
		} {
			if _, err := c.Housekeeper(cfg); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
	})
}
