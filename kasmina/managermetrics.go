package kasmina

import (
	"errors"
	"fmt"
	"strings"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// managerCounts is guarded by Manager.mu.
type managerCounts struct {
	moves, culled, fallbacks int64
	passed, held, failed     [gateCount]int64
}

// countLocked counts the verdict of a gate.
func (m *Manager) countLocked(gate pb.SeedLifecycleGate, verdict error) {
	switch {
	case verdict == nil:
		m.counts.passed[gate]++
	case errors.Is(verdict, ErrHeld):
		m.counts.held[gate]++
	default:
		m.counts.failed[gate]++
	}
}

// AppendMetrics appends the manager's figures to dst: the seeds by stage,
// kasmina.seeds.<stage>, and what the gates said, kasmina.gates.g<n>.<verdict>_total.
func (m *Manager) AppendMetrics(dst []leyline.Metric) []leyline.Metric {
	m.mu.Lock()
	counts := m.counts
	var stages [stageCount]int
	for _, s := range m.seeds {
		stages[s.stage]++
	}
	total := len(m.seeds)
	m.mu.Unlock()

	count := func(name string, v int64) {
		dst = append(dst, leyline.Metric{Name: name, Value: float64(v), Unit: leyline.UnitCount})
	}
	activeSeeds := 0
	for stage := dormant; stage < terminated; stage++ {
		if active(stage) {
			activeSeeds += stages[stage]
		}
		name := strings.ToLower(strings.TrimPrefix(stage.String(), "SEED_STAGE_"))
		count("kasmina.seeds."+name, int64(stages[stage]))
	}
	count("kasmina.seeds.active", int64(activeSeeds))
	count("kasmina.seeds.total", int64(total))
	count("kasmina.seeds.capacity", int64(m.cfg.MaxSeeds))
	count("kasmina.seeds.stage_changes_total", counts.moves)
	count("kasmina.seeds.culled_total", counts.culled)
	count("kasmina.seeds.fallbacks_total", counts.fallbacks)
	for gate := gateG0; gate <= gateG5; gate++ {
		name := fmt.Sprintf("kasmina.gates.g%d.", gate-gateG0)
		count(name+"passed_total", counts.passed[gate])
		count(name+"held_total", counts.held[gate])
		count(name+"failed_total", counts.failed[gate])
	}
	count("kasmina.events_dropped_total", m.events.dropped.Load())
	return dst
}
