package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
)

// promtool runs Prometheus' own checker on what a test gives it.
func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("WEATHERLIGHT_TEST_STRICT") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	t.Logf("promtool %s:\n%s", strings.Join(args, " "), out)
}

// TestPromtoolRules: the rules are clean and do what their own tests say, and the
// configuration that names them can be used.
func TestPromtoolRules(t *testing.T) {
	const dir = "../../infra/prometheus/"
	promtool(t, "", "check", "rules", rulesFile)
	promtool(t, "", "test", "rules", dir+"weatherlight.rules_test.yml")
	promtool(t, "", "check", "config", dir+"prometheus.yml")
}

// TestPromtoolMetrics: the page of a service that has worked and refused is
// clean.
func TestPromtoolMetrics(t *testing.T) {
	families, err := newRegistry(sourcesOf(runningService(t))...).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&page, family); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, page.String(), "check", "metrics")
}
