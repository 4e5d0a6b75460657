package weatherlight_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/esper-lite/esper/weatherlight"
	"github.com/esper-lite/esper/weatherlight/weatherlighttest"
)

// backoffs returns the delays that were announced, in order.
func backoffs(rec *weatherlighttest.Record) []time.Duration {
	var delays []time.Duration
	for _, e := range rec.Events() {
		if e.Kind == weatherlight.EventFailed {
			delays = append(delays, e.Backoff)
		}
	}
	return delays
}

func TestBackoffDoublesUpToMax(t *testing.T) {
	for name, tc := range map[string]struct {
		backoff weatherlight.Backoff
		want    []time.Duration
	}{
		"default without jitter": {
			weatherlight.Backoff{Jitter: -1},
			[]time.Duration{1e9, 2e9, 4e9, 8e9, 16e9, 30e9, 30e9},
		},
		"own": {
			weatherlight.Backoff{Initial: 3 * time.Second, Max: 10 * time.Second, Jitter: -1},
			[]time.Duration{3e9, 6e9, 10e9, 10e9, 10e9, 10e9, 10e9},
		},
		"initial above the default max": {
			weatherlight.Backoff{Initial: time.Minute, Jitter: -1},
			[]time.Duration{60e9, 60e9, 60e9, 60e9, 60e9, 60e9, 60e9},
		},
		"none": {
			weatherlight.Backoff{Initial: weatherlight.AtOnce},
			[]time.Duration{0, 0, 0, 0, 0, 0, 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, rec := newSupervisor(t, weatherlight.Config{})
				w, h := addWorker(t, s, weatherlight.Spec{Name: "a", Backoff: tc.backoff})
				weatherlighttest.Start(t, s)
				start := time.Now()
				var total time.Duration
				for i := range tc.want {
					w.Return(errBoom) // is taken by the next life, so when the backoff is over
					if d := time.Since(start); d != total {
						t.Fatalf("failure %d after %v, want %v", i, d, total)
					}
					synctest.Wait()
					if st := h.Status(); tc.want[i] > 0 && (st.State != weatherlight.StateBackingOff || st.Backoff != tc.want[i]) {
						t.Errorf("status %+v, want a backoff of %v", st, tc.want[i])
					}
					total += tc.want[i]
				}
				if diff := cmp.Diff(tc.want, backoffs(rec)); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
				if got := h.Status().LastFailure; got.Err != errBoom || got.Worker != "a" || got.Ran != 0 {
					t.Errorf("last failure %+v", got)
				}
			})
		})
	}
}

func TestBackoffJitterStaysWithinAQuarter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{})
		w, _ := addWorker(t, s, weatherlight.Spec{Name: "a", Backoff: weatherlight.Backoff{Initial: time.Second, Max: time.Second}})
		weatherlighttest.Start(t, s)
		for range 200 {
			w.Return(errBoom)
		}
		synctest.Wait()
		distinct := make(map[time.Duration]bool)
		for _, d := range backoffs(rec) {
			if d < 750*time.Millisecond || d > 1250*time.Millisecond {
				t.Errorf("a delay of %v", d)
			}
			distinct[d] = true
		}
		if len(distinct) < 10 {
			t.Errorf("only %d distinct delays of 200", len(distinct))
		}
	})
}

func TestBackoffStartsOverAfterAStableRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{})
		a, _ := addReady(t, s, weatherlight.Spec{
			Name:        "a",
			Backoff:     weatherlight.Backoff{Initial: time.Second, Jitter: -1},
			StableAfter: time.Minute,
		})
		weatherlighttest.Start(t, s)
		live := func(unready, ready time.Duration) {
			time.Sleep(unready)
			a.Ready()
			time.Sleep(ready)
			a.Return(errBoom)
		}
		live(0, 0)
		live(time.Hour, time.Minute-time.Nanosecond) // to be up is not to be ready
		live(0, time.Minute)
		live(0, time.Second)
		synctest.Wait()
		want := []time.Duration{time.Second, 2 * time.Second, time.Second, 2 * time.Second}
		// The time that a life waits for its first order is the backoff before it.
		if diff := cmp.Diff(want, backoffs(rec)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func TestRestartPolicies(t *testing.T) {
	for name, tc := range map[string]struct {
		restart weatherlight.Restart
		end     func(*weatherlighttest.Worker)
		want    string // state after it
		err     error  // last failure
	}{
		"permanent, nil":    {weatherlight.Permanent, func(w *weatherlighttest.Worker) { w.Return(nil) }, "backing off", weatherlight.ErrReturned},
		"permanent, error":  {weatherlight.Permanent, func(w *weatherlighttest.Worker) { w.Return(errBoom) }, "backing off", errBoom},
		"transient, nil":    {weatherlight.Transient, func(w *weatherlighttest.Worker) { w.Return(nil) }, "ended", nil},
		"transient, error":  {weatherlight.Transient, func(w *weatherlighttest.Worker) { w.Return(errBoom) }, "backing off", errBoom},
		"transient, panic":  {weatherlight.Transient, func(w *weatherlighttest.Worker) { w.Panic(errBoom) }, "backing off", errBoom},
		"transient, goexit": {weatherlight.Transient, func(w *weatherlighttest.Worker) { w.Goexit() }, "backing off", weatherlight.ErrGoexit},
		"temporary, nil":    {weatherlight.Temporary, func(w *weatherlighttest.Worker) { w.Return(nil) }, "ended", nil},
		"temporary, error":  {weatherlight.Temporary, func(w *weatherlighttest.Worker) { w.Return(errBoom) }, "ended", errBoom},
		"temporary, goexit": {weatherlight.Temporary, func(w *weatherlighttest.Worker) { w.Goexit() }, "ended", weatherlight.ErrGoexit},
		// Not the kind of error counts, but that the supervisor has not stopped it.
		"canceled of its own": {weatherlight.Transient, func(w *weatherlighttest.Worker) { w.Return(context.Canceled) }, "backing off", context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := newSupervisor(t, weatherlight.Config{})
				w, h := addWorker(t, s, weatherlight.Spec{Name: "a", Restart: tc.restart})
				weatherlighttest.Start(t, s)
				tc.end(w)
				synctest.Wait()
				wantLines(t, []string{"a " + tc.want}, states(s))
				st := h.Status()
				if tc.err == nil {
					if st.LastFailure != nil {
						t.Errorf("failure %v", st.LastFailure.Err)
					}
				} else if !errors.Is(st.LastFailure.Err, tc.err) {
					t.Errorf("failure %v, want %v", st.LastFailure.Err, tc.err)
				}
				time.Sleep(time.Minute)
				lives := 1
				if tc.want == "backing off" {
					lives = 2
				}
				if w.Lives() != lives || h.Status().Restarts != uint64(lives-1) {
					t.Errorf("%d lives and %d restarts, want %d lives", w.Lives(), h.Status().Restarts, lives)
				}
			})
		})
	}
}

func TestWhatAStoppedWorkerReturnsIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{})
		add(t, s, weatherlight.Spec{Name: "error", Worker: weatherlight.WorkerFunc(func(ctx context.Context) error {
			<-ctx.Done()
			return errBoom
		})})
		add(t, s, weatherlight.Spec{Name: "panic", Worker: weatherlight.WorkerFunc(func(ctx context.Context) error {
			<-ctx.Done()
			panic("late")
		})})
		r := weatherlighttest.Start(t, s)
		synctest.Wait()
		if err := r.Stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		if n := s.Snapshot().Failures; n != 0 {
			t.Errorf("%d failures", n)
		}
		synctest.Wait()
		var errs []string
		for _, e := range rec.Events() {
			if e.Kind == weatherlight.EventStopped {
				errs = append(errs, e.Worker+": "+e.Err.Error())
			}
		}
		if len(errs) != 2 || !strings.Contains(strings.Join(errs, "\n"), "error: boom") || !strings.Contains(strings.Join(errs, "\n"), "panic: panic: late") {
			t.Errorf("events %q", errs)
		}
	})
}

func TestCrashLoopLeavesSiblingsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		innocent, _ := addWorker(t, s, weatherlight.Spec{Name: "innocent"})
		crashing, _ := addWorker(t, s, weatherlight.Spec{Name: "crashing", Backoff: weatherlight.Backoff{Initial: weatherlight.AtOnce}})
		failing, h := addWorker(t, s, weatherlight.Spec{Name: "failing", Backoff: weatherlight.Backoff{Jitter: -1}})
		weatherlighttest.Start(t, s)
		for range 1000 {
			crashing.Return(errBoom)
		}
		start := time.Now()
		failing.Return(errBoom)
		failing.Return(errBoom)
		synctest.Wait()
		if d := time.Since(start); d != time.Second || h.Status().Backoff != 2*time.Second {
			t.Errorf("the first backoff took %v, the second takes %v: not 1s, 2s", d, h.Status().Backoff)
		}
		if innocent.Lives() != 1 {
			t.Errorf("the innocent sibling has had %d lives", innocent.Lives())
		}
	})
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{})
		other, _ := addWorker(t, s, weatherlight.Spec{Name: "other"})
		w, h := addWorker(t, s, weatherlight.Spec{
			Name:    "a",
			Backoff: weatherlight.Backoff{Initial: weatherlight.AtOnce},
			Limit:   weatherlight.Limit{Failures: 2, Within: 10 * time.Second, Then: weatherlight.Park},
		})
		weatherlighttest.Start(t, s)
		fail := func(after time.Duration, want weatherlight.State) {
			t.Helper()
			time.Sleep(after)
			w.Return(errBoom)
			synctest.Wait()
			if st := h.Status(); st.State != want {
				t.Fatalf("%v, want %v", st.State, want)
			}
		}
		fail(0, weatherlight.StateRunning)
		fail(5*time.Second, weatherlight.StateRunning)
		fail(5*time.Second, weatherlight.StateRunning) // the first one is 10s ago
		fail(4*time.Second, weatherlight.StateParked)
		time.Sleep(time.Hour)
		wantLines(t, []string{"other running", "a parked"}, states(s))
		if n := s.Snapshot().Parked; n != 1 {
			t.Errorf("%d parked", n)
		}
		wantLines(t, []string{"a parked"}, rec.Lines(weatherlight.EventParked))
		if err := h.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		fail(0, weatherlight.StateRunning) // it counts from the beginning
		if other.Lives() != 1 {
			t.Error("the sibling was restarted")
		}
	})
}

func TestLimitEscalates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{})
		other, _ := addWorker(t, s, weatherlight.Spec{Name: "other"})
		w, _ := addWorker(t, s, weatherlight.Spec{
			Name:    "a",
			Backoff: weatherlight.Backoff{Initial: weatherlight.AtOnce},
			Limit:   weatherlight.Limit{Failures: 2},
		})
		r := weatherlighttest.Start(t, s)
		w.Return(errBoom)
		w.Return(nil)
		w.Panic("p")
		err := r.Wait()
		esc, ok := errors.AsType[*weatherlight.EscalationError](err)
		if !ok || esc.Worker != "a" || len(esc.Failures) != 3 || !errors.Is(err, errBoom) {
			t.Fatalf("Run: %v, want an EscalationError with three failures", err)
		}
		want := "weatherlight: a failed more than 2 times within 1m0s: boom; " +
			"weatherlight: worker returned though it is permanent; panic: p"
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
		if !errors.Is(other.Cause(), weatherlight.ErrShutdown) {
			t.Errorf("the sibling was stopped for %v", other.Cause())
		}
		synctest.Wait()
		wantLines(t, []string{"shutting down", "shutdown"}, rec.Lines(weatherlight.EventShuttingDown, weatherlight.EventShutdown))
	})
}
