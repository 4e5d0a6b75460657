package oona

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed heartbeat.lua
var heartbeatSource string

//go:embed handback.lua
var handBackSource string

var (
	heartbeatScript = redis.NewScript(heartbeatSource)
	handBackScript  = redis.NewScript(handBackSource)
)

// beat confirms what is held for longer than a heartbeat. What turns out to be
// somebody else's by now is let go; its handler's result will not count, since
// only one of the two acknowledgements succeeds.
func (c *consumer) beat(ctx context.Context) error {
	now := time.Now()
	old := c.held.unconfirmed(now.Add(-c.sub.ReclaimIdle/4), now)
	for start := 0; start < len(old); start += maxBatch {
		part := old[start:min(start+maxBatch, len(old))]
		args := make([]any, 0, 2+len(part))
		args = append(args, c.sub.Group, c.client.cfg.Consumer)
		byID := make(map[string]*delivery, len(part))
		for _, d := range part {
			args = append(args, d.text)
			byID[d.text] = d
		}
		lost, err := heartbeatScript.Run(ctx, c.client.rdb, []string{c.sub.Stream}, args...).StringSlice()
		if err != nil {
			return fmt.Errorf("oona: heartbeat on %s: %w", c.sub.Stream, err)
		}
		for _, id := range lost {
			if d := byID[id]; d != nil {
				c.release(d)
			}
		}
	}
	return nil
}

// reclaim takes over entries that lay idle: those of consumers that died, and
// our own whose delivery got lost on the way.
func (c *consumer) reclaim(ctx context.Context) error {
	for start := "0-0"; ; {
		room := min(2*c.sub.Batch-c.held.active(), c.sub.Batch)
		if room <= 0 {
			return nil // the rest at the next turn
		}
		deliveries, err := c.idle(ctx, start, room)
		if err != nil || len(deliveries) == 0 {
			return err
		}
		messages, next, deleted, err := c.client.rdb.XAutoClaimWithDeleted(ctx, &redis.XAutoClaimArgs{
			Stream:   c.sub.Stream,
			Group:    c.sub.Group,
			Consumer: c.client.cfg.Consumer,
			MinIdle:  c.sub.ReclaimIdle,
			Start:    start,
			Count:    int64(room),
		}).Result()
		if err != nil {
			return fmt.Errorf("oona: reclaim on %s: %w", c.sub.Stream, err)
		}
		c.reportLost(ctx, deleted)
		if err := c.takeOver(ctx, messages, deliveries); err != nil {
			return err
		}
		if start = next; start == "0-0" || start == "" {
			return nil
		}
	}
}

// idle returns how often each idle entry was delivered, by id.
func (c *consumer) idle(ctx context.Context, start string, n int) (map[string]int64, error) {
	pending, err := c.client.rdb.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: c.sub.Stream,
		Group:  c.sub.Group,
		Idle:   c.sub.ReclaimIdle,
		Start:  start,
		End:    "+",
		Count:  int64(n),
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("oona: pending entries on %s: %w", c.sub.Stream, err)
	}
	deliveries := make(map[string]int64, len(pending))
	for _, p := range pending {
		deliveries[p.ID] = p.RetryCount
	}
	return deliveries, nil
}

// takeOver brings reclaimed entries into the ordinary flow, with what is known
// of their failures.
func (c *consumer) takeOver(ctx context.Context, entries []redis.XMessage, deliveries map[string]int64) error {
	if len(entries) == 0 {
		return nil
	}
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.ID
	}
	records, err := c.client.rdb.HMGet(ctx, c.client.keys.failures(c.sub.Stream, c.sub.Group), ids...).Result()
	if err != nil {
		return fmt.Errorf("oona: failures on %s: %w", c.sub.Stream, err)
	}
	known := make(map[string]history, len(entries))
	for i, id := range ids {
		h := history{deliveries: deliveries[id]}
		if text, ok := records[i].(string); ok {
			h.failed = parseFailures(text)
		}
		known[id] = h
	}
	c.client.stats.reclaimedTotal.Add(int64(len(entries)))
	c.log.InfoContext(ctx, "took over idle entries", "entries", len(entries), "first", ids[0])
	c.dispatch(ctx, entries, known)
	return nil
}

// history is what is known of an entry that is not new.
type history struct {
	failed     failures
	deliveries int64
}

// reportLost says which entries were deleted from the stream before they were
// done, by somebody's trimming: their content is gone.
func (c *consumer) reportLost(ctx context.Context, ids []string) {
	if len(ids) == 0 {
		return
	}
	c.client.stats.dataLossTotal.Add(int64(len(ids)))
	c.log.ErrorContext(ctx, "entries were deleted from the stream before they were done", "entries", len(ids), "entry_ids", ids)
}

// handBack ages what is still ours, for a sibling to take soon: not beyond
// ReclaimIdle, because Python members of the group take over what is older and
// never handle it.
func (c *consumer) handBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	n, err := handBackScript.Run(ctx, c.client.rdb, []string{c.sub.Stream},
		c.sub.Group, c.client.cfg.Consumer, c.sub.ReclaimIdle.Milliseconds(), maxHandBack).Int()
	switch {
	case err != nil:
		// Nothing is lost: what is pending becomes idle by itself.
		c.log.WarnContext(ctx, "could not hand back pending entries; siblings take them when they are idle", "error", err)
	case n > 0:
		c.log.InfoContext(ctx, "handed back pending entries", "entries", n)
	}
	return nil
}

// maxHandBack bounds the script. A consumer holds fewer than this.
const maxHandBack = 10000
