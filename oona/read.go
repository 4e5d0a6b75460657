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

// read feeds the workers until ctx ends. It has a connection of its own, because
// a blocked read ignores its context: closing the connection is what ends it.
// Entries of a reply that was lost on the way are pending under our name and
// come back by reclaim.
func (c *consumer) read(ctx context.Context) {
	rdb := c.client.reader()
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = rdb.Close()
	})
	defer func() {
		if stop() {
			_ = rdb.Close()
			return
		}
		<-closed
	}()
	for ctx.Err() == nil {
		n, ok := c.awaitRoom(ctx)
		if !ok {
			return
		}
		var entries []redis.XMessage
		err := c.untilDone(ctx, "read", func(ctx context.Context) (err error) {
			entries, err = c.readBatch(ctx, rdb, n)
			return err
		})
		if err != nil {
			return // ctx ended
		}
		c.dispatch(ctx, entries, nil)
	}
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

// awaitRoom returns how many entries the workers will take soon: a batch that
// runs and one that waits. More would only be held back from siblings.
func (c *consumer) awaitRoom(ctx context.Context) (int, bool) {
	for {
		if room := 2*c.sub.Batch - c.held.active(); room > 0 {
			return min(room, c.sub.Batch), ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
			return 0, false
		case <-c.room:
		}
	}
}

// release lets go of a delivery and wakes the reader.
func (c *consumer) release(d *delivery) {
	c.held.remove(d)
	signal(c.room)
}

// dispatch hands entries to the workers, in chunks small enough that all of
// them have something to do. What the stop prevents stays pending.
func (c *consumer) dispatch(ctx context.Context, entries []redis.XMessage, known map[string]history) {
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
		d.failed, d.deliveries = known[d.text].failed, known[d.text].deliveries
		ds[i] = d
	}
	c.client.stats.readTotal.Add(int64(len(entries)))
	c.queue(ctx, c.held.add(ds))
}

func (c *consumer) queue(ctx context.Context, ds []*delivery) {
	size := (len(ds) + c.sub.Workers - 1) / c.sub.Workers
	size = min(max(size, minChunk), max(len(ds), 1))
	for start := 0; start < len(ds); start += size {
		chunk := ds[start:min(start+size, len(ds))]
		select {
		case c.work <- chunk:
		case <-ctx.Done():
			return
		}
	}
}

// minChunk keeps a small batch together: below it, handing work to another
// goroutine costs more than doing it.
const minChunk = 16
