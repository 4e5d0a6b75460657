package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// servedAt is where the process says that its metrics are.
func servedAt(t testing.TB, p *process) (url string) {
	t.Helper()
	eventually(t, func() error {
		for line := range strings.Lines(p.stderr.String()) {
			var said struct{ Msg, Address string }
			if json.Unmarshal([]byte(line), &said) == nil && said.Msg == "metrics are served" {
				url = "http://" + said.Address
				return nil
			}
		}
		return fmt.Errorf("it does not say where metrics are:\n%s", p.stderr.String())
	})
	return url
}

// TestServiceServesMetrics: the service itself shows what it answered, as often
// as it did, and how long that took; and that it is well.
func TestServiceServesMetrics(t *testing.T) {
	t.Parallel()
	const requests = 700
	redis := redistest.Start(t)
	client := busClient(t, redis.URL(), "test")
	answers := watchAnswers(t, client)
	service := start(t, serviceDir(t), with(serviceEnv(redis), "WEATHERLIGHT_METRICS_ADDR", "127.0.0.1:0"))
	url := servedAt(t, service)
	publishRequests(t, client, 0, requests)
	answers.oneEach(t, requests)
	for _, line := range []string{
		fmt.Sprintf("esper_urza_prefetch_hits_total %d\n", requests),
		fmt.Sprintf("esper_urza_prefetch_duration_seconds_count %d\n", requests),
		fmt.Sprintf("esper_urza_prefetch_duration_seconds_bucket{le=\"+Inf\"} %d\n", requests),
		fmt.Sprintf("esper_urza_prefetch_wait_seconds_count %d\n", requests),
		"esper_weatherlight_worker_running{worker=\"urza_prefetch\"} 1\n",
		"esper_build_info{",
	} {
		eventually(t, func() error { // the figures follow the answers
			if _, page := get(t, url+"/metrics"); !strings.Contains(page, line) {
				return fmt.Errorf("the page has no %s", line)
			}
			return nil
		})
	}
	eventually(t, func() error { // other workers may still start
		code, body := get(t, url+"/healthz")
		return errIf(code != http.StatusOK || !strings.Contains(body, `"healthy"`), fmt.Sprintf("health: %d %s", code, body))
	})
	service.terminate(10 * time.Second)
}
