package report

import (
	"cmp"
	"slices"
	"strings"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/process"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/workload"
)

// mostPlaces is how many lines a [Count] lists.
const mostPlaces = 40

// NewCount summarizes what was counted.
func NewCount(name string, x workload.Exact) Count {
	c := Count{Name: name, Sent: each(x.Calls.Sent, x.Prefetches), Script: each(x.Calls.Script, x.Prefetches), Allocs: make(map[string]float64)}
	places := make(map[string]Place)
	for _, site := range x.Service.Sites {
		objects, bytes := float64(site.Objects)/float64(x.Prefetches), float64(site.Bytes)/float64(x.Prefetches)
		frame := owner(site)
		if strings.Contains(frame, "/esper-bench/internal/process.") {
			continue // the counting itself
		}
		c.Allocs[packageOf(frame)] += objects
		p := places[frame]
		places[frame] = Place{frame, p.Allocs + objects, p.Bytes + bytes}
	}
	for _, p := range places {
		c.Places = append(c.Places, p)
	}
	slices.SortFunc(c.Places, func(a, b Place) int { return cmp.Or(cmp.Compare(b.Allocs, a.Allocs), cmp.Compare(a.Where, b.Where)) })
	c.Places = c.Places[:min(len(c.Places), mostPlaces)]
	return c
}

func each(calls map[string]int64, n int) map[string]float64 {
	per := make(map[string]float64, len(calls))
	for name, v := range calls {
		per[name] = float64(v) / float64(n)
	}
	return per
}

// owner returns the innermost call that is not the standard library's.
func owner(site process.Site) string {
	for _, frame := range site.Stack {
		if first, _, _ := strings.Cut(frame, "/"); strings.Contains(first, ".") && strings.Contains(frame, "/") {
			return frame
		}
	}
	if len(site.Stack) == 0 {
		return "unknown"
	}
	return site.Stack[0]
}

// packageOf returns the module-level name of a frame: "oona" of
// "github.com/esper-lite/esper/oona.(*Client).Send:74".
func packageOf(frame string) string {
	slash := strings.LastIndex(frame, "/")
	dot := strings.Index(frame[slash+1:], ".")
	if dot < 0 {
		return frame
	}
	path := frame[:slash+1+dot]
	for _, known := range []struct{ prefix, name string }{
		{"github.com/redis/go-redis", "go-redis"},
		{"google.golang.org/protobuf", "protobuf"},
		{"github.com/esper-lite/esper/leyline/leylinepb", "protobuf"},
		{"github.com/esper-lite/esper/cmd/esper-bench", "bench"},
		{"github.com/esper-lite/esper/", ""},
	} {
		if rest, ok := strings.CutPrefix(path, known.prefix); ok {
			return cmp.Or(known.name, rest)
		}
	}
	return path
}

// Sum returns the sum of all values.
func Sum(m map[string]float64) (total float64) {
	for _, v := range m {
		total += v
	}
	return total
}
