package kasmina

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// Cull ends the life of an active seed: its kernel is released, its request
// withdrawn, and it cannot be germinated again before ManagerConfig.Embargo is
// over. Errors: [ErrUnknownSeed], and [*StageError] for a seed that is not active.
func (m *Manager) Cull(id, reason string) (Seed, error) {
	m.mu.Lock()
	defer m.unlock()
	s, err := m.findLocked(id)
	if err != nil {
		return Seed{}, err
	}
	if !active(s.stage) {
		return s.view(), &StageError{SeedID: id, From: s.stage, To: culled}
	}
	m.cullLocked(s, reason, m.cfg.Embargo)
	return s.view(), nil
}

// cullLocked culls an active seed and puts it under embargo.
func (m *Manager) cullLocked(s *seed, reason string, embargo time.Duration) {
	if err := m.moveLocked(s, culled, reason); err != nil {
		m.cfg.Logger.Error("seed that cannot be culled was to be", "error", err)
		return
	}
	s.reason, s.paused = reason, false
	m.counts.culled++
	m.dropLocked(s)
	s.embargoEnds = s.since.Add(embargo)
	_ = m.moveLocked(s, embargoed, reason) // the only way out of CULLED
}

// Cancel takes back the germination of a seed: it is culled, and dormant again at
// once, without an embargo, because nobody found fault with it. It may be in any
// active stage. What is left to do when G5 does not let it pass, the error then
// being a [*GateError], Run or the next germination does. Further errors: as for
// [Manager.Cull].
func (m *Manager) Cancel(ctx context.Context, id string) (Seed, error) {
	m.mu.Lock()
	s, err := m.findLocked(id)
	if err == nil && !active(s.stage) {
		err = &StageError{SeedID: id, From: s.stage, To: culled}
	}
	if err == nil {
		m.cullLocked(s, "cancelled", 0)
	}
	m.unlock()
	if err != nil {
		return Seed{}, err
	}
	if err := m.finishReset(ctx, id); err != nil {
		return Seed{}, err
	}
	view, _ := m.Seed(id)
	return view, nil
}

// finishReset is reset for a seed that somebody else may be resetting as well.
func (m *Manager) finishReset(ctx context.Context, id string) error {
	_, err := m.reset(ctx, id)
	if _, failed := errors.AsType[*GateError](err); failed {
		return err
	}
	return nil // done, by us or by them
}

// Retire removes a seed for good, by the way that its stage allows: a dormant or
// fossilized one is terminated, any other first culled and reset, without an
// embargo. When G5 does not let it pass, the error is a [*GateError], and Run
// removes it as soon as G5 does. A seed that is not there is [ErrUnknownSeed].
func (m *Manager) Retire(ctx context.Context, id string) error {
	return m.retire(ctx, id, "retired")
}

func (m *Manager) retire(ctx context.Context, id, reason string) error {
	m.mu.Lock()
	s, err := m.findLocked(id)
	if err != nil {
		m.unlock()
		return err
	}
	if Allowed(s.stage, terminated) {
		m.dropLocked(s)
		err = m.moveLocked(s, terminated, reason)
		m.unlock()
		return err
	}
	if active(s.stage) {
		m.cullLocked(s, reason, 0)
	}
	s.retiring, s.embargoEnds = true, time.Time{}
	m.unlock()
	return m.finishReset(ctx, id)
}

// reset takes a seed whose embargo is over through RESETTING and G5 to DORMANT,
// and a retiring one on to TERMINATED.
func (m *Manager) reset(ctx context.Context, id string) (Seed, error) {
	e, err := m.startReset(id)
	if err != nil {
		return Seed{}, err
	}
	verdict := m.ask(ctx, e)
	m.mu.Lock()
	defer m.unlock()
	s := e.seed
	if m.seeds[id] != s || s.change != e.change {
		return Seed{}, fmt.Errorf("%w: %q", ErrChanged, id)
	}
	m.countLocked(gateG5, verdict)
	if verdict != nil {
		m.notePersistentLocked(s, verdict)
		return s.view(), &GateError{SeedID: id, Gate: gateG5, Err: verdict}
	}
	s.want, s.observed, s.embargoEnds = Germination{}, 0, time.Time{}
	if err := m.moveLocked(s, dormant, ""); err != nil {
		return s.view(), err
	}
	if s.retiring {
		return s.view(), m.moveLocked(s, terminated, "retired")
	}
	return s.view(), nil
}

// startReset begins a reset, or takes up one that G5 stopped.
func (m *Manager) startReset(id string) (examination, error) {
	m.mu.Lock()
	defer m.unlock()
	s, err := m.findLocked(id)
	if err != nil {
		return examination{}, err
	}
	if s.stage == embargoed {
		if time.Now().Before(s.embargoEnds) {
			return examination{}, fmt.Errorf("%w: %q, until %v", ErrEmbargoed, id, s.embargoEnds)
		}
		if err := m.moveLocked(s, resetting, ""); err != nil {
			return examination{}, err
		}
	}
	if s.stage != resetting {
		return examination{}, &StageError{SeedID: id, From: s.stage, To: resetting}
	}
	return m.examineLocked(s, gateG5), nil
}

// notePersistentLocked tells that G5 failed, once for the same reason: the seed is
// asked about again and again.
func (m *Manager) notePersistentLocked(s *seed, verdict error) {
	if reason := verdict.Error(); s.reason != reason && !errors.Is(verdict, ErrHeld) {
		s.reason = reason
		m.events.add(gateEvent(s, s.want.BlueprintID, gateG5, verdict))
	}
}

// resetIfDue resets a seed whose embargo is over, so that a germination need not
// wait for Run.
func (m *Manager) resetIfDue(ctx context.Context, id string) error {
	m.mu.Lock()
	s := m.seeds[id]
	due := s != nil && isDue(s, time.Now())
	m.mu.Unlock()
	if !due {
		return nil
	}
	_, err := m.reset(ctx, id)
	return err
}

func isDue(s *seed, now time.Time) bool {
	return s.stage == resetting || s.stage == embargoed && !now.Before(s.embargoEnds)
}

// sweepInterval is how often Run looks for embargoes that are over.
const sweepInterval = time.Second

// Run looks after the seeds, about once a second, until ctx ends, and then returns
// nil: it resets those whose embargo is over, and asks again about those that have
// their kernel and were held at G1. It is optional: without it a seed is reset
// when it is next germinated, and asked about when Advance is called.
//
// Run also tells of the seeds that a process does not keep: when it is first
// called, that seeds of an earlier process are gone, and when it ends, how many go
// with this one.
func (m *Manager) Run(ctx context.Context) error {
	m.greeting.Do(func() {
		m.tell(event("seeds_lost", pb.TelemetryLevel_TELEMETRY_LEVEL_INFO,
			"reason", "seeds live in memory: those of an earlier process are gone"))
	})
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			m.farewell()
			return nil
		case <-ticker.C:
			m.sweep(ctx)
		}
	}
}

// sweep resets and advances what is due. A seed that cannot go on is due again.
func (m *Manager) sweep(ctx context.Context) {
	now := time.Now()
	var due, held []string
	m.mu.Lock()
	for id, s := range m.seeds {
		switch {
		case isDue(s, now):
			due = append(due, id)
		case s.stage == germinated && s.kernel != nil && !s.paused:
			held = append(held, id)
		}
	}
	m.mu.Unlock()
	for _, id := range due {
		if _, err := m.reset(ctx, id); err != nil {
			m.cfg.Logger.DebugContext(ctx, "seed not reset", "seed_id", id, "error", err)
		}
	}
	for _, id := range held {
		if _, err := m.Advance(ctx, id); err != nil {
			m.cfg.Logger.DebugContext(ctx, "seed not training", "seed_id", id, "error", err)
		}
	}
}

// farewell says how many seeds end with the process.
func (m *Manager) farewell() {
	m.mu.Lock()
	n := 0
	for _, s := range m.seeds {
		if active(s.stage) || s.stage == fossilized {
			n++
		}
	}
	m.mu.Unlock()
	if n > 0 {
		m.tell(event("seeds_lost", pb.TelemetryLevel_TELEMETRY_LEVEL_WARNING,
			"seeds", fmt.Sprint(n), "reason", "seeds live in memory: the process ends"))
	}
}

func (m *Manager) tell(e *pb.TelemetryEvent) {
	m.events.add(e)
	m.events.deliver()
}
