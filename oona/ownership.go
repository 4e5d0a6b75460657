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
// somebody else's by now is let go; only one of the two will commit it.
//
// A consumer whose every worker has left a handler behind is not alive in any
// way that helps: it confirms nothing, and siblings take over what it holds.
func (c *consumer) beat(ctx context.Context) error {
	if c.held.stalled() {
		return nil
	}
	now := time.Now()
	old := c.held.unconfirmed(now.Add(-c.sub.ReclaimIdle/4), now)
	for start := 0; start < len(old); start += maxBatch {
		if err := c.confirm(ctx, old[start:min(start+maxBatch, len(old))]); err != nil {
			return err
		}
	}
	return nil
}

func (c *consumer) confirm(ctx context.Context, ids []string) error {
	args := make([]any, 0, 2+len(ids))
	args = append(args, c.sub.Group, c.client.cfg.Consumer)
	for i := range ids {
		args = append(args, &ids[i])
	}
	reply, err := heartbeatScript.Run(ctx, c.client.rdb, []string{c.sub.Stream}, args...).Slice()
	if err == nil && len(reply) != 2 {
		err = fmt.Errorf("%d values in the reply", len(reply))
	}
	if err != nil {
		return fmt.Errorf("oona: heartbeat on %s: %w", c.sub.Stream, err)
	}
	c.held.lose(textsOf(reply[0]))
	gone := textsOf(reply[1])
	c.held.lose(gone)
	c.reportLost(ctx, gone)
	return nil
}

// textsOf reads a list of strings in a script's reply.
func textsOf(list any) []string {
	values, _ := list.([]any)
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i], _ = v.(string)
	}
	return texts
}

// handBack ages what is still ours, for a sibling to take soon: not beyond
// ReclaimIdle, because Python members of the group take over what is older and
// never handle it.
func (c *consumer) handBack(ctx context.Context) {
	n, err := handBackScript.Run(ctx, c.client.rdb, []string{c.sub.Stream},
		c.sub.Group, c.client.cfg.Consumer, c.sub.ReclaimIdle.Milliseconds(), maxHandBack).Int()
	switch {
	case err != nil:
		// Nothing is lost: what is pending becomes idle by itself.
		c.log.WarnContext(ctx, "could not hand back pending entries; siblings take them when they are idle", "error", err)
	case n > 0:
		c.log.InfoContext(ctx, "handed back pending entries", "entries", n)
	}
}

// maxHandBack bounds the script; the rest becomes idle by itself.
const maxHandBack = 20000
