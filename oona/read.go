package oona

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/leyline"
)

// blockTime is how long one read waits for entries. It bounds nothing that
// matters, since a stopping consumer closes the connection; it is short enough
// to notice a dead connection and long enough to cost nothing when idle.
const blockTime = 5 * time.Second

// replyTime is how long a reply may take beyond that.
const replyTime = 5 * time.Second

// untilStopped gives read a connection of its own, because a blocked read
// ignores its context: closing the connection when ctx ends is what ends it.
func (c *Client) untilStopped(ctx context.Context, read func(redis.UniversalClient)) {
	rdb := c.conn.connect(1, blockTime+replyTime)
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

// lookAgain has a client of a Cluster find out who serves what, after an error.
// By itself it would go on asking a node that died: only a node that answers can
// tell it that another took over.
func lookAgain(ctx context.Context, rdb redis.UniversalClient, err error) {
	if cluster, ok := rdb.(*redis.ClusterClient); ok && err != nil && transient(err) {
		cluster.ReloadState(ctx)
	}
}

// reader is what reading needs. It belongs to whoever reads.
type reader struct {
	rdb     redis.UniversalClient
	replies replies
	adopted bool // what is pending under our name is held
}

// read reads up to n entries and makes them ready. Entries of a reply that was lost
// on the way are pending under our name: it looks for such at the start, for those
// of a former call, and after every error. Once ctx has ended, nobody reads again.
func (c *consumer) read(ctx context.Context, n int) {
	n = min(n, c.size.most())
	var entries []*delivery
	err := c.untilDone(ctx, "read", func(ctx context.Context) (err error) {
		done, err := c.reading.allow()
		if err != nil {
			return err
		}
		if !c.reader.adopted {
			err = c.adopt(ctx)
		}
		if err == nil {
			entries, err = c.readBatch(ctx, n)
		}
		c.reader.adopted = err == nil
		done(err)
		lookAgain(ctx, c.reader.rdb, err)
		return err
	})
	if err != nil {
		return // ctx ended
	}
	c.client.stats.readTotal.Add(int64(len(entries)))
	c.held.wasRead(entries)
}

// prefetch is how many entries the workers do soon, at most a batch.
func (c *consumer) prefetch() int { return min(c.sub.Batch, c.sub.Workers*c.pace.most()) }

// mostActive is how many entries are in memory at most before reading waits: those
// being handled, being committed and about to be.
func (c *consumer) mostActive() int { return 3 * min(c.prefetch(), c.size.most()) }

// readBatch reads up to n entries and returns them as deliveries.
func (c *consumer) readBatch(ctx context.Context, n int) ([]*delivery, error) {
	reply, err := c.reader.replies.read(ctx, c.reader.rdb, 9, "xreadgroup", "group", c.sub.Group, c.client.cfg.Consumer,
		"count", n, "block", blockTime.Milliseconds(), "streams", c.sub.Stream, ">")
	if err != nil {
		return nil, err
	}
	ds, err := c.deliveries(reply)
	if refused, ok := errors.AsType[replyError](err); ok && !groupLost(refused) {
		return nil, errors.Join(err, c.showRefusal(ctx))
	}
	return ds, err
}

// showRefusal has go-redis meet an error that it passed on unread: the server may
// have become a replica, or may not have the stream any more. An acknowledgement
// of nothing is refused for the same reason, and then it looks elsewhere.
func (c *consumer) showRefusal(ctx context.Context) error {
	return c.reader.rdb.XAck(ctx, c.sub.Stream, c.sub.Group, "0-0").Err()
}

// deliveryBlock is how many deliveries are made at a time, at most: they fill what Go
// takes from its heap as one object. As long as one of them is held, all are.
const deliveryBlock = int(32 << 10 / unsafe.Sizeof(delivery{}))

// deliveries makes deliveries of a reply, whose memory they share.
func (c *consumer) deliveries(reply []byte) ([]*delivery, error) {
	now := time.Now()
	var ds []*delivery
	var block []delivery
	bytes := 0
	err := readStreams(reply, func(_ string, left int, id string, raw rawEntry) {
		if ds == nil {
			ds = make([]*delivery, 0, left)
		}
		if len(block) == cap(block) {
			block = make([]delivery, 0, min(left, deliveryBlock))
		}
		block = append(block, delivery{text: id, since: now})
		d := &block[len(block)-1]
		d.Stream, d.raw = c.sub.Stream, raw
		bytes += len(raw.payload)
		ds = append(ds, d)
	})
	if len(ds) > 0 {
		c.size.note(bytes, len(ds))
	}
	return ds, err
}

// entrySize follows the size of entries, so that large ones are read few at a
// time: about as many as fit into readBudget. It begins with the largest.
type entrySize struct{ mean atomic.Int64 }

const readBudget = 16 << 20

func (s *entrySize) note(bytes, entries int) {
	mean := s.mean.Load()
	if mean == 0 {
		mean = leyline.DefaultMaxBytes
	}
	s.mean.Store(max(1, (mean+int64(bytes/entries))/2))
}

// most is how many entries to read at once.
func (s *entrySize) most() int {
	mean := s.mean.Load()
	if mean == 0 {
		mean = leyline.DefaultMaxBytes
	}
	return max(1, int(readBudget/mean))
}
