package kasmina

import (
	"container/list"
	"maps"
	"time"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// Germination asks for a seed to be germinated.
type Germination struct {
	// SeedID names the seed. Required.
	SeedID string
	// BlueprintID names the blueprint whose kernel the seed gets.
	BlueprintID string
	// TrainingRunID travels in the request for the kernel.
	TrainingRunID string
	// Parameters are the seed's; copied.
	Parameters map[string]float32
	// ApprovedBy is who approved the use of a blueprint that requires it.
	ApprovedBy string
	// Quarantine says that the seed runs where it can do no harm, which some
	// blueprints demand.
	Quarantine bool
}

// Seed is a seed at one moment. It is a copy; changing it changes nothing.
type Seed struct {
	ID            string
	Stage         pb.SeedLifecycleStage
	BlueprintID   string
	TrainingRunID string
	Parameters    map[string]float32
	ApprovedBy    string
	Quarantine    bool
	// Artifact is what the attached kernel was made of; zero without one.
	Artifact Artifact
	// Attached is set while the seed has a kernel; Fallback says that it is
	// the fallback.
	Attached, Fallback bool
	// Latency is what G2 compares with the budget: what was last observed; until
	// then how long the prewarming took, or else the blueprint's 95th
	// percentile. 0 where nothing is known.
	Latency time.Duration
	Paused  bool
	// Reason says why the seed was last culled, refused or held; "" since its
	// last germination.
	Reason string
	// Since is when the seed entered its stage.
	Since time.Time
	// EmbargoEnds is set in the stage EMBARGOED.
	EmbargoEnds time.Time
}

// seed is guarded by Manager.mu.
type seed struct {
	lifecycle

	id string
	// change grows with everything that happens to the seed. A verdict, or a
	// kernel, that belongs to an earlier change comes too late.
	change uint64
	want   Germination
	kernel *Kernel
	// waiting is where the kernel will arrive; nil when none is asked for.
	waiting  *reception
	observed time.Duration
	paused   bool
	// retiring seeds are terminated as soon as they are dormant.
	retiring    bool
	reason      string
	since       time.Time
	embargoEnds time.Time
	// changed is made by whoever waits, and closed at the next change.
	changed chan struct{}
	// idle is the seed's place among the dormant ones; nil in other stages.
	idle *list.Element
}

func (s *seed) view() Seed {
	v := Seed{
		ID:            s.id,
		Stage:         s.stage,
		BlueprintID:   s.want.BlueprintID,
		TrainingRunID: s.want.TrainingRunID,
		Parameters:    maps.Clone(s.want.Parameters),
		ApprovedBy:    s.want.ApprovedBy,
		Quarantine:    s.want.Quarantine,
		Latency:       s.latency(),
		Paused:        s.paused,
		Reason:        s.reason,
		Since:         s.since,
	}
	if s.kernel != nil {
		v.Attached, v.Fallback, v.Artifact = true, s.kernel.Fallback(), s.kernel.Artifact()
	}
	if s.stage == embargoed {
		v.EmbargoEnds = s.embargoEnds
	}
	return v
}

func (s *seed) latency() time.Duration {
	switch {
	case s.observed > 0:
		return s.observed
	case s.kernel == nil:
		return 0
	case s.kernel.PrewarmTime() > 0:
		return s.kernel.PrewarmTime()
	}
	return s.kernel.Artifact().PrewarmP95
}

// touch marks a change and wakes whoever waits for one.
func (s *seed) touch() {
	s.change++
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// wait returns a channel that is closed at the next change.
func (s *seed) wait() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}
