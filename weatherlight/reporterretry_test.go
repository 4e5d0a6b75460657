package weatherlight_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/weatherlight"
)

// When publishing works again what waited goes out at once, and with it how the
// process is now.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{})
		start := time.Now()
		st.start(t)
		time.Sleep(5 * time.Second)
		st.wire.take()
		st.wire.set(func(w *wire) { w.err = errBoom })
		time.Sleep(50 * time.Second) // until 55s: the delay between tries has grown
		st.wire.set(func(w *wire) { w.err = nil })
		st.reporter.Retry()
		time.Sleep(300 * time.Millisecond)
		var made []time.Duration
		for _, s := range st.wire.take() {
			made = append(made, s.packet.GetTimestamp().AsTime().Sub(start.UTC()))
		}
		wantDurations(t, []time.Duration{10e9, 20e9, 30e9, 40e9, 50e9, 55e9}, made)
		time.Sleep(10 * time.Second) // the regular ones follow
		wantLines(t, []string{"1m5s healthy steady"}, st.lines(start))

		st.reporter.Retry() // soon after a packet: readers know
		time.Sleep(time.Second)
		wantLines(t, nil, st.lines(start))
	})
}

// What said that publishing works may be ahead of the one who publishes, as a
// circuit breaker is behind: then the delays between tries begin anew.
func TestRetryTooEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{})
		st.start(t)
		st.wire.take()
		st.wire.set(func(w *wire) { w.err = errBoom })
		time.Sleep(65 * time.Second) // tries are 8s to 12s apart
		st.reporter.Retry()
		time.Sleep(time.Second)
		st.wire.set(func(w *wire) { w.err = nil })
		time.Sleep(1500 * time.Millisecond)
		if n := len(st.wire.take()); n != 7 {
			t.Errorf("%d packets two and a half seconds after Retry, want six that waited and one of then", n)
		}
	})
}

// A bus that comes and goes makes no storm of tries or packets.
func TestRetryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{})
		st.start(t)
		st.wire.set(func(w *wire) { w.err = errBoom })
		start := time.Now()
		for time.Since(start) < 100*time.Second {
			st.reporter.Retry()
			time.Sleep(10 * time.Millisecond)
		}
		st.wire.set(func(w *wire) { w.err = nil })
		st.reporter.Retry()
		time.Sleep(time.Second)
		got := st.wire.take()
		if n := len(got); n < 35 || n > 42 {
			t.Errorf("%d packets in 100s, want one every 2.5s", n)
		}
		tries, _ := metricOf(got[len(got)-1].packet, "weatherlight.telemetry.publish_errors_total")
		if tries < 300 || tries > 501 {
			t.Errorf("%v tries in 100s, want one every 200ms", tries)
		}
	})
}

func wantDurations(t *testing.T, want, got []time.Duration) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%v, want %v", got, want)
		}
	}
}
