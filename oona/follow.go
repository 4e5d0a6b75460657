package oona

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sethvargo/go-retry"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// Following says what [Client.Follow] reads, and how.
type Following struct {
	// From is where to start, and which streams. Required. Resolve it before
	// anything that you wait for is published: by [Client.Tail], or from what
	// was stored. It is not written to.
	From Cursor
	// Types are the types to handle; others are passed over. Empty means every
	// type of the schema.
	Types []pb.BusMessageType
	// Batch is the most entries read at once. Default [DefaultBatch].
	Batch int
	// MaxAttempts is how often the handler may fail before a message is given
	// up, counted and passed over. Until then the messages behind it wait.
	// Default [DefaultMaxAttempts]; negative means no limit.
	MaxAttempts int
	// RetryBase and RetryMax bound the backoff between attempts. Default 1s
	// and 30s.
	RetryBase, RetryMax time.Duration
	// HandlerTimeout is the deadline of one call of the handler. Default
	// [DefaultHandlerTimeout].
	HandlerTimeout time.Duration
	// Advance, where not nil, is told after each message, and after each batch
	// of others, how far the stream was followed: everything up to there was
	// handled, passed over or given up. It is called from the goroutine of
	// Follow, which it blocks.
	Advance func(stream string, at Position)
	// OnGap, where not nil, is told of entries that were deleted before they
	// were seen. They are counted and logged in any case. Called like Advance.
	OnGap func(Gap)
	// Replays, where not nil, remembers nonces, and a message whose nonce it
	// knows is refused as replayed. Leave it nil where the handler knows what
	// it waits for, as a table of pending requests does.
	Replays leyline.ReplayStore
}

func (f Following) withDefaults() (Following, error) {
	if len(f.From) == 0 {
		return f, errors.New("oona: a following needs at least one stream")
	}
	sub, err := Subscription{
		Stream: "-", Group: "-",
		Batch: f.Batch, RetryBase: f.RetryBase, RetryMax: f.RetryMax, HandlerTimeout: f.HandlerTimeout,
		Workers: 1,
	}.withDefaults()
	if err != nil {
		return f, err
	}
	f.From = maps.Clone(f.From)
	f.Batch, f.RetryBase, f.RetryMax, f.HandlerTimeout = sub.Batch, sub.RetryBase, sub.RetryMax, sub.HandlerTimeout
	if f.MaxAttempts == 0 {
		f.MaxAttempts = DefaultMaxAttempts
	}
	return f, nil
}

// Follow reads streams from a cursor on, every message of them, without a group
// and without acknowledging: what every replica must see. It blocks until ctx
// ends and then returns nil; while Redis is away it waits, with backoff. The
// handler gets one message at a time, in the order of its stream, also over
// retries. Answers in a [Result] are published on their own, at least once.
//
// A handler's error means: [RetryAfter] tries again without charge, [Drop] and
// [DeadLetter] count the message and pass over it, any other error is retried
// with backoff up to MaxAttempts. What does not verify, or is not current, is
// counted by its reason and passed over.
func (c *Client) Follow(ctx context.Context, f Following, h Handler) error {
	f, err := f.withDefaults()
	if err != nil {
		return err
	}
	r := &follower{client: c, f: f, handler: h, cursor: f.From, streams: slices.Sorted(maps.Keys(f.From)), checkGaps: true, lastRead: c.Now()}
	r.run(ctx)
	return nil
}

// follower is one call of Follow.
type follower struct {
	client  *Client
	f       Following
	handler Handler
	cursor  Cursor
	streams []string
	// seenEnd is the server's time of the last read that found nothing new. An
	// entry that turns up later with an id from before was dated back.
	seenEnd  time.Time
	lastRead time.Time
	// checkGaps is set when entries may have been deleted unseen: at the start,
	// after an outage, and when we fell behind.
	checkGaps bool
}

// staleReader is how long a follower may go without reading before it looks for
// gaps: a process that was frozen may have slept through a trimming.
const staleReader = 30 * time.Second

func (r *follower) run(ctx context.Context) {
	r.client.untilStopped(ctx, func(rdb redis.UniversalClient) {
		for ctx.Err() == nil {
			streams, err := r.read(ctx, rdb)
			if err != nil {
				return // ctx ended
			}
			for _, s := range streams {
				r.handleAll(ctx, s.Stream, s.Messages)
			}
		}
	})
}

// read returns the next entries, after it looked for gaps where that is due.
func (r *follower) read(ctx context.Context, rdb redis.UniversalClient) (streams []redis.XStream, err error) {
	failed := false
	backoff := retry.WithJitterPercent(25, retry.WithCappedDuration(2*time.Second, retry.NewExponential(50*time.Millisecond)))
	err = retry.Do(ctx, backoff, func(ctx context.Context) error {
		err := r.findGaps(ctx)
		if err == nil {
			streams, err = r.readOnce(ctx, rdb)
		}
		if err != nil && ctx.Err() == nil {
			if !failed {
				r.client.log.WarnContext(ctx, "bus is not available, retrying", "streams", r.streams, "error", err)
			}
			failed, r.checkGaps = true, true
			r.client.stats.busErrors.Add(1)
		}
		return retry.RetryableError(err)
	})
	if err == nil && failed {
		r.client.log.InfoContext(ctx, "bus is available again", "streams", r.streams)
	}
	return streams, err
}

func (r *follower) readOnce(ctx context.Context, rdb redis.UniversalClient) ([]redis.XStream, error) {
	args := make([]string, 0, 2*len(r.streams))
	args = append(args, r.streams...)
	for _, s := range r.streams {
		args = append(args, r.cursor[s].ID.String())
	}
	before := r.client.Now()
	streams, err := rdb.XRead(ctx, &redis.XReadArgs{Streams: args, Count: int64(r.f.Batch), Block: blockTime}).Result()
	if errors.Is(err, redis.Nil) {
		r.seenEnd, r.lastRead = before, r.client.Now()
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("oona: follow: %w", err)
	}
	for _, s := range streams {
		r.checkGaps = r.checkGaps || len(s.Messages) == r.f.Batch
	}
	if now := r.client.Now(); now.Sub(r.lastRead) > staleReader {
		r.checkGaps = true
	} else {
		r.lastRead = now
	}
	return streams, nil
}

// handleAll handles one batch in its order and moves the cursor along. When ctx
// ends, the cursor stays before what was not handled.
func (r *follower) handleAll(ctx context.Context, stream string, entries []redis.XMessage) {
	now := r.client.Now()
	at := r.cursor[stream]
	for _, e := range entries {
		m, err := r.admit(ctx, stream, e, now)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.refuse(ctx, m, err)
		case m.Body != nil:
			if !r.deliver(ctx, m) {
				return
			}
		}
		at = at.after(m.ID)
		r.cursor[stream] = at
		if m.Body != nil && r.f.Advance != nil {
			r.f.Advance(stream, at)
		}
	}
	if r.f.Advance != nil {
		r.f.Advance(stream, at)
	}
}

// admit judges one entry. A message without a body and without an error is of a
// type that nobody asked for.
func (r *follower) admit(ctx context.Context, stream string, e redis.XMessage, now time.Time) (*Message, error) {
	m := &Message{Stream: stream, raw: rawOf(e.Values)}
	id, err := ParseEntryID(e.ID)
	if err != nil {
		return m, fmt.Errorf("%w: %w", leyline.NotAMessage, err)
	}
	m.ID, m.Arrival = id, arrival(id, now)
	if err := r.client.open(m); err != nil {
		return m, err
	}
	if len(r.f.Types) > 0 && !slices.Contains(r.f.Types, m.Envelope.Type) {
		return m, nil
	}
	if m.Arrival.Before(r.seenEnd.Add(-r.client.cfg.Guard.ClockSkew())) {
		return m, fmt.Errorf("%w: entry id dated back", leyline.Stale)
	}
	if err := r.client.judge(m); err != nil {
		return m, err
	}
	if r.f.Replays == nil || m.identity.Nonce == "" {
		return m, nil
	}
	return m, r.claim(ctx, m)
}

// claim waits for the replay store: a message is neither passed nor refused
// while it cannot be asked.
func (r *follower) claim(ctx context.Context, m *Message) error {
	issued := m.identity.IssuedAtMs
	if issued == 0 {
		issued = m.Arrival.UnixMilli()
	}
	claim := leyline.Claim{
		Nonce:    scopeOf(m.Envelope.Type) + m.identity.Nonce,
		Holder:   m.Stream + " " + m.ID.String(),
		IssuedAt: time.UnixMilli(issued),
		Arrival:  m.Arrival,
	}
	backoff := retry.WithJitterPercent(25, retry.WithCappedDuration(2*time.Second, retry.NewExponential(50*time.Millisecond)))
	return retry.Do(ctx, backoff, func(ctx context.Context) error {
		_, err := r.f.Replays.Claim(ctx, claim, claim.IssuedAt.Add(r.client.cfg.Guard.Retention()))
		if err != nil && leyline.ReasonOf(err) == "" {
			return retry.RetryableError(err)
		}
		return err
	})
}

func (r *follower) refuse(ctx context.Context, m *Message, err error) {
	reason := reasonOf(err)
	if reason.Authentic() {
		r.client.log.WarnContext(ctx, "passed over", "stream", m.Stream, "entry_id", m.ID.String(), "reason", string(reason), "error", err)
	}
	r.client.stats.refusals.Count(m.Stream, m.Envelope.Type, reason)
}

// deliver calls the handler until the message is settled; it reports false when
// ctx ended first.
func (r *follower) deliver(ctx context.Context, m *Message) bool {
	for {
		results := r.call(ctx, []*Message{m})
		if ctx.Err() != nil && results[0].Err != nil {
			return false
		}
		again, wait := r.settleOne(ctx, m, results[0])
		if !again {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

func (r *follower) call(ctx context.Context, batch []*Message) []Result {
	ctx, cancel := context.WithTimeoutCause(ctx, r.f.HandlerTimeout, errOverran)
	defer cancel()
	return protect(ctx, r.handler, batch)
}

func (r *follower) settleOne(ctx context.Context, m *Message, res Result) (again bool, in time.Duration) {
	if res.Err == nil && len(res.Answers) > 0 {
		if _, err := r.client.Publish(ctx, res.Answers...); err != nil {
			res.Err = err
		}
	}
	if res.Err == nil {
		r.client.stats.finished(len(res.Answers), r.client.Now().Sub(m.Arrival))
		return false, 0
	}
	if later, ok := errors.AsType[*retryError](res.Err); ok {
		return true, later.after
	}
	_, drop := errors.AsType[*dropError](res.Err)
	_, dead := errors.AsType[*deadLetterError](res.Err)
	if drop || dead {
		r.refuse(ctx, m, res.Err)
		return false, 0
	}
	m.Attempts++
	r.client.stats.handlerFailures.Add(1)
	if r.f.MaxAttempts > 0 && m.Attempts >= r.f.MaxAttempts {
		r.refuse(ctx, m, fmt.Errorf("%w: %w", leyline.AttemptsExhausted, res.Err))
		return false, 0
	}
	return true, retryDelay(r.f.RetryBase, r.f.RetryMax, m.Attempts)
}
