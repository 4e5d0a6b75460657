package oona

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed reclaim.lua
var reclaimSource string

var reclaimScript = redis.NewScript(reclaimSource)

// reclaim takes over entries that lay idle: those of consumers that died, and
// our own that were let go. It may fill more than the reader does, so that the
// oldest entries are not the last under load.
func (c *consumer) reclaim(ctx context.Context) error {
	return c.takeOver(ctx, "", c.sub.ReclaimIdle, 4*c.prefetch())
}

// adopt takes what is pending under our name and not held: what was read, and
// whose reply was lost.
func (c *consumer) adopt(ctx context.Context) error {
	return c.takeOver(ctx, c.client.cfg.Consumer, 0, 2*c.sub.Batch)
}

// takeOver brings pending entries into the ordinary flow while fewer than limit
// are active: those of the named consumer, or of any, if they are idle for long
// enough. The rest waits for the next turn.
func (c *consumer) takeOver(ctx context.Context, from string, idle time.Duration, limit int) error {
	for start := (EntryID{}); ; {
		room := min(c.held.room(limit), c.size.most())
		if room == 0 {
			return nil
		}
		pending, err := c.client.rdb.XPendingExt(ctx, &redis.XPendingExtArgs{
			Stream:   c.sub.Stream,
			Group:    c.sub.Group,
			Idle:     idle,
			Start:    start.String(),
			End:      "+",
			Count:    int64(room),
			Consumer: from,
		}).Result()
		if err != nil {
			return fmt.Errorf("oona: pending entries on %s: %w", c.sub.Stream, err)
		}
		ids := make([]string, len(pending))
		for i, p := range pending {
			ids[i] = p.ID
		}
		if err := c.take(ctx, c.held.strangers(ids), idle, from != ""); err != nil {
			return err
		}
		if len(ids) < room {
			return nil
		}
		if start, err = ParseEntryID(ids[len(ids)-1]); err != nil {
			return err
		}
		if start = start.next(); start.IsZero() {
			return nil // that was the last id there is
		}
	}
}

func (c *consumer) take(ctx context.Context, ids []string, idle time.Duration, own bool) error {
	if len(ids) == 0 {
		return nil
	}
	args := make([]any, 0, 4+len(ids))
	args = append(args, c.sub.Group, c.client.cfg.Consumer, idle.Milliseconds(), map[bool]string{true: "own", false: "any"}[own])
	for _, id := range ids {
		args = append(args, id)
	}
	reply, err := reclaimScript.Run(ctx, c.client.rdb,
		[]string{c.sub.Stream, c.client.keys.failures(c.sub.Stream, c.sub.Group)}, args...).Slice()
	if err != nil {
		return fmt.Errorf("oona: reclaim on %s: %w", c.sub.Stream, err)
	}
	taken, gone, err := parseTaken(reply)
	if err != nil {
		return fmt.Errorf("oona: reclaim on %s: %w", c.sub.Stream, err)
	}
	c.reportLost(ctx, gone)
	if len(taken) == 0 {
		return nil
	}
	now := time.Now()
	for _, d := range taken {
		d.Stream, d.since = c.sub.Stream, now
	}
	c.client.stats.reclaimedTotal.Add(int64(len(taken)))
	c.log.InfoContext(ctx, "took over pending entries", "entries", len(taken), "first", taken[0].text, "own", own)
	c.held.add(taken)
	return nil
}

// parseTaken reads the reply of reclaim.lua.
func parseTaken(reply []any) (taken []*delivery, gone []string, err error) {
	if len(reply) != 2 {
		return nil, nil, fmt.Errorf("%d values in the reply", len(reply))
	}
	entries, _ := reply[0].([]any)
	for _, e := range entries {
		parts, _ := e.([]any)
		if len(parts) != 4 {
			return nil, nil, fmt.Errorf("%d values of an entry", len(parts))
		}
		d := new(delivery)
		d.text, _ = parts[0].(string)
		fields, _ := parts[1].([]any)
		d.raw = rawOfList(fields)
		d.deliveries, _ = parts[2].(int64)
		record, _ := parts[3].(string)
		d.failed = parseFailures(record)
		taken = append(taken, d)
	}
	return taken, textsOf(reply[1]), nil
}

// reportLost says which entries were deleted from the stream before they were
// done, by somebody's trimming.
func (c *consumer) reportLost(ctx context.Context, ids []string) {
	if len(ids) == 0 {
		return
	}
	c.client.stats.dataLossTotal.Add(int64(len(ids)))
	c.log.ErrorContext(ctx, "entries were deleted from the stream before they were done", "entries", len(ids), "entry_ids", ids)
}
