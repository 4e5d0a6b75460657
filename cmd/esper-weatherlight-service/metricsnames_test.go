package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/leyline/leylineprom"
	"github.com/esper-lite/esper/weatherlight"
)

const (
	rulesFile     = "../../infra/prometheus/weatherlight.rules.yml"
	dashboardFile = "../../infra/grafana/weatherlight.json"
	alertsFile    = manualFile
	receiverFile  = "../../examples/nissa/page.go"
)

func readText(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// runningService runs the service on a bus in this process until the test ends,
// and returns it when it has answered a request.
func runningService(t testing.TB) *service {
	t.Helper()
	bus := newTestBus(t)
	dir := t.TempDir()
	s, _, err := loadSettings(bus.environ(
		"URZA_DATABASE_URL=sqlite:///"+filepath.Join(dir, "catalog.db"),
		"URZA_ARTIFACT_DIR="+filepath.Join(dir, "artifacts"),
		"TAMIYO_POLICY_DIR="+filepath.Join(dir, "policies"),
		"KASMINA_COMMANDS=true",
	))
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	keys, err := openKeys(s, quiet)
	if err != nil {
		t.Fatal(err)
	}
	svc, err := newService(t.Context(), s, keys.Keyring(), newIdentity(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- svc.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := svc.close(); err != nil {
			t.Error(err)
		}
	})
	bus.publish(&pb.KernelPrefetchRequest{RequestId: "1", BlueprintId: "BP404", IssuedAt: timestamppb.Now()})
	eventually(t, func() error {
		got := figuresOf(figures{svc}.AppendMetrics(nil))
		if n := got["urza.prefetch.misses"]; n != 1 {
			return fmt.Errorf("%v answers", n)
		}
		_, timed := got["slo.urza_prefetch_latency_ms_actual"]
		return errIf(!timed, "the answer is counted, its latency is not yet")
	})
	return svc
}

// sourcesOf are the sources of /metrics, after everything that is counted only
// when it happens has happened.
func sourcesOf(svc *service) []leylineprom.Source {
	svc.bus.Refusals().Count("oona.normal", pb.BusMessageType_BUS_MESSAGE_TYPE_UNSPECIFIED, leyline.Unsigned)
	svc.bus.Refusals().Count("oona.normal", pb.BusMessageType_BUS_MESSAGE_TYPE_TELEMETRY, leyline.Malformed)
	return []leylineprom.Source{svc.reporter, figures{svc}}
}

// TestFamiliesAreComplete: whatever the service reports is known to the table of
// families, with help and kind.
func TestFamiliesAreComplete(t *testing.T) {
	for _, source := range sourcesOf(runningService(t)) {
		for _, m := range source.AppendMetrics(nil) {
			name := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(m.Name, suffixBucket), suffixSum), suffixCount)
			if _, ok := leylineprom.Lookup(name); !ok {
				t.Errorf("%s is no family of leylineprom", m.Name)
			}
		}
	}
}

var (
	ownName    = regexp.MustCompile(`\besper_[a-z0-9_]+`)
	runtimeOwn = regexp.MustCompile(`\b(go|process)_[a-z0-9_]+`)
	newDesc    = regexp.MustCompile(`NewDesc\("([a-z_]+)"`)
	alertName  = regexp.MustCompile(`- alert: (\w+)\n(?:.*\n)*?\s+labels: \{severity: (\w+)\}`)
	alertRow   = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| .+ \\| .+ \\|$")
	comment    = regexp.MustCompile(`(?m)^\s*#.*$`)
)

// TestNamedMetricsExist: every metric that the dashboard and the alerts name is
// one that the service, or the receiver of its telemetry, really shows.
func TestNamedMetricsExist(t *testing.T) {
	receiver := readText(t, receiverFile)
	texts := map[string]string{
		rulesFile:     comment.ReplaceAllString(readText(t, rulesFile), ""),
		dashboardFile: expressions(t),
	}
	families, err := newRegistry(sourcesOf(runningService(t))...).Gather()
	if err != nil {
		t.Fatal(err)
	}
	shown := make(map[string]bool)
	for _, f := range families {
		shown[f.GetName()] = true
	}
	for _, m := range newDesc.FindAllStringSubmatch(receiver, -1) {
		shown[m[1]] = true
	}
	for file, text := range texts {
		named := append(ownName.FindAllString(text, -1), runtimeOwn.FindAllString(text, -1)...)
		if len(named) < 20 {
			t.Errorf("%s names only %d metrics: the test does not see them", file, len(named))
		}
		for _, name := range named {
			if base := strings.TrimSuffix(name, "_bucket"); !shown[name] && !shown[base] {
				t.Errorf("%s names %s, which nobody shows", file, name)
			}
		}
	}
}

// expressions returns the queries of the dashboard.
func expressions(t *testing.T) string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title       string
			Type        string
			Description string
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(readText(t, dashboardFile)), &dashboard); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, p := range dashboard.Panels {
		if p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("panel %s says nothing", p.Title)
		}
		for _, target := range p.Targets {
			b.WriteString(target.Expr + "\n")
		}
	}
	return b.String()
}

// TestAlertsAreExplained: every alert has its meaning and remedy, and every
// remedy its alert.
func TestAlertsAreExplained(t *testing.T) {
	rules, rows := make(map[string]string), make(map[string]string)
	text := comment.ReplaceAllString(readText(t, rulesFile), "")
	for _, m := range alertName.FindAllStringSubmatch(text, -1) {
		rules[m[1]] = m[2]
	}
	for _, m := range alertRow.FindAllStringSubmatch(readText(t, alertsFile), -1) {
		rows[m[1]] = m[2]
	}
	if diff := cmp.Diff(rules, rows); diff != "" || len(rules) < 20 {
		t.Errorf("%d alerts, %d explained (-rules +explained):\n%s", len(rules), len(rows), diff)
	}
	if n := strings.Count(text, "- alert:"); n != len(rules) {
		t.Errorf("%d alerts, of which the test sees %d: %v", n, len(rules), slices.Sorted(maps.Keys(rules)))
	}
}

// TestWatchedFiguresExist: what status looks out for is really reported.
func TestWatchedFiguresExist(t *testing.T) {
	svc := runningService(t)
	reported := make(map[string]float64)
	for _, source := range []weatherlight.Source{svc.reporter, figures{svc}} {
		maps.Copy(reported, figuresOf(source.AppendMetrics(nil)))
	}
	for _, w := range watchedFigures {
		if _, ok := reported[w.name]; !ok {
			t.Errorf("nobody reports %s", w.name)
		}
	}
	for figure := range depthFigures {
		if _, ok := reported[figure]; !ok {
			t.Errorf("nobody reports %s", figure)
		}
	}
	for _, figure := range []string{
		"weatherlight.uptime_s", "weatherlight.tasks.running", "weatherlight.restarts_total", "urza.prefetch.hits",
		"urza.prefetch.errors", "urza.prefetch.latency_ms", "slo.urza_prefetch_latency_ms_actual",
		"slo.urza_prefetch_latency_ms_objective", "oona.dead_letters", "kasmina.seeds.training", "tamiyo.policy.active",
		"weatherlight.emergency.detections_total", "weatherlight.worker." + workerPrefetch + ".running",
	} {
		if _, ok := reported[figure]; !ok {
			t.Errorf("nobody reports %s", figure)
		}
	}
}
