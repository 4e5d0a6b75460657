package weatherlight_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/weatherlight"
	"github.com/esper-lite/esper/weatherlight/weatherlighttest"
)

// sent is a packet as it was published.
type sent struct {
	at       time.Time
	packet   *leylinepb.TelemetryPacket
	priority leylinepb.MessagePriority
}

// wire is a Publisher that keeps what it gets, and fails as told.
type wire struct {
	mu   sync.Mutex
	err  error
	hang bool
	sent []sent
}

func (w *wire) Publish(ctx context.Context, packet *leylinepb.TelemetryPacket, priority leylinepb.MessagePriority) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hang {
		w.mu.Unlock()
		<-ctx.Done()
		w.mu.Lock()
		return ctx.Err()
	}
	if w.err != nil {
		return w.err
	}
	w.sent = append(w.sent, sent{time.Now(), proto.CloneOf(packet), priority})
	return nil
}

func (w *wire) set(f func(*wire)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w)
}

// take returns what was published since the last call, once everything waits.
func (w *wire) take() []sent {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	got := w.sent
	w.sent = nil
	return got
}

// figures is a Source.
type figures []leyline.Metric

func (f figures) AppendMetrics(dst []leyline.Metric) []leyline.Metric { return append(dst, f...) }

// station is a supervisor with one worker, a reporter that the supervisor runs
// too, and the wire that the reporter publishes to.
type station struct {
	supervisor *weatherlight.Supervisor
	reporter   *weatherlight.Reporter
	worker     *weatherlighttest.Worker
	handle     *weatherlight.Handle
	wire       *wire
	settled    chan struct{} // closed by start
}

func newStation(t *testing.T, cfg weatherlight.ReporterConfig) *station {
	t.Helper()
	st := &station{wire: &wire{}, settled: make(chan struct{})}
	var err error
	if st.supervisor, err = weatherlight.New(weatherlight.Config{}); err != nil {
		t.Fatal(err)
	}
	cfg.Supervisor, cfg.Publisher, cfg.Instance = st.supervisor, st.wire, "host-boot"
	if st.reporter, err = weatherlight.NewReporter(cfg); err != nil {
		t.Fatal(err)
	}
	add(t, st.supervisor, weatherlight.Spec{Name: "telemetry", Worker: weatherlight.WorkerFunc(func(ctx context.Context) error {
		<-st.settled
		return st.reporter.Run(ctx)
	})})
	st.worker, st.handle = addWorker(t, st.supervisor, weatherlight.Spec{
		Name: "urza_prefetch", After: []string{"telemetry"}, Backoff: weatherlight.Backoff{Initial: 3 * time.Second, Jitter: -1},
	})
	return st
}

// start starts the supervisor. The reporter begins once all has started that starts
// at once: or else it would depend on chance whether the first packet says so.
func (st *station) start(t *testing.T) *weatherlighttest.Running {
	t.Helper()
	r := weatherlighttest.Start(t, st.supervisor)
	synctest.Wait()
	close(st.settled)
	synctest.Wait()
	return r
}

// lines returns what was published since the last call as
// "seconds status summary".
func (st *station) lines(start time.Time) []string {
	var lines []string
	for _, s := range st.wire.take() {
		h := s.packet.GetSystemHealth()
		status := strings.ToLower(strings.TrimPrefix(h.GetStatus().String(), "HEALTH_STATUS_"))
		lines = append(lines, fmt.Sprintf("%v %s %s", s.at.Sub(start), status, h.GetSummary()))
	}
	return lines
}

func metricOf(p *leylinepb.TelemetryPacket, name string) (float64, bool) {
	for _, m := range slices.Backward(p.GetMetrics()) {
		if m.GetName() == name {
			return m.GetValue(), true
		}
	}
	return 0, false
}

func wantMetric(t *testing.T, p *leylinepb.TelemetryPacket, name string, want float64) {
	t.Helper()
	if got, ok := metricOf(p, name); !ok || got != want {
		t.Errorf("%s is %v (%v), want %v", name, got, ok, want)
	}
}

func eventsOf(p *leylinepb.TelemetryPacket, description string) []*leylinepb.TelemetryEvent {
	return slices.DeleteFunc(slices.Clone(p.GetEvents()), func(e *leylinepb.TelemetryEvent) bool {
		return e.GetDescription() != description
	})
}

func TestNewReporterRefuses(t *testing.T) {
	s, _ := newSupervisor(t, weatherlight.Config{})
	good := weatherlight.ReporterConfig{Supervisor: s, Publisher: &wire{}, Instance: "x"}
	for name, tc := range map[string]struct {
		change func(*weatherlight.ReporterConfig)
		want   string
	}{
		"supervisor": {func(c *weatherlight.ReporterConfig) { c.Supervisor = nil }, "Supervisor is nil"},
		"publisher":  {func(c *weatherlight.ReporterConfig) { c.Publisher = nil }, "Publisher is nil"},
		"instance":   {func(c *weatherlight.ReporterConfig) { c.Instance = "" }, "Instance is empty"},
		"source":     {func(c *weatherlight.ReporterConfig) { c.Sources = []weatherlight.Source{nil} }, "Sources contains nil"},
		"interval":   {func(c *weatherlight.ReporterConfig) { c.Interval = -1 }, "a duration is negative"},
		"size":       {func(c *weatherlight.ReporterConfig) { c.SpoolSize = -1 }, "a size is negative"},
	} {
		cfg := good
		tc.change(&cfg)
		if _, err := weatherlight.NewReporter(cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestReportsEveryIntervalAndWhenHealthChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{RecentError: 20 * time.Second})
		start := time.Now()
		r := st.start(t)
		time.Sleep(24 * time.Second)
		wantLines(t, []string{"0s healthy steady", "10s healthy steady", "20s healthy steady"}, st.lines(start))

		st.worker.Return(errBoom)
		wantLines(t, []string{"24s critical no_worker_running"}, st.lines(start))
		time.Sleep(7 * time.Second) // it is back after three seconds
		wantLines(t, []string{"27s degraded recent_error", "30s degraded recent_error"}, st.lines(start))
		time.Sleep(16 * time.Second) // 20s after the failure it is forgotten
		wantLines(t, []string{"40s degraded recent_error", "44s healthy steady"}, st.lines(start))
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
		wantLines(t, []string{"47s healthy shutdown"}, st.lines(start))
	})
}

func TestHealth(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(*station)
		want string
	}{
		"steady":  {func(*station) {}, "healthy steady"},
		"backoff": {func(st *station) { st.worker.Return(errBoom) }, "degraded backoff"},
		"recent error": {func(st *station) {
			st.worker.Return(errBoom)
			time.Sleep(3 * time.Second)
		}, "degraded recent_error"},
		"stopped on purpose": {func(st *station) { st.handle.Stop(context.Background()) }, "healthy steady"},
		"abandoned": {func(st *station) {
			st.worker.IgnoreStop()
			st.handle.Restart(context.Background())
		}, "unhealthy abandoned"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newStation(t, weatherlight.ReporterConfig{})
				addWorker(t, st.supervisor, weatherlight.Spec{Name: "other"})
				st.start(t)
				tc.do(st)
				time.Sleep(time.Second)
				st.wire.take()
				time.Sleep(10 * time.Second)
				lines := st.lines(time.Now())
				if name == "backoff" { // is over by the next packet that is due
					lines = []string{"degraded backoff"}
				}
				if len(lines) == 0 || !strings.HasSuffix(lines[len(lines)-1], tc.want) {
					t.Errorf("%q, want %q", lines, tc.want)
				}
				st.worker.Release()
				synctest.Wait()
			})
		})
	}
}

func TestParkedWorkerDegradesHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{RecentError: time.Second})
		parked, _ := addWorker(t, st.supervisor, weatherlight.Spec{
			Name:    "parked",
			Backoff: weatherlight.Backoff{Initial: weatherlight.AtOnce},
			Limit:   weatherlight.Limit{Failures: 1, Then: weatherlight.Park},
		})
		start := time.Now()
		st.start(t)
		parked.Return(errBoom)
		parked.Return(errBoom)
		time.Sleep(10 * time.Second)
		got := st.wire.take()
		last := got[len(got)-1].packet
		if h := last.GetSystemHealth(); h.GetSummary() != "parked" || h.GetIndicators()["workers_parked"] != "1" {
			t.Errorf("%v after %v", h, time.Since(start))
		}
		wantMetric(t, last, "weatherlight.tasks.parked", 1)
	})
}

// That the others are stopped first is no reason for an alarm.
func TestShutdownIsNotCritical(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{RecentError: time.Second})
		parked, _ := addWorker(t, st.supervisor, weatherlight.Spec{
			Name:    "parked",
			Backoff: weatherlight.Backoff{Initial: weatherlight.AtOnce},
			Limit:   weatherlight.Limit{Failures: 1, Then: weatherlight.Park},
		})
		r := st.start(t)
		parked.Return(errBoom)
		parked.Return(errBoom)
		st.worker.IgnoreStop()
		time.Sleep(9500 * time.Millisecond)
		st.wire.take()
		go func() {
			time.Sleep(time.Second) // a packet is due meanwhile
			st.worker.Release()
		}()
		start := time.Now()
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
		wantLines(t, []string{"500ms degraded parked", "1s degraded shutdown"}, st.lines(start))
	})
}

// A crash loop without backoff must not become a flood of packets.
func TestFlappingHealthIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{RecentError: time.Nanosecond})
		flapping, _ := addWorker(t, st.supervisor, weatherlight.Spec{
			Name: "flapping", Backoff: weatherlight.Backoff{Initial: 10 * time.Millisecond, Max: 10 * time.Millisecond, Jitter: -1},
		})
		st.start(t)
		for start := time.Now(); time.Since(start) < 10*time.Second; {
			flapping.Return(errBoom)
		}
		if n := len(st.wire.take()); n == 0 || n > 53 {
			t.Errorf("%d packets in 10s, want at most one per 200ms", n)
		}
	})
}

func TestWorkerErrorIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{})
		st.start(t)
		if got := st.wire.take(); len(eventsOf(got[0].packet, "worker_error")) != 0 {
			t.Error("an error before there was one")
		} else if _, ok := metricOf(got[0].packet, "weatherlight.last_error_ts"); ok {
			t.Error("last_error_ts before there was an error")
		}
		failed := time.Now()
		st.worker.Return(errors.New(strings.Repeat("ü", 1000)))
		first := st.wire.take()[0].packet
		time.Sleep(10 * time.Second)
		got := st.wire.take()
		second := got[len(got)-1].packet
		for _, p := range []*leylinepb.TelemetryPacket{first, second} {
			wantMetric(t, p, "weatherlight.last_error_ts", float64(failed.Unix()))
			events := eventsOf(p, "worker_error")
			if len(events) != 1 || events[0].GetLevel() != leylinepb.TelemetryLevel_TELEMETRY_LEVEL_WARNING {
				t.Fatalf("events %v", p.GetEvents())
			}
			a := events[0].GetAttributes()
			if a["worker"] != "urza_prefetch" || len(a["error"]) != 512 || a["last_error_ts"] != "946684800.000" {
				t.Errorf("attributes %v", a)
			}
			if p.GetLevel() != leylinepb.TelemetryLevel_TELEMETRY_LEVEL_INFO {
				t.Errorf("level %v", p.GetLevel())
			}
		}
		if first.GetEvents()[0].GetEventId() != second.GetEvents()[0].GetEventId() {
			t.Error("the same failure has two event ids")
		}
		time.Sleep(2 * time.Minute)
		got = st.wire.take()
		if n := len(eventsOf(got[len(got)-1].packet, "worker_error")); n != 0 {
			t.Error("the error is still an event after two minutes")
		}
	})
}

func TestLastPacketAtShutdownIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{})
		r := st.start(t)
		st.wire.set(func(w *wire) { w.err = errBoom })
		go func() {
			time.Sleep(900 * time.Millisecond)
			st.wire.set(func(w *wire) { w.err = nil })
		}()
		start := time.Now()
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d < 900*time.Millisecond || d > 1100*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		got := st.wire.take()
		if last := got[len(got)-1].packet; last.GetSystemHealth().GetSummary() != "shutdown" {
			t.Errorf("last packet %v", last)
		}
	})
}

func TestShutdownDoesNotWaitForEver(t *testing.T) {
	for name, fail := range map[string]func(*wire){
		"error": func(w *wire) { w.err = errBoom },
		"hangs": func(w *wire) { w.hang = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := newSupervisor(t, weatherlight.Config{})
				w := &wire{}
				fail(w)
				reporter, err := weatherlight.NewReporter(weatherlight.ReporterConfig{Supervisor: s, Publisher: w, Instance: "x"})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				start := time.Now()
				err = reporter.Run(ctx)
				if want := "weatherlight: 2 telemetry packets were not published"; err == nil || err.Error() != want {
					t.Errorf("Run: %v, want %q", err, want)
				}
				if d := time.Since(start); d != 7*time.Second {
					t.Errorf("it took %v, want 5s and 2s", d)
				}
				// They are kept for another Run.
				w.set(func(w *wire) { w.err, w.hang = nil, false })
				ctx, cancel = context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := reporter.Run(ctx); err != nil {
					t.Error(err)
				}
				if n := len(w.take()); n != 4 {
					t.Errorf("%d packets, want 4", n)
				}
			})
		})
	}
}

func TestSpoolIsBoundedAndKeepsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{SpoolSize: 5})
		start := time.Now()
		st.start(t)
		st.wire.take()
		st.wire.set(func(w *wire) { w.err = errBoom })
		time.Sleep(99 * time.Second) // packets at 10s ... 90s
		st.wire.set(func(w *wire) { w.err = nil })
		time.Sleep(16 * time.Second)
		got := st.wire.take()
		var made []time.Duration
		for _, s := range got {
			made = append(made, s.packet.GetTimestamp().AsTime().Sub(start.UTC()))
		}
		want := []time.Duration{50e9, 60e9, 70e9, 80e9, 90e9, 100e9, 110e9}
		// Up to two more may have been made before the next try.
		if n := len(want) - len(made); n < 0 || n > 2 || !slices.Equal(made, want[n:]) {
			t.Errorf("made at %v, want the end of %v", made, want)
		}
		last := got[len(got)-1].packet
		dropped := 11.0 - float64(len(got))
		// The last packet may have been made just before the last one was dropped.
		if n, _ := metricOf(last, "weatherlight.telemetry.dropped_total"); n != dropped && n != dropped-1 {
			t.Errorf("%v dropped, want %v", n, dropped)
		}
		if n, _ := metricOf(last, "weatherlight.telemetry.publish_errors_total"); n < 5 {
			t.Errorf("%v publish errors", n)
		}
	})
}

func TestRejectedPacketIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, weatherlight.ReporterConfig{})
		st.wire.set(func(w *wire) { w.err = fmt.Errorf("too large: %w", weatherlight.ErrRejected) })
		st.start(t)
		st.wire.set(func(w *wire) { w.err = nil })
		time.Sleep(10 * time.Second)
		got := st.wire.take()
		if len(got) != 1 {
			t.Fatalf("%d packets", len(got))
		}
		wantMetric(t, got[0].packet, "weatherlight.telemetry.dropped_total", 1)
	})
}
