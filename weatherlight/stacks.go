package weatherlight

import (
	"bufio"
	"bytes"
	"runtime/pprof"
	"strconv"
	"strings"
)

// stacksOf returns the stacks of the goroutines of the workers with these names,
// by name. It finds them by their profiler label, which the goroutines that a
// worker starts inherit. It stops the process for a moment, so it is for reports
// of what should not happen.
func stacksOf(names []string) map[string]string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return nil // a bytes.Buffer does not fail
	}
	stacks := make(map[string]string, len(names))
	for _, name := range names {
		stacks[name] = ""
	}
	parseStacks(&profile, stacks)
	return stacks
}

// parseStacks fills in the stacks of the workers that are keys of it from the
// text form of a goroutine profile: per distinct stack a line "2 @ 0x1 0x2" with
// the number of goroutines, a line "# labels: {…}" if they have labels, a line
// per call, then an empty one.
func parseStacks(profile *bytes.Buffer, stacks map[string]string) {
	var name string
	wanted := false
	lines := bufio.NewScanner(profile)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "# labels: "):
			name = labelled(line)
			if _, wanted = stacks[name]; wanted && stacks[name] != "" {
				stacks[name] += "\n"
			}
		case !strings.HasPrefix(line, "#"):
			wanted = false
		case wanted:
			// "#", address, function+offset, file:line
			if f := strings.FieldsFunc(line, func(r rune) bool { return r == '\t' }); len(f) == 4 {
				function, _, _ := strings.Cut(f[2], "+0x")
				stacks[name] += function + "\n\t" + f[3] + "\n"
			}
		}
	}
}

// labelled returns the name of the worker in a line of labels, empty if there is
// none.
func labelled(line string) string {
	_, after, _ := strings.Cut(line, strconv.Quote(labelKey)+":")
	quoted, err := strconv.QuotedPrefix(after)
	if err != nil {
		return ""
	}
	name, err := strconv.Unquote(quoted)
	if err != nil {
		return ""
	}
	return name
}
