package kasmina

import (
	"context"
	"errors"
	"maps"
)

// Germinate germinates a seed, which is made if there is none of its name, and
// asks for its kernel. It returns as soon as the request is on its way;
// [Manager.AwaitTraining] waits for the kernel. With the kernel the seed passes G1
// and trains; without it, it is culled, with the reason.
//
// The seed must be new, dormant, or culled with its embargo over. When G0 does not
// let it pass the error is a [*GateError], and a seed that was made for this is
// gone again. Further errors: [*StageError], [ErrEmbargoed], [ErrChanged],
// [ErrFull].
func (m *Manager) Germinate(ctx context.Context, g Germination) (Seed, error) {
	if g.SeedID == "" {
		return Seed{}, errors.New("kasmina: germination without a seed id")
	}
	g.Parameters = maps.Clone(g.Parameters)
	if err := m.resetIfDue(ctx, g.SeedID); err != nil {
		return Seed{}, err
	}
	e, fresh, err := m.prepare(g)
	if err != nil {
		return Seed{}, err
	}
	verdict := m.ask(ctx, e)
	view, change, err := m.sprout(e, fresh, g, verdict)
	if err != nil || m.cfg.Kernels == nil {
		return view, err
	}
	return m.request(e.seed, change, g), nil
}

// prepare finds or makes the seed and takes it down for G0 as it would be.
func (m *Manager) prepare(g Germination) (e examination, fresh bool, err error) {
	m.mu.Lock()
	defer m.unlock()
	s := m.seeds[g.SeedID]
	if s == nil {
		if err := m.makeRoomLocked(); err != nil {
			return e, false, err
		}
		s, fresh = &seed{id: g.SeedID}, true
		m.seeds[s.id] = s
		if err := m.moveLocked(s, dormant, ""); err != nil {
			return e, false, err
		}
	}
	switch {
	case s.stage == embargoed:
		return e, false, ErrEmbargoed
	case !Allowed(s.stage, germinated):
		return e, false, &StageError{SeedID: s.id, From: s.stage, To: germinated}
	}
	e = m.examineLocked(s, gateG0)
	e.view.BlueprintID, e.view.TrainingRunID, e.view.Parameters = g.BlueprintID, g.TrainingRunID, g.Parameters
	e.view.ApprovedBy, e.view.Quarantine = g.ApprovedBy, g.Quarantine
	return e, fresh, nil
}

// sprout germinates a seed that G0 let pass, and returns the change at which it
// did.
func (m *Manager) sprout(e examination, fresh bool, g Germination, verdict error) (Seed, uint64, error) {
	m.mu.Lock()
	defer m.unlock()
	s := e.seed
	if m.seeds[s.id] != s || s.change != e.change {
		return Seed{}, 0, ErrChanged
	}
	m.countLocked(gateG0, verdict)
	if verdict != nil {
		s.reason = verdict.Error()
		m.events.add(gateEvent(s, g.BlueprintID, gateG0, verdict))
		view := s.view()
		if fresh {
			if err := m.moveLocked(s, terminated, "refused"); err != nil {
				return view, 0, err
			}
		}
		return view, 0, &GateError{SeedID: s.id, Gate: gateG0, Err: verdict}
	}
	s.want, s.reason, s.paused = g, "", false
	if err := m.moveLocked(s, germinated, ""); err != nil {
		return s.view(), 0, err
	}
	return s.view(), s.change, nil
}

// request asks for the kernel of a seed.
func (m *Manager) request(s *seed, change uint64, g Germination) Seed {
	r := &reception{manager: m, seed: s}
	m.mu.Lock()
	if m.seeds[s.id] != s || s.change != change {
		defer m.unlock()
		return s.view() // culled meanwhile
	}
	s.waiting = r // before the request, because the kernel may come before it returns
	m.unlock()

	withdraw, err := m.cfg.Kernels.Request(Want{BlueprintID: g.BlueprintID, TrainingRunID: g.TrainingRunID}, r.done)
	if err != nil {
		r.done(context.Background(), nil, err)
	}
	m.mu.Lock()
	defer m.unlock()
	switch {
	case err != nil:
	case s.waiting == r:
		r.withdraw = withdraw
	default:
		m.after = append(m.after, func() { withdraw() })
	}
	return s.view()
}
