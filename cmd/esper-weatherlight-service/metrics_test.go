package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// constantSource reports the same figures again and again.
type constantSource []leyline.Metric

func (s constantSource) AppendMetrics(dst []leyline.Metric) []leyline.Metric {
	return append(dst, s...)
}

// startMetrics serves until the test ends, and returns where.
func startMetrics(t *testing.T, health healthFunc, figures ...leyline.Metric) (url string, stop func()) {
	t.Helper()
	m, err := newMetricsServer("127.0.0.1:0", health, slog.New(slog.DiscardHandler), constantSource(figures))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	ready := make(chan struct{})
	go func() { ended <- m.RunReady(ctx, func() { close(ready) }) }()
	<-ready
	stop = func() {
		cancel()
		if err, ok := <-ended; ok && err != nil {
			t.Error(err)
		}
		close(ended)
	}
	t.Cleanup(func() { cancel(); <-ended })
	return "http://" + m.addr, stop
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func steady() (pb.HealthStatus, string) { return isHealthy, "steady" }

func TestMetricsPage(t *testing.T) {
	url, stop := startMetrics(t, steady, leyline.Metric{Name: "urza.prefetch.hits", Value: 3},
		leyline.Metric{Name: figureDuration + suffixBucket, Value: 3, Attributes: map[string]string{attributeBound: "1"}})
	code, page := get(t, url+"/metrics")
	if code != http.StatusOK {
		t.Fatalf("status %d: %s", code, page)
	}
	for _, line := range []string{
		"esper_urza_prefetch_hits_total 3", `esper_urza_prefetch_duration_seconds_bucket{le="0.001"} 3`,
		"esper_build_info{commit=", "go_goroutines ", "process_start_time_seconds ",
	} {
		if !strings.Contains(page, line) {
			t.Errorf("the page has no %s", line)
		}
	}
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if code, _ := get(t, url+"/"); code != http.StatusNotFound {
		t.Errorf("/ has status %d", code)
	}
	response, err := http.Post(url+"/metrics", "", nil)
	if err != nil || response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a POST has status %v, %v", response.StatusCode, err)
	}
	stop()
	if _, err := http.Get(url + "/metrics"); err == nil {
		t.Error("it is still served after its context ended")
	}
}

func TestHealthPage(t *testing.T) {
	for _, test := range []struct {
		status  pb.HealthStatus
		summary string
		code    int
	}{
		{isHealthy, "steady", 200},
		{isDegraded, "backoff", 200},
		{pb.HealthStatus_HEALTH_STATUS_UNHEALTHY, "emergency_halt", 200},
		{isCritical, "no_worker_running", 503},
	} {
		url, _ := startMetrics(t, func() (pb.HealthStatus, string) { return test.status, test.summary })
		code, body := get(t, url+"/healthz")
		var doc struct{ Status, Summary string }
		if err := json.Unmarshal([]byte(body), &doc); err != nil || doc.Summary != test.summary || code != test.code {
			t.Errorf("%s: status %d, want %d; %v: %s", test.summary, code, test.code, err, body)
		}
	}
}

// TestMetricsAddress: an address that cannot be had is a wrong setting; one that
// was given up can be had again.
func TestMetricsAddress(t *testing.T) {
	url, stop := startMetrics(t, steady)
	addr := strings.TrimPrefix(url, "http://")
	_, err := newMetricsServer(addr, steady, slog.New(slog.DiscardHandler))
	if code, message := exitCode(err); code != 2 || !strings.Contains(message, "WEATHERLIGHT_METRICS_ADDR") {
		t.Errorf("exit code %d: %s", code, message)
	}
	stop()
	unused, err := newMetricsServer(addr, steady, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := unused.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- unused.RunReady(ctx, func() { close(ready) }) }() // listens anew
	<-ready
	if code, _ := get(t, "http://"+unused.addr+"/healthz"); code != 200 {
		t.Errorf("status %d", code)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
