package kasmina_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/kasmina"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

func TestHeldWithoutGate(t *testing.T) {
	for _, test := range []struct {
		gates kasmina.Gates
		gate  pb.SeedLifecycleGate
		stays pb.SeedLifecycleStage
	}{
		{kasmina.Gates{}, pb.SeedLifecycleGate_SEED_GATE_G3_INTERFACE, blending},
		{kasmina.Gates{Interface: pass}, pb.SeedLifecycleGate_SEED_GATE_G4_SYSTEM_IMPACT, shadowing},
	} {
		var l library
		m := newManager(t, kasmina.ManagerConfig{Kernels: &l, Gates: test.gates})
		germinate(t, m, "s")
		l.answer(t.Context(), nil)
		var err error
		for range 10 {
			if _, err = m.Advance(t.Context(), "s"); err != nil {
				break
			}
		}
		if ge := wantError[*kasmina.GateError](t, err); ge.Gate != test.gate || !errors.Is(err, kasmina.ErrHeld) {
			t.Errorf("error is %v, want a hold at %v", err, test.gate)
		}
		wantStage(t, m, "s", test.stays)
	}
}

func TestGates(t *testing.T) {
	bad := errors.New("gradients explode")
	says := func(err error) kasmina.Gate {
		return kasmina.GateFunc(func(context.Context, kasmina.Seed, *kasmina.Kernel) error { return err })
	}
	panics := kasmina.GateFunc(func(context.Context, kasmina.Seed, *kasmina.Kernel) error { panic("bug") })
	slow := kasmina.GateFunc(func(ctx context.Context, _ kasmina.Seed, _ *kasmina.Kernel) error {
		<-ctx.Done()
		return ctx.Err()
	})
	for _, test := range []struct {
		name  string
		gates kasmina.Gates
		want  pb.SeedLifecycleStage // after going as far as it goes
	}{
		{"G1 fails", kasmina.Gates{GradientHealth: says(bad)}, embargoed},
		{"G1 holds", kasmina.Gates{GradientHealth: says(fmt.Errorf("%w: wait", kasmina.ErrHeld))}, germinated},
		{"G1 panics", kasmina.Gates{GradientHealth: panics}, embargoed},
		{"G1 overruns", kasmina.Gates{GradientHealth: slow}, germinated},
		{"G2 fails", kasmina.Gates{Stability: says(bad)}, embargoed},
		{"G2 holds", kasmina.Gates{Stability: says(kasmina.ErrHeld)}, training},
		{"G3 fails", kasmina.Gates{Interface: says(bad)}, embargoed},
		{"G3 holds", kasmina.Gates{Interface: says(kasmina.ErrHeld)}, blending},
		{"G4 fails", kasmina.Gates{Interface: pass, SystemImpact: says(bad)}, embargoed},
		{"G4 overruns", kasmina.Gates{Interface: pass, SystemImpact: slow}, shadowing},
		{"all pass", kasmina.Gates{Interface: pass, SystemImpact: pass}, probationary},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l library
				m := newManager(t, kasmina.ManagerConfig{Kernels: &l, Gates: test.gates})
				germinate(t, m, "s")
				l.answer(t.Context(), nil)
				for range 5 {
					if _, err := m.Advance(t.Context(), "s"); err != nil {
						break
					}
				}
				wantStage(t, m, "s", test.want)
				s, _ := m.Seed("s")
				if attached := test.want != embargoed; s.Attached != attached || (l.open.Load() == 1) != attached {
					t.Errorf("kernel attached: %v, open: %d", s.Attached, l.open.Load())
				}
				if s.Stage == embargoed && s.Reason == "" {
					t.Error("culled without a reason")
				}
			})
		})
	}
}

type blueprints map[string]*pb.BlueprintDescriptor

func (b blueprints) Blueprint(_ context.Context, id string) (*pb.BlueprintDescriptor, error) {
	if id == "broken" {
		return nil, errors.New("catalogue is away")
	}
	return b[id], nil
}

func TestSanity(t *testing.T) {
	known := blueprints{
		"plain":      {BlueprintId: "plain"},
		"approval":   {ApprovalRequired: true},
		"quarantine": {QuarantineOnly: true},
		"bounds": {AllowedParameters: map[string]*pb.BlueprintParameterBounds{
			"alpha": {MinValue: 0, MaxValue: 1}, "odd": {MinValue: math.NaN(), MaxValue: math.NaN()},
		}},
	}
	for _, test := range []struct {
		name string
		g    kasmina.Germination
		ok   bool
	}{
		{"plain", kasmina.Germination{BlueprintID: "plain"}, true},
		{"no blueprint", kasmina.Germination{}, false},
		{"unknown blueprint", kasmina.Germination{BlueprintID: "nil"}, false},
		{"catalogue away", kasmina.Germination{BlueprintID: "broken"}, false},
		{"NaN", kasmina.Germination{BlueprintID: "plain", Parameters: map[string]float32{"x": float32(math.NaN())}}, false},
		{"infinite", kasmina.Germination{BlueprintID: "plain", Parameters: map[string]float32{"x": float32(math.Inf(-1))}}, false},
		{"not approved", kasmina.Germination{BlueprintID: "approval"}, false},
		{"approved", kasmina.Germination{BlueprintID: "approval", ApprovedBy: "urabrask"}, true},
		{"not in quarantine", kasmina.Germination{BlueprintID: "quarantine"}, false},
		{"in quarantine", kasmina.Germination{BlueprintID: "quarantine", Quarantine: true}, true},
		{"at the bound", kasmina.Germination{BlueprintID: "bounds", Parameters: map[string]float32{"alpha": 1}}, true},
		{"over the bound", kasmina.Germination{BlueprintID: "bounds", Parameters: map[string]float32{"alpha": 1.01}}, false},
		{"under the bound", kasmina.Germination{BlueprintID: "bounds", Parameters: map[string]float32{"alpha": -0.1}}, false},
		{"bound that is no number", kasmina.Germination{BlueprintID: "bounds", Parameters: map[string]float32{"odd": 1}}, false},
		{"parameter without bounds", kasmina.Germination{BlueprintID: "bounds", Parameters: map[string]float32{"beta": 99}}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var l library
			var j journal
			m := newManager(t, kasmina.ManagerConfig{Kernels: &l, Blueprints: known, Report: j.report})
			test.g.SeedID = "s"
			_, err := m.Germinate(t.Context(), test.g)
			if (err == nil) != test.ok || m.Has("s") != test.ok || len(l.pending) > 0 != test.ok {
				t.Errorf("Germinate: %v; seed there: %v, requests: %d", err, m.Has("s"), len(l.pending))
			}
			if test.ok {
				return
			}
			if ge := wantError[*kasmina.GateError](t, err); ge.Gate != pb.SeedLifecycleGate_SEED_GATE_G0_SANITY {
				t.Error(err)
			}
			if j.highest != pb.MessagePriority_MESSAGE_PRIORITY_HIGH {
				t.Errorf("refusal was reported with priority %v", j.highest)
			}
		})
	}
}

func TestRefusalKeepsDormantSeed(t *testing.T) {
	var l library
	m := newManager(t, kasmina.ManagerConfig{Kernels: &l})
	germinate(t, m, "s")
	if _, err := m.Cancel(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Germinate(t.Context(), kasmina.Germination{SeedID: "s"}); err == nil {
		t.Fatal("germinated without a blueprint")
	}
	wantStage(t, m, "s", dormant)
}

func TestLatencyBudget(t *testing.T) {
	for _, test := range []struct {
		p95, observed time.Duration
		want          pb.SeedLifecycleStage
	}{
		{0, 0, blending},
		{100 * time.Millisecond, 0, blending},
		{101 * time.Millisecond, 0, embargoed},
		{time.Hour, time.Millisecond, blending},
		{time.Millisecond, time.Hour, embargoed},
	} {
		var l library
		m := newManager(t, kasmina.ManagerConfig{})
		germinate(t, m, "s")
		l.open.Add(1)
		k := kasmina.NewKernel(kasmina.Artifact{Checksum: checksum, PrewarmP95: test.p95}, &program{open: &l.open})
		if _, err := m.Attach(t.Context(), "s", k); err != nil {
			t.Fatal(err)
		}
		if test.observed > 0 {
			if err := m.Observe("s", test.observed); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = m.Advance(t.Context(), "s")
		wantStage(t, m, "s", test.want)
	}
}

func TestUnverifiedKernel(t *testing.T) {
	var l library
	m := newManager(t, kasmina.ManagerConfig{})
	germinate(t, m, "s")
	l.open.Add(1)
	_, err := m.Attach(t.Context(), "s", kasmina.NewKernel(kasmina.Artifact{}, &program{open: &l.open}))
	if ge := wantError[*kasmina.GateError](t, err); ge.Gate != pb.SeedLifecycleGate_SEED_GATE_G1_GRADIENT_HEALTH {
		t.Error(err)
	}
	wantStage(t, m, "s", embargoed)
	if l.open.Load() != 0 {
		t.Error("kernel of a culled seed is open")
	}
}

func TestVerdictComesTooLate(t *testing.T) {
	var l library
	var m *kasmina.Manager
	m = newManager(t, kasmina.ManagerConfig{Kernels: &l, Gates: kasmina.Gates{
		Stability: kasmina.GateFunc(func(_ context.Context, s kasmina.Seed, k *kasmina.Kernel) error {
			_, err := m.Cull(s.ID, "meanwhile")
			if l.open.Load() != 1 {
				t.Error("kernel was closed under the gate")
			}
			return err
		}),
	}})
	germinate(t, m, "s")
	l.answer(t.Context(), nil)
	if _, err := m.Advance(t.Context(), "s"); !errors.Is(err, kasmina.ErrChanged) {
		t.Errorf("Advance: %v", err)
	}
	wantStage(t, m, "s", embargoed)
	if l.open.Load() != 0 {
		t.Errorf("%d kernels are open", l.open.Load())
	}
}
