package oona

import (
	"context"
	_ "embed"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed depth.lua
var depthSource string

var depthScript = redis.NewScript(depthSource)

// sampleInterval is how often a client that publishes looks how much waits. It
// does so with the commands that it sends anyway.
const sampleInterval = 250 * time.Millisecond

// Depth is how much waits in a stream.
type Depth struct {
	// Waiting is the number of entries that the group which is furthest behind
	// has not finished: undelivered and pending. 0 for a stream without groups.
	Waiting int64
	// Length is the number of entries, finished ones included.
	Length int64
}

// depths is what a client last saw of the streams.
type depths struct {
	due atomic.Int64 // when to look again, in Unix ns

	mu  sync.RWMutex
	all map[string]Depth
}

func (d *depths) known() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.all != nil
}

// Depth returns how much waits in one of the client's streams, as last seen: at
// most a quarter of a second ago while the client publishes, or when
// [Client.Sample] was called. The zero Depth before anything was seen.
func (c *Client) Depth(stream string) Depth {
	c.depths.mu.RLock()
	defer c.depths.mu.RUnlock()
	return c.depths.all[stream]
}

// Sample looks how much waits in each of the client's streams: one command. A
// client that publishes does so by itself.
func (c *Client) Sample(ctx context.Context) error {
	c.depths.due.Store(time.Now().Add(sampleInterval).UnixNano())
	if err := c.storeDepths(depthScript.Run(ctx, c.rdb, c.cfg.Streams.All())); err != nil {
		return fmt.Errorf("oona: sample: %w", err)
	}
	return nil
}

// sampleWith adds the look to a pipeline when it is due, and returns what takes
// in its result.
func (c *Client) sampleWith(ctx context.Context, pipe redis.Pipeliner) (done func()) {
	now := time.Now()
	due := c.depths.due.Load()
	if now.UnixNano() < due || !c.depths.due.CompareAndSwap(due, now.Add(sampleInterval).UnixNano()) {
		return func() {}
	}
	// Whole, since the server may not know the script, and a pipeline cannot
	// ask first.
	cmd := depthScript.Eval(ctx, pipe, c.cfg.Streams.All())
	return func() { _ = c.storeDepths(cmd) } // the next sample makes up for it
}

func (c *Client) storeDepths(cmd *redis.Cmd) error {
	numbers, err := cmd.Int64Slice()
	if err != nil {
		return err
	}
	streams := c.cfg.Streams.All()
	if len(numbers) != 2*len(streams) {
		return fmt.Errorf("%d numbers for %d streams", len(numbers), len(streams))
	}
	all := make(map[string]Depth, len(streams))
	var most int64
	for i, s := range streams {
		all[s] = Depth{Waiting: numbers[2*i], Length: numbers[2*i+1]}
		most = max(most, numbers[2*i])
	}
	c.conservative.note(most, c.cfg.MaxQueueDepth)
	c.depths.mu.Lock()
	defer c.depths.mu.Unlock()
	c.depths.all = all
	return nil
}
