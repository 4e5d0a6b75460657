package kasmina_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/esper-lite/esper/kasmina"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// pass is a gate that lets everything through.

var pass = kasmina.GateFunc(func(context.Context, kasmina.Seed, *kasmina.Kernel) error { return nil })

func germinate(t *testing.T, m *kasmina.Manager, id string) {
	t.Helper()
	if _, err := m.Germinate(t.Context(), kasmina.Germination{SeedID: id, BlueprintID: "BP001", TrainingRunID: "run-1"}); err != nil {
		t.Fatal(err)
	}
}

func TestWholeLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l library
		var j journal
		m := newManager(t, kasmina.ManagerConfig{
			Kernels: &l, Report: j.report,
			Gates: kasmina.Gates{Interface: pass, SystemImpact: pass},
		})
		germinate(t, m, "s")
		wantStage(t, m, "s", germinated)
		if _, err := m.Advance(t.Context(), "s"); !errors.Is(err, kasmina.ErrHeld) {
			t.Errorf("Advance before the kernel came: %v", err)
		}
		if got := l.pending[0].want; got != (kasmina.Want{BlueprintID: "BP001", TrainingRunID: "run-1"}) {
			t.Errorf("asked for %+v", got)
		}
		l.answer(t.Context(), nil)
		seed, err := m.AwaitTraining(t.Context(), "s")
		if err != nil || seed.Stage != training || !seed.Attached || seed.Artifact.Checksum != checksum {
			t.Fatalf("AwaitTraining = %+v, %v", seed, err)
		}
		for _, want := range []pb.SeedLifecycleStage{blending, shadowing, probationary} {
			if s, err := m.Advance(t.Context(), "s"); err != nil || s.Stage != want {
				t.Fatalf("Advance = %v, %v; want %v", s.Stage, err, want)
			}
		}
		if _, err := m.Advance(t.Context(), "s"); wantError[*kasmina.StageError](t, err).To != fossilized {
			t.Error(err)
		}
		if s, err := m.Fossilize("s"); err != nil || s.Stage != fossilized {
			t.Fatalf("Fossilize = %v, %v", s.Stage, err)
		}
		if l.open.Load() != 1 {
			t.Errorf("%d kernels open, want 1", l.open.Load())
		}
		if _, err := m.Cull("s", "too late"); wantError[*kasmina.StageError](t, err).From != fossilized {
			t.Error(err)
		}
		if err := m.Retire(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		if m.Has("s") || l.open.Load() != 0 {
			t.Errorf("retired seed: known %v, %d kernels open", m.Has("s"), l.open.Load())
		}
		want := []string{
			"seed_stage UNKNOWN>DORMANT", "seed_stage DORMANT>GERMINATED", "seed_stage GERMINATED>TRAINING",
			"seed_stage TRAINING>BLENDING", "seed_stage BLENDING>SHADOWING", "seed_stage SHADOWING>PROBATIONARY",
			"seed_stage PROBATIONARY>FOSSILIZED", "seed_stage FOSSILIZED>TERMINATED: retired",
		}
		if diff := cmp.Diff(want, j.lines()); diff != "" {
			t.Error(diff)
		}
		if j.highest != pb.MessagePriority_MESSAGE_PRIORITY_NORMAL {
			t.Errorf("a good life has priority %v", j.highest)
		}
	})
}

// Without the embedder's gates a seed stays before G3, and before G4.

// A seed that was there before a refused germination stays.

func TestKernelCannotBeHad(t *testing.T) {
	var l library
	var j journal
	m := newManager(t, kasmina.ManagerConfig{Kernels: &l, Report: j.report})
	germinate(t, m, "s")
	l.answer(t.Context(), errors.New("missing_artifact"))
	_, err := m.AwaitTraining(t.Context(), "s")
	if ce := wantError[*kasmina.CulledError](t, err); ce.Seed.Reason != "missing_artifact" {
		t.Errorf("reason is %q", ce.Seed.Reason)
	}
	l.refuse = kasmina.ErrFull
	germinate(t, m, "refused")
	wantStage(t, m, "refused", embargoed)
	want := []string{
		"seed_stage UNKNOWN>DORMANT", "seed_stage DORMANT>GERMINATED",
		"prefetch_error: missing_artifact",
		"seed_stage GERMINATED>CULLED: missing_artifact", "seed_stage CULLED>EMBARGOED: missing_artifact",
		"seed_stage UNKNOWN>DORMANT", "seed_stage DORMANT>GERMINATED",
		"prefetch_error: kasmina: full",
		"seed_stage GERMINATED>CULLED: kasmina: full", "seed_stage CULLED>EMBARGOED: kasmina: full",
	}
	if diff := cmp.Diff(want, j.lines()); diff != "" {
		t.Error(diff)
	}
}

// Whatever ends a seed that waits for its kernel leaves nothing behind: no

// request, no kernel, also not one that is on its way.

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// A source may answer before Request returns.

// hasty is a source that takes so long to ask that the seed is gone meanwhile.

// Everything at once, on the same few seeds: what holds is that nothing is left

// when all of them are retired.

func TestMaxSeeds(t *testing.T) {
	var l library
	m := newManager(t, kasmina.ManagerConfig{Kernels: &l, MaxSeeds: 3})
	for _, id := range []string{"a", "b", "c"} {
		germinate(t, m, id)
	}
	if _, err := m.Germinate(t.Context(), kasmina.Germination{SeedID: "d", BlueprintID: "BP"}); !errors.Is(err, kasmina.ErrFull) {
		t.Errorf("a fourth seed: %v", err)
	}
	for _, id := range []string{"b", "a"} { // b is dormant for longer
		_, err := m.Cancel(t.Context(), id)
		check(t, err)
	}
	germinate(t, m, "d")
	if m.Has("b") || !m.Has("a") {
		t.Errorf("a: %v, b: %v; want b to have made room", m.Has("a"), m.Has("b"))
	}
}

// Something happens to the seed while its gate is asked.

// A report that leads to further events gets them after, not inside, the present

// one, and in their order.

func TestReportMayUseManager(t *testing.T) {
	var l library
	var m *kasmina.Manager
	var j journal
	depth := 0
	m = newManager(t, kasmina.ManagerConfig{Kernels: &l, Report: func(p *pb.TelemetryPacket, priority pb.MessagePriority) {
		depth++
		defer func() { depth-- }()
		if depth > 1 {
			t.Error("Report was called inside Report")
		}
		j.report(p, priority)
		if s, ok := m.Seed("s"); ok && s.Stage == training {
			_, err := m.Cull("s", "from the report")
			check(t, err)
		}
	}})
	germinate(t, m, "s")
	l.answer(t.Context(), nil)
	want := []string{
		"seed_stage UNKNOWN>DORMANT", "seed_stage DORMANT>GERMINATED", "seed_stage GERMINATED>TRAINING",
		"seed_stage TRAINING>CULLED: from the report", "seed_stage CULLED>EMBARGOED: from the report",
	}
	if diff := cmp.Diff(want, j.lines()); diff != "" {
		t.Error(diff)
	}
}

func TestAwaitTraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l library
		m := newManager(t, kasmina.ManagerConfig{Kernels: &l})
		if _, err := m.AwaitTraining(t.Context(), "nobody"); !errors.Is(err, kasmina.ErrUnknownSeed) {
			t.Error(err)
		}
		germinate(t, m, "s")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := m.AwaitTraining(ctx, "s"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		ended := make(chan error)
		for range 3 {
			go func() {
				_, err := m.AwaitTraining(t.Context(), "s")
				ended <- err
			}()
		}
		synctest.Wait()
		check(t, m.Retire(t.Context(), "s"))
		for range 3 {
			err := <-ended
			if _, culled := errors.AsType[*kasmina.CulledError](err); !culled && !errors.Is(err, kasmina.ErrUnknownSeed) {
				t.Error(err)
			}
		}
	})
}

func TestManagerMetrics(t *testing.T) {
	var l library
	m := newManager(t, kasmina.ManagerConfig{Kernels: &l})
	for _, id := range []string{"a", "b", "c"} {
		germinate(t, m, id)
	}
	l.answer(t.Context(), nil)
	_, err := m.Cull("b", "no")
	check(t, err)
	metrics := m.AppendMetrics(nil)
	for name, want := range map[string]float64{
		"kasmina.seeds.active": 2, "kasmina.seeds.total": 3, "kasmina.seeds.training": 1, "kasmina.seeds.germinated": 1,
		"kasmina.seeds.embargoed": 1, "kasmina.seeds.culled_total": 1, "kasmina.gates.g0.passed_total": 3,
		"kasmina.gates.g1.passed_total": 1, "kasmina.events_dropped_total": 0,
	} {
		if got := figure(t, metrics, name); got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
}

func TestManagerConfig(t *testing.T) {
	for _, cfg := range []kasmina.ManagerConfig{{MaxSeeds: -1}, {LatencyBudget: -1}, {GateTimeout: -1}} {
		if _, err := kasmina.NewManager(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
	m := newManager(t, kasmina.ManagerConfig{})
	if _, err := m.Germinate(t.Context(), kasmina.Germination{BlueprintID: "BP001"}); err == nil {
		t.Error("germinated a seed without a name")
	}
}
