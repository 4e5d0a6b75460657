package kasmina

import (
	"context"
	"errors"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// reception is one seed waiting for one kernel. As long as seed.waiting points to
// it, it is open; a kernel that comes later is released. A seed that was culled
// and germinated again has another reception, so it never gets the kernel of
// its former life.
type reception struct {
	manager  *Manager
	seed     *seed
	withdraw func() bool // guarded by Manager.mu; nil until the request is on its way
}

// done receives the kernel, or why there is none.
func (r *reception) done(ctx context.Context, kernel *Kernel, err error) {
	m, s := r.manager, r.seed
	if err == nil && kernel == nil {
		err = errors.New("kasmina: no kernel")
	}
	m.mu.Lock()
	open := s.waiting == r
	switch {
	case !open:
		if kernel != nil {
			m.after = append(m.after, kernel.Release)
		}
	case err != nil:
		m.abandonLocked(s, err)
	default:
		m.installLocked(s, kernel)
	}
	m.unlock()
	if open && err == nil {
		// What the gate says is told as an event: nobody waits for it here.
		_, _ = m.Advance(ctx, s.id)
	}
}

// abandonLocked culls a seed whose kernel cannot be had.
func (m *Manager) abandonLocked(s *seed, err error) {
	s.waiting = nil
	m.events.add(event("prefetch_error", pb.TelemetryLevel_TELEMETRY_LEVEL_WARNING,
		"seed_id", s.id, "blueprint_id", s.want.BlueprintID, "reason", err.Error()))
	m.cullLocked(s, err.Error(), m.cfg.Embargo)
}

// installLocked gives a waiting seed its kernel.
func (m *Manager) installLocked(s *seed, kernel *Kernel) {
	s.waiting = nil
	s.kernel = kernel
	s.touch()
	if !kernel.Fallback() {
		return
	}
	m.counts.fallbacks++
	m.events.add(event("fallback_applied", pb.TelemetryLevel_TELEMETRY_LEVEL_WARNING,
		"seed_id", s.id, "blueprint_id", s.want.BlueprintID, "reason", kernel.Cause().Error()))
}

// Attach gives a germinated seed its kernel, for managers without a [Source] or
// to be quicker than it. The kernel is the manager's from then on, whatever is
// returned: it releases it. The seed then goes through G1, as by
// [Manager.Advance].
func (m *Manager) Attach(ctx context.Context, id string, kernel *Kernel) (Seed, error) {
	m.mu.Lock()
	s, err := m.findLocked(id)
	if err == nil && (s.stage != germinated || s.kernel != nil) {
		err = &StageError{SeedID: id, From: s.stage, To: training}
	}
	if err != nil {
		m.after = append(m.after, kernel.Release)
		m.unlock()
		return Seed{}, err
	}
	m.dropLocked(s)
	m.installLocked(s, kernel)
	m.unlock()
	return m.Advance(ctx, id)
}
