package oona

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed mark.lua
var markSource string

var markScript = redis.NewScript(markSource)

// raiseMark raises the low-water mark of this stream and lets go of nonces that
// no entry can carry any more: those issued more than the guard's retention
// before everything that any stream of the group has not finished.
func (c *consumer) raiseMark(ctx context.Context) error {
	slack := c.client.cfg.Guard.ClockSkew()
	reply, err := markScript.Run(ctx, c.client.rdb,
		[]string{c.sub.Stream, c.client.keys.marks(c.sub.Group)},
		c.sub.Group, slack.Milliseconds(), max(c.client.cfg.MessageTTL, slack).Milliseconds()).Slice()
	if err != nil {
		return fmt.Errorf("oona: low-water mark of %s: %w", c.sub.Stream, err)
	}
	m, err := parseMark(reply)
	if err != nil {
		return fmt.Errorf("oona: low-water mark of %s: %w", c.sub.Stream, err)
	}
	if m.ahead != c.idsAhead.Swap(m.ahead) && m.ahead {
		c.log.ErrorContext(ctx, "the stream's ids are ahead of the clock: somebody added an entry with an id of their own; good messages pass, nonces are kept longer")
	}
	if m.stream != c.sub.Stream && c.client.Now().Sub(time.UnixMilli(m.least)) > c.client.cfg.MessageTTL {
		if err := c.forgetStream(ctx, m.stream); err != nil {
			return err
		}
	}
	return c.dropBuckets(ctx, m)
}

// lowWater is what the mark script returns.
type lowWater struct {
	least  int64 // Unix ms: nothing before this is unfinished, on any stream
	floor  int64 // buckets below this number are gone; -1 for never set
	stream string
	ahead  bool // ids of this stream are ahead of the clock
}

func parseMark(reply []any) (m lowWater, err error) {
	if len(reply) != 4 {
		return m, fmt.Errorf("%d values in the reply", len(reply))
	}
	least, _ := reply[0].(string)
	floor, _ := reply[1].(string)
	m.stream, _ = reply[2].(string)
	ahead, _ := reply[3].(int64)
	m.ahead = ahead == 1
	var errLeast, errFloor error
	m.least, errLeast = strconv.ParseInt(least, 10, 64)
	m.floor, errFloor = strconv.ParseInt(floor, 10, 64)
	return m, errors.Join(errLeast, errFloor)
}

// dropBuckets unlinks the buckets between the floor and the oldest that is still
// needed, then raises the floor: a crash in between repeats the step.
func (c *consumer) dropBuckets(ctx context.Context, m lowWater) error {
	k := c.client.keys
	needed := k.bucket(m.least - c.client.cfg.Guard.Retention().Milliseconds())
	if m.floor >= needed {
		return nil
	}
	for from := m.floor; m.floor >= 0 && from < needed; from += maxBatch {
		var keys []string
		for b := from; b < min(from+maxBatch, needed); b++ {
			keys = append(keys, k.nonces(c.sub.Group, b))
		}
		if err := c.client.rdb.Unlink(ctx, keys...).Err(); err != nil {
			return fmt.Errorf("oona: drop nonces of %s: %w", c.sub.Group, err)
		}
	}
	if err := c.client.rdb.HSet(ctx, k.marks(c.sub.Group), "#floor", needed).Err(); err != nil {
		return fmt.Errorf("oona: drop nonces of %s: %w", c.sub.Group, err)
	}
	return nil
}

// forgetStream takes a stream out of the marks when the group does not exist
// there any more: nobody will read it, and its old mark would keep every nonce
// for ever.
func (c *consumer) forgetStream(ctx context.Context, stream string) error {
	groups, err := c.client.rdb.XInfoGroups(ctx, stream).Result()
	if err != nil && !noSuchKey(err) {
		return fmt.Errorf("oona: groups of %s: %w", stream, err)
	}
	for _, g := range groups {
		if g.Name == c.sub.Group {
			c.log.WarnContext(ctx, "a stream of the group has not advanced: nonces are kept for it", "behind", stream)
			return nil
		}
	}
	if err := c.client.rdb.HDel(ctx, c.client.keys.marks(c.sub.Group), stream).Err(); err != nil {
		return fmt.Errorf("oona: forget %s: %w", stream, err)
	}
	return nil
}

func noSuchKey(err error) bool {
	return errors.Is(err, redis.Nil) || err != nil && err.Error() == "ERR no such key"
}
