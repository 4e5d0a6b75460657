package tamiyo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// Consumer follows the policy stream. Make one with [Open]. Run is called once at
// a time; the other methods are safe for concurrent use.
type Consumer struct {
	cfg   Config
	count counters

	mu    sync.RWMutex
	state State

	unsaved bool      // the cursor moved past what nobody needs to remember
	saved   time.Time // when the state was written last
}

// Open restores what is in cfg.Dir: the last good policy is applied before it
// returns. A current policy that is damaged, or cannot be applied, falls back to
// the previous one, until Run finds it again on the stream; a state file that
// cannot be read is put aside, and the stream is followed from its start. Either is
// reported, and no error.
func Open(ctx context.Context, cfg Config) (*Consumer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("tamiyo: open: %w", err)
	}
	c := &Consumer{cfg: cfg}
	if err := c.restore(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Consumer) restore(ctx context.Context) error {
	state, lost, err := readSwept(c.cfg.Dir)
	switch {
	case errors.Is(err, ErrBroken):
		c.report(ctx, eventBroken, pb.TelemetryLevel_TELEMETRY_LEVEL_ERROR, nil, err)
		if state.Cursor == nil {
			// Nothing could be read of it: put it aside for whoever wants to know.
			if err := os.Rename(filepath.Join(c.cfg.Dir, stateFile), filepath.Join(c.cfg.Dir, brokenFile)); err != nil {
				return fmt.Errorf("tamiyo: open: %w", err)
			}
		}
	case err != nil:
		return err
	}
	candidates := []*Update{state.Current, state.Previous}
	state.Current, state.Previous = nil, nil
	for i, u := range candidates {
		if u == nil {
			continue
		}
		if err := c.apply(ctx, *u); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			c.report(ctx, eventBroken, pb.TelemetryLevel_TELEMETRY_LEVEL_ERROR, u, fmt.Errorf("tamiyo: restore: %w", err))
			if i == 0 {
				lost = u
			}
			continue
		}
		state.Current = u
		if i == 0 {
			state.Previous = candidates[1]
		}
		c.count.restored.Store(true)
		c.cfg.Logger.InfoContext(ctx, "policy restored", "policy_id", u.PolicyID, "version", u.Version)
		break
	}
	if lost != nil {
		state.Newest = later(state.newest(), lost.IssuedAt)
		state = state.withoutLost(*lost)
	}
	c.state = state
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Current returns the policy that runs, and whether there is one.
func (c *Consumer) Current() (Update, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return valueOf(c.state.Current)
}

// Previous returns the policy that ran before, and whether there is one.
func (c *Consumer) Previous() (Update, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return valueOf(c.state.Previous)
}

func valueOf(u *Update) (Update, bool) {
	if u == nil {
		return Update{}, false
	}
	return *u, true
}

// Run follows the policy stream, and the emergency stream, onto which a producer
// in its conservative mode diverts updates, from where it left off until ctx
// ends.
func (c *Consumer) Run(ctx context.Context) error {
	if c.cfg.Bus == nil {
		return errors.New("tamiyo: Config.Bus is missing")
	}
	streams := c.cfg.Bus.Streams()
	c.mu.RLock()
	from := oona.Cursor{streams.Policy: {}, streams.Emergency: {}}
	for s := range from {
		from[s] = c.state.Cursor[s]
	}
	c.mu.RUnlock()
	err := c.cfg.Bus.Follow(ctx, oona.Following{
		From:        from,
		Types:       []pb.BusMessageType{pb.BusMessageType_BUS_MESSAGE_TYPE_POLICY_UPDATE},
		MaxAttempts: -1, // an update that cannot be recorded now is never skipped
		Advance:     c.advance,
		OnGap:       func(g oona.Gap) { c.gap(ctx, g) },
	}, oona.Each(c.handle))
	return errors.Join(err, c.flush())
}

// saveInterval is how often a cursor that only passed things over is written.
const saveInterval = 10 * time.Second

// advance remembers how far a stream was followed. What was passed over is worth
// no write of its own, only one now and then: reading it again after a crash
// changes nothing.
func (c *Consumer) advance(stream string, at oona.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Cursor[stream] == at {
		return
	}
	cursor := maps.Clone(c.state.Cursor)
	if cursor == nil {
		cursor = make(oona.Cursor)
	}
	cursor[stream] = at
	c.state.Cursor = cursor
	if u := c.state.Current; u != nil && u.Stream == stream && u.At.ID == at.ID {
		known := *u // others may look at the old one
		known.At = at
		c.state.Current = &known
	}
	c.unsaved = true
	if time.Since(c.saved) < saveInterval {
		return
	}
	if err := c.saveLocked(c.state); err != nil {
		c.saved = time.Now() // the next try is as far off
		c.cfg.Logger.Warn("policy cursor could not be written, will try again", "error", err)
	}
}

// flush writes a cursor that has moved.
func (c *Consumer) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.unsaved {
		return nil
	}
	return c.saveLocked(c.state)
}

// saveLocked writes a state and takes it over when it is on disk.
func (c *Consumer) saveLocked(s State) error {
	if err := s.write(c.cfg.Dir); err != nil {
		return err
	}
	c.state, c.unsaved, c.saved = s, false, time.Now()
	return nil
}

func (c *Consumer) handle(ctx context.Context, body *pb.PolicyUpdate, m *oona.Message) ([]proto.Message, error) {
	u := newUpdate(body, m)
	if err := c.verify(ctx, u, body, m); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx) // nobody has judged it; it comes again
		}
		c.refuse(ctx, u, err)
		return nil, c.settle(m, nil)
	}
	if len(u.Payload) == 0 {
		c.count.noted.Add(1)
		c.report(ctx, eventNoted, pb.TelemetryLevel_TELEMETRY_LEVEL_INFO, &u, nil)
		return nil, c.settle(m, nil)
	}
	return nil, c.swap(ctx, u, m)
}

func newUpdate(body *pb.PolicyUpdate, m *oona.Message) Update {
	return Update{
		PolicyID:      body.GetPolicyId(),
		TrainingRunID: body.GetTrainingRunId(),
		Version:       body.GetTamiyoPolicyVersion(),
		IssuedAt:      body.GetIssuedAt().AsTime(),
		Digest:        checksumOf(m.Envelope.Payload),
		Checksum:      checksumOf(body.GetPayload()),
		Bytes:         len(body.GetPayload()),
		Payload:       body.GetPayload(),
	}
}

// swap applies the update and records it; if either fails, the policy from before
// runs on.
func (c *Consumer) swap(ctx context.Context, u Update, m *oona.Message) error {
	if err := c.apply(ctx, u); err != nil {
		c.takeBack(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx) // it was not given the time; it comes again
		}
		c.refuse(ctx, u, refuse(ReasonApplyFailed, err))
		return c.settle(m, nil)
	}
	if err := c.settle(m, &u); err != nil {
		c.takeBack(ctx)
		c.count.unrecorded.Add(1)
		c.cfg.Logger.ErrorContext(ctx, "policy update could not be recorded, will retry", "policy_id", u.PolicyID, "error", err)
		return err
	}
	c.count.applied.Add(1)
	c.report(ctx, eventApplied, pb.TelemetryLevel_TELEMETRY_LEVEL_INFO, &u, nil)
	return nil
}

// apply makes u the policy that runs. A panic is a failed swap like any other:
// the stream goes on.
func (c *Consumer) apply(ctx context.Context, u Update) error {
	return guarded(func() error { return c.cfg.Policy.Apply(ctx, u) })
}

// guarded turns a panic of the embedder's policy into an error.
func guarded(call func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("tamiyo: policy panicked: %v", v)
		}
	}()
	return call()
}

// takeBack applies the policy that is recorded, also when ctx has ended: what a
// swap left half done is worse than a late stop.
func (c *Consumer) takeBack(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	current, ok := c.Current()
	if !ok {
		return
	}
	if err := c.apply(ctx, current); err != nil {
		c.report(ctx, eventBroken, pb.TelemetryLevel_TELEMETRY_LEVEL_CRITICAL, &current, fmt.Errorf("tamiyo: roll back: %w", err))
		return
	}
	c.count.rolledBack.Add(1)
}

// settle records that a message is done with, and the update that it applied, in
// one write.
func (c *Consumer) settle(m *oona.Message, applied *Update) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.state
	next.Cursor = maps.Clone(next.Cursor)
	if next.Cursor == nil {
		next.Cursor = make(oona.Cursor)
	}
	at := oona.Position{ID: m.ID}
	next.Cursor[m.Stream] = at
	if applied != nil {
		applied.Stream, applied.At = m.Stream, at
		next.Current, next.Previous = applied, c.state.Current
		next.Newest = later(next.Newest, applied.IssuedAt)
		next.Applied = append(slices.Clone(next.Applied), applied.Digest)
		next.Applied = next.Applied[max(0, len(next.Applied)-maxApplied):]
	}
	return c.saveLocked(next)
}
