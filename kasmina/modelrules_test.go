package kasmina_test

import (
	"errors"
	"slices"
	"time"

	"github.com/esper-lite/esper/kasmina"
)

// move goes along the table that the test wrote out by hand.
func (x *model) move(s *modelSeed, to string) {
	if !slices.Contains(lifecycle[s.stage], to) {
		x.t.Fatalf("step %d: the model went from %s to %s", x.step, s.stage, to)
	}
	s.stage = to
	if to == "DORMANT" {
		s.dormant = x.step
	}
}

func (x *model) germinate(id string) string {
	s := x.seeds[id]
	if s != nil && (s.stage == "RESETTING" || s.stage == "EMBARGOED" && !time.Now().Before(s.embargo)) {
		if v := x.reset(id); v != "ok" {
			return v
		}
		s = x.seeds[id] // gone, if it was retiring
	}
	fresh := s == nil
	if fresh {
		if len(x.seeds) >= modelSeeds && !x.evict() {
			return kasmina.ErrFull.Error()
		}
		s = &modelSeed{stage: "UNKNOWN"}
		x.seeds[id] = s
		x.move(s, "DORMANT")
	}
	if s.stage == "EMBARGOED" {
		return kasmina.ErrEmbargoed.Error()
	}
	if s.stage != "DORMANT" {
		return "not from " + s.stage
	}
	if v := x.verdict["G0"]; v != nil {
		if fresh {
			x.move(s, "TERMINATED")
			delete(x.seeds, id)
		}
		return says(v)
	}
	x.move(s, "GERMINATED")
	s.waiting, s.paused, s.retiring = true, false, false
	return "ok"
}

// evict makes room by the seed that has been dormant for longest.
func (x *model) evict() bool {
	oldest := ""
	for id, s := range x.seeds {
		if s.stage == "DORMANT" && (oldest == "" || s.dormant < x.seeds[oldest].dormant) {
			oldest = id
		}
	}
	delete(x.seeds, oldest)
	return oldest != ""
}

// kernel answers the oldest request, one in five times with an error, and does
// the same to the model.
func (x *model) kernel() string {
	if len(x.library.pending) == 0 {
		return "ok"
	}
	var waiting []string
	for id, s := range x.seeds {
		if s.waiting {
			waiting = append(waiting, id)
		}
	}
	var fails error
	if x.rng.IntN(5) == 0 {
		fails = errBad
	}
	before := make(map[string]kasmina.Seed)
	for _, id := range waiting {
		before[id], _ = x.manager.Seed(id)
	}
	x.library.answer(x.t.Context(), fails)
	for _, id := range waiting {
		after, _ := x.manager.Seed(id)
		if after.Stage == before[id].Stage && after.Attached == before[id].Attached {
			continue
		}
		s := x.seeds[id]
		s.waiting = false
		if fails != nil {
			x.cull(id, modelEmbargo)
			return "ok"
		}
		s.kernel = true
		if !s.paused {
			x.advance(id)
		}
		return "ok"
	}
	return "kernel for nobody"
}

func says(verdict error) string {
	if errors.Is(verdict, kasmina.ErrHeld) {
		return "held"
	}
	return "failed"
}

func (x *model) advance(id string) string {
	s := x.seeds[id]
	if s == nil {
		return kasmina.ErrUnknownSeed.Error()
	}
	gates := map[string]string{"GERMINATED": "G1", "TRAINING": "G2", "BLENDING": "G3", "SHADOWING": "G4"}
	gate, ok := gates[s.stage]
	switch {
	case !ok:
		return "not from " + s.stage
	case s.paused:
		return kasmina.ErrPaused.Error()
	case !s.kernel:
		return "held"
	}
	v := x.verdict[gate]
	switch {
	case v == nil:
		x.move(s, lifecycle[s.stage][0])
		return "ok"
	case errors.Is(v, kasmina.ErrHeld):
		return "held"
	}
	x.cull(id, modelEmbargo)
	return "failed"
}

func (x *model) cull(id string, embargo time.Duration) string {
	s := x.seeds[id]
	if s == nil {
		return kasmina.ErrUnknownSeed.Error()
	}
	if !slices.Contains(lifecycle[s.stage], "CULLED") {
		return "not from " + s.stage
	}
	x.move(s, "CULLED")
	x.move(s, "EMBARGOED")
	s.waiting, s.kernel, s.paused, s.embargo = false, false, false, time.Now().Add(embargo)
	return "ok"
}

func (x *model) cancel(id string) string {
	if v := x.cull(id, 0); v != "ok" {
		return v
	}
	return x.reset(id)
}

// reset is for a seed whose embargo is over.
func (x *model) reset(id string) string {
	s := x.seeds[id]
	if s.stage == "EMBARGOED" {
		x.move(s, "RESETTING")
	}
	if v := x.verdict["G5"]; v != nil {
		return says(v)
	}
	x.move(s, "DORMANT")
	if s.retiring {
		x.move(s, "TERMINATED")
		delete(x.seeds, id)
	}
	return "ok"
}

func (x *model) retire(id string) string {
	s := x.seeds[id]
	if s == nil {
		return kasmina.ErrUnknownSeed.Error()
	}
	if slices.Contains(lifecycle[s.stage], "TERMINATED") {
		x.move(s, "TERMINATED")
		delete(x.seeds, id)
		return "ok"
	}
	if slices.Contains(lifecycle[s.stage], "CULLED") {
		x.cull(id, 0)
	}
	s.retiring = true
	return x.reset(id)
}

func (x *model) fossilize(id string) string {
	s := x.seeds[id]
	switch {
	case s == nil:
		return kasmina.ErrUnknownSeed.Error()
	case s.stage != "PROBATIONARY":
		return "not from " + s.stage
	case s.paused:
		return kasmina.ErrPaused.Error()
	}
	x.move(s, "FOSSILIZED")
	return "ok"
}

func (x *model) pause(id string, paused bool) string {
	s := x.seeds[id]
	if s == nil {
		return kasmina.ErrUnknownSeed.Error()
	}
	if !slices.Contains(lifecycle[s.stage], "CULLED") {
		return "not from " + s.stage
	}
	s.paused = paused
	return "ok"
}
