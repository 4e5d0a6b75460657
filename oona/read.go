package oona

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// blockTime is how long one read waits for entries. It bounds nothing that
// matters, since a stopping consumer closes the connection; it is short enough
// to notice a dead connection and long enough to cost nothing when idle.
const blockTime = 5 * time.Second

// untilStopped gives read a connection of its own, because a blocked read
// ignores its context: closing the connection when ctx ends is what ends it.
func (c *Client) untilStopped(ctx context.Context, read func(redis.UniversalClient)) {
	rdb := c.conn.connect(1)
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = rdb.Close() // what it was reading is not ours yet
	})
	read(rdb)
	if stop() {
		_ = rdb.Close()
		return
	}
	<-closed
}

// read feeds the workers until ctx ends. Entries of a reply that was lost on the
// way are pending under our name: it looks for such at the start, for those of a
// former call, and after every error.
func (c *consumer) read(ctx context.Context) {
	c.client.untilStopped(ctx, func(rdb redis.UniversalClient) {
		adopted := false
		for {
			n := c.held.awaitRoom(2 * c.sub.Batch)
			if n == 0 {
				return
			}
			var entries []redis.XMessage
			err := c.untilDone(ctx, "read", func(ctx context.Context) (err error) {
				done, err := c.reading.allow()
				if err != nil {
					return err
				}
				if !adopted {
					err = c.adopt(ctx)
				}
				if err == nil {
					entries, err = c.readBatch(ctx, rdb, n)
				}
				adopted = err == nil
				done(err)
				return err
			})
			if err != nil {
				return // ctx ended
			}
			c.receive(entries)
		}
	})
}

func (c *consumer) readBatch(ctx context.Context, rdb redis.UniversalClient, n int) ([]redis.XMessage, error) {
	streams, err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group:    c.sub.Group,
		Consumer: c.client.cfg.Consumer,
		Streams:  []string{c.sub.Stream, ">"},
		Count:    int64(n),
		Block:    blockTime,
	}).Result()
	if errors.Is(err, redis.Nil) || err == nil && len(streams) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return streams[0].Messages, nil
}

// receive makes what was read ready to be handled.
func (c *consumer) receive(entries []redis.XMessage) {
	if len(entries) == 0 {
		return
	}
	now := time.Now()
	ds := make([]*delivery, len(entries))
	block := make([]delivery, len(entries))
	for i := range entries {
		d := &block[i]
		d.Stream, d.text, d.since = c.sub.Stream, entries[i].ID, now
		d.raw = rawOf(entries[i].Values)
		ds[i] = d
	}
	c.client.stats.readTotal.Add(int64(len(entries)))
	c.held.add(ds)
}
