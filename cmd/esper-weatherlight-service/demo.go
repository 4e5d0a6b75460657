package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
	"github.com/esper-lite/esper/tamiyo"
	"github.com/esper-lite/esper/weatherlight"
)

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show everything in one process, without Redis and without settings",
		Args:  argsError(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.json {
				return usageErrorf("demo: it is told to people, and has no --json")
			}
			dir, err := os.MkdirTemp("", "weatherlight-demo-")
			if err != nil {
				return err
			}
			err = runDemo(cmd.Context(), a.Out, dir)
			return errors.Join(err, os.RemoveAll(dir))
		},
	}
}

// demo is a fleet in one process: a bus, a library, a service, and somebody who
// asks. Every line that it prints was observed, not assumed.
type demo struct {
	out    io.Writer
	dir    string
	redis  *redis.Client
	client *oona.Client // the trainer's
	keys   *leyline.Keyring
	svc    *service
	step   int
}

// demoTimeout bounds the whole demo.
const demoTimeout = 15 * time.Second

func runDemo(ctx context.Context, out io.Writer, dir string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, demoTimeout, fmt.Errorf("the demo is not done after %v", demoTimeout))
	defer cancel()
	bus := oonatest.New()
	defer bus.Close()
	d := &demo{out: out, dir: dir, redis: bus.Redis()}
	defer func() { _ = d.redis.Close() }()
	if err := d.open(ctx); err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- d.svc.run(serving) }()
	err := d.show(ctx)
	stop()
	return errors.Join(err, <-stopped, d.svc.close(), d.client.Close())
}

// open composes the service as run does, over the bus in this process.
func (d *demo) open(ctx context.Context) error {
	s, err := parseSettings(map[string]string{ // and none of a .env file
		"ESPER_LEYLINE_SECRET": "a secret of the demo's own",
		"URZA_DATABASE_URL":    "sqlite:///" + filepath.Join(d.dir, "urza", "catalog.db"),
		"URZA_ARTIFACT_DIR":    filepath.Join(d.dir, "urza", "artifacts"),
		"TAMIYO_POLICY_DIR":    filepath.Join(d.dir, "policies"),
		"KASMINA_COMMANDS":     "true",
	})
	if err != nil {
		return err
	}
	quiet := newLogger(io.Discard, s.LogFormat, s.LogLevel.Level)
	files, err := openKeys(s, quiet)
	if err != nil {
		return err
	}
	d.keys = files.Keyring()
	id := newIdentity()
	if d.client, err = d.connect(ctx, s, id, "trainer"); err != nil {
		return err
	}
	bus, err := d.connect(ctx, s, id, "weatherlight")
	if err != nil {
		return err
	}
	if d.svc, err = newServiceOn(ctx, bus, s, d.keys, id, quiet); err != nil {
		return err
	}
	_, err = d.svc.supervisor.Add(weatherlight.Spec{
		Name:    "flaky",
		Worker:  &flaky{},
		Backoff: weatherlight.Backoff{Initial: 300 * time.Millisecond},
	})
	return err
}

func (d *demo) connect(ctx context.Context, s settings, id identity, service string) (*oona.Client, error) {
	cfg, err := busConfig(s, d.keys, id, service, newLogger(io.Discard, s.LogFormat, s.LogLevel.Level))
	if err != nil {
		return nil, err
	}
	return oona.New(ctx, d.redis, cfg)
}

// flaky is a worker that panics the first time.
type flaky struct{ runs int }

func (f *flaky) Run(ctx context.Context) error {
	f.runs++
	if f.runs == 1 {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
		panic("a bug in a worker")
	}
	<-ctx.Done()
	return nil
}

// show goes through what Weatherlight does, one step after the other.
func (d *demo) show(ctx context.Context) error {
	fmt.Fprintln(d.out, "Weatherlight keeps the control plane of an Esper fleet alive. This is a whole")
	fmt.Fprintln(d.out, "fleet in one process: a message bus, an artifact library, the service, a trainer.")
	for _, step := range []struct {
		title string
		run   func(context.Context) error
	}{
		{"A trainer asks for a compiled kernel", d.served},
		{"A kernel that nobody has compiled", d.missing},
		{"Somebody records a request and sends it again", d.replayed},
		{"Somebody sends a message without knowing the secret", d.forged},
		{"A seed wants the kernel", d.attached},
		{"A new policy for the whole fleet", d.swapped},
		{"A worker crashes", d.crashed},
		{"In the end", d.summary},
	} {
		d.step++
		fmt.Fprintf(d.out, "\n%d. %s\n", d.step, step.title)
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", strings.ToLower(step.title), err)
		}
	}
	return nil
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, "   "+format+"\n", args...) }

func (d *demo) served(ctx context.Context) error {
	kernel := filepath.Join(d.dir, "conv3x3.pt")
	if err := os.WriteFile(kernel, []byte(strings.Repeat("compiled ", 1000)), 0o600); err != nil {
		return err
	}
	if err := addArtifact(ctx, d.svc.library, "BP-CONV3X3", kernel); err != nil {
		return err
	}
	d.say("the library has BP-CONV3X3, a file of 9000 bytes")
	answers, err := prefetch(ctx, d.client, "demo", []string{"BP-CONV3X3"})
	if err != nil {
		return err
	}
	a := answers[0]
	if a.Status != "ready" {
		return fmt.Errorf("the answer is %s %s", a.Status, a.Reason)
	}
	d.say("request  %s, signed, for BP-CONV3X3", a.RequestID)
	d.say("answer   ready after %.1f ms: %s", a.LatencyMS, filepath.Base(a.ArtifactRef))
	d.say("         SHA-256 %s…, verified before it was answered", a.Checksum[:16])
	return nil
}

func (d *demo) missing(ctx context.Context) error {
	answers, err := prefetch(ctx, d.client, "demo", []string{"BP-UNKNOWN"})
	if err != nil {
		return err
	}
	d.say("answer   %s, reason %s, after %.1f ms", answers[0].Status, answers[0].Reason, answers[0].LatencyMS)
	return nil
}

func (d *demo) replayed(ctx context.Context) error {
	stream := d.client.Streams().KernelRequests
	recorded, err := d.redis.XRangeN(ctx, stream, "-", "+", 1).Result()
	if err != nil {
		return err
	}
	if err := d.redis.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: recorded[0].Values}).Err(); err != nil {
		return err
	}
	return d.refused(ctx, leyline.Replayed, "its id was answered already; nothing is answered twice")
}

func (d *demo) forged(ctx context.Context) error {
	stream := d.client.Streams().KernelRequests
	forged := map[string]any{"payload": "\x08\x06\x12\x00", "signature": strings.Repeat("A", 43) + "="}
	if err := d.redis.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: forged}).Err(); err != nil {
		return err
	}
	return d.refused(ctx, leyline.BadSignature, "it reached no parser and no handler")
}

// refused waits until the service has counted a refusal.
func (d *demo) refused(ctx context.Context, reason leyline.Reason, why string) error {
	if err := d.until(ctx, func() bool { return d.svc.bus.Refusals().Total(reason) > 0 }); err != nil {
		return err
	}
	d.say("refused  as %q and counted: %s", string(reason), why)
	return nil
}

func (d *demo) attached(ctx context.Context) error {
	command := &pb.AdaptationCommand{
		Version: 1, CommandId: "command-1", CommandType: pb.CommandType_COMMAND_SEED, TargetSeedId: "seed-1", IssuedAt: timestamppb.Now(), IssuedBy: "demo",
		Payload: &pb.AdaptationCommand_SeedOperation{SeedOperation: &pb.CommandSeedOperation{
			Operation: pb.SeedOperation_SEED_OP_GERMINATE, BlueprintId: "BP-CONV3X3",
		}},
	}
	if err := leyline.SignCommand(d.keys, command); err != nil {
		return err
	}
	if _, err := d.client.Publish(ctx, command); err != nil {
		return err
	}
	if err := d.until(ctx, func() bool { return d.svc.seeds.Has("seed-1") }); err != nil {
		return err
	}
	d.say("command  %s, signed, to germinate seed-1", command.CommandId)
	seed, err := d.svc.seeds.AwaitTraining(ctx, "seed-1")
	if err != nil {
		return err
	}
	d.say("attached the kernel was asked for, verified and attached; seed-1 is in %s", stageName(seed.Stage))
	return nil
}

func stageName(stage pb.SeedLifecycleStage) string {
	return strings.TrimPrefix(stage.String(), "SEED_STAGE_")
}

func (d *demo) swapped(ctx context.Context) error {
	_, err := d.client.Publish(ctx, &pb.PolicyUpdate{
		Version: 1, PolicyId: "policy-7", IssuedAt: timestamppb.Now(), TamiyoPolicyVersion: "v2", Payload: []byte("weights"),
	})
	if err != nil {
		return err
	}
	var policy tamiyo.Update
	err = d.until(ctx, func() (ok bool) {
		policy, ok = d.svc.policies.Current()
		return ok
	})
	if err != nil {
		return err
	}
	d.say("swapped  to %s, version %s, and kept on disk for the next start", policy.PolicyID, policy.Version)
	return nil
}

func (d *demo) crashed(ctx context.Context) error {
	var status weatherlight.WorkerStatus
	err := d.until(ctx, func() bool {
		for _, w := range d.svc.supervisor.AppendWorkers(nil) {
			if w.Name == "flaky" {
				status = w
			}
		}
		return status.Restarts > 0 && status.State == weatherlight.StateRunning
	})
	if err != nil {
		return err
	}
	d.say("crashed  worker flaky: %v", status.LastFailure.Err)
	d.say("restart  after a backoff of its own, about 300 ms; it runs again")
	for _, w := range d.svc.supervisor.AppendWorkers(nil) {
		if w.Name == workerPrefetch {
			d.say("meanwhile %s ran on, with %d restarts", w.Name, w.Restarts)
		}
	}
	return nil
}

func (d *demo) summary(ctx context.Context) error {
	requests, answers, err := d.tally(ctx)
	if err != nil {
		return err
	}
	s := d.svc.supervisor.Snapshot()
	d.say("all %d workers are up, one of them after a restart; nobody else noticed", s.Running)
	d.say("%d requests, %d answers; %d replay and %d forgery refused", requests, answers,
		d.svc.bus.Refusals().Total(leyline.Replayed), d.svc.bus.Refusals().Total(leyline.BadSignature))
	if requests != answers {
		return fmt.Errorf("%d requests have %d answers", requests, answers)
	}
	d.say("nothing was lost")
	fmt.Fprintln(d.out)
	d.say("Next: set ESPER_LEYLINE_SECRET and REDIS_URL, and run esper-weatherlight-service,")
	d.say(`which "go install ./cmd/esper-weatherlight-service" puts into $(go env GOPATH)/bin;`)
	d.say("or read the README on embedding the packages.")
	return nil
}

// tally counts, on the bus itself, the requests that were not refused and the
// answers. Everybody who asked has waited for an answer by now.
func (d *demo) tally(ctx context.Context) (requests, answers int64, err error) {
	streams := d.client.Streams()
	var n [3]int64
	for i, stream := range [...]string{streams.KernelRequests, streams.KernelReady, streams.KernelErrors} {
		if n[i], err = d.redis.XLen(ctx, stream).Result(); err != nil {
			return 0, 0, err
		}
	}
	refused := d.svc.bus.Refusals()
	return n[0] - int64(refused.Total(leyline.Replayed)+refused.Total(leyline.BadSignature)), n[1] + n[2], nil
}

// until polls a condition that another goroutine brings about.
func (d *demo) until(ctx context.Context, done func() bool) error {
	for !done() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}
