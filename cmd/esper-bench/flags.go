package main

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/contender"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/process"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/redisserver"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/workload"
)

// settings are what the flags say.
type settings struct {
	rounds    int
	n, peerN  int
	latencyN  int
	countN    int
	kinds     []contender.Kind
	workloads []string
	axes      map[string][]int
	batch     int
	maxProcs  int
	json      bool
	binary    string
	redis     string
	profiles  process.Profiles
}

// Workloads, in the order in which they are measured.
var workloads = []string{"streaming", "backlog", "latency", "half", "count", "binary"}

// axes are the dimensions along which cost should not change, with what a run
// that does not ask for anything else has.
var axes = []struct {
	name  string
	value int
	usage string
}{
	{"replicas", 1, "processes that serve"},
	{"payload", 150, "bytes of a request"},
	{"catalogue", 10, "artifacts in the library"},
	{"nonces", 0, "nonces in the replay store beforehand"},
	{"backlog", 0, "requests that wait behind those that are measured"},
	{"followers", 0, "processes that read all answers"},
}

func parseFlags(args []string) (s settings, err error) {
	f := flag.NewFlagSet("esper-bench", flag.ContinueOnError)
	f.IntVar(&s.rounds, "rounds", 5, "rounds; what is printed are medians")
	f.IntVar(&s.n, "n", 200_000, "prefetches per round of a contender that batches")
	f.IntVar(&s.peerN, "peer-n", 10_000, "prefetches per round of a Go peer")
	f.IntVar(&s.latencyN, "latency-n", 2000, "prefetches per round of the latency workload")
	f.IntVar(&s.countN, "count-n", 25_600, "prefetches that are counted exactly")
	f.IntVar(&s.batch, "batch", 256, "messages per round trip")
	f.IntVar(&s.maxProcs, "maxprocs", 0, "GOMAXPROCS of what serves; 0 leaves it")
	f.BoolVar(&s.json, "json", false, "print one JSON document instead of tables")
	f.StringVar(&s.binary, "binary", "", "the service's binary; empty builds it")
	f.StringVar(&s.redis, "redis", redisserver.Program, "command that starts Redis; may be a profiler's with the server's at its end")
	only := f.String("only", "", "contenders, separated by commas; empty means all: "+strings.Join(kindNames(), ", "))
	which := f.String("workloads", strings.Join(workloads, ","), "of "+strings.Join(workloads, ", "))
	f.StringVar(&s.profiles.CPU, "cpuprofile", "", "write CPU profiles of what serves; the contender's name is put before the extension, the last round stays")
	f.StringVar(&s.profiles.Mem, "memprofile", "", "likewise of every allocation")
	f.StringVar(&s.profiles.Mutex, "mutexprofile", "", "likewise of contended mutexes")
	f.StringVar(&s.profiles.Block, "blockprofile", "", "likewise of blocking")
	f.StringVar(&s.profiles.Trace, "trace", "", "likewise execution traces")
	lists := make(map[string]*string, len(axes))
	for _, a := range axes {
		lists[a.name] = f.String(a.name, strconv.Itoa(a.value), a.usage+"; several, separated by commas, measure the cost along this axis")
	}
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if s.kinds, err = parseKinds(*only); err != nil {
		return s, err
	}
	if s.workloads, err = parseWorkloads(*which); err != nil {
		return s, err
	}
	s.axes = make(map[string][]int)
	for name, list := range lists {
		if s.axes[name], err = parseInts(*list); err != nil {
			return s, fmt.Errorf("-%s: %w", name, err)
		}
	}
	return s, nil
}

func kindNames() []string {
	var names []string
	for _, k := range contender.Kinds {
		names = append(names, k.Name)
	}
	return names
}

func parseKinds(list string) ([]contender.Kind, error) {
	if list == "" {
		return contender.Kinds, nil
	}
	var kinds []contender.Kind
	for name := range strings.SplitSeq(list, ",") {
		k, err := contender.Find(name)
		if err != nil {
			return nil, fmt.Errorf("-only: %w", err)
		}
		kinds = append(kinds, k)
	}
	return kinds, nil
}

func parseWorkloads(list string) ([]string, error) {
	chosen := strings.Split(list, ",")
	for _, name := range chosen {
		if !slices.Contains(workloads, name) {
			return nil, fmt.Errorf("-workloads: there is no %q", name)
		}
	}
	slices.SortFunc(chosen, func(a, b string) int { return slices.Index(workloads, a) - slices.Index(workloads, b) })
	return chosen, nil
}

func parseInts(list string) ([]int, error) {
	var values []int
	for text := range strings.SplitSeq(list, ",") {
		v, err := strconv.Atoi(text)
		if err != nil || v < 0 {
			return nil, fmt.Errorf("%q is not a number", text)
		}
		values = append(values, v)
	}
	return values, nil
}

// load returns the load with the first value of every axis but one.
func (s *settings) load(axis string, value int) workload.Load {
	of := func(name string) int {
		if name == axis {
			return value
		}
		return s.axes[name][0]
	}
	return workload.Load{
		Batch: s.batch, Payload: of("payload"), Replicas: of("replicas"), Followers: of("followers"),
		Catalogue: of("catalogue"), Nonces: of("nonces"), Backlog: of("backlog"),
	}
}
