package contender

import (
	"context"
	"fmt"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// asynqWorkers is the concurrency at which asynq was fastest on two cores.
const asynqWorkers = 64

// jobs is asynq: the request is a task, and so is the answer, in a queue that
// its asker would serve.
type jobs struct {
	opts   Options
	rdb    *redis.Client
	client *asynq.Client
}

func newAsynq(_ context.Context, o Options) (Contender, error) {
	rdb := redis.NewClient(&redis.Options{Addr: o.Addr, PoolSize: asynqWorkers})
	return &jobs{opts: o, rdb: rdb, client: asynq.NewClientFromRedisClient(rdb)}, nil
}

func (j *jobs) Close() error { return j.rdb.Close() }

// Publish publishes from several goroutines, as asynq does one round trip per
// task.
func (j *jobs) Publish(ctx context.Context, first, n int) error {
	return inParallel(first, n, func(i int) error {
		_, err := j.client.EnqueueContext(ctx, asynq.NewTask("prefetch", plainPayload(i, j.opts.Payload)), asynq.Queue("requests"))
		return err
	})
}

func (j *jobs) Serve(ctx context.Context, ready func()) error {
	server := asynq.NewServerFromRedisClient(j.rdb, asynq.Config{
		Concurrency: asynqWorkers,
		Queues:      map[string]int{"requests": 1},
		Logger:      silent{},
		LogLevel:    asynq.FatalLevel,
	})
	err := server.Start(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		payload := t.Payload()
		answer := asynq.NewTask("ready", payload[:min(len(payload), smallPayload)])
		_, err := j.client.EnqueueContext(ctx, answer, asynq.Queue("answers"))
		return err
	}))
	if err != nil {
		return fmt.Errorf("contender: asynq: %w", err)
	}
	ready()
	<-ctx.Done()
	server.Shutdown()
	return nil
}

func (j *jobs) Answered(ctx context.Context) (int, error) {
	n, err := j.rdb.LLen(ctx, "asynq:{answers}:pending").Result()
	return int(n), err
}

// silent is a logger for asynq, which otherwise writes to stderr.
type silent struct{}

func (silent) Debug(...any)      {}
func (silent) Info(args ...any)  {}
func (silent) Warn(args ...any)  {}
func (silent) Error(...any)      {}
func (silent) Fatal(args ...any) { panic(fmt.Sprint(args...)) }
