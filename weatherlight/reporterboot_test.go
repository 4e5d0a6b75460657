package weatherlight_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/weatherlight"
	"github.com/esper-lite/esper/weatherlight/weatherlighttest"
)

// Who looks at a process that has just begun sees that it starts, and that it
// has, before the next packet is due.
func TestPacketsOfABoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{})
		slow := weatherlighttest.NewReadyWorker()
		handle, err := st.supervisor.Add(weatherlight.Spec{Name: "slow", Worker: slow})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		running := st.start(t)
		time.Sleep(3 * time.Second)
		wantLines(t, []string{"0s healthy starting"}, st.lines(start))
		slow.Ready()
		if err := handle.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantLines(t, []string{"3s healthy steady"}, st.lines(start))
		time.Sleep(10 * time.Second)
		wantLines(t, []string{"10s healthy steady"}, st.lines(start))
		if err := running.Stop(); err != nil {
			t.Error(err)
		}
	})
}
