package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// commander signs commands and publishes them.
type commander struct {
	t      *testing.T
	client *oona.Client
	keys   *leyline.Keyring
}

func newCommander(t *testing.T, client *oona.Client) *commander {
	t.Helper()
	keys, err := leyline.NewKeyring(leyline.NewSecret(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	return &commander{t, client, keys}
}

func (c *commander) command(id, seed string, op pb.SeedOperation) *pb.AdaptationCommand {
	return &pb.AdaptationCommand{
		Version: 1, CommandId: id, CommandType: pb.CommandType_COMMAND_SEED, TargetSeedId: seed, IssuedAt: timestamppb.Now(), IssuedBy: "tamiyo",
		Annotations: map[string]string{"training_run_id": "run-1"},
		Payload:     &pb.AdaptationCommand_SeedOperation{SeedOperation: &pb.CommandSeedOperation{Operation: op, BlueprintId: "BP001"}},
	}
}

func (c *commander) sign(cmd *pb.AdaptationCommand) {
	c.t.Helper()
	if err := leyline.SignCommand(c.keys, cmd); err != nil {
		c.t.Fatal(err)
	}
}

func (c *commander) publish(cmds ...*pb.AdaptationCommand) {
	c.t.Helper()
	for _, cmd := range cmds {
		if _, err := c.client.Publish(c.t.Context(), cmd); err != nil {
			c.t.Fatal(err)
		}
	}
}

// outcomesOf returns what became of commands, in the order of their ids, and by
// seed which instances carried something out.
func outcomesOf(l *packetLog) (outcomes []string, owners map[string][]string) {
	owners = make(map[string][]string)
	for _, e := range l.events("kasmina", "command_executed", "command_rejected") {
		a := e.GetAttributes()
		if e.GetDescription() == "command_rejected" {
			outcomes = append(outcomes, a["command_id"]+": "+a["reason"])
			continue
		}
		outcomes = append(outcomes, a["command_id"]+": executed")
		if seed := a["seed_id"]; !slices.Contains(owners[seed], a["instance"]) {
			owners[seed] = append(owners[seed], a["instance"])
		}
	}
	slices.Sort(outcomes)
	return outcomes, owners
}

// TestCommandsOfTheService: two replicas on a real Redis carry out signed commands,
// each once; what follows a germination is for whoever germinated.
func TestCommandsOfTheService(t *testing.T) {
	t.Parallel()
	const seeds = 20
	redis := redistest.Start(t)
	dir := serviceDir(t)
	env := with(serviceEnv(redis), "KASMINA_COMMANDS", "true")
	client := busClient(t, redis.URL(), "test")
	packets := watchPackets(t, client, "")
	replicas := []*process{
		start(t, dir, with(env, "TAMIYO_POLICY_DIR", "./policies-1")),
		start(t, dir, with(env, "TAMIYO_POLICY_DIR", "./policies-2")),
	}
	eventually(t, func() error {
		return errIf(len(packets.events("kasmina", "seeds_lost")) < len(replicas), "the replicas have not said that they begin without seeds")
	})

	c := newCommander(t, client)
	var want []string
	for i := range seeds {
		germinate := c.command(fmt.Sprint("germinate-", i), fmt.Sprint("seed-", i), pb.SeedOperation_SEED_OP_GERMINATE)
		c.sign(germinate)
		c.publish(germinate, germinate)
		want = append(want, germinate.CommandId+": executed")
	}
	eventually(t, func() error {
		n := 0
		for _, e := range packets.events("kasmina", "seed_stage") {
			if e.GetAttributes()["to"] == "SEED_STAGE_TRAINING" {
				n++
			}
		}
		return errIf(n < seeds, fmt.Sprintf("%d of %d seeds are in training", n, seeds))
	})
	forged := c.command("forged", "seed-0", pb.SeedOperation_SEED_OP_CULL)
	c.sign(forged)
	forged.TargetSeedId = "seed-1"
	c.publish(forged)
	want = append(want, "forged: bad_signature", "forged: bad_signature") // each replica says so
	for i := range seeds {
		cull := c.command(fmt.Sprint("cull-", i), fmt.Sprint("seed-", i), pb.SeedOperation_SEED_OP_CULL)
		c.sign(cull)
		c.publish(cull)
		want = append(want, cull.CommandId+": executed")
	}
	slices.Sort(want)
	eventually(t, func() error {
		got, owners := outcomesOf(packets)
		for seed, instances := range owners {
			if len(instances) != 1 {
				t.Fatalf("%s was in the hands of %v", seed, instances)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("outcomes (-want +got):\n%s", diff)
		}
		return nil
	})
	for _, p := range replicas {
		p.terminate(10 * time.Second)
	}
	if got, _ := outcomesOf(packets); !slices.Equal(got, want) {
		t.Errorf("outcomes after all (-want +got):\n%s", cmp.Diff(want, got))
	}
}

// TestCommandsAreOff: without the setting a command is for others.
func TestCommandsAreOff(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	dir := serviceDir(t)
	env := with(serviceEnv(redis), "WEATHERLIGHT_TELEMETRY_INTERVAL", "100ms")
	client := busClient(t, redis.URL(), "test")
	packets := watchPackets(t, client, "")
	service := start(t, dir, env)
	eventually(t, func() error { return errIf(len(packets.from("weatherlight")) == 0, "no telemetry") })
	c := newCommander(t, client)
	germinate := c.command("1", "seed", pb.SeedOperation_SEED_OP_GERMINATE)
	c.sign(germinate)
	c.publish(germinate)
	seen := len(packets.from("weatherlight"))
	eventually(t, func() error { return errIf(len(packets.from("weatherlight")) < seen+5, "no more telemetry") })
	service.terminate(10 * time.Second)
	if got := packets.from("kasmina"); len(got) > 0 {
		t.Errorf("kasmina says %v", got)
	}
}

// TestSeedsAreLost: seeds end with their process, and that is told: by the one
// that ends, and by the one that begins.
func TestSeedsAreLost(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	dir := serviceDir(t)
	env := with(serviceEnv(redis), "KASMINA_COMMANDS", "true")
	client := busClient(t, redis.URL(), "test")
	packets := watchPackets(t, client, "")
	c := newCommander(t, client)
	service := start(t, dir, env)
	lost := func(n int) {
		t.Helper()
		eventually(t, func() error {
			got := len(packets.events("kasmina", "seeds_lost"))
			return errIf(got != n, fmt.Sprintf("%d times it was said that seeds are lost, want %d", got, n))
		})
	}
	lost(1)
	germinate := c.command("1", "seed", pb.SeedOperation_SEED_OP_GERMINATE)
	c.sign(germinate)
	c.publish(germinate)
	eventually(t, func() error {
		got, _ := outcomesOf(packets)
		return errIf(!slices.Equal(got, []string{"1: executed"}), fmt.Sprint(got))
	})
	service.terminate(10 * time.Second)
	lost(2)
	service = start(t, dir, env)
	lost(3)
	cull := c.command("2", "seed", pb.SeedOperation_SEED_OP_CULL)
	c.sign(cull)
	c.publish(cull)
	eventually(t, func() error {
		got, _ := outcomesOf(packets)
		return errIf(!slices.Equal(got, []string{"1: executed", "2: unknown_seed"}), fmt.Sprint(got))
	})
	service.terminate(10 * time.Second)
}
