package main

import (
	"slices"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/contender"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/workload"
)

// axis is a dimension along which the cost of a prefetch should not change.
type axis struct {
	name  string
	base  int   // where nothing else is asked for
	steps []int // of -scale
	usage string
	// concerns tells which contenders it means anything to; nil means all.
	concerns func(contender.Kind) bool
}

var axes = []axis{
	{"replicas", 1, []int{1, 2, 4, 8}, "processes that serve", nil},
	{"payload", 150, []int{100, 1 << 10, 16 << 10, 128 << 10, 1 << 20}, "bytes of a request", nil},
	{"catalogue", 10, []int{10, 1000, 100_000}, "artifacts in the library", func(k contender.Kind) bool { return k.Library }},
	{"nonces", 0, []int{1000, 100_000, 1_000_000, 10_000_000}, "nonces in the replay store beforehand", func(k contender.Kind) bool { return k.Guard }},
	{"backlog", 0, []int{0, 10_000, 100_000, 1_000_000}, "requests that wait behind those that are measured", nil},
	{"nodes", 0, []int{0, 1, 3}, "nodes of a Redis Cluster, 0 for a server that is none", nil},
	{"followers", 0, []int{0, 1, 2}, "processes that read all answers", nil},
}

// at returns the value of an axis that is not measured along: the one that was
// given, or its base.
func (s *settings) at(a axis) int {
	if values := s.axes[a.name]; len(values) == 1 {
		return values[0]
	}
	return a.base
}

// load returns the load at one value of an axis.
func (s *settings) load(axis string, value int) workload.Load {
	values := make(map[string]int)
	for _, a := range axes {
		values[a.name] = s.at(a)
	}
	values[axis] = value
	of := func(name string) int { return values[name] }
	return workload.Load{
		Nodes:   of("nodes"),
		Batch:   min(s.batch, max(1, mostPipelined/max(1, of("payload")))),
		Payload: of("payload"), Replicas: of("replicas"), Followers: of("followers"),
		Catalogue: of("catalogue"), Nonces: of("nonces"), Backlog: of("backlog"),
	}
}

// mostPipelined bounds the bytes of a batch, and mostPublished those of a round:
// all of them stay in Redis until it ends.
const (
	mostPipelined = 4 << 20
	mostPublished = 512 << 20
)

// scaleKinds are the contenders that are measured along an axis.
func (s *settings) scaleKinds(a axis) []contender.Kind {
	kinds := batching(s.kinds)
	if s.only == "" {
		kinds = slices.DeleteFunc(kinds, func(k contender.Kind) bool { return k.Name != "floor" && k.Name != "service" })
	}
	return slices.DeleteFunc(kinds, func(k contender.Kind) bool { return a.concerns != nil && !a.concerns(k) })
}
