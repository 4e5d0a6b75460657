package weatherlight_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/weatherlight"
)

var update = flag.Bool("update", false, "write golden files")

// eventful returns the last packet of a station at which everything has
// happened that a packet can tell of.
func eventful(t *testing.T) *leylinepb.TelemetryPacket {
	t.Helper()
	st := newStation(t, weatherlight.ReporterConfig{
		Sources: []weatherlight.Source{
			figures{
				{Name: "urza.prefetch.hits", Value: 3, Unit: leyline.UnitCount},
				{Name: "urza.prefetch.latency_ms", Value: 1.5, Unit: leyline.UnitMillis},
				{Name: "urza.prefetch.broken", Value: math.NaN(), Unit: leyline.UnitMillis},
			},
			figures{{Name: "oona.queue.depth", Value: 7, Unit: leyline.UnitCount, Attributes: map[string]string{"stream": "oona.normal"}}},
		},
		Objectives: []weatherlight.Objective{
			{Name: "prefetch_latency_ms", Metric: "urza.prefetch.latency_ms", Value: 25},
			{Name: "left_out", Metric: "nobody.has_it", Value: 1},
			{Name: "not_a_number", Metric: "urza.prefetch.broken", Value: 1},
		},
	})
	steady, _ := addWorker(t, st.supervisor, weatherlight.Spec{Name: "tamiyo_policy"})
	st.start(t)
	time.Sleep(90 * time.Second)
	st.worker.Return(errBoom)
	time.Sleep(250 * time.Millisecond)
	st.wire.take()
	st.reporter.Emergency(&leylinepb.EmergencySignal{Level: conservative, Reason: "drill"}, time.Now().Add(-time.Millisecond))
	got := st.wire.take()
	if len(got) != 1 || steady.Lives() != 1 {
		t.Fatalf("%d packets", len(got))
	}
	return got[0].packet
}

// readable returns the packet as JSON with names as on the wire, ids left out.
func readable(t *testing.T, packet *leylinepb.TelemetryPacket) string {
	t.Helper()
	const uuid = `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`
	if !regexp.MustCompile(`^weatherlight-` + uuid + `$`).MatchString(packet.GetPacketId()) {
		t.Errorf("packet id %q", packet.GetPacketId())
	}
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(packet)
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	out, err := json.MarshalIndent(doc, "", "  ") // protojson's own spacing varies on purpose
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(uuid).ReplaceAllString(string(out), "<uuid>") + "\n"
}

func TestGoldenPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := readable(t, eventful(t))
		path := filepath.Join("testdata", "packet.json")
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

// The names and units that dashboards know, and those that are ours. A name that
// is in neither list must not appear, and none of them may be missing.
func TestPacketSchema(t *testing.T) {
	contract := map[string]string{
		"weatherlight.tasks.running":                        "count",
		"weatherlight.tasks.backing_off":                    "count",
		"weatherlight.uptime_s":                             "seconds",
		"weatherlight.restarts_total":                       "count",
		"weatherlight.last_error_ts":                        "unix_s",
		"weatherlight.started_at":                           "unix_s",
		"weatherlight.worker.urza_prefetch.running":         "bool",
		"weatherlight.worker.urza_prefetch.restarts":        "count",
		"weatherlight.worker.urza_prefetch.backoff_seconds": "seconds",
		"weatherlight.worker.tamiyo_policy.running":         "bool",
		"weatherlight.worker.tamiyo_policy.restarts":        "count",
		"weatherlight.worker.telemetry.running":             "bool",
		"weatherlight.worker.telemetry.restarts":            "count",
		"weatherlight.emergency.detections_total":           "count",
		"weatherlight.emergency.last_level":                 "count",
		"weatherlight.emergency.last_detect_ms_ago":         "ms",
		"weatherlight.emergency.skipped_total":              "count",
		"kasmina.telemetry.dropped_total":                   "count",
		"slo.prefetch_latency_ms_objective":                 "ms",
		"slo.prefetch_latency_ms_actual":                    "ms",
	}
	ours := map[string]string{
		"weatherlight.tasks.parked":                   "count",
		"weatherlight.tasks.abandoned":                "count",
		"weatherlight.failures_total":                 "count",
		"weatherlight.events_dropped_total":           "count",
		"weatherlight.telemetry.queued":               "count",
		"weatherlight.telemetry.dropped_total":        "count",
		"weatherlight.telemetry.publish_errors_total": "count",
		"urza.prefetch.hits":                          "count",
		"urza.prefetch.latency_ms":                    "ms",
		"oona.queue.depth":                            "count",
	}
	synctest.Test(t, func(t *testing.T) {
		packet := eventful(t)
		got := make(map[string]string)
		for _, m := range packet.GetMetrics() {
			if _, twice := got[m.GetName()]; twice {
				t.Errorf("%s is there twice", m.GetName())
			}
			got[m.GetName()] = m.GetUnit()
		}
		want := maps.Clone(contract)
		maps.Copy(want, ours)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if s := packet.GetSourceSubsystem(); s != "weatherlight" {
			t.Errorf("source %q", s)
		}
		indicators := slices.Sorted(maps.Keys(packet.GetSystemHealth().GetIndicators()))
		wantLines(t, []string{"instance", "workers_abandoned", "workers_backing_off", "workers_parked", "workers_running"}, indicators)
	})
}

func TestManyWorkersAreReportedInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{MaxWorkers: 3})
		for i := range 10 {
			addWorker(t, st.supervisor, weatherlight.Spec{Name: fmt.Sprint("w", i)})
		}
		failing, _ := addWorker(t, st.supervisor, weatherlight.Spec{Name: "failing"})
		st.start(t)
		failing.Return(errBoom)
		got := st.wire.take()
		var names []string
		packet := got[len(got)-1].packet
		for _, m := range packet.GetMetrics() {
			if name, ok := strings.CutSuffix(m.GetName(), ".running"); ok && name != "weatherlight.tasks" {
				names = append(names, name)
			}
		}
		wantLines(t, []string{"weatherlight.worker.failing", "weatherlight.worker.telemetry", "weatherlight.worker.urza_prefetch"}, names)
		wantMetric(t, packet, "weatherlight.workers_omitted", 10)
	})
}

// The metrics page and the packets are two views of the same figures.
func TestReporterAppendMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{})
		st.start(t)
		packet := st.wire.take()[0].packet
		var got, want []string
		for _, m := range st.reporter.AppendMetrics(nil) {
			got = append(got, fmt.Sprint(m.Name, m.Unit))
		}
		for _, m := range packet.GetMetrics() {
			want = append(want, fmt.Sprint(m.GetName(), m.GetUnit()))
		}
		wantLines(t, want, got)
	})
}
