package weatherlight_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/weatherlight"
	"github.com/esper-lite/esper/weatherlight/weatherlighttest"
)

func addBeating(t *testing.T, s *weatherlight.Supervisor, spec weatherlight.Spec) (*weatherlighttest.BeatingWorker, *weatherlight.Handle) {
	t.Helper()
	w := weatherlighttest.NewBeatingWorker()
	spec.Worker = w
	return w, add(t, s, spec)
}

func TestWatchdogRestartsASilentWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		w, h := addBeating(t, s, weatherlight.Spec{
			Name:      "a",
			Heartbeat: 10 * time.Second,
			Backoff:   weatherlight.Backoff{Initial: time.Second, Jitter: -1},
		})
		weatherlighttest.Start(t, s)
		w.Ready()
		for range 5 {
			time.Sleep(9 * time.Second)
			w.Beat()
		}
		if n := h.Status().Restarts; n != 0 || w.Lives() != 1 {
			t.Fatalf("%d restarts, %d lives although it beat", n, w.Lives())
		}
		time.Sleep(10*time.Second - 1)
		synctest.Wait()
		if st := h.Status(); st.State != weatherlight.StateRunning {
			t.Fatalf("%v one nanosecond before it is due", st.State)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		st := h.Status()
		if st.State != weatherlight.StateBackingOff || !errors.Is(st.LastFailure.Err, weatherlight.ErrWatchdog) {
			t.Fatalf("%v after %v", st.State, st.LastFailure)
		}
		if want := "weatherlight: no heartbeat for 10s"; st.LastFailure.Err.Error() != want {
			t.Errorf("%q, want %q", st.LastFailure.Err, want)
		}
		if !errors.Is(w.Cause(), weatherlight.ErrWatchdog) {
			t.Errorf("cause %v", w.Cause())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if w.Lives() != 2 {
			t.Errorf("%d lives, want 2", w.Lives())
		}
	})
}

func TestWatchdogCountsFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{BootTimeout: -1})
		w, h := addBeating(t, s, weatherlight.Spec{Name: "a", Heartbeat: 10 * time.Second})
		weatherlighttest.Start(t, s)
		time.Sleep(9 * time.Second)
		w.Ready() // is a beat
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if st := h.Status(); st.State != weatherlight.StateRunning {
			t.Fatalf("%v", st.State)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !errors.Is(w.Cause(), weatherlight.ErrWatchdog) {
			t.Errorf("cause %v", w.Cause())
		}
	})
}

func TestWatchdogGivesUpWhatIgnoresIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{})
		w, h := addBeating(t, s, weatherlight.Spec{
			Name:        "a",
			Heartbeat:   10 * time.Second,
			StopTimeout: 2 * time.Second,
			Backoff:     weatherlight.Backoff{Initial: time.Second, Jitter: -1},
		})
		w.IgnoreStop()
		r := weatherlighttest.Start(t, s)
		w.Ready()
		time.Sleep(12 * time.Second)
		synctest.Wait()
		st := h.Status()
		if st.State != weatherlight.StateBackingOff || st.Abandoned != 1 || s.Snapshot().Abandoned != 1 {
			t.Fatalf("%+v, want one abandoned", st)
		}
		if !errors.Is(st.LastFailure.Err, weatherlight.ErrWatchdog) {
			t.Errorf("failure %v", st.LastFailure.Err)
		}
		time.Sleep(time.Second)
		w.Ready() // its second life, beside what is left of the first
		synctest.Wait()
		if w.Lives() != 2 || h.Status().State != weatherlight.StateRunning {
			t.Fatalf("%d lives, %v", w.Lives(), h.Status().State)
		}
		// The report names the one that was given up long before the shutdown too.
		stop, ok := errors.AsType[*weatherlight.StopError](r.Stop())
		if !ok || len(stop.Workers) != 2 {
			t.Fatalf("Run: %v, want two goroutines of a", stop)
		}
		w.Release()
		synctest.Wait()
		if n := s.Snapshot().Abandoned; n != 0 {
			t.Errorf("%d abandoned after all have returned", n)
		}
		wantLines(t, []string{"a abandoned", "a abandoned", "a returned", "a returned"},
			rec.Lines(weatherlight.EventAbandoned, weatherlight.EventReturned))
	})
}

func TestBeatIsFreeWithoutHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		w, h := addBeating(t, s, weatherlight.Spec{Name: "a"})
		weatherlighttest.Start(t, s)
		w.Ready()
		w.Beat()
		time.Sleep(time.Hour)
		if st := h.Status(); st.State != weatherlight.StateRunning || w.Lives() != 1 {
			t.Errorf("%v, %d lives", st.State, w.Lives())
		}
	})
}

// TestBeatingFunc: a function is ready when it says so, and watched.
func TestBeatingFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		h := add(t, s, weatherlight.Spec{
			Name: "a",
			Worker: weatherlight.BeatingFunc(func(ctx context.Context, ready, beat func()) error {
				time.Sleep(9 * time.Second)
				ready()
				time.Sleep(9 * time.Second)
				beat()
				<-ctx.Done() // and is silent
				return nil
			}),
			Heartbeat: 10 * time.Second,
			Backoff:   weatherlight.Backoff{Initial: time.Second, Jitter: -1},
		})
		weatherlighttest.Start(t, s)
		for _, step := range []struct {
			after time.Duration
			want  weatherlight.State
		}{
			{9*time.Second - 1, weatherlight.StateStarting},
			{1, weatherlight.StateRunning},
			{19*time.Second - 1, weatherlight.StateRunning},
			{1, weatherlight.StateBackingOff},
		} {
			time.Sleep(step.after)
			synctest.Wait()
			if st := h.Status(); st.State != step.want {
				t.Fatalf("%v after %v, want %v", st.State, st.LastFailure, step.want)
			}
		}
		if err := h.Status().LastFailure.Err; !errors.Is(err, weatherlight.ErrWatchdog) {
			t.Errorf("failed with %v", err)
		}
	})
}

func TestBeatingFuncAlone(t *testing.T) {
	err := weatherlight.BeatingFunc(func(_ context.Context, ready, beat func()) error {
		ready()
		beat()
		return errBoom
	}).Run(t.Context())
	if !errors.Is(err, errBoom) {
		t.Errorf("Run: %v", err)
	}
}
