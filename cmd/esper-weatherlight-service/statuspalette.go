package main

import (
	"io"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/charmbracelet/x/ansi"
)

// palette colours text for whoever reads it, in the sixteen colours that every
// terminal has; the zero palette leaves text as it is.
type palette struct {
	bad, warn, good, dim, bold, selected ansi.Style
}

// newPalette is the palette for w: without colours on anything but a terminal,
// and where NO_COLOR is set. The terminal is not asked what it can do or how it
// looks: a serial console never answers, and everybody would wait for it.
func newPalette(w io.Writer, environ []string) *palette {
	if !coloured(w, environ) {
		return new(palette)
	}
	return &palette{
		bad:      ansi.NewStyle().Bold().ForegroundColor(ansi.BrightRed),
		warn:     ansi.NewStyle().ForegroundColor(ansi.BrightYellow),
		good:     ansi.NewStyle().ForegroundColor(ansi.BrightGreen),
		dim:      ansi.NewStyle().Faint(),
		bold:     ansi.NewStyle().Bold(),
		selected: ansi.NewStyle().Bold().Reverse(true),
	}
}

// coloured reports whether w shows colours, as no-color.org and
// bixense.com/clicolors say.
func coloured(w io.Writer, environ []string) bool {
	vars := env.ToMap(environ)
	switch {
	case vars["NO_COLOR"] != "":
		return false
	case vars["CLICOLOR_FORCE"] != "" && vars["CLICOLOR_FORCE"] != "0":
		return true
	}
	return vars["CLICOLOR"] != "0" && vars["TERM"] != "" && drawable(w, environ)
}

// health is the colour of a word of health.
func (p *palette) health(word string) ansi.Style {
	switch word {
	case "healthy":
		return p.good
	case "degraded", healthLate:
		return p.warn
	case healthStopped, "unknown", "unspecified":
		return p.dim
	}
	return p.bad
}

// state is the colour of a worker's state.
func (p *palette) state(v *workerView) ansi.Style {
	switch {
	case v.looping():
		return p.bad
	case v.State == stateRunning:
		return p.good
	case v.State == stateUnknown:
		return p.dim
	}
	return p.bad
}

// mark is the sign in front of a problem.
func (p *palette) mark(severity string) string {
	switch severity {
	case severityCritical:
		return p.bad.Styled("✖")
	case severityWarning:
		return p.warn.Styled("▲")
	}
	return p.dim.Styled("•")
}

// column is a column of a table: its title, and on which side its text stands.
type column struct {
	title string
	right bool
}

// leastName is how much of a name is left when there is little room.
const leastName = 12

// table lays rows out in columns under their titles, each line at most width
// wide where width is not 0: of the names, the longest are shortened first.
// Cells may be coloured.
func (p *palette) table(columns []column, rows [][]string, width int) []string {
	widths := make([]int, len(columns))
	total := 2 * (len(columns) - 1)
	for i, c := range columns {
		widths[i] = ansi.StringWidth(c.title)
		for _, row := range rows {
			widths[i] = max(widths[i], ansi.StringWidth(row[i]))
		}
		total += widths[i]
	}
	if last := len(columns) - 1; !columns[last].right {
		total += min(0, leastName-widths[last]) // a text at the end may be cut
	}
	for width > 0 && total > width {
		widest := 0
		for i, c := range columns[:len(columns)-1] {
			if !c.right && widths[i] > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= leastName {
			break
		}
		widths[widest]--
		total--
	}
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = p.dim.Styled(c.title)
	}
	lines := make([]string, 0, len(rows)+1)
	for _, row := range append([][]string{titles}, rows...) {
		var b strings.Builder
		for i, cell := range row {
			cell = fitted(cell, widths[i])
			gap := strings.Repeat(" ", max(0, widths[i]-ansi.StringWidth(cell)))
			if columns[i].right {
				cell, gap = gap+cell, ""
			}
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(gap + "  ")
			}
		}
		lines = append(lines, fitted(strings.TrimRight(b.String(), " "), width))
	}
	return lines
}

// fitted shortens a line, which may be coloured, to width columns, and marks what
// was cut; 0 means any width.
func fitted(line string, width int) string {
	if width <= 0 {
		return line
	}
	return ansi.Truncate(line, width, "…")
}
