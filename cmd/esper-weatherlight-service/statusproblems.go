package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/esper-lite/esper/leyline"
)

// Severities of problems.
const (
	severityCritical = "critical" // work is not done, or may be lost
	severityWarning  = "warning"  // somebody should look today
	severityNotice   = "notice"   // good to know
)

// problem is one thing that is wrong, in words for somebody who sees the system
// for the first time.
type problem struct {
	Severity string `json:"severity"`
	Subject  string `json:"subject"` // what it is about
	Text     string `json:"text"`    // what is wrong
	Remedy   string `json:"remedy"`  // what to do first
}

// diagnose lists what is wrong, the worst first.
func diagnose(v *fleetView) []problem {
	found := []problem{}
	for _, check := range []func(*fleetView) []problem{
		busProblems, absenceProblems, silenceProblems, workerProblems, healthProblems, emergencyProblems,
		figureProblems, deadLetterProblems, refusalProblems, queueProblems, prefetchProblems, policyProblems,
	} {
		found = append(found, check(v)...)
	}
	slices.SortStableFunc(found, func(a, b problem) int {
		return cmp.Compare(severityRank(a.Severity), severityRank(b.Severity))
	})
	return found
}

func severityRank(s string) int {
	return slices.Index([]string{severityCritical, severityWarning, severityNotice}, s)
}

// worstHealth is the health of a fleet with these problems.
func worstHealth(problems []problem) string {
	if len(problems) == 0 {
		return "healthy"
	}
	switch problems[0].Severity {
	case severityCritical:
		return "critical"
	case severityWarning:
		return "degraded"
	}
	return "healthy"
}

func busProblems(v *fleetView) []problem {
	if v.Bus.Reachable {
		return nil
	}
	return []problem{{
		severityCritical, "Redis at " + v.Bus.Address,
		fmt.Sprintf("does not answer since %s: %s", shortSeconds(v.Bus.AwayS), withoutAddress(v.Bus.Error, v.Bus.Address)),
		"Bring Redis back. Workers wait for it and lose nothing; all figures below are from before.",
	}}
}

// withoutAddress leaves out of an error what stands before it anyway.
func withoutAddress(text, address string) string {
	for _, noise := range []string{"oona: ", "redis at " + address + ": ", "dial tcp " + address + ": "} {
		text = strings.TrimPrefix(text, noise)
	}
	return text
}

// otherSecret is the usual and innocent reason why messages do not verify, and
// what to do about it.
const otherSecret = "a process has another ESPER_LEYLINE_SECRET, or signs with a key that a rotation dropped: accept that key again until none does"

func absenceProblems(v *fleetView) (found []problem) {
	if v.Bus.Unverified > 0 {
		p := problem{
			severityWarning, "telemetry",
			fmt.Sprintf("%s of the last %s without a signature that this command accepts", messages(float64(v.Bus.Unverified)), shortSeconds(v.Bus.window.Seconds())),
			"Most likely " + otherSecret + ". Otherwise somebody forges telemetry: look who can write to Redis.",
		}
		if len(v.Instances) == 0 {
			p.Severity = severityCritical
			p.Remedy = "Give this command the ESPER_LEYLINE_SECRET that the fleet uses."
			return []problem{p} // they may well be there
		}
		found = append(found, p)
	}
	if !v.Bus.Reachable {
		return found
	}
	switch stopped := v.lastStopped(); {
	case len(v.Instances) == 0:
		found = append(found, problem{
			severityCritical, "the fleet", "no Weatherlight process reports on this bus" + v.waiting(),
			"Start one, or check that REDIS_URL names the bus of the fleet. If Redis was just away, look again in ten seconds first.",
		})
	case stopped != nil:
		found = append(found, problem{
			severityCritical, "the fleet",
			fmt.Sprintf("no Weatherlight process runs: the last one, %s, stopped in order %s ago%s", stopped.Instance, shortSeconds(stopped.SeenAgoS), v.waiting()),
			"Start one. Requests wait on the bus until then, for OONA_MESSAGE_TTL_MS at most.",
		})
	}
	return found
}

// lastStopped returns the process that stopped last, nil unless all stopped in
// order.
func (v *fleetView) lastStopped() (last *instanceView) {
	for n := range v.Instances {
		i := &v.Instances[n]
		if i.Health != healthStopped {
			return nil
		}
		if last == nil || i.SeenAgoS < last.SeenAgoS {
			last = i
		}
	}
	return last
}

// waiting says what waits for the service, nothing if that is nothing.
func (v *fleetView) waiting() string {
	n := int64(0)
	for _, q := range v.Queues {
		if q.Group == consumerGroup {
			n += deref(q.Waiting)
		}
	}
	if n == 0 {
		return ""
	}
	return "; waiting for it: " + messages(float64(n))
}

// anyAlive reports whether a process is there.
func (v *fleetView) anyAlive() bool {
	return slices.ContainsFunc(v.Instances, func(i instanceView) bool { return i.alive() })
}

func silenceProblems(v *fleetView) (found []problem) {
	if !v.Bus.Reachable {
		return nil // nobody can be heard
	}
	alive := v.anyAlive()
	for _, i := range v.Instances {
		seen := fmt.Sprintf("last seen %s ago (it reports every %s); it said %q", shortSeconds(i.SeenAgoS), shortSeconds(i.IntervalS), i.Summary)
		if i.late() {
			found = append(found, problem{
				severityNotice, i.Instance, "is late, " + seen,
				"Look again in a moment: it is silent after three intervals. Then it was killed, hangs, or cannot reach Redis.",
			})
		}
		if i.Health != healthSilent {
			continue
		}
		p := problem{
			severityWarning, i.Instance, "is silent, " + seen,
			"The process was killed, hangs, or cannot reach Redis: look at it on its host.",
		}
		if !alive {
			p.Severity = severityCritical
			p.Text += "; no other process is left"
		}
		found = append(found, p)
	}
	return found
}

// healthProblems tells of processes that say that they are not well, for reasons
// that the lists above and below do not show.
func healthProblems(v *fleetView) (found []problem) {
	for _, i := range v.Instances {
		p := problem{Subject: i.Instance}
		switch {
		case i.Health == "critical" && v.troubled(i.Instance):
			continue // its workers' errors are told
		case i.Health == "critical":
			p.Severity, p.Text = severityCritical, fmt.Sprintf("says that it is critical (%s)", i.Summary)
			p.Remedy = "None of its workers is up: mend what their errors say."
		case i.Summary == "abandoned":
			p.Severity, p.Text = severityWarning, "has a worker that does not stop and was given up"
			p.Remedy = "Its log names the goroutine. Restart the process when convenient."
		default:
			continue
		}
		found = append(found, p)
	}
	return found
}

func emergencyProblems(v *fleetView) []problem {
	if !v.Emergency.Active {
		return nil
	}
	why := ""
	if v.Emergency.Reason != "" || v.Emergency.Origin != "" {
		why = fmt.Sprintf(": %q from %s", v.Emergency.Reason, cmp.Or(v.Emergency.Origin, "somebody"))
	}
	p := problem{
		severityWarning, "emergency signal",
		fmt.Sprintf("%s %s ago%s", v.Emergency.Level, shortSeconds(deref(v.Emergency.AgoS)), why),
		"Weatherlight reports it and goes on. Ask whoever sent it.",
	}
	if v.Emergency.Level == "halt" {
		p.Severity = severityCritical
	}
	return []problem{p}
}

func deadLetterProblems(v *fleetView) []problem {
	recent, reasons := 0.0, []string{} // counters: they know nothing of what was done about it
	for _, r := range v.DeadLetters.Reasons {
		if r.Recent > 0 {
			recent += r.Recent
			reasons = append(reasons, fmt.Sprintf("%s %s on %s", count(r.Recent), r.Reason, r.Stream))
		}
	}
	waiting := v.DeadLetters.Waiting
	given := fmt.Sprintf("%s given up in the last minute: %s", messages(recent), strings.Join(reasons, ", "))
	switch {
	case recent > 0 && waiting != nil && *waiting == 0:
		return []problem{{
			severityNotice, "dead letters", given + "; since replayed or dropped, none is left",
			"Nothing, unless more of them come.",
		}}
	case recent > 0:
		return []problem{{
			severityWarning, "dead letters", given,
			`"deadletter list" shows them; mend the cause, then "deadletter replay".`,
		}}
	case waiting != nil && *waiting > 0:
		return []problem{{
			severityNotice, "dead letters",
			messages(float64(*waiting)) + " to be replayed or dropped",
			`"deadletter list" shows them.`,
		}}
	}
	return nil
}

// What a queue may look like before it is a problem: the age of its oldest
// message, and how many wait (contract section 5: Nissa's alert).
const (
	queueOldS  = 30
	queueDepth = 4000
)

func queueProblems(v *fleetView) (found []problem) {
	for _, q := range v.Queues {
		waiting, old := deref(q.Waiting), deref(q.OldestS)
		if old < queueOldS && waiting <= queueDepth {
			continue
		}
		text := fmt.Sprintf("%s wait", messages(float64(waiting)))
		if q.OldestS != nil {
			text += ", the oldest for " + shortSeconds(old)
		}
		p := problem{
			severityWarning, "queue " + q.Stream, text,
			"More comes in than is worked off: look at the workers below, or start more replicas.",
		}
		if !v.anyAlive() {
			p.Remedy = "No process works it off: start one."
		}
		if q.Group != "" && q.Group != consumerGroup {
			p.Severity = severityNotice
			p.Subject += " of " + q.Group
			p.Remedy = "Its reader is another service: start it again, or remove the group if it is not needed."
		}
		found = append(found, p)
	}
	return found
}

// refusalHints say, for each reason, what it most often means.
var refusalHints = map[leyline.Reason]string{
	leyline.Unsigned:      "Somebody writes to the bus without a secret.",
	leyline.BadSignature:  "Forged; or " + otherSecret + ".",
	leyline.TooLarge:      "Larger than OONA_MAX_MESSAGE_BYTES.",
	leyline.NotAMessage:   "Something that is not a message is written to this stream.",
	leyline.Stale:         "Older than KERNEL_FRESHNESS_WINDOW_MS when they came, or without issued_at: recorded messages, or a producer whose clock is late.",
	leyline.Future:        "The clock of a producer is ahead by more than LEYLINE_CLOCK_SKEW.",
	leyline.Replayed:      "Sent again under an id that was used before: a recording, or a producer that reuses ids.",
	leyline.WrongAudience: "Signed for another stream and copied to this one.",
}

// reasonHint says what a reason most often means.
func reasonHint(reason string) string {
	if leyline.Reason(reason).Authentic() {
		return `Kept in the dead letters: "deadletter list" shows them with their errors.`
	}
	return cmp.Or(refusalHints[leyline.Reason(reason)], "They were counted and not handled.")
}

func refusalProblems(v *fleetView) (found []problem) {
	for _, r := range v.Refusals {
		if r.Recent <= 0 {
			continue
		}
		found = append(found, problem{
			severityWarning, "refused messages",
			fmt.Sprintf("%s refused as %s on %s in the last minute", messages(r.Recent), r.Reason, r.Stream),
			reasonHint(r.Reason),
		})
	}
	return found
}

func prefetchProblems(v *fleetView) (found []problem) {
	p := v.Prefetch
	if p.ErrorsPerS > 0 {
		found = append(found, problem{
			severityWarning, "prefetch",
			fmt.Sprintf("%s answers per second are library errors", rate(p.ErrorsPerS)),
			`"urza verify" says which artifacts are missing or damaged.`,
		})
	}
	if p.ObjectiveMS != nil && p.P95MS != nil && *p.P95MS > *p.ObjectiveMS {
		found = append(found, problem{
			severityWarning, "prefetch",
			fmt.Sprintf("1 of 20 answers takes more than %s, the objective is %s", millis(*p.P95MS), millis(*p.ObjectiveMS)),
			"Large artifacts are being hashed, or the disk or Redis is slow.",
		})
	}
	return found
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
