package oona_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// pipelines counts the round trips of pipelines, and holds them up on demand.
type pipelines struct {
	n    atomic.Int64
	gate atomic.Pointer[chan struct{}]
}

func (p *pipelines) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (p *pipelines) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (p *pipelines) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		p.n.Add(1)
		if gate := p.gate.Load(); gate != nil {
			<-*gate
		}
		return next(ctx, cmds)
	}
}

// Many goroutines that publish one message each share round trips.
func TestPublishersShareRoundTrips(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		publish(t, c, request("first"))
		var counted pipelines
		rdb.AddHook(&counted)
		gate := make(chan struct{})
		counted.gate.Store(&gate)
		const n = 200
		var wg sync.WaitGroup
		var receipts sync.Map
		for i := range n {
			wg.Go(func() {
				r, err := c.Publish(t.Context(), request(fmt.Sprintf("req-%d", i)))
				if err != nil {
					t.Error(err)
					return
				}
				receipts.Store(r[0].ID, i)
			})
		}
		eventually(t, func() error { return waiting(c, n-1) })
		close(gate)
		wg.Wait()
		if got := counted.n.Load(); got != 2 {
			t.Errorf("%d round trips, want 2: the first, and all others", got)
		}
		for _, e := range rdb.XRange(t.Context(), c.Streams().KernelRequests, "-", "+").Val()[1:] {
			id, err := oona.ParseEntryID(e.ID)
			if err != nil {
				t.Fatal(err)
			}
			i, ok := receipts.Load(id)
			if env := open(t, e); !ok || env.(*pb.KernelPrefetchRequest).GetRequestId() != fmt.Sprintf("req-%d", i) {
				t.Fatalf("the receipt of %v is for another message", env)
			}
		}
	})
}

// Batches that are published side by side are sealed into memory that is used again
// and again: each message is still what its receipt says, however large.
func TestPublishersKeepTheirMessages(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		const publishers, rounds, batch = 8, 10, 50
		var wg sync.WaitGroup
		var published sync.Map // id of the entry → id of the request
		for p := range publishers {
			wg.Go(func() {
				for round := range rounds {
					msgs := make([]proto.Message, batch)
					for i := range msgs {
						r := request(fmt.Sprintf("%d-%d-%d", p, round, i))
						r.TrainingRunId = strings.Repeat("r", 1<<(i%13))
						msgs[i] = r
					}
					for i, r := range publish(t, c, msgs...) {
						published.Store(r.ID.String(), requestID(msgs[i]))
					}
				}
			})
		}
		wg.Wait()
		entries := rdb.XRange(t.Context(), c.Streams().KernelRequests, "-", "+").Val()
		if len(entries) != publishers*rounds*batch {
			t.Fatalf("%d entries", len(entries))
		}
		for _, e := range entries {
			want, _ := published.Load(e.ID)
			if got := requestID(open(t, e)); got != want {
				t.Fatalf("entry %s is %s, want %v", e.ID, got, want)
			}
		}
	})
}

// open verifies and decodes an entry.
func open(t testing.TB, e redis.XMessage) proto.Message {
	t.Helper()
	env, err := newCodec(t).Open([]byte(e.Values["payload"].(string)), []byte(e.Values["signature"].(string)))
	if err != nil {
		t.Fatal(err)
	}
	msg, err := leyline.Decode(env)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// A call that waits for a round trip gives up with its context, and then has
// published nothing.
func TestPublishGivesUpWaiting(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		publish(t, c, request("first"))
		var counted pipelines
		rdb.AddHook(&counted)
		gate := make(chan struct{})
		counted.gate.Store(&gate)
		var wg sync.WaitGroup
		wg.Go(func() { publish(t, c, request("slow")) })
		eventually(t, func() error {
			if counted.n.Load() == 0 {
				return errors.New("nothing is under way")
			}
			return nil
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		impatient := errors.New("impatient")
		wg.Go(func() {
			_, err := c.Publish(ctx, request("gave up"))
			if !errors.Is(err, impatient) || errors.Is(err, oona.ErrUncertain) {
				t.Errorf("error %v", err)
			}
		})
		wg.Go(func() { publish(t, c, request("patient")) })
		eventually(t, func() error { return waiting(c, 2) })
		cancel(impatient)
		eventually(t, func() error { return waiting(c, 1) })
		close(gate)
		wg.Wait()
		var got []string
		for _, e := range rdb.XRange(t.Context(), c.Streams().KernelRequests, "-", "+").Val() {
			got = append(got, open(t, e).(*pb.KernelPrefetchRequest).GetRequestId())
		}
		if diff := cmp.Diff([]string{"first", "slow", "patient"}, got); diff != "" {
			t.Errorf("published (-want +got):\n%s", diff)
		}
	})
}

func waiting(c *oona.Client, want int) error {
	if got := c.WaitingToPublish(); got != want {
		return fmt.Errorf("%d calls wait, want %d", got, want)
	}
	return nil
}

func TestPublishAllOrNothingIsSealed(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		large := request(strings.Repeat("x", leyline.DefaultMaxBytes))
		if r, err := c.Publish(t.Context(), request("good"), large); !errors.Is(err, leyline.TooLarge) || r != nil {
			t.Errorf("%v, %v", r, err)
		}
		if _, err := c.Publish(t.Context(), request("good"), &pb.SeedState{}); !errors.Is(err, leyline.ErrNotABusMessage) {
			t.Errorf("%v", err)
		}
		if n := rdb.XLen(t.Context(), c.Streams().KernelRequests).Val(); n != 0 {
			t.Errorf("%d published", n)
		}
	})
}

// What every reader would refuse is refused where its author sees it, and goes
// nowhere.
func TestPublishIncomplete(t *testing.T) {
	now := timestamppb.Now()
	for name, test := range map[string]struct {
		message proto.Message
		want    error
	}{
		"request":                 {&pb.KernelPrefetchRequest{RequestId: "r", IssuedAt: now}, nil},
		"request without a time":  {&pb.KernelPrefetchRequest{RequestId: "r"}, leyline.Stale},
		"request of time zero":    {&pb.KernelPrefetchRequest{RequestId: "r", IssuedAt: &timestamppb.Timestamp{}}, leyline.Stale},
		"request without its id":  {&pb.KernelPrefetchRequest{IssuedAt: now}, leyline.Malformed},
		"command":                 {&pb.AdaptationCommand{CommandId: "c", IssuedAt: now}, nil},
		"command without a time":  {&pb.AdaptationCommand{CommandId: "c"}, leyline.Stale},
		"command without its id":  {&pb.AdaptationCommand{IssuedAt: now}, leyline.Malformed},
		"answer":                  {&pb.KernelArtifactReady{RequestId: "r"}, nil},
		"answer without its id":   {&pb.KernelArtifactReady{}, leyline.Malformed},
		"error without its id":    {&pb.KernelArtifactError{}, leyline.Malformed},
		"policy without anything": {&pb.PolicyUpdate{}, nil}, // its readers go by the envelope
	} {
		t.Run(name, func(t *testing.T) {
			bus := oonatest.New()
			defer bus.Close()
			rdb := bus.Redis()
			defer rdb.Close()
			c := newClient(t, rdb, "a")
			for _, stream := range []string{"", c.Streams().Normal} {
				receipts, err := c.Send(t.Context(), oona.Outgoing{Message: test.message, Stream: stream})
				if !errors.Is(err, test.want) {
					t.Errorf("to %q: %v, want %v", stream, err, test.want)
				}
				if published := len(receipts) == 1; published != (test.want == nil) {
					t.Errorf("to %q: receipts %v", stream, receipts)
				}
			}
			if sent := rdb.DBSize(t.Context()).Val() > 0; sent != (test.want == nil) {
				t.Errorf("published: %t", sent)
			}
		})
	}
}

// More messages than fit into one round trip go in several, in order.
func TestPublishMany(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		var out []oona.Outgoing
		for i := range 2500 {
			out = append(out, oona.Outgoing{Message: request(fmt.Sprintf("req-%d", i))})
		}
		receipts, err := c.Send(t.Context(), out...)
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; i < len(receipts); i++ {
			if receipts[i].ID.Compare(receipts[i-1].ID) <= 0 {
				t.Fatalf("receipt %d is out of order", i)
			}
		}
		if n := rdb.XLen(t.Context(), c.Streams().KernelRequests).Val(); n != 2500 {
			t.Errorf("%d published", n)
		}
	})
}

func TestPublishOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		out := oona.Outgoing{Message: request("req-0"), Header: leyline.Header{MessageID: "018f-one"}, Once: true}
		first, err := c.Send(t.Context(), out)
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.Send(t.Context(), out, oona.Outgoing{Message: request("req-1"), Once: true})
		if err != nil {
			t.Fatal(err)
		}
		if first[0] != again[0] || again[1].ID == first[0].ID {
			t.Errorf("receipts %v, then %v", first, again)
		}
		if n := rdb.XLen(t.Context(), c.Streams().KernelRequests).Val(); n != 2 {
			t.Errorf("%d entries, want 2", n)
		}
		if ttl := rdb.PTTL(t.Context(), "oona:once:018f-one").Val(); ttl <= 0 || ttl > oona.OnceFor {
			t.Errorf("remembered for %v", ttl)
		}
	})
}

// The publish breaker opens when Redis fails, and only then, and closes when it is
// back.
func TestBreaker(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := newClient(t, server.Client(), "a")
	failing := oona.HandlerFunc(func(_ context.Context, batch []*oona.Message) []oona.Result {
		return make([]oona.Result, len(batch)+1)
	})
	stop := consume(t, c, oona.Subscription{RetryBase: 1, RetryMax: 1}, failing)
	publish(t, c, requests(20)...)
	eventually(t, func() error { return metricIs(c, "oona.dead_letter_total", 20) })
	stop()
	for _, name := range []string{"oona.publish_breaker_state", "oona.consume_breaker_state"} {
		if err := metricIs(c, name, 1); err != nil {
			t.Error("failing handlers opened a breaker:", err)
		}
	}
	server.Kill()
	for range 5 {
		if _, err := c.Publish(t.Context(), request("x")); err == nil || errors.Is(err, oona.ErrBreakerOpen) {
			t.Errorf("before it opens: %v", err)
		}
	}
	if err := metricIs(c, "oona.breaker_publish_open", 1); err != nil {
		t.Error(err)
	}
	eventually(t, func() error { // a second later one is let through, and opens it again
		if _, err := c.Publish(t.Context(), request("x")); !errors.Is(err, oona.ErrBreakerOpen) {
			return fmt.Errorf("after five failures: %v", err)
		}
		return metricIs(c, "oona.publish_breaker_state", 2)
	})
	server.Restart()
	eventually(t, func() error {
		_, err := c.Publish(t.Context(), request("y"))
		return err
	})
	if err := metricIs(c, "oona.publish_breaker_state", 1); err != nil {
		t.Error(err)
	}
}

// Who gives up by itself says nothing of Redis: the breaker stays closed.
func TestCancelledPublishersDoNotOpenTheBreaker(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		publish(t, c, request("first"))
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		for range 20 {
			if _, err := c.Publish(cancelled, request("never")); !errors.Is(err, context.Canceled) || errors.Is(err, oona.ErrUncertain) {
				t.Fatalf("error %v", err)
			}
		}
		publish(t, c, request("second"))
		if n := rdb.XLen(t.Context(), c.Streams().KernelRequests).Val(); n != 2 {
			t.Errorf("%d published, want 2", n)
		}
	})
}
