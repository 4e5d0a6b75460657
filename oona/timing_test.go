package oona_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
)

// inBubble runs a test whose time passes only while everything waits.
func inBubble(t *testing.T, test func(t *testing.T, rdb *redis.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		bus := oonatest.New()
		defer bus.Close()
		rdb := bus.Redis()
		defer func() { _ = rdb.Close() }()
		test(t, rdb)
	})
}

// start is consume for a bubble, where a test must end what it started itself.
func start(t *testing.T, c *oona.Client, sub oona.Subscription, h oona.Handler) (stop func()) {
	t.Helper()
	sub.Group = "weatherlight"
	if sub.Stream == "" {
		sub.Stream = c.Streams().KernelRequests
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Consume(ctx, sub, h); err != nil {
			t.Errorf("consume: %v", err)
		}
	})
	return func() { cancel(); wg.Wait() }
}

// calls notes when a handler was called.
type calls struct {
	mu sync.Mutex
	at []time.Time
}

func (c *calls) note() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = append(c.at, time.Now())
	return len(c.at)
}

func (c *calls) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.at)
}

// gaps are the times between calls.
func (c *calls) gaps() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []time.Duration
	for i := 1; i < len(c.at); i++ {
		all = append(all, c.at[i].Sub(c.at[i-1]))
	}
	return all
}

func TestRetryBackoff(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		publish(t, c, request("req-0"))
		var seen calls
		stop := start(t, c, oona.Subscription{RetryMax: 4 * time.Second}, oona.HandlerFunc(func(context.Context, []*oona.Message) []oona.Result {
			seen.note()
			return []oona.Result{{Err: errors.New("no")}}
		}))
		time.Sleep(20 * time.Second)
		stop()
		gaps := seen.gaps()
		if len(gaps) != 4 {
			t.Fatalf("%d retries, want 4", len(gaps))
		}
		for i, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 4 * time.Second} {
			if gaps[i] < want*3/4 || gaps[i] > want*5/4+10*time.Millisecond {
				t.Errorf("retry %d after %v, want %v ± 25 %%", i+1, gaps[i], want)
			}
		}
		if n := c.Refusals().Total(leyline.AttemptsExhausted); n != 1 {
			t.Errorf("%d exhausted, want 1", n)
		}
	})
}

func TestRetryAfterChargesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		publish(t, c, request("req-0"))
		var seen calls
		stop := start(t, c, oona.Subscription{MaxAttempts: 1}, oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, m *oona.Message) ([]proto.Message, error) {
			if m.Attempts != 0 {
				t.Errorf("%d attempts charged", m.Attempts)
			}
			if seen.note() <= 3 {
				return nil, oona.RetryAfter(40 * time.Second)
			}
			return []proto.Message{ready(r.GetRequestId())}, nil
		}))
		time.Sleep(3 * time.Minute)
		stop()
		for _, gap := range seen.gaps() {
			if gap < 40*time.Second || gap > 41*time.Second {
				t.Errorf("again after %v, want 40s", gap)
			}
		}
		oneEach(t, answers(t, rdb, c.Streams()), 1)
		wantRefused(t, leyline.Stale, 0, c)
	})
}

// What is being handled, and what waits for a retry, is not taken by a sibling,
// however long it takes.
func TestHeartbeatKeepsSiblingsAway(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		a, b := newClient(t, rdb, "a"), newClient(t, rdb, "b")
		publish(t, a, requests(3)...)
		sub := oona.Subscription{ReclaimIdle: 3 * time.Second, HandlerTimeout: time.Minute, RetryBase: 20 * time.Second, RetryMax: 20 * time.Second, Workers: 1}
		var mine, theirs calls
		stopA := start(t, a, sub, oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, m *oona.Message) ([]proto.Message, error) {
			mine.note()
			switch {
			case r.GetRequestId() == "req-0":
				time.Sleep(30 * time.Second)
			case m.Attempts == 0:
				return nil, errors.New("later")
			}
			return []proto.Message{ready(r.GetRequestId())}, nil
		}))
		synctest.Wait()
		stopB := start(t, b, sub, oona.HandlerFunc(func(_ context.Context, batch []*oona.Message) []oona.Result {
			theirs.note()
			return make([]oona.Result, len(batch))
		}))
		time.Sleep(2 * time.Minute)
		stopB()
		stopA()
		oneEach(t, answers(t, rdb, a.Streams()), 3)
		if mine.count() != 5 || theirs.count() != 0 {
			t.Errorf("called %d and %d times, want 5 and 0", mine.count(), theirs.count())
		}
	})
}

func TestReclaimsOnlyWhatIsIdle(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		publish(t, c, request("req-0"))
		readAs(t, rdb, c.Streams().KernelRequests, "dead", 1)
		read := time.Now()
		var seen calls
		stop := start(t, c, oona.Subscription{}, oona.HandlerFunc(func(_ context.Context, batch []*oona.Message) []oona.Result {
			seen.note()
			return make([]oona.Result, len(batch))
		}))
		time.Sleep(time.Minute)
		stop()
		if seen.count() != 1 {
			t.Fatalf("called %d times", seen.count())
		}
		// Idle for 30 s by default, and before the 60 s of Python members.
		if after := seen.at[0].Sub(read); after < 30*time.Second || after > 36*time.Second {
			t.Errorf("taken over after %v", after)
		}
	})
}

// A handler that ignores its context does not hold up the stop. Its message is
// handed back, and the failure is not charged.
func TestDrainTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		a, b := newClient(t, rdb, "a"), newClient(t, rdb, "b")
		publish(t, a, requests(2)...)
		release := make(chan struct{})
		stop := start(t, a, oona.Subscription{Workers: 2, DrainTimeout: 3 * time.Second}, oona.Each(func(ctx context.Context, r *pb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
			if r.GetRequestId() == "req-0" {
				<-ctx.Done() // obeys, late
				return nil, ctx.Err()
			}
			<-release
			return nil, nil
		}))
		synctest.Wait()
		began := time.Now()
		stop()
		if took := time.Since(began); took < 3*time.Second || took > 3500*time.Millisecond {
			t.Errorf("stopped in %v, want a little over 3s", took)
		}
		close(release)
		began = time.Now()
		var seen calls
		stop = start(t, b, oona.Subscription{}, oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, m *oona.Message) ([]proto.Message, error) {
			seen.note()
			if m.Attempts != 0 {
				t.Errorf("%d attempts charged to %s", m.Attempts, r.GetRequestId())
			}
			return []proto.Message{ready(r.GetRequestId())}, nil
		}))
		time.Sleep(10 * time.Second)
		stop()
		oneEach(t, answers(t, rdb, a.Streams()), 2)
		if seen.count() != 2 || seen.at[0].Sub(began) > 6*time.Second {
			t.Errorf("taken over %d times, first after %v", seen.count(), seen.at[0].Sub(began))
		}
	})
}

// The result of a handler that overran its deadline does not count, its attempt
// does; the retry does not share memory with it.
func TestHandlerDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		publish(t, c, request("req-0"))
		var seen calls
		var first atomic.Pointer[pb.KernelPrefetchRequest]
		stop := start(t, c, oona.Subscription{HandlerTimeout: 2 * time.Second}, oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, m *oona.Message) ([]proto.Message, error) {
			if seen.note() == 1 {
				first.Store(r)
				time.Sleep(10 * time.Second)
				r.BlueprintId = "changed by a handler that was left behind"
				if m.Attempts != 0 || m.Body != proto.Message(r) {
					t.Errorf("a handler that was left behind sees attempts %d, same body %t", m.Attempts, m.Body == proto.Message(r))
				}
				return []proto.Message{ready("wrong")}, nil
			}
			if m.Attempts != 1 || r == first.Load() {
				t.Errorf("attempts %d, same message %t", m.Attempts, r == first.Load())
			}
			return []proto.Message{ready(r.GetRequestId())}, nil
		}))
		time.Sleep(20 * time.Second)
		stop()
		oneEach(t, answers(t, rdb, c.Streams()), 1)
		if err := metricIs(c, "oona.handlers_abandoned_total", 1); err != nil {
			t.Error(err)
		}
	})
}

// A consumer whose every handler hangs takes nothing more, and siblings take what
// it holds; it goes on when a handler returns.
func TestHangingHandlersAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		a, b := newClient(t, rdb, "a"), newClient(t, rdb, "b")
		release := make(chan struct{})
		var hung calls
		sub := oona.Subscription{Workers: 2, Batch: 1, HandlerTimeout: time.Second, RetryBase: time.Second, MaxAttempts: 100}
		stopA := start(t, a, sub, oona.HandlerFunc(func(_ context.Context, batch []*oona.Message) []oona.Result {
			hung.note()
			<-release
			return make([]oona.Result, len(batch))
		}))
		publish(t, a, requests(6)...)
		time.Sleep(20 * time.Second)
		if n := hung.count(); n != 2 {
			t.Errorf("%d handlers left behind, want 2", n)
		}
		stopB := start(t, b, sub, answering())
		time.Sleep(60 * time.Second)
		oneEach(t, answers(t, rdb, a.Streams()), 6)
		close(release)
		publish(t, a, request("again"))
		time.Sleep(time.Second)
		stopB()
		stopA()
	})
}

// Nonces go when no entry can carry them any more, and not before.
func TestNoncesAreDropped(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stop := start(t, c, oona.Subscription{}, answering())
		nonces := func() (n int64) {
			keys := rdb.Keys(t.Context(), "oona:nonces:*").Val()
			for _, key := range keys {
				n += rdb.HLen(t.Context(), key).Val()
			}
			return n
		}
		for i := range 60 { // ten minutes of traffic
			publish(t, c, request(ids("req-", i, i+1)[0]))
			time.Sleep(10 * time.Second)
			if n := nonces(); n > 14 {
				t.Fatalf("%d nonces after %d requests, 10 s apart", n, i+1)
			}
			if n := nonces(); i >= 7 && n < 7 {
				t.Fatalf("only %d nonces of 70 s", n)
			}
		}
		time.Sleep(2 * time.Minute)
		if n := nonces(); n != 0 {
			t.Errorf("%d nonces left after two idle minutes", n)
		}
		stop()
		for _, key := range rdb.Keys(t.Context(), "oona:*").Val() {
			if !strings.HasPrefix(key, "oona:marks:") {
				t.Errorf("left behind: %s", key)
			}
		}
	})
}

// An entry that is pending somewhere keeps the nonces of its time.
func TestPendingEntriesKeepNonces(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		a := newClient(t, rdb, "a")
		stream := a.Streams().KernelRequests
		publish(t, a, request("req-0"))
		held := readAs(t, rdb, stream, "frozen", 1)
		add(t, rdb, stream, held[0].Values)
		stop := start(t, a, oona.Subscription{ReclaimIdle: 50 * time.Minute}, answering())
		time.Sleep(30 * time.Minute)
		oneEach(t, answers(t, rdb, a.Streams()), 1)
		time.Sleep(30 * time.Minute) // it is reclaimed, long after it was fresh
		stop()
		oneEach(t, answers(t, rdb, a.Streams()), 1)
		if n := a.Refusals().Total(leyline.Replayed); n != 1 {
			t.Errorf("%d replays, want 1", n)
		}
	})
}

// Work that waited for longer than its time to live is dead-lettered as expired.
func TestExpired(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		publish(t, c, request("old"))
		time.Sleep(16 * time.Minute)
		publish(t, c, request("req-0"))
		stop := start(t, c, oona.Subscription{TTL: 15 * time.Minute}, answering())
		time.Sleep(time.Second)
		stop()
		oneEach(t, answers(t, rdb, c.Streams()), 1)
		if n := c.Refusals().Total(leyline.Expired); n != 1 {
			t.Errorf("%d expired, want 1", n)
		}
	})
}

// Redis is not there at the start, goes away and comes back: no hot loop.
func TestConnectWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries calls
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1, Dialer: refusing(&tries)})
		defer time.Sleep(5 * time.Second) // the pool looks for the server once more
		defer func() { _ = rdb.Close() }()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err := oona.New(ctx, rdb, oona.Config{Codec: newCodec(t), Logger: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || !strings.Contains(err.Error(), "refused") {
			t.Errorf("error %v", err)
		}
		if n := tries.count(); n < 20 || n > 60 {
			t.Errorf("%d tries in 30 s", n)
		}
		if worst := slices.Max(tries.gaps()); worst > 2*time.Second {
			t.Errorf("waited %v between tries", worst)
		}
	})
}
