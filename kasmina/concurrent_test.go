package kasmina_test

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/esper-lite/esper/kasmina"
)

func TestConcurrent(t *testing.T) {
	var l library
	var j journal
	m := newManager(t, kasmina.ManagerConfig{Kernels: &l, Embargo: -1, Report: j.report, Gates: kasmina.Gates{Interface: pass, SystemImpact: pass}})
	ids := []string{"a", "b", "c"}
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 3))
			for range 500 {
				id := ids[rng.IntN(len(ids))]
				switch rng.IntN(8) {
				case 0, 1:
					_, _ = m.Germinate(t.Context(), kasmina.Germination{SeedID: id, BlueprintID: "BP"})
				case 2:
					_, _ = m.Cull(id, "test")
				case 3:
					_, _ = m.Cancel(t.Context(), id)
				case 4:
					_, _ = m.Advance(t.Context(), id)
				case 5:
					_ = m.Retire(t.Context(), id)
				case 6:
					if k, err := m.Kernel(id); err == nil {
						k.Release()
					}
				case 7:
					l.answer(t.Context(), nil)
				}
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if err := m.Retire(t.Context(), id); err != nil && !errors.Is(err, kasmina.ErrUnknownSeed) {
			t.Error(err)
		}
	}
	if n := len(m.Seeds()); n != 0 || len(l.pending) != 0 || l.open.Load() != 0 {
		t.Errorf("%d seeds, %d requests, %d kernels are left", n, len(l.pending), l.open.Load())
	}
	// Every seed's moves were told in an order that the lifecycle has.
	at := make(map[string]string)
	for _, p := range j.packets {
		for _, e := range p.Events {
			if e.Description != "seed_stage" {
				continue
			}
			from, to := e.Attributes["from"], e.Attributes["to"]
			if known := cmp.Or(at[e.Attributes["seed_id"]], from); known != from {
				t.Fatalf("seed left %s, but was told to be in %s", from, known)
			}
			if at[e.Attributes["seed_id"]] = to; to == terminated.String() {
				delete(at, e.Attributes["seed_id"])
			}
		}
	}
}
