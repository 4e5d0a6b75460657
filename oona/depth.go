package oona

import (
	"context"
	_ "embed"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed depth.lua
var depthSource string

// groupsSource begins the scripts that look at the groups of streams.
//
//go:embed groups.lua
var groupsSource string

var depthScript = redis.NewScript(groupsSource + depthSource)

// A client that publishes looks how much waits, with the commands that it sends
// anyway: often when something waits, and when next to nothing did, as soon as it
// has itself published enough to change that.
const (
	sampleInterval     = 250 * time.Millisecond
	sampleIdleInterval = 15 * time.Second
	sampleMessages     = 1000
	// samplePercent of Config.MaxQueueDepth is next to nothing.
	samplePercent = 1
)

// Depth is how much is in a stream.
type Depth struct {
	// Waiting is the number of entries that the group which is furthest behind
	// has not finished: undelivered and pending. 0 for a stream without groups.
	Waiting int64
	// Length is the number of entries, finished ones included.
	Length int64
}

// depths is what a client last saw of the streams.
type depths struct {
	mu        sync.RWMutex
	all       map[string]Depth
	most      int64 // waits in any stream
	at        time.Time
	published int // by us since then
}

// Depth returns how much is in one of the client's streams, as last seen: by
// [Client.Sample], or while the client publishes, then at most a quarter of a
// second ago when much waits, and 1000 messages or 15 s ago when not. It is the
// zero Depth before anything was seen.
func (c *Client) Depth(stream string) Depth {
	c.depths.mu.RLock()
	defer c.depths.mu.RUnlock()
	return c.depths.all[stream]
}

// Sample looks how much waits in each of the client's streams: one command. A
// client that publishes does so by itself.
func (c *Client) Sample(ctx context.Context) error {
	if err := c.storeDepths(depthScript.Run(ctx, c.rdb, c.cfg.Streams.All())); err != nil {
		return fmt.Errorf("oona: sample: %w", err)
	}
	return nil
}

// sampleWith adds the look to a pipeline of n messages when it is due, and
// returns what takes in its result.
func (c *Client) sampleWith(ctx context.Context, pipe redis.Pipeliner, n int) (done func()) {
	if !c.depths.due(n, c.cfg.MaxQueueDepth) {
		return func() {}
	}
	// Whole, since the server may not know the script, and a pipeline cannot
	// ask first.
	cmd := depthScript.Eval(ctx, pipe, c.cfg.Streams.All())
	return func() { _ = c.storeDepths(cmd) } // the next sample makes up for it
}

// due notes that n messages are published and reports whether to look.
func (d *depths) due(n int, limit int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.published += n
	since := time.Since(d.at)
	idle := d.most*100 < limit*samplePercent
	if since < sampleInterval || idle && since < sampleIdleInterval && d.published < sampleMessages {
		return false
	}
	d.at, d.published = time.Now(), 0
	return true
}

func (d *depths) known() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.all != nil
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
	d := &c.depths
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all, d.most, d.at, d.published = all, most, time.Now(), 0
	return nil
}
