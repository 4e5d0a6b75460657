package kasmina_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/kasmina"
	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// replica is one process that follows commands.
type replica struct {
	name     string
	client   *oona.Client
	manager  *kasmina.Manager
	commands *kasmina.Commands
	library  library
	journal  journal
	stop     func()
}

// claims is a replay store that can be away.
type claims struct {
	leyline.ReplayStore
	away atomic.Bool
}

func (s *claims) Claim(ctx context.Context, c leyline.Claim, until time.Time) (leyline.Verdict, error) {
	if s.away.Load() {
		return 0, leyline.ErrStoreUnavailable
	}
	return s.ReplayStore.Claim(ctx, c, until)
}

// join starts a replica.
func (f *fleet) join(name string, change func(*kasmina.CommandsConfig)) *replica {
	f.t.Helper()
	r := &replica{name: name, client: f.client(name)}
	r.manager = newManager(f.t, kasmina.ManagerConfig{
		Kernels: &r.library, Report: r.journal.report,
		Gates: kasmina.Gates{Interface: pass, SystemImpact: pass},
	})
	cfg := kasmina.CommandsConfig{
		Bus: r.client, Manager: r.manager, Keys: f.keys, Claims: r.client.ReplayStore("kasmina"), Instance: name,
	}
	if change != nil {
		change(&cfg)
	}
	c, err := kasmina.NewCommands(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	r.commands = c
	ready := make(chan struct{})
	r.stop = f.background(func(ctx context.Context) error { return c.RunReady(ctx, func() { close(ready) }) })
	<-ready
	return r
}

// outcomes returns what became of commands, as "id: executed" or "id: reason".
func (r *replica) outcomes() []string {
	r.journal.mu.Lock()
	defer r.journal.mu.Unlock()
	var all []string
	for _, p := range r.journal.packets {
		for _, e := range p.Events {
			switch e.Description {
			case "command_executed":
				all = append(all, e.Attributes["command_id"]+": executed")
			case "command_rejected":
				all = append(all, e.Attributes["command_id"]+": "+e.Attributes["reason"])
			}
		}
	}
	return all
}

// newOrder returns a command, unsigned.
func newOrder(id, seed string, op pb.SeedOperation) *pb.AdaptationCommand {
	return &pb.AdaptationCommand{
		Version: 1, CommandId: id, CommandType: pb.CommandType_COMMAND_SEED, TargetSeedId: seed,
		IssuedAt: timestamppb.Now(), IssuedBy: "tamiyo", Annotations: map[string]string{"training_run_id": "run-1"},
		Payload: &pb.AdaptationCommand_SeedOperation{SeedOperation: &pb.CommandSeedOperation{
			Operation: op, BlueprintId: "BP001", Parameters: map[string]float32{"alpha": 0.5},
		}},
	}
}

func newPause(id, seed string, resume bool) *pb.AdaptationCommand {
	cmd := newOrder(id, seed, 0)
	cmd.CommandType, cmd.Payload = pb.CommandType_COMMAND_PAUSE, nil
	if resume {
		cmd.Annotations["resume"] = "true"
	}
	return cmd
}

const (
	opGerminate = pb.SeedOperation_SEED_OP_GERMINATE
	opCull      = pb.SeedOperation_SEED_OP_CULL
	opCancel    = pb.SeedOperation_SEED_OP_CANCEL
	opFossilize = pb.SeedOperation_SEED_OP_FOSSILIZE
)

// sender signs and publishes commands.
type sender struct {
	*fleet
	client *oona.Client
}

func (f *fleet) sender() *sender { return &sender{f, f.client("sender")} }

func (s *sender) send(cmds ...*pb.AdaptationCommand) {
	s.t.Helper()
	for _, cmd := range cmds {
		if err := leyline.SignCommand(s.keys, cmd); err != nil {
			s.t.Fatal(err)
		}
		s.sendAsItIs(cmd, "")
	}
}

func (s *sender) sendAsItIs(cmd *pb.AdaptationCommand, stream string) {
	s.t.Helper()
	if _, err := s.client.Send(s.t.Context(), oona.Outgoing{Message: cmd, Stream: stream}); err != nil {
		s.t.Fatal(err)
	}
}

func wantOutcomes(t *testing.T, r *replica, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, r.outcomes()); diff != "" {
		t.Errorf("outcomes of %s (-want +got):\n%s", r.name, diff)
	}
}

func TestCommands(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		r, s := f.join("a", nil), f.sender()
		s.send(newOrder("1", "s", opGerminate))
		synctest.Wait()
		if got := r.library.pending[0].want; got != (kasmina.Want{BlueprintID: "BP001", TrainingRunID: "run-1"}) {
			t.Errorf("asked for %+v", got)
		}
		if seed, _ := r.manager.Seed("s"); seed.Parameters["alpha"] != 0.5 {
			t.Errorf("seed is %+v", seed)
		}
		s.send(newPause("2", "s", false))
		synctest.Wait()
		r.library.answer(t.Context(), nil)
		wantStage(t, r.manager, "s", germinated)
		s.send(newPause("3", "s", true))
		synctest.Wait()
		wantStage(t, r.manager, "s", training)
		s.send(newOrder("4", "s", opFossilize)) // too early
		synctest.Wait()
		for range 3 {
			_, err := r.manager.Advance(t.Context(), "s")
			check(t, err)
		}
		s.send(newOrder("5", "s", opFossilize), newOrder("6", "s", opCull), newOrder("7", "t", opGerminate), newOrder("8", "t", opCancel))
		cull := newOrder("9", "u", opCull)
		cull.Annotations["reason"] = "loss rises"
		s.send(newOrder("u", "u", opGerminate), cull, newOrder("10", "u", pb.SeedOperation_SEED_OP_EVALUATE))
		synctest.Wait()
		wantStage(t, r.manager, "s", fossilized)
		wantStage(t, r.manager, "t", dormant)
		wantStage(t, r.manager, "u", embargoed)
		if seed, _ := r.manager.Seed("u"); seed.Reason != "loss rises" {
			t.Errorf("reason is %q", seed.Reason)
		}
		wantOutcomes(t, r,
			"1: executed", "2: executed", "3: executed",
			`4: kasmina: seed "s" cannot go from SEED_STAGE_TRAINING to SEED_STAGE_FOSSILIZED`,
			"5: executed", `6: kasmina: seed "s" cannot go from SEED_STAGE_FOSSILIZED to SEED_STAGE_CULLED`,
			"7: executed", "8: executed", "u: executed", "9: executed", "10: unsupported_operation: SEED_OP_EVALUATE")
		wantFigures(t, r.commands, map[string]float64{
			"kasmina.commands.received_total": 11, "kasmina.commands.executed_total": 8, "kasmina.commands.rejected_total": 3,
			"kasmina.commands.deferred_total": 0,
		})
	})
}

// Whatever is wrong with a command, nothing happens but that it is told.
func TestCommandsRefused(t *testing.T) {
	other, err := leyline.NewKeyring(leyline.NewSecret("another secret of good length"))
	if err != nil {
		t.Fatal(err)
	}
	inFleet(t, func(t *testing.T, f *fleet) {
		r, s := f.join("a", nil), f.sender()
		unsigned := newOrder("unsigned", "s", opGerminate)
		s.sendAsItIs(unsigned, "")
		forged := newOrder("forged", "s", opGerminate)
		check(t, leyline.SignCommand(other, forged))
		s.sendAsItIs(forged, "")
		changed := newOrder("changed", "s", opCull)
		check(t, leyline.SignCommand(f.keys, changed))
		changed.GetSeedOperation().Operation = opGerminate
		s.sendAsItIs(changed, "")
		invalid := newOrder("invalid", "s", opGerminate)
		invalid.GetSeedOperation().BlueprintId = ""
		s.send(invalid)
		synctest.Wait()
		if len(r.manager.Seeds()) != 0 {
			t.Errorf("seeds: %+v", r.manager.Seeds())
		}
		wantOutcomes(t, r, "unsigned: unsigned", "forged: bad_signature", "changed: bad_signature",
			`invalid: kasmina: seed "s" at SEED_GATE_G0_SANITY: no blueprint id`)
		wantFigures(t, r.commands, map[string]float64{"kasmina.commands.rejected.bad_signature": 2, "kasmina.commands.rejected_total": 4})

		// Stale and future ones do not even come this far.
		old, early := newOrder("old", "s", opGerminate), newOrder("early", "s", opGerminate)
		old.IssuedAt = timestamppb.New(time.Now().Add(-61 * time.Second))
		early.IssuedAt = timestamppb.New(time.Now().Add(6 * time.Second))
		s.send(old, early)
		// Of other types, none is ours to reject.
		adjust := newOrder("adjust", "s", 0)
		adjust.CommandType = pb.CommandType_COMMAND_OPTIMIZER
		adjust.Payload = &pb.AdaptationCommand_OptimizerAdjustment{OptimizerAdjustment: &pb.CommandOptimizerAdjustment{OptimizerId: "sgd"}}
		s.send(adjust)
		time.Sleep(time.Minute)
		wantFigures(t, r.commands, map[string]float64{"kasmina.commands.received_total": 4, "kasmina.commands.ignored_total": 1})
	})
}

// The deadline counts from arrival.
func TestCommandDeadline(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		var store claims
		r := f.join("a", func(cfg *kasmina.CommandsConfig) {
			store.ReplayStore = cfg.Claims
			cfg.Claims = &store
		})
		s := f.sender()
		tight, loose := newOrder("tight", "s", opGerminate), newOrder("loose", "t", opGerminate)
		tight.ExecutionDeadlineMs, loose.ExecutionDeadlineMs = 18, 60_000
		s.send(tight)
		synctest.Wait()
		wantOutcomes(t, r, "tight: executed")
		tight.CommandId, tight.TargetSeedId = "late", "u"
		store.away.Store(true)
		s.send(tight, loose)
		time.Sleep(10 * time.Second)
		wantOutcomes(t, r, "tight: executed") // neither passed nor dropped
		store.away.Store(false)
		time.Sleep(10 * time.Second)
		wantOutcomes(t, r, "tight: executed", "late: expired", "loose: executed")
		// A store that is away for too long: stale by then.
		store.away.Store(true)
		s.send(newOrder("never", "v", opGerminate))
		time.Sleep(2 * time.Minute)
		if got := r.outcomes(); !strings.HasPrefix(got[len(got)-1], "never: ") || r.manager.Has("v") {
			t.Errorf("outcomes: %v", got)
		}
	})
}

// The same command again, on either stream, is carried out once.
func TestCommandReplayed(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		a, b, s := f.join("a", nil), f.join("b", nil), f.sender()
		cmd := newOrder("1", "s", opGerminate)
		s.send(cmd)
		synctest.Wait()
		owner, other := a, b
		if b.manager.Has("s") {
			owner, other = b, a
		}
		for range 3 {
			s.sendAsItIs(cmd, "")
			s.sendAsItIs(cmd, s.client.Streams().Emergency)
		}
		time.Sleep(time.Minute)
		wantOutcomes(t, owner, "1: executed")
		wantOutcomes(t, other)
		wantStage(t, owner.manager, "s", germinated)
		if other.manager.Has("s") {
			t.Error("the other replica has the seed too")
		}
		wantFigures(t, owner.commands, map[string]float64{"kasmina.commands.replayed_total": 6, "kasmina.commands.disowned_total": 0})
		wantFigures(t, other.commands, map[string]float64{"kasmina.commands.elsewhere_total": 1, "kasmina.commands.replayed_total": 6})
	})
}

// A producer in its conservative mode sends commands on the emergency stream.
func TestCommandDiverted(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		r, s := f.join("a", nil), f.sender()
		cmd := newOrder("1", "s", opGerminate)
		check(t, leyline.SignCommand(f.keys, cmd))
		s.sendAsItIs(cmd, s.client.Streams().Emergency)
		synctest.Wait()
		wantOutcomes(t, r, "1: executed")
	})
}

// Of several replicas one germinates, and all that follows is for it alone.
func TestCommandsOfReplicas(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		replicas := []*replica{f.join("a", nil), f.join("b", nil), f.join("c", nil)}
		s := f.sender()
		const seeds = 30
		for i := range seeds {
			s.send(newOrder(fmt.Sprint("germinate-", i), fmt.Sprint("seed-", i), opGerminate))
		}
		synctest.Wait()
		for i := range seeds {
			s.send(newOrder(fmt.Sprint("cull-", i), fmt.Sprint("seed-", i), opCull))
		}
		time.Sleep(5 * time.Second)
		var all []string
		for _, r := range replicas {
			all = append(all, r.outcomes()...)
			for _, seed := range r.manager.Seeds() {
				if seed.Stage != embargoed {
					t.Errorf("%s: seed is %+v", r.name, seed)
				}
			}
		}
		slices.Sort(all)
		var want []string
		for i := range seeds {
			want = append(want, fmt.Sprintf("cull-%d: executed", i), fmt.Sprintf("germinate-%d: executed", i))
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, all); diff != "" {
			t.Error(diff)
		}
	})
}

// Commands that were sent while no replica was up are carried out by the first
// one, as long as they are fresh; what was carried out before is not done again,
// nor said to be stale.
func TestCommandsFromBefore(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		a, s := f.join("a", nil), f.sender()
		s.send(newOrder("1", "s", opGerminate))
		synctest.Wait()
		wantOutcomes(t, a, "1: executed")
		a.stop()
		time.Sleep(55 * time.Second)
		second := newOrder("2", "t", opGerminate)
		second.IssuedAt = timestamppb.New(time.Now().Add(-10 * time.Second))
		s.send(second, newOrder("3", "t", opCull), newOrder("4", "s", opCull))
		b := f.join("b", nil)
		time.Sleep(3 * time.Second)
		wantOutcomes(t, b, "2: executed", "3: executed", "4: unknown_seed")
		b.stop()
		time.Sleep(49 * time.Second)
		c := f.join("c", nil) // 2 arrived within the window, but is stale by now
		time.Sleep(3 * time.Second)
		wantOutcomes(t, c)
		if len(c.manager.Seeds()) != 0 {
			t.Errorf("seeds: %+v", c.manager.Seeds())
		}
		wantFigures(t, c.commands, map[string]float64{"kasmina.commands.gaps_total": 0, "kasmina.commands.rejected_total": 0})
	})
}

// A command for a seed that nobody has is rejected, once, by whoever is first.
func TestUnknownSeed(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		replicas := []*replica{f.join("a", nil), f.join("b", nil)}
		s := f.sender()
		s.send(newOrder("1", "nobody", opCull), newOrder("2", "", opGerminate), newPause("3", "nobody", false),
			newOrder("4", "nobody", pb.SeedOperation_SEED_OP_EVALUATE))
		synctest.Wait()
		time.Sleep(kasmina.DefaultTakeoverAfter - time.Millisecond)
		for _, r := range replicas {
			if got := r.outcomes(); slices.Contains(got, "1: unknown_seed") {
				t.Errorf("%s did not leave the owner any time: %v", r.name, got)
			}
		}
		time.Sleep(5 * time.Second)
		all := append(replicas[0].outcomes(), replicas[1].outcomes()...)
		slices.Sort(all)
		want := []string{"1: unknown_seed", "2: kasmina: germination without a seed id", "3: unknown_seed", "4: unknown_seed"}
		if diff := cmp.Diff(want, all); diff != "" {
			t.Error(diff)
		}
	})
}

// The owner of a seed dies: the next germination of it finds another owner, and a
// deadline that has passed meanwhile counts.
func TestOwnerDies(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		a := f.join("a", nil)
		s := f.sender()
		b := f.join("b", nil)
		s.send(newOrder("1", "s", opGerminate))
		synctest.Wait()
		owner, heir := a, b
		if b.manager.Has("s") {
			owner, heir = b, a
		}
		owner.stop()
		tight := newOrder("2", "s", opGerminate)
		tight.ExecutionDeadlineMs = 500
		s.send(tight, newOrder("3", "s", opGerminate))
		time.Sleep(5 * time.Second)
		wantOutcomes(t, heir, "2: expired", "3: executed")
		s.send(newOrder("4", "s", opCull))
		synctest.Wait()
		wantOutcomes(t, heir, "2: expired", "3: executed", "4: executed")
	})
}

// A replica that was away for too long loses its seed to another one, and gives
// its own up.
func TestDisowned(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		var store claims
		a := f.join("a", func(cfg *kasmina.CommandsConfig) {
			store.ReplayStore = cfg.Claims
			cfg.Claims = &store
		})
		s := f.sender()
		s.send(newOrder("1", "s", opGerminate))
		synctest.Wait()
		a.library.answer(t.Context(), nil)
		b := f.join("b", nil) // knows nothing of the seed
		store.away.Store(true)
		s.send(newOrder("2", "s", opGerminate))
		time.Sleep(2 * time.Second)
		wantOutcomes(t, b, "2: executed")
		store.away.Store(false)
		time.Sleep(2 * time.Second)
		if a.manager.Has("s") || !b.manager.Has("s") {
			t.Errorf("a has the seed: %v, b: %v", a.manager.Has("s"), b.manager.Has("s"))
		}
		if a.library.open.Load() != 0 {
			t.Error("the kernel of the seed that was given up is open")
		}
		wantFigures(t, a.commands, map[string]float64{"kasmina.commands.disowned_total": 1})
	})
}

// What cannot be deferred any more waits in the stream, and is not lost.
func TestManyDeferred(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		r, s := f.join("a", nil), f.sender()
		const n = kasmina.MaxDeferred + 200
		for i := range n {
			s.send(newOrder(fmt.Sprint(i), "nobody", opCull))
		}
		time.Sleep(20 * time.Second)
		wantFigures(t, r.commands, map[string]float64{"kasmina.commands.rejected_total": n, "kasmina.commands.waiting": 0})
	})
}

func TestCommandsConfig(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		client := f.client("a")
		good := kasmina.CommandsConfig{
			Bus: client, Manager: newManager(t, kasmina.ManagerConfig{}), Keys: f.keys,
			Claims: client.ReplayStore("kasmina"), Instance: "a",
		}
		if _, err := kasmina.NewCommands(good); err != nil {
			t.Error(err)
		}
		for name, spoil := range map[string]func(*kasmina.CommandsConfig){
			"bus":      func(c *kasmina.CommandsConfig) { c.Bus = nil },
			"manager":  func(c *kasmina.CommandsConfig) { c.Manager = nil },
			"keys":     func(c *kasmina.CommandsConfig) { c.Keys = nil },
			"claims":   func(c *kasmina.CommandsConfig) { c.Claims = nil },
			"instance": func(c *kasmina.CommandsConfig) { c.Instance = "" },
			"takeover": func(c *kasmina.CommandsConfig) { c.TakeoverAfter = -1 },
		} {
			bad := good
			spoil(&bad)
			if _, err := kasmina.NewCommands(bad); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
	})
}
