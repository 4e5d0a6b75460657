package oona_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// addAt adds an entry under an id of the adder's choice.
func addAt(t testing.TB, rdb redis.UniversalClient, stream, id string, fields map[string]any) {
	t.Helper()
	if err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, ID: id, Values: fields}).Err(); err != nil {
		t.Fatal(err)
	}
}

// agedID is the id of an entry that was added that long ago.
func agedID(age time.Duration) string {
	return strconv.FormatInt(time.Now().Add(-age).UnixMilli(), 10) + "-0"
}

// aged is a request that was issued that long ago.
func aged(id string, age time.Duration) *pb.KernelPrefetchRequest {
	r := request(id)
	r.IssuedAt = timestamppb.New(time.Now().Add(-age))
	return r
}

// wantRefused waits until that many messages were refused for the reason, over
// all clients: what is settled in Redis is counted a moment later.
func wantRefused(t testing.TB, reason leyline.Reason, want uint64, clients ...*oona.Client) {
	t.Helper()
	eventually(t, func() error {
		var got uint64
		for _, c := range clients {
			got += c.Refusals().Total(reason)
		}
		if got != want {
			return fmt.Errorf("%d refused as %s, want %d", got, reason, want)
		}
		return nil
	})
}

// sealedAged returns the fields of an entry with a request that was issued, and
// sealed, that long ago.
func sealedAged(t testing.TB, id string, age time.Duration) map[string]any {
	t.Helper()
	payload, signature, err := newCodec(t).Seal(nil, aged(id, age), leyline.Header{IssuedAt: time.Now().Add(-age)})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"payload": string(payload), "signature": signature.String()}
}

func TestReplayAcrossRestartsAndReplicas(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		a, b := newClient(t, rdb, "a"), newClient(t, rdb, "b")
		stream := a.Streams().KernelRequests
		publish(t, a, requests(20)...)
		recorded, err := rdb.XRange(t.Context(), stream, "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		stop := consume(t, a, oona.Subscription{}, answering())
		eventually(t, settled(t, rdb, stream, 20))
		stop()
		// After a restart, by two replicas at once.
		consume(t, a, oona.Subscription{}, answering())
		consume(t, b, oona.Subscription{}, answering())
		for _, e := range recorded {
			add(t, rdb, stream, e.Values)
			add(t, rdb, stream, e.Values)
		}
		eventually(t, settled(t, rdb, stream, 60))
		oneEach(t, answers(t, rdb, a.Streams()), 20)
		wantRefused(t, leyline.Replayed, 40, a, b)
	})
}

// While a dead replica still holds a message, its copy passes, and then the
// message itself is the replay.
func TestReplayOfWhatADeadReplicaHolds(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stream := c.Streams().KernelRequests
		publish(t, c, requests(1)...)
		held := readAs(t, rdb, stream, "dead", 1)
		add(t, rdb, stream, held[0].Values)
		consume(t, c, oona.Subscription{ReclaimIdle: time.Second}, answering())
		eventually(t, settled(t, rdb, stream, 2))
		oneEach(t, answers(t, rdb, c.Streams()), 1)
		wantRefused(t, leyline.Replayed, 1, c)
	})
}

func TestConcurrentReplays(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		a, b := newClient(t, rdb, "a"), newClient(t, rdb, "b")
		stream := a.Streams().KernelRequests
		sub := oona.Subscription{Batch: 8, Workers: 4}
		consume(t, a, sub, answering())
		consume(t, b, sub, answering())
		const copies, rounds = 64, 5
		for round := range rounds {
			fields := sealed(t, newCodec(t), request(fmt.Sprintf("req-%d", round)))
			var wg sync.WaitGroup
			for range copies {
				wg.Go(func() { add(t, rdb, stream, fields) })
			}
			wg.Wait()
		}
		eventually(t, settled(t, rdb, stream, copies*rounds))
		oneEach(t, answers(t, rdb, a.Streams()), rounds)
		wantRefused(t, leyline.Replayed, (copies-1)*rounds, a, b)
	})
}

// On an idle stream anybody who can write may choose an old id, so that an old
// message looks as if it had been fresh on arrival. The mark is above it.
func TestBackDatedEntryOnAnIdleStream(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stream := c.Streams().KernelRequests
		reading := make(chan struct{}) // closed when the mark was raised
		consume(t, c, oona.Subscription{Ready: func() { close(reading) }}, answering())
		<-reading
		addAt(t, rdb, stream, agedID(10*time.Second), sealedAged(t, "old", 12*time.Second))
		publish(t, c, request("req-0"))
		eventually(t, settled(t, rdb, stream, 2))
		oneEach(t, answers(t, rdb, c.Streams()), 1)
		wantRefused(t, leyline.Stale, 1, c)
	})
}

func TestDeletedAndRecreatedStream(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stream := c.Streams().KernelRequests
		id, fields := agedID(20*time.Second), sealedAged(t, "req-0", 21*time.Second)
		addAt(t, rdb, stream, id, fields)
		stop := consume(t, c, oona.Subscription{}, answering())
		eventually(t, settled(t, rdb, stream, 1))
		stop()
		if err := rdb.Del(t.Context(), stream).Err(); err != nil {
			t.Fatal(err)
		}
		// The same entry, and one that was recorded and suppressed.
		addAt(t, rdb, stream, id, fields)
		addAt(t, rdb, stream, agedID(19*time.Second), sealedAged(t, "req-1", 21*time.Second))
		consume(t, c, oona.Subscription{}, answering())
		eventually(t, settled(t, rdb, stream, 2))
		oneEach(t, answers(t, rdb, c.Streams()), 1)
		// The first is known by its nonce, or is below the mark.
		wantRefused(t, leyline.Stale, 1, c)
	})
}

// One unsigned entry with a huge id moves the whole stream ahead of the clock.
// Good messages pass all the same, replays do not, and an alarm is raised.
func TestHugeEntryID(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stream := c.Streams().KernelRequests
		addAt(t, rdb, stream, "9223372036854775807-1", map[string]any{"payload": "x"})
		publish(t, c, requests(10)...)
		stop := consume(t, c, oona.Subscription{}, answering())
		eventually(t, settled(t, rdb, stream, 11))
		recorded, err := rdb.XRange(t.Context(), stream, "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range recorded[1:] {
			add(t, rdb, stream, e.Values)
		}
		add(t, rdb, stream, sealedAged(t, "old", time.Hour))
		eventually(t, settled(t, rdb, stream, 22))
		stop()
		consume(t, c, oona.Subscription{}, answering())
		publish(t, c, request("req-10"))
		eventually(t, settled(t, rdb, stream, 23))
		oneEach(t, answers(t, rdb, c.Streams()), 11)
		wantRefused(t, leyline.Unsigned, 1, c)
		wantRefused(t, leyline.Replayed, 10, c)
		wantRefused(t, leyline.Stale, 1, c)
		if err := metricIs(c, "oona.clock_alarms_total", 2); err != nil { // one for each start
			t.Error(err)
		}
	})
}

// The last possible id stops a stream for good; what was before it is served,
// and a consumer starts.
func TestLastEntryID(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stream := c.Streams().KernelRequests
		publish(t, c, requests(3)...)
		addAt(t, rdb, stream, "18446744073709551615-18446744073709551615", map[string]any{"bootstrap": "1"})
		stop := consume(t, c, oona.Subscription{}, answering())
		eventually(t, settled(t, rdb, stream, 4))
		stop()
		stop = consume(t, c, oona.Subscription{}, answering())
		if err := c.Sample(t.Context()); err != nil {
			t.Error(err)
		}
		stop()
		oneEach(t, answers(t, rdb, c.Streams()), 3)
	})
}

// A server whose clock ran ahead and was put right does not refuse everything
// until it has caught up.
func TestClockPutBack(t *testing.T) {
	server := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	now := time.Now()
	server.SetTime(now.Add(24 * time.Hour))
	c := newClient(t, rdb, "a")
	stream := c.Streams().KernelRequests
	codec := newCodec(t)
	issued := func(id string, at time.Time) map[string]any {
		r := request(id)
		r.IssuedAt = timestamppb.New(at)
		payload, signature, err := codec.Seal(nil, r, leyline.Header{IssuedAt: at})
		if err != nil {
			t.Fatal(err)
		}
		return map[string]any{"payload": string(payload), "signature": signature.String()}
	}
	add(t, rdb, stream, issued("req-0", now.Add(24*time.Hour)))
	stop := consume(t, c, oona.Subscription{}, answering())
	eventually(t, settled(t, rdb, stream, 1))
	stop()
	if err := rdb.Del(t.Context(), stream).Err(); err != nil { // its ids are ahead now
		t.Fatal(err)
	}
	server.SetTime(now)
	c = newClient(t, rdb, "a")
	reading := make(chan struct{}) // closed when the mark has followed the clock
	stop = consume(t, c, oona.Subscription{Ready: func() { close(reading) }}, answering())
	<-reading
	stop()
	now = now.Add(2 * time.Minute)
	server.SetTime(now)
	c = newClient(t, rdb, "a")
	add(t, rdb, stream, issued("req-1", now))
	add(t, rdb, stream, issued("old", now.Add(-3*time.Minute)))
	consume(t, c, oona.Subscription{}, answering())
	eventually(t, settled(t, rdb, stream, 2))
	oneEach(t, answers(t, rdb, c.Streams()), 2)
	wantRefused(t, leyline.Stale, 1, c)
}
