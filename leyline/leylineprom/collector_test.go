package leylineprom_test

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/leyline/leylineprom"
)

// figures is a source of the same figures again and again.
type figures []leyline.Metric

func (f figures) AppendMetrics(dst []leyline.Metric) []leyline.Metric { return append(dst, f...) }

// gather scrapes a collector.
func gather(t testing.TB, c prometheus.Collector) map[string]*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]*dto.MetricFamily)
	for _, f := range families {
		byName[f.GetName()] = f
	}
	return byName
}

// pageOf returns what a scrape shows, families by name.
func pageOf(t testing.TB, families map[string]*dto.MetricFamily) string {
	t.Helper()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if _, err := expfmt.MetricFamilyToText(&b, families[name]); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

const droppedHeader = `# HELP esper_series_dropped Series left out of this page: too many, or of two kinds under one name.
# TYPE esper_series_dropped gauge
`

func attributes(pairs ...string) map[string]string {
	m := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

func TestCollector(t *testing.T) {
	for _, test := range []struct {
		name    string
		figures figures
		page    string
	}{
		{"gauge in base units", figures{{Name: "urza.library.lookup_latency_ms", Value: 2.5, Unit: leyline.UnitMillis}}, `
# HELP esper_urza_library_lookup_latency_seconds Time that the newest look-up took.
# TYPE esper_urza_library_lookup_latency_seconds gauge
esper_urza_library_lookup_latency_seconds 0.0025
`},
		{"counter", figures{{Name: "urza.prefetch.hits", Value: 7}}, `
# HELP esper_urza_prefetch_hits_total Requests answered with an artifact.
# TYPE esper_urza_prefetch_hits_total counter
esper_urza_prefetch_hits_total 7
`},
		{"part of the name as a label", figures{
			{Name: "weatherlight.worker.a/b.c.running", Value: 1},
			{Name: "kasmina.seeds.total", Value: 3}, {Name: "kasmina.seeds.training", Value: 2},
		}, `
# HELP esper_kasmina_seeds Seeds in a stage.
# TYPE esper_kasmina_seeds gauge
esper_kasmina_seeds{stage="training"} 2
# HELP esper_kasmina_seeds_known Seeds, whatever their stage.
# TYPE esper_kasmina_seeds_known gauge
esper_kasmina_seeds_known 3
# HELP esper_weatherlight_worker_running Whether the worker is ready.
# TYPE esper_weatherlight_worker_running gauge
esper_weatherlight_worker_running{worker="a/b.c"} 1
`},
		{"attributes as labels", figures{
			{Name: "oona.refused.stale", Value: 1, Attributes: attributes("stream", "s", "type", "T")},
			{Name: "oona.refused.stale", Value: 2, Attributes: attributes("stream", "other", "type", "T")},
		}, `
# HELP esper_oona_refused_total Messages refused: not authentic, not current, or replayed.
# TYPE esper_oona_refused_total counter
esper_oona_refused_total{reason="stale",stream="other",type="T"} 2
esper_oona_refused_total{reason="stale",stream="s",type="T"} 1
`},
		{"histogram", figures{
			{Name: "urza.prefetch.wait_ms.count", Value: 4},
			{Name: "urza.prefetch.wait_ms.bucket", Value: 1, Attributes: attributes("le", "5")},
			{Name: "urza.prefetch.wait_ms.bucket", Value: 3, Attributes: attributes("le", "10")},
			{Name: "urza.prefetch.wait_ms.bucket", Value: 4, Attributes: attributes("le", "+Inf")},
			{Name: "urza.prefetch.wait_ms.sum", Value: 40, Unit: leyline.UnitMillis},
		}, `
# HELP esper_urza_prefetch_wait_seconds Time from the arrival of a request on the bus to the start of its handling.
# TYPE esper_urza_prefetch_wait_seconds histogram
esper_urza_prefetch_wait_seconds_bucket{le="0.005"} 1
esper_urza_prefetch_wait_seconds_bucket{le="0.01"} 3
esper_urza_prefetch_wait_seconds_bucket{le="+Inf"} 4
esper_urza_prefetch_wait_seconds_sum 0.04
esper_urza_prefetch_wait_seconds_count 4
`},
		{"what nobody knows", figures{
			{Name: "my.own-thing_total", Value: 1}, {Name: "my.figure", Value: math.NaN()}, {Name: "my.size_bytes", Value: 5, Unit: leyline.UnitBytes},
		}, `
# HELP esper_my_own_thing_total Figure my.own-thing_total of Esper's telemetry.
# TYPE esper_my_own_thing_total counter
esper_my_own_thing_total 1
# HELP esper_my_size_bytes Figure my.size_bytes of Esper's telemetry.
# TYPE esper_my_size_bytes gauge
esper_my_size_bytes 5
`},
		{"of two the last counts", figures{{Name: "oona.held", Value: 1}, {Name: "oona.held", Value: 2}}, `
# HELP esper_oona_held Messages held in memory.
# TYPE esper_oona_held gauge
esper_oona_held 2
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			families := gather(t, leylineprom.NewCollector(test.figures))
			if n := families["esper_series_dropped"].GetMetric()[0].GetGauge().GetValue(); n != 0 {
				t.Errorf("%v series dropped", n)
			}
			delete(families, "esper_series_dropped")
			if diff := cmp.Diff(strings.TrimSpace(test.page), strings.TrimSpace(pageOf(t, families))); diff != "" {
				t.Errorf("page (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGroups(t *testing.T) {
	c := leylineprom.NewGroupCollector(func() []leylineprom.Group {
		return []leylineprom.Group{
			{Labels: attributes("instance", "a"), Figures: figures{{Name: "oona.held", Value: 1, Attributes: attributes("instance", "liar")}}},
			{Labels: attributes("instance", "b"), Figures: figures{{Name: "oona.held", Value: 2}}},
		}
	})
	page := `# HELP esper_oona_held Messages held in memory.
# TYPE esper_oona_held gauge
esper_oona_held{instance="a"} 1
esper_oona_held{instance="b"} 2
` + droppedHeader + "esper_series_dropped 0\n"
	if diff := cmp.Diff(page, pageOf(t, gather(t, c))); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
}

// every is one figure of each family.
func every() (all figures) {
	braces := regexp.MustCompile(`\{.*\}`)
	for _, f := range leylineprom.Families() {
		name := braces.ReplaceAllString(f.Figure, "some")
		if f.Kind == leylineprom.Histogram {
			all = append(all, leyline.Metric{Name: name + ".bucket", Value: 1, Attributes: attributes("le", "+Inf")},
				leyline.Metric{Name: name + ".count", Value: 1}, leyline.Metric{Name: name + ".sum", Value: 1})
			continue
		}
		all = append(all, leyline.Metric{Name: name, Value: 1})
	}
	return all
}

// TestFamilies: no two share a name, each is found by its figure, and Prometheus'
// own linter has nothing to say.
func TestFamilies(t *testing.T) {
	names := make(map[string]string)
	for _, f := range leylineprom.Families() {
		if other, ok := names[f.Name]; ok {
			t.Errorf("%s and %s are both %s", other, f.Figure, f.Name)
		}
		names[f.Name] = f.Figure
		if found, ok := leylineprom.Lookup(f.Figure); !ok || found.Figure != f.Figure {
			t.Errorf("%s is found as %q", f.Figure, found.Figure)
		}
		if !strings.HasSuffix(f.Help, ".") {
			t.Errorf("%s: help %q is no sentence", f.Figure, f.Help)
		}
	}
	families := gather(t, leylineprom.NewCollector(every()))
	problems, err := promlint.NewWithMetricFamilies(slices.Collect(maps.Values(families))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if len(families) != len(names)+1 {
		t.Errorf("%d families are shown of %d", len(families)-1, len(names))
	}
}

// TestCollisions: names that come to the same end neither a scrape nor the family
// that the table knows, which came first.
func TestCollisions(t *testing.T) {
	f := figures{
		{Name: "oona.held", Value: 1}, {Name: "oona_held", Value: 2},
		{Name: "a.b", Value: 1}, {Name: "a-b", Value: 2},
		{Name: "x_ms.bucket", Value: 1, Attributes: attributes("le", "1")}, {Name: "x.seconds_count", Value: 9}, {Name: "x_seconds.bucket", Value: 3},
		{Name: "y.count", Value: 1}, {Name: "y.bucket", Value: 1, Attributes: attributes("le", "1")},
		{Name: "z_count", Value: 1}, {Name: "z.bucket", Value: 1, Attributes: attributes("le", "1")},
		{Name: "urza.prefetch.wait_ms", Value: 1}, {Name: "urza.prefetch.wait_ms.bucket", Value: 1, Attributes: attributes("le", "x")},
		{Name: "l", Value: 1, Attributes: attributes("", "a", "1st", "b", "a b", "c", "a_b", "d", "le", "7")},
		{Name: ""}, {Name: "..."}, {Name: "{}"}, {Name: "weatherlight.worker..running"}, {Name: ".bucket", Attributes: attributes("le", "1")},
	}
	families := gather(t, leylineprom.NewCollector(f))
	if families["esper_oona_held"].GetMetric()[0].GetGauge().GetValue() != 1 {
		t.Error("a stranger took the place of oona.held")
	}
	if n := families["esper_series_dropped"].GetMetric()[0].GetGauge().GetValue(); n < 4 {
		t.Errorf("only %v series are told to be dropped", n)
	}
}

func TestSeriesAreBounded(t *testing.T) {
	var f figures
	for i := range leylineprom.MaxSeries + 10 {
		f = append(f, leyline.Metric{Name: fmt.Sprintf("weatherlight.worker.w%d.running", i), Value: 1})
	}
	families := gather(t, leylineprom.NewCollector(f))
	if n := len(families["esper_weatherlight_worker_running"].GetMetric()); n != leylineprom.MaxSeries {
		t.Errorf("%d series, want %d", n, leylineprom.MaxSeries)
	}
	if n := families["esper_series_dropped"].GetMetric()[0].GetGauge().GetValue(); n != 10 {
		t.Errorf("%v are told to be dropped, want 10", n)
	}
}

// FuzzCollector: nothing that a packet may say makes a scrape fail.
func FuzzCollector(f *testing.F) {
	f.Add("oona.refused.stale", 1.0, "ms", "stream", "s", "oona.held.bucket", "le", "5")
	f.Add("a.bucket", -1.0, "bytes", "le", "+Inf", "a.count", "", "\xff")
	f.Add("esper{}", math.MaxFloat64, "unix_s", "__name__", "\x00", "esper", "quantile", "1")
	f.Fuzz(func(t *testing.T, name string, value float64, unit, key, text, other, otherKey, otherText string) {
		gather(t, leylineprom.NewCollector(figures{
			{Name: name, Value: value, Unit: unit, Attributes: attributes(key, text)},
			{Name: other, Value: value, Unit: unit, Attributes: attributes(otherKey, otherText)},
			{Name: name, Value: value, Attributes: attributes(otherKey, text)},
			{Name: "urza.prefetch.wait_ms.bucket", Value: value, Attributes: attributes("le", text, key, otherText)},
		}))
	})
}

func ExampleNewCollector() {
	held := figures{{Name: "oona.held", Value: 3, Unit: leyline.UnitCount}}
	registry := prometheus.NewRegistry()
	registry.MustRegister(leylineprom.NewCollector(held))
	families, err := registry.Gather()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(families[0].GetName(), families[0].GetMetric()[0].GetGauge().GetValue())
	// Output: esper_oona_held 3
}

// A receiver of telemetry shows the figures of many processes side by side.
func ExampleNewGroupCollector() {
	collector := leylineprom.NewGroupCollector(func() []leylineprom.Group {
		return []leylineprom.Group{
			{Labels: map[string]string{"instance": "alpha-1"}, Figures: figures{{Name: "oona.held", Value: 3}}},
			{Labels: map[string]string{"instance": "beta-1"}, Figures: figures{{Name: "oona.held", Value: 5}}},
		}
	})
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector)
	families, err := registry.Gather()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(families[0].GetMetric()), "processes")
	// Output: 2 processes
}

// BenchmarkScrape: what one scrape of a whole service costs.
func BenchmarkScrape(b *testing.B) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(leylineprom.NewCollector(every()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
