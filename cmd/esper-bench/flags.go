package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/contender"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/redisserver"
)

// settings are what the flags say.
type settings struct {
	rounds      int
	n, peerN    int
	latencyN    int
	countN      int
	kinds       []contender.Kind
	workloads   []string
	axes        map[string][]int
	only        string
	scaleN      int
	scaleRounds int
	batch       int
	maxProcs    int
	json        bool
	binary      string
	redis       string
	profiles    string
}

// Workloads, in the order in which they are measured.
var workloads = []string{"streaming", "backlog", "latency", "half", "count", "binary"}

func parseFlags(args []string) (s settings, err error) {
	f := flag.NewFlagSet("esper-bench", flag.ContinueOnError)
	f.Usage = func() {} // an error is one line
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
	f.StringVar(&s.only, "only", "", "contenders, separated by commas; empty means all: "+strings.Join(kindNames(), ", "))
	which := f.String("workloads", "", "of "+strings.Join(workloads, ", "))
	f.StringVar(&s.profiles, "profiles", "", "folder to write profiles of what serves to, CPU, allocations, mutex, block and trace under load, instead of measuring the workloads")
	scale := f.Bool("scale", false, "measure the cost along all axes instead of the workloads")
	f.IntVar(&s.scaleN, "scale-n", 50_000, "prefetches per round at a value of an axis")
	f.IntVar(&s.scaleRounds, "scale-rounds", 3, "rounds at a value of an axis")
	lists := make(map[string]*string, len(axes))
	for _, a := range axes {
		lists[a.name] = f.String(a.name, "", fmt.Sprintf("%s, %d if not given; several, separated by commas, measure the cost along this axis", a.usage, a.base))
	}
	f.SetOutput(io.Discard)
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			f.SetOutput(os.Stdout)
			f.PrintDefaults()
		}
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if s.kinds, err = parseKinds(s.only); err != nil {
		return s, err
	}
	if s.workloads, err = parseWorkloads(*which, *scale || s.profiles != "" || several(lists)); err != nil {
		return s, err
	}
	s.axes = make(map[string][]int)
	for _, a := range axes {
		switch list := *lists[a.name]; {
		case list != "":
			if s.axes[a.name], err = parseInts(list); err != nil {
				return s, fmt.Errorf("-%s: %w", a.name, err)
			}
		case *scale:
			s.axes[a.name] = a.steps
		default:
			s.axes[a.name] = []int{a.base}
		}
	}
	return s, s.validate()
}

// several reports whether an axis has several values.
func several(lists map[string]*string) bool {
	for _, list := range lists {
		if strings.Contains(*list, ",") {
			return true
		}
	}
	return false
}

// validate checks what would otherwise fail late or without a reason.
func (s *settings) validate() error {
	for name, v := range map[string]int{
		"rounds": s.rounds, "n": s.n, "peer-n": s.peerN, "latency-n": s.latencyN, "count-n": s.countN, "batch": s.batch,
		"scale-n": s.scaleN, "scale-rounds": s.scaleRounds,
		"replicas": slices.Min(s.axes["replicas"]), "payload": slices.Min(s.axes["payload"]), "catalogue": slices.Min(s.axes["catalogue"]),
	} {
		if v < 1 {
			return fmt.Errorf("-%s must be 1 or more", name)
		}
	}
	return nil
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

// parseWorkloads returns the workloads in their order: all of them if none is
// named, unless something is asked for instead.
func parseWorkloads(list string, instead bool) ([]string, error) {
	switch {
	case list == "" && instead:
		return nil, nil
	case list == "":
		return workloads, nil
	}
	chosen := strings.Split(list, ",")
	for _, name := range chosen {
		if !slices.Contains(workloads, name) {
			return nil, fmt.Errorf("-workloads: there is no %q", name)
		}
	}
	if slices.Contains(chosen, "half") && !slices.Contains(chosen, "streaming") {
		chosen = append(chosen, "streaming") // half of what, it says
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
