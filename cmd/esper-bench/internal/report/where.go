package report

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// Spent is where the CPU time of one contender's service goes.
type Spent struct {
	Name  string `json:"name"`
	Parts []Part `json:"parts"`
}

// Part is one thing that time is spent on, in µs per prefetch.
type Part struct {
	What  string  `json:"what"`
	Total float64 `json:"us"`
	// System is what of it was in system calls, and Memory in allocating.
	System float64 `json:"system_us"`
	Memory float64 `json:"memory_us"`
}

// rules say what a sample was spent on: the first rule one of whose names is part
// of any function on the stack.
var rules = []struct {
	what  string
	names []string
}{
	{"collecting garbage", []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge"}},
	{"urza: whether the file is what it was", []string{"urza.(*Library).prove", "urza.(*Library).verified"}},
	{"urza: look-up and answer", []string{"/urza."}},
	{"verify requests, decode", []string{"leyline.(*Codec).Open", "leyline.(*Guard)", "leyline.Decode", "oona.(*consumer).admit"}},
	{"encode and sign answers", []string{"leyline.(*Codec).Seal", "oona.(*consumer).outcomesOf", "oona.(*consumer).outcomeOf", "oona.(*sealer)"}},
	{"verify, sign", []string{"contender.(*floorPlus).sign"}},
	{"read: go-redis", []string{"oona.(*consumer).read", "contender.(*floor).read"}},
	{"commit", []string{"commit", "contender.(*floorPlus).Serve.func1"}},
	{"bus: everything else", []string{"/oona."}},
	{"supervisor and telemetry", []string{"/weatherlight."}},
	{"go-redis: everything else", []string{"go-redis"}},
	{"goroutines: start, switch, wait", []string{"runtime.mcall", "runtime.mstart", "runtime.newstack", "runtime.goexit0", "runtime.schedule", "runtime.sysmon"}},
}

const otherwise = "everything else"

// ReadSpent summarizes a CPU profile taken over so many prefetches.
func ReadSpent(name, path string, prefetches int) (Spent, error) {
	f, err := os.Open(path)
	if err != nil {
		return Spent{}, fmt.Errorf("report: %w", err)
	}
	defer f.Close()
	p, err := profile.Parse(f)
	if err != nil {
		return Spent{}, fmt.Errorf("report: %s: %w", path, err)
	}
	parts := make(map[string]*Part)
	for _, s := range p.Sample {
		names := functions(s)
		what := spentOn(names)
		if parts[what] == nil {
			parts[what] = &Part{What: what}
		}
		us := float64(s.Value[1]) / 1000 / float64(prefetches)
		parts[what].Total += us
		switch {
		case contains(names, "Syscall6", "RawSyscall", "runtime.futex"):
			parts[what].System += us
		case contains(names, "runtime.mallocgc", "runtime.growslice", "runtime.newobject"):
			parts[what].Memory += us
		}
	}
	spent := Spent{Name: name}
	for _, part := range parts {
		spent.Parts = append(spent.Parts, *part)
	}
	slices.SortFunc(spent.Parts, func(a, b Part) int { return cmp.Compare(b.Total, a.Total) })
	return spent, nil
}

// functions are the names of a sample's stack, innermost first.
func functions(s *profile.Sample) (names []string) {
	for _, l := range s.Location {
		for _, line := range l.Line {
			names = append(names, line.Function.Name)
		}
	}
	return names
}

func spentOn(names []string) string {
	for _, r := range rules {
		if contains(names, r.names...) {
			return r.what
		}
	}
	return otherwise
}

// contains reports whether any of the parts is part of any of the names.
func contains(names []string, parts ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(name, part) })
	})
}
