package weatherlight_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/weatherlight"
)

// Whoever embeds the reporter may know of a reason that no worker shows. What the
// workers show comes first, but for errors that are over.
func TestDegraded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reason atomic.Value
		reason.Store("")
		st := newStation(t, weatherlight.ReporterConfig{Degraded: func() string { return reason.Load().(string) }})
		addWorker(t, st.supervisor, weatherlight.Spec{Name: "other"})
		start := time.Now()
		st.start(t)
		time.Sleep(5 * time.Second)
		reason.Store("clock_skew")
		time.Sleep(6 * time.Second)
		wantLines(t, []string{"0s healthy steady", "10s degraded clock_skew"}, st.lines(start))
		st.worker.Return(errBoom)
		time.Sleep(10 * time.Second)
		wantLines(t, []string{"20s degraded clock_skew"}, st.lines(start))
		reason.Store("")
		time.Sleep(10 * time.Second)
		wantLines(t, []string{"30s degraded recent_error"}, st.lines(start))
		if status, summary := st.reporter.Health(); status != leylinepb.HealthStatus_HEALTH_STATUS_DEGRADED || summary != "recent_error" {
			t.Errorf("%v, %s", status, summary)
		}
	})
}
