package report_test

import (
	"testing"
	"time"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/process"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/redisserver"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/report"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/workload"
)

func TestQuantile(t *testing.T) {
	values := []int{5, 1, 4, 2, 3}
	for q, want := range map[float64]int{0: 1, 0.5: 3, 0.99: 5, 1: 5} {
		if got := report.Quantile(values, q); got != want {
			t.Errorf("quantile %v: %d, want %d", q, got, want)
		}
	}
	if got := report.Median([]int(nil)); got != 0 {
		t.Errorf("median of nothing: %d", got)
	}
}

// A ratio compares rounds with each other, not medians of different rounds: here
// everything was ten times slower in one round, and the ratio is not disturbed.
func TestRatesCompareWithinARound(t *testing.T) {
	var rounds report.Rounds[workload.Throughput]
	for _, slow := range []time.Duration{1, 10, 1} {
		rounds.Add("floor", workload.Throughput{Prefetches: 1000, Elapsed: slow * time.Second, Redis: time.Second})
		rounds.Add("ours", workload.Throughput{Prefetches: 1000, Elapsed: slow * 2 * time.Second, Redis: 4 * time.Second})
	}
	for _, r := range report.Rates(rounds) {
		if r.Name != "ours" {
			continue
		}
		if r.PerSecond != 500 || r.VsFloor != 0.5 || r.CPUVsFloor != 0.25 || r.VsFloorPlus != 0 || r.RedisCPU != 4000 {
			t.Errorf("%+v", r)
		}
	}
}

// An allocation counts for the innermost code that is not the standard library.
func TestCountNamesWhoAllocates(t *testing.T) {
	c := report.NewCount("ours", workload.Exact{
		Prefetches: 2,
		Calls:      redisserver.Calls{Sent: map[string]int64{"evalsha": 1}, Script: map[string]int64{"xadd": 2}},
		Service: process.Usage{Sites: []process.Site{
			{Stack: []string{"strings.Clone:1", "github.com/esper-lite/esper/oona.(*consumer).answer:7", "github.com/redis/go-redis/v9.Do:9"}, Objects: 4, Bytes: 64},
			{Stack: []string{"github.com/redis/go-redis/v9/internal/proto.(*Reader).ReadLine:3"}, Objects: 2, Bytes: 32},
			{Stack: []string{"github.com/esper-lite/esper/leyline/leylinepb.init:3"}, Objects: 2, Bytes: 32},
			{Stack: []string{"runtime.newobject:3"}, Objects: 2, Bytes: 32},
		}},
	})
	for name, want := range map[string]float64{"oona": 2, "go-redis": 1, "protobuf": 1, "runtime": 1} {
		if got := c.Allocs[name]; got != want {
			t.Errorf("%s: %v allocations, want %v (of %v)", name, got, want, c.Allocs)
		}
	}
	if c.Sent["evalsha"] != 0.5 || c.Script["xadd"] != 1 {
		t.Errorf("commands: %v %v", c.Sent, c.Script)
	}
	if c.Places[0].Where != "github.com/esper-lite/esper/oona.(*consumer).answer:7" {
		t.Errorf("first place: %+v", c.Places[0])
	}
}
