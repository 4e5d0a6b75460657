package kasmina

import (
	"fmt"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// The stages by short names; their order is that of a life that goes well.
const (
	unknown      = pb.SeedLifecycleStage_SEED_STAGE_UNKNOWN
	dormant      = pb.SeedLifecycleStage_SEED_STAGE_DORMANT
	germinated   = pb.SeedLifecycleStage_SEED_STAGE_GERMINATED
	training     = pb.SeedLifecycleStage_SEED_STAGE_TRAINING
	blending     = pb.SeedLifecycleStage_SEED_STAGE_BLENDING
	shadowing    = pb.SeedLifecycleStage_SEED_STAGE_SHADOWING
	probationary = pb.SeedLifecycleStage_SEED_STAGE_PROBATIONARY
	fossilized   = pb.SeedLifecycleStage_SEED_STAGE_FOSSILIZED
	culled       = pb.SeedLifecycleStage_SEED_STAGE_CULLED
	embargoed    = pb.SeedLifecycleStage_SEED_STAGE_EMBARGOED
	resetting    = pb.SeedLifecycleStage_SEED_STAGE_RESETTING
	terminated   = pb.SeedLifecycleStage_SEED_STAGE_TERMINATED
)

// stageCount is the number of stages of the contract.
const stageCount = int(terminated) + 1

// moves is the lifecycle (contract section 7): bit t of moves[f] is set where a
// seed may go from stage f to stage t.
var moves = [stageCount]uint16{
	unknown:      to(dormant),
	dormant:      to(germinated, terminated),
	germinated:   to(training, culled),
	training:     to(blending, culled),
	blending:     to(shadowing, culled),
	shadowing:    to(probationary, culled),
	probationary: to(fossilized, culled),
	fossilized:   to(terminated),
	culled:       to(embargoed),
	embargoed:    to(resetting),
	resetting:    to(dormant),
	terminated:   0,
}

func to(stages ...pb.SeedLifecycleStage) (bits uint16) {
	for _, s := range stages {
		bits |= 1 << s
	}
	return bits
}

// Allowed reports whether the lifecycle lets a seed go from one stage straight
// to another. Stages that the contract does not have lead nowhere.
func Allowed(from, to pb.SeedLifecycleStage) bool {
	if from < 0 || int(from) >= stageCount || to < 0 || int(to) >= stageCount {
		return false
	}
	return moves[from]&(1<<to) != 0
}

// StageError says that a seed cannot do what was asked in the stage it is in.
type StageError struct {
	SeedID string
	// From is the stage of the seed, To the one that was asked for.
	From, To pb.SeedLifecycleStage
}

// Error names the seed and both stages.
func (e *StageError) Error() string {
	return fmt.Sprintf("kasmina: seed %q cannot go from %v to %v", e.SeedID, e.From, e.To)
}

// lifecycle is the stage of one seed. Nothing but move changes it, and move
// knows only the table.
type lifecycle struct {
	stage pb.SeedLifecycleStage
}

// move reports whether the table had the move; if not, nothing changed.
func (l *lifecycle) move(to pb.SeedLifecycleStage) bool {
	if !Allowed(l.stage, to) {
		return false
	}
	l.stage = to
	return true
}

// active reports whether a seed in this stage can still be culled.
func active(s pb.SeedLifecycleStage) bool { return Allowed(s, culled) }

// nextGate returns where [Manager.Advance] takes a seed of this stage, and the
// gate before it.
func nextGate(s pb.SeedLifecycleStage) (next pb.SeedLifecycleStage, gate pb.SeedLifecycleGate, ok bool) {
	switch s {
	case germinated:
		return training, gateG1, true
	case training:
		return blending, gateG2, true
	case blending:
		return shadowing, gateG3, true
	case shadowing:
		return probationary, gateG4, true
	}
	return s, gateUnknown, false
}

// nextOf returns where a life that goes well leads from a stage.
func nextOf(s pb.SeedLifecycleStage) pb.SeedLifecycleStage {
	for next := dormant; next <= terminated; next++ {
		if next != culled && Allowed(s, next) {
			return next
		}
	}
	return unknown
}
