package main

import (
	"fmt"
	"slices"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// watchedFigure is a figure that an operator hears of when it rises, or while it
// is not what it should be.
type watchedFigure struct {
	name     string
	severity string
	wrong    func(value float64) bool // nil: a counter, wrong while it rises
	text     string                   // with the count for a counter
	remedy   string
}

func above(limit float64) func(float64) bool {
	return func(v float64) bool { return v > limit }
}

func open(v float64) bool {
	return pb.CircuitBreakerState(v) == pb.CircuitBreakerState_CIRCUIT_STATE_OPEN
}

// watchedFigures are those that no other check looks at.
var watchedFigures = []watchedFigure{
	{"oona.data_loss_total", severityCritical, nil, "%s vanished from a stream before they were handled",
		"Something trims or deletes entries: a Python member of the group, or an operator. The log has their ids."},
	{"oona.gaps_total", severityWarning, nil, "%s parts of a stream were deleted before they were followed",
		"Trimming was faster than this process: it was frozen, or OONA_MESSAGE_TTL_MS is too short."},
	{"oona.clock_alarms_total", severityWarning, nil, "%s entries have ids far ahead of the clock",
		"Somebody adds entries with ids of their own choice, or the clock of Redis jumped back."},
	{"oona.blocked_streams", severityWarning, above(0), "a stream grows because a group on it is not read",
		"The log names stream and group. Start its reader again, or remove the group."},
	{"oona.bus_errors_total", severityWarning, nil, "had %s errors talking to Redis",
		"Redis was away or slow; what failed was tried again. Look at its log and its latency."},
	{"oona.handlers_abandoned_total", severityWarning, nil, "gave up %s handlers that overran OONA_HANDLER_TIMEOUT",
		"Their messages are tried again. The log names them; look at the disk under URZA_ARTIFACT_DIR."},
	{"oona.publish_breaker_state", severityCritical, open, "cannot publish: the circuit breaker is open",
		"Redis fails or is too slow; it is tried again by itself."},
	{"oona.consume_breaker_state", severityCritical, open, "cannot read: the circuit breaker is open",
		"Redis fails or is too slow; it is tried again by itself."},
	{"oona.conservative_mode", severityWarning, above(0), "is in conservative mode on the bus",
		"An emergency or a failing bus caused it; it ends by itself."},
	{"urza.library.breaker_state", severityCritical, open, "cannot read the catalogue: the circuit breaker is open",
		"Look at the disk and at URZA_DATABASE_URL; requests wait meanwhile."},
	{"urza.library.integrity_failures", severityWarning, nil, "%s artifacts are damaged or outside the library",
		`"urza verify" says which; add them again.`},
	{"weatherlight.telemetry.dropped_total", severityWarning, nil, "%s telemetry packets were dropped",
		"Redis was away for longer than the spool holds; figures of that time are missing."},
	{"kasmina.telemetry.dropped_total", severityWarning, nil, "%s packets of other subsystems were dropped",
		"More was forwarded than could be published; figures of that time are missing."},
	{"tamiyo.policy.gaps_total", severityWarning, nil, "%s gaps in the policy stream: updates were deleted unseen",
		"Compare with \"policy show\", and publish the policy that should run again."},
	{"kasmina.seeds.fallbacks_total", severityWarning, nil, "%s seeds run a fallback kernel",
		"Their kernel could not be loaded: look at the prefetch errors and at the artifacts."},
}

// figureProblems looks at the watched figures of every process that is there.
func (i *instance) figureProblems() (found []problem) {
	steps, _ := i.within(rateWindow)
	for _, w := range watchedFigures {
		p := problem{w.severity, printable(i.latest.Instance), w.text, w.remedy}
		value, ok := i.latest.Figures[w.name]
		switch {
		case !ok:
			continue
		case w.wrong != nil && !w.wrong(value):
			continue
		case w.wrong == nil:
			risen := 0.0
			for _, s := range steps {
				risen += s.Watched[w.name]
			}
			if risen == 0 {
				continue
			}
			p.Text = fmt.Sprintf(w.text, count(risen))
		}
		found = append(found, p)
	}
	return found
}

// watchedRises returns by how much the watched counters rose between two samples.
func watchedRises(a, b *sample) (risen map[string]float64) {
	for _, w := range watchedFigures {
		if w.wrong != nil {
			continue
		}
		before, told := a.Figures[w.name]
		if n := rise(before, b.figure(w.name)); told && n > 0 {
			addTo(&risen, w.name, n)
		}
	}
	return risen
}

// figureProblems collects what the processes' figures say.
func figureProblems(v *fleetView) []problem { return slices.Clone(v.figures) }

// policyProblems tells of a fleet that does not agree on its policy.
func policyProblems(v *fleetView) []problem {
	if len(v.Policies) < 2 {
		return nil
	}
	return []problem{{
		severityWarning, "policy", "processes run different versions: " + policiesText(v.Policies),
		"A swap takes a moment. If it stays so, one of them refuses the update: its log has the reason.",
	}}
}
