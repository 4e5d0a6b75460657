package kasmina_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/kasmina"
)

func TestNothingLeftBehind(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *kasmina.Manager){
		"cull":   func(t *testing.T, m *kasmina.Manager) { _, err := m.Cull("s", "no"); check(t, err) },
		"cancel": func(t *testing.T, m *kasmina.Manager) { _, err := m.Cancel(t.Context(), "s"); check(t, err) },
		"retire": func(t *testing.T, m *kasmina.Manager) { check(t, m.Retire(t.Context(), "s")) },
	} {
		t.Run(name, func(t *testing.T) {
			var l library
			m := newManager(t, kasmina.ManagerConfig{Kernels: &l, Embargo: -1})
			germinate(t, m, "s")
			late := l.pending[0]
			end(t, m)
			if len(l.pending) != 0 {
				t.Errorf("%d requests are left", len(l.pending))
			}
			// The kernel of the former life comes while the next one waits.
			germinate(t, m, "s")
			late.done(t.Context(), l.kernel("late"), nil)
			if s, _ := m.Seed("s"); s.Stage != germinated || s.Attached {
				t.Errorf("a late kernel was attached: %+v", s)
			}
			if l.open.Load() != 0 {
				t.Errorf("%d kernels are open", l.open.Load())
			}
			l.answer(t.Context(), nil)
			wantStage(t, m, "s", training)
			check(t, m.Retire(t.Context(), "s"))
			if l.open.Load() != 0 || m.Has("s") {
				t.Errorf("after Retire: %d kernels, seed there: %v", l.open.Load(), m.Has("s"))
			}
		})
	}
}

type instant struct{ library }

func (i *instant) Request(want kasmina.Want, done func(context.Context, *kasmina.Kernel, error)) (func() bool, error) {
	done(context.Background(), i.kernel(want.BlueprintID), nil)
	return func() bool { return false }, nil
}

func TestInstantSource(t *testing.T) {
	var l instant
	m := newManager(t, kasmina.ManagerConfig{Kernels: &l})
	germinate(t, m, "s")
	wantStage(t, m, "s", training)
}

type hasty struct {
	library
	meanwhile func()
}

func (h *hasty) Request(want kasmina.Want, done func(context.Context, *kasmina.Kernel, error)) (func() bool, error) {
	cancel, err := h.library.Request(want, done)
	h.meanwhile()
	return cancel, err
}

func TestCulledWhileAsking(t *testing.T) {
	var h hasty
	m := newManager(t, kasmina.ManagerConfig{Kernels: &h})
	h.meanwhile = func() {
		_, err := m.Cull("s", "meanwhile")
		check(t, err)
	}
	germinate(t, m, "s")
	wantStage(t, m, "s", embargoed)
	if len(h.pending) != 0 {
		t.Errorf("%d requests are left", len(h.pending))
	}
}

func TestEmbargo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l library
		m := newManager(t, kasmina.ManagerConfig{Kernels: &l})
		germinate(t, m, "s")
		_, err := m.Cull("s", "unstable")
		check(t, err)
		if _, err := m.Germinate(t.Context(), kasmina.Germination{SeedID: "s", BlueprintID: "BP002"}); !errors.Is(err, kasmina.ErrEmbargoed) {
			t.Errorf("Germinate under embargo: %v", err)
		}
		time.Sleep(kasmina.DefaultEmbargo - time.Millisecond)
		if _, err := m.Germinate(t.Context(), kasmina.Germination{SeedID: "s", BlueprintID: "BP002"}); !errors.Is(err, kasmina.ErrEmbargoed) {
			t.Errorf("Germinate just before its end: %v", err)
		}
		time.Sleep(time.Millisecond)
		_, err = m.Germinate(t.Context(), kasmina.Germination{SeedID: "s", BlueprintID: "BP002"})
		check(t, err)
		if s, _ := m.Seed("s"); s.Stage != germinated || s.BlueprintID != "BP002" || s.Reason != "" {
			t.Errorf("germinated again: %+v", s)
		}
	})
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l library
		var j journal
		dirty := errors.New("optimizer still has its parameters")
		var clean atomic.Bool
		m := newManager(t, kasmina.ManagerConfig{Kernels: &l, Report: j.report, Gates: kasmina.Gates{
			Reset: kasmina.GateFunc(func(context.Context, kasmina.Seed, *kasmina.Kernel) error {
				if clean.Load() {
					return nil
				}
				return dirty
			}),
		}})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- m.Run(ctx) }()
		germinate(t, m, "culled")
		_, err := m.Cull("culled", "unstable")
		check(t, err)
		germinate(t, m, "retired")
		if err := m.Retire(t.Context(), "retired"); wantError[*kasmina.GateError](t, err).Err != dirty {
			t.Error(err)
		}
		germinate(t, m, "stays")
		time.Sleep(kasmina.DefaultEmbargo + 10*time.Second)
		wantStage(t, m, "culled", resetting)
		wantStage(t, m, "retired", resetting)
		clean.Store(true)
		time.Sleep(2 * time.Second)
		wantStage(t, m, "culled", dormant)
		if m.Has("retired") {
			t.Error("retired seed is still there")
		}
		stop()
		check(t, <-ended)
		check(t, m.Run(ctx)) // a further one loses no seeds of an earlier process
		failures, lost, gone := 0, 0, 0
		for _, line := range j.lines() {
			switch line {
			case "gate_failure G5_RESET: optimizer still has its parameters":
				failures++
			case "seeds_lost: seeds live in memory: the process ends":
				lost++
			case "seeds_lost: seeds live in memory: those of an earlier process are gone":
				gone++
			}
		}
		if failures != 2 || lost != 2 || gone != 1 {
			t.Errorf("%d failures of G5, %d farewells and %d beginnings were told, want 2, 2 and 1:\n%v", failures, lost, gone, j.lines())
		}
	})
}

func TestPause(t *testing.T) {
	var l library
	m := newManager(t, kasmina.ManagerConfig{Kernels: &l, Gates: kasmina.Gates{Interface: pass, SystemImpact: pass}})
	germinate(t, m, "s")
	_, err := m.Pause("s")
	check(t, err)
	l.answer(t.Context(), nil)
	if s, _ := m.Seed("s"); s.Stage != germinated || !s.Attached || !s.Paused {
		t.Errorf("paused seed after its kernel came: %+v", s)
	}
	if _, err := m.Advance(t.Context(), "s"); !errors.Is(err, kasmina.ErrPaused) {
		t.Errorf("Advance: %v", err)
	}
	if s, err := m.Resume(t.Context(), "s"); err != nil || s.Stage != training || s.Paused {
		t.Errorf("Resume = %+v, %v", s, err)
	}
	for range 3 {
		_, err := m.Advance(t.Context(), "s")
		check(t, err)
	}
	_, err = m.Pause("s")
	check(t, err)
	if _, err := m.Fossilize("s"); !errors.Is(err, kasmina.ErrPaused) {
		t.Errorf("Fossilize: %v", err)
	}
	if s, err := m.Cull("s", "no"); err != nil || s.Paused {
		t.Errorf("Cull of a paused seed = %+v, %v", s, err)
	}
	_, err = m.Pause("s")
	wantError[*kasmina.StageError](t, err)
}
