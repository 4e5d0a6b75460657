package contender

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
)

// watermillBus is watermill over Redis Streams with its defaults: one subscriber,
// which hands out one message at a time.
type watermillBus struct {
	opts Options
	rdb  *redis.Client
	pub  *redisstream.Publisher
}

func newWatermill(_ context.Context, o Options) (Contender, error) {
	rdb := redis.NewClient(&redis.Options{Addr: o.Addr, MaxRetries: -1})
	pub, err := redisstream.NewPublisher(redisstream.PublisherConfig{Client: rdb}, watermill.NopLogger{})
	if err != nil {
		return nil, fmt.Errorf("contender: watermill: %w", err)
	}
	return &watermillBus{opts: o, rdb: rdb, pub: pub}, nil
}

func (w *watermillBus) Close() error { return w.rdb.Close() }

// Publish publishes from several goroutines, as watermill does one round trip
// per message.
func (w *watermillBus) Publish(_ context.Context, first, n int) error {
	return inParallel(first, n, func(i int) error {
		return w.pub.Publish(requests, message.NewMessage(watermill.NewUUID(), plainPayload(i, w.opts.Payload)))
	})
}

func (w *watermillBus) Serve(ctx context.Context, ready func()) error {
	sub, err := redisstream.NewSubscriber(redisstream.SubscriberConfig{
		Client: w.rdb, Consumer: w.opts.Consumer, ConsumerGroup: group,
		DisableIndefiniteInitialBlock: true,
	}, watermill.NopLogger{})
	if err != nil {
		return fmt.Errorf("contender: watermill: %w", err)
	}
	defer sub.Close()
	messages, err := sub.Subscribe(ctx, requests)
	if err != nil {
		return fmt.Errorf("contender: watermill: %w", err)
	}
	ready()
	for m := range messages {
		answer := m.Payload[:min(len(m.Payload), smallPayload)]
		if err := w.pub.Publish(answers, message.NewMessage(watermill.NewUUID(), answer)); err != nil {
			return stopped(ctx, fmt.Errorf("contender: watermill: %w", err))
		}
		m.Ack()
	}
	return nil
}

func (w *watermillBus) Answered(ctx context.Context) (int, error) {
	n, err := w.rdb.XLen(ctx, answers).Result()
	return int(n), err
}
