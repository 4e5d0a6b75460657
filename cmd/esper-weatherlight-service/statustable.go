package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// writeStatus writes the fleet as text: what is wrong first.
func writeStatus(w io.Writer, p *palette, v *fleetView) error {
	sections := [][]string{
		{p.title(v)},
		p.problems(v, 0),
		p.instances(v, 0),
		p.workers(v, 0),
		p.queues(v, 0),
		p.refusals(v, 0),
		p.facts(v, 0),
	}
	var b strings.Builder
	for i, lines := range sections {
		if len(lines) == 0 {
			continue
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(strings.Join(lines, "\n") + "\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// title is the first line.
func (p *palette) title(v *fleetView) string {
	word := strings.ToUpper(v.Health)
	n := 0
	for _, problem := range v.Problems {
		if problem.Severity != severityNotice {
			n++
		}
	}
	switch {
	case n == 1:
		word += ": 1 problem"
	case n > 1:
		word += fmt.Sprintf(": %d problems", n)
	}
	return fmt.Sprintf("%s  %s", p.bold.Styled(p.health(v.Health).Styled(word)),
		p.dim.Styled(fmt.Sprintf("Weatherlight on %s at %s", v.Bus.Address, clock(v.At))))
}

// problems lists what is wrong, two lines each, cut to width where that is not 0.
func (p *palette) problems(v *fleetView, width int) []string {
	var lines []string
	for _, problem := range v.Problems {
		lines = append(lines,
			fitted(fmt.Sprintf("%s %s %s", p.mark(problem.Severity), p.bold.Styled(problem.Subject+":"), problem.Text), width),
			fitted("  "+p.dim.Styled("→ "+problem.Remedy), width))
	}
	return lines
}

func (p *palette) instances(v *fleetView, width int) []string {
	seen, ago := "LAST SEEN", " ago"
	if width > 0 { // there is no room for more words
		seen, ago = "SEEN", ""
	}
	columns := []column{
		{"PROCESS", false}, {"HEALTH", false}, {"SUMMARY", false}, {"UP", true}, {seen, true},
		{"WORKERS", true}, {"PREFETCH/S", true}, {"P95", true},
	}
	rows := make([][]string, len(v.Instances))
	for n := range v.Instances {
		i := &v.Instances[n]
		rows[n] = []string{
			i.Instance, p.health(i.Health).Styled(i.Health), i.Summary, optional(i.UptimeS, shortSeconds),
			shortSeconds(i.SeenAgoS) + ago, fmt.Sprintf("%d/%d", i.upWorkers(v), i.Workers), rate(i.RatePerS),
			optional(i.P95MS, millis),
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return p.table(columns, rows, width)
}

// upWorkers is how many workers of the process run.
func (v *instanceView) upWorkers(fleet *fleetView) (n int) {
	for _, w := range fleet.Workers {
		if w.Instance == v.Instance && w.State == stateRunning {
			n++
		}
	}
	return n
}

// errorWidth is how much of an error stands in a table; the problems have all of
// it.
const errorWidth = 48

func (p *palette) workers(v *fleetView, width int) []string {
	return p.workerTable(v.Workers, width, true)
}

// workerTable lists workers, of one process or of many.
func (p *palette) workerTable(workers []workerView, width int, many bool) []string {
	columns := []column{
		{"WORKER", false}, {"PROCESS", false}, {"STATE", false}, {"RESTARTS", true}, {"LAST MIN", true}, {"LAST ERROR", false},
	}
	rows := make([][]string, len(workers))
	for n := range workers {
		w := &workers[n]
		rows[n] = []string{
			w.Worker, w.Instance, p.state(w).Styled(w.stateText()), count(w.Restarts), count(w.Recent), w.errorText(errorWidth),
		}
		if !many {
			rows[n] = slices.Delete(rows[n], 1, 2)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if !many {
		columns = slices.Delete(columns, 1, 2)
	}
	return p.table(columns, rows, width)
}

// stateText is the state with what is left of the backoff.
func (v *workerView) stateText() string {
	if v.State == stateBackingOff && v.BackoffS != nil {
		return "backing off, " + shortSeconds(*v.BackoffS)
	}
	return v.State
}

func (v *workerView) errorText(width int) string {
	if v.LastError == "" {
		return ""
	}
	return fmt.Sprintf("%s (%s ago)", clipped(v.LastError, width), shortSeconds(deref(v.ErrorAgoS)))
}

func (p *palette) queues(v *fleetView, width int) []string {
	columns := []column{{"QUEUE", false}, {"GROUP", false}, {"WAITING", true}, {"PENDING", true}, {"OLDEST", true}, {"LENGTH", true}}
	rows := make([][]string, len(v.Queues))
	for n, q := range v.Queues {
		rows[n] = []string{
			q.Stream, q.Group, optional(q.Waiting, countOf), optional(q.Pending, countOf), optional(q.OldestS, shortSeconds), optional(q.Length, countOf),
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return p.table(columns, rows, width)
}

func (p *palette) refusals(v *fleetView, width int) []string {
	columns := []column{{"NOT HANDLED", false}, {"STREAM", false}, {"TOTAL", true}, {"LAST MIN", true}, {"", false}}
	var rows [][]string
	for _, list := range []struct {
		kind string
		rows []refusalView
	}{{"refused", v.Refusals}, {"dead letter", v.DeadLetters.Reasons}} {
		for _, r := range list.rows {
			reason := r.Reason
			if r.Recent > 0 {
				reason = p.warn.Styled(reason)
			}
			rows = append(rows, []string{reason, r.Stream, count(r.Total), count(r.Recent), list.kind})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return p.table(columns, rows, width)
}

// facts are the rest, one line each.
func (p *palette) facts(v *fleetView, width int) []string {
	line := func(name, text string) string {
		return fitted(p.dim.Styled(fmt.Sprintf("%-13s", name))+text, width)
	}
	lines := []string{line("prefetch", prefetchText(&v.Prefetch))}
	if v.DeadLetters.Waiting != nil {
		lines = append(lines, line("dead letters", countOf(*v.DeadLetters.Waiting)+" waiting"))
	}
	lines = append(lines,
		line("seeds", seedsText(v.Seeds)),
		line("policy", policiesText(v.Policies)),
		line("emergencies", emergencyText(&v.Emergency)))
	if len(v.Others) > 0 {
		var names []string
		for _, o := range v.Others {
			names = append(names, fmt.Sprintf("%s (%d packets, %s ago)", o.Source, o.Packets, shortSeconds(o.SeenAgoS)))
		}
		lines = append(lines, line("also heard", strings.Join(names, ", ")))
	}
	if v.Forgotten > 0 {
		lines = append(lines, line("not shown", fmt.Sprintf("%d processes more than %d", v.Forgotten, maxInstances)))
	}
	return lines
}

func prefetchText(v *prefetchView) string {
	text := fmt.Sprintf("%s/s", rate(v.RatePerS))
	if v.P95MS != nil {
		text += fmt.Sprintf(" · p50 %s · p95 %s · p99 %s", optional(v.P50MS, millis), millis(*v.P95MS), optional(v.P99MS, millis))
	}
	return text + fmt.Sprintf(" · %s hits, %s misses, %s library errors", count(v.Hits), count(v.Misses), count(v.Errors))
}

func seedsText(seeds []seedView) string {
	if len(seeds) == 0 {
		return "none"
	}
	var parts []string
	for _, s := range seeds {
		parts = append(parts, count(s.Seeds)+" "+s.Stage)
	}
	return strings.Join(parts, ", ")
}

func policiesText(policies []policyView) string {
	if len(policies) == 0 {
		return "none told"
	}
	var parts []string
	for _, p := range policies {
		processes := "processes"
		if len(p.Instances) == 1 {
			processes = "process"
		}
		parts = append(parts, fmt.Sprintf("%s on %d %s", p.Version, len(p.Instances), processes))
	}
	return strings.Join(parts, ", ")
}

func emergencyText(v *emergencyView) string {
	if v.Detections == 0 {
		return "none"
	}
	text := fmt.Sprintf("%s seen, the last %s %s ago", count(v.Detections), v.Level, optional(v.AgoS, shortSeconds))
	if v.Reason != "" {
		text += ": " + v.Reason
	}
	return text
}
