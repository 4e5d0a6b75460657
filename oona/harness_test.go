package oona_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// onBoth runs a test on miniredis, which is fast, and on a real redis-server,
// which is right.
func onBoth(t *testing.T, test func(t *testing.T, rdb *redis.Client)) {
	t.Run("miniredis", func(t *testing.T) {
		bus := oonatest.New()
		t.Cleanup(bus.Close)
		rdb := bus.Redis()
		t.Cleanup(func() { _ = rdb.Close() })
		test(t, rdb)
	})
	t.Run("redis", func(t *testing.T) {
		test(t, redistest.Start(t).Client())
	})
}

const secret = "golden-secret"

func newCodec(t testing.TB) *leyline.Codec {
	t.Helper()
	codec, err := codecOf(secret)
	if err != nil {
		t.Fatal(err)
	}
	return codec
}

func codecOf(secret string) (*leyline.Codec, error) {
	keys, err := leyline.NewKeyring(leyline.NewSecret(secret))
	if err != nil {
		return nil, err
	}
	return leyline.NewCodec(leyline.CodecConfig{Keys: keys, Source: "test/here-1"})
}

func newClient(t testing.TB, rdb redis.UniversalClient, consumer string) *oona.Client {
	t.Helper()
	c, err := oona.New(t.Context(), rdb, oona.Config{
		Codec:    newCodec(t),
		Consumer: consumer,
		Logger:   slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func request(id string) *pb.KernelPrefetchRequest {
	return &pb.KernelPrefetchRequest{
		RequestId: id, BlueprintId: "BP001", TrainingRunId: "run-1", IssuedAt: timestamppb.Now(),
	}
}

func requests(n int) []proto.Message {
	msgs := make([]proto.Message, n)
	for i := range msgs {
		msgs[i] = request("req-" + strconv.Itoa(i))
	}
	return msgs
}

func publish(t testing.TB, c *oona.Client, msgs ...proto.Message) []oona.Receipt {
	t.Helper()
	receipts, err := c.Publish(t.Context(), msgs...)
	if err != nil {
		t.Fatal(err)
	}
	return receipts
}

// answering is a handler that answers every request.
func answering() oona.Handler {
	return oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
		return []proto.Message{&pb.KernelArtifactReady{RequestId: r.GetRequestId(), BlueprintId: r.GetBlueprintId()}}, nil
	})
}

// consume runs a consumer in the background; the function it returns stops it
// and waits for its end.
func consume(t testing.TB, c *oona.Client, sub oona.Subscription, h oona.Handler) (stop func()) {
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
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

// eventually waits until check returns nil, for at most ten seconds.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	eventuallyWithin(t, 10*time.Second, check)
}

func eventuallyWithin(t testing.TB, patience time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// settled is done when nothing of a stream waits for the group any more, and it
// has that many entries; any number where that is negative.
func settled(t testing.TB, rdb redis.UniversalClient, stream string, entries int64) func() error {
	return func() error {
		last, err := rdb.XRevRangeN(t.Context(), stream, "+", "-", 1).Result()
		if err != nil {
			return err
		}
		groups, err := rdb.XInfoGroups(t.Context(), stream).Result()
		if err != nil {
			return err
		}
		if len(groups) == 0 {
			return fmt.Errorf("%s has no group", stream)
		}
		if g := groups[0]; g.Pending != 0 || len(last) == 1 && g.LastDeliveredID != last[0].ID {
			return fmt.Errorf("%d of %s pending, delivered up to %s", g.Pending, stream, g.LastDeliveredID)
		}
		if n := rdb.XLen(t.Context(), stream).Val(); entries >= 0 && n != entries {
			return fmt.Errorf("%d entries on %s, want %d", n, stream, entries)
		}
		return nil
	}
}

// answers returns how many answers each request has, by its id.
func answers(t testing.TB, rdb redis.UniversalClient, streams oona.Streams) map[string]int {
	t.Helper()
	got, err := readAnswers(t, rdb, streams)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// readAnswers is answers where Redis may be away.
func readAnswers(t testing.TB, rdb redis.UniversalClient, streams oona.Streams) (map[string]int, error) {
	got := make(map[string]int)
	for _, stream := range []string{streams.KernelReady, streams.KernelErrors} {
		entries, err := rdb.XRange(t.Context(), stream, "-", "+").Result()
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			got[requestID(open(t, e))]++
		}
	}
	return got, nil
}

// oneEach fails the test unless exactly the n requests of [requests] have
// exactly one answer.
func oneEach(t testing.TB, got map[string]int, n int) {
	t.Helper()
	for i := range n {
		id := "req-" + strconv.Itoa(i)
		if got[id] != 1 {
			t.Errorf("%s has %d answers, want 1", id, got[id])
		}
		delete(got, id)
	}
	if len(got) > 0 {
		t.Errorf("answers to strangers: %v", got)
	}
}

// onlyAnswer returns nil when id has one answer, and nobody else has any.
func onlyAnswer(t testing.TB, rdb redis.UniversalClient, c *oona.Client, id string) error {
	got := answers(t, rdb, c.Streams())
	if len(got) != 1 || got[id] != 1 {
		return fmt.Errorf("answers: %v, want one to %s", got, id)
	}
	return nil
}

// metricIs returns nil when the client reports that value.
func metricIs(c *oona.Client, name string, want float64) error {
	for _, m := range c.AppendMetrics(nil) {
		if m.Name == name {
			if m.Value == want {
				return nil
			}
			return fmt.Errorf("%s is %v, want %v", name, m.Value, want)
		}
	}
	return fmt.Errorf("no %s", name)
}

// realRedis starts a redis-server, for what miniredis does not do.
func realRedis(t *testing.T) *redis.Client { return redistest.Start(t).Client() }

// refusing is a dialer that nobody answers.
func refusing(seen *calls) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		seen.note()
		return nil, errors.New("connection refused")
	}
}

// requestType is what kernel workers subscribe to.
var requestType = []pb.BusMessageType{pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_REQUEST}

func isUncertain(err error) bool { return errors.Is(err, oona.ErrUncertain) }

func requestID(m proto.Message) string { return m.(interface{ GetRequestId() string }).GetRequestId() }
