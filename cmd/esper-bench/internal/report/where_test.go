package report_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/pprof/profile"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/report"
)

// A sample belongs to the first thing that any function on its stack is known
// for, whoever was called from there.
func TestReadSpent(t *testing.T) {
	const esper = "github.com/esper-lite/esper/"
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		PeriodType: &profile.ValueType{Type: "cpu", Unit: "nanoseconds"},
	}
	for _, stack := range [][]string{
		{"internal/runtime/syscall/linux.Syscall6", "os.(*Root).Stat", esper + "urza.(*Library).prove", esper + "urza.(*PrefetchWorker).Handle", esper + "oona.(*consumer).handle"},
		{"runtime.mallocgc", esper + "leyline.(*Codec).Seal", esper + "oona.(*consumer).outcomeOf"},
		{"runtime.scanobject", "runtime.gcBgMarkWorker"},
		{"main.main"},
	} {
		s := &profile.Sample{Value: []int64{1, 10_000_000}}
		for _, name := range stack {
			id := uint64(len(p.Function) + 1)
			f := &profile.Function{ID: id, Name: name}
			l := &profile.Location{ID: id, Line: []profile.Line{{Function: f}}}
			p.Function, p.Location, s.Location = append(p.Function, f), append(p.Location, l), append(s.Location, l)
		}
		p.Sample = append(p.Sample, s)
	}
	path := filepath.Join(t.TempDir(), "cpu.pprof")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	spent, err := report.ReadSpent("ours", path, 1000)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]report.Part{
		"urza: whether the file is what it was": {Total: 10, System: 10},
		"encode and sign answers":               {Total: 10, Memory: 10},
		"collecting garbage":                    {Total: 10},
		"everything else":                       {Total: 10},
	}
	if len(spent.Parts) != len(want) {
		t.Errorf("parts: %+v", spent.Parts)
	}
	for _, got := range spent.Parts {
		w := want[got.What]
		if w.What = got.What; got != w {
			t.Errorf("got %+v, want %+v", got, w)
		}
	}
	if _, err := report.ReadSpent("ours", "nowhere", 1); err == nil {
		t.Error("no error for a profile that is not there")
	}
}

func TestAims(t *testing.T) {
	r := report.Results{
		Throughput: map[string][]report.Rate{
			"streaming": {{Name: "floor"}, {Name: "service", VsFloor: 0.65, VsFloorPlus: 0.8}},
		},
		Counts: []report.Count{{Name: "service", Sent: map[string]float64{"evalsha": 0.01}, Allocs: map[string]float64{"urza": 10, "go-redis": 20}}},
	}
	r.SetAims()
	got := make(map[string]bool)
	for _, a := range r.Aims {
		got[a.What] = a.Met
	}
	for what, met := range map[string]bool{
		"throughput × floor": true, "throughput × floor, hoped for": false, "throughput × floor+": false,
		"commands sent per prefetch": true, "allocations per prefetch": true, "allocations per prefetch beyond go-redis'": true,
	} {
		if have, ok := got[what]; !ok || have != met {
			t.Errorf("%s: met %v (noted %v), want %v", what, have, ok, met)
		}
	}
	if _, ok := got["start to first answer in ms"]; ok {
		t.Error("an aim of what was not measured")
	}
}
