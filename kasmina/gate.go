package kasmina

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

const (
	gateUnknown = pb.SeedLifecycleGate_SEED_GATE_UNKNOWN
	gateG0      = pb.SeedLifecycleGate_SEED_GATE_G0_SANITY
	gateG1      = pb.SeedLifecycleGate_SEED_GATE_G1_GRADIENT_HEALTH
	gateG2      = pb.SeedLifecycleGate_SEED_GATE_G2_STABILITY
	gateG3      = pb.SeedLifecycleGate_SEED_GATE_G3_INTERFACE
	gateG4      = pb.SeedLifecycleGate_SEED_GATE_G4_SYSTEM_IMPACT
	gateG5      = pb.SeedLifecycleGate_SEED_GATE_G5_RESET
)

// gateCount is the number of gates of the contract, the unknown one included.
const gateCount = int(gateG5) + 1

// ErrHeld is wrapped by the error of a gate that cannot say yet. The seed stays
// where it is, and may be asked about again.
var ErrHeld = errors.New("kasmina: held at its gate")

// A Gate judges whether a seed may pass. nil lets it pass. An error that wraps
// [ErrHeld], and any error once ctx has ended, leaves the seed where it is. Every
// other error is a failure: the seed is culled where the lifecycle allows it (G1
// to G4), and otherwise the command is refused (G0) or the seed stays (G5). A
// panic is a failure too.
//
// Check is called without any lock held, so it may use the [Manager]; of two
// calls about one seed that overlap only one can count. kernel is nil where the
// seed has none; it is the gate's for the length of the call, and [Kernel.Retain]
// keeps it for longer. ctx ends after ManagerConfig.GateTimeout.
type Gate interface {
	Check(ctx context.Context, seed Seed, kernel *Kernel) error
}

// GateFunc is a function as a [Gate].
type GateFunc func(ctx context.Context, seed Seed, kernel *Kernel) error

// Check calls f.
func (f GateFunc) Check(ctx context.Context, seed Seed, kernel *Kernel) error {
	return f(ctx, seed, kernel)
}

// Gates are the embedder's gates. They come on top of what is always checked:
//
//   - G0: a blueprint id; every parameter a number, and within the bounds of
//     the blueprint; approval and quarantine where the blueprint demands them.
//     What the blueprint says is known only with ManagerConfig.Blueprints.
//   - G1: a kernel is attached, and its checksum was verified.
//   - G2: the latency is within ManagerConfig.LatencyBudget; a seed with the
//     fallback kernel is held.
//   - G5: kernel and request are gone.
//
// Only the trainer can judge what G3 and G4 ask, so there is nothing to check
// here: without a gate for it, the seed is held there. Any other nil Gate adds
// nothing. Whether gradients are isolated is for an embedder's G1 and G4.
type Gates struct {
	Sanity         Gate // G0, before GERMINATED
	GradientHealth Gate // G1, before TRAINING
	Stability      Gate // G2, before BLENDING
	Interface      Gate // G3, before SHADOWING
	SystemImpact   Gate // G4, before PROBATIONARY
	Reset          Gate // G5, before leaving RESETTING
}

func (g *Gates) of(gate pb.SeedLifecycleGate) Gate {
	switch gate {
	case gateG0:
		return g.Sanity
	case gateG1:
		return g.GradientHealth
	case gateG2:
		return g.Stability
	case gateG3:
		return g.Interface
	case gateG4:
		return g.SystemImpact
	case gateG5:
		return g.Reset
	}
	return nil
}

// GateError says that a gate did not let a seed pass. It wraps what the gate
// said; errors.Is(err, ErrHeld) tells a seed that was only held from one that
// failed.
type GateError struct {
	SeedID string
	Gate   pb.SeedLifecycleGate
	Err    error
}

// Error names seed and gate.
func (e *GateError) Error() string {
	return fmt.Sprintf("kasmina: seed %q at %v: %v", e.SeedID, e.Gate, e.Err)
}

// Unwrap returns what the gate said.
func (e *GateError) Unwrap() error { return e.Err }

// Blueprints says what is known of a blueprint.
type Blueprints interface {
	// Blueprint returns the descriptor of a blueprint, or an error where it
	// has none or cannot be asked; G0 then refuses.
	Blueprint(ctx context.Context, blueprintID string) (*pb.BlueprintDescriptor, error)
}

// examination is what a gate is asked about: a seed as it stood at one change.
type examination struct {
	seed   *seed
	change uint64
	gate   pb.SeedLifecycleGate
	view   Seed
	kernel *Kernel // a reference of its own, or nil
	asked  bool    // a request is pending
}

// examineLocked takes down how a seed stands. The caller judges it with ask, and
// then settles with the change still being the same.
func (m *Manager) examineLocked(s *seed, gate pb.SeedLifecycleGate) examination {
	e := examination{seed: s, change: s.change, gate: gate, view: s.view(), asked: s.waiting != nil}
	if s.kernel != nil {
		e.kernel = s.kernel.Retain()
	}
	return e
}

// ask returns nil, an error that wraps ErrHeld, or a failure.
func (m *Manager) ask(ctx context.Context, e examination) (err error) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.GateTimeout)
	defer cancel()
	if e.kernel != nil {
		defer e.kernel.Release()
	}
	defer func() {
		if v := recover(); v != nil {
			m.cfg.Logger.Error("gate panicked", "seed_id", e.view.ID, "gate", e.gate.String(), "panic", v)
			err = fmt.Errorf("gate panicked: %v", v)
		}
	}()
	if err := m.checkKnown(ctx, e); err != nil {
		return held(ctx, err)
	}
	gate := m.cfg.Gates.of(e.gate)
	if gate == nil {
		if e.gate == gateG3 || e.gate == gateG4 {
			return fmt.Errorf("%w: only the trainer can judge it, and there is no gate for it", ErrHeld)
		}
		return nil
	}
	return held(ctx, gate.Check(ctx, e.view, e.kernel))
}

// held turns an error into a hold when it comes from a context that ended: that
// says nothing about the seed.
func held(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && !errors.Is(err, ErrHeld) {
		return fmt.Errorf("%w: %w", ErrHeld, err)
	}
	return err
}

// checkKnown checks what can be known without the trainer.
func (m *Manager) checkKnown(ctx context.Context, e examination) error {
	switch e.gate {
	case gateG0:
		return m.checkSanity(ctx, e.view)
	case gateG1:
		if e.kernel == nil {
			return errors.New("no kernel attached")
		}
		if !e.kernel.Fallback() && e.kernel.Artifact().Checksum == "" {
			return errors.New("kernel without a verified checksum")
		}
	case gateG2:
		if e.view.Fallback {
			return fmt.Errorf("%w: it runs the fallback kernel", ErrHeld)
		}
		if e.view.Latency > m.cfg.LatencyBudget {
			return fmt.Errorf("latency %v is over the budget of %v", e.view.Latency.Round(time.Microsecond), m.cfg.LatencyBudget)
		}
	case gateG5:
		if e.kernel != nil || e.asked {
			return errors.New("not clean: a kernel or a request is left")
		}
	}
	return nil
}

func (m *Manager) checkSanity(ctx context.Context, s Seed) error {
	if s.BlueprintID == "" {
		return errors.New("no blueprint id")
	}
	for name, v := range s.Parameters {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("parameter %q is %v", name, v)
		}
	}
	if m.cfg.Blueprints == nil {
		return nil
	}
	d, err := m.cfg.Blueprints.Blueprint(ctx, s.BlueprintID)
	switch {
	case err != nil:
		return fmt.Errorf("blueprint %q: %w", s.BlueprintID, err)
	case d == nil:
		return fmt.Errorf("blueprint %q is not known", s.BlueprintID)
	case d.GetApprovalRequired() && s.ApprovedBy == "":
		return fmt.Errorf("blueprint %q requires an approval", s.BlueprintID)
	case d.GetQuarantineOnly() && !s.Quarantine:
		return fmt.Errorf("blueprint %q is for quarantine only", s.BlueprintID)
	}
	for name, bounds := range d.GetAllowedParameters() {
		v, given := s.Parameters[name]
		// Negated, so that a bound that is no number lets nothing pass.
		if given && !(float64(v) >= bounds.GetMinValue() && float64(v) <= bounds.GetMaxValue()) {
			return fmt.Errorf("parameter %q is %v, outside [%v, %v]", name, v, bounds.GetMinValue(), bounds.GetMaxValue())
		}
	}
	return nil
}
