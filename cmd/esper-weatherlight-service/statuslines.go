package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
)

// jsonLines returns what writes views as one JSON document a line.
func jsonLines(w io.Writer) func(*fleetView) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return func(v *fleetView) error {
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("print: %w", err)
		}
		return nil
	}
}

// summaryEvery is how often a change log says how things are when nothing
// changes.
const summaryEvery = time.Minute

// changeLog writes a watched fleet as lines, for a pipe or a file: a problem when
// it comes and when it is over, and how things are when health changes, and every
// minute.
type changeLog struct {
	w       io.Writer
	palette *palette
	known   map[string]problem // by what stays the same while its figures change
	health  string
	said    time.Time // when the last summary was written
}

func newChangeLog(w io.Writer, p *palette) *changeLog {
	return &changeLog{w: w, palette: p, known: make(map[string]problem)}
}

// show writes what changed since the last view.
func (c *changeLog) show(v *fleetView) error {
	var lines []string
	present := make(map[string]problem)
	for _, p := range v.Problems {
		key := problemKey(p)
		present[key] = p
		if _, old := c.known[key]; !old {
			lines = append(lines, fmt.Sprintf("%s %s: %s → %s", c.palette.mark(p.Severity), p.Subject, p.Text, p.Remedy))
		}
	}
	var over []string
	for key, p := range c.known {
		if _, still := present[key]; !still {
			over = append(over, fmt.Sprintf("%s over: %s: %s", c.palette.good.Styled("✓"), p.Subject, p.Text))
		}
	}
	slices.Sort(over)
	lines = append(lines, over...)
	c.known = present
	if v.Health != c.health || v.At.Sub(c.said) >= summaryEvery {
		c.health, c.said = v.Health, v.At
		lines = append(lines, c.summary(v))
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(c.w, clock(v.At), line); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}

// problemKey says which problem it is, whatever its figures are right now.
func problemKey(p problem) string {
	if strings.HasPrefix(p.Subject, "worker ") {
		return p.Subject // a worker that crashes is down and up by turns
	}
	text := strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) || strings.ContainsRune(".,", r) {
			return -1
		}
		return r
	}, p.Text)
	if fields := strings.Fields(text); len(fields) > 4 {
		text = strings.Join(fields[:4], " ")
	}
	return p.Severity + " " + p.Subject + " " + text
}

// summary is the fleet in one line.
func (c *changeLog) summary(v *fleetView) string {
	alive, expected, running := 0, 0, 0
	for i := range v.Instances {
		if v.Instances[i].Health != healthStopped {
			expected++
		}
		if v.Instances[i].alive() {
			alive++
		}
	}
	for i := range v.Workers {
		if v.Workers[i].State == stateRunning {
			running++
		}
	}
	var waiting int64
	for _, q := range v.Queues {
		if q.Group == "" || q.Group == consumerGroup {
			waiting += deref(q.Waiting)
		}
	}
	return fmt.Sprintf("%s: %d of %d processes, %d of %d workers, prefetch %s, %s waiting, %s dead letters",
		c.palette.health(v.Health).Styled(strings.ToUpper(v.Health)), alive, expected, running, len(v.Workers),
		prefetchText(&v.Prefetch), countOf(waiting), optional(v.DeadLetters.Waiting, countOf))
}
