package contender

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/redisserver"
	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// maxEnvelope lets requests of a MiB through; the default is a MiB with the
// envelope.
const maxEnvelope = 4 << 20

// maxWaiting is how many requests may wait. Nobody bounds what the floor has
// waiting either; the default would refuse to publish 75,000 ahead.
const maxWaiting = 10_000_000

// ours is our bus, with everything that the service has on: signatures both
// ways, freshness, the replay guard in Redis, exactly one answer.
type ours struct {
	opts   Options
	codec  *leyline.Codec
	answer sealed
	client *oona.Client
	rdb    redis.UniversalClient
	pad    string
	names  []string // of the blueprints
}

func newOona(ctx context.Context, o Options) (Contender, error) { return openOurs(ctx, o) }

func openOurs(ctx context.Context, o Options) (*ours, error) {
	keys, err := leyline.NewKeyring(leyline.NewSecret(secret))
	if err != nil {
		return nil, err
	}
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys, Source: "bench/" + o.Consumer, MaxBytes: maxEnvelope})
	if err != nil {
		return nil, err
	}
	client, err := oona.Connect(ctx, oona.Config{
		URL: o.url(), Codec: codec, Consumer: o.Consumer, MaxQueueDepth: maxWaiting,
	})
	if err != nil {
		return nil, err
	}
	answer, err := sealAnswer(codec)
	if err != nil {
		return nil, err
	}
	return &ours{
		opts:   o,
		codec:  codec,
		answer: answer,
		client: client,
		rdb:    redisserver.Connect(o.Addr, o.Cluster),
		pad:    padding(o.Payload),
		names:  blueprintIDs(o.Catalogue),
	}, nil
}

// padding brings a request whose envelope is smaller up to about size; it
// travels as the id of a training run.
func padding(size int) string {
	const bare = 250 // of a request with a short run id, sealed
	return strings.Repeat("r", max(8, size-bare))
}

func (c *ours) Close() error { return errors.Join(c.client.Close(), c.rdb.Close()) }

func (c *ours) Publish(ctx context.Context, first, n int) error {
	for end := first + n; first < end; first += c.opts.Batch {
		msgs := make([]proto.Message, 0, c.opts.Batch)
		now := timestamppb.Now()
		for i := first; i < min(first+c.opts.Batch, end); i++ {
			msgs = append(msgs, c.request(i, now))
		}
		if _, err := c.client.Publish(ctx, msgs...); err != nil {
			return fmt.Errorf("contender: oona: %w", err)
		}
		if err := c.openAnswers(len(msgs)); err != nil {
			return err
		}
	}
	return nil
}

func (c *ours) request(number int, now *timestamppb.Timestamp) *pb.KernelPrefetchRequest {
	return &pb.KernelPrefetchRequest{
		RequestId:     string(appendRequestID(nil, number)),
		BlueprintId:   c.names[number%len(c.names)],
		TrainingRunId: c.pad,
		IssuedAt:      now,
	}
}

func blueprintIDs(n int) []string {
	ids := make([]string, max(n, 1))
	for i := range ids {
		ids[i] = blueprintID(i)
	}
	return ids
}

// blueprintID names the i-th blueprint of the library.
func blueprintID(i int) string { return fmt.Sprintf("BP%06d", i) }

func (c *ours) subscription() oona.Subscription {
	return oona.Subscription{
		Stream: c.client.Streams().KernelRequests,
		Group:  group,
		Types:  []pb.BusMessageType{pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_REQUEST},
		Batch:  c.opts.Batch,
		TTL:    15 * time.Minute,
	}
}

func (c *ours) Serve(ctx context.Context, ready func()) error {
	ready() // groups begin at the start of the stream: nothing is missed
	return c.client.Consume(ctx, c.subscription(), oona.Each(
		func(_ context.Context, req *pb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
			return []proto.Message{readyAnswer(req.RequestId, req.BlueprintId)}, nil
		}))
}

func (c *ours) Answered(ctx context.Context) (int, error) {
	n, err := c.rdb.XLen(ctx, c.client.Streams().KernelReady).Result()
	return int(n), err
}

func (c *ours) Follow(ctx context.Context, ready func(), seen func(int)) error {
	cursor, err := c.client.Tail(ctx, c.client.Streams().KernelReady)
	if err != nil {
		return err
	}
	ready()
	return c.client.Follow(ctx, oona.Following{From: cursor}, oona.Each(
		func(_ context.Context, ans *pb.KernelArtifactReady, _ *oona.Message) ([]proto.Message, error) {
			number, err := numberOf(ans.RequestId)
			if err == nil {
				seen(number)
			}
			return nil, err
		}))
}
