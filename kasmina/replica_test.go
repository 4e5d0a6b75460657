package kasmina_test

import (
	"context"
	"sync/atomic"
	"testing"
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
