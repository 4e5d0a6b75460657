package kasmina_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/kasmina"
	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

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
