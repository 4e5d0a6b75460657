package kasmina

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Advance takes a seed to the next stage of its life, as far as PROBATIONARY,
// if the gate before it lets it pass, and returns how the seed stands then. An
// error that is a [*GateError] and wraps [ErrHeld] means that it stayed where it
// was; any other [*GateError] that it was culled. Further errors:
// [ErrUnknownSeed], [ErrPaused], [ErrChanged], and [*StageError] in a stage that
// Advance does not lead out of.
func (m *Manager) Advance(ctx context.Context, id string) (Seed, error) {
	e, err := m.approach(id)
	if err != nil {
		return Seed{}, err
	}
	return m.settle(e, m.ask(ctx, e))
}

// approach takes a seed down for the gate that is next.
func (m *Manager) approach(id string) (examination, error) {
	m.mu.Lock()
	defer m.unlock()
	s, err := m.findLocked(id)
	if err != nil {
		return examination{}, err
	}
	_, gate, ok := nextGate(s.stage)
	switch {
	case !ok:
		return examination{}, &StageError{SeedID: id, From: s.stage, To: nextOf(s.stage)}
	case s.paused:
		return examination{}, fmt.Errorf("%w: %q", ErrPaused, id)
	case s.kernel == nil:
		return examination{}, &GateError{SeedID: id, Gate: gate, Err: fmt.Errorf("%w: its kernel has not come", ErrHeld)}
	}
	return m.examineLocked(s, gate), nil
}

// settle acts on the verdict of a gate, if the seed is still the one that was
// judged.
func (m *Manager) settle(e examination, verdict error) (Seed, error) {
	m.mu.Lock()
	defer m.unlock()
	s := e.seed
	if m.seeds[s.id] != s || s.change != e.change {
		return Seed{}, fmt.Errorf("%w: %q", ErrChanged, s.id)
	}
	m.countLocked(e.gate, verdict)
	if verdict == nil {
		next, _, _ := nextGate(s.stage)
		err := m.moveLocked(s, next, "")
		return s.view(), err
	}
	s.reason = verdict.Error()
	if !errors.Is(verdict, ErrHeld) {
		m.events.add(gateEvent(s, s.want.BlueprintID, e.gate, verdict))
		m.cullLocked(s, verdict.Error(), m.cfg.Embargo)
	}
	return s.view(), &GateError{SeedID: s.id, Gate: e.gate, Err: verdict}
}

// Fossilize makes a probationary seed part of its host for good. It keeps its
// kernel until it is retired. Errors: [ErrUnknownSeed], [ErrPaused], [*StageError].
func (m *Manager) Fossilize(id string) (Seed, error) {
	m.mu.Lock()
	defer m.unlock()
	s, err := m.findLocked(id)
	if err != nil {
		return Seed{}, err
	}
	if s.paused && Allowed(s.stage, fossilized) {
		return s.view(), fmt.Errorf("%w: %q", ErrPaused, id)
	}
	err = m.moveLocked(s, fossilized, "")
	return s.view(), err
}

// Observe tells the latency that the trainer measures for a seed, which G2
// compares with the budget; the last one counts. Errors: [ErrUnknownSeed], and
// [*StageError] for a seed without a kernel.
func (m *Manager) Observe(id string, latency time.Duration) error {
	m.mu.Lock()
	defer m.unlock()
	s, err := m.findLocked(id)
	if err != nil {
		return err
	}
	if s.kernel == nil {
		return &StageError{SeedID: id, From: s.stage, To: training}
	}
	s.observed = max(0, latency)
	return nil
}

// Pause holds an active seed in its stage until [Manager.Resume]: it cannot
// advance or fossilize, but be culled. Its kernel may still arrive. To pause a
// paused seed changes nothing. Errors: [ErrUnknownSeed], and [*StageError] for a
// seed that is not active.
func (m *Manager) Pause(id string) (Seed, error) { return m.setPaused(id, true) }

// Resume lets a paused seed go on; one that got its kernel meanwhile goes through
// G1 at once. Errors: as for [Manager.Pause], and those of [Manager.Advance].
func (m *Manager) Resume(ctx context.Context, id string) (Seed, error) {
	view, err := m.setPaused(id, false)
	if err != nil || view.Stage != germinated || !view.Attached {
		return view, err
	}
	return m.Advance(ctx, id)
}

func (m *Manager) setPaused(id string, paused bool) (Seed, error) {
	m.mu.Lock()
	defer m.unlock()
	s, err := m.findLocked(id)
	if err != nil {
		return Seed{}, err
	}
	if !active(s.stage) {
		return s.view(), &StageError{SeedID: id, From: s.stage, To: s.stage}
	}
	if s.paused != paused {
		s.paused = paused
		s.touch()
		m.events.add(pauseEvent(s))
	}
	return s.view(), nil
}
