package oona

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed mark.lua
var markSource string

var markScript = redis.NewScript(markSource)

// markInterval is how often the low-water mark rises; nonces are kept that much
// longer than needed.
const markInterval = 10 * time.Second

// raiseMark raises the low-water mark of this stream and lets go of nonces that
// no entry can carry any more: those issued more than the guard's retention
// before everything that any stream of the group has not finished.
func (c *consumer) raiseMark(ctx context.Context) error {
	m, err := c.raiseMarkOf(ctx, c.sub.Stream)
	if err != nil {
		return err
	}
	c.reportClock(ctx, m)
	if m.stream != c.sub.Stream && m.behind > 3*markInterval {
		// Nobody may be consuming that stream, so its mark is for us to raise.
		other, err := c.raiseMarkOf(ctx, m.stream)
		switch {
		case groupLost(err) || noSuchKey(err):
			// Nobody will read it, and its old mark would keep every nonce.
			return c.forgetMark(ctx, m.stream)
		case err != nil:
			return err
		}
		c.reportBehind(ctx, other)
		m.floor = max(m.floor, other.floor)
	}
	return c.dropBuckets(ctx, m)
}

func (c *consumer) raiseMarkOf(ctx context.Context, stream string) (lowWater, error) {
	guard := c.client.cfg.Guard
	reply, err := markScript.Run(ctx, c.client.rdb,
		[]string{stream, c.client.keys.marks(c.sub.Group)},
		c.sub.Group, guard.ClockSkew().Milliseconds(), c.client.cfg.MessageTTL.Milliseconds(),
		guard.Retention().Milliseconds(), bucketWidth.Milliseconds()).Slice()
	if err != nil {
		return lowWater{}, fmt.Errorf("oona: low-water mark of %s: %w", stream, err)
	}
	m, err := parseMark(reply)
	if err != nil {
		return lowWater{}, fmt.Errorf("oona: low-water mark of %s: %w", stream, err)
	}
	return m, nil
}

// lowWater is what the mark script returns.
type lowWater struct {
	floor   int64         // buckets below this number are not needed
	swept   int64         // buckets below this number are gone; -1 for never set
	stream  string        // has the least mark of all streams of the group
	behind  time.Duration // is how far that mark is behind
	ahead   bool          // the ids of this stream are ahead of the clock
	putBack bool          // the clock was put back
}

func parseMark(reply []any) (m lowWater, err error) {
	if len(reply) != 5 {
		return m, fmt.Errorf("%d values in the reply", len(reply))
	}
	var numbers [3]int64
	var errs [3]error
	for i, at := range [...]int{0, 1, 3} {
		text, _ := reply[at].(string)
		numbers[i], errs[i] = strconv.ParseInt(text, 10, 64)
	}
	m.floor, m.swept, m.behind = numbers[0], numbers[1], time.Duration(numbers[2])*time.Millisecond
	m.stream, _ = reply[2].(string)
	flags, _ := reply[4].(int64)
	m.ahead, m.putBack = flags&1 != 0, flags&2 != 0
	return m, errors.Join(errs[:]...)
}

// reportClock says once what is wrong with the server's clock or the stream's.
func (c *consumer) reportClock(ctx context.Context, m lowWater) {
	if m.ahead != c.idsAhead.Swap(m.ahead) && m.ahead {
		c.client.stats.clockAlarms.Add(1)
		c.log.ErrorContext(ctx, "the stream's ids are ahead of the clock: somebody added an entry with an id of their own; good messages pass, nonces are kept longer")
	}
	if m.putBack {
		c.client.stats.clockAlarms.Add(1)
		c.log.ErrorContext(ctx, "the clock of redis was put back: messages issued before this moment may be refused as stale")
	}
}

// reportBehind says once which stream keeps nonces from being let go.
func (c *consumer) reportBehind(ctx context.Context, m lowWater) {
	late := m.behind > c.client.cfg.MessageTTL && m.stream != c.sub.Stream
	if late != c.othersLate.Swap(late) && late {
		c.log.WarnContext(ctx, "a stream of the group has unfinished entries that nobody works on: nonces are kept for it", "behind", m.stream, "by", m.behind.Round(time.Second))
	}
}

// firstSweep is how many buckets are dropped where nobody knows which were.
const firstSweep = 1000

// dropBuckets unlinks the buckets below the floor. The floor was raised first: a
// nonce that may be gone already is refused, and a crash in between repeats the
// step.
func (c *consumer) dropBuckets(ctx context.Context, m lowWater) error {
	k := c.client.keys
	from := m.swept
	if from < 0 {
		from = m.floor - firstSweep
	}
	for from < m.floor {
		to := min(from+maxBatch, m.floor)
		drop := make([]string, 0, to-from)
		for b := from; b < to; b++ {
			drop = append(drop, k.nonces(c.sub.Group, b))
		}
		pipe := c.client.rdb.Pipeline()
		pipe.Unlink(ctx, drop...)
		pipe.HSet(ctx, k.marks(c.sub.Group), sweptField, to)
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("oona: drop nonces of %s: %w", c.sub.Group, err)
		}
		from = to
	}
	return nil
}

// sweptField stands among the marks for the first bucket that is not dropped yet.
const sweptField = "#swept"

// forgetMark takes a stream out of the marks.
func (c *consumer) forgetMark(ctx context.Context, stream string) error {
	if err := c.client.rdb.HDel(ctx, c.client.keys.marks(c.sub.Group), stream).Err(); err != nil {
		return fmt.Errorf("oona: forget %s: %w", stream, err)
	}
	return nil
}

// noSuchKey reports whether an error reply says that a stream does not exist.
func noSuchKey(err error) bool {
	return errors.Is(err, redis.Nil) || err != nil && strings.Contains(err.Error(), "no such key")
}
