package contender

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/redisserver"
)

// Streams and group of the contenders that are plain Redis Streams. The hash tag
// is that of our streams, so that all live on the same node of a cluster.
const (
	requests = "{oona}.bench.requests"
	answers  = "{oona}.bench.answers"
	group    = "bench"
)

// blockTime bounds how long a reader that is told to stop still blocks.
const blockTime = 100 * time.Millisecond

// floor is what the work costs with go-redis alone: no signature, no check of
// anything, no script.
type floor struct {
	opts Options
	rdb  redis.UniversalClient
}

func newFloor(_ context.Context, o Options) (Contender, error) { return openFloor(o), nil }

func openFloor(o Options) *floor {
	return &floor{opts: o, rdb: redisserver.Connect(o.Addr, o.Cluster)}
}

func (f *floor) Close() error { return f.rdb.Close() }

// pipeline returns a pipeline by its own type: through an interface, the arguments
// of each command would be allocated.
func (f *floor) pipeline() *redis.Pipeline { return f.rdb.Pipeline().(*redis.Pipeline) }

func (f *floor) Publish(ctx context.Context, first, n int) error {
	for end := first + n; first < end; first += f.opts.Batch {
		pipe := f.pipeline()
		for i := first; i < min(first+f.opts.Batch, end); i++ {
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: requests, Values: []any{"payload", plainPayload(i, f.opts.Payload)}})
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("contender: floor: publish: %w", err)
		}
	}
	return nil
}

func (f *floor) Serve(ctx context.Context, ready func()) error {
	return f.serve(ctx, ready, f.commit)
}

// serve reads batches and commits each.
func (f *floor) serve(ctx context.Context, ready func(), commit func(context.Context, []redis.XMessage) error) error {
	if err := f.rdb.XGroupCreateMkStream(ctx, requests, group, "0").Err(); err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
		return fmt.Errorf("contender: floor: group: %w", err)
	}
	ready()
	for ctx.Err() == nil {
		batch, err := f.read(ctx)
		if err == nil && len(batch) > 0 {
			err = commit(ctx, batch)
		}
		if err != nil {
			return stopped(ctx, fmt.Errorf("contender: floor: serve: %w", err))
		}
	}
	return nil
}

func (f *floor) read(ctx context.Context) ([]redis.XMessage, error) {
	streams, err := f.rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: group, Consumer: f.opts.Consumer, Streams: []string{requests, ">"},
		Count: int64(f.opts.Batch), Block: blockTime,
	}).Result()
	if errors.Is(err, redis.Nil) || len(streams) == 0 {
		return nil, unlessNil(err)
	}
	return streams[0].Messages, err
}

// unlessNil passes every error but the one that says that nothing came.
func unlessNil(err error) error {
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

func (f *floor) commit(ctx context.Context, batch []redis.XMessage) error {
	pipe := f.pipeline()
	ids := make([]string, len(batch))
	for i, m := range batch {
		ids[i] = m.ID
		payload, _ := m.Values["payload"].(string)
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: answers, Values: []any{"payload", payload[:min(len(payload), smallPayload)]}})
	}
	pipe.XAck(ctx, requests, group, ids...)
	_, err := pipe.Exec(ctx)
	return err
}

func (f *floor) Answered(ctx context.Context) (int, error) {
	n, err := f.rdb.XLen(ctx, answers).Result()
	return int(n), err
}

func (f *floor) Follow(ctx context.Context, ready func(), seen func(int)) error {
	return f.follow(ctx, ready, func(m redis.XMessage) error {
		id, _ := m.Values["payload"].(string)
		number, err := numberOf(id)
		if err == nil {
			seen(number)
		}
		return err
	})
}

func (f *floor) follow(ctx context.Context, ready func(), each func(redis.XMessage) error) error {
	last := "0-0"
	if tail, err := f.rdb.XRevRangeN(ctx, answers, "+", "-", 1).Result(); err != nil {
		return err
	} else if len(tail) > 0 {
		last = tail[0].ID
	}
	ready()
	for ctx.Err() == nil {
		streams, err := f.rdb.XRead(ctx, &redis.XReadArgs{
			Streams: []string{answers, last}, Count: int64(f.opts.Batch), Block: blockTime,
		}).Result()
		if err = unlessNil(err); err != nil {
			return stopped(ctx, fmt.Errorf("contender: floor: follow: %w", err))
		}
		for _, s := range streams {
			for _, m := range s.Messages {
				last = m.ID
				if err := each(m); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
