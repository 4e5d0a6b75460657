package oona

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	// Recovered, where not nil, is told when the bus answers again after it did
	// not: whoever waits to publish may try now. If it fails again at once, that
	// may be told every two seconds. Called like Advance.
	Recovered func()
	// Replays, where not nil, remembers nonces. Each is claimed for this client
	// before its message is handled, and a message whose nonce is somebody
	// else's, another replica's too, is refused as replayed: of all that follow
	// with one store, at most one acts. Leave it nil where the handler knows what
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
	for stream := range f.From {
		if err := c.ofOneSlot(stream); err != nil {
			return err
		}
	}
	r := &follower{
		client: c, f: f, handler: h,
		cursor:  f.From,
		streams: slices.Sorted(maps.Keys(f.From)),
		seen:    make(map[string]time.Time, len(f.From)),
	}
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
	replies replies
	// seen is the server's time up to which everything in a stream was seen. An
	// entry that turns up later with an id from before was dated back.
	seen map[string]time.Time
	// checkGaps is when to look next for entries that were deleted unseen: at
	// once at the start, after an outage and when we fell behind, and otherwise
	// now and then, since a process may be frozen and a stream made anew.
	checkGaps time.Time
}

// gapInterval is how often a follower looks for gaps.
const gapInterval = 30 * time.Second

func (r *follower) run(ctx context.Context) {
	r.client.untilStopped(ctx, func(rdb redis.UniversalClient) {
		for ctx.Err() == nil {
			streams, err := r.read(ctx, rdb)
			if err != nil {
				return // ctx ended
			}
			for _, s := range streams {
				r.handleAll(ctx, s.stream, s.entries)
			}
		}
	})
}

// read returns the next entries, after it looked for gaps where that is due.
func (r *follower) read(ctx context.Context, rdb redis.UniversalClient) (streams []streamEntries, err error) {
	failed := false
	err = retry.Do(ctx, busBackoff(), func(ctx context.Context) error {
		err := r.findGaps(ctx)
		if err == nil && failed && r.f.Recovered != nil {
			r.f.Recovered() // not after the read, which waits for entries
		}
		if err == nil {
			streams, err = r.readOnce(ctx, rdb)
		}
		if err != nil && over(ctx) {
			return err
		}
		if err != nil {
			if !failed {
				r.client.log.WarnContext(ctx, "bus is not available, retrying", "streams", r.streams, "error", err)
			}
			failed, r.checkGaps = true, time.Time{}
			lookAgain(ctx, rdb, err)
			lookAgain(ctx, r.client.rdb, err)
			r.client.stats.busErrors.Add(1)
		}
		return retry.RetryableError(err)
	})
	if err == nil && failed {
		r.client.log.InfoContext(ctx, "bus is available again", "streams", r.streams)
	}
	return streams, err
}

func (r *follower) readOnce(ctx context.Context, rdb redis.UniversalClient) ([]streamEntries, error) {
	args := make([]any, 0, 6+2*len(r.streams))
	args = append(args, "xread", "count", r.f.Batch, "block", blockTime.Milliseconds(), "streams")
	for _, s := range r.streams {
		args = append(args, s)
	}
	for _, s := range r.streams {
		args = append(args, r.cursor[s].ID.String())
	}
	asked := r.client.Now()
	var found []streamEntries
	reply, err := r.replies.read(ctx, rdb, 6, args...)
	if err == nil {
		found, err = collect(reply)
	}
	if err != nil {
		return nil, fmt.Errorf("oona: follow: %w", err)
	}
	r.noteEnds(asked, found)
	return found, nil
}

// noteEnds notes up to when streams were seen by a read: those that it found
// nothing in. One that has more than it returned may lose entries before the
// next read.
func (r *follower) noteEnds(asked time.Time, found []streamEntries) {
	for _, s := range r.streams {
		i := slices.IndexFunc(found, func(f streamEntries) bool { return f.stream == s })
		switch {
		case i < 0:
			r.seen[s] = asked
		case len(found[i].entries) == r.f.Batch:
			r.checkGaps = time.Time{}
		}
	}
}

// handleAll handles one batch in its order and moves the cursor along. When ctx
// ends, the cursor stays before what was not handled.
func (r *follower) handleAll(ctx context.Context, stream string, entries []streamEntry) {
	now := r.client.Now()
	at := r.cursor[stream]
	msgs := make([]Message, len(entries))
	for i, e := range entries {
		m := &msgs[i]
		err := r.admit(ctx, m, stream, e, now)
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

// admit judges one entry, which it fills in as m. A message without a body and
// without an error is of a type that nobody asked for.
func (r *follower) admit(ctx context.Context, m *Message, stream string, e streamEntry, now time.Time) error {
	m.Stream, m.raw = stream, e.raw
	id, err := ParseEntryID(e.id)
	if err != nil {
		return fmt.Errorf("%w: %w", leyline.NotAMessage, err)
	}
	m.ID, m.Arrival = id, arrival(id, now)
	if err := r.client.open(m); err != nil {
		return err
	}
	if len(r.f.Types) > 0 && !slices.Contains(r.f.Types, m.Envelope.Type) {
		return nil
	}
	if m.Arrival.Before(r.seen[stream].Add(-r.client.cfg.Guard.ClockSkew())) {
		return fmt.Errorf("%w: entry id dated back", leyline.Stale)
	}
	if err := r.client.judge(m); err != nil {
		return err
	}
	if r.f.Replays == nil || m.identity.Nonce == "" {
		return nil
	}
	return r.claim(ctx, m)
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
		Holder:   r.client.name + " " + m.Stream + " " + m.ID.String(),
		IssuedAt: time.UnixMilli(issued),
		Arrival:  m.Arrival,
	}
	return retry.Do(ctx, busBackoff(), func(ctx context.Context) error {
		_, err := r.f.Replays.Claim(ctx, claim, claim.IssuedAt.Add(r.client.cfg.Guard.Retention()))
		if err != nil && leyline.ReasonOf(err) == "" {
			return retry.RetryableError(err)
		}
		return err
	})
}

func (r *follower) refuse(ctx context.Context, m *Message, err error) {
	reason := reasonOf(err)
	line := "refused"
	if reason.Authentic() {
		line = "passed over"
	}
	if level := refusalLevel(reason); r.client.log.Enabled(ctx, level) {
		r.client.log.LogAttrs(ctx, level, line, m.logged(
			slog.String("stream", m.Stream), slog.String("reason", string(reason)), slog.Any("error", err))...)
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
	call := newCallContext(ctx, r.f.HandlerTimeout)
	defer call.end()
	return protect(call, r.handler, batch)
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
