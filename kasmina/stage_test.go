package kasmina_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/esper-lite/esper/kasmina"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// lifecycle is contract section 7, written out by hand.
var lifecycle = map[string][]string{
	"UNKNOWN":      {"DORMANT"},
	"DORMANT":      {"GERMINATED", "TERMINATED"},
	"GERMINATED":   {"TRAINING", "CULLED"},
	"TRAINING":     {"BLENDING", "CULLED"},
	"BLENDING":     {"SHADOWING", "CULLED"},
	"SHADOWING":    {"PROBATIONARY", "CULLED"},
	"PROBATIONARY": {"FOSSILIZED", "CULLED"},
	"FOSSILIZED":   {"TERMINATED"},
	"CULLED":       {"EMBARGOED"},
	"EMBARGOED":    {"RESETTING"},
	"RESETTING":    {"DORMANT"},
	"TERMINATED":   nil,
}

func TestAllowed(t *testing.T) {
	got := make(map[string][]string)
	// Beyond the stages of the contract too, in both directions.
	for from := pb.SeedLifecycleStage(-2); from < 40; from++ {
		if _, known := pb.SeedLifecycleStage_name[int32(from)]; known {
			got[stageName(from)] = nil
		}
		for to := pb.SeedLifecycleStage(-2); to < 40; to++ {
			if kasmina.Allowed(from, to) {
				got[stageName(from)] = append(got[stageName(from)], stageName(to))
			}
		}
	}
	if diff := cmp.Diff(lifecycle, got); diff != "" {
		t.Error(diff)
	}
}
