package main

import (
	"fmt"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// watchedFigure is a figure that an operator hears of when it rises, or while it
// is not what it should be.
type watchedFigure struct {
	name     string
	severity string
	wrong    func(value float64) bool // nil: a counter, wrong while it rises
	least    float64                  // how much a counter must rise in a minute to be told
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
	{figureSecretMismatch, severityWarning, above(0), 0, secretMismatchText, secretMismatchRemedy},
	{"oona.data_loss_total", severityCritical, nil, 0, "%s vanished from a stream before they were handled",
		"Something trims or deletes entries: a Python member of the group, or an operator. The log has their ids."},
	{"oona.gaps_total", severityWarning, nil, 0, "%s parts of a stream were deleted before they were followed",
		"Trimming was faster than this process: it was frozen, or OONA_MESSAGE_TTL_MS is too short."},
	{"oona.clock_alarms_total", severityWarning, nil, 0, "%s entries have ids far ahead of the clock",
		"Somebody adds entries with ids of their own choice, or the clock of Redis jumped back."},
	{"oona.blocked_streams", severityWarning, above(0), 0, "a stream grows because a group on it is not read",
		"The log names stream and group. Start its reader again, or remove the group if it is another service's."},
	{"oona.bus_errors_total", severityWarning, nil, 10, "%s errors in talking to Redis in the last minute",
		"Redis was away or slow; what failed was tried again. Look at its log and its latency."},
	{"oona.handlers_abandoned_total", severityWarning, nil, 0, "%s handlers given up that overran OONA_HANDLER_TIMEOUT",
		"Their messages are tried again. The log names them; look at the disk under URZA_ARTIFACT_DIR."},
	{"oona.publish_breaker_state", severityCritical, open, 0, "cannot publish: the circuit breaker is open",
		"Redis fails or is too slow; it is tried again by itself."},
	{"oona.consume_breaker_state", severityCritical, open, 0, "cannot read: the circuit breaker is open",
		"Redis fails or is too slow; it is tried again by itself."},
	{"oona.conservative_mode", severityWarning, above(0), 0, "in conservative mode on the bus",
		"An emergency or a failing bus caused it; it ends by itself."},
	{"urza.library.breaker_state", severityCritical, open, 0, "cannot read the catalogue: the circuit breaker is open",
		"Look at the disk and at URZA_DATABASE_URL; requests wait meanwhile."},
	{"urza.library.integrity_failures", severityWarning, nil, 0, "damaged artifacts, or such outside the library, were met in the last minute: %s",
		`"urza verify" says which are so now; add them again. This ends a minute after the last was met.`},
	{"weatherlight.telemetry.dropped_total", severityWarning, nil, 0, "%s telemetry packets were dropped",
		"Redis was away for longer than the spool holds; figures of that time are missing."},
	{"kasmina.telemetry.dropped_total", severityWarning, nil, 0, "%s packets of other subsystems were dropped",
		"More was forwarded than could be published; figures of that time are missing."},
	{"tamiyo.policy.gaps_total", severityWarning, nil, 0, "%s gaps in the policy stream: updates were deleted unseen",
		"Compare with \"policy show\", and publish the policy that should run again."},
	{"tamiyo.policy.record_failures_total", severityCritical, nil, 0, "a policy update could not be stored, %s tries failed; the policy from before runs on",
		"Look at the disk and the rights under TAMIYO_POLICY_DIR; it is tried again by itself."},
	{"kasmina.seeds.fallbacks_total", severityWarning, nil, 0, "%s seeds run a fallback kernel",
		"Their kernel could not be loaded: look at the prefetch errors and at the artifacts."},
}

// watched is what was found of one watched figure.
type watched struct {
	processes []string
	risen     float64
}

// watch adds what the watched figures of a process say to found.
func (i *instance) watch(found map[string]*watched) {
	steps, _ := i.within(rateWindow)
	for _, w := range watchedFigures {
		value, ok := i.latest.Figures[w.name]
		if !ok || w.wrong != nil && !w.wrong(value) {
			continue
		}
		risen := 0.0
		for _, s := range steps {
			risen += s.Watched[w.name]
		}
		if w.wrong == nil && risen <= w.least {
			continue
		}
		if found[w.name] == nil {
			found[w.name] = new(watched)
		}
		found[w.name].processes = append(found[w.name].processes, printable(i.latest.Instance))
		found[w.name].risen += risen
	}
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

// figureProblems tells of the watched figures, each once for all processes.
func figureProblems(v *fleetView) (found []problem) {
	for _, w := range watchedFigures {
		seen := v.watched[w.name]
		if seen == nil {
			continue
		}
		p := problem{w.severity, oneOrMany(seen.processes, "processes"), w.text, w.remedy}
		if w.wrong == nil {
			p.Text = fmt.Sprintf(w.text, count(seen.risen))
		}
		found = append(found, p)
	}
	return found
}

// oneOrMany names one thing, or says how many there are.
func oneOrMany(names []string, many string) string {
	if len(names) == 1 {
		return names[0]
	}
	return count(float64(len(names))) + " " + many
}

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
