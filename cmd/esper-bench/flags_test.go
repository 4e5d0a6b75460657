package main

import (
	"flag"
	"slices"
	"strings"
	"testing"
)

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		args      string
		workloads string
		replicas  []int
		err       string
	}{
		{"", "streaming,backlog,latency,half,count,binary", []int{1}, ""},
		{"-workloads latency,streaming", "streaming,latency", []int{1}, ""},
		{"-workloads half", "streaming,half", []int{1}, ""},
		{"-scale", "", []int{1, 2, 4, 8}, ""},
		{"-scale -replicas 1,3", "", []int{1, 3}, ""},
		{"-scale -workloads count", "count", []int{1, 2, 4, 8}, ""},
		{"-replicas 1,3", "", []int{1, 3}, ""},
		{"-replicas 3", "streaming,backlog,latency,half,count,binary", []int{3}, ""},
		{"-profiles dir", "", []int{1}, ""},
		{"-workloads nothing", "", nil, `there is no "nothing"`},
		{"-only nobody", "", nil, `there is no "nobody"`},
		{"-replicas x", "", nil, `-replicas: "x" is not a number`},
		{"-replicas 0", "", nil, "-replicas must be 1 or more"},
		{"-batch 0", "", nil, "-batch must be 1 or more"},
		{"-rounds -1", "", nil, "-rounds must be 1 or more"},
		{"more", "", nil, `unexpected argument "more"`},
		{"-help", "", nil, flag.ErrHelp.Error()},
	} {
		s, err := parseFlags(strings.Fields(c.args))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: error %v, want %q", c.args, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.args, err)
		}
		if got := strings.Join(s.workloads, ","); got != c.workloads {
			t.Errorf("%q: workloads %q, want %q", c.args, got, c.workloads)
		}
		if got := s.axes["replicas"]; !slices.Equal(got, c.replicas) {
			t.Errorf("%q: replicas %v, want %v", c.args, got, c.replicas)
		}
	}
}

// Neither a pipeline nor a round holds more bytes than fit.
func TestLoadOfLargePayloads(t *testing.T) {
	s, err := parseFlags(nil)
	if err != nil {
		t.Fatal(err)
	}
	for payload, batch := range map[int]int{100: 256, 16 << 10: 256, 1 << 20: 4, 1 << 30: 1} {
		if got := s.load("payload", payload).Batch; got != batch {
			t.Errorf("payload of %d bytes: batch of %d, want %d", payload, got, batch)
		}
	}
}

// Every axis has a base and steps, and somebody whom it concerns.
func TestAxes(t *testing.T) {
	s, err := parseFlags([]string{"-scale"})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range axes {
		if len(s.axes[a.name]) < 2 || len(s.scaleKinds(a)) == 0 {
			t.Errorf("axis %s: steps %v, %d contenders", a.name, s.axes[a.name], len(s.scaleKinds(a)))
		}
	}
}
