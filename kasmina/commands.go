package kasmina

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// DefaultTakeoverAfter is the default of CommandsConfig.TakeoverAfter.
const DefaultTakeoverAfter = time.Second

// MaxDeferred bounds the commands that wait for the owner of their seed. At the
// bound further ones wait in their stream.
const MaxDeferred = 1024

// CommandsConfig configures a [Commands].
type CommandsConfig struct {
	// Bus is where commands come from. Required.
	Bus Bus
	// Manager carries them out and tells their outcome. Required.
	Manager *Manager
	// Keys verify the signature inside a command. Required.
	Keys *leyline.Keyring
	// Claims decides which replica acts: all of them share it, as the replay
	// store of the bus. Required.
	Claims leyline.ReplayStore
	// Instance names this process among all replicas, also those before a
	// restart: it should hold the host and a boot id. Required.
	Instance string
	// TakeoverAfter is how long a command for a seed that is not here is left
	// to the replica that has it. Zero means [DefaultTakeoverAfter].
	TakeoverAfter time.Duration
	// Guard judges the age of commands. Nil means the contract's rule: issued
	// at most 60s ago, or 5s ahead.
	Guard *leyline.Guard
	// Logger receives what an operator must know. Nil discards.
	Logger *slog.Logger
}

func (c CommandsConfig) withDefaults() (CommandsConfig, error) {
	switch {
	case c.Bus == nil || c.Manager == nil || c.Keys == nil || c.Claims == nil:
		return c, errors.New("kasmina: CommandsConfig: Bus, Manager, Keys and Claims are required")
	case c.Instance == "":
		return c, errors.New("kasmina: CommandsConfig.Instance is missing")
	case c.TakeoverAfter < 0:
		return c, errors.New("kasmina: CommandsConfig.TakeoverAfter is negative")
	}
	c.TakeoverAfter = cmp.Or(c.TakeoverAfter, DefaultTakeoverAfter)
	if c.Guard == nil {
		guard, err := leyline.NewGuard(leyline.GuardConfig{})
		if err != nil {
			return c, err
		}
		c.Guard = guard
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Commands carries out signed commands for seeds: germinate, cull, cancel and
// fossilize, pause and resume (annotation resume "true"). Every replica sees
// every command, and at most one acts on it:
//
//   - A command is verified, and judged by its age, before anything else. Then
//     its id is claimed; who has the claim acts, once. What becomes of a command is
//     told as an event of the Manager, command_executed or command_rejected, by
//     whoever claimed it, or, where its signature or age is wrong, by every
//     replica that saw it.
//   - A germination of a seed that nobody is known to have is claimed by every
//     replica at once. The one that gets it owns the seed.
//   - Any other command is for the replica that has the seed, in whatever
//     stage. The others do not claim it, so as not to take it from the owner,
//     until CommandsConfig.TakeoverAfter has passed. A claim that they get then
//     shows that the owner is gone, and the seed with it: a germination is
//     carried out and the seed has a new owner, anything else is rejected as
//     unknown_seed. A process that begins has no seeds, whoever had them.
//   - A replica that loses the claim on a germination of a seed that it has, has
//     been given up by another one. It retires its seed, so that there is one
//     owner.
//
// A claim is made before acting, and not taken back. A process that dies in
// between leaves a command that nobody carries out; whoever sent it hears no
// outcome and may send another.
//
// Commands of other types (optimizer, rollback and so on) are for others: they
// are counted, and neither claimed nor rejected.
//
// Annotations, which the signature covers: training_run_id, approved_by,
// quarantine ("true"), reason (of a cull), resume.
type Commands struct {
	cfg    CommandsConfig
	counts commandCounts
	trail  trail
	began  time.Time // by the clock of the bus; Run's own

	mu       sync.Mutex
	ours     idRing        // ids of commands claimed here
	theirs   idRing        // ids of commands claimed by others
	foreign  idRing        // seeds that others have
	deferred []deferred    // in the order of due
	wake     chan struct{} // there is something new in deferred
}

// seenCommands is how many ids of commands, and of seeds of others, are
// remembered: more than can be fresh at the same time at 1000 commands a second.
const seenCommands = 1 << 16

// NewCommands returns a follower of commands, or an error that says what is wrong
// with cfg.
func NewCommands(cfg CommandsConfig) (*Commands, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Commands{
		cfg:     cfg,
		ours:    newIDRing(seenCommands),
		theirs:  newIDRing(seenCommands),
		foreign: newIDRing(seenCommands),
		wake:    make(chan struct{}, 1),
	}, nil
}

// Run follows commands until ctx ends, and then returns nil; while the bus is
// away it waits. The first Run starts with the commands that are still fresh, so
// that those sent while no replica was up are carried out; a further one where the
// last one stopped.
func (c *Commands) Run(ctx context.Context) error { return c.RunReady(ctx, func() {}) }

// RunReady is [Commands.Run], and calls ready as soon as no command can be missed
// any more.
func (c *Commands) RunReady(ctx context.Context, ready func()) error {
	streams := c.cfg.Bus.Streams()
	cursor, err := c.trail.resume(ctx, c.cfg.Logger, func(ctx context.Context) (oona.Cursor, error) {
		c.began = c.cfg.Bus.Now()
		return c.cfg.Bus.Since(ctx, c.began.Add(-c.cfg.Guard.Window()), streams.Normal, streams.Emergency)
	})
	if err != nil {
		return nil // ctx ended
	}
	ready()
	ctx, cancel := context.WithCancel(ctx)
	var settling sync.WaitGroup
	settling.Go(func() { c.settleDeferred(ctx) })
	err = c.cfg.Bus.Follow(ctx, oona.Following{
		From:    cursor,
		Types:   []pb.BusMessageType{pb.BusMessageType_BUS_MESSAGE_TYPE_ADAPTATION_COMMAND},
		Advance: c.trail.advance,
		OnGap:   func(oona.Gap) { c.counts.gaps.Add(1) },
	}, oona.Each(c.handle))
	cancel()
	settling.Wait()
	return err
}

// order is a command on its way to be carried out.
type order struct {
	cmd     *pb.AdaptationCommand
	holder  string // who claims: this process, for this entry
	arrival time.Time
}

func (o order) germinates() bool {
	return o.cmd.GetCommandType() == pb.CommandType_COMMAND_SEED &&
		o.cmd.GetSeedOperation().GetOperation() == pb.SeedOperation_SEED_OP_GERMINATE
}

// handle judges a command and carries it out, or defers it. The only error is
// that it must be tried again.
func (c *Commands) handle(ctx context.Context, cmd *pb.AdaptationCommand, m *oona.Message) ([]proto.Message, error) {
	switch cmd.GetCommandType() {
	case pb.CommandType_COMMAND_SEED, pb.CommandType_COMMAND_PAUSE:
	default:
		c.counts.ignored.Add(1)
		return nil, nil
	}
	c.counts.received.Add(1)
	o := order{cmd: cmd, holder: c.cfg.Instance + " " + m.Stream + " " + m.ID.String(), arrival: m.Arrival}
	switch err := c.judge(o); {
	case leyline.ReasonOf(err) == leyline.Stale && o.arrival.Before(c.began):
		// It came before us: its fate is for those to tell who were there.
		c.counts.refusals.Count("commands", pb.BusMessageType_BUS_MESSAGE_TYPE_ADAPTATION_COMMAND, leyline.Stale)
		return nil, nil
	case err != nil:
		c.reject(o, err)
		return nil, nil
	}
	settled := false
	if c.isOurs(o) {
		settled = c.carryOut(ctx, o) == nil
	} else {
		settled = c.deferOrder(o)
	}
	if settled {
		return nil, nil
	}
	return nil, oona.RetryAfter(tryAgainAfter)
}

// tryAgainAfter is how long a command waits that cannot be claimed, or deferred,
// now.
const tryAgainAfter = 250 * time.Millisecond

// judge checks what can be checked without asking anybody.
func (c *Commands) judge(o order) error {
	if err := leyline.VerifyCommand(c.cfg.Keys, o.cmd); err != nil {
		return err
	}
	if o.cmd.GetCommandId() == "" {
		return leyline.Malformed
	}
	// By the time of handling, not that of arrival: the claim of a command is
	// remembered only for as long as the command is fresh.
	issued := int64(0)
	if t := o.cmd.GetIssuedAt(); t.IsValid() {
		issued = t.AsTime().UnixMilli()
	}
	return c.cfg.Guard.CheckFresh(issued, c.cfg.Bus.Now().UnixMilli())
}

// isOurs reports whether a command may be claimed at once.
func (c *Commands) isOurs(o order) bool {
	id := o.cmd.GetTargetSeedId()
	if c.cfg.Manager.Has(id) {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return o.germinates() && !c.foreign.has(id)
}

// errUnclaimable is a store that cannot be asked, or cannot hold more.
var errUnclaimable = errors.New("kasmina: command cannot be claimed now")

// carryOut claims a command and acts on it. The error is errUnclaimable: it must
// be tried again.
func (c *Commands) carryOut(ctx context.Context, o order) error {
	claimed, err := c.claim(ctx, o)
	switch {
	case errors.Is(err, errUnclaimable):
		if stale := c.judge(o); stale == nil {
			return err
		}
		c.reject(o, err)
		return nil
	case err != nil:
		c.reject(o, err)
		return nil
	case !claimed:
		return nil
	}
	if limit := time.Duration(o.cmd.GetExecutionDeadlineMs()) * time.Millisecond; limit > 0 && c.cfg.Bus.Now().Sub(o.arrival) > limit {
		c.reject(o, leyline.Expired)
		return nil
	}
	if err := c.act(ctx, o.cmd); err != nil {
		c.reject(o, err)
		return nil
	}
	c.counts.executed.Add(1)
	c.cfg.Manager.tell(c.outcome(o, "command_executed", pb.TelemetryLevel_TELEMETRY_LEVEL_INFO, ""))
	return nil
}

// claim reports whether this replica is to act. A command that was claimed before
// is somebody's already: ours, if its id is played again, or another replica's.
func (c *Commands) claim(ctx context.Context, o order) (bool, error) {
	issued := o.cmd.GetIssuedAt().AsTime()
	id, seed := o.cmd.GetCommandId(), o.cmd.GetTargetSeedId()
	_, err := c.cfg.Claims.Claim(ctx, leyline.Claim{
		Nonce: "c:" + id, Holder: o.holder, IssuedAt: issued, Arrival: o.arrival,
	}, issued.Add(c.cfg.Guard.Retention()))
	c.mu.Lock()
	known := c.ours.has(id) || c.theirs.has(id)
	switch {
	case err == nil && !c.ours.has(id):
		c.ours.add(id)
		c.foreign.remove(seed)
		c.mu.Unlock()
		return true, nil
	case err == nil, errors.Is(err, leyline.Replayed) && known:
		c.mu.Unlock()
		c.counts.replayed.Add(1)
		return false, nil
	case !errors.Is(err, leyline.Replayed):
		c.mu.Unlock()
		if leyline.ReasonOf(err) != "" {
			return false, err
		}
		return false, errors.Join(errUnclaimable, err)
	}
	c.theirs.add(id)
	if o.germinates() {
		c.foreign.add(seed)
	}
	c.mu.Unlock()
	c.counts.elsewhere.Add(1)
	if o.germinates() {
		c.disown(ctx, seed)
	}
	return false, nil
}

// disown gives up a seed that another replica has germinated.
func (c *Commands) disown(ctx context.Context, seed string) {
	if !c.cfg.Manager.Has(seed) {
		return
	}
	c.counts.disowned.Add(1)
	c.cfg.Logger.WarnContext(ctx, "another replica has germinated a seed of ours; it is retired here", "seed_id", seed)
	if err := c.cfg.Manager.retire(ctx, seed, "germinated by another replica"); err != nil {
		c.cfg.Logger.WarnContext(ctx, "seed could not be retired yet", "seed_id", seed, "error", err)
	}
}
