package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// sortOrder is what the processes are ordered by.
type sortOrder int

const (
	sortName sortOrder = iota
	sortHealth
	sortRate
	sortLatency
	sortUptime
	sortOrders // how many there are
)

func (o sortOrder) String() string {
	return [...]string{"name", "health", "rate", "latency", "uptime"}[o]
}

// screen is the live view of a fleet: what was last seen of it, and what the
// operator looks at.
type screen struct {
	palette       *palette
	width, height int
	view          fleetView
	seen          bool // a view has come

	sort     sortOrder
	selected string // the process
	detail   bool   // of it, instead of the fleet
	help     bool
	scroll   int // lines of the body above the window
}

func newScreen(p *palette) *screen { return &screen{palette: p, width: 80, height: 24} }

// take takes in a new view. The selected process stays selected.
func (s *screen) take(v *fleetView) {
	s.view, s.seen = *v, true
	s.sortInstances()
	if s.index() < 0 {
		s.selected, s.detail = "", false
		if len(v.Instances) > 0 {
			s.selected = s.view.Instances[0].Instance
		}
	}
}

func (s *screen) index() int {
	return slices.IndexFunc(s.view.Instances, func(i instanceView) bool { return i.Instance == s.selected })
}

func (s *screen) move(by int) {
	if n := len(s.view.Instances); n > 0 {
		s.selected = s.view.Instances[min(max(0, s.index()+by), n-1)].Instance
	}
}

// sortInstances orders the processes, those that stopped last, what is most worth
// a look first.
func (s *screen) sortInstances() {
	slices.SortStableFunc(s.view.Instances, byName)
	slices.SortStableFunc(s.view.Instances, func(a, b instanceView) int {
		switch s.sort {
		case sortHealth:
			return cmp.Compare(healthRank(a.Health), healthRank(b.Health))
		case sortRate:
			return cmp.Compare(b.RatePerS, a.RatePerS)
		case sortLatency:
			return cmp.Compare(deref(b.P95MS), deref(a.P95MS))
		case sortUptime:
			return cmp.Compare(deref(a.UptimeS), deref(b.UptimeS))
		}
		return 0
	})
}

// healthRank orders words of health, the worst first.
func healthRank(word string) int {
	return slices.Index([]string{"critical", healthSilent, "unhealthy", "degraded", healthLate, "unknown", "unspecified", "healthy", healthStopped}, word)
}

// draw returns the whole screen: exactly height lines of at most width columns.
func (s *screen) draw() string {
	head := s.head()
	foot := s.foot()
	room := max(0, s.height-len(head)-1)
	body := s.body(room)
	s.scroll = min(s.scroll, max(0, len(body)-room))
	shown := body[s.scroll:min(len(body), s.scroll+room)]
	if below := len(body) - s.scroll - len(shown); below > 0 {
		foot += s.palette.warn.Styled(fmt.Sprintf(" · %d more lines: PgDn", below))
	}
	lines := slices.Concat(head, shown)
	for len(lines) < s.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:max(0, s.height-1)], foot)
	for i := range lines {
		lines[i] = fitted(lines[i], s.width)
	}
	return strings.Join(lines, "\n")
}

// head is the title, and how rate and latency were over time.
func (s *screen) head() []string {
	if !s.seen {
		return []string{s.palette.dim.Styled("reading what the fleet says …")}
	}
	return append([]string{s.palette.title(&s.view)}, s.sparks(&s.view.series, s.view.Prefetch.RatePerS, &s.view.Prefetch)...)
}

// figureWidth is the room for a figure before its sparkline.
const figureWidth = 28

// sparks draws rate and latency over time.
func (s *screen) sparks(over *series, perS float64, latency *prefetchView) []string {
	p := s.palette
	percentiles := "none answered"
	if latency.P95MS != nil {
		percentiles = fmt.Sprintf("%s · %s · %s", optional(latency.P50MS, millis), millis(*latency.P95MS), optional(latency.P99MS, millis))
	}
	slow := p.good
	if latency.P95MS != nil && latency.ObjectiveMS != nil && *latency.P95MS > *latency.ObjectiveMS {
		slow = p.bad
	}
	line := func(name, figure, spark, peak string) string {
		return fmt.Sprintf("%s%-*s %s %s", p.dim.Styled(fmt.Sprintf("%-12s", name)), figureWidth, figure, spark, p.dim.Styled(peak))
	}
	width := min(seriesLength, max(0, s.width-12-figureWidth-16))
	return []string{
		line("prefetch", rate(perS)+"/s", p.good.Styled(sparkline(over.rates, width)), "max "+rate(most(over.rates))),
		line("p50·p95·p99", percentiles, slow.Styled(sparkline(over.latency, width)), "max "+millis(most(over.latency))),
	}
}

// foot is the line of keys.
func (s *screen) foot() string {
	switch {
	case s.help:
		return s.palette.dim.Styled("? back · q quit")
	case s.detail:
		return s.palette.dim.Styled("↑↓ other process · enter back · q quit")
	}
	return s.palette.dim.Styled("q quit · ↑↓ select · enter detail · s sort: " + s.sort.String() + " · ? help")
}

// body is what stands between head and foot, for about so many lines.
func (s *screen) body(room int) []string {
	switch {
	case !s.seen:
		return nil
	case s.help:
		return helpLines
	case s.detail:
		return s.detailLines()
	}
	v, p := &s.view, s.palette
	sections := [][]string{
		s.problems(room / 2),
		s.instances(max(3, room/3)),
		s.workers(),
		p.queues(v, s.width),
		p.refusals(v, s.width),
		p.facts(v, s.width)[1:], // without prefetch: the head shows it
	}
	spare := room // lines, for air
	for _, section := range sections {
		spare -= len(section)
	}
	var lines []string
	for _, section := range sections {
		if len(section) > 0 && (spare > 0 || len(lines) == 0) {
			lines = append(lines, "")
			spare--
		}
		lines = append(lines, section...)
	}
	return lines
}

// problems are those that fit into about so many lines, with all of their text.
func (s *screen) problems(room int) []string {
	var lines []string
	for n, problem := range s.view.Problems {
		told := wrapped(fmt.Sprintf("%s %s %s", s.palette.mark(problem.Severity), s.palette.bold.Styled(problem.Subject+":"), problem.Text), s.width, 3)
		for _, line := range wrapped("→ "+problem.Remedy, s.width-2, 3) {
			told = append(told, "  "+s.palette.dim.Styled(line))
		}
		if n > 0 && len(lines)+len(told) > room {
			return append(lines, s.palette.warn.Styled(fmt.Sprintf("  and %d more, in \"status\"", len(s.view.Problems)-n)))
		}
		lines = append(lines, told...)
	}
	if len(lines) == 0 {
		lines = []string{s.palette.good.Styled("✓") + " nothing is wrong"}
	}
	return lines
}

// wrapped breaks a line, which may be coloured, into at most so many of width.
func wrapped(line string, width, most int) []string {
	lines := strings.Split(ansi.Wrap(line, max(1, width-2), ""), "\n")
	if len(lines) > most {
		lines = append(lines[:most-1], fitted(strings.Join(lines[most-1:], " "), width-2))
	}
	for i := 1; i < len(lines); i++ {
		lines[i] = "  " + lines[i]
	}
	return lines
}

// instances are the processes around the selected one, at most so many.
func (s *screen) instances(limit int) []string {
	all := s.palette.instances(&s.view, s.width)
	if len(all) == 0 {
		return nil
	}
	title, rows := all[0], all[1:]
	at := max(0, s.index())
	rows[at] = s.palette.selected.Styled(ansi.Strip(rows[at]))
	from := 0
	if len(rows) > limit {
		from = min(max(0, at-limit/2), len(rows)-limit)
	}
	lines := append([]string{title}, rows[from:min(len(rows), from+limit)]...)
	if hidden := len(rows) - len(lines) + 1; hidden > 0 {
		lines = append(lines, s.palette.dim.Styled(fmt.Sprintf("and %d more processes", hidden)))
	}
	return lines
}

// workers are those that need a look; the others are counted.
func (s *screen) workers() []string {
	troubled := fleetView{}
	running := 0
	for n := range s.view.Workers {
		if w := &s.view.Workers[n]; w.trouble() == noTrouble && w.State == stateRunning {
			running++
		} else {
			troubled.Workers = append(troubled.Workers, *w)
		}
	}
	lines := s.palette.workers(&troubled, s.width)
	if len(s.view.Workers) == 0 {
		return lines
	}
	return append(lines, s.palette.dim.Styled("workers      ")+fmt.Sprintf("%d of %d run", running, len(s.view.Workers)))
}

// detailLines are all that is known of the selected process.
func (s *screen) detailLines() []string {
	at := s.index()
	if at < 0 {
		return nil
	}
	p, i := s.palette, &s.view.Instances[at]
	var workers []workerView
	for _, w := range s.view.Workers {
		if w.Instance == i.Instance {
			workers = append(workers, w)
		}
	}
	lines := []string{
		"",
		p.bold.Styled(i.Instance) + "  " + p.health(i.Health).Styled(i.Health) + "  " + i.Summary,
		fmt.Sprintf("up %s · last seen %s ago, reports every %s · %s restarts of workers", optional(i.UptimeS, shortSeconds),
			shortSeconds(i.SeenAgoS), shortSeconds(i.IntervalS), count(i.Restarts)),
	}
	lines = append(lines, s.sparks(&i.series, i.RatePerS, &i.latency)...)
	lines = append(lines, "")
	lines = append(lines, p.workerTable(workers, s.width, false)...)
	for _, w := range workers {
		if w.LastError != "" {
			lines = append(lines, "")
			lines = append(lines, wrapped(p.bold.Styled(w.Worker+":")+fmt.Sprintf(" %s ago: %s", shortSeconds(deref(w.ErrorAgoS)), w.LastError), s.width, 8)...)
		}
	}
	for _, policy := range s.view.Policies {
		if slices.Contains(policy.Instances, i.Instance) {
			lines = append(lines, "", p.dim.Styled("policy       ")+policy.Version)
		}
	}
	return lines
}

var helpLines = strings.Split(`
↑ ↓  k j      select a process
enter  d      all about it, and back
s             sort processes by name, health, rate, latency, uptime
PgDn PgUp     what does not fit
q  esc        quit

✖ work is not done, or may be lost      ▲ somebody should look today
• good to know                          → what to do first

Rates and percentiles are of the last minute; p95 is what 95 of 100 answers
took at most, from the request's arrival on the bus to its answer. A sparkline
has one point for each telemetry packet, newest at the right, from 0 to max.
"waiting" is what a group has not finished, "pending" what of it is in
somebody's hands.

SEEN is how long ago the last packet of a process came. It is late after one
and a half of its intervals, and silent after three.

A hit was answered with a kernel; a miss with the error missing_artifact, as
nobody has the blueprint; a library error with any other error.`, "\n")
